//! `wardline explain`: everything about one reading: bytes, rule, resource, attempts, receipt.

use std::process::ExitCode;

/// Arguments of `wardline explain`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
