//! `wardline generate`: shell completions and man pages.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

/// Arguments of `wardline generate`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Completions of a shell, on standard output.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Man pages, one for each command, into a folder.
    Man {
        /// Created if it is not there.
        folder: PathBuf,
    },
}

/// Writes them.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut command = super::Cli::command();
    match &args.what {
        What::Completions { shell } => {
            clap_complete::generate(*shell, &mut command, "wardline", &mut std::io::stdout());
        }
        What::Man { folder } => {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(command, folder)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
