//! What is looked up about readings and their owners: nobody's, a device's, corrected ones, and the frame of one.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use super::inbox::path;
use super::reader::{Entry, ReadError, Reader, entry, select};
use crate::clock::Stamp;
use crate::reading::{DeviceId, Frame, Reading, ReadingKey};

impl Reader {
    /// Readings that are nobody's and were not given up, oldest first.
    pub fn nobodys(&self, max: usize) -> Result<Vec<Entry>, ReadError> {
        let sql = format!(
            "{} AND NOT EXISTS (SELECT 1 FROM discarded WHERE kind = 'unassigned' AND item = reading.id)
             ORDER BY reading.id LIMIT ?1",
            select("reading.patient IS NULL")
        );
        self.entries(&sql, params![i64::try_from(max).unwrap_or(i64::MAX)])
    }

    /// Readings of a device that are somebody's, were taken in this span of time and were not corrected, oldest first.
    pub fn attributed(
        &self,
        device: &DeviceId,
        (since_ms, until_ms): (Option<i64>, Option<i64>),
        max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let of = "device.name = ?1 AND reading.patient IS NOT NULL
                  AND (?2 IS NULL OR taken_ms >= ?2) AND (?3 IS NULL OR taken_ms < ?3)
                  AND amendment ->> 'kind' IS NOT 'withdrawal'
                  AND NOT EXISTS (SELECT 1 FROM corrected WHERE corrected.reading = reading.id)";
        let most = i64::try_from(max).unwrap_or(i64::MAX);
        let sql = format!("{} ORDER BY reading.id LIMIT ?4", select(of));
        self.entries(&sql, params![&*device.0, since_ms, until_ms, most])
    }

    /// The newest reading of each person of this vital sign.
    pub fn last_of_each(&self, vital: &str) -> Result<Vec<Reading>, ReadError> {
        let of = "reading.id IN (SELECT max(id) FROM reading WHERE vital = ?1 AND patient IS NOT NULL
                  AND NOT EXISTS (SELECT 1 FROM corrected WHERE corrected.reading = reading.id) GROUP BY patient)";
        Ok(self.entries(&select(of), params![vital])?.into_iter().map(|e| e.reading).collect())
    }

    /// The reading with this key, unless it was taken back: what points to it must not bring it back.
    pub fn standing(&self, key: ReadingKey) -> Result<Option<Reading>, ReadError> {
        let Some(found) = self.find(key)? else { return Ok(None) };
        let sql = "SELECT EXISTS (SELECT 1 FROM corrected WHERE reading = ?1)";
        let is_corrected: bool = self.with(|conn| conn.prepare(sql)?.query_row([found.id], |r| r.get(0)))?;
        Ok((!is_corrected).then_some(found.reading))
    }

    /// Rows that were corrected.
    pub fn corrected(&self) -> Result<BTreeSet<i64>, ReadError> {
        self.with(|conn| conn.prepare("SELECT reading FROM corrected")?.query_map([], |r| r.get(0))?.collect())
    }

    /// The frame that a reading came in, which of its readings it is, and of how many. `None`: its bytes are gone.
    pub fn frame(&self, row: i64) -> Result<Option<(Frame, usize, usize)>, ReadError> {
        let sql =
            "SELECT channel.source, channel.kind, channel.name, channel.device, channel.device_name, holder.bytes,
                   holder.received_ms, holder.received_trusted, holder.received_mono_us, holder.received_boot,
                   (SELECT count(*) FROM reading AS r WHERE coalesce(r.frame, r.id) = holder.id AND r.id < reading.id
                        AND r.id BETWEEN holder.id AND holder.id + 1000),
                   (SELECT count(*) FROM reading AS r WHERE coalesce(r.frame, r.id) = holder.id
                        AND r.id BETWEEN holder.id AND holder.id + 1000)
                   FROM reading JOIN reading AS holder ON holder.id = coalesce(reading.frame, reading.id)
                   JOIN channel ON channel.id = reading.channel
                   WHERE reading.id = ?1 AND length(holder.bytes) > 0";
        self.with(|conn| {
            let mut statement = conn.prepare(sql)?;
            let found = statement.query_row([row], |r| {
                let text = |i: usize| Ok::<Arc<str>, rusqlite::Error>(r.get_ref(i)?.as_str()?.into());
                let path = path(r, 1)?;
                let received = Stamp {
                    wall_ms: r.get(6)?,
                    trusted: r.get(7)?,
                    mono_us: r.get::<_, i64>(8)?.cast_unsigned(),
                    boot: r.get::<_, i64>(9)?.cast_unsigned(),
                };
                let frame = Frame { path, ..Frame::new(&text(0)?, r.get::<_, Vec<u8>>(5)?, received) };
                let count = |i: usize| r.get::<_, i64>(i).map(|n| usize::try_from(n).unwrap_or(0));
                Ok((frame, count(10)?, count(11)?))
            });
            found.optional()
        })
    }

    fn entries(&self, sql: &str, of: impl rusqlite::Params) -> Result<Vec<Entry>, ReadError> {
        self.with(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query(of)?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.extend(entry(row)?);
            }
            Ok(found)
        })
    }
}
