//! `wardline correct`: readings that were sent and are wrong; each is taken back everywhere, and the right one is sent.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::bail;
use serde_json::value::RawValue;

use super::readings::instant;
use super::remote::Remote;
use crate::control::charts::{Corrected, Correction, Right};
use crate::control::view::Row;
use crate::reading::{DeviceId, PatientId, ReadingKey};

/// Arguments of `wardline correct`.
#[derive(clap::Args)]
pub struct Args {
    /// These readings: ids, or the beginnings of them. None: all of the device that match.
    readings: Vec<String>,
    /// Readings of this device.
    #[arg(long)]
    device: Option<String>,
    /// Of this user slot.
    #[arg(long)]
    slot: Option<u8>,
    /// In the chart of this patient.
    #[arg(long, value_name = "PATIENT")]
    from: Option<String>,
    /// Taken since then: an age (90m, 12h, 7d) or an instant.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Taken before then.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    #[command(flatten)]
    right: WhatIsRight,
    /// Who says so.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why. No patient data.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct WhatIsRight {
    /// They are this patient's.
    #[arg(long, value_name = "PATIENT")]
    to: Option<String>,
    /// It is not known whose they are: they wait for a person.
    #[arg(long)]
    nobody: bool,
    /// They are nobody's who is cared for here (a visitor, a test): they are taken back, and that is all.
    #[arg(long)]
    void: bool,
    /// The device's profile was wrong: read the stored bytes again, with the profiles in force.
    #[arg(long)]
    reread: bool,
    /// What was sent of them was wrong (codes, units of a destination): send them anew.
    #[arg(long)]
    resend: bool,
}

impl WhatIsRight {
    fn right(&self) -> Right {
        match &self.to {
            Some(patient) => Right::Patient(PatientId::new(patient)),
            None if self.nobody => Right::Nobody,
            None if self.reread => Right::Reread,
            None if self.resend => Right::Resent,
            None => Right::Void,
        }
    }
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.readings.is_empty() && args.device.is_none() {
        bail!("name the readings, or their device with --device");
    }
    let ms =
        |when: &Option<String>| when.as_deref().map(|w| instant(w).map(jiff::Timestamp::as_millisecond)).transpose();
    let order = Correction {
        keys: keys(args)?,
        device: args.device.as_deref().map(|d| DeviceId(d.into())),
        slot: args.slot,
        from: args.from.as_deref().map(PatientId::new),
        since_ms: ms(&args.since)?,
        until_ms: ms(&args.until)?,
        to: args.right.right(),
        by: args.by.clone(),
        reason: args.reason.clone(),
        dry_run: args.dry_run,
    };
    let raw: Box<RawValue> = args.remote.ask_patiently(async |client| client.post("/v1/corrections", &order).await)?;
    let done = args.remote.print(&raw, |done: &Corrected| say(done, args.dry_run))?;
    Ok(if done.corrected.is_empty() || done.left > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn say(done: &Corrected, dry_run: bool) -> String {
    let n = done.corrected.len();
    let s = if n == 1 { "" } else { "s" };
    let mut out = match dry_run {
        true => format!("{n} reading{s} would be corrected. Nothing was changed or sent.\n"),
        false => format!(
            "{n} reading{s} corrected: taken back at every destination that had them, and sent as they are right. `wardline \
             explain ID` says where each stands.\n"
        ),
    };
    done.corrected.iter().take(SHOWN).for_each(|key| out.push_str(&format!("  {key}\n")));
    if n > SHOWN {
        out.push_str(&format!("  … and {} more (--json lists all)\n", n - SHOWN));
    }
    if let Some(why) = &done.why {
        out.push_str(&format!("{} not corrected: {why}.\n", done.left));
    }
    out
}

/// Readings that are listed.
const SHOWN: usize = 10;

/// Full ids as they are; beginnings among the newest readings.
fn keys(args: &Args) -> anyhow::Result<Vec<ReadingKey>> {
    let mut keys = Vec::new();
    let mut newest: Option<Vec<Row>> = None;
    for id in &args.readings {
        if let Ok(key) = id.parse() {
            keys.push(key);
            continue;
        }
        if newest.is_none() {
            let query = [("limit", "1000".to_owned())];
            newest = Some(args.remote.ask(async |client| client.get("/v1/readings", &query).await)?);
        }
        let all = newest.iter().flatten().map(|row| row.reading.key);
        let mut meant = all.filter(|key| key.to_string().starts_with(id));
        match (meant.next(), meant.next()) {
            (Some(key), None) => keys.push(key),
            (Some(_), Some(_)) => bail!("several readings begin with `{id}`: give more of the id"),
            (None, _) => bail!("no reading among the newest 1000 begins with `{id}`: give the whole id"),
        }
    }
    Ok(keys)
}
