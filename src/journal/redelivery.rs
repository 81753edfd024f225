//! Which MQTT message is the same one again.
//!
//! A message without a time or id of its own is known again only by MQTT's marks: DUP is set, and the content equals
//! the latest stored frame with that packet id from this or the preceding connection. Packet ids are reused, so id and
//! content alone would collapse two equal readings. Must never: take two readings for one when in doubt.

use std::collections::HashMap;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension, Statement, params};

use crate::reading::{Frame, Redelivery};

/// Start of the process, and connection within it.
type Place = (u32, u32);

/// SHA-256 of channel, a zero octet, bytes: its first 16 octets.
pub(super) fn hash(frame: &Frame) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    context.update(frame.path.channel().as_bytes());
    context.update(&[0]);
    context.update(&frame.bytes);
    let mut hash = [0; 16];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(h, d)| *h = *d);
    hash
}

/// The latest stored frame of each packet id.
pub(super) struct Packets<'c> {
    start: u32,
    find: Statement<'c>,
    keep: Statement<'c>,
    keep_connection: Statement<'c>,
    /// By source: the latest connection of this start, and the one before it that counts as preceding its first.
    connections: HashMap<Arc<str>, Connections>,
}

#[derive(Clone, Copy, Default)]
struct Connections {
    latest: Option<Place>,
    /// The latest connection of an earlier start.
    before: Option<Place>,
}

impl<'c> Packets<'c> {
    pub(super) fn prepare(conn: &'c Connection, start: u32) -> rusqlite::Result<Self> {
        let mut all = conn.prepare("SELECT source, start, connection FROM mqtt_connection")?;
        let connections = all
            .query_map([], |r| {
                let before = Some((r.get(1)?, r.get(2)?));
                Ok((r.get::<_, String>(0)?.into(), Connections { latest: None, before }))
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self {
            start,
            find: conn
                .prepare("SELECT start, connection, hash FROM mqtt_packet WHERE source = ?1 AND packet_id = ?2")?,
            keep: conn.prepare(
                "INSERT INTO mqtt_packet VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE
                 SET start = excluded.start, connection = excluded.connection, hash = excluded.hash",
            )?,
            keep_connection: conn.prepare("INSERT OR REPLACE INTO mqtt_connection VALUES (?1, ?2, ?3)")?,
            connections,
        })
    }

    /// Whether this frame was stored before, by MQTT's marks. Remembers it either way.
    pub(super) fn again(&mut self, frame: &Frame, hash: &[u8; 16]) -> rusqlite::Result<bool> {
        let Some(marks) = frame.redelivery else { return Ok(false) };
        let again = marks.dup && self.stored(frame, marks, hash)?;
        let here = (self.start, marks.connection);
        self.keep.execute(params![&*frame.source, marks.packet_id, here.0, here.1, &hash[..]])?;
        let seen = self.connections.entry(frame.source.clone()).or_default();
        if seen.latest != Some(here) {
            seen.latest = Some(here);
            self.keep_connection.execute(params![&*frame.source, here.0, here.1])?;
        }
        Ok(again)
    }

    fn stored(&mut self, frame: &Frame, marks: Redelivery, hash: &[u8; 16]) -> rusqlite::Result<bool> {
        let found: Option<(Place, [u8; 16])> = self
            .find
            .query_row(params![&*frame.source, marks.packet_id], |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)))
            .optional()?;
        let preceding = match marks.connection {
            0 | 1 => self.connections.get(&frame.source).and_then(|c| c.before),
            n => Some((self.start, n - 1)),
        };
        let here = (self.start, marks.connection);
        Ok(found.is_some_and(|(place, stored)| stored == *hash && (place == here || Some(place) == preceding)))
    }
}
