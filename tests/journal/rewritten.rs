//! A journal that is written anew under a key, on a disk with little room, and what is left of it when the power goes.

use std::path::Path;
use std::sync::Arc;

use wardline::clock::{Clock, Stamp};
use wardline::config::JournalSettings;
use wardline::custody::Lane;
use wardline::fault::Explain;
use wardline::journal::{Journal, Key, Vault};
use wardline_disk::{Disk, Image, Random};

use super::simulated::*;
use super::support::*;

/// A journal without a key, some of it in its WAL, and what is owed.
async fn plain(folder: &Path) -> (Image, Vec<u64>) {
    let disk = Disk::new(Image::new());
    disk.mount(folder);
    let under = Arc::new(Under { disk: disk.clone(), synchronous: "FULL" });
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let vault = Vault::new(folder, None);
    let (journal, _) = Journal::open_on(under, &vault, &bare(), &creditors(&["centre"]), clock).unwrap();
    for n in 0..40 {
        journal.commit(group((n * 10..n * 10 + 10).map(|n| reading(n, "d")))).await.unwrap();
    }
    let image = disk.image();
    journal.close().await;
    (image, (0..400).collect())
}

async fn owed(under: &Under, folder: &Path, settings: &JournalSettings) -> Result<Vec<u64>, &'static str> {
    under.disk.mount(folder);
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let (journal, recovered) = open_with_past(under, folder, settings, &clock).map_err(|e| e.code())?;
    assert_eq!(recovered.salvaged, None);
    let owed = numbers(&lease(&journal, Lane::Backlog, 10_000).await);
    journal.close().await;
    Ok(owed)
}

/// Refused before it is begun, and never half done.
#[tokio::test]
async fn without_room_a_journal_is_not_written_anew_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (image, all) = plain(folder.path()).await;
    let size = Disk::new(image.clone()).used();
    let (mut refused, mut done) = (0, 0);
    for room in (0..3 * size).step_by(size / 24) {
        let disk = Disk::new(image.clone());
        disk.set_room(Some(disk.used() + room));
        let under = Under { disk: disk.clone(), synchronous: "FULL" };
        match owed(&under, folder.path(), &bare()).await {
            Ok(owed) => {
                assert_eq!(owed, all, "{room} octets of room for {size}");
                done += 1;
            }
            Err(code) => {
                assert_eq!(code, "WL-J055", "{room} octets of room for {size}");
                assert_eq!(disk.image(), image, "{room} octets of room for {size}");
                refused += 1;
                disk.set_room(None);
                assert_eq!(owed(&under, folder.path(), &bare()).await, Ok(all.clone()));
            }
        }
    }
    eprintln!("{refused} times refused, {done} times written anew");
    assert!(refused > 20 && done > 5, "{refused} refused, {done} done");
}

/// What fills the disk may be what an interrupted start left.
#[tokio::test]
async fn what_was_cut_off_does_not_keep_the_gateway_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let (image, all) = plain(folder.path()).await;
    let encrypted = Disk::new(image);
    let under = Under { disk: encrypted.clone(), synchronous: "FULL" };
    assert_eq!(owed(&under, folder.path(), &bare()).await.as_ref(), Ok(&all));
    for left in ["rekeyed.sqlite3", "rekeyed.sqlite3-wal", "salvaging.sqlite3-wal", "restoring.sqlite3"] {
        let mut image = encrypted.image();
        image.insert(left.into(), vec![7; 1 << 20]);
        if let Some(file) = left.strip_suffix("-wal") {
            image.insert(file.into(), Vec::new());
        }
        let disk = Disk::new(image);
        // But for what is left there is the reserve.
        disk.set_room(Some(disk.used() + (1 << 19)));
        let under = Under { disk, synchronous: "FULL" };
        let settings = JournalSettings { reserve_mib: 1, ..bare() };
        assert_eq!(owed(&under, folder.path(), &settings).await.as_ref(), Ok(&all), "{left}");
    }
}

/// The word of the keys is the old one or the new one, never a part.
#[tokio::test]
async fn no_power_cut_tears_the_word_of_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (image, all) = plain(folder.path()).await;
    let disk = Disk::new(image);
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    assert_eq!(owed(&under, folder.path(), &bare()).await.as_ref(), Ok(&all));
    let id = Key::parse(KEY.as_bytes()).unwrap().id();
    let words = ["plain".into(), format!("plain\n{id}"), id];
    let mut random = Random::new(seed());
    for _ in 0..20 {
        for at in 0..=disk.position() {
            let image = disk.cut(at, &mut random);
            let word = image.get("journal.made").map(|word| String::from_utf8_lossy(word).into_owned());
            assert!(word.as_ref().is_some_and(|word| words.contains(word)), "cut at {at}: {word:?}");
        }
    }
}
