//! What is kept of the centre's word about patients: who was matched there, and what it ordered for them.
//!
//! Promises: each row is sealed, and one that is not as it was written is left out. Must never: keep demographics.

use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reader::{ReadError, Reader};
use super::seal;
use crate::careplan::{Event, Order};
use crate::limits;
use crate::reading::Reading;
use crate::roster::Member;

/// Keeps who was matched, and how they stand.
pub(super) fn join(conn: &Connection, members: &[Member]) -> rusqlite::Result<()> {
    members.iter().try_for_each(|member| {
        let (patient, body) = (member.reference.reveal(), json(member)?);
        let put = "INSERT OR REPLACE INTO member VALUES (?1, ?2, ?3)";
        conn.execute(put, params![patient, body, seal::of_held(patient, &body)]).map(drop)
    })
}

/// Keeps orders as they stand, and what happened to them; what has no force any more goes when there is too much of it.
pub(super) fn order(conn: &Connection, orders: &[Order], events: &[Event], gone: &[String]) -> rusqlite::Result<()> {
    let mut put = conn.prepare("INSERT OR REPLACE INTO care VALUES (?1, ?2, ?3)")?;
    for order in orders {
        let body = json(order)?;
        put.execute(params![order.id, body, seal::of_held(&order.id, &body)])?;
    }
    let mut remove = conn.prepare("DELETE FROM care WHERE id = ?1")?;
    gone.iter().try_for_each(|id| remove.execute([id]).map(drop))?;
    let mut put =
        conn.prepare("INSERT INTO care_event VALUES ((SELECT coalesce(max(number), 0) + 1 FROM care_event), ?1, ?2)")?;
    for event in events {
        let body = json(event)?;
        put.execute(params![body, seal::of_held("care", &body)])?;
    }
    let old = "DELETE FROM care_event WHERE number <= (SELECT max(number) FROM care_event) - ?1";
    conn.execute(old, [i64::try_from(limits::CARE_EVENTS_KEPT).unwrap_or(i64::MAX)]).map(drop)
}

fn json(what: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(what).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

impl Reader {
    /// Who was matched at a destination; and how many rows are damaged.
    pub fn members(&self) -> Result<(Vec<Member>, usize), ReadError> {
        self.sealed("SELECT patient, body, seal FROM member ORDER BY patient")
    }

    /// What the centres ordered; and how many rows are damaged.
    pub fn orders(&self) -> Result<(Vec<Order>, usize), ReadError> {
        self.sealed("SELECT id, body, seal FROM care ORDER BY id")
    }

    /// What happened to it, newest first; and how many rows are damaged.
    pub fn order_events(&self) -> Result<(Vec<Event>, usize), ReadError> {
        self.sealed("SELECT 'care', body, seal FROM care_event ORDER BY number DESC LIMIT 1000")
    }

    /// The newest readings of each patient and vital, oldest first.
    pub fn recent(&self) -> Result<Vec<Reading>, ReadError> {
        self.with(super::recover::recent)
    }

    fn sealed<T: DeserializeOwned>(&self, sql: &str) -> Result<(Vec<T>, usize), ReadError> {
        self.with(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            let (mut all, mut damaged) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let (key, body) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
                let intact = row.get::<_, i64>(2)? == seal::of_held(key, body);
                match intact.then(|| serde_json::from_str(body).ok()).flatten() {
                    Some(one) => all.push(one),
                    None => damaged += 1,
                }
            }
            Ok((all, damaged))
        })
    }
}
