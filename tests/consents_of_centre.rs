//! Consents of the centre, through the built binary: what is granted there waits for a person and then flows; what is
//! withdrawn there stops in the middle of a backlog; what is not understood grants nothing. And as two real servers show them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use wardline::clock::Clock;
use wardline::config::FhirSettings;
use wardline::fhir::inbound::Said;
use wardline::lab::endpoint::{Endpoint, Manners, Settings};
use wardline::reading::PatientId;
use wardline::sink::probe::Prober;

mod support;

use support::broker::{Broker, Door};
use support::centre::{delete, put};
use support::device::Device;
use support::fhir_server::{FhirServer, Kind};
use support::gateway::{Gateway, until};
use support::scripted::{Reply, Scripted};

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const BUNDLE: usize = 5;

/// Two patients with a watch each. `consents`: how what is granted comes into force.
fn gateway(broker: &Broker, url: &str, consents: &str) -> Gateway {
    Gateway::new(&format!(
        "[journal]\nreserve_mib = 1\n[log]\nlevel = \"debug\"\n[consent]\nsensitive = {{ breath = [\"spo2\"] }}\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\nidempotency = \"conditional-create\"\n\
         consent = \"recorded\"\nbundle_max = {BUNDLE}\ncare_plan = {{ consents = \"{consents}\", every_min = 1440 }}\n\
         [[patient]]\nreference = \"Patient/canary-0\"\n[[patient]]\nreference = \"Patient/canary-1\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/canary-0\"\n\
         [[device]]\nid = \"mqtt:watch-1\"\npatient = \"Patient/canary-1\"\n",
        broker.port
    ))
}

async fn publish(device: &Device, watch: u32, what: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let payload = format!(
            "{{\"id\":{n},\"time\":\"2026-11-22T10:{:02}:{:02}Z\",\"{what}\":{}}}",
            n / 60,
            n % 60,
            70 + n % 30
        );
        device.publish(&format!("vitals/watch-{watch}"), [support::dated(&payload)]).await;
    }
}

fn coded(system: &str, code: &str) -> Value {
    json!({"coding": [{"system": system, "code": code}]})
}

fn consent(id: &str, patient: u32, status: &str, provision: &Value) -> Value {
    json!({"resourceType": "Consent", "id": id, "status": status,
        "scope": coded("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [coded("http://loinc.org", "59284-0")],
        "policyRule": coded("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
        "patient": {"reference": format!("Patient/canary-{patient}")}, "provision": provision})
}

fn permit() -> Value {
    json!({"type": "permit", "code": [coded(CATEGORY, "vital-signs")]})
}

fn of(endpoint: &Endpoint, patient: u32) -> usize {
    let subject = format!("\"reference\":\"Patient/canary-{patient}\"");
    let bodies = endpoint.bodies("Observation");
    bodies.iter().filter(|body| body.contains(&subject)).count()
}

/// Readings of a patient that wait.
fn withheld(gateway: &Gateway, patient: u32) -> u64 {
    let outbox = gateway.json(&["outbox", "centre"]);
    let all = outbox[0]["withheld"].as_array().unwrap().clone();
    let theirs = all.iter().filter(|w| w["patient"] == format!("Patient/canary-{patient}"));
    theirs.map(|w| w["readings"].as_u64().unwrap()).sum()
}

fn ask(gateway: &Gateway) {
    let asked = gateway.json(&["thresholds", "ask"]);
    assert_eq!((&asked[0]["why"], &asked[0]["patients"]), (&Value::Null, &json!(2)), "{asked}");
}

/// Consents as (state, resource).
fn listed(gateway: &Gateway) -> Vec<(String, String)> {
    let list = gateway.json(&["thresholds"]);
    let state = |o: &Value| match &o["state"] {
        Value::String(word) => word.clone(),
        other => other.as_object().unwrap().keys().next().unwrap().clone(),
    };
    let mut all: Vec<_> =
        list.as_array().unwrap().iter().map(|o| (state(o), o["resource"].as_str().unwrap().into())).collect();
    all.sort();
    all
}

fn is(state: &str, resource: &str) -> (String, String) {
    (state.into(), resource.into())
}

fn accept(gateway: &Gateway) {
    let list = gateway.json(&["thresholds"]);
    let waiting = list.as_array().unwrap().iter().find(|o| o["state"] == "proposed").expect("one that waits");
    gateway.json(&["thresholds", "accept", waiting["id"].as_str().unwrap(), "--by", "Ada"]);
}

/// What was recorded of a patient, oldest first: (given, by, reference).
fn history(gateway: &Gateway, patient: u32) -> Vec<(bool, String, String)> {
    let listed = gateway.json(&["consent", "list", &format!("Patient/canary-{patient}"), "--history"]);
    let word = |s: &Value| {
        let text = |key: &str| s[key].as_str().unwrap_or_default().to_owned();
        (s["given"].as_bool().unwrap(), text("by"), text("reference"))
    };
    listed[0]["history"].as_array().unwrap().iter().map(word).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_of_the_centre_waits_for_a_person_flows_and_stops_in_mid_backlog_when_it_is_withdrawn() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let manners = Manners { latency_ms: 300, ..Manners::default() };
    let centre = Endpoint::start(Settings { keep: true, manners, ..Settings::default() }).unwrap();
    let mut gateway = gateway(&broker, &centre.url(), "sign-off");
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0, "heart_rate", 0..150).await;
    publish(&device, 1, "heart_rate", 0..5).await;
    until("the backlog", &gateway, || (withheld(&gateway, 0) == 150 && withheld(&gateway, 1) == 5).then_some(())).await;

    // Granted at the centre: it waits for a person.
    put(&centre.url(), &consent("c0", 0, "active", &permit())).await;
    ask(&gateway);
    assert_eq!(listed(&gateway), [is("proposed", "Consent/c0")]);
    let (text, ..) = gateway.cli(&["thresholds"]);
    assert!(text.contains("consent to vital-signs"), "{text}");
    assert_eq!((of(&centre, 0), withheld(&gateway, 0)), (0, 150));
    let alerts = gateway.json(&["alerts"]).to_string();
    assert!(alerts.contains("care-orders") && !alerts.contains("canary"), "{alerts}");
    accept(&gateway);
    until("a part of it", &gateway, || (of(&centre, 0) >= 2 * BUNDLE).then_some(())).await;

    // Withdrawn there, in the middle of it.
    put(&centre.url(), &consent("c0", 0, "inactive", &permit())).await;
    ask(&gateway);
    let at_that_moment = of(&centre, 0);
    until("nothing on the wire", &gateway, || (withheld(&gateway, 0) + of(&centre, 0) as u64 == 150).then_some(()))
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    let there = of(&centre, 0);
    assert!(there < 140, "the harness is too late: {there}");
    assert!(there <= at_that_moment + BUNDLE, "{there} are there, {at_that_moment} were when it was withdrawn");
    assert_eq!((withheld(&gateway, 0), of(&centre, 1)), (150 - there as u64, 0));
    let said = history(&gateway, 0);
    assert_eq!(
        said.iter().map(|(given, by, _)| (*given, by.as_str())).collect::<Vec<_>>(),
        [(true, "Ada"), (false, "centre")]
    );
    assert!(said.iter().all(|(.., reference)| reference.starts_with("Consent/c0")), "{said:?}");

    // Given again there and accepted, after a restart: the rest, and nothing twice.
    centre.behave(Manners::default());
    put(&centre.url(), &consent("c0", 0, "active", &permit())).await;
    ask(&gateway);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.start();
    assert_eq!(listed(&gateway), [is("proposed", "Consent/c0")]);
    accept(&gateway);
    until("the rest", &gateway, || (of(&centre, 0) == 150).then_some(())).await;
    assert_eq!((centre.counts().duplicates, of(&centre, 1)), (0, 0));
    // Taken back here, the centre's word does not bring it back: a person is asked.
    gateway.json(&["consent", "withdraw", "Patient/canary-0", "--to", "centre", "--by", "Ada"]);
    ask(&gateway);
    assert_eq!(listed(&gateway), [is("proposed", "Consent/c0")]);
    assert!(!history(&gateway, 0).last().unwrap().0);
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert!(!gateway.log().contains("canary"), "a patient is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_refuses_counts_at_once_and_what_is_not_understood_grants_nothing() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut gateway = gateway(&broker, &centre.url(), "automatic");
    gateway.start();
    let device = Device::connect(broker.device_port);
    let url = centre.url();
    // Granted by policy, at once; a sensitive category is not in it.
    put(&url, &consent("c0", 0, "active", &json!({"type": "permit"}))).await;
    // Of the other one nothing is understood.
    let mut odd = consent("c1", 1, "active", &permit());
    odd["modifierExtension"] = json!([{"url": "http://x/not", "valueBoolean": true}]);
    put(&url, &odd).await;
    ask(&gateway);
    assert_eq!(listed(&gateway), [is("in-force", "Consent/c0"), is("refused", "Consent/c1")]);
    let (text, ..) = gateway.cli(&["thresholds"]);
    assert!(text.contains("WL-G007") && text.contains("modifierExtension"), "{text}");
    publish(&device, 0, "heart_rate", 0..3).await;
    publish(&device, 0, "spo2", 10..13).await;
    publish(&device, 1, "heart_rate", 0..3).await;
    until("what may go", &gateway, || (of(&centre, 0) == 3).then_some(())).await;
    until("what may not", &gateway, || (withheld(&gateway, 0) == 3 && withheld(&gateway, 1) == 3).then_some(())).await;

    // Not understood any more, the old word stands; a refusal within the same is heard.
    odd = consent("c0", 0, "active", &json!({"type": "permit", "purpose": [{"code": "x"}]}));
    put(&url, &odd).await;
    ask(&gateway);
    publish(&device, 0, "heart_rate", 20..22).await;
    until("the old word", &gateway, || (of(&centre, 0) == 5).then_some(())).await;
    odd["provision"]["type"] = json!("deny");
    put(&url, &odd).await;
    ask(&gateway);
    publish(&device, 0, "heart_rate", 30..32).await;
    until("what is refused", &gateway, || (withheld(&gateway, 0) == 5).then_some(())).await;
    // A permission beside it does not count as long as it stands.
    let permission = consent("c2", 0, "active", &json!({"type": "permit"}));
    put(&url, &permission).await;
    ask(&gateway);
    assert!(!listed(&gateway).contains(&is("in-force", "Consent/c2")), "{:?}", listed(&gateway));
    assert_eq!((of(&centre, 0), withheld(&gateway, 0)), (5, 5));
    // Deleted, the refusal is over.
    delete(&url, "Consent/c0").await;
    ask(&gateway);
    until("what was refused", &gateway, || (of(&centre, 0) == 7).then_some(())).await;
    // What a person recorded here with a reference to a Consent ends with it; what has none does not.
    gateway.json(&[
        "consent",
        "grant",
        "Patient/canary-1",
        "--to",
        "centre",
        "--by",
        "Ada",
        "--reference",
        "Consent/c1",
    ]);
    until("what a person granted", &gateway, || (of(&centre, 1) == 3).then_some(())).await;
    odd = consent("c1", 1, "entered-in-error", &json!("nonsense"));
    put(&url, &odd).await;
    ask(&gateway);
    publish(&device, 1, "heart_rate", 20..22).await;
    until("its end", &gateway, || (withheld(&gateway, 1) == 2).then_some(())).await;
    gateway.json(&["consent", "grant", "Patient/canary-1", "--to", "centre", "--by", "Ada"]);
    ask(&gateway);
    until("the rest", &gateway, || (of(&centre, 1) == 5).then_some(())).await;
    // A centre that cannot be asked changes nothing.
    centre.stopper().cancel();
    let before = history(&gateway, 0);
    assert!(gateway.json_of(&["thresholds", "ask"], 1)[0]["why"].is_string());
    assert_eq!(history(&gateway, 0), before);
    assert!(before.iter().all(|(_, by, _)| by == "centre" || by == "policy"), "{before:?}");
    assert!(!gateway.log().contains("canary"), "a patient is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_one_patient_or_one_consent_keeps_no_other_from_being_asked_about() {
    let gone = Arc::new(AtomicBool::new(false));
    let script = gone.clone();
    let centre = Scripted::start(move |request| {
        let bundle = |of: &[Value]| {
            let entry: Vec<Value> = of.iter().map(|one| json!({"resource": one})).collect();
            Reply::json(200, &json!({"resourceType": "Bundle", "type": "searchset", "entry": entry}))
        };
        let path = request.path.as_str();
        let of = |patient: u32| path.contains("/Consent?") && path.contains(&format!("canary-{patient}&"));
        if [0, 2, 3].into_iter().any(of) {
            return Reply::status(403);
        }
        match path {
            _ if path.ends_with("/Consent/c1a") => Reply::status(500),
            _ if path.ends_with("/Consent/c1b") => {
                Reply::json(404, &json!({"resourceType": "OperationOutcome", "issue": []}))
            }
            _ if of(1) && !script.load(Ordering::Relaxed) => {
                bundle(&["c1a", "c1b"].map(|id| consent(id, 1, "active", &permit())))
            }
            _ if of(4) => bundle(&[consent("c4", 4, "active", &permit())]),
            _ => bundle(&[]),
        }
    })
    .await;
    let patients: String = (0..5).map(|n| format!("[[patient]]\nreference = \"Patient/canary-{n}\"\n")).collect();
    let mut gateway = Gateway::new(&format!(
        "[journal]\nreserve_mib = 1\n[[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{}\"\n\
         idempotency = \"conditional-create\"\nconsent = \"recorded\"\n\
         care_plan = {{ consents = \"automatic\", every_min = 1440 }}\n{patients}",
        centre.url
    ));
    gateway.start();
    let ask = || {
        let asked = gateway.json_of(&["thresholds", "ask"], 1);
        assert!(asked[0]["why"].as_str().unwrap().contains("403"), "{asked}");
        listed(&gateway)
    };
    // The first one must not be asked about; two in a row are the centre's trouble, for this round.
    let first = ask();
    assert!(first.contains(&is("in-force", "Consent/c1b")), "{first:?}");
    // The next round begins where this one ended.
    let second = ask();
    assert!(second.contains(&is("in-force", "Consent/c4")), "{second:?}");
    // Two are not shown any more: of one it cannot be told why, the other was deleted.
    gone.store(true, Ordering::Relaxed);
    let third = ask();
    assert!(third.contains(&is("in-force", "Consent/c1a")), "{third:?}");
    assert!(!third.contains(&is("in-force", "Consent/c1b")), "{third:?}");
    assert!(!gateway.log().contains("canary"), "a patient is in the log");
}

#[test]
fn what_cannot_work_is_found_by_the_check() {
    let check = |more: &str, rule: &str| {
        let text = format!(
            "[gateway]\nid = \"box-1\"\nstate = \"s\"\n[journal]\nunencrypted = true\n[[destination]]\nkind = \"fhir\"\n\
             name = \"centre\"\nurl = \"https://centre.example/fhir\"\nidempotency = \"update\"\nconsent = \"{rule}\"\n\
             care_plan = {{ {more} }}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w.toml"), text).unwrap();
        let mut wardline = std::process::Command::new(env!("CARGO_BIN_EXE_wardline"));
        let output = wardline.current_dir(folder.path()).args(["check", "--config", "w.toml"]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let codes = "consents = \"sign-off\", consent_codes = { \"urn:x|heart\" = \"vital-signs\" }";
    assert!(check(codes, "recorded").contains("nothing is wrong"), "{}", check(codes, "recorded"));
    for (more, rule, expected) in [
        (codes, "enrolment", "would stop nothing"),
        ("consent_codes = { \"urn:x|heart\" = \"vital-signs\" }", "recorded", "no Consent of this server is asked for"),
        (
            "consents = \"sign-off\", consent_codes = { \"urn:x|heart\" = \"nonesuch\" }",
            "recorded",
            "no category `nonesuch`",
        ),
        ("consents = \"sign-off\", consent_codes = { heart = \"general\" }", "recorded", "no `system|code`"),
    ] {
        assert!(check(more, rule).contains(expected), "{more}: {}", check(more, rule));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_servers_show_consents() {
    for kind in [Kind::Helios, Kind::Sekmet] {
        let Some(server) = FhirServer::start(kind).await else { continue };
        for n in 0..2 {
            server.put(&json!({"resourceType": "Patient", "id": format!("canary-{n}"), "active": true})).await;
        }
        server.put(&consent("c0", 0, "active", &permit())).await;
        server.put(&consent("c1", 1, "active", &permit())).await;
        let settings = format!("name='centre'\nurl='{}'\nidempotency='update'\ntimeout_s=20", server.url);
        let settings: FhirSettings = toml::from_str(&settings).unwrap();
        let prober = Prober::new(&settings, &"box-1".into(), &Clock::system()).unwrap();
        let patient = PatientId::new("Patient/canary-0");
        let found = prober.ordered("Consent", &patient, None).await.unwrap().expect("a search for consents");
        let found: Vec<_> = found.into_iter().filter(|h| h.patient.as_ref() == Some(&patient)).collect();
        let said = found[0].said.as_ref().unwrap();
        assert!(found.len() == 1 && found[0].active && found[0].version.is_some(), "{kind:?} {found:?}");
        assert!(matches!(said.as_slice(), [Said::Consent(said)] if said.permitted), "{kind:?} {found:?}");
        server.put(&consent("c0", 0, "inactive", &permit())).await;
        assert!(!prober.order("Consent/c0").await.unwrap().unwrap().active, "{kind:?}");
        server.delete("Consent/c0").await;
        assert_eq!(prober.order("Consent/c0").await.unwrap(), None, "{kind:?}");
    }
}
