//! The pair of clocks goes to a server that keeps Devices, once, before the readings that it dates; and holds up nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value as Json, json};
use wardline::custody::{Item, Outcome};
use wardline::minimum::{Field, Fields};
use wardline::reading::{Coincident, Reading, ReadingKey};
use wardline::sink::Destination;
use wardline::sink::fhir::FhirSink;

use super::delivery::sink;
use super::forms;
use crate::support::readings::item;
use crate::support::scripted::{Reply, Request, Scripted};
use crate::support::within;

const REFERENCE: &str = "http://hl7.org/fhir/uv/phd/StructureDefinition/CoincidentTimeStampReference";
const CREATE: &str =
    "idempotency = \"conditional-create\"\ndevices = \"resource\"\nphd = true\ngzip = false\ntimeout_s = 2";

fn update() -> String {
    CREATE.replace("conditional-create", "update")
}

/// Reading `n`, dated by the pair of visit `visit`.
fn dated(n: u8, visit: i64) -> Item {
    let mut reading = forms::clocked("blood-pressure");
    reading.key = ReadingKey([n; 16]);
    let pair = Coincident::clone(reading.clocks.as_deref().unwrap());
    reading.clocks = Some(Arc::new(Coincident { box_ms: pair.box_ms + visit * 1_000, ..pair }));
    item(reading)
}

fn kind(request: &Request) -> &'static str {
    let body = request.json();
    match body["resourceType"].as_str().unwrap_or_default() {
        "Device" => "device",
        "Observation" if body["code"]["coding"][0]["code"] == "67975" => "pair",
        "Observation" => "reading",
        "Bundle" => "bundle",
        _ => "question",
    }
}

/// What a good server answers.
fn good(request: &Request) -> Reply {
    let body = request.json();
    match kind(request) {
        "bundle" => {
            let one = |e: &Json| {
                let place = e["request"]["url"].as_str().unwrap();
                let place = if e["request"]["method"] == "PUT" { place } else { "Observation/1" };
                json!({"response": {"status": "201 Created", "location": format!("{place}/_history/1")}})
            };
            let entry: Vec<_> = body["entry"].as_array().unwrap().iter().map(one).collect();
            Reply::json(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": entry}))
        }
        _ => {
            let kind = body["resourceType"].as_str().unwrap();
            let n = body["identifier"][0]["value"].as_str().unwrap();
            let id = body["id"].as_str().unwrap_or(n);
            Reply::Answer(201, vec![("location", format!("http://x/fhir/{kind}/{id}/_history/1"))], String::new())
        }
    }
}

async fn deliver(sink: &FhirSink, items: &[Item]) -> usize {
    let outcomes = within("an outcome", sink.deliver(items, &[])).await;
    outcomes.iter().filter(|o| matches!(o, Outcome::Delivered(_))).count()
}

/// Where each reading of the Bundles so far says its pair is.
fn references(server: &Scripted) -> Vec<Option<String>> {
    let bundles = server.requests().into_iter().filter(|r| kind(r) == "bundle");
    let entries: Vec<Json> = bundles.flat_map(|r| r.json()["entry"].as_array().unwrap().clone()).collect();
    let place = |e: Json| {
        assert!(e["resource"].get("derivedFrom").is_none());
        let extensions = e["resource"]["extension"].as_array().unwrap().clone();
        let found = extensions.into_iter().find(|x| x["url"] == REFERENCE)?;
        Some(found["valueReference"]["reference"].as_str().unwrap().to_owned())
    };
    entries.into_iter().map(place).collect()
}

fn kinds(server: &Scripted) -> Vec<&'static str> {
    server.requests().iter().map(kind).collect()
}

#[tokio::test]
async fn a_pair_is_written_once_after_its_devices_and_before_its_readings() {
    for (how, method) in [(CREATE.to_owned(), "POST"), (update(), "PUT")] {
        let server = Scripted::start(good).await;
        let first = sink(&server.url, &how);
        assert_eq!(deliver(&first, &[dated(1, 0), dated(2, 0)]).await, 2);
        assert_eq!(deliver(&first, &[dated(3, 0), dated(4, 7)]).await, 2);
        assert_eq!(kinds(&server), ["device", "device", "pair", "bundle", "pair", "bundle"]);
        let pairs: Vec<_> = server.requests().into_iter().filter(|r| kind(r) == "pair").collect();
        let pair = pairs[0].json();
        assert_eq!(super::phd::broken_pair(&pair), Vec::<&str>::new(), "{pair:#}");
        let name = pair["identifier"][0]["value"].as_str().unwrap().to_owned();
        assert_eq!(pairs[0].method, method);
        match method {
            "PUT" => {
                assert_eq!((pairs[0].path.as_str(), &pair["id"]), (&*format!("/fhir/Observation/{name}"), &json!(name)))
            }
            _ => assert_eq!(pairs[0].header("if-none-exist"), format!("identifier=urn:wardline:clock|{name}")),
        }
        let places = references(&server);
        assert_eq!(places[0], Some(format!("Observation/{name}")), "{places:?}");
        assert!(
            places[..3].iter().all(|p| *p == places[0]) && places[3].is_some() && places[3] != places[0],
            "{places:?}"
        );
        // After a restart it is the same resource.
        let again = sink(&server.url, &how);
        assert_eq!(deliver(&again, &[dated(5, 0)]).await, 1);
        let last = server.requests().into_iter().rfind(|r| kind(r) == "pair").unwrap();
        assert_eq!((last.path, last.body), (pairs[0].path.clone(), pairs[0].body.clone()));
        assert_eq!(references(&server)[4], places[0]);
    }
}

#[tokio::test]
async fn who_takes_no_pair_gets_the_readings_all_the_same() {
    let refusal = json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]});
    for reply in [
        Reply::json(422, &refusal),
        Reply::json(400, &refusal),
        Reply::status(403),
        Reply::status(404),
        Reply::status(409),
        Reply::status(413),
        Reply::status(500),
        Reply::Answer(200, vec![], "<html>hello</html>".into()),
        Reply::Close,
        Reply::Hang,
    ] {
        let wrong = reply.clone();
        let server = Scripted::start(move |r| if kind(r) == "pair" { wrong.clone() } else { good(r) }).await;
        let sink = sink(&server.url, CREATE);
        let asked = match &reply {
            Reply::Answer(status, ..) => status.to_string(),
            _ => "no answer".into(),
        };
        assert_eq!(deliver(&sink, &[dated(1, 0), dated(2, 1), dated(3, 2)]).await, 3, "{asked}");
        assert_eq!(deliver(&sink, &[dated(4, 0), dated(5, 3)]).await, 2, "{asked}");
        let pairs = kinds(&server).iter().filter(|k| **k == "pair").count();
        assert_eq!(pairs, 1, "{asked}: it is not asked again and again");
        let without = references(&server);
        assert!(without.len() == 5 && without.iter().all(Option::is_none), "{asked}: {without:?}");
    }
}

/// In an outage a pair fails as readings do; once it is over, both are there.
#[tokio::test]
async fn an_outage_costs_no_reference() {
    for reply in [Reply::status(503), Reply::status(500), Reply::status(429), Reply::status(403), Reply::Close] {
        let (out, fails) = (Arc::new(AtomicBool::new(false)), reply.clone());
        let now = out.clone();
        let server = Scripted::start(move |r| if now.load(Ordering::SeqCst) { fails.clone() } else { good(r) }).await;
        let sink = sink(&server.url, CREATE);
        // The Devices are there already.
        assert_eq!(deliver(&sink, &[dated(1, 0)]).await, 1);
        out.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(deliver(&sink, &[dated(2, 1), dated(3, 2)]).await, 0);
        }
        out.store(false, Ordering::SeqCst);
        assert_eq!(deliver(&sink, &[dated(2, 1), dated(3, 2)]).await, 2);
        assert!(references(&server).iter().rev().take(2).all(Option::is_some), "{:?}", references(&server));
    }
}

#[tokio::test]
async fn only_who_asks_for_it_gets_a_pair_and_only_with_a_reading_that_goes() {
    let nobodys = |n| {
        let mut reading = Reading::clone(match &dated(n, 0).what {
            wardline::custody::Payload::Reading(reading) => reading,
            wardline::custody::Payload::Alert(_) => panic!("an alert"),
        });
        reading.patient = None;
        item(reading)
    };
    let plain = item(forms::plain("blood-pressure"));
    for (how, items) in [
        (CREATE.replace("phd = true", "phd = false"), vec![dated(1, 0)]),
        (CREATE.replace("\"resource\"", "\"contained\""), vec![dated(1, 0)]),
        (CREATE.to_owned(), vec![plain]),
        (CREATE.to_owned(), vec![nobodys(1)]),
    ] {
        let server = Scripted::start(good).await;
        deliver(&sink(&server.url, &how), &items).await;
        assert!(!kinds(&server).contains(&"pair"), "{how}: {:?}", kinds(&server));
        assert!(references(&server).iter().all(Option::is_none));
    }
    // Who takes no Devices could not lead from the pair to the device.
    let refusal = json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]});
    let server = Scripted::start(move |r| if kind(r) == "device" { Reply::json(422, &refusal) } else { good(r) }).await;
    assert_eq!(deliver(&sink(&server.url, CREATE), &[dated(1, 0)]).await, 1);
    assert_eq!(kinds(&server), ["device", "device", "bundle"]);
}

#[test]
fn a_destination_that_gets_no_device_or_its_time_gets_no_pair() {
    let reading = forms::clocked("blood-pressure");
    let kept = |left_out: Option<Field>| {
        let fields: Vec<_> = Field::ALL.into_iter().filter(|f| Some(*f) != left_out).collect();
        Fields::from(Some(&fields[..])).cut(&reading).clocks.is_some()
    };
    assert!(kept(None) && kept(Some(Field::Site)) && kept(Some(Field::Gateway)));
    assert!(!kept(Some(Field::Device)) && !kept(Some(Field::DeviceTime)));
}
