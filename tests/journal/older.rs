//! A journal of the version before readings kept their pair of clocks: its rows are sealed and a column shorter.

use std::path::Path;

use wardline::custody::{Lane, Payload};
use wardline::journal::reader::Reader;
use wardline::reading::Reading;

use super::support::*;

/// One hand in the file.
#[allow(clippy::disallowed_methods, reason = "as another version would have made it, and as a disk damages it")]
fn by_hand<T>(folder: &Path, work: impl FnOnce(&rusqlite::Connection) -> T) -> T {
    let conn = rusqlite::Connection::open(folder.join("journal.sqlite3")).unwrap();
    let answer = work(&conn);
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    answer
}

/// Those have no pair.
fn old(n: u64) -> Reading {
    Reading { clocks: None, ..reading(n, "cuff") }
}

/// Version 8 with so many sealed readings, closed in order.
async fn of_version_8(folder: &Path, readings: u64) {
    let (journal, _) = open(folder);
    journal.commit(group((1..=readings).map(old))).await.unwrap();
    journal.close().await;
    by_hand(folder, |conn| {
        conn.execute_batch(
            "ALTER TABLE reading DROP COLUMN clocks; DROP TABLE bygone; DROP TABLE user_code; PRAGMA user_version = 8",
        )
        .unwrap();
        let columns = "SELECT count(*) FROM pragma_table_info('reading')";
        assert_eq!(conn.query_row(columns, [], |r| r.get::<_, i64>(0)).unwrap(), 29);
    });
}

/// What the newest readings are, by their numbers.
fn stored(folder: &Path, most: usize) -> Vec<Reading> {
    let mut all: Vec<_> =
        Reader::new(folder).readings(None, None, most).unwrap().into_iter().map(|l| l.reading).collect();
    all.sort_by_key(|r| number(r.key));
    all
}

#[tokio::test]
async fn rows_of_before_the_pair_keep_their_seals_and_new_ones_are_sealed_with_it() {
    let folder = tempfile::tempdir().unwrap();
    of_version_8(folder.path(), 20).await;
    let (journal, recovered) = open(folder.path());
    assert_eq!(recovered.salvaged, None);
    // 22 has a pair.
    journal.commit(group([reading(21, "cuff"), reading(22, "cuff")])).await.unwrap();
    assert!(reading(22, "cuff").clocks.is_some());
    let expected: Vec<_> = (1..=20).map(old).chain([reading(21, "cuff"), reading(22, "cuff")]).collect();
    let mut leased = lease(&journal, Lane::Backlog, 100).await;
    leased.extend(lease(&journal, Lane::Fresh, 100).await);
    let leased = leased.into_iter().map(|item| match item.what {
        Payload::Reading(reading) => Reading::clone(&reading),
        Payload::Alert(_) => panic!("an alert"),
    });
    let mut leased: Vec<_> = leased.collect();
    leased.sort_by_key(|r| number(r.key));
    assert_eq!(leased, expected);
    journal.close().await;
    let verified = Reader::new(folder.path()).verify().unwrap();
    assert_eq!((verified.faults.len(), verified.readings), (0, 22), "{verified:?}");
    assert_eq!(stored(folder.path(), 100), expected);

    // A pair that was changed, taken away or put where none was is seen, by the seal and by the chain.
    for sql in [
        "UPDATE reading SET clocks = replace(clocks, '2010-01-01', '2010-01-02') WHERE id = 22",
        "UPDATE reading SET clocks = NULL WHERE id = 22",
        "UPDATE reading SET clocks = (SELECT clocks FROM reading WHERE id = 22) WHERE id = 3",
    ] {
        by_hand(folder.path(), |conn| {
            conn.execute_batch("CREATE TEMP TABLE kept AS SELECT id, clocks FROM reading").unwrap();
            assert_eq!(conn.execute(sql, []).unwrap(), 1);
            let verified = Reader::new(folder.path()).verify().unwrap();
            assert!(!verified.faults.is_empty(), "{sql}");
            assert_eq!(stored(folder.path(), 100).len(), 21, "{sql}: the damaged row is not believed");
            let back = "UPDATE reading SET clocks = (SELECT clocks FROM kept WHERE kept.id = reading.id)";
            conn.execute(back, []).unwrap();
        });
        assert!(Reader::new(folder.path()).verify().unwrap().faults.is_empty(), "{sql}");
    }
}

/// The page that leads to all readings is gone: they are found in the leaves, with and without the column.
#[tokio::test]
async fn rows_of_both_lengths_are_found_in_a_damaged_journal() {
    let folder = tempfile::tempdir().unwrap();
    of_version_8(folder.path(), 400).await;
    let (journal, _) = open(folder.path());
    journal.commit(group((401..=600).map(|n| reading(n, "cuff")))).await.unwrap();
    journal.close().await;
    let (root, size) = by_hand(folder.path(), |conn| {
        let number = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
        (number("SELECT rootpage FROM sqlite_schema WHERE name = 'reading'"), number("PRAGMA page_size"))
    });
    let file = folder.path().join("journal.sqlite3");
    let mut bytes = std::fs::read(&file).unwrap();
    let (at, size) = (usize::try_from((root - 1) * size).unwrap(), usize::try_from(size).unwrap());
    assert_eq!(bytes[at], 5, "it leads to leaves");
    bytes[at..at + size].fill(0);
    std::fs::write(&file, bytes).unwrap();
    let (journal, recovered) =
        match wardline::journal::Journal::open(folder.path(), &settings(), &creditors(&["centre"]), clock()) {
            Ok(opened) => opened,
            Err(e) => panic!("{e}"),
        };
    journal.close().await;
    let found = match recovered.salvaged {
        Some(salvaged) => salvaged.readings,
        None => {
            // The damage is met at work; the next start salvages.
            let (journal, recovered) = open(folder.path());
            journal.close().await;
            recovered.salvaged.unwrap().readings
        }
    };
    assert_eq!(found, 600);
    let expected: Vec<_> = (1..=400).map(old).chain((401..=600).map(|n| reading(n, "cuff"))).collect();
    assert_eq!(stored(folder.path(), 1_000), expected);
}
