//! Copies: one state, proved, and the way back.

use std::path::Path;

use wardline::custody::Lane;
use wardline::journal::backup::{self, RestoreError};
use wardline::journal::{Journal, Reader};

use super::support::*;

async fn fill(folder: &Path, numbers: std::ops::RangeInclusive<u64>) -> Journal {
    let (journal, _) = open(folder);
    journal.commit(group(numbers.map(|n| reading(n, "d")))).await.unwrap();
    journal
}

#[tokio::test]
async fn a_copy_of_a_journal_in_use_is_put_back_and_owes_what_it_owed() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("copy");
    let journal = fill(folder.path(), 1..=5).await;
    let items = lease(&journal, Lane::Fresh, 2).await;
    settle(&journal, items.iter().map(delivered).collect()).await;
    let copy = Reader::new(folder.path()).copy_to(&file).unwrap();
    assert_eq!((copy.readings, copy.newest_ms), (5, Some(NOW_MS)));
    assert!(Reader::new(folder.path()).copy_to(&file).is_err(), "a file is never overwritten");
    journal.commit(group([reading(6, "d")])).await.unwrap();
    journal.close().await;
    drop(journal);

    // The box is swapped.
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(backup::restore(&file, None, fresh.path(), false, NOW_MS).unwrap(), (copy, None));
    let (journal, _) = open(fresh.path());
    assert_eq!(numbers(&lease(&journal, Lane::Backlog, 10).await), [3, 4, 5]);
    journal.close().await;
}

#[tokio::test]
async fn a_restore_moves_nothing_aside_unless_it_is_told_and_nothing_while_the_gateway_runs() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("copy");
    let journal = fill(folder.path(), 1..=2).await;
    Reader::new(folder.path()).copy_to(&file).unwrap();
    let in_use = backup::restore(&file, None, folder.path(), true, NOW_MS);
    assert!(matches!(in_use, Err(RestoreError::Unusable(_))), "{in_use:?}");
    journal.commit(group([reading(3, "d")])).await.unwrap();
    journal.close().await;
    drop(journal);
    let refused = backup::restore(&file, None, folder.path(), false, NOW_MS);
    assert!(matches!(&refused, Err(RestoreError::InTheWay(owes)) if owes.contains(" 3 ")), "{refused:?}");
    let (_, aside) = backup::restore(&file, None, folder.path(), true, NOW_MS).unwrap();
    assert_eq!(Reader::new(folder.path()).custody().unwrap().committed, 2);
    // What was put aside is a copy too, its log with it.
    let again = backup::restore(&aside.unwrap(), None, &*other.path().join("again"), false, NOW_MS).unwrap().0;
    assert_eq!(again.readings, 3);
}

#[tokio::test]
async fn a_copy_that_is_damaged_or_was_touched_is_refused_and_nothing_changes() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = fill(folder.path(), 1..=500).await;
    let file = other.path().join("copy");
    Reader::new(folder.path()).copy_to(&file).unwrap();
    drop(journal);
    let whole = std::fs::read(&file).unwrap();
    let fresh = other.path().join("fresh");
    let refused = |why: &str, bytes: &[u8]| {
        let bad = other.path().join("bad");
        std::fs::write(&bad, bytes).unwrap();
        let answer = backup::restore(&bad, None, &*fresh, false, NOW_MS);
        assert!(answer.is_err(), "{why}: {answer:?}");
        assert!(!fresh.join("journal.sqlite3").exists());
    };
    refused("foreign", b"not a journal at all");
    refused("cut", &whole[..whole.len() / 2]);
    let mut zeroed = whole.clone();
    let middle = whole.len() / 2 / 4_096 * 4_096;
    zeroed[middle..middle + 4_096].fill(0);
    refused("zeroed", &zeroed);
    // One digit of one value: every page is well formed.
    let touched = other.path().join("touched");
    std::fs::write(&touched, &whole).unwrap();
    #[allow(clippy::disallowed_methods, reason = "a hand in the file")]
    let conn = rusqlite::Connection::open(&touched).unwrap();
    conn.execute("UPDATE reading SET parts = replace(parts, '84', '85') WHERE id = 24", []).unwrap();
    drop(conn);
    refused("touched", &std::fs::read(&touched).unwrap());
}
