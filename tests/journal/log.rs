//! The write-ahead log stays short, whoever reads.

use std::sync::atomic::{AtomicBool, Ordering};

use wardline::journal::Reader;
use wardline::reading::Reading;

use super::support::*;

/// One read after the other, each a little longer than the pause between two commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_short_while_readers_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let done = AtomicBool::new(false);
    let longest = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let reader = Reader::new(folder.path());
                while !done.load(Ordering::Relaxed) {
                    assert!(reader.find(key(u64::MAX)).unwrap().is_none());
                }
            });
        }
        let work = async {
            let mut longest = 0;
            for n in 0..250 {
                // Without pairs of clocks, so that the figure is comparable with those of before.
                let readings = (0..400).map(|i| Reading { clocks: None, ..reading(n * 400 + i, "d") });
                journal.commit(group(readings)).await.unwrap();
                let log = folder.path().join("journal.sqlite3-wal").metadata().unwrap().len();
                longest = longest.max(log);
            }
            longest
        };
        let longest = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work));
        done.store(true, Ordering::Relaxed);
        longest
    });
    assert!(longest <= 16 << 20, "{longest} octets");
}
