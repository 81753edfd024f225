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
        std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("SKIPPED: only root can give files away\n"))
            .unwrap();
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
    let destroyed = reset::destroy(&state, std::slice::from_ref(&key)).unwrap();
    assert_eq!((&destroyed.keys[..], destroyed.was_plain), (std::slice::from_ref(&key), false));
    assert!(!key.exists());
    // The lock is held to the end, and stays.
    let left = std::fs::read_dir(&state).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["journal.lock"]);
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

/// A rotation that a power cut broke off at its end leaves both names; and then the beginning of the file is damaged too.
#[tokio::test]
async fn the_pages_tell_which_of_two_keys_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let old = vault(folder.path());
    fill(&old).await;
    rekey::rotate(&old, &other()).unwrap();
    let word = format!("{}\n{}", Key::parse(KEY.as_bytes()).unwrap().id(), other().id());
    std::fs::write(folder.path().join("journal.made"), word).unwrap();
    behead(folder.path());
    assert_eq!(refusal(&old), "WL-J050");
    assert_eq!(owed(&Vault::new(folder.path(), Some(other()))).await.len(), 160);
}

/// Its first octets are gone.
fn behead(folder: &Path) {
    let file = folder.join(FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..16].fill(0x5A);
    std::fs::write(&file, bytes).unwrap();
}

/// By hand, over ours: it is refused, not salvaged into an empty journal.
#[tokio::test]
async fn the_file_of_another_box_is_not_taken_for_damage() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (it, its) = (Vault::new(theirs.path(), Some(other())), vault(ours.path()));
    fill(&it).await;
    fill(&its).await;
    let before = std::fs::read(ours.path().join(FILE)).unwrap();
    std::fs::copy(theirs.path().join(FILE), ours.path().join(FILE)).unwrap();
    assert_eq!(refusal(&its), "WL-J050");
    let said = Journal::open(&its, &settings(), &creditors(&["centre"]), clock()).err().unwrap().to_string();
    assert!(said.contains(&Key::parse(KEY.as_bytes()).unwrap().id()), "{said}");
    // Without a key it is not taken for a damaged file without one, whatever the word says.
    for word in ["", "plain"] {
        std::fs::write(ours.path().join("journal.made"), word).unwrap();
        assert_eq!(refusal(&Vault::new(ours.path(), None)), "WL-J051", "{word:?}");
        assert_eq!(refusal(&its), "WL-J050", "{word:?}");
    }
    let names = std::fs::read_dir(ours.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with("damaged-")));
    std::fs::write(ours.path().join(FILE), before).unwrap();
    assert_eq!(owed(&its).await.len(), 160);
}

/// What has no key and a damaged beginning is salvaged, as before.
#[tokio::test]
async fn a_plain_file_whose_beginning_is_damaged_is_known_as_plain() {
    for word in ["", "plain"] {
        let folder = tempfile::tempdir().unwrap();
        let plain = Vault::new(folder.path(), None);
        fill(&plain).await;
        behead(folder.path());
        std::fs::write(folder.path().join("journal.made"), word).unwrap();
        let (journal, recovered) = open_in(&plain);
        assert!(recovered.salvaged.is_some_and(|salvaged| salvaged.readings > 100), "{word:?}");
        journal.close().await;
    }
}

/// SQLite reads over it, and what stood there would be gone with the old file.
#[tokio::test]
async fn damage_is_seen_before_a_plain_journal_is_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Vault::new(folder.path(), None);
    fill(&plain).await;
    let file = folder.path().join(FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    // A leaf with many rows forgets one of them.
    let leaves = (1..bytes.len() / 4_096).map(|page| page * 4_096);
    let leaf = leaves.filter(|at| bytes[*at] == 13).max_by_key(|at| bytes[*at + 4]).unwrap();
    assert!(bytes[leaf + 4] > 3);
    bytes[leaf + 4] -= 1;
    std::fs::write(&file, bytes).unwrap();
    let (journal, recovered) = open_in(&vault(folder.path()));
    let kept = recovered.salvaged.expect("nobody is told").kept;
    assert!(folder.path().join(kept).exists());
    journal.close().await;
}

#[tokio::test]
async fn a_key_is_not_changed_where_there_is_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let refused = |state: &Path| rekey::rotate(&vault(state), &other()).unwrap_err().code();
    assert_eq!(refused(&state), "WL-J057");
    assert!(!state.exists());
    std::fs::create_dir(&state).unwrap();
    assert_eq!(refused(&state), "WL-J057");
    assert!(!state.join("journal.made").exists());
    // The box is as new.
    fill(&vault(&state)).await;
}

/// The disk still holds octets of the time before.
#[tokio::test]
async fn a_factory_reset_says_that_the_journal_was_plain_once() {
    let folder = tempfile::tempdir().unwrap();
    fill(&Vault::new(folder.path(), None)).await;
    fill(&vault(folder.path())).await;
    assert!(reset::destroy(folder.path(), &[]).unwrap().was_plain);
}
