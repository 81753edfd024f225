//! At start: counts the start, enters the destinations, and reads what other parts need of the past.

use std::collections::HashMap;

use rusqlite::Connection;

use super::Recovered;
use super::tally::{self, Tally};
use crate::custody::Creditor;
use crate::limits;
use crate::reading::Reading;

/// Marks the start. Answers its number, and the rows of the destinations in order.
pub(super) fn begin(conn: &Connection, creditors: &[Creditor]) -> rusqlite::Result<(u32, Tally)> {
    conn.execute_batch("BEGIN IMMEDIATE; UPDATE destination SET configured = 0")?;
    let mut rows = Vec::with_capacity(creditors.len());
    for creditor in creditors {
        let enter = "INSERT INTO destination (name, configured) VALUES (?1, 1)
                     ON CONFLICT (name) DO UPDATE SET configured = 1 RETURNING id";
        rows.push(conn.query_row(enter, [&*creditor.name], |r| r.get::<_, i64>(0))?);
    }
    let mark = "UPDATE totals SET starts = starts + 1, closed_in_order = 0 RETURNING starts";
    let start = conn.query_row(mark, [], |r| r.get(0))?;
    conn.execute_batch("COMMIT")?;
    Ok((start, tally::read(conn, &rows)?))
}

/// What other parts need of the past. A record that cannot be read is left out here; its debts say so.
pub(super) fn past(conn: &Connection, run: u32) -> rusqlite::Result<Recovered> {
    let mut alerts = conn.prepare("SELECT body FROM alert WHERE resolved_ms IS NULL ORDER BY id DESC LIMIT ?1")?;
    let mut devices = conn.prepare("SELECT settings FROM device WHERE settings IS NOT NULL ORDER BY id")?;
    let mut open_alerts: Vec<_> =
        parsed(alerts.query([i64::try_from(limits::ALERTS_IN_MEMORY_MAX).unwrap_or(i64::MAX)])?)?;
    open_alerts.reverse();
    Ok(Recovered { open_alerts, recent: recent(conn)?, devices: parsed(devices.query([])?)?, run })
}

fn parsed<T: serde::de::DeserializeOwned>(mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.extend(serde_json::from_str(row.get_ref(0)?.as_str()?).ok());
    }
    Ok(all)
}

/// The newest of each patient (or unassigned device) and vital, oldest first.
fn recent(conn: &Connection) -> rusqlite::Result<Vec<Reading>> {
    let mut newest = conn.prepare("SELECT body FROM reading ORDER BY id DESC LIMIT ?1")?;
    let all: Vec<Reading> = parsed(newest.query([limits::RECOVERED_READINGS_MAX])?)?;
    let mut counts: HashMap<(String, &'static str), usize> = HashMap::new();
    let mut kept: Vec<Reading> = all
        .into_iter()
        .filter(|r| {
            let whose = r.patient.as_ref().map_or(&*r.device.0, |p| p.reveal());
            let count = counts.entry((whose.to_owned(), r.vital.id)).or_default();
            *count += 1;
            *count <= limits::RECOVERED_PER_VITAL_MAX
        })
        .collect();
    kept.reverse();
    Ok(kept)
}
