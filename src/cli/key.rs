//! `wardline key`: the key that encrypts the journal, and those that a FHIR destination knows the gateway by.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use super::offline;
use crate::fault::sentence;
use crate::journal::{Key, rekey};
use crate::sink::smart::file::{self, Keys};
use crate::sink::smart::key::Alg;

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
    /// Keys for SMART Backend Services; docs/authentication.md says who does what with them.
    Smart {
        #[command(subcommand)]
        command: Smart,
    },
}

#[derive(clap::Subcommand)]
enum Smart {
    /// Make a key in a file that must not be there yet; print its public half.
    New {
        /// The file, as in `auth.key_file`.
        file: PathBuf,
        /// How it signs.
        #[arg(long, value_enum, default_value = "es384")]
        alg: Signs,
    },
    /// Make the key that shall take its place, beside it; print the public halves of both.
    Rotate {
        /// The file of the key in use.
        file: PathBuf,
        /// How the new one signs; as the one in use, if it is not given.
        #[arg(long, value_enum)]
        alg: Option<Signs>,
    },
    /// Print the public halves (a JWK set): this is what the centre registers.
    Jwks {
        /// The file of the key in use.
        file: PathBuf,
        /// Write them into this file instead.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Signs {
    /// P-384; what to take if the centre does not say.
    Es384,
    /// RSA, 3,072 bits.
    Rs384,
}

impl From<Signs> for Alg {
    fn from(signs: Signs) -> Self {
        match signs {
            Signs::Es384 => Self::Es384,
            Signs::Rs384 => Self::Rs384,
        }
    }
}

/// Makes or changes the key.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::New => {
            let key = Key::generate().map_err(|e| anyhow::anyhow!(sentence(&e)))?;
            println!("{}", *key.reveal());
        }
        Command::Smart { command } => smart(command)?,
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

/// Public halves go to standard output alone, so that they can be piped.
fn smart(command: &Smart) -> anyhow::Result<()> {
    let read = |file| Keys::read(file).map_err(|e| anyhow::anyhow!(sentence(&e)));
    match command {
        Smart::New { file, alg } => {
            file::make(file, (*alg).into()).map_err(|e| anyhow::anyhow!(sentence(&e)))?;
            print!("{}", read(file)?.public());
        }
        Smart::Rotate { file, alg } => {
            // Only beside one that works.
            let used = read(file)?.current.alg();
            file::make(&file::beside(file), alg.map_or(used, Into::into)).map_err(|e| anyhow::anyhow!(sentence(&e)))?;
            print!("{}", read(file)?.public());
        }
        Smart::Jwks { file, out: None } => print!("{}", read(file)?.public()),
        Smart::Jwks { file, out: Some(out) } => read(file)?.publish(out)?,
    }
    Ok(())
}
