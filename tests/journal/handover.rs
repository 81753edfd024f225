//! A file that goes missing beside its WAL, and a restore that is cut off: nothing of either is lost.

use std::path::{Path, PathBuf};

use wardline::clock::{Clock, Stamp};
use wardline::custody::Lane;
use wardline::fault::Explain;
use wardline::journal::reader::Reader;
use wardline::journal::{Journal, Key, Recovered, backup};
use wardline_disk::{Disk, Image, Random};

use super::simulated::*;
use super::support::*;

const FILE: &str = "journal.sqlite3";
const WAL: &str = "journal.sqlite3-wal";

fn open_in(state: &Path) -> (Journal, Recovered) {
    Journal::open(vault(state), &settings(), &creditors(&["centre"]), clock()).unwrap()
}

/// A journal whose readings are all in its WAL, as a power cut leaves it.
async fn in_the_wal(folder: &Path) -> PathBuf {
    let (made, state) = (folder.join("made"), folder.join("state"));
    let (journal, _) = open_in(&made);
    journal.commit(group((1..=50).map(|n| reading(n, "d")))).await.unwrap();
    std::fs::create_dir(&state).unwrap();
    for name in [FILE, WAL, "journal.made"] {
        std::fs::copy(made.join(name), state.join(name)).unwrap();
    }
    journal.close().await;
    state
}

/// SQLite removes the WAL of a file that is empty, and says nothing.
#[tokio::test]
async fn a_file_that_is_gone_takes_no_wal_with_it() {
    for octets in [None, Some(0), Some(700)] {
        let folder = tempfile::tempdir().unwrap();
        let state = in_the_wal(folder.path()).await;
        let wal = std::fs::read(state.join(WAL)).unwrap();
        let copy = copy_of_another(folder.path()).await;
        match octets {
            None => std::fs::remove_file(state.join(FILE)).unwrap(),
            Some(octets) => {
                std::fs::File::options().write(true).open(state.join(FILE)).unwrap().set_len(octets).unwrap()
            }
        }
        let refused = backup::restore(&copy, Key::parse(KEY.as_bytes()).as_ref(), vault(&state), false, NOW_MS);
        assert_eq!(refused.unwrap_err().code(), "WL-J042", "{octets:?}");
        let (journal, recovered) = open_in(&state);
        let salvaged = recovered.salvaged.unwrap_or_else(|| panic!("{octets:?}: nobody is told"));
        assert_eq!(std::fs::read(state.join(format!("{}-wal", salvaged.kept))).unwrap(), wal, "{octets:?}");
        assert_eq!(numbers(&lease(&journal, Lane::Backlog, 100).await).len(), 50, "{octets:?}");
        journal.close().await;
    }
}

/// A copy of a journal with the readings 1001 to 1030.
async fn copy_of_another(folder: &Path) -> PathBuf {
    let (other, copy) = (folder.join("other"), folder.join("copy"));
    let (journal, _) = open_in(&other);
    journal.commit(group((1_001..=1_030).map(|n| reading(n, "d")))).await.unwrap();
    Reader::new(vault(&other)).copy_to(&copy).unwrap();
    journal.close().await;
    copy
}

/// What is owed by the journal on this disk, which opens as it is.
async fn owed(under: &Under, state: &Path) -> Vec<u64> {
    under.disk.mount(state);
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let (journal, recovered) = open_with_past(under, state, &bare(), &clock).unwrap();
    assert_eq!(recovered.salvaged, None);
    let owed = numbers(&lease(&journal, Lane::Backlog, 10_000).await);
    journal.close().await;
    owed
}

/// Its own files, or the copy with them aside: whatever the disk kept of it. `JOURNAL_RESTORES` for more rounds.
#[tokio::test]
async fn a_power_cut_at_any_moment_of_a_restore_leaves_one_of_the_two_whole() {
    let outer = tempfile::tempdir().unwrap();
    let (copy, state) = (copy_of_another(outer.path()).await, outer.path().join("state"));
    let disk = Disk::new(Image::new());
    disk.mount(&state);
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let mut work = Work::start(&under, &state, &bare(), 1).unwrap();
    for _ in 0..10 {
        work.commit(&mut Random::new(1)).await.unwrap();
    }
    let before = disk.image();
    work.journal.close().await;
    let (there, put_back): (Vec<u64>, Vec<u64>) = (work.facts.kept.into_iter().collect(), (1_001..=1_030).collect());
    let (mut random, mut seen) = (Random::new(seed()), [0, 0]);
    for round in 0..times("JOURNAL_RESTORES", 30) {
        let disk = Disk::new(before.clone());
        let under = Under { disk: disk.clone(), synchronous: "FULL" };
        let key = Key::parse(KEY.as_bytes());
        backup::restore_on(&under, &copy, key.as_ref(), vault(&state), true, NOW_MS).unwrap();
        for at in 0..=disk.position() {
            let cut = Under { disk: Disk::new(disk.cut(at, &mut random)), synchronous: "FULL" };
            let owed_now = owed(&cut, &state).await;
            let is_put_back = owed_now == put_back;
            assert!(is_put_back || owed_now == there, "round {round}, cut at {at}: {owed_now:?}");
            assert!(is_put_back || at < disk.position(), "round {round}: it was said to be put back");
            seen[usize::from(is_put_back)] += 1;
            // Cut again while the start ends what was begun.
            let again = cut.disk.cut(random.below(cut.disk.position() + 1), &mut random);
            let again = Under { disk: Disk::new(again), synchronous: "FULL" };
            assert_eq!(owed(&again, &state).await, owed_now, "round {round}, cut at {at}, and again");
            if is_put_back {
                let image = cut.disk.image();
                let aside = image.keys().find(|name| name.starts_with("aside-") && name.ends_with(".sqlite3")).unwrap();
                let wal = &image[&format!("{aside}-wal")];
                let aside = Image::from([(FILE.into(), image[aside].clone()), (WAL.into(), wal.clone())]);
                let aside = Under { disk: Disk::new(aside), synchronous: "FULL" };
                assert_eq!(owed(&aside, &state).await, there, "round {round}, cut at {at}: not kept");
            }
            assert!(!cut.disk.names().iter().any(|name| name.contains("restor")), "{:?}", cut.disk.names());
        }
    }
    eprintln!("{} power cuts left what was there, {} the copy", seen[0], seen[1]);
    assert!(seen.iter().all(|times| *times > 20), "{seen:?}");
}

/// The damage was of the journal that is put aside.
#[tokio::test]
async fn a_restore_ends_the_word_of_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, state) = (copy_of_another(folder.path()).await, in_the_wal(folder.path()).await);
    std::fs::write(state.join("journal.damaged"), "").unwrap();
    let key = Key::parse(KEY.as_bytes());
    let (_, aside) = backup::restore(&copy, key.as_ref(), vault(&state), true, NOW_MS).unwrap();
    assert!(aside.is_some());
    let (journal, recovered) = open_in(&state);
    assert_eq!(recovered.salvaged, None);
    assert_eq!(numbers(&lease(&journal, Lane::Backlog, 100).await).len(), 30);
    journal.close().await;
}

/// Whatever is left of the salvage of a log whose file is gone, the next start ends it.
#[tokio::test]
async fn a_power_cut_at_any_moment_of_a_salvage_loses_nothing_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let state = in_the_wal(folder.path()).await;
    let content = |name: &str| std::fs::read(state.join(name)).unwrap();
    let (mut random, mut cuts) = (Random::new(seed()), 0);
    for file in [None, Some(Vec::new())] {
        let mut image = Image::from([(WAL.into(), content(WAL)), ("journal.made".into(), content("journal.made"))]);
        image.extend(file.map(|file| (FILE.to_owned(), file)));
        let disk = Disk::new(image);
        let all = |disk: Disk| {
            disk.mount(&state);
            let clock = Clock::manual(Stamp::at_ms(NOW_MS));
            open_with_past(&Under { disk, synchronous: "FULL" }, &state, &bare(), &clock).unwrap().0
        };
        all(disk.clone()).close().await;
        for at in (random.below(5)..=disk.position()).step_by(5) {
            let journal = all(Disk::new(disk.cut(at, &mut random)));
            assert_eq!(lease(&journal, Lane::Backlog, 100).await.len(), 50, "cut at {at}");
            journal.close().await;
            cuts += 1;
        }
    }
    eprintln!("{cuts} power cuts");
}
