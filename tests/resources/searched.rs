//! Devices named by a search for them (R4: conditional references): only in a transaction, and whatever a server says to
//! that, nothing waits for it and nothing is lost.

use serde_json::{Value as Json, json};
use wardline::custody::{Item, Outcome, Payload};
use wardline::sink::Destination;
use wardline::sink::fhir::FhirSink;

use super::{delivery, mapping};
use crate::support::fhir_server::{FhirServer, Kind};
use crate::support::readings::{alert, alert_item, heart_rate, heart_rates, item};
use crate::support::scripted::{Reply, Request, Scripted};
use crate::support::within;

const HOW: &str = "idempotency = \"conditional-create\"\nreferences = \"conditional\"\nbundle = \"transaction\"\n\
                   gzip = false\ntimeout_s = 60";
const SEARCH: &str = "Device?identifier=http://hl7.org/fhir/sid/eui-48/bluetooth|C0-26-DF-00-11-22";

fn entries(request: &Request) -> Vec<Json> {
    request.json()["entry"].as_array().cloned().unwrap_or_default()
}

fn searches(request: &Request) -> bool {
    String::from_utf8_lossy(&request.body).contains("Device?identifier=")
}

fn good(request: &Request) -> Reply {
    let fine = |e: &Json| {
        let kind = e["resource"]["resourceType"].as_str().unwrap().to_owned();
        json!({"response": {"status": "201 Created", "location": format!("{kind}/1/_history/1")}})
    };
    let entry: Vec<Json> = entries(request).iter().map(fine).collect();
    match entry.len() {
        0 => {
            let kind = request.json()["resourceType"].as_str().unwrap_or("Observation").to_owned();
            Reply::Answer(201, vec![("location", format!("http://x/fhir/{kind}/1/_history/1"))], String::new())
        }
        _ => Reply::json(200, &json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entry})),
    }
}

fn refusal(status: u16) -> Reply {
    let issue = json!([{"severity": "error", "code": "not-found", "diagnostics": "matches no existing resource"}]);
    Reply::json(status, &json!({"resourceType": "OperationOutcome", "issue": issue}))
}

async fn deliver(sink: &FhirSink, items: &[Item], evidence: &[Item]) -> Vec<&'static str> {
    let evidence = evidence.iter().filter_map(|i| match &i.what {
        Payload::Reading(reading) => Some(reading.clone()),
        Payload::Alert(_) => None,
    });
    let evidence: Vec<_> = evidence.collect();
    let outcomes = within("an outcome", sink.deliver(items, &evidence)).await;
    let word = |o: &Outcome| match o {
        Outcome::Delivered(_) => "delivered",
        Outcome::Retry { destination: true, .. } => "destination",
        Outcome::Retry { .. } => "item",
        Outcome::Reject(_) => "reject",
        Outcome::Withheld => "withheld",
    };
    outcomes.iter().map(word).collect()
}

#[tokio::test]
async fn devices_are_looked_for_in_a_transaction_and_nowhere_else() {
    let observation = |request: &Request| entries(request)[0]["resource"].clone();
    let server = Scripted::start(good).await;
    assert_eq!(deliver(&delivery::sink(&server.url, HOW), &heart_rates(0..2), &[]).await, ["delivered"; 2]);
    let sent = observation(&server.requests()[0]);
    assert_eq!(sent["device"]["reference"], SEARCH);
    // The identifier stays: what bears our mark is known by it.
    assert_eq!(sent["device"]["identifier"]["value"], "C0-26-DF-00-11-22");
    let gateway = &sent["extension"][0]["valueReference"];
    assert_eq!(gateway["reference"], "Device?identifier=urn:wardline:gateway|box-17");
    // By default, and in a batch, never.
    for how in [HOW.replace("\"conditional\"", "\"logical\""), HOW.replace("\"transaction\"", "\"batch\"")] {
        let server = Scripted::start(good).await;
        assert_eq!(deliver(&delivery::sink(&server.url, &how), &heart_rates(0..2), &[]).await, ["delivered"; 2]);
        assert!(!server.requests().iter().any(searches), "{how}");
    }
    // An alert is a transaction whatever readings travel in; sent alone, a reading is in none.
    let server = Scripted::start(good).await;
    let sink = delivery::sink(&server.url, &HOW.replace("\"transaction\"", "\"batch\""));
    let evidence = heart_rates(7..8);
    let event = alert("a1", "raised", &[&heart_rate(7)]);
    assert_eq!(deliver(&sink, &[alert_item(event, 0)], &evidence).await, ["delivered"]);
    let all = entries(&server.requests()[0]);
    assert_eq!(all[0]["resource"]["device"]["reference"], SEARCH);
    assert_eq!(all[2]["resource"]["requester"]["reference"], "Device?identifier=urn:wardline:gateway|box-17");
    let suspect = Item { attempts: 3, ..item(heart_rate(9)) };
    assert_eq!(deliver(&sink, &[suspect], &[]).await, ["delivered"]);
    assert!(!searches(server.requests().last().unwrap()));
}

/// In the words of servers: HAPI and helios say 400, sekmet 404, others 412; some fail.
#[tokio::test]
async fn a_device_that_is_not_found_costs_one_request_and_nothing_else() {
    for status in [400, 404, 410, 412, 422, 500] {
        let server = Scripted::start(move |r| if searches(r) { refusal(status) } else { good(r) }).await;
        let sink = delivery::sink(&server.url, HOW);
        for n in 0..3 {
            assert_eq!(deliver(&sink, &heart_rates(10 * n..10 * n + 10), &[]).await, ["delivered"; 10], "{status}");
        }
        let requests = server.requests();
        assert_eq!(requests.len(), 4, "{status}: refused once, and then known by identifier");
        assert!(searches(&requests[0]) && !requests[1..].iter().any(searches), "{status}");
        // An alert is sent without it at once.
        let event = alert("a1", "raised", &[&heart_rate(7)]);
        let alone = delivery::sink(&server.url, HOW);
        let outcomes = deliver(&alone, &[alert_item(event.clone(), 0)], &heart_rates(7..8)).await;
        assert_eq!(outcomes, ["delivered"], "{status}");
        let requests = server.requests();
        assert_eq!((requests.len(), entries(&requests[5]).len()), (6, 3), "{status}");
        assert!(searches(&requests[4]) && !searches(&requests[5]), "{status}");
    }
}

#[tokio::test]
async fn what_is_refused_for_itself_is_found_all_the_same_and_an_outage_stays_one() {
    let bad = |r: &Request| String::from_utf8_lossy(&r.body).contains(&format!("-R{}-", 848_657_471 + 6));
    for (every, most) in [(true, 20), (false, 13)] {
        let wrong = move |r: &Request| bad(r) || every && searches(r);
        let server = Scripted::start(move |r| if wrong(r) { refusal(422) } else { good(r) }).await;
        let mut expected = vec!["delivered"; 10];
        expected[6] = "reject";
        assert_eq!(deliver(&delivery::sink(&server.url, HOW), &heart_rates(0..10), &[]).await, expected);
        assert!(server.requests().len() <= most, "{} requests", server.requests().len());
    }
    for status in [401, 429, 503] {
        let server = Scripted::start(move |_| Reply::status(status)).await;
        assert_eq!(deliver(&delivery::sink(&server.url, HOW), &heart_rates(0..2), &[]).await, ["destination"; 2]);
        assert_eq!(server.requests().len(), 1, "{status}: it is not about what is looked for");
    }
}

/// A transaction that is answered entry by entry, with the search refused in each.
#[tokio::test]
async fn a_server_that_refuses_the_search_in_each_entry_gets_the_readings_without_it() {
    let server = Scripted::start(|r| {
        if !searches(r) {
            return good(r);
        }
        let entry = vec![json!({"response": {"status": "412 Precondition Failed"}}); entries(r).len()];
        Reply::json(200, &json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entry}))
    })
    .await;
    assert_eq!(deliver(&delivery::sink(&server.url, HOW), &heart_rates(0..10), &[]).await, ["delivered"; 10]);
    assert_eq!(server.requests().len(), 2);
}

/// A server that knows no such references: what it keeps is seen once, and it gets no more of them.
#[tokio::test]
async fn a_server_that_keeps_the_search_as_it_stands_is_found_out() {
    for (kept, expected) in [("Device?identifier=urn:x|1", 1), ("Device/7", 3)] {
        let server = Scripted::start(move |r| match r.method.as_str() {
            "GET" => Reply::json(200, &json!({"resourceType": "Observation", "device": {"reference": kept}})),
            _ => good(r),
        })
        .await;
        let sink = delivery::sink(&server.url, HOW);
        for n in 0..3 {
            assert_eq!(deliver(&sink, &heart_rates(10 * n..10 * n + 5), &[]).await, ["delivered"; 5]);
        }
        let requests = server.requests();
        assert_eq!(requests.iter().filter(|r| searches(r)).count(), expected, "{kept}");
        assert_eq!(requests.iter().filter(|r| r.method == "GET").count(), 1, "{kept}");
    }
}

#[test]
fn what_cannot_work_is_found_by_the_check() {
    let check = |more: &str| {
        let more = format!("idempotency = \"update\"\n{more}");
        let folder = mapping::configured("version = \"1\"", &more);
        mapping::said(&mapping::wardline(folder.path(), &["check", "--config", "w.toml"]))
    };
    for (more, expected) in [
        ("references = \"conditional\"", None),
        ("references = \"conditional\"\ndevices = \"resource\"\ndevice_metrics = true", None),
        ("references = \"conditional\"\nbundle = \"collection\"", Some("a receiver of collections")),
        ("references = \"conditional\"\ndevices = \"contained\"", Some("the devices are within")),
        ("references = \"conditional\"\nfields = [\"gateway\"]", Some("devices are not among its `fields`")),
        ("device_metrics = true", Some("a DeviceMetric points to a Device")),
        ("device_metrics = true\ndevices = \"contained\"", Some("a DeviceMetric points to a Device")),
        ("device_metrics = true\ndevices = \"resource\"\nfields = []", Some("it tells of devices")),
    ] {
        let found = check(more);
        match expected {
            None => assert!(!found.contains("WL-C013"), "{more}: {found}"),
            Some(expected) => assert!(found.contains("WL-C013") && found.contains(expected), "{more}: {found}"),
        }
    }
}

/// What two real servers do with it.
async fn play(kind: Kind) {
    let Some(server) = FhirServer::start(kind).await else { return };
    server.put(&json!({"resourceType": "Patient", "id": "p1", "active": true})).await;
    let device = |id: &str, system: &str, value: &str| json!({"resourceType": "Device", "id": id, "identifier": [{"system": system, "value": value}]});
    let mut first = 0;
    let mut next = async |searched: bool, what: &str| {
        let sink = delivery::sink(&server.url, HOW);
        let items = heart_rates(first..first + 5);
        let evidence = item(heart_rate(first + 7));
        let id = format!("{:032x}", 0xa000 + first);
        assert_eq!(deliver(&sink, &items, &[]).await, ["delivered"; 5], "{kind:?} {what}");
        let event = alert(&id, "raised", &[&heart_rate(first + 7)]);
        // sekmet has no search for the identifier of a DetectedIssue: with ids of ours it takes the transaction.
        let sink = delivery::sink(&server.url, &HOW.replace("conditional-create", "update"));
        let outcomes = deliver(&sink, &[alert_item(event, 0)], std::slice::from_ref(&evidence)).await;
        assert_eq!(outcomes, ["delivered"], "{kind:?} {what}");
        let all = server.search("Observation?code=http://loinc.org|8867-4&_count=100").await;
        let of = |n: u64| {
            let at = 1_795_342_271 + n;
            all.iter().find(|o| {
                let taken: jiff::Timestamp = o["effectiveDateTime"].as_str().unwrap().parse().unwrap();
                taken.as_second() == i64::try_from(at).unwrap()
            })
        };
        for n in [first, first + 4, first + 7] {
            let stored = of(n).unwrap_or_else(|| panic!("{kind:?} {what}: {n} is not there"));
            let device = &stored["device"];
            assert!(device["identifier"].is_object(), "{kind:?} {what}: {device}");
            let expected = if searched { "Device/cuff" } else { "" };
            let place = device["reference"].as_str().unwrap_or_default();
            assert!(place.ends_with(expected) && place.is_empty() != searched, "{kind:?} {what}: {device}");
        }
        first += 100;
    };
    next(false, "nobody made a Device").await;
    server.put(&device("cuff", "http://hl7.org/fhir/sid/eui-48/bluetooth", "C0-26-DF-00-11-22")).await;
    next(false, "only the gateway's is missing").await;
    server.put(&device("box", "urn:wardline:gateway", "box-17")).await;
    next(true, "both are there").await;
    server.put(&device("cuff-2", "http://hl7.org/fhir/sid/eui-48/bluetooth", "C0-26-DF-00-11-22")).await;
    next(false, "two have the address").await;
}

#[tokio::test]
async fn helios_finds_devices_or_gets_identifiers() {
    play(Kind::Helios).await;
}

#[tokio::test]
async fn sekmet_finds_devices_or_gets_identifiers() {
    play(Kind::Sekmet).await;
}

/// The measured words of the servers, as docs/destinations.md has them.
async fn words(kind: Kind) -> Option<Vec<(String, String)>> {
    let server = FhirServer::start(kind).await?;
    let files = wardline::tls::Files::default();
    let client = wardline::sink::http::Peer::new(&server.url, files, crate::support::PATIENCE).unwrap().client;
    let post = async |of: &str| {
        let observation = json!({
            "resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "device": {"reference": "Device?identifier=urn:x|1"},
        });
        let entry = json!([{"resource": observation, "request": {"method": "POST", "url": "Observation"}}]);
        let body = json!({"resourceType": "Bundle", "type": of, "entry": entry}).to_string();
        let request = client.post(&server.url).header("content-type", "application/fhir+json").body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Json = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
        let inner = body["entry"][0]["response"]["status"].as_str().unwrap_or_default().to_owned();
        let stored = server.search("Observation?_count=50").await;
        let last = stored.last().map(|o| o["device"]["reference"].to_string()).unwrap_or_default();
        format!("{status} {inner} {last}")
    };
    let device =
        |id: &str| json!({"resourceType": "Device", "id": id, "identifier": [{"system": "urn:x", "value": "1"}]});
    let mut out = Vec::new();
    out.push(("none, transaction".to_owned(), post("transaction").await));
    server.put(&device("a")).await;
    server.put(&device("b")).await;
    out.push(("two, transaction".to_owned(), post("transaction").await));
    out.push(("two, batch".to_owned(), post("batch").await));
    Some(out)
}

#[tokio::test]
async fn what_servers_say_of_a_search_is_as_it_is_written_down() {
    // In a batch both keep the search as it stands: a reference that leads nowhere.
    let batch = "200 201 Created \"Device?identifier=urn:x|1\"";
    for (kind, none, two) in [(Kind::Helios, "400", "400"), (Kind::Sekmet, "404", "412")] {
        let Some(said) = words(kind).await else { return };
        let said: Vec<&str> = said.iter().map(|(_, said)| said.trim()).collect();
        assert_eq!(said, [none, two, batch], "{kind:?}");
    }
}
