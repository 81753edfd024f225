//! The key's file, the new key beside it, and the public halves for the centre.
//!
//! Promises: a private key is made in a file of mode 0600 and never written over; the new one takes the old one's place in
//! one step, and only when it is told to. Must never: publish a private half.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::key::{Alg, Key};
use super::trouble::AuthTrouble;
use crate::clock::Stamp;
use crate::secret;

/// The keys of one client: the one that is used, and the one that shall be.
#[derive(Debug)]
pub struct Keys {
    file: PathBuf,
    /// In use.
    pub current: Key,
    /// Published, and not yet accepted.
    pub new: Option<New>,
}

/// A key that shall take the other's place.
#[derive(Debug)]
pub struct New {
    /// It.
    pub key: Key,
    /// When its file was written, milliseconds since 1970.
    made_ms: i64,
}

impl New {
    /// How long the centre has had time to fetch it.
    pub fn age(&self, now: Stamp) -> Duration {
        Duration::from_millis(u64::try_from(now.wall_ms.saturating_sub(self.made_ms)).unwrap_or(0))
    }
}

/// Where the new key waits: beside the other.
pub fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn said(file: &Path, why: impl std::fmt::Display) -> AuthTrouble {
    AuthTrouble::Key(format!("{}: {why}", file.display()))
}

fn key(file: &Path) -> Result<Key, AuthTrouble> {
    let pem = secret::read(file).map_err(|e| AuthTrouble::Key(e.to_string()))?;
    Key::from_pem(pem.reveal()).map_err(|e| said(file, e))
}

impl Keys {
    /// As the files are now.
    ///
    /// # Errors
    /// When the key in use cannot be used. A new one that cannot is said in the log.
    pub fn read(file: &Path) -> Result<Self, AuthTrouble> {
        let current = key(file)?;
        let beside = beside(file);
        let new = match std::fs::metadata(&beside) {
            Err(_) => None,
            Ok(meta) => match key(&beside) {
                Ok(key) => Some(New { key, made_ms: meta.mtime().saturating_mul(1_000) }),
                Err(e) => {
                    tracing::warn!(why = %e, "the new key is left alone");
                    None
                }
            },
        };
        Ok(Self { file: file.into(), current, new })
    }

    /// The public halves of both.
    pub fn public(&self) -> String {
        let keys: Vec<_> = [Some(&self.current), self.new.as_ref().map(|n| &n.key)].into_iter().flatten().collect();
        let set = json!({ "keys": keys.iter().map(|k| k.jwk()).collect::<Vec<_>>() });
        format!("{set:#}\n")
    }

    /// The new key takes the old one's place, which is gone then.
    pub fn promote(&self) -> std::io::Result<()> {
        std::fs::rename(beside(&self.file), &self.file)?;
        sync_folder(&self.file)
    }

    /// Writes the public halves into a file that everybody may read, if they are not there already.
    pub fn publish(&self, to: &Path) -> std::io::Result<()> {
        publish(to, &self.public())
    }
}

/// Makes a key in a file that must not be there yet.
///
/// # Errors
/// When the file is there, or cannot be written.
pub fn make(file: &Path, alg: Alg) -> Result<Key, AuthTrouble> {
    let pem = Key::make(alg).map_err(|e| said(file, e))?;
    let made = Key::from_pem(&pem).map_err(|e| said(file, e))?;
    let write = || -> std::io::Result<()> {
        let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        opened.write_all(&pem)?;
        opened.sync_all()?;
        // Made by root for the gateway: it belongs to whom the folder belongs.
        if let Ok(folder) = std::fs::metadata(folder(file))
            && folder.uid() != opened.metadata()?.uid()
        {
            let _ = chown(file, Some(folder.uid()), Some(folder.gid()));
        }
        sync_folder(file)
    };
    write().map_err(|e| said(file, e))?;
    Ok(made)
}

/// Writes public halves, in one step.
pub fn publish(to: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let mut file = File::create(&part)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.sync_all()?;
    std::fs::rename(&part, to)?;
    sync_folder(to)
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(file: &Path) -> std::io::Result<()> {
    File::open(folder(file))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        let made = make(&file, Alg::Es384).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = make(&file, Alg::Es384).unwrap_err();
        assert!(again.to_string().contains("key.pem"), "{again}");
        assert_eq!(Keys::read(&file).unwrap().current.kid(), made.kid());
    }

    #[test]
    fn a_new_key_is_published_beside_the_old_one_and_takes_its_place_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        let old = make(&file, Alg::Rs384).unwrap();
        let new = make(&beside(&file), Alg::Es384).unwrap();
        let keys = Keys::read(&file).unwrap();
        let public = folder.path().join("jwks.json");
        keys.publish(&public).unwrap();
        let text = std::fs::read_to_string(&public).unwrap();
        assert!(text.contains(old.kid()) && text.contains(new.kid()) && !text.contains("\"d\""), "{text}");
        assert_eq!(std::fs::metadata(&public).unwrap().permissions().mode() & 0o777, 0o644);
        keys.promote().unwrap();
        let keys = Keys::read(&file).unwrap();
        assert_eq!((keys.current.kid(), keys.new.is_none()), (new.kid(), true));
        assert!(!keys.public().contains(old.kid()));
    }

    #[test]
    fn a_new_key_that_is_none_leaves_the_old_one_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        assert!(matches!(Keys::read(&file), Err(AuthTrouble::Key(_))));
        let old = make(&file, Alg::Es384).unwrap();
        std::fs::write(beside(&file), "not a key").unwrap();
        std::fs::set_permissions(beside(&file), std::fs::Permissions::from_mode(0o600)).unwrap();
        let keys = Keys::read(&file).unwrap();
        assert_eq!((keys.current.kid(), keys.new.is_none()), (old.kid(), true));
    }
}
