//! A reading that only an alert brought to the centre: it is taken back like one that went by itself.

use std::sync::Arc;

use wardline::amendment::{self, Order};
use wardline::clock::{Clock, Stamp};
use wardline::custody::{Item, ItemId, Lane, Outcome, Payload, Why};
use wardline::journal::{Act, Correction, Group, Journal};
use wardline::reading::PatientId;

use super::support::*;

fn open(folder: &std::path::Path, boot: u64) -> Journal {
    let clock = Clock::manual(Stamp { boot, ..Stamp::at_ms(NOW_MS) });
    Journal::open(folder, &settings(), &creditors(&["centre"]), clock).unwrap().0
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
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), 1);
    let events = vec![raised(alert("x", vec![key(1)]))];
    journal.commit(Arc::new(Group { arrivals: vec![arrival(vec![reading(1, "a")])], events })).await.unwrap();
    // The readings' own way is slower.
    let alerts = lease(&journal, Lane::Alert, 1).await;
    assert_eq!(alerts.len(), 1);
    assert_eq!(correct(&journal).await, 0, "{word}: what is being sent is not touched");
    let journal = if word == "crash" {
        drop(journal);
        open(folder.path(), 2)
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
