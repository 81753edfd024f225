//! A reading that only an alert brought to the centre: it is taken back like one that went by itself.

use std::sync::Arc;

use wardline::amendment::{self, Order};
use wardline::clock::{Clock, Stamp};
use wardline::custody::{Creditor, Item, ItemId, Lane, Outcome, Payload, Why};
use wardline::journal::{Act, Correction, Group, Journal};
use wardline::reading::PatientId;

use super::support::*;

/// `evidence`: the destination gets it with an alert.
fn open(folder: &std::path::Path, boot: u64, evidence: bool) -> Journal {
    let clock = Clock::manual(Stamp { boot, ..Stamp::at_ms(NOW_MS) });
    let creditors: Vec<Creditor> =
        creditors(&["centre"]).into_iter().map(|creditor| Creditor { evidence, ..creditor }).collect();
    Journal::open(folder, &settings(), &creditors, clock).unwrap().0
}

/// Answers how many were corrected.
async fn correct(journal: &Journal) -> u64 {
    let old = reading(1, "a");
    let order = Order { by: "Ada".into(), at_ms: NOW_MS, reason: "wrong".into() };
    let correction = Correction {
        row: 1,
        withdrawal: amendment::withdrawal(&old, &order),
        replacement: Some(amendment::replacement(&old, PatientId::new("Patient/q"), &order)),
    };
    journal.redress(Act::Correct { by: "Ada".into(), corrections: vec![correction] }).await.unwrap()
}

/// What the readings' own way brings after the correction: withdrawals, and others.
async fn owed(journal: &Journal) -> (usize, usize) {
    let mut items = lease(journal, Lane::Fresh, 9).await;
    items.extend(lease(journal, Lane::Backlog, 9).await);
    let back = |i: &&Item| matches!(&i.what, Payload::Reading(r) if r.is_withdrawal());
    let withdrawals = items.iter().filter(back).count();
    (withdrawals, items.len() - withdrawals)
}

async fn after(word: &str, outcome: impl Fn(&Item) -> (ItemId, Outcome)) -> (usize, usize) {
    after_alert(word, true, outcome).await
}

async fn after_alert(word: &str, evidence: bool, outcome: impl Fn(&Item) -> (ItemId, Outcome)) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), 1, evidence);
    let events = vec![raised(alert("x", vec![key(1)]))];
    journal.commit(Arc::new(Group { arrivals: vec![arrival(vec![reading(1, "a")])], events })).await.unwrap();
    // The readings' own way is slower.
    let alerts = lease(&journal, Lane::Alert, 1).await;
    assert_eq!(alerts.len(), 1);
    assert_eq!(correct(&journal).await, 0, "{word}: what is being sent is not touched");
    let journal = if word == "crash" {
        drop(journal);
        open(folder.path(), 2, evidence)
    } else {
        settle(&journal, vec![outcome(&alerts[0])]).await;
        journal
    };
    assert_eq!(correct(&journal).await, 1, "{word}");
    let owed = owed(&journal).await;
    journal.close().await;
    owed
}

#[tokio::test]
async fn what_came_with_an_alert_is_taken_back_like_the_rest() {
    let unknown = |item: &Item| {
        (item.id, Outcome::Retry { after: None, why: Why::new("WL-F002", "no answer"), destination: true })
    };
    assert_eq!(after("delivered", delivered).await, (1, 1));
    // Its parts may have been taken.
    assert_eq!(after("refused", rejected).await, (1, 1));
    assert_eq!(after("no answer", unknown).await, (1, 1));
    assert_eq!(after("crash", delivered).await, (1, 1));
    // It surely never left: there is nothing to take back.
    assert_eq!(after("not there", |item| retry(item, None, true)).await, (0, 1));
}

/// To a receiver of HL7 v2 an alert tells a value, and brings no reading: what it never got is not taken back there. Its own
/// way counts as ever.
#[tokio::test]
async fn what_no_alert_brings_along_is_not_taken_back_where_only_the_alert_was() {
    assert_eq!(after_alert("delivered", false, delivered).await, (0, 1));
    assert_eq!(after_alert("refused", false, rejected).await, (0, 1));
    // Its own way may have been under way, too, when the gateway stopped.
    assert_eq!(after_alert("crash", false, delivered).await, (1, 1));
    let unknown = |item: &Item| {
        (item.id, Outcome::Retry { after: None, why: Why::new("WL-F002", "no answer"), destination: true })
    };
    assert_eq!(after_alert("no answer", false, unknown).await, (0, 1));
    // The reading itself was sent.
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), 1, false);
    let events = vec![raised(alert("x", vec![key(1)]))];
    journal.commit(Arc::new(Group { arrivals: vec![arrival(vec![reading(1, "a")])], events })).await.unwrap();
    for lane in [Lane::Alert, Lane::Fresh] {
        let items = lease(&journal, lane, 1).await;
        settle(&journal, vec![delivered(&items[0])]).await;
    }
    assert_eq!(correct(&journal).await, 1);
    assert_eq!(owed(&journal).await, (1, 1));
    journal.close().await;
}
