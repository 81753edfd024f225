//! What each sensor measures goes to a server that keeps Devices, with `device_metrics`: once, after the Device, and it holds
//! up nothing. Each is held against R4's definition of DeviceMetric and the device guide's clauses.

use serde_json::{Value as Json, json};
use wardline::custody::{Item, Outcome};
use wardline::fhir::{Facts, Metric, Scope, device_metric};
use wardline::minimum::Fields;
use wardline::reading::{Reading, ReadingKey};
use wardline::sink::Destination;
use wardline::sink::fhir::FhirSink;
use wardline::vital::VITALS;

use super::{delivery, forms, golden};
use crate::support::fhir_server::{FhirServer, Kind};
use crate::support::readings::item;
use crate::support::scripted::{Reply, Request, Scripted};
use crate::support::within;

const CREATE: &str =
    "idempotency = \"conditional-create\"\ndevices = \"resource\"\ndevice_metrics = true\ngzip = false\ntimeout_s = 2";

fn update() -> String {
    CREATE.replace("conditional-create", "update")
}

fn numbered(n: u8, mut reading: Reading) -> Item {
    reading.key = ReadingKey([n; 16]);
    item(reading)
}

fn pressure(n: u8) -> Item {
    numbered(n, forms::plain("blood-pressure"))
}

fn weight(n: u8, value: &str, unit: &str) -> Item {
    numbered(n, forms::with("body-weight", vec![forms::part(wardline::vital::Role::Value, value, unit)]))
}

fn kind(request: &Request) -> String {
    request.json()["resourceType"].as_str().unwrap_or("question").to_owned()
}

fn kinds(server: &Scripted) -> Vec<String> {
    server.requests().iter().map(kind).collect()
}

fn metrics(server: &Scripted) -> Vec<Request> {
    server.requests().into_iter().filter(|r| kind(r) == "DeviceMetric").collect()
}

/// What a good server answers.
fn good(request: &Request) -> Reply {
    let body = request.json();
    match kind(request).as_str() {
        "Bundle" => {
            let one = |e: &Json| {
                let place = e["request"]["url"].as_str().unwrap();
                let place = if e["request"]["method"] == "PUT" { place } else { "Observation/1" };
                json!({"response": {"status": "201 Created", "location": format!("{place}/_history/1")}})
            };
            let entry: Vec<_> = body["entry"].as_array().unwrap().iter().map(one).collect();
            Reply::json(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": entry}))
        }
        kind => {
            let n = body["identifier"][0]["value"].as_str().unwrap_or("1");
            let id = body["id"].as_str().unwrap_or(n);
            Reply::Answer(201, vec![("location", format!("http://x/fhir/{kind}/{id}/_history/1"))], String::new())
        }
    }
}

async fn deliver(sink: &FhirSink, items: &[Item]) -> usize {
    let outcomes = within("an outcome", sink.deliver(items, &[])).await;
    outcomes.iter().filter(|o| matches!(o, Outcome::Delivered(_))).count()
}

/// What R4's definition or the guide's PhdDeviceMetric asks for, and this one does not keep.
fn broken(metric: &Json) -> Vec<&'static str> {
    let mut out = Vec::new();
    let mut hold = |holds: bool, clause| {
        if !holds {
            out.push(clause)
        }
    };
    let known = ["resourceType", "id", "meta", "identifier", "type", "unit", "source", "category"];
    hold(
        metric.as_object().unwrap().keys().all(|k| known.contains(&k.as_str())),
        "no element beside those of R4 that are known",
    );
    hold(metric["resourceType"] == "DeviceMetric", "resourceType");
    let mdc = |c: &Json| c["system"] == "urn:iso:std:iso:11073:10101" && c["code"].is_string();
    let codings = metric["type"]["coding"].as_array().cloned().unwrap_or_default();
    hold(codings.iter().filter(|c| mdc(c)).count() == 1, "PhdDeviceMetric.type.coding:MDCType 1..1");
    let category = metric["category"].as_str().unwrap_or_default();
    hold(
        ["measurement", "setting", "calculation", "unspecified"].contains(&category),
        "category 1..1, metric-category",
    );
    let ucum = |c: &Json| c["system"] == "http://unitsofmeasure.org" && c["code"].is_string();
    let unit = &metric["unit"];
    hold(unit.is_null() || unit["coding"].as_array().unwrap().iter().any(ucum), "PhdDeviceMetric.unit: a UCUM code");
    let source = metric["source"]["reference"].as_str().unwrap_or_default();
    hold(source.starts_with("Device/"), "source: Reference(Device)");
    hold(metric["identifier"].as_array().is_some_and(|i| i.len() == 1), "identifier");
    out
}

#[test]
fn every_vital_sign_has_a_metric_that_keeps_the_definition() {
    let scope = forms::placed();
    for row in VITALS {
        let reading = forms::plain(row.id);
        let found = Metric::of(&reading, &scope);
        let coded = row.mdc.is_some() || row.components.iter().any(|c| c.mdc.is_some());
        assert_eq!(!found.is_empty(), coded, "{}", row.id);
        for metric in found {
            let json = Json::Object(device_metric(&metric, &scope, &Facts::default()));
            assert_eq!(broken(&json), Vec::<&str>::new(), "{}: {json:#}", row.id);
        }
    }
    let mut wrong = Json::Object(device_metric(&Metric::of(&forms::plain("spo2"), &scope)[0], &scope, &golden::cuff()));
    assert_eq!(broken(&wrong), Vec::<&str>::new());
    for (key, value) in [("category", json!("x")), ("type", json!({})), ("source", json!({})), ("color", json!("red"))]
    {
        let right = std::mem::replace(&mut wrong[key], value);
        assert_eq!(broken(&wrong).len(), 1, "{key}");
        wrong[key] = right;
        if wrong[key].is_null() {
            wrong.as_object_mut().unwrap().remove(key);
        }
    }
}

#[test]
fn a_metric_is_known_by_device_code_and_category() {
    let scope = Scope::new("box-17");
    let name = |reading: &Reading| Metric::of(reading, &scope)[0].name();
    let spot = name(&forms::plain("heart-rate"));
    assert_eq!(spot, name(&forms::with("heart-rate", vec![forms::part(wardline::vital::Role::Value, "99", "/min")])));
    assert_ne!(spot, name(&forms::mean("heart-rate")), "a mean is a calculation");
    let other = Reading { device: wardline::reading::DeviceId("mqtt:other".into()), ..forms::plain("heart-rate") };
    assert_ne!(spot, name(&other));
    // A temperature of the ear is another quantity than one of the mouth.
    assert_ne!(name(&forms::at("tympanum")), name(&forms::at("mouth")));
    let absent = forms::with("spo2", vec![forms::absent(wardline::vital::Role::Value, "error", "%")]);
    assert!(Metric::of(&absent, &scope).is_empty(), "nothing is known of it");
}

#[tokio::test]
async fn a_metric_is_written_once_after_its_device_and_again_when_its_unit_changed() {
    for (how, method) in [(CREATE.to_owned(), "POST"), (update(), "PUT")] {
        let server = Scripted::start(good).await;
        let first = delivery::sink(&server.url, &how);
        assert_eq!(deliver(&first, &[pressure(1), pressure(2)]).await, 2);
        assert_eq!(deliver(&first, &[pressure(3), weight(4, "81.5", "kg")]).await, 2);
        let expected = ["Device", "Device", "DeviceMetric", "Bundle", "Device", "DeviceMetric", "Bundle"];
        // The second vital sign is news of the Device as well.
        let seen: Vec<String> = kinds(&server).into_iter().filter(|k| k != "question").collect();
        assert!(
            seen == expected || seen == ["Device", "Device", "DeviceMetric", "Bundle", "DeviceMetric", "Bundle"],
            "{seen:?}"
        );
        let all = metrics(&server);
        let cuff = all[0].json();
        assert_eq!(broken(&cuff), Vec::<&str>::new(), "{cuff:#}");
        assert_eq!(cuff["type"]["coding"][0]["code"], "150020");
        let name = cuff["identifier"][0]["value"].as_str().unwrap();
        assert_eq!(all[0].method, method);
        match method {
            "PUT" => assert_eq!(all[0].path, format!("/fhir/DeviceMetric/{name}")),
            _ => assert_eq!(all[0].header("if-none-exist"), format!("identifier=urn:wardline:device-metric|{name}")),
        }
        assert_eq!(deliver(&first, &[weight(5, "180", "[lb_av]")]).await, 1);
        let last = metrics(&server).pop().unwrap().json();
        assert_eq!((all.len(), metrics(&server).len()), (2, 3));
        assert_eq!(last["unit"]["coding"][0]["code"], "[lb_av]", "{last:#}");
        assert_eq!(last["identifier"], metrics(&server)[1].json()["identifier"]);
    }
}

#[tokio::test]
async fn who_takes_no_metric_gets_the_readings_and_is_not_asked_again() {
    let refusal =
        json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-supported"}]});
    for reply in [
        Reply::json(422, &refusal),
        Reply::json(404, &refusal),
        Reply::status(403),
        Reply::status(405),
        Reply::status(409),
        Reply::status(500),
        Reply::Close,
        Reply::Hang,
    ] {
        let wrong = reply.clone();
        let server = Scripted::start(move |r| if kind(r) == "DeviceMetric" { wrong.clone() } else { good(r) }).await;
        let sink = delivery::sink(&server.url, CREATE);
        let asked = match &reply {
            Reply::Answer(status, ..) => status.to_string(),
            _ => "no answer".into(),
        };
        let mut sent = 0;
        for n in 0..4 {
            sent += deliver(&sink, &[pressure(2 * n), weight(2 * n + 1, "80", "kg")]).await;
        }
        // Where nothing answers, the readings wait as well: the destination may be away.
        let away = matches!(reply, Reply::Close | Reply::Hang);
        assert!(sent == 8 || away, "{asked}: {sent}");
        if !away {
            assert!(metrics(&server).len() <= 3, "{asked}: {:?}", kinds(&server));
        }
    }
}

#[tokio::test]
async fn only_who_asks_for_it_gets_one_and_never_of_a_device_that_is_withheld() {
    let fields = Fields::from(Some(&[][..]));
    let cut = numbered(1, fields.cut(&forms::plain("blood-pressure")));
    for (how, items) in [
        (CREATE.replace("device_metrics = true", ""), vec![pressure(1)]),
        (CREATE.to_owned(), vec![numbered(1, Reading { patient: None, ..forms::plain("blood-pressure") })]),
        (CREATE.to_owned(), vec![cut]),
        (CREATE.to_owned(), vec![item(forms::amended("blood-pressure", "withdrawal"))]),
    ] {
        let server = Scripted::start(good).await;
        deliver(&delivery::sink(&server.url, &how), &items).await;
        assert!(metrics(&server).is_empty(), "{how}: {:?}", kinds(&server));
    }
    let refusal = json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]});
    let server = Scripted::start(move |r| if kind(r) == "Device" { Reply::json(422, &refusal) } else { good(r) }).await;
    assert_eq!(deliver(&delivery::sink(&server.url, CREATE), &[pressure(1)]).await, 1);
    assert!(metrics(&server).is_empty(), "without its Device it would hang in the air");
}

/// Two real servers hold one for each device and code, whatever way and however often it was written, and as it is by now.
async fn play(kind: Kind) {
    let Some(server) = FhirServer::start(kind).await else { return };
    server.put(&json!({"resourceType": "Patient", "id": "8f2c", "active": true})).await;
    for (n, how) in [CREATE.to_owned(), update()].into_iter().enumerate() {
        let how = how.replace("timeout_s = 2", "timeout_s = 60");
        let first = 1 + 10 * n as u8;
        for round in 0..2 {
            let sink = delivery::sink(&server.url, &how);
            let unit = if round == 0 { "kg" } else { "[lb_av]" };
            let items = [pressure(first + 2 * round), weight(first + 2 * round + 1, "81.5", unit)];
            assert_eq!(deliver(&sink, &items).await, 2, "{kind:?} {how}");
        }
        let found = server.search("DeviceMetric?_count=50").await;
        let with = |code: &str| -> Vec<&Json> {
            found.iter().filter(|m| m["type"]["coding"][0]["code"] == code && n == 0).collect()
        };
        assert!(found.iter().all(|m| broken(m).is_empty()), "{kind:?}: {found:#?}");
        if n == 0 {
            assert_eq!((with("150020").len(), with("188736").len()), (1, 1), "{kind:?}: {found:#?}");
            assert_eq!(with("188736")[0]["unit"]["coding"][0]["code"], "[lb_av]", "{kind:?}: {found:#?}");
        }
    }
    // Written under an id of ours there is one more of each; where none can be looked for, they are so from the first. And
    // each leads to a Device that is there.
    let found = server.search("DeviceMetric?_count=50").await;
    assert_eq!(found.len(), if kind == Kind::Sekmet { 2 } else { 4 }, "{kind:?}: {found:#?}");
    for metric in &found {
        let place = metric["source"]["reference"].as_str().unwrap();
        let id = place.strip_prefix("Device/").unwrap();
        assert_eq!(server.search(&format!("Device?_id={id}")).await.len(), 1, "{kind:?}: {place}");
    }
}

#[tokio::test]
async fn helios_keeps_what_each_device_measures() {
    play(Kind::Helios).await;
}

#[tokio::test]
async fn sekmet_keeps_what_each_device_measures() {
    play(Kind::Sekmet).await;
}
