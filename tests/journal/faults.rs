//! A disk that fails: each call in turn, until nothing fails any more.
//!
//! `JOURNAL_FAULTS=all` tries every call; the normal run a sample of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{Said, start};
use super::crash::check;

const EIO: &str = "5";
const ENOSPC: &str = "28";
/// Rounds of the child: enough for a checkpoint in between would be slow; its end makes one.
const ROUNDS: u64 = 12;

/// The library that fails calls. `None`: no C compiler here.
fn faulty_disk(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("faulty_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journal/faulty_disk.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    if built.is_ok_and(|s| s.success()) {
        return Some(library);
    }
    std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("SKIPPED: no C compiler, so the disk cannot be made to fail\n"),
    )
    .unwrap();
    None
}

/// Runs the child on a disk whose `at`-th call fails. Answers what it said, and whether a call did fail.
async fn run(library: &Path, call: &str, errno: &str, at: u64, stays: bool) -> (Vec<Said>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let seen = folder.path().join("seen");
    let mut child = start(&journal, 1, ROUNDS, |command| {
        command.env("LD_PRELOAD", library).env("FAULT_CALL", call).env("FAULT_ERRNO", errno);
        command.env("FAULT_AT", at.to_string()).env("FAULT_SEEN", &seen);
        if stays {
            command.env("FAULT_STAYS", "1");
        }
    });
    let said = child.said();
    let (mut kept, mut settled) = (BTreeSet::new(), BTreeSet::new());
    for s in &said {
        match s {
            Said::Kept(first, last) => kept.extend(*first..=*last),
            Said::Settled(n) => {
                settled.insert(*n);
            }
            _ => {}
        }
    }
    if !kept.is_empty() {
        check(&journal, &kept, &settled).await;
    }
    (said, seen.exists())
}

/// Every n-th of the calls, in the normal run.
fn steps(sample: u64) -> impl Iterator<Item = u64> {
    let all = std::env::var("JOURNAL_FAULTS").is_ok_and(|v| v == "all");
    (1..).step_by(if all { 1 } else { usize::try_from(sample).unwrap() })
}

/// `wanted`: what the child may say when a call fails after it opened.
async fn sweep(call: &str, errno: &str, stays: bool, sample: u64, wanted: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = faulty_disk(folder.path()) else { return };
    let mut refusals = BTreeSet::new();
    for at in steps(sample) {
        let (said, failed) = run(&library, call, errno, at, stays).await;
        if !failed {
            assert!(said.contains(&Said::Done), "without a fault, at {at}: {said:?}");
            break;
        }
        let refused = said.iter().position(|s| matches!(s, Said::Refused(_)));
        if let Some(Said::Refused(how)) = refused.and_then(|i| said.get(i)) {
            refusals.insert(how.clone());
            assert!(wanted.contains(&&**how), "{call} {at}: refused {how}");
            let after = said.iter().skip(refused.unwrap()).any(|s| matches!(s, Said::Kept(..)));
            assert!(how != "fatal" || !after, "{call} {at}: acknowledged after a fatal failure: {said:?}");
        }
    }
    assert!(wanted.iter().all(|w| *w == "open" || refusals.contains(*w)), "never seen: {refusals:?} of {wanted:?}");
}

#[tokio::test]
async fn a_failed_sync_is_fatal() {
    sweep("sync", EIO, false, 3, &["open", "fatal"]).await;
}

#[tokio::test]
async fn a_failed_write_is_fatal() {
    sweep("write", EIO, false, 29, &["open", "fatal"]).await;
}

#[tokio::test]
async fn a_full_disk_keeps_nothing_and_loses_nothing() {
    sweep("write", ENOSPC, true, 37, &["open", "full"]).await;
}

/// The disk has room again: what was refused is taken now.
#[tokio::test]
async fn after_a_full_disk_the_journal_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = faulty_disk(folder.path()) else { return };
    let mut went_on = 0;
    for at in (30..).step_by(29) {
        let (said, failed) = run(&library, "write", ENOSPC, at, false).await;
        if !failed {
            break;
        }
        if let Some(refused) = said.iter().position(|s| *s == Said::Refused("full".into())) {
            assert!(said.iter().skip(refused).any(|s| matches!(s, Said::Kept(..))), "at {at}: {said:?}");
            went_on += 1;
        }
    }
    assert!(went_on > 0, "the disk was never full");
}
