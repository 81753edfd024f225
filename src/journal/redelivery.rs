//! Which MQTT message is the same one again.
//!
//! A message without a time or id of its own is known again only by MQTT's marks: DUP is set, and the content equals
//! the latest stored frame with that packet id from this or the preceding connection. Packet ids are reused, so id and
//! content alone would collapse two equal readings. Must never: take two readings for one when in doubt.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, Statement, params};

use crate::limits;
use crate::reading::{Frame, Redelivery};

/// Start of the process, and connection within it.
type Place = (u32, u32);

/// The first 8 octets of SHA-256 over channel, a zero octet, bytes.
fn hash(frame: &Frame) -> i64 {
    let mut context = Context::new(&SHA256);
    context.update(frame.path.channel().as_bytes());
    context.update(&[0]);
    context.update(&frame.bytes);
    context.finish().as_ref().iter().take(8).fold(0, |hash, octet| hash << 8 | i64::from(*octet))
}

/// Source, connection, and packet ids with the hash of what they carried.
type Heard = (Arc<str>, u32, Vec<(u16, i64)>);

/// The marks of the latest frames, in memory and in the table.
pub(super) struct Marks<'c> {
    conn: &'c Connection,
    start: u32,
    insert: Statement<'c>,
    remove: Statement<'c>,
    sources: HashMap<Arc<str>, Source>,
    next_row: i64,
    /// Frames of this transaction: source, connection, packet ids with hashes.
    pending: Vec<Heard>,
}

/// The latest frames of one source.
#[derive(Default)]
struct Source {
    latest: Option<Place>,
    /// The latest connection of an earlier start: it precedes the first one of this start.
    before: Option<Place>,
    packets: HashMap<u16, (Place, i64, i64)>,
    /// Rows of the table with their number of frames, oldest first.
    rows: VecDeque<(i64, usize)>,
    frames: usize,
    dropped: usize,
}

impl<'c> Marks<'c> {
    pub(super) fn prepare(conn: &'c Connection, start: u32) -> rusqlite::Result<Self> {
        let mut marks = Self {
            conn,
            start,
            insert: conn.prepare("INSERT INTO mqtt_marks VALUES (?1, ?2, ?3, ?4, ?5)")?,
            remove: conn.prepare("DELETE FROM mqtt_marks WHERE id = ?1")?,
            sources: HashMap::new(),
            next_row: 1,
            pending: Vec::new(),
        };
        marks.load()?;
        Ok(marks)
    }

    /// Reads the table: at start, and after a rollback.
    pub(super) fn load(&mut self) -> rusqlite::Result<()> {
        self.sources.clear();
        self.pending.clear();
        let mut all = self.conn.prepare("SELECT id, source, start, connection, packets FROM mqtt_marks ORDER BY id")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let (id, place) = (row.get(0)?, (row.get(2)?, row.get(3)?));
            let packets: Vec<(u16, i64)> = serde_json::from_str(row.get_ref(4)?.as_str()?).unwrap_or_default();
            let source = self.sources.entry(row.get_ref(1)?.as_str()?.into()).or_default();
            if place.0 < self.start {
                source.before = Some(place);
            }
            source.latest = Some(place);
            source.packets.extend(packets.iter().map(|(packet, hash)| (*packet, (place, *hash, id))));
            source.rows.push_back((id, packets.len()));
            source.frames += packets.len();
            self.next_row = id + 1;
        }
        Ok(())
    }

    /// Whether this frame was stored before, by MQTT's marks. Remembers it either way.
    pub(super) fn again(&mut self, frame: &Frame) -> bool {
        let Some(marks) = frame.redelivery else { return false };
        let hash = hash(frame);
        let here = (self.start, marks.connection);
        let source = self.sources.entry(frame.source.clone()).or_default();
        let again = marks.dup && source.stored(here, marks, hash);
        // Its row is written at the end of the transaction, with this or a later number.
        source.packets.insert(marks.packet_id, (here, hash, self.next_row));
        source.latest = Some(here);
        let open = self.pending.iter_mut().find(|(name, connection, _)| *connection == here.1 && *name == frame.source);
        match open {
            Some((.., packets)) => packets.push((marks.packet_id, hash)),
            None => self.pending.push((frame.source.clone(), here.1, vec![(marks.packet_id, hash)])),
        }
        again
    }

    /// Writes what this transaction's frames left, and removes what is too old to be sent again.
    pub(super) fn write(&mut self) -> rusqlite::Result<()> {
        for (name, connection, packets) in self.pending.drain(..) {
            let Some(source) = self.sources.get_mut(&name) else { continue };
            let json = serde_json::to_string(&packets).unwrap_or_default();
            self.insert.execute(params![self.next_row, &*name, self.start, connection, json])?;
            source.rows.push_back((self.next_row, packets.len()));
            source.frames += packets.len();
            self.next_row += 1;
            while let Some((row, frames)) = source.too_old() {
                self.remove.execute([row])?;
                source.forget(row, frames);
            }
        }
        Ok(())
    }
}

impl Source {
    fn stored(&self, here: Place, marks: Redelivery, hash: i64) -> bool {
        let preceding = match marks.connection {
            0 | 1 => self.before,
            n => Some((here.0, n - 1)),
        };
        self.packets
            .get(&marks.packet_id)
            .is_some_and(|(place, stored, _)| *stored == hash && (*place == here || Some(*place) == preceding))
    }

    /// The oldest row, if enough frames are remembered without it.
    fn too_old(&self) -> Option<(i64, usize)> {
        let (row, frames) = *self.rows.front()?;
        (self.frames - frames >= limits::MQTT_MARKS_MIN && self.rows.len() > 1).then_some((row, frames))
    }

    fn forget(&mut self, row: i64, frames: usize) {
        self.rows.pop_front();
        self.frames -= frames;
        self.dropped += frames;
        // Now and then: one pass for many rows.
        if self.dropped >= limits::MQTT_MARKS_MIN {
            self.dropped = 0;
            self.packets.retain(|_, (.., kept)| *kept > row);
        }
    }
}
