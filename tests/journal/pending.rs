//! Readings received before the box knew the time.

use jiff::Timestamp;
use wardline::clock::{Clock, Stamp};
use wardline::custody::{Lane, Payload};
use wardline::journal::Journal;
use wardline::reading::{DeviceTime, Reading, TimeMethod};

use crate::support::*;

const BOOT: u64 = 7;

/// The box's clocks `s` seconds after its boot: the wall clock at 1970, or right.
fn after_boot(s: u64, right: bool) -> Stamp {
    let wall_ms = i64::try_from(s * 1_000).unwrap() + if right { NOW_MS } else { 0 };
    Stamp { wall_ms, mono_us: s * 1_000_000, boot: BOOT, trusted: right }
}

fn waiting(n: u64, received: Stamp) -> Reading {
    // Each of a device of its own: one that is on its way holds up the next one of its device.
    let mut reading = reading(n, &format!("cuff-{n}"));
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

/// What its device says, received by a box that could hold nothing against it.
fn told(n: u64, received: Stamp, at_ms: i64, stored: bool) -> Reading {
    let mut reading = waiting(n, received);
    reading.taken.device = Some(DeviceTime::Instant(Timestamp::from_millisecond(at_ms).unwrap()));
    (reading.taken.at_ms, reading.taken.method, reading.stored) = (Some(at_ms), TimeMethod::Unchecked, stored);
    reading
}

#[tokio::test]
async fn the_word_of_a_device_is_held_against_the_clock_once_it_is_right() {
    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * HOUR;
    let folder = tempfile::tempdir().unwrap();
    let (journal, clock) = open_at(folder.path(), after_boot(10, false));
    let at = after_boot(10, false);
    let received = NOW_MS + 10_000;
    let cases = [
        (1, received - 2_000, false),
        (2, received + HOUR, false),
        (3, received - 3 * YEAR, false),
        (4, received - HOUR, true),
        (5, received + HOUR, true),
        (6, received - 3 * YEAR, true),
    ];
    journal.commit(group(cases.map(|(n, said, stored)| told(n, at, said, stored)))).await.unwrap();
    assert_eq!(leased(&journal, Lane::Fresh).await, []);
    assert_eq!(leased(&journal, Lane::Backlog).await, []);
    clock.set(after_boot(60, true));
    let mut changed = journal.changed();
    journal.commit(group([])).await.unwrap();
    changed.changed().await.unwrap();
    let mut all = leased(&journal, Lane::Fresh).await;
    all.extend(leased(&journal, Lane::Backlog).await);
    all.sort_unstable_by_key(|(n, ..)| *n);
    let expected = [
        (1, Some(received - 2_000), TimeMethod::DeviceInstant),
        (2, Some(received), TimeMethod::Received),
        (3, Some(received), TimeMethod::Received),
        (4, Some(received - HOUR), TimeMethod::DeviceInstant),
        (5, None, TimeMethod::Unresolved),
        (6, None, TimeMethod::Unresolved),
    ];
    assert_eq!(all, expected);
    journal.close().await;
    let reader = wardline::journal::Reader::new(folder.path());
    assert!(reader.verify().unwrap().faults.is_empty(), "what arrived is as it was");
}

#[tokio::test]
async fn of_another_boot_nobody_knows_when_it_came_and_a_person_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open_at(folder.path(), after_boot(10, false));
    let at = after_boot(10, false);
    let said = [told(2, at, NOW_MS, false), told(3, at, NOW_MS + 86_400_000, false)];
    journal.commit(group([waiting(1, at)].into_iter().chain(said))).await.unwrap();
    journal.close().await;
    drop(journal);
    // Another boot, and the clock is not right yet.
    let next = |s: u64, right: bool| Stamp { boot: BOOT + 1, ..after_boot(s, right) };
    let (journal, clock) = open_at(folder.path(), next(5, false));
    assert_eq!(leased(&journal, Lane::Backlog).await, [(1, None, TimeMethod::Unresolved)]);
    clock.set(next(60, true));
    let mut changed = journal.changed();
    journal.commit(group([])).await.unwrap();
    changed.changed().await.unwrap();
    // A word stands as it is, unless it is later than now.
    let mut backlog = leased(&journal, Lane::Backlog).await;
    backlog.sort_unstable_by_key(|(n, ..)| *n);
    assert_eq!(backlog, [(2, Some(NOW_MS), TimeMethod::DeviceInstant), (3, None, TimeMethod::Unresolved)]);
}
