//! `wardline export`: readings for analysis, as a table in a file.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use super::readings::instant;
use super::remote::Remote;

/// Arguments of `wardline export`.
#[derive(clap::Args)]
pub struct Args {
    /// Taken since then: an age (90m, 12h, 30d) or an instant (2026-11-22T08:00:00Z).
    #[arg(long, value_name = "WHEN")]
    since: String,
    /// Taken before then.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only of this device, e.g. mqtt:cuff-17.
    #[arg(long)]
    device: Option<String>,
    /// Only of this patient.
    #[arg(long, value_name = "PATIENT")]
    patient: Option<String>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Who exports, for the record (default: this user).
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// New file. It holds patient data.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A table: header, RFC 4180.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

/// Asks the running gateway for it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let format = match args.format {
        Format::Csv => "csv",
        Format::Ndjson => "ndjson",
    };
    let mut query = vec![("since", instant(&args.since)?.to_string()), ("format", format.to_owned())];
    if let Some(until) = &args.until {
        query.push(("until", instant(until)?.to_string()));
    }
    query.extend(args.device.iter().map(|d| ("device", d.clone())));
    query.extend(args.patient.iter().map(|p| ("patient", p.clone())));
    query.extend(args.by.iter().map(|by| ("by", by.clone())));
    let lines = args.remote.listen(crate::limits::EXPORT_MAX, async |client| client.export(&query, &args.to).await)?;
    let lines = if format == "csv" { lines.saturating_sub(1) } else { lines };
    if args.remote.json {
        println!("{}", serde_json::json!({ "lines": lines, "file": args.to }));
    } else {
        println!("{lines} lines, written to {}. It holds patient data.", args.to.display());
    }
    Ok(ExitCode::SUCCESS)
}
