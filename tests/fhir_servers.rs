//! The FHIR destination against two real servers, in both ways of shutting out doubles.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use support::fhir_server::{FhirServer, Kind};
use support::readings::{alert, alert_item, heart_rate, heart_rates, item, reading};
use wardline::config::{FhirSettings, Idempotency};
use wardline::custody::{Item, Outcome, Payload};
use wardline::fhir::Identity;
use wardline::sink::Destination;
use wardline::sink::fhir::FhirSink;

const WAYS: [Idempotency; 2] = [Idempotency::ConditionalCreate, Idempotency::Update];

/// All scenes on one server, each with readings of its own.
async fn play(kind: Kind) {
    let Some(server) = FhirServer::start(kind).await else { return };
    server.put(&json!({"resourceType": "Patient", "id": "p1", "active": true})).await;
    readings_are_there_once(&server, kind).await;
    every_form_is_taken_and_kept_exactly(&server, kind).await;
    an_invalid_one_is_rejected_alone(&server, kind).await;
    an_alert_lives_at_the_server(&server, kind).await;
    the_centres_owner_stays(&server, kind).await;
}

#[tokio::test]
async fn helios() {
    play(Kind::Helios).await;
}

#[tokio::test]
async fn sekmet() {
    play(Kind::Sekmet).await;
}

fn settings(server: &FhirServer, idempotency: Idempotency) -> FhirSettings {
    FhirSettings {
        consent: None,
        fields: None,
        name: "centre".into(),
        url: server.url.clone(),
        idempotency,
        bundle: wardline::config::BundleKind::Auto,
        bundle_max: 100,
        requests_per_min: 0,
        gzip: true,
        linger_ms: 0,
        timeout_s: 60,
        ca_file: None,
        crl_file: None,
        client_certificate_file: None,
        client_key_file: None,
        token_file: None,
        auth: None,
        profile: None,
        us_core: Default::default(),
        phd: false,
        devices: Default::default(),
        uncoded: Default::default(),
        mapping_file: None,
        alert_owner: None,
        care_plan: None,
        follow_tasks: None,
        audit: false,
        device_metrics: false,
        references: Default::default(),
    }
}

fn sink(server: &FhirServer, idempotency: Idempotency) -> FhirSink {
    FhirSink::new(&settings(server, idempotency), &"box-1".into()).unwrap()
}

fn all_delivered(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|o| matches!(o, Outcome::Delivered(_)))
}

/// How many Observations the server has of these items, by their identifiers: all of them, and different ones.
async fn count(server: &FhirServer, items: &[Item]) -> (usize, usize) {
    let ours: HashSet<String> = items
        .iter()
        .map(|item| match &item.what {
            Payload::Reading(r) => Identity::of(r).unwrap().value().to_owned(),
            Payload::Alert(_) => unreachable!(),
        })
        .collect();
    let found = server.search("Observation?code=http://loinc.org|8867-4&_count=50").await;
    let mut found: Vec<&str> = found.iter().map(|o| o["identifier"][0]["value"].as_str().unwrap()).collect();
    found.retain(|identifier| ours.contains(*identifier));
    (found.len(), found.iter().collect::<HashSet<_>>().len())
}

async fn readings_are_there_once(server: &FhirServer, kind: Kind) {
    for (way, first) in WAYS.into_iter().zip([0, 1_000]) {
        let sink = sink(server, way);
        let items = heart_rates(first..first + 100);
        for round in 0..2 {
            let outcomes = sink.deliver(&items, &[]).await;
            assert!(all_delivered(&outcomes), "{kind:?} {way:?}: {outcomes:?}");
            let known = outcomes.iter().filter(|o| matches!(o, Outcome::Delivered(r) if r.known)).count();
            assert_eq!(known, 100 * round, "{kind:?} {way:?}");
        }
        assert_eq!(count(server, &items).await, (100, 100), "{kind:?} {way:?}");
        let Outcome::Delivered(receipt) = &sink.deliver(&items[..1], &[]).await[0] else { panic!() };
        assert!(receipt.location.starts_with("Observation/"), "{kind:?} {way:?}: {}", receipt.location);
    }
}

/// Readings of every form: a panel with a missing half, an absence, a laboratory result, a site, labels.
fn forms() -> Vec<Item> {
    let parts = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let number = |value: &str, unit: &str| {
        parts(&format!(r#"[{{"role":"value","value":{{"number":{value}}},"unit":"{unit}"}}]"#))
    };
    let absent = parts(r#"[{"role":"value","value":{"absent":"not-a-number"},"unit":"%"}]"#);
    let pressure = parts(
        r#"[{"role":"systolic","value":{"number":17.6},"unit":"kPa"},
            {"role":"diastolic","value":{"absent":"not-a-number"},"unit":"kPa"}]"#,
    );
    let mut temperature = reading(5_003, "Patient/p1", "body-temperature", &number("36.60", "Cel"));
    temperature.site = wardline::vital::Site::parse("mouth");
    let mut oxygen = reading(5_004, "Patient/p1", "spo2", &number("97", "%"));
    use wardline::reading::Quality::{Early, Implausible, Questionable, Test};
    oxygen.quality = vec![Questionable, Early, Implausible, Test];
    let others = [
        reading(5_001, "Patient/p1", "blood-pressure", &pressure),
        reading(5_002, "Patient/p1", "spo2", &absent),
        temperature,
        oxygen,
        reading(5_005, "Patient/p1", "glucose-capillary-plasma", &number("5.6", "mmol/L")),
        reading(5_006, "Patient/p1", "muscle-percentage", &number("41.2", "%")),
        reading(5_007, "Patient/p1", "body-weight", &number("81.50", "kg")),
    ];
    others.into_iter().map(item).collect()
}

async fn every_form_is_taken_and_kept_exactly(server: &FhirServer, kind: Kind) {
    let outcomes = sink(server, Idempotency::Update).deliver(&forms(), &[]).await;
    assert!(all_delivered(&outcomes), "{kind:?}: {outcomes:?}");
    let found = server.search("Observation?code=http://loinc.org|85354-9").await;
    let component = &found[0]["component"];
    assert_eq!(component[0]["valueQuantity"]["value"], 132, "{kind:?}");
    assert_eq!(component[1]["dataAbsentReason"]["coding"][0]["code"], "not-a-number", "{kind:?}");
}

/// A reading that a server finds invalid: from before the years that FHIR can write.
fn invalid() -> Item {
    let mut reading = heart_rate(6_000);
    reading.taken.at_ms = Some(-70_000_000_000_000);
    item(reading)
}

async fn an_invalid_one_is_rejected_alone(server: &FhirServer, kind: Kind) {
    for (way, first) in WAYS.into_iter().zip([2_000, 3_000]) {
        let mut items = heart_rates(first..first + 20);
        items.insert(10, invalid());
        let outcomes = sink(server, way).deliver(&items, &[]).await;
        items.remove(10);
        assert_eq!(count(server, &items).await, (20, 20), "{kind:?} {way:?}");
        for (n, outcome) in outcomes.iter().enumerate() {
            let right =
                if n == 10 { matches!(outcome, Outcome::Reject(_)) } else { matches!(outcome, Outcome::Delivered(_)) };
            assert!(right, "{kind:?} {way:?} {n}: {outcome:?}");
        }
    }
}

async fn an_alert_lives_at_the_server(server: &FhirServer, kind: Kind) {
    for (way, n) in WAYS.into_iter().zip(0..) {
        let sink = sink(server, way);
        let id = format!("{n:032x}");
        let evidence = [Arc::new(heart_rate(4_000 + n)), Arc::new(heart_rate(4_100 + n))];
        let tasks = format!("Task?identifier=urn:wardline:alert|{id}");
        let mut statuses = Vec::new();
        // Each event is sent twice, as after a lost answer.
        for happened in ["raised", "raised", "acknowledged", "acknowledged", "resolved", "resolved"] {
            let event = alert(&id, happened, &[&evidence[0], &evidence[1]]);
            let outcomes = sink.deliver(&[alert_item(event, 0)], &evidence).await;
            assert!(all_delivered(&outcomes), "{kind:?} {way:?} {happened}: {outcomes:?}");
            let found = server.search(&tasks).await;
            assert_eq!(found.len(), 1, "{kind:?} {way:?} {happened}");
            statuses.push(found[0]["status"].as_str().unwrap().to_owned());
        }
        assert_eq!(statuses, ["requested", "requested", "accepted", "accepted", "completed", "completed"]);
        // Not every server finds a DetectedIssue by its identifier.
        let mut issues = server.search("DetectedIssue?_count=50").await;
        issues.retain(|issue| issue["identifier"][0]["value"] == id.as_str());
        assert_eq!(issues.len(), 1, "{kind:?} {way:?}");
        let task = &server.search(&tasks).await[0];
        let focus = task["focus"]["reference"].as_str().unwrap();
        assert!(focus.ends_with(&format!("DetectedIssue/{}", issues[0]["id"].as_str().unwrap())), "{kind:?}: {focus}");
        for implicated in issues[0]["implicated"].as_array().unwrap() {
            let reference = implicated["reference"].as_str().unwrap();
            let id = reference.rsplit('/').next().unwrap();
            let found = server.search(&format!("Observation?_id={id}")).await;
            assert_eq!(found.len(), 1, "{kind:?} {way:?}: {reference}");
        }
        let evidence: Vec<Item> = evidence.iter().map(|r| item((**r).clone())).collect();
        assert_eq!(count(server, &evidence).await, (2, 2), "{kind:?} {way:?}");
    }
}

/// With `follow_tasks` the owner and the note of the centre outlive what we write; without it they do not: the scene sees it.
async fn the_centres_owner_stays(server: &FhirServer, kind: Kind) {
    for (way, n) in WAYS.into_iter().zip(0..) {
        for follows in [true, false] {
            let follow_tasks = follows.then_some(wardline::config::FollowTasksSettings { every_s: 60 });
            let sink = FhirSink::new(&FhirSettings { follow_tasks, ..settings(server, way) }, &"box-1".into()).unwrap();
            let id = format!("{:032x}", 0x100 + 2 * n + u64::from(follows));
            let evidence = [Arc::new(heart_rate(7_000 + n))];
            let tasks = format!("Task?identifier=urn:wardline:alert|{id}");
            let mut seen = Vec::new();
            for happened in ["raised", "raised", "acknowledged", "acknowledged", "resolved", "resolved"] {
                let event = alert(&id, happened, &[&evidence[0]]);
                let outcomes = sink.deliver(&[alert_item(event, 0)], &evidence).await;
                assert!(all_delivered(&outcomes), "{kind:?} {way:?} {happened}: {outcomes:?}");
                let mut found = server.search(&tasks).await;
                assert_eq!(found.len(), 1, "{kind:?} {way:?} {happened}");
                let mut task = found.remove(0);
                seen.push((task["status"].as_str().unwrap().to_owned(), task["owner"]["display"] == "Dr Ada"));
                if happened == "raised" && seen.len() == 1 {
                    (task["status"], task["owner"]) = (json!("received"), json!({"display": "Dr Ada"}));
                    server.put(&task).await;
                }
            }
            let (last, owned) = seen.last().unwrap();
            assert_eq!((last.as_str(), *owned), ("completed", follows), "{kind:?} {way:?}: {seen:?}");
            if follows {
                let states: Vec<&str> = seen.iter().map(|(status, _)| status.as_str()).collect();
                assert_eq!(states[1..5], ["received", "received", "received", "completed"], "{kind:?} {way:?}");
            }
        }
    }
}
