//! What goes, and what never does.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wardline::amendment;
use wardline::clock::{Clock, Stamp};
use wardline::config::JournalSettings;
use wardline::custody::Lane;
use wardline::journal::reader::Reader;
use wardline::journal::{Act, Correction, Group, Journal};
use wardline::reading::Reading;

use super::support::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Box {
    folder: tempfile::TempDir,
    journal: Journal,
    clock: Clock,
}

fn set_up(settings: &JournalSettings) -> Box {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let (journal, _) = Journal::open(folder.path(), settings, &creditors(&["centre"]), clock.clone()).unwrap();
    Box { folder, journal, clock }
}

/// A frame of a certain size.
fn bulky(readings: Vec<Reading>, bytes: usize) -> wardline::reading::Arrival {
    let mut arrival = arrival(readings);
    arrival.frame.bytes = vec![7; bytes].into();
    arrival
}

impl Box {
    async fn commit(&self, arrivals: Vec<wardline::reading::Arrival>) {
        self.journal.commit(Arc::new(Group { arrivals, events: vec![] })).await.unwrap();
    }

    /// Lets the writer take so many steps: each command is an occasion for one that is due.
    async fn steps(&self, n: usize) {
        for _ in 0..n {
            self.clock.advance(Duration::from_secs(61));
            lease(&self.journal, Lane::Alert, 1).await;
        }
    }

    fn reader(&self) -> Reader {
        Reader::new(self.folder.path())
    }

    /// Numbers that are there, and those that still have their bytes.
    fn left(&self, numbers: impl Iterator<Item = u64>) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let reader = self.reader();
        let (mut rows, mut bytes) = (BTreeSet::new(), BTreeSet::new());
        for n in numbers {
            if let Some(life) = reader.explain(key(n)).unwrap() {
                rows.insert(n);
                if life.bytes.unwrap().octets.is_some() {
                    bytes.insert(n);
                }
            }
        }
        (rows, bytes)
    }

    async fn deliver(&self, max: usize) {
        let items = lease(&self.journal, Lane::Fresh, max).await;
        settle(&self.journal, items.iter().map(delivered).collect()).await;
    }
}

#[tokio::test]
async fn settled_readings_go_after_their_days_and_nothing_else_does() {
    let it = set_up(&settings());
    // 1, 2: one frame, both delivered. 3, 4: one frame, one of them still owed. 5: refused. 6: nobody's. 7: delivered. 8: young.
    it.commit(vec![
        arrival(vec![reading(1, "a"), reading(2, "a")]),
        arrival(vec![reading(3, "a"), reading(4, "b")]),
        arrival(vec![reading(5, "c")]),
        arrival(vec![reading(6, "nobody")]),
        arrival(vec![reading(7, "d")]),
        reject("x"),
        reject("y"),
    ])
    .await;
    let items = lease(&it.journal, Lane::Fresh, 9).await;
    let outcomes = items.iter().zip(numbers(&items)).map(|(item, n)| match n {
        4 => retry(item, Some(400 * DAY), false),
        5 => rejected(item),
        _ => delivered(item),
    });
    settle(&it.journal, outcomes.collect()).await;
    it.clock.advance(31 * DAY);
    it.commit(vec![arrival(vec![reading(8, "a")])]).await;
    it.steps(6).await;
    let (rows, bytes) = it.left(1..=8);
    assert_eq!(rows, [3, 4, 5, 6, 8].into());
    assert_eq!(bytes, rows, "bytes go with their reading, or when the budget is spent");
    let custody = it.reader().custody().unwrap();
    assert_eq!((custody.committed, custody.waiting, custody.settled), (8, 2, 5));
    let stuck: u64 = it.reader().stuck().unwrap().values().map(|e| e.items).sum();
    assert_eq!(stuck, 4, "the refused, nobody's, and the two that nobody could decode are somebody's work");
    it.journal.close().await;
    sound(it.folder.path());
}

/// A device that sends its memory again must not bring back what a person took back, however long ago.
#[tokio::test]
async fn what_was_corrected_is_known_for_ever() {
    let it = set_up(&settings());
    it.commit(vec![arrival(vec![reading(1, "a")]), arrival(vec![reading(2, "b")])]).await;
    it.deliver(2).await;
    let order = amendment::Order { by: "Ada".into(), at_ms: NOW_MS, reason: "wrong".into() };
    let withdrawal = amendment::withdrawal(&reading(1, "a"), &order);
    let corrections = vec![Correction { row: 1, withdrawal, replacement: None }];
    assert_eq!(it.journal.redress(Act::Correct { by: "Ada".into(), corrections }).await.unwrap(), 1);
    it.deliver(2).await;
    it.clock.advance(31 * DAY);
    it.commit(vec![arrival(vec![reading(3, "a")])]).await;
    it.steps(6).await;
    let (rows, bytes) = it.left(1..=3);
    assert_eq!(rows, [1, 3].into(), "the other one has gone");
    assert!(bytes.contains(&1), "bytes go when the budget is spent");
    let again = [1, 2].map(|n| arrival(vec![reading(n, ["a", "b"][n as usize - 1])]));
    let kept = it.journal.commit(Arc::new(Group { arrivals: again.into(), events: vec![] })).await.unwrap();
    assert_eq!((kept[0], kept[1]), (known(1), new(1)));
    it.journal.close().await;
    sound(it.folder.path());
}

#[tokio::test]
async fn beyond_the_budget_bytes_go_first_then_settled_readings() {
    let it = set_up(&JournalSettings { budget_mib: 1, ..settings() });
    // 2.4 MiB of bytes settled, 0.4 MiB owed.
    it.commit((1..=600).map(|n| bulky(vec![reading(n, "a")], 4_000)).collect()).await;
    it.deliver(600).await;
    it.commit((601..=700).map(|n| bulky(vec![reading(n, "a")], 4_000)).collect()).await;
    it.steps(40).await;
    let (rows, bytes) = it.left(1..=700);
    assert_eq!(rows.len(), 700, "bytes were enough");
    assert_eq!(bytes, (601..=700).collect(), "of what is settled, and of nothing else");

    // Now the owed alone are more than the budget.
    it.commit((701..=1_000).map(|n| bulky(vec![reading(n, "a")], 4_000)).collect()).await;
    it.steps(40).await;
    let (rows, bytes) = it.left(1..=1_000);
    assert_eq!(rows, (601..=1_000).collect());
    assert_eq!(bytes, rows);
    let waiting = it.reader().custody().unwrap().waiting;
    assert_eq!(waiting, 400);
    it.journal.close().await;
    sound(it.folder.path());
}

/// A flood of what nobody can decode does not fill the disk, and does not go without a word.
#[tokio::test]
async fn undecodable_messages_go_last_and_the_inbox_says_so() {
    let it = set_up(&JournalSettings { budget_mib: 1, ..settings() });
    let flood = |n: usize| {
        let mut one = reject("x");
        one.frame.bytes = vec![n as u8; 4_000].into();
        one
    };
    it.commit((0..600).map(flood).collect()).await;
    let reader = it.reader();
    let (cause, extent) = reader.stuck().unwrap().pop_first().unwrap();
    assert_eq!(extent.items, 600);
    it.journal.redress(wardline::journal::Act::Open(vec![(cause.clone(), NOW_MS)])).await.unwrap();
    it.steps(40).await;
    let left = reader.stuck().unwrap()[&cause].items;
    let dropped: u64 = reader.past(&cause.id()).unwrap().iter().filter(|p| p.what == "dropped").map(|p| p.items).sum();
    assert!(left < 300 && left > 0, "{left}");
    assert_eq!(left + dropped, 600);
    it.journal.close().await;
    sound(it.folder.path());
}

#[tokio::test]
async fn space_goes_back_to_the_disk() {
    let it = set_up(&settings());
    it.commit((1..=3_000).map(|n| bulky(vec![reading(n, "a")], 4_000)).collect()).await;
    it.deliver(3_000).await;
    let size = |folder: &Path| std::fs::metadata(folder.join("journal.sqlite3")).unwrap().len();
    it.clock.advance(31 * DAY);
    it.steps(60).await;
    it.journal.close().await;
    assert!(size(it.folder.path()) < 6 << 20, "{}", size(it.folder.path()));
    sound(it.folder.path());
}

/// Spans of settled readings hold on to numbers: one that came again would be taken for settled.
#[tokio::test]
async fn numbers_of_removed_readings_are_never_given_again() {
    let it = set_up(&settings());
    it.commit((1..=50).map(|n| arrival(vec![reading(n, "a")])).collect()).await;
    it.deliver(50).await;
    it.clock.advance(31 * DAY);
    it.steps(4).await;
    it.journal.close().await;
    #[allow(clippy::disallowed_methods, reason = "even if a person empties the table")]
    let conn = rusqlite::Connection::open(it.folder.path().join("journal.sqlite3")).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM reading").unwrap();
    drop(conn);
    let (journal, _) = open(it.folder.path());
    journal.commit(group([reading(51, "a")])).await.unwrap();
    assert_eq!(numbers(&lease(&journal, Lane::Fresh, 9).await), [51]);
}

#[tokio::test]
async fn without_a_trusted_clock_nothing_is_old() {
    let it = set_up(&settings());
    it.clock.set(Stamp { wall_ms: 1_000, mono_us: 1_000_000, boot: 1, trusted: false });
    it.commit((1..=5).map(|n| arrival(vec![reading(n, "a")])).collect()).await;
    it.deliver(5).await;
    it.steps(4).await;
    it.clock.set(Stamp { mono_us: it.clock.now().mono_us, ..Stamp::at_ms(NOW_MS) });
    it.steps(4).await;
    assert_eq!(it.left(1..=5).0.len(), 5);
}
