//! The chain of custody against the tables: is everything there that was acknowledged, as it was?
//!
//! Promises: a reading or receipt that was changed, added or taken away by anything but the gateway is reported, with
//! its entry. Must never: write, or stop at the first fault.

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::chain::{self, Chain, Entry, Head};
use super::reader::{ReadError, Reader};
use super::row;
use super::spans::Spans;
use crate::limits;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries of the chain.
    pub entries: u64,
    /// Readings that are there.
    pub readings: u64,
    /// Of the readings that the chain speaks of: removed by retention.
    pub removed: u64,
    /// Seal of the newest entry, hex: whoever keeps it elsewhere can tell that nothing before was rewritten.
    pub head: Option<String>,
    /// What is wrong; empty: all is as it was acknowledged.
    pub faults: Vec<String>,
}

/// One entry as it stands in the table.
struct Stored {
    id: i64,
    at_ms: i64,
    what: String,
    destination: Option<i64>,
    first: i64,
    last: i64,
    detail: Option<String>,
    digest: chain::Seal,
    seal: chain::Seal,
}

impl Reader {
    /// Seal of the newest entry, hex. `None`: nothing has happened yet.
    pub fn seal(&self) -> Result<Option<String>, ReadError> {
        self.with(|conn| Ok(Chain::head(conn)?).map(|head| (head.id > 0).then(|| hex(&head.seal))))
    }

    /// Checks all of it. Takes some seconds for a million readings.
    pub fn verify(&self) -> Result<Verified, ReadError> {
        self.with(|conn| {
            // One state for all the questions.
            let moment = conn.unchecked_transaction()?;
            verify(&moment)
        })
    }
}

pub(super) fn verify(conn: &Connection) -> rusqlite::Result<Verified> {
    let mut found = Verified::default();
    let mut removed = Spans::default();
    each(conn, |entry| {
        if entry.what == "removed" {
            let spans: Vec<(i64, i64)> =
                entry.detail.as_deref().and_then(|d| serde_json::from_str(d).ok()).unwrap_or_default();
            spans.iter().for_each(|(first, last)| removed.insert(*first, *last, drop));
        }
        Ok(())
    })?;
    let (mut head, mut covered) = (None::<Head>, None::<i64>);
    let mut tables = Tables::prepare(conn)?;
    each(conn, |entry| {
        found.entries += 1;
        check_seal(&entry, &mut head, &mut found);
        match &*entry.what {
            "committed" => {
                if let Some(newest) = covered.filter(|newest| entry.first != newest + 1) {
                    found.fault(format!("entry {}: no entry speaks of reading {}", entry.id, newest + 1));
                }
                covered = Some(entry.last);
                tables.check_readings(&entry, &removed, &mut found)?;
            }
            "delivered" => tables.check_receipt(&entry, &mut found)?,
            _ => {}
        }
        Ok(())
    })?;
    found.head = head.map(|h| hex(&h.seal));
    check_strangers(conn, covered, &mut found)?;
    Ok(found)
}

impl Verified {
    fn fault(&mut self, what: String) {
        // Enough to see what happened; a table that was wiped has as many faults as it had rows.
        if self.faults.len() < limits::FAULTS_LISTED_MAX {
            self.faults.push(what);
        }
    }
}

fn each(conn: &Connection, mut look: impl FnMut(Stored) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let sql = "SELECT id, at_ms, what, destination, first_reading, last_reading, detail, digest, seal
               FROM custody ORDER BY id";
    let mut all = conn.prepare(sql)?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        look(stored(row)?)?;
    }
    Ok(())
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        what: row.get(2)?,
        destination: row.get(3)?,
        first: row.get(4)?,
        last: row.get(5)?,
        detail: row.get(6)?,
        digest: row.get(7)?,
        seal: row.get(8)?,
    })
}

/// The first entry that is left is believed: what it was sealed with is gone with its readings.
fn check_seal(entry: &Stored, head: &mut Option<Head>, found: &mut Verified) {
    let before = head.or((entry.id == 1).then(Head::default));
    if let Some(before) = before {
        let Stored { id, at_ms, destination, first, last, digest, .. } = *entry;
        let detail = entry.detail.as_deref();
        let sealed = Entry { what: &entry.what, destination, first, last, digest, detail };
        if id != before.id + 1 {
            found.fault(format!("entry {}: the entries before it are gone", entry.id));
        } else if chain::seal(&before.seal, id, at_ms, &sealed) != entry.seal {
            found.fault(format!("entry {}: it was changed, or one before it", entry.id));
        }
    }
    *head = Some(Head { id: entry.id, seal: entry.seal, ..Head::default() });
}

/// What the entries speak of.
struct Tables<'c> {
    readings: Statement<'c>,
    receipt: Statement<'c>,
    oldest: Option<i64>,
    text: Vec<u8>,
}

impl<'c> Tables<'c> {
    fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            readings: conn.prepare(&format!(
                "SELECT reading.id, {} FROM reading CROSS JOIN device ON device.id = reading.device
                 WHERE reading.id BETWEEN ?1 AND ?2 ORDER BY reading.id",
                row::COLUMNS
            ))?,
            receipt: conn.prepare(
                "SELECT places FROM receipt WHERE destination = ?1 AND first_reading = ?2 AND last_reading = ?3 AND at_ms = ?4",
            )?,
            oldest: conn.query_row("SELECT min(id) FROM reading", [], |r| r.get(0))?,
            text: Vec::new(),
        })
    }

    fn check_readings(&mut self, entry: &Stored, removed: &Spans, found: &mut Verified) -> rusqlite::Result<()> {
        let mut rows = self.readings.query([entry.first, entry.last])?;
        let (mut all, mut expected, mut whole, mut readable) = (Context::new(&SHA256), entry.first, true, true);
        loop {
            let row = rows.next()?;
            let id = row.map_or(Ok(entry.last + 1), |row| row.get(0))?;
            for gone in expected..id {
                whole = false;
                match removed.contains(gone) {
                    true => found.removed += 1,
                    false => found.fault(format!("entry {}: reading {gone} is gone", entry.id)),
                }
            }
            expected = id + 1;
            let Some(row) = row else { break };
            found.readings += 1;
            match row::read(row, 1) {
                Ok(Some(reading)) => chain::add(&mut all, &reading, &mut self.text)?,
                _ => readable = false,
            }
        }
        if !readable || (whole && chain::finish(all) != entry.digest) {
            let Stored { id, first, last, .. } = entry;
            found.fault(format!("entry {id}: of the readings {first} to {last} one was changed"));
        }
        Ok(())
    }

    /// Receipts go with the last of their readings.
    fn check_receipt(&mut self, entry: &Stored, found: &mut Verified) -> rusqlite::Result<()> {
        let key = params![entry.destination, entry.first, entry.last, entry.at_ms];
        let places: Option<String> = self.receipt.query_row(key, |r| r.get(0)).optional()?;
        match places {
            Some(places) if chain::digest(&[&*places]) == entry.digest => {}
            Some(_) => found.fault(format!("entry {}: the receipt was changed", entry.id)),
            None if self.oldest.is_some_and(|oldest| entry.last >= oldest) => {
                found.fault(format!("entry {}: the receipt is gone", entry.id));
            }
            None => {}
        }
        Ok(())
    }
}

/// Readings that the gateway never took in.
fn check_strangers(conn: &Connection, covered: Option<i64>, found: &mut Verified) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) FROM reading WHERE id > ?1 OR id < (SELECT min(first_reading) FROM custody
               WHERE what = 'committed')";
    let strangers: i64 = conn.query_row(sql, [covered.unwrap_or(0)], |r| r.get(0))?;
    if strangers > 0 {
        found.fault(format!("readings that no entry speaks of: {strangers}"));
    }
    Ok(())
}

fn hex(seal: &chain::Seal) -> String {
    seal.iter().map(|octet| format!("{octet:02x}")).collect()
}
