//! Everything about one reading: bytes, channel, attempts, receipts, alerts.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::reader::{Attempt, Bytes, Of, ReadError, Reader, Standing};
use crate::alarm::AlertEvent;
use crate::limits;
use crate::reading::{Reading, ReadingKey};

/// What happened to one reading, for `wardline explain`.
#[derive(Clone, Debug)]
pub struct Life {
    /// The reading.
    pub reading: Reading,
    /// When it was synced.
    pub committed_ms: i64,
    /// Where its bytes came from, and the bytes.
    pub bytes: Option<Bytes>,
    /// The source was told that it may forget it. `false`: not known, as the gateway stopped in that moment.
    pub told: bool,
    /// Failed attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Where it stands at each destination. Empty for a reading that is nobody's.
    pub standings: Vec<(Arc<str>, Standing)>,
    /// What happened to the alerts that it is evidence of, oldest first.
    pub alerts: Vec<AlertEvent>,
}

impl Reader {
    /// Everything about one reading.
    pub fn explain(&self, key: ReadingKey) -> Result<Option<Life>, ReadError> {
        let Some(entry) = self.find(key)? else { return Ok(None) };
        let assigned = entry.reading.patient.is_some();
        Ok(Some(Life {
            committed_ms: entry.committed_ms,
            bytes: self.bytes(entry.id)?,
            told: self.with(|conn| told(conn, entry.id))?,
            attempts: self.attempts(Of::Reading(entry.id), limits::READINGS_LISTED_MAX)?,
            standings: if assigned { self.standings(entry.id)? } else { Vec::new() },
            alerts: self.with(|conn| alerts_with(conn, key))?,
            reading: entry.reading,
        }))
    }
}

fn alerts_with(conn: &Connection, key: ReadingKey) -> rusqlite::Result<Vec<AlertEvent>> {
    let sql = "SELECT alert_event.body FROM alert_event JOIN alert ON alert.id = alert_event.alert
               WHERE instr(alert.body, ?1) ORDER BY alert_event.id";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([key.to_string()])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.extend(serde_json::from_str::<AlertEvent>(row.get_ref(0)?.as_str()?).ok());
    }
    Ok(events)
}

/// Not known only of the last commit before a crash.
fn told(conn: &Connection, id: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT start.closed_in_order
             OR start.id = (SELECT max(id) FROM start)
             OR reading.committed_ms < (SELECT last.committed_ms FROM reading AS last
                    WHERE last.id < (SELECT min(first_reading) FROM start AS next WHERE next.id > start.id)
                    ORDER BY last.id DESC LIMIT 1)
         FROM reading JOIN start ON start.id = (SELECT max(id) FROM start WHERE first_reading <= reading.id)
         WHERE reading.id = ?1";
    Ok(conn.query_row(sql, [id], |r| r.get(0)).optional()?.unwrap_or(true))
}
