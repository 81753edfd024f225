//! Copies of the journal: taken while the gateway runs, checked before anybody relies on them, and put back.
//!
//! Promises: a copy is one committed state, checked whole; a restore changes nothing until the copy is proved, and moves
//! what was there aside. Must never: put back a copy that is damaged, foreign or newer, or overwrite a journal.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Machine};
use super::handover::{self, Origin};
use super::open::{self, OpenError};
use super::reader::{self, ReadError, Reader};
use super::vault::{self, Key, Vault};
use super::{rekey, salvage, schema, verify};

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Readings.
    pub readings: u64,
    /// When the newest of them was taken in.
    pub newest_ms: Option<i64>,
    /// Octets of the file.
    pub bytes: u64,
    /// Seal of the newest entry of the chain of custody, hex.
    pub head: Option<String>,
}

/// Why a copy cannot be put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Take another copy, or make the folder usable.
    #[error(transparent)]
    Unusable(#[from] OpenError),
    /// The copy is not what was acknowledged.
    #[error("the copy does not hold what was acknowledged: {0}")]
    NotIntact(String),
    /// Say that it may be put aside.
    #[error("there is a journal, {0}")]
    InTheWay(String),
    /// See the cause.
    #[error("{0}: {1}")]
    Disk(PathBuf, io::Error),
}

impl crate::fault::Explain for RestoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unusable(e) => e.code(),
            Self::NotIntact(_) => "WL-J041",
            Self::InTheWay(_) => "WL-J042",
            Self::Disk(..) => "WL-J001",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Unusable(e) => e.remedy(),
            Self::NotIntact(_) => "Use another copy; keep this one for inspection.",
            Self::InTheWay(_) => "Let the gateway deliver them, or put the journal aside with --replace.",
            Self::Disk(..) => "Give the gateway's user a folder of its own that it can write to.",
        }
    }
}

impl Reader {
    /// Writes a copy to a new file, and checks it.
    pub fn copy_to(&self, file: &Path) -> Result<Copy, ReadError> {
        let path = file.to_str().ok_or_else(|| ReadError::new("its path is not text"))?;
        // For its owner alone from the first octet on; SQLite fills an empty file.
        let made = File::options().write(true).create_new(true).mode(0o600).open(file);
        made.map_err(|e| ReadError::new(&e.to_string()))?;
        self.with(|conn| conn.execute("VACUUM INTO ?1", [path]).map(drop))?;
        let synced = File::open(file).and_then(|f| f.sync_all());
        synced.map_err(|e| ReadError::new(&e.to_string()))?;
        check(file, self.key()).map_err(|e| ReadError::new(&e.to_string()))
    }
}

/// Opens a copy with its key, reads every page and follows the chain.
pub fn check(file: &Path, key: Option<&Key>) -> Result<Copy, RestoreError> {
    let conn = reader::connect(file, key).map_err(OpenError::from)?;
    schema::version(&conn)?;
    let found = (|| {
        let verdict: String = conn.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
        let newest_ms = conn.query_row("SELECT max(committed_ms) FROM reading", [], |r| r.get(0))?;
        Ok::<_, rusqlite::Error>((verdict, newest_ms, verify::verify(&conn)?))
    })();
    let (verdict, newest_ms, verified) = found.map_err(OpenError::from)?;
    if verdict != "ok" {
        return Err(RestoreError::NotIntact(verdict));
    }
    if let Some(fault) = verified.faults.first() {
        return Err(RestoreError::NotIntact(fault.clone()));
    }
    let bytes = file.metadata().map_err(|e| RestoreError::Disk(file.into(), e))?.len();
    Ok(Copy { readings: verified.readings, newest_ms, bytes, head: verified.head })
}

/// Puts a copy back into a vault whose gateway does not run: under the vault's key, whatever its own (`key`) was.
/// `replace`: a journal that is there and owes is put aside. Answers what the copy holds, and where the journal is that
/// was there.
pub fn restore(
    copy: &Path,
    key: Option<&Key>,
    vault: impl Into<Vault>,
    replace: bool,
    now_ms: i64,
) -> Result<(Copy, Option<PathBuf>), RestoreError> {
    restore_on(&Machine, copy, key, vault, replace, now_ms)
}

/// The same on another disk than the machine's, where the copy is.
#[doc(hidden)]
pub fn restore_on(
    to: &dyn Disk,
    copy: &Path,
    key: Option<&Key>,
    vault: impl Into<Vault>,
    replace: bool,
    now_ms: i64,
) -> Result<(Copy, Option<PathBuf>), RestoreError> {
    let vault = &vault.into();
    let folder = vault.folder.as_path();
    let wrong = || OpenError::WrongKey(" than this one".into());
    let key = vault::key_of(copy, key).map_err(|e| RestoreError::Disk(copy.into(), e))?.ok_or_else(wrong)?;
    let found = check(copy, key)?;
    // Held to the end: no gateway starts meanwhile.
    let _lock = open::claim(folder)?;
    let disk = |e| RestoreError::Disk(folder.into(), e);
    // What was cut off is ended first: its journal is one that is there.
    handover::finish(to, folder).and_then(|()| rekey::finish(to, vault)).map_err(disk)?;
    let log = salvage::wal_of(&vault.file());
    let is_there = to.exists(&vault.file()) || to.length(&log).map_err(disk)? > 0;
    if is_there && !replace {
        let owes = match Reader::new(vault).custody() {
            Ok(custody) => format!("with {} readings that are owed", custody.waiting),
            Err(_) => "which cannot be read: what it owes is not known".into(),
        };
        return Err(RestoreError::InTheWay(owes));
    }
    let new = Origin::Restore.unfinished(folder);
    let alone = Machine.length(&salvage::wal_of(copy)).is_ok_and(|octets| octets == 0);
    let written = if key == vault.key() && alone {
        to.take_in(copy, &new).map_err(disk)
    } else {
        let export = || rekey::export(to, (copy, key), (&new, vault.key()));
        rekey::has_room(to, folder, copy).and_then(|()| export()).map_err(RestoreError::from)
    };
    if let Err(e) = written {
        let _ = salvage::remove_with_wal(to, &new);
        return Err(e);
    }
    // What was withdrawn since is not in the copy: see `open.rs`.
    to.create(&open::restored_in(folder)).and_then(|()| to.sync_folder(folder)).map_err(disk)?;
    let aside = handover::aside(to, folder, Origin::Restore, now_ms);
    handover::take_over(to, folder, Origin::Restore, &aside).map_err(disk)?;
    vault.mark_made(to, &[vault.key()]).map_err(disk)?;
    Ok((found, is_there.then(|| folder.join(aside))))
}

impl From<rusqlite::Error> for RestoreError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Unusable(OpenError::Sqlite(Arc::new(e)))
    }
}
