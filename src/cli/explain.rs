//! `wardline explain`: everything about one reading: bytes, rule, reading, resource, attempts, receipt.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::control::view::{Explained, Row};
use crate::reading::Value;

/// Arguments of `wardline explain`.
#[derive(clap::Args)]
pub struct Args {
    /// Id of the reading, as `wardline readings` prints it (32 hex digits; the first 8 are enough for a recent one).
    id: String,
    #[command(flatten)]
    remote: Remote,
}

/// Prints it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let raw: Box<RawValue> = args.remote.ask(async |client| {
        let mut id = args.id.to_lowercase();
        if id.len() < 32 {
            // What `wardline readings` has just shown begins like this.
            let query = [("limit", crate::limits::READINGS_LISTED_MAX.to_string())];
            let rows: Vec<Row> = client.get("/v1/readings", &query).await?;
            let full = rows.into_iter().map(|r| r.reading.key.to_string()).find(|key| key.starts_with(&id));
            id = full.unwrap_or(id);
        }
        client.get(&format!("/v1/readings/{id}"), &[]).await
    })?;
    if args.remote.json {
        println!("{raw}");
    } else {
        print!("{}", render(&serde_json::from_str(raw.get())?));
    }
    Ok(ExitCode::SUCCESS)
}

fn render(e: &Explained) -> String {
    let r = &e.reading;
    let mut out = format!("Reading {}\n", r.key);
    let mut say = |name: &str, text: String| out.push_str(&format!("{name:<11} {text}\n"));
    match &e.frame {
        Some(frame) => {
            say("received", format!("{} from {}, {}", text::time(frame.received_ms), frame.source, frame.channel));
            say("bytes", frame.hex.clone().unwrap_or_else(|| "cleared by retention".into()));
        }
        None => say("bytes", "cleared by retention".into()),
    }
    say("rule", format!("profile {}", e.rule));
    say("device", r.device.to_string());
    say("patient", r.patient.as_ref().map_or("unassigned: kept, never sent", |p| p.reveal()).into());
    say("vital", r.vital.id.into());
    for part in &r.parts {
        let value = match part.value {
            Value::Number(n) => n.to_string(),
            Value::Absent(why) => format!("absent ({why:?})"),
        };
        say("value", format!("{:?} {value} {}", part.role, part.unit.display()));
    }
    let taken = r.taken.at_ms.map_or_else(|| "not known yet: no clock could be trusted".into(), text::time);
    say("taken", format!("{taken} ± {} ms ({:?})", r.taken.uncertainty_ms, r.taken.method));
    if r.taken.waits() {
        say("waits for", "the gateway's clock, which is not set (WL-O015)".into());
    }
    if let Some(clocks) = &r.clocks {
        say("its clock", format!("{} at {}", clocks.device, text::time(clocks.box_ms)));
    }
    if !r.labels().is_empty() {
        say("labels", text::quality(r));
    }
    say("committed", text::time(e.committed_ms));
    let mut attempts = Table::new(&["tried", "destination", "outcome", "receipt or reason"]);
    for a in &e.attempts {
        let note = a.note.clone().unwrap_or_default();
        attempts.row([text::time(a.at_ms), a.destination.to_string(), a.outcome.clone(), note]);
    }
    out.push_str(&format!("\n{}", attempts.render("No failed attempt.")));
    let mut standing = Table::new(&["destination", "state", "receipt or reason"]);
    for d in &e.destinations {
        standing.row([d.destination.to_string(), d.state.clone(), d.note.clone().unwrap_or_default()]);
    }
    out.push_str(&format!("\n{}", standing.render("Owed to no destination.")));
    if let Some(resource) = &e.resource {
        out.push_str(&format!("\nResource\n{}\n", text::indent(resource.get())));
    }
    out
}
