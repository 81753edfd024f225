//! What people did, in the chain of custody: kept until it was told, and nothing else of it changes.

use std::path::Path;
use std::time::Duration;

use wardline::clock::{Clock, Stamp};
use wardline::custody::Lane;
use wardline::deed::{Deed, Did};
use wardline::journal::{Act, Journal, Reader};
use wardline::reading::PatientId;

use super::support::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn begin(journal: &Journal, tell: &[&str], configuration: &str) {
    let destinations = tell.iter().map(|d| (*d).to_owned()).collect();
    let act = Act::Tell { destinations, all: false, configuration: Some(configuration.into()) };
    journal.redress(act).await.unwrap();
}

async fn did(journal: &Journal, did: Did) -> i64 {
    let deed = did.by(Some("Ada")).about(&[PatientId::new("Patient/a")]);
    journal.redress(Act::Did(Box::new(deed))).await.unwrap().cast_signed()
}

async fn told(journal: &Journal, destination: &str, through: i64) {
    journal.redress(Act::Told { destination: destination.into(), through }).await.unwrap();
}

fn words(folder: &Path, after: i64) -> Vec<&'static str> {
    let found = Reader::new(folder).deeds(after, 100).unwrap();
    assert_eq!(found.damaged, 0);
    found.deeds.iter().map(|told| told.deed.did.word()).collect()
}

#[tokio::test]
async fn who_wants_to_know_is_told_from_then_on_and_where_it_stood_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    begin(&journal, &[], "1").await;
    did(&journal, Did::Read).await;
    journal.close().await;
    drop(journal);
    let reader = Reader::new(folder.path());
    assert_eq!(reader.told("centre").unwrap(), None);
    let (journal, _) = open(folder.path());
    begin(&journal, &["centre"], "1").await;
    let from = reader.told("centre").unwrap().unwrap();
    assert!(words(folder.path(), from).is_empty(), "what was before does not concern it");
    let read = did(&journal, Did::Read).await;
    did(&journal, Did::Introduced).await;
    told(&journal, "centre", read).await;
    told(&journal, "nobody", read).await;
    // Never back.
    told(&journal, "centre", 1).await;
    journal.close().await;
    drop(journal);
    let (journal, _) = open(folder.path());
    begin(&journal, &["centre", "other"], "2").await;
    assert_eq!(reader.told("centre").unwrap(), Some(read));
    assert_eq!(words(folder.path(), read), ["introduced", "configured"]);
    assert_eq!(words(folder.path(), reader.told("other").unwrap().unwrap()), ["configured"], "that it begins is told");
    begin(&journal, &["other"], "2").await;
    assert_eq!(reader.told("centre").unwrap(), None, "it does not want to know any more");
    assert!(reader.verify().unwrap().faults.is_empty());
}

#[tokio::test]
async fn an_export_that_the_end_of_the_process_broke_off_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    begin(&journal, &["centre"], "1").await;
    let whole = did(&journal, Did::Exporting).await;
    let begun = did(&journal, Did::Exporting).await;
    let deed = Deed { begun: Some(whole), ..Did::Exported.by(Some("Ada")) };
    journal.redress(Act::Did(Box::new(deed))).await.unwrap();
    drop(journal);
    for _ in 0..2 {
        let (journal, _) = open(folder.path());
        begin(&journal, &["centre"], "1").await;
        drop(journal);
    }
    let found = Reader::new(folder.path()).deeds(0, 100).unwrap().deeds;
    let ends: Vec<_> = found.iter().filter(|t| t.deed.did == Did::Exported).map(|t| &t.deed).collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert_eq!((ends[0].failed, ends[0].begun), (false, Some(whole)));
    assert_eq!((ends[1].failed, ends[1].begun, ends[1].by.as_deref()), (true, Some(begun), Some("Ada")));
    assert_eq!(ends[1].patients.len(), 1, "whose it was to be");
}

/// The chain's beginning goes with its readings; what was not told yet, and how far was told, does not.
#[tokio::test]
async fn what_was_not_told_yet_outlives_the_readings_of_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let start = || Journal::open(folder.path(), &settings(), &creditors(&["centre"]), clock.clone()).unwrap().0;
    let journal = start();
    begin(&journal, &["centre"], "1").await;
    let mut n = 0;
    let mut day = async |journal: &Journal, readings: u64| {
        for _ in 0..readings {
            n += 1;
            journal.commit(group([reading(n, "a")])).await.unwrap();
        }
        let items = lease(journal, Lane::Fresh, 100).await;
        settle(journal, items.iter().map(delivered).collect()).await;
    };
    day(&journal, 5).await;
    let first = did(&journal, Did::Read).await;
    let second = did(&journal, Did::Exported).await;
    let old = async |journal: &Journal| {
        clock.advance(DAY * 40);
        for _ in 0..20 {
            clock.advance(Duration::from_secs(61));
            lease(journal, Lane::Alert, 1).await;
        }
    };
    day(&journal, 5).await;
    old(&journal).await;
    let reader = Reader::new(folder.path());
    let verified = reader.verify().unwrap();
    assert!(verified.faults.is_empty() && verified.removed > 0, "{verified:?}");
    assert_eq!(words(folder.path(), 0), ["read", "exported"], "nobody was told yet");
    told(&journal, "centre", first).await;
    day(&journal, 5).await;
    old(&journal).await;
    assert_eq!(words(folder.path(), 0), ["exported"]);
    told(&journal, "centre", second).await;
    day(&journal, 5).await;
    old(&journal).await;
    assert!(words(folder.path(), 0).is_empty(), "it has gone with its time");
    // Whoever tells looks through what is nobody's deed, and says so.
    for _ in 0..550 {
        day(&journal, 1).await;
    }
    let through = reader.deeds(second, 10).unwrap().through;
    told(&journal, "centre", through).await;
    old(&journal).await;
    let verified = reader.verify().unwrap();
    assert!(verified.faults.is_empty() && verified.entries < 100, "{verified:?}");
    // Where it stands is said again now and then: nobody searches the whole chain for it.
    for _ in 0..1_100 {
        day(&journal, 1).await;
    }
    journal.close().await;
    drop(journal);
    let journal = start();
    assert_eq!(reader.told("centre").unwrap(), Some(through));
    begin(&journal, &["centre"], "1").await;
    assert!(words(folder.path(), through).is_empty(), "no start says that the configuration changed");
    let verified = reader.verify().unwrap();
    assert!(verified.faults.is_empty() && verified.entries > 2_200, "{verified:?}");
}

#[tokio::test]
async fn a_deed_that_a_hand_changed_is_told_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    did(&journal, Did::Read).await;
    did(&journal, Did::Forgotten).await;
    did(&journal, Did::Read).await;
    journal.close().await;
    drop(journal);
    #[allow(clippy::disallowed_methods, reason = "a hand in the file")]
    let conn = rusqlite::Connection::open(folder.path().join("journal.sqlite3")).unwrap();
    assert_eq!(conn.execute("UPDATE custody SET detail = replace(detail, 'forgotten', 'read')", []).unwrap(), 3);
    drop(conn);
    let reader = Reader::new(folder.path());
    let found = reader.deeds(0, 100).unwrap();
    assert_eq!((found.deeds.len(), found.damaged), (2, 1));
    assert!(!reader.verify().unwrap().faults.is_empty());
}
