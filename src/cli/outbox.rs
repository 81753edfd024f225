//! `wardline outbox`: what waits for each destination, and why.

use std::process::ExitCode;

/// Arguments of `wardline outbox`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
