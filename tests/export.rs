//! `wardline export`, through the built binary: what is in the file, what is left out, and what is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

mod support;

use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::{Gateway, until};

fn settings(broker: &Broker) -> String {
    format!(
        "[journal]\nreserve_mib = 1\n[[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[patient]]\nreference = \"Patient/canary-a\"\n[[patient]]\nreference = \"Patient/canary-b\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/canary-a\"\n\
         [[device]]\nid = \"mqtt:watch-1\"\npatient = \"Patient/canary-b\"\n",
        broker.port
    )
}

/// The fields of each line by the names of the header.
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.split_terminator("\r\n").map(|line| {
        let mut fields = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                c => fields.last_mut().unwrap().push(c),
            }
        }
        fields
    });
    let header = lines.next().unwrap();
    lines
        .map(|fields| {
            assert_eq!(fields.len(), header.len(), "{fields:?}");
            header.iter().cloned().zip(fields).collect()
        })
        .collect()
}

async fn until_there(gateway: &Gateway, readings: usize) {
    let there = || gateway.json(&["readings"]).as_array().unwrap().len() == readings;
    until("the readings", gateway, || there().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_are_exported_with_their_digits_doubts_and_corrections() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let mut gateway = Gateway::new(&settings(&broker));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let at = |minutes: i64| {
        let now = jiff::Timestamp::now().as_second();
        jiff::Timestamp::from_second(now - 60 * minutes).unwrap().to_string()
    };
    let message = |id: u32, time: &str, more: &str| format!("{{\"id\":{id},\"time\":\"{time}\",{more}}}");
    let weight = "\"weight\":81.50,\"weight_unit\":\"kg\"";
    let first = at(5);
    device
        .publish(
            "vitals/watch-0",
            [
                message(1, &first, weight),
                message(2, &at(4), "\"heart_rate\":61"),
                message(3, &at(60 * 24 * 10), "\"heart_rate\":62"),
                // A clock that began anew.
                message(4, "2015-01-01T00:05:00Z", "\"heart_rate\":63"),
            ],
        )
        .await;
    device.publish("vitals/watch-1", [message(1, &at(3), "\"heart_rate\":71")]).await;
    device.publish("vitals/stranger", [message(1, &at(3), "\"heart_rate\":99")]).await;
    until_there(&gateway, 6).await;
    let id = |n: &str| {
        let all = gateway.json(&["readings"]);
        #[allow(clippy::cmp_owned, reason = "a number against its digits")]
        let of = |r: &&Value| r["reading"]["device"] == "mqtt:watch-0" && r["reading"]["sequence"].to_string() == n;
        all.as_array().unwrap().iter().find(of).unwrap()["reading"]["key"].as_str().unwrap().to_owned()
    };
    let wrong = id("2");
    gateway.json(&["correct", &wrong, "--to", "Patient/canary-b", "--by", "Ada", "--reason", "the other watch"]);

    let file = gateway.path("week.csv");
    let path = file.to_str().unwrap();
    let (said, why, code) = gateway.cli(&["export", "--since", "7d", "--to", path]);
    assert_eq!(code, Some(0), "{why}\n{}", gateway.log());
    assert!(said.starts_with("5 lines"), "{said}");
    assert!(said.contains("Left out: 0 readings without consent, 1 that are nobody's, 0 damaged."), "{said}");
    let beside = gateway.path("week.csv.manifest.json");
    assert_eq!(beside.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let manifest: Value = serde_json::from_str(&std::fs::read_to_string(&beside).unwrap()).unwrap();
    let left = serde_json::json!({"no_patient": 1, "no_consent": 0, "damaged": 0});
    assert_eq!((&manifest["lines"], &manifest["left_out"], &manifest["format"]), (&5.into(), &left, &"csv".into()));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let rows = table(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(rows.len(), 5, "{rows:?}");
    let find = |value: &str, status: &str| {
        let found: Vec<_> = rows.iter().filter(|r| r["value"] == value && r["status"] == status).collect();
        assert_eq!(found.len(), 1, "{value} {status}: {rows:?}");
        found[0]
    };
    let weight = find("81.50", "original");
    for (column, expected) in [
        ("device", "mqtt:watch-0"),
        ("patient", "Patient/canary-a"),
        ("vital", "body-weight"),
        ("loinc", "29463-7"),
        ("role", "value"),
        ("ucum", "kg"),
        ("method", "device-instant"),
        ("uncertainty_ms", "1000"),
        ("quality", ""),
        ("taken", &first),
    ] {
        assert_eq!(weight[column], expected, "{column}");
    }
    let reset = find("63", "original");
    assert_eq!((&*reset["method"], &*reset["quality"]), ("received", "time-doubtful"));
    assert_eq!(reset["taken"], reset["received"]);
    assert_eq!(find("61", "replaced")["patient"], "Patient/canary-a");
    let right = find("61", "correction");
    assert_eq!((&*right["patient"], &right["corrects"]), ("Patient/canary-b", &wrong));
    assert_eq!(find("71", "original")["patient"], "Patient/canary-b");

    // The file is there: it is not touched, and nothing else is left.
    let before = std::fs::read(&file).unwrap();
    let (_, why, code) = gateway.cli(&["export", "--since", "7d", "--to", path]);
    assert!(code != Some(0) && why.contains("WL-O016"), "{why}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let left = std::fs::read_dir(gateway.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.contains(".part")));

    let lines = gateway.path("all.ndjson");
    let of = ["--device", "mqtt:watch-0", "--patient", "Patient/canary-a", "--format", "ndjson"];
    // The last one came in this very second.
    let now = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap().to_string();
    let args = [&["export", "--since", "30d", "--until", &now, "--to", lines.to_str().unwrap()][..], &of].concat();
    let done = gateway.json(&args);
    assert_eq!(done["left_out"], serde_json::json!({"no_patient": 0, "no_consent": 0, "damaged": 0}));
    let manifest = std::fs::read_to_string(gateway.path("all.ndjson.manifest.json")).unwrap();
    assert!(manifest.contains("\"of_one_patient\": true") && !manifest.contains("canary"), "{manifest}");
    let text = std::fs::read_to_string(&lines).unwrap();
    let mut values: Vec<_> =
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["value"].as_str().unwrap().to_owned()).collect();
    values.sort_unstable();
    assert_eq!((values, &done["lines"]), (["61", "62", "63", "81.50"].map(String::from).to_vec(), &Value::from(4)));

    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    let log = gateway.log();
    assert!(log.contains("readings were exported") && !log.contains("canary") && !log.contains("81.5"), "{log}");
}

/// A consent is asked for as it would be for delivery; without one, nothing is in the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lacks_a_consent_is_not_exported() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let mut gateway = Gateway::new(&settings(&broker));
    let folder = gateway.path("").display().to_string();
    let files = |name: &str, consent: &str| {
        format!(
            "[[destination]]\nkind = \"ndjson\"\nname = \"{name}\"\nfolder = \"{folder}/{name}\"\nconsent = \"{consent}\"\n"
        )
    };
    let both = files("care", "recorded") + &files("research", "recorded");
    gateway.reword(|text| text.replacen("[[patient]]", &format!("{both}[[patient]]"), 1));
    gateway.start();
    let device = Device::connect(broker.device_port);
    for watch in ["vitals/watch-0", "vitals/watch-1"] {
        device.publish(watch, ["{\"id\":1,\"heart_rate\":61}"]).await;
    }
    until_there(&gateway, 2).await;
    let lines = |gateway: &Gateway, name: &str| {
        let file = gateway.path(name);
        gateway.json(&["export", "--since", "1d", "--to", file.to_str().unwrap()])["lines"].as_u64().unwrap()
    };
    assert_eq!(lines(&gateway, "none"), 0);
    let grant = |patient: &str, to: &str| gateway.json(&["consent", "grant", patient, "--to", to, "--by", "Ada"]);
    grant("Patient/canary-a", "care");
    assert_eq!(lines(&gateway, "one of two"), 0, "the strictest counts");
    grant("Patient/canary-a", "research");
    grant("Patient/canary-b", "research");
    assert_eq!(lines(&gateway, "both"), 1);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.reword(|text| format!("{text}\n[consent]\nexport_as = \"research\"\n"));
    gateway.start();
    assert_eq!(lines(&gateway, "named"), 2);
}

/// Without a word of the patient nothing leaves, and whoever gets the file is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lacks_a_consent_is_left_out_and_that_is_said() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let nobody = support::free_port();
    let centre = format!(
        "[[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"http://127.0.0.1:{nobody}/fhir\"\n\
         idempotency = \"update\"\nconsent = \"recorded\"\n[[patient]]"
    );
    let mut gateway = Gateway::new(&settings(&broker).replacen("[[patient]]", &centre, 1));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let now = jiff::Timestamp::now();
    for watch in ["watch-0", "watch-1"] {
        for id in 1..3 {
            let message = format!("{{\"id\":{id},\"time\":\"{now}\",\"heart_rate\":6{id}}}");
            device.publish(&format!("vitals/{watch}"), [message]).await;
        }
    }
    until_there(&gateway, 4).await;
    let given = ["consent", "grant", "Patient/canary-b", "--to", "centre", "--by", "Ada"];
    let (said, why, code) = gateway.cli(&given);
    assert_eq!(code, Some(0), "{said}{why}");
    let file = gateway.path("week.csv");
    let done = gateway.json(&["export", "--since", "7d", "--to", file.to_str().unwrap()]);
    let left = serde_json::json!({"no_patient": 0, "no_consent": 2, "damaged": 0});
    assert_eq!((&done["lines"], &done["left_out"]), (&2.into(), &left), "{done}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("canary-a"));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
