//! What the commands that ask a running gateway share: its socket, and a small runtime.

#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::config::{Config, ControlSettings};
use crate::control::client::{Client, ClientError};

/// Where the configuration is, unless somebody says otherwise.
pub const CONFIG: &str = "/etc/wardline/wardline.toml";

/// Which gateway, and how to print.
#[derive(clap::Args)]
pub struct Remote {
    /// Configuration file: names the control socket.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Control socket, instead of the one that the configuration names.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl Remote {
    /// Asks the gateway: `question` gets a client for its socket.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(Client) -> Result<T, ClientError>) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::new(&self.socket()).map_err(|e| anyhow::anyhow!(e.sentence()))?;
        runtime.block_on(question(client)).map_err(|e| anyhow::anyhow!(e.sentence()))
    }

    /// Asks for something that may take minutes.
    pub fn ask_patiently<T>(&self, question: impl AsyncFnOnce(Client) -> Result<T, ClientError>) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::patient(&self.socket()).map_err(|e| anyhow::anyhow!(e.sentence()))?;
        runtime.block_on(question(client)).map_err(|e| anyhow::anyhow!(e.sentence()))
    }

    /// Asks for something that comes piece by piece for so long.
    pub fn listen<T>(
        &self,
        length: std::time::Duration,
        question: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
    ) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::listening(&self.socket(), length).map_err(|e| anyhow::anyhow!(e.sentence()))?;
        runtime.block_on(question(client)).map_err(|e| anyhow::anyhow!(e.sentence()))
    }

    /// Prints what the gateway said, as it said it or for people.
    pub fn print<T: DeserializeOwned>(&self, raw: &RawValue, render: impl FnOnce(&T) -> String) -> anyhow::Result<T> {
        let said = serde_json::from_str(raw.get())?;
        if self.json {
            println!("{raw}");
        } else {
            print!("{}", render(&said));
        }
        Ok(said)
    }

    /// A member of the socket's group need not be able to read the configuration: then it is the packaged socket.
    fn socket(&self) -> PathBuf {
        let named = || named_socket(&self.config);
        self.socket.clone().or_else(named).unwrap_or_else(|| ControlSettings::default().socket)
    }
}

fn named_socket(config: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(config).ok()?;
    Config::parse(&text, config).ok().map(|c| c.control.socket)
}
