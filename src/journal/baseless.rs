//! Alerts that rest on nothing any more: all their evidence was taken back, or says something else by now.

use std::collections::{BTreeSet, HashSet};

use rusqlite::{OptionalExtension, params};

use super::reader::{ReadError, Reader, entry, select};
use crate::alarm::Alert;
use crate::reading::{Reading, ReadingKey};

/// A reading is corrected so often at most; beyond, it is taken for one that stands.
const CORRECTIONS_MAX: usize = 16;

impl Reader {
    /// Alerts with evidence among these rows' keys (`None`: that are open) of which nothing stands, and who took it back.
    pub fn baseless(&self, of: Option<&BTreeSet<ReadingKey>>) -> Result<Vec<(Alert, String)>, ReadError> {
        let corrected = self.corrected_keys()?;
        let sql = "SELECT body FROM alert WHERE ?1 OR resolved_ms IS NULL ORDER BY id";
        let touched = |alert: &Alert| {
            alert.patient.is_some()
                && alert.taken_back.is_none()
                && alert.evidence.iter().any(|key| of.is_none_or(|keys| keys.contains(key)))
                && alert.evidence.iter().all(|key| corrected.contains(key))
        };
        let alerts: Vec<Alert> = self.with(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([of.is_some()])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.extend(serde_json::from_str(row.get_ref(0)?.as_str()?).ok().filter(touched));
            }
            Ok(found)
        })?;
        let mut all = Vec::new();
        for alert in alerts {
            if let Some(by) = self.last_taken_back(&alert)? {
                all.push((alert, by));
            }
        }
        Ok(all)
    }

    fn corrected_keys(&self) -> Result<HashSet<ReadingKey>, ReadError> {
        self.with(|conn| {
            let mut all = conn.prepare("SELECT key FROM corrected JOIN reading ON reading.id = corrected.reading")?;
            let keys = all.query_map([], |r| Ok(ReadingKey(r.get(0)?)))?;
            keys.collect()
        })
    }

    /// Who took back its last evidence; `None`: some stands.
    fn last_taken_back(&self, alert: &Alert) -> Result<Option<String>, ReadError> {
        let mut by = None;
        for key in &alert.evidence {
            match self.taken_back(*key)? {
                Some(name) => by = Some(name),
                None => return Ok(None),
            }
        }
        Ok(by)
    }

    /// Who took it back; `None`: it stands, it stands corrected and says the same of the same person, or it is not known here.
    fn taken_back(&self, key: ReadingKey) -> Result<Option<String>, ReadError> {
        let Some(found) = self.find(key)? else { return Ok(None) };
        let (mut row, mut by) = (found.id, None);
        for _ in 0..CORRECTIONS_MAX {
            let sql = "SELECT withdrawal, replacement FROM corrected WHERE reading = ?1";
            let step = self.with(|conn| {
                conn.prepare(sql)?
                    .query_row([row], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, Option<i64>>(1)?)))
                    .optional()
            })?;
            let Some((withdrawal, replacement)) = step else { return Ok(by) };
            let said = self.row(withdrawal)?.and_then(|r| r.amendment.as_ref().map(|a| a.by.clone()));
            let Some(new) = replacement else { return Ok(Some(said.unwrap_or_default())) };
            let Some(reading) = self.row(new)? else { return Ok(None) };
            by = (!says_the_same(&found.reading, &reading)).then(|| said.unwrap_or_default());
            row = new;
        }
        Ok(None)
    }

    fn row(&self, row: i64) -> Result<Option<Reading>, ReadError> {
        let sql = select("reading.id = ?1");
        let found = self.with(|conn| Ok(conn.prepare(&sql)?.query_row(params![row], entry).optional()?.flatten()))?;
        Ok(found.map(|e| e.reading))
    }
}

/// To an alert rule.
pub(crate) fn says_the_same(old: &Reading, new: &Reading) -> bool {
    old.patient == new.patient && old.vital == new.vital && old.parts == new.parts
}
