//! Databases of earlier versions open, migrate and deliver; a power cut at any moment of the migration changes nothing.
//!
//! `JOURNAL_MIGRATIONS` for more cuts; `JOURNAL_SEED` repeats a run.

use std::collections::BTreeSet;
use std::path::Path;

use wardline::clock::{Clock, Stamp};
use wardline::custody::Lane;
use wardline_disk::{Disk, Image, Random, VFS};

use super::simulated::*;
use super::support::*;

/// What each version wrote: the steps that lead to it, each with what it did to the rows. The newest is the one that this
/// gateway writes.
const STEPS: &[(&str, &str)] = &[
    (include_str!("../../src/journal/schema/0001.sql"), include_str!("released/0001.sql")),
    (include_str!("../../src/journal/schema/0002.sql"), ""),
    (include_str!("../../src/journal/schema/0003.sql"), include_str!("released/0003.sql")),
    (include_str!("../../src/journal/schema/0004.sql"), ""),
    (include_str!("../../src/journal/schema/0005.sql"), ""),
    (include_str!("../../src/journal/schema/0006.sql"), ""),
    (include_str!("../../src/journal/schema/0007.sql"), ""),
    (include_str!("../../src/journal/schema/0008.sql"), ""),
    (include_str!("../../src/journal/schema/0009.sql"), ""),
    (include_str!("../../src/journal/schema/0010.sql"), ""),
];
/// Of these rows: the readings that are owed.
const OWED: [u64; 3] = [2, 4, 5];

/// A journal of this version, closed in order.
#[allow(clippy::disallowed_methods, reason = "as another version would have made it")]
fn of_version(version: usize, folder: &Path) -> Image {
    let disk = Disk::new(Image::new());
    disk.mount(folder);
    let conn = rusqlite::Connection::open_with_flags_and_vfs(
        folder.join("journal.sqlite3"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_CREATE,
        VFS,
    )
    .unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA auto_vacuum = INCREMENTAL").unwrap();
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    for (step, rows) in &STEPS[..version] {
        conn.execute_batch(step).unwrap();
        conn.execute_batch(rows).unwrap();
    }
    conn.execute_batch(&format!("PRAGMA application_id = 0x5752444C; PRAGMA user_version = {version}")).unwrap();
    drop(conn);
    disk.image()
}

/// Opens it and holds what is owed against what must be.
async fn opens(disk: &Disk, folder: &Path) -> Result<(), String> {
    disk.mount(folder);
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let (journal, recovered) = open_with_past(&under, folder, &bare(), &clock).map_err(|e| e.to_string())?;
    let items = lease(&journal, Lane::Backlog, 100).await;
    let alerts = journal.lease("centre", Lane::Alert, 100).await.map_err(|e| e.to_string())?;
    journal.close().await;
    let owed: BTreeSet<u64> = numbers(&items).into_iter().collect();
    match (recovered.salvaged, owed == OWED.into(), alerts.len(), recovered.open_alerts.len()) {
        (None, true, 1, 1) => Ok(()),
        other => Err(format!("{other:?}, owed {owed:?}")),
    }
}

#[tokio::test]
async fn a_journal_of_each_released_version_opens_and_delivers() {
    for version in 1..=STEPS.len() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(of_version(version, folder.path()));
        opens(&disk, folder.path()).await.unwrap_or_else(|e| panic!("version {version}: {e}"));
        let under = Under { disk: disk.clone(), synchronous: "FULL" };
        let clock = Clock::manual(Stamp::at_ms(NOW_MS));
        let journal = open_on(&under, folder.path(), &bare(), &clock).unwrap();
        let items = lease(&journal, Lane::Backlog, 100).await;
        settle(&journal, items.iter().map(delivered).collect()).await;
        // A reading of before is known again, a new one is taken.
        let kept = journal.commit(group([reading(2, "cuff"), reading(100, "cuff")])).await.unwrap();
        assert_eq!(kept, [known(1), new(1)], "version {version}");
        journal.close().await;
        let journal = open_on(&under, folder.path(), &bare(), &clock).unwrap();
        assert_eq!(numbers(&lease(&journal, Lane::Backlog, 100).await), [100], "version {version}");
        journal.close().await;
    }
}

#[tokio::test]
async fn a_power_cut_at_any_moment_of_a_migration_changes_nothing() {
    let cuts = times("JOURNAL_MIGRATIONS", 1_000);
    let mut random = Random::new(seed());
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<Disk> = (1..=STEPS.len()).map(|v| Disk::new(of_version(v, folder.path()))).collect();
    for disk in &runs {
        opens(disk, folder.path()).await.unwrap();
    }
    for n in 0..cuts {
        let run = &runs[random.below(runs.len())];
        let at = random.below(run.position() + 1);
        let disk = Disk::new(run.cut(at, &mut random));
        opens(&disk, folder.path()).await.unwrap_or_else(|e| panic!("cut {n}, at {at} of {}: {e}", run.position()));
    }
    eprintln!("{cuts} power cuts in migrations");
}
