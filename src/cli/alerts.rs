//! `wardline alerts`: list and acknowledge alerts.

use std::process::ExitCode;

/// Arguments of `wardline alerts`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
