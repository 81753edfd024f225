//! Matching patients at the centre, through the built binary: who joins, who does not and why, and that nothing of the
//! person stays; against the lab's endpoint and two real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use wardline::clock::Clock;
use wardline::config::FhirSettings;
use wardline::fault::Explain;
use wardline::lab::endpoint::{Endpoint, Settings};
use wardline::roster::Standing;
use wardline::sink::probe::Prober;
use wardline::sink::probe::patient::Criteria;

mod support;

use support::broker::{Broker, Door};
use support::centre::{delete, put};
use support::device::Device;
use support::fhir_server::{FhirServer, Kind};
use support::gateway::{Gateway, until};

/// What the centre knows of the person, and nobody else may.
const SECRETS: [&str; 4] = ["canary-4711", "1948-11-23", "Canarias", "Rosalind"];

fn endpoint() -> Endpoint {
    Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap()
}

fn person(id: &str, identifier: &str, more: &Value) -> Value {
    let mut person = json!({"resourceType": "Patient", "id": id, "birthDate": "1948-11-23",
        "name": [{"family": "Canarias", "given": ["Rosalind"]}],
        "identifier": [{"system": "urn:mrn", "value": identifier}]});
    person.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    person
}

fn settings(url: &str, source: &str) -> String {
    format!(
        "[journal]\nreserve_mib = 1\n[log]\nlevel = \"trace\"\n{source}\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\nidempotency = \"update\"\n"
    )
}

/// Its journal is not encrypted, so that what is in it can be searched for.
fn gateway(url: &str, source: &str) -> Gateway {
    let gateway = Gateway::new(&settings(url, source));
    gateway.reword(|text| {
        let lines = text.lines().map(|l| if l.starts_with("key_file") { "unencrypted = true" } else { l });
        lines.map(|l| format!("{l}\n")).collect()
    });
    gateway
}

fn matched(gateway: &Gateway, identifier: &str, date: &str) -> (String, String, Option<i32>) {
    let words = ["patient", "match", "--destination", "centre", "--by", "Ada", "--display", "Grandma", "--json"];
    gateway.cli_told(&words, &format!("urn:mrn|{identifier}\n{date}\n"))
}

/// Every file of the box, and everything that it says, holds none of the secrets.
fn holds_no_secret(gateway: &Gateway, said: &[String]) {
    fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut all = Vec::new();
    files(&gateway.path("state"), &mut all);
    assert!(!all.is_empty());
    let mut texts: Vec<(String, Vec<u8>)> = vec![("log".into(), gateway.log().into_bytes())];
    texts.extend(all.iter().map(|f| (f.display().to_string(), std::fs::read(f).unwrap())));
    texts.extend(said.iter().map(|s| ("an answer".into(), s.clone().into_bytes())));
    // The harness sees what it looks for: the reference is in the journal.
    let holds = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|w| w == word.as_bytes());
    assert!(texts.iter().any(|(name, t)| name.contains("journal") && holds(t, "Patient/8f2c")));
    assert!(!holds(gateway.log().as_bytes(), "8f2c"), "a reference is in the log");
    for (name, text) in &texts {
        for secret in SECRETS {
            assert!(!holds(text, secret), "{secret} is in {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_matched_joins_and_nothing_else_of_the_person_stays() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = endpoint();
    put(&centre.url(), &person("8f2c", "canary-4711", &json!({}))).await;
    put(&centre.url(), &person("9", "another", &json!({}))).await;
    let source = format!("[[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port);
    let mut gateway = gateway(&centre.url(), &source);
    gateway.start();
    // Nobody is a patient yet: a device cannot be given to them, and what it sends is nobody's.
    let hand = ["assign", "mqtt:watch-0", "Patient/8f2c", "--since", "ever", "--by", "Ada"];
    assert_eq!(gateway.cli(&hand).2, Some(1));
    let mut said = Vec::new();
    let (out, err, code) = matched(&gateway, "canary-4711", "1948-11-23");
    assert_eq!(code, Some(0), "{err}");
    let person: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&person["reference"], &person["display"]), (&json!("Patient/8f2c"), &json!("Grandma")));
    said.extend([out, err]);
    // At once, without a restart.
    let (_, err, code) = gateway.cli(&hand);
    assert_eq!(code, Some(0), "{err}");
    let device = Device::connect(broker.device_port);
    let payload = support::dated(r#"{"id":1,"time":"2026-11-22T10:00:00Z","heart_rate":181}"#);
    device.publish("vitals/watch-0", [payload]).await;
    until("delivery", &gateway, || (centre.counts().observations > 0).then_some(())).await;
    let sent: Value = serde_json::from_str(&centre.bodies("Observation")[0]).unwrap();
    assert_eq!(sent["subject"]["reference"], "Patient/8f2c");
    // Said again, it is the same patient.
    assert_eq!(matched(&gateway, "canary-4711", "1948-11-23").2, Some(0));
    for time in 0..2 {
        let list = gateway.json(&["patient", "list"]);
        assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
        assert_eq!(list[0]["matched"]["destination"], "centre", "{list}");
        said.push(list.to_string());
        if time == 0 {
            // After a restart as well, with the device.
            assert_eq!(gateway.stop(), Some(0));
            gateway.start();
        }
    }
    assert_eq!(gateway.cli(&hand).2, Some(0));
    said.push(gateway.json(&["devices"]).to_string());
    said.push(gateway.json(&["readings"]).to_string());
    assert_eq!(gateway.stop(), Some(0));
    holds_no_secret(&gateway, &said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_else_stops_with_its_reason() {
    let centre = endpoint();
    let merged = json!({"active": false, "link": [{"other": {"reference": "Patient/8f2c"}, "type": "replaced-by"}]});
    for (id, identifier, more) in [
        ("8f2c", "canary-4711", json!({})),
        ("second", "second", json!({})),
        ("twin-1", "twins", json!({})),
        ("twin-2", "twins", json!({})),
        ("inactive", "inactive", json!({"active": false})),
        ("dead", "dead", json!({"deceasedDateTime": "2026-01-01"})),
        ("merged", "merged", merged),
        ("vague", "vague", json!({"birthDate": "1948"})),
    ] {
        put(&centre.url(), &person(id, identifier, &more)).await;
    }
    let mut gateway = gateway(&centre.url(), "");
    gateway.start();
    let mut said = Vec::new();
    for (identifier, date, code) in [
        ("nobody", "1948-11-23", "WL-M001"),
        ("twins", "1948-11-23", "WL-M002"),
        ("canary-4711", "1948-11-24", "WL-M003"),
        ("vague", "1948-11-23", "WL-M004"),
        ("inactive", "1948-11-23", "WL-M005"),
        ("dead", "1948-11-23", "WL-M006"),
        ("merged", "1948-11-23", "WL-M007"),
        // A comma would ask for either of two.
        ("canary-4711,urn:mrn|twins", "1948-11-23", "WL-M001"),
        ("canary-4711", "1948-02-30", "WL-O010"),
        ("canary-4711", "1948", "WL-O010"),
        ("", "1948-11-23", "WL-O010"),
    ] {
        let (out, err, exit) = matched(&gateway, identifier, date);
        assert!(exit == Some(1) && err.contains(code), "{identifier}: {err}{out}");
        // The person who asks is told about which record to ask the centre.
        assert_eq!(err.contains("Patient/8f2c"), code == "WL-M007", "{err}");
        said.push(err);
    }
    assert_eq!(gateway.json(&["patient", "list"]), json!([]));
    let wrong = ["patient", "match", "--destination", "nowhere", "--by", "Ada"];
    assert!(gateway.cli_told(&wrong, "urn:mrn|canary-4711\n1948-11-23\n").1.contains("WL-O004"));
    let (_, err, code) = matched(&gateway, "canary-4711", "1948-11-23");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(matched(&gateway, "second", "1948-11-23").2, Some(0));
    centre.stopper().cancel();
    drop(centre);
    let (_, err, code) = gateway.cli(&["patient", "check"]);
    assert!(
        code == Some(1) && err.contains("not everybody could be asked for"),
        "who was not asked about is not fine: {err}"
    );
    assert_eq!(
        gateway.log().matches("A patient could not be asked for.").count(),
        1,
        "the next one would not be either"
    );
    let (_, err, _) = matched(&gateway, "canary-4711", "1948-11-23");
    assert!(err.contains("WL-M009"), "{err}");
    said.push(err);
    gateway.stop();
    holds_no_secret(&gateway, &said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_who_is_merged_or_deleted_at_the_centre_is_said() {
    let centre = endpoint();
    put(&centre.url(), &person("8f2c", "canary-4711", &json!({}))).await;
    let mut gateway = gateway(&centre.url(), "");
    gateway.start();
    assert_eq!(matched(&gateway, "canary-4711", "1948-11-23").2, Some(0));
    let checked = gateway.json(&["patient", "check"]);
    assert_eq!(checked[0]["trouble"], Value::Null, "{checked}");
    let about = |gateway: &Gateway| {
        let alerts = gateway.json(&["alerts"]);
        let mut found = alerts.as_array().unwrap().iter().filter(|a| a["rule"] == "patients-changed");
        found.next().map(|a| a["text"].as_str().unwrap().to_owned())
    };
    let settle = || std::thread::sleep(Duration::from_millis(300));
    settle();
    assert_eq!(about(&gateway), None);
    let merged = json!({"link": [{"other": {"reference": "Patient/new"}, "type": "replaced-by"}]});
    put(&centre.url(), &person("8f2c", "canary-4711", &merged)).await;
    let checked = gateway.json_of(&["patient", "check"], 1);
    assert_eq!(checked[0]["trouble"][0], "WL-M007", "{checked}");
    assert_eq!(checked[0]["matched"]["standing"]["merged"]["into"], "Patient/new", "{checked}");
    delete(&centre.url(), "Patient/8f2c").await;
    let checked = gateway.json_of(&["patient", "check"], 1);
    assert_eq!(checked[0]["trouble"][0], "WL-M010", "{checked}");
    settle();
    let said = about(&gateway).expect("an alert");
    assert!(said.contains("WL-M0") && !said.contains("8f2c"), "{said}");
    // A centre that is away says nothing about anybody; and a restart does not end it.
    assert_eq!(gateway.stop(), Some(0));
    gateway.start();
    settle();
    assert!(about(&gateway).is_some());
    put(&centre.url(), &person("8f2c", "canary-4711", &json!({}))).await;
    assert_eq!(gateway.json(&["patient", "check"])[0]["trouble"], Value::Null);
    settle();
    assert_eq!(about(&gateway), None);
    gateway.stop();
    holds_no_secret(&gateway, &[said]);
}

/// What real servers show of a patient is understood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_servers_are_understood() {
    for kind in [Kind::Helios, Kind::Sekmet] {
        let Some(server) = FhirServer::start(kind).await else { continue };
        let merged = json!({"link": [{"other": {"reference": "Patient/m1"}, "type": "replaced-by"}]});
        for (id, identifier, more) in [
            ("m1", "canary-4711", json!({})),
            ("m2", "twins", json!({})),
            ("m3", "twins", json!({})),
            ("m4", "inactive", json!({"active": false})),
            ("m5", "dead", json!({"deceasedBoolean": true})),
            ("m6", "dead-at", json!({"deceasedDateTime": "2026-01-01"})),
            ("m7", "merged", merged),
        ] {
            server.put(&person(id, identifier, &more)).await;
        }
        let settings: FhirSettings =
            toml::from_str(&format!("name='centre'\nurl='{}'\nidempotency='update'", server.url)).unwrap();
        let prober = Prober::new(&settings, &"box-1".into(), &Clock::system()).unwrap();
        for (identifier, date, expected) in [
            ("canary-4711", "1948-11-23", Ok("Patient/m1")),
            ("nobody", "1948-11-23", Err("WL-M001")),
            ("twins", "1948-11-23", Err("WL-M002")),
            ("canary-4711", "1948-11-24", Err("WL-M003")),
            ("inactive", "1948-11-23", Err("WL-M005")),
            ("dead", "1948-11-23", Err("WL-M006")),
            ("dead-at", "1948-11-23", Err("WL-M006")),
            ("merged", "1948-11-23", Err("WL-M007")),
        ] {
            let wanted = Criteria { system: "urn:mrn".into(), value: identifier.into(), birth_date: date.into() };
            let found = prober.patient_of(&wanted).await;
            let found = found.as_ref().map(|p| p.reveal()).map_err(|e| e.code());
            assert_eq!(found, expected, "{kind:?} {identifier}");
        }
        let patient = |id: &str| wardline::reading::PatientId::new(&format!("Patient/{id}"));
        assert_eq!(prober.standing(&patient("m1")).await, Ok(Standing::Active), "{kind:?}");
        assert_eq!(prober.standing(&patient("m4")).await, Ok(Standing::Inactive), "{kind:?}");
        server.delete("Patient/m1").await;
        assert_eq!(prober.standing(&patient("m1")).await, Ok(Standing::Gone), "{kind:?}");
        assert_eq!(prober.standing(&patient("never")).await, Ok(Standing::Gone), "{kind:?}");
    }
}
