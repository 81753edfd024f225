//! Match fields through the built binary: a receiver of HL7 v2 that needs name, birth date, sex and its own identifier gets
//! them once a person gave them, nobody else ever does, and without them nothing is sent there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wardline::lab::endpoint::{Endpoint, Settings};

mod support;

use support::PATIENCE;
use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::Gateway;
use support::mllp::{Receiver, Reply, field};
use support::nats::{Bus, Console};

const FIELDS: &str = "fields = [\"device\", \"patient-identifier\", \"patient-name\", \"birth-date\", \"sex\"]\n\
                      match_authority = \"HOSPITAL^1.2.3^ISO\"\nalerts = true\n";
/// What a person gives of p0, and what of it nobody but the one receiver may have.
const PERSON: &str = "identifier = \"canary-4711\"\nfamily = \"Łoś^Canarias\"\ngiven = \"Rosalínd\"\n\
                      birth-date = \"1948-11-23\"\nsex = \"F\"\n";
const SECRETS: [&str; 6] = ["canary-4711", "Canarias", "Łoś", "Rosalínd", "1948-11-23", "19481123"];

fn endpoint() -> Endpoint {
    Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap()
}

fn hl7(name: &str, port: u16, more: &str) -> String {
    format!(
        "[[destination]]\nkind = \"hl7\"\nname = \"{name}\"\nurl = \"mllp://127.0.0.1:{port}\"\n\
         assigning_authority = \"CLINIC\"\n{more}\n"
    )
}

fn settings(broker: &Broker, destinations: &str) -> String {
    let mut text = format!(
        "[journal]\nreserve_mib = 1\n[log]\nlevel = \"trace\"\n[page]\nlisten = \"127.0.0.1:0\"\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n{destinations}",
        broker.port
    );
    for p in 0..2 {
        text.push_str(&format!("[[patient]]\nreference = \"Patient/p{p}\"\n"));
        text.push_str(&format!("[[device]]\nid = \"mqtt:watch-{p}\"\npatient = \"Patient/p{p}\"\n"));
    }
    text
}

async fn publish(device: &Device, watch: u8, what: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let payload = format!("{{\"id\":{n},\"time\":\"{}T10:00:{:02}Z\",{what}}}", support::day(), n % 60);
        device.publish(&format!("vitals/watch-{watch}"), [payload]).await;
    }
}

async fn until(what: &str, gateway: &Gateway, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "{what} did not happen\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Messages about a patient.
fn of(receiver: &Receiver, patient: &str) -> Vec<String> {
    let theirs = |m: &String| field(m, "PID", 3).contains(&format!("{patient}^^^CLINIC"));
    receiver.messages().into_iter().filter(theirs).collect()
}

/// What waits for match fields at the laboratory: patient, readings, alert events.
fn waits(gateway: &Gateway) -> Vec<(String, u64, u64)> {
    let outbox = gateway.json(&["outbox", "lab"]);
    let line = |w: &Value| {
        assert_eq!(w["category"], "match-fields", "{w}");
        (w["patient"].as_str().unwrap().to_owned(), w["readings"].as_u64().unwrap(), w["alerts"].as_u64().unwrap())
    };
    outbox[0]["withheld"].as_array().unwrap().iter().map(line).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// A page that the box serves, in whole.
fn page(gateway: &Gateway, path: &str) -> String {
    use std::io::{Read, Write};
    let (said, _, _) = gateway.cli(&["devices", "page"]);
    let link = said.lines().find_map(|line| line.strip_prefix("http://")).unwrap();
    let address = link.split('/').next().unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    answer
}

/// Everything that the box keeps and says holds nothing of the person; `said` are answers of before.
fn tells_nothing(gateway: &Gateway, said: &[String]) {
    let mut texts: Vec<(String, Vec<u8>)> = vec![("the log".into(), gateway.log().into_bytes())];
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = support::gateway::http_over_unix(&gateway.path("status.sock"), path).unwrap();
        texts.push((path.into(), answer.into_bytes()));
    }
    texts.push(("the page".into(), page(gateway, "/").into_bytes()));
    for words in [
        &["status"][..],
        &["readings", "--json"],
        &["alerts", "--json"],
        &["outbox"],
        &["inbox"],
        &["patient", "list"],
        &["patient", "identified", "--json"],
        &["devices"],
        &["consent", "list", "--history"],
        &["custody"],
    ] {
        let (out, err, code) = gateway.cli(words);
        assert!(code != Some(2) && !out.is_empty(), "{words:?}: {err}");
        texts.push((words.join(" "), [out, err].concat().into_bytes()));
    }
    let export = gateway.path("files").join("export.csv");
    let _ = std::fs::remove_file(&export);
    let (_, err, code) = gateway.cli(&["export", "--since", "2020-01-01T00:00:00Z", "--to", export.to_str().unwrap()]);
    assert!(code == Some(0) && export.exists(), "{err}");
    let key = gateway.json(&["readings"])[0]["reading"]["key"].as_str().unwrap().to_owned();
    let (explained, _, code) = gateway.cli(&["explain", &key]);
    assert_eq!(code, Some(0));
    texts.push(("explain".into(), explained.into_bytes()));
    let mut all = Vec::new();
    for folder in ["state", "files"] {
        files(&gateway.path(folder), &mut all);
    }
    assert!(all.iter().any(|f| f.ends_with("journal.sqlite3")));
    texts.extend(all.iter().map(|f| (f.display().to_string(), std::fs::read(f).unwrap())));
    texts.extend(said.iter().map(|s| ("an answer".into(), s.clone().into_bytes())));
    for (name, text) in &texts {
        for secret in SECRETS {
            assert!(!text.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} is in {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_matched_by_name_is_named_to_that_receiver_and_to_nobody_else() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let (lab, plain) = (Receiver::start(|_, _| Reply::Ack("AA")).await, Receiver::start(|_, _| Reply::Ack("AA")).await);
    let centre = endpoint();
    let Some(bus) = Bus::start("") else { return };
    let mut console = Console::connect(bus.port).await;
    console.stream("WARDLINE", &["wardline.>"], Value::Null).await;
    let mut gateway = Gateway::new(&settings(&broker, ""));
    let folder = gateway.path("files");
    gateway.reword(|text| {
        let others = format!(
            "{}{}[[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{}\"\nidempotency = \"update\"\n\
             [[destination]]\nkind = \"ndjson\"\nname = \"files\"\nfolder = \"{}\"\n\
             [[destination]]\nkind = \"nats\"\nname = \"bus\"\nservers = [\"{}\"]\nstream = \"WARDLINE\"\n[[patient]]",
            hl7("lab", lab.port, FIELDS),
            hl7("plain", plain.port, ""),
            centre.url(),
            folder.display(),
            bus.url()
        );
        text.replacen("[[patient]]", &others, 1)
    });
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0, "\"heart_rate\":72", 0..3).await;
    publish(&device, 1, "\"heart_rate\":73", 0..2).await;
    publish(&device, 0, "\"spo2\":81", 10..11).await;
    // Where the pseudonym is enough everything goes; where it is not, nothing, and everybody sees why.
    until("the others", &gateway, || plain.messages().len() == 6 && centre.counts().observations == 6).await;
    let all = [("Patient/p0".into(), 4, 1), ("Patient/p1".into(), 2, 0)];
    until("waiting", &gateway, || waits(&gateway) == all).await;
    // The people of the receiver hear that something is kept from them, and nothing of anybody.
    until("the notice", &gateway, || lab.messages().iter().any(|m| m.contains("match fields are lacking"))).await;
    assert!(lab.messages().iter().all(|m| !m.contains("PID") && !m.contains("p0")), "{:?}", lab.messages());
    let shown = gateway.cli(&["outbox"]).0;
    assert!(
        shown.contains("4 readings and 1 alert event wait for the match fields of Patient/p0 at destination lab"),
        "{shown}"
    );
    assert_eq!(gateway.json_of(&["patient", "identified"], 1).as_array().unwrap().len(), 2, "of the laboratory only");
    let shown = gateway.cli(&["patient", "identified"]).0;
    assert!(
        shown.contains("Patient/p1 at lab lacks patient-identifier, patient-name, birth-date, sex (WL-H005)"),
        "{shown}"
    );

    let identify = |who: &str, to: &str, text: &str| {
        gateway.cli_told(&["patient", "identify", who, "--to", to, "--by", "Ada"], text)
    };
    let mut said = Vec::new();
    for (who, to, text, why) in [
        ("Patient/p0", "plain", PERSON, "WL-O051"),
        ("Patient/p0", "centre", PERSON, "WL-O051"),
        ("Patient/p0", "nowhere", PERSON, "WL-O004"),
        ("Patient/px", "lab", PERSON, "not one of this box"),
        ("Patient/p0", "lab", &PERSON.replace("sex = \"F\"\n", ""), "asks for `sex`"),
        ("Patient/p0", "lab", &PERSON.replace("\"F\"", "\"Rosalínd\""), "the sex is one of"),
        ("Patient/p0", "lab", &PERSON.replace("1948-11-23", "1948-11-23 Canarias"), "match fields are TOML"),
        ("Patient/p0", "lab", &PERSON.replace("1948", "2948"), "in the future"),
        ("Patient/p0", "lab", &PERSON.replace("Rosalínd", &"Rosalínd".repeat(4)), "at most 30"),
    ] {
        let (out, err, code) = identify(who, to, text);
        assert!(code == Some(1) && err.contains(why), "{why}: {err}{out}");
        said.push(out + &err);
    }
    assert!(lab.messages().iter().all(|m| !m.contains("PID")), "nothing went on a guess");
    let (out, err, code) = identify("Patient/p0", "lab", PERSON);
    assert_eq!(code, Some(0), "{err}");
    said.push(out + &err);
    // At once, oldest first, with the alert.
    until("what waited of them", &gateway, || of(&lab, "p0").len() >= 5).await;
    for message in of(&lab, "p0") {
        let parts = [3, 5, 7, 8].map(|n| field(&message, "PID", n));
        let expected =
            ["canary-4711^^^HOSPITAL&1.2.3&ISO^MR~p0^^^CLINIC^PI", "Łoś\\S\\Canarias^Rosalínd^^^^^L", "19481123", "F"];
        assert_eq!(parts, expected, "{message}");
        assert_eq!(field(&message, "MSH", 18), "UNICODE UTF-8");
    }
    assert_eq!(of(&lab, "p1").len(), 0, "of the other there is nothing");
    assert_eq!(waits(&gateway), [("Patient/p1".into(), 2, 0)]);
    // From a file that nobody else can read; one that others can is refused.
    let file = gateway.path("p1.toml");
    std::fs::write(&file, PERSON.replace("canary-4711", "4712").replace("Canarias", "Kanaren")).unwrap();
    let path = file.to_str().unwrap();
    let words = ["patient", "identify", "Patient/p1", "--to", "lab", "--by", "Ada", "--file", path];
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(gateway.cli(&words).1.contains("WL-O052"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (_, err, code) = gateway.cli(&words);
    assert_eq!(code, Some(0), "{err}");
    std::fs::remove_file(&file).unwrap();
    until("the other's", &gateway, || of(&lab, "p1").len() >= 2).await;
    assert!(of(&lab, "p1").iter().all(|m| m.contains("Kanaren") && !m.contains("Canarias")), "each in their own name");

    // After a kill as well.
    gateway.kill();
    gateway.start();
    publish(&device, 0, "\"heart_rate\":74", 20..21).await;
    until("after the kill", &gateway, || of(&lab, "p0").iter().any(|m| m.contains("|74|"))).await;
    let listed = gateway.json(&["patient", "identified"]);
    assert_eq!(listed[0]["given"], json!(["patient-identifier", "patient-name", "birth-date", "sex"]), "{listed}");
    assert_eq!(listed[0]["by"], "Ada");
    tells_nothing(&gateway, &said);

    // Taken back: from the answer on nobody is named, and what comes waits.
    let (out, err, code) = gateway.cli(&["patient", "forget", "Patient/p0", "--everywhere", "--by", "Ada"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("are gone"), "{out}");
    let there = lab.messages().len();
    publish(&device, 0, "\"heart_rate\":75", 30..32).await;
    publish(&device, 1, "\"heart_rate\":76", 30..31).await;
    until("the other's", &gateway, || of(&lab, "p1").iter().any(|m| m.contains("|76|"))).await;
    assert_eq!(waits(&gateway), [("Patient/p0".into(), 2, 0)]);
    assert!(lab.messages()[there..].iter().all(|m| !m.contains("Canarias") && !m.contains("|75|")));
    assert_eq!(gateway.json_of(&["patient", "identified"], 1)[0]["given"], json!([]));
    assert_eq!(gateway.cli(&["patient", "forget", "Patient/p0", "--to", "lab", "--by", "Ada"]).2, Some(1), "not twice");
    tells_nothing(&gateway, &said);
    // Nobody else ever had it.
    let mut others: Vec<String> = plain.messages();
    for kind in ["Observation", "DetectedIssue", "Task", "Provenance", "Device"] {
        others.extend(centre.bodies(kind).iter().map(|b| b.to_string()));
    }
    for seq in 1..=console.messages("WARDLINE").await {
        let (subject, headers, body) = console.message("WARDLINE", seq).await;
        others.push(format!("{subject}{headers}{}", String::from_utf8(body).unwrap()));
    }
    assert!(others.len() > 30, "{}", others.len());
    for other in &others {
        assert!(SECRETS.iter().all(|s| !other.contains(s)) && !other.contains("Kanaren"), "{other}");
    }
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A reading in the wrong chart is taken back in the name under which it went.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_names_who_had_it_and_waits_where_nobody_can_be_named() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let lab = Receiver::start(|_, _| Reply::Ack("AA")).await;
    let mut gateway = Gateway::new(&settings(&broker, &hl7("lab", lab.port, FIELDS)));
    gateway.start();
    let identify =
        |text: &str| gateway.cli_told(&["patient", "identify", "Patient/p0", "--to", "lab", "--by", "Ada"], text).2;
    assert_eq!(identify(PERSON), Some(0));
    let device = Device::connect(broker.device_port);
    publish(&device, 0, "\"heart_rate\":72", 0..1).await;
    until("delivery", &gateway, || of(&lab, "p0").len() == 1).await;
    assert_eq!(gateway.cli(&["patient", "forget", "Patient/p0", "--to", "lab", "--by", "Ada"]).2, Some(0));
    let correct = ["correct", "--device", "mqtt:watch-0", "--void", "--by", "Ada", "--reason", "a visitor"];
    let (_, err, code) = gateway.cli(&correct);
    assert_eq!(code, Some(0), "{err}");
    until("waiting", &gateway, || waits(&gateway) == [("Patient/p0".into(), 1, 0)]).await;
    assert_eq!(of(&lab, "p0").len(), 1);
    assert_eq!(identify(PERSON), Some(0));
    until("the withdrawal", &gateway, || of(&lab, "p0").len() == 2).await;
    let both = of(&lab, "p0");
    assert_eq!(field(&both[0], "OBR", 3), field(&both[1], "OBR", 3));
    assert!(both[1].contains("Canarias") && both[1].contains("|W|"), "{}", both[1]);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A copy from before somebody was forgotten does not bring them back.
#[test]
fn a_restored_backup_names_nobody() {
    let patient = "[[patient]]\nreference = \"Patient/p0\"\n";
    let mut gateway = Gateway::new(&format!("[journal]\nreserve_mib = 1\n{}{patient}", hl7("lab", 1, FIELDS)));
    gateway.start();
    let words = ["patient", "identify", "Patient/p0", "--to", "lab", "--by", "Ada"];
    assert_eq!(gateway.cli_told(&words, PERSON).2, Some(0));
    let copy = gateway.path("copy.sqlite3");
    let copy = copy.to_str().unwrap();
    assert_eq!(gateway.cli(&["backup", copy]).2, Some(0));
    let octets = std::fs::read(copy).unwrap();
    assert!(SECRETS.iter().all(|s| !octets.windows(s.len()).any(|w| w == s.as_bytes())), "a copy is encrypted as well");
    assert_eq!(gateway.cli(&["patient", "forget", "Patient/p0", "--to", "lab", "--by", "Ada"]).2, Some(0));
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(gateway.cli(&["restore", copy, "--replace"]).2, Some(0));
    gateway.start();
    assert_eq!(gateway.json_of(&["patient", "identified"], 1)[0]["given"], json!([]));
    assert_eq!(gateway.stop(), Some(0));
}

/// Where they cannot be held or sent as they must, the gateway does not start.
#[test]
fn settings_that_would_show_them_are_refused() {
    let files = "[[destination]]\nkind = \"ndjson\"\nname = \"files\"\nfolder = \"/tmp\"\nfields = [\"sex\"]\n";
    for (destination, unencrypted, code) in [
        (hl7("lab", 1, FIELDS), false, None),
        (hl7("lab", 1, FIELDS), true, Some("WL-C033")),
        (files.to_owned(), false, Some("WL-C032")),
        (hl7("lab", 1, &FIELDS.replace("match_authority", "facility")), false, Some("WL-C0")),
        (hl7("lab", 1, "fields = [\"patient-identifier\"]"), false, Some("WL-C013")),
        (hl7("lab", 1, "match_authority = \"HOSPITAL\""), false, Some("WL-C013")),
        (hl7("lab", 1, &FIELDS.replace("HOSPITAL^1.2.3^ISO", "CLINIC")), false, Some("WL-C013")),
    ] {
        let gateway = Gateway::new(&destination);
        if unencrypted {
            gateway.reword(|text| {
                let lines = text.lines().map(|l| if l.starts_with("key_file") { "unencrypted = true" } else { l });
                lines.map(|l| format!("{l}\n")).collect()
            });
        }
        let (out, err, exit) = gateway.cli(&["check"]);
        match code {
            None => assert_eq!(exit, Some(0), "{out}{err}"),
            Some(code) => assert!(exit == Some(2) && (out + &err).contains(code), "{code} of {destination}"),
        }
    }
}
