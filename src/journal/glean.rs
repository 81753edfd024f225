//! The last of a salvage: rows whose way from the root is destroyed, taken from the leaves themselves.
//!
//! Promises: only rows that carry a proof are taken: a page that SQLCipher authenticates, or a seal of their own.
//! Must never: take a row in the place of one that was read before, or one that fits more than one table.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::leaves::{self, Found};
use super::page::Pages;
use super::salvage::fits;
use super::{row, seal};
use crate::clock::{Clock, Stamp};
use crate::limits;

/// Tables that are searched for. Of the others what is lost is found again, or owed again.
const TABLES: &[&str] = &["device", "channel", "reading", "alert", "alert_event", "frame", "custody", "inbox_event"];
/// What a page without a proof of its own may give: rows that are sealed, and the names that they refer to.
const OF_PLAIN_PAGES: &[&str] = &["device", "channel", "reading", "alert_event"];

/// Columns of a reading when its rows were sealed first (0003.sql).
const SEALED_READING_COLUMNS: usize = 27;

struct Table {
    name: &'static str,
    types: Vec<String>,
    /// So many columns it had at first: a row of before a column was added has none in its place.
    least: usize,
    insert: String,
}

/// Takes what can be found until then. Answers how many readings, and whether all was looked through.
pub(super) fn glean(
    target: &Connection,
    pages: &Pages<'_>,
    clock: &Clock,
    until: Stamp,
) -> rusqlite::Result<(u64, bool)> {
    let names = if pages.are_sealed() { TABLES } else { OF_PLAIN_PAGES };
    let tables = names.iter().map(|name| table(target, name)).collect::<rusqlite::Result<Vec<_>>>()?;
    let (mut readings, mut events) = (Vec::new(), Vec::new());
    let goes_on = || clock.now().mono_us <= until.mono_us;
    let whole = leaves::walk(pages, goes_on, |found| {
        if let Some(table) = only_one(&tables, &found)
            && put(target, table, &found)?
        {
            match table.name {
                "reading" => readings.push(found.row),
                "alert_event" => events.push(found.row),
                _ => {}
            }
        }
        Ok(())
    })?;
    let sound = readings.len() - drop_unproved(target, "reading", &readings)?;
    drop_unproved(target, "alert_event", &events)?;
    Ok((sound as u64, whole))
}

fn table(target: &Connection, name: &'static str) -> rusqlite::Result<Table> {
    let mut types = target.prepare("SELECT type FROM pragma_table_info(?1)")?;
    let types: Vec<String> = types.query_map([name], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    let marks = vec!["?"; types.len()].join(", ");
    // What came later may be missing only where a seal proves the row.
    let least = if name == "reading" { SEALED_READING_COLUMNS } else { types.len() };
    Ok(Table { name, insert: format!("INSERT OR IGNORE INTO {name} VALUES ({marks})"), types, least })
}

/// The one table that the row can be of: its number is not stored, and each column is of the declared type.
fn only_one<'t>(tables: &'t [Table], found: &Found) -> Option<&'t Table> {
    let is_numbered = (1..limits::ROWS_MAX).contains(&found.row) && found.columns.first() == Some(&Value::Null);
    let mut of = tables.iter().filter(|table| {
        is_numbered
            && (table.least..=table.types.len()).contains(&found.columns.len())
            && found.columns.iter().zip(&table.types).all(|(value, declared)| fits(value, declared))
    });
    of.next().filter(|_| of.next().is_none())
}

/// Answers whether it was not there yet.
fn put(target: &Connection, table: &Table, found: &Found) -> rusqlite::Result<bool> {
    let columns = found.columns.iter().skip(1).cloned();
    let columns = std::iter::once(Value::Integer(found.row)).chain(columns);
    let columns = columns.chain(std::iter::repeat(Value::Null)).take(table.types.len());
    Ok(target.prepare(&table.insert)?.execute(params_from_iter(columns))? > 0)
}

/// Takes away what its seal does not prove. Answers how many.
fn drop_unproved(target: &Connection, table: &str, ids: &[i64]) -> rusqlite::Result<usize> {
    let reading = format!(
        "SELECT {} FROM reading LEFT JOIN device ON device.id = reading.device WHERE reading.id = ?1",
        row::COLUMNS
    );
    let event = "SELECT body, seal FROM alert_event WHERE id = ?1";
    let mut look = target.prepare(if table == "reading" { &reading } else { event })?;
    let mut unproved = Vec::new();
    for id in ids {
        let proved = look.query_row([id], |found| match table {
            "reading" => Ok(row::is_intact(found, 0)),
            _ => Ok(found.get(1).ok() == Some(seal::of_event(*id, found.get_ref(0)?.as_bytes()?))),
        })?;
        if !proved {
            unproved.push(*id);
        }
    }
    let mut remove = target.prepare(&format!("DELETE FROM {table} WHERE id = ?1"))?;
    unproved.iter().try_for_each(|id| remove.execute([id]).map(drop))?;
    Ok(unproved.len())
}
