//! `wardline lab`: virtual devices, patients and servers with bad manners.

use std::process::ExitCode;

/// Arguments of `wardline lab`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
