//! Documents to a receiver in healow's shape, and Devices that are written before what they measured.

use std::path::Path;

use serde_json::{Value as Json, json};
use wardline::config::{Config, DestinationSettings, FhirSettings};
use wardline::custody::{Item, ItemId, Outcome, Payload};
use wardline::sink::Destination;
use wardline::sink::fhir::FhirSink;

use crate::support::readings::{heart_rate, heart_rates};
use crate::support::scripted::{Reply, Request, Scripted};
use crate::support::within;

/// A destination as its file says it.
fn settings(url: &str, more: &str) -> FhirSettings {
    let text = format!(
        "[gateway]\nid = \"box-17\"\nstate = \"s\"\n[journal]\nunencrypted = true\n[[destination]]\nconsent = \"enrolment\"\nkind = \"fhir\"\n\
         name = \"centre\"\nurl = \"{url}\"\nlinger_ms = 0\n{more}\n"
    );
    match Config::parse(&text, Path::new("w.toml")).unwrap().destinations.remove(0) {
        DestinationSettings::Fhir(fhir) => fhir,
        other => panic!("{other:?}"),
    }
}

pub fn sink(url: &str, more: &str) -> FhirSink {
    FhirSink::new(&settings(url, more), &"box-17".into()).unwrap()
}

async fn deliver(sink: &FhirSink, items: &[Item]) -> Vec<String> {
    let outcomes = within("an outcome", sink.deliver(items, &[])).await;
    let word = |o: &Outcome| match o {
        Outcome::Delivered(_) => "delivered".to_owned(),
        Outcome::Retry { why, destination, .. } => format!("{}{}", why.code, if *destination { "!" } else { "" }),
        Outcome::Reject(why) => format!("reject {}", why.code),
        Outcome::Withheld => "withheld".to_owned(),
    };
    outcomes.iter().map(word).collect()
}

fn identifiers(request: &Request) -> Vec<String> {
    let entries = request.json()["entry"].as_array().cloned().unwrap_or_default();
    let value = |e: Json| e["resource"]["identifier"][0]["value"].as_str().unwrap().to_owned();
    entries.into_iter().map(value).collect()
}

const HEALOW: &str = "profile = \"healow\"\nrequests_per_min = 0";

#[tokio::test]
async fn a_receiver_of_documents_gets_collections_and_is_never_asked_for_more() {
    let server = Scripted::start(|_| Reply::status(202)).await;
    let sink = sink(&server.url, HEALOW);
    assert_eq!(deliver(&sink, &heart_rates(0..10)).await, vec!["delivered"; 10]);
    let requests = server.requests();
    assert_eq!((requests.len(), requests[0].method.as_str(), requests[0].path.as_str()), (1, "POST", "/fhir"));
    let bundle = requests[0].json();
    assert_eq!(bundle["type"], "collection");
    for entry in bundle["entry"].as_array().unwrap() {
        assert!(entry.get("request").is_none() && entry["fullUrl"].as_str().unwrap().starts_with("urn:uuid:"));
        let kinds: Vec<_> =
            entry["resource"]["contained"].as_array().unwrap().iter().map(|c| &c["resourceType"]).collect();
        assert_eq!(kinds, ["Device", "Device"]);
        assert_eq!(entry["resource"]["device"]["reference"], "#sensor");
    }
    assert!(!sink.takes_alerts(), "it acts on no Task");
    assert_eq!(settings(&server.url, "profile = \"healow\"").requests_per_min, 250);
}

#[tokio::test]
async fn a_document_that_is_refused_is_divided_to_the_one_that_is_refused() {
    let bad = |r: &Request| identifiers(r).iter().any(|id| id.contains(&format!("-R{}-", 848_657_471 + 6)));
    let refusal = json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]});
    let server = Scripted::start(move |r| if bad(r) { Reply::json(422, &refusal) } else { Reply::status(202) }).await;
    let mut expected = vec!["delivered"; 10];
    expected[6] = "reject WL-F011";
    assert_eq!(deliver(&sink(&server.url, HEALOW), &heart_rates(0..10)).await, expected);
    // What is sent alone is a document, too; and each reading is in exactly one that was taken.
    assert!(server.requests().iter().all(|r| r.path == "/fhir" && r.json()["type"] == "collection"));
    let taken: Vec<_> = server.requests().iter().filter(|r| !bad(r)).flat_map(identifiers).collect();
    assert_eq!(taken.len(), 9);
}

#[tokio::test]
async fn what_is_no_receivers_word_is_no_delivery_of_a_document() {
    let refusal = json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]});
    for (reply, expected) in [
        (Reply::Answer(200, vec![], "<html>hello</html>".into()), "WL-F010!"),
        (Reply::Answer(200, vec![], String::new()), "WL-F010!"),
        (Reply::json(200, &refusal), "WL-F010!"),
        (Reply::status(503), "WL-F004!"),
        (Reply::status(401), "WL-F007!"),
        (Reply::Close, "WL-F002!"),
        (Reply::json(200, &json!({"resourceType": "Bundle", "type": "collection"})), "delivered"),
        (Reply::status(204), "delivered"),
    ] {
        let server = Scripted::start(move |_| reply.clone()).await;
        assert_eq!(deliver(&sink(&server.url, HEALOW), &heart_rates(0..1)).await, [expected]);
    }
}

/// Answers as a server that keeps Devices, or refuses them.
fn keeper(takes_devices: bool) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    move |request| {
        let body = request.json();
        match body["resourceType"].as_str().unwrap_or_default() {
            "Device" if takes_devices => {
                let n = if body["identifier"][0]["system"] == "urn:wardline:gateway" { 1 } else { 2 };
                Reply::Answer(201, vec![("location", format!("http://x/fhir/Device/{n}/_history/1"))], String::new())
            }
            "Device" => {
                let issue = json!([{"severity": "error", "code": "not-supported"}]);
                Reply::json(422, &json!({"resourceType": "OperationOutcome", "issue": issue}))
            }
            _ => {
                let entries = body["entry"].as_array().unwrap();
                let one = json!({"response": {"status": "201 Created", "location": "Observation/1/_history/1"}});
                let entry = vec![one; entries.len()];
                Reply::json(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": entry}))
            }
        }
    }
}

const RESOURCES: &str = "idempotency = \"conditional-create\"\ndevices = \"resource\"\nphd = true\ngzip = false";

#[tokio::test]
async fn devices_are_written_once_before_their_readings_which_then_point_to_them() {
    let server = Scripted::start(keeper(true)).await;
    let sink = sink(&server.url, RESOURCES);
    for _ in 0..2 {
        assert_eq!(deliver(&sink, &heart_rates(0..3)).await, vec!["delivered"; 3]);
    }
    let requests = server.requests();
    let kinds: Vec<_> = requests.iter().map(|r| r.json()["resourceType"].clone()).collect();
    assert_eq!(kinds, ["Device", "Device", "Bundle", "Bundle"]);
    assert!(
        requests[1].header("if-none-exist").contains("identifier=http://hl7.org/fhir/sid/eui-48/bluetooth|C0-26-DF")
    );
    let observation = &requests[2].json()["entry"][0]["resource"];
    assert_eq!(observation["device"]["reference"], "Device/2");
    assert_eq!(observation["extension"][0]["valueReference"]["reference"], "Device/1");
    let claims = observation["meta"]["profile"].as_array().unwrap();
    assert!(claims.iter().any(|p| p.as_str().unwrap().ends_with("PhdNumericObservation")), "{claims:?}");
}

/// A Device that somebody else made is found by its address, and a server may allow nobody to change it.
#[tokio::test]
async fn a_device_of_others_keeps_what_they_wrote_and_holds_up_no_reading() {
    for allowed in [true, false] {
        let of_others = json!({
            "resourceType": "Device", "id": "2", "owner": {"reference": "Organization/1"}, "status": "active",
            "identifier": [{"system": "urn:inventory", "value": "17"}],
        });
        let keeps = keeper(true);
        let server = Scripted::start(move |request| match request.method.as_str() {
            "GET" if request.path.ends_with("/Device/2") => Reply::json(200, &of_others),
            "GET" => Reply::status(404),
            "PUT" if allowed => Reply::status(200),
            "PUT" => Reply::status(403),
            _ if request.json()["resourceType"] == "Device" => match keeps(request) {
                Reply::Answer(_, headers, body) => Reply::Answer(200, headers, body),
                other => other,
            },
            _ => keeps(request),
        })
        .await;
        let sink = sink(&server.url, RESOURCES);
        for _ in 0..2 {
            assert_eq!(deliver(&sink, &heart_rates(0..3)).await, vec!["delivered"; 3]);
        }
        let requests = server.requests();
        let written: Vec<_> = requests.iter().filter(|r| r.method == "PUT").collect();
        assert_eq!(written.len(), 1, "it is not tried again and again");
        let device = written[0].json();
        assert_eq!((&device["owner"]["reference"], &device["id"]), (&"Organization/1".into(), &"2".into()));
        assert_eq!(device["identifier"].as_array().unwrap().len(), 2, "{device}");
        assert_eq!(device["type"]["coding"][0]["code"], "65573");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_devices_gets_the_readings_all_the_same() {
    let server = Scripted::start(keeper(false)).await;
    let sink = sink(&server.url, RESOURCES);
    for _ in 0..2 {
        assert_eq!(deliver(&sink, &heart_rates(0..3)).await, vec!["delivered"; 3]);
    }
    let requests = server.requests();
    assert_eq!(requests.iter().filter(|r| r.json()["resourceType"] == "Device").count(), 2, "asked once for each");
    let observation = &requests.last().unwrap().json()["entry"][0]["resource"];
    assert!(observation["device"]["identifier"].is_object() && observation["device"].get("reference").is_none());
    let claims = observation["meta"]["profile"].as_array().unwrap();
    assert!(!claims.iter().any(|p| p.as_str().unwrap().contains("phd")), "no claim that does not hold: {claims:?}");
}

#[tokio::test]
async fn a_vital_sign_without_a_code_goes_to_the_inbox_and_the_others_pass() {
    let server = Scripted::start(|_| Reply::status(202)).await;
    let impedance = super::forms::plain("impedance");
    let items = [(1, impedance), (2, heart_rate(2))].map(|(row, reading)| Item {
        id: ItemId::Reading(row),
        what: Payload::Reading(std::sync::Arc::new(reading)),
        attempts: 0,
    });
    assert_eq!(deliver(&sink(&server.url, HEALOW), &items).await, ["reject WL-T006", "delivered"]);
}
