//! Consent and the minimum, through the built binary: what may go goes, what may not waits where everybody sees it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use wardline::lab::endpoint::{Endpoint, Manners, Settings};

mod support;

use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::{Gateway, KEY, until};
use support::mllp::{Receiver, Reply};
use support::nats::{Bus, Console};
use support::scripted::{self, Scripted};

/// Two patients with a watch each; the pulse needs a consent of its own.
fn settings(broker: &Broker, destinations: &str) -> String {
    format!(
        "[journal]\nreserve_mib = 1\n[consent]\nsensitive = {{ breath = [\"spo2\"] }}\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n{destinations}\
         [[patient]]\nreference = \"Patient/p0\"\n[[patient]]\nreference = \"Patient/p1\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n\
         [[device]]\nid = \"mqtt:watch-1\"\npatient = \"Patient/p1\"\n",
        broker.port
    )
}

fn fhir(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[destination]]\nkind = \"fhir\"\nname = \"{name}\"\nurl = \"{url}\"\nidempotency = \"conditional-create\"\n{more}\n"
    )
}

async fn publish(device: &Device, name: &str, what: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let payload = format!(
            "{{\"id\":{n},\"time\":\"2026-11-22T10:{:02}:{:02}Z\",\"{what}\":{}}}",
            n / 60,
            n % 60,
            70 + n % 30
        );
        device.publish(&format!("vitals/{name}"), [support::dated(&payload)]).await;
    }
}

fn kept() -> Endpoint {
    Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap()
}

/// Observations of a patient.
fn of(endpoint: &Endpoint, patient: &str) -> usize {
    let subject = format!("\"reference\":\"{patient}\"");
    endpoint.bodies("Observation").iter().filter(|body| body.contains(&subject)).count()
}

/// What waits for a consent at a destination: patient, category, readings, alert events.
fn withheld(gateway: &Gateway, destination: &str) -> Vec<(String, String, u64, u64)> {
    let outbox = gateway.json(&["outbox", destination]);
    let line = |w: &Value| {
        let text = |key: &str| w[key].as_str().unwrap_or("nobody").to_owned();
        (text("patient"), text("category"), w["readings"].as_u64().unwrap(), w["alerts"].as_u64().unwrap())
    };
    outbox[0]["withheld"].as_array().unwrap().iter().map(line).collect()
}

fn line(patient: &str, category: &str, readings: u64, alerts: u64) -> (String, String, u64, u64) {
    (patient.into(), category.into(), readings, alerts)
}

fn said(gateway: &Gateway, arguments: &[&str]) -> String {
    let (out, err, code) = gateway.cli(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {err}");
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_without_a_consent_and_everything_once_with_it() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = kept();
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &endpoint.url(), "consent = \"recorded\"")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", "heart_rate", 0..10).await;
    publish(&device, "watch-1", "heart_rate", 0..4).await;
    // Old values, so that the alert is retrospective; it shows a value all the same.
    let old = support::dated(r#"{"id":900,"time":"2026-11-22T11:00:00Z","spo2":81}"#);
    device.publish("vitals/watch-0", [old]).await;
    let all = [
        line("Patient/p0", "breath", 1, 1),
        line("Patient/p0", "vital-signs", 10, 0),
        line("Patient/p1", "vital-signs", 4, 0),
    ];
    until("waiting for consents", &gateway, || (withheld(&gateway, "centre") == all).then_some(())).await;
    let shown = said(&gateway, &["outbox"]);
    assert!(
        shown.contains("4 readings wait for the consent of Patient/p1 to destination centre (vital-signs)"),
        "{shown}"
    );
    assert!(said(&gateway, &["status"]).contains("wait for the consent of Patient/p0"));
    // The people of the destination hear that something is kept from them, and nothing of anybody.
    until("the notice", &gateway, || (endpoint.bodies("DetectedIssue").len() >= 2).then_some(())).await;
    let told = [endpoint.bodies("DetectedIssue"), endpoint.bodies("Task")].concat();
    assert!(told.iter().any(|body| body.contains("An alert about a person is not sent to centre")), "{told:?}");
    for what in ["Patient/", "81 %", "Oxygen", "spo2", "watch"] {
        assert!(told.iter().all(|body| !body.contains(what)), "{what} in {told:?}");
    }
    assert_eq!(endpoint.bodies("Observation").len(), 0);
    // Here the alert is seen in any case.
    assert!(gateway.json(&["alerts"]).as_array().unwrap().iter().any(|a| a["patient"] == "Patient/p0"));

    said(&gateway, &["consent", "grant", "Patient/p0", "--to", "centre", "--by", "Ada", "--reference", "Consent/7"]);
    until("p0's pulse", &gateway, || (of(&endpoint, "Patient/p0") == 10).then_some(())).await;
    gateway.kill();
    gateway.start();
    publish(&device, "watch-0", "heart_rate", 10..12).await;
    publish(&device, "watch-1", "heart_rate", 4..5).await;
    until("after the restart", &gateway, || (of(&endpoint, "Patient/p0") == 12).then_some(())).await;
    let left = [line("Patient/p0", "breath", 1, 1), line("Patient/p1", "vital-signs", 5, 0)];
    // What waits is counted once in a while, where counting takes long.
    until("the count of the rest", &gateway, || (withheld(&gateway, "centre") == left).then_some(())).await;
    assert_eq!(of(&endpoint, "Patient/p1"), 0);

    // What is sensitive, for itself.
    said(&gateway, &["consent", "grant", "Patient/p0", "--to", "centre", "--category", "breath", "--by", "Ada"]);
    until("the saturation", &gateway, || (of(&endpoint, "Patient/p0") == 13).then_some(())).await;
    until("the alert", &gateway, || {
        let theirs = |b: &Arc<str>| b.contains("Patient/p0") && b.contains("81 %");
        endpoint.bodies("DetectedIssue").iter().any(theirs).then_some(())
    })
    .await;
    said(&gateway, &["consent", "grant", "Patient/p1", "--to", "centre", "--by", "Ada"]);
    until("all", &gateway, || (of(&endpoint, "Patient/p1") == 5).then_some(())).await;
    until("the end", &gateway, || (gateway.json(&["outbox"])[0]["waiting"] == 0).then_some(())).await;
    assert_eq!(endpoint.counts().duplicates, 0);
    // Who said what stays on record.
    let listed = gateway.json(&["consent", "list", "Patient/p0"]);
    assert_eq!(
        listed[0]["in_force"],
        serde_json::json!(["vital-signs", "laboratory", "activity", "procedure", "breath"])
    );
    assert_eq!(
        (&listed[0]["history"][0]["by"], &listed[0]["history"][0]["reference"]),
        (&"Ada".into(), &"Consent/7".into())
    );
    // A consent to nothing is refused, and so is one of nobody.
    for wrong in [
        ["consent", "grant", "Patient/p0", "--to", "nowhere", "--by", "Ada"].as_slice(),
        &["consent", "grant", "Patient/px", "--to", "centre", "--by", "Ada"],
        &["consent", "grant", "Patient/p0", "--to", "centre", "--category", "spo2", "--by", "Ada"],
        &["consent", "grant", "Patient/p0", "--to", "centre", "--category", "all", "--by", "Ada"],
        &["consent", "grant", "Patient/p0", "--to", "centre", "--by", " "],
    ] {
        assert_eq!(gateway.cli(wrong).2, Some(1), "{wrong:?}");
    }
}

/// A slow destination with a long backlog: from the withdrawal on not even what is in the sender's hands goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_withdrawn_in_mid_backlog_stops_all_but_the_request_on_the_wire() {
    const BUNDLE: usize = 5;
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings {
        keep: true,
        manners: Manners { latency_ms: 400, ..Manners::default() },
        ..Settings::default()
    })
    .unwrap();
    let more = format!("consent = \"recorded\"\nbundle_max = {BUNDLE}");
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &endpoint.url(), &more)));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", "heart_rate", 0..150).await;
    publish(&device, "watch-1", "heart_rate", 0..20).await;
    let waits = [line("Patient/p0", "vital-signs", 150, 0), line("Patient/p1", "vital-signs", 20, 0)];
    until("the backlog", &gateway, || (withheld(&gateway, "centre") == waits).then_some(())).await;
    for patient in ["Patient/p0", "Patient/p1"] {
        said(&gateway, &["consent", "grant", patient, "--to", "centre", "--by", "Ada"]);
    }
    until("a part of it", &gateway, || (of(&endpoint, "Patient/p0") >= 2 * BUNDLE).then_some(())).await;
    let out = said(&gateway, &["consent", "withdraw", "Patient/p0", "--to", "centre", "--by", "Ada"]);
    let at_that_moment = of(&endpoint, "Patient/p0");
    assert!(out.contains("gets nothing more of all"), "{out}");
    until("the other's", &gateway, || (of(&endpoint, "Patient/p1") == 20).then_some(())).await;
    let there = of(&endpoint, "Patient/p0");
    assert!(there < 100, "the harness is too late: {there}");
    assert!(there <= at_that_moment + BUNDLE, "{there} are there, {at_that_moment} were when it was withdrawn");
    assert_eq!(withheld(&gateway, "centre"), [line("Patient/p0", "vital-signs", 150 - there as u64, 0)]);
    // Given again, the rest goes, and nothing twice.
    endpoint.behave(Manners::default());
    said(&gateway, &["consent", "grant", "Patient/p0", "--to", "centre", "--by", "Ada"]);
    until("the rest", &gateway, || (of(&endpoint, "Patient/p0") == 150).then_some(())).await;
    assert_eq!(endpoint.counts().duplicates, 0);
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
}

/// Each destination by its own terms; and what it does not need is in no octet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_destinations_get_what_each_may_and_needs() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let (care, research) = (kept(), kept());
    let destinations = fhir("care", &care.url(), "consent = \"enrolment\"")
        + &fhir("research", &research.url(), "consent = \"recorded\"\nfields = []");
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    let files = gateway.path("files");
    gateway.reword(|text| {
        let files = files.display();
        let more = format!(
            "[[destination]]\nkind = \"ndjson\"\nname = \"files\"\nfolder = \"{files}\"\nconsent = \"recorded\"\nfields = [\"device\"]\n[[patient]]"
        );
        text.replacen("[[patient]]", &more, 1)
    });
    gateway.start();
    for to in ["research", "files"] {
        said(&gateway, &["consent", "grant", "Patient/p1", "--to", to, "--by", "Ada"]);
    }
    let device = Device::connect(broker.device_port);
    for watch in ["watch-0", "watch-1"] {
        publish(&device, watch, "heart_rate", 0..5).await;
    }
    until("care", &gateway, || (care.counts().observations == 10).then_some(())).await;
    until("research", &gateway, || (research.counts().observations == 5).then_some(())).await;
    assert_eq!((of(&research, "Patient/p0"), of(&research, "Patient/p1")), (0, 5));
    // The test of the test: where nothing is cut, all of it is there.
    let has = |bodies: &[Arc<str>], what: &str| bodies.iter().filter(|b| b.contains(what)).count();
    let (whole, cut) = (care.bodies("Observation"), research.bodies("Observation"));
    for (what, there) in [("watch-0", 5), ("watch-1", 5), ("test-box", 10)] {
        assert_eq!(has(&whole, what), there, "{what}");
    }
    for what in ["watch", "test-box", "Ada"] {
        assert_eq!(has(&cut, what), 0, "{what} in {cut:?}");
    }
    let lines = until("the files", &gateway, || {
        let text = std::fs::read_to_string(files.join("Observation-000001.ndjson")).unwrap_or_default();
        (text.lines().count() == 5).then_some(text)
    })
    .await;
    assert!(lines.contains("watch-1") && !lines.contains("watch-0") && !lines.contains("test-box"), "{lines}");

    // Corrected: what it has is taken back under the same identity, though it does not get the device.
    said(&gateway, &["consent", "withdraw", "Patient/p1", "--everywhere", "--by", "Ada"]);
    let correct = ["correct", "--device", "mqtt:watch-1", "--void", "--by", "Grace", "--reason", "a visitor"];
    said(&gateway, &correct);
    until("taken back", &gateway, || (has(&research.bodies("Observation"), "entered-in-error") == 5).then_some(()))
        .await;
    let cut = research.bodies("Observation");
    assert_eq!((cut.len(), research.counts().duplicates), (5, 0));
    assert!(
        cut.iter().all(|b| !b.contains("valueQuantity") && !b.contains("Grace") && !b.contains("visitor")),
        "{cut:?}"
    );
    until("the end", &gateway, || (gateway.json(&["outbox", "care"])[0]["waiting"] == 0).then_some(())).await;
}

/// The same for the other forms: what is not needed is in no octet of an HL7 message, or of a message on the bus.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_needed_is_in_no_octet_of_hl7_and_of_the_bus() {
    let (Some(broker), Some(bus)) = (Broker::start(&Door::Open, ""), Bus::start("")) else { return };
    let receivers = [Receiver::start(|_, _| Reply::Ack("AA")).await, Receiver::start(|_, _| Reply::Ack("AA")).await];
    let mut console = Console::connect(bus.port).await;
    let forms = [("whole", ""), ("least", "fields = []\n")];
    let mut destinations = String::new();
    for ((name, fields), receiver) in forms.iter().zip(&receivers) {
        console.stream(&name.to_uppercase(), &[&format!("{name}.>")], Value::Null).await;
        destinations.push_str(&format!(
            "[[destination]]\nkind = \"hl7\"\nname = \"hl7-{name}\"\nurl = \"mllp://127.0.0.1:{}\"\n\
             assigning_authority = \"CLINIC\"\nalerts = true\n{fields}\
             [[destination]]\nkind = \"nats\"\nname = \"bus-{name}\"\nservers = [\"{}\"]\nstream = \"{}\"\n\
             subject_prefix = \"{name}\"\n{fields}",
            receiver.port,
            bus.url(),
            name.to_uppercase()
        ));
    }
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", "heart_rate", 0..3).await;
    // An alert with a device and its value as evidence.
    publish(&device, "watch-1", "spo2", 11..12).await;
    let low = support::dated(r#"{"id":900,"time":"2026-11-22T11:00:00Z","spo2":81}"#);
    device.publish("vitals/watch-1", [low]).await;
    let done = |gateway: &Gateway| gateway.json(&["outbox"]).as_array().unwrap().iter().all(|d| d["waiting"] == 0);
    for patient in ["Patient/p0", "Patient/p1"] {
        for to in ["hl7-whole", "hl7-least", "bus-whole", "bus-least"] {
            said(&gateway, &["consent", "grant", patient, "--to", to, "--category", "breath", "--by", "Ada"]);
        }
    }
    let alerts = || receivers.iter().all(|r| r.messages().iter().any(|m| m.contains("ORU^R40") && m.contains("p1^^^")));
    until("readings and the alert", &gateway, || (alerts() && done(&gateway)).then_some(())).await;
    let correct = ["correct", "--device", "mqtt:watch-0", "--void", "--by", "Grace", "--reason", "a visitor"];
    said(&gateway, &correct);
    let back = |r: &Receiver| r.messages().iter().filter(|m| m.contains("|W|")).count() == 3;
    until("taken back", &gateway, || (receivers.iter().all(back) && done(&gateway)).then_some(())).await;
    let mut forms_found = Vec::new();
    for ((name, _), receiver) in forms.iter().zip(&receivers) {
        let stream = name.to_uppercase();
        let mut bus = Vec::new();
        for seq in 1..=console.messages(&stream).await {
            let (subject, headers, body) = console.message(&stream, seq).await;
            bus.push(format!("{subject}\n{headers}\n{}", String::from_utf8(body).unwrap()));
        }
        let hl7 = receiver.messages();
        assert!(bus.len() >= 9 && hl7.len() >= 9, "{} {}", bus.len(), hl7.len());
        forms_found.push([hl7, bus]);
    }
    let has = |all: &[String], what: &str| all.iter().filter(|text| text.contains(what)).count();
    let [whole, least] = &forms_found[..] else { panic!() };
    for (form, (whole, least)) in ["hl7", "bus"].iter().zip(whole.iter().zip(least)) {
        // The test of the test: where nothing is cut, it is there.
        for what in ["watch-0", "watch-1", "test-box", "test_box"] {
            assert_eq!(has(least, what), 0, "{what} in {form}: {least:?}");
        }
        assert!(has(whole, "watch-0") >= 6 && has(whole, "watch-1") >= 2, "{form}: {whole:?}");
        assert!(has(whole, "test-box") + has(whole, "test_box") >= 9, "{form}");
        // What is never cut is there in both.
        for what in ["p0", "p1", "81"] {
            assert!(has(least, what) > 0, "{what} in {form}: {least:?}");
        }
    }
    // Who corrected is nowhere in HL7, and on the bus where it was not cut; in which words, nowhere.
    for (all, there) in [(&whole[0], false), (&least[0], false), (&least[1], false), (&whole[1], true)] {
        assert_eq!((has(all, "Grace") > 0, has(all, "a visitor")), (there, 0), "{all:?}");
    }
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A consent whose record is damaged is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_consent_sends_nothing_and_says_so() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = kept();
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &endpoint.url(), "consent = \"recorded\"")));
    gateway.start();
    said(&gateway, &["consent", "grant", "Patient/p0", "--to", "centre", "--by", "Ada"]);
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", "heart_rate", 0..3).await;
    until("delivery", &gateway, || (of(&endpoint, "Patient/p0") == 3).then_some(())).await;
    assert_eq!(gateway.stop(), Some(0));
    let conn = rusqlite::Connection::open(gateway.path("state").join("journal.sqlite3")).unwrap();
    conn.execute_batch(&format!("PRAGMA key = \"x'{KEY}'\"")).unwrap();
    let damage = "UPDATE consent SET history = replace(history, 'Ada', 'Eve')";
    assert_eq!(conn.execute(damage, []).unwrap(), 1);
    drop(conn);
    gateway.start();
    publish(&device, "watch-0", "heart_rate", 3..6).await;
    until("waiting", &gateway, || {
        (withheld(&gateway, "centre") == [line("Patient/p0", "vital-signs", 3, 0)]).then_some(())
    })
    .await;
    assert!(gateway.log().contains("WL-J060"), "{}", gateway.log());
    assert_eq!(of(&endpoint, "Patient/p0"), 3);
    said(&gateway, &["consent", "grant", "Patient/p0", "--to", "centre", "--by", "Ada"]);
    until("recorded again", &gateway, || (of(&endpoint, "Patient/p0") == 6).then_some(())).await;
}

/// A backup from before a withdrawal does not bring the consent back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_does_not_bring_a_withdrawn_consent_back() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = kept();
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &endpoint.url(), "consent = \"recorded\"")));
    gateway.start();
    said(&gateway, &["consent", "grant", "Patient/p0", "--to", "centre", "--by", "Ada"]);
    let copy = gateway.path("copy.sqlite3");
    said(&gateway, &["backup", copy.to_str().unwrap()]);
    said(&gateway, &["consent", "withdraw", "Patient/p0", "--to", "centre", "--by", "Ada"]);
    assert_eq!(gateway.stop(), Some(0));
    said(&gateway, &["restore", copy.to_str().unwrap(), "--replace"]);
    gateway.start();
    let listed = gateway.json(&["consent", "list", "Patient/p0"]);
    assert_eq!(listed[0]["in_force"], serde_json::json!([]), "{listed}");
    assert!(listed[0]["history"][1]["by"].as_str().unwrap().contains("a backup was put back"), "{listed}");
}

/// Nobody starts a gateway without having said whose readings may go where.
#[test]
fn a_destination_says_whose_readings_may_go_there() {
    let gateway = Gateway::new(
        "[[destination]]\nkind = \"ndjson\"\nname = \"files\"\nfolder = \"/tmp\"\nconsent = \"recorded\"\n",
    );
    assert_eq!(gateway.cli(&["check"]).2, Some(0));
    let file = gateway.path("wardline.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("consent = \"recorded\"\n", "");
    std::fs::write(&file, text).unwrap();
    let (out, _, code) = gateway.cli(&["check"]);
    assert_eq!(code, Some(2));
    assert!(
        out.contains("WL-C030") && out.contains("whose readings may go there") && out.contains("enrolment"),
        "{out}"
    );
}

/// A destination that states a limit and refuses Bundles whole: one batch takes a minute there, and a withdrawal does not wait for
/// its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_withdrawn_in_mid_batch_stops_all_but_the_request_on_the_wire() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let open = Arc::new(AtomicBool::new(false));
    let answers = open.clone();
    let refused =
        serde_json::json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]});
    let server = Scripted::start(move |request| match (answers.load(Ordering::SeqCst), &*request.path) {
        (false, _) => scripted::Reply::status(503),
        (_, "/fhir" | "/fhir/") => scripted::Reply::json(422, &refused),
        (_, path) => {
            let kind = path.trim_start_matches("/fhir/").split(['?', '/']).next().unwrap();
            let named = request.method == "PUT" && !path.contains('?');
            let location = if named { path.trim_start_matches("/fhir/").to_owned() } else { format!("{kind}/1") };
            scripted::Reply::Answer(201, vec![("location", location)], String::new())
        }
    })
    .await;
    let more = "consent = \"recorded\"\nrequests_per_min = 60\ngzip = false\nbundle_max = 20";
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &server.url, more)));
    gateway.start();
    for patient in ["Patient/p0", "Patient/p1"] {
        said(&gateway, &["consent", "grant", patient, "--to", "centre", "--by", "Ada"]);
    }
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", "heart_rate", 0..7).await;
    publish(&device, "watch-1", "heart_rate", 0..3).await;
    until("the backlog", &gateway, || (gateway.json(&["outbox"])[0]["waiting"] == 10).then_some(())).await;
    open.store(true, Ordering::SeqCst);
    // Requests that say something of a patient, and those that were taken.
    let theirs = |patient: &str| {
        let subject = format!("\"reference\":\"{patient}\"");
        let all = server.requests().into_iter().filter(|r| String::from_utf8_lossy(&r.body).contains(&subject));
        let all: Vec<_> = all.map(|r| r.path == "/fhir/Observation").collect();
        (all.len(), all.into_iter().filter(|single| *single).count())
    };
    until("the division", &gateway, || (theirs("Patient/p0").1 >= 3).then_some(())).await;
    let (_, before) = theirs("Patient/p0");
    let out = said(&gateway, &["consent", "withdraw", "Patient/p0", "--to", "centre", "--by", "Ada"]);
    let (asked, _) = theirs("Patient/p0");
    let held: u64 = out.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(0);
    until("the other's", &gateway, || (theirs("Patient/p1").1 == 3).then_some(())).await;
    let (asked_then, there) = theirs("Patient/p0");
    assert!(asked_then <= asked + 1, "{asked} requests told of the patient when it was withdrawn, now {asked_then}");
    assert!(there < 7 && there <= before + held as usize, "{there} of 7, {before} before: {out}");
    let waits = [line("Patient/p0", "vital-signs", 7 - there as u64, 0)];
    until("given back", &gateway, || (withheld(&gateway, "centre") == waits).then_some(())).await;
    // Nothing is wrong with the destination, and nothing was tried for what was not sent.
    let status = gateway.json(&["status"]);
    assert_eq!(status["destinations"][0]["state"], "up", "{status}");
    // Given again, the rest goes; each was taken once.
    said(&gateway, &["consent", "grant", "Patient/p0", "--to", "centre", "--by", "Ada"]);
    until("the rest", &gateway, || (gateway.json(&["outbox"])[0]["waiting"] == 0).then_some(())).await;
    assert_eq!(theirs("Patient/p0").1, 7);
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
}
