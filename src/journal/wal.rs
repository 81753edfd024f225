//! The WAL's own checksums: telling a damaged one from one that a power cut tore, and reading on behind the damage; and
//! that it begins anew at each start.
//!
//! A transaction's frames are written when the one before it is synced. So a power cut leaves at most one commit that is
//! not whole; SQLite drops it, and rightly. More than one behind a bad frame is damage: SQLite would drop them silently.

use std::borrow::Cow;
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
/// Of the WAL's form; there is no other.
const VERSION: u32 = 3_007_000;

/// At start, before anything is written: the WAL is written back to the file and begins anew.
///
/// What an earlier start left in it may be in memory only, where its sync failed: read as committed, and made durable by no
/// later sync of the WAL. And frames that a power cut left half-written, of the same generation as the next ones, would
/// look like damage after a second cut.
pub(super) fn begin_anew(conn: &Connection) -> rusqlite::Result<()> {
    match write_back(conn) {
        Ok(true) => Ok(()),
        Ok(false) => {
            tracing::warn!("Another program reads the journal: its log begins anew at the next start only.");
            Ok(())
        }
        // Without room: the WAL still has it all.
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::DiskFull) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Writes the WAL back to the file and empties it. `false`: not all of it, somebody is in the way.
pub(super) fn write_back(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0))
}

/// Whether the file is gone that the WAL is of. It is synced before its WAL is made, so no power cut leads to this; SQLite
/// would remove the WAL.
pub(super) fn is_orphaned(disk: &dyn Disk, file: &Path) -> std::io::Result<bool> {
    Ok(disk.length(file)? < PAGE as u64 && disk.length(&wal_of(file))? > 0)
}

/// A WAL with a sound header, or one that was made anew.
struct Wal<'a> {
    header: Cow<'a, [u8]>,
    frames: std::slice::ChunksExact<'a, u8>,
    big_endian: bool,
    start: Sum,
    /// What the first frame follows is not known.
    beheaded: bool,
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
        let frames = rest.chunks_exact(FRAME + page);
        sound.then(|| Self { header: header.into(), frames, big_endian, start, beheaded: false })
    }

    /// With a header made anew, for the generation of its first frame.
    fn behead(bytes: &'a [u8]) -> Option<Self> {
        let frames = bytes.get(HEADER..)?.chunks_exact(FRAME + PAGE);
        let big_endian = cfg!(target_endian = "big");
        let words = [MAGIC | u32::from(big_endian), VERSION, u32::try_from(PAGE).ok()?, 0];
        let mut header: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        header.extend_from_slice(frames.clone().next()?.get(8..16)?);
        let start = add((0, 0), &header, big_endian);
        header.extend([start.0, start.1].iter().flat_map(|word| word.to_be_bytes()));
        Some(Self { header: header.into(), frames, big_endian, start, beheaded: true })
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

    /// Frames up to the end of the last transaction that is whole: each of its frames follows the one before. What a power
    /// cut tore is behind it; what stands before it was acknowledged, also where it is damaged.
    fn acknowledged(&self) -> usize {
        let (mut sum, mut whole, mut last) = (self.start, true, 0);
        for (i, frame) in self.frames.clone().enumerate() {
            let stored = (word(frame, 16).unwrap_or(0), word(frame, 20).unwrap_or(0));
            let is_next = stored == self.next(sum, frame) || i == 0 && self.beheaded;
            whole &= self.is_ours(frame) && is_next;
            sum = stored;
            if self.is_ours(frame) && Self::is_commit(frame) {
                last = if whole { i + 1 } else { last };
                whole = true;
            }
        }
        last
    }

    /// Whether acknowledged transactions stand behind a frame that is not what was written. They follow each other by
    /// their checksums; what an earlier power cut left of a commit that never was does not follow what was written over
    /// it.
    fn is_damaged(&self) -> bool {
        let (mut sum, mut whole, mut commits) = (self.start, true, 0);
        for frame in self.frames.clone() {
            let follows = self.next(sum, frame);
            let stored = (word(frame, 16).unwrap_or(0), word(frame, 20).unwrap_or(0));
            let is_next = self.is_ours(frame) && stored == follows;
            whole &= is_next;
            if !whole {
                commits = if is_next { commits } else { 0 };
                commits += usize::from(self.is_ours(frame) && Self::is_commit(frame));
            }
            if commits > 1 {
                return true;
            }
            sum = stored;
        }
        false
    }

    /// The newest of each page, up to the last commit, and how many pages the database has after it.
    fn pages(&self) -> (HashMap<u32, Vec<u8>>, Option<u32>) {
        let acknowledged = self.acknowledged();
        let ours = self.frames.clone().take(acknowledged).filter(|frame| self.is_ours(frame));
        let length = acknowledged.checked_sub(1).and_then(|last| word(self.frames.clone().nth(last)?, 4));
        (ours.filter_map(|frame| Some((word(frame, 0)?, frame.get(FRAME..)?.to_vec()))).collect(), length)
    }
}

/// Whether something that was acknowledged stands in the WAL where SQLite does not read it. A header is synced before
/// what stands behind it: a power cut tears it only where all behind it is in the file already.
pub(super) fn is_damaged(disk: &dyn Disk, file: &Path) -> std::io::Result<bool> {
    let bytes = disk.read(&wal_of(file))?;
    if let Some(wal) = Wal::read(&bytes) {
        return Ok(wal.is_damaged());
    }
    let Some(wal) = Wal::behead(&bytes) else { return Ok(false) };
    let (pages, length) = wal.pages();
    for (number, page) in pages.iter().filter(|(number, _)| length.is_some_and(|length| (1..=length).contains(*number)))
    {
        if disk.read_at(file, u64::from(number - 1) * PAGE as u64, PAGE)? != *page {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The newest of each page, up to the last commit, and how many pages the database has after it.
pub(super) fn pages(bytes: &[u8]) -> (HashMap<u32, Vec<u8>>, Option<u32>) {
    Wal::read(bytes).map_or_else(|| (HashMap::new(), None), |wal| wal.pages())
}

/// The same WAL with a header and checksums that fit, up to its last commit: the damage stays in its page, and what is
/// behind it can be read. `None`: there is nothing to mend.
pub(super) fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let wal = Wal::read(bytes).or_else(|| Wal::behead(bytes))?;
    let acknowledged = Some(wal.acknowledged()).filter(|frames| *frames > 0)?;
    let (mut mended, mut sum) = (wal.header.to_vec(), wal.start);
    for frame in wal.frames.clone().take(acknowledged) {
        sum = wal.next(sum, frame);
        mended.extend_from_slice(frame.get(..8)?);
        mended.extend_from_slice(wal.header.get(16..24)?);
        mended.extend_from_slice(&sum.0.to_be_bytes());
        mended.extend_from_slice(&sum.1.to_be_bytes());
        mended.extend_from_slice(frame.get(FRAME..)?);
    }
    Some(mended)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A page of a transaction: its number and what it is filled with.
    type Page = (u32, u8);

    /// A WAL of these transactions, each with the length of the database after it.
    pub(in super::super) fn wal(transactions: &[(&[Page], u32)]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [MAGIC, VERSION, 4_096, 0, 7, 9].iter().flat_map(|word| word.to_be_bytes()).collect();
        let start = add((0, 0), &bytes, false);
        bytes.extend([start.0, start.1].iter().flat_map(|word| word.to_be_bytes()));
        let header = bytes.clone();
        let empty = Wal::read(&header).unwrap();
        let mut sum = empty.start;
        for (pages, length) in transactions {
            for (i, (number, fill)) in pages.iter().enumerate() {
                let length = if i + 1 == pages.len() { *length } else { 0 };
                let mut frame: Vec<u8> =
                    [*number, length, 7, 9, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
                frame.extend([*fill; PAGE]);
                sum = empty.next(sum, &frame);
                frame[16..20].copy_from_slice(&sum.0.to_be_bytes());
                frame[20..24].copy_from_slice(&sum.1.to_be_bytes());
                bytes.extend(frame);
            }
        }
        bytes
    }

    fn frame(n: usize) -> usize {
        HEADER + n * (FRAME + PAGE)
    }

    const FOUR: &[(&[Page], u32)] =
        &[(&[(2, 1), (3, 1)], 5), (&[(2, 2), (3, 2)], 5), (&[(2, 3)], 5), (&[(3, 4), (4, 4)], 5)];

    #[test]
    fn what_a_power_cut_tore_is_not_taken_also_where_there_is_damage_before_it() {
        let mut torn = wal(FOUR);
        torn[frame(5) + FRAME + 9] ^= 1;
        for damaged in [None, Some(0), Some(2)] {
            let mut bytes = torn.clone();
            if let Some(n) = damaged {
                bytes[frame(n) + FRAME] ^= 1;
            }
            assert_eq!(Wal::read(&bytes).unwrap().is_damaged(), damaged.is_some());
            let (pages, length) = pages(&bytes);
            assert_eq!((pages[&2][1], pages[&3][1], pages.get(&4), length), (3, 2, None, Some(5)), "{damaged:?}");
            assert_eq!(mended(&bytes).unwrap().len(), frame(5), "{damaged:?}");
        }
    }

    #[test]
    fn what_stands_behind_a_damaged_header_is_read() {
        let whole = wal(FOUR);
        for at in 0..HEADER {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let mended = mended(&bytes).unwrap_or_else(|| panic!("octet {at}"));
            let (pages, _) = pages(&mended);
            assert_eq!((mended.len(), pages[&2][0], pages[&3][0], pages[&4][0]), (whole.len(), 3, 4, 4), "octet {at}");
        }
        // Of one transaction too; and nothing of what was never whole.
        assert!(mended(&[&[0; HEADER], &wal(&FOUR[..1])[HEADER..]].concat()).is_some());
        assert!(mended(&[&[0; HEADER], &wal(FOUR)[HEADER..frame(1)]].concat()).is_none());
        assert!(mended(&[0; 9_000]).is_none());
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "inside the journal")]
    fn a_reader_in_the_way_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Connection::open(folder.path().join("a")).unwrap();
        let (writer, reader) = (open(), open());
        writer.busy_timeout(std::time::Duration::ZERO).unwrap();
        writer.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        writer.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        reader.execute_batch("BEGIN").unwrap();
        reader.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert!(!write_back(&writer).unwrap());
        reader.execute_batch("COMMIT").unwrap();
        assert!(write_back(&writer).unwrap());
    }
}
