//! The table of debts of one kind (readings or alert events): what is owed, delivered, retried, rejected.
//!
//! Promises: a debt leaves `waiting` with a receipt or a reason, once. Must never: delete a debt that waits.

use rusqlite::{Connection, Statement, params};

use crate::custody::{Receipt, Why};
use crate::limits;

use super::queue::Debt;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Readings,
    Alerts,
}

impl Kind {
    /// Tables of debts and of attempts; columns of the item and of what keeps its order.
    pub(super) fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Readings => ("delivery", "attempt", "reading", "device"),
            Self::Alerts => ("alert_delivery", "alert_attempt", "alert_event", "alert"),
        }
    }
}

/// Its statements.
pub(super) struct Ledger<'c> {
    owe: Statement<'c>,
    walk: Statement<'c>,
    deliver: Statement<'c>,
    reject: Statement<'c>,
    retry: Statement<'c>,
    attempt: Statement<'c>,
}

impl<'c> Ledger<'c> {
    pub(super) fn prepare(conn: &'c Connection, kind: Kind) -> rusqlite::Result<Self> {
        let (table, attempts, item, line) = kind.names();
        let waits = format!("destination = ?1 AND {item} = ?2 AND state = 'waiting'");
        Ok(Self {
            owe: conn.prepare(&format!("INSERT INTO {table} VALUES (?1, ?2, ?3, 'waiting', 0, NULL, NULL, NULL)"))?,
            walk: conn.prepare(&format!(
                "SELECT {item}, {line}, attempts FROM {table}
                 WHERE destination = ?1 AND {item} > ?2 AND {item} <= ?3 AND state = 'waiting' ORDER BY {item}"
            ))?,
            deliver: conn.prepare(&format!(
                "UPDATE {table} SET state = 'delivered', settled_ms = ?3, receipt = ?4, already_there = ?5 WHERE {waits}"
            ))?,
            reject: conn.prepare(&format!(
                "UPDATE {table} SET state = 'rejected', settled_ms = ?3, attempts = attempts + 1 WHERE {waits}
                 RETURNING attempts"
            ))?,
            retry: conn.prepare(&format!(
                "UPDATE {table} SET attempts = attempts + 1 WHERE {waits} RETURNING attempts"
            ))?,
            attempt: conn.prepare(&format!("INSERT OR REPLACE INTO {attempts} VALUES (?1, ?2, ?3, ?4, ?5, ?6)"))?,
        })
    }

    pub(super) fn owe(&mut self, destination: i64, item: i64, line: i64) -> rusqlite::Result<()> {
        self.owe.execute([destination, item, line]).map(drop)
    }

    /// Debts that wait, above `after`, up to `upto`, in order, until `look` has enough. Answers whether the end was reached.
    pub(super) fn walk(
        &mut self,
        destination: i64,
        (after, upto): (i64, i64),
        mut look: impl FnMut(Debt) -> bool,
    ) -> rusqlite::Result<bool> {
        let mut rows = self.walk.query([destination, after, upto])?;
        while let Some(row) = rows.next()? {
            if !look(Debt { id: row.get(0)?, line: row.get(1)?, attempts: row.get(2)? }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Answers whether it was waiting.
    pub(super) fn delivered(
        &mut self,
        destination: i64,
        item: i64,
        at_ms: i64,
        receipt: &Receipt,
    ) -> rusqlite::Result<bool> {
        let known = receipt.known;
        Ok(self.deliver.execute(params![destination, item, at_ms, &*receipt.location, known])? > 0)
    }

    /// Answers whether it was waiting.
    pub(super) fn rejected(&mut self, destination: i64, item: i64, at_ms: i64, why: &Why) -> rusqlite::Result<bool> {
        let attempts = one(self.reject.query(params![destination, item, at_ms])?)?;
        self.record(destination, item, at_ms, why, attempts)
    }

    /// Answers whether it was waiting.
    pub(super) fn retried(&mut self, destination: i64, item: i64, at_ms: i64, why: &Why) -> rusqlite::Result<bool> {
        let attempts = one(self.retry.query([destination, item])?)?;
        self.record(destination, item, at_ms, why, attempts)
    }

    fn record(
        &mut self,
        destination: i64,
        item: i64,
        at_ms: i64,
        why: &Why,
        attempts: Option<u32>,
    ) -> rusqlite::Result<bool> {
        let Some(attempts) = attempts else { return Ok(false) };
        let number = attempts.min(limits::ATTEMPTS_KEPT_MAX);
        self.attempt.execute(params![destination, item, number, at_ms, &*why.code, &why.text])?;
        Ok(true)
    }
}

fn one(mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<Option<u32>> {
    // Stepped to the end: an UPDATE with RETURNING is done only then.
    let first = rows.next()?.map(|r| r.get(0)).transpose()?;
    while rows.next()?.is_some() {}
    Ok(first)
}
