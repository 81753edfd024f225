//! What each destination is owed of the readings: all attributed ones, until a span of settled rows covers them.
//!
//! Promises: a reading leaves the outbox with a receipt or a reason, in the transaction that records it. A debt costs
//! nothing until it is paid, and a batch of payments a few rows. Must never: cover a reading that is still owed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rusqlite::{Connection, Rows, Statement, params};
use serde::Serialize;

use super::chain::{self, Entry};
use super::consent::Gate;
use super::queue::{Debt, Queue, Verdict, Walk};
use super::row;
use super::seal;
use super::spans::{Change, Spans};
use super::tally::Counts;
use crate::clock::Stamp;
use crate::custody::{Item, ItemId, Lane, Outcome, Payload, Why};
use crate::limits;
use crate::reading::{PatientId, Reading};
use crate::vital::Vital;

/// One destination's readings.
pub(super) struct Outbox {
    destination: i64,
    /// It is owed readings up to here: it wants none of the later ones.
    owed_through: i64,
    settled: Spans,
    pub(super) queue: Queue,
    /// Failed attempts of what still waits.
    failed: HashMap<i64, Failed>,
    /// Unassigned readings that a walk passed: covered with the next payment.
    nobodys: Spans,
    /// Readings that a walk passed as they lack a consent: not looked at again before consents change.
    withheld: Spans,
}

/// The newest readings in memory, so that a lease need not read what was just written.
#[derive(Default)]
pub(super) struct Recent(VecDeque<Known>);

/// One of them. `reading` is `None` when it is nobody's.
struct Known {
    id: i64,
    device: i64,
    reading: Option<Arc<Reading>>,
}

/// The statements, shared by all destinations.
pub(super) struct Shelf<'c> {
    conn: &'c Connection,
    walk: Statement<'c>,
    put: Statement<'c>,
    remove: Statement<'c>,
    receipt: Statement<'c>,
    rejected: Statement<'c>,
    attempt: Statement<'c>,
}

/// Whether a reading can go out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Now,
    /// When it has its time: see `pending.rs`.
    Later,
    /// When its patient consents.
    Withheld,
    /// It is nobody's.
    Never,
}

/// Who may be read of, now. `None`: everybody.
pub(super) type Judge<'g> = Option<(&'g Gate, Stamp)>;

impl Due {
    fn of(assigned: bool, pending: bool) -> Self {
        match (assigned, pending) {
            (false, _) => Self::Never,
            (true, true) => Self::Later,
            (true, false) => Self::Now,
        }
    }

    fn judged(self, judge: Judge<'_>, whose: impl FnOnce() -> Option<(PatientId, Option<Vital>)>) -> Self {
        let Some((gate, now)) = judge.filter(|_| self == Self::Now) else { return self };
        let lacks =
            |(patient, vital): (PatientId, Option<Vital>)| gate.lacks(&patient, vital.map(|v| v.id), now).is_some();
        if whose().is_some_and(lacks) { Self::Withheld } else { self }
    }
}

/// What a lease found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) items: Vec<Item>,
    /// Rows that cannot be read.
    pub(super) unreadable: Vec<i64>,
    /// Rows that were taken and may not go.
    back: Vec<i64>,
    /// It stopped before the end of the lane.
    pub(super) more: bool,
}

impl Found {
    /// What was judged to be due goes as it may.
    fn admit(&mut self, judge: Judge<'_>, id: i64, item: Item) {
        let admitted = match judge {
            Some((gate, now)) => gate.admit(item, now),
            None => Some(item),
        };
        match admitted {
            Some(item) => self.items.push(item),
            None => self.back.push(id),
        }
    }
}

impl Recent {
    pub(super) fn push(&mut self, id: i64, device: i64, reading: &Reading) {
        if self.0.len() >= limits::JOURNAL_RECENT_MAX {
            self.0.pop_front();
        }
        let reading = reading.patient.is_some().then(|| Arc::new(reading.clone()));
        self.0.push_back(Known { id, device, reading });
    }

    /// The rows have changed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Those with these ids, if all of them are here.
    fn between(&self, above: i64, below: i64) -> Option<impl Iterator<Item = &Known>> {
        let first = self.0.front()?.id;
        let from = self.0.partition_point(|k| k.id <= above);
        (first <= above + 1).then(|| self.0.range(from..).take_while(move |k| k.id < below))
    }
}

impl<'c> Shelf<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            conn,
            walk: conn.prepare(&format!(
                "SELECT reading.id, reading.device, patient IS NOT NULL, taken_method IN ('pending', 'unchecked'), {} FROM reading
                 LEFT JOIN device ON device.id = reading.device
                 WHERE reading.id > ?1 AND reading.id < ?2 ORDER BY reading.id",
                row::COLUMNS
            ))?,
            put: conn.prepare("INSERT OR REPLACE INTO settled VALUES (?1, ?2, ?3, ?4)")?,
            remove: conn.prepare("DELETE FROM settled WHERE destination = ?1 AND first_reading = ?2")?,
            receipt: conn.prepare("INSERT OR REPLACE INTO receipt VALUES (?1, ?2, ?3, ?4, ?5)")?,
            rejected: conn.prepare("INSERT OR REPLACE INTO rejected VALUES (?1, ?2, ?3, ?4, ?5)")?,
            attempt: conn.prepare("INSERT OR REPLACE INTO attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?,
        })
    }

    pub(super) fn open(&self, destination: i64, newest: i64) -> rusqlite::Result<Outbox> {
        let settled = load(self.conn, destination)?;
        let (start, _) = settled.gap(-1);
        let mut attempts =
            self.conn.prepare("SELECT reading, number, code FROM attempt WHERE destination = ?1 AND reading > ?2")?;
        let mut failed: HashMap<i64, Failed> = HashMap::new();
        let mut rows = attempts.query([destination, start])?;
        while let Some(row) = rows.next()? {
            let (id, number, code): (i64, u32, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if !settled.contains(id) {
                let known = failed.entry(id).or_default();
                known.tries = known.tries.max(number);
                let why = Why { code: code.into(), text: String::new() };
                known.own += u32::from(why.may_be_the_items());
                // Not every attempt is kept.
                known.sent |= why.may_have_arrived() || number >= limits::ATTEMPTS_KEPT_MAX;
            }
        }
        let queue = Queue::new(start, newest);
        let owed_through = self.conn.query_row(
            "SELECT coalesce(absent_from_reading - 1, ?2) FROM destination WHERE id = ?1",
            [destination, i64::MAX],
            |r| r.get(0),
        )?;
        let (nobodys, withheld) = (Spans::default(), Spans::default());
        Ok(Outbox { destination, owed_through, settled, queue, failed, nobodys, withheld })
    }

    /// After a rollback: memory is what the table says.
    pub(super) fn restore(&self, outbox: &mut Outbox) -> rusqlite::Result<()> {
        outbox.settled = load(self.conn, outbox.destination)?;
        Ok(())
    }

    /// Leases up to `max` readings of a lane, by a walk along the gaps between settled spans.
    pub(super) fn lease(
        &mut self,
        outbox: &mut Outbox,
        recent: &Recent,
        (lane, max): (Lane, usize),
        newest: i64,
        judge: Judge<'_>,
    ) -> rusqlite::Result<Found> {
        let (mut at, upto) = outbox.queue.window(lane, newest.min(outbox.owed_through));
        let (mut found, mut walk) = (Found::default(), Walk::default());
        while at < upto && !found.more {
            let (above, below) = outbox.gap(at);
            let below = below.min(upto + 1);
            found.more = match recent.between(above, below) {
                Some(known) => outbox.walk_memory((lane, max), known, judge, &mut walk, &mut found),
                None => {
                    let rows = self.walk.query([above, below])?;
                    outbox.walk_rows((lane, max), rows, judge, &mut walk, &mut found)?
                }
            };
            at = below;
        }
        if !found.more {
            outbox.queue.seen(lane, upto);
        }
        outbox.queue.take(&walk);
        for id in found.back.drain(..) {
            outbox.queue.settled(id, false);
            outbox.withheld.insert(id, id, drop);
        }
        Ok(found)
    }

    /// Records outcomes of what is in flight. In memory only the spans change; [`Outbox::confirm`] does the rest.
    pub(super) fn pay(
        &mut self,
        outbox: &mut Outbox,
        outcomes: &[(ItemId, Outcome)],
        at_ms: i64,
        counts: &mut Counts,
    ) -> rusqlite::Result<Vec<Entry<'static>>> {
        let to = outbox.destination;
        let (mut places, mut failed) = (Vec::new(), Spans::default());
        let (mut settled, mut entries) = (Spans::default(), Vec::new());
        let entry =
            |what, first, last, digest| Entry { what, destination: Some(to), first, last, digest, detail: None };
        for (item, outcome) in outcomes {
            let ItemId::Reading(id) = *item else { continue };
            if outbox.queue.attempts_in_flight(id).is_none() {
                continue;
            }
            let tries = outbox.failed.get(&id).map_or(0, |f| f.tries);
            match outcome {
                Outcome::Delivered(receipt) => {
                    places.push(Place(id, &receipt.location, receipt.known));
                    settled.insert(id, id, drop);
                    counts.delivered();
                }
                Outcome::Reject(why) => {
                    self.attempt(to, id, tries + 1, at_ms, why)?;
                    self.rejected.execute(params![to, id, at_ms, &*why.code, &why.text])?;
                    entries.push(entry("rejected", id, id, chain::digest(&[&why.code, &why.text])));
                    settled.insert(id, id, drop);
                    counts.rejected();
                }
                Outcome::Retry { why, .. } => {
                    // The first time only: a long outage must not fill the chain.
                    if tries == 0 {
                        failed.insert(id, id, drop);
                    }
                    self.attempt(to, id, tries + 1, at_ms, why)?;
                }
                Outcome::Withheld => {}
            }
        }
        entries.extend(failed.iter().map(|(first, last)| entry("attempted", first, last, chain::digest(&[]))));
        if let Some((first, last, places)) = self.receipt(to, &mut places, at_ms)? {
            entries.push(entry("delivered", first, last, chain::digest(&[&places])));
        }
        outbox.nobodys.iter().for_each(|(first, last)| settled.insert(first, last, drop));
        self.cover(outbox, &settled)?;
        Ok(entries)
    }

    /// It is not owed any more.
    pub(super) fn cover_one(&mut self, outbox: &mut Outbox, id: i64) -> rusqlite::Result<()> {
        outbox.failed.remove(&id);
        let mut one = Spans::default();
        one.insert(id, id, drop);
        self.cover(outbox, &one)
    }

    /// What was settled is owed again, after so many attempts.
    pub(super) fn owe_again(&mut self, outbox: &mut Outbox, id: i64, attempts: u32) -> rusqlite::Result<()> {
        let mut changes = Vec::new();
        outbox.settled.remove(id, |change| changes.push(change));
        outbox.nobodys.remove(id, drop);
        outbox.failed.insert(id, Failed { tries: attempts, own: attempts, sent: true });
        outbox.queue.look_again_from(id);
        self.write(outbox.destination, changes)
    }

    /// Answers its first and last reading, and what was written.
    fn receipt(
        &mut self,
        to: i64,
        places: &mut [Place<'_>],
        at_ms: i64,
    ) -> rusqlite::Result<Option<(i64, i64, String)>> {
        places.sort_unstable_by_key(|p| p.0);
        let (Some(first), Some(last)) = (places.first().map(|p| p.0), places.last().map(|p| p.0)) else {
            return Ok(None);
        };
        let json = serde_json::to_string(places).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        self.receipt.execute(params![to, first, last, at_ms, json])?;
        Ok(Some((first, last, json)))
    }

    fn attempt(&mut self, to: i64, id: i64, attempts: u32, at_ms: i64, why: &Why) -> rusqlite::Result<()> {
        let number = attempts.min(limits::ATTEMPTS_KEPT_MAX);
        self.attempt.execute(params![to, id, number, at_ms, &*why.code, &why.text]).map(drop)
    }

    fn cover(&mut self, outbox: &mut Outbox, settled: &Spans) -> rusqlite::Result<()> {
        let mut changes = Vec::new();
        settled.iter().for_each(|(first, last)| outbox.settled.insert(first, last, |change| changes.push(change)));
        self.write(outbox.destination, changes)
    }

    fn write(&mut self, to: i64, changes: Vec<Change>) -> rusqlite::Result<()> {
        for change in changes {
            match change {
                Change::Put(first, last) => self.put.execute([to, first, last, seal::of_span(to, first, last)])?,
                Change::Remove(first) => self.remove.execute([to, first])?,
            };
        }
        Ok(())
    }
}

/// Failures of one item.
#[derive(Clone, Copy, Default)]
struct Failed {
    /// All, for people.
    tries: u32,
    /// Those that may be its own doing.
    own: u32,
    /// One of them may have arrived all the same.
    sent: bool,
}

impl Outbox {
    /// It is not owed: paid, refused, or never wanted.
    pub(super) fn is_settled(&self, id: i64) -> bool {
        id > self.owed_through || self.settled.contains(id)
    }

    /// It was sent, and nobody knows whether it is there.
    pub(super) fn may_have_arrived(&self, id: i64) -> bool {
        self.failed.get(&id).is_some_and(|f| f.sent)
    }

    /// Takes outcomes into memory, after their commit. Answers whether something may be due at once.
    pub(super) fn confirm(&mut self, outcomes: &[(ItemId, Outcome)], now: Stamp, newest: i64) -> bool {
        self.nobodys = Spans::default();
        let mut due = false;
        for (item, outcome) in outcomes {
            let ItemId::Reading(id) = *item else { continue };
            let Some(attempts) = self.queue.attempts_in_flight(id) else { continue };
            match outcome {
                Outcome::Delivered(_) | Outcome::Reject(_) => {
                    self.failed.remove(&id);
                    self.queue.settled(id, false);
                }
                Outcome::Retry { after, destination, why } => {
                    // An item that only waited for its destination is as good as new, or an outage would make suspects.
                    let known = self.failed.entry(id).or_default();
                    known.tries += 1;
                    known.own += u32::from(!*destination || why.may_be_the_items());
                    known.sent |= why.may_have_arrived();
                    // One that fails again while others pass must not hold up its device's later readings.
                    due |= self.queue.retry(id, *after, attempts == 0, now);
                    if *destination {
                        self.queue.outage(newest);
                    }
                }
                Outcome::Withheld => {
                    self.queue.settled(id, true);
                    due = true;
                }
            }
        }
        due
    }

    /// The first rows above `after` that are neither settled nor known to lack a consent.
    fn gap(&self, after: i64) -> (i64, i64) {
        let (mut above, mut below) = self.settled.gap(after);
        loop {
            let (free, withheld) = self.withheld.gap(above);
            if free < below {
                return (free, below.min(withheld));
            }
            (above, below) = self.settled.gap(free);
        }
    }

    /// Whether any is known to lack a consent.
    pub(super) fn withholds(&self) -> bool {
        self.withheld.iter().next().is_some()
    }

    /// Consents have changed: what lacked one is looked at again.
    pub(super) fn consider_again(&mut self) {
        let first = self.withheld.iter().next();
        if let Some((first, _)) = first {
            self.withheld = Spans::default();
            self.queue.look_through_again(first);
        }
    }

    fn walk_memory<'k>(
        &mut self,
        (lane, max): (Lane, usize),
        known: impl Iterator<Item = &'k Known>,
        judge: Judge<'_>,
        walk: &mut Walk,
        found: &mut Found,
    ) -> bool {
        for Known { id, device, reading } in known {
            let pending = reading.as_ref().is_some_and(|r| r.taken.waits());
            let whose = || {
                let judged = reading.as_ref().filter(|r| !r.is_withdrawal())?;
                Some((judged.patient.clone()?, Some(judged.vital)))
            };
            let due = Due::of(reading.is_some(), pending).judged(judge, whose);
            match self.look(lane, *id, *device, due, walk, max) {
                (Verdict::Take, attempts) => {
                    reading.clone().into_iter().for_each(|r| found.admit(judge, *id, item(*id, r, attempts)));
                }
                (Verdict::Pass, _) => {}
                (Verdict::Stop, _) => return true,
            }
        }
        false
    }

    fn walk_rows(
        &mut self,
        (lane, max): (Lane, usize),
        mut rows: Rows<'_>,
        judge: Judge<'_>,
        walk: &mut Walk,
        found: &mut Found,
    ) -> rusqlite::Result<bool> {
        while let Some(row) = rows.next()? {
            let (id, device) = (row.get(0)?, row.get(1).unwrap_or(0));
            let due = match Due::of(row.get(2)?, row.get(3)?).judged(judge, || row::whose(row, 4)) {
                // What would be passed over is passed over only if it is true.
                due if due != Due::Now && !row::is_intact(row, 4) => Due::Now,
                due => due,
            };
            match self.look(lane, id, device, due, walk, max) {
                (Verdict::Take, attempts) => match row::read(row, 4)? {
                    Some(reading) => found.admit(judge, id, item(id, Arc::new(reading), attempts)),
                    None => found.unreadable.push(id),
                },
                (Verdict::Pass, _) => {}
                (Verdict::Stop, _) => return Ok(true),
            }
        }
        Ok(false)
    }

    fn look(&mut self, lane: Lane, id: i64, line: i64, due: Due, walk: &mut Walk, max: usize) -> (Verdict, u32) {
        if due == Due::Never {
            self.nobodys.insert(id, id, drop);
        }
        if due == Due::Withheld {
            if !walk.goes_on() {
                return (Verdict::Stop, 0);
            }
            self.withheld.insert(id, id, drop);
        }
        if due != Due::Now {
            self.queue.seen(lane, id);
            return (Verdict::Pass, 0);
        }
        let attempts = self.failed.get(&id).map_or(0, |f| f.own);
        (self.queue.look(lane, Debt { id, line, attempts }, walk, max), attempts)
    }
}

fn item(id: i64, reading: Arc<Reading>, attempts: u32) -> Item {
    Item { id: ItemId::Reading(id), what: Payload::Reading(reading), attempts }
}

/// The settled spans of a destination.
pub(super) fn load(conn: &Connection, destination: i64) -> rusqlite::Result<Spans> {
    let mut spans = Spans::default();
    let mut all =
        conn.prepare("SELECT destination, first_reading, last_reading, seal FROM settled WHERE destination = ?1")?;
    let mut rows = all.query([destination])?;
    while let Some(row) = rows.next()? {
        // What may be owed is owed.
        if seal::span_is_intact(row, 0) {
            spans.insert(row.get(1)?, row.get(2)?, drop);
        }
    }
    Ok(spans)
}

/// Readings that a destination is owed: the attributed ones in the gaps of its spans.
pub(super) fn count_owed(conn: &Connection, destination: i64) -> rusqlite::Result<i64> {
    let settled = load(conn, destination)?;
    let end: i64 = conn.query_row(
        "SELECT coalesce(absent_from_reading, ?2) FROM destination WHERE id = ?1",
        [destination, i64::MAX],
        |r| r.get(0),
    )?;
    let mut assigned = conn.prepare("SELECT count(patient) FROM reading WHERE id > ?1 AND id < ?2")?;
    let (mut owed, mut at) = (0, -1);
    while at < end - 1 {
        let (above, below) = settled.gap(at);
        owed += assigned.query_row([above, below.min(end)], |r| r.get::<_, i64>(0))?;
        at = below;
    }
    Ok(owed)
}

/// Covers these rows at a destination that is not owed them.
pub(super) fn settle_rows(conn: &Connection, destination: i64, rows: &[i64]) -> rusqlite::Result<()> {
    let mut spans = Spans::default();
    rows.iter().for_each(|row| spans.insert(*row, *row, drop));
    settle_unowed(conn, destination, &spans)
}

/// Covers rows that are not owed: from before the destination wanted any.
pub(super) fn settle_span(conn: &Connection, destination: i64, first: i64, last: i64) -> rusqlite::Result<()> {
    let mut spans = Spans::default();
    if last >= first {
        spans.insert(first, last, drop);
    }
    settle_unowed(conn, destination, &spans)
}

fn settle_unowed(conn: &Connection, destination: i64, spans: &Spans) -> rusqlite::Result<()> {
    let Some((_, last)) = spans.iter().last() else { return Ok(()) };
    let mut shelf = Shelf::prepare(conn)?;
    let mut outbox = shelf.open(destination, last)?;
    shelf.cover(&mut outbox, spans)?;
    let mut note = conn.prepare("INSERT OR REPLACE INTO unowed VALUES (?1, ?2, ?3)")?;
    spans.iter().try_for_each(|(first, last)| note.execute([destination, first, last]).map(drop))
}

/// `[reading, where it is, it was there before]`.
#[derive(Serialize)]
struct Place<'a>(i64, &'a str, bool);
