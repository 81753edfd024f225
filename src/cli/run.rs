//! `wardline run`: run the gateway.

use std::process::ExitCode;

/// Arguments of `wardline run`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
