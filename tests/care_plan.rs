//! What a centre orders, through the built binary: proposed, accepted, obeyed, kept, replaced, refused, withdrawn; against
//! the lab's endpoint, and as two real servers show it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::time::Duration;

use serde_json::{Value, json};
use wardline::clock::Clock;
use wardline::config::FhirSettings;
use wardline::lab::endpoint::{Endpoint, Settings};
use wardline::reading::PatientId;
use wardline::sink::probe::Prober;

mod support;

use support::broker::{Broker, Door};
use support::centre::{delete, put};
use support::device::Device;
use support::fhir_server::{FhirServer, Kind};
use support::gateway::{Gateway, until};
use support::scripted::{Reply, Scripted};

const RULES: &str = "[[rule]]\nid = \"heart-rate-high\"\ntitle = \"high\"\nvital = \"heart-rate\"\nabove = 110\nunit = \"/min\"\n\
    priority = \"medium\"\n[[rule]]\nid = \"heart-rate-very-high\"\ntitle = \"very high\"\nvital = \"heart-rate\"\n\
    above = 150\nunit = \"/min\"\npriority = \"high\"\n";

fn gateway(broker: Option<&Broker>, url: &str, apply: &str) -> Gateway {
    let source = broker.map_or_else(String::new, |broker| {
        format!("[[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port)
    });
    let gateway = Gateway::new(&format!(
        "[journal]\nreserve_mib = 1\n[log]\nlevel = \"debug\"\n[alerts]\nrules = [\"rules.toml\"]\n{source}\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\nidempotency = \"update\"\n\
         care_plan = {{ apply = \"{apply}\" }}\n\
         [[patient]]\nreference = \"Patient/canary-0\"\n[[patient]]\nreference = \"Patient/canary-1\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/canary-0\"\n"
    ));
    std::fs::write(gateway.path("rules.toml"), RULES).unwrap();
    gateway
}

fn endpoint() -> Endpoint {
    Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap()
}

fn goal(id: &str, patient: &str, status: &str, detail: &Value) -> Value {
    json!({"resourceType": "Goal", "id": id, "lifecycleStatus": status, "description": {"text": "pulse"},
        "subject": {"reference": format!("Patient/{patient}")},
        "target": [{"measure": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "detailQuantity": detail}]})
}

fn below(value: i64) -> Value {
    json!({"value": value, "comparator": "<", "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"})
}

/// The orders as (state, words), newest first.
fn orders(gateway: &Gateway) -> Vec<(String, String)> {
    let asked = gateway.json(&["thresholds", "ask"]);
    assert_eq!(asked[0]["why"], Value::Null, "{asked}");
    listed(gateway)
}

fn listed(gateway: &Gateway) -> Vec<(String, String)> {
    let list = gateway.json(&["thresholds"]);
    let state = |o: &Value| match &o["state"] {
        Value::String(word) => word.clone(),
        Value::Object(one) => {
            let (word, more) = one.iter().next().unwrap();
            format!("{word} {}", more["code"].as_str().unwrap_or(""))
        }
        _ => panic!("{o}"),
    };
    let limit = |o: &Value| o["aim"]["limit"]["value"].to_string();
    let mut all: Vec<_> = list.as_array().unwrap().iter().map(|o| (state(o), limit(o))).collect();
    all.sort();
    all
}

fn of(state: &str, value: &str) -> (String, String) {
    (state.into(), value.into())
}

fn waiting(gateway: &Gateway) -> String {
    let list = gateway.json(&["thresholds"]);
    let found = list.as_array().unwrap().iter().find(|o| o["state"] == "proposed").unwrap();
    found["id"].as_str().unwrap().to_owned()
}

/// Open alerts of the pulse, by their texts, once they are what is expected.
async fn pulse(gateway: &Gateway, device: &Device, n: &mut u64, value: u32, expected: Option<&str>) {
    *n += 1;
    let payload = format!("{{\"id\":{n},\"heart_rate\":{value}}}");
    device.publish("vitals/watch-0", [payload]).await;
    let came = || {
        let read = gateway.json(&["readings"]);
        read[0]["reading"]["sequence"] == json!(*n) || read.as_array().unwrap().len() as u64 >= *n
    };
    until("the reading", gateway, || came().then_some(())).await;
    let alerts = gateway.json(&["alerts"]);
    let mut of_pulse =
        alerts.as_array().unwrap().iter().filter(|a| a["rule"] == "heart-rate-high" && a["condition"] == "limit");
    let text = of_pulse.next().map(|a| a["text"].as_str().unwrap().to_owned());
    match expected {
        None => assert_eq!(text, None, "after {value}"),
        Some(part) => assert!(text.as_ref().is_some_and(|t| t.contains(part)), "after {value}: {text:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goal_becomes_a_limit_when_a_person_accepts_it_and_ends_with_the_goal() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = endpoint();
    put(&centre.url(), &goal("g1", "canary-0", "active", &below(100))).await;
    put(&centre.url(), &goal("g2", "canary-9", "active", &below(60))).await;
    let mut gateway = gateway(Some(&broker), &centre.url(), "sign-off");
    gateway.start();
    let device = Device::connect(broker.device_port);
    let mut n = 0;
    assert_eq!(orders(&gateway), [of("proposed", "100")]);
    pulse(&gateway, &device, &mut n, 105, None).await;
    let alerts = gateway.json(&["alerts"]).to_string();
    assert!(alerts.contains("care-orders") && !alerts.contains("canary"), "{alerts}");

    let id = waiting(&gateway);
    assert_eq!(gateway.cli(&["thresholds", "accept", &id]).2, Some(64), "a name is needed");
    gateway.json(&["thresholds", "accept", &id[..8], "--by", "Ada"]);
    pulse(&gateway, &device, &mut n, 105, Some("at or above 100")).await;
    pulse(&gateway, &device, &mut n, 90, None).await;
    // It is in force after a restart, before anybody was asked.
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.start();
    assert_eq!(listed(&gateway), [of("in-force", "100")]);
    // What comes at once may have waited at the broker: it would be retrospective.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    pulse(&gateway, &device, &mut n, 106, Some("at or above 100")).await;
    pulse(&gateway, &device, &mut n, 91, None).await;

    // A bad one is refused, and the old one stays; so does it while a new one waits.
    let single = json!({"value": 95, "system": "http://unitsofmeasure.org", "code": "/min"});
    put(&centre.url(), &goal("g1", "canary-0", "active", &single)).await;
    assert_eq!(orders(&gateway), [of("in-force", "100"), of("refused WL-G007", "null")]);
    put(&centre.url(), &goal("g1", "canary-0", "active", &below(200))).await;
    assert!(orders(&gateway).contains(&of("refused WL-G005", "null")));
    pulse(&gateway, &device, &mut n, 105, Some("at or above 100")).await;
    pulse(&gateway, &device, &mut n, 92, None).await;
    put(&centre.url(), &goal("g1", "canary-0", "active", &below(95))).await;
    assert!(orders(&gateway).contains(&of("proposed", "95")) && listed(&gateway).contains(&of("in-force", "100")));
    gateway.json(&["thresholds", "refuse", &waiting(&gateway), "--by", "Ada", "--reason", "not agreed"]);
    assert!(listed(&gateway).contains(&of("in-force", "100")));

    // The goal is over: the rule's own limit again.
    put(&centre.url(), &goal("g1", "canary-0", "completed", &below(95))).await;
    assert!(!orders(&gateway).iter().any(|(state, _)| state == "in-force"));
    pulse(&gateway, &device, &mut n, 105, None).await;
    let history = gateway.json(&["thresholds", "history"]);
    let lines: Vec<_> = history.as_array().unwrap().iter().rev().map(|e| (&e["what"], &e["by"])).collect();
    assert_eq!(lines[0], (&json!("waits"), &json!("centre")), "{history}");
    assert_eq!(lines[1], (&json!("in force"), &json!("Ada")), "{history}");
    assert_eq!(*lines.last().unwrap(), (&json!("withdrawn"), &json!("centre")), "{history}");
    let over = &history[0];
    assert_eq!((&over["old"], &over["new"]), (&json!("heart-rate-high: at or above 100 /min"), &json!("")));
    assert!(!gateway.log().contains("canary"), "a patient is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_applies_is_in_force_at_once_and_ends_when_it_is_deleted() {
    let centre = endpoint();
    put(&centre.url(), &goal("g1", "canary-0", "active", &below(100))).await;
    put(&centre.url(), &goal("bad", "canary-1", "active", &json!("fast"))).await;
    let order = json!({"resourceType": "ServiceRequest", "id": "o1", "status": "active", "intent": "order",
        "subject": {"reference": "Patient/canary-1"}, "occurrenceTiming": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}});
    put(&centre.url(), &order).await;
    let mut gateway = gateway(None, &centre.url(), "automatic");
    gateway.start();
    assert_eq!(orders(&gateway), [of("in-force", "100"), of("in-force", "null"), of("refused WL-G007", "null")]);
    let (text, _, _) = gateway.cli(&["thresholds"]);
    assert!(text.contains("body-weight expected every 1 d") && text.contains("what was before stays"), "{text}");
    // An order that cannot be read any more is said, and keeps no other patient from being asked about.
    let mut broken = goal("g1", "canary-0", "active", &below(100));
    broken["subject"] = json!(7);
    put(&centre.url(), &broken).await;
    put(&centre.url(), &goal("g2", "canary-1", "active", &below(90))).await;
    let asked = gateway.json_of(&["thresholds", "ask"], 1);
    assert!(asked[0]["why"].as_str().is_some_and(|why| why.contains("not understood")), "{asked}");
    let now = listed(&gateway);
    assert!(now.contains(&of("in-force", "100")) && now.contains(&of("in-force", "90")), "{now:?}");
    delete(&centre.url(), "Goal/g2").await;
    // What is deleted or taken back is over.
    delete(&centre.url(), "Goal/g1").await;
    let mut cancelled = order;
    cancelled["status"] = json!("revoked");
    put(&centre.url(), &cancelled).await;
    assert_eq!(orders(&gateway), [of("refused WL-G007", "null")]);
    put(&centre.url(), &goal("g1", "canary-0", "active", &below(100))).await;
    assert!(orders(&gateway).contains(&of("in-force", "100")), "said again, it counts again");
    // The centre is away: nothing changes.
    centre.stopper().cancel();
    drop(centre);
    let asked = gateway.json_of(&["thresholds", "ask"], 1);
    assert!(asked[0]["why"].is_string(), "{asked}");
    assert!(listed(&gateway).contains(&of("in-force", "100")));
    assert!(!gateway.log().contains("canary"), "a patient is in the log");
}

/// What people write beside an order may be long, and in any script: the order is what its codes say.
#[tokio::test]
async fn an_order_with_a_note_of_4000_characters_is_taken() {
    let centre = endpoint();
    let note: String = "Vereinbart – סוכם עם המטופל 🩺 ".chars().cycle().take(4_000).collect();
    let mut noted = goal("g1", "canary-0", "active", &below(100));
    (noted["note"], noted["description"]) = (json!([{"text": note}]), json!({"text": note}));
    put(&centre.url(), &noted).await;
    let order = json!({"resourceType": "ServiceRequest", "id": "o1", "status": "active", "intent": "order",
        "subject": {"reference": "Patient/canary-1"}, "occurrenceTiming": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}, "note": [{"text": note}], "patientInstruction": note});
    put(&centre.url(), &order).await;
    let plan = json!({"resourceType": "CarePlan", "id": "c1", "status": "active", "intent": "plan", "description": note,
        "subject": {"reference": "Patient/canary-0"}, "note": [{"text": note}], "goal": [{"reference": "Goal/g1"}]});
    put(&centre.url(), &plan).await;
    let mut gateway = gateway(None, &centre.url(), "automatic");
    gateway.start();
    assert_eq!(orders(&gateway), [of("in-force", "100"), of("in-force", "null")]);
    assert!(!gateway.log().contains("canary") && !gateway.log().contains("סוכם"), "a patient is in the log");
}

/// The question names the patient: without a consent for that destination it is not asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_about_who_has_not_consented() {
    let centre = endpoint();
    put(&centre.url(), &goal("g1", "canary-0", "active", &below(100))).await;
    let mut gateway = gateway(None, &centre.url(), "automatic");
    gateway.reword(|text| text.replace("consent = \"enrolment\"", "consent = \"recorded\""));
    gateway.start();
    let asked = |gateway: &Gateway| gateway.json(&["thresholds", "ask"])[0]["patients"].clone();
    assert_eq!((asked(&gateway), listed(&gateway)), (json!(0), vec![]));
    gateway.json(&["consent", "grant", "Patient/canary-0", "--to", "centre", "--by", "Ada"]);
    assert_eq!((asked(&gateway), listed(&gateway)), (json!(1), vec![of("in-force", "100")]));
    // What is in force stays: the withdrawal is about what goes there.
    gateway.json(&["consent", "withdraw", "Patient/canary-0", "--to", "centre", "--by", "Ada"]);
    assert_eq!((asked(&gateway), listed(&gateway)), (json!(0), vec![of("in-force", "100")]));
    // Nobody would hear its end any more: it is over.
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.reword(|text| text.replace("care_plan = ", "# "));
    gateway.start();
    assert_eq!(listed(&gateway), []);
    assert_eq!(gateway.json(&["thresholds", "history"])[0]["by"], "configuration");
}

fn prober(url: &str) -> Prober {
    let settings: FhirSettings =
        toml::from_str(&format!("name='centre'\nurl='{url}'\nidempotency='update'\ntimeout_s=20")).unwrap();
    Prober::new(&settings, &"box-1".into(), &Clock::system()).unwrap()
}

/// A page of one goal, and where the next one is.
fn page(n: usize, next: &str) -> Reply {
    let entry = [json!({"resource": goal(&format!("g{n}"), "canary-0", "active", &below(100))})];
    let link = [json!({"relation": "next", "url": next})];
    Reply::json(200, &json!({"resourceType": "Bundle", "type": "searchset", "entry": entry, "link": link}))
}

#[tokio::test]
async fn a_part_of_the_orders_is_not_taken_for_all_and_pages_end() {
    let patient = PatientId::new("Patient/canary-0");
    let ordered = async |server: &Scripted| prober(&server.url).ordered("Goal", &patient, None).await;
    // What it does not search for at all, it does not order; a page that is lost is another thing.
    for status in [400, 404, 501] {
        let none = Scripted::start(move |_| Reply::status(status)).await;
        assert_eq!(ordered(&none).await, Ok(None), "{status}");
        let lost = Scripted::start(move |request| match request.path.contains("page=2") {
            true => Reply::status(status),
            false => page(1, "Goal?page=2"),
        });
        assert!(ordered(&lost.await).await.is_err(), "{status}");
    }
    let endless =
        Scripted::start(|request| page(request.path.len(), &format!("Goal?page={}1", request.path.len()))).await;
    assert!(ordered(&endless).await.is_err());
    assert_eq!(endless.requests().len(), wardline::limits::CARE_PAGES_MAX);
    let other = Scripted::start(|_| Reply::status(200)).await;
    let elsewhere = format!("{}/Goal?page=2", other.url);
    let hostile = Scripted::start(move |_| page(1, &elsewhere)).await;
    assert!(ordered(&hostile).await.is_err());
    assert_eq!(other.requests().len(), 0, "nobody else is asked");
}

/// What real servers keep and show of a Goal and an order is understood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_servers_are_understood() {
    for kind in [Kind::Helios, Kind::Sekmet] {
        let Some(server) = FhirServer::start(kind).await else { continue };
        server.put(&json!({"resourceType": "Patient", "id": "canary-0", "active": true})).await;
        server.put(&json!({"resourceType": "Patient", "id": "canary-1", "active": true})).await;
        server.put(&goal("g1", "canary-0", "active", &below(100))).await;
        server.put(&goal("g2", "canary-1", "active", &below(90))).await;
        let prober = prober(&server.url);
        let patient = PatientId::new("Patient/canary-0");
        let found = prober.ordered("Goal", &patient, None).await.unwrap().expect("a search for goals");
        eprintln!("{kind:?} shows {} goals when asked for one patient's", found.len());
        let found: Vec<_> = found.into_iter().filter(|h| h.patient.as_ref() == Some(&patient)).collect();
        assert_eq!(found.len(), 1, "{kind:?} {found:?}");
        assert!(found[0].active && found[0].said.as_ref().unwrap().len() == 1, "{kind:?} {found:?}");
        let later = found[0].updated_ms.expect("when it changed") + 3_600_000;
        let found = prober.ordered("Goal", &patient, Some(later)).await;
        eprintln!("{kind:?}: what changed later: {found:?}");
        assert!(prober.order("Goal/g1").await.unwrap().unwrap().active, "{kind:?}");
        server.delete("Goal/g1").await;
        assert_eq!(prober.order("Goal/g1").await.unwrap(), None, "{kind:?}");
    }
}
