//! Alerts that rest on readings in the wrong chart, through the built binary: they go when their readings go, and the right
//! chart has its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::collections::BTreeSet;

use serde_json::Value;
use wardline::lab::endpoint::{Endpoint, Settings};

mod support;

use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::{Gateway, until};

const RULE: &str = "[[rule]]\nid = \"heart-rate-high\"\ntitle = \"high\"\nvital = \"heart-rate\"\nabove = 110\nunit = \"/min\"\n\
                    priority = \"medium\"\nsustained = { n = 2, m = 2 }\n";

fn settings(broker: &Broker, destinations: &[(&str, &str)]) -> String {
    let mut text = format!(
        "[journal]\nreserve_mib = 1\n[alerts]\nrules = [\"rules.toml\"]\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[patient]]\nreference = \"Patient/p0\"\n[[patient]]\nreference = \"Patient/p1\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n",
        broker.port
    );
    for (way, url) in destinations {
        text +=
            &format!("[[destination]]\nkind = \"fhir\"\nname = \"{way}\"\nurl = \"{url}\"\nidempotency = \"{way}\"\n");
    }
    text
}

fn publish_one(n: u64, rate: u64) -> String {
    // Just now: what is older raises an alert about the past.
    format!("{{\"id\":{n},\"time\":\"{}\",\"heart_rate\":{rate}}}", jiff::Timestamp::now())
}

/// Whose, how it stands, and the words of what was done about it; or of Tasks, how it stands.
fn said(endpoint: &Endpoint, kind: &str) -> BTreeSet<(String, String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let all = endpoint.bodies(kind).into_iter().map(|body| {
        let body: Value = serde_json::from_str(&body).unwrap();
        let whose = if kind == "Task" { &body["for"] } else { &body["patient"] };
        let words = if kind == "Task" { &body["businessStatus"]["text"] } else { &body["code"]["text"] };
        (text(&whose["reference"]), text(&body["status"]), text(words))
    });
    all.collect()
}

fn set<const N: usize>(all: [(&str, &str, &str); N]) -> BTreeSet<(String, String, String)> {
    all.map(|(a, b, c)| (a.into(), b.into(), c.into())).into()
}

fn observations(endpoint: &Endpoint) -> BTreeSet<(String, String, u64)> {
    let all = endpoint.bodies("Observation").into_iter().map(|body| {
        let o: Value = serde_json::from_str(&body).unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        (text(&o["subject"]["reference"]), text(&o["status"]), o["valueQuantity"]["value"].as_u64().unwrap())
    });
    all.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_goes_when_all_it_rests_on_was_taken_back_and_the_right_chart_has_its_own() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let kept = || Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let both = [kept(), kept()];
    let urls = both.each_ref().map(Endpoint::url);
    let ways = [("conditional-create", &*urls[0]), ("update", &*urls[1])];
    let mut gateway = Gateway::new(&settings(&broker, &ways));
    std::fs::write(gateway.path("rules.toml"), RULE).unwrap();
    gateway.start();
    let device = Device::connect(broker.device_port);
    device.publish("vitals/watch-0", [publish_one(1, 121), publish_one(2, 122)]).await;
    until("the alert", &gateway, || both.iter().all(|e| e.bodies("Task").len() == 1).then_some(())).await;
    let settled = || gateway.json(&["outbox"]).as_array().unwrap().iter().all(|o| o["waiting"] == 0);
    until("delivery", &gateway, || settled().then_some(())).await;
    let raised = gateway.json(&["alerts"])[0]["id"].as_str().unwrap().to_owned();
    let mut keys: Vec<String> = Vec::new();
    for entry in gateway.json(&["readings"]).as_array().unwrap() {
        keys.push(entry["reading"]["key"].as_str().unwrap().into());
    }
    let correct =
        |key: &str| gateway.json(&["correct", key, "--to", "Patient/p1", "--by", "Ada", "--reason", "the other watch"]);

    // The newest of the two: the alert still rests on the other. What is done about it does not bring the reading back.
    assert_eq!(correct(&keys[0])["left"], 0);
    let one = [("Patient/p0", "entered-in-error", 122), ("Patient/p0", "final", 121), ("Patient/p1", "final", 122)];
    let one = BTreeSet::from(one.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c)));
    for endpoint in &both {
        until("the correction", &gateway, || (observations(endpoint) == one).then_some(())).await;
    }
    gateway.json(&["alerts", "ack", &raised, "--by", "Joy"]);
    let taken = |e: &Endpoint| e.bodies("Task").iter().any(|t| t.contains("Joy"));
    until("what she said", &gateway, || both.iter().all(taken).then_some(())).await;
    until("delivery", &gateway, || settled().then_some(())).await;
    for endpoint in &both {
        assert_eq!((observations(endpoint), endpoint.counts().duplicates), (one.clone(), 0));
        assert_eq!(said(endpoint, "Task"), set([("Patient/p0", "accepted", "")]));
    }

    // The other one too.
    assert_eq!(correct(&keys[1])["left"], 0);
    let issues = set([
        ("Patient/p0", "entered-in-error", "Value beyond its limit"),
        ("Patient/p1", "final", "Earlier value beyond its limit"),
    ]);
    let tasks = set([("Patient/p0", "entered-in-error", "Readings taken back"), ("Patient/p1", "requested", "")]);
    for endpoint in &both {
        until("the alerts", &gateway, || (said(endpoint, "Task") == tasks).then_some(())).await;
        until("the issues", &gateway, || (said(endpoint, "DetectedIssue") == issues).then_some(())).await;
    }
    let open = gateway.json(&["alerts"]);
    assert_eq!((open.as_array().unwrap().len(), &open[0]["patient"]), (1, &"Patient/p1".into()), "{open}");
    let (text, _, _) = gateway.cli(&["alerts", "--all"]);
    assert!(text.contains("entered in error, said Ada"), "{text}");
    // A restart knows it as well.
    gateway.stop();
    gateway.start();
    assert_eq!(gateway.json(&["alerts"]).as_array().unwrap().len(), 1);
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// The gateway was killed between the correction and what follows from it: the next start ends the alert.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_leaves_no_alert_that_rests_on_nothing() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &[("update", &endpoint.url())]));
    std::fs::write(gateway.path("rules.toml"), RULE.replace("n = 2, m = 2", "n = 1, m = 1")).unwrap();
    gateway.start();
    let device = Device::connect(broker.device_port);
    device.publish("vitals/watch-0", [publish_one(1, 121)]).await;
    until("the alert", &gateway, || (endpoint.bodies("Task").len() == 1).then_some(())).await;
    gateway.kill();
    // The alert as it stood before what the correction did to it.
    let body =
        |conn: &rusqlite::Connection| -> String { conn.query_row("SELECT body FROM alert", [], |r| r.get(0)).unwrap() };
    let journal = gateway.path("state/journal.sqlite3");
    let open = || {
        let conn = rusqlite::Connection::open(&journal).unwrap();
        conn.execute_batch(&format!("PRAGMA key = \"x'{}'\"", support::gateway::KEY)).unwrap();
        conn
    };
    let before = body(&open());
    gateway.start();
    let key = gateway.json(&["readings"])[0]["reading"]["key"].as_str().unwrap().to_owned();
    assert_eq!(gateway.json(&["correct", &key, "--void", "--by", "Ada", "--reason", "a visitor"])["left"], 0);
    let over = set([("Patient/p0", "entered-in-error", "Readings taken back")]);
    until("the end", &gateway, || (said(&endpoint, "Task") == over).then_some(())).await;
    gateway.kill();
    {
        let conn = open();
        let put = "UPDATE alert SET body = ?1, resolved_ms = NULL";
        assert_eq!(conn.execute(put, [&before]).unwrap(), 1);
    }
    gateway.start();
    let none = || gateway.json(&["alerts"]).as_array().unwrap().is_empty();
    until("the end of the alert", &gateway, || none().then_some(())).await;
    let (text, _, _) = gateway.cli(&["alerts", "--all"]);
    assert!(text.contains("entered in error, said Ada"), "{text}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
