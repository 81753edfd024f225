//! Factory reset: the keys are destroyed first, then everything in the folder is removed but the lock.
//!
//! Promises: once a key is gone nothing that was encrypted with it can be read, whatever a flash disk still holds.
//! Must never: begin while a gateway runs, or say destroyed of what is still there.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open::{self, OpenError};
use super::vault;

/// What was destroyed, and what that is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// Keys that were there.
    pub keys: Vec<PathBuf>,
    /// Something in the folder was not encrypted, now or once: the disk may still hold it.
    pub was_plain: bool,
}

/// Destroys the keys that are there, then what is in the folder.
pub fn destroy(folder: &Path, keys: &[PathBuf]) -> Result<Destroyed, OpenError> {
    let _lock = open::claim(folder)?;
    let wrap = |path: &Path, source: io::Error| OpenError::Folder { path: path.into(), source: Arc::new(source) };
    let was_plain = vault::was_plain(folder).map_err(|e| wrap(folder, e))?;
    let mut destroyed = Vec::new();
    for key in keys.iter().filter(|key| key.exists()) {
        shred(key).map_err(|e| wrap(key, e))?;
        destroyed.push(key.clone());
    }
    empty(folder).map_err(|e| wrap(folder, e))?;
    Ok(Destroyed { keys: destroyed, was_plain })
}

/// Overwrites and removes. A flash disk may keep the old octets for a while: nothing that runs here can prevent it.
fn shred(file: &Path) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut noise = vec![0; length];
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut noise);
    let mut open = File::options().write(true).open(file)?;
    open.write_all(&noise)?;
    open.sync_all()?;
    std::fs::remove_file(file)?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // It is held: whoever made another one could start meanwhile.
        if entry.file_name() == open::LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
