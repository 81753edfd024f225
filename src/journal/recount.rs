//! What a destination said that it took, for asking it again; and what became of what was not there.
//!
//! Promises: what is missing is owed again with its identity, and counted; what is missing a second time is told apart.
//! Must never: take a reading for missing that it was not asked about.

use rusqlite::{Connection, OptionalExtension, params};

use super::reader::{ReadError, Reader};
use super::tally::Tally;
use super::writer::Writer;
use super::{days, row};
use crate::reading::Reading;

/// What one reconciliation found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// Readings that were asked for.
    pub checked: u64,
    /// Of these not there: sent again.
    pub missing: u64,
    /// Of the missing: sent again before, and still not there.
    pub stays: u64,
    /// There more than once.
    pub doubled: u64,
    /// What is there and not here. `None`: not asked.
    pub sought: Option<Sought>,
    /// Why not asked, in a sentence.
    pub not_asked: Option<String>,
}

/// Of a search for strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// What was stored there since then.
    pub since_ms: i64,
    /// Bears our mark, and is not in the journal.
    pub strangers: u64,
    /// Might be, and is older than what the journal keeps.
    pub unjudged: u64,
}

impl Reader {
    /// Readings that a destination took and that were not corrected since, and what took others back there; committed in this
    /// span of time, above this row, oldest first.
    pub fn taken(
        &self,
        destination: &str,
        span: (i64, i64),
        above: i64,
        max: usize,
    ) -> Result<Vec<(i64, Reading)>, ReadError> {
        let valid = "NOT EXISTS (SELECT 1 FROM corrected WHERE corrected.reading = reading.id)";
        self.at(destination, (valid, "ASC"), span, above, max)
    }

    /// Of these, what took others back; the latest first.
    pub fn withdrawals(&self, destination: &str, since_ms: i64, max: usize) -> Result<Vec<(i64, Reading)>, ReadError> {
        let back = "reading.id IN (SELECT withdrawal FROM corrected)";
        self.at(destination, (back, "DESC"), (since_ms, i64::MAX), 0, max)
    }

    fn at(
        &self,
        destination: &str,
        (which, order): (&str, &str),
        (since_ms, until_ms): (i64, i64),
        above: i64,
        max: usize,
    ) -> Result<Vec<(i64, Reading)>, ReadError> {
        self.with(|conn| {
            let moment = conn.unchecked_transaction()?;
            let Some(desk) = days::desks(&moment)?.into_iter().find(|d| *d.name == *destination) else {
                return Ok(Vec::new());
            };
            let sql = format!(
                "SELECT reading.id, {} FROM reading CROSS JOIN device ON device.id = reading.device
                 WHERE reading.id > ?1 AND patient IS NOT NULL AND committed_ms BETWEEN ?2 AND ?3 AND {which}
                 ORDER BY reading.id {order}",
                row::COLUMNS
            );
            let mut walk = moment.prepare(&sql)?;
            let mut rows = walk.query(params![above, since_ms, until_ms])?;
            let mut found = Vec::new();
            while let Some(line) = rows.next()? {
                let id = line.get(0)?;
                if desk.delivered(id)
                    && let Some(reading) = row::read(line, 1)?
                {
                    found.push((id, reading));
                }
                if found.len() >= max {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// The latest reconciliation of a destination, and when.
    pub fn recounted(&self, destination: &str) -> Result<Option<(i64, Recount)>, ReadError> {
        self.latest(destination, "")
    }

    /// The latest one in which strangers were looked for, whatever happened since.
    pub fn sought(&self, destination: &str) -> Result<Option<(i64, Sought)>, ReadError> {
        let latest = self.latest(destination, "AND strangers IS NOT NULL")?;
        Ok(latest.and_then(|(at_ms, found)| Some((at_ms, found.sought?))))
    }

    fn latest(&self, destination: &str, and: &str) -> Result<Option<(i64, Recount)>, ReadError> {
        let sql = format!(
            "SELECT at_ms, checked, missing, stays, doubled, strangers, unjudged, since_ms, not_asked FROM reconciliation
             WHERE destination = (SELECT id FROM destination WHERE name = ?1) {and} ORDER BY at_ms DESC LIMIT 1"
        );
        let read = |r: &rusqlite::Row<'_>| {
            let n = |i| Ok::<_, rusqlite::Error>(r.get::<_, Option<i64>>(i)?.map(i64::unsigned_abs));
            let count = |i| Ok::<_, rusqlite::Error>(n(i)?.unwrap_or(0));
            let sought = match n(5)? {
                Some(strangers) => Some(Sought { since_ms: r.get(7)?, strangers, unjudged: count(6)? }),
                None => None,
            };
            let (checked, missing, stays, doubled) = (count(1)?, count(2)?, count(3)?, count(4)?);
            Ok((r.get(0)?, Recount { checked, missing, stays, doubled, sought, not_asked: r.get(8)? }))
        };
        self.with(|conn| conn.prepare(&sql)?.query_row([destination], read).optional())
    }
}

impl Writer<'_> {
    /// These are not there: owed again. Answers how many of them were sent again before.
    pub(super) fn owe_missing(&mut self, destination: &str, rows: &[i64], tally: &mut Tally) -> rusqlite::Result<u64> {
        let Some(id) = id_of(self.conn, destination)? else { return Ok(0) };
        let desk = self.desks.iter_mut().find(|d| d.id == id);
        let (Some(desk), Some(account)) = (desk, tally.account(id)) else { return Ok(0) };
        let mut note = self.conn.prepare("INSERT OR IGNORE INTO resent VALUES (?1, ?2)")?;
        let mut again = 0;
        for &row in rows.iter().filter(|row| desk.readings.is_settled(**row)).collect::<Vec<_>>() {
            again += u64::from(note.execute([id, row])? == 0);
            self.shelf.owe_again(&mut desk.readings, row, 0)?;
            account.readings.waiting += 1;
            account.readings.delivered -= 1;
        }
        Ok(again)
    }
}

/// Keeps what was found.
pub(super) fn record(conn: &Connection, destination: &str, found: &Recount, at_ms: i64) -> rusqlite::Result<()> {
    let Recount { checked, missing, stays, doubled, sought, not_asked } = found;
    let [checked, missing, stays, doubled] = [checked, missing, stays, doubled].map(|n| n.cast_signed());
    let (strangers, unjudged) = (sought.map(|s| s.strangers.cast_signed()), sought.map(|s| s.unjudged.cast_signed()));
    let since_ms = sought.map(|s| s.since_ms);
    let put = "INSERT OR REPLACE INTO reconciliation SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
               FROM destination WHERE name = ?1";
    let row = params![
        destination,
        at_ms,
        checked,
        missing,
        stays,
        doubled,
        strangers,
        unjudged,
        since_ms,
        not_asked.as_deref()
    ];
    conn.execute(put, row).map(drop)
}

fn id_of(conn: &Connection, destination: &str) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT id FROM destination WHERE name = ?1 AND configured";
    conn.query_row(sql, [destination], |r| r.get(0)).optional()
}
