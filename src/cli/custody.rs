//! `wardline custody`: what was taken in on each day, and where it stands; the chain of custody, checked.

use std::process::ExitCode;

use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::clock::{Clock, Stamp};
use crate::control::probe::Reconciled;
use crate::control::view::{Day, Verified};

/// Arguments of `wardline custody`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// So many days back, today included.
    #[arg(long, value_name = "N", default_value_t = 7)]
    days: u32,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check that everything is there that was acknowledged, as it was. Exit code 1 if not.
    Verify(Remote),
    /// Ask a FHIR destination whether it holds what it took, and what the gateway never sent; what is missing is sent again.
    /// Exit code 1 if something was, is there twice, or is a stranger.
    Reconcile(Reconcile),
}

#[derive(clap::Args)]
struct Reconcile {
    /// Its name in the configuration.
    destination: String,
    /// So many days back, today included. Each night looks back over two.
    #[arg(long, value_name = "N", default_value_t = 2)]
    days: u32,
    #[command(flatten)]
    remote: Remote,
}

/// Prints it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(Command::Verify(remote)) => verify(remote),
        Some(Command::Reconcile(args)) => reconcile(args),
        None => days(args),
    }
}

fn days(args: &Args) -> anyhow::Result<ExitCode> {
    let query = [("days", args.days.to_string())];
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get("/v1/custody", &query).await)?;
    args.remote.print(&raw, |days: &Vec<Day>| table(days, Clock::system().now()))?;
    Ok(ExitCode::SUCCESS)
}

fn verify(remote: &Remote) -> anyhow::Result<ExitCode> {
    let raw: Box<RawValue> = remote.ask_patiently(async |client| client.get("/v1/custody/verify", &[]).await)?;
    let found = remote.print(&raw, sentences)?;
    Ok(if found.intact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn reconcile(args: &Reconcile) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/destinations/{}/reconcile", args.destination);
    let body = serde_json::json!({ "days": args.days });
    let raw: Box<RawValue> = args.remote.ask_patiently(async |client| client.post(&path, &body).await)?;
    let found = args.remote.print(&raw, |found: &Reconciled| {
        let Reconciled { checked, missing, stood, stays, doubled, .. } = *found;
        let strangers = strangers(found);
        let held = match (missing, doubled) {
            (0, 0) => "It holds each of them, once.".into(),
            _ => format!("Missing: {missing}, sent again (for a second time: {stays}). More than once: {doubled}."),
        };
        let held = match stood {
            0 => held,
            _ => format!(
                "{held}\nOf the missing, taken back and standing there again: {stood}. They are taken back again."
            ),
        };
        format!("{} was asked for {checked} readings that it took.\n{held}\n{strangers}\n", args.destination)
    })?;
    let strangers = found.strangers.as_ref().map_or(0, |s| s.found);
    Ok(if found.missing + found.doubled + strangers == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn strangers(found: &Reconciled) -> String {
    let Some(sought) = &found.strangers else {
        let why = found.not_asked.as_deref().unwrap_or("no reason was given");
        return format!("It was not asked for what the gateway never sent: {why}.");
    };
    let mut text = match (sought.found, sought.seen) {
        (0, seen) => format!("Of {seen} Observations there none is a stranger to the journal."),
        (n, seen) => {
            let shown = sought.places.join(", ");
            let more = n.saturating_sub(sought.places.len() as u64);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!(
                "Of {seen} Observations there the journal does not know {n} with its gateway's mark: {shown}{more}."
            )
        }
    };
    if sought.unjudged > 0 {
        text += &format!(" Not judged, as they are older than what it keeps: {}.", sought.unjudged);
    }
    text
}

/// One line for each day, patient and destination.
pub fn table(days: &[Day], now: Stamp) -> String {
    let mut table =
        Table::new(&["day (UTC)", "patient", "to", "in", "there", "waiting", "inbox", "given up", "oldest"]);
    for d in days {
        let nobodys = d.patient.is_none();
        let count = |n: u64| if nobodys { "-".into() } else { n.to_string() };
        table.row([
            d.day.clone(),
            d.patient.as_ref().map_or("nobody yet", |p| p.reveal()).to_owned(),
            d.destination.as_deref().unwrap_or("-").to_owned(),
            d.committed.to_string(),
            count(d.delivered),
            count(d.waiting),
            count(d.refused),
            count(d.discarded),
            d.oldest_ms.map_or_else(|| "-".into(), |ms| text::ago(ms, now)),
        ]);
    }
    table.render("No readings in these days.")
}

fn sentences(found: &Verified) -> String {
    let Verified { intact, entries, readings, removed, head, faults } = found;
    let mut text = format!("{entries} entries, {readings} readings, {removed} removed by retention.\n");
    if let Some(head) = head {
        text += &format!("Seal of the newest entry: {head}\n");
    }
    for fault in faults {
        text += &format!("WL-J040: {fault}\n");
    }
    text += match intact {
        true => "Intact: what was acknowledged is there as it was.\n",
        false => {
            "NOT INTACT: the file was changed by something else than the gateway. Keep a copy before anything else.\n"
        }
    };
    text
}
