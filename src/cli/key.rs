//! `wardline key`: the key that encrypts the journal: making one, and changing it.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use super::offline;
use crate::fault::sentence;
use crate::journal::{Key, rekey};

/// Arguments of `wardline key`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print a new key: 64 hexadecimal digits. Whoever has it and the disk can read everything.
    New,
    /// Encrypt the journal with another key; the gateway must not run.
    Rotate {
        /// File with the new key.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Configuration file of the gateway; it names the key that is in use.
        #[arg(long, value_name = "FILE", default_value = super::remote::CONFIG)]
        config: PathBuf,
    },
}

/// Makes or changes the key.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::New => {
            let key = Key::generate().map_err(|e| anyhow::anyhow!(sentence(&e)))?;
            println!("{}", *key.reveal());
        }
        Command::Rotate { to, config } => {
            let (_, vault) = offline::vault(config)?;
            let new = offline::key(to)?;
            rekey::rotate(&vault, &new).map_err(|e| anyhow::anyhow!(sentence(&e)))?;
            println!("The journal is encrypted with the new key, and with no other.");
            println!("Name it in `journal.key_file`, then start the gateway. Copies made before need the old key.");
        }
    }
    Ok(ExitCode::SUCCESS)
}
