//! Pages of the file as they lie on the disk, read without SQLite: for a salvage, which wants each page that is whole
//! whatever became of the others.
//!
//! SQLCipher 4: AES-256-CBC, then 16 octets of IV and an HMAC-SHA-512 over both and the page's number.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use ring::{hmac, pbkdf2};
use zeroize::Zeroizing;

use super::disk::Disk;
use super::salvage::wal_of;
use super::vault::Key;
use super::wal;
use crate::limits;

/// Octets of a page: SQLite's default, which the journal never changes.
pub(super) const PAGE: usize = 4_096;
const IV: usize = 16;
const HMAC: usize = 64;
/// Of page 1, in place of the file's magic.
const SALT: usize = 16;
/// First octets of SQLite's pages: trees, the pointer map (its first entry), and the numbers of the next page in chains.
const BEGINS: [u8; 8] = [0, 1, 2, 3, 4, 5, 10, 13];
/// SQLCipher derives the key of the HMAC in so many rounds from its own key.
const ROUNDS: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// How the pages are encrypted.
pub(super) struct Cipher {
    key: Zeroizing<[u8; 32]>,
    hmac: hmac::Key,
}

impl Cipher {
    pub(super) fn new(key: &Key) -> Self {
        let salt = key.salt().map(|octet| octet ^ 0x3A);
        let mut derived = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ROUNDS, &salt, key.octets(), &mut *derived);
        Self { key: Zeroizing::new(*key.octets()), hmac: hmac::Key::new(hmac::HMAC_SHA512, &*derived) }
    }

    /// `None`: it is not what was written as this page.
    fn open(&self, number: u32, page: &[u8]) -> Option<Vec<u8>> {
        let start = if number == 1 { SALT } else { 0 };
        let (sealed, tag) = page.split_at_checked(page.len().checked_sub(HMAC)?)?;
        let sealed = sealed.get(start..)?;
        let mut signed = sealed.to_vec();
        signed.extend_from_slice(&number.to_le_bytes());
        hmac::verify(&self.hmac, &signed, tag).ok()?;
        let (text, iv) = sealed.split_at_checked(sealed.len().checked_sub(IV)?)?;
        let mut decrypt = cbc::Decryptor::<Aes256>::new((&*self.key).into(), &<[u8; IV]>::try_from(iv).ok()?.into());
        let mut plain = vec![0; start];
        for block in text.as_chunks::<IV>().0 {
            let mut block = (*block).into();
            decrypt.decrypt_block(&mut block);
            plain.extend_from_slice(&block);
        }
        Some(plain)
    }
}

/// Who wrote what is there, as the pages tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// The key: a page authenticates.
    Key,
    /// Somebody without a key.
    Plain,
    /// There is no page.
    Nobody,
    /// Another key.
    Other,
}

impl Author {
    pub(super) fn of(disk: &dyn Disk, file: &Path, key: Option<&Key>) -> std::io::Result<Self> {
        let pages = Pages::of(disk, file, key)?;
        if key.is_some() && pages.sample().any(|number| pages.get(number).is_some()) {
            return Ok(Self::Key);
        }
        // One in thirty pages of another key begins as if it had none. The first page of a file that was just made may be
        // torn: it tells nothing.
        let sample = pages.sample().filter(|number| *number > 1).filter_map(|number| pages.raw(number));
        let (mut looked, mut plain) = (0, 0);
        for page in sample.filter(|page| page.iter().any(|octet| *octet != 0)) {
            looked += 1;
            plain += u32::from(page.first().is_some_and(|first| BEGINS.contains(first)));
        }
        Ok(match looked {
            0 => Self::Nobody,
            _ if 2 * plain > looked => Self::Plain,
            _ => Self::Other,
        })
    }
}

/// The pages of a journal: those of the WAL before those of the file.
pub(super) struct Pages<'a> {
    disk: &'a dyn Disk,
    file: &'a Path,
    cipher: Option<Cipher>,
    wal: HashMap<u32, Vec<u8>>,
    /// How many the file has.
    in_file: u32,
    /// How many the database has, as its WAL tells: behind them are pages that it gave up. Without a WAL the file was cut.
    length: Option<u32>,
}

impl<'a> Pages<'a> {
    pub(super) fn of(disk: &'a dyn Disk, file: &'a Path, key: Option<&Key>) -> std::io::Result<Self> {
        let (wal, length) = wal::pages(&disk.read(&wal_of(file))?);
        let in_file = u32::try_from(disk.length(file)? / PAGE as u64).unwrap_or(u32::MAX);
        Ok(Self { disk, file, cipher: key.map(Cipher::new), wal, in_file, length })
    }

    /// The numbers of all pages that there are of the database, but for the first.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        let mut more: Vec<_> = self.wal.keys().copied().filter(|number| *number > self.in_file).collect();
        more.sort_unstable();
        let length = self.length.unwrap_or(u32::MAX);
        (2..=self.in_file).chain(more).filter(move |number| *number <= length)
    }

    /// All of the WAL, and a bounded number from all over the file.
    fn sample(&self) -> impl Iterator<Item = u32> {
        let step = usize::try_from(self.in_file).unwrap_or(usize::MAX) / limits::PAGES_LOOKED_AT + 1;
        self.wal.keys().copied().chain((1..=self.in_file).step_by(step))
    }

    /// Whether the page was written since the WAL began.
    pub(super) fn is_in_wal(&self, number: u32) -> bool {
        self.wal.contains_key(&number)
    }

    /// Whether a page that is changed is told from one that was written.
    pub(super) fn are_sealed(&self) -> bool {
        self.cipher.is_some()
    }

    /// As it lies on the disk. `None`: it is not there.
    fn raw(&self, number: u32) -> Option<Vec<u8>> {
        if let Some(page) = self.wal.get(&number) {
            return Some(page.clone());
        }
        let at = u64::from(number.checked_sub(1)?) * PAGE as u64;
        self.disk.read_at(self.file, at, PAGE).ok().filter(|page| page.len() == PAGE)
    }

    /// What SQLite may use of the page. `None`: it is not there, or not what was written.
    pub(super) fn get(&self, number: u32) -> Option<Vec<u8>> {
        let page = self.raw(number)?;
        match &self.cipher {
            Some(cipher) => cipher.open(number, &page),
            None => Some(page),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::Machine;
    use crate::journal::wal::tests::wal;

    /// What the database gave up is of rows that are gone.
    #[test]
    fn pages_behind_the_end_of_the_database_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, [1; 6 * PAGE]).unwrap();
        let numbers = || Pages::of(&Machine, &file, None).unwrap().numbers().collect::<Vec<_>>();
        assert_eq!(numbers(), [2, 3, 4, 5, 6]);
        std::fs::write(wal_of(&file), wal(&[(&[(8, 1)], 8), (&[(2, 2)], 4)])).unwrap();
        assert_eq!(numbers(), [2, 3, 4]);
    }
}
