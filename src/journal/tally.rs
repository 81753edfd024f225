//! Counts and next rows: in memory, and written with each transaction that changes them.
//!
//! Promises: what is on the disk adds up, as counts change in the transaction of what they count.

use rusqlite::{Connection, Statement, params};

use super::chain::{Chain, Head};

/// Counts since the journal was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) frames_rejected: i64,
    pub(super) readings_committed: i64,
    pub(super) readings_known: i64,
    pub(super) readings_unassigned: i64,
}

/// Counts of one destination and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) waiting: i64,
    pub(super) delivered: i64,
    pub(super) rejected: i64,
}

/// Counts of one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) id: i64,
    pub(super) wants_readings: bool,
    pub(super) readings: Counts,
    pub(super) alerts: Counts,
    pub(super) alerts_settled_through: i64,
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
    /// The newest entry of the chain of custody.
    pub(super) head: Head,
}

impl Tally {
    pub(super) fn account(&mut self, destination: i64) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|a| a.id == destination)
    }

    /// A reading was stored: owed to whoever wants readings, or nobody's.
    pub(super) fn stored(&mut self, assigned: bool) {
        if assigned {
            self.accounts.iter_mut().filter(|a| a.wants_readings).for_each(|a| a.readings.waiting += 1);
        } else {
            self.totals.readings_unassigned += 1;
        }
    }

    /// An alert event is owed.
    pub(super) fn alert_owed(&mut self, destination: i64) {
        if let Some(account) = self.account(destination) {
            account.alerts.waiting += 1;
        }
    }

    /// The newest reading.
    pub(super) fn newest_reading(&self) -> i64 {
        self.next_reading - 1
    }
}

impl Counts {
    pub(super) fn delivered(&mut self) {
        self.waiting -= 1;
        self.delivered += 1;
    }

    pub(super) fn rejected(&mut self) {
        self.waiting -= 1;
        self.rejected += 1;
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
                 readings_unassigned = ?4",
            )?,
            account: conn.prepare(
                "UPDATE destination SET readings_waiting = ?2, readings_delivered = ?3, readings_rejected = ?4,
                 alerts_waiting = ?5, alerts_delivered = ?6, alerts_rejected = ?7, alerts_settled_through = ?8,
                 failed_ms = ?9, failed_code = ?10, failed_text = ?11 WHERE id = ?1",
            )?,
        })
    }

    /// Writes what differs.
    pub(super) fn write(&mut self, before: &Tally, after: &Tally) -> rusqlite::Result<()> {
        let t = &after.totals;
        if before.totals != *t {
            self.totals.execute([t.frames_rejected, t.readings_committed, t.readings_known, t.readings_unassigned])?;
        }
        for (old, new) in before.accounts.iter().zip(&after.accounts).filter(|(old, new)| old != new) {
            debug_assert_eq!(old.id, new.id);
            let (r, a, f) = (&new.readings, &new.alerts, &new.failed);
            self.account.execute(params![
                new.id,
                r.waiting,
                r.delivered,
                r.rejected,
                a.waiting,
                a.delivered,
                a.rejected,
                new.alerts_settled_through,
                f.as_ref().map(|f| f.0),
                f.as_ref().map(|f| &f.1),
                f.as_ref().map(|f| &f.2),
            ])?;
        }
        Ok(())
    }
}

/// Reads it at start. `destinations`: rows of the configured ones, and whether they want readings.
pub(super) fn read(conn: &Connection, destinations: &[(i64, bool)]) -> rusqlite::Result<Tally> {
    let next = |table: &str| conn.query_row(&format!("SELECT coalesce(max(id), 0) + 1 FROM {table}"), [], |r| r.get(0));
    let totals = conn.query_row(
        "SELECT frames_rejected, readings_committed, readings_known, readings_unassigned FROM totals",
        [],
        |r| {
            Ok(Totals {
                frames_rejected: r.get(0)?,
                readings_committed: r.get(1)?,
                readings_known: r.get(2)?,
                readings_unassigned: r.get(3)?,
            })
        },
    )?;
    let accounts = destinations.iter().map(|d| account(conn, *d)).collect::<rusqlite::Result<_>>()?;
    let (next_reading, next_frame, next_event) = (newest_reading(conn)? + 1, next("frame")?, next("alert_event")?);
    Ok(Tally { next_frame, next_reading, next_event, totals, accounts, head: Chain::head(conn)? })
}

/// The newest number that was ever given to a reading, removed ones too: spans of settled readings hold on to it.
pub(super) fn newest_reading(conn: &Connection) -> rusqlite::Result<i64> {
    let sql =
        "SELECT max((SELECT coalesce(max(id), 0) FROM reading), (SELECT coalesce(max(last_reading), 0) FROM settled),
               (SELECT coalesce(max(first_reading), 1) - 1 FROM start))";
    conn.query_row(sql, [], |r| r.get(0))
}

fn account(conn: &Connection, (id, wants_readings): (i64, bool)) -> rusqlite::Result<Account> {
    conn.query_row(
        "SELECT readings_waiting, readings_delivered, readings_rejected, alerts_waiting, alerts_delivered,
         alerts_rejected, alerts_settled_through, failed_ms, failed_code, failed_text FROM destination WHERE id = ?1",
        [id],
        |r| {
            let counts = |i: usize| {
                Ok::<_, rusqlite::Error>(Counts {
                    waiting: r.get(i)?,
                    delivered: r.get(i + 1)?,
                    rejected: r.get(i + 2)?,
                })
            };
            let failed = match r.get(7)? {
                Some(ms) => Some((ms, r.get(8)?, r.get(9)?)),
                None => None,
            };
            let (readings, alerts) = (counts(0)?, counts(3)?);
            Ok(Account { id, wants_readings, readings, alerts, alerts_settled_through: r.get(6)?, failed })
        },
    )
}
