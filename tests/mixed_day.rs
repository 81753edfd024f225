//! One mixed day of 1,000 readings, delivered to five destinations that others read: what each of them holds is the same.
//!
//! Each side is read without our writer: FHIR by the servers' search, HL7 v2 by the receivers' own parsers, NDJSON by line.
//! `cargo test --test mixed_day -- --nocapture` prints the table. Must never: compare a destination with itself only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]
#![allow(clippy::print_stdout)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::broker::{Broker, Door};
use support::device::Device;
use support::fhir_server::{self, FhirServer};
use support::gateway::Gateway;
use support::hl7_peer::{self, Peer};
use wardline::vital::{Role, VITALS, VitalRow};

const READINGS: u64 = 1_000;
/// Two destinations are away for these.
const SECOND: std::ops::Range<u64> = 333..666;
/// A device's clock has fallen back to 2000 in these.
const RESET: std::ops::Range<u64> = 700..720;

/// One number that a destination holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Fact {
    withdrawn: bool,
    patient: String,
    code: String,
    value: String,
    unit: String,
    time: String,
}

/// The vitals that some code system names; the rest are printed.
fn travelling() -> Vec<&'static VitalRow> {
    let (coded, not): (Vec<_>, Vec<_>) = VITALS.iter().partition(|row| row.mdc.is_some() || !row.loinc.is_empty());
    for row in not {
        println!("left out: {}, which no code system names", row.id);
    }
    coded
}

fn role(role: Role) -> Option<&'static str> {
    match role {
        Role::Value => Some("value"),
        Role::Systolic => Some("systolic"),
        Role::Diastolic => Some("diastolic"),
        _ => None,
    }
}

fn path(row: &VitalRow, role: &str) -> String {
    format!("{}_{role}", row.id.replace('-', "_"))
}

fn profile(rows: &[&VitalRow]) -> String {
    let mut text = String::from(
        "id = \"site-day\"\ntitle = \"A day of the site\"\nmanufacturer = \"site\"\nmodels = [\"day\"]\n\
         confidence = \"A\"\nsources = [\"the site\"]\nlink = \"mqtt\"\n\
         [[decode]]\ntopic = \"site/{device}\"\nformat = \"json\"\nid = { path = \"n\", unique = true }\n\
         time = { path = \"t\", form = \"iso8601\" }\nslot = \"user\"\n",
    );
    for row in rows {
        write!(text, "[[decode.vital]]\nvital = \"{}\"\n", row.id).unwrap();
        for role in row.components.iter().filter_map(|c| role(c.role)) {
            writeln!(text, "{role} = {{ path = \"{}\", unit = \"{}\" }}", path(row, role), row.units[0]).unwrap();
        }
    }
    text + "[[example]]\nname = \"one\"\norigin = \"constructed\"\ndevice = \"mqtt:s1\"\n\
            frame = { topic = \"site/s1\", text = '{\"n\":1,\"t\":\"2026-11-22T10:00:00Z\",\"body_weight_value\":71.5}' }\n\
            readings = [{ vital = \"body-weight\", value = \"71.5\", unit = \"kg\", \
            time = \"2026-11-22T10:00:00Z\", sequence = 1 }]\n\
            [[example]]\nname = \"nothing\"\norigin = \"constructed\"\ndevice = \"mqtt:s1\"\n\
            frame = { topic = \"site/s1\", text = '{\"n\":1}' }\nreject = \"WL-D104\"\n"
}

/// Message `n` of the day: a device of each person, and one with a button for each.
fn message(n: u64, rows: &[&VitalRow]) -> (String, String) {
    let row = rows[(n / 4) as usize % rows.len()];
    let device = if RESET.contains(&n) { 1 } else { n % 4 };
    let (topic, user) = match device {
        0 => ("site/day-0", String::new()),
        1 => ("site/day-1", String::new()),
        slot => ("site/shared", format!("\"user\":{},", slot - 1)),
    };
    let day = if RESET.contains(&n) { "2000-01-01" } else { support::day() };
    let mut payload = format!("{{\"n\":{n},\"t\":\"{day}T{}Z\",{user}", clock(n));
    let numbers = row.components.iter().filter_map(|c| role(c.role)).enumerate().map(|(i, role)| {
        let whole = 90 - 20 * i as u64 + n % 17;
        let decimals = if row.decimals > 0 { format!(".{}", n % 10) } else { String::new() };
        format!("\"{}\":{whole}{decimals}", path(row, role))
    });
    payload += &numbers.collect::<Vec<_>>().join(",");
    (topic.into(), payload + "}")
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}

/// A number without zeros that say nothing about its size.
fn number(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text.into() }
}

/// Digits of an instant in UTC up to the second, whichever way it is written.
fn instant(text: &str) -> String {
    assert!(["Z", "+00:00", "+0000", "-00:00"].iter().any(|utc| text.ends_with(utc)) || text.is_empty(), "{text}");
    text.chars().filter(char::is_ascii_digit).take(14).collect()
}

fn code(concept: &Value) -> String {
    let codings = concept["coding"].as_array().cloned().unwrap_or_default();
    let of = |system: &str| codings.iter().find(|c| c["system"] == system).map(|c| text(&c["code"]));
    of("urn:iso:std:iso:11073:10101").or_else(|| of("http://loinc.org")).unwrap_or_default()
}

fn from_fhir(observations: &[Value]) -> Vec<Fact> {
    let mut facts = vec![];
    for o in observations {
        let period = &o["effectivePeriod"];
        let time = [&o["effectiveDateTime"], &period["end"], &period["start"]].into_iter().find(|v| v.is_string());
        let panel = o["component"].as_array().cloned().unwrap_or_default();
        for part in panel.iter().chain([o]).filter(|part| part["valueQuantity"].is_object()) {
            let quantity = &part["valueQuantity"];
            let subject = text(&o["subject"]["reference"]);
            facts.push(Fact {
                withdrawn: o["status"] == "entered-in-error",
                patient: subject.rsplit('/').next().unwrap().into(),
                code: code(&part["code"]),
                value: number(&quantity["value"].to_string()),
                unit: text(&quantity["code"]),
                time: instant(time.and_then(Value::as_str).unwrap_or_default()),
            });
        }
    }
    facts.sort();
    facts
}

/// The last line of an id is what stands.
fn from_lines(lines: &str) -> Vec<Fact> {
    let read = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last: BTreeMap<String, Value> = read.map(|o| (text(&o["id"]), o)).collect();
    from_fhir(&last.into_values().collect::<Vec<_>>())
}

/// The last message of an order is what stands.
fn from_hl7(messages: &[Value]) -> Vec<Fact> {
    let mut orders: BTreeMap<String, Vec<Fact>> = BTreeMap::new();
    for message in messages {
        let mut now: BTreeMap<String, Vec<Fact>> = BTreeMap::new();
        for row in message["rows"].as_array().unwrap_or_else(|| panic!("{message}")) {
            now.entry(text(&row["order"])).or_default().push(Fact {
                withdrawn: row["status"] == "W",
                patient: text(&message["patient"]),
                code: text(&row["code"]),
                value: number(&text(&row["value"])),
                unit: text(&row["ucum"]),
                time: instant(&text(&row["time"])),
            });
        }
        orders.append(&mut now);
    }
    let mut facts: Vec<Fact> = orders.into_values().flatten().collect();
    facts.sort();
    facts
}

fn digest(facts: &[Fact]) -> u64 {
    let mut hasher = DefaultHasher::new();
    facts.hash(&mut hasher);
    hasher.finish()
}

/// What only one of the two has, with how often.
fn differences(a: &[Fact], b: &[Fact]) -> Vec<(Fact, i64)> {
    let mut count: BTreeMap<&Fact, i64> = BTreeMap::new();
    a.iter().for_each(|f| *count.entry(f).or_default() += 1);
    b.iter().for_each(|f| *count.entry(f).or_default() -= 1);
    count.into_iter().filter(|(_, n)| *n != 0).map(|(f, n)| (f.clone(), n)).collect()
}

fn table(held: &[(&str, Vec<Fact>)]) {
    println!("{:<16} {:>8} {:>9} {:>6} {:>6}  digest", "destination", "in force", "withdrawn", "p0", "p1");
    for (name, facts) in held {
        let force = |p: &str| facts.iter().filter(|f| !f.withdrawn && f.patient == p).count();
        let withdrawn = facts.iter().filter(|f| f.withdrawn).count();
        let (p0, p1) = (force("p0"), force("p1"));
        println!(
            "{name:<16} {:>8} {withdrawn:>9} {p0:>6} {p1:>6}  {:016x}",
            facts.len() - withdrawn,
            digest(&in_force(facts))
        );
    }
}

fn in_force(facts: &[Fact]) -> Vec<Fact> {
    facts.iter().filter(|f| !f.withdrawn).cloned().collect()
}

/// Away in the second third: the numbers of it never reached these while they were in force.
const AWAY: [&str; 2] = ["helios-hfs", "hl7apy"];

fn clock(n: u64) -> String {
    format!("{:02}:{:02}:{:02}", n / 60 % 24, n % 60, n % 60)
}

/// Taken while [`AWAY`] were away. The clock that fell back is not among these.
fn of_the_outage(fact: &Fact) -> bool {
    let at = |n| format!("{}{}", support::day(), clock(n)).replace(['-', ':'], "");
    (at(SECOND.start)..at(SECOND.end)).contains(&fact.time)
}

/// What is in force is the same in all, and so is what was taken back; but what never arrived has nothing to take back.
fn same(held: &[(&str, Vec<Fact>)]) {
    let withdrawn = |facts: &[Fact]| facts.iter().filter(|f| f.withdrawn).cloned().collect::<Vec<_>>();
    let (first, all) = &held[0];
    for (name, facts) in &held[1..] {
        let mut taken_back = withdrawn(all);
        if AWAY.contains(name) {
            taken_back.retain(|f| !of_the_outage(f));
        }
        assert!(!taken_back.is_empty(), "{name}: the correction is seen");
        let found =
            [differences(&in_force(all), &in_force(facts)), differences(&taken_back, &withdrawn(facts))].concat();
        let some = found.iter().take(8).collect::<Vec<_>>();
        assert!(found.is_empty(), "{first} (+) and {name} (-) differ in {}: {some:#?}", found.len());
    }
}

async fn until(what: &str, gateway: &Gateway, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < 2 * support::PATIENCE, "{what} did not happen\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn settings(broker: &Broker, fhir: &[FhirServer; 2], hl7: &[Peer; 2]) -> String {
    let mut text = format!(
        "[journal]\nreserve_mib = 1\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n",
        broker.port
    );
    for (server, (name, way)) in fhir.iter().zip([("helios", "update"), ("sekmet", "conditional-create")]) {
        let url = &server.url;
        write!(text, "[[destination]]\nkind = \"fhir\"\nname = \"{name}\"\nurl = \"{url}\"\nidempotency = \"{way}\"\n")
            .unwrap();
    }
    for (peer, (name, more)) in hl7.iter().zip([("hl7apy", ""), ("node", "keep_connection = false")]) {
        let port = peer.port;
        write!(
            text,
            "[[destination]]\nkind = \"hl7\"\nname = \"{name}\"\nurl = \"mllp://127.0.0.1:{port}\"\n\
             assigning_authority = \"CLINIC^1.2.3^ISO\"\n{more}\n"
        )
        .unwrap();
    }
    for p in 0..2 {
        write!(text, "[[patient]]\nreference = \"Patient/p{p}\"\n").unwrap();
        write!(text, "[[device]]\nid = \"mqtt:day-{p}\"\npatient = \"Patient/p{p}\"\n").unwrap();
    }
    text
}

/// Profile and files of the gateway's own folder.
fn furnish(gateway: &Gateway, rows: &[&VitalRow]) {
    let (profiles, files) = (gateway.path("profiles"), gateway.path("files"));
    std::fs::create_dir(&profiles).unwrap();
    std::fs::write(profiles.join("site-day.toml"), profile(rows)).unwrap();
    gateway.reword(|text| {
        let text = text.replacen("[gateway]\n", &format!("[gateway]\nprofiles = \"{}\"\n", profiles.display()), 1);
        let files = format!("[[destination]]\nkind = \"ndjson\"\nname = \"files\"\nfolder = \"{}\"\n", files.display());
        text.replacen("[[patient]]", &format!("{files}[[patient]]"), 1)
    });
}

/// The day itself: a third, an outage of two destinations in the second, a correction before it ends, the rest.
async fn play(gateway: &Gateway, device: &Device, rows: &[&VitalRow], fhir: &mut FhirServer, hl7: &mut Peer) {
    let publish = async |numbers: std::ops::Range<u64>| {
        let taken = device.offer(numbers.map(|n| message(n, rows)).collect()).await;
        assert!(taken.iter().all(|taken| *taken));
    };
    let arrived = |least: u64, away: &[&str]| {
        let counts = gateway.json(&["outbox"]);
        let mut here =
            counts.as_array().unwrap().iter().filter(|d| !away.contains(&d["destination"].as_str().unwrap()));
        here.all(|d| d["waiting"] == 0 && d["delivered"].as_u64() >= Some(least))
    };
    publish(0..SECOND.start).await;
    until("the first third", gateway, || arrived(300, &[])).await;
    fhir.kill();
    hl7.kill();
    publish(SECOND).await;
    until("the second third", gateway, || arrived(600, &["helios", "hl7apy"])).await;
    let since = format!("{}T02:00:00Z", support::day());
    let correct = ["correct", "--device", "mqtt:day-0", "--to", "Patient/p1", "--since", &since];
    let done = gateway.json(&[&correct[..], &["--by", "Ada", "--reason", "the other watch"]].concat());
    assert!(done["corrected"].as_array().unwrap().len() > 20, "{done}");
    fhir.revive().await;
    hl7.revive();
    publish(SECOND.end..READINGS).await;
    until("delivery", gateway, || arrived(900, &[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_destinations_hold_the_same_day() {
    let rows = travelling();
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let Some(helios) = FhirServer::start(fhir_server::Kind::Helios).await else { return };
    let Some(sekmet) = FhirServer::start(fhir_server::Kind::Sekmet).await else { return };
    let Some(strict) = Peer::start(hl7_peer::Kind::Strict, folder.path()) else { return };
    let Some(node) = Peer::start(hl7_peer::Kind::Node, folder.path()) else { return };
    let (mut fhir, mut hl7) = ([helios, sekmet], [strict, node]);
    for server in &fhir {
        for p in ["p0", "p1"] {
            server.put(&serde_json::json!({"resourceType": "Patient", "id": p, "active": true})).await;
        }
    }
    let mut gateway = Gateway::new(&settings(&broker, &fhir, &hl7));
    furnish(&gateway, &rows);
    gateway.start();
    for (slot, patient) in [("1", "Patient/p0"), ("2", "Patient/p1")] {
        let said = ["assign", "mqtt:shared", patient, "--slot", slot, "--since", "ever", "--by", "Ada"];
        assert_eq!(gateway.json(&said)["done"], true);
    }
    let device = Device::connect(broker.device_port);
    play(&gateway, &device, &rows, &mut fhir[0], &mut hl7[0]).await;
    println!("{} vitals; outbox {}", rows.len(), gateway.json(&["outbox"]));
    println!("for a person: {}", gateway.json(&["unassigned"]).as_array().unwrap().len());
    let mut lines = String::new();
    let mut files: Vec<_> = std::fs::read_dir(gateway.path("files")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files.iter().for_each(|f| lines += &std::fs::read_to_string(f).unwrap());
    let held = [
        ("ndjson", from_lines(&lines)),
        ("helios-hfs", from_fhir(&fhir[0].search("Observation?_count=100").await)),
        ("sekmet-fhir", from_fhir(&fhir[1].search("Observation?_count=100").await)),
        ("hl7apy", from_hl7(&hl7[0].got())),
        ("node-hl7-server", from_hl7(&hl7[1].got())),
    ];
    table(&held);
    same(&held);
    let undated = in_force(&held[0].1).iter().filter(|f| !f.time.starts_with(&support::day().replace('-', ""))).count();
    println!("{undated} numbers of the reset clock, at their time of receipt or as the device said");
    assert!(undated > 0);
    assert!(held[0].1.len() >= READINGS as usize * 9 / 10, "{}", held[0].1.len());
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// The test of the test: a changed value, a changed patient, one missing, one twice, one not taken back.
#[test]
fn the_comparison_sees_each_kind_of_difference() {
    let fact = |n: u64| Fact {
        withdrawn: n == 0,
        patient: format!("p{}", n % 2),
        code: "147842".into(),
        value: n.to_string(),
        unit: "/min".into(),
        time: "20261122100000".into(),
    };
    let right: Vec<Fact> = (0..10).map(fact).collect();
    let wrongs: [fn(&mut Vec<Fact>); 5] = [
        |f| f[3].value = "33".into(),
        |f| f[3].patient = "p0".into(),
        |f| drop(f.pop()),
        |f| f.push(f[9].clone()),
        |f| f[0].withdrawn = false,
    ];
    assert_eq!(differences(&right, &right), vec![]);
    for wrong in wrongs {
        let mut other = right.clone();
        wrong(&mut other);
        assert_ne!(differences(&right, &other), vec![]);
        assert_ne!(digest(&right), digest(&other));
    }
}
