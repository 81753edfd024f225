//! The promise, through the built binary: devices → mosquitto → `wardline run` → a FHIR endpoint that counts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use wardline::lab::endpoint::{Endpoint, Manners, Settings};

mod support;

use support::PATIENCE;
use support::broker::{Broker, Door};
use support::device::Device;
use support::fhir_server::{FhirServer, Kind};
use support::gateway::Gateway;

const PATIENTS: u64 = 4;

/// Where readings come from and go to.
fn settings(broker: &Broker, url: &str) -> String {
    let mut text = format!(
        "[journal]\nreserve_mib = 1\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\nidempotency = \"conditional-create\"\n",
        broker.port
    );
    for p in 0..PATIENTS {
        write!(text, "[[patient]]\nreference = \"Patient/p{p}\"\n").unwrap();
        write!(text, "[[device]]\nid = \"mqtt:watch-{p}\"\npatient = \"Patient/p{p}\"\n").unwrap();
    }
    text
}

/// Reading `n`: a heart rate of one of the patients, at its own second.
fn message(n: u64) -> (String, String) {
    let (minute, second, rate) = (n / 60 % 60, n % 60, 60 + n % 40);
    let time = format!("{}T{:02}:{minute:02}:{second:02}Z", support::day(), n / 3_600 % 24);
    (format!("vitals/watch-{}", n % PATIENTS), format!("{{\"id\":{n},\"time\":\"{time}\",\"heart_rate\":{rate}}}"))
}

async fn publish(device: &Device, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let (topic, payload) = message(n);
        device.publish(&topic, [payload]).await;
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_found_once_and_a_repeated_run_adds_nothing() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings::default()).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..100).await;
    until("delivery", || endpoint.counts().observations == 100).await;
    // The devices send their memory again.
    publish(&device, 0..100).await;
    publish(&device, 100..101).await;
    until("delivery of what came after", || endpoint.counts().observations == 101).await;
    let counts = endpoint.counts();
    assert_eq!((counts.observations, counts.duplicates), (101, 0));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decoded_is_kept_with_its_reason_and_blocks_nobody() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings::default()).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let bad = ["", "{", "{\"id\":1,\"heart_rate\":\"72\"}", "\u{0}\u{ff}", &"x".repeat(100_000)];
    device.publish("vitals/watch-0", bad).await;
    let unknown = support::dated(r#"{"id":1,"time":"2026-11-22T10:00:00Z","heart_rate":70}"#);
    device.publish("vitals/unknown-device", [unknown]).await;
    publish(&device, 0..1).await;
    until("delivery of the good one", || endpoint.counts().observations == 1).await;
    let unassigned = gateway.json(&["readings"]);
    assert!(unassigned.to_string().contains("unknown-device"), "{unassigned}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    assert_eq!(endpoint.counts().observations, 1);
}

/// The destination is away for a while; the gateway is stopped and started meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_loses_nothing() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let port = support::free_port();
    let endpoint = || Endpoint::start(Settings { port, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &format!("http://127.0.0.1:{port}")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..50).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.start();
    publish(&device, 50..100).await;
    let endpoint = endpoint();
    until("delivery of everything", || endpoint.counts().observations == 100).await;
    assert_eq!(endpoint.counts().duplicates, 0);
}

/// A server that answers 201 and keeps nothing: found, sent again, and when it stays so, said to people.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_is_found_out() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let manners = Manners { forget: 2, ..Manners::default() };
    let endpoint = Endpoint::start(Settings { manners, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..50).await;
    let settled = |gateway: &Gateway| {
        let outbox = gateway.json(&["outbox"]);
        outbox[0]["delivered"].as_u64().unwrap() >= 50 && outbox[0]["waiting"] == 0
    };
    until("the receipts", || settled(&gateway)).await;
    assert_eq!(endpoint.counts().observations, 48);
    let reconcile = ["custody", "reconcile", "centre"];
    let found = gateway.json_of(&reconcile, 1);
    assert_eq!((&found["checked"], &found["missing"], &found["stays"]), (&50.into(), &2.into(), &0.into()), "{found}");
    until("the receipts", || settled(&gateway)).await;
    let found = gateway.json_of(&reconcile, 1);
    assert_eq!((&found["missing"], &found["stays"]), (&2.into(), &2.into()), "{found}");
    until("the alert", || gateway.cli(&["alerts"]).0.contains("does not hold 2 readings")).await;
    until("the receipts", || settled(&gateway)).await;
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

async fn until_found(server: &FhirServer, n: usize) {
    let since = Instant::now();
    loop {
        let found = server.search("Observation?_count=200").await.len();
        if found == n {
            return;
        }
        assert!(found < n && since.elapsed() < PATIENCE, "{found} of {n} found");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A real FHIR server: as many found by search as published, none added by a repetition, none lost by a restart.
async fn through_a_real_server(kind: Kind) {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let Some(mut server) = FhirServer::start(kind).await else { return };
    let mut gateway = Gateway::new(&settings(&broker, &server.url));
    for p in 0..PATIENTS {
        server.put(&serde_json::json!({"resourceType": "Patient", "id": format!("p{p}")})).await;
    }
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..40).await;
    until_found(&server, 40).await;
    server.kill();
    publish(&device, 40..60).await;
    // Half a history again, while nobody is there to take it.
    publish(&device, 20..40).await;
    server.revive().await;
    until_found(&server, 60).await;
    publish(&device, 0..60).await;
    publish(&device, 60..61).await;
    until_found(&server, 61).await;
    until("the receipts", || gateway.json(&["outbox"])[0]["waiting"] == 0).await;

    // Somebody deletes one there: it is missed, sent again, and found.
    let reconcile = ["custody", "reconcile", "centre"];
    let found = gateway.json(&reconcile);
    assert_eq!((&found["checked"], &found["missing"]), (&61.into(), &0.into()), "{found}");
    let one = server.search("Observation?_count=1").await[0]["id"].as_str().unwrap().to_owned();
    server.delete(&format!("Observation/{one}")).await;
    let found = gateway.json_of(&reconcile, 1);
    assert_eq!((&found["missing"], &found["stays"]), (&1.into(), &0.into()), "{found}");
    until_found(&server, 61).await;
    until("the receipt", || gateway.json(&["outbox"])[0]["waiting"] == 0).await;
    let found = gateway.json(&reconcile);
    assert_eq!(
        (&found["checked"], &found["missing"], &found["doubled"]),
        (&61.into(), &0.into(), &0.into()),
        "{found}"
    );
    strangers(&server, &gateway).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// More than a page of them, for one patient: each is found, none of ours is among them, and what is deleted is gone.
async fn strangers(server: &FhirServer, gateway: &Gateway) {
    let reconcile = ["custody", "reconcile", "centre"];
    let found = gateway.json(&reconcile);
    assert_eq!((&found["not_asked"], &found["strangers"]["found"]), (&serde_json::Value::Null, &0.into()), "{found}");
    assert_eq!((&found["strangers"]["seen"], &found["strangers"]["unjudged"]), (&61.into(), &0.into()), "{found}");
    for n in 0..105 {
        server.put(&stranger(n)).await;
    }
    let found = gateway.json_of(&reconcile, 1);
    let (strangers, places) = (&found["strangers"], found["strangers"]["places"].as_array().unwrap());
    assert_eq!((&strangers["found"], &strangers["seen"], places.len()), (&105.into(), &166.into(), 20), "{found}");
    assert!(places.iter().all(|p| p.as_str().unwrap().starts_with("Observation/stranger-")), "{places:?}");
    until("the alert", || gateway.cli(&["alerts"]).0.contains("holds 105 Observations with the mark")).await;
    for n in 1..105 {
        server.delete(&format!("Observation/stranger-{n}")).await;
    }
    let found = gateway.json_of(&reconcile, 1);
    assert_eq!((&found["missing"], &found["strangers"]["found"]), (&0.into(), &1.into()), "{found}");
}

fn stranger(n: u64) -> serde_json::Value {
    serde_json::json!({"resourceType": "Observation", "id": format!("stranger-{n}"), "status": "final",
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice",
            "valueReference": {"type": "Device", "identifier": {"system": "urn:wardline:gateway", "value": "test-box"}}}],
        "identifier": [{"system": "http://hl7.org/fhir/uv/phd/StructureDefinition/PhdBaseObservation",
            "value": format!("mqtt:watch~2D0-p0-147842-Z848656800-{n:016x}")}],
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": "Patient/p0"}, "effectiveDateTime": "2026-11-22T10:00:00Z",
        "valueQuantity": {"value": 70, "unit": "beats/minute", "system": "http://unitsofmeasure.org", "code": "/min"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helios_holds_what_was_published_once() {
    through_a_real_server(Kind::Helios).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sekmet_holds_what_was_published_once() {
    through_a_real_server(Kind::Sekmet).await;
}
