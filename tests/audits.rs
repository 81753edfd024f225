//! What people do at the box, told to a centre that wants to know, through the built binary: each once, in any weather.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

mod support;

use support::PATIENCE;
use support::broker::{Broker, Door};
use support::device::Device;
use support::fhir_server::{FhirServer, Kind};
use support::gateway::{Gateway, until};
use support::scripted::{Reply, Request, Scripted};

/// How the centre is.
const WELL: u8 = 0;
/// It takes what it gets, and its answers are lost.
const LOST: u8 = 1;
const AWAY: u8 = 2;
/// It has no AuditEvent.
const WITHOUT: u8 = 3;

/// A centre that keeps AuditEvents, in the order in which they came, and counts Observations.
#[derive(Clone, Default)]
struct Centre {
    how: Arc<AtomicU8>,
    /// Id, or nothing where the centre gives its own, and body.
    events: Arc<Mutex<Vec<(String, Value)>>>,
    readings: Arc<Mutex<usize>>,
}

impl Centre {
    async fn start(&self) -> Scripted {
        let centre = self.clone();
        Scripted::start(move |request| centre.reply(request)).await
    }

    fn is(&self, how: u8) {
        self.how.store(how, Ordering::SeqCst);
    }

    fn reply(&self, request: &Request) -> Reply {
        let how = self.how.load(Ordering::SeqCst);
        if how == AWAY {
            return Reply::Close;
        }
        if request.path.contains("/AuditEvent") {
            if how == WITHOUT {
                let issue = json!([{"severity": "error", "code": "not-supported"}]);
                return Reply::json(404, &json!({"resourceType": "OperationOutcome", "issue": issue}));
            }
            let id = request.path.split("/AuditEvent").nth(1).unwrap().trim_matches('/').to_owned();
            assert_eq!(if id.is_empty() { "POST" } else { "PUT" }, request.method);
            let mut events = self.events.lock().unwrap();
            match events.iter().find(|(known, _)| *known == id && !id.is_empty()) {
                Some((_, body)) => assert_eq!(*body, request.json(), "the same id says the same"),
                None => events.push((id.clone(), request.json())),
            }
            let place = vec![("location", format!("AuditEvent/{}", if id.is_empty() { "17" } else { &id }))];
            return if how == LOST { Reply::Close } else { Reply::Answer(201, place, request.json().to_string()) };
        }
        let body = request.json();
        let entries: Vec<Value> = body["entry"].as_array().into_iter().flatten().map(|entry| {
            let url = entry["request"]["url"].as_str().unwrap();
            *self.readings.lock().unwrap() += usize::from(url.starts_with("Observation"));
            json!({"response": {"status": "201 Created", "location": if url.contains('/') { url.to_owned() } else { format!("{url}/1") }}})
        }).collect();
        Reply::json(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": entries}))
    }

    fn readings(&self) -> usize {
        *self.readings.lock().unwrap()
    }

    /// What was done, by whom, for whom, and whether it came about.
    fn said(&self) -> Vec<(String, String, Vec<String>, bool)> {
        self.events.lock().unwrap().iter().map(|(_, body)| told(body)).collect()
    }

    fn words(&self) -> Vec<String> {
        self.said().into_iter().map(|(word, ..)| word).collect()
    }
}

fn told(body: &Value) -> (String, String, Vec<String>, bool) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let agents = body["agent"].as_array().unwrap();
    assert_eq!(agents[0]["who"]["identifier"]["value"], "test-box");
    assert_eq!(agents.iter().filter(|a| a["requestor"] == true).count(), 1);
    let who = agents.get(1).map_or(String::new(), |a| text(&a["name"]));
    let entities = body["entity"].as_array().unwrap();
    assert_eq!(text(&entities.last().unwrap()["what"]["identifier"]["value"]).len(), 64);
    let patients = entities.iter().filter_map(|e| e["what"]["reference"].as_str().map(str::to_owned)).collect();
    (text(&body["subtype"][0]["code"]), who, patients, body["outcome"] == "0")
}

fn centre_of(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[destination]]\nkind = \"fhir\"\nname = \"{name}\"\nurl = \"{url}\"\ngzip = false\ntimeout_s = 5\n{more}\n"
    )
}

fn settings(broker: &Broker, destinations: &str) -> String {
    let mut text = format!(
        "[journal]\nreserve_mib = 1\n[page]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n{destinations}",
        broker.port
    );
    for n in 0..2 {
        text.push_str(&format!("[[patient]]\nreference = \"Patient/canary-{n}\"\n"));
        text.push_str(&format!("[[device]]\nid = \"mqtt:watch-{n}\"\npatient = \"Patient/canary-{n}\"\n"));
    }
    text
}

fn done(gateway: &Gateway, words: &[&str]) -> String {
    let (out, err, code) = gateway.cli(words);
    assert_eq!(code, Some(0), "{words:?}: {err}\n{}", gateway.log());
    out
}

fn export(gateway: &Gateway, name: &str, more: &[&str]) {
    let file = gateway.path(name);
    done(gateway, &[&["export", "--since", "7d", "--to", file.to_str().unwrap()][..], more].concat());
}

/// The local page, or a part of it.
fn page(gateway: &Gateway, path: &str) {
    let said = done(gateway, &["devices", "page"]);
    let address = said.lines().find_map(|l| l.strip_prefix("http://")).unwrap().split('/').next().unwrap().to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Long enough for whatever is told to be told.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(4)).await;
}

const BOTH: [&str; 2] = ["Patient/canary-0", "Patient/canary-1"];

/// This user, by the kernel's word.
fn me(gateway: &Gateway) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("administrator (uid {})", std::fs::metadata(gateway.path("wardline.toml")).unwrap().uid())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_do_is_told_once_in_any_weather() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let (centre, other, posted) = (Centre::default(), Centre::default(), Centre::default());
    let (server, second, third) = (centre.start().await, other.start().await, posted.start().await);
    let destinations = centre_of("centre", &server.url, "idempotency = \"update\"\naudit = true")
        + &centre_of("other", &second.url, "idempotency = \"update\"")
        + &centre_of("third", &third.url, "idempotency = \"conditional-create\"\naudit = true");
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    gateway.start();
    let device = Device::connect(broker.device_port);
    device.publish("vitals/watch-0", ["{\"id\":1,\"heart_rate\":61}"]).await;
    device.publish("vitals/watch-1", ["{\"id\":1,\"heart_rate\":62}"]).await;
    until("the readings", &gateway, || (centre.readings() == 2).then_some(())).await;
    let both: Vec<String> = BOTH.map(String::from).to_vec();
    let line = |word: &str, who: &str, patients: &[String]| (word.to_owned(), who.to_owned(), patients.to_vec(), true);
    let mut expected = Vec::new();

    // Looks again and again, and is told once. A page that polls is one stay as well.
    for _ in 0..3 {
        done(&gateway, &["readings"]);
        page(&gateway, "/");
        page(&gateway, "/live");
    }
    let mut newest_first = both.clone();
    newest_first.reverse();
    expected.push(line("read", &me(&gateway), &newest_first));
    expected.push(line("read", "local page", &both));
    until("two looks", &gateway, || (centre.said() == expected).then_some(())).await;

    // Nobody answers, and the box goes down in between: nothing is lost, and nothing told twice.
    centre.is(AWAY);
    export(&gateway, "a.csv", &["--by", "Ada", "--patient", "Patient/canary-0"]);
    expected.push(line("exported", "Ada", &both[..1]));
    done(&gateway, &["consent", "grant", "Patient/canary-1", "--to", "other", "--by", "Joy"]);
    expected.push(line("consented", "Joy", &both[1..]));
    gateway.kill();
    gateway.start();
    a_while().await;
    done(&gateway, &["assign", "mqtt:watch-0", "Patient/canary-1", "--by", "Ada"]);
    expected.push(line("handed", "Ada", &newest_first));
    // It takes them, and does not get to say so.
    centre.is(LOST);
    a_while().await;
    gateway.kill();
    centre.is(WELL);
    gateway.start();
    until("what was done in the outage", &gateway, || (centre.said().len() >= expected.len()).then_some(())).await;
    assert_eq!(centre.said(), expected, "{}", gateway.log());

    let readings = gateway.json(&["readings"]);
    expected.push(line("read", &me(&gateway), &newest_first));
    let key = readings[0]["reading"]["key"].as_str().unwrap().to_owned();
    done(&gateway, &["correct", &key, "--to", "Patient/canary-0", "--by", "Ada", "--reason", "the other watch"]);
    expected.push(line("corrected", "Ada", &newest_first));
    done(&gateway, &["backup", gateway.path("copy").to_str().unwrap()]);
    expected.push(line("exported", &me(&gateway), &[]));
    // The same configuration is no news; another one is.
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.start();
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.reword(|text| text + "\n# Another one.\n");
    gateway.start();
    expected.push(line("configured", "", &[]));
    until("all of it", &gateway, || (centre.said().len() >= expected.len()).then_some(())).await;
    a_while().await;
    assert_eq!(centre.said(), expected, "{}", gateway.log());
    assert!(other.said().is_empty(), "it did not ask for them");
    // Where ids are the server's, a box that goes down over an answer tells once more, and the seal says so.
    let mut seals = std::collections::HashSet::new();
    let mut events = posted.events.lock().unwrap().clone();
    assert!(events.len() <= expected.len() + 2, "it went down twice");
    events.retain(|(_, body)| seals.insert(body["entity"].as_array().unwrap().last().unwrap().to_string()));
    assert_eq!(events.iter().map(|(_, body)| told(body)).collect::<Vec<_>>(), expected);
    let ids: std::collections::BTreeSet<_> = centre.events.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    assert!(ids.len() == expected.len() && ids.iter().all(|id| id.starts_with("wl-") && id.len() == 43));
    // Readings went their way meanwhile, and the chain holds.
    device.publish("vitals/watch-1", ["{\"id\":2,\"heart_rate\":63}"]).await;
    until("a reading", &gateway, || (other.readings() >= 3).then_some(())).await;
    assert!(done(&gateway, &["custody", "verify"]).contains("Intact:"), "{}", done(&gateway, &["custody", "verify"]));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    let log = gateway.log();
    assert!(!log.contains("canary") && !log.contains("Joy"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_who_may_not_be_named_there_is_not() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = Centre::default();
    let server = centre.start().await;
    let more = "idempotency = \"update\"\naudit = true\nconsent = \"recorded\"";
    let mut gateway = Gateway::new(&settings(&broker, &centre_of("centre", &server.url, more)));
    gateway.start();
    let device = Device::connect(broker.device_port);
    for watch in ["vitals/watch-0", "vitals/watch-1"] {
        device.publish(watch, ["{\"id\":1,\"heart_rate\":61}"]).await;
    }
    until("the readings", &gateway, || (gateway.json(&["readings"]).as_array().unwrap().len() == 2).then_some(()))
        .await;
    until("a look", &gateway, || (!centre.said().is_empty()).then_some(())).await;
    a_while().await;
    done(&gateway, &["consent", "grant", "Patient/canary-1", "--to", "centre", "--by", "Joy"]);
    export(&gateway, "all.csv", &["--by", "Ada"]);
    until("the export", &gateway, || centre.words().contains(&"exported".to_owned()).then_some(())).await;
    done(&gateway, &["consent", "withdraw", "Patient/canary-1", "--to", "centre", "--by", "Joy"]);
    until("the withdrawal", &gateway, || {
        (centre.words().iter().filter(|w| *w == "consented").count() == 2).then_some(())
    })
    .await;
    let said = centre.said();
    let named: Vec<_> = said.iter().map(|(word, _, patients, _)| (word.as_str(), patients.len())).collect();
    assert_eq!(named.last(), Some(&("consented", 0)), "{named:?}");
    assert!(named.contains(&("exported", 1)) && named.contains(&("consented", 1)), "{named:?}");
    assert!(named.iter().filter(|(word, _)| *word == "read").all(|(_, n)| *n == 0), "{named:?}");
    let all = format!("{:?}", centre.events.lock().unwrap());
    assert!(!all.contains("canary-0"), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_audit_events_is_said_once_and_holds_up_nothing() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = Centre::default();
    centre.is(WITHOUT);
    let server = centre.start().await;
    let more = "idempotency = \"update\"\naudit = true";
    let mut gateway = Gateway::new(&settings(&broker, &centre_of("centre", &server.url, more)));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let condition = |gateway: &Gateway| {
        let all = gateway.json(&["alerts"]);
        let found = all.as_array().unwrap().iter().find(|a| a["rule"] == "audit-refused:centre").cloned();
        found.map(|a| a["text"].as_str().unwrap().to_owned())
    };
    for n in 0..3 {
        export(&gateway, &format!("{n}.csv"), &["--by", "Ada"]);
    }
    let text = until("that it is said", &gateway, || condition(&gateway)).await;
    assert!(text.contains("WL-F021") && text.contains("centre"), "{text}");
    for n in 0..5 {
        device.publish("vitals/watch-0", [format!("{{\"id\":{n},\"heart_rate\":61}}")]).await;
        export(&gateway, &format!("again {n}.csv"), &["--by", "Ada"]);
    }
    until("the readings", &gateway, || (centre.readings() >= 5).then_some(())).await;
    a_while().await;
    let asked = server.requests().iter().filter(|r| r.path.contains("AuditEvent")).count();
    assert!(asked <= 3, "it is not asked again and again: {asked}");
    assert_eq!(gateway.log().matches("WL-F021").count(), 1, "{}", gateway.log());
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    centre.is(WELL);
    gateway.start();
    until("all eight", &gateway, || (centre.words().iter().filter(|w| *w == "exported").count() == 8).then_some(()))
        .await;
    until("the end of the alert", &gateway, || condition(&gateway).is_none().then_some(())).await;
    a_while().await;
    assert_eq!(centre.words().iter().filter(|w| *w == "exported").count(), 8);
}

/// Whoever takes lines and does not come to the end has broken it off; so has a box that goes down over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_broke_off_has_failed() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = Centre::default();
    let server = centre.start().await;
    let more = "idempotency = \"update\"\naudit = true";
    let mut gateway = Gateway::new(&settings(&broker, &centre_of("centre", &server.url, more)));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let message =
        |n: u32| format!("{{\"id\":{n},\"heart_rate\":61,\"spo2\":97,\"weight\":81.5,\"weight_unit\":\"kg\"}}");
    // In parts: a broker queues so many and no more.
    for part in 0..5_u32 {
        device.publish("vitals/watch-0", (part * 500..(part + 1) * 500).map(message)).await;
        let there = (part as usize + 1) * 1_500;
        until("the readings", &gateway, || (centre.readings() >= there).then_some(())).await;
    }
    let begin = |gateway: &Gateway| {
        let mut stream = std::os::unix::net::UnixStream::connect(gateway.path("control.sock")).unwrap();
        let ask = "GET /v1/export?since=2020-01-01T00:00:00Z&by=Ada HTTP/1.1\r\nHost: wardline\r\n\r\n";
        stream.write_all(ask.as_bytes()).unwrap();
        let mut first = [0; 512];
        stream.read_exact(&mut first).unwrap();
        assert!(first.starts_with(b"HTTP/1.1 200"));
        stream
    };
    drop(begin(&gateway));
    let failed = |n| {
        (centre.said().iter().filter(|(word, who, _, well)| word == "exported" && who == "Ada" && !well).count() == n)
            .then_some(())
    };
    until("the first", &gateway, || failed(1)).await;
    assert_eq!(centre.said().last().unwrap().2, BOTH[..1], "whose it was, as far as it went");
    let stream = begin(&gateway);
    gateway.kill();
    drop(stream);
    gateway.start();
    until("the second", &gateway, || failed(2)).await;
    assert!(centre.words().iter().all(|word| word == "exported"), "{:?}", centre.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sekmet_keeps_what_people_did() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let Some(mut server) = FhirServer::start(Kind::Sekmet).await else { return };
    for id in ["canary-0", "canary-1"] {
        server.put(&json!({"resourceType": "Patient", "id": id, "active": true})).await;
    }
    let destinations = centre_of("centre", &server.url, "idempotency = \"update\"\naudit = true")
        + &centre_of("posted", &server.url, "idempotency = \"conditional-create\"\naudit = true");
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    gateway.start();
    let device = Device::connect(broker.device_port);
    device.publish("vitals/watch-0", ["{\"id\":1,\"heart_rate\":61}"]).await;
    until("the reading", &gateway, || (!gateway.json(&["readings"]).as_array().unwrap().is_empty()).then_some(()))
        .await;
    server.kill();
    export(&gateway, "a.csv", &["--by", "Ada"]);
    done(&gateway, &["consent", "grant", "Patient/canary-1", "--to", "centre", "--by", "Joy"]);
    gateway.kill();
    gateway.start();
    server.revive().await;
    let since = std::time::Instant::now();
    let words = loop {
        let found = server.search("AuditEvent?_count=50").await;
        let mut words: Vec<_> = found.iter().map(|e| e["subtype"][0]["code"].as_str().unwrap().to_owned()).collect();
        words.sort();
        if words.len() >= 6 || since.elapsed() > PATIENCE {
            break words;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(words, ["consented", "consented", "exported", "exported", "read", "read"], "{}", gateway.log());
    a_while().await;
    assert_eq!(server.search("AuditEvent?_count=50").await.len(), 6);
    assert_eq!(gateway.log().matches("WL-F02").count(), 0, "{}", gateway.log());
}

/// It writes events of its own and takes nobody else's: that is said, and readings go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helios_takes_none_and_gets_its_readings() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let Some(server) = FhirServer::start(Kind::Helios).await else { return };
    server.put(&json!({"resourceType": "Patient", "id": "canary-0", "active": true})).await;
    let more = "idempotency = \"update\"\naudit = true";
    let mut gateway = Gateway::new(&settings(&broker, &centre_of("centre", &server.url, more)));
    gateway.start();
    export(&gateway, "a.csv", &["--by", "Ada"]);
    until("that it is said", &gateway, || gateway.log().contains("WL-F021").then_some(())).await;
    let device = Device::connect(broker.device_port);
    device.publish("vitals/watch-0", ["{\"id\":1,\"heart_rate\":61}"]).await;
    let since = std::time::Instant::now();
    while server.search("Observation").await.is_empty() {
        assert!(since.elapsed() < PATIENCE, "{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
