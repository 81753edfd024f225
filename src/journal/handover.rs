//! A new journal takes the place of the one that is there: what a salvage made, or a copy that is put back.
//!
//! Promises: at any moment of it, also after a power cut, the files that were there or a finished new one is found, and
//! the next start ends what was begun. Must never: part a file from its WAL, or take a file for finished that is not.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::open;
use super::salvage::{self, beside, remove_with_wal, wal_of};

const ENDING: &str = ".sqlite3";

/// Where the new one is from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Salvage,
    Restore,
}

impl Origin {
    /// The new file while it is made.
    pub(super) fn unfinished(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::Salvage => "salvaging.sqlite3",
            Self::Restore => "restoring.sqlite3",
        })
    }

    /// The new file when it is finished: this, when that was, and the ending.
    fn finished(self) -> &'static str {
        match self {
            Self::Salvage => "salvaged-",
            Self::Restore => "restored-",
        }
    }

    /// What was there before: this, milliseconds since 1970, and the ending.
    pub(super) fn aside(self) -> &'static str {
        match self {
            Self::Salvage => "damaged-",
            Self::Restore => "aside-",
        }
    }
}

/// The name under which what is there will be kept: the time, or the next that is not taken.
pub(super) fn aside(disk: &dyn Disk, folder: &Path, origin: Origin, now_ms: i64) -> String {
    let name = |ms| format!("{}{ms}{ENDING}", origin.aside());
    let taken = |ms: &i64| [folder.join(name(*ms)), wal_of(&folder.join(name(*ms)))].iter().any(|f| disk.exists(f));
    name((now_ms..).find(|ms| !taken(ms)).unwrap_or(now_ms))
}

/// Puts the new file, which is whole and synced, in the place of what is there; that is kept as `aside`.
pub(super) fn take_over(disk: &dyn Disk, folder: &Path, origin: Origin, aside: &str) -> io::Result<()> {
    let when = aside.strip_prefix(origin.aside()).unwrap_or(aside);
    let new = folder.join(format!("{}{when}", origin.finished()));
    disk.sync_folder(folder)?;
    disk.rename(&origin.unfinished(folder), &new)?;
    disk.sync_folder(folder)?;
    put_in_place(disk, folder, &new, aside)
}

/// Ends what was interrupted. Nothing to do most of the time.
pub(super) fn finish(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    for origin in [Origin::Salvage, Origin::Restore] {
        // It was not finished: made anew.
        remove_with_wal(disk, &origin.unfinished(folder))?;
        for name in disk.names(folder)? {
            let when = name.strip_prefix(origin.finished()).filter(|when| when.ends_with(ENDING));
            if let Some(when) = when {
                put_in_place(disk, folder, &folder.join(&name), &format!("{}{when}", origin.aside()))?;
            }
        }
    }
    Ok(())
}

/// Each step is durable before the next.
fn put_in_place(disk: &dyn Disk, folder: &Path, new: &Path, aside: &str) -> io::Result<()> {
    let (file, aside) = (folder.join(open::FILE), folder.join(aside));
    for end in ["", "-wal", "-journal"] {
        let (from, to) = (beside(&file, end), beside(&aside, end));
        match disk.exists(&from) {
            // The WAL is the one that was mended; it is kept as it was.
            true if disk.exists(&to) => disk.remove(&from)?,
            true => disk.rename(&from, &to)?,
            false => continue,
        }
        disk.sync_folder(folder)?;
    }
    for of_before in [beside(&file, "-shm"), salvage::mark_in(folder)] {
        if disk.exists(&of_before) {
            disk.remove(&of_before)?;
        }
    }
    disk.sync_folder(folder)?;
    disk.rename(new, &file)?;
    disk.sync_folder(folder)
}
