//! A wall clock that is wrong: the order of readings, their debts and what retention removes do not hang on it.

use std::sync::Arc;
use std::time::Duration;

use wardline::clock::{Clock, Stamp};
use wardline::custody::Lane;
use wardline::journal::{Group, Journal};

use super::support::*;

const YEARS_10_MS: i64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// Wall clocks, one after the other: right, at 1970, ten years off in both directions, an hour back, right again.
fn walls() -> [(i64, bool); 6] {
    let hour = 60 * 60 * 1_000;
    [
        (NOW_MS, true),
        (1_000, false),
        (NOW_MS + YEARS_10_MS, true),
        (NOW_MS - YEARS_10_MS, false),
        (NOW_MS - hour, true),
        (NOW_MS + hour, true),
    ]
}

fn set(clock: &Clock, wall_ms: i64, trusted: bool) {
    clock.advance(Duration::from_secs(2));
    clock.set(Stamp { wall_ms, trusted, ..clock.now() });
}

fn begin(folder: &std::path::Path, clock: &Clock) -> Journal {
    Journal::open(folder, &settings(), &creditors(&["centre"]), clock.clone()).unwrap().0
}

#[tokio::test]
async fn whatever_the_clock_says_readings_keep_their_order_and_are_owed() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let journal = begin(folder.path(), &clock);
    for (n, (wall_ms, trusted)) in (1..).zip(walls()) {
        set(&clock, wall_ms, trusted);
        // It moves while the journal commits.
        let (a, b) = tokio::join!(journal.commit(group([reading(2 * n - 1, "d")])), async {
            set(&clock, wall_ms - 5_000, trusted);
            journal.commit(group([reading(2 * n, "d")])).await
        });
        assert_eq!((a.unwrap(), b.unwrap()), (vec![new(1)], vec![new(1)]));
    }
    let in_order: Vec<u64> = (1..=12).collect();
    assert_eq!(numbers(&lease(&journal, Lane::Fresh, 100).await), in_order);
    journal.close().await;
    // Another boot, at 1970.
    clock.set(Stamp { wall_ms: 0, mono_us: 0, boot: 2, trusted: false });
    let journal = begin(folder.path(), &clock);
    assert_eq!(numbers(&lease(&journal, Lane::Backlog, 100).await), in_order);
    journal.close().await;
    sound(folder.path());
}

/// A retry's time is the monotonic clock's.
#[tokio::test]
async fn a_clock_that_jumps_neither_hurries_nor_holds_a_retry() {
    for (wall_ms, trusted) in walls() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let journal = begin(folder.path(), &clock);
        journal.commit(group([reading(1, "d")])).await.unwrap();
        let items = lease(&journal, Lane::Fresh, 1).await;
        settle(&journal, vec![retry(&items[0], Some(Duration::from_secs(60)), false)]).await;
        set(&clock, wall_ms, trusted);
        assert!(lease(&journal, Lane::Fresh, 1).await.is_empty(), "before its time, at {wall_ms}");
        clock.advance(Duration::from_secs(60));
        assert_eq!(lease(&journal, Lane::Fresh, 1).await.len(), 1, "not at its time, at {wall_ms}");
    }
}

/// Untrusted, nothing is old. Ten years ahead, what is settled may look old; what is owed stays, and so does what is young.
#[tokio::test]
async fn a_wrong_clock_removes_nothing_that_is_owed() {
    for (wall_ms, trusted) in walls() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let journal = begin(folder.path(), &clock);
        let arrivals = (1..=20).map(|n| arrival(vec![reading(n, "d")])).collect();
        journal.commit(Arc::new(Group { arrivals, events: vec![] })).await.unwrap();
        let items = lease(&journal, Lane::Fresh, 10).await;
        settle(&journal, items.iter().map(delivered).collect()).await;
        set(&clock, wall_ms, trusted);
        for _ in 0..8 {
            clock.advance(Duration::from_secs(61));
            lease(&journal, Lane::Alert, 1).await;
        }
        let held = journal.commit(group((1..=20).map(|n| reading(n, "d")))).await.unwrap();
        let gone = held.iter().filter(|k| k.new > 0).count();
        assert!(gone == 0 || trusted && wall_ms > NOW_MS + YEARS_10_MS / 2, "{gone} removed at {wall_ms}");
        assert!(held[10..].iter().all(|k| k.known == 1), "an owed one was removed at {wall_ms}");
    }
}
