//! `wardline generate`: shell completions and man pages.

use std::process::ExitCode;

/// Arguments of `wardline generate`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
