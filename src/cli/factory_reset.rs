//! `wardline factory-reset`: destroys the key and all that the gateway keeps, and says what it could not destroy.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use super::offline;
use crate::config::{Config, DestinationSettings};
use crate::fault::sentence;
use crate::journal::reader::Reader;
use crate::journal::{Vault, reset};

/// Arguments of `wardline factory-reset`.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file of the gateway, which must not run.
    #[arg(long, value_name = "FILE", default_value = super::remote::CONFIG)]
    config: PathBuf,
    /// The gateway's id, to say that this box is meant. Without it nothing is destroyed.
    #[arg(long, value_name = "GATEWAY-ID")]
    confirm: Option<String>,
}

/// Destroys. Exit code 1: nothing was destroyed, or something is left for a person to destroy.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = offline::config(&args.config)?;
    let keys = key_files(&config);
    if args.confirm.as_deref() != Some(config.gateway.id.as_str()) {
        println!("This would destroy everything in {}", config.gateway.state.display());
        keys.iter().for_each(|key| println!("and the key {}", key.display()));
        println!("{}", owed(&config));
        println!("Say `--confirm {}` to do it.", config.gateway.id);
        return Ok(ExitCode::FAILURE);
    }
    let destroyed = reset::destroy(&config.gateway.state, &keys).map_err(|e| anyhow::anyhow!(sentence(&e)))?;
    for key in &destroyed.keys {
        println!("Destroyed the key {}.", key.display());
    }
    println!("Removed everything in {}.", config.gateway.state.display());
    let mut whole = true;
    if config.journal.key_file.is_some() && destroyed.keys.is_empty() {
        whole = false;
        println!("The key was NOT found where it is stored: destroy it, and every copy of it.");
    }
    if config.journal.unencrypted {
        whole = false;
        println!("The journal was not encrypted: what was removed can be recovered from the disk. Destroy the disk.");
    } else if destroyed.was_plain {
        whole = false;
        println!(
            "The journal was not encrypted from the beginning: what was written before can be recovered from the disk. \
             Destroy the disk."
        );
    }
    for folder in left(&config) {
        whole = false;
        println!("Files that went to {} are still there.", folder.display());
    }
    if whole {
        println!(
            "No reading can be read from this disk any more. Copies made with `wardline backup` need the same key."
        );
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The file that the configuration names; for a credential of the service manager, what it is made from.
fn key_files(config: &Config) -> Vec<PathBuf> {
    let Some(file) = &config.journal.key_file else { return Vec::new() };
    if file.starts_with("/run/credentials") { offline::stored(file) } else { vec![file.clone()] }
}

fn owed(config: &Config) -> String {
    let key = config.journal.key_file.as_ref().map(|file| offline::key(file)).transpose();
    let vault = key.map(|key| Vault::new(&config.gateway.state, key));
    let waiting = vault.ok().and_then(|vault| Reader::new(&vault).custody().ok());
    match waiting {
        Some(custody) if custody.waiting == 0 => "Every reading has been delivered.".into(),
        Some(custody) => format!("{} readings are NOT delivered yet and would be lost.", custody.waiting),
        None => "The journal cannot be read: what it owes is not known.".into(),
    }
}

/// Folders outside the state that hold readings.
fn left(config: &Config) -> Vec<PathBuf> {
    let folder = |d: &DestinationSettings| match d {
        DestinationSettings::Ndjson(n) => Some(n.folder.clone()),
        DestinationSettings::Fhir(_)
        | DestinationSettings::Hl7(_)
        | DestinationSettings::Webhook(_)
        | DestinationSettings::Nats(_) => None,
    };
    let all = config.destinations.iter().filter_map(folder);
    all.filter(|f| !f.starts_with(&config.gateway.state) && f.exists()).collect()
}
