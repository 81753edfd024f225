//! Readings received before the box knew the time.

use wardline::clock::{Clock, Stamp};
use wardline::custody::{Lane, Payload};
use wardline::journal::Journal;
use wardline::reading::{Reading, TimeMethod};

use crate::support::*;

const BOOT: u64 = 7;

/// The box's clocks `s` seconds after its boot: the wall clock at 1970, or right.
fn after_boot(s: u64, right: bool) -> Stamp {
    let wall_ms = i64::try_from(s * 1_000).unwrap() + if right { NOW_MS } else { 0 };
    Stamp { wall_ms, mono_us: s * 1_000_000, boot: BOOT, trusted: right }
}

fn waiting(n: u64, received: Stamp) -> Reading {
    let mut reading = reading(n, "cuff");
    reading.taken.received = received;
    (reading.taken.at_ms, reading.taken.method) = (None, TimeMethod::Pending);
    reading
}

async fn leased(journal: &Journal, lane: Lane) -> Vec<(u64, Option<i64>, TimeMethod)> {
    let items = journal.lease("centre", lane, 100).await.unwrap();
    let of = |what: &Payload| match what {
        Payload::Reading(r) => (number(r.key), r.taken.at_ms, r.taken.method),
        Payload::Alert(_) => panic!("an alert in a lane of readings"),
    };
    items.iter().map(|i| of(&i.what)).collect()
}

fn open_at(folder: &std::path::Path, now: Stamp) -> (Journal, Clock) {
    let clock = Clock::manual(now);
    (Journal::open(folder, &settings(), &creditors(&["centre"]), clock.clone()).unwrap().0, clock)
}

#[tokio::test]
async fn what_came_before_the_clock_was_right_gets_its_time_and_goes_out() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open_at(folder.path(), after_boot(10, false));
    journal.commit(group([waiting(1, after_boot(10, false)), reading(2, "other")])).await.unwrap();
    assert_eq!(leased(&journal, Lane::Fresh).await, [(2, Some(NOW_MS), TimeMethod::Received)]);
    // A restart of the gateway alone: the monotonic clock goes on.
    journal.close().await;
    drop(journal);
    let (journal, clock) = open_at(folder.path(), after_boot(20, false));
    journal.commit(group([waiting(3, after_boot(20, false))])).await.unwrap();
    assert_eq!(leased(&journal, Lane::Fresh).await, []);
    clock.set(after_boot(60, true));
    let mut changed = journal.changed();
    journal.commit(group([])).await.unwrap();
    changed.changed().await.unwrap();
    let at = |s: i64| Some(NOW_MS + s * 1_000);
    let backlog = leased(&journal, Lane::Backlog).await;
    assert!(backlog.contains(&(1, at(10), TimeMethod::Received)), "{backlog:?}");
    assert_eq!(leased(&journal, Lane::Fresh).await, [(3, at(20), TimeMethod::Received)]);
}

#[tokio::test]
async fn of_another_boot_nobody_knows_when_it_came_and_a_person_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open_at(folder.path(), after_boot(10, false));
    journal.commit(group([waiting(1, after_boot(10, false))])).await.unwrap();
    journal.close().await;
    drop(journal);
    let (journal, _) = open_at(folder.path(), Stamp { boot: BOOT + 1, ..after_boot(60, true) });
    assert_eq!(leased(&journal, Lane::Backlog).await, [(1, None, TimeMethod::Unresolved)]);
}
