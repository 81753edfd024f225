//! The journal as the control plane's handlers see it.

use std::path::PathBuf;
use std::sync::Arc;

use ring::digest::{Context, SHA256};

use super::consents::Waiting;
use super::export::{Permit, permit};
use crate::alarm::Alert;
use crate::clock::Clock;
use crate::config::{Config, DestinationSettings, DeviceSettings, JournalSettings};
use crate::control::witness::Taken;
use crate::control::{Pieces, Records, Unreadable, view};
use crate::custody::Why;
use crate::fhir::{Identity, Scope, write_observation};
use crate::journal::reader::{Attempt, Entry, Of, ReadError, Reader, Standing};
use crate::journal::{Day, DayCounts, Journal, Room, Verified, backup};
use crate::limits;
use crate::reading::{Reading, ReadingKey};
use crate::sink::claims;

/// The journal, with what only the configuration knows.
struct Book {
    reader: Reader,
    devices: Vec<DeviceSettings>,
    scope: Scope,
    journal: Journal,
    folder: PathBuf,
    settings: JournalSettings,
    permit: Permit,
    waiting: Arc<Waiting>,
}

/// For the gateway of this configuration.
pub(super) fn of(config: &Config, journal: &Journal, clock: &Clock, waiting: Arc<Waiting>) -> Arc<dyn Records> {
    Arc::new(Book {
        reader: journal.reader(),
        devices: config.devices.clone(),
        scope: scope(config),
        journal: journal.clone(),
        folder: config.gateway.state.clone(),
        settings: config.journal.clone(),
        permit: permit(config, journal, clock),
        waiting,
    })
}

/// Who we are and what we claim to the first FHIR destination, in a resource that is only looked at.
pub(super) fn scope(config: &Config) -> Scope {
    let gateway = config.gateway.id.as_str().into();
    let first = config.destinations.iter().find_map(|d| match d {
        DestinationSettings::Fhir(fhir) => Some(fhir),
        DestinationSettings::Hl7(_)
        | DestinationSettings::Ndjson(_)
        | DestinationSettings::Webhook(_)
        | DestinationSettings::Nats(_) => None,
    });
    // A table that cannot be read ends the start elsewhere.
    first.and_then(|fhir| claims::scope(fhir, &gateway).ok()).unwrap_or_else(|| Scope::new(gateway))
}

impl From<ReadError> for Unreadable {
    fn from(e: ReadError) -> Self {
        Self(e.to_string())
    }
}

impl Records for Book {
    fn readings(&self, filter: &view::Filter) -> Result<Vec<view::Row>, Unreadable> {
        let found = self.reader.readings(filter.device.as_deref(), filter.since_ms, filter.limit)?;
        found.into_iter().map(|entry| self.row(entry)).collect()
    }

    fn explain(&self, key: ReadingKey) -> Result<Option<view::Explained>, Unreadable> {
        let Some(entry) = self.reader.find(key)? else { return Ok(None) };
        let bytes = self.reader.bytes(entry.id)?;
        let tried = self.reader.attempts(Of::Reading(entry.id), limits::READINGS_LISTED_MAX)?;
        let row = self.row(entry)?;
        Ok(Some(view::Explained {
            frame: bytes.map(|b| view::RawFrame {
                source: b.source,
                channel: b.channel,
                hex: b.octets.map(|octets| octets.iter().map(|o| format!("{o:02x}")).collect()),
                received_ms: row.reading.taken.received.wall_ms,
            }),
            rule: row.reading.profile.clone(),
            resource: self.resource(&row.reading),
            reading: row.reading,
            committed_ms: row.committed_ms,
            attempts: tried.into_iter().map(attempt).collect(),
            destinations: row.destinations,
        }))
    }

    fn alerts(&self, limit: usize) -> Result<Vec<Alert>, Unreadable> {
        Ok(self.reader.alerts(limit)?)
    }

    fn outbox(&self, destination: Option<&str>) -> Result<Vec<view::Outbox>, Unreadable> {
        let accounts = self.reader.accounts()?.into_iter();
        let wanted = accounts.filter(|a| destination.is_none_or(|name| *a.destination == *name));
        wanted
            .map(|a| {
                let failures = self.reader.attempts(Of::Destination(&a.destination), limits::FAILURES_LISTED_MAX)?;
                Ok(view::Outbox {
                    waiting: a.waiting,
                    oldest_ms: a.oldest_ms,
                    rejected: a.rejected,
                    delivered: a.delivered,
                    failures: failures.into_iter().map(failure).collect(),
                    withheld: self.waiting.at(&a.destination)?,
                    destination: a.destination,
                })
            })
            .collect()
    }

    fn custody(&self, since_ms: i64) -> Result<Vec<view::Day>, Unreadable> {
        Ok(self.reader.days(since_ms)?.into_iter().map(day).collect())
    }

    fn seal(&self) -> Result<Option<String>, Unreadable> {
        Ok(self.reader.seal()?)
    }

    fn verify(&self) -> Result<view::Verified, Unreadable> {
        let Verified { entries, readings, removed, head, faults } = self.journal.reader().verify()?;
        Ok(view::Verified { intact: faults.is_empty(), entries, readings, removed, head, faults })
    }

    fn storage(&self, now_ms: i64) -> Result<view::Storage, Unreadable> {
        let room = self.reader.room(&self.folder, now_ms)?;
        let JournalSettings { keep_settled_days, budget_mib, reserve_mib, .. } = self.settings;
        let Room { used, file, wal, free, readings, waiting, with_bytes, oldest_ms, last_day } = room;
        let (budget, reserve) = (budget_mib << 20, reserve_mib << 20);
        // The file gives free pages to new readings first.
        let left = free.map(|f| f.saturating_sub(reserve) + file.saturating_sub(used));
        let a_day = used.checked_div(readings).map(|each| each * last_day).filter(|n| *n > 0);
        let days_left = left.zip(a_day).map(|(left, a_day)| left / a_day);
        Ok(view::Storage {
            budget,
            reserve,
            keep_settled_days,
            used,
            file,
            wal,
            free,
            readings,
            waiting,
            with_bytes,
            oldest_ms,
            last_day,
            days_left,
        })
    }

    fn copy(&self) -> Result<(view::Copy, PathBuf), Unreadable> {
        // A sight of its own: others need not wait until every page is read.
        let reader = self.journal.reader();
        let file = self.folder.join("backup.sqlite3");
        // The reserve is for alerts and for what is owed, not for copies.
        let Room { used, free, .. } = reader.room(&self.folder, 0)?;
        if free.is_some_and(|free| free < used + (self.settings.reserve_mib << 20)) {
            return Err(Unreadable("there is no room for a copy beside the journal and its reserve".into()));
        }
        // Of a backup that was broken off.
        let _ = std::fs::remove_file(&file);
        let unreadable = |e: std::io::Error| Unreadable(e.to_string());
        let copied = reader.copy_to(&file).map_err(Unreadable::from).and_then(|copy| {
            let sha256 = sha256(&file).map_err(unreadable)?;
            let backup::Copy { readings, newest_ms, bytes, head } = copy;
            Ok(view::Copy { readings, newest_ms, bytes, sha256, head })
        });
        if copied.is_err() {
            let _ = std::fs::remove_file(&file);
        }
        Ok((copied?, file))
    }

    fn export(&self, filter: view::ExportFilter, taken: Taken) -> Result<Pieces, Unreadable> {
        // A sight of its own, as for a copy.
        super::export::begin(self.journal.reader(), filter, self.permit.clone(), taken)
    }

    fn devices(&self) -> Result<Vec<DeviceSettings>, Unreadable> {
        let mut devices = self.reader.devices()?;
        let later: Vec<_> = devices.iter().map(|d| d.id.clone()).collect();
        devices.extend(self.devices.iter().filter(|d| !later.contains(&d.id)).cloned());
        Ok(devices)
    }
}

impl Book {
    fn row(&self, entry: Entry) -> Result<view::Row, Unreadable> {
        // An unassigned reading is owed to nobody.
        let standings = if entry.reading.patient.is_some() { self.reader.standings(entry.id)? } else { Vec::new() };
        let destinations = standings.into_iter().map(|(destination, standing)| {
            let (state, note) = match standing {
                Standing::Waiting => ("waiting", None),
                Standing::Delivered(place) => ("delivered", place),
                Standing::Rejected(code, reason) => ("rejected", Some(format!("{code}: {reason}"))),
            };
            view::Standing { destination, state: state.into(), note }
        });
        Ok(view::Row { destinations: destinations.collect(), committed_ms: entry.committed_ms, reading: entry.reading })
    }

    fn resource(&self, reading: &Reading) -> Option<Box<serde_json::value::RawValue>> {
        let mut json = Vec::new();
        let identity = Identity::of(reading).ok()?;
        write_observation(reading, &self.scope, &identity, None, &mut json).ok()?;
        serde_json::value::RawValue::from_string(String::from_utf8(json).ok()?).ok()
    }
}

fn attempt(tried: Attempt) -> view::Attempt {
    view::Attempt {
        destination: tried.destination,
        at_ms: tried.at_ms,
        outcome: if tried.rejected { "rejected" } else { "retry" }.into(),
        note: Some(format!("{}: {}", tried.code, tried.reason)),
    }
}

fn failure(tried: Attempt) -> view::Failure {
    view::Failure {
        item: format!("reading {}", tried.key),
        at_ms: tried.at_ms,
        attempts: tried.number,
        rejected: tried.rejected,
        why: Why { code: tried.code.into(), text: tried.reason },
    }
}

fn day(day: Day) -> view::Day {
    let Day { day_ms, patient, destination, counts } = day;
    let DayCounts { committed, delivered, waiting, refused, discarded, oldest_ms } = counts;
    let at = jiff::Timestamp::from_millisecond(day_ms).unwrap_or_default();
    let day = at.strftime("%Y-%m-%d").to_string();
    view::Day { day, patient, destination, committed, delivered, waiting, refused, discarded, oldest_ms }
}

/// Of a whole file, hex.
fn sha256(file: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read;
    let (mut all, mut from, mut piece) = (Context::new(&SHA256), std::fs::File::open(file)?, vec![0; 64 * 1_024]);
    loop {
        let n = from.read(&mut piece)?;
        if n == 0 {
            return Ok(all.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect());
        }
        all.update(piece.get(..n).unwrap_or_default());
    }
}
