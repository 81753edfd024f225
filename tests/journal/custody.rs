//! The chain of custody: nothing changes behind the gateway's back without being found.

use std::path::Path;

use wardline::custody::Lane;
use wardline::deed::Did;
use wardline::journal::{Act, DayCounts, Reader, Verified};
use wardline::reading::PatientId;

use crate::support::*;

/// Three devices, two groups, delivered but for one that is refused and one that waits.
async fn fill(folder: &Path) {
    let (journal, _) = open(folder);
    journal.commit(group([reading(1, "a"), reading(2, "b"), reading(3, "nobody-c")])).await.unwrap();
    let items = journal.lease("centre", Lane::Fresh, 10).await.unwrap();
    journal.settle("centre", vec![delivered(&items[0]), rejected(&items[1])]).await.unwrap();
    journal.commit(group([reading(4, "a")])).await.unwrap();
    let items = journal.lease("centre", Lane::Fresh, 10).await.unwrap();
    journal.settle("centre", vec![retry(&items[0], None, false)]).await.unwrap();
    let deed = Did::Exporting.by(Some("Ada")).about(&[PatientId::new("Patient/a")]);
    journal.redress(Act::Did(Box::new(deed))).await.unwrap();
    journal.close().await;
}

fn verify(folder: &Path) -> Verified {
    Reader::new(folder).verify().unwrap()
}

fn tamper(folder: &Path, sql: &str) -> Vec<String> {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap()) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let file = copy.path().join("journal.sqlite3");
    #[allow(clippy::disallowed_methods, reason = "a hand in the file")]
    let conn = rusqlite::Connection::open(file).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    assert!(conn.execute(sql, []).unwrap() > 0, "{sql}");
    drop(conn);
    verify(copy.path()).faults
}

#[tokio::test]
async fn a_chain_that_nobody_touched_holds_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let before = verify(folder.path());
    assert_eq!((before.faults.len(), before.readings), (0, 4), "{before:?}");
    let (journal, _) = open(folder.path());
    journal.commit(group([reading(5, "a")])).await.unwrap();
    journal.close().await;
    let after = verify(folder.path());
    assert_eq!((after.faults.len(), after.readings), (0, 5), "{after:?}");
    assert_ne!(before.head, after.head);
}

#[tokio::test]
async fn a_hand_in_the_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    for sql in [
        "UPDATE reading SET parts = replace(parts, '61', '62') WHERE id = 1",
        "UPDATE reading SET device = 2 WHERE id = 1",
        "DELETE FROM reading WHERE id = 2",
        "DELETE FROM reading WHERE id = 4",
        "UPDATE receipt SET places = replace(places, 'Observation/1', 'Observation/2')",
        "DELETE FROM receipt",
        "UPDATE custody SET at_ms = at_ms + 1 WHERE id = 2",
        "DELETE FROM custody WHERE id = 2",
        "UPDATE custody SET what = 'delivered' WHERE what = 'rejected'",
        "UPDATE custody SET detail = replace(detail, 'Ada', 'Eve') WHERE what = 'deed'",
        "UPDATE custody SET what = 'dated' WHERE what = 'deed'",
        "UPDATE custody SET detail = '{}' WHERE what = 'standing'",
        "DELETE FROM custody WHERE what = 'deed'",
        "INSERT INTO reading SELECT id + 10, x'00', key_order, device, patient, channel, frame, profile, vital, parts, slot,
         sequence, taken_ms, taken_uncertainty_ms, taken_method, device_time, quality, site, from_memory, committed_ms,
         committed_trusted, received_ms, received_trusted, received_mono_us, received_boot, bytes, seal, unassigned, amendment,
         clocks
         FROM reading WHERE id = 1",
    ] {
        let faults = tamper(folder.path(), sql);
        assert!(!faults.is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn each_day_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let days = Reader::new(folder.path()).days(0).unwrap();
    let of = |patient: bool| days.iter().find(|d| d.patient.is_some() == patient).unwrap();
    let expected = DayCounts {
        committed: 3,
        delivered: 1,
        waiting: 1,
        refused: 1,
        oldest_ms: Some(NOW_MS),
        ..DayCounts::default()
    };
    assert_eq!(of(true).counts, expected);
    assert_eq!(of(true).destination.as_deref(), Some("centre"));
    assert_eq!((of(false).counts.committed, of(false).destination.clone()), (1, None));
    assert_eq!(days.len(), 2);
}
