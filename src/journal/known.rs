//! Whether the journal knows a reading of which only half a key and a time are told, and how far back it knows all.
//!
//! Promises: a reading counts whatever became of it; one whose row is damaged counts, too. Blocking, like all of the
//! reader. Must never: take a reading that retention removed for one that never was.

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension, Row, params};

use super::reader::{self, ReadError, Reader};
use super::row;
use crate::reading::{PatientId, Reading};

/// First half of a key.
pub type Half = [u8; 8];

/// From when on the journal holds everything that it ever took in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// When the oldest reading was committed behind which none was removed.
    pub complete_ms: i64,
    /// Readings before it were removed. Without that the journal knows all of its own, however old they say they are.
    pub removed: bool,
}

impl Reader {
    /// Patients with readings committed in this span of time.
    pub fn people(&self, (since_ms, until_ms): (i64, i64)) -> Result<Vec<PatientId>, ReadError> {
        let sql = "SELECT DISTINCT patient FROM reading WHERE patient IS NOT NULL AND committed_ms BETWEEN ?1 AND ?2";
        self.with(|conn| {
            let mut all = conn.prepare(sql)?;
            let people = all.query_map([since_ms, until_ms], |r| Ok(PatientId::new(r.get_ref(0)?.as_str()?)))?;
            people.collect()
        })
    }

    /// For each order and half of a key the readings that have both. `None` among them: a damaged one.
    pub fn alike(&self, wanted: &[(i64, Half)]) -> Result<Vec<Vec<Option<Reading>>>, ReadError> {
        let sql = reader::select("key_order = ?1 AND key BETWEEN ?2 AND ?3");
        self.with(|conn| {
            let mut look = conn.prepare(&sql)?;
            let mut all = Vec::with_capacity(wanted.len());
            for (order, half) in wanted {
                let [first, last] = [0, u8::MAX].map(|rest| [half.as_slice(), &[rest; 8]].concat());
                all.push(look.query_map(params![order, first, last], whole)?.collect::<Result<_, _>>()?);
            }
            Ok(all)
        })
    }

    /// The same where the order is not known: goes through the whole index.
    pub fn alike_anywhere(&self, halves: &HashSet<Half>) -> Result<HashMap<Half, Vec<Option<Reading>>>, ReadError> {
        let select = reader::select("reading.id = ?1");
        self.with(|conn| {
            let moment = conn.unchecked_transaction()?;
            let mut walk = moment.prepare("SELECT key, id FROM reading INDEXED BY reading_key")?;
            let mut look = moment.prepare(&select)?;
            let mut rows = walk.query([])?;
            let mut all: HashMap<Half, Vec<Option<Reading>>> = HashMap::new();
            while let Some(line) = rows.next()? {
                let Some(half) = line.get_ref(0)?.as_blob()?.first_chunk().filter(|half| halves.contains(*half)) else {
                    continue;
                };
                all.entry(*half).or_default().push(look.query_row([line.get::<_, i64>(1)?], whole)?);
            }
            Ok(all)
        })
    }

    /// `None`: nothing in it has a time that can be believed.
    pub fn horizon(&self) -> Result<Option<Horizon>, ReadError> {
        self.with(|conn| {
            let moment = conn.unchecked_transaction()?;
            let removed = "SELECT max(last_reading) FROM custody WHERE what = 'removed'";
            let removed: Option<i64> = moment.query_row(removed, [], |r| r.get(0))?;
            let first = "SELECT committed_ms FROM reading WHERE id > ?1 AND committed_trusted ORDER BY id LIMIT 1";
            let first = moment.query_row(first, [removed.unwrap_or(0)], |r| r.get(0)).optional()?;
            Ok(first.map(|complete_ms| Horizon { complete_ms, removed: removed.is_some() }))
        })
    }
}

/// The reading of a line that [`reader::select`] gives.
fn whole(line: &Row<'_>) -> rusqlite::Result<Option<Reading>> {
    row::read(line, 2)
}
