//! Readings page by page for an export, oldest first, each with what became of it.
//!
//! Promises: bounded memory however many there are; damaged rows are left out, and counted. Must never: hold the writer up.

use rusqlite::params;

use super::reader::{ReadError, Reader, entry};
use super::row;
use crate::reading::{PatientId, Reading};

/// Which readings.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Taken at or after this instant; received, where that is not known.
    pub since_ms: i64,
    /// And before this one.
    pub until_ms: i64,
    /// Of this device.
    pub device: Option<String>,
    /// Of this patient.
    pub patient: Option<PatientId>,
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stands.
    Stands,
    /// It was wrong, and taken back.
    TakenBack,
    /// It was wrong, and another one stands in its place.
    Replaced,
}

/// Some of them.
#[derive(Debug, Default)]
pub struct Page {
    /// Oldest first.
    pub readings: Vec<(Reading, Fate)>,
    /// Rows that are damaged.
    pub damaged: u64,
    /// Where the next page begins. `None`: there is none.
    pub next: Option<i64>,
}

impl Reader {
    /// The row of the newest reading: an export ends there, so that it ends.
    pub fn newest_row(&self) -> Result<i64, ReadError> {
        self.with(|conn| conn.query_row("SELECT coalesce(max(id), 0) FROM reading", [], |r| r.get(0)))
    }

    /// Readings after the row `after` and up to `last`, at most `limit`. What takes readings back is not among them.
    pub fn page(&self, wanted: &Wanted, after: i64, last: i64, limit: usize) -> Result<Page, ReadError> {
        let sql = format!(
            "SELECT reading.id, committed_ms, {},
             (SELECT replacement IS NOT NULL FROM corrected WHERE corrected.reading = reading.id)
             FROM reading LEFT JOIN device ON device.id = reading.device
             WHERE reading.id > ?1 AND reading.id <= ?2 AND (?3 IS NULL OR device.name = ?3)
             AND (?4 IS NULL OR patient = ?4)
             AND coalesce(taken_ms, received_ms) >= ?5 AND coalesce(taken_ms, received_ms) < ?6
             ORDER BY reading.id LIMIT ?7",
            row::COLUMNS
        );
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let patient = wanted.patient.as_ref().map(PatientId::reveal);
        self.with(|conn| {
            let mut statement = conn.prepare(&sql)?;
            let of = params![after, last, wanted.device, patient, wanted.since_ms, wanted.until_ms, most];
            let (mut rows, mut page, mut n) = (statement.query(of)?, Page::default(), 0);
            while let Some(row) = rows.next()? {
                n += 1;
                page.next = Some(row.get(0)?);
                let fate = match row.get(2 + row::NUMBER_OF_COLUMNS)? {
                    None => Fate::Stands,
                    Some(false) => Fate::TakenBack,
                    Some(true) => Fate::Replaced,
                };
                match entry(row)? {
                    Some(found) if found.reading.is_withdrawal() => {}
                    Some(found) => page.readings.push((found.reading, fate)),
                    None => page.damaged += 1,
                }
            }
            page.next = page.next.filter(|_| n == limit);
            Ok(page)
        })
    }
}
