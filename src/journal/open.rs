//! Opening the journal's file: folder, lock, version, integrity, free space.
//!
//! Promises: one gateway at a time; nothing is written to a file that is foreign, newer, or damaged: see `salvage.rs`.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::disk::{Disk, own, private_file};
use super::vault::{self, Key, Vault};
use super::{consent, demographics, handover, rekey, salvage, schema, seal, user_codes, wal};
use crate::clock::Clock;
use crate::config::JournalSettings;
use crate::fault::Explain;
use crate::limits;

/// Name of the database in the journal's folder.
pub(super) const FILE: &str = "journal.sqlite3";
pub(super) const LOCK: &str = "journal.lock";
/// SQLite 3.51.3: earlier versions have the WAL-reset bug.
const SQLITE_MIN: i32 = 3_051_003;

/// Why the journal does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Make the folder usable.
    #[error("{path}: {source}")]
    Folder {
        /// Which folder or file.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// Stop the other one.
    #[error("another gateway uses the journal in {0}")]
    InUse(PathBuf),
    /// Build with a newer SQLite.
    #[error("SQLite {0} has a known bug that damages journals")]
    SqliteTooOld(&'static str),
    /// Use the newer gateway.
    #[error("the journal is of a newer version ({found}; this gateway knows {known})")]
    Newer {
        /// The file's version.
        found: usize,
        /// The newest version that this gateway knows.
        known: usize,
    },
    /// Name another folder.
    #[error("{FILE} is not a Wardline journal")]
    Foreign,
    /// Give the gateway the key that wrote it.
    #[error("the journal was encrypted with another key{0}")]
    WrongKey(String),
    /// Give the gateway the key that wrote it.
    #[error("the journal is encrypted, and there is no key")]
    NoKey,
    /// Keep the file, restore or start anew.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
    /// Free space.
    #[error("{free_mib} MiB of disk are free, {reserve_mib} MiB must be")]
    NoSpace {
        /// What there is.
        free_mib: u64,
        /// What must be.
        reserve_mib: u64,
    },
    /// Free space.
    #[error("writing the journal anew takes {need_mib} MiB of disk for a while, and {free_mib} MiB are free")]
    NoRoom {
        /// What there is.
        free_mib: u64,
        /// What must be.
        need_mib: u64,
    },
    /// Name the right folder.
    #[error("there is no journal in {0}")]
    NoJournal(PathBuf),
    /// See the cause.
    #[error("SQLite: {0}")]
    Sqlite(Arc<rusqlite::Error>),
}

impl Explain for OpenError {
    fn code(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "WL-J001",
            Self::InUse(_) => "WL-J002",
            Self::Newer { .. } => "WL-J003",
            Self::SqliteTooOld(_) => "WL-J004",
            Self::Foreign => "WL-J005",
            Self::Damaged(_) => "WL-J006",
            Self::NoSpace { .. } => "WL-J007",
            Self::Sqlite(_) => "WL-J008",
            Self::WrongKey(_) => "WL-J050",
            Self::NoKey => "WL-J051",
            Self::NoRoom { .. } => "WL-J055",
            Self::NoJournal(_) => "WL-J057",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "Give the gateway's user a folder of its own that it can write to.",
            Self::InUse(_) => "Stop the other gateway, or give this one a folder of its own.",
            Self::Newer { .. } => "Run the version that wrote it, or a newer one; a journal is never converted back.",
            Self::SqliteTooOld(_) => "Use a build with SQLite 3.51.3 or newer.",
            Self::Foreign => "Name the folder of a Wardline journal, or an empty one.",
            Self::Damaged(_) => "Look at the disk; keep the folder, move it aside, and start with an empty one.",
            Self::NoSpace { .. } => "Free disk space, or lower `journal.reserve_mib`.",
            Self::WrongKey(_) | Self::NoKey => {
                "Name the key that wrote it in `journal.key_file`; without it nobody can read what is there."
            }
            Self::NoRoom { .. } => "Free disk space and try again; the journal is as it was.",
            Self::NoJournal(_) => {
                "Check `gateway.state`; a new journal is made under the key that `journal.key_file` names."
            }
            Self::Sqlite(_) => "See the cause; check the disk and the folder's permissions.",
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(e: rusqlite::Error) -> Self {
        if is_damage(&e) { Self::Damaged(e.to_string()) } else { Self::Sqlite(Arc::new(e)) }
    }
}

/// Whether only damage of the file can lead to this.
pub(super) fn is_damage(e: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match e {
        E::SqliteFailure(failure, text) => {
            let malformed = |t: &String| ["no such table", "no such column", "malformed"].iter().any(|m| t.contains(m));
            matches!(
                failure.code,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation
            ) || failure.code == ErrorCode::Unknown && text.as_ref().is_some_and(malformed)
        }
        E::SqlInputError { msg, .. } => msg.contains("no such") || msg.contains("malformed"),
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::InvalidColumnType(..)
        | E::Utf8Error(..)
        | E::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// An open journal: the connection, and the lock that goes with it.
pub(super) struct Opened {
    pub(super) conn: Connection,
    pub(super) lock: File,
    /// Length of the WAL after the latest commit.
    pub(super) wal_pages: Arc<AtomicU32>,
}

/// Checks everything, then opens or creates. A journal that is not encrypted yet is, when there is a key.
pub(super) fn open(
    disk: &dyn Disk,
    vault: &Vault,
    settings: &JournalSettings,
    clock: &Clock,
) -> Result<Opened, OpenError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(OpenError::SqliteTooOld(rusqlite::version()));
    }
    let folder = vault.folder.as_path();
    let lock = claim(folder)?;
    let wrap = |source| OpenError::Folder { path: folder.into(), source: Arc::new(source) };
    // First of all: what was cut off may be what fills the disk.
    handover::finish(disk, folder).map_err(wrap)?;
    rekey::finish(disk, vault).map_err(wrap)?;
    let free = disk.free_bytes(folder).map_err(wrap)?;
    if free < settings.reserve_mib << 20 {
        return Err(OpenError::NoSpace { free_mib: free >> 20, reserve_mib: settings.reserve_mib });
    }
    let written_with = vault.written_with(disk)?;
    if salvage::is_marked(disk, folder) {
        return Err(OpenError::Damaged("it was found while it was in use".into()));
    }
    let file = vault.file();
    if wal::is_orphaned(disk, &file).map_err(wrap)? {
        return Err(OpenError::Damaged("the file is gone that its WAL is of".into()));
    }
    if wal::is_damaged(disk, &file).map_err(wrap)? {
        return Err(OpenError::Damaged("what was committed stands behind damage in the WAL".into()));
    }
    if written_with != vault.key() {
        tracing::warn!("The journal is not encrypted yet: it is now.");
        rekey::change(disk, vault, written_with, vault.key())?;
    }
    if vault.key().is_some() {
        let files = vault::plain_files(disk, folder).map_err(wrap)?;
        if !files.is_empty() {
            tracing::warn!(code = "WL-J056", ?files, "Files that were put aside before are not encrypted.");
        }
    }
    disk.create(&file).map_err(wrap)?;
    let mut conn = connect(disk, &file, vault.key())?;
    let version = schema::version(&conn)?;
    if version == 0 && vault.is_made(disk) {
        return Err(OpenError::Damaged("it is empty, and was not".into()));
    }
    settle_in(&conn, version, disk.synchronous())?;
    if version > 0 {
        check_integrity(&mut conn, clock)?;
    }
    schema::migrate(&conn, version)?;
    if !seal::debts_are_intact(&conn)? {
        return Err(OpenError::Damaged("a record of what is settled is not what was written".into()));
    }
    let restored = restored_in(folder);
    if disk.exists(&restored) {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        consent::suspend(&conn, clock.now().wall_ms, "gateway: a backup was put back")?;
        demographics::forget_all(&conn)?;
        user_codes::forget_all(&conn)?;
        conn.execute_batch("COMMIT")?;
        disk.remove(&restored).and_then(|()| disk.sync_folder(folder)).map_err(wrap)?;
    }
    if !vault.is_made(disk) {
        // When the file is there for sure.
        disk.sync_folder(folder).map_err(wrap)?;
    }
    vault.mark_made(disk, &[vault.key()]).map_err(wrap)?;
    let wal_pages = Arc::new(AtomicU32::new(0));
    let pages = wal_pages.clone();
    // SQLite's own checkpoints swallow a failed sync; the writer makes them, and does not.
    conn.wal_hook(Some(move |_: &mut Wal, n: i32| {
        pages.store(n.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(Opened { conn, lock, wal_pages })
}

/// Says that a backup was put back: consents that were withdrawn since would be in force again.
pub(super) fn restored_in(folder: &Path) -> PathBuf {
    folder.join("journal.restored")
}

/// The folder for us alone, and the lock in it.
pub(super) fn claim(folder: &Path) -> Result<File, OpenError> {
    let wrap = |source| OpenError::Folder { path: folder.into(), source: Arc::new(source) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrap)?;
    let mode = folder.metadata().map_err(wrap)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(wrap)?;
    }
    let lock = private_file(&folder.join(LOCK)).map_err(wrap)?;
    folder.metadata().and_then(|like| own(&folder.join(LOCK), &like)).map_err(wrap)?;
    // A gateway that ends, or a child that was just forked and holds what its parent held, is soon gone.
    for _ in 0..limits::JOURNAL_LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => std::thread::sleep(limits::JOURNAL_LOCK_PAUSE),
            Err(TryLockError::Error(e)) => return Err(wrap(e)),
        }
    }
    Err(OpenError::InUse(folder.into()))
}

#[allow(clippy::disallowed_methods, reason = "journal/ is the one home of connections")]
pub(super) fn connect(disk: &dyn Disk, file: &Path, key: Option<&Key>) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match disk.vfs() {
        None => Connection::open_with_flags(file, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(file, flags, vfs)?,
    };
    key.map_or(Ok(()), |key| key.unlock(&conn))?;
    conn.busy_timeout(limits::JOURNAL_BUSY_MAX)?;
    // The orderly end writes the WAL back; after a failed sync nothing may be tried again by closing.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(conn)
}

/// Pragmas of the writer. `auto_vacuum` takes effect in an empty file only.
pub(super) fn settle_in(conn: &Connection, version: usize, synchronous: &str) -> Result<(), OpenError> {
    if version == 0 {
        conn.execute_batch("PRAGMA auto_vacuum = INCREMENTAL;")?;
    }
    let mut switch = conn.prepare("PRAGMA journal_mode = WAL")?;
    let mut answer = switch.query([])?;
    let mode: String = answer.next()?.map_or(Ok(String::new()), |row| row.get(0))?;
    // To its end: the switch is committed after the row that tells of it.
    while answer.next()?.is_some() {}
    if mode != "wal" {
        return Err(OpenError::Damaged(format!("it cannot be switched to WAL, it stays {mode}")));
    }
    conn.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = OFF; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -{}; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {};",
        limits::JOURNAL_CACHE_KIB,
        limits::JOURNAL_WAL_KEPT_BYTES,
    ))?;
    Ok(())
}

/// `quick_check` within a bounded time: long after a crash, a glance otherwise. What was not reached in time counts as sound.
fn check_integrity(conn: &mut Connection, clock: &Clock) -> Result<(), OpenError> {
    let in_order =
        conn.query_row("SELECT closed_in_order FROM start ORDER BY id DESC LIMIT 1", [], |r| r.get(0)).unwrap_or(false);
    let limit = if in_order { limits::JOURNAL_GLANCE_MAX } else { limits::JOURNAL_CHECK_MAX };
    let (clock, start) = (clock.clone(), clock.now());
    conn.progress_handler(1_000, Some(move || clock.now().since(start) > limit))?;
    let verdict = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get::<_, String>(0));
    conn.progress_handler(0, None::<fn() -> bool>)?;
    match verdict {
        Ok(text) if text == "ok" => Ok(()),
        Ok(text) => Err(OpenError::Damaged(text)),
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
