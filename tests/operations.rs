//! What an operator and the service manager see of the built binary.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests say what is wrong by ending, and measure their own patience"
)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod support;

use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::{Gateway, http_over_unix};
use support::scripted::{Reply, Scripted};
use support::{PATIENCE, within};

/// No sources: ready at once.
const QUIET: &str = "[journal]\nreserve_mib = 1\n";

fn source(broker: &Broker) -> String {
    format!("{QUIET}[[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port)
}

/// A request over the control socket: status and body.
fn control(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = UnixStream::connect(gateway.path("control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "Host: wardline\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn status(gateway: &Gateway, path: &str) -> String {
    http_over_unix(&gateway.path("status.sock"), path).unwrap()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Ends the child when a test ends, however it ends.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn terminate(child: &Child) {
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
}

#[test]
fn the_service_manager_hears_ready_watchdog_and_stopping_and_the_end_comes_within_five_seconds() {
    let gateway = Gateway::new(QUIET);
    let manager = UnixDatagram::bind(gateway.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |word: &str| {
        let mut buffer = [0; 256];
        loop {
            let n = manager.recv(&mut buffer).unwrap_or_else(|e| panic!("{word}: {e}"));
            let said = String::from_utf8_lossy(&buffer[..n]);
            assert!(word != "EXTEND_TIMEOUT_USEC=60000000" || !said.contains("READY"), "it came too late");
            if said.lines().any(|l| l == word) {
                return;
            }
        }
    };
    let child = Command::new(env!("CARGO_BIN_EXE_wardline"))
        .args(["run", "--config"])
        .arg(gateway.path("wardline.toml"))
        .env("NOTIFY_SOCKET", gateway.path("notify"))
        .env("WATCHDOG_USEC", "300000")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Ends(child);
    // A start may take long, and is no hang.
    hear("EXTEND_TIMEOUT_USEC=60000000");
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    let told = Instant::now();
    terminate(&child.0);
    hear("STOPPING=1");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(6), "{:?}", told.elapsed());
    assert!(!gateway.path("control.sock").exists() && !gateway.path("status.sock").exists());
}

#[test]
fn health_readiness_and_counters_are_on_the_status_socket_and_nothing_else_is() {
    let mut gateway = Gateway::new(QUIET);
    gateway.start();
    assert!(status(&gateway, "/healthz").contains("\"ok\":true"));
    assert!(status(&gateway, "/readyz").contains("\"ok\":true"));
    assert!(status(&gateway, "/metrics").contains("wardline_uptime_seconds"));
    assert!(status(&gateway, "/v1/readings").starts_with("HTTP/1.1 404"));
    let now = gateway.json(&["status"]);
    assert_eq!((&now["gateway"], &now["stalled"]), (&json!("test-box"), &json!([])));
    let (text, _, code) = gateway.cli(&["status"]);
    assert!(text.contains("Open alerts: 0") && text.lines().all(|l| l.chars().count() <= 80), "{text}");
    assert_eq!(code, Some(0));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    let (_, said, code) = gateway.cli(&["status"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("WL-O001"), "{said}");
}

/// Inodes of sockets that listen on TCP, of the whole machine.
fn listening() -> BTreeSet<String> {
    let rows = ["/proc/net/tcp", "/proc/net/tcp6"].map(|f| std::fs::read_to_string(f).unwrap_or_default());
    let rows = rows.iter().flat_map(|text| text.lines().skip(1));
    rows.map(|l| l.split_whitespace().collect::<Vec<_>>()).filter(|f| f[3] == "0A").map(|f| f[9].to_owned()).collect()
}

/// TCP ports that this process listens on.
fn ports_of(pid: u32) -> usize {
    let all = listening();
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    let inode = |link: &Path| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    links.filter_map(|l| inode(&l)).filter(|i| all.contains(i)).count()
}

#[test]
fn no_tcp_port_listens_unless_it_is_asked_for() {
    let mut gateway = Gateway::new(QUIET);
    gateway.start();
    assert_eq!(ports_of(gateway.pid()), 0);
    assert_eq!(gateway.stop(), Some(0));

    let port = support::free_port();
    let config = std::fs::read_to_string(gateway.path("wardline.toml")).unwrap();
    let config = config.replace("[control]\n", &format!("[control]\nstatus_tcp = \"127.0.0.1:{port}\"\n"));
    std::fs::write(gateway.path("wardline.toml"), config).unwrap();
    gateway.start();
    assert_eq!(ports_of(gateway.pid()), 1);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"ok\":true"), "{answer}");
}

#[test]
fn a_second_gateway_leaves_the_first_alone() {
    let mut gateway = Gateway::new(QUIET);
    gateway.start();
    let second = Command::new(env!("CARGO_BIN_EXE_wardline"))
        .args(["run", "--config"])
        .arg(gateway.path("wardline.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("WL-O006"), "{second:?}");
    assert!(status(&gateway, "/healthz").contains("\"ok\":true"));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_added_while_it_runs_takes_effect_at_once_and_survives_a_restart() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = wardline::lab::endpoint::Endpoint::start(Default::default()).unwrap();
    let mut gateway = Gateway::new(&format!(
        "{}[[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{}\"\nidempotency = \"update\"\n\
         [[patient]]\nreference = \"Patient/p1\"\n",
        source(&broker),
        centre.url()
    ));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let message =
        |n: u32| support::dated(&format!("{{\"id\":{n},\"time\":\"2026-11-22T10:00:0{n}Z\",\"heart_rate\":7{n}}}"));
    device.publish("vitals/watch-9", [message(1)]).await;
    until("the unassigned reading", || gateway.json(&["readings"]).as_array().unwrap().len() == 1).await;

    let (refused, why) = control(&gateway, "POST", "/v1/devices", &json!({"id": "watch 9"}));
    assert_eq!((refused, why["code"].as_str()), (422, Some("WL-O010")), "{why}");
    let (refused, why) =
        control(&gateway, "POST", "/v1/devices", &json!({"id": "mqtt:watch-9", "patient": "Patient/p2"}));
    assert_eq!((refused, why["code"].as_str()), (422, Some("WL-O010")), "{why}");
    let known = json!({"id": "mqtt:watch-9", "patient": "Patient/p1"});
    assert_eq!(control(&gateway, "POST", "/v1/devices", &known).0, 200);

    device.publish("vitals/watch-9", [message(2)]).await;
    until("the delivery", || centre.counts().observations == 1).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    gateway.start();
    device.publish("vitals/watch-9", [message(3)]).await;
    until("the delivery after the restart", || centre.counts().observations == 2).await;
    let devices = control(&gateway, "GET", "/v1/devices", &Value::Null).1;
    assert_eq!(devices[0]["id"], "mqtt:watch-9", "{devices}");
}

/// A box that has no source yet is provisioned all the same.
#[test]
fn orders_are_carried_out_without_a_source() {
    let mut gateway = Gateway::new(&format!("{QUIET}[[patient]]\nreference = \"Patient/p1\"\n"));
    gateway.start();
    let known = json!({"id": "mqtt:watch-9", "patient": "Patient/p1"});
    assert_eq!(control(&gateway, "POST", "/v1/devices", &known).0, 200);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_takes_an_alert_and_the_day_adds_up() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = wardline::lab::endpoint::Endpoint::start(Default::default()).unwrap();
    let mut gateway = Gateway::new(&format!(
        "{}[[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{}\"\nidempotency = \"update\"\n\
         [[patient]]\nreference = \"Patient/p1\"\n[[device]]\nid = \"mqtt:watch-9\"\npatient = \"Patient/p1\"\n",
        source(&broker),
        centre.url()
    ));
    gateway.start();
    let device = Device::connect(broker.device_port);
    device.publish("vitals/watch-9", (1..=5).map(|n| format!("{{\"id\":{n},\"heart_rate\":210}}"))).await;
    until("the alert", || !gateway.json(&["alerts"]).as_array().unwrap().is_empty()).await;
    let id = gateway.json(&["alerts"])[0]["id"].as_str().unwrap().to_owned();
    let (_, why, code) = gateway.cli(&["alerts", "ack", "nobody", "--by", "Nurse Joy"]);
    assert_ne!(code, Some(0), "{why}");
    let (said, why, code) = gateway.cli(&["alerts", "ack", &id, "--by", "Nurse Joy"]);
    assert_eq!(code, Some(0), "{said}{why}");
    assert_eq!(gateway.json(&["alerts"])[0]["acknowledged"]["by"], "Nurse Joy");
    until("the deliveries", || gateway.json(&["outbox"])[0]["waiting"] == 0).await;

    let day = &gateway.json(&["custody"])[0];
    assert_eq!((&day["patient"], &day["destination"]), (&json!("Patient/p1"), &json!("centre")), "{day}");
    assert_eq!((&day["committed"], &day["delivered"], &day["waiting"]), (&json!(5), &json!(5), &json!(0)), "{day}");
    let found = gateway.json(&["custody", "verify"]);
    assert_eq!((&found["intact"], &found["readings"]), (&json!(true), &json!(5)), "{found}");
    let storage = gateway.json(&["storage"]);
    assert_eq!((&storage["readings"], &storage["waiting"]), (&json!(5), &json!(0)), "{storage}");
    let copy = gateway.path("copy");
    let (said, why, code) = gateway.cli(&["backup", copy.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}{why}");
    assert!(said.starts_with("5 readings"), "{said}");
    let (_, why, code) = gateway.cli(&["restore", copy.to_str().unwrap(), "--replace"]);
    assert!(code != Some(0) && why.contains("WL-J002"), "{why}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    let (said, why, code) = gateway.cli(&["restore", copy.to_str().unwrap(), "--replace"]);
    assert_eq!(code, Some(0), "{said}{why}");
    // What a person took stays taken.
    gateway.start();
    assert_eq!(gateway.json(&["alerts"])[0]["acknowledged"]["by"], "Nurse Joy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heartbeat_says_counts_and_no_more() {
    let fleet = Scripted::start(|_| Reply::status(204)).await;
    let mut gateway = Gateway::new(&format!("{QUIET}[heartbeat]\nurl = \"{}\"\nevery_s = 1\n", fleet.url));
    gateway.start();
    until("two beats", || fleet.requests().len() >= 2).await;
    let beat = fleet.requests()[1].json();
    assert_eq!((&beat["gateway"], &beat["backlog"], &beat["open_alerts"]), (&json!("test-box"), &json!(0), &json!(0)));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// Seeded names, ids and values appear in no log, not at the most talkative level, and in nothing of the status socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_patient_data_in_logs_status_or_counters() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let refusing = Scripted::start(|_| Reply::json(422, &json!({"resourceType": "OperationOutcome"}))).await;
    let mut gateway = Gateway::new(&format!(
        "{}[[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{}\"\nidempotency = \"update\"\n\
         [[patient]]\nreference = \"Patient/canary-ref\"\ndisplay = \"Canary Name\"\n\
         [[device]]\nid = \"mqtt:watch-1\"\npatient = \"Patient/canary-ref\"\n\
         [log]\nlevel = \"trace\"\njson = true\n",
        source(&broker),
        refusing.url
    ));
    gateway.start();
    let device = Device::connect(broker.device_port);
    // 31.4159 kg: a weight that nothing else is.
    let weight =
        support::dated("{\"id\":1,\"time\":\"2026-11-22T10:00:00Z\",\"weight\":31.4159,\"weight_unit\":\"kg\"}");
    device.publish("vitals/watch-1", [&*weight, "{\"id\":2,\"weight\":\"31.4159\"}", "31.4159"]).await;
    within("the refusal", async { until("it", || refusing.received() > 0).await }).await;
    until("the log of it", || gateway.log().contains("centre")).await;
    let shown: Vec<_> = ["/healthz", "/readyz", "/metrics"].iter().map(|p| status(&gateway, p)).collect();
    let (text, ..) = gateway.cli(&["status"]);
    assert_eq!(gateway.stop(), Some(0));
    let log = gateway.log();
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    for canary in ["canary-ref", "Canary Name", "31.4159", "314159"] {
        assert!(!log.contains(canary), "{canary} is in the log");
        assert!(!shown.iter().any(|s| s.contains(canary)) && !text.contains(canary), "{canary} is in the status");
    }
}

#[tokio::test]
async fn a_damaged_journal_is_salvaged_and_somebody_is_told() {
    let mut gateway = Gateway::new(QUIET);
    gateway.start();
    gateway.stop();
    let file = gateway.path("state/journal.sqlite3");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8_192].fill(0x5A);
    std::fs::write(&file, &bytes).unwrap();
    gateway.start();
    let told = |a: &Value| a["rule"] == "journal-salvaged" && a["text"].as_str().unwrap().contains("damaged-");
    until("the alert", || gateway.json(&["alerts"]).as_array().unwrap().iter().any(told)).await;
    let kept = std::fs::read_dir(gateway.path("state")).unwrap().map(|e| e.unwrap().path());
    let kept: Vec<_> = kept.filter(|p| p.to_str().unwrap().contains("damaged-")).collect();
    assert!(kept.iter().any(|p| std::fs::read(p).unwrap() == bytes), "the damaged file is kept as it was: {kept:?}");
    assert!(gateway.log().contains("WL-J014"), "{}", gateway.log());
}

/// A start that is refused after the journal was opened ends the process while the journal's thread closes the file. Before that
/// thread was waited for, one in forty ended by a signal: libcrypto was taking itself apart.
#[test]
fn a_start_that_is_refused_late_ends_in_order() {
    let gateway = Gateway::new(&format!("{QUIET}[heartbeat]\nurl = \"https://localhost:1/\"\nca_file = \"PEM\"\n"));
    let pem = gateway.path("none.pem");
    std::fs::write(&pem, "no certificate").unwrap();
    gateway.reword(|text| text.replace("PEM", pem.to_str().unwrap()));
    for n in 0..60 {
        let config = gateway.path("wardline.toml");
        let ended = Command::new(&gateway.binary).args(["run", "--config"]).arg(config).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "start {n}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// A request to the local page: status and body.
fn page(address: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(stream, "{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn a_link_from_the_box_lets_a_technician_add_a_device_at_the_page() {
    let patient = "[[patient]]\nreference = \"Patient/p1\"\n";
    let mut gateway = Gateway::new(&format!("{QUIET}[page]\nlisten = \"127.0.0.1:0\"\n{patient}"));
    gateway.start();
    let (said, _, code) = gateway.cli(&["devices", "page"]);
    assert_eq!(code, Some(0), "{said}");
    let link = said.lines().find(|line| line.starts_with("http://127.0.0.1:")).unwrap();
    let (address, key) = link["http://".len()..].split_once("/devices#key=").unwrap();
    let post = |path: &str, more: &str, body: &str| {
        let head = format!("POST /api/v1/{path} HTTP/1.1\r\nX-Wardline: page\r\nContent-Type: application/json{more}");
        page(address, &head, body)
    };
    let device = r#"{"id":"ble:C0:26:DF:00:33:44","patient":"Patient/p1"}"#;
    assert_eq!(post("devices", "", device).0, 403);
    let (status, opened) = post("page/open", "", &format!("{{\"key\":\"{key}\"}}"));
    assert_eq!(status, 200, "{opened}");
    let opened: Value = serde_json::from_str(&opened).unwrap();
    let word = format!("\r\nX-Wardline-Technician: {}", opened["word"].as_str().unwrap());
    assert_eq!(post("devices", &word, device).0, 200);
    let (shown, ..) = gateway.cli(&["devices", "show", "ble:C0:26:DF:00:33:44"]);
    assert!(shown.contains("patient    Patient/p1"), "{shown}");
    let (listed, ..) = gateway.cli(&["devices", "list"]);
    assert!(listed.contains("ble:C0:26:DF:00:33:44"), "{listed}");
    let (_, why, code) = gateway.cli(&["devices", "show", "ble:C0:26:DF:00:33:45"]);
    assert!(code == Some(1) && why.contains("no such device"), "{why}");
    assert!(!gateway.log().contains(key) && !gateway.log().contains(opened["word"].as_str().unwrap()));
    gateway.stop();
}
