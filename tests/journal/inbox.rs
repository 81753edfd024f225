//! The inbox in the journal: items go back to the outbox and lose neither identity nor history; counts add up.

use std::sync::Arc;

use wardline::custody::{ItemId, Lane};
use wardline::journal::inbox::{Cause, Kind};
use wardline::journal::reader::Standing;
use wardline::journal::{Act, Group, Journal, Reader};
use wardline::reading::PatientId;

use super::support::*;

fn only(reader: &Reader, kind: Kind) -> Cause {
    let stuck = reader.stuck().unwrap();
    let mut of = stuck.keys().filter(|c| c.kind == kind);
    let cause = of.next().expect("a group").clone();
    assert!(of.next().is_none(), "{stuck:?}");
    cause
}

async fn replay(journal: &Journal, reader: &Reader, kind: Kind) -> u64 {
    let cause = only(reader, kind);
    let rows = reader.items(&cause, 0, 100).unwrap().iter().map(|i| i.row).collect();
    journal.redress(Act::Open(vec![(cause.clone(), NOW_MS)])).await.unwrap();
    journal.redress(Act::Replay { cause, by: "Ada".into(), rows }).await.unwrap()
}

fn add_up(reader: &Reader) {
    let custody = reader.custody().unwrap();
    assert_eq!(custody.committed, custody.unassigned + custody.settled + custody.waiting, "{custody:?}");
    for owed in &custody.destinations {
        let r = owed.readings;
        assert_eq!(r.waiting + r.delivered + r.rejected + custody.unassigned, custody.committed, "{custody:?}");
    }
}

#[tokio::test]
async fn what_is_replayed_is_owed_again_also_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let reader = Reader::new(folder.path());
    journal.commit(group((1..=9).map(|n| reading(n, "d")))).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 10).await;
    let outcome = |(n, item)| if n % 2 == 1 { rejected(item) } else { delivered(item) };
    settle(&journal, items.iter().enumerate().map(outcome).collect()).await;
    assert_eq!(reader.stuck().unwrap().values().next().unwrap().items, 4);
    add_up(&reader);

    assert_eq!(replay(&journal, &reader, Kind::Refused).await, 4);
    add_up(&reader);
    assert!(reader.stuck().unwrap().is_empty());
    assert_eq!(reader.cases().unwrap()[0].sending, 4);
    // The gateway ends before any of it is sent.
    journal.close().await;
    let (journal, _) = open(folder.path());
    let again = lease(&journal, Lane::Backlog, 10).await;
    assert_eq!(numbers(&again), [2, 4, 6, 8]);
    assert!(again.iter().all(|i| i.attempts == 1), "their attempts go on");
    settle(&journal, again.iter().map(delivered).collect()).await;
    add_up(&reader);
    assert_eq!(reader.cases().unwrap()[0].sending, 0);
    assert!(lease(&journal, Lane::Backlog, 10).await.is_empty());
    journal.close().await;
    sound(folder.path());
}

#[tokio::test]
async fn nobodys_readings_are_owed_once_they_have_a_patient() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let reader = Reader::new(folder.path());
    journal
        .commit(group([reading(1, "nobody"), reading(2, "d"), reading(3, "nobody"), reading(4, "d")]))
        .await
        .unwrap();
    let items = lease(&journal, Lane::Fresh, 10).await;
    assert_eq!(numbers(&items), [2, 4]);
    settle(&journal, items.iter().map(delivered).collect()).await;
    add_up(&reader);
    let cause = only(&reader, Kind::Unassigned);
    journal.redress(Act::Open(vec![(cause.clone(), NOW_MS)])).await.unwrap();
    let rows: Vec<_> = reader.items(&cause, 0, 100).unwrap().iter().map(|i| i.row).collect();
    let act = Act::Assign { cause, by: "Ada".into(), patient: PatientId::new("Patient/p"), rows };
    assert_eq!(journal.redress(act.clone()).await.unwrap(), 2);
    assert_eq!(journal.redress(act).await.unwrap(), 0, "once is enough");
    add_up(&reader);
    let theirs = lease(&journal, Lane::Fresh, 10).await;
    assert_eq!(numbers(&theirs), [1, 3]);
    settle(&journal, theirs.iter().map(delivered).collect()).await;
    add_up(&reader);
    journal.close().await;
    let (journal, _) = open(folder.path());
    assert!(lease(&journal, Lane::Backlog, 10).await.is_empty());
    journal.close().await;
    sound(folder.path());
}

#[tokio::test]
async fn an_alert_event_is_sent_again_unless_a_later_one_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let reader = Reader::new(folder.path());
    let events = vec![
        raised(alert("00112233445566778899aabbccddeeff", vec![])),
        raised(alert("10112233445566778899aabbccddeeff", vec![])),
        resolved(alert("10112233445566778899aabbccddeeff", vec![])),
    ];
    journal.commit(Arc::new(Group { arrivals: vec![], events })).await.unwrap();
    let items = lease(&journal, Lane::Alert, 10).await;
    settle(&journal, vec![rejected(&items[0]), rejected(&items[1]), delivered(&items[2])]).await;
    let cause = only(&reader, Kind::Alert);
    assert_eq!(reader.items(&cause, 0, 100).unwrap().len(), 2);
    assert_eq!(replay(&journal, &reader, Kind::Alert).await, 1, "an old state must not overwrite a newer one");
    journal.close().await;
    let (journal, _) = open(folder.path());
    let again = lease(&journal, Lane::Alert, 10).await;
    assert_eq!(again.iter().map(|i| i.id).collect::<Vec<_>>(), [ItemId::Alert(1)]);
    assert!(lease(&journal, Lane::Alert, 10).await.is_empty(), "leased twice");
    settle(&journal, again.iter().map(delivered).collect()).await;
    assert!(lease(&journal, Lane::Alert, 10).await.is_empty());
    assert!(reader.stuck().unwrap().is_empty());
    journal.close().await;
    sound(folder.path());
}

#[tokio::test]
async fn a_frame_that_can_be_read_now_becomes_readings_in_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let reader = Reader::new(folder.path());
    let rejects = ["x", "y"].map(reject).into_iter().collect();
    journal.commit(Arc::new(Group { arrivals: rejects, events: vec![] })).await.unwrap();
    let cause = only(&reader, Kind::Undecodable);
    assert_eq!((&*cause.place, &*cause.code), ("home", "WL-D001"));
    journal.redress(Act::Open(vec![(cause.clone(), NOW_MS)])).await.unwrap();
    let items = reader.items(&cause, 0, 100).unwrap();
    let arrivals = vec![(items[0].row, arrival(vec![reading(7, "d")]))];
    journal.redress(Act::Redo { cause: cause.clone(), by: "Ada".into(), arrivals }).await.unwrap();
    assert_eq!(numbers(&lease(&journal, Lane::Fresh, 10).await), [7]);
    let left = reader.items(&cause, 0, 100).unwrap();
    assert_eq!(left.len(), 1);
    let items = vec![(left[0].row, "message 2".to_owned())];
    let act = Act::Discard { cause, by: "Ada".into(), reason: "noise".into(), items };
    assert_eq!(journal.redress(act).await.unwrap(), 1);
    assert!(reader.stuck().unwrap().is_empty());
    journal.close().await;
    sound(folder.path());
}

#[tokio::test]
async fn what_was_given_up_says_by_whom_and_may_be_removed_later() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let reader = Reader::new(folder.path());
    journal.commit(group([reading(1, "d")])).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 10).await;
    settle(&journal, vec![rejected(&items[0])]).await;
    let cause = only(&reader, Kind::Refused);
    journal.redress(Act::Open(vec![(cause.clone(), NOW_MS)])).await.unwrap();
    let row = reader.items(&cause, 0, 1).unwrap()[0].row;
    let items = vec![(row, key(1).to_string())];
    let act = Act::Discard { cause: cause.clone(), by: "Ada".into(), reason: "a test".into(), items };
    journal.redress(act).await.unwrap();
    let standing = &reader.standings(row).unwrap()[0].1;
    assert!(matches!(standing, Standing::Rejected(_, why) if why.ends_with("given up by Ada: a test")), "{standing:?}");
    add_up(&reader);
    let past = reader.past(&cause.id()).unwrap();
    assert_eq!((past[0].what.as_str(), past[0].by.as_deref(), past[0].items), ("discarded", Some("Ada"), 1));
    journal.close().await;
    sound(folder.path());
}
