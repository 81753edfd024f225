//! Counts that must add up.

use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::outbox;
use super::reader::{ReadError, Reader};
use super::spans::Spans;
use crate::custody::Why;

/// Counts since the journal was made: `committed = unassigned + settled + waiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Custody {
    /// Readings acknowledged.
    pub committed: u64,
    /// Readings that came again and were not stored again.
    pub known: u64,
    /// Nobody's: never sent.
    pub unassigned: u64,
    /// Owed to at least one destination.
    pub waiting: u64,
    /// Owed to none any more: delivered, or refused and in somebody's hands.
    pub settled: u64,
    /// Frames that could not become readings.
    pub frames_rejected: u64,
    /// For each destination that was ever configured.
    pub destinations: Vec<Owed>,
}

/// What one destination is owed, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its name.
    pub destination: Arc<str>,
    /// It is in the configuration.
    pub configured: bool,
    /// Readings.
    pub readings: Counts,
    /// Alert events.
    pub alerts: Counts,
    /// When it was last seen failing, and why.
    pub failed: Option<(i64, Why)>,
}

/// Items of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Owed.
    pub waiting: u64,
    /// There.
    pub delivered: u64,
    /// Refused for good.
    pub rejected: u64,
}

impl Reader {
    /// The counts.
    pub fn custody(&self) -> Result<Custody, ReadError> {
        self.with(|conn| {
            // One state for all the questions.
            let moment = conn.unchecked_transaction()?;
            custody(&moment)
        })
    }
}

fn custody(conn: &Connection) -> rusqlite::Result<Custody> {
    let mut custody = conn.query_row(
        "SELECT readings_committed, readings_known, readings_unassigned, frames_rejected FROM totals",
        [],
        |r| {
            Ok(Custody {
                committed: count(r, 0)?,
                known: count(r, 1)?,
                unassigned: count(r, 2)?,
                frames_rejected: count(r, 3)?,
                ..Custody::default()
            })
        },
    )?;
    let sql = "SELECT readings_waiting, readings_delivered, readings_rejected, alerts_waiting, alerts_delivered,
               alerts_rejected, failed_ms, failed_code, failed_text, name, configured FROM destination ORDER BY id";
    custody.destinations = conn.prepare(sql)?.query_map([], owed)?.collect::<rusqlite::Result<_>>()?;
    custody.waiting = waiting_anywhere(conn, &custody.destinations)?;
    custody.settled = custody.committed.saturating_sub(custody.unassigned + custody.waiting);
    Ok(custody)
}

fn count(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(i64::unsigned_abs)
}

fn owed(r: &Row<'_>) -> rusqlite::Result<Owed> {
    let failed = match r.get(6)? {
        Some(at_ms) => Some((at_ms, Why { code: r.get::<_, String>(7)?.into(), text: r.get(8)? })),
        None => None,
    };
    Ok(Owed {
        destination: r.get_ref(9)?.as_str()?.into(),
        configured: r.get(10)?,
        readings: Counts { waiting: count(r, 0)?, delivered: count(r, 1)?, rejected: count(r, 2)? },
        alerts: Counts { waiting: count(r, 3)?, delivered: count(r, 4)?, rejected: count(r, 5)? },
        failed,
    })
}

/// Readings owed to at least one destination.
fn waiting_anywhere(conn: &Connection, owed: &[Owed]) -> rusqlite::Result<u64> {
    let mut busy = owed.iter().filter(|o| o.readings.waiting > 0);
    let (Some(first), second) = (busy.next(), busy.next()) else { return Ok(0) };
    if second.is_none() {
        return Ok(first.readings.waiting);
    }
    // In several outboxes: the rows in the gaps of any of them.
    let mut gaps = Spans::default();
    let mut desks = conn.prepare("SELECT id, coalesce(absent_from_reading, ?1) FROM destination")?;
    let mut rows = desks.query([i64::MAX])?;
    while let Some(row) = rows.next()? {
        let (settled, end) = (outbox::load(conn, row.get(0)?)?, row.get(1)?);
        let (mut above, mut below) = settled.gap(-1);
        while above < end - 1 {
            gaps.insert(above + 1, below.min(end) - 1, drop);
            (above, below) = settled.gap(below);
        }
    }
    let mut assigned = conn.prepare("SELECT count(patient) FROM reading WHERE id BETWEEN ?1 AND ?2")?;
    gaps.iter().map(|(first, last)| assigned.query_row([first, last], |r| count(r, 0))).sum()
}
