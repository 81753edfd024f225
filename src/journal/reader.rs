//! Read-only sight of the journal, on a connection of its own: for people, the page and the heartbeat.
//!
//! Promises: sees a committed state and says of each reading where it stands.
//! Blocking; call it off the runtime's thread. Must never: write, or hold the writer up (WAL readers do not).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params, params_from_iter};

use super::vault::{Key, Vault};
use super::{consent, people, row};
use crate::alarm::Alert;
use crate::association::Held;
use crate::config::DeviceSettings;
use crate::consent::Consent;
use crate::fault::Explain;
use crate::limits;
use crate::reading::{Reading, ReadingKey};

/// The journal in a folder, opened when it is first asked.
pub struct Reader {
    vault: Vault,
    connection: Mutex<Option<Connection>>,
}

/// The journal could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be read: {0}")]
pub struct ReadError(String);

impl ReadError {
    pub(super) fn new(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(e: rusqlite::Error) -> Self {
        Self(e.to_string())
    }
}

impl Explain for ReadError {
    fn code(&self) -> &'static str {
        "WL-J020"
    }
    fn remedy(&self) -> &'static str {
        "Start the gateway once, so that it makes or converts its journal; if that does not help, check the disk."
    }
}

/// A reading with its row.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Row.
    pub id: i64,
    /// When it was synced, milliseconds since 1970.
    pub committed_ms: i64,
    /// The reading.
    pub reading: Reading,
}

/// The bytes that a reading came from.
#[derive(Clone, Debug)]
pub struct Bytes {
    /// Name of the source.
    pub source: Arc<str>,
    /// Topic, characteristic or service.
    pub channel: String,
    /// `None`: removed by retention.
    pub octets: Option<Vec<u8>>,
}

/// Where a reading stands at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Owed.
    Waiting,
    /// There, with the receipt's location.
    Delivered(Option<String>),
    /// Refused: code and reason.
    Rejected(String, String),
}

/// One failed attempt, or a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The destination.
    pub destination: Arc<str>,
    /// The reading.
    pub key: ReadingKey,
    /// Counts from 1.
    pub number: u32,
    /// When.
    pub at_ms: i64,
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub reason: String,
    /// It is not tried again.
    pub rejected: bool,
}

/// What one destination is owed, readings and alert events together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The destination.
    pub destination: Arc<str>,
    /// Owed.
    pub waiting: u64,
    /// When the oldest reading of them was committed.
    pub oldest_ms: Option<i64>,
    /// Refused.
    pub rejected: u64,
    /// There.
    pub delivered: u64,
}

impl Reader {
    /// Opens nothing yet.
    pub fn new(vault: impl Into<Vault>) -> Self {
        Self { vault: vault.into(), connection: Mutex::new(None) }
    }

    pub(super) fn key(&self) -> Option<&Key> {
        self.vault.key()
    }

    /// Who held which device when.
    pub fn held(&self) -> Result<Vec<Held>, ReadError> {
        Ok(self.with(people::held)?.0)
    }

    /// All consents that were recorded.
    pub fn recorded(&self) -> Result<Vec<Consent>, ReadError> {
        self.with(consent::recorded)
    }

    pub(super) fn with<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        let mut held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let conn = match held.take() {
            Some(conn) => conn,
            None => connect(&self.vault.file(), self.vault.key())?,
        };
        let answer = ask(&conn);
        *held = Some(conn);
        Ok(answer?)
    }

    /// Readings, newest first; of a device, received at or after `since_ms`.
    pub fn readings(&self, device: Option<&str>, since_ms: Option<i64>, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let limit = i64::try_from(limit.min(limits::READINGS_LISTED_MAX)).unwrap_or(i64::MAX);
        let select = select("(?1 IS NULL OR device.name = ?1) AND (?2 IS NULL OR received_ms >= ?2)");
        let sql = format!("{select} ORDER BY reading.id DESC LIMIT ?3");
        self.with(|conn| {
            let mut found = Vec::new();
            let mut statement = conn.prepare(&sql)?;
            let mut rows = statement.query(params![device, since_ms, limit])?;
            while let Some(row) = rows.next()? {
                found.extend(entry(row)?);
            }
            Ok(found)
        })
    }

    /// The reading with this key.
    pub fn find(&self, key: ReadingKey) -> Result<Option<Entry>, ReadError> {
        // Evidence of an alert is new. The index begins with the order of keys: to find an old one all of it is read.
        let newest = select("key = ?1 AND reading.id > (SELECT max(id) FROM reading) - ?2");
        let any = select("reading.id = (SELECT id FROM reading INDEXED BY reading_key WHERE key = ?1)");
        self.with(|conn| {
            let near = params![&key.0[..], limits::NEWEST_SEARCHED];
            match conn.prepare(&newest)?.query_row(near, entry).optional()? {
                Some(found) => Ok(found),
                None => Ok(conn.prepare(&any)?.query_row([&key.0[..]], entry).optional()?.flatten()),
            }
        })
    }

    /// The bytes of a reading.
    pub fn bytes(&self, id: i64) -> Result<Option<Bytes>, ReadError> {
        let sql = "SELECT channel.source, channel.name, holder.bytes FROM reading
                   JOIN reading AS holder ON holder.id = coalesce(reading.frame, reading.id)
                   JOIN channel ON channel.id = reading.channel WHERE reading.id = ?1";
        let read = |row: &Row<'_>| {
            let source: String = row.get(0)?;
            Ok(Bytes { source: source.into(), channel: row.get(1)?, octets: row.get(2)? })
        };
        self.with(|conn| conn.prepare(sql)?.query_row([id], read).optional())
    }

    /// The readings with these keys, in the order in which they came; unknown keys are left out.
    pub fn with_keys(&self, keys: &[ReadingKey]) -> Result<Vec<Reading>, ReadError> {
        let marks = vec!["?"; keys.len()].join(",");
        let of = format!("reading.id IN (SELECT id FROM reading INDEXED BY reading_key WHERE key IN ({marks}))");
        let sql = format!("{} ORDER BY reading.id", select(&of));
        self.with(|conn| {
            let mut statement = conn.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(keys.iter().map(|k| &k.0[..])))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.extend(entry(row)?.map(|e| e.reading));
            }
            Ok(found)
        })
    }

    /// Where a reading stands at each destination that is, or was, owed it.
    pub fn standings(&self, id: i64) -> Result<Vec<(Arc<str>, Standing)>, ReadError> {
        self.with(|conn| {
            let sql = "SELECT id, name FROM destination WHERE absent_from_reading IS NULL OR absent_from_reading > ?1";
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([id])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(1)?;
                all.extend(standing(conn, row.get(0)?, id)?.map(|standing| (name.into(), standing)));
            }
            Ok(all)
        })
    }

    /// Failed attempts: all that are kept of one reading, oldest first; or the latest of each reading that a destination
    /// refused or has not taken yet, newest first.
    pub fn attempts(&self, of: Of<'_>, limit: usize) -> Result<Vec<Attempt>, ReadError> {
        let (reading, destination, order) = match of {
            Of::Reading(id) => (Some(id), None, "ASC"),
            Of::Destination(name) => (None, Some(name), "DESC"),
        };
        let sql = format!("{ATTEMPTS} ORDER BY attempt.at_ms {order}, attempt.number {order} LIMIT ?3");
        let read = |row: &Row<'_>| {
            let destination: String = row.get(0)?;
            Ok(Attempt {
                destination: destination.into(),
                key: ReadingKey(row.get(1)?),
                number: row.get(2)?,
                at_ms: row.get(3)?,
                code: row.get(4)?,
                reason: row.get(5)?,
                rejected: row.get(6)?,
            })
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.with(|conn| conn.prepare(&sql)?.query_map(params![reading, destination, limit], read)?.collect())
    }

    /// What each destination is owed.
    pub fn accounts(&self) -> Result<Vec<Account>, ReadError> {
        let sql = "SELECT id, name, readings_waiting, readings_waiting + alerts_waiting,
                   readings_rejected + alerts_rejected, readings_delivered + alerts_delivered
                   FROM destination WHERE configured = 1 ORDER BY id";
        self.with(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(1)?;
                let count =
                    |column: usize| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0));
                let oldest_ms = if count(2)? > 0 { oldest(conn, row.get(0)?)? } else { None };
                let (waiting, rejected, delivered) = (count(3)?, count(4)?, count(5)?);
                all.push(Account { destination: name.into(), waiting, oldest_ms, rejected, delivered });
            }
            Ok(all)
        })
    }

    /// Alerts, newest first.
    pub fn alerts(&self, limit: usize) -> Result<Vec<Alert>, ReadError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.parsed("SELECT body FROM alert ORDER BY id DESC LIMIT ?1", limit)
    }

    /// Devices that were added or changed at run time.
    pub fn devices(&self) -> Result<Vec<DeviceSettings>, ReadError> {
        self.parsed("SELECT settings FROM device WHERE settings IS NOT NULL ORDER BY id LIMIT ?1", i64::MAX)
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, sql: &str, limit: i64) -> Result<Vec<T>, ReadError> {
        self.with(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([limit])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.extend(serde_json::from_str(row.get_ref(0)?.as_str()?).ok());
            }
            Ok(all)
        })
    }
}

/// The attempts of the reading ?1; or the latest of each that the destination ?2 refused or has not taken yet.
const ATTEMPTS: &str =
    "SELECT destination.name, reading.key, attempt.number, attempt.at_ms, attempt.code, attempt.reason,
    rejected.reading IS NOT NULL AND attempt.number = latest.number
    FROM attempt JOIN destination ON destination.id = attempt.destination
    JOIN reading ON reading.id = attempt.reading
    JOIN (SELECT destination, reading, max(number) AS number FROM attempt GROUP BY destination, reading) AS latest
      ON latest.destination = attempt.destination AND latest.reading = attempt.reading
    LEFT JOIN rejected ON rejected.destination = attempt.destination AND rejected.reading = attempt.reading
    WHERE (?1 IS NULL OR attempt.reading = ?1) AND (?2 IS NULL OR (
        destination.name = ?2 AND attempt.number = latest.number AND (rejected.reading IS NOT NULL OR NOT EXISTS (
            SELECT 1 FROM settled WHERE settled.destination = attempt.destination
            AND attempt.reading BETWEEN first_reading AND last_reading))))";

/// Whose attempts.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// Of the reading in this row.
    Reading(i64),
    /// At this destination.
    Destination(&'a str),
}

#[allow(clippy::disallowed_methods, reason = "inside the journal")]
pub(super) fn connect(file: &Path, key: Option<&Key>) -> rusqlite::Result<Connection> {
    // SQLite removes the WAL of an empty file, also for a reader.
    if file.metadata().is_ok_and(|found| found.len() == 0) {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        return Err(rusqlite::Error::SqliteFailure(code, Some("the file is empty".into())));
    }
    let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    key.map_or(Ok(()), |key| key.unlock(&conn))?;
    // The writer never blocks readers in WAL; a checkpoint at its end may, for a moment.
    conn.busy_timeout(std::time::Duration::from_secs(2))?;
    conn.pragma_update(None, "cache_size", -256)?;
    Ok(conn)
}

pub(super) fn select(condition: &str) -> String {
    format!(
        "SELECT reading.id, committed_ms, {} FROM reading LEFT JOIN device ON device.id = reading.device WHERE {condition}",
        row::COLUMNS
    )
}

pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Option<Entry>> {
    let (id, committed_ms) = (row.get(0)?, row.get(1)?);
    Ok(row::read(row, 2)?.map(|reading| Entry { id, committed_ms, reading }))
}

/// `None`: never owed; it came before the destination was there.
fn standing(conn: &Connection, destination: i64, reading: i64) -> rusqlite::Result<Option<Standing>> {
    let refused = "SELECT code, reason FROM rejected WHERE destination = ?1 AND reading = ?2";
    let refused = conn.prepare(refused)?.query_row([destination, reading], |r| Ok((r.get(0)?, r.get(1)?)));
    if let Some((code, reason)) = refused.optional()? {
        return Ok(Some(Standing::Rejected(code, reason)));
    }
    let given_up =
        "SELECT code, reason, event.by, event.text FROM discarded JOIN inbox_event AS event ON event.id = event
                    WHERE kind = 'refused' AND item = ?2 AND destination = ?1";
    let given_up = conn.prepare(given_up)?.query_row([destination, reading], |r| {
        let (reason, by, text): (String, Option<String>, Option<String>) = (r.get(1)?, r.get(2)?, r.get(3)?);
        let (by, text) = (by.unwrap_or_default(), text.unwrap_or_default());
        Ok((r.get(0)?, format!("{reason}; given up by {by}: {text}")))
    });
    if let Some((code, reason)) = given_up.optional()? {
        return Ok(Some(Standing::Rejected(code, reason)));
    }
    if settled_through(conn, destination, reading)?.is_none() {
        return Ok(Some(Standing::Waiting));
    }
    // Backwards: its batch began not long before it.
    let place = "SELECT place.value ->> 1 FROM (SELECT places FROM receipt
                 WHERE destination = ?1 AND first_reading <= ?2 AND last_reading >= ?2 ORDER BY first_reading DESC),
                 json_each(places) AS place WHERE place.value ->> 0 = ?2 LIMIT 1";
    let place = conn.prepare(place)?.query_row([destination, reading], |r| r.get(0)).optional()?;
    Ok(place.map(|place| Standing::Delivered(Some(place))))
}

/// The end of the span of settled readings that this one is in.
fn settled_through(conn: &Connection, destination: i64, reading: i64) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT last_reading FROM settled WHERE destination = ?1 AND first_reading <= ?2
               ORDER BY first_reading DESC LIMIT 1";
    let last: Option<i64> = conn.prepare(sql)?.query_row([destination, reading], |r| r.get(0)).optional()?;
    Ok(last.filter(|last| *last >= reading))
}

/// When the oldest reading was committed that is owed. Walks over the spans of settled ones, which are few.
fn oldest(conn: &Connection, destination: i64) -> rusqlite::Result<Option<i64>> {
    let next = "SELECT id, committed_ms FROM reading WHERE id >= ?1 AND patient IS NOT NULL ORDER BY id LIMIT 1";
    let mut from = 0;
    for _ in 0..limits::SPANS_WALKED_MAX {
        let found: Option<(i64, i64)> =
            conn.prepare(next)?.query_row([from], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
        let Some((id, committed_ms)) = found else { return Ok(None) };
        match settled_through(conn, destination, id)? {
            Some(last) => from = last.saturating_add(1),
            None => return Ok(Some(committed_ms)),
        }
    }
    Ok(None)
}
