//! `wardline replay`: a capture through a whole gateway that is thrown away afterwards; what became of each frame.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::text;
use crate::config::Config;
use crate::fault::sentence;
use crate::gateway::replay::{self, Fate, Report, Settings};
use crate::reading::PatientId;

/// Arguments of `wardline replay`.
#[derive(clap::Args)]
pub struct Args {
    /// A capture: `wardline devices record` makes one.
    file: PathBuf,
    /// Take profiles, time zone, alert rules and the patient's limits from this configuration; nothing else of it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of profiles beside the built-in ones.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// So many times as fast as it was recorded.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    speed: u32,
    /// Whose the readings are to be, for the rules and in the resources.
    #[arg(long, value_name = "REFERENCE", default_value = "Patient/replay")]
    patient: String,
    /// Write the FHIR resources into this folder, which is not there yet.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Print the FHIR resources, one in a line, and nothing else.
    #[arg(long, conflicts_with = "json")]
    fhir: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it. Exit code 1: not every reading reached the file; 2: capture, profiles or configuration are refused.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let capture = super::record::open(&args.file);
    let refused = |why: &str| {
        eprintln!("{why}");
        Ok(ExitCode::from(2))
    };
    let capture = match capture {
        Ok(capture) => capture,
        Err(e) => return refused(&e.to_string()),
    };
    let config = match args.config.as_deref().map(Config::load).transpose() {
        Ok(config) => config,
        Err(e) => return refused(&sentence(&e)),
    };
    let settings = Settings {
        profiles: args.folder.clone(),
        config,
        patient: PatientId::new(&args.patient),
        speed: args.speed,
        to: args.to.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = replay::run(&capture, settings) => Some(report),
            () = super::demo::told_to_stop() => None,
        }
    });
    let report = match report {
        Some(Ok(report)) => report,
        Some(Err(e)) => return refused(&sentence(&e)),
        None => anyhow::bail!("stopped before the end"),
    };
    match (args.json, args.fhir) {
        (true, _) => println!("{}", as_json(&report)),
        (_, true) => print!("{}", report.resources),
        _ => print!("{}", as_text(capture.name(), &report)),
    }
    let all = report.delivered == report.readings;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(report: &Report) -> serde_json::Value {
    let frame = |fate: &Fate| {
        let (readings, reject) = match &fate.outcome {
            Ok(readings) => (json!(readings), None),
            Err(reject) => (json!([]), Some(reject)),
        };
        json!({
            "ms": u64::try_from(fate.after.as_millis()).unwrap_or(u64::MAX), "channel": fate.channel, "hex": fate.hex,
            "readings": readings, "known": fate.known, "reject": reject,
        })
    };
    json!({
        "frames": report.fates.iter().map(frame).collect::<Vec<_>>(),
        "readings": report.readings,
        "delivered": report.delivered,
        "alerts": report.alerts,
    })
}

fn as_text(name: Option<&str>, report: &Report) -> String {
    let mut out = format!("{}\n", name.unwrap_or("A device without a name"));
    let (mut rejected, mut empty) = (0, 0);
    for fate in &report.fates {
        out.push_str(&format!("{:>9.3} s  {}  {}\n", fate.after.as_secs_f64(), fate.channel, fate.hex));
        let mut said = |line: &str| out.push_str(&format!("             {line}\n"));
        match &fate.outcome {
            Err(reject) => {
                rejected += 1;
                said(reject);
            }
            Ok(readings) => {
                for r in readings {
                    let taken = r.taken.at_ms.map_or("no time".into(), text::time);
                    let labels: Vec<String> = r.quality.iter().map(|q| format!(" [{q:?}]").to_lowercase()).collect();
                    let by = if r.taken.is_dated_by_device() { "by its clock" } else { "by the replay's" };
                    said(&format!("{} {} at {taken}, {by}{}", r.vital.id, text::value(r), labels.concat()));
                }
                if fate.known > 0 {
                    said(&format!("{} known already, or too long ago to be listed here", fate.known));
                } else if readings.is_empty() {
                    empty += 1;
                    said("no reading in it");
                }
            }
        }
    }
    if report.fates.is_empty() {
        out.push_str("Nothing in it would reach the journal: no value that a plan asks for, no broadcast that a profile hears.\n");
    }
    out.push_str(&format!(
        "\n{} frames, {rejected} of them rejected, {empty} without a reading; {} readings, {} of them written; {} alerts.\n",
        report.fates.len(),
        report.readings,
        report.delivered,
        report.alerts.len()
    ));
    for alert in &report.alerts {
        out.push_str(&format!("  alert: {} ({:?})\n", alert.rule, alert.priority));
    }
    out.push_str("Nothing of it went into the gateway of this box.\n");
    out
}
