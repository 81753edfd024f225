//! `wardline readings`: list stored readings, newest first.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::clock::Clock;
use crate::control::view::Row;

/// Arguments of `wardline readings`.
#[derive(clap::Args)]
pub struct Args {
    /// Only of this device, e.g. mqtt:cuff-17.
    #[arg(long)]
    device: Option<String>,
    /// Received since then: an age (90m, 12h, 7d) or an instant (2026-11-22T08:00:00Z).
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// At most so many, up to 1000.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    remote: Remote,
}

/// Prints them.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.device.iter().map(|d| ("device", d.clone())));
    if let Some(since) = &args.since {
        query.push(("since", instant(since)?.to_string()));
    }
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get("/v1/readings", &query).await)?;
    if args.remote.json {
        println!("{raw}");
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Row> = serde_json::from_str(raw.get())?;
    let mut table = Table::new(&["id", "taken", "device", "vital", "value", "state"]);
    for row in &rows {
        let r = &row.reading;
        let taken = r.taken.at_ms.map_or_else(|| "unknown".into(), text::minute);
        let (device, vital) = (text::cut(&r.device.0, 13), text::cut(r.vital.id, 16));
        // The first digits are enough for `explain`.
        let id = r.key.to_string().chars().take(8).collect();
        // What the device said beside the numbers, as far as the line has room: `explain` has it all.
        let said = std::iter::once(state(row)).chain(r.statuses().map(|status| status.id.to_owned()));
        table.row([id, taken, device, vital, text::value(r), said.collect::<Vec<_>>().join(", ")]);
    }
    print!("{}", table.render("No readings."));
    Ok(ExitCode::SUCCESS)
}

/// The least that can be said of all its destinations.
fn state(row: &Row) -> String {
    if row.reading.patient.is_none() {
        return "no owner".into();
    }
    let with = |state: &str| row.destinations.iter().any(|d| d.state == state);
    let word = ["rejected", "expired", "waiting", "delivered"].into_iter().find(|s| with(s));
    word.unwrap_or("kept").into()
}

/// `12h` ago, or an instant.
pub(super) fn instant(text: &str) -> anyhow::Result<jiff::Timestamp> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let span: jiff::SignedDuration =
        text.parse().or_else(|_| days(text)).ok().context("--since takes an age (90m, 12h, 7d) or an instant")?;
    Clock::system().now().timestamp().checked_sub(span).context("--since lies before all time")
}

fn days(text: &str) -> Result<jiff::SignedDuration, ()> {
    let days: i64 = text.trim().strip_suffix('d').ok_or(())?.trim().parse().map_err(|_| ())?;
    days.checked_mul(24).map(jiff::SignedDuration::from_hours).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_instants() {
        let now = Clock::system().now().wall_ms;
        let back = |text: &str| now - instant(text).unwrap().as_millisecond();
        assert!((back("7d") - 7 * 86_400_000).abs() < 60_000);
        assert!((back("90m") - 90 * 60_000).abs() < 60_000);
        assert_eq!(instant("2026-11-22T08:00:00Z").unwrap().as_millisecond(), 1_795_334_400_000);
        assert!(instant("yesterday").is_err());
    }
}
