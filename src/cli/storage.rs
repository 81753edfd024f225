//! `wardline storage`: what the journal takes of the disk, and how long there is room.

use std::process::ExitCode;

use serde_json::value::RawValue;

use super::remote::Remote;
use super::text;
use crate::clock::{Clock, Stamp};
use crate::control::view::Storage;

/// Arguments of `wardline storage`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    remote: Remote,
}

/// Prints it; exit code 1 when nothing new is taken in, as the disk is full.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get("/v1/storage", &[]).await)?;
    let storage = args.remote.print(&raw, |s: &Storage| render(s, Clock::system().now()))?;
    Ok(if is_full(&storage) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn is_full(s: &Storage) -> bool {
    s.free.is_some_and(|free| free < s.reserve)
}

fn render(s: &Storage, now: Stamp) -> String {
    let mib = |octets: u64| format!("{:.1} MiB", octets as f64 / 1_048_576.0);
    let mut out = format!("Journal    {} of {} (budget), log {}\n", mib(s.used), mib(s.budget), mib(s.wal));
    let free = s.free.map_or_else(|| "unknown".into(), mib);
    out += &format!("Disk       {free} free, of which {} are the reserve\n", mib(s.reserve));
    let oldest = s.oldest_ms.map_or_else(String::new, |ms| format!(", the oldest from {} ago", text::ago(ms, now)));
    out += &format!("Readings   {} ({} with their raw bytes){oldest}\n", s.readings, s.with_bytes);
    out += &format!("Owed       {}: these stay until they are delivered\n", s.waiting);
    out += &format!(
        "Settled    kept {} days, then removed; sooner beyond the budget, raw bytes first\n",
        s.keep_settled_days
    );
    out += &match s.days_left {
        Some(days) if days > 365 => format!("Room       more than a year at {} readings a day\n", s.last_day),
        Some(days) => format!("Room       {days} days at {} readings a day, with nothing delivered\n", s.last_day),
        None => "Room       no readings in the last 24 h to judge by\n".into(),
    };
    if is_full(s) {
        out += "FULL: sources are told \"not now\" and keep their readings; alerts go on (WL-J011).\n";
    }
    out
}
