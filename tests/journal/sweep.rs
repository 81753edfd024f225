//! A disk that fails: each call in turn, until nothing fails any more.

use std::collections::BTreeSet;
use std::path::Path;

use wardline::journal::JournalError;
use wardline_disk::{Disk, Fails, Fault, Image, Random};

use super::simulated::*;

/// What one run with a fault came to.
struct Outcome {
    opened: bool,
    disk: Disk,
    facts: Facts,
    /// The numbers of a group that was refused for good.
    not_kept: BTreeSet<u64>,
    /// How the journal said it; `None`: it did not open, or nothing failed that it needed.
    refused: Option<JournalError>,
}

/// Works until something fails; after a full disk it goes on, as the pipeline does.
async fn run(folder: &Path, fault: Fault) -> Outcome {
    let disk = Disk::new(Image::new());
    disk.mount(folder);
    disk.fail(fault);
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let mut random = Random::new(7);
    let Ok(mut work) = Work::start(&under, folder, &bare(), 1) else {
        return Outcome { opened: false, disk, facts: Facts::default(), not_kept: BTreeSet::new(), refused: None };
    };
    let mut refused = None;
    let mut not_kept = BTreeSet::new();
    for _ in 0..24 {
        let next = work.next;
        match work.step(&mut random).await {
            Ok(()) => {
                assert!(!matches!(refused, Some(JournalError::Fatal(_))), "{fault:?}: acknowledged after it failed")
            }
            Err(JournalError::Closed) => panic!("{fault:?}: the journal's thread has ended"),
            Err(e @ JournalError::Fatal(_)) => {
                not_kept.extend(next..work.next);
                refused = Some(e);
            }
            Err(e) => refused = refused.or(Some(e)),
        }
    }
    work.journal.close().await;
    Outcome { opened: true, disk, facts: work.facts, not_kept, refused }
}

/// Every call fails once. Afterwards: the restarted journal has all that was acknowledged, with the page cache or without.
async fn sweep(what: Fails, stays: bool) -> Vec<Outcome> {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for at in 1.. {
        let fault = Fault::new(what, at, stays);
        let outcome = run(folder.path(), fault).await;
        if !outcome.disk.failed() {
            break;
        }
        let mut random = Random::new(at);
        for image in [outcome.disk.image(), outcome.disk.cut(outcome.disk.position(), &mut random)] {
            let under = Under { disk: Disk::new(image), synchronous: "FULL" };
            verify(&under, folder.path(), &outcome.facts).await.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        }
        all.push(outcome);
    }
    eprintln!("{what:?}: {} calls", all.len());
    assert!(all.len() > 20, "{}", all.len());
    all
}

/// The test of the test: had one refused group been acknowledged, the check would say so.
#[tokio::test]
async fn a_false_acknowledgement_would_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for outcome in sweep(Fails::Sync, true).await {
        let mut facts = outcome.facts;
        facts.kept.extend(outcome.not_kept);
        let under = Under { disk: Disk::new(outcome.disk.image()), synchronous: "FULL" };
        seen += usize::from(verify(&under, folder.path(), &facts).await.is_err_and(|e| e.starts_with("lost")));
    }
    assert!(seen > 5, "{seen}");
}

/// The test of the disk: a sync that is tried again after it failed does not save what the first one was for.
#[test]
fn the_disk_forgets_what_a_failed_sync_was_for() {
    let survives = |fails: bool| {
        let survived = |seed| {
            let disk = Disk::new(Image::from([("a".into(), vec![])]));
            disk.write("a", 0, &[1; 512]);
            if fails {
                disk.fail(Fault::new(Fails::Sync, 1, false));
                assert!(disk.sync("a").is_err());
            }
            disk.sync("a").unwrap();
            disk.cut(disk.position(), &mut Random::new(seed))["a"] == [1; 512]
        };
        (0..100).filter(|seed| survived(*seed)).count()
    };
    assert_eq!(survives(false), 100);
    assert!(survives(true) < 80);
}

#[tokio::test]
async fn any_call_that_fails_leads_to_no_false_acknowledgement() {
    let all = sweep(Fails::Any, false).await;
    let fatal = all.iter().filter(|o| matches!(o.refused, Some(JournalError::Fatal(_)))).count();
    assert!(fatal > 40, "{fatal}");
}

#[tokio::test]
async fn a_failed_sync_is_fatal_at_once_and_never_retried_in_place() {
    for stays in [false, true] {
        for (n, outcome) in sweep(Fails::Sync, stays).await.iter().enumerate() {
            assert!(!matches!(outcome.refused, Some(JournalError::Full)), "sync {}", n + 1);
            // One that is not made yet has acknowledged nothing, and is rolled back by SQLite.
            let again = outcome.disk.syncs_after_failure();
            assert!(!outcome.opened || again == 0, "sync {} was retried in place: {:#?}", n + 1, outcome.disk.tell());
        }
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_at_any_write_keeps_nothing_of_the_group_and_goes_on() {
    for what in [Fails::Full, Fails::Short] {
        for (n, outcome) in sweep(what, false).await.iter().enumerate() {
            assert!(!matches!(outcome.refused, Some(JournalError::Fatal(_))), "{what:?}, write {}", n + 1);
        }
        sweep(what, true).await;
    }
}
