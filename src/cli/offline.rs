//! What the commands share that work on a gateway's state while it does not run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::fault::sentence;
use crate::journal::{Key, Vault};

/// Where encrypted credentials lie that a unit loads from `/run/credentials/UNIT/NAME`.
const STORES: &[&str] = &["/etc/credstore.encrypted", "/etc/credstore"];

/// The gateway's settings, and its journal with the key.
pub fn vault(file: &Path) -> anyhow::Result<(Config, Vault)> {
    let config = config(file)?;
    let vault = match &config.journal.key_file {
        Some(key) => Vault::new(&config.gateway.state, Some(self::key(key)?)),
        None => Vault::new(&config.gateway.state, None),
    };
    Ok((config, vault))
}

/// The key in this file. While the gateway does not run, its credentials are not there: then from where they are stored.
pub fn key(file: &Path) -> anyhow::Result<Key> {
    let read = || Key::read(file).map_err(|e| anyhow::anyhow!(sentence(&e)));
    let stored = stored(file).into_iter().find(|_| !file.exists());
    let Some((stored, name)) = stored.zip(file.file_name()) else { return read() };
    if stored.starts_with("/etc/credstore") && !stored.starts_with("/etc/credstore.encrypted") {
        return Key::read(&stored).map_err(|e| anyhow::anyhow!(sentence(&e)));
    }
    let mut decrypt = Command::new("systemd-creds");
    let answer = decrypt.arg("decrypt").arg("--name").arg(name).arg(&stored).arg("-").output();
    let answer = answer.context("systemd-creds cannot be run")?;
    let key = Key::parse(Zeroizing::new(answer.stdout).trim_ascii());
    let said = String::from_utf8_lossy(&answer.stderr);
    key.with_context(|| format!("{} could not be decrypted on this machine: {}", stored.display(), said.trim()))
}

/// What a credential of the service manager is made from.
pub fn stored(credential: &Path) -> Vec<PathBuf> {
    let Some(name) = credential.file_name().filter(|_| credential.starts_with("/run/credentials")) else {
        return Vec::new();
    };
    let name = name.to_string_lossy();
    let places =
        STORES.iter().flat_map(|s| [format!("wardline.{name}"), name.to_string()].map(|n| Path::new(s).join(n)));
    places.filter(|place| place.exists()).collect()
}

/// The gateway's settings.
pub fn config(file: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Config::parse(&text, file).map_err(|_| anyhow::anyhow!("{} is not valid: run `wardline check {0}`", file.display()))
}
