//! A disk that is full at every byte near its limit, and the reserve.
//!
//! `JOURNAL_FAULTS=all` tries every byte; the normal run a sample of them.

use std::path::Path;

use wardline::config::JournalSettings;
use wardline::journal::JournalError;
use wardline_disk::{Disk, Image, Random};

use super::simulated::*;

const MONTH: std::time::Duration = std::time::Duration::from_secs(40 * 24 * 60 * 60);

/// A journal with settled and owed readings and alerts, and what it acknowledged.
async fn made(folder: &Path) -> (Image, Facts) {
    let disk = Disk::new(Image::new());
    disk.mount(folder);
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let mut work = Work::start(&under, folder, &bare(), 1).unwrap();
    let mut random = Random::new(3);
    for _ in 0..30 {
        work.step(&mut random).await.unwrap();
    }
    work.journal.close().await;
    (disk.image(), work.facts)
}

fn bytes(window: usize, sample: usize) -> impl Iterator<Item = usize> {
    let all = std::env::var("JOURNAL_FAULTS").is_ok_and(|v| v == "all");
    let step = if all { 1 } else { sample };
    let from = if all { 0 } else { Random::new(seed()).below(step) };
    (from..window).step_by(step)
}

/// Opening, commits, payments, alerts, the removal of what is old: each meets the limit at some byte.
#[tokio::test]
async fn a_disk_full_at_any_byte_loses_nothing_that_is_owed() {
    let folder = tempfile::tempdir().unwrap();
    let (image, facts) = made(folder.path()).await;
    let (mut full, mut went_on) = (0, 0);
    for room in bytes(160 * 1024, 997) {
        let disk = Disk::new(image.clone());
        disk.mount(folder.path());
        disk.set_room(Some(disk.used() + room));
        let under = Under { disk: disk.clone(), synchronous: "FULL" };
        let mut random = Random::new(room as u64);
        let mut after = facts.clone();
        if let Ok(mut work) = Work::start(&under, folder.path(), &bare(), 50_000) {
            work.facts = Facts { aged: true, ..facts.clone() };
            work.clock.advance(MONTH);
            for _ in 0..40 {
                match work.step(&mut random).await {
                    Ok(()) => {}
                    Err(JournalError::Full) => full += 1,
                    Err(e) => panic!("{room} bytes of room: {e}"),
                }
            }
            // There is room again: the same journal goes on.
            disk.set_room(None);
            for _ in 0..4 {
                work.commit(&mut random).await.unwrap_or_else(|e| panic!("{room} bytes, then room again: {e}"));
                went_on += 1;
            }
            work.journal.close().await;
            after = work.facts;
        }
        disk.set_room(None);
        for image in [disk.image(), disk.cut(disk.position(), &mut random)] {
            let under = Under { disk: Disk::new(image), synchronous: "FULL" };
            verify(&under, folder.path(), &after).await.unwrap_or_else(|e| panic!("{room} bytes of room: {e}"));
        }
    }
    eprintln!("{full} times full, {went_on} commits afterwards");
    assert!(full > 100 && went_on > 100, "{full} times full");
}

/// Below the reserve no reading is taken, and alerts and deliveries go on.
#[tokio::test]
async fn the_reserve_is_for_alerts_and_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    let (image, facts) = made(folder.path()).await;
    let settings = JournalSettings { reserve_mib: 1, ..bare() };
    let (mut taken, mut refused) = (0, 0);
    for over in bytes(64 * 1024, 1_499) {
        let disk = Disk::new(image.clone());
        disk.mount(folder.path());
        disk.set_room(Some(disk.used() + (1 << 20) + over));
        let under = Under { disk: disk.clone(), synchronous: "FULL" };
        let mut random = Random::new(over as u64);
        let mut work = Work::start(&under, folder.path(), &settings, 50_000).unwrap();
        work.facts = facts.clone();
        for _ in 0..12 {
            let low = disk.free() < 1 << 20;
            work.clock.advance(std::time::Duration::from_secs(2));
            match work.commit(&mut random).await {
                Ok(()) => taken += 1,
                Err(e) => {
                    assert!(low && matches!(e, JournalError::Full), "{over} bytes over the reserve: {e}");
                    refused += 1;
                }
            }
            work.alert().await.unwrap();
            work.deliver(&mut random).await.unwrap();
            work.deliver_alerts().await.unwrap();
        }
        work.journal.close().await;
        let under = Under { disk: Disk::new(disk.image()), synchronous: "FULL" };
        verify(&under, folder.path(), &work.facts).await.unwrap_or_else(|e| panic!("{over} bytes over: {e}"));
    }
    eprintln!("{taken} groups taken, {refused} refused");
    assert!(taken > 20 && refused > 20, "{taken} taken, {refused} refused");
}
