//! Another key for the journal: everything is written anew under it, proved, and put in the place of the old file.
//!
//! Promises: at any moment of it either the old file or a finished new one is there, also after a power cut.
//! Must never: leave a moment in which neither key opens what is there, or keep the old file afterwards.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use zeroize::Zeroizing;

use super::disk::{Disk, Machine, own};
use super::open::{self, OpenError};
use super::salvage::{beside, remove_with_wal, wal_of};
use super::vault::{Key, Vault};
use super::{handover, salvage, schema, wal};

/// The new file while it is made.
const NEW: &str = "rekeyed.sqlite3";
/// The old file while it is put away.
const OLD: &str = "rekeyed-from.sqlite3";

/// Ends what a change that was interrupted has begun. Nothing to do most of the time.
pub(super) fn finish(disk: &dyn Disk, vault: &Vault) -> std::io::Result<()> {
    let (new, old) = (vault.folder.join(NEW), vault.folder.join(OLD));
    if disk.exists(&new) && disk.exists(&vault.file()) {
        // It was not finished: made anew.
        remove_with_wal(disk, &new)?;
    } else if disk.exists(&new) {
        // The WAL is of the old file, and all of it is in the new one.
        if disk.exists(&wal_of(&vault.file())) {
            disk.remove(&wal_of(&vault.file()))?;
            disk.sync_folder(&vault.folder)?;
        }
        disk.rename(&new, &vault.file())?;
        disk.sync_folder(&vault.folder)?;
    }
    remove_with_wal(disk, &old)
}

/// Another key for a journal whose gateway does not run.
pub fn rotate(vault: &Vault, to: &Key) -> Result<(), OpenError> {
    if !vault.folder.is_dir() {
        return Err(OpenError::NoJournal(vault.folder.clone()));
    }
    let _lock = open::claim(&vault.folder)?;
    let wrap = |source| OpenError::Folder { path: vault.folder.clone(), source: Arc::new(source) };
    handover::finish(&Machine, &vault.folder).map_err(wrap)?;
    finish(&Machine, vault).map_err(wrap)?;
    if is_empty(&Machine, vault).map_err(wrap)? {
        return Err(OpenError::NoJournal(vault.folder.clone()));
    }
    // What an interrupted change has ended already is not done again.
    if Vault::new(&vault.folder, Some(to.clone())).written_with(&Machine).is_ok_and(|key| key == Some(to)) {
        vault.mark_made(&Machine, &[Some(to)]).map_err(wrap)?;
    } else {
        let from = vault.written_with(&Machine)?;
        change(&Machine, vault, from, Some(to))?;
    }
    let like = vault.folder.metadata().map_err(wrap)?;
    [vault.file(), vault.mark()].iter().try_for_each(|file| own(file, &like)).map_err(wrap)
}

/// Whether there is nothing to be written anew.
fn is_empty(disk: &dyn Disk, vault: &Vault) -> std::io::Result<bool> {
    Ok(disk.length(&vault.file())? == 0 && disk.length(&wal_of(&vault.file()))? == 0)
}

/// The new file and its WAL are each as large as the old one, and a little larger: each page carries its proof.
pub(super) fn has_room(disk: &dyn Disk, folder: &Path, file: &Path) -> Result<(), OpenError> {
    let wrap = |source| OpenError::Folder { path: folder.into(), source: Arc::new(source) };
    let octets = disk.length(file).map_err(wrap)? + disk.length(&wal_of(file)).map_err(wrap)?;
    let (need, free) = (octets.saturating_mul(9) / 4, disk.free_bytes(folder).map_err(wrap)?);
    if free < need {
        return Err(OpenError::NoRoom { free_mib: free >> 20, need_mib: (need >> 20) + 1 });
    }
    Ok(())
}

/// Writes the journal anew under another key. Its owner holds the lock.
pub(super) fn change(disk: &dyn Disk, vault: &Vault, from: Option<&Key>, to: Option<&Key>) -> Result<(), OpenError> {
    let wrap = |source| OpenError::Folder { path: vault.folder.clone(), source: Arc::new(source) };
    let (file, new, old) = (vault.file(), vault.folder.join(NEW), vault.folder.join(OLD));
    if is_empty(disk, vault).map_err(wrap)? {
        return Ok(());
    }
    // SQLite would drop what stands behind damage, and the old files would be gone.
    let is_damaged = salvage::is_marked(disk, &vault.folder)
        || wal::is_orphaned(disk, &file).map_err(wrap)?
        || wal::is_damaged(disk, &file).map_err(wrap)?;
    if is_damaged {
        return Err(OpenError::Damaged("start the gateway once, which salvages it; then change the key".into()));
    }
    remove_with_wal(disk, &new).map_err(wrap)?;
    has_room(disk, &vault.folder, &file)?;
    if from.is_none() {
        vault.note_plain(disk).map_err(wrap)?;
    }
    vault.mark_made(disk, &[from, to]).map_err(wrap)?;
    if let Err(e) = export(disk, (&file, from), (&new, to)) {
        // The next start must not find half a journal.
        let _ = remove_with_wal(disk, &new);
        return Err(e);
    }
    disk.sync_folder(&vault.folder).map_err(wrap)?;
    disk.rename(&file, &old).map_err(wrap)?;
    disk.sync_folder(&vault.folder).map_err(wrap)?;
    finish(disk, vault).map_err(wrap)?;
    vault.mark_made(disk, &[to]).map_err(wrap)
}

/// Everything of one file into a new one under its own key, one committed state; proved by counting, and synced.
pub(super) fn export(
    disk: &dyn Disk,
    (file, from): (&Path, Option<&Key>),
    (new, to): (&Path, Option<&Key>),
) -> Result<(), OpenError> {
    let wrap = |source| OpenError::Folder { path: new.into(), source: Arc::new(source) };
    {
        let source = open::connect(disk, file, from)?;
        // Also tells whether it opens.
        let version = schema::version(&source)?;
        if from.is_none() {
            // Nothing proves its pages, and the old file goes.
            let verdict: String = source.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
            if verdict != "ok" {
                return Err(OpenError::Damaged(verdict));
            }
        }
        drop(source);
        disk.create(new).map_err(wrap)?;
        let target = open::connect(disk, new, to)?;
        open::settle_in(&target, 0, disk.synchronous())?;
        attach(&target, file, from)?;
        target.execute_batch("BEGIN IMMEDIATE")?;
        target.query_row("SELECT sqlcipher_export('main', 'old')", [], |_| Ok(()))?;
        target.execute_batch(&format!(
            "PRAGMA application_id = {}; PRAGMA user_version = {version}; COMMIT",
            schema::APPLICATION_ID
        ))?;
        compare(&target)?;
        target.execute_batch("DETACH old")?;
        // Its WAL is removed next: all of it must be in the file.
        if !wal::write_back(&target)? {
            return Err(OpenError::InUse(new.into()));
        }
    }
    for beside in ["-wal", "-shm"].map(|end| beside(new, end)) {
        if disk.exists(&beside) {
            disk.remove(&beside).map_err(wrap)?;
        }
    }
    Ok(())
}

fn attach(conn: &Connection, file: &Path, key: Option<&Key>) -> Result<(), OpenError> {
    let path = file.to_str().ok_or_else(|| OpenError::Damaged("its path is not text".into()))?;
    let spec = key.map_or_else(|| Zeroizing::new(String::new()), Key::spec);
    conn.execute("ATTACH DATABASE ?1 AS old KEY ?2", [path, &spec])?;
    Ok(())
}

/// Each table holds as many rows as the old one.
fn compare(conn: &Connection) -> Result<(), OpenError> {
    let tables = "SELECT name FROM old.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let tables: Vec<String> = conn.prepare(tables)?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    for table in tables {
        let same = format!("SELECT (SELECT count(*) FROM main.{table}) = (SELECT count(*) FROM old.{table})");
        if !conn.query_row(&same, [], |r| r.get::<_, bool>(0))? {
            return Err(OpenError::Damaged(format!("{table} was not read whole")));
        }
    }
    Ok(())
}
