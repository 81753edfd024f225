//! `wardline check`: check configuration, profiles and rules.

use std::process::ExitCode;

/// Arguments of `wardline check`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
