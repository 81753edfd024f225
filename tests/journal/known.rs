//! What the journal knows of a reading of which half a key and a time are told, and from when on it knows all.

use std::collections::HashSet;
use std::time::Duration;

use wardline::clock::{Clock, Stamp};
use wardline::custody::Lane;
use wardline::journal::{Horizon, Journal, Reader};

use super::support::*;

fn half(n: u64) -> [u8; 8] {
    *key(n).0.first_chunk().unwrap()
}

#[tokio::test]
async fn a_reading_is_found_by_half_of_its_key_whatever_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    journal.commit(group((1..=4).map(|n| reading(n, if n == 4 { "nobody" } else { "cuff" })))).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 2).await;
    settle(&journal, vec![delivered(&items[0]), rejected(&items[1])]).await;
    let reader = Reader::new(folder.path());
    // The order of a key is here the number of the message, which is that of the reading.
    let wanted = [(1, 1), (2, 2), (3, 3), (4, 4), (1, 2), (9, 9)].map(|(order, n)| (order, half(n)));
    let found: Vec<Vec<u64>> = reader
        .alike(&wanted)
        .unwrap()
        .into_iter()
        .map(|all| all.into_iter().map(|r| number(r.unwrap().key)).collect())
        .collect();
    assert_eq!(found, [vec![1], vec![2], vec![3], vec![4], vec![], vec![]]);
    let halves: HashSet<_> = [2, 4, 9].map(half).into();
    let anywhere = reader.alike_anywhere(&halves).unwrap();
    let mut found: Vec<u64> = anywhere.into_values().flatten().map(|r| number(r.unwrap().key)).collect();
    found.sort_unstable();
    assert_eq!(found, [2, 4]);
    assert_eq!(reader.people((0, i64::MAX)).unwrap().len(), 1);
    assert_eq!(reader.people((0, NOW_MS - 1)).unwrap().len(), 0);
    journal.close().await;
    // A row that cannot be believed is there all the same.
    #[allow(clippy::disallowed_methods, reason = "as a bad disk would")]
    let conn = rusqlite::Connection::open(folder.path().join("journal.sqlite3")).unwrap();
    conn.execute("UPDATE reading SET parts = '[]' WHERE id = 1", []).unwrap();
    drop(conn);
    let found = Reader::new(folder.path()).alike(&[(1, half(1))]).unwrap();
    assert!(matches!(found[0][..], [None]), "{found:?}");
}

#[tokio::test]
async fn behind_what_was_removed_the_journal_knows_all() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let (journal, _) = Journal::open(folder.path(), &settings(), &creditors(&["centre"]), clock.clone()).unwrap();
    let horizon = || Reader::new(folder.path()).horizon().unwrap();
    assert_eq!(horizon(), None);
    // The first stays, as it is owed; the second goes; the third came ten days later.
    journal.commit(group([reading(1, "a")])).await.unwrap();
    let began = clock.now().wall_ms;
    journal.commit(group([reading(2, "b")])).await.unwrap();
    clock.advance(10 * DAY);
    let later = clock.now().wall_ms;
    journal.commit(group([reading(3, "c")])).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 9).await;
    let outcomes = items.iter().zip(numbers(&items));
    let outcomes = outcomes.map(|(item, n)| if n == 1 { retry(item, Some(400 * DAY), false) } else { delivered(item) });
    settle(&journal, outcomes.collect()).await;
    assert_eq!(horizon(), Some(Horizon { complete_ms: began, removed: false }));
    clock.advance(25 * DAY);
    journal.commit(group([reading(4, "c")])).await.unwrap();
    for _ in 0..6 {
        clock.advance(Duration::from_secs(61));
        lease(&journal, Lane::Alert, 1).await;
    }
    assert_eq!(horizon(), Some(Horizon { complete_ms: later, removed: true }));
    journal.close().await;
}
