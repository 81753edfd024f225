//! `wardline status`: what the gateway is doing now.

use std::process::ExitCode;

use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::clock::{Clock, Stamp};
use crate::control::view::{Link, Status};

/// Arguments of `wardline status`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    remote: Remote,
}

/// Prints it; exit code 1 when a part of the gateway makes no progress.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get("/v1/status", &[]).await)?;
    let status = args.remote.print(&raw, |s: &Status| render(s, Clock::system().now()))?;
    Ok(if status.stalled.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(status: &Status, now: Stamp) -> String {
    let up = text::age(i64::try_from(status.uptime_s).unwrap_or(i64::MAX));
    let mut out = format!("wardline {} on {}, up {up}\n", status.version, status.gateway);
    if !status.clock_trusted {
        out.push_str("The clock is not set: readings wait for their time (WL-O015).\n");
    }
    if !status.stalled.is_empty() {
        out.push_str(&format!("No progress in: {} (WL-O013).\n", status.stalled.join(", ")));
    }
    let a = status.alerts;
    let open = a.high + a.medium + a.low;
    out.push_str(&format!(
        "Open alerts: {open} (high {}, medium {}, low {}), not acknowledged: {}\n\n",
        a.high, a.medium, a.low, a.unacknowledged
    ));
    if status.inbox > 0 {
        let (s, verb) = if status.inbox == 1 { ("", "keeps") } else { ("s", "keep") };
        out.push_str(&format!("{} cause{s} {verb} something from being sent: see `wardline inbox`.\n\n", status.inbox));
    }
    let mut table = Table::new(&["part", "name", "kind", "state", "since", "why"]);
    for (part, links) in [("source", &status.sources), ("destination", &status.destinations)] {
        links.iter().for_each(|link| table.row(line(part, link, now)));
    }
    out.push_str(&table.render("No sources and no destinations."));
    if let Some(radio) = &status.radio {
        out.push('\n');
        out.push_str(&super::devices::radio(radio, now));
    }
    out.push('\n');
    out.push_str(&super::outbox::table(&status.outbox, now));
    out.push_str(&super::outbox::lacking(&status.outbox, now));
    out
}

fn line(part: &str, link: &Link, now: Stamp) -> [String; 6] {
    let since = link.since_ms.map_or_else(|| "start".into(), |ms| text::ago(ms, now));
    let why = link.why.as_ref().map_or_else(String::new, |w| format!("{}: {}", w.code, w.text));
    [part.into(), link.name.to_string(), link.kind.clone(), link.state.word().into(), since, why]
}
