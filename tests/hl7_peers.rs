//! HL7 v2 through the built binary: devices → mosquitto → `wardline run` → receivers that others wrote.
//! What was published is held against what each receiver's own parser makes of what it got.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod support;

#[path = "hl7/backlog.rs"]
mod backlog;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;
use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::Gateway;
use support::hl7_peer::{Kind, Peer, validate};
use support::mllp::{Receiver, Reply, field};
use support::{PATIENCE, certificates};

const PATIENTS: u64 = 4;

/// Where readings come from; `destinations` are added.
fn settings(broker: &Broker, destinations: &str) -> String {
    let mut text = format!(
        "[journal]\nreserve_mib = 1\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n{destinations}",
        broker.port
    );
    for p in 0..PATIENTS {
        write!(text, "[[patient]]\nreference = \"Patient/p{p}\"\n").unwrap();
        write!(text, "[[device]]\nid = \"mqtt:watch-{p}\"\npatient = \"Patient/p{p}\"\n").unwrap();
    }
    text
}

fn destination(name: &str, scheme: &str, host: &str, port: u16, more: &str) -> String {
    format!(
        "[[destination]]\nkind = \"hl7\"\nname = \"{name}\"\nurl = \"{scheme}://{host}:{port}\"\n\
         assigning_authority = \"CLINIC^1.2.3^ISO\"\n{more}\n"
    )
}

/// One published number: patient, MDC code, value, MDC unit, time.
type Fact = (String, String, String, String, String);

/// Message `n` of the day, and the numbers in it.
fn message(n: u64) -> (String, String, Vec<Fact>) {
    let (patient, minute, second) = (n % PATIENTS, n / 60 % 60, n % 60);
    let time = format!("{}T{:02}:{minute:02}:{second:02}Z", support::day(), n / 3_600 % 24);
    let numbers: Vec<(&str, String, &str, String)> = match n % 5 {
        0 => vec![("147842", format!("{}", 60 + n % 40), "264864", format!("\"heart_rate\":{}", 60 + n % 40))],
        1 => vec![("150456", format!("{}", 90 + n % 10), "262688", format!("\"spo2\":{}", 90 + n % 10))],
        2 => vec![
            ("150021", format!("{}", 110 + n % 60), "266016", format!("\"systolic\":{}", 110 + n % 60)),
            ("150022", format!("{}", 60 + n % 30), "266016", format!("\"diastolic\":{}", 60 + n % 30)),
        ],
        3 => vec![(
            "150364",
            format!("36.{}0", n % 10),
            "268192",
            format!("\"temperature\":36.{}0,\"temperature_unit\":\"Cel\"", n % 10),
        )],
        _ => vec![(
            "188736",
            format!("8{}.50", n % 10),
            "263875",
            format!("\"weight\":8{}.50,\"weight_unit\":\"kg\"", n % 10),
        )],
    };
    let stamp = format!("{}{:02}{minute:02}{second:02}+0000", support::day().replace('-', ""), n / 3_600 % 24);
    let fact = |(code, value, unit, _): &(&str, String, &str, String)| {
        (format!("p{patient}"), (*code).into(), value.clone(), (*unit).into(), stamp.clone())
    };
    let facts = numbers.iter().map(fact).collect();
    let fields: Vec<&str> = numbers.iter().map(|(_, _, _, json)| json.as_str()).collect();
    (format!("vitals/watch-{patient}"), format!("{{\"id\":{n},\"time\":\"{time}\",{}}}", fields.join(",")), facts)
}

async fn publish(device: &Device, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let (topic, payload, _) = message(n);
        device.publish(&topic, [payload]).await;
    }
}

fn published(numbers: std::ops::Range<u64>) -> BTreeSet<Fact> {
    numbers.flat_map(|n| message(n).2).collect()
}

/// The numbers that a receiver got, and how many messages had the control id or the order number of one before them.
fn received(got: &[Value]) -> (BTreeSet<Fact>, usize) {
    let word = |v: &Value| v.as_str().unwrap().to_owned();
    let (mut facts, mut ids, mut orders, mut again) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new(), 0);
    for message in got {
        assert!(message["fault"].is_null(), "{message}");
        let first = ids.entry(word(&message["id"])).or_insert_with(|| message.clone());
        again += usize::from(first != message || got.iter().filter(|m| m["id"] == message["id"]).count() > 1);
        assert_eq!(first["rows"], message["rows"], "what has one control id is one message");
        for row in message["rows"].as_array().unwrap() {
            let id = orders.entry(word(&row["order"])).or_insert_with(|| word(&message["id"]));
            assert_eq!(*id, word(&message["id"]), "an order comes again in the same message only");
            facts.insert((
                word(&message["patient"]),
                word(&row["code"]),
                word(&row["value"]),
                word(&row["unit"]),
                word(&row["time"]),
            ));
        }
    }
    (facts, again)
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn waiting(gateway: &Gateway) -> u64 {
    gateway.json(&["outbox"]).as_array().unwrap().iter().map(|d| d["waiting"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_receivers_hold_the_same_numbers_of_the_same_patients() {
    let folder = tempfile::tempdir().unwrap();
    certificates::write(folder.path());
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let kinds = [Kind::Hl7, Kind::Hl7Tls, Kind::Strict, Kind::Node];
    let started: Option<Vec<Peer>> = kinds.iter().map(|kind| Peer::start(*kind, folder.path())).collect();
    let Some(mut peers) = started else { return };
    let at = folder.path().display();
    let tls = format!(
        "ca_file = \"{at}/ca.pem\"\nclient_certificate_file = \"{at}/client.pem\"\nclient_key_file = \"{at}/client.key\""
    );
    let destinations: String = [
        destination("plain", "mllp", "127.0.0.1", peers[0].port, ""),
        destination("tls", "mllps", "localhost", peers[1].port, &tls),
        destination("strict", "mllp", "127.0.0.1", peers[2].port, "readings_per_message = 5"),
        destination("node", "mllp", "127.0.0.1", peers[3].port, "result_status = \"F\"\nkeep_connection = false"),
    ]
    .concat();
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..100).await;
    // One of them is away for a while, and a part of the history comes again meanwhile.
    until("delivery of a part", || peers[1].got().len() > 20).await;
    peers[1].kill();
    publish(&device, 100..150).await;
    publish(&device, 50..100).await;
    peers[1].revive();
    publish(&device, 150..200).await;
    until("delivery of everything", || {
        peers.iter().all(|p| received(&p.got()).0.len() >= published(0..200).len()) && waiting(&gateway) == 0
    })
    .await;
    let expected = published(0..200);
    assert_eq!(expected.len(), 240);
    for (peer, kind) in peers.iter().zip(kinds) {
        let (facts, again) = received(&peer.got());
        assert!(facts == expected, "{kind:?}: {:?}", facts.symmetric_difference(&expected).take(5).collect::<Vec<_>>());
        // Only what was under way when it was killed may have come twice, under one control id.
        assert!(again <= if kind == Kind::Hl7Tls { 2 } else { 0 }, "{kind:?}: {again} came again");
    }
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A receiver that stores and loses its answers: each message comes again, always as the same one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_after_receipt_lead_to_the_same_messages_again() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let receiver = Receiver::start(|_, n| if n % 3 == 0 { Reply::Close } else { Reply::Ack("AA") }).await;
    let mut gateway = Gateway::new(&settings(&broker, &destination("lab", "mllp", "127.0.0.1", receiver.port, "")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..20).await;
    until("everything", || waiting(&gateway) == 0 && gateway.json(&["outbox"])[0]["delivered"] == 20).await;
    let mut ids = receiver.ids();
    assert!(ids.len() > 20, "some came again");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "and each of them as what it was");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// Killed and started again in mid-flow: what comes again has its control id, and nothing is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_mid_flow_lose_nothing_and_change_no_message() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let slow = |_: &str, _| Reply::After(std::time::Duration::from_millis(5), Box::new(Reply::Ack("AA")));
    let receiver = Receiver::start(slow).await;
    let mut gateway = Gateway::new(&settings(&broker, &destination("lab", "mllp", "127.0.0.1", receiver.port, "")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    for round in 0..5u64 {
        publish(&device, round * 40..(round + 1) * 40).await;
        until("a part", || receiver.messages().len() as u64 > round * 40 + 10).await;
        gateway.kill();
        gateway.start();
    }
    until("everything", || waiting(&gateway) == 0).await;
    let mut ids = receiver.ids();
    let sent = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 200);
    // Of each kill, what was not recorded yet: the batch under way and the one before it.
    assert!(sent <= 200 + 5 * 20, "{sent} messages for 200 readings");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// What the receiver refuses goes to the inbox with its code, and out again under its control id when it was put right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_waits_in_the_inbox_and_goes_out_as_what_it_was() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let wrong = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let still = wrong.clone();
    let reply =
        move |message: &str, _| match message.contains("|p1^") && still.load(std::sync::atomic::Ordering::SeqCst) {
            true => Reply::Err("AE", "ERR||PID^1^3|204|E\r"),
            false => Reply::Ack("AA"),
        };
    let receiver = Receiver::start(reply).await;
    let mut gateway = Gateway::new(&settings(&broker, &destination("lab", "mllp", "127.0.0.1", receiver.port, "")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..20).await;
    until("all answers", || gateway.json(&["outbox"])[0]["rejected"] == 5 && waiting(&gateway) == 0).await;
    let before: BTreeSet<_> = receiver.ids().into_iter().collect();
    let (inbox, _, _) = gateway.cli(&["inbox"]);
    assert!(inbox.contains("WL-H001"), "{inbox}");
    assert!(!gateway.log().contains("p1"), "no patient in the log: {}", gateway.log());
    wrong.store(false, std::sync::atomic::Ordering::SeqCst);
    let groups = gateway.json(&["inbox"]);
    let group = groups.as_array().or(groups["groups"].as_array()).unwrap()[0]["id"].to_string();
    let (out, err, code) = gateway.cli(&["inbox", "replay", group.trim_matches('"'), "--by", "T. Tech"]);
    assert_eq!(code, Some(0), "{out}{err}");
    until("the rest", || gateway.json(&["outbox"])[0]["delivered"] == 20).await;
    assert_eq!(receiver.ids().into_iter().collect::<BTreeSet<_>>(), before);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[test]
fn every_golden_message_of_readings_is_valid_by_the_strict_tables() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hl7");
    let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
    let all = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    // The tables have no structure of alarms (ORU_R40).
    let files: Vec<PathBuf> = all.filter(|p| !name(p).starts_with("alert-")).collect();
    assert!(files.len() > 35, "one for each vital");
    let broken = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    // The test of the test: it must see what is missing.
    for (n, (from, to)) in [("|X||", "||||"), ("OBR|", "ZBR|"), ("8f2c^^^", "^^^")].iter().enumerate() {
        let text = std::fs::read_to_string(folder.join("spo2.hl7")).unwrap();
        let file = broken.path().join(format!("{n}.hl7"));
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        expected.push(file);
    }
    let Some(found) = validate(&[files.clone(), expected.clone()].concat()) else { return };
    let wrong: Vec<&Value> = found.iter().filter(|f| !f["fault"].is_null()).collect();
    assert_eq!(wrong.iter().map(|f| f["file"].as_str().unwrap()).collect::<Vec<_>>().len(), 3, "{wrong:?}");
    assert!(found[files.len()..].iter().all(|f| !f["fault"].is_null()), "{wrong:?}");
}

/// Readings in the wrong chart: each is withdrawn under its order number, and stands in the right chart under one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_withdraws_the_order_and_sends_another_for_the_right_patient() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let receiver = Receiver::start(|_, _| Reply::Ack("AA")).await;
    let mut gateway = Gateway::new(&settings(&broker, &destination("lab", "mllp", "127.0.0.1", receiver.port, "")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..8).await;
    until("delivery", || receiver.messages().len() == 8 && waiting(&gateway) == 0).await;
    let since = format!("{}T00:00:04Z", support::day());
    let correct = ["correct", "--device", "mqtt:watch-0", "--to", "Patient/p1", "--since", &since];
    let done = gateway.json(&[&correct[..], &["--by", "Ada", "--reason", "the other watch"]].concat());
    assert_eq!(done["corrected"].as_array().unwrap().len(), 1, "{done}");
    until("the correction", || receiver.messages().len() == 10 && waiting(&gateway) == 0).await;
    let messages = receiver.messages();
    let day = support::day().replace('-', "");
    let about = |wanted: &str, status: &str| -> Vec<(String, String)> {
        let words = [format!("|||{wanted}^^^CLINIC"), format!("|||||{status}|||{day}")];
        let has = |m: &&String| words.iter().all(|word| m.contains(word));
        messages.iter().filter(has).map(|m| (field(m, "OBR", 3), field(m, "MSH", 10))).collect()
    };
    let (withdrawn, wrong, right) = (about("p0", "W"), about("p0", "R"), about("p1", "R"));
    assert_eq!((withdrawn.len(), wrong.len(), right.len()), (1, 2, 3), "{messages:?}");
    assert!(wrong.iter().any(|(order, id)| *order == withdrawn[0].0 && *id != withdrawn[0].1), "its own order number");
    assert!(right.iter().all(|(order, _)| *order != withdrawn[0].0));
    assert!(!messages.iter().any(|m| m.contains("Ada") || m.contains("the other watch")), "the reason stays here");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A device whose name has delimiters and letters beyond ASCII: what others' parsers read back is its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_with_delimiters_and_umlauts_is_read_back_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let kinds = [Kind::Hl7, Kind::Strict];
    let started: Option<Vec<Peer>> = kinds.iter().map(|kind| Peer::start(*kind, folder.path())).collect();
    let Some(peers) = started else { return };
    let name = "uhr|größe^1&2~3";
    let destinations = destination("plain", "mllp", "127.0.0.1", peers[0].port, "")
        + &destination("strict", "mllp", "127.0.0.1", peers[1].port, "")
        + &format!("[[device]]\nid = \"mqtt:{name}\"\npatient = \"Patient/p1\"\n");
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let payload = format!("{{\"id\":1,\"time\":\"{}T10:00:00Z\",\"spo2\":97}}", support::day());
    device.publish(&format!("vitals/{name}"), [payload]).await;
    until("delivery", || peers.iter().all(|p| p.got().len() == 1)).await;
    for (peer, kind) in peers.iter().zip(kinds) {
        let message = peer.got().remove(0);
        assert!(message["fault"].is_null(), "{kind:?}: {message}");
        assert_eq!(message["rows"][0]["device"], format!("mqtt:{name}"), "{kind:?}");
    }
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// What a person gave of a patient, delimiters and letters beyond ASCII among it, is what others' parsers read back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn match_fields_are_read_back_as_they_were_given() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let kinds = [Kind::Hl7, Kind::Strict];
    let started: Option<Vec<Peer>> = kinds.iter().map(|kind| Peer::start(*kind, folder.path())).collect();
    let Some(peers) = started else { return };
    let fields =
        "fields = [\"patient-identifier\", \"patient-name\", \"birth-date\", \"sex\"]\nmatch_authority = \"HOSPITAL\"";
    let names = ["plain", "strict"];
    let destinations: String = names
        .iter()
        .zip(&peers)
        .map(|(name, peer)| destination(name, "mllp", "127.0.0.1", peer.port, fields))
        .collect();
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    gateway.start();
    for name in names {
        let words = ["patient", "identify", "Patient/p1", "--to", name, "--by", "Ada"];
        let person = "identifier = '47|11'\nfamily = \"O'Neill^Ørsted & ~Søn\"\ngiven = 'Zoë\\五'\n\
                      birth-date = '1950-03-07'\nsex = 'F'\n";
        let (_, err, code) = gateway.cli_told(&words, person);
        assert_eq!(code, Some(0), "{err}");
    }
    let device = Device::connect(broker.device_port);
    let (topic, payload, _) = message(1);
    device.publish(&topic, [payload]).await;
    until("delivery", || peers.iter().all(|p| p.got().len() == 1)).await;
    for (peer, kind) in peers.iter().zip(kinds) {
        let message = peer.got().remove(0);
        assert!(message["fault"].is_null(), "{kind:?}: {message}");
        let expected = serde_json::json!({
            "identifiers": [["47|11", "HOSPITAL", "MR"], ["p1", "CLINIC", "PI"]],
            "name": ["O'Neill^Ørsted & ~Søn", "Zoë\\五", "", "", "", "", "L"],
            "born": "19500307",
            "sex": "F",
        });
        assert_eq!(message["person"], expected, "{kind:?}");
    }
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// Receivers that do not take UTF-8: one that wants 8859/1 reads the octets, one of seven bits the escapes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_read_back_in_the_receivers_own_character_set() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let kinds = [Kind::Latin, Kind::Hl7];
    let started: Option<Vec<Peer>> = kinds.iter().map(|kind| Peer::start(*kind, folder.path())).collect();
    let Some(peers) = started else { return };
    let (names, sets) = (["latin", "seven"], ["8859/1", "ascii"]);
    let to = |n: usize| {
        let more = format!("fields = [\"device\", \"patient-name\"]\ncharset = \"{}\"\nbatch = 10", sets[n]);
        destination(names[n], "mllp", "127.0.0.1", peers[n].port, &more)
    };
    let device = "[[device]]\nid = \"mqtt:uhr-größe\"\npatient = \"Patient/p1\"\n";
    let mut gateway = Gateway::new(&settings(&broker, &(to(0) + &to(1) + device)));
    gateway.start();
    let link = Device::connect(broker.device_port);
    let payload = |n: u32| format!("{{\"id\":{n},\"time\":\"{}T10:00:0{n}Z\",\"spo2\":97}}", support::day());
    // Two wait until the name is there: a backlog.
    link.publish("vitals/uhr-größe", [payload(1), payload(2)]).await;
    until("readings that wait", || waiting(&gateway) == 4).await;
    for name in names {
        let words = ["patient", "identify", "Patient/p1", "--to", name, "--by", "Ada"];
        let (_, err, code) = gateway.cli_told(&words, "family = \"Ørsted & Sønner\"\ngiven = \"Zoë\"\n");
        assert_eq!(code, Some(0), "{err}");
    }
    until("delivery", || peers.iter().all(|p| p.got().len() == 2)).await;
    for (peer, kind) in peers.iter().zip(kinds) {
        for message in peer.got() {
            assert_eq!(
                message["person"]["name"],
                serde_json::json!(["Ørsted & Sønner", "Zoë", "", "", "", "", "L"]),
                "{kind:?}"
            );
            assert_eq!(message["rows"][0]["device"], "mqtt:uhr-größe", "{kind:?}");
        }
    }
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A receiver whose database is away says AR to everything: nothing is given up, and all is there when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_refuses_everything_for_a_while_gets_everything_afterwards() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let receiver = Receiver::start(|_, n| Reply::Ack(if n < 8 { "AR" } else { "AA" })).await;
    let mut gateway = Gateway::new(&settings(&broker, &destination("lab", "mllp", "127.0.0.1", receiver.port, "")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..20).await;
    until("its refusals", || receiver.messages().len() > 4).await;
    let status = gateway.json(&["status"]).to_string();
    assert!(status.contains("WL-H002"), "{status}");
    until("everything", || gateway.json(&["outbox"])[0]["delivered"] == 20).await;
    assert_eq!(gateway.json(&["outbox"])[0]["rejected"], 0);
    assert_eq!(receiver.ids().into_iter().collect::<BTreeSet<_>>().len(), 20);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// An alert as it is raised and as it is taken, over a connection that waits for no reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_is_told_when_it_is_raised_and_when_somebody_takes_it() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    // No reading is ever answered.
    let receiver = Receiver::start(|m, _| if m.contains("ORU^R40") { Reply::Ack("AA") } else { Reply::Silence }).await;
    let lab = destination("lab", "mllp", "127.0.0.1", receiver.port, "alerts = true");
    let mut gateway = Gateway::new(&settings(&broker, &lab));
    gateway.start();
    let device = Device::connect(broker.device_port);
    device.publish("vitals/watch-2", [r#"{"id":1,"spo2":70}"#, r#"{"id":2,"spo2":70}"#, r#"{"id":3,"spo2":70}"#]).await;
    let alerts = || -> Vec<String> {
        let of_p2 = |m: &String| m.contains("ORU^R40") && m.contains("|p2^^^CLINIC");
        receiver.messages().into_iter().filter(of_p2).collect()
    };
    until("the alert", || !alerts().is_empty()).await;
    let raised = alerts().remove(0);
    assert!(raised.contains("MDC_ATTR_EVENT_PHASE^MDC|1.0.0.1.3|start|") && raised.contains("~SP|"), "{raised}");
    assert!(raised.contains("150456^MDC_PULS_OXIM_SAT_O2^MDC") && raised.contains("|70|"), "its evidence: {raised}");
    let id = field(&raised, "OBR", 3).split('^').next().unwrap().to_owned();
    let (out, err, code) = gateway.cli(&["alerts", "ack", &id, "--by", "N. Nurse"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let taken = |m: &&String| m.contains(&id) && m.contains("|alert-acknowledged|");
    until("its acknowledgement", || alerts().iter().any(|m| taken(&m))).await;
    let taken = alerts().into_iter().find(|m| taken(&m)).unwrap();
    assert!(taken.contains("|update|") && !taken.contains("Nurse"), "{taken}");
    assert_ne!(field(&taken, "MSH", 10), field(&raised, "MSH", 10));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
