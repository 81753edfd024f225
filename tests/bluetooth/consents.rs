//! Shared scales that give a user's weights only for that user's code, over the bus: whose code is right is read, whose is wrong
//! is asked for once; nobody sees a code.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use wardline::lab::device::Use;

use crate::bluez::{Manners, Peripheral, ScaleUser};
use crate::rig::Rig;
use crate::support::gateway::http_over_unix;

/// 70.00 kg and more, at different minutes of a morning.
fn weights(slot: u8, n: u8) -> Vec<Vec<u8>> {
    let weight = |i: u8| vec![6, 0xb0 + i, 0x36, 0xea, 7, 0x0b, 0x16, 7, i, slot, slot];
    (0..n).map(weight).collect()
}

fn user(slot: u8, code: u16) -> ScaleUser {
    ScaleUser { slot, code, mute: false, weights: weights(slot, 3) }
}

fn scale(number: u8, name: &str, users: Vec<ScaleUser>) -> Arc<Peripheral> {
    let gatt = vec![("181C", "2A9F", Use::Control), ("181D", "2A9D", Use::Indicate), ("180F", "2A19", Use::Read)];
    let manners = Manners { users, ..Manners::default() };
    let p = Peripheral::with(&format!("C0:26:DF:77:09:{number:02X}"), name, gatt, true, Vec::new(), manners);
    p.awake.store(false, Ordering::SeqCst);
    p
}

/// The gateway runs; users 1 to 3 of the scale are patients of their own.
async fn rig(scale: &Arc<Peripheral>) -> Option<Rig> {
    let mut rig = Rig::start(vec![scale.clone()], &[], "").await?;
    rig.stop();
    // Nobody had it before.
    std::fs::remove_dir_all(rig.gateway.path("state")).unwrap();
    rig.gateway.reword(|text| {
        let slots = r#"slots = { "1" = "Patient/p1", "2" = "Patient/p2", "3" = "Patient/p3" }"#;
        let text = text.replace("patient = \"Patient/p1\"", slots);
        let others = "[[patient]]\nreference = \"Patient/p2\"\n[[patient]]\nreference = \"Patient/p3\"\n";
        text.replace("[[device]]", &format!("{others}[[device]]")) + "[log]\nlevel = \"trace\"\n"
    });
    rig.gateway.start();
    // A bond that bluetoothd knew at the start would have had it connected while it sleeps.
    scale.bonded.store(true, Ordering::SeqCst);
    Some(rig)
}

fn id(p: &Peripheral) -> String {
    format!("ble:{}", p.address)
}

fn give(rig: &Rig, p: &Peripheral, slot: &str, code: &str) -> (String, String, Option<i32>) {
    rig.gateway.cli_told(&["devices", "user", &id(p), "--slot", slot, "--by", "Ada"], &format!("{code}\n"))
}

/// `slot state`, as the command says.
fn standing(rig: &Rig, p: &Peripheral) -> Vec<String> {
    let said: Value = serde_json::from_str(&rig.gateway.cli(&["devices", "user", &id(p), "--json"]).0).unwrap();
    let of = |user: &Value| format!("{} {}", user["slot"], user["state"].as_str().unwrap());
    said["users"].as_array().unwrap().iter().map(of).collect()
}

/// How often this user was asked for.
fn asked(p: &Peripheral, slot: u8) -> usize {
    p.written.lock().unwrap().iter().filter(|(uuid, octets)| uuid == "2A9F" && octets[..2] == [2, slot]).count()
}

/// Readings of this patient.
fn of(rig: &Rig, patient: &str) -> usize {
    let rows = rig.gateway.json(&["readings", "--limit", "100"]);
    rows.as_array().unwrap().iter().filter(|row| row["reading"]["patient"] == patient).count()
}

fn faults(rig: &Rig, p: &Peripheral) -> String {
    rig.device(p)["users"].to_string()
}

/// The code of this user in any of the forms in which a program would show it.
fn shows(text: &str, slot: u8, code: &str) -> bool {
    let number: u16 = code.parse().unwrap();
    let [low, high] = number.to_le_bytes();
    let alone = text.match_indices(code).any(|(at, _)| {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.');
        !digit(text[..at].chars().next_back()) && !digit(text[at + code.len()..].chars().next())
    });
    // Two octets alone may be a part of any hash.
    let octets = [
        format!("2, {slot}, {low}, {high}"),
        format!("02{slot:02x}{low:02x}{high:02x}"),
        format!("02 {slot:02x} {low:02x} {high:02x}"),
    ];
    alone || octets.iter().any(|form| text.to_ascii_lowercase().contains(form))
}

/// Everything that a gateway says to anybody.
fn everything(rig: &Rig, p: &Peripheral, capture: &Path) -> String {
    // The moment of a line is a number of four digits, too.
    let recorded = std::fs::read_to_string(capture).unwrap();
    let lines = recorded.lines().map(|line| line.split_once(",\"").map_or(line, |(_, rest)| rest));
    let mut all = vec![rig.gateway.log(), lines.collect::<Vec<_>>().join("\n")];
    let device = id(p);
    for words in [
        &["status", "--json"][..],
        &["devices", "user", &device],
        &["devices", "user", &device, "--json"],
        &["devices", "show", &device],
        &["devices", "show", &device, "--json"],
        &["devices", "list", "--json"],
        &["custody", "show"],
        &["alerts", "--all"],
        &["inbox", "list"],
    ] {
        let (out, err, _) = rig.gateway.cli(words);
        all.push(format!("{words:?}\n{out}{err}"));
    }
    all.push(http_over_unix(&rig.gateway.path("status.sock"), "/metrics").unwrap());
    all.push(std::fs::read_to_string(rig.gateway.path("state/bluetooth.json")).unwrap_or_default());
    all.join("\n")
}

/// Each of them is asked for in each connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_read_with_their_own_codes_and_a_wrong_one_is_tried_once() {
    let scale = scale(1, "BF105", vec![user(1, 4711), user(2, 9007), user(3, 7951)]);
    let Some(mut rig) = rig(&scale).await else { return };
    // Without codes the scale says nothing, and the box says why.
    scale.awake.store(true, Ordering::SeqCst);
    rig.until("what is lacking", |rig| faults(rig, &scale).contains("WL-S074")).await;
    assert_eq!(standing(&rig, &scale), ["1 no-code", "2 no-code", "3 no-code"]);
    assert_eq!((rig.gateway.cli(&["devices", "user", &id(&scale)]).2, asked(&scale, 1)), (Some(1), 0));
    let capture = rig.gateway.path("capture.jsonl");
    let mut recording = Command::new(env!("CARGO_BIN_EXE_wardline"))
        .args(["devices", "record", &id(&scale), "--for", "10m"])
        .arg(&capture)
        .arg("--config")
        .arg(rig.gateway.path("wardline.toml"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    rig.until("a recording", |_| std::fs::metadata(&capture).is_ok_and(|m| m.len() > 0)).await;
    for (slot, code) in [("1", "4711"), ("2", "8042"), ("3", "7951")] {
        let (out, err, code) = give(&rig, &scale, slot, code);
        assert_eq!(code, Some(0), "{out}{err}");
    }
    // In the connection that stands.
    rig.until("both others' weights", |rig| (of(rig, "Patient/p1"), of(rig, "Patient/p3")) == (3, 3)).await;
    assert_eq!(scale.links.load(Ordering::SeqCst), 1);
    rig.until("a refusal", |rig| standing(rig, &scale) == ["1 accepted", "2 refused", "3 accepted"]).await;
    rig.until("an alert", |rig| rig.alerts("WL-S075") == 1).await;
    // Nor in later connections, nor after a restart.
    rig.until("another connection", |_| asked(&scale, 1) >= 2 && asked(&scale, 3) >= 2).await;
    assert_eq!((asked(&scale, 2), of(&rig, "Patient/p2")), (1, 0));
    assert_eq!(standing(&rig, &scale), ["1 accepted", "2 refused", "3 accepted"]);
    let before = everything(&rig, &scale, &capture);
    rig.stop();
    rig.gateway.start();
    assert_eq!(standing(&rig, &scale)[1], "2 refused");
    rig.until("a connection of the new process", |_| asked(&scale, 1) >= 3).await;
    rig.until("its end", |rig| rig.device(&scale)["connections"] == 1 && rig.device(&scale)["state"] != "connected")
        .await;
    assert_eq!(asked(&scale, 2), 1);

    // What is given while it runs is in force at once, or at the next connection.
    assert_eq!(give(&rig, &scale, "2", "9007").2, Some(0));
    rig.until("the third one's weights", |rig| of(rig, "Patient/p2") == 3).await;
    rig.until("all well", |rig| faults(rig, &scale) == "[]" && rig.alerts("WL-S075") == 0).await;
    rig.holds(9).await;
    let (out, err, code) = rig.gateway.cli(&["devices", "user", &id(&scale), "--slot", "1", "--forget", "--by", "Ada"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(standing(&rig, &scale), ["1 no-code", "2 accepted", "3 accepted"]);

    let _ = recording.kill();
    let _ = recording.wait();
    let said = before + &everything(&rig, &scale, &capture);
    let heard = format!("{:?}", scale.written.lock().unwrap());
    assert!(
        std::fs::read_to_string(&capture).unwrap().contains("2A9F"),
        "the request is in the recording, without its octets"
    );
    for (slot, code) in [(1, "4711"), (2, "8042"), (2, "9007"), (3, "7951")] {
        assert!(shows(&heard, slot, code), "the harness sees {code}: {heard}");
        assert!(!shows(&said, slot, code), "{code}: {said}");
    }
    assert!(said.contains("The code of a user was given"), "the log is among it");
    rig.stop();
}

/// A scale of any name, by the standard profiles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_for_whom_the_scale_does_not_answer_keeps_no_other_one_out() {
    let mute = ScaleUser { mute: true, ..user(1, 4711) };
    let scale = scale(2, "Some scale", vec![mute, user(2, 9007)]);
    let Some(mut rig) = rig(&scale).await else { return };
    for (slot, code) in [("1", "4711"), ("2", "9007"), ("3", "1")] {
        assert_eq!(give(&rig, &scale, slot, code).2, Some(0));
    }
    scale.awake.store(true, Ordering::SeqCst);
    rig.until("the other one's weights", |rig| of(rig, "Patient/p2") == 3).await;
    // The third is nobody for the scale: it says so, and that is no refusal.
    rig.until("their states", |rig| standing(rig, &scale) == ["1 unclear", "2 accepted", "3 unclear"]).await;
    rig.until("another try", |_| asked(&scale, 1) >= 2 && asked(&scale, 3) >= 2).await;
    assert_eq!(faults(&rig, &scale), "[]");
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_code_is_refused_and_not_repeated() {
    let scale = scale(3, "BF105", Vec::new());
    let Some(mut rig) = rig(&scale).await else { return };
    for wrong in ["47119", "4711x", "", "-1"] {
        let (out, err, code) = give(&rig, &scale, "1", wrong);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains("one to four digits") && !err.contains("471"), "{err}");
    }
    let file = rig.gateway.path("code");
    std::fs::write(&file, "4711\n").unwrap();
    let from_file = |device: &str| {
        let by = ["--slot", "1", "--by", "Ada", "--code-file", file.to_str().unwrap()];
        rig.gateway.cli(&[&["devices", "user", device][..], &by].concat())
    };
    let mode = |mode: u32| {
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let (_, err, code) = from_file(&id(&scale));
    assert!(code == Some(1) && err.contains("WL-O054"), "{err}");
    mode(0o600);
    assert!(from_file("ble:C0:26:DF:77:09:77").1.contains("WL-O004"), "a device that nobody knows");
    assert_eq!(from_file(&id(&scale).to_lowercase()).2, Some(0));
    assert_eq!(standing(&rig, &scale), ["1 not-tried", "2 no-code", "3 no-code"]);
    let (_, err, code) = rig.gateway.cli(&["devices", "user", &id(&scale), "--slot", "255", "--forget", "--by", "Ada"]);
    assert!(code == Some(1) && err.contains("0 to 254"), "{err}");
    rig.stop();
}
