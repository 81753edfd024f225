//! Corrections in the writer's transaction: the old reading is no longer owed, what takes it back goes to every
//! destination that may have it, and what stands in its place to every one that was owed it.
//!
//! Promises: made twice, it is done once; all of it or nothing. Must never: touch what is being sent at this moment,
//! as nobody can say yet whether it arrived.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Statement, params};
use serde::Deserialize;

use super::outbox::Shelf;
use super::store::New;
use super::tally::Tally;
use super::writer::{Desk, Writer};
use crate::clock::Stamp;
use crate::custody::Why;
use crate::reading::{Reading, ReadingKey};

/// A correction of one reading.
#[derive(Clone, Debug)]
pub struct Correction {
    /// Row of what was wrong.
    pub row: i64,
    /// Takes it back.
    pub withdrawal: Reading,
    /// Stands in its place.
    pub replacement: Option<Reading>,
}

/// What a destination has of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    /// It was never owed it.
    NotMeant,
    /// It surely never saw it, or refused it.
    Nothing,
    /// It took it, or it may have.
    It,
}

impl Writer<'_> {
    /// Answers the rows that were corrected: what is on its way at this moment, or was corrected before, is not among them.
    pub(super) fn correct<'a>(
        &mut self,
        corrections: &'a [Correction],
        now: Stamp,
        tally: &mut Tally,
        news: &mut Vec<New<'a>>,
    ) -> rusqlite::Result<Vec<i64>> {
        let before = "SELECT first_reading FROM start WHERE id = ?1";
        let before: i64 = self.conn.query_row(before, [self.setup.start], |r| r.get(0))?;
        let alerts = alerts_with(self.conn, corrections)?;
        let mut done = Vec::new();
        for Correction { row, withdrawal, replacement } in corrections {
            let events = alerts.get(withdrawal.known_as()).map_or(&[][..], |events| events);
            let flies = |d: &Desk| {
                d.readings.queue.attempts_in_flight(*row).is_some()
                    || events.iter().any(|event| d.alerts.attempts_in_flight(*event).is_some())
            };
            if self.desks.iter().any(flies) || !is_correctable(self.conn, *row)? {
                continue;
            }
            let Some(back) = self.store.amended(withdrawal, *row, now, tally)? else { continue };
            let place = match replacement {
                Some(new) => self.store.amended(new, *row, now, tally)?,
                None => None,
            };
            let to = (back.id, place.as_ref().map(|new| new.id));
            let taken_in = "SELECT committed_ms FROM reading WHERE id = ?1";
            let since_ms: i64 = self.conn.query_row(taken_in, [row], |r| r.get(0))?;
            for desk in &mut self.desks {
                if tally.account(desk.id).is_some_and(|a| a.wants_readings) {
                    // What lacked a consent all the time never went.
                    let could_go = withdrawal.patient.as_ref().is_some_and(|patient| {
                        let gate = self.consents.gate(&desk.name);
                        gate.is_some_and(|gate| gate.permitted_since(patient, withdrawal.vital.id, since_ms))
                    });
                    let mut has = give_up(self.conn, &mut self.shelf, desk, (*row, *row < before && could_go), tally)?;
                    let with_alert = desk.evidence && could_go && has != Has::It;
                    if with_alert && came_with_alert(self.conn, desk.id, events, *row < before)? {
                        has = Has::It;
                    }
                    owe(self.conn, &mut self.shelf, desk, has, to, tally)?;
                }
            }
            self.conn.execute("INSERT INTO corrected VALUES (?1, ?2, ?3)", params![row, to.0, to.1])?;
            news.push(back);
            news.extend(place);
            done.push(*row);
        }
        Ok(done)
    }
}

/// Of an alert, for what it rests on.
#[derive(Deserialize)]
struct Evidence {
    evidence: Vec<ReadingKey>,
}

/// The events of alerts that rest on these readings: an alert brings its evidence along.
fn alerts_with(conn: &Connection, corrections: &[Correction]) -> rusqlite::Result<HashMap<ReadingKey, Vec<i64>>> {
    let meant: HashSet<ReadingKey> = corrections.iter().map(|c| *c.withdrawal.known_as()).collect();
    let mut found: HashMap<ReadingKey, Vec<i64>> = HashMap::new();
    let mut alerts = conn.prepare("SELECT id, body FROM alert ORDER BY id")?;
    let mut events = conn.prepare("SELECT id FROM alert_event WHERE alert = ?1 ORDER BY id")?;
    let mut rows = alerts.query([])?;
    while let Some(row) = rows.next()? {
        // One that cannot be read is sent by nobody.
        let Ok(alert) = serde_json::from_str::<Evidence>(row.get_ref(1)?.as_str()?) else { continue };
        for key in alert.evidence.into_iter().filter(|key| meant.contains(key)) {
            let ids: Vec<i64> = events.query_map([row.get::<_, i64>(0)?], |r| r.get(0))?.collect::<Result<_, _>>()?;
            found.entry(key).or_default().extend(ids);
        }
    }
    Ok(found)
}

/// The destination has, or may have, the reading from an alert: that was taken or refused in the end, was tried and may have
/// arrived, or was on its way when the gateway stopped.
fn came_with_alert(conn: &Connection, destination: i64, events: &[i64], was_before: bool) -> rusqlite::Result<bool> {
    let mut delivery =
        conn.prepare("SELECT state <> 'waiting' FROM alert_delivery WHERE destination = ?1 AND alert_event = ?2")?;
    let mut tries = conn.prepare("SELECT code FROM alert_attempt WHERE destination = ?1 AND alert_event = ?2")?;
    for event in events {
        let of = [destination, *event];
        let Some(is_settled) = delivery.query_row(of, |r| r.get::<_, bool>(0)).optional()? else { continue };
        if is_settled || was_before || may_have_arrived(&mut tries, &of)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An attributed reading that was not corrected yet, and takes back nothing itself.
fn is_correctable(conn: &Connection, row: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT patient IS NOT NULL AND amendment ->> 'kind' IS NOT 'withdrawal'
               AND NOT EXISTS (SELECT 1 FROM corrected WHERE reading = ?1) FROM reading WHERE id = ?1";
    Ok(conn.query_row(sql, [row], |r| r.get::<_, Option<bool>>(0)).optional()?.flatten().unwrap_or(false))
}

/// The old reading is not owed any more. Answers what the destination has of it.
fn give_up(
    conn: &Connection,
    shelf: &mut Shelf<'_>,
    desk: &mut Desk,
    (row, was_before): (i64, bool),
    tally: &mut Tally,
) -> rusqlite::Result<Has> {
    let Some(account) = tally.account(desk.id) else { return Ok(Has::NotMeant) };
    let counts = &mut account.readings;
    if desk.readings.is_settled(row) {
        let refused = "DELETE FROM rejected WHERE destination = ?1 AND reading = ?2";
        if conn.execute(refused, [desk.id, row])? > 0 {
            counts.rejected -= 1;
            note_unowed(conn, desk.id, row)?;
            // Refused in the end; an earlier attempt may have arrived all the same.
            return Ok(if was_before || was_tried_before(conn, desk.id, row)? { Has::It } else { Has::Nothing });
        }
        let unowed = "SELECT 1 FROM unowed WHERE destination = ?1 AND first_reading <= ?2 AND last_reading >= ?2";
        let meant = conn.query_row(unowed, [desk.id, row], |_| Ok(())).optional()?.is_none();
        return Ok(if meant { Has::It } else { Has::NotMeant });
    }
    counts.waiting -= 1;
    let sent = was_before || desk.readings.may_have_arrived(row);
    shelf.cover_one(&mut desk.readings, row)?;
    note_unowed(conn, desk.id, row)?;
    Ok(if sent { Has::It } else { Has::Nothing })
}

/// There was an attempt before the last one that may have arrived.
fn was_tried_before(conn: &Connection, destination: i64, row: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT code FROM attempt WHERE destination = ?1 AND reading = ?2 ORDER BY number DESC LIMIT -1 OFFSET 1";
    may_have_arrived(&mut conn.prepare(sql)?, &[destination, row])
}

/// One of the attempts that it finds.
fn may_have_arrived(attempts: &mut Statement<'_>, of: &[i64; 2]) -> rusqlite::Result<bool> {
    let mut codes = attempts.query(*of)?;
    while let Some(code) = codes.next()? {
        if (Why { code: code.get::<_, String>(0)?.into(), text: String::new() }).may_have_arrived() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is new is owed already; what this destination needs not of it is not.
fn owe(
    conn: &Connection,
    shelf: &mut Shelf<'_>,
    desk: &mut Desk,
    has: Has,
    (back, place): (i64, Option<i64>),
    tally: &mut Tally,
) -> rusqlite::Result<()> {
    let unneeded = match has {
        Has::It => [None, None],
        Has::Nothing => [Some(back), None],
        Has::NotMeant => [Some(back), place],
    };
    for row in unneeded.into_iter().flatten() {
        let is_owed = "SELECT patient IS NOT NULL FROM reading WHERE id = ?1";
        if conn.query_row(is_owed, [row], |r| r.get(0))?
            && let Some(account) = tally.account(desk.id)
        {
            account.readings.waiting -= 1;
        }
        shelf.cover_one(&mut desk.readings, row)?;
        note_unowed(conn, desk.id, row)?;
    }
    Ok(())
}

fn note_unowed(conn: &Connection, destination: i64, row: i64) -> rusqlite::Result<()> {
    conn.execute("INSERT OR REPLACE INTO unowed VALUES (?1, ?2, ?2)", [destination, row]).map(drop)
}
