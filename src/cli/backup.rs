//! `wardline backup` and `wardline restore`: a checked copy of the journal, and the way back.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use super::offline;
use super::remote::Remote;
use super::text;
use crate::clock::Clock;
use crate::fault::sentence;
use crate::journal::backup::{self, Copy};

/// Arguments of `wardline backup`.
#[derive(clap::Args)]
pub struct BackupArgs {
    /// New file. It holds patient data.
    file: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

/// Arguments of `wardline restore`.
#[derive(clap::Args)]
pub struct RestoreArgs {
    /// A copy that `wardline backup` made.
    file: PathBuf,
    /// Configuration file of the gateway, which must not run.
    #[arg(long, value_name = "FILE", default_value = super::remote::CONFIG)]
    config: PathBuf,
    /// File with the key that the copy was made with, if it is not this gateway's.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Put aside the journal that is there. What it owes is not delivered.
    #[arg(long)]
    replace: bool,
}

/// Asks the running gateway for a copy.
pub fn backup(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let held = args.remote.ask_patiently(async |client| client.backup(&args.file).await)?;
    if args.remote.json {
        println!("{}", serde_json::to_string(&held)?);
        return Ok(ExitCode::SUCCESS);
    }
    let copy = Copy { readings: held.readings, newest_ms: held.newest_ms, bytes: held.bytes, head: held.head };
    print!("{}", sentences(&copy));
    println!("Written to {}, checked.", args.file.display());
    Ok(ExitCode::SUCCESS)
}

/// Puts a copy back.
pub fn restore(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let (config, vault) = offline::vault(&args.config)?;
    let key_file = args.key_file.as_ref().or(config.journal.key_file.as_ref());
    let key = key_file.map(|file| offline::key(file)).transpose()?;
    let now_ms = Clock::system().now().wall_ms;
    let restored = backup::restore(&args.file, key.as_ref(), &vault, args.replace, now_ms);
    let (copy, aside) = restored.map_err(|e| anyhow::anyhow!(sentence(&e)))?;
    print!("{}", sentences(&copy));
    if let Some(aside) = aside {
        println!("The journal that was there is in {}.", aside.display());
    }
    println!("Restored. Start the gateway: what was delivered after the copy is sent again, and known there.");
    println!("What was taken in after the copy is not in it.");
    Ok(ExitCode::SUCCESS)
}

fn sentences(copy: &Copy) -> String {
    let newest = copy.newest_ms.map_or_else(|| "none".into(), text::time);
    let mut out = format!("{} readings, the newest taken in at {newest}; {} octets.\n", copy.readings, copy.bytes);
    if let Some(head) = &copy.head {
        out += &format!("Seal of the newest entry of the chain of custody: {head}\n");
    }
    out
}
