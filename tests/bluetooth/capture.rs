//! A device that is recorded can be replayed, and made an example of a profile; nobody learns from it which device it was.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use wardline::lab::device::{COMMON, Mishap, Tool, Use};

use crate::bluez::{Manners, Peripheral};
use crate::rig::{Rig, measured, peripheral};
use crate::support::PATIENCE;

/// `wardline` without a running gateway.
fn wardline(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wardline")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A recording under way: its process, and its file.
struct Recording(Child, PathBuf);

impl Recording {
    /// Begun, and the gateway has agreed.
    fn begin(rig: &Rig, device: &str, length: &str) -> Self {
        let file = rig.gateway.path(&format!("capture-{length}.jsonl"));
        let child = Command::new(env!("CARGO_BIN_EXE_wardline"))
            .args(["devices", "record", device, "--for", length])
            .arg(&file)
            .arg("--config")
            .arg(rig.gateway.path("wardline.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let since = Instant::now();
        while std::fs::read_to_string(&file).unwrap_or_default().is_empty() {
            assert!(since.elapsed() < PATIENCE, "no head was written");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child, file)
    }

    /// Ctrl-C.
    fn interrupt(self) -> (Output, PathBuf) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        self.end()
    }

    fn end(self) -> (Output, PathBuf) {
        (self.0.wait_with_output().unwrap(), self.1)
    }
}

/// What tells one reading from another, whoever took it in.
fn essence(reading: &Value) -> String {
    let of = |key: &str| reading[key].to_string();
    let at = [of("profile"), of("vital"), of("parts"), of("sequence"), reading["taken"]["device"].to_string()];
    at.join(" ")
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all
}

/// The readings of a running gateway.
fn taken_in(rig: &Rig) -> Vec<String> {
    let rows = rig.gateway.json(&["readings", "--limit", "1000"]);
    sorted(rows.as_array().unwrap().iter().map(|row| essence(&row["reading"])).collect())
}

fn replayed(said: &Value) -> Vec<String> {
    let frames = said["frames"].as_array().unwrap();
    sorted(frames.iter().flat_map(|f| f["readings"].as_array().unwrap()).map(essence).collect())
}

/// Puts examples at the end of a profile's file, and runs the profile's own test.
fn passes(folder: &Path, id: &str, examples: &str) {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("firmware-profiles/{id}.toml"));
    let file = folder.join(format!("{id}.toml"));
    std::fs::write(&file, format!("{}\n{examples}", std::fs::read_to_string(built_in).unwrap())).unwrap();
    let tested = wardline(&["profile", "test", file.to_str().unwrap()]);
    assert!(tested.status.success(), "{}\n{examples}", text(&tested.stdout));
}

/// A cuff with a serial number in its name, and one more in its device information.
fn cuff() -> (Arc<Peripheral>, usize) {
    let gatt = Tool::Cuff.gatt().iter().chain(&COMMON).copied().chain([("180A", "2A25", Use::Read)]).collect();
    let (values, readings) = measured(Tool::Cuff, 1, 3, Mishap::None);
    let manners = Manners::default();
    (Peripheral::with("C0:26:DF:1A:2B:3C", "A&D_UA-651BLE_1A2B3C", gatt, false, values, manners), readings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_is_replayed_alike_and_becomes_an_example() {
    let (cuff, a) = cuff();
    let (meter, b) = peripheral(Tool::Glucometer, 1, 30, Manners::default());
    for (device, readings, profile) in [(cuff, a, "and-ua-651ble"), (meter, b, "standard-glucose")] {
        device.awake.store(false, Ordering::SeqCst);
        let Some(mut rig) = Rig::start(vec![device.clone()], &[], "").await else { return };
        let recording = Recording::begin(&rig, &format!("ble:{}", device.address), "10m");
        // A bond that bluetoothd knew at the start would have had it connected before the recording.
        device.bonded.store(true, Ordering::SeqCst);
        device.awake.store(true, Ordering::SeqCst);
        rig.holds(readings).await;
        rig.until("its end", |_| std::fs::read_to_string(&recording.1).unwrap().contains("disconnected")).await;
        let (said, file) = recording.interrupt();
        let (out, err) = (text(&said.stdout), text(&said.stderr));
        assert!(said.status.success() && out.contains("health data"), "{out}{err}");
        nobody_is_in(&std::fs::read_to_string(&file).unwrap(), &device);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        // Beside the running gateway, with its configuration: nothing of it is touched.
        let file = file.to_str().unwrap();
        let before = taken_in(&rig);
        let again = rig.gateway.json(&["replay", file, "--patient", "Patient/p1", "--speed", "1000"]);
        assert_eq!(taken_in(&rig), before);
        assert_eq!((&again["readings"], &again["delivered"]), (&readings.into(), &readings.into()), "{again}");
        assert_eq!(replayed(&again), before, "{again}");
        let to = rig.gateway.path("resources");
        let fhir = wardline(&["replay", file, "--fhir", "--speed", "1000", "--to", to.to_str().unwrap()]);
        let resources: Vec<Value> = text(&fhir.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(resources.iter().filter(|r| r["resourceType"] == "Observation").count(), readings);
        let refused = wardline(&["replay", file, "--to", to.to_str().unwrap()]);
        assert_eq!(refused.status.code(), Some(2), "what is there is not mixed with it");
        assert!(text(&refused.stderr).contains("WL-S083"), "{}", text(&refused.stderr));

        let written = wardline(&["profile", "example", file, "--profile", profile, "--name", "from the ward"]);
        let toml = text(&written.stdout);
        assert!(written.status.success() && toml.contains("[[example]]"), "{}", text(&written.stderr));
        passes(&rig.gateway.path(""), profile, &toml);
        rig.stop();
    }
}

/// Neither address nor serial number, neither patient nor the minute.
fn nobody_is_in(capture: &str, device: &Peripheral) {
    let all = capture.to_lowercase();
    let digits = device.address.replace(':', "").to_lowercase();
    let back: String = digits.as_bytes().rchunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    for word in [&*device.address.to_lowercase(), &digits, &back, "1a2b3c", "p1\"", "patient", "\"2a25\",\"hex\""] {
        assert!(!all.contains(word), "{word}: {capture}");
    }
    let head: Value = serde_json::from_str(capture.lines().next().unwrap()).unwrap();
    assert!(head["started"].as_str().unwrap().ends_with(":00"), "{head}");
    let kinds = ["heard", "connected", "subscribe", "disconnected", "end"];
    kinds.iter().for_each(|kind| assert!(capture.contains(&format!("\"kind\":\"{kind}\"")), "{kind}: {capture}"));
}

/// A scale that only broadcasts, with its address in what it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_are_recorded_and_replayed_once() {
    let scale = Peripheral::with("C0:26:DF:77:00:03", "Scale", Vec::new(), false, Vec::new(), Manners::default());
    *scale.broadcast.lock().unwrap() = Some(("FCD2".to_owned(), vec![0x40, 0x06, 0x5e, 0x1f]));
    let Some(mut rig) = Rig::start(vec![scale.clone()], &[], "").await else { return };
    let recording = Recording::begin(&rig, &format!("ble:{}", scale.address), "3s");
    let (said, file) = recording.end();
    assert!(said.status.success() && text(&said.stdout).contains("its time is over"), "{}", text(&said.stdout));
    let capture = std::fs::read_to_string(&file).unwrap();
    assert!(capture.matches("\"heard\"").count() < 10, "the same again is left out: {capture}");
    let again = rig.gateway.json(&["replay", file.to_str().unwrap()]);
    assert_eq!((&again["readings"], again["frames"].as_array().unwrap().len()), (&1.into(), 1), "{again}");
    let out = wardline(&["profile", "example", file.to_str().unwrap(), "--profile", "bthome-v2"]);
    passes(&rig.gateway.path(""), "bthome-v2", &text(&out.stdout));
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_of_one_known_device_and_ends_with_the_gateway() {
    let (cuff, _) = cuff();
    let (stranger, _) = peripheral(Tool::Thermometer, 9, 1, Manners::default());
    let all = vec![cuff.clone(), stranger.clone()];
    let Some(mut rig) = Rig::start(all, &[&stranger.address], "").await else { return };
    let refused = |device: &str, file: &str| {
        let file = rig.gateway.path(file);
        let (_, err, code) = rig.gateway.cli(&["devices", "record", device, file.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{err}");
        assert!(!file.exists(), "nothing is left of what was refused");
        err
    };
    let known = format!("ble:{}", cuff.address);
    assert!(refused(&format!("ble:{}", stranger.address), "a").contains("WL-O004"));
    assert!(refused("mqtt:cuff-1", "a").contains("WL-O010"));
    let first = Recording::begin(&rig, &known, "10m");
    assert!(refused(&known, "b").contains("another recording"));
    // One that is killed leaves no recording behind.
    let Recording(mut child, file) = first;
    let _ = (child.kill(), child.wait());
    std::fs::remove_file(file).unwrap();
    let again = rig.gateway.path("capture-10m.jsonl");
    let since = Instant::now();
    let last = loop {
        let (_, err, code) = rig.gateway.cli(&["devices", "record", &known, again.to_str().unwrap(), "--for", "1s"]);
        if code == Some(0) {
            std::fs::remove_file(&again).unwrap();
            break Recording::begin(&rig, &known, "10m");
        }
        assert!(since.elapsed() < PATIENCE, "{err}");
        std::thread::sleep(Duration::from_millis(50));
    };
    rig.stop();
    let (said, file) = last.end();
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert!(std::fs::read_to_string(file).unwrap().contains("the gateway stops"));
}

#[test]
fn a_file_that_is_no_capture_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("capture.jsonl");
    let head = "{\"wardline_capture\":1,\"wardline\":\"0.1.0\",\"started\":\"2026-11-28T19:00\"}\n";
    for (rest, code) in [
        ("{\"ms\":1,\"kind\":\"exec\",\"why\":\"Maria Muster\"}".to_owned(), "WL-S081: line 2"),
        ("\u{1b}[2J".into(), "WL-S081: line 2"),
        ("x".repeat(70_000), "WL-S082"),
        ("\n".repeat(5 << 20), "WL-S082"),
    ] {
        std::fs::write(&file, format!("{head}{rest}")).unwrap();
        for order in [&["replay"][..], &["profile", "example", "--profile", "bthome-v2"]] {
            let said = wardline(&[order, &[file.to_str().unwrap()]].concat());
            let err = text(&said.stderr);
            assert_eq!(said.status.code(), Some(2), "{order:?}: {err}");
            assert!(err.contains(code) && !err.contains("Maria"), "{order:?}: {err}");
        }
    }
    let said = wardline(&["replay", folder.path().join("none").to_str().unwrap()]);
    assert!(text(&said.stderr).contains("WL-S080"));
}
