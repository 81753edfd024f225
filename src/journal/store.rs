//! Arrivals and alert events into their tables, inside the writer's transaction.
//!
//! Promises: a reading is stored once, with the bytes it came from and a debt for each destination that wants it.
//! Must never: store a reading without its frame, or owe a reading that is nobody's.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Statement, ToSql, params};

use super::Kept;
use super::ledger::Ledger;
use super::redelivery::{self, Packets};
use super::tally::Tally;
use crate::alarm::{AlertEvent, Happened};
use crate::clock::Stamp;
use crate::config::DeviceSettings;
use crate::limits;
use crate::reading::{Arrival, Frame, Path, Reading, Reject};

/// The statements that store.
pub(super) struct Store<'c> {
    frame: Statement<'c>,
    reading: Statement<'c>,
    find_device: Statement<'c>,
    add_device: Statement<'c>,
    set_device: Statement<'c>,
    alert: Statement<'c>,
    event: Statement<'c>,
    packets: Packets<'c>,
    devices: HashMap<Arc<str>, i64>,
    body: Vec<u8>,
}

/// JSON that is known to be text.
struct Json<'a>(&'a [u8]);

impl ToSql for Json<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

impl<'c> Store<'c> {
    pub(super) fn prepare(conn: &'c Connection, start: u32) -> rusqlite::Result<Self> {
        Ok(Self {
            frame: conn.prepare("INSERT INTO frame VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)")?,
            reading: conn.prepare(
                "INSERT INTO reading (id, key, frame, committed_ms, committed_trusted, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key) DO NOTHING",
            )?,
            find_device: conn.prepare("SELECT id FROM device WHERE name = ?1")?,
            add_device: conn.prepare("INSERT INTO device (name) VALUES (?1) RETURNING id")?,
            set_device: conn.prepare("UPDATE device SET settings = ?2, settings_ms = ?3 WHERE id = ?1")?,
            alert: conn.prepare(
                "INSERT INTO alert (alert_id, raised_ms, resolved_ms, body) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (alert_id) DO UPDATE SET resolved_ms = excluded.resolved_ms, body = excluded.body
                 RETURNING id",
            )?,
            event: conn.prepare("INSERT INTO alert_event VALUES (?1, ?2, ?3, ?4, ?5)")?,
            packets: Packets::prepare(conn, start)?,
            devices: HashMap::new(),
            body: Vec::with_capacity(1_024),
        })
    }

    /// After a rollback: what was remembered may not be in the tables.
    pub(super) fn forget(&mut self) {
        self.devices.clear();
    }

    /// Stores one arrival. `stored` is told of each new reading with its row.
    pub(super) fn arrival<'a>(
        &mut self,
        arrival: &'a Arrival,
        now: Stamp,
        tally: &mut Tally,
        owed: &mut Owing<'_, 'c>,
        stored: &mut Vec<(i64, &'a Reading)>,
    ) -> rusqlite::Result<Kept> {
        let hash = redelivery::hash(&arrival.frame);
        let again = self.packets.again(&arrival.frame, &hash)?;
        let mut kept = Kept::default();
        match &arrival.outcome {
            Err(reject) => {
                kept.rejected = true;
                if !again {
                    tally.totals.frames_rejected += 1;
                    self.frame(&arrival.frame, &hash, Some(reject), tally)?;
                }
            }
            Ok(readings) if again && (arrival.undated || readings.is_empty()) => kept.known = count(readings.len()),
            Ok(readings) => {
                for reading in readings {
                    if let Some(id) = self.reading(reading, now, tally, owed)? {
                        stored.push((id, reading));
                        kept.new += 1;
                    } else {
                        kept.known += 1;
                    }
                }
                if kept.new > 0 || readings.is_empty() {
                    self.frame(&arrival.frame, &hash, None, tally)?;
                }
            }
        }
        tally.totals.readings_committed += i64::from(kept.new);
        tally.totals.readings_known += i64::from(kept.known);
        Ok(kept)
    }

    fn frame(
        &mut self,
        frame: &Frame,
        hash: &[u8; 16],
        reject: Option<&Reject>,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        let (kind, device, name) = match &frame.path {
            Path::Topic(_) => ("topic", None, None),
            Path::Characteristic { device, name, .. } => ("characteristic", Some(&*device.0), name.as_deref()),
            Path::Advertisement { device, .. } => ("advertisement", Some(&*device.0), None),
        };
        let at = frame.received;
        self.frame.execute(params![
            tally.next_frame,
            &*frame.source,
            kind,
            frame.path.channel(),
            device,
            name,
            at.wall_ms,
            at.trusted,
            at.mono_us.cast_signed(),
            at.boot.cast_signed(),
            &hash[..],
            reject.map(|r| r.code),
            reject.map(|r| &*r.reason),
            &frame.bytes[..],
        ])?;
        tally.next_frame += 1;
        Ok(())
    }

    /// Answers its row, or none if it is known.
    fn reading(
        &mut self,
        reading: &Reading,
        now: Stamp,
        tally: &mut Tally,
        owed: &mut Owing<'_, 'c>,
    ) -> rusqlite::Result<Option<i64>> {
        let id = tally.next_reading;
        json(reading, &mut self.body)?;
        let key = &reading.key.0[..];
        let row = params![id, key, tally.next_frame, now.wall_ms, now.trusted, Json(&self.body)];
        if self.reading.execute(row)? == 0 {
            return Ok(None);
        }
        tally.next_reading += 1;
        if reading.patient.is_none() {
            tally.totals.readings_unassigned += 1;
        } else if !owed.to.is_empty() {
            let device = self.device(&reading.device.0)?;
            for &destination in owed.to {
                owed.ledger.owe(destination, id, device)?;
                tally.owed(destination, super::ledger::Kind::Readings);
            }
        }
        Ok(Some(id))
    }

    fn device(&mut self, name: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(id) = self.devices.get(name) {
            return Ok(*id);
        }
        let found = self.find_device.query_row([&**name], |r| r.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => self.add_device.query_row([&**name], |r| r.get(0))?,
        };
        if self.devices.len() >= limits::DEVICES_IN_MEMORY_MAX {
            self.devices.clear();
        }
        self.devices.insert(name.clone(), id);
        Ok(id)
    }

    /// Keeps what was set for a device at run time.
    pub(super) fn settings(&mut self, device: &DeviceSettings, now: Stamp) -> rusqlite::Result<()> {
        let id = self.device(&device.id.0)?;
        json(device, &mut self.body)?;
        self.set_device.execute(params![id, Json(&self.body), now.wall_ms]).map(drop)
    }

    /// Stores one alert event, and the alert as it stands after it.
    pub(super) fn event(
        &mut self,
        event: &AlertEvent,
        tally: &mut Tally,
        owed: &mut Owing<'_, 'c>,
    ) -> rusqlite::Result<()> {
        let alert = &event.alert;
        json(alert, &mut self.body)?;
        let resolved = alert.resolved.map(|s| s.wall_ms);
        let row = params![&*alert.id.0, alert.raised.wall_ms, resolved, Json(&self.body)];
        let line: i64 = self.alert.query_row(row, |r| r.get(0))?;
        json(event, &mut self.body)?;
        let happened = match event.happened {
            Happened::Raised => "raised",
            Happened::Acknowledged => "acknowledged",
            Happened::Resolved => "resolved",
        };
        let id = tally.next_event;
        self.event.execute(params![id, line, happened, event.at.wall_ms, Json(&self.body)])?;
        tally.next_event += 1;
        for &destination in owed.to {
            owed.ledger.owe(destination, id, line)?;
            tally.owed(destination, super::ledger::Kind::Alerts);
        }
        Ok(())
    }
}

/// Whom an item is owed to, and where that is written.
pub(super) struct Owing<'a, 'c> {
    pub(super) to: &'a [i64],
    pub(super) ledger: &'a mut Ledger<'c>,
}

fn json(value: &impl serde::Serialize, into: &mut Vec<u8>) -> rusqlite::Result<()> {
    into.clear();
    serde_json::to_writer(into, value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
