//! Salvage of a damaged journal: what can be read goes into a new one, and the damaged files are kept beside it.
//!
//! Promises: at any moment of it either the damaged files or a finished new one are there, also after a power cut;
//! what may be owed is owed: resending is safe. Must never: change the damaged files, or believe a debt to be settled
//! whose record is damaged.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::disk::{Disk, write_whole};
use super::glean::glean;
use super::handover::{self, Origin};
use super::open::{self, OpenError};
use super::page::Pages;
use super::vault::Vault;
use super::{consent, demographics, outbox, row, schema, seal, user_codes, wal};
use crate::clock::Clock;
use crate::custody::Creditor;
use crate::limits;

/// Says that damage was found at work: the next start salvages.
const MARK: &str = "journal.damaged";

/// What a salvage came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// How the damage was found.
    pub why: String,
    /// Readings in the new journal.
    pub readings: u64,
    /// Of them, damaged: they are set aside when they would be sent.
    pub damaged: u64,
    /// The search in its damaged parts took too long and was ended: more may be in the file that is kept.
    pub cut_short: bool,
    /// The file that is kept.
    pub kept: String,
}

/// Leaves word that damage was found.
pub(super) fn mark(disk: &dyn Disk, folder: &Path) -> std::io::Result<()> {
    disk.create(&mark_in(folder))?;
    disk.sync_folder(folder)
}

pub(super) fn mark_in(folder: &Path) -> PathBuf {
    folder.join(MARK)
}

/// Whether there is word of damage.
pub(super) fn is_marked(disk: &dyn Disk, folder: &Path) -> bool {
    disk.exists(&mark_in(folder))
}

/// What stands behind damage in the WAL is to be read too: the WAL as it was is kept, and one that can be read takes its
/// place. From here on there is word of the damage, as it cannot be seen any more.
/// Answers whether it was so.
fn mend_wal(disk: &dyn Disk, folder: &Path, kept: &str) -> std::io::Result<bool> {
    let file = folder.join(open::FILE);
    if !wal::is_damaged(disk, &file)? {
        return Ok(false);
    }
    let at = wal_of(&file);
    let damaged = disk.read(&at)?;
    let Some(mended) = wal::mended(&damaged) else { return Ok(true) };
    disk.write(&wal_of(&folder.join(kept)), &damaged)?;
    mark(disk, folder)?;
    write_whole(disk, &at, &mended).map(|()| true)
}

/// Makes a new journal of what can be read, and puts it in the place of the damaged one.
pub(super) fn salvage(
    disk: &dyn Disk,
    vault: &Vault,
    creditors: &[Creditor],
    clock: &Clock,
    why: String,
) -> Result<Salvaged, OpenError> {
    let folder = vault.folder.as_path();
    let wrap = |source| OpenError::Folder { path: folder.into(), source: Arc::new(source) };
    tracing::error!(code = "WL-J014", reason = why, "The journal is damaged: it is salvaged.");
    let written_with = vault.written_with(disk)?;
    let (file, new) = (vault.file(), Origin::Salvage.unfinished(folder));
    let kept = handover::aside(disk, folder, Origin::Salvage, clock.now().wall_ms);
    remove_with_wal(disk, &new).map_err(wrap)?;
    let mended = mend_wal(disk, folder, &kept).map_err(wrap)?;
    // With its WAL, before SQLite sees it.
    let pages = Pages::of(disk, &file, written_with).map_err(wrap)?;
    // SQLite removes the WAL of an empty file.
    let is_empty = disk.length(&file).map_err(wrap)? == 0;
    disk.create(&new).map_err(wrap)?;
    let mut cut_short = false;
    let (readings, damaged) = {
        let target = open::connect(disk, &new, vault.key())?;
        open::settle_in(&target, 0, disk.synchronous())?;
        schema::migrate(&target, 0)?;
        target.execute_batch("BEGIN IMMEDIATE")?;
        let source = || if is_empty { None } else { open::connect(disk, &file, written_with).ok() };
        let torn = Copy { source: &source, target: &target }.all()?;
        if !torn.is_empty() {
            let (found, whole) = glean(&target, &pages, clock, clock.now().plus(limits::SALVAGE_SEARCH_MAX))?;
            tracing::info!(readings = found, whole, "Readings were found in parts of the file that nothing leads to.");
            cut_short = !whole;
        }
        if mended || torn.contains("consent") {
            // A withdrawal may be lost whose consent is not.
            consent::suspend(&target, clock.now().wall_ms, "gateway: the journal was damaged")?;
        }
        if mended || torn.contains("demographic") {
            // So may what took match fields back.
            demographics::forget_all(&target)?;
        }
        if mended || torn.contains("user_code") {
            // So may what took a code away, and that a scale refused one.
            user_codes::forget_all(&target)?;
        }
        settle_accounts(&target, creditors, torn.contains("alert_delivery"))?;
        let counts = count(&target)?;
        target.execute_batch("COMMIT")?;
        // Its WAL is removed next: all of it must be in the file.
        if !wal::write_back(&target)? {
            return Err(OpenError::InUse(vault.folder.clone()));
        }
        counts
    };
    for end in ["-wal", "-shm"] {
        let _ = disk.remove(&beside(&new, end));
    }
    handover::take_over(disk, folder, Origin::Salvage, &kept).map_err(wrap)?;
    forget_old(disk, folder);
    tracing::warn!(
        code = "WL-J014",
        readings,
        damaged,
        cut_short,
        kept,
        "The journal was salvaged; recording goes on."
    );
    Ok(Salvaged { why, readings, damaged, cut_short, kept })
}

/// A bounded number of damaged files is kept: the newest, each with its WAL.
fn forget_old(disk: &dyn Disk, folder: &Path) {
    let mut kept = disk.names(folder).unwrap_or_default();
    kept.retain(|name| name.starts_with(Origin::Salvage.aside()));
    kept.iter_mut().for_each(|name| name.truncate(name.strip_suffix("-wal").unwrap_or(name).len()));
    kept.sort_unstable();
    kept.dedup();
    let old = kept.len().saturating_sub(limits::DAMAGED_KEPT_MAX);
    for name in kept.iter().take(old) {
        let _ = remove_with_wal(disk, &folder.join(name));
    }
}

pub(super) fn wal_of(file: &Path) -> PathBuf {
    beside(file, "-wal")
}

/// A file that SQLite makes beside its own.
pub(super) fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

pub(super) fn remove_with_wal(disk: &dyn Disk, file: &Path) -> std::io::Result<()> {
    let index = beside(file, "-shm");
    for path in [index, wal_of(file), file.to_owned()] {
        if disk.exists(&path) {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

/// From one file to the other, as far as it can be read.
struct Copy<'a> {
    /// Opens it. A page that does not decrypt ends its connection: each search has one of its own.
    source: &'a dyn Fn() -> Option<Connection>,
    target: &'a Connection,
}

/// What is done with a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Take,
    /// After all others, so that it does not take the place of a good one.
    TakeLast,
    Leave,
}

impl Copy<'_> {
    /// Answers the tables that could not be read to their end.
    fn all(&self) -> rusqlite::Result<HashSet<String>> {
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
        let tables: Vec<String> =
            self.target.prepare(tables)?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        let Some(source) = (self.source)() else { return Ok(tables.into_iter().collect()) };
        let seals = self.columns(&source, "reading").iter().any(|c| c == "seal");
        let mut torn = HashSet::new();
        for table in tables {
            if !self.table(&table, seals)? {
                torn.insert(table);
            }
        }
        if !seals {
            let unsealed = "UPDATE totals SET unsealed_through = (SELECT coalesce(max(id), 0) FROM reading)";
            self.target.execute(unsealed, [])?;
            seal::all_but_readings(self.target)?;
        }
        Ok(torn)
    }

    /// Names of a table's columns, by values: a damaged name need not be text.
    fn columns(&self, conn: &Connection, table: &str) -> Vec<String> {
        let Ok(mut names) = conn.prepare("SELECT name FROM pragma_table_info(?1)") else { return Vec::new() };
        let Ok(names) = names.query_map([table], |r| r.get(0)) else { return Vec::new() };
        names.filter_map(Result::ok).collect()
    }

    /// Declared types of these columns.
    fn types(&self, table: &str, columns: &[String]) -> rusqlite::Result<Vec<String>> {
        let mut of = self.target.prepare("SELECT type FROM pragma_table_info(?1) WHERE name = ?2")?;
        columns.iter().map(|column| of.query_row([table, column], |r| r.get(0))).collect()
    }

    fn table(&self, table: &str, seals: bool) -> rusqlite::Result<bool> {
        let theirs = (self.source)().map_or_else(Vec::new, |source| self.columns(&source, table));
        let ours: Vec<String> = self.columns(self.target, table).into_iter().filter(|c| theirs.contains(c)).collect();
        if ours.is_empty() {
            return Ok(false);
        }
        let types = self.types(table, &ours)?;
        let marks = vec!["?"; ours.len()].join(", ");
        let verb = if table == "totals" { "REPLACE" } else { "IGNORE" };
        let insert = format!("INSERT OR {verb} INTO {table} ({}) VALUES ({marks})", ours.join(", "));
        let mut insert = self.target.prepare(&insert)?;
        let list = ours.iter().map(|c| format!("{table}.{c}")).collect::<Vec<_>>().join(", ");
        // After the columns to copy comes what is needed to judge a row.
        let (more, from) = match table {
            _ if !seals => (String::new(), table.to_owned()),
            "reading" => {
                (format!(", {}", row::COLUMNS), "reading LEFT JOIN device ON device.id = reading.device".into())
            }
            "settled" => (", destination, first_reading, last_reading, seal".into(), table.into()),
            "destination" => (", id, name, absent_from_reading, seal".into(), table.into()),
            _ => (String::new(), table.to_owned()),
        };
        let at = ours.len();
        let judge = |row: &Row<'_>| match table {
            "reading" | "alert_event" | "frame"
                if !row.get(0).is_ok_and(|id: i64| (1..limits::ROWS_MAX).contains(&id)) =>
            {
                Verdict::Leave
            }
            "reading" if seals && !row::is_intact(row, at) => Verdict::TakeLast,
            "settled" if seals && !seal::span_is_intact(row, at) => Verdict::Leave,
            "destination" if seals && !seal::destination_is_intact(row, at) => Verdict::Leave,
            _ => Verdict::Take,
        };
        let mut last = Vec::new();
        let mut take = |row: &Row<'_>| {
            let values = || (0..at).map(|i| row.get::<_, Value>(i)).collect::<rusqlite::Result<Vec<Value>>>();
            let verdict = judge(row);
            if verdict == Verdict::Leave {
                return Ok(());
            }
            // A text that is none cannot be copied.
            let Ok(values) = values() else { return Ok(()) };
            // A page of another table.
            if !values.iter().zip(&types).all(|(value, declared)| fits(value, declared)) {
                return Ok(());
            }
            match verdict {
                Verdict::TakeLast if last.len() < limits::SALVAGED_DAMAGED_MAX => last.push(values),
                Verdict::Take => drop(insert.execute(params_from_iter(values))?),
                _ => {}
            }
            Ok(())
        };
        let whole = self.rows(&format!("SELECT {list}{more} FROM {from}"), table, &mut take)?;
        for values in last {
            insert.execute(params_from_iter(values))?;
        }
        Ok(whole)
    }

    /// All rows that can be reached: forwards to the damage, and backwards to it. See `glean.rs` for what is between.
    fn rows(
        &self,
        select: &str,
        table: &str,
        take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<bool> {
        let Some(source) = (self.source)() else { return Ok(false) };
        let by_number = source.prepare(&format!("SELECT rowid FROM {table} LIMIT 0")).is_ok();
        let (key, back) = if by_number {
            (format!("{table}.rowid"), format!("{table}.rowid DESC"))
        } else {
            ("1, 2".into(), "1 DESC, 2 DESC".into())
        };
        if Self::scan(&source, &format!("{select} ORDER BY {key}"), take)? {
            return Ok(true);
        }
        if let Some(source) = (self.source)() {
            Self::scan(&source, &format!("{select} ORDER BY {back}"), take)?;
        }
        Ok(false)
    }

    /// Until the end or the damage. Answers whether it was the end.
    fn scan(
        source: &Connection,
        sql: &str,
        take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<bool> {
        let Ok(mut scan) = source.prepare(sql) else { return Ok(false) };
        let Ok(mut rows) = scan.query([]) else { return Ok(false) };
        loop {
            match rows.next() {
                Ok(Some(row)) => take(row)?,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }
}

pub(super) fn fits(value: &Value, declared: &str) -> bool {
    match value {
        Value::Null => true,
        Value::Integer(_) => declared == "INTEGER",
        Value::Text(_) => declared == "TEXT",
        Value::Blob(_) => declared == "BLOB",
        Value::Real(_) => false,
    }
}

/// Debts and counts of the new journal: what has lost its record is owed.
fn settle_accounts(conn: &Connection, creditors: &[Creditor], alerts_torn: bool) -> rusqlite::Result<()> {
    conn.execute("INSERT OR IGNORE INTO totals (one) VALUES (1)", [])?;
    for table in ["settled", "receipt", "rejected", "attempt", "alert_delivery"] {
        let orphans = format!("DELETE FROM {table} WHERE destination NOT IN (SELECT id FROM destination)");
        conn.execute(&orphans, [])?;
    }
    let known: HashSet<String> =
        conn.prepare("SELECT name FROM destination")?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    for creditor in creditors {
        let lost = !known.contains(&*creditor.name);
        if lost {
            conn.execute("INSERT INTO destination (name, configured) VALUES (?1, 1)", [&*creditor.name])?;
        }
        if creditor.alerts && (lost || alerts_torn) {
            let owe = "INSERT OR IGNORE INTO alert_delivery
                       SELECT destination.id, alert_event.id, alert_event.alert, 'waiting', 0, NULL, NULL, NULL
                       FROM destination, alert_event WHERE destination.name = ?1";
            conn.execute(owe, [&*creditor.name])?;
        }
    }
    // Numbers that were given once are not given again, whatever of them is left.
    let start = "INSERT INTO start (at_ms, first_reading, first_frame, closed_in_order)
                 SELECT 0, 1 + max((SELECT coalesce(max(id), 0) FROM reading), (SELECT coalesce(max(last_reading), 0) FROM custody
                   WHERE last_reading < ?1), (SELECT coalesce(max(reading), 0) FROM attempt WHERE reading < ?1)), 1, 0";
    conn.execute(start, [limits::ROWS_MAX])?;
    seal::destinations(conn)?;
    let destinations: Vec<i64> =
        conn.prepare("SELECT id FROM destination")?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    for destination in destinations {
        let waiting = outbox::count_owed(conn, destination)?;
        let counts = "UPDATE destination SET readings_waiting = ?2, alerts_settled_through = 0, alerts_waiting =
                      (SELECT count(*) FROM alert_delivery WHERE destination = ?1
                       AND state NOT IN ('delivered', 'rejected', 'superseded', 'discarded')) WHERE id = ?1";
        conn.execute(counts, params![destination, waiting])?;
    }
    conn.execute(
        "UPDATE totals SET readings_unassigned = (SELECT count(*) FROM reading WHERE patient IS NULL),
         readings_committed = max(readings_committed, (SELECT count(*) FROM reading))",
        [],
    )
    .map(drop)
}

/// Readings, and the damaged ones of them.
fn count(conn: &Connection) -> rusqlite::Result<(u64, u64)> {
    let sql = format!("SELECT {} FROM reading LEFT JOIN device ON device.id = reading.device", row::COLUMNS);
    let mut all = conn.prepare(&sql)?;
    let mut rows = all.query([])?;
    let (mut readings, mut damaged) = (0, 0);
    while let Some(row) = rows.next()? {
        readings += 1;
        damaged += u64::from(!row::is_intact(row, 0));
    }
    Ok((readings, damaged))
}
