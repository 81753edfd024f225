//! `wardline demo`: virtual patients through an outage: nothing lost.

use std::process::ExitCode;

/// Arguments of `wardline demo`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
