//! The chain of custody: what happened to the readings, in order, each entry sealed with the one before it.
//!
//! Promises: an entry is written in the transaction of what it speaks of; a reading that was changed, added or taken
//! away behind the gateway's back is found by [`super::custody`]. Must never: be changed; its oldest entries go only
//! together with all that they speak of.

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension, Statement, params};

use crate::clock::Stamp;
use crate::reading::{DeviceTime, Reading};

/// SHA-256.
pub(super) type Seal = [u8; 32];

/// The newest entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: i64,
    pub(super) seal: Seal,
    /// The newest entry that says what the next start must know (`deeds.rs`); 0: there is none.
    pub(super) stated: i64,
}

/// After so many entries that is said again, so that it is never far from the newest.
const STATED_EVERY: i64 = 1_000;
/// The entry that says it.
pub(super) const STANDING: &str = "standing";

/// One entry, before it has its place. `digest` is of what it speaks of, `detail` what cannot be found elsewhere.
pub(super) struct Entry<'a> {
    pub(super) what: &'a str,
    pub(super) destination: Option<i64>,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) digest: Seal,
    pub(super) detail: Option<&'a str>,
}

/// The statement that appends.
pub(super) struct Chain<'c> {
    append: Statement<'c>,
    detail: Statement<'c>,
    text: Vec<u8>,
}

impl<'c> Chain<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        let append = conn.prepare("INSERT INTO custody VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
        let detail = conn.prepare("SELECT detail FROM custody WHERE id = ?1")?;
        Ok(Self { append, detail, text: Vec::with_capacity(1_024) })
    }

    /// Where a chain goes on.
    pub(super) fn head(conn: &Connection) -> rusqlite::Result<Head> {
        let newest = "SELECT id, seal FROM custody ORDER BY id DESC LIMIT 1";
        let head = conn.query_row(newest, [], |r| Ok(Head { id: r.get(0)?, seal: r.get(1)?, stated: 0 })).optional()?;
        let head = head.unwrap_or_default();
        let stated = "SELECT id FROM custody WHERE id > ?1 AND what = ?2 ORDER BY id DESC LIMIT 1";
        let stated = conn.query_row(stated, params![head.id - 2 * STATED_EVERY, STANDING], |r| r.get(0)).optional()?;
        Ok(Head { stated: stated.unwrap_or(0), ..head })
    }

    /// Appends an entry; `head` moves to it.
    pub(super) fn append(&mut self, head: &mut Head, at: Stamp, entry: &Entry<'_>) -> rusqlite::Result<()> {
        self.put(head, at, entry)?;
        if entry.what == STANDING {
            head.stated = head.id;
        } else if head.stated > 0 && head.id - head.stated >= STATED_EVERY {
            let detail: Option<String> = self.detail.query_row([head.stated], |r| r.get(0)).optional()?.flatten();
            let digest = digest(&[detail.as_deref().unwrap_or_default()]);
            let (first, last) = (entry.last, entry.last);
            let again = Entry { what: STANDING, destination: None, first, last, digest, detail: detail.as_deref() };
            self.put(head, at, &again)?;
            head.stated = head.id;
        }
        Ok(())
    }

    fn put(&mut self, head: &mut Head, at: Stamp, entry: &Entry<'_>) -> rusqlite::Result<()> {
        let (id, at_ms) = (head.id + 1, at.wall_ms);
        let seal = seal(&head.seal, id, at_ms, entry);
        let Entry { what, destination, first, last, digest, detail } = entry;
        self.append.execute(params![id, at_ms, what, destination, first, last, detail, digest, seal])?;
        *head = Head { id, seal, ..*head };
        Ok(())
    }

    /// Readings were stored, one after the other.
    pub(super) fn committed<'r>(
        &mut self,
        head: &mut Head,
        at: Stamp,
        first: i64,
        readings: impl Iterator<Item = &'r Reading>,
    ) -> rusqlite::Result<()> {
        let (mut all, mut last) = (Context::new(&SHA256), first - 1);
        for reading in readings {
            last += 1;
            add(&mut all, reading, &mut self.text)?;
        }
        if last < first {
            return Ok(());
        }
        let entry = Entry { what: "committed", destination: None, first, last, digest: finish(all), detail: None };
        self.append(head, at, &entry)
    }
}

/// The seal of an entry on top of the one before.
pub(super) fn seal(before: &Seal, id: i64, at_ms: i64, entry: &Entry<'_>) -> Seal {
    let mut all = Context::new(&SHA256);
    all.update(before);
    for number in [id, at_ms, entry.destination.unwrap_or(0), entry.first, entry.last] {
        all.update(&number.to_be_bytes());
    }
    // Each text with its length, so that nothing can move from one to the other.
    for text in [entry.what, entry.detail.unwrap_or_default()] {
        all.update(&text.len().to_be_bytes());
        all.update(text.as_bytes());
    }
    all.update(&entry.digest);
    finish(all)
}

/// What of a reading never changes: what arrived, not whose it is, and not a time that it gets later.
/// Each field has its length or a fixed one, so that nothing can move from one to another.
pub(super) fn add(all: &mut Context, reading: &Reading, to: &mut Vec<u8>) -> rusqlite::Result<()> {
    let Reading { key, device, profile, slot, vital, parts, sequence, taken, quality, .. } = reading;
    let Reading { site, stored, amendment, clocks, .. } = reading;
    let Stamp { wall_ms, mono_us, boot, trusted } = taken.received;
    to.clear();
    to.extend(key.0);
    for text in [&*device.0, &**profile, vital.id, site.map_or("", |s| s.id)] {
        put_text(to, text);
    }
    let numbers = [wall_ms, mono_us.cast_signed(), boot.cast_signed(), sequence.map_or(0, u64::cast_signed)];
    numbers.iter().for_each(|n| to.extend(n.to_be_bytes()));
    to.extend([slot.unwrap_or(0), u8::from(slot.is_some()), u8::from(sequence.is_some())]);
    to.extend([u8::from(trusted), u8::from(*stored)]);
    match taken.device {
        None => to.push(0),
        Some(DeviceTime::Instant(t)) => {
            to.push(1);
            to.extend(t.as_nanosecond().to_be_bytes());
        }
        Some(DeviceTime::Civil(t)) => {
            to.push(2);
            to.extend(t.year().to_be_bytes());
            to.extend([t.month(), t.day(), t.hour(), t.minute(), t.second()].map(i8::cast_unsigned));
            to.extend(t.subsec_nanosecond().to_be_bytes());
        }
    }
    let json = |e: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(e.into());
    serde_json::to_writer(&mut *to, &(parts, quality)).map_err(json)?;
    if let Some(amendment) = amendment {
        serde_json::to_writer(&mut *to, amendment).map_err(json)?;
    }
    if let Some(clocks) = clocks {
        serde_json::to_writer(&mut *to, clocks).map_err(json)?;
    }
    all.update(&to.len().to_be_bytes());
    all.update(to);
    Ok(())
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend(text.len().to_be_bytes());
    to.extend(text.as_bytes());
}

/// Of text that stands elsewhere.
pub(super) fn digest(parts: &[&str]) -> Seal {
    let mut all = Context::new(&SHA256);
    for part in parts {
        all.update(&part.len().to_be_bytes());
        all.update(part.as_bytes());
    }
    finish(all)
}

pub(super) fn finish(all: Context) -> Seal {
    let mut seal = [0; 32];
    seal.iter_mut().zip(all.finish().as_ref()).for_each(|(to, from)| *to = *from);
    seal
}
