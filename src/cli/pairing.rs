//! `wardline devices scan | pair | forget`: Bluetooth devices around, and their bonds.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::clock::Clock;
use crate::control::radio::{Pairing, Reply, Stranger, Which};
use crate::reading::DeviceId;

/// How often it is asked how far the pairing is.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Arguments of `wardline devices scan`.
#[derive(clap::Args)]
pub(super) struct Scan {
    #[command(flatten)]
    remote: Remote,
}

/// Arguments of `wardline devices pair`.
#[derive(clap::Args)]
pub(super) struct Pair {
    /// As `wardline devices scan` shows it: ble:C0:26:DF:00:11:22.
    id: String,
    /// The six digits that the device shows; else they are asked for.
    #[arg(long)]
    passkey: Option<u32>,
    /// Take it that the device shows the same digits, where they are to be compared.
    #[arg(long)]
    same: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Arguments of `wardline devices forget`.
#[derive(clap::Args)]
pub(super) struct Forget {
    /// ble:C0:26:DF:00:11:22.
    id: String,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn scan(scan: &Scan) -> anyhow::Result<ExitCode> {
    let raw: Box<RawValue> = scan.remote.ask(async |client| client.get("/v1/bluetooth/strangers", &[]).await)?;
    let now = Clock::system().now();
    scan.remote.print(&raw, |strangers: &Vec<Stranger>| {
        let mut table = Table::new(&["device", "name", "dBm", "seen", "profile"]);
        for s in strangers {
            table.row([
                s.id.to_string(),
                s.name.clone().unwrap_or_else(|| "-".into()),
                s.rssi.map_or_else(|| "-".into(), |rssi| rssi.to_string()),
                text::ago(s.seen_ms, now),
                if s.profiles.is_empty() { "-".into() } else { s.profiles.join(", ") },
            ]);
        }
        table.render("Nobody else was heard within the last minute. Is the device awake, in its pairing mode?")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn which(id: &str) -> Which {
    Which { device: DeviceId(id.into()) }
}

pub(super) fn forget(forget: &Forget) -> anyhow::Result<ExitCode> {
    let which = which(&forget.id);
    let raw: Box<RawValue> = forget.remote.ask(async |client| client.post("/v1/bluetooth/forget", &which).await)?;
    if forget.remote.json {
        println!("{raw}");
    } else {
        println!("{}: its bond is gone. Take it away on the device as well, if it has a menu for that.", forget.id);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pair(pair: &Pair) -> anyhow::Result<ExitCode> {
    let which = which(&pair.id);
    let _: Box<RawValue> = pair.remote.ask(async |client| client.post("/v1/bluetooth/pairing", &which).await)?;
    let mut before = String::new();
    loop {
        let now: Option<Pairing> = pair.remote.ask(async |client| client.get("/v1/bluetooth/pairing", &[]).await)?;
        let Some(now) = now.filter(|p| p.device == which.device) else { bail!("the pairing window is closed") };
        let (news, stage) = (now.stage != before, now.stage.clone());
        if news && !pair.remote.json {
            say(&now);
        }
        before.clone_from(&stage);
        match stage.as_str() {
            "paired" | "failed" => {
                if pair.remote.json {
                    println!("{}", serde_json::to_string(&now)?);
                }
                return Ok(if stage == "paired" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            "enter" if news => {
                let passkey = match pair.passkey {
                    Some(passkey) => passkey,
                    None => line()?.parse().map_err(|_| anyhow::anyhow!("six digits are needed"))?,
                };
                reply(pair, Reply { passkey: Some(passkey), same: None })?;
            }
            "compare" if news => {
                let same = pair.same || line()?.eq_ignore_ascii_case("yes");
                reply(pair, Reply { passkey: None, same: Some(same) })?;
            }
            _ => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn say(now: &Pairing) {
    let passkey = now.passkey.as_deref().unwrap_or_default();
    match now.stage.as_str() {
        "waiting" => {
            println!("Bring the device into its pairing mode. It is waited for for two minutes.");
            now.steps.iter().enumerate().for_each(|(n, step)| println!("  {}. {step}", n + 1));
        }
        "talking" => println!("It is there."),
        "enter" => println!("Type the six digits that the device shows:"),
        "show" => println!("Type {passkey} into the device."),
        "compare" => println!("Does the device show {passkey}? yes or no:"),
        "paired" => println!("Paired."),
        _ => println!("Not paired: {}.", now.why.as_deref().unwrap_or("it did not work")),
    }
}

fn reply(pair: &Pair, reply: Reply) -> anyhow::Result<()> {
    let _: Box<RawValue> = pair.remote.ask(async |client| client.post("/v1/bluetooth/pairing/reply", &reply).await)?;
    Ok(())
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}
