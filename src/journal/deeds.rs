//! What people did, as entries of the chain of custody; and how far each destination that wants to know was told of it.
//!
//! Promises: a deed is in the transaction of what it speaks of; what no destination was told yet is not removed with its
//! readings; how far they were told is part of the chain itself. Must never: hand out an entry that is not as it was sealed.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::chain::{self, Chain, Entry, Head, STANDING};
use super::reader::{ReadError, Reader};
use super::redress::Act;
use super::tally::Tally;
use super::writer::Writer;
use crate::association::Held;
use crate::careplan::{Event, Order};
use crate::clock::Stamp;
use crate::deed::{Deed, Did};

/// An entry that says what somebody did.
const DEED: &str = "deed";
/// A destination that is told of nothing any more holds so many of the newest entries, and not all for ever.
const HELD_MAX: i64 = 100_000;

/// What the next start must know. JSON, in the chain's newest entry of this kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    /// Destinations that want to know of deeds: up to which entry they were told.
    #[serde(default)]
    told: BTreeMap<String, i64>,
    /// Hash of the configuration of the latest start.
    #[serde(default)]
    configuration: Option<String>,
    /// Entries of exports that began and have not ended.
    #[serde(default)]
    exports: BTreeSet<i64>,
}

impl Standing {
    fn read(conn: &Connection, head: Head) -> rusqlite::Result<Self> {
        let detail = "SELECT detail FROM custody WHERE id = ?1";
        let detail: Option<String> = conn.query_row(detail, [head.stated], |r| r.get(0)).optional()?.flatten();
        // What cannot be read is as if it had never been said: who is told again knows the deed by its seal.
        Ok(detail.and_then(|d| serde_json::from_str(&d).ok()).unwrap_or_default())
    }
}

/// The first entry that is still needed. `None`: none is.
pub(super) fn needed_from(conn: &Connection, head: Head) -> rusqlite::Result<Option<i64>> {
    if head.stated == 0 {
        return Ok(None);
    }
    let standing = Standing::read(conn, head)?;
    let untold = standing.told.values().map(|told| told + 1).chain(standing.exports).min().unwrap_or(head.id);
    Ok(Some(untold.max(head.id - HELD_MAX).min(head.stated)))
}

/// Of an act that concerned so many items: what is to be remembered of it.
pub(super) fn of(act: &Act, items: u64) -> Option<Deed> {
    Some(match act {
        Act::Consent { patient, said, .. } => {
            let by = Some(&*said.by).filter(|by| !matches!(*by, "centre" | "policy"));
            Did::Consented.by(by).about([patient])
        }
        Act::Introduce { patient, is, .. } => Did::Introduced.by(Some(&is.by)).about([patient]),
        Act::Forget { patient, by, .. } => Did::Forgotten.by(Some(by)).about([patient]),
        Act::UserCode(change) => return change.deed(),
        Act::Join { members, by: Some(by) } => Did::Matched.by(Some(by)).about(members.iter().map(|m| &m.reference)),
        Act::Hold { held, by: Some(by) } => handed(held, by),
        Act::Care { orders, events, .. } => return ordered(orders, events),
        Act::Assign { by, patient, .. } if items > 0 => Did::Assigned.by(Some(by)).about([patient]),
        Act::Correct { by, corrections } if items > 0 => {
            let readings = corrections.iter().flat_map(|c| [Some(&c.withdrawal), c.replacement.as_ref()]).flatten();
            Did::Corrected.by(Some(by)).about(readings.filter_map(|r| r.patient.as_ref()))
        }
        _ => return None,
    })
}

/// Who has it now, and who gave it back just now.
fn handed(held: &[Held], by: &str) -> Deed {
    let all = || held.iter().flat_map(|h| &h.history.0);
    let now = all().filter(|a| a.until_ms.is_none());
    let last = all().filter_map(|a| a.until_ms).max();
    let before = all().filter(|a| a.until_ms.is_some() && a.until_ms == last);
    Did::Handed.by(Some(by)).about(now.chain(before).map(|a| &a.patient))
}

/// What was only seen, or refused, changed nothing.
fn ordered(orders: &[Order], events: &[Event]) -> Option<Deed> {
    let changes = |e: &&Event| matches!(&*e.what, "in force" | "declined" | "superseded" | "withdrawn");
    let changed: Vec<&Event> = events.iter().filter(changes).collect();
    let by = changed.iter().map(|e| &*e.by).find(|by| !matches!(*by, "centre" | "policy"));
    let whose = orders.iter().filter(|o| changed.iter().any(|e| e.order == o.id)).map(|o| &o.patient);
    (!changed.is_empty()).then(|| Did::Ordered.by(by).about(whose))
}

impl Writer<'_> {
    /// Keeps what an act was, if somebody may be asked about it.
    pub(super) fn note(&mut self, act: &Act, items: u64, now: Stamp, tally: &mut Tally) -> rusqlite::Result<()> {
        of(act, items).map_or(Ok(()), |deed| self.did(&deed, now, tally).map(drop))
    }

    /// Answers its entry.
    pub(super) fn did(&mut self, deed: &Deed, now: Stamp, tally: &mut Tally) -> rusqlite::Result<i64> {
        self.say(DEED, deed, now, tally)?;
        let entry = tally.head.id;
        if deed.did == Did::Exporting || deed.begun.is_some() {
            let mut standing = Standing::read(self.conn, tally.head)?;
            match deed.begun {
                None => drop(standing.exports.insert(entry)),
                Some(begun) => drop(standing.exports.remove(&begun)),
            }
            self.say(STANDING, &standing, now, tally)?;
        }
        Ok(entry)
    }

    /// At a start: who wants to know of deeds from now on (`all`: from the oldest that is kept); whether the configuration is
    /// the one of before; exports that the last end broke off.
    pub(super) fn begin_to_tell(
        &mut self,
        (tell, all): (&[String], bool),
        configuration: Option<&str>,
        now: Stamp,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        let before = Standing::read(self.conn, tally.head)?;
        let mut standing = before.clone();
        standing.told.retain(|name, _| tell.contains(name));
        let from = if all { 0 } else { tally.head.id };
        for name in tell {
            standing.told.entry(name.clone()).or_insert(from);
        }
        let known = before.configuration.as_deref();
        let is_another = configuration.zip(known).is_some_and(|(now, before)| now != before);
        standing.configuration = configuration.or(known).map(str::to_owned);
        let broken_off = std::mem::take(&mut standing.exports);
        if standing != before {
            self.say(STANDING, &standing, now, tally)?;
        }
        if is_another {
            self.did(&Did::Configured.by(None), now, tally)?;
        }
        for begun in broken_off {
            let deed = deed_at(self.conn, begun)?.unwrap_or_else(|| Did::Exported.by(None));
            self.did(&Deed { did: Did::Exported, failed: true, begun: Some(begun), ..deed }, now, tally)?;
        }
        Ok(())
    }

    /// A destination was told up to this entry.
    pub(super) fn told(
        &mut self,
        destination: &str,
        through: i64,
        now: Stamp,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        let mut standing = Standing::read(self.conn, tally.head)?;
        match standing.told.get_mut(destination) {
            Some(told) if *told < through => *told = through,
            _ => return Ok(()),
        }
        self.say(STANDING, &standing, now, tally)
    }

    fn say(&mut self, what: &str, body: &impl Serialize, now: Stamp, tally: &mut Tally) -> rusqlite::Result<()> {
        let detail = serde_json::to_string(body).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        // It goes with the readings of its time.
        let (newest, digest) = (tally.newest_reading(), chain::digest(&[&detail]));
        let entry = Entry { what, destination: None, first: newest, last: newest, digest, detail: Some(&detail) };
        self.chain.append(&mut tally.head, now, &entry)
    }
}

fn deed_at(conn: &Connection, entry: i64) -> rusqlite::Result<Option<Deed>> {
    let sql = "SELECT detail FROM custody WHERE id = ?1 AND what = ?2";
    let detail: Option<String> = conn.query_row(sql, params![entry, DEED], |r| r.get(0)).optional()?.flatten();
    Ok(detail.and_then(|detail| serde_json::from_str(&detail).ok()))
}

/// A deed with its place in the chain.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its entry.
    pub entry: i64,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Seal of its entry, hex: no other deed ever has it.
    pub seal: String,
    /// What was done.
    pub deed: Deed,
}

impl Told {
    /// Whether it is told to anybody: the beginning of something that has an end is not.
    pub fn is_for_others(&self) -> bool {
        self.deed.did != Did::Exporting
    }
}

/// Some of them.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Oldest first.
    pub deeds: Vec<Told>,
    /// Up to here nothing was left out.
    pub through: i64,
    /// Entries that are not as they were sealed, and are left out.
    pub damaged: u64,
}

impl Reader {
    /// Deeds after this entry, at most `max`.
    pub fn deeds(&self, after: i64, max: usize) -> Result<Deeds, ReadError> {
        let sql = "SELECT id, at_ms, first_reading, last_reading, detail, digest, seal,
                   (SELECT seal FROM custody AS before WHERE before.id = custody.id - 1)
                   FROM custody WHERE id > ?1 AND id <= ?2 AND what = ?3 ORDER BY id LIMIT ?4";
        self.with(|conn| {
            let moment = conn.unchecked_transaction()?;
            let head = Chain::head(&moment)?;
            let mut found = Deeds { through: after.max(head.id), ..Deeds::default() };
            let mut statement = moment.prepare(sql)?;
            let most = i64::try_from(max).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![after, head.id, DEED, most])?;
            let (mut seen, mut last) = (0, after);
            while let Some(row) = rows.next()? {
                (seen, last) = (seen + 1, row.get(0)?);
                match intact(row) {
                    Some(told) => found.deeds.push(told),
                    None => found.damaged += 1,
                }
            }
            if seen >= max {
                found.through = last;
            }
            Ok(found)
        })
    }

    /// Up to which entry a destination was told. `None`: it does not want to know.
    pub fn told(&self, destination: &str) -> Result<Option<i64>, ReadError> {
        self.with(|conn| {
            let standing = Standing::read(conn, Chain::head(conn)?)?;
            Ok(standing.told.get(destination).copied())
        })
    }
}

/// `None`: the entry was changed.
fn intact(row: &Row<'_>) -> Option<Told> {
    let (id, at_ms, first, last): (i64, _, _, _) =
        (row.get(0).ok()?, row.get(1).ok()?, row.get(2).ok()?, row.get(3).ok()?);
    let detail: String = row.get(4).ok()?;
    let (digest, seal): (chain::Seal, chain::Seal) = (row.get(5).ok()?, row.get(6).ok()?);
    // The entries before it may be gone with their readings.
    let before: Option<chain::Seal> = row.get(7).ok()?;
    let entry = Entry { what: DEED, destination: None, first, last, digest, detail: Some(&detail) };
    let fits = before.or((id == 1).then_some([0; 32])).is_none_or(|b| chain::seal(&b, id, at_ms, &entry) == seal);
    let deed = (fits && chain::digest(&[&detail]) == digest).then(|| serde_json::from_str(&detail).ok()).flatten()?;
    let seal = seal.iter().map(|octet| format!("{octet:02x}")).collect();
    Some(Told { entry: id, at_ms, seal, deed })
}
