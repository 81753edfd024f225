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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// Readings that were asked for.
    pub checked: u64,
    /// Of these not there: sent again.
    pub missing: u64,
    /// Of the missing: sent again before, and still not there.
    pub stays: u64,
    /// There more than once.
    pub doubled: u64,
}

impl Reader {
    /// Readings that a destination took, committed in this span of time, above this row; oldest first.
    pub fn taken(
        &self,
        destination: &str,
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
                 WHERE reading.id > ?1 AND patient IS NOT NULL AND committed_ms BETWEEN ?2 AND ?3 ORDER BY reading.id",
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
        let sql = "SELECT at_ms, checked, missing, stays, doubled FROM reconciliation
                   WHERE destination = (SELECT id FROM destination WHERE name = ?1) ORDER BY at_ms DESC LIMIT 1";
        let read = |r: &rusqlite::Row<'_>| {
            let n = |i| r.get::<_, i64>(i).map(i64::unsigned_abs);
            Ok((r.get(0)?, Recount { checked: n(1)?, missing: n(2)?, stays: n(3)?, doubled: n(4)? }))
        };
        self.with(|conn| conn.prepare(sql)?.query_row([destination], read).optional())
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
    let Recount { checked, missing, stays, doubled } = *found;
    let [checked, missing, stays, doubled] = [checked, missing, stays, doubled].map(u64::cast_signed);
    let put = "INSERT OR REPLACE INTO reconciliation SELECT id, ?2, ?3, ?4, ?5, ?6 FROM destination WHERE name = ?1";
    conn.execute(put, params![destination, at_ms, checked, missing, stays, doubled]).map(drop)
}

fn id_of(conn: &Connection, destination: &str) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT id FROM destination WHERE name = ?1 AND configured";
    conn.query_row(sql, [destination], |r| r.get(0)).optional()
}
