//! `wardline consent`: who consented to what; give, withdraw, and see what waits for one.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::bail;
use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::consent::{ALL, GENERAL, Rule};
use crate::control::consents::{Listed, Order, Recorded};
use crate::control::view::Withheld;
use crate::demographics::LACKING;
use crate::reading::PatientId;

/// Arguments of `wardline consent`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// What may go where, and what waits.
    List(ListArgs),
    /// Record that a patient consents.
    Grant(GrantArgs),
    /// Record that a patient consents no longer: nothing more goes from then on.
    Withdraw(WithdrawArgs),
}

#[derive(clap::Args)]
struct ListArgs {
    /// Only of this patient.
    patient: Option<String>,
    /// All that was recorded, with who and when.
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct GrantArgs {
    /// Whose readings, e.g. Patient/8f2c.
    patient: String,
    /// The destination's name.
    #[arg(long, value_name = "DESTINATION", required = true)]
    to: Vec<String>,
    /// What of them: vital-signs, laboratory, activity, procedure, or a sensitive category. Default: all that are not sensitive.
    #[arg(long, value_name = "CATEGORY")]
    category: Vec<String>,
    /// In force from then on (an instant). Default: at once.
    #[arg(long, value_name = "WHEN")]
    from: Option<jiff::Timestamp>,
    /// Up to then (an instant). Default: until it is withdrawn.
    #[arg(long, value_name = "WHEN")]
    until: Option<jiff::Timestamp>,
    /// The record at the centre, e.g. Consent/17.
    #[arg(long)]
    reference: Option<String>,
    /// Who records it.
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct WithdrawArgs {
    /// Whose readings, e.g. Patient/8f2c.
    patient: String,
    /// The destination's name.
    #[arg(long, value_name = "DESTINATION", required_unless_present = "everywhere")]
    to: Vec<String>,
    /// From every destination.
    #[arg(long, conflicts_with = "to")]
    everywhere: bool,
    /// What of them. Default: everything.
    #[arg(long, value_name = "CATEGORY")]
    category: Vec<String>,
    /// The record at the centre, e.g. Consent/17.
    #[arg(long)]
    reference: Option<String>,
    /// Who records it.
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    remote: Remote,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Grant(args) => grant(args),
        Command::Withdraw(args) => withdraw(args),
    }
}

fn listed(remote: &Remote) -> anyhow::Result<Vec<Listed>> {
    let raw: Box<RawValue> = remote.ask(async |client| client.get("/v1/consents", &[]).await)?;
    Ok(serde_json::from_str(raw.get())?)
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut all = listed(&args.remote)?;
    all.retain(|l| args.patient.as_deref().is_none_or(|p| l.patient.reveal() == p));
    if args.remote.json {
        println!("{}", serde_json::to_string(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["patient", "destination", "needs", "may go", "may not", "waits"]);
    for l in &all {
        let needs = match l.rule {
            Some(Rule::Recorded) => "a recorded consent",
            Some(Rule::Enrolment) => "the enrolment",
            None => "- (not configured)",
        };
        let list = |names: &[String]| if names.is_empty() { "-".into() } else { names.join(", ") };
        let waits: u64 = l.withheld.iter().map(|w| w.readings + w.alerts).sum();
        table.row([
            l.patient.reveal().to_owned(),
            l.destination.to_string(),
            needs.into(),
            list(&l.in_force),
            list(&l.lacking),
            waits.to_string(),
        ]);
    }
    print!("{}", table.render("No patients, or no destinations."));
    if args.history {
        println!();
        print!("{}", history(&all));
    }
    Ok(ExitCode::SUCCESS)
}

fn history(all: &[Listed]) -> String {
    let mut table =
        Table::new(&["recorded", "patient", "destination", "what", "categories", "from", "until", "by", "at"]);
    for l in all {
        for said in &l.history.0 {
            let what = if said.given { "given" } else { "withdrawn" };
            let when = |ms: Option<i64>| ms.map_or_else(|| "-".into(), text::minute);
            table.row([
                text::minute(said.at_ms),
                l.patient.reveal().to_owned(),
                l.destination.to_string(),
                what.into(),
                said.categories.join(", "),
                when(said.from_ms),
                when(said.until_ms),
                said.by.clone(),
                said.reference.clone().unwrap_or_else(|| "-".into()),
            ]);
        }
    }
    table.render("Nothing was recorded.")
}

fn grant(args: &GrantArgs) -> anyhow::Result<ExitCode> {
    let general = [GENERAL.to_owned()];
    let categories = if args.category.is_empty() { &general[..] } else { &args.category };
    let order = |destination: &String| Order {
        patient: PatientId::new(&args.patient),
        destination: destination.clone(),
        given: true,
        categories: categories.to_vec(),
        from_ms: args.from.map(jiff::Timestamp::as_millisecond),
        until_ms: args.until.map(jiff::Timestamp::as_millisecond),
        reference: args.reference.clone(),
        by: args.by.clone(),
    };
    for destination in &args.to {
        let Recorded { .. } = record(&args.remote, &order(destination))?;
        if !args.remote.json {
            println!("{destination} may get {}. What waited for it is on its way.", categories.join(", "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn withdraw(args: &WithdrawArgs) -> anyhow::Result<ExitCode> {
    let patient = PatientId::new(&args.patient);
    let everywhere = || -> anyhow::Result<Vec<String>> {
        let all = listed(&args.remote)?.into_iter().filter(|l| l.patient == patient);
        Ok(all.map(|l| l.destination.to_string()).collect())
    };
    let to = if args.everywhere { everywhere()? } else { args.to.clone() };
    if to.is_empty() {
        bail!("this patient is not one of this box");
    }
    let categories = if args.category.is_empty() { vec![ALL.to_owned()] } else { args.category.clone() };
    for destination in to {
        let order = Order {
            patient: patient.clone(),
            destination,
            given: false,
            categories: categories.clone(),
            from_ms: None,
            until_ms: None,
            reference: args.reference.clone(),
            by: args.by.clone(),
        };
        let Recorded { on_the_way } = record(&args.remote, &order)?;
        if !args.remote.json {
            let on_the_way = match on_the_way {
                0 => "Nothing of this patient was on its way.".to_owned(),
                n => format!("Up to {n} readings were in a request at that moment, and may have arrived."),
            };
            println!("{} gets nothing more of {}. {on_the_way}", order.destination, categories.join(", "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn record(remote: &Remote, order: &Order) -> anyhow::Result<Recorded> {
    let raw: Box<RawValue> = remote.ask(async |client| client.post("/v1/consents", order).await)?;
    if remote.json {
        println!("{raw}");
    }
    Ok(serde_json::from_str(raw.get())?)
}

/// A line for each consent that keeps something from a destination.
pub(super) fn lacking(destination: &str, all: &[Withheld], now: crate::clock::Stamp) -> String {
    let count = |n: u64, what: &str| (n > 0).then(|| format!("{n} {what}{}", if n == 1 { "" } else { "s" }));
    let mut out = String::new();
    for w in all {
        let what = [count(w.readings, "reading"), count(w.alerts, "alert event")];
        let what = what.into_iter().flatten().collect::<Vec<_>>().join(" and ");
        let wait = if w.readings + w.alerts == 1 { "waits" } else { "wait" };
        let oldest = text::ago(w.oldest_ms, now);
        out.push_str(&match &w.patient {
            Some(patient) if w.category == LACKING => format!(
                "{what} {wait} for the match fields of {} at destination {destination} (WL-H005), the oldest since {oldest}: \
                 `wardline patient identify`.\n",
                patient.reveal()
            ),
            Some(patient) => format!(
                "{what} {wait} for the consent of {} to destination {destination} ({}), the oldest since {oldest}.\n",
                patient.reveal(),
                w.category
            ),
            None => format!(
                "{what} of a device that is nobody's {wait}: {destination} needs a consent, and nobody can give it.\n"
            ),
        });
    }
    out
}
