//! The page over a real socket, with a journal of a few readings and a pipeline that answers at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::*;
use crate::alarm::{Acknowledged, Alert, AlertId, Condition, Priority};
use crate::clock::{Clock, Stamp};
use crate::config::DeviceSettings;
use crate::control::{Fault, Orders, Probe, Records, Unreadable, view};
use crate::lab::patient::{HOUR, Patient, Physiology};
use crate::reading::*;
use crate::telemetry::{Watchdog, idle_metrics};
use crate::unit::Unit;
use crate::vital::{Role, Vital};

/// 2026-11-22T14:30:00Z.
const NOW: i64 = 1_795_357_800_000;

/// Rows, oldest first.
struct Shelf(Vec<view::Row>);

impl Records for Shelf {
    fn readings(&self, filter: &view::Filter) -> Result<Vec<view::Row>, Unreadable> {
        let wanted = |r: &&view::Row| filter.since_ms.is_none_or(|s| r.reading.taken.received.wall_ms >= s);
        Ok(self.0.iter().rev().filter(wanted).take(filter.limit).cloned().collect())
    }
    fn explain(&self, _key: ReadingKey) -> Result<Option<view::Explained>, Unreadable> {
        Ok(None)
    }
    fn alerts(&self, _limit: usize) -> Result<Vec<Alert>, Unreadable> {
        Ok(vec![])
    }
    fn outbox(&self, _destination: Option<&str>) -> Result<Vec<view::Outbox>, Unreadable> {
        let row = |name: &str, waiting, delivered| view::Outbox {
            destination: name.into(),
            waiting,
            oldest_ms: Some(NOW - 90_000),
            rejected: 0,
            delivered,
            failures: vec![],
            withheld: vec![],
        };
        Ok(vec![row("centre", 1_234, 20_877), row("archive", 0, 22_111)])
    }
    fn custody(&self, _: i64) -> Result<Vec<view::Day>, Unreadable> {
        Ok(vec![])
    }
    fn seal(&self) -> Result<Option<String>, Unreadable> {
        Ok(None)
    }
    fn verify(&self) -> Result<view::Verified, Unreadable> {
        Err(Unreadable("no file".into()))
    }
    fn storage(&self, _: i64) -> Result<view::Storage, Unreadable> {
        Err(Unreadable("no file".into()))
    }
    fn copy(&self) -> Result<(view::Copy, std::path::PathBuf), Unreadable> {
        Err(Unreadable("no file".into()))
    }
    fn export(
        &self,
        _: view::ExportFilter,
        _: crate::control::witness::Taken,
    ) -> Result<crate::control::Pieces, Unreadable> {
        unreachable!("the page exports nothing")
    }
    fn devices(&self) -> Result<Vec<DeviceSettings>, Unreadable> {
        Ok(vec![])
    }
}

struct Crew;

impl Orders for Crew {
    fn acknowledge(&self, id: AlertId, by: String) -> BoxFuture<'_, Result<(), Fault>> {
        let known = &*id.0 == "a1" && by == "Nurse Joy";
        Box::pin(async move { if known { Ok(()) } else { Err(Fault::Missing("open alert")) } })
    }
    fn add_device(&self, _device: DeviceSettings, _by: String) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
}

fn reading(n: u32, vital: &str, numbers: &[(Role, &str)], at: i64) -> view::Row {
    let vital = Vital::parse(vital).unwrap();
    let unit = Unit::parse(vital.units[0]).unwrap();
    let part = |(role, text): &(Role, &str)| Part { role: *role, value: Value::Number(text.parse().unwrap()), unit };
    let received = Stamp::at_ms(at);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&at.to_be_bytes());
    key[8..12].copy_from_slice(&n.to_be_bytes());
    key[12] = vital.id.len() as u8;
    key[13] = vital.id.as_bytes()[0];
    let reading = Reading {
        key: ReadingKey(key),
        device: DeviceId(format!("ble:{n}").into()),
        profile: "p".into(),
        slot: None,
        patient: Some(PatientId::new(&format!("Patient/lab-{n:03}"))),
        vital,
        parts: numbers.iter().map(part).collect(),
        sequence: None,
        taken: Taken { device: None, received, at_ms: Some(at), uncertainty_ms: 0, method: TimeMethod::Received },
        quality: vec![],
        site: None,
        stored: false,
        unassigned: None,
        amendment: None,
        clocks: None,
    };
    view::Row { reading, committed_ms: at, destinations: vec![] }
}

/// An afternoon of so many patients.
fn afternoon(patients: u32) -> Vec<view::Row> {
    let mut rows = Vec::new();
    for n in 0..patients {
        let patient = Patient::new(1, n);
        let text = |b: f64, d: usize| format!("{b:.d$}");
        for minute in 0..60i64 {
            let at = NOW - (60 - minute) * 60_000 - i64::from(n);
            let b: Physiology = patient.at(HOUR * 13 + HOUR / 60 * minute as u32);
            rows.push(reading(n, "heart-rate", &[(Role::Value, &text(b.heart_rate, 0))], at));
            if minute % 3 == 0 {
                rows.push(reading(n, "spo2", &[(Role::Value, &text(b.spo2, 0))], at));
                rows.push(reading(n, "oximeter-pulse-rate", &[(Role::Value, &text(b.heart_rate, 0))], at));
            }
            if minute % 20 == 5 {
                let (s, d) = (text(b.systolic, 0), text(b.diastolic, 0));
                rows.push(reading(n, "blood-pressure", &[(Role::Systolic, &s), (Role::Diastolic, &d)], at));
                rows.push(reading(n, "body-temperature", &[(Role::Value, &text(b.temperature, 1))], at));
            }
        }
    }
    rows.sort_by_key(|r| r.reading.taken.received.wall_ms);
    rows
}

fn alert(id: &str, priority: Priority, n: u32, text: &str) -> Alert {
    Alert {
        id: AlertId(id.into()),
        rule: "r".into(),
        condition: Condition::Limit,
        priority,
        patient: Some(PatientId::new(&format!("Patient/lab-{n:03}"))),
        device: None,
        vital: None,
        text: text.into(),
        evidence: vec![],
        raised: Stamp::at_ms(NOW - 240_000),
        received: Stamp::at_ms(NOW - 240_000),
        acknowledged: None,
        resolved: None,
        taken_back: None,
    }
}

fn desk(rows: Vec<view::Row>, alerts: Vec<Alert>, centre: view::LinkState) -> Arc<Desk> {
    let clock = Clock::manual(Stamp::at_ms(NOW));
    let link = |name: &str, kind: &str, state| {
        let why = crate::custody::Why::new("WL-F010", "the server refuses connections");
        let why = (state == view::LinkState::Down).then_some(why);
        let link = view::Link { name: name.into(), kind: kind.into(), state, since_ms: Some(NOW - 300_000), why };
        Box::new(move || link.clone()) as Probe
    };
    Arc::new(Desk {
        gateway: "ward-1".into(),
        started: clock.now(),
        radio: None,
        witness: control::witness::Witness::new(Arc::new(control::witness::Unrecorded), clock.clone()),
        technicians: control::technician::Technicians::default(),
        watchdog: Watchdog::new(clock.clone()),
        clock,
        patients: [].into(),
        records: Arc::new(Shelf(rows)),
        alerts: watch::channel(Arc::from(alerts)).1,
        orders: Arc::new(Crew),
        inbox: Arc::new(control::inbox::Empty),
        charts: Arc::new(control::charts::Empty),
        people: Arc::new(control::patients::Nobody),
        thresholds: Arc::new(control::thresholds::Unordered),
        consents: Arc::new(control::consents::Empty),
        register: Arc::new(control::demographics::Nameless),
        probes: Arc::new(control::probe::Unknown),
        sources: vec![link("ward", "sim", view::LinkState::Up)],
        destinations: vec![link("centre", "fhir", centre), link("archive", "ndjson", view::LinkState::Up)],
        metrics: idle_metrics(),
    })
}

fn names(patients: u32) -> Vec<PatientSettings> {
    let one = |n| PatientSettings {
        reference: PatientId::new(&format!("Patient/lab-{n:03}")),
        display: Some(Patient::new(1, n).name()),
        limits: vec![],
    };
    (0..patients).map(one).collect()
}

/// Serves the page and sends one request; status, headers and body.
async fn ask(desk: Arc<Desk>, head: &str, body: &str) -> (u16, String, String) {
    let page = Page::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = page.address;
    let text = format!(
        "{}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        head.replace("HOST", &address.to_string()),
        body.len()
    );
    let client = tokio::task::spawn_blocking(move || {
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        answer
    });
    let stop = CancellationToken::new();
    let names = names(3);
    let answer = tokio::select! {
        answer = client => answer.unwrap(),
        served = page.serve(desk, &names, jiff::tz::TimeZone::UTC, stop) => panic!("{served:?}"),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn the_page_shows_people_alerts_and_destinations_without_any_code_inside() {
    let alerts = vec![alert("a1", Priority::High, 1, "Systolic 191 mmHg, limit 180 mmHg")];
    let desk = desk(afternoon(3), alerts, view::LinkState::Down);
    let (status, head, html) = ask(desk, "GET / HTTP/1.1\r\nHost: HOST", "").await;
    assert_eq!(status, 200);
    for text in
        ["Ada", "Bruno", "Clara", "Heart rate", "Systolic 191 mmHg", "centre", "1\u{202f}234", "Bruno needs attention"]
    {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("Pulse rate"), "the strap's rate stands for it");
    assert!(html.matches("<polyline").count() > 10);
    for forbidden in ["<script>", "style=", "onclick", "javascript:", "http://", "https://"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"));
    assert!(!head.contains("unsafe-"));
}

#[tokio::test]
async fn foreign_text_stays_text() {
    let mut bad = alert("a1", Priority::Low, 0, "<img src=x onerror=\"alert(1)\">");
    bad.acknowledged = Some(Acknowledged { by: "<b>'me'</b>".into(), at: Stamp::at_ms(NOW) });
    let (_, _, html) = ask(desk(vec![], vec![bad], view::LinkState::Up), "GET / HTTP/1.1\r\nHost: HOST", "").await;
    assert!(html.contains("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;"), "{html}");
    assert!(!html.contains("<img src=x") && !html.contains("<b>'me'"));
}

#[tokio::test]
async fn the_parts_are_the_whole() {
    let desk = desk(afternoon(2), vec![], view::LinkState::Up);
    let (status, _, json) = ask(desk.clone(), "GET /live HTTP/1.1\r\nHost: HOST", "").await;
    let parts: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let ids: Vec<_> = parts.iter().map(|p| p["id"].as_str().unwrap()).collect();
    assert_eq!((status, ids), (200, vec!["headline", "alerts", "person-0", "person-1", "inbox", "custody"]));
    let (_, _, html) = ask(desk, "GET / HTTP/1.1\r\nHost: HOST", "").await;
    for part in &parts {
        assert!(html.contains(part["html"].as_str().unwrap()), "{}", part["id"]);
    }
}

#[tokio::test]
async fn an_alert_is_taken_by_name_from_this_page_only() {
    let post = "POST /api/v1/alerts/a1/acknowledge HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json";
    let body = r#"{"by":"Nurse Joy"}"#;
    let up = || desk(vec![], vec![alert("a1", Priority::High, 0, "x")], view::LinkState::Up);
    let ours = format!("{post}\r\nX-Wardline: page\r\nOrigin: http://HOST");
    assert_eq!(ask(up(), &ours, body).await.0, 200);
    assert_eq!(ask(up(), &ours, r#"{"by":" "}"#).await.0, 422);
    assert_eq!(ask(up(), post, body).await.0, 403);
    assert_eq!(ask(up(), &format!("{post}\r\nX-Wardline: page\r\nOrigin: http://evil.example"), body).await.0, 403);
    assert_eq!(ask(up(), "GET /live HTTP/1.1\r\nHost: evil.example", "").await.0, 403);
    // The page operates; it does not administer.
    let device = "POST /api/v1/devices HTTP/1.1\r\nHost: HOST\r\nX-Wardline: page\r\nContent-Type: application/json";
    assert_eq!(ask(up(), device, r#"{"id":"mqtt:x"}"#).await.0, 403);
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let refused = Page::bind("0.0.0.0:0".parse().unwrap()).await;
    assert!(matches!(refused, Err(PageError::NotLoopback(_))));
}

#[test]
fn a_second_look_adds_what_is_new_and_nothing_twice() {
    let desk = desk(afternoon(1), vec![], view::LinkState::Up);
    let mut board = Board::new(desk.clone(), &names(1), jiff::tz::TimeZone::UTC);
    let points = |board: &mut Board| board.look().people[0].tiles[0].lines[0].len();
    assert_eq!(points(&mut board), 60);
    desk.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(points(&mut board), 60);
}

/// An inbox with one group, whose title is hostile.
struct Full;

impl control::inbox::Inbox for Full {
    fn groups(&self, _all: bool) -> BoxFuture<'_, Result<Vec<control::inbox::Group>, Fault>> {
        use control::inbox::{Fix, Group, Owner, State};
        let group = Group {
            id: "84e1f362".into(),
            kind: "refused".into(),
            place: "centre".into(),
            why: crate::custody::Why::new("WL-F011", "refused (HTTP 422: business-rule)"),
            title: "12 readings refused by <b>centre</b>".into(),
            items: 12,
            sending: 0,
            first_ms: NOW,
            last_ms: NOW,
            priority: Priority::Medium,
            state: State::Open,
            owner: Owner::IntegrationEngineer,
            assignee: None,
            opened_ms: NOW,
            due_ms: NOW + 86_400_000,
            overdue: false,
            cleared_ms: None,
            note: None,
            fix: Fix { words: "Ask the destination's owner.".into(), commands: vec![] },
        };
        Box::pin(async { Ok(vec![group]) })
    }
}

#[tokio::test]
async fn what_is_held_back_is_on_the_page_with_owner_and_time() {
    let mut desk = Arc::into_inner(desk(afternoon(1), vec![], view::LinkState::Up)).unwrap();
    desk.inbox = Arc::new(Full);
    let (status, _, html) = ask(Arc::new(desk), "GET / HTTP/1.1\r\nHost: HOST", "").await;
    assert_eq!(status, 200);
    for text in [
        "12 readings refused by &lt;b&gt;centre",
        "for the integration engineer, by Mon 14:30",
        "data-group=\"84e1f362\"",
        "wardline inbox show 84e1f362",
        "not sent until somebody acts",
    ] {
        assert!(html.contains(text), "{text}: {html}");
    }
    assert!(!html.contains("<b>centre"));
}

/// A radio with one device of this box and one stranger.
struct Air;

impl control::radio::Radio for Air {
    fn state(&self) -> control::radio::RadioState {
        let device = control::radio::Peripheral {
            id: DeviceId("ble:C0:26:DF:00:11:22".into()),
            state: "near".into(),
            rssi: Some(-71),
            trend: None,
            heard_every_ms: None,
            comes_every_s: None,
            seen_ms: Some(NOW - 4_000),
            answered_ms: Some(NOW - 240_000),
            connections: 7,
            failures: 1,
            values: 23,
            battery: Some(64),
            model: Some("<i>UA-651BLE</i>".into()),
            maker: None,
            hardware: None,
            software: None,
            firmware: Some("1.2".into()),
            profiles: vec!["and-ua-651ble".into()],
            paired: true,
            clock_ahead_s: None,
            why: Some(crate::custody::Why::new(
                "WL-S064",
                "it forgot its bond. Pair it again: `wardline devices pair ID`.",
            )),
            gaps: vec![],
            users: vec![],
        };
        control::radio::RadioState {
            adapter: Some("hci0".into()),
            heard_ms: Some(NOW - 4_000),
            devices: vec![device],
            ..Default::default()
        }
    }
    fn strangers(&self) -> Vec<control::radio::Stranger> {
        let stranger = |id: &str, name: &str, profiles| control::radio::Stranger {
            id: DeviceId(id.into()),
            name: Some(name.into()),
            rssi: Some(-58),
            seen_ms: NOW - 2_000,
            profiles,
        };
        vec![
            stranger("ble:C0:26:DF:00:33:44", "Polar H10 2B3C", vec!["polar-heart-rate".into()]),
            stranger("ble:C0:26:DF:00:55:66", "Telly", vec![]),
        ]
    }
    fn pair(&self, _: DeviceId) -> Result<(), Fault> {
        Ok(())
    }
    fn pairing(&self) -> Option<control::radio::Pairing> {
        Some(control::radio::Pairing {
            device: DeviceId("ble:C0:26:DF:00:11:22".into()),
            stage: "compare".into(),
            passkey: Some("483920".into()),
            why: None,
            steps: vec!["Hold the button until the display shows “Pr”.".into()],
        })
    }
    fn reply(&self, _: control::radio::Reply) -> Result<(), Fault> {
        Ok(())
    }
    fn cancel(&self) {}
    fn forget(&self, _: DeviceId) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
    fn record(
        &self,
        _: DeviceId,
        _: std::time::Duration,
    ) -> Result<futures_util::stream::BoxStream<'static, String>, Fault> {
        Err(Fault::Busy)
    }
}

fn technicians_desk() -> Arc<Desk> {
    let mut desk = Arc::into_inner(desk(vec![], vec![], view::LinkState::Up)).unwrap();
    desk.radio = Some(Arc::new(Air));
    desk.technicians = control::technician::Technicians::new(Some("http://127.0.0.1:1/".into()));
    Arc::new(desk)
}

/// A key, as who administers gets one.
fn key(desk: &Desk) -> String {
    let link = desk.technicians.invite(desk.clock.now()).unwrap();
    link.strip_prefix("http://127.0.0.1:1/devices#key=").unwrap().to_owned()
}

#[tokio::test]
async fn the_devices_are_shown_to_whoever_sees_the_page_and_foreign_text_stays_text() {
    let (status, head, html) = ask(technicians_desk(), "GET /devices HTTP/1.1\r\nHost: HOST", "").await;
    assert_eq!(status, 200);
    // The page names its own button, not a command of another place.
    assert!(html.contains("Pair it again: press “Pair again” here.") && !html.contains("devices pair"), "{html}");
    for text in ["&lt;i&gt;UA-651BLE", "WL-S064", "64 %", "fair (−71 dBm)", "Polar H10", "no profile reads it", "Ada"]
    {
        assert!(html.contains(text), "{text}: {html}");
    }
    assert!(!html.contains("<i>UA") && !html.contains("{people}") && !html.contains("{gateway}"));
    for forbidden in ["<script>", "style=", "onclick", "javascript:", "http://", "https://"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert!(head.contains("content-security-policy: default-src 'none'"));
    let (status, _, json) = ask(technicians_desk(), "GET /devices/live HTTP/1.1\r\nHost: HOST", "").await;
    let parts: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!((status, parts.len()), (200, 3));
    assert!(parts.iter().all(|p| html.contains(p["html"].as_str().unwrap())));
    let (status, _, html) =
        ask(desk(vec![], vec![], view::LinkState::Up), "GET /devices HTTP/1.1\r\nHost: HOST", "").await;
    assert!(status == 200 && html.contains("There is no Bluetooth source"), "{html}");
}

#[tokio::test]
async fn only_a_technician_with_a_fresh_key_serves_devices_and_does_nothing_else() {
    let desk = technicians_desk();
    let post = |path: &str, more: &str| {
        format!(
            "POST /api/v1/{path} HTTP/1.1\r\nHost: HOST\r\nX-Wardline: page\r\nContent-Type: application/json{more}"
        )
    };
    let which = r#"{"device":"ble:C0:26:DF:00:11:22"}"#;
    let device = r#"{"id":"ble:C0:26:DF:00:33:44","patient":null}"#;
    let orders = [
        ("bluetooth/pairing", which),
        ("bluetooth/forget", which),
        ("bluetooth/pairing/cancel", "{}"),
        ("devices", device),
    ];
    for (path, body) in orders {
        assert_eq!(ask(desk.clone(), &post(path, ""), body).await.0, 403, "{path}");
        assert_eq!(ask(desk.clone(), &post(path, "\r\nX-Wardline-Technician: 00"), body).await.0, 403, "{path}");
    }
    let (users, give) = ("devices/ble:C0:26:DF:00:11:22/users", r#"{"slot":1,"code":"4711","by":"Ada"}"#);
    assert_eq!(ask(desk.clone(), &post(users, ""), give).await.0, 403);
    assert_eq!(ask(desk.clone(), &post(&format!("{users}/forget"), ""), r#"{"slot":1,"by":"Ada"}"#).await.0, 403);
    let code = "GET /api/v1/bluetooth/pairing HTTP/1.1\r\nHost: HOST";
    assert_eq!(ask(desk.clone(), code, "").await.0, 403, "a passkey is not shown to everybody");
    assert_eq!(ask(desk.clone(), &post("page/link", ""), "{}").await.0, 403, "the page gives no keys");

    let body = format!(r#"{{"key":"{}"}}"#, key(&desk));
    let unmarked = "POST /api/v1/page/open HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json";
    assert_eq!(ask(desk.clone(), unmarked, &body).await.0, 403, "another site's form");
    let (status, _, opened) = ask(desk.clone(), &post("page/open", ""), &body).await;
    assert_eq!(status, 200);
    assert_eq!(ask(desk.clone(), &post("page/open", ""), &body).await.0, 403, "a key works once");
    let opened: serde_json::Value = serde_json::from_str(&opened).unwrap();
    let word = format!("\r\nX-Wardline-Technician: {}", opened["word"].as_str().unwrap());
    for (path, body) in orders {
        assert_eq!(ask(desk.clone(), &post(path, &word), body).await.0, 200, "{path}");
        let foreign = format!("{word}\r\nOrigin: http://evil.example");
        assert_eq!(ask(desk.clone(), &post(path, &foreign), body).await.0, 403, "{path}");
    }
    assert!(ask(desk.clone(), &format!("{code}{word}"), "").await.2.contains("483920"));
    let wrong = ask(desk.clone(), &post(users, &word), r#"{"slot":1,"code":"47115","by":"Ada"}"#).await;
    assert!(wrong.0 == 400 && wrong.2.contains("WL-O003") && !wrong.2.contains("4711"), "{}", wrong.2);
    assert_ne!(ask(desk.clone(), &post(users, &word), give).await.0, 403);
    // A recording is health data, a copy is everything, and who has a key makes no others.
    let record = r#"{"device":"ble:C0:26:DF:00:11:22","seconds":5}"#;
    assert_eq!(ask(desk.clone(), &post("bluetooth/record", &word), record).await.0, 403);
    assert_eq!(ask(desk.clone(), &post("page/link", &word), "{}").await.0, 403);
    let copy = format!("GET /api/v1/backup HTTP/1.1\r\nHost: HOST{word}");
    assert_eq!(ask(desk.clone(), &copy, "").await.0, 403);
    desk.clock.advance(crate::limits::PAGE_TECHNICIAN_MAX);
    assert_eq!(ask(desk, &post("bluetooth/pairing", &word), which).await.0, 403, "the hour is over");
}
