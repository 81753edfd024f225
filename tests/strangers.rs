//! Observations at a destination that bear the gateway's mark and that its journal does not know: found, said, and never
//! guessed. Through the built binary at the lab's endpoint; what a server may answer, by script.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::time::Duration;

use serde_json::{Value, json};
use wardline::clock::Clock;
use wardline::config::FhirSettings;
use wardline::lab::endpoint::{Endpoint, Manners, Settings};
use wardline::reading::PatientId;
use wardline::sink::probe::Prober;
use wardline::sink::probe::shelf::{Bearer, Find, Purse, Ways};

mod support;

use support::broker::{Broker, Door};
use support::centre::put;
use support::device::Device;
use support::gateway::{Gateway, until};
use support::scripted::{Reply, Request, Scripted};
use support::within;

const RECONCILE: [&str; 3] = ["custody", "reconcile", "centre"];

fn settings(broker: &Broker, url: &str) -> String {
    format!(
        "[journal]\nreserve_mib = 1\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\nidempotency = \"conditional-create\"\n\
         [[patient]]\nreference = \"Patient/p0\"\n[[patient]]\nreference = \"Patient/p1\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n[[device]]\nid = \"mqtt:watch-1\"\npatient = \"Patient/p1\"\n",
        broker.port
    )
}

/// Of two patients in turn.
async fn publish(device: &Device, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let (minute, second) = (n / 60, n % 60);
        let payload = format!("{{\"id\":{n},\"time\":\"2026-11-22T10:{minute:02}:{second:02}Z\",\"heart_rate\":70}}");
        let payload = payload.replace("2026-11-22", support::day());
        device.publish(&format!("vitals/watch-{}", n % 2), [payload]).await;
    }
}

async fn until_settled(gateway: &Gateway, readings: u64) {
    let settled = |outbox: &Value| outbox["delivered"].as_u64().unwrap() >= readings && outbox["waiting"] == 0;
    until("the receipts", gateway, || settled(&gateway.json(&["outbox"])[0]).then_some(())).await;
}

/// As if sent by the gateway `by` for the patient p0; the last digits of its identity are `n`.
fn observation(n: u64, by: &str, status: &str) -> Value {
    json!({"resourceType": "Observation", "id": format!("s{n}"), "status": status,
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice",
            "valueReference": {"type": "Device", "identifier": {"system": "urn:wardline:gateway", "value": by}}}],
        "identifier": [{"system": "http://hl7.org/fhir/uv/phd/StructureDefinition/PhdBaseObservation",
            "value": format!("mqtt:watch~2D0-p0-147842-Z848656800-{n:016x}")}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": "Patient/p0"}, "effectiveDateTime": "2026-11-22T10:00:00Z",
        "valueQuantity": {"value": 70, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}})
}

fn keeping(manners: Manners) -> Endpoint {
    Endpoint::start(Settings { manners, keep: true, ..Settings::default() }).unwrap()
}

fn said(gateway: &Gateway) -> bool {
    let (alerts, ..) = gateway.cli(&["alerts"]);
    assert!(!alerts.contains("Observation/"), "{alerts}");
    alerts.contains("(WL-F020)")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_found_and_said_until_it_is_gone() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = keeping(Manners::default());
    let log = "[log]\nlevel = \"trace\"\n";
    let mut gateway = Gateway::new(&format!("{}{log}", settings(&broker, &endpoint.url())));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..240).await;
    // Of these the journal's order is not the time that the identity tells.
    for n in 0..5 {
        device.publish("vitals/watch-0", [format!("{{\"id\":{},\"heart_rate\":{}}}", 1_000 + n, 60 + n)]).await;
    }
    until_settled(&gateway, 245).await;
    // More than a page of each patient.
    let found = gateway.json(&RECONCILE);
    let none = json!({"found": 0, "unjudged": 0, "seen": 245, "places": []});
    assert_eq!((&found["missing"], shown(&found)), (&0.into(), none), "{found}");

    // Ours by its mark, and unknown. Another gateway's, and one that was taken back, are nobody's business.
    put(&endpoint.url(), &observation(1, "test-box", "final")).await;
    put(&endpoint.url(), &observation(2, "another-box", "final")).await;
    put(&endpoint.url(), &observation(3, "test-box", "entered-in-error")).await;
    let found = gateway.json_of(&RECONCILE, 1);
    let one = json!({"found": 1, "unjudged": 0, "seen": 248, "places": ["Observation/s1"]});
    assert_eq!((&found["missing"], shown(&found)), (&0.into(), one), "{found}");
    let (text, _, code) = gateway.cli(&RECONCILE);
    assert!(code == Some(1) && text.contains("does not know 1") && text.contains("Observation/s1"), "{text}");
    until("the alert", &gateway, || said(&gateway).then_some(())).await;

    // Whoever cannot be asked has not taken it back.
    endpoint.behave(Manners { unsearchable: true, ..Manners::default() });
    let found = gateway.json(&RECONCILE);
    assert_eq!(
        (&found["strangers"], &found["not_asked"]),
        (&Value::Null, &"it does not search by patient (HTTP 501)".into())
    );
    let (text, ..) = gateway.cli(&RECONCILE);
    assert!(text.contains("was not asked for what the gateway never sent: it does not search"), "{text}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(said(&gateway), "{}", gateway.cli(&["alerts"]).0);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.start();
    assert!(said(&gateway));

    endpoint.behave(Manners::default());
    put(&endpoint.url(), &observation(1, "test-box", "entered-in-error")).await;
    assert_eq!(gateway.json(&RECONCILE)["strangers"]["found"], 0);
    until("the end of the alert", &gateway, || (!said(&gateway)).then_some(())).await;
    for canary in ["Observation/", "Patient", "patient=", "watch~2D0"] {
        assert!(!gateway.log().contains(canary), "{canary} is in the log\n{}", gateway.log());
    }
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// Without the time.
fn shown(found: &Value) -> Value {
    let mut shown = found["strangers"].clone();
    shown.as_object_mut().map(|fields| fields.remove("since_ms"));
    shown
}

/// What waits, was refused or given up, and what was nobody's at first: the journal has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_journal_holds_is_known_in_whichever_state() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    // Stored, and the answers are lost.
    let endpoint = keeping(Manners { lost_rate: 1.0, ..Manners::default() });
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    // One: while answers are lost, no second one is tried.
    publish(&device, 0..1).await;
    until("storing", &gateway, || (endpoint.counts().observations == 1).then_some(())).await;
    endpoint.behave(Manners { entry_fail_rate: 1.0, ..Manners::default() });
    let known = |state: &str| {
        let found = gateway.json(&RECONCILE);
        let all = json!({"found": 0, "unjudged": 0, "seen": 1, "places": []});
        assert_eq!((&found["checked"], shown(&found)), (&0.into(), all), "{state}: {found}");
    };
    assert_eq!(gateway.json(&["outbox"])[0]["waiting"], 1);
    known("waiting");
    endpoint.behave(Manners { refuse_rate: 1.0, ..Manners::default() });
    let refused = || {
        let groups = gateway.json(&["inbox"]);
        let group = groups.as_array().unwrap().iter().find(|g| g["kind"] == "refused" && g["items"] == 1).cloned();
        group.map(|g| g["id"].as_str().unwrap().to_owned())
    };
    let id = until("the refusal", &gateway, refused).await;
    known("refused");
    gateway.json(&["inbox", "discard", &id, "--by", "Ada", "--reason", "a test"]);
    known("given up");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// What was there before the journal began may be its predecessor's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_the_journal_is_not_judged() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = keeping(Manners::default());
    put(&endpoint.url(), &observation(1, "test-box", "final")).await;
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..10).await;
    until_settled(&gateway, 10).await;
    let found = gateway.json(&RECONCILE);
    assert_eq!(shown(&found), json!({"found": 0, "unjudged": 1, "seen": 11, "places": []}), "{found}");
    let (text, ..) = gateway.cli(&RECONCILE);
    assert!(text.contains("Not judged, as they are older than what it keeps: 1."), "{text}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A restored copy of the journal does not know what was sent after it was made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_after_the_copy_that_was_restored_is_found() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = keeping(Manners::default());
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..10).await;
    until_settled(&gateway, 10).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    let copy = gateway.path("copy");
    let state = gateway.path("state");
    copy_folder(&state, &copy);
    gateway.start();
    publish(&device, 10..14).await;
    until_settled(&gateway, 14).await;
    gateway.kill();
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&copy, &state).unwrap();
    gateway.start();
    let found = gateway.json_of(&RECONCILE, 1);
    assert_eq!((&found["checked"], &found["strangers"]["found"]), (&10.into(), &4.into()), "{found}");
    // The devices send their memory again: the same readings, with their identities.
    publish(&device, 10..14).await;
    until_settled(&gateway, 14).await;
    assert_eq!(gateway.json(&RECONCILE)["strangers"]["found"], 0);
    assert_eq!(endpoint.counts().duplicates, 0);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &name);
        } else if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), name).unwrap();
        }
    }
}

async fn pages(url: &str) -> Result<Vec<Find>, String> {
    let settings: FhirSettings =
        toml::from_str(&format!("name='centre'\nurl='{url}'\nidempotency='update'\ntimeout_s=20")).unwrap();
    let prober = Prober::new(&settings, &"test-box".into(), &Clock::system()).unwrap();
    let mut shelf = prober.shelf(&PatientId::new("Patient/p0"), 0, Ways::of(None).unwrap()).unwrap();
    let (mut purse, mut all) = (Purse::default(), Vec::new());
    loop {
        match within("a page", shelf.page(&mut purse)).await {
            Ok(Some(finds)) => all.extend(finds),
            Ok(None) => return Ok(all),
            Err(why) => return Err(why.into_owned()),
        }
    }
}

/// A searchset with these Observations; `links`: relation and URL.
fn searchset(numbers: std::ops::Range<u64>, links: &[(&str, String)]) -> Value {
    let entry: Vec<_> = numbers.map(|n| json!({"resource": observation(n, "test-box", "final")})).collect();
    let link: Vec<_> = links.iter().map(|(relation, url)| json!({"relation": relation, "url": url})).collect();
    json!({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry})
}

async fn answered(script: impl Fn(&Request) -> Value + Send + Sync + 'static) -> (Result<Vec<Find>, String>, Scripted) {
    let server = Scripted::start(move |request| Reply::json(200, &script(request))).await;
    (pages(&server.url).await, server)
}

#[tokio::test]
async fn a_hostile_next_link_is_not_followed() {
    let other = Scripted::start(|_| Reply::json(200, &searchset(0..1, &[]))).await;
    let elsewhere = format!("{}/Observation?page=2", other.url);
    for (next, own) in [
        (elsewhere.clone(), None),
        ("file:///etc/passwd".into(), None),
        ("http://[".into(), None),
        ("https://127.0.0.1/fhir/Observation?page=2".into(), None),
        // Above our base there may be somebody else's.
        ("/other/Observation?page=2".into(), None),
        (elsewhere.clone(), Some("http://somewhere.else/fhir/Observation?patient=p0")),
    ] {
        let links: Vec<_> = own.iter().map(|own| ("self", (*own).to_owned())).chain([("next", next.clone())]).collect();
        let (found, _) = answered(move |_| searchset(0..2, &links)).await;
        assert_eq!(found, Err("its next page is at another address".into()), "{next}");
    }
    // Even if the server gives itself that address: only what stands behind it is used.
    let links = [("self", elsewhere.replace("page=2", "patient=p0")), ("next", elsewhere)];
    let (found, server) = answered(move |request| match request.path.contains("page=2") {
        true => searchset(2..3, &[]),
        false => searchset(0..2, &links),
    })
    .await;
    assert_eq!(found.unwrap().len(), 3);
    assert_eq!(server.requests().last().unwrap().path, "/fhir/Observation?page=2");
    assert_eq!(other.requests().len(), 0, "nobody else is asked");
}

#[tokio::test]
async fn pages_without_an_end_end() {
    let next = |n: usize| [("next", format!("Observation?page={n}"))];
    // The same for ever.
    let (found, server) = answered(move |_| searchset(0..2, &next(1))).await;
    assert_eq!((found, server.requests().len()), (Err("its pages do not end".into()), 2));
    // Always something new.
    let page = |request: &Request| request.path.rsplit('=').next().unwrap().parse().unwrap_or(0);
    let (found, server) = answered(move |request| {
        let n: u64 = if request.path.contains("?page=") { page(request) } else { 0 };
        searchset(n..n + 1, &next(n as usize + 1))
    })
    .await;
    assert_eq!(found, Err("it was cut short: there is more than is read in one go".into()));
    assert_eq!(server.requests().len(), wardline::limits::STRANGERS_PAGES_MAX);
}

#[tokio::test]
async fn an_answer_that_cannot_be_all_is_none() {
    let with_total = |total: u64| {
        move |_: &Request| {
            let mut set = searchset(0..2, &[]);
            set["total"] = total.into();
            set
        }
    };
    assert_eq!(answered(with_total(2)).await.0.unwrap().len(), 2);
    assert_eq!(answered(with_total(3)).await.0, Err("its total is not what it showed".into()));
    let blind = [("self", "http://x/fhir/Observation?_count=100".to_owned())];
    let (found, _) = answered(move |_| searchset(0..2, &blind)).await;
    assert_eq!(found, Err("it did not search by patient, though it was asked to".into()));
    let (found, _) = answered(|_| json!({"resourceType": "OperationOutcome"})).await;
    assert_eq!(found, Err("its answer is not a searchset".into()));
    for (reply, why) in [
        (Reply::status(404), "it does not search by patient (HTTP 404)"),
        (Reply::status(400), "it does not search by patient (HTTP 400)"),
        (Reply::status(403), "the credential is refused (HTTP 403)"),
        (Reply::status(503), "not available (HTTP 503)"),
        (Reply::Endless, "its answer is not understood: it does not end"),
        (Reply::Close, "no answer: the connection broke"),
    ] {
        let server = Scripted::start(move |_| reply.clone()).await;
        assert_eq!(pages(&server.url).await, Err(why.into()));
    }
}

#[tokio::test]
async fn what_is_asked_and_what_is_read_of_it() {
    let (found, server) = answered(|_| {
        let mut set = searchset(0..1, &[]);
        set["entry"][0]["resource"]["meta"]["lastUpdated"] = "2026-11-28T12:00:00+01:00".into();
        let mut others = searchset(1..4, &[])["entry"].as_array().unwrap().clone();
        others[0]["resource"]["extension"] = json!([]);
        others[1]["resource"]["identifier"][0]["system"] = "urn:other".into();
        others[2]["search"] = json!({"mode": "include"});
        set["entry"].as_array_mut().unwrap().extend(others);
        set
    })
    .await;
    let asked = &server.requests()[0].path;
    assert_eq!(
        asked,
        "/fhir/Observation?patient=Patient%2Fp0&_lastUpdated=ge1970-01-01T00%3A00%3A00Z\
         &_elements=identifier%2Cextension%2Cstatus%2Cmeta&_count=100"
    );
    let found = found.unwrap();
    let marks: Vec<_> = found.iter().map(|f| (&*f.place, f.bearer, f.updated_ms)).collect();
    assert_eq!(
        marks,
        [("Observation/s0", Bearer::Ours, Some(1_795_863_600_000)), ("Observation/s1", Bearer::Nobody, None)]
    );
}
