//! The account of each day: what was taken in, and where it stands at each destination.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::outbox;
use super::reader::{ReadError, Reader};
use super::spans::Spans;
use crate::clock::DAY_MS;
use crate::reading::PatientId;

/// One day, one patient, one destination: `committed = delivered + waiting + refused + discarded`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// First instant of the day, UTC.
    pub day_ms: i64,
    /// Whose. `None`: nobody's, never sent.
    pub patient: Option<PatientId>,
    /// The destination. `None` for what is nobody's.
    pub destination: Option<Arc<str>>,
    /// Counts.
    pub counts: DayCounts,
}

/// What became of the readings of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayCounts {
    /// Taken in on that day, and owed to this destination.
    pub committed: u64,
    /// There, with a receipt.
    pub delivered: u64,
    /// Owed.
    pub waiting: u64,
    /// In the inbox.
    pub refused: u64,
    /// Given up, by a person.
    pub discarded: u64,
    /// When the oldest was taken in that is owed.
    pub oldest_ms: Option<i64>,
}

/// One destination, as the walk needs it.
pub(super) struct Desk {
    pub(super) name: Arc<str>,
    owed_below: i64,
    settled: Spans,
    refused: Spans,
    discarded: Spans,
    /// What it was never owed: it came before the destination.
    never: Spans,
}

impl Desk {
    /// It is there, with a receipt.
    pub(super) fn delivered(&self, id: i64) -> bool {
        let gone = self.never.contains(id) || self.refused.contains(id) || self.discarded.contains(id);
        id < self.owed_below && self.settled.contains(id) && !gone
    }
}

impl Reader {
    /// The days from this instant on, newest first.
    pub fn days(&self, since_ms: i64) -> Result<Vec<Day>, ReadError> {
        self.with(|conn| {
            let moment = conn.unchecked_transaction()?;
            days(&moment, since_ms)
        })
    }
}

fn days(conn: &Connection, since_ms: i64) -> rusqlite::Result<Vec<Day>> {
    let desks = desks(conn)?;
    let mut all: BTreeMap<(i64, Option<String>, Option<usize>), DayCounts> = BTreeMap::new();
    let mut walk =
        conn.prepare("SELECT id, committed_ms, patient FROM reading WHERE committed_ms >= ?1 ORDER BY id")?;
    let mut rows = walk.query([since_ms])?;
    while let Some(row) = rows.next()? {
        let (id, at_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
        let day = at_ms - at_ms.rem_euclid(DAY_MS);
        let Some(patient) = row.get::<_, Option<String>>(2)? else {
            all.entry((day, None, None)).or_default().committed += 1;
            continue;
        };
        for (place, desk) in desks.iter().enumerate().filter(|(_, d)| id < d.owed_below && !d.never.contains(id)) {
            let counts = all.entry((day, Some(patient.clone()), Some(place))).or_default();
            counts.committed += 1;
            let count = if !desk.settled.contains(id) {
                counts.oldest_ms = counts.oldest_ms.or(Some(at_ms));
                &mut counts.waiting
            } else if desk.refused.contains(id) {
                &mut counts.refused
            } else if desk.discarded.contains(id) {
                &mut counts.discarded
            } else {
                &mut counts.delivered
            };
            *count += 1;
        }
    }
    let day = |((day_ms, patient, place), counts): ((i64, Option<String>, Option<usize>), _)| Day {
        day_ms,
        patient: patient.map(|p| PatientId::new(&p)),
        destination: place.and_then(|p| desks.get(p)).map(|d| d.name.clone()),
        counts,
    };
    Ok(all.into_iter().rev().map(day).collect())
}

pub(super) fn desks(conn: &Connection) -> rusqlite::Result<Vec<Desk>> {
    let mut select = conn.prepare("SELECT id, name, coalesce(absent_from_reading, ?1) FROM destination ORDER BY id")?;
    let mut rows = select.query([i64::MAX])?;
    let mut desks = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let refused = spans(conn, "SELECT reading, reading FROM rejected WHERE destination = ?1", id)?;
        let discarded = "SELECT item, item FROM discarded WHERE destination = ?1 AND kind = 'refused'";
        let discarded = spans(conn, discarded, id)?;
        let settled = outbox::load(conn, id)?;
        let never = spans(conn, "SELECT first_reading, last_reading FROM unowed WHERE destination = ?1", id)?;
        let (name, owed_below) = (row.get_ref(1)?.as_str()?.into(), row.get(2)?);
        desks.push(Desk { name, owed_below, settled, refused, discarded, never });
    }
    Ok(desks)
}

fn spans(conn: &Connection, sql: &str, destination: i64) -> rusqlite::Result<Spans> {
    let mut spans = Spans::default();
    let mut select = conn.prepare(sql)?;
    let mut rows = select.query([destination])?;
    while let Some(row) = rows.next()? {
        spans.insert(row.get(0)?, row.get(1)?, drop);
    }
    Ok(spans)
}
