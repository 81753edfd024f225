//! The journal's folder, and the key to what is in it. SQLCipher encrypts each page (AES-256, HMAC-SHA-512) and the WAL.
//!
//! Promises: a key that is not the one in use is refused before anything is changed; what is damaged is told from what
//! another key wrote. Must never: show a key, or take a journal for damaged because the key is wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use ring::hmac;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use zeroize::Zeroizing;

use super::disk::{Disk, Machine, write_whole};
use super::open::{self, OpenError};
use super::page::Author;
use crate::config::JournalSettings;
use crate::fault::Explain;
use crate::secret::{self, SecretError};

/// Says that a journal was made here, and with which key: `plain`, or the ids of keys, one a line. Two: a change of keys
/// was interrupted.
const MADE: &str = "journal.made";
const PLAIN: &str = "plain";
/// Says that the journal was not encrypted from the beginning: the disk may hold old octets of it.
const WAS_PLAIN: &str = "journal.was-plain";
/// How every SQLite file begins that is not encrypted.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// 256 random bits. Redacts itself, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; 32]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why a key is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Name a file that the gateway's user can read, and nobody else.
    #[error(transparent)]
    File(#[from] SecretError),
    /// Make one with `wardline key new`.
    #[error("{0}: a key has 64 hexadecimal digits")]
    Form(PathBuf),
    /// The machine gives no random numbers.
    #[error("the machine gives no random numbers")]
    Random,
}

impl Explain for KeyError {
    fn code(&self) -> &'static str {
        match self {
            Self::File(_) => "WL-J052",
            Self::Form(_) => "WL-J053",
            Self::Random => "WL-J054",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::File(_) => "Name a file in `journal.key_file` that the gateway's user can read, and nobody else.",
            Self::Form(_) => "Make a key with `wardline key new`.",
            Self::Random => "Check the machine's random number source.",
        }
    }
}

impl Key {
    /// A new one.
    pub fn generate() -> Result<Self, KeyError> {
        let mut octets = Zeroizing::new([0; 32]);
        let random = ring::rand::SystemRandom::new();
        ring::rand::SecureRandom::fill(&random, &mut *octets).map_err(|_| KeyError::Random)?;
        Ok(Self(octets))
    }

    /// Of 64 hexadecimal digits.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let mut octets = Zeroizing::new([0; 32]);
        let (pairs, rest) = hex.as_chunks::<2>();
        if pairs.len() != octets.len() || !rest.is_empty() {
            return None;
        }
        let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
        for (octet, [high, low]) in octets.iter_mut().zip(pairs) {
            *octet = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(octets))
    }

    /// From a file that nobody else can read.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let held = secret::read(file)?;
        Self::parse(held.line()).ok_or_else(|| KeyError::Form(file.into()))
    }

    /// 64 hexadecimal digits, for whoever keeps it.
    pub fn reveal(&self) -> Zeroizing<String> {
        hex(&*self.0)
    }

    fn derive<const N: usize>(&self, purpose: &str) -> [u8; N] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0), purpose.as_bytes());
        let mut derived = [0; N];
        derived.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        derived
    }

    /// Which key it is: tells nothing about it.
    pub fn id(&self) -> String {
        hex(&self.derive::<8>("wardline journal id")).to_string()
    }

    pub(super) fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first octets of the file. Derived from the key, so that damage there costs nothing, and the file tells its key.
    pub(super) fn salt(&self) -> [u8; 16] {
        self.derive("wardline journal salt")
    }

    /// As SQLCipher takes it: key and salt, nothing to be derived at start.
    pub(super) fn spec(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("x'{}{}'", *self.reveal(), *hex(&self.salt())))
    }

    /// The first statement on a connection.
    pub(super) fn unlock(&self, conn: &Connection) -> rusqlite::Result<()> {
        // What goes wrong is said by us, with a code.
        conn.execute_batch(&Zeroizing::new(format!(
            "PRAGMA key = \"{}\"; PRAGMA cipher_log_level = NONE",
            *self.spec()
        )))
    }
}

fn hex(octets: &[u8]) -> Zeroizing<String> {
    let digits = octets.iter().flat_map(|o| [o >> 4, o & 15]).filter_map(|d| char::from_digit(u32::from(d), 16));
    Zeroizing::new(digits.collect())
}

/// Where a journal is, and its key. `None`: it is not encrypted.
#[derive(Clone, Debug)]
pub struct Vault {
    pub(super) folder: PathBuf,
    pub(super) key: Option<Key>,
}

impl Vault {
    /// Looks at nothing yet.
    pub fn new(folder: &Path, key: Option<Key>) -> Self {
        Self { folder: folder.into(), key }
    }

    /// Of a gateway's settings: reads its key.
    pub fn of(folder: &Path, settings: &JournalSettings) -> Result<Self, KeyError> {
        Ok(Self::new(folder, settings.key_file.as_deref().map(Key::read).transpose()?))
    }

    pub(super) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(open::FILE)
    }

    /// Where it says with which keys the journal was made.
    pub(super) fn mark(&self) -> PathBuf {
        self.folder.join(MADE)
    }

    /// Whether a journal was made here before: an empty one is damage then. A word that a power cut tore is none; a
    /// journal from before there were keys left an empty one.
    pub(super) fn is_made(&self, disk: &dyn Disk) -> bool {
        disk.exists(&self.mark()) && (self.key.is_none() || disk.read(&self.mark()).is_ok_and(|word| !word.is_empty()))
    }

    /// Leaves word with which keys the journal is made. Durable when it returns.
    pub(super) fn mark_made(&self, disk: &dyn Disk, keys: &[Option<&Key>]) -> std::io::Result<()> {
        let ids: Vec<_> = keys.iter().map(|key| key.map_or_else(|| PLAIN.into(), Key::id)).collect();
        if disk.read(&self.mark())? != ids.join("\n").as_bytes() || !disk.exists(&self.mark()) {
            write_whole(disk, &self.mark(), ids.join("\n").as_bytes())?;
        }
        Ok(())
    }

    /// Leaves word that the journal was not encrypted before. Durable when it returns.
    pub(super) fn note_plain(&self, disk: &dyn Disk) -> std::io::Result<()> {
        disk.create(&self.folder.join(WAS_PLAIN))?;
        disk.sync_folder(&self.folder)
    }

    /// The key that the file was written with: ours, or none. Refuses when it was another, or when that is not known.
    pub(super) fn written_with(&self, disk: &dyn Disk) -> Result<Option<&Key>, OpenError> {
        let wrap = |source| OpenError::Folder { path: self.folder.clone(), source: std::sync::Arc::new(source) };
        let head = disk.read_at(&self.file(), 0, MAGIC.len()).map_err(wrap)?;
        match self.key() {
            _ if head == MAGIC => return Ok(None),
            Some(key) if head == key.salt() => return Ok(Some(key)),
            _ => {}
        }
        // Its beginning is damaged, or it is another's: the pages tell. Where there are none, the word does.
        let word = String::from_utf8_lossy(&disk.read(&self.mark()).map_err(wrap)?).into_owned();
        let names = |id: &str| word.lines().any(|line| line == id);
        match (self.key(), Author::of(disk, &self.file(), self.key()).map_err(wrap)?) {
            (Some(key), Author::Key) => Ok(Some(key)),
            (_, Author::Nobody) if names(PLAIN) || self.key().is_none() && self.is_made(disk) && word.is_empty() => {
                Ok(None)
            }
            (Some(key), Author::Nobody) if names(&key.id()) => Ok(Some(key)),
            (_, Author::Plain) => Ok(None),
            // It was being made when the power went: nothing was acknowledged yet.
            (key, _) if !self.is_made(disk) && head.iter().all(|octet| *octet == 0) => Ok(key),
            (Some(key), _) => Err(OpenError::WrongKey(ids(&word, key))),
            (None, _) => Err(OpenError::NoKey),
        }
    }
}

/// Which keys are wanted, and which it is: a person has several files.
fn ids(word: &str, key: &Key) -> String {
    match word.lines().next() {
        Some(_) => format!(": {} is wanted, {} was given", word.lines().collect::<Vec<_>>().join(" or "), key.id()),
        None => format!(" than {}", key.id()),
    }
}

/// Files in the folder that are not encrypted: what was put aside before there was a key.
pub(super) fn plain_files(disk: &dyn Disk, folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = disk.names(folder)?;
    names.retain(|name| {
        let head =
            if name.ends_with(".sqlite3") { disk.read_at(&folder.join(name), 0, MAGIC.len()) } else { return false };
        head.is_ok_and(|head| head == MAGIC)
    });
    Ok(names)
}

/// Whether something in this folder is, or once was, not encrypted.
pub(super) fn was_plain(folder: &Path) -> std::io::Result<bool> {
    Ok(folder.join(WAS_PLAIN).exists() || !plain_files(&Machine, folder)?.is_empty())
}

/// Octets of a page. SQLCipher answers in text, SQLite with a number.
pub(super) fn page_bytes(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA page_size", [], |row| match row.get_ref(0)? {
        ValueRef::Text(text) => Ok(std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(0)),
        number => number.as_i64().map_err(Into::into),
    })
}

/// Which key a copy was written with: this one or none. `None`: another.
pub(super) fn key_of<'k>(copy: &Path, key: Option<&'k Key>) -> std::io::Result<Option<Option<&'k Key>>> {
    let head = Machine.read_at(copy, 0, MAGIC.len())?;
    Ok(match key {
        _ if head == MAGIC => Some(None),
        Some(key) if head == key.salt() => Some(Some(key)),
        _ => None,
    })
}

/// Without a key.
impl From<&Path> for Vault {
    fn from(folder: &Path) -> Self {
        Self::new(folder, None)
    }
}

impl From<&Vault> for Vault {
    fn from(vault: &Vault) -> Self {
        vault.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits_and_shows_itself_to_nobody() {
        let key = Key::generate().unwrap();
        assert_eq!(Key::parse(key.reveal().as_bytes()).unwrap(), key);
        assert_eq!(format!("{key:?}"), "Key(…)");
        assert!(!key.reveal().contains(&key.id()));
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert!(Key::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
