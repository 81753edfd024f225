//! Readings that wait for the clock: received by a box that did not know the time yet.
//!
//! Promises: as soon as the clock of this boot can be trusted, each gets the time of its receipt, by the monotonic clock,
//! or its device's word is held against it; and is owed. Must never: date a reading of another boot by its receipt, or any
//! by a clock that cannot be trusted.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::chain::{self, Entry};
use super::row;
use super::writer::Writer;
use crate::clock::Stamp;
use crate::limits::{CLOCK_AHEAD_MAX, DEVICE_MEMORY_MAX, LATE_MAX};
use crate::reading::{DeviceTime, Reading, Taken, TimeMethod};

/// Those that wait.
const WAITING: &str = "taken_method IN ('pending', 'unchecked')";

/// The oldest of them.
pub(super) struct Pending(Option<i64>);

/// The instant, its uncertainty and how it was found.
type Dated = (Option<i64>, u32, TimeMethod);

impl Pending {
    /// Those of this boot go on waiting. Of another boot nobody knows any more when they came; what a device said can still be
    /// later than now.
    pub(super) fn take_over(conn: &Connection, now: Stamp) -> rusqlite::Result<Self> {
        let step = conn.unchecked_transaction()?;
        date(&step, "taken_method = 'pending' AND received_boot <> ?1", now.boot, |reading| {
            (None, reading.taken.uncertainty_ms, TimeMethod::Unresolved)
        })?;
        step.commit()?;
        let oldest = format!("SELECT min(id) FROM reading WHERE {WAITING}");
        Ok(Self(conn.query_row(&oldest, [], |r| r.get(0))?))
    }

    /// A reading was stored.
    pub(super) fn note(&mut self, id: i64, reading: &Reading) {
        if reading.taken.waits() {
            self.0.get_or_insert(id);
        }
    }

    /// Whether any waits.
    pub(super) fn any(&self) -> bool {
        self.0.is_some()
    }
}

impl Writer<'_> {
    /// Dates what waits, once the clock is right.
    pub(super) fn date_pending(&mut self) {
        let now = self.setup.clock.now();
        let Some(oldest) = self.pending.0.filter(|_| now.trusted && !self.is_broken()) else { return };
        let booted_ms = now.wall_ms - i64::try_from(now.mono_us / 1_000).unwrap_or(i64::MAX);
        let mut head = self.setup.tally.head;
        let last = self.setup.tally.newest_reading();
        let digest = chain::digest(&[&booted_ms.to_string()]);
        let entry = Entry { what: "dated", destination: None, first: oldest, last, digest, detail: None };
        let dated = self.conn.unchecked_transaction().and_then(|step| {
            let of_this_boot = date(&step, &format!("{WAITING} AND received_boot = ?1"), now.boot, |reading| {
                let uptime_ms = i64::try_from(reading.taken.received.mono_us / 1_000).unwrap_or(i64::MAX);
                by_receipt(reading, booted_ms.saturating_add(uptime_ms))
            })?;
            let of_others = date(&step, &format!("{WAITING} AND received_boot <> ?1"), now.boot, |reading| {
                let latest = now.wall_ms.saturating_add(ms(CLOCK_AHEAD_MAX));
                match reading.taken.at_ms.is_some_and(|at| at <= latest) {
                    true => as_said(&reading.taken),
                    false => (None, u32::MAX, TimeMethod::Unresolved),
                }
            })?;
            let dated = of_this_boot + of_others;
            self.chain.append(&mut head, now, &entry)?;
            step.commit().map(|()| dated)
        });
        match dated {
            Ok(dated) => {
                self.setup.tally.head = head;
                tracing::info!(readings = dated, "The clock is right: what waited for it has its time.");
                self.pending.0 = None;
                self.recent.clear();
                self.desks.iter_mut().for_each(|d| d.readings.queue.look_through_again(oldest));
                self.tell_changed();
            }
            // On a full disk it is tried again; anything else ends the writer.
            Err(e) => drop(self.failed(&e)),
        }
    }
}

/// Gives the readings `of` a boot their times. Answers how many.
fn date(conn: &Connection, of: &str, boot: u64, find: impl Fn(&Reading) -> Dated) -> rusqlite::Result<usize> {
    let sql = format!("SELECT {} FROM reading LEFT JOIN device ON device.id = reading.device WHERE {of}", row::COLUMNS);
    let mut found: HashMap<i64, Dated> = HashMap::new();
    let mut look = conn.prepare(&sql)?;
    let mut rows = look.query([boot.cast_signed()])?;
    while let Some(row) = rows.next()? {
        let id = row.get("id")?;
        found.extend(row::read(row, 0)?.map(|reading| (id, find(&reading))));
    }
    let mut put =
        conn.prepare("UPDATE reading SET taken_ms = ?2, taken_uncertainty_ms = ?3, taken_method = ?4 WHERE id = ?1")?;
    let mut ids: Vec<i64> = found.keys().copied().collect();
    ids.sort_unstable();
    let changed = row::change(conn, &ids, |id| match found.get(&id) {
        Some((at_ms, uncertainty_ms, method)) => put.execute(params![id, at_ms, uncertainty_ms, row::word(*method)]),
        None => Ok(0),
    })?;
    Ok(changed.len())
}

/// The device's word, as it is.
fn as_said(taken: &Taken) -> Dated {
    let method = match taken.device {
        Some(DeviceTime::Instant(_)) => TimeMethod::DeviceInstant,
        _ => TimeMethod::DeviceCivil,
    };
    (taken.at_ms, taken.uncertainty_ms, method)
}

/// By the moment of the receipt, as it is known now. The same limits as where our clock was right from the beginning (`intake`).
fn by_receipt(reading: &Reading, received_ms: i64) -> Dated {
    let taken = &reading.taken;
    let (Some(at), TimeMethod::Unchecked) = (taken.at_ms, taken.method) else {
        return (Some(received_ms), taken.uncertainty_ms, TimeMethod::Received);
    };
    let by_message = !reading.stored && reading.device.0.starts_with("mqtt:");
    let oldest = if by_message { ms(LATE_MAX) } else { ms(DEVICE_MEMORY_MAX) };
    let age = received_ms.saturating_sub(at);
    match (-ms(CLOCK_AHEAD_MAX)..=oldest).contains(&age) {
        true => as_said(taken),
        false if reading.stored => (None, u32::MAX, TimeMethod::Unresolved),
        // Whoever kept it may have kept it for as long; a date that could be true is not excluded.
        false => {
            let could = if (0..=ms(DEVICE_MEMORY_MAX)).contains(&age) { age } else { 0 };
            let uncertainty_ms = u32::try_from(ms(LATE_MAX).max(could)).unwrap_or(u32::MAX);
            (Some(received_ms), uncertainty_ms, TimeMethod::Received)
        }
    }
}

fn ms(limit: Duration) -> i64 {
    i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)
}
