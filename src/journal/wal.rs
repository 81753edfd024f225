//! The WAL's own checksums: telling a damaged one from one that a power cut tore, and reading on behind the damage; and
//! that it begins anew at each start.
//!
//! A transaction's frames are written when the one before it is synced. So a power cut leaves at most one commit that is
//! not whole; SQLite drops it, and rightly. More than one behind a bad frame is damage: SQLite would drop them silently.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::disk::Disk;
use super::page::PAGE;
use super::salvage::wal_of;

const HEADER: usize = 32;
const FRAME: usize = 24;
/// Words of the checksum in the machine's order of this magic number: little-endian; with the last bit: big-endian.
const MAGIC: u32 = 0x377F_0682;

/// At start, before anything is written: the WAL is written back to the file and begins anew.
///
/// What an earlier start left in it may be in memory only, where its sync failed: read as committed, and made durable by no
/// later sync of the WAL. And frames that a power cut left half-written, of the same generation as the next ones, would
/// look like damage after a second cut.
pub(super) fn begin_anew(conn: &Connection) -> rusqlite::Result<()> {
    match conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        // Without room, or behind a reader: the WAL still has it all.
        Err(e) if matches!(e.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy)) => Ok(()),
        done_or_failed => done_or_failed,
    }
}

/// Whether the file is gone that the WAL is of. It is synced before its WAL is made, so no power cut leads to this; SQLite
/// would remove the WAL.
pub(super) fn is_orphaned(disk: &dyn Disk, file: &Path) -> std::io::Result<bool> {
    Ok(disk.length(file)? < PAGE as u64 && disk.length(&wal_of(file))? > 0)
}

/// A WAL with a sound header.
struct Wal<'a> {
    header: &'a [u8],
    frames: std::slice::ChunksExact<'a, u8>,
    big_endian: bool,
    start: Sum,
}

/// The running checksum.
type Sum = (u32, u32);

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn add(sum: Sum, bytes: &[u8], big_endian: bool) -> Sum {
    let read = |word: &[u8; 4]| if big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) };
    let (words, _) = bytes.as_chunks::<4>();
    let (pairs, _) = words.as_chunks::<2>();
    pairs.iter().fold(sum, |(a, b), [x, y]| {
        let a = a.wrapping_add(read(x)).wrapping_add(b);
        (a, b.wrapping_add(read(y)).wrapping_add(a))
    })
}

impl<'a> Wal<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let magic = word(header, 0)?;
        let page = usize::try_from(word(header, 8)?).ok()?;
        let big_endian = magic == MAGIC | 1;
        let start = add((0, 0), header.get(..24)?, big_endian);
        let sound = magic | 1 == MAGIC | 1 && (512..=65_536).contains(&page);
        let sound = sound && start == (word(header, 24)?, word(header, 28)?);
        sound.then(|| Self { header, frames: rest.chunks_exact(FRAME + page), big_endian, start })
    }

    /// The frame is of this generation of the WAL.
    fn is_ours(&self, frame: &[u8]) -> bool {
        frame.get(8..16) == self.header.get(16..24)
    }

    fn next(&self, sum: Sum, frame: &[u8]) -> Sum {
        let sum = add(sum, frame.get(..8).unwrap_or_default(), self.big_endian);
        add(sum, frame.get(FRAME..).unwrap_or_default(), self.big_endian)
    }

    fn is_commit(frame: &[u8]) -> bool {
        word(frame, 4).is_some_and(|pages| pages != 0)
    }
}

/// Whether acknowledged transactions stand behind a frame that is not what was written. They follow each other by their
/// checksums; what an earlier power cut left of a commit that never was does not follow what was written over it.
pub(super) fn is_damaged(bytes: &[u8]) -> bool {
    let Some(wal) = Wal::read(bytes) else { return false };
    let (mut sum, mut whole, mut commits) = (wal.start, true, 0);
    for frame in wal.frames.clone() {
        let follows = wal.next(sum, frame);
        let stored = (word(frame, 16).unwrap_or(0), word(frame, 20).unwrap_or(0));
        let is_next = wal.is_ours(frame) && stored == follows;
        whole &= is_next;
        if !whole {
            commits = if is_next { commits } else { 0 };
            commits += usize::from(wal.is_ours(frame) && Wal::is_commit(frame));
        }
        if commits > 1 {
            return true;
        }
        sum = stored;
    }
    false
}

/// The newest of each page, up to the last commit.
pub(super) fn pages(bytes: &[u8]) -> HashMap<u32, Vec<u8>> {
    let Some(wal) = Wal::read(bytes) else { return HashMap::new() };
    let is_commit = |frame: &[u8]| wal.is_ours(frame) && Wal::is_commit(frame);
    let commits = wal.frames.clone().rposition(is_commit).map_or(0, |last| last + 1);
    let ours = wal.frames.clone().take(commits).filter(|frame| wal.is_ours(frame));
    ours.filter_map(|frame| Some((word(frame, 0)?, frame.get(FRAME..)?.to_vec()))).collect()
}

/// The same WAL with checksums that fit, up to its last commit: the damage stays in its page, and what is behind it can
/// be read. `None`: there is nothing to mend.
pub(super) fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let wal = Wal::read(bytes)?;
    let last = wal.frames.clone().rposition(|frame| wal.is_ours(frame) && Wal::is_commit(frame))?;
    let (mut mended, mut sum) = (wal.header.to_vec(), wal.start);
    for frame in wal.frames.clone().take(last + 1) {
        sum = wal.next(sum, frame);
        mended.extend_from_slice(frame.get(..8)?);
        mended.extend_from_slice(wal.header.get(16..24)?);
        mended.extend_from_slice(&sum.0.to_be_bytes());
        mended.extend_from_slice(&sum.1.to_be_bytes());
        mended.extend_from_slice(frame.get(FRAME..)?);
    }
    Some(mended)
}
