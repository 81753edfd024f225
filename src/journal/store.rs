//! Arrivals and alert events into their tables, inside the writer's transaction.
//!
//! Promises: a reading is stored once, with the bytes it came from. Must never: store a reading without them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql, params};

use super::Kept;
use super::ledger::Ledger;
use super::redelivery::Marks;
use super::row::{self, Place};
use super::seal;
use super::tally::Tally;
use crate::alarm::{AlertEvent, Happened};
use crate::clock::Stamp;
use crate::config::DeviceSettings;
use crate::limits;
use crate::reading::{Arrival, Frame, Path, Reading, ReadingKey, Reject};

/// The statements that store.
pub(super) struct Store<'c> {
    reading: Statement<'c>,
    frame: Statement<'c>,
    devices: Names<'c, Arc<str>>,
    channels: Names<'c, (Arc<str>, Path)>,
    channel_of: Statement<'c>,
    set_device: Statement<'c>,
    alert: Statement<'c>,
    event: Statement<'c>,
    pub(super) marks: Marks<'c>,
    /// Keys of readings that were corrected and are gone: they are known for ever.
    pub(super) bygone: HashSet<ReadingKey>,
    json: Vec<u8>,
}

/// A reading that was stored for the first time.
pub(super) struct New<'a> {
    pub(super) id: i64,
    pub(super) device: i64,
    pub(super) reading: &'a Reading,
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
            reading: conn.prepare(row::INSERT)?,
            frame: conn.prepare("INSERT INTO frame VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?,
            devices: Names::new(conn.prepare(
                "INSERT INTO device (name) VALUES (?1) ON CONFLICT DO UPDATE SET name = excluded.name RETURNING id",
            )?),
            channels: Names::new(conn.prepare(
                "INSERT INTO channel (source, kind, name, device, device_name) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET name = excluded.name RETURNING id",
            )?),
            channel_of: conn.prepare("SELECT channel FROM reading WHERE id = ?1")?,
            set_device: conn.prepare("UPDATE device SET settings = ?2, settings_ms = ?3 WHERE id = ?1")?,
            alert: conn.prepare(
                "INSERT INTO alert (alert_id, raised_ms, resolved_ms, body) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (alert_id) DO UPDATE SET resolved_ms = excluded.resolved_ms, body = excluded.body
                 RETURNING id",
            )?,
            event: conn.prepare("INSERT INTO alert_event VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?,
            marks: Marks::prepare(conn, start)?,
            bygone: conn
                .prepare("SELECT key FROM bygone")?
                .query_map([], |r| r.get(0).map(ReadingKey))?
                .collect::<Result<_, _>>()?,
            json: Vec::with_capacity(1_024),
        })
    }

    /// After a rollback: what was remembered may not be in the tables.
    pub(super) fn forget(&mut self) -> rusqlite::Result<()> {
        self.devices.rows.clear();
        self.channels.rows.clear();
        self.marks.load()
    }

    /// Stores one arrival; what is new is appended to `news`.
    pub(super) fn arrival<'a>(
        &mut self,
        arrival: &'a Arrival,
        now: Stamp,
        tally: &mut Tally,
        news: &mut Vec<New<'a>>,
    ) -> rusqlite::Result<Kept> {
        let frame = &arrival.frame;
        let again = self.marks.again(frame);
        let mut kept = Kept::default();
        match &arrival.outcome {
            Err(reject) => {
                kept.rejected = true;
                if !again {
                    tally.totals.frames_rejected += 1;
                    self.frame(frame, Some(reject), tally)?;
                }
            }
            Ok(readings) if again && (arrival.undated || readings.is_empty()) => {
                kept.known = u32::try_from(readings.len()).unwrap_or(u32::MAX);
            }
            Ok(readings) if readings.is_empty() => self.frame(frame, None, tally)?,
            Ok(readings) => {
                let mut holder = None;
                for reading in readings {
                    match self.reading(reading, frame, holder, now, tally)? {
                        Some(new) => {
                            holder = holder.or(Some(new.id));
                            news.push(new);
                            kept.new += 1;
                        }
                        None => kept.known += 1,
                    }
                }
            }
        }
        tally.totals.readings_committed += i64::from(kept.new);
        tally.totals.readings_known += i64::from(kept.known);
        Ok(kept)
    }

    /// A frame without readings.
    fn frame(&mut self, frame: &Frame, reject: Option<&Reject>, tally: &mut Tally) -> rusqlite::Result<()> {
        let channel = self.channel(frame)?;
        let at = frame.received;
        self.frame.execute(params![
            tally.next_frame,
            channel,
            at.wall_ms,
            at.trusted,
            reject.map(|r| r.code),
            reject.map(|r| &*r.reason),
            &frame.bytes[..],
        ])?;
        tally.next_frame += 1;
        Ok(())
    }

    /// The first reading of a frame holds its bytes, the others its row (`holder`). `None`: it is known.
    fn reading<'a>(
        &mut self,
        reading: &'a Reading,
        frame: &Frame,
        holder: Option<i64>,
        now: Stamp,
        tally: &mut Tally,
    ) -> rusqlite::Result<Option<New<'a>>> {
        if self.bygone.contains(&reading.key) {
            return Ok(None);
        }
        let (id, device) = (tally.next_reading, self.device(&reading.device.0)?);
        let place = Place { id, device, channel: self.channel(frame)?, holder, committed: now };
        if !row::write(&mut self.reading, &place, reading, &frame.bytes)? {
            return Ok(None);
        }
        tally.next_reading += 1;
        tally.stored(reading.patient.is_some());
        Ok(Some(New { id, device, reading }))
    }

    /// What corrects the reading in the row `of`, on the same channel; the bytes are there. `None`: it is known.
    pub(super) fn amended<'a>(
        &mut self,
        reading: &'a Reading,
        of: i64,
        now: Stamp,
        tally: &mut Tally,
    ) -> rusqlite::Result<Option<New<'a>>> {
        let channel = self.channel_of.query_row([of], |r| r.get(0))?;
        let (id, device) = (tally.next_reading, self.device(&reading.device.0)?);
        let place = Place { id, device, channel, holder: None, committed: now };
        if !row::write(&mut self.reading, &place, reading, &[])? {
            return Ok(None);
        }
        tally.next_reading += 1;
        tally.totals.readings_committed += 1;
        tally.stored(reading.patient.is_some());
        Ok(Some(New { id, device, reading }))
    }

    fn device(&mut self, name: &Arc<str>) -> rusqlite::Result<i64> {
        self.devices.row(name, params![&**name])
    }

    fn channel(&mut self, frame: &Frame) -> rusqlite::Result<i64> {
        let place = (frame.source.clone(), frame.path.clone());
        let (kind, device, name) = match &frame.path {
            Path::Topic(_) => ("topic", "", ""),
            Path::Characteristic { device, name, .. } => {
                ("characteristic", &*device.0, name.as_deref().unwrap_or_default())
            }
            Path::Advertisement { device, .. } => ("advertisement", &*device.0, ""),
        };
        self.channels.row(&place, params![&*frame.source, kind, frame.path.channel(), device, name])
    }

    /// Keeps what was set for a device at run time.
    pub(super) fn settings(&mut self, device: &DeviceSettings, now: Stamp) -> rusqlite::Result<()> {
        let id = self.device(&device.id.0)?;
        json(device, &mut self.json)?;
        self.set_device.execute(params![id, Json(&self.json), now.wall_ms]).map(drop)
    }

    /// Stores one alert event, the alert as it stands after it, and a debt for each destination in `to`.
    pub(super) fn event(
        &mut self,
        event: &AlertEvent,
        to: &[i64],
        ledger: &mut Ledger<'c>,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        let alert = &event.alert;
        json(alert, &mut self.json)?;
        let resolved = alert.resolved.map(|s| s.wall_ms);
        let row = params![&*alert.id.0, alert.raised.wall_ms, resolved, Json(&self.json)];
        let line: i64 = self.alert.query_row(row, |r| r.get(0))?;
        json(event, &mut self.json)?;
        let happened = match event.happened {
            Happened::Raised => "raised",
            Happened::Acknowledged => "acknowledged",
            Happened::Resolved => "resolved",
            Happened::TakenBack => "taken-back",
        };
        let id = tally.next_event;
        self.event.execute(params![
            id,
            line,
            happened,
            event.at.wall_ms,
            Json(&self.json),
            seal::of_event(id, &self.json)
        ])?;
        tally.next_event += 1;
        for &destination in to {
            ledger.owe(destination, id, line)?;
            tally.alert_owed(destination);
        }
        Ok(())
    }
}

/// Rows of names that come again and again.
struct Names<'c, K> {
    enter: Statement<'c>,
    rows: HashMap<K, i64>,
}

impl<'c, K: Hash + Eq + Clone> Names<'c, K> {
    fn new(enter: Statement<'c>) -> Self {
        Self { enter, rows: HashMap::new() }
    }

    fn row(&mut self, name: &K, columns: impl rusqlite::Params) -> rusqlite::Result<i64> {
        if let Some(row) = self.rows.get(name) {
            return Ok(*row);
        }
        let row = self.enter.query_row(columns, |r| r.get(0))?;
        if self.rows.len() >= limits::NAMES_IN_MEMORY_MAX {
            self.rows.clear();
        }
        self.rows.insert(name.clone(), row);
        Ok(row)
    }
}

fn json(value: &impl serde::Serialize, into: &mut Vec<u8>) -> rusqlite::Result<()> {
    into.clear();
    serde_json::to_writer(into, value).map_err(unwritable)
}

fn unwritable(e: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(e.into())
}
