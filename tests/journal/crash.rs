//! `kill -9` at random moments: what was acknowledged is there, once; what was settled stays settled.
//!
//! `JOURNAL_KILLS=10000` for the long run; `JOURNAL_SEED` repeats one.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use wardline::custody::Lane;
use wardline::journal::reader::Reader;

use super::child::{Said, start};
use super::support::*;

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kills() {
    let kills: u64 = std::env::var("JOURNAL_KILLS").map_or(1_000, |n| n.parse().unwrap());
    let mut random =
        std::env::var("JOURNAL_SEED").map_or_else(|_| u64::from(std::process::id()), |s| s.parse().unwrap());
    println!("JOURNAL_SEED={random}");
    let mut folder = tempfile::tempdir().unwrap();
    let (mut kept, mut settled) = (BTreeSet::new(), BTreeSet::new());
    let (mut acknowledged, mut before) = (0, 0);
    for kill in 0..kills {
        // A new journal now and then, so that its making is killed too and the check stays short.
        if kill % 100 == 99 {
            folder = tempfile::tempdir().unwrap();
            (kept, settled) = (BTreeSet::new(), BTreeSet::new());
            before = 0;
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = start(folder.path(), (kill + 1) * 1_000_000, 100_000, |_| {});
        // The moment is random on purpose; no result depends on it.
        std::thread::sleep(Duration::from_micros(random % 60_000));
        child.kill();
        for said in child.said() {
            match said {
                Said::Kept(first, last) => kept.extend(first..=last),
                Said::Settled(n) => {
                    settled.insert(n);
                }
                other => panic!("kill {kill}: {other:?}"),
            }
        }
        acknowledged += kept.len() - before;
        before = kept.len();
        if kept.is_empty() {
            continue;
        }
        check(folder.path(), &kept, &settled).await;
    }
    println!("{kills} kills, {acknowledged} readings acknowledged");
    assert!(acknowledged as u64 > kills, "the child was killed before it did anything");
}

/// Everything acknowledged is there once; nothing settled is owed again.
pub async fn check(folder: &Path, kept: &BTreeSet<u64>, settled: &BTreeSet<u64>) {
    let (journal, _) = open(folder);
    let custody = Reader::new(folder).custody().unwrap();
    assert_eq!(custody.committed, custody.settled + custody.waiting);
    let items = lease(&journal, Lane::Backlog, 1_000_000).await;
    let owed: BTreeSet<_> = numbers(&items).into_iter().collect();
    assert_eq!((owed.len(), items.len() as u64), (items.len(), custody.waiting));
    journal.close().await;
    sound(folder);
    let stored = stored(folder);
    assert!(kept.iter().all(|n| stored.contains(n)), "acknowledged and lost: {:?}", kept.difference(&stored));
    assert!(owed.is_disjoint(settled), "settled and owed again: {:?}", owed.intersection(settled));
}

/// Numbers of the stored readings; each once.
#[allow(clippy::disallowed_methods, reason = "another program's sight of the file")]
fn stored(folder: &Path) -> BTreeSet<u64> {
    let conn = rusqlite::Connection::open(folder.join("journal.sqlite3")).unwrap();
    let mut all = conn.prepare("SELECT key FROM reading").unwrap();
    let numbers: Vec<u64> = all
        .query_map([], |r| Ok(number(wardline::reading::ReadingKey(r.get(0)?))))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let set: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(set.len(), numbers.len(), "stored twice");
    set
}
