//! Commit, lease, settle; the identity; lanes and order; redelivery.

use std::sync::Arc;
use std::time::Duration;

use wardline::clock::{Clock, Stamp};
use wardline::custody::Lane;
use wardline::journal::Group;
use wardline::reading::Arrival;

use super::support::*;

#[tokio::test]
async fn what_was_committed_is_owed_until_it_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, recovered) = open(folder.path());
    let first_run = recovered.run;
    let kept = journal.commit(group([reading(1, "d1"), reading(2, "d2"), reading(3, "nobody")])).await.unwrap();
    assert_eq!(kept, [new(1), new(1), new(1)]);
    let items = lease(&journal, Lane::Fresh, 10).await;
    assert_eq!(numbers(&items), [1, 2]);
    assert!(lease(&journal, Lane::Fresh, 10).await.is_empty(), "leased twice");
    settle(&journal, vec![delivered(&items[0])]).await;
    journal.close().await;

    let (journal, recovered) = open(folder.path());
    assert_ne!(recovered.run, first_run);
    assert_eq!(recovered.recent.len(), 3);
    assert!(lease(&journal, Lane::Fresh, 10).await.is_empty());
    assert_eq!(numbers(&lease(&journal, Lane::Backlog, 10).await), [2]);
}

#[tokio::test]
async fn a_reading_that_comes_again_is_not_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    journal.commit(group([reading(1, "d")])).await.unwrap();
    let again = Arc::new(Group { arrivals: vec![arrival(vec![reading(1, "d"), reading(2, "d")])], events: vec![] });
    let kept = journal.commit(again.clone()).await.unwrap();
    assert_eq!((kept[0].new, kept[0].known), (1, 1));
    assert_eq!(journal.commit(again).await.unwrap(), [known(2)]);
    assert_eq!(numbers(&lease(&journal, Lane::Fresh, 10).await), [1, 2]);
}

#[tokio::test]
async fn a_reject_is_kept_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let both = Group { arrivals: vec![reject("x"), arrival(vec![reading(1, "d")])], events: vec![] };
    let kept = journal.commit(Arc::new(both)).await.unwrap();
    assert!(kept[0].rejected);
    assert_eq!(kept[1], new(1));
}

#[tokio::test]
async fn a_retry_holds_its_device_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let (journal, _) =
        wardline::journal::Journal::open(folder.path(), &settings(), &creditors(&["centre"]), clock.clone()).unwrap();
    journal.commit(group([reading(1, "sick"), reading(2, "well"), reading(3, "sick")])).await.unwrap();
    let first = lease(&journal, Lane::Fresh, 2).await;
    assert_eq!(numbers(&first), [1, 2]);
    settle(&journal, vec![retry(&first[0], Some(Duration::from_secs(30)), false), delivered(&first[1])]).await;
    journal.commit(group([reading(4, "well"), reading(5, "sick")])).await.unwrap();
    let others = lease(&journal, Lane::Fresh, 10).await;
    assert_eq!(numbers(&others), [4]);
    clock.advance(Duration::from_secs(31));
    settle(&journal, vec![delivered(&others[0])]).await;
    let due = lease(&journal, Lane::Fresh, 10).await;
    assert_eq!(numbers(&due), [1, 3, 5]);
    assert_eq!(due[0].attempts, 1);
    settle(&journal, due.iter().map(delivered).collect()).await;
    assert!(lease(&journal, Lane::Fresh, 10).await.is_empty());
}

#[tokio::test]
async fn one_that_fails_twice_holds_nobody_not_even_its_own_device() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let (journal, _) =
        wardline::journal::Journal::open(folder.path(), &settings(), &creditors(&["centre"]), clock.clone()).unwrap();
    journal.commit(group([reading(1, "sick"), reading(2, "sick")])).await.unwrap();
    let wait = Some(Duration::from_secs(2));
    for round in 0..2 {
        let first = lease(&journal, Lane::Fresh, 1).await;
        assert_eq!((numbers(&first), first[0].attempts), (vec![1], round));
        settle(&journal, vec![retry(&first[0], wait, false)]).await;
        let next = lease(&journal, Lane::Fresh, 10).await;
        if round == 0 {
            assert!(next.is_empty(), "one try more, in order");
            clock.advance(Duration::from_secs(3));
            settle(&journal, vec![]).await;
        } else {
            assert_eq!(numbers(&next), [2]);
            settle(&journal, next.iter().map(delivered).collect()).await;
        }
    }
    clock.advance(Duration::from_secs(3));
    settle(&journal, vec![]).await;
    assert_eq!(numbers(&lease(&journal, Lane::Fresh, 10).await), [1], "and it is not forgotten");
}

#[tokio::test]
async fn a_retry_that_falls_due_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) =
        wardline::journal::Journal::open(folder.path(), &settings(), &creditors(&["centre"]), Clock::system()).unwrap();
    journal.commit(group([reading(1, "d")])).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 10).await;
    settle(&journal, vec![retry(&items[0], Some(Duration::from_millis(20)), false)]).await;
    let mut changed = journal.changed();
    changed.mark_unchanged();
    while lease(&journal, Lane::Fresh, 10).await.is_empty() {
        changed.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_settlement_that_nobody_waits_for_goes_with_the_next_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    journal.commit(group([reading(1, "d1")])).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 10).await;
    // This clock stands still: alone, the settlement would wait for ever.
    let settled = journal.settle_in_company("centre", vec![delivered(&items[0])]);
    let (settled, kept) = tokio::join!(settled, journal.commit(group([reading(2, "d1")])));
    assert_eq!((settled.is_ok(), kept.unwrap()), (true, vec![new(1)]));
    assert_eq!(numbers(&lease(&journal, Lane::Fresh, 10).await), [2], "of the same device, so the first is settled");
}

#[tokio::test]
async fn a_settlement_that_nobody_waits_for_does_not_wait_long() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) =
        wardline::journal::Journal::open(folder.path(), &settings(), &creditors(&["centre"]), Clock::system()).unwrap();
    journal.commit(group([reading(1, "d1")])).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 10).await;
    journal.settle_in_company("centre", vec![delivered(&items[0])]).await.unwrap();
}

#[tokio::test]
async fn after_an_outage_fresh_readings_overtake_the_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    journal.commit(group((1..=5).map(|n| reading(n, "d")))).await.unwrap();
    let probe = lease(&journal, Lane::Fresh, 2).await;
    settle(&journal, probe.iter().map(|i| retry(i, None, true)).collect()).await;
    journal.commit(group([reading(6, "d"), reading(7, "d")])).await.unwrap();
    let fresh = lease(&journal, Lane::Fresh, 10).await;
    assert_eq!(numbers(&fresh), [6, 7]);
    let backlog = lease(&journal, Lane::Backlog, 3).await;
    assert_eq!(numbers(&backlog), [1, 2, 3]);
    assert!(lease(&journal, Lane::Backlog, 3).await.is_empty(), "a later reading of a device in flight");
    settle(&journal, backlog.iter().chain(&fresh).map(delivered).collect()).await;
    assert_eq!(numbers(&lease(&journal, Lane::Backlog, 3).await), [4, 5]);
}

#[tokio::test]
async fn a_rejected_item_blocks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    journal.commit(group((1..=3).map(|n| reading(n, "d")))).await.unwrap();
    let first = lease(&journal, Lane::Fresh, 1).await;
    settle(&journal, vec![rejected(&first[0])]).await;
    assert_eq!(numbers(&lease(&journal, Lane::Fresh, 9).await), [2, 3]);
}

#[tokio::test]
async fn each_destination_is_owed_what_it_wants() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = creditors(&["centre", "files"]);
    both[1].readings = false;
    let (journal, _) = wardline::journal::Journal::open(folder.path(), &settings(), &both, clock()).unwrap();
    journal.commit(group([reading(1, "d")])).await.unwrap();
    assert!(journal.lease("files", Lane::Fresh, 10).await.unwrap().is_empty());
    assert!(journal.lease("unknown", Lane::Fresh, 10).await.unwrap().is_empty());
    assert_eq!(lease(&journal, Lane::Fresh, 10).await.len(), 1);
}

/// An undated message: its key comes from the arrival, so each has a new one.
fn undated(n: u64, frame: wardline::reading::Frame) -> Arc<Group> {
    let arrival = Arrival { frame, undated: true, outcome: Ok(vec![reading(n, "d")]) };
    Arc::new(Group { arrivals: vec![arrival], events: vec![] })
}

#[tokio::test]
async fn an_undated_message_is_known_again_by_the_marks_of_mqtt_only() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let mut n = 0;
    let mut check = async |bytes: &str, dup, packet_id, connection, expected: (u32, u32), why: &str| {
        n += 1;
        let kept = journal.commit(undated(n, marked(bytes, dup, packet_id, connection))).await.unwrap();
        assert_eq!((kept[0].new, kept[0].known), expected, "{why}");
    };
    check("72", false, 7, 1, (1, 0), "first").await;
    check("72", false, 7, 1, (1, 0), "an id used again, without DUP").await;
    check("72", true, 7, 1, (0, 1), "redelivered in this connection").await;
    check("72", true, 8, 1, (1, 0), "another id").await;
    check("73", true, 7, 1, (1, 0), "another content").await;
    check("72", true, 7, 1, (1, 0), "not the latest with that id").await;
    check("72", true, 7, 2, (0, 1), "redelivered in the next connection").await;
    check("72", true, 7, 3, (0, 1), "and in the one after that").await;
    check("72", true, 7, 5, (1, 0), "a connection was in between").await;
    check("80", false, 9, 5, (1, 0), "the last before the restart").await;
    journal.close().await;

    let (journal, _) = open(folder.path());
    for (bytes, packet_id, expected, why) in [
        ("80", 9, (0, 1), "redelivered after a restart"),
        ("72", 8, (1, 0), "stored, but not in the last connection before the restart"),
    ] {
        n += 1;
        let kept = journal.commit(undated(n, marked(bytes, true, packet_id, 1))).await.unwrap();
        assert_eq!((kept[0].new, kept[0].known), expected, "{why}");
    }
}
