//! Readings that wait for the clock: received by a box that did not know the time yet.
//!
//! Promises: as soon as the clock of this boot can be trusted, each gets the time of its receipt, by the monotonic clock,
//! and is owed. Must never: date a reading of another boot, or by a clock that cannot be trusted.

use rusqlite::{Connection, params};

use super::chain::{self, Entry};
use super::row;
use super::writer::Writer;
use crate::clock::Stamp;
use crate::reading::{Reading, TimeMethod};

/// The oldest of them.
pub(super) struct Pending(Option<i64>);

impl Pending {
    /// Those of this boot go on waiting. Of another boot nobody knows any more when they came.
    pub(super) fn take_over(conn: &Connection, now: Stamp) -> rusqlite::Result<Self> {
        let boot = now.boot.cast_signed();
        let of_another = "SELECT id FROM reading WHERE taken_method = 'pending' AND received_boot <> ?1";
        let of_another = rows(conn, of_another, boot)?;
        if !of_another.is_empty() {
            let step = conn.unchecked_transaction()?;
            let mut give_up = step.prepare("UPDATE reading SET taken_method = 'unresolved' WHERE id = ?1")?;
            row::change(&step, &of_another, |id| give_up.execute([id]))?;
            drop(give_up);
            step.commit()?;
        }
        let oldest = "SELECT min(id) FROM reading WHERE taken_method = 'pending'";
        Ok(Self(conn.query_row(oldest, [], |r| r.get(0))?))
    }

    /// A reading was stored.
    pub(super) fn note(&mut self, id: i64, reading: &Reading) {
        if reading.taken.method == TimeMethod::Pending {
            self.0.get_or_insert(id);
        }
    }

    /// Whether any waits.
    pub(super) fn any(&self) -> bool {
        self.0.is_some()
    }
}

impl Writer<'_> {
    /// Dates what waits, once the clock is right.
    pub(super) fn date_pending(&mut self) {
        let now = self.setup.clock.now();
        let Some(oldest) = self.pending.0.filter(|_| now.trusted && !self.is_broken()) else { return };
        let booted_ms = now.wall_ms - i64::try_from(now.mono_us / 1_000).unwrap_or(i64::MAX);
        let date =
            "UPDATE reading SET taken_ms = ?2 + received_mono_us / 1000, taken_method = 'received' WHERE id = ?1";
        let waiting = "SELECT id FROM reading WHERE taken_method = 'pending' AND received_boot = ?1";
        let mut head = self.setup.tally.head;
        let last = self.setup.tally.newest_reading();
        let digest = chain::digest(&[&booted_ms.to_string()]);
        let entry = Entry { what: "dated", destination: None, first: oldest, last, digest, detail: None };
        let dated = self.conn.unchecked_transaction().and_then(|step| {
            let waiting = rows(&step, waiting, now.boot.cast_signed())?;
            let mut date = step.prepare(date)?;
            let dated = row::change(&step, &waiting, |id| date.execute(params![id, booted_ms]))?.len();
            drop(date);
            self.chain.append(&mut head, now, &entry)?;
            step.commit().map(|()| dated)
        });
        match dated {
            Ok(dated) => {
                self.setup.tally.head = head;
                tracing::info!(readings = dated, "The clock is right: what waited for it has its time.");
                self.pending.0 = None;
                self.recent.clear();
                self.desks.iter_mut().for_each(|d| d.readings.queue.look_through_again(oldest));
                self.tell_changed();
            }
            // On a full disk it is tried again; anything else ends the writer.
            Err(e) => drop(self.failed(&e)),
        }
    }
}

fn rows(conn: &Connection, sql: &str, boot: i64) -> rusqlite::Result<Vec<i64>> {
    conn.prepare(sql)?.query_map([boot], |r| r.get(0))?.collect()
}
