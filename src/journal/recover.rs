//! At start: counts the start, enters the destinations, and reads what other parts need of the past.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::Recovered;
use super::tally::{self, Tally};
use super::{outbox, people, row, seal};
use crate::clock::Stamp;
use crate::custody::Creditor;
use crate::limits;
use crate::reading::Reading;

/// Marks the start. Answers its number, and the accounts of the destinations in order.
pub(super) fn begin(conn: &Connection, creditors: &[Creditor], now: Stamp) -> rusqlite::Result<(u32, Tally)> {
    conn.execute_batch("BEGIN IMMEDIATE; UPDATE destination SET configured = 0")?;
    let newest = tally::newest_reading(conn)?;
    let mut rows = Vec::with_capacity(creditors.len());
    for creditor in creditors {
        rows.push((enter(conn, creditor, newest)?, creditor.readings));
    }
    // Those that are gone, or want no more readings, keep what they were owed until now.
    conn.execute(
        "UPDATE destination SET absent_from_reading = ?1 + 1 WHERE configured = 0 AND absent_from_reading IS NULL",
        [newest],
    )?;
    let mark = "INSERT INTO start (at_ms, first_reading, first_frame, closed_in_order)
                VALUES (?1, ?2 + 1, (SELECT coalesce(max(id), 0) + 1 FROM frame), 0) RETURNING id";
    seal::destinations(conn)?;
    let start = conn.query_row(mark, [now.wall_ms, newest], |r| r.get(0))?;
    conn.execute_batch("COMMIT")?;
    Ok((start, tally::read(conn, &rows)?))
}

/// The row of a destination. It is owed readings from when it first wants them.
fn enter(conn: &Connection, creditor: &Creditor, newest: i64) -> rusqlite::Result<i64> {
    let known = "UPDATE destination SET configured = 1 WHERE name = ?1 RETURNING id, absent_from_reading";
    let row = |r: &rusqlite::Row<'_>| Ok((r.get::<_, i64>(0)?, r.get::<_, Option<i64>>(1)?));
    let (id, absent) = match conn.query_row(known, [&*creditor.name], row).optional()? {
        Some(found) => found,
        None => {
            let new = "INSERT INTO destination (name, configured, absent_from_reading) VALUES (?1, 1, 0) RETURNING id";
            (conn.query_row(new, [&*creditor.name], |r| r.get(0))?, Some(0))
        }
    };
    match (creditor.readings, absent) {
        (true, Some(from)) => {
            outbox::settle_span(conn, id, from, newest)?;
            conn.execute("UPDATE destination SET absent_from_reading = NULL WHERE id = ?1", [id])?;
        }
        (false, None) => {
            conn.execute("UPDATE destination SET absent_from_reading = ?2 + 1 WHERE id = ?1", [id, newest])?;
        }
        _ => {}
    }
    Ok(id)
}

/// What other parts need of the past. A record that cannot be read is left out here; its debts say so.
pub(super) fn past(conn: &Connection, run: u64) -> rusqlite::Result<Recovered> {
    let mut alerts = conn.prepare("SELECT body FROM alert WHERE resolved_ms IS NULL ORDER BY id DESC LIMIT ?1")?;
    let mut devices = conn.prepare("SELECT settings FROM device WHERE settings IS NOT NULL ORDER BY id")?;
    let mut open_alerts: Vec<_> =
        parsed(alerts.query([i64::try_from(limits::ALERTS_IN_MEMORY_MAX).unwrap_or(i64::MAX)])?)?;
    open_alerts.reverse();
    let newest = "SELECT committed_ms FROM reading ORDER BY id DESC LIMIT 1";
    let newest_ms = conn.query_row(newest, [], |r| r.get(0)).optional()?;
    let people_damaged = people::damaged(conn)?;
    let (recent, devices, (held, held_lost)) = (recent(conn)?, parsed(devices.query([])?)?, people::held(conn)?);
    Ok(Recovered { open_alerts, recent, devices, held, held_lost, people_damaged, newest_ms, run, salvaged: None })
}

fn parsed<T: serde::de::DeserializeOwned>(mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.extend(serde_json::from_str(row.get_ref(0)?.as_str()?).ok());
    }
    Ok(all)
}

/// The newest of each patient (or unassigned device) and vital, oldest first.
pub(super) fn recent(conn: &Connection) -> rusqlite::Result<Vec<Reading>> {
    let mut newest = conn.prepare(&format!(
        "SELECT {} FROM reading LEFT JOIN device ON device.id = reading.device
         WHERE NOT EXISTS (SELECT 1 FROM corrected WHERE corrected.reading = reading.id)
         ORDER BY reading.id DESC LIMIT ?1",
        row::COLUMNS
    ))?;
    let mut rows = newest.query([limits::RECOVERED_READINGS_MAX])?;
    let mut counts: HashMap<(String, &'static str), usize> = HashMap::new();
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(reading) = row::read(row, 0)?.filter(|r| !r.is_withdrawal()) else { continue };
        let whose = reading.patient.as_ref().map_or(&*reading.device.0, |p| p.reveal());
        let count = counts.entry((whose.to_owned(), reading.vital.id)).or_default();
        *count += 1;
        if *count <= limits::RECOVERED_PER_VITAL_MAX {
            kept.push(reading);
        }
    }
    kept.reverse();
    Ok(kept)
}
