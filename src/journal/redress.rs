//! What people decide about the inbox, in the writer's transaction: sent again, given up, given an owner.
//!
//! Promises: an item that is sent again keeps its identity and its count of attempts; what is given up stays in the
//! record with a name and a reason. Must never: lose an item between the inbox and the outbox.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::amend::Correction;
use super::chain::{self, Entry};
use super::consent;
use super::demographics::{self, Introduced};
use super::inbox::{Cause, Kind, normalised};
use super::outbox::{self, Recent};
use super::people;
use super::recount::{self, Recount};
use super::row;
use super::spans::Spans;
use super::store::New;
use super::tally::Tally;
use super::user_codes::Change;
use super::writer::{Desk, Writer};
use crate::association::Held;
use crate::careplan::{Event, Order};
use crate::clock::Stamp;
use crate::consent::Said;
use crate::deed::Deed;
use crate::reading::{Arrival, PatientId};
use crate::roster::Member;

/// One decision.
#[derive(Clone, Debug)]
pub enum Act {
    /// Groups began: cause and when somebody should have seen to it.
    Open(Vec<(Cause, i64)>),
    /// Groups came to their end, by their ids.
    Clear(Vec<String>),
    /// A person says something about a group; `None` leaves a field as it is.
    Change {
        /// Group.
        id: String,
        /// Who.
        by: String,
        /// `open`, `in-work`, `waiting`.
        state: Option<&'static str>,
        /// Who sees to it.
        assignee: Option<String>,
        /// By when.
        due_ms: Option<i64>,
        /// What is to be known.
        note: Option<String>,
    },
    /// These refused items of a group are owed again at their destination.
    Replay {
        /// Group.
        cause: Cause,
        /// Who.
        by: String,
        /// Their rows.
        rows: Vec<i64>,
    },
    /// These readings of a device get their owner, and are owed from now on.
    Assign {
        /// Group.
        cause: Cause,
        /// Who says so.
        by: String,
        /// Whose they are.
        patient: PatientId,
        /// Their rows.
        rows: Vec<i64>,
    },
    /// These frames can be decoded now: readings take their place.
    Redo {
        /// Group.
        cause: Cause,
        /// Who.
        by: String,
        /// Rows of the frames, with what they are now.
        arrivals: Vec<(i64, Arrival)>,
    },
    /// These items of a group are given up: rows with their identities.
    Discard {
        /// Group.
        cause: Cause,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// What.
        items: Vec<(i64, String)>,
    },
    /// These readings were wrong.
    Correct {
        /// Who says so.
        by: String,
        /// What takes each back, and what stands in its place.
        corrections: Vec<Correction>,
    },
    /// Who held devices when.
    Hold {
        /// Each with all that is known of it.
        held: Vec<Held>,
        /// Who handed them over. `None`: nobody did just now.
        by: Option<String>,
    },
    /// Patients were matched at the centre, or asked for again.
    Join {
        /// Whom.
        members: Vec<Member>,
        /// Who matched them. `None`: they were only asked for.
        by: Option<String>,
    },
    /// Somebody did something that is to be remembered. Answers its entry in the chain of custody.
    Did(Box<Deed>),
    /// A start: these destinations are told what people do, and the configuration has this hash.
    Tell {
        /// Their names.
        destinations: Vec<String>,
        /// Who is new among them is told all that is kept: how far they were told may have been lost.
        all: bool,
        /// Hex. `None`: it came from no file.
        configuration: Option<String>,
    },
    /// A destination was told what people did.
    Told {
        /// Its name.
        destination: String,
        /// Up to this entry of the chain of custody.
        through: i64,
    },
    /// What a centre ordered stands otherwise by now.
    Care {
        /// As they stand.
        orders: Vec<Order>,
        /// What happened to them.
        events: Vec<Event>,
        /// Ids of those that are long without force.
        gone: Vec<String>,
    },
    /// A consent was given or withdrawn. Answers how many readings are on their way at this moment.
    Consent {
        /// Whose.
        patient: PatientId,
        /// Where to: the destination's name.
        destination: String,
        /// What was said.
        said: Said,
    },
    /// What a destination finds a patient by was given.
    Introduce {
        /// Whom.
        patient: PatientId,
        /// Where: the destination's name.
        destination: String,
        /// As what.
        is: Box<Introduced>,
    },
    /// It was taken back. Answers how many readings are on their way at this moment.
    Forget {
        /// Whom.
        patient: PatientId,
        /// Where: the destination's name.
        destination: String,
        /// Who took it back.
        by: String,
    },
    /// The code of a scale's user was given, or taken away, or the scale said something of it.
    UserCode(Box<Change>),
    /// A destination does not hold these readings, which it took: owed again.
    Missing {
        /// The destination's name.
        destination: String,
        /// Their rows.
        rows: Vec<i64>,
    },
    /// What a destination was found to hold.
    Recounted {
        /// The destination's name.
        destination: String,
        /// What was found.
        found: Recount,
    },
    /// What a probe of a destination found.
    Probed {
        /// The destination's name.
        destination: String,
        /// Resources were written.
        wrote: bool,
        /// JSON.
        body: String,
    },
}

/// A line of a group's history.
struct Line<'a> {
    id: &'a str,
    what: &'static str,
    by: Option<&'a str>,
    items: u64,
    text: Option<&'a str>,
}

impl Writer<'_> {
    /// Carries an act out; answers how many items it concerned.
    pub(super) fn redress<'a>(
        &mut self,
        act: &'a Act,
        now: Stamp,
        tally: &mut Tally,
        news: &mut Vec<New<'a>>,
    ) -> rusqlite::Result<u64> {
        let at_ms = now.wall_ms;
        let (conn, items) = (self.conn, act.items());
        match act {
            Act::Open(causes) => open(conn, causes, at_ms)?,
            Act::Clear(ids) => clear(conn, ids, at_ms)?,
            Act::Change { .. } => return change(conn, act, at_ms),
            Act::Probed { destination, wrote, body } => {
                let put = "INSERT OR REPLACE INTO probe VALUES (?1, ?2, ?3, ?4)";
                conn.execute(put, params![destination, wrote, at_ms, body])?;
            }
            Act::Missing { destination, rows } => {
                let again = self.owe_missing(destination, rows, tally)?;
                self.seal("missing", rows, destination, now, tally)?;
                return Ok(again);
            }
            Act::Correct { by, corrections } => {
                let rows = self.correct(corrections, now, tally, news)?;
                self.seal("corrected", &rows, by, now, tally)?;
                return Ok(rows.len() as u64);
            }
            Act::Hold { held, .. } => people::hold(conn, held)?,
            Act::Join { members, .. } => people::join(conn, members)?,
            Act::Did(deed) => return Ok(self.did(deed, now, tally)?.unsigned_abs()),
            Act::Tell { destinations, all, configuration } => {
                self.begin_to_tell((destinations, *all), configuration.as_deref(), now, tally)?;
            }
            Act::Told { destination, through } => self.told(destination, *through, now, tally)?,
            Act::Care { orders, events, gone } => people::order(conn, orders, events, gone)?,
            Act::Consent { patient, destination, said } => {
                consent::record(conn, patient, destination, said)?;
                return self.on_the_way(destination, patient);
            }
            Act::Introduce { patient, destination, is } => demographics::put(conn, patient, destination, is)?,
            Act::Forget { patient, destination, .. } => {
                demographics::forget(conn, patient, destination)?;
                return self.on_the_way(destination, patient);
            }
            Act::UserCode(change) => change.apply(conn)?,
            Act::Recounted { destination, found } => recount::record(conn, destination, found, at_ms)?,
            Act::Replay { cause, by, rows } => {
                let n = self.replay(cause, rows, tally)?;
                if cause.kind == Kind::Refused {
                    self.seal("replayed", rows, by, now, tally)?;
                }
                record(conn, at_ms, &Line { id: &cause.id(), what: "replayed", by: Some(by), items: n, text: None })?;
                return Ok(n);
            }
            Act::Assign { cause, by, patient, rows } => {
                let n = self.assign(patient, rows, tally)?;
                self.seal("assigned", rows, by, now, tally)?;
                let text = Some(patient.reveal());
                record(conn, at_ms, &Line { id: &cause.id(), what: "replayed", by: Some(by), items: n, text })?;
                return Ok(n);
            }
            Act::Redo { cause, by, arrivals } => {
                for (row, arrival) in arrivals {
                    self.store.arrival(arrival, now, tally, news)?;
                    conn.execute("DELETE FROM frame WHERE id = ?1", [row])?;
                }
                record(conn, at_ms, &Line { id: &cause.id(), what: "replayed", by: Some(by), items, text: None })?;
            }
            Act::Discard { cause, by, reason, items: given } => {
                let text = Some(&**reason);
                let line = Line { id: &cause.id(), what: "discarded", by: Some(by), items, text };
                let event = record(conn, at_ms, &line)?;
                discard(conn, cause, event, given)?;
                if cause.kind == Kind::Refused {
                    let rows: Vec<_> = given.iter().map(|(row, _)| *row).collect();
                    self.seal("discarded", &rows, by, now, tally)?;
                }
            }
        }
        Ok(items)
    }

    /// What a person decided about readings is part of their chain of custody.
    fn seal(&mut self, what: &str, rows: &[i64], by: &str, now: Stamp, tally: &mut Tally) -> rusqlite::Result<()> {
        let (Some(first), Some(last)) = (rows.iter().min(), rows.iter().max()) else { return Ok(()) };
        let mut spans = Spans::default();
        rows.iter().for_each(|row| spans.insert(*row, *row, drop));
        let spans: Vec<_> = spans.iter().collect();
        let detail = serde_json::to_string(&spans).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        let digest = chain::digest(&[&detail, by]);
        let entry = Entry { what, destination: None, first: *first, last: *last, digest, detail: Some(&detail) };
        self.chain.append(&mut tally.head, now, &entry)
    }

    fn replay(&mut self, cause: &Cause, rows: &[i64], tally: &mut Tally) -> rusqlite::Result<u64> {
        let id: Option<i64> = self
            .conn
            .query_row("SELECT id FROM destination WHERE name = ?1 AND configured", [&*cause.place], |r| r.get(0))
            .optional()?;
        let desk = id.and_then(|id| self.desks.iter_mut().find(|d| d.id == id));
        let (Some(desk), Some(account)) = (desk, id.and_then(|id| tally.account(id))) else { return Ok(0) };
        let group = cause.id();
        let mut put = self.conn.prepare("INSERT OR REPLACE INTO replayed VALUES (?1, ?2, ?3)")?;
        let mut again = 0;
        for &row in rows {
            let counts = match cause.kind {
                Kind::Alert | Kind::Notice if alert_again(self.conn, desk, row)? => &mut account.alerts,
                Kind::Refused if reading_again(self.conn, &mut self.shelf, desk, row)? => &mut account.readings,
                _ => continue,
            };
            counts.waiting += 1;
            counts.rejected -= 1;
            again += 1;
            put.execute(params![group, desk.id, row])?;
        }
        Ok(again)
    }

    fn assign(&mut self, patient: &PatientId, rows: &[i64], tally: &mut Tally) -> rusqlite::Result<u64> {
        let mut set = self
            .conn
            .prepare("UPDATE reading SET patient = ?2, unassigned = NULL WHERE id = ?1 AND patient IS NULL")?;
        let given = row::change(self.conn, rows, |row| set.execute(params![row, patient.reveal()]))?;
        tally.totals.readings_unassigned -= i64::try_from(given.len()).unwrap_or(0);
        for desk in &mut self.desks {
            let Some(account) = tally.account(desk.id).filter(|a| a.wants_readings) else { continue };
            for &row in &given {
                self.shelf.owe_again(&mut desk.readings, row, 0)?;
                account.readings.waiting += 1;
            }
        }
        // Destinations that are gone are not owed what has got its owner since.
        let gone = "SELECT id FROM destination WHERE configured = 0 OR absent_from_reading IS NOT NULL";
        let gone: Vec<i64> =
            self.conn.prepare(gone)?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        for destination in gone {
            outbox::settle_rows(self.conn, destination, &given)?;
        }
        // It says that they are nobody's.
        self.recent = Recent::default();
        Ok(given.len() as u64)
    }
}

impl Act {
    fn items(&self) -> u64 {
        let n = match self {
            Self::Open(causes) => causes.len(),
            Self::Clear(ids) => ids.len(),
            Self::Change { .. } | Self::Probed { .. } | Self::Recounted { .. } => 1,
            Self::Consent { .. } | Self::Introduce { .. } | Self::Forget { .. } | Self::UserCode(_) => 1,
            Self::Missing { rows, .. } => rows.len(),
            Self::Replay { rows, .. } | Self::Assign { rows, .. } => rows.len(),
            Self::Redo { arrivals, .. } => arrivals.len(),
            Self::Correct { corrections, .. } => corrections.len(),
            Self::Hold { held, .. } => held.len(),
            Self::Join { members, .. } => members.len(),
            Self::Did(_) | Self::Tell { .. } | Self::Told { .. } => 1,
            Self::Care { orders, .. } => orders.len(),
            Self::Discard { items, .. } => items.len(),
        };
        n as u64
    }
}

fn reading_again(
    conn: &Connection,
    shelf: &mut outbox::Shelf<'_>,
    desk: &mut Desk,
    row: i64,
) -> rusqlite::Result<bool> {
    let gone = "DELETE FROM rejected WHERE destination = ?1 AND reading = ?2";
    if conn.execute(gone, [desk.id, row])? == 0 {
        return Ok(false);
    }
    let tried = "SELECT coalesce(max(number), 0) FROM attempt WHERE destination = ?1 AND reading = ?2";
    let attempts = conn.query_row(tried, [desk.id, row], |r| r.get(0))?;
    shelf.owe_again(&mut desk.readings, row, attempts)?;
    Ok(true)
}

/// A later event of the same alert that is there says more: an older state must not overwrite it.
fn alert_again(conn: &Connection, desk: &mut Desk, row: i64) -> rusqlite::Result<bool> {
    let stale = "UPDATE alert_delivery SET state = 'superseded' WHERE destination = ?1 AND alert_event = ?2
                 AND state = 'rejected' AND EXISTS (SELECT 1 FROM alert_delivery AS later
                     WHERE later.destination = ?1 AND later.alert = alert_delivery.alert
                     AND later.alert_event > ?2 AND later.state = 'delivered')";
    if conn.execute(stale, [desk.id, row])? > 0 {
        return Ok(false);
    }
    let again = "UPDATE alert_delivery SET state = 'waiting', settled_ms = NULL
                 WHERE destination = ?1 AND alert_event = ?2 AND state = 'rejected'";
    let owed = conn.execute(again, [desk.id, row])? > 0;
    if owed {
        desk.alerts.owed_again(row);
    }
    Ok(owed)
}

fn open(conn: &Connection, causes: &[(Cause, i64)], at_ms: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO inbox VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6, ?7, NULL, NULL, NULL)
               ON CONFLICT (id) DO UPDATE SET state = 'open', opened_ms = ?6, due_ms = ?7, cleared_ms = NULL,
               assignee = NULL";
    let mut put = conn.prepare(sql)?;
    for (cause, due_ms) in causes {
        let id = cause.id();
        put.execute(params![id, cause.kind.word(), &*cause.place, cause.code, cause.reason, at_ms, due_ms])?;
        record(conn, at_ms, &Line { id: &id, what: "opened", by: None, items: 0, text: None })?;
    }
    Ok(())
}

fn clear(conn: &Connection, ids: &[String], at_ms: i64) -> rusqlite::Result<()> {
    for id in ids {
        conn.execute("UPDATE inbox SET state = 'cleared', cleared_ms = ?2 WHERE id = ?1", params![id, at_ms])?;
        conn.execute("DELETE FROM replayed WHERE inbox = ?1", [id])?;
        record(conn, at_ms, &Line { id, what: "cleared", by: None, items: 0, text: None })?;
    }
    Ok(())
}

/// Answers 0 for a group that is not there.
fn change(conn: &Connection, act: &Act, at_ms: i64) -> rusqlite::Result<u64> {
    let Act::Change { id, by, state, assignee, due_ms, note } = act else { return Ok(0) };
    let sql = "UPDATE inbox SET state = coalesce(?2, state), assignee = coalesce(?3, assignee),
               due_ms = coalesce(?4, due_ms), note = coalesce(?5, note) WHERE id = ?1";
    if conn.execute(sql, params![id, state, assignee, due_ms, note])? == 0 {
        return Ok(0);
    }
    let said: Vec<String> = [
        state.map(|s| format!("state {s}")),
        assignee.as_ref().map(|a| format!("for {a}")),
        due_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map(|at| format!("due {at}")),
        note.as_ref().map(|n| format!("note: {n}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    record(conn, at_ms, &Line { id, what: "changed", by: Some(by), items: 0, text: Some(&said.join(", ")) })?;
    Ok(1)
}

/// Answers the row of the event.
fn record(conn: &Connection, at_ms: i64, line: &Line<'_>) -> rusqlite::Result<i64> {
    let Line { id, what, by, items, text } = line;
    let sql = "INSERT INTO inbox_event (inbox, at_ms, what, by, items, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    conn.execute(sql, params![id, at_ms, what, by, items.cast_signed(), text])?;
    Ok(conn.last_insert_rowid())
}

/// The budget is spent and nothing else may go: the oldest frames of the inbox, and a line in the history of their groups.
pub(super) fn drop_frames(conn: &Connection, at_ms: i64, most: u32) -> rusqlite::Result<usize> {
    let oldest = "SELECT frame.id, channel.source, reject_code, reject_reason FROM frame
                  JOIN channel ON channel.id = frame.channel
                  WHERE frame.id < (SELECT max(id) FROM frame) ORDER BY frame.id LIMIT ?1";
    let mut statement = conn.prepare(oldest)?;
    let mut rows = statement.query([most])?;
    let (mut groups, mut ids): (BTreeMap<String, u64>, Vec<i64>) = (BTreeMap::new(), Vec::new());
    while let Some(row) = rows.next()? {
        ids.push(row.get(0)?);
        let (Some(code), Some(reason)) = (row.get::<_, Option<String>>(2)?, row.get::<_, Option<String>>(3)?) else {
            continue;
        };
        let place = row.get_ref(1)?.as_str()?.into();
        let cause = Cause { kind: Kind::Undecodable, place, code, reason: normalised(&reason) };
        *groups.entry(cause.id()).or_default() += 1;
    }
    for id in &ids {
        conn.execute("DELETE FROM frame WHERE id = ?1", [id])?;
    }
    for (id, items) in groups {
        let text = "the journal was beyond its budget and nothing else could go";
        if conn.query_row("SELECT EXISTS (SELECT 1 FROM inbox WHERE id = ?1)", [&id], |r| r.get(0))? {
            record(conn, at_ms, &Line { id: &id, what: "dropped", by: None, items, text: Some(text) })?;
        }
        tracing::warn!(
            code = "WL-J013",
            group = id,
            items,
            "Undecodable messages of the inbox were removed: no room is left."
        );
    }
    Ok(ids.len())
}

fn discard(conn: &Connection, cause: &Cause, event: i64, items: &[(i64, String)]) -> rusqlite::Result<()> {
    let at = "SELECT id FROM destination WHERE name = ?1";
    let destination: Option<i64> = match cause.kind {
        Kind::Refused | Kind::Alert | Kind::Notice => conn.query_row(at, [&*cause.place], |r| r.get(0)).optional()?,
        Kind::Undecodable | Kind::Unassigned => None,
    };
    let mut put = conn.prepare("INSERT INTO discarded VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (row, identity) in items {
        match cause.kind {
            Kind::Refused => {
                let gone = "DELETE FROM rejected WHERE destination = ?1 AND reading = ?2";
                conn.execute(gone, params![destination, row])?;
            }
            Kind::Alert | Kind::Notice => {
                let gone = "UPDATE alert_delivery SET state = 'discarded' WHERE destination = ?1 AND alert_event = ?2";
                conn.execute(gone, params![destination, row])?;
            }
            Kind::Undecodable | Kind::Unassigned => {}
        }
        put.execute(params![cause.kind.word(), row, destination, identity, cause.code, cause.reason, event])?;
    }
    Ok(())
}
