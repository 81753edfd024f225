//! `wardline devices`: which device belongs to whom; add or change one while the gateway runs.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::bail;
use serde_json::value::RawValue;

use super::assign::{self, HandOut};
use super::remote::Remote;
use super::text::{self, Table};
use super::{pairing, record, users};
use crate::clock::{Clock, Stamp};
use crate::config::DeviceSettings;
use crate::control::radio::{Peripheral, RadioState, label};
use crate::control::technician::Link;
use crate::control::view::Status;
use crate::reading::DeviceId;

/// Arguments of `wardline devices`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Devices and whose they are.
    List(List),
    /// One device: whose it is, how it is, and what is wrong with it.
    Show(Show),
    /// A link for a technician's browser: for an hour it may add, pair and forget Bluetooth devices at the local page.
    Page(List),
    /// Add a device, or give it another holder: in force with its next message.
    Add(Add),
    /// Bluetooth devices around that are not known here: none of them is connected to.
    Scan(pairing::Scan),
    /// Pair a Bluetooth device: a window of two minutes, for this one only.
    Pair(pairing::Pair),
    /// Take a Bluetooth device's bond away; whose it is stays as it is.
    Forget(pairing::Forget),
    /// Codes of the users of a shared scale: give one, take it away, see whose are kept and what the scale said of them.
    User(users::User),
    /// Record what a known Bluetooth device sends, to report one that does not work.
    Record(record::Record),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct Show {
    /// mqtt:cuff-17, ble:C0:26:DF:00:11:22.
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct Add {
    /// Link and address: mqtt:cuff-17, ble:C0:26:DF:00:11:22.
    id: String,
    /// Whose it is, as in the configuration: Patient/8f2c.
    #[arg(long, value_name = "REFERENCE")]
    patient: String,
    /// For one user slot of a shared device; the other slots stay as they are.
    #[arg(long)]
    slot: Option<u8>,
    /// Zone of its clock, if it is not the gateway's.
    #[arg(long, value_name = "IANA NAME")]
    time_zone: Option<String>,
    /// Hand-out: an instant, an age (2h, 3d), or `ever` where nobody else had it before. What it stored before is not taken
    /// for this patient's.
    #[arg(long, value_name = "WHEN", default_value = "now")]
    since: String,
    /// Who says so.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(Command::Add(add)) => self::add(add),
        Some(Command::Scan(scan)) => pairing::scan(scan),
        Some(Command::Pair(pair)) => pairing::pair(pair),
        Some(Command::Forget(forget)) => pairing::forget(forget),
        Some(Command::User(user)) => users::user(user),
        Some(Command::Record(record)) => record::record(record),
        Some(Command::List(which)) => list(&which.remote),
        Some(Command::Show(which)) => show(which),
        Some(Command::Page(which)) => page(&which.remote),
        None => list(&args.remote),
    }
}

fn page(remote: &Remote) -> anyhow::Result<ExitCode> {
    let raw: Box<RawValue> = remote.ask(async |client| client.post("/v1/page/link", &()).await)?;
    remote.print(&raw, |link: &Link| {
        format!(
            "Open this once, within ten minutes, in a browser on this box or through a tunnel to it:\n{}\n",
            link.link
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Whose it is from the list of devices, the rest from the radio.
fn show(which: &Show) -> anyhow::Result<ExitCode> {
    let is = |id: &DeviceId| id.0.eq_ignore_ascii_case(&which.id);
    let known: Vec<DeviceSettings> = which.remote.ask(async |client| client.get("/v1/devices", &[]).await)?;
    let settings = known.into_iter().find(|d| is(&d.id));
    let status: Status = which.remote.ask(async |client| client.get("/v1/status", &[]).await)?;
    let mut radio = status.radio.unwrap_or_default();
    radio.devices.retain(|d| is(&d.id));
    let health = radio.devices.first();
    if settings.is_none() && health.is_none() {
        bail!("there is no such device here: `wardline devices list` shows those that are known");
    }
    if which.remote.json {
        println!("{}", serde_json::to_string(&serde_json::json!({ "device": settings, "radio": health }))?);
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", shown(&which.id, settings.as_ref(), health, Clock::system().now()));
    Ok(ExitCode::SUCCESS)
}

fn shown(id: &str, settings: Option<&DeviceSettings>, health: Option<&Peripheral>, now: Stamp) -> String {
    let mut out = format!("{id}\n");
    let mut line = |what: &str, value: String| out.push_str(&format!("  {what:<10} {value}\n"));
    if let Some(d) = settings {
        d.patient.iter().for_each(|p| line("patient", p.reveal().into()));
        d.slots.iter().for_each(|(slot, p)| line("patient", format!("{} (slot {slot})", p.reveal())));
        d.time_zone.iter().for_each(|zone| line("zone", zone.clone()));
    }
    let Some(d) = health else { return out };
    let ago = |ms: Option<i64>| ms.map_or_else(|| "never".into(), |ms| text::ago(ms, now));
    line("state", d.state.clone());
    line("paired", if d.paired { "yes" } else { "no" }.into());
    for (what, said) in [("maker", &d.maker), ("model", &d.model), ("firmware", &d.firmware)] {
        said.iter().for_each(|text| line(what, text.clone()));
    }
    d.hardware.iter().for_each(|version| line("hardware", version.clone()));
    d.software.iter().for_each(|version| line("software", version.clone()));
    if !d.profiles.is_empty() {
        line("profiles", d.profiles.join(", "));
    }
    line("seen", ago(d.seen_ms));
    line("answered", ago(d.answered_ms));
    let trend = d.trend.as_ref().map(|trend| format!(", {trend}")).unwrap_or_default();
    d.rssi.iter().for_each(|rssi| line("signal", format!("{rssi} dBm{trend}")));
    d.heard_every_ms.iter().for_each(|ms| line("heard", format!("each {:.1} s while awake", *ms as f64 / 1_000.0)));
    d.comes_every_s.iter().for_each(|s| line("wakes", format!("each {s} s")));
    d.battery.iter().for_each(|level| line("battery", format!("{level} %")));
    d.clock_ahead_s.iter().for_each(|s| line("clock", format!("{s} s ahead of the box")));
    line("metrics", format!("device=\"{}\"", label(&d.id)));
    line("values", format!("{} in {} connections, {} failures", d.values, d.connections, d.failures));
    d.why.iter().for_each(|why| line("why", format!("{}: {}", why.code, why.text)));
    d.gaps.iter().for_each(|gap| line("gap", format!("{}: {}", gap.code, gap.text)));
    d.users.iter().for_each(|why| line("user", format!("{}: {}", why.code, why.text)));
    out
}

fn list(remote: &Remote) -> anyhow::Result<ExitCode> {
    let raw: Box<RawValue> = remote.ask(async |client| client.get("/v1/devices", &[]).await)?;
    if remote.json {
        println!("{raw}");
        return Ok(ExitCode::SUCCESS);
    }
    let devices: Vec<DeviceSettings> = serde_json::from_str(raw.get())?;
    let mut table = Table::new(&["device", "slot", "patient", "zone"]);
    for d in &devices {
        let zone = d.time_zone.clone().unwrap_or_default();
        if let Some(patient) = &d.patient {
            table.row([d.id.to_string(), "-".into(), patient.reveal().into(), zone.clone()]);
        }
        for (slot, patient) in &d.slots {
            table.row([d.id.to_string(), slot.clone(), patient.reveal().into(), zone.clone()]);
        }
    }
    print!("{}", table.render("No device has a patient: `wardline devices add ID --patient REFERENCE`."));
    Ok(ExitCode::SUCCESS)
}

/// The radio, and how each device is.
pub(super) fn radio(radio: &RadioState, now: Stamp) -> String {
    let ago = |ms: Option<i64>| ms.map_or_else(|| "never".into(), |ms| text::ago(ms, now));
    let adapter = radio.adapter.as_deref().unwrap_or("no adapter");
    let mut out = format!("Bluetooth: {adapter}, last heard {}\n", ago(radio.heard_ms));
    let mut table =
        Table::new(&["device", "state", "dBm", "seen", "answered", "values", "failures", "battery", "paired", "why"]);
    for d in &radio.devices {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.row([
            d.id.to_string(),
            d.state.clone(),
            or_dash(d.rssi.map(|r| r.to_string())),
            ago(d.seen_ms),
            ago(d.answered_ms),
            d.values.to_string(),
            format!("{} of {}", d.failures, d.connections.max(d.failures)),
            or_dash(d.battery.map(|b| format!("{b} %"))),
            if d.paired { "yes" } else { "no" }.into(),
            d.why.as_ref().map_or_else(String::new, |w| format!("{}: {}", w.code, w.text)),
        ]);
    }
    out.push_str(&table.render("No Bluetooth device is known: `wardline devices scan` shows who is around."));
    for d in &radio.devices {
        d.gaps.iter().chain(&d.users).for_each(|gap| out.push_str(&format!("{}: {} ({})\n", d.id, gap.text, gap.code)));
    }
    out
}

fn add(add: &Add) -> anyhow::Result<ExitCode> {
    let (device, patient, time_zone) = (&*add.id, Some(&*add.patient), add.time_zone.as_deref());
    let to = HandOut { device, patient, slot: add.slot, since: &add.since, time_zone };
    let raw = assign::hand(&add.remote, &to, add.by.as_deref().unwrap_or("administrator"))?;
    if add.remote.json {
        println!("{raw}");
    } else {
        println!(
            "{}: in force with its next message. Earlier readings of it that are nobody's: `wardline unassigned`.",
            add.id
        );
    }
    Ok(ExitCode::SUCCESS)
}
