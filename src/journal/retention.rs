//! Makes room, oldest first: raw bytes of what is settled, then what is settled. In small steps, between commits.
//!
//! Promises: a reading goes only when it is settled at every destination, whole frames at a time, and after its days
//! are over or the budget is spent. Must never: remove what is owed, refused, or nobody's.

use rusqlite::{Connection, OptionalExtension, params};

use super::chain::{self, Entry};
use super::spans::Spans;
use super::vault;
use super::writer::Writer;
use super::{deeds, redress};
use crate::clock::{DAY_MS, Stamp};
use crate::config::JournalSettings;
use crate::limits;
use crate::reading::ReadingKey;

/// When and where to go on.
pub(super) struct Retention {
    budget_bytes: u64,
    keep_ms: i64,
    /// Nothing is looked at before.
    pub(super) due: Stamp,
    /// Something was written since the last pass began. Without that, only days can be over: then an hour is often enough.
    pub(super) touched: bool,
    quiet_until: Stamp,
    /// Looked through up to this reading, in this pass.
    through: i64,
    what: Pass,
    /// What destinations are still owed that are no longer configured: their settled readings, and from where on none are owed.
    absent: Vec<(Spans, i64)>,
}

/// One pass over the readings, from the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Settled readings whose days are over.
    Aged,
    /// Beyond the budget: the bytes of settled readings.
    Bytes,
    /// Still beyond it: settled readings.
    Rows,
}

/// One row of a walk.
struct Old {
    id: i64,
    /// The reading that holds the bytes of its frame.
    holder: i64,
    removable: bool,
}

impl Retention {
    pub(super) fn new(conn: &Connection, settings: &JournalSettings, now: Stamp) -> rusqlite::Result<Self> {
        let mut gone = conn.prepare(
            "SELECT id, absent_from_reading FROM destination WHERE configured = 0 AND absent_from_reading IS NOT NULL",
        )?;
        let absent = gone
            .query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?)))?
            .map(|row| row.and_then(|(id, from)| Ok((super::outbox::load(conn, id)?, from))))
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self {
            budget_bytes: settings.budget_mib << 20,
            keep_ms: i64::from(settings.keep_settled_days) * DAY_MS,
            due: now.plus(limits::RETENTION_EVERY),
            touched: true,
            quiet_until: now,
            through: 0,
            what: Pass::Aged,
            absent,
        })
    }

    fn turn_to(&mut self, what: Pass) {
        (self.what, self.through) = (what, 0);
    }
}

impl Writer<'_> {
    /// Takes one step, if it is time.
    pub(super) fn make_room_when_due(&mut self, now: Stamp) -> rusqlite::Result<()> {
        if now.mono_us < self.room.due.mono_us {
            return Ok(());
        }
        // Whatever comes of it: not again at once.
        self.room.due = now.plus(limits::RETENTION_EVERY);
        let begins = (self.room.what, self.room.through) == (Pass::Aged, 0);
        if begins && !self.room.touched && now.mono_us < self.room.quiet_until.mono_us {
            return Ok(());
        }
        if begins {
            self.room.touched = false;
            self.room.quiet_until = now.plus(limits::RETENTION_QUIET_EVERY);
        }
        let more = self.take_step(now)?;
        if more {
            self.room.due = now.plus(limits::RETENTION_STEP_EVERY);
        } else {
            self.room.turn_to(Pass::Aged);
        }
        Ok(())
    }

    /// Answers whether there is more to do.
    fn take_step(&mut self, now: Stamp) -> rusqlite::Result<bool> {
        if self.room.what != Pass::Aged && self.used_bytes()? <= self.room.budget_bytes {
            return self.give_back();
        }
        // Without a trusted clock nothing is old.
        let before_ms = now.trusted.then(|| now.wall_ms - self.room.keep_ms);
        let (rows, at_end) = self.old_rows(before_ms)?;
        let removed = match self.room.what {
            Pass::Aged | Pass::Rows => self.remove(&rows, now)?,
            Pass::Bytes => self.strip(&rows)?,
        };
        let removed = removed + self.remove_frames(before_ms, now)?;
        if removed > 0 || !at_end {
            return Ok(true);
        }
        let next = match self.room.what {
            Pass::Aged => Some(Pass::Bytes),
            Pass::Bytes => Some(Pass::Rows),
            Pass::Rows => None,
        };
        if let Some(next) = next {
            self.room.turn_to(next);
            return Ok(true);
        }
        tracing::warn!(
            code = "WL-J013",
            "The journal is beyond its budget: all that is left is owed or in somebody's hands."
        );
        Ok(false)
    }

    fn used_bytes(&self) -> rusqlite::Result<u64> {
        let number = |pragma: &str| self.conn.query_row(pragma, [], |r| r.get::<_, i64>(0)).map(i64::unsigned_abs);
        let used = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
        Ok(used * vault::page_bytes(self.conn)?.unsigned_abs())
    }

    /// Free pages beyond what the next readings will fill go back to the disk. Answers whether there are more.
    fn give_back(&self) -> rusqlite::Result<bool> {
        let free: u32 = self.conn.query_row("PRAGMA freelist_count", [], |r| r.get(0))?;
        if free <= limits::JOURNAL_FREE_PAGES_KEPT {
            return Ok(false);
        }
        let step = (free - limits::JOURNAL_FREE_PAGES_KEPT).min(limits::RETENTION_STEP_ROWS);
        // One row for each page that is given back.
        let mut vacuum = self.conn.prepare(&format!("PRAGMA incremental_vacuum({step})"))?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
        Ok(free - step > limits::JOURNAL_FREE_PAGES_KEPT)
    }

    /// The next rows of the pass, whole frames only, with those to remove marked. Answers also whether the pass is at its end.
    fn old_rows(&mut self, before_ms: Option<i64>) -> rusqlite::Result<(Vec<Old>, bool)> {
        let aged = self.room.what == Pass::Aged;
        let bytes_only = self.room.what == Pass::Bytes;
        let mut walk = self.conn.prepare(
            "SELECT id, coalesce(frame, id), patient IS NOT NULL AND NOT EXISTS
               (SELECT 1 FROM rejected WHERE rejected.reading = reading.id
                AND destination IN (SELECT id FROM destination)) AND (bytes IS NOT NULL OR frame IS NOT NULL OR NOT ?3),
             committed_ms, committed_trusted
             FROM reading WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let mut rows = walk.query(params![self.room.through, limits::RETENTION_STEP_ROWS, bytes_only])?;
        let (mut old, mut full) = (Vec::new(), 0);
        let mut young = None;
        while let Some(row) = rows.next()? {
            full += 1;
            let (id, holder, candidate) = (row.get(0)?, row.get(1)?, row.get::<_, bool>(2)?);
            let over = row.get::<_, bool>(4)? && before_ms.is_some_and(|ms| row.get(3).is_ok_and(|at: i64| at < ms));
            if aged && !over {
                young = Some(holder);
                break;
            }
            old.push(Old { id, holder, removable: candidate && self.settled_everywhere(id) });
        }
        let at_end = young.is_some() || full < limits::RETENTION_STEP_ROWS;
        // The last frame may go on in the next step, and the newest reading always stays: its number is not used again.
        if let Some(edge) = young.or(old.last().map(|o| o.holder)) {
            old.retain(|o| o.holder != edge);
        }
        self.room.through = old.last().map_or(self.room.through, |o| o.id);
        let kept: Vec<i64> = old.iter().filter(|o| !o.removable).map(|o| o.holder).collect();
        old.retain(|o| kept.binary_search(&o.holder).is_err());
        Ok((old, at_end))
    }

    fn settled_everywhere(&self, id: i64) -> bool {
        self.desks.iter().all(|d| d.readings.is_settled(id))
            && self.room.absent.iter().all(|(settled, from)| id >= *from || settled.contains(id))
    }

    fn strip(&mut self, rows: &[Old]) -> rusqlite::Result<usize> {
        if rows.is_empty() {
            return Ok(0);
        }
        let step = self.conn.unchecked_transaction()?;
        let mut strip = step.prepare("UPDATE reading SET bytes = NULL WHERE id = ?1")?;
        rows.iter().try_for_each(|o| strip.execute([o.id]).map(drop))?;
        drop(strip);
        step.commit()?;
        Ok(rows.len())
    }

    /// The chain of custody says which readings are gone, and loses its beginning with all that it speaks of. Of what was
    /// corrected the key is kept: a device that sends its memory again would bring it back.
    fn remove(&mut self, rows: &[Old], now: Stamp) -> rusqlite::Result<usize> {
        let mut spans = Spans::default();
        rows.iter().for_each(|o| spans.insert(o.id, o.id, drop));
        let spans: Vec<_> = spans.iter().collect();
        let (Some((first, _)), Some((_, last))) = (spans.first(), spans.last()) else { return Ok(0) };
        let detail = serde_json::to_string(&spans).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        let (digest, mut head) = (chain::digest(&[&detail]), self.setup.tally.head);
        let entry =
            Entry { what: "removed", destination: None, first: *first, last: *last, digest, detail: Some(&detail) };
        // What somebody did is kept until it was told to who wants to know.
        let needed = deeds::needed_from(self.conn, head)?.unwrap_or(i64::MAX);
        let step = self.conn.unchecked_transaction()?;
        let mut attempts =
            step.prepare("DELETE FROM attempt WHERE destination IN (SELECT id FROM destination) AND reading = ?1")?;
        let mut bygone = step.prepare(
            "INSERT OR IGNORE INTO bygone SELECT key FROM reading WHERE id = (SELECT reading FROM corrected WHERE reading = ?1)
             RETURNING key",
        )?;
        let mut corrected = step.prepare("DELETE FROM corrected WHERE reading = ?1")?;
        let mut reading = step.prepare("DELETE FROM reading WHERE id = ?1")?;
        let mut keys = Vec::new();
        for old in rows {
            attempts.execute([old.id])?;
            keys.extend(bygone.query_row([old.id], |r| r.get(0).map(ReadingKey)).optional()?);
            corrected.execute([old.id])?;
            reading.execute([old.id])?;
        }
        drop((attempts, bygone, corrected, reading));
        step.execute_batch(&format!(
            "DELETE FROM receipt WHERE last_reading < (SELECT min(id) FROM reading)
               AND first_reading < (SELECT min(id) FROM reading);
             DELETE FROM custody WHERE id <
               (SELECT id FROM custody WHERE last_reading >= (SELECT min(id) FROM reading) ORDER BY id LIMIT 1) - 1
               AND id < {needed}",
        ))?;
        self.chain.append(&mut head, now, &entry)?;
        step.commit()?;
        self.store.bygone.extend(keys);
        self.setup.tally.head = head;
        Ok(rows.len())
    }

    /// Frames that gave nothing go with their age, or when the budget is spent. Those in the inbox are somebody's work: they
    /// go last of all, and the inbox says so.
    fn remove_frames(&mut self, before_ms: Option<i64>, now: Stamp) -> rusqlite::Result<usize> {
        let aged = self.room.what == Pass::Aged;
        let until = if aged { before_ms } else { Some(i64::MAX) };
        let (Some(until), most) = (until, limits::RETENTION_STEP_ROWS / 4) else { return Ok(0) };
        let sql = "DELETE FROM frame WHERE id IN (SELECT id FROM frame
                     WHERE (reject_code IS NULL OR EXISTS
                       (SELECT 1 FROM discarded WHERE kind = 'undecodable' AND item = frame.id))
                     AND received_ms < ?2 AND (received_trusted OR NOT ?3) ORDER BY id LIMIT ?1)
                   AND id < (SELECT max(id) FROM frame)";
        let removed = self.conn.execute(sql, params![most, until, aged])?;
        if removed > 0 || self.room.what != Pass::Rows {
            return Ok(removed);
        }
        let step = self.conn.unchecked_transaction()?;
        let dropped = redress::drop_frames(&step, now.wall_ms, most)?;
        step.commit()?;
        Ok(dropped)
    }
}
