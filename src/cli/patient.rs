//! `wardline patient`: who is a patient of this box; matching a new one at the centre; match fields (`identify.rs`).
#![allow(clippy::print_stdout)]

use std::io::{BufRead, IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::value::RawValue;

use super::identify::{self, Forget, Identify};
use super::remote::Remote;
use super::text::{self, Table};
use crate::control::patients::{Match, Person};
use crate::limits;

/// Arguments of `wardline patient`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Who is a patient of this box, and how they stand at the centre.
    List(List),
    /// Ask the centres now how those who were matched stand there.
    Check(List),
    /// Find one patient at the centre by identifier and birth date; who is found joins this box.
    Match(Find),
    /// Give the match fields that a destination asks for; they are kept encrypted and go there only.
    Identify(Identify),
    /// Which destinations ask for match fields, and of whom they are given.
    Identified(List),
    /// Take match fields back: they are gone from the box.
    Forget(Forget),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct Find {
    /// The FHIR destination that is asked.
    #[arg(long, value_name = "NAME")]
    destination: String,
    /// `SYSTEM|VALUE`; `-`: read from standard input, so that it stands in no list of processes and no shell history.
    #[arg(long, value_name = "SYSTEM|VALUE", default_value = "-")]
    identifier: String,
    /// As in 1950-03-07; `-`: read from standard input.
    #[arg(long, value_name = "DATE", default_value = "-")]
    birth_date: String,
    /// What the household calls them; shown on the local page.
    #[arg(long, value_name = "NAME")]
    display: Option<String>,
    /// Who matches them.
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    remote: Remote,
}

/// Runs it. Exit code 1: somebody does not stand at the centre as they were matched, or match fields are lacking.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (remote, raw): (_, Box<RawValue>) = match &args.command {
        Command::Match(find) => return self::find(find),
        Command::Identify(args) => return identify::identify(args),
        Command::Forget(args) => return identify::forget(args),
        Command::Identified(list) => return identify::list(&list.remote),
        Command::List(list) => (&list.remote, list.remote.ask(async |client| client.get("/v1/patients", &[]).await)?),
        Command::Check(list) => {
            let body = serde_json::json!({});
            let asked = list.remote.ask_patiently(async |client| client.post("/v1/patients/check", &body).await)?;
            (&list.remote, asked)
        }
    };
    let people = remote.print(&raw, |people: &Vec<Person>| render(people))?;
    let fine = people.iter().all(|p| p.trouble.is_none());
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(people: &[Person]) -> String {
    let mut table = Table::new(&["patient", "called", "matched at", "by", "asked"]);
    for p in people {
        let matched = p.matched.as_ref();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.row([
            p.reference.reveal().to_owned(),
            or_dash(p.display.clone()),
            or_dash(matched.map(|m| m.destination.clone())),
            or_dash(matched.map(|m| m.by.clone())),
            or_dash(matched.map(|m| text::minute(m.checked_ms))),
        ]);
    }
    let mut out = table.render("No patient: `wardline patient match`, or [[patient]] in the configuration.");
    for p in people {
        let Some((code, why)) = &p.trouble else { continue };
        let about = p.merged_into().map_or(String::new(), |other| format!(": ask about {}", other.reveal()));
        out.push_str(&format!("{}: {why}{about} ({code})\n", p.reference.reveal()));
    }
    out
}

fn find(find: &Find) -> anyhow::Result<ExitCode> {
    let mut input = std::io::stdin().lock().take(4 * limits::TEXT_CHARS_MAX as u64 * 4);
    let mut told = |given: &str, what: &str| -> anyhow::Result<String> {
        if given != "-" {
            return Ok(given.to_owned());
        }
        if std::io::stdin().is_terminal() {
            eprint!("{what}: ");
        }
        let mut line = String::new();
        input.read_line(&mut line).context("standard input")?;
        Ok(line.trim().to_owned())
    };
    let identifier = told(&find.identifier, "Identifier, SYSTEM|VALUE")?;
    let birth_date = told(&find.birth_date, "Birth date, as in 1950-03-07")?;
    let Some((system, value)) = identifier.split_once('|') else {
        bail!("an identifier is SYSTEM|VALUE; one without a system begins with the bar");
    };
    let wanted = Match {
        destination: find.destination.clone(),
        system: system.trim().into(),
        value: value.trim().into(),
        birth_date,
        display: find.display.clone(),
        by: find.by.clone(),
    };
    let raw: Box<RawValue> = find.remote.ask_patiently(async |client| client.post("/v1/patients", &wanted).await)?;
    find.remote.print(&raw, |p: &Person| {
        format!(
            "{} is a patient of this box now. Give them a device: `wardline assign DEVICE {} --by NAME`.\n",
            p.reference.reveal(),
            p.reference.reveal()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
