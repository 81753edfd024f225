//! `wardline status`: what the gateway is doing now.

use std::process::ExitCode;

/// Arguments of `wardline status`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
