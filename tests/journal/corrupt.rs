//! Damage: flipped bits, zeroed and swapped pages, cut files, in the database and the WAL.
//!
//! `JOURNAL_CORRUPTIONS=10000` for the long run; `JOURNAL_SEED` repeats one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wardline::clock::{Clock, Stamp};
use wardline::custody::{Lane, Payload};
use wardline::journal::disk::{self, Machine};
use wardline::journal::{Journal, Salvaged};
use wardline::reading::Reading;
use wardline_disk::{Disk, Image, Random};

use super::simulated::*;
use super::support::*;

const FILE: &str = "journal.sqlite3";
const WAL: &str = "journal.sqlite3-wal";
/// A reading that comes after the damage.
const NEW: u64 = 900_000;
const PAGE: usize = 4096;

/// A journal as a power cut leaves it: some of it in the WAL; and what it acknowledged.
async fn made(folder: &Path, random: &mut Random) -> (Image, Facts) {
    let disk = Disk::new(Image::new());
    disk.mount(folder);
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let mut work = Work::start(&under, folder, &bare(), 1).unwrap();
    for _ in 0..40 {
        work.step(random).await.unwrap();
    }
    work.journal.close().await;
    let facts = work.facts;
    let mut work = Work::start(&under, folder, &bare(), 10_000).unwrap();
    work.facts = facts;
    for _ in 0..random.below(30) {
        work.step(random).await.unwrap();
    }
    let image = disk.image();
    work.journal.close().await;
    (image, work.facts)
}

/// Damages one of the files. Answers how.
fn damage(image: &mut Image, random: &mut Random) -> String {
    let name = if random.one_in(3) && image.get(WAL).is_some_and(|w| !w.is_empty()) { WAL } else { FILE };
    let bytes = image.get_mut(name).unwrap();
    let pages = bytes.len() / PAGE;
    let page = |random: &mut Random| random.below(pages) * PAGE;
    match random.below(6) {
        0 | 1 => {
            let flips = 1 + random.below(3);
            for _ in 0..flips {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            format!("{flips} bits of {name} flipped")
        }
        2 => {
            let len = random.below(bytes.len());
            bytes.truncate(len);
            format!("{name} cut to {len} bytes")
        }
        3 => {
            let at = page(random);
            bytes[at..at + PAGE].fill(0);
            format!("page {} of {name} zeroed", at / PAGE + 1)
        }
        4 => {
            let (a, b) = (page(random), page(random));
            let copy = bytes[a..a + PAGE].to_vec();
            bytes.copy_within(b..b + PAGE, a);
            bytes[b..b + PAGE].copy_from_slice(&copy);
            format!("pages {} and {} of {name} swapped", a / PAGE + 1, b / PAGE + 1)
        }
        _ => {
            let at = random.below(bytes.len());
            let end = bytes.len().min(at + 1 + random.below(600));
            bytes[at..end].iter_mut().for_each(|b| *b = random.next() as u8);
            format!("bytes {at} to {end} of {name} are noise")
        }
    }
}

/// What a journal on a damaged disk gave.
#[derive(Default)]
struct Found {
    salvaged: Option<Salvaged>,
    leased: usize,
    refused: usize,
    /// Owed, and neither leased nor refused.
    missing: usize,
}

/// Opens, leases all there is, and takes something new. A wrong value, or a journal that does not work, is an error.
async fn use_it(disk: &Disk, folder: &Path, facts: &Facts, original: &BTreeMap<u64, Reading>) -> Result<Found, String> {
    disk.mount(folder);
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let mut found = Found::default();
    // What is found at work ends the process; the next start salvages.
    for again in 0..3 {
        let (journal, recovered) =
            open_with_past(&under, folder, &bare(), &clock).map_err(|e| format!("does not open: {e}"))?;
        found.salvaged = recovered.salvaged.or(found.salvaged);
        let Some(items) = lease_all(&journal).await else {
            journal.close().await;
            if again == 2 {
                return Err("fails again after its salvage".into());
            }
            continue;
        };
        let mut there = std::collections::BTreeSet::new();
        for item in &items {
            let Payload::Reading(reading) = &item.what else { continue };
            let n = number(reading.key);
            if original.get(&n) != Some(&**reading) {
                return Err(format!("a wrong value: {reading:?}"));
            }
            there.insert(n);
        }
        let new = journal.commit(group([reading(NEW, "d")])).await;
        if !new.as_ref().is_ok_and(|kept| kept.first().is_some_and(|k| k.new + k.known == 1)) {
            journal.close().await;
            if again == 2 {
                return Err(format!("does not record again: {new:?}"));
            }
            continue;
        }
        let refused = refused(&journal, folder).await;
        journal.close().await;
        found.leased = there.len();
        found.refused = refused;
        found.missing = facts.kept.iter().filter(|n| !facts.tried.contains(n) && !there.contains(n)).count();
        return Ok(found);
    }
    Err("unreachable".into())
}

async fn lease_all(journal: &Journal) -> Option<Vec<wardline::custody::Item>> {
    let mut all = Vec::new();
    for lane in [Lane::Backlog, Lane::Fresh, Lane::Alert] {
        all.extend(journal.lease("centre", lane, 10_000).await.ok()?);
    }
    Some(all)
}

/// How many were set aside as unreadable.
#[allow(clippy::disallowed_methods, reason = "another program's sight of the file")]
async fn refused(journal: &Journal, folder: &Path) -> usize {
    journal.close().await;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let file = folder.join(FILE);
    let look = || -> rusqlite::Result<i64> {
        let conn = rusqlite::Connection::open_with_flags_and_vfs(file, flags, wardline_disk::VFS)?;
        unlock(&conn);
        conn.query_row("SELECT count(*) FROM rejected WHERE code = 'WL-J030'", [], |r| r.get(0))
    };
    look().map_or(0, |n| usize::try_from(n).unwrap_or(0))
}

/// The readings by their numbers, as they were committed.
fn originals(facts: &Facts) -> BTreeMap<u64, Reading> {
    let new = (NEW, reading(NEW, "d"));
    facts.kept.iter().map(|n| (*n, reading(*n, &format!("d{}", n % 3)))).chain([new]).collect()
}

#[tokio::test]
async fn damage_is_salvaged_and_no_wrong_value_is_handed_out() {
    let wanted = times("JOURNAL_CORRUPTIONS", 300);
    let first = seed();
    let folder = tempfile::tempdir().unwrap();
    let (mut wrong, mut salvages, mut silent, mut missing, mut refused, mut leased) = (Vec::new(), 0, 0, 0, 0, 0);
    let mut base = None;
    for n in 0..wanted {
        let mut random = Random::new(first.wrapping_add(n));
        if n % 100 == 0 || base.is_none() {
            let (image, facts) = made(folder.path(), &mut random).await;
            let original = originals(&facts);
            base = Some((image, facts, original));
        }
        let (image, facts, original) = base.as_ref().unwrap();
        let mut image = image.clone();
        let how = damage(&mut image, &mut random);
        let in_wal = how.contains(WAL);
        let mut disk = Disk::new(image);
        let mut result = use_it(&disk, folder.path(), facts, original).await;
        // A power cut in the middle of it all, now and then.
        if result.is_ok() && random.one_in(4) {
            disk = Disk::new(disk.cut(random.below(disk.position() + 1), &mut random));
            result = use_it(&disk, folder.path(), facts, original).await;
        }
        match result {
            Ok(found) => {
                let kept_aside = disk.names().iter().any(|n| n.starts_with("damaged-"));
                if found.salvaged.is_some() && !kept_aside {
                    wrong.push(format!("JOURNAL_SEED={first}, number {n}: {how}: the damaged file was not kept"));
                }
                let told = found.salvaged.is_some() || kept_aside || found.refused > 0;
                // A torn WAL cannot be told from one that a power cut tore.
                if found.missing > found.refused && !told && !in_wal {
                    wrong.push(format!(
                        "JOURNAL_SEED={first}, number {n}: {how}: {} missing, and nobody is told",
                        found.missing
                    ));
                }
                silent += usize::from(found.missing > 0 && !told);
                salvages += usize::from(found.salvaged.is_some());
                (missing, refused, leased) = (missing + found.missing, refused + found.refused, leased + found.leased);
            }
            Err(e) => wrong.push(format!("JOURNAL_SEED={first}, number {n}: {how}: {e}")),
        }
    }
    eprintln!(
        "{wanted} corruptions: {salvages} salvages; of the owed readings {leased} leased, {refused} set aside, {missing} missing; {silent} silent, in the WAL"
    );
    assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(12)]);
    assert!(salvages > wanted as usize / 10, "{salvages} salvages");
}

/// SQLite drops what follows damage in the WAL, and says nothing.
#[tokio::test]
async fn what_stands_behind_damage_in_the_wal_is_read_and_somebody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(Image::new());
    disk.mount(folder.path());
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let mut work = Work::start(&under, folder.path(), &bare(), 1).unwrap();
    work.journal.close().await;
    work = Work::start(&under, folder.path(), &bare(), 1).unwrap();
    for _ in 0..20 {
        work.commit(&mut Random::new(1)).await.unwrap();
    }
    let image = disk.image();
    work.journal.close().await;
    let frames = (image[WAL].len() - 32) / (24 + PAGE);
    for frame in (frames / 4..frames / 2).step_by(3) {
        let mut image = image.clone();
        image.get_mut(WAL).unwrap()[32 + frame * (24 + PAGE) + 24 + 3_000] ^= 4;
        let disk = Disk::new(image);
        let found = use_it(&disk, folder.path(), &work.facts, &originals(&work.facts)).await.unwrap();
        assert!(found.salvaged.is_some(), "frame {frame}: nobody is told");
        assert!(found.missing <= 12, "frame {frame}: {} of {} missing", found.missing, work.facts.kept.len());
    }
}

/// A journal whose latest commits are in its WAL only, and what it acknowledged.
async fn in_the_wal(folder: &Path) -> (Image, Facts) {
    let disk = Disk::new(Image::new());
    disk.mount(folder);
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let mut work = Work::start(&under, folder, &bare(), 1).unwrap();
    for _ in 0..20 {
        work.commit(&mut Random::new(1)).await.unwrap();
    }
    let image = disk.image();
    work.journal.close().await;
    (image, work.facts)
}

/// SQLite takes a WAL whose header is damaged for an empty one.
#[tokio::test]
async fn a_wal_whose_header_is_damaged_is_read_and_somebody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (image, facts) = in_the_wal(folder.path()).await;
    for at in 0..32 {
        let mut image = image.clone();
        image.get_mut(WAL).unwrap()[at] ^= 1;
        let damaged = image[WAL].clone();
        let disk = Disk::new(image);
        let found = use_it(&disk, folder.path(), &facts, &originals(&facts)).await.unwrap();
        let kept = found.salvaged.unwrap_or_else(|| panic!("octet {at}: nobody is told")).kept;
        assert_eq!(found.missing, 0, "octet {at}");
        assert_eq!(disk.image()[&format!("{kept}-wal")], damaged, "octet {at}");
    }
}

/// A power cut may tear the header of a WAL that begins anew: all behind it is in the file by then.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "as the journal's own checkpoint")]
async fn a_header_that_a_power_cut_tore_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (image, facts) = in_the_wal(folder.path()).await;
    let disk = Disk::new(image);
    disk.mount(folder.path());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let conn =
        rusqlite::Connection::open_with_flags_and_vfs(folder.path().join(FILE), flags, wardline_disk::VFS).unwrap();
    unlock(&conn);
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    drop(conn);
    for at in 12..32 {
        let mut image = disk.image();
        assert!(image[WAL].len() > 20 * PAGE);
        image.get_mut(WAL).unwrap()[at..32].fill(0x77);
        let found = use_it(&Disk::new(image), folder.path(), &facts, &originals(&facts)).await.unwrap();
        assert_eq!((found.salvaged, found.missing), (None, 0), "octet {at}");
    }
}

/// A disk on which each look at a page takes a second.
struct Slow(Clock);

impl disk::Disk for Slow {
    fn free_bytes(&self, folder: &Path) -> std::io::Result<u64> {
        Machine.free_bytes(folder)
    }
    fn create(&self, file: &Path) -> std::io::Result<()> {
        Machine.create(file)
    }
    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        Machine.sync_folder(folder)
    }
    fn exists(&self, file: &Path) -> bool {
        Machine.exists(file)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        Machine.rename(from, to)
    }
    fn read(&self, file: &Path) -> std::io::Result<Vec<u8>> {
        Machine.read(file)
    }
    fn read_at(&self, file: &Path, at: u64, length: usize) -> std::io::Result<Vec<u8>> {
        self.0.advance(std::time::Duration::from_secs(1));
        Machine.read_at(file, at, length)
    }
    fn write(&self, file: &Path, bytes: &[u8]) -> std::io::Result<()> {
        Machine.write(file, bytes)
    }
    fn remove(&self, file: &Path) -> std::io::Result<()> {
        Machine.remove(file)
    }
    fn names(&self, folder: &Path) -> std::io::Result<Vec<String>> {
        Machine.names(folder)
    }
}

#[tokio::test]
async fn a_search_that_takes_too_long_is_ended_and_that_is_said() {
    let clock = || Clock::manual(Stamp::at_ms(NOW_MS));
    for slow in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let it = vault(folder.path());
        let (journal, _) = Journal::open(&it, &settings(), &creditors(&["centre"]), clock()).unwrap();
        journal.commit(group((1..=400).map(|n| reading(n, "d")))).await.unwrap();
        journal.close().await;
        let file = folder.path().join(FILE);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / PAGE / 2 * PAGE;
        bytes[middle..middle + 2 * PAGE].fill(0x5A);
        std::fs::write(&file, &bytes).unwrap();
        let clock = clock();
        let disk: Arc<dyn disk::Disk> = if slow { Arc::new(Slow(clock.clone())) } else { Arc::new(Machine) };
        let (journal, recovered) = Journal::open_on(disk, &it, &settings(), &creditors(&["centre"]), clock).unwrap();
        assert_eq!(recovered.salvaged.unwrap().cut_short, slow);
        journal.close().await;
    }
}
