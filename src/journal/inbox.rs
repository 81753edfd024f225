//! What is stuck, by cause: refused items, frames that could not be decoded, readings that are nobody's.
//!
//! Promises: every item that nobody tries any more is in exactly one group. Must never: write; people's decisions go
//! through `redress.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, Row, params};

use super::reader::{Entry, ReadError, Reader, entry, select};
use crate::alarm::AlertEvent;
use crate::association::Unassigned;
use crate::clock::Stamp;
use crate::custody::Why;
use crate::limits;
use crate::reading::{DeviceId, Frame, Path, Reading};

/// What kind of item is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Readings that a destination refused.
    Refused,
    /// Events of alerts about people that a destination refused.
    Alert,
    /// Events of technical alerts, which are about the gateway, that a destination refused.
    Notice,
    /// Frames that could not become readings.
    Undecodable,
    /// Readings of a device without a holder.
    Unassigned,
}

impl Kind {
    /// As the tables have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Alert => "alert",
            Self::Notice => "notice",
            Self::Undecodable => "undecodable",
            Self::Unassigned => "unassigned",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Refused, Self::Alert, Self::Notice, Self::Undecodable, Self::Unassigned]
            .into_iter()
            .find(|k| k.word() == word)
    }
}

/// Why items are stuck.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// What kind of item.
    pub kind: Kind,
    /// Destination, source, or device.
    pub place: Arc<str>,
    /// Stable code.
    pub code: String,
    /// One sentence, without numbers that differ from item to item. Unassigned: a word of `Unassigned`, and the device's user
    /// slot, if it has any.
    pub reason: String,
}

impl Cause {
    /// Eight hex digits: the same whenever the cause comes back.
    pub fn id(&self) -> String {
        let mut hash = Context::new(&SHA256);
        for part in [self.kind.word(), &self.place, &self.code, &self.reason] {
            hash.update(part.as_bytes());
            hash.update(&[0]);
        }
        hash.finish().as_ref().iter().take(4).map(|b| format!("{b:02x}")).collect()
    }

    /// The user slot of an unassigned group.
    pub fn slot(&self) -> Option<u8> {
        self.reason.split_once(", user slot ")?.1.parse().ok()
    }

    /// Why the readings of an unassigned group were nobody's when they came.
    pub fn unassigned(&self) -> Option<Unassigned> {
        Unassigned::parse(self.reason.split(',').next()?)
    }

    /// The group of a reading that is nobody's.
    pub fn of_nobodys(reading: &Reading) -> Self {
        let why = reading.unassigned.unwrap_or(Unassigned::NoHolder).word();
        let reason = reading.slot.map_or_else(|| why.to_owned(), |slot| format!("{why}, user slot {slot}"));
        Self { kind: Kind::Unassigned, place: reading.device.0.clone(), code: UNASSIGNED.into(), reason }
    }
}

/// How many items share a cause, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Items.
    pub items: u64,
    /// When the first of them got stuck.
    pub first_ms: i64,
    /// And the last.
    pub last_ms: i64,
}

/// What people said about a group, and when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its cause.
    pub cause: Cause,
    /// `open`, `in-work`, `waiting`, `cleared`.
    pub state: String,
    /// When it began.
    pub opened_ms: i64,
    /// When somebody should have seen to it.
    pub due_ms: i64,
    /// When its last item was settled.
    pub cleared_ms: Option<i64>,
    /// Who has taken it.
    pub assignee: Option<String>,
    /// What a person wrote.
    pub note: Option<String>,
    /// Items of it that were sent again and are not settled yet.
    pub sending: u64,
}

/// Something that happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// When.
    pub at_ms: i64,
    /// `opened`, `changed`, `replayed`, `discarded`, `cleared`.
    pub what: String,
    /// Who; `None`: the gateway.
    pub by: Option<String>,
    /// How many items it concerned.
    pub items: u64,
    /// A reason or a note.
    pub text: Option<String>,
}

/// One item of a group.
#[derive(Clone, Debug)]
pub struct Stuck {
    /// Its row.
    pub row: i64,
    /// When it got stuck.
    pub at_ms: i64,
    /// What it is.
    pub what: What,
    /// Why.
    pub why: Why,
}

/// What is stuck.
#[derive(Clone, Debug)]
pub enum What {
    /// A reading.
    Reading(Box<Entry>),
    /// An alert event.
    Alert(Box<AlertEvent>),
    /// Bytes, as they came.
    Frame(Box<Frame>),
    /// A row that cannot be read.
    Unreadable,
}

/// Code of the cause that a device has no holder.
pub const UNASSIGNED: &str = "WL-O020";

/// What all groups share: their causes with their extents.
type Causes = BTreeMap<Cause, Extent>;

impl Reader {
    /// Every cause for which something is stuck now.
    pub fn stuck(&self) -> Result<Causes, ReadError> {
        self.with(|conn| {
            let moment = conn.unchecked_transaction()?;
            let mut causes = Causes::new();
            gather(&moment, Kind::Refused, REFUSED, &mut causes)?;
            for kind in [Kind::Alert, Kind::Notice] {
                gather(&moment, kind, &format!("{ALERTS} AND {} GROUP BY 1, 2, 3", about(kind)), &mut causes)?;
            }
            gather(&moment, Kind::Undecodable, FRAMES, &mut causes)?;
            gather(&moment, Kind::Unassigned, NOBODYS, &mut causes)?;
            Ok(causes)
        })
    }

    /// What people said about groups; cleared ones too.
    pub fn cases(&self) -> Result<Vec<Case>, ReadError> {
        let sql = format!("{CASES} ORDER BY opened_ms DESC LIMIT ?1");
        let most = i64::try_from(limits::INBOX_CASES_LISTED_MAX).unwrap_or(i64::MAX);
        self.with(|conn| {
            let mut statement = conn.prepare(&sql)?;
            let found = statement.query_map([most], case)?.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    /// What happened to a group, newest first.
    pub fn past(&self, id: &str) -> Result<Vec<Past>, ReadError> {
        let sql = "SELECT at_ms, what, by, items, text FROM inbox_event WHERE inbox = ?1 ORDER BY id DESC LIMIT ?2";
        let most = i64::try_from(limits::INBOX_ITEMS_SHOWN_MAX).unwrap_or(i64::MAX);
        let read = |r: &Row<'_>| {
            let items = r.get::<_, i64>(3)?.unsigned_abs();
            Ok(Past { at_ms: r.get(0)?, what: r.get(1)?, by: r.get(2)?, items, text: r.get(4)? })
        };
        self.with(|conn| conn.prepare(sql)?.query_map(params![id, most], read)?.collect())
    }

    /// Items of a group above the row `after`, in order.
    pub fn items(&self, cause: &Cause, after: i64, max: usize) -> Result<Vec<Stuck>, ReadError> {
        self.with(|conn| match cause.kind {
            Kind::Refused => refused(conn, cause, after, max),
            Kind::Alert | Kind::Notice => alerts(conn, cause, after, max),
            Kind::Undecodable => frames(conn, cause, after, max),
            Kind::Unassigned => nobodys(conn, cause, after, max),
        })
    }

    /// The latest probes of a destination: whether they wrote, when, and what they found, as JSON.
    pub fn probes(&self, destination: &str) -> Result<Vec<(bool, i64, String)>, ReadError> {
        let sql = "SELECT wrote, at_ms, body FROM probe WHERE destination = ?1";
        let read = |r: &Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?));
        self.with(|conn| conn.prepare(sql)?.query_map([destination], read)?.collect())
    }
}

const REFUSED: &str = "SELECT destination.name, code, reason, count(*), min(at_ms), max(at_ms)
    FROM rejected JOIN destination ON destination.id = rejected.destination GROUP BY 1, 2, 3";
/// The latest attempt says why.
const LATEST: &str = "JOIN alert_attempt AS a ON a.destination = d.destination AND a.alert_event = d.alert_event
    AND a.number = (SELECT max(number) FROM alert_attempt AS b
                    WHERE b.destination = d.destination AND b.alert_event = d.alert_event)";
const ALERTS: &str = "SELECT destination.name, a.code, a.reason, count(*), min(d.settled_ms), max(d.settled_ms)
    FROM alert_delivery AS d JOIN destination ON destination.id = d.destination
    JOIN alert_attempt AS a ON a.destination = d.destination AND a.alert_event = d.alert_event
    AND a.number = (SELECT max(number) FROM alert_attempt AS b
                    WHERE b.destination = d.destination AND b.alert_event = d.alert_event)
    JOIN alert_event ON alert_event.id = d.alert_event WHERE d.state = 'rejected'";
const FRAMES: &str = "SELECT channel.source, reject_code, reject_reason, count(*), min(received_ms), max(received_ms)
    FROM frame INDEXED BY frame_stuck JOIN channel ON channel.id = frame.channel
    WHERE reject_code IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM discarded WHERE kind = 'undecodable' AND item = frame.id) GROUP BY 1, 2, 3";
const NOBODYS: &str = "SELECT device.name, 'WL-O020', coalesce(unassigned, 'no-holder') || CASE WHEN slot IS NULL THEN '' ELSE ', user slot ' || slot END,
    count(*), min(committed_ms), max(committed_ms)
    FROM reading INDEXED BY reading_nobodys JOIN device ON device.id = reading.device
    WHERE patient IS NULL
    AND NOT EXISTS (SELECT 1 FROM discarded WHERE kind = 'unassigned' AND item = reading.id) GROUP BY 1, 2, 3";
const CASES: &str = "SELECT kind, place, code, reason, state, opened_ms, due_ms, cleared_ms, assignee, note,
    (SELECT count(*) FROM replayed WHERE replayed.inbox = inbox.id AND CASE WHEN inbox.kind IN ('alert', 'notice')
        THEN EXISTS (SELECT 1 FROM alert_delivery AS d WHERE d.destination = replayed.destination
                     AND d.alert_event = replayed.item AND d.state = 'waiting')
        ELSE NOT EXISTS (SELECT 1 FROM settled WHERE settled.destination = replayed.destination
                         AND replayed.item BETWEEN first_reading AND last_reading) END)
    FROM inbox";

/// Whether an alert event is about a person or about the gateway.
fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Notice => "json_extract(alert_event.body, '$.alert.condition') = 'technical'",
        _ => "json_extract(alert_event.body, '$.alert.condition') <> 'technical'",
    }
}

fn gather(conn: &Connection, kind: Kind, sql: &str, into: &mut Causes) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let reason = normalised(row.get_ref(2)?.as_str()?);
        let cause = Cause { kind, place: row.get_ref(0)?.as_str()?.into(), code: row.get(1)?, reason };
        let (items, first_ms, last_ms) = (row.get::<_, i64>(3)?.unsigned_abs(), row.get(4)?, row.get(5)?);
        let known = into.entry(cause).or_insert(Extent { items: 0, first_ms, last_ms });
        known.items += items;
        known.first_ms = known.first_ms.min(first_ms);
        known.last_ms = known.last_ms.max(last_ms);
    }
    Ok(())
}

fn case(row: &Row<'_>) -> rusqlite::Result<Option<Case>> {
    let Some(kind) = Kind::parse(row.get_ref(0)?.as_str()?) else { return Ok(None) };
    let cause = Cause { kind, place: row.get_ref(1)?.as_str()?.into(), code: row.get(2)?, reason: row.get(3)? };
    Ok(Some(Case {
        cause,
        state: row.get(4)?,
        opened_ms: row.get(5)?,
        due_ms: row.get(6)?,
        cleared_ms: row.get(7)?,
        assignee: row.get(8)?,
        note: row.get(9)?,
        sending: row.get::<_, i64>(10)?.unsigned_abs(),
    }))
}

/// One cause in one sentence: an index in brackets, which differs from item to item, is left out.
pub(super) fn normalised(reason: &str) -> String {
    let mut out = String::with_capacity(reason.len());
    let mut inside = false;
    for c in reason.chars() {
        inside = match c {
            '[' => true,
            ']' => false,
            _ => inside,
        };
        if !(inside && c.is_ascii_digit()) {
            out.push(c);
        }
    }
    out
}

fn refused(conn: &Connection, cause: &Cause, after: i64, max: usize) -> rusqlite::Result<Vec<Stuck>> {
    let sql = "SELECT reading, at_ms, reason FROM rejected
               WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND code = ?2 AND reading > ?3
               ORDER BY reading";
    let mut one = conn.prepare(&select("reading.id = ?1"))?;
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query(params![&*cause.place, cause.code, after])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, reason): (i64, String) = (row.get(0)?, row.get(2)?);
        if normalised(&reason) != cause.reason {
            continue;
        }
        let mut readings = one.query([id])?;
        let reading = match readings.next()? {
            Some(row) => entry(row)?,
            None => None,
        };
        let what = reading.map_or(What::Unreadable, |e| What::Reading(Box::new(e)));
        found.push(Stuck { row: id, at_ms: row.get(1)?, what, why: why(&cause.code, reason) });
        if found.len() >= max {
            break;
        }
    }
    Ok(found)
}

fn alerts(conn: &Connection, cause: &Cause, after: i64, max: usize) -> rusqlite::Result<Vec<Stuck>> {
    let sql = format!(
        "SELECT d.alert_event, d.settled_ms, a.reason, alert_event.body FROM alert_delivery AS d
         {LATEST} JOIN alert_event ON alert_event.id = d.alert_event
         WHERE d.destination = (SELECT id FROM destination WHERE name = ?1) AND d.state = 'rejected' AND a.code = ?2
         AND d.alert_event > ?3 AND {} ORDER BY d.alert_event",
        about(cause.kind)
    );
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query(params![&*cause.place, cause.code, after])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let reason: String = row.get(2)?;
        if normalised(&reason) != cause.reason {
            continue;
        }
        let what = serde_json::from_str(row.get_ref(3)?.as_str()?);
        let what = what.map_or(What::Unreadable, |e| What::Alert(Box::new(e)));
        found.push(Stuck { row: row.get(0)?, at_ms: row.get(1)?, what, why: why(&cause.code, reason) });
        if found.len() >= max {
            break;
        }
    }
    Ok(found)
}

fn frames(conn: &Connection, cause: &Cause, after: i64, max: usize) -> rusqlite::Result<Vec<Stuck>> {
    let sql = "SELECT frame.id, received_ms, reject_reason, received_trusted, bytes, channel.kind, channel.name,
                      channel.device, channel.device_name
               FROM frame JOIN channel ON channel.id = frame.channel
               WHERE channel.source = ?1 AND reject_code = ?2 AND frame.id > ?3
               AND NOT EXISTS (SELECT 1 FROM discarded WHERE kind = 'undecodable' AND item = frame.id)
               ORDER BY frame.id";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query(params![&*cause.place, cause.code, after])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let reason: String = row.get(2)?;
        if normalised(&reason) != cause.reason {
            continue;
        }
        let (id, at_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
        let received = Stamp { wall_ms: at_ms, mono_us: 0, boot: 0, trusted: row.get(3)? };
        let path = path(row, 5)?;
        // Its own row, with a mark that no source gives: an undated record gets a key that no other frame has.
        let ticket = id.unsigned_abs() | (1 << 63);
        let frame = Frame { path, ticket, ..Frame::new(&cause.place, row.get::<_, Vec<u8>>(4)?, received) };
        found.push(Stuck { row: id, at_ms, what: What::Frame(Box::new(frame)), why: why(&cause.code, reason) });
        if found.len() >= max {
            break;
        }
    }
    Ok(found)
}

/// Where bytes came from: kind, name, device and model of a channel.
pub(super) fn path(row: &Row<'_>, at: usize) -> rusqlite::Result<Path> {
    let text = |i: usize| Ok::<Arc<str>, rusqlite::Error>(row.get_ref(at + i)?.as_str()?.into());
    let (name, device, model) = (text(1)?, DeviceId(text(2)?), text(3)?);
    Ok(match &*text(0)? {
        "topic" => Path::Topic(name),
        "advertisement" => Path::Advertisement { device, service: name },
        _ => Path::Characteristic { device, uuid: name, name: Some(model).filter(|m| !m.is_empty()) },
    })
}

fn nobodys(conn: &Connection, cause: &Cause, after: i64, max: usize) -> rusqlite::Result<Vec<Stuck>> {
    let sql = format!(
        "{} AND reading.id > ?3 AND NOT EXISTS (SELECT 1 FROM discarded WHERE kind = 'unassigned' AND item = reading.id)
         ORDER BY reading.id LIMIT ?4",
        select("device.name = ?1 AND slot IS ?2 AND patient IS NULL AND coalesce(unassigned, 'no-holder') = ?5")
    );
    let mut statement = conn.prepare(&sql)?;
    let most = i64::try_from(max).unwrap_or(i64::MAX);
    let word = cause.unassigned().map_or("", Unassigned::word);
    let mut rows = statement.query(params![&*cause.place, cause.slot(), after, most, word])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, at_ms) = (row.get(0)?, row.get(1)?);
        let what = entry(row)?.map_or(What::Unreadable, |e| What::Reading(Box::new(e)));
        found.push(Stuck { row: id, at_ms, what, why: why(&cause.code, cause.reason.clone()) });
    }
    Ok(found)
}

fn why(code: &str, text: String) -> Why {
    Why { code: code.to_owned().into(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_do_not_make_a_cause_of_their_own() {
        let reason = "refused (HTTP 422: invalid at Observation.component[12].value)";
        assert_eq!(normalised(reason), "refused (HTTP 422: invalid at Observation.component[].value)");
    }

    #[test]
    fn a_cause_has_the_same_id_each_time() {
        let cause = |reason: &str| Cause {
            kind: Kind::Refused,
            place: "centre".into(),
            code: "WL-F011".into(),
            reason: reason.into(),
        };
        assert_eq!(cause("x").id(), cause("x").id());
        assert_ne!(cause("x").id(), cause("y").id());
        assert_eq!(cause("x").id().len(), 8);
        assert_eq!(Cause { reason: "slot-unknown, user slot 3".into(), ..cause("") }.slot(), Some(3));
    }
}
