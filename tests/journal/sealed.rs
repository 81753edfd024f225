//! Encryption at rest: who has the disk and not the key has nothing; who has the key loses nothing.

#![allow(clippy::disallowed_methods, reason = "another program's sight of the file")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wardline::custody::Lane;
use wardline::fault::Explain;
use wardline::journal::reader::Reader;
use wardline::journal::{Journal, Key, Recovered, Vault, backup, rekey, reset};

use super::support::*;

const FILE: &str = "journal.sqlite3";
/// Stands in what is stored, and nowhere in the names of tables and columns.
const CANARIES: [&str; 3] = ["canary-cuff", "Patient/p", "vitals/cuff"];

fn other() -> Key {
    Key::parse(&[b'7'; 64]).unwrap()
}

fn open_in(vault: &Vault) -> (Journal, Recovered) {
    Journal::open(vault, &settings(), &creditors(&["centre"]), clock()).unwrap()
}

fn refusal(vault: &Vault) -> &'static str {
    match Journal::open(vault, &settings(), &creditors(&["centre"]), clock()) {
        Ok(_) => panic!("it opened"),
        Err(e) => e.code(),
    }
}

/// Readings, a reject and an alert; some of it in the WAL.
async fn fill(vault: &Vault) {
    let (journal, _) = open_in(vault);
    journal.commit(group((1..=200).map(|n| reading(n, "canary-cuff")))).await.unwrap();
    journal.close().await;
    let (journal, _) = open_in(vault);
    journal.commit(group((201..=210).map(|n| reading(n, "canary-cuff")))).await.unwrap();
    let items = journal.lease("centre", Lane::Backlog, 50).await.unwrap();
    journal.settle("centre", items.iter().map(delivered).collect()).await.unwrap();
    journal.close().await;
}

async fn owed(vault: &Vault) -> Vec<u64> {
    let (journal, recovered) = open_in(vault);
    assert_eq!(recovered.salvaged, None);
    let owed = numbers(&lease(&journal, Lane::Backlog, 1_000).await);
    journal.close().await;
    owed
}

/// Every file of the folder, and whether a canary stands in one of them.
fn shows(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    let mut found = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        found.extend(CANARIES.iter().filter(|c| text.contains(**c)).map(|c| format!("{c} in {}", file.display())));
        if bytes.starts_with(b"SQLite format 3") {
            found.push(format!("{} is plain", file.display()));
        }
    }
    found
}

#[tokio::test]
async fn without_the_key_there_is_nothing_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(folder.path());
    fill(&vault).await;
    // In use: the WAL is there too.
    let (journal, _) = open_in(&vault);
    journal.commit(group([reading(300, "canary-cuff")])).await.unwrap();
    assert_eq!(shows(folder.path()), [""; 0]);
    journal.close().await;
    // The test of the test.
    let plain = tempfile::tempdir().unwrap();
    fill(&Vault::new(plain.path(), None)).await;
    assert!(shows(plain.path()).len() >= CANARIES.len());
}

#[tokio::test]
async fn a_wrong_or_missing_key_is_refused_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    fill(&vault(folder.path())).await;
    let before = std::fs::read(folder.path().join(FILE)).unwrap();
    assert_eq!(refusal(&Vault::new(folder.path(), Some(other()))), "WL-J050");
    assert_eq!(refusal(&Vault::new(folder.path(), None)), "WL-J051");
    assert!(Reader::new(Vault::new(folder.path(), Some(other()))).custody().is_err());
    // Also when nothing says any more which key it was.
    std::fs::remove_file(folder.path().join("journal.made")).unwrap();
    assert_eq!(refusal(&Vault::new(folder.path(), Some(other()))), "WL-J050");
    assert_eq!(refusal(&Vault::new(folder.path(), None)), "WL-J051");
    assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), before);
    assert_eq!(owed(&vault(folder.path())).await.len(), 160);
}

/// The page that every other page's key hangs on: damage of its first octets costs nothing.
#[tokio::test]
async fn damage_of_the_first_octets_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fill(&vault(folder.path())).await;
    let file = folder.path().join(FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..16].fill(0x5A);
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(owed(&vault(folder.path())).await.len(), 160);
}

/// Support can look into it with the tools that there are.
#[tokio::test]
async fn any_sqlcipher_shell_opens_it_with_the_key() {
    let folder = tempfile::tempdir().unwrap();
    fill(&vault(folder.path())).await;
    let conn = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    unlock(&conn);
    let count: i64 = conn.query_row("SELECT count(*) FROM readings", [], |r| r.get(0)).unwrap();
    assert_eq!(count, 210);
    let bad: i64 =
        conn.prepare("PRAGMA cipher_integrity_check").unwrap().query_map([], |_| Ok(())).unwrap().count() as i64;
    assert_eq!(bad, 0);
}

#[tokio::test]
async fn a_journal_from_before_there_was_a_key_is_encrypted_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Vault::new(folder.path(), None);
    fill(&plain).await;
    let before = Reader::new(&plain).verify().unwrap();
    assert_eq!(owed(&vault(folder.path())).await.len(), 160);
    assert_eq!(shows(folder.path()), [""; 0]);
    let after = Reader::new(vault(folder.path())).verify().unwrap();
    assert_eq!((after.readings, after.head, after.faults), (before.readings, before.head, vec![]));
    assert_eq!(refusal(&plain), "WL-J051");
}

#[tokio::test]
async fn another_key_takes_the_place_of_the_first_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let old = vault(folder.path());
    fill(&old).await;
    {
        let (journal, _) = open_in(&old);
        assert_eq!(rekey::rotate(&old, &other()).unwrap_err().code(), "WL-J002", "not while a gateway runs");
        journal.close().await;
    }
    rekey::rotate(&old, &other()).unwrap();
    // Asked again, as after an answer that was lost.
    rekey::rotate(&old, &other()).unwrap();
    assert_eq!(refusal(&old), "WL-J050");
    let new = Vault::new(folder.path(), Some(other()));
    assert_eq!(owed(&new).await.len(), 160);
    assert_eq!(Reader::new(&new).verify().unwrap().faults, [""; 0]);
    let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.contains("rekeyed")));
}

/// Root rotates and restores; the gateway runs as somebody else.
#[tokio::test]
async fn what_root_does_leaves_the_files_to_the_gateways_user() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !is_root() {
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    const SOMEBODY: u32 = 65_534;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let old = vault(&state);
    fill(&old).await;
    let copy = folder.path().join("copy");
    Reader::new(&old).copy_to(&copy).unwrap();
    let give = |path: &Path| chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    std::fs::read_dir(&state).unwrap().for_each(|e| give(&e.unwrap().path()));
    give(&state);
    let not_given = |folder: &Path| -> Vec<_> {
        let all = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        all.filter(|path| path.metadata().unwrap().uid() != SOMEBODY).collect()
    };
    rekey::rotate(&old, &other()).unwrap();
    assert!(not_given(&state).is_empty());
    let fresh = folder.path().join("fresh");
    std::fs::create_dir(&fresh).unwrap();
    give(&fresh);
    backup::restore(&copy, Key::parse(KEY.as_bytes()).as_ref(), Vault::new(&fresh, Some(other())), false, NOW_MS)
        .unwrap();
    assert!(not_given(&fresh).is_empty());
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|m| m.uid() == 0)
}

#[tokio::test]
async fn a_copy_of_another_box_is_put_back_under_this_boxs_key() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(&vault(theirs.path())).await;
    let copy = theirs.path().join("copy");
    Reader::new(vault(theirs.path())).copy_to(&copy).unwrap();
    assert_eq!(shows(theirs.path()), [""; 0]);
    let ours = Vault::new(&ours.path().join("state"), Some(other()));
    let theirs = Key::parse(KEY.as_bytes());
    let without = backup::restore(&copy, Some(&other()), &ours, false, NOW_MS);
    assert_eq!(without.unwrap_err().code(), "WL-J050");
    backup::restore(&copy, theirs.as_ref(), &ours, false, NOW_MS).unwrap();
    assert_eq!(owed(&ours).await.len(), 160);
}

#[tokio::test]
async fn a_factory_reset_destroys_the_key_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (state, key) = (folder.path().join("state"), folder.path().join("key"));
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let vault = Vault::new(&state, Some(Key::read(&key).unwrap()));
    fill(&vault).await;
    let taken = std::fs::read(state.join(FILE)).unwrap();
    let (journal, _) = open_in(&vault);
    assert_eq!(
        reset::destroy(&state, std::slice::from_ref(&key)).unwrap_err().code(),
        "WL-J002",
        "not while a gateway runs"
    );
    assert!(key.exists());
    journal.close().await;
    assert_eq!(reset::destroy(&state, std::slice::from_ref(&key)).unwrap(), std::slice::from_ref(&key));
    assert!(!key.exists());
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
    // Whoever took the disk before has octets, and no key.
    std::fs::write(state.join(FILE), taken).unwrap();
    assert_eq!(refusal(&Vault::new(&state, Some(Key::generate().unwrap()))), "WL-J050");
}

/// A change of keys that a power cut broke off, and a person who restores instead of starting: nothing of it is lost.
#[tokio::test]
async fn a_restore_ends_an_interrupted_change_first() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let it = vault(&state);
    fill(&it).await;
    let copy = folder.path().join("copy");
    Reader::new(&it).copy_to(&copy).unwrap();
    std::fs::rename(state.join(FILE), state.join("rekeyed.sqlite3")).unwrap();
    let refused = backup::restore(&copy, Key::parse(KEY.as_bytes()).as_ref(), &it, false, NOW_MS);
    assert_eq!(refused.unwrap_err().code(), "WL-J042");
    assert_eq!(owed(&it).await.len(), 160);
}
