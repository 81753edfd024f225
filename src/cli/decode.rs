//! `wardline decode`: decode bytes of a characteristic, or check a file of vectors.

use std::process::ExitCode;

/// Arguments of `wardline decode`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
