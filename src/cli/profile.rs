//! `wardline profile`: firmware profiles: list, show, test.

use std::process::ExitCode;

/// Arguments of `wardline profile`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
