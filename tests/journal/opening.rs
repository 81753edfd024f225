//! What does not open, and why.

#![allow(clippy::disallowed_methods, reason = "another program's sight of the file")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wardline::config::JournalSettings;
use wardline::custody::Lane;
use wardline::fault::Explain;
use wardline::journal::{Journal, JournalError, OpenError};

use super::support::*;

fn refused(folder: &Path, settings: &JournalSettings) -> OpenError {
    match Journal::open(folder, settings, &creditors(&["centre"]), clock()) {
        Ok(_) => panic!("it opened"),
        Err(e) => e,
    }
}

async fn made(folder: &Path) {
    let (journal, _) = open(folder);
    journal.commit(group((1..=50).map(|n| reading(n, "d")))).await.unwrap();
    journal.close().await;
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path()).await;
    let file = folder.path().join("journal.sqlite3");
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE later (x); PRAGMA user_version = 99")
        .unwrap();
    let before = std::fs::read(&file).unwrap();
    let e = refused(folder.path(), &settings());
    assert!(matches!(e, OpenError::Newer { found: 99, .. }), "{e}");
    assert_eq!(e.code(), "WL-J003");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn another_programs_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.sqlite3");
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert_eq!(refused(folder.path(), &settings()).code(), "WL-J005");
}

#[tokio::test]
async fn two_gateways_never_share_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    assert_eq!(refused(folder.path(), &settings()).code(), "WL-J002");
    journal.close().await;
    open(folder.path());
}

#[test]
fn without_the_reserve_it_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let e = refused(folder.path(), &JournalSettings { reserve_mib: 1 << 40, ..settings() });
    assert_eq!(e.code(), "WL-J007");
}

#[tokio::test]
async fn the_files_are_for_the_gateway_alone() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("state");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (_journal, _) = open(&folder);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn after_the_end_everything_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    journal.close().await;
    let refused = journal.commit(group([reading(1, "d")])).await;
    assert!(matches!(refused, Err(JournalError::Closed)));
    assert!(matches!(journal.lease("centre", Lane::Fresh, 1).await, Err(JournalError::Closed)));
}

/// While the process ends, libcrypto takes itself apart: a writer still at work would say that its disk failed, or crash.
#[tokio::test]
async fn no_writer_is_at_work_when_the_last_handle_is_gone() {
    for n in 1..=20 {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        let other = journal.clone();
        let many = group((1..=500).map(|k| reading(n * 1_000 + k, "d")));
        {
            // Asked, and not waited for: as when the time of a shutdown is up.
            let mut commit = std::pin::pin!(other.commit(many));
            assert!(futures_util::FutureExt::now_or_never(&mut commit).is_none());
        }
        drop((journal, other));
        let lock = std::fs::File::options().write(true).open(folder.path().join("journal.lock")).unwrap();
        // A child that another test has just forked may hold it for a moment.
        let free = (0..5).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            lock.try_lock().is_ok()
        });
        assert!(free, "the writer is still at work");
    }
}
