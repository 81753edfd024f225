//! `wardline alerts`: list and acknowledge alerts.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::alarm::{Alert, Condition};
use crate::clock::{Clock, Stamp};

/// Arguments of `wardline alerts`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Resolved ones too, newest first.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Take an alert: say that somebody sees to it.
    Ack(Ack),
}

#[derive(clap::Args)]
struct Ack {
    /// Id of the alert, or its beginning.
    id: String,
    /// Who takes it.
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    remote: Remote,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(Command::Ack(ack)) => acknowledge(ack),
        None => list(args),
    }
}

fn list(args: &Args) -> anyhow::Result<ExitCode> {
    let query = [("all", args.all.to_string())];
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get("/v1/alerts", &query).await)?;
    if args.remote.json {
        println!("{raw}");
    } else {
        let alerts: Vec<Alert> = serde_json::from_str(raw.get())?;
        print!("{}", render(&alerts, Clock::system().now()));
    }
    Ok(ExitCode::SUCCESS)
}

fn acknowledge(ack: &Ack) -> anyhow::Result<ExitCode> {
    let open: Vec<Alert> = ack.remote.ask(async |client| client.get("/v1/alerts", &[]).await)?;
    let mut meant = open.iter().filter(|a| a.id.0.starts_with(&ack.id));
    // What is not open, or not clear, is for the gateway to answer.
    let id = match (meant.next(), meant.next()) {
        (Some(one), None) => one.id.to_string(),
        (Some(_), Some(_)) => anyhow::bail!("several open alerts begin with {}: give more of the id", ack.id),
        _ => ack.id.clone(),
    };
    let (path, body) = (format!("/v1/alerts/{id}/acknowledge"), serde_json::json!({ "by": ack.by }));
    let raw: Box<RawValue> = ack.remote.ask(async |client| client.post(&path, &body).await)?;
    if ack.remote.json {
        println!("{raw}");
    } else {
        println!("{id}: acknowledged by {}", ack.by);
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each, and its words below: they matter more than a column allows.
fn render(alerts: &[Alert], now: Stamp) -> String {
    let mut table = Table::new(&["id", "priority", "kind", "raised", "state"]);
    for a in alerts {
        table.row([
            a.id.0.chars().take(8).collect(),
            text::priority(a).into(),
            kind(a),
            text::ago(a.raised.wall_ms, now),
            state(a),
        ]);
    }
    let lines = table.render("No alerts.");
    let mut lines = lines.lines();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    for (line, alert) in lines.zip(alerts) {
        out.push_str(&format!("{line}\n          {}\n", words(alert)));
    }
    out
}

fn kind(alert: &Alert) -> String {
    match alert.condition {
        Condition::Limit => "limit",
        Condition::Unconfirmed => "unconfirmed",
        Condition::Retrospective => "retrospective",
        Condition::Technical => "technical",
    }
    .into()
}

fn state(alert: &Alert) -> String {
    if let Some(person) = &alert.taken_back {
        return format!("entered in error, said {}", person.by);
    }
    match (&alert.resolved, &alert.acknowledged) {
        (Some(_), _) => "resolved".into(),
        (None, Some(a)) => format!("acknowledged by {}", a.by),
        (None, None) => "open".into(),
    }
}

fn words(alert: &Alert) -> String {
    let whose = alert.patient.as_ref().map(|p| p.reveal()).or(alert.device.as_ref().map(|d| &*d.0));
    whose.map_or_else(|| alert.text.clone(), |w| format!("{w}: {}", alert.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::{Acknowledged, AlertId, Priority};
    use crate::reading::PatientId;

    #[test]
    fn an_alert_is_shown_with_its_words() {
        let at = Stamp::at_ms(1_795_341_600_000);
        let alert = Alert {
            id: AlertId("00112233445566778899aabbccddeeff".into()),
            rule: "bp".into(),
            condition: Condition::Unconfirmed,
            priority: Priority::High,
            patient: Some(PatientId::new("Patient/a")),
            device: None,
            vital: None,
            text: "Unconfirmed: Systolic blood pressure 400 mm[Hg] above 180 mm[Hg] (outside the plausible range)"
                .into(),
            evidence: vec![],
            raised: at,
            received: at,
            acknowledged: Some(Acknowledged { by: "Ada".into(), at }),
            resolved: None,
            taken_back: None,
        };
        let shown = render(std::slice::from_ref(&alert), at.plus(std::time::Duration::from_secs(200)));
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines[1].starts_with("00112233  high") && lines[1].ends_with("3 min   acknowledged by Ada"), "{shown}");
        assert_eq!(lines[2], format!("          Patient/a: {}", alert.text));
        assert_eq!(render(&[], at), "No alerts.\n");
    }
}
