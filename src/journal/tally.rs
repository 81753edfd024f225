//! Counts and next rows: in memory, and written with each transaction that changes them.
//!
//! Promises: what is on the disk adds up, as counts change in the transaction of what they count.

use rusqlite::{Connection, Statement, params};

use super::ledger::Kind;

/// Counts since the journal was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) frames_rejected: i64,
    pub(super) readings_committed: i64,
    pub(super) readings_known: i64,
    pub(super) readings_unassigned: i64,
    pub(super) told_through_frame: i64,
}

/// Counts of one destination and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) waiting: i64,
    pub(super) delivered: i64,
    pub(super) rejected: i64,
    pub(super) settled_through: i64,
}

/// Counts of one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) id: i64,
    pub(super) readings: Counts,
    pub(super) alerts: Counts,
    pub(super) failed: Option<(i64, String, String)>,
}

/// All of it. Cloned for a transaction, put in place after the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) next_frame: i64,
    pub(super) next_reading: i64,
    pub(super) next_event: i64,
    pub(super) totals: Totals,
    pub(super) accounts: Vec<Account>,
}

impl Tally {
    pub(super) fn counts(&mut self, destination: i64, kind: Kind) -> Option<&mut Counts> {
        let account = self.accounts.iter_mut().find(|a| a.id == destination)?;
        Some(match kind {
            Kind::Readings => &mut account.readings,
            Kind::Alerts => &mut account.alerts,
        })
    }

    pub(super) fn owed(&mut self, destination: i64, kind: Kind) {
        if let Some(counts) = self.counts(destination, kind) {
            counts.waiting += 1;
        }
    }
}

/// The statements that write it.
pub(super) struct Book<'c> {
    totals: Statement<'c>,
    account: Statement<'c>,
}

impl<'c> Book<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            totals: conn.prepare(
                "UPDATE totals SET frames_rejected = ?1, readings_committed = ?2, readings_known = ?3,
                 readings_unassigned = ?4, told_through_frame = ?5",
            )?,
            account: conn.prepare(
                "UPDATE destination SET readings_waiting = ?2, readings_delivered = ?3, readings_rejected = ?4,
                 readings_settled_through = ?5, alerts_waiting = ?6, alerts_delivered = ?7, alerts_rejected = ?8,
                 alerts_settled_through = ?9, failed_ms = ?10, failed_code = ?11, failed_text = ?12 WHERE id = ?1",
            )?,
        })
    }

    /// Writes what differs.
    pub(super) fn write(&mut self, before: &Tally, after: &Tally) -> rusqlite::Result<()> {
        let t = &after.totals;
        if before.totals != *t {
            self.totals.execute([
                t.frames_rejected,
                t.readings_committed,
                t.readings_known,
                t.readings_unassigned,
                t.told_through_frame,
            ])?;
        }
        for (old, new) in before.accounts.iter().zip(&after.accounts).filter(|(old, new)| old != new) {
            debug_assert_eq!(old.id, new.id);
            let (r, a, f) = (&new.readings, &new.alerts, &new.failed);
            self.account.execute(params![
                new.id,
                r.waiting,
                r.delivered,
                r.rejected,
                r.settled_through,
                a.waiting,
                a.delivered,
                a.rejected,
                a.settled_through,
                f.as_ref().map(|f| f.0),
                f.as_ref().map(|f| &f.1),
                f.as_ref().map(|f| &f.2),
            ])?;
        }
        Ok(())
    }
}

/// Reads it at start. `destinations`: rows of the configured ones, in order.
pub(super) fn read(conn: &Connection, destinations: &[i64]) -> rusqlite::Result<Tally> {
    let next = |table: &str| conn.query_row(&format!("SELECT coalesce(max(id), 0) + 1 FROM {table}"), [], |r| r.get(0));
    let totals = conn.query_row(
        "SELECT frames_rejected, readings_committed, readings_known, readings_unassigned, told_through_frame FROM totals",
        [],
        |r| {
            Ok(Totals {
                frames_rejected: r.get(0)?,
                readings_committed: r.get(1)?,
                readings_known: r.get(2)?,
                readings_unassigned: r.get(3)?,
                told_through_frame: r.get(4)?,
            })
        },
    )?;
    let mut accounts = Vec::with_capacity(destinations.len());
    for id in destinations {
        accounts.push(conn.query_row(
            "SELECT readings_waiting, readings_delivered, readings_rejected, readings_settled_through,
             alerts_waiting, alerts_delivered, alerts_rejected, alerts_settled_through, failed_ms, failed_code, failed_text
             FROM destination WHERE id = ?1",
            [id],
            |r| {
                let counts = |i: usize| {
                    Ok::<_, rusqlite::Error>(Counts {
                        waiting: r.get(i)?,
                        delivered: r.get(i + 1)?,
                        rejected: r.get(i + 2)?,
                        settled_through: r.get(i + 3)?,
                    })
                };
                let failed = match r.get(8)? {
                    Some(ms) => Some((ms, r.get(9)?, r.get(10)?)),
                    None => None,
                };
                Ok(Account { id: *id, readings: counts(0)?, alerts: counts(4)?, failed })
            },
        )?);
    }
    Ok(Tally {
        next_frame: next("frame")?,
        next_reading: next("reading")?,
        next_event: next("alert_event")?,
        totals,
        accounts,
    })
}
