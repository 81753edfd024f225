//! `wardline export`: readings for analysis, as a table in a file, and beside it what the file does not hold.
#![allow(clippy::print_stdout)]

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use super::readings::instant;
use super::remote::Remote;
use crate::control::view::{Exported, LeftOut};

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
    let exported =
        args.remote.listen(crate::limits::EXPORT_MAX, async |client| client.export(&query, &args.to).await)?;
    let manifest = manifest(args, &query, &exported)?;
    if args.remote.json {
        let Exported { lines, left_out } = exported;
        println!("{}", json!({ "lines": lines, "left_out": left_out, "file": args.to, "manifest": manifest }));
    } else {
        println!("{} lines, written to {}. It holds patient data.", exported.lines, args.to.display());
        println!("{}", left_out(&exported.left_out));
    }
    Ok(ExitCode::SUCCESS)
}

fn left_out(left: &LeftOut) -> String {
    let LeftOut { no_patient, no_consent, damaged } = *left;
    if (no_patient, no_consent, damaged) == (0, 0, 0) {
        return "No reading of this time was left out.".into();
    }
    format!("Left out: {no_consent} readings without consent, {no_patient} that are nobody's, {damaged} damaged.")
}

/// Says beside the file what it does not hold: who analyses it need not have seen this command. Names no patient and no device.
fn manifest(args: &Args, query: &[(&str, String)], exported: &Exported) -> anyhow::Result<PathBuf> {
    let asked = |name: &str| query.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
    let body = json!({
        "since": asked("since"), "until": asked("until"), "format": asked("format"),
        "of_one_device": args.device.is_some(), "of_one_patient": args.patient.is_some(),
        "lines": exported.lines, "left_out": exported.left_out,
    });
    let mut name = args.to.as_os_str().to_owned();
    name.push(".manifest.json");
    let path = PathBuf::from(name);
    // One of before was of a file that is not there any more.
    let file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{body:#}\n").as_bytes()));
    written.with_context(|| format!("the export is whole, and {} cannot be written", path.display()))?;
    Ok(path)
}
