//! What people at the centre do with the Tasks of alerts, through the built binary: taken, given back, refused, finished; from
//! a centre with bad manners, and from helios-hfs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod support;

use support::PATIENCE;
use support::broker::{Broker, Door};
use support::device::Device;
use support::fhir_server::{FhirServer, Kind};
use support::gateway::Gateway;
use support::scripted::{Reply, Request, Scripted};

const RULES: &str = "[[rule]]\nid = \"heart-rate-high\"\ntitle = \"high\"\nvital = \"heart-rate\"\nabove = 110\nunit = \"/min\"\n\
    priority = \"high\"\n";
const PEOPLE: usize = 6;

fn gateway(broker: &Broker, url: &str, more: &str) -> Gateway {
    let people = (0..PEOPLE).map(|n| {
        format!("[[patient]]\nreference = \"Patient/canary-{n}\"\n[[device]]\nid = \"mqtt:watch-{n}\"\npatient = \"Patient/canary-{n}\"\n")
    });
    let gateway = Gateway::new(&format!(
        "[journal]\nreserve_mib = 1\n[log]\nlevel = \"debug\"\n[alerts]\nrules = [\"rules.toml\"]\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\ngzip = false\ntimeout_s = 5\n{more}\n{}",
        broker.port,
        people.collect::<String>()
    ));
    std::fs::write(gateway.path("rules.toml"), RULES).unwrap();
    gateway
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// So many rounds of questions at least.
async fn rounds() {
    tokio::time::sleep(Duration::from_millis(3_500)).await;
}

/// The open alerts of a person, and those of the box that this rule begins.
fn of_person(gateway: &Gateway, n: usize) -> Option<Value> {
    let all = gateway.json(&["alerts"]);
    all.as_array().unwrap().iter().find(|a| a["patient"] == format!("Patient/canary-{n}")).cloned()
}

fn condition(gateway: &Gateway, rule: &str) -> Option<String> {
    let all = gateway.json(&["alerts"]);
    let found = all.as_array().unwrap().iter().find(|a| a["rule"].as_str().unwrap().starts_with(rule));
    found.map(|a| a["text"].as_str().unwrap().to_owned())
}

fn by(gateway: &Gateway, n: usize) -> Option<String> {
    Some(of_person(gateway, n)?["acknowledged"]["by"].as_str()?.to_owned())
}

struct Pulse<'a>(&'a Device, u64);

impl Pulse<'_> {
    async fn beat(&mut self, person: usize, value: u32) {
        self.1 += 1;
        self.0
            .publish(&format!("vitals/watch-{person}"), [format!("{{\"id\":{},\"heart_rate\":{value}}}", self.1)])
            .await;
    }
}

/// A centre that keeps Tasks with their versions, and answers a search with what the test says, or what it has.
#[derive(Clone, Default)]
struct Centre(Arc<Mutex<Ward>>);

#[derive(Default)]
struct Ward {
    tasks: BTreeMap<String, Value>,
    writes: u64,
    /// The next write over a Task meets somebody else's, which does this to it.
    meanwhile: Option<fn(&mut Value)>,
    /// In the place of an answer to a search for Tasks.
    search: Option<Reply>,
}

impl Centre {
    fn reply(&self, request: &Request) -> Reply {
        let mut ward = self.0.lock().unwrap();
        let path = request.path.trim_start_matches("/fhir").trim_start_matches('/').to_owned();
        match (request.method.as_str(), path.as_str()) {
            ("GET", path) if path.starts_with("Task?") => ward.search.clone().unwrap_or_else(|| ward.found(path)),
            ("GET", path) if path.starts_with("Task/") => match ward.tasks.get(path) {
                Some(task) => Reply::json(200, task),
                None => Reply::json(404, &json!({"resourceType": "OperationOutcome", "issue": []})),
            },
            ("PUT", path) if path.starts_with("Task/") => ward.put(path, request),
            ("PUT", path) => Reply::Answer(200, vec![("location", path.to_owned())], request.json().to_string()),
            _ => {
                let body = request.json();
                let entries = body["entry"].as_array().unwrap().iter().map(|entry| {
                    let url = entry["request"]["url"].as_str().unwrap();
                    if url.starts_with("Task/") {
                        ward.store(url, entry["resource"].clone());
                    }
                    json!({"response": {"status": "201 Created", "location": url}})
                });
                Reply::json(
                    200,
                    &json!({"resourceType": "Bundle", "type": "x-response", "entry": entries.collect::<Vec<_>>()}),
                )
            }
        }
    }

    /// Changes the Task of an alert as somebody at the centre would.
    fn change(&self, alert: &Value, change: impl FnOnce(&mut Value)) {
        let mut ward = self.0.lock().unwrap();
        let (place, mut task) = ward.of(alert);
        change(&mut task);
        ward.store(&place, task);
    }

    fn task(&self, alert: &Value) -> Value {
        self.0.lock().unwrap().of(alert).1
    }

    fn has(&self, alert: &Value) -> bool {
        self.0.lock().unwrap().tasks.values().any(|t| t["identifier"][0]["value"] == alert["id"])
    }

    fn says(&self, search: Option<Reply>) {
        self.0.lock().unwrap().search = search;
    }
}

impl Ward {
    fn of(&self, alert: &Value) -> (String, Value) {
        let found = self.tasks.iter().find(|(_, t)| t["identifier"][0]["value"] == alert["id"]);
        found.map(|(place, task)| (place.clone(), task.clone())).expect("a Task of this alert")
    }

    fn store(&mut self, place: &str, mut task: Value) {
        self.writes += 1;
        task["meta"] = json!({"versionId": self.writes.to_string()});
        self.tasks.insert(place.to_owned(), task);
    }

    fn put(&mut self, place: &str, request: &Request) -> Reply {
        let mut there = self.tasks.get(place).cloned().expect("a Task that is there");
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile(&mut there);
            self.store(place, there.clone());
            there = self.tasks[place].clone();
        }
        if request.header("if-match") != format!("W/\"{}\"", there["meta"]["versionId"].as_str().unwrap()) {
            return Reply::json(412, &json!({"resourceType": "OperationOutcome", "issue": []}));
        }
        self.store(place, request.json());
        Reply::json(200, &self.tasks[place])
    }

    fn found(&self, query: &str) -> Reply {
        let asked = |t: &&Value| query.contains(t["identifier"][0]["value"].as_str().unwrap());
        searchset(&self.tasks.values().filter(asked).cloned().collect::<Vec<_>>())
    }
}

fn searchset(resources: &[Value]) -> Reply {
    let entry: Vec<Value> = resources.iter().map(|r| json!({"resource": r})).collect();
    Reply::json(200, &json!({"resourceType": "Bundle", "type": "searchset", "entry": entry}))
}

const FOLLOWS: &str = "idempotency = \"update\"\nalert_owner = \"Group/night\"\nfollow_tasks = { every_s = 1 }";

/// A gateway, its centre, and an open alert of each of the first people.
async fn play(broker: &Broker, people: usize) -> (Gateway, Centre, Scripted, Device) {
    let centre = Centre::default();
    let script = centre.clone();
    let server = Scripted::start(move |request| script.reply(request)).await;
    let mut gateway = gateway(broker, &server.url, FOLLOWS);
    gateway.start();
    let device = Device::connect(broker.device_port);
    let mut pulse = Pulse(&device, 0);
    for n in 0..people {
        pulse.beat(n, 150).await;
        until("the alert", || of_person(&gateway, n).is_some()).await;
        let alert = of_person(&gateway, n).unwrap();
        until("its Task", || centre.has(&alert)).await;
    }
    (gateway, centre, server, device)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_the_task_at_the_centre_has_the_alert_here() {
    let Some(server) = FhirServer::start(Kind::Helios).await else { return };
    for (way, n) in ["update", "conditional-create"].into_iter().zip(0..) {
        let Some(broker) = Broker::start(&Door::Open, "") else { return };
        server.put(&json!({"resourceType": "Patient", "id": format!("canary-{n}"), "active": true})).await;
        let mut gateway =
            gateway(&broker, &server.url, &format!("idempotency = \"{way}\"\nfollow_tasks = {{ every_s = 1 }}"));
        gateway.start();
        let device = Device::connect(broker.device_port);
        let mut pulse = Pulse(&device, 100 * n as u64);
        pulse.beat(n, 150).await;
        until("the alert", || of_person(&gateway, n).is_some()).await;
        let alert = of_person(&gateway, n).unwrap();
        let query = format!("Task?identifier=urn:wardline:alert|{}", alert["id"].as_str().unwrap());
        let since = Instant::now();
        while server.search(&query).await.is_empty() {
            assert!(since.elapsed() < PATIENCE, "no Task\n{}", gateway.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        rounds().await;
        assert_eq!(by(&gateway, n), None, "{way}: nobody took it yet");

        let mut task = server.search(&query).await.remove(0);
        task["status"] = json!("accepted");
        task["owner"] = json!({"display": "Dr Ada"});
        task["note"] = json!([{"text": "I am on my way"}]);
        server.put(&task).await;
        until("the acknowledgement", || by(&gateway, n).is_some()).await;
        assert_eq!(by(&gateway, n).as_deref(), Some("Dr Ada (centre)"), "{way}");
        let (shown, _, _) = gateway.cli(&["alerts"]);
        assert!(shown.contains("acknowledged by Dr Ada (centre)"), "{shown}");

        pulse.beat(n, 80).await;
        until("the end", || of_person(&gateway, n).is_none()).await;
        let since = Instant::now();
        let done = loop {
            let task = server.search(&query).await.remove(0);
            if task["status"] == "completed" {
                break task;
            }
            assert!(since.elapsed() < PATIENCE, "{way}: {task}\n{}", gateway.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(done["owner"]["display"], "Dr Ada", "{way}: {done}");
        assert_eq!((&done["note"][0]["text"], &done["note"][1]), (&json!("I am on my way"), &Value::Null), "{done}");
        assert_eq!(done["businessStatus"]["text"], "Condition cleared", "{way}");
        let log = gateway.log();
        assert!(!log.contains("canary") && !log.contains("Ada"), "a person is in the log");
        assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_word_of_the_centre_is_understood_once() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let (mut gateway, centre, _server, device) = play(&broker, 5).await;
    let alerts: Vec<Value> = (0..5).map(|n| of_person(&gateway, n).unwrap()).collect();
    // Begun without a name that can be shown; finished; refused; entered in error; taken by a person here.
    centre.change(&alerts[0], |t| {
        (t["status"], t["owner"]["display"]) = (json!("in-progress"), json!("\u{202e}evil\u{7}"));
    });
    centre.change(&alerts[1], |t| (t["status"], t["owner"]) = (json!("completed"), json!({"display": "Dr Bo"})));
    centre.change(&alerts[2], |t| t["status"] = json!("rejected"));
    centre.change(&alerts[3], |t| t["status"] = json!("entered-in-error"));
    gateway.json(&["alerts", "ack", alerts[4]["id"].as_str().unwrap(), "--by", "Joy"]);
    until("the first two", || by(&gateway, 0).is_some() && by(&gateway, 1).is_some()).await;
    assert_eq!(by(&gateway, 0).as_deref(), Some("the centre (centre)"));
    assert_eq!(by(&gateway, 1).as_deref(), Some("Dr Bo (centre)"));
    until("that one was refused", || condition(&gateway, "tasks-declined:centre").is_some()).await;
    let said = condition(&gateway, "tasks-declined:centre").unwrap();
    let short = &alerts[2]["id"].as_str().unwrap()[..8];
    assert!(
        said.contains("WL-G014") && said.contains("1 alerts") && said.contains(&format!("{short} rejected")),
        "{said}"
    );
    until("our word about the fifth", || centre.task(&alerts[4])["status"] == "accepted").await;
    assert_eq!(centre.task(&alerts[4])["note"][0]["authorString"], "Joy");
    centre.change(&alerts[4], |t| t["owner"] = json!({"display": "Dr Cy"}));
    let first = of_person(&gateway, 0).unwrap();
    let written = || alerts.iter().map(|alert| centre.task(alert)).collect::<Vec<_>>();
    let before = written();
    rounds().await;
    assert_eq!(of_person(&gateway, 0).unwrap(), first, "asked again, nothing happens again");
    assert_eq!(by(&gateway, 4).as_deref(), Some("Joy"), "a person here keeps it");
    assert_eq!((by(&gateway, 2), by(&gateway, 3)), (None, None));
    assert_eq!(written(), before, "what was heard is not written back");
    for (n, status) in [(0, "in-progress"), (1, "completed"), (2, "rejected"), (3, "entered-in-error")] {
        assert_eq!(centre.task(&alerts[n])["status"], status, "ours does not overwrite");
    }

    // A person here takes what was refused: the condition ends, and the centre's word stays.
    gateway.json(&["alerts", "ack", alerts[2]["id"].as_str().unwrap(), "--by", "Joy"]);
    until("the end of the condition", || condition(&gateway, "tasks-declined").is_none()).await;
    assert_eq!(centre.task(&alerts[2])["status"], "rejected");
    // Who had it gives it back.
    centre.change(&alerts[0], |t| t["status"] = json!("requested"));
    until("that it was given back", || condition(&gateway, "tasks-declined").is_some()).await;
    assert!(condition(&gateway, "tasks-declined").unwrap().contains("given back"));
    // Somebody writes at the same moment as we do: read again, and written over that.
    centre.0.lock().unwrap().meanwhile = Some(|t| t["owner"] = json!({"display": "Dr Dee"}));
    Pulse(&device, 100).beat(4, 80).await;
    until("the end of the fifth", || centre.task(&alerts[4])["status"] == "completed").await;
    assert_eq!(centre.task(&alerts[4])["owner"]["display"], "Dr Dee");
    // All of it after a restart as before.
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.start();
    assert_eq!(by(&gateway, 1).as_deref(), Some("Dr Bo (centre)"));
    until("that it is still given back", || condition(&gateway, "tasks-declined").is_some()).await;
    let log = gateway.log();
    assert!(["canary", "Dr Bo", "evil", "Joy"].iter().all(|word| !log.contains(word)), "a person is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_centre_says_wrongly_changes_nothing_and_is_said() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let (gateway, centre, server, device) = play(&broker, 2).await;
    let alerts: Vec<Value> = (0..2).map(|n| of_person(&gateway, n).unwrap()).collect();
    let good = centre.task(&alerts[0]);
    let bad = |change: fn(&mut Value)| {
        let mut task = good.clone();
        (task["status"], task["owner"]) = (json!("accepted"), json!({"display": "Dr Ada"}));
        change(&mut task);
        task
    };
    let unclear: [fn(&mut Value); 5] = [
        |t| t["for"] = json!({"reference": "Patient/canary-1"}),
        |t| t["status"] = json!("done"),
        |t| t["identifier"] = json!("x"),
        |t| t["identifier"][0]["value"] = json!("0123456789abcdef0123456789abcdef"),
        |t| t["modifierExtension"] = json!([{"url": "urn:not", "valueBoolean": true}]),
    ];
    for (n, change) in unclear.into_iter().enumerate() {
        centre.says(Some(searchset(&[bad(change)])));
        until(&format!("that it is not understood ({n})"), || condition(&gateway, "tasks-unclear:centre").is_some())
            .await;
        assert!(condition(&gateway, "tasks-unclear").unwrap().contains("WL-G013"));
        assert_eq!((by(&gateway, 0), by(&gateway, 1)), (None, None), "{n}");
        centre.says(None);
        until("that all is well", || condition(&gateway, "tasks-unclear").is_none()).await;
    }
    let next = json!({"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next",
        "url": "http://elsewhere.example/fhir/Task?page=2"}], "entry": [{"resource": bad(|_| ())}]});
    let away = [
        searchset(&vec![bad(|_| ()); 10_000]),
        Reply::json(200, &next),
        Reply::json(200, &json!({"resourceType": "Bundle", "type": "searchset", "entry": 7})),
        Reply::json(400, &json!({"resourceType": "OperationOutcome", "issue": []})),
        Reply::status(503),
        Reply::Half("{\"resourceType\":\"Bundle\"}".into()),
        Reply::Endless,
        Reply::Hang,
    ];
    for (n, reply) in away.into_iter().enumerate() {
        centre.says(Some(reply));
        // It costs the question and nothing else.
        let batches = || server.requests().iter().filter(|r| r.json()["type"] == "batch").count();
        let before = batches();
        Pulse(&device, 200 + n as u64).beat(5, 80).await;
        until("a delivery", || batches() > before).await;
        until(&format!("that it is away ({n})"), || condition(&gateway, "tasks-unasked:centre").is_some()).await;
        assert!(condition(&gateway, "tasks-unasked").unwrap().contains("WL-G012"));
        assert_eq!((by(&gateway, 0), by(&gateway, 1)), (None, None), "{n}");
        centre.says(None);
        until("that it answers", || condition(&gateway, "tasks-unasked").is_none()).await;
    }
    assert!(!gateway.log().contains("canary"), "a patient is in the log");
}

/// 4,000 characters in several scripts, and a name from right to left: what the centre wrote stays to the letter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_note_of_the_centre_in_any_script_stays_whole() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let (mut gateway, centre, _server, device) = play(&broker, 1).await;
    let alert = of_person(&gateway, 0).unwrap();
    let note: String = "Dürfte Störung sein – נבדק בטלפון 🩺 ".chars().cycle().take(4_000).collect();
    centre.change(&alert, |t| {
        (t["status"], t["owner"]) = (json!("accepted"), json!({"display": "ד״ר אדה"}));
        t["note"] = json!([{"text": note}]);
    });
    until("the acknowledgement", || by(&gateway, 0).is_some()).await;
    assert_eq!(by(&gateway, 0).as_deref(), Some("ד״ר אדה (centre)"));
    Pulse(&device, 100).beat(0, 80).await;
    until("the end", || centre.task(&alert)["status"] == "completed").await;
    let task = centre.task(&alert);
    assert_eq!((&task["note"][0]["text"], &task["owner"]["display"]), (&json!(note), &json!("ד״ר אדה")));
    let log = gateway.log();
    assert!(!log.contains("נבדק") && !log.contains("אדה"), "a person is in the log");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
