//! Encryption at rest as a technician meets it: the key, another key, a box that goes back.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests say what is wrong by ending, and measure their own patience"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

mod support;

use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::{Gateway, KEY};
use support::within;

const WHO: &str = "[[patient]]\nreference = \"Patient/canary-ref\"\n[[device]]\nid = \"mqtt:canary-cuff\"\npatient = \"Patient/canary-ref\"\n\
                   [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"http://127.0.0.1:9/fhir\"\nidempotency = \"update\"\n";

/// A gateway that took one reading and cannot deliver it.
async fn owing(broker: &Broker) -> Gateway {
    let source = format!("[[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port);
    let mut gateway = Gateway::new(&format!("[journal]\nreserve_mib = 1\n{source}{WHO}"));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let reading = support::dated(r#"{"id":1,"time":"2026-11-22T10:00:00Z","heart_rate":71}"#);
    device.publish("vitals/canary-cuff", [reading]).await;
    within("the reading", async {
        while gateway.json(&["readings"]).as_array().unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    gateway
}

fn key_file(gateway: &Gateway, name: &str, key: &str) -> String {
    let file = gateway.path(name);
    std::fs::write(&file, key).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Runs until it is refused: standard error.
fn refused(gateway: &Gateway) -> String {
    let (_, err, code) = gateway.cli(&["run"]);
    assert_eq!(code, Some(2), "{err}");
    err
}

fn holds(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
        let bytes = std::fs::read(&entry).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        found.extend(words.iter().filter(|w| text.contains(**w)).map(|w| format!("{w} in {}", entry.display())));
    }
    found
}

#[tokio::test]
async fn a_key_is_made_used_changed_and_destroyed_and_nothing_is_read_without_it() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return support::skipped("there is no mosquitto") };
    let mut gateway = owing(&broker).await;
    // In use, with its WAL; and the key itself is nowhere.
    let canaries = ["canary-ref", "canary-cuff", "heart-rate", "SQLite format", KEY];
    assert_eq!(holds(&gateway.path("state"), &canaries), [""; 0]);
    assert!(!gateway.log().contains(&KEY[..16]));
    let copy = gateway.path("copy");
    assert_eq!(gateway.cli(&["backup", copy.to_str().unwrap()]).2, Some(0));
    assert_eq!(gateway.stop(), Some(0));

    let made = Command::new(env!("CARGO_BIN_EXE_wardline")).args(["key", "new"]).output().unwrap().stdout;
    let new = String::from_utf8(made).unwrap();
    assert_eq!(new.trim().len(), 64);
    let new_file = key_file(&gateway, "new-key", &new);
    let (out, err, code) = gateway.cli(&["key", "rotate", "--to", &new_file]);
    assert_eq!(code, Some(0), "{out}{err}");
    let said = refused(&gateway);
    assert!(said.contains("WL-J050"), "{said}");
    gateway.reword(|text| text.replace("journal-key", "new-key"));
    gateway.start();
    assert_eq!(gateway.json(&["readings"]).as_array().unwrap().len(), 1);
    assert_eq!(gateway.cli(&["custody", "verify"]).2, Some(0));
    assert_eq!(gateway.stop(), Some(0));

    // The copy is of the time before: its key is needed, and the box goes on with its own.
    let copy = copy.to_str().unwrap();
    let (_, err, code) = gateway.cli(&["restore", copy, "--replace"]);
    assert!(code != Some(0) && err.contains("WL-J050"), "{err}");
    let old_file = key_file(&gateway, "old-key", KEY);
    let (_, err, code) = gateway.cli(&["restore", copy, "--replace", "--key-file", &old_file]);
    assert_eq!(code, Some(0), "{err}");
    gateway.start();
    assert_eq!(gateway.json(&["readings"]).as_array().unwrap().len(), 1);
    assert!(!gateway.cli(&["factory-reset", "--confirm", "test-box"]).2.eq(&Some(0)), "not while it runs");
    assert_eq!(gateway.stop(), Some(0));
    assert!(!gateway.log().contains("WL-J056"));

    let (said, _, code) = gateway.cli(&["factory-reset"]);
    assert!(code == Some(1) && said.contains("1 readings are NOT delivered") && said.contains("new-key"), "{said}");
    assert!(gateway.path("new-key").exists() && gateway.path("state/journal.sqlite3").exists());
    let (said, err, code) = gateway.cli(&["factory-reset", "--confirm", "test-box"]);
    assert_eq!(code, Some(0), "{said}{err}");
    assert!(said.contains("Destroyed the key"), "{said}");
    assert!(!gateway.path("new-key").exists());
    let left = std::fs::read_dir(gateway.path("state")).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["journal.lock"]);
    let said = refused(&gateway);
    assert!(said.contains("new-key"), "{said}");
}

#[tokio::test]
async fn what_lies_beside_the_journal_without_a_key_is_said_at_start_and_at_a_reset() {
    let mut gateway = Gateway::new("[journal]\nreserve_mib = 1\n");
    gateway.start();
    assert_eq!(gateway.stop(), Some(0));
    std::fs::write(gateway.path("state/damaged-1.sqlite3"), "SQLite format 3\0 and so on").unwrap();
    gateway.start();
    assert_eq!(gateway.stop(), Some(0));
    let log = gateway.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("WL-J056")).collect();
    assert!(said.len() == 1 && said[0].contains("damaged-1.sqlite3"), "{said:?}");
    let (said, err, code) = gateway.cli(&["factory-reset", "--confirm", "test-box"]);
    assert!(code == Some(1) && said.contains("not encrypted from the beginning"), "{said}{err}");
}
