//! What is kept about people: who held which device when, who was matched at the centre, and what it ordered for them.
//!
//! Promises: each row is sealed, and one that is not as it was written is left out and told of. Must never: keep demographics.

use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reader::{ReadError, Reader};
use super::seal;
use crate::association::Held;
use crate::careplan::{Event, Order};
use crate::limits;
use crate::reading::{DeviceId, Reading};
use crate::roster::Member;

/// Keeps who held these devices.
pub(super) fn hold(conn: &Connection, held: &[Held]) -> rusqlite::Result<()> {
    let mut put = conn.prepare("INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3)")?;
    for Held { device, history } in held {
        let body = json(history)?;
        put.execute(params![&*device.0, body, seal::of_texts(&device.0, &body)])?;
    }
    Ok(())
}

/// Who held which device; and the devices of which that is damaged.
pub(super) fn held(conn: &Connection) -> rusqlite::Result<(Vec<Held>, Vec<DeviceId>)> {
    let (mut whole, mut lost) = (Vec::new(), Vec::new());
    for (device, history) in sealed(conn, "SELECT device, history, seal FROM held ORDER BY device")? {
        let device = DeviceId(device.into());
        match history {
            Some(history) => whole.push(Held { device, history }),
            None => lost.push(device),
        }
    }
    Ok((whole, lost))
}

/// Keeps who was matched, and how they stand.
pub(super) fn join(conn: &Connection, members: &[Member]) -> rusqlite::Result<()> {
    members.iter().try_for_each(|member| {
        let (patient, body) = (member.reference.reveal(), json(member)?);
        let put = "INSERT OR REPLACE INTO member VALUES (?1, ?2, ?3)";
        conn.execute(put, params![patient, body, seal::of_texts(patient, &body)]).map(drop)
    })
}

/// Keeps orders as they stand, and what happened to them; what has no force any more goes when there is too much of it.
pub(super) fn order(conn: &Connection, orders: &[Order], events: &[Event], gone: &[String]) -> rusqlite::Result<()> {
    let mut put = conn.prepare("INSERT OR REPLACE INTO care VALUES (?1, ?2, ?3)")?;
    for order in orders {
        let body = json(order)?;
        put.execute(params![order.id, body, seal::of_texts(&order.id, &body)])?;
    }
    let mut remove = conn.prepare("DELETE FROM care WHERE id = ?1")?;
    gone.iter().try_for_each(|id| remove.execute([id]).map(drop))?;
    let mut put =
        conn.prepare("INSERT INTO care_event VALUES ((SELECT coalesce(max(number), 0) + 1 FROM care_event), ?1, ?2)")?;
    for event in events {
        let body = json(event)?;
        put.execute(params![body, seal::of_texts("care", &body)])?;
    }
    let old = "DELETE FROM care_event WHERE number <= (SELECT max(number) FROM care_event) - ?1";
    conn.execute(old, [i64::try_from(limits::CARE_EVENTS_KEPT).unwrap_or(i64::MAX)]).map(drop)
}

fn json(what: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(what).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

/// How many rows of these tables are not as they were written.
pub(super) fn damaged(conn: &Connection) -> rusqlite::Result<usize> {
    let tables = [
        "SELECT device, history, seal FROM held",
        "SELECT patient, body, seal FROM member",
        "SELECT id, body, seal FROM care",
    ];
    let mut damaged = 0;
    for table in tables {
        damaged += sealed::<serde::de::IgnoredAny>(conn, table)?.iter().filter(|(_, body)| body.is_none()).count();
    }
    Ok(damaged)
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
        let rows = self.with(|conn| sealed(conn, sql))?;
        let damaged = rows.iter().filter(|(_, body)| body.is_none()).count();
        Ok((rows.into_iter().filter_map(|(_, body)| body).collect(), damaged))
    }
}

/// Rows of a key and a body with their seal. `None`: it is not as it was written.
fn sealed<T: DeserializeOwned>(conn: &Connection, sql: &str) -> rusqlite::Result<Vec<(String, Option<T>)>> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let (key, body) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        let intact = row.get::<_, i64>(2)? == seal::of_texts(key, body);
        all.push((key.to_owned(), intact.then(|| serde_json::from_str(body).ok()).flatten()));
    }
    Ok(all)
}
