//! What is owed of the alerts: a row for each event and destination. (Readings are many: see `outbox.rs`.)
//!
//! Promises: a debt leaves `waiting` with a receipt or a reason, once. Must never: delete a debt that waits.

use rusqlite::{Connection, Statement, params};

use crate::custody::{Receipt, Why};
use crate::limits;

use super::queue::Debt;
use super::seal;

/// Its statements.
pub(super) struct Ledger<'c> {
    owe: Statement<'c>,
    walk: Statement<'c>,
    deliver: Statement<'c>,
    reject: Statement<'c>,
    retry: Statement<'c>,
    attempt: Statement<'c>,
    event: Statement<'c>,
}

impl<'c> Ledger<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            owe: conn.prepare("INSERT INTO alert_delivery VALUES (?1, ?2, ?3, 'waiting', 0, NULL, NULL, NULL)")?,
            walk: conn.prepare(
                "SELECT alert_event, alert, attempts FROM alert_delivery
                 WHERE destination = ?1 AND alert_event > ?2 AND state NOT IN ('delivered', 'rejected', 'superseded', 'discarded')
                 ORDER BY alert_event",
            )?,
            deliver: conn.prepare(
                "UPDATE alert_delivery SET state = 'delivered', settled_ms = ?3, receipt = ?4, already_there = ?5
                 WHERE destination = ?1 AND alert_event = ?2",
            )?,
            reject: conn.prepare(
                "UPDATE alert_delivery SET state = 'rejected', settled_ms = ?3, attempts = ?4
                 WHERE destination = ?1 AND alert_event = ?2",
            )?,
            retry: conn
                .prepare("UPDATE alert_delivery SET attempts = ?3 WHERE destination = ?1 AND alert_event = ?2")?,
            attempt: conn.prepare("INSERT OR REPLACE INTO alert_attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?,
            event: conn.prepare("SELECT id, body, seal FROM alert_event WHERE id = ?1")?,
        })
    }

    pub(super) fn owe(&mut self, destination: i64, event: i64, alert: i64) -> rusqlite::Result<()> {
        self.owe.execute([destination, event, alert]).map(drop)
    }

    /// Debts that wait, above `after`, in order, until `look` has enough.
    pub(super) fn walk(
        &mut self,
        destination: i64,
        after: i64,
        mut look: impl FnMut(Debt) -> bool,
    ) -> rusqlite::Result<()> {
        let mut rows = self.walk.query([destination, after])?;
        while let Some(row) = rows.next()? {
            if !look(Debt { id: row.get(0)?, line: row.get(1)?, attempts: row.get(2)? }) {
                break;
            }
        }
        Ok(())
    }

    /// An event. `None`: it is damaged, or gone.
    pub(super) fn event<T: serde::de::DeserializeOwned>(&mut self, id: i64) -> rusqlite::Result<Option<T>> {
        let read = |r: &rusqlite::Row<'_>| {
            let (body, seal) = (r.get_ref(1).ok()?.as_bytes().ok()?, r.get::<_, i64>(2).ok()?);
            (seal::of_event(id, body) == seal).then(|| serde_json::from_slice(body).ok()).flatten()
        };
        Ok(self.event.query([id])?.next()?.and_then(read))
    }

    pub(super) fn delivered(
        &mut self,
        destination: i64,
        event: i64,
        at_ms: i64,
        receipt: &Receipt,
    ) -> rusqlite::Result<()> {
        let Receipt { location, known } = receipt;
        self.deliver.execute(params![destination, event, at_ms, &**location, known]).map(drop)
    }

    /// `attempts`: failed ones, this one included.
    pub(super) fn rejected(
        &mut self,
        destination: i64,
        event: i64,
        at_ms: i64,
        why: &Why,
        attempts: u32,
    ) -> rusqlite::Result<()> {
        self.reject.execute(params![destination, event, at_ms, attempts])?;
        self.attempt(destination, event, at_ms, why, attempts)
    }

    /// `attempts`: failed ones, this one included.
    pub(super) fn retried(
        &mut self,
        destination: i64,
        event: i64,
        at_ms: i64,
        why: &Why,
        attempts: u32,
    ) -> rusqlite::Result<()> {
        self.retry.execute(params![destination, event, attempts])?;
        self.attempt(destination, event, at_ms, why, attempts)
    }

    fn attempt(&mut self, destination: i64, event: i64, at_ms: i64, why: &Why, attempts: u32) -> rusqlite::Result<()> {
        let number = attempts.min(limits::ATTEMPTS_KEPT_MAX);
        self.attempt.execute(params![destination, event, number, at_ms, &*why.code, &why.text]).map(drop)
    }
}
