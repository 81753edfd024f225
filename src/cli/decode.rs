//! `wardline decode`: decode bytes of a characteristic, or check a file of vectors.
//!
//! Exit codes: 0 decoded or all passed, 1 a vector failed, 2 the bytes are rejected (with a `WL-D` code).
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::codec::vectors::{Vectors, octets};
use crate::codec::{Quirk, find, reject};
use crate::reading::Reject;

/// Arguments of `wardline decode`.
#[derive(clap::Args)]
pub struct Args {
    /// What the bytes are: 2A35, ADV:FCD2, SFLOAT, FLOAT, CRC16.
    #[arg(long, value_name = "NAME", requires = "hex", required_unless_present = "vectors")]
    characteristic: Option<String>,
    /// The bytes, in hexadecimal.
    #[arg(requires = "characteristic")]
    hex: Option<String>,
    /// A device's known deviation to tolerate: beurer-bm85.
    #[arg(long, value_name = "NAME", requires = "characteristic")]
    quirk: Option<String>,
    /// Check a file of test vectors instead.
    #[arg(long, value_name = "FILE", conflicts_with = "characteristic")]
    vectors: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match (&args.vectors, &args.characteristic, &args.hex) {
        (Some(file), ..) => check(file),
        (None, Some(name), Some(hex)) => Ok(show(name, hex, args.quirk.as_deref().unwrap_or("none"))),
        _ => anyhow::bail!("nothing to decode"),
    }
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let vectors: Vectors =
        serde_json::from_str(&text).with_context(|| format!("{} is not a file of vectors", file.display()))?;
    let report = vectors.check();
    report.mismatches.iter().for_each(|line| println!("{line}"));
    println!("{} passed, {} failed", report.passed, report.mismatches.len());
    Ok(if report.mismatches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A record with a broken checksum is shown, and rejected all the same.
fn show(name: &str, hex: &str, quirk: &str) -> ExitCode {
    let rejected = |r: &Reject| {
        eprintln!("{r}. {}", reject::remedy(r.code));
        ExitCode::from(2)
    };
    let record = (|| {
        let codec = find(&name.to_ascii_uppercase()).ok_or(reject::UNKNOWN_CODEC)?;
        codec.inspect(&octets(hex)?, quirk.parse::<Quirk>()?)
    })();
    match record {
        Err(r) => rejected(&r),
        Ok(record) => {
            println!("{}", record.to_json());
            if record.intact() { ExitCode::SUCCESS } else { rejected(&reject::BROKEN_CRC) }
        }
    }
}
