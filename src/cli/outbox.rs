//! `wardline outbox`: what waits for each destination, and why.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::clock::{Clock, Stamp};
use crate::control::view::Outbox;

/// Arguments of `wardline outbox`.
#[derive(clap::Args)]
pub struct Args {
    /// Only this destination.
    destination: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Prints it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let query: Vec<_> = args.destination.iter().map(|d| ("destination", d.clone())).collect();
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get("/v1/outbox", &query).await)?;
    if args.remote.json {
        println!("{raw}");
        return Ok(ExitCode::SUCCESS);
    }
    let boxes: Vec<Outbox> = serde_json::from_str(raw.get())?;
    let now = Clock::system().now();
    print!("{}", table(&boxes, now));
    print!("{}", lacking(&boxes, now));
    for failures in boxes.iter().filter(|b| !b.failures.is_empty()) {
        println!("\nNot delivered to {}, newest first:", failures.destination);
        let mut rows = Table::new(&["item", "last tried", "tries", "code", "why"]);
        for f in &failures.failures {
            let tries = format!("{}{}", f.attempts, if f.rejected { ", refused" } else { "" });
            rows.row([f.item.clone(), text::ago(f.at_ms, now), tries, f.why.code.to_string(), f.why.text.clone()]);
        }
        print!("{}", rows.render(""));
    }
    Ok(ExitCode::SUCCESS)
}

/// What waits for consents.
pub fn lacking(boxes: &[Outbox], now: Stamp) -> String {
    let lines: String = boxes.iter().map(|b| super::consent::lacking(&b.destination, &b.withheld, now)).collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\n{lines}Once it is given: `wardline consent grant PATIENT --to DESTINATION --by NAME`.\n")
    }
}

/// One line for each destination.
pub fn table(boxes: &[Outbox], now: Stamp) -> String {
    let mut table = Table::new(&["destination", "waiting", "oldest", "delivered", "refused"]);
    for b in boxes {
        let oldest = b.oldest_ms.map_or_else(|| "-".into(), |ms| text::ago(ms, now));
        table.row([
            b.destination.to_string(),
            b.waiting.to_string(),
            oldest,
            b.delivered.to_string(),
            b.rejected.to_string(),
        ]);
    }
    table.render("No destinations.")
}
