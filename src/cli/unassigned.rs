//! `wardline unassigned`: readings that are nobody's, why, and whose they could be; a person says whose they are.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;
use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::control::charts::Nobody;
use crate::control::inbox::Settled;
use crate::limits;
use crate::reading::ReadingKey;

/// Arguments of `wardline unassigned`.
#[derive(clap::Args)]
pub struct Args {
    /// Say whose these readings are: their ids, or the beginnings of them.
    #[arg(requires = "patient")]
    readings: Vec<String>,
    /// Whose they are, e.g. Patient/8f2c.
    #[arg(long, requires = "readings", requires = "by")]
    patient: Option<String>,
    /// Who says so.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only of this device.
    #[arg(long)]
    device: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get("/v1/unassigned", &[]).await)?;
    let all: Vec<Nobody> = serde_json::from_str(raw.get())?;
    match &args.patient {
        Some(patient) => confirm(args, &all, patient),
        None => {
            let of_device = |n: &&Nobody| args.device.as_ref().is_none_or(|d| *n.reading.device.0 == **d);
            if args.remote.json {
                println!("{}", serde_json::to_string(&all.iter().filter(of_device).collect::<Vec<_>>())?);
            } else {
                print!("{}", list(all.iter().filter(of_device)));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list<'a>(all: impl Iterator<Item = &'a Nobody>) -> String {
    let mut table = Table::new(&["id", "taken", "device", "slot", "vital", "value", "fits"]);
    let mut why = Vec::new();
    for n in all {
        let r = &n.reading;
        let id: String = r.key.to_string().chars().take(8).collect();
        let taken = r.taken.at_ms.map_or_else(|| "unknown".into(), text::minute);
        let slot = r.slot.map_or_else(|| "-".into(), |s| s.to_string());
        let fits = n.now.as_ref().or(n.suggestion.as_ref()).map_or("-", |p| p.reveal()).to_owned();
        table.row([id, taken, text::cut(&r.device.0, 16), slot, text::cut(r.vital.id, 16), text::value(r), fits]);
        why.push(match (&n.now, &n.suggestion) {
            (Some(_), _) => format!("{}; who holds the device is known by now: `wardline inbox`", n.why.phrase()),
            (None, Some(_)) => format!("{}; a weight like this person's, which proves nothing", n.why.phrase()),
            (None, None) => n.why.phrase().to_owned(),
        });
    }
    let lines = table.render("Every reading has its patient.");
    let mut lines = lines.lines();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    for (line, why) in lines.zip(&why) {
        out.push_str(&format!("{line}\n          {why}\n"));
    }
    if why.len() >= limits::READINGS_LISTED_MAX {
        out.push_str(&format!("\nThe oldest {} are shown; there may be more.\n", why.len()));
    }
    if !why.is_empty() {
        out.push_str("\nOnly a person binds: `wardline unassigned ID… --patient PATIENT --by NAME`.\n");
    }
    out
}

fn confirm(args: &Args, all: &[Nobody], patient: &str) -> anyhow::Result<ExitCode> {
    let mut keys: Vec<ReadingKey> = Vec::new();
    for id in &args.readings {
        let mut meant = all.iter().map(|n| n.reading.key).filter(|key| key.to_string().starts_with(id));
        match (meant.next(), meant.next()) {
            (Some(key), None) => keys.push(key),
            (Some(_), Some(_)) => bail!("several readings begin with `{id}`: give more of the id"),
            (None, _) => bail!("no reading that is nobody's begins with `{id}`"),
        }
    }
    let body = json!({ "keys": keys, "patient": patient, "by": args.by });
    let raw: Box<RawValue> = args.remote.ask_patiently(async |client| client.post("/v1/unassigned", &body).await)?;
    args.remote.print(&raw, |s: &Settled| format!("{} bound, and on the way to every destination.\n", s.items))?;
    Ok(ExitCode::SUCCESS)
}
