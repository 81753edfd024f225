//! `wardline assign`: hand a device, or one user slot of it, to a patient; take it back; see who had it when.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::value::RawValue;

use super::readings::instant;
use super::remote::Remote;
use super::text::{self, Table};
use crate::association::History;
use crate::clock::Clock;
use crate::config::DeviceSettings;
use crate::reading::{DeviceId, PatientId};

/// Arguments of `wardline assign`.
#[derive(clap::Args)]
pub struct Args {
    /// The device, e.g. mqtt:cuff-17 or ble:C0:26:DF:00:11:22.
    device: String,
    /// Whose it is from now on, e.g. Patient/8f2c. Without it: who had the device when.
    patient: Option<String>,
    /// Only this user slot of a shared device.
    #[arg(long)]
    slot: Option<u8>,
    /// Hand-out or return: an instant, an age (2h, 3d), or `ever` where nobody else had it before. What the device stored
    /// before its hand-out is not taken for this patient's.
    #[arg(long, value_name = "WHEN", default_value = "now")]
    since: String,
    /// Nobody has it (or the slot) any more.
    #[arg(long = "return", conflicts_with = "patient")]
    back: bool,
    /// Who says so.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.patient.is_none() && !args.back {
        return show(args);
    }
    let Some(by) = &args.by else { bail!("say who decides it: --by NAME") };
    let raw = hand(
        &args.remote,
        &HandOut {
            device: &args.device,
            patient: args.patient.as_deref(),
            slot: args.slot,
            since: &args.since,
            time_zone: None,
        },
        by,
    )?;
    if args.remote.json {
        println!("{raw}");
    } else if args.back {
        println!("{}: nobody's from then on. What it stored before goes to who had it.", args.device);
    } else {
        println!(
            "{}: in force with its next message. Readings of it that are nobody's: `wardline unassigned`; readings that are \
             in the wrong chart: `wardline correct`.",
            args.device
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Who gets a device.
pub(super) struct HandOut<'a> {
    pub(super) device: &'a str,
    pub(super) patient: Option<&'a str>,
    pub(super) slot: Option<u8>,
    pub(super) since: &'a str,
    pub(super) time_zone: Option<&'a str>,
}

/// Orders it.
pub(super) fn hand(remote: &Remote, to: &HandOut<'_>, by: &str) -> anyhow::Result<Box<RawValue>> {
    let known: Vec<DeviceSettings> = remote.ask(async |client| client.get("/v1/devices", &[]).await)?;
    let before = known.into_iter().find(|d| *d.id.0 == *to.device);
    let time_zone = to.time_zone.map(str::to_owned).or(before.as_ref().and_then(|d| d.time_zone.clone()));
    let patient = to.patient.map(PatientId::new);
    let (patient, slots) = match to.slot {
        None => (patient, BTreeMap::new()),
        Some(slot) => {
            let mut slots = before.map(|d| d.slots).unwrap_or_default();
            slots.remove(&slot.to_string());
            slots.extend(patient.map(|patient| (slot.to_string(), patient)));
            (None, slots)
        }
    };
    let since = match to.since {
        "now" => Clock::system().now().timestamp(),
        "ever" => jiff::Timestamp::UNIX_EPOCH,
        when => instant(when)?,
    };
    let device = DeviceSettings { id: DeviceId(to.device.into()), patient, slots, since: Some(since), time_zone };
    let by = [("by", by.to_owned())];
    remote.ask(async |client| client.post_with("/v1/devices", &by, &device).await)
}

fn show(args: &Args) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/devices/{}/holders", args.device);
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get(&path, &[]).await)?;
    if args.remote.json {
        println!("{raw}");
        return Ok(ExitCode::SUCCESS);
    }
    let history: History = serde_json::from_str(raw.get())?;
    let mut table = Table::new(&["slot", "patient", "from", "until", "said by"]);
    for held in &history.0 {
        let slot = held.slot.map_or_else(|| "all".into(), |s| s.to_string());
        let from = held.from_ms.map_or_else(|| "ever".into(), text::minute);
        let until = held.until_ms.map_or_else(|| "now".into(), text::minute);
        table.row([slot, held.patient.reveal().to_owned(), from, until, held.by.clone()]);
    }
    print!("{}", table.render("This device was never anybody's: `wardline assign DEVICE PATIENT --by NAME`."));
    Ok(ExitCode::SUCCESS)
}
