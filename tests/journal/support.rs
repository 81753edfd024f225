//! Readings, groups and journals to test with.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use wardline::alarm::{Alert, AlertEvent, AlertId, Condition, Happened, Priority};
use wardline::clock::{Clock, Stamp};
use wardline::config::JournalSettings;
use wardline::consent::Terms;
use wardline::custody::{Creditor, Item, ItemId, Lane, Outcome, Payload, Receipt, Why};
use wardline::journal::{Group, Journal, Kept, Key, Recovered, Vault};
use wardline::reading::{
    Arrival, Coincident, DeviceId, Frame, Part, Path as Channel, PatientId, Reading, ReadingKey, Redelivery, Reject,
    Taken, TimeMethod, Value,
};
use wardline::unit::Unit;
use wardline::vital::{Role, Vital};

/// Of the journals that are encrypted, as those of boxes are.
pub const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

pub fn vault(folder: &Path) -> Vault {
    Vault::new(folder, Key::parse(KEY.as_bytes()))
}

/// As any SQLCipher shell opens it.
pub fn unlock(conn: &rusqlite::Connection) {
    conn.execute_batch(&format!("PRAGMA key = \"x'{KEY}'\"")).unwrap();
}

pub const NOW_MS: i64 = 1_795_341_600_000;

pub fn key(n: u64) -> ReadingKey {
    let mut key = [0; 16];
    // Keys are hashes: spread them.
    let spread = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    key[..8].copy_from_slice(&spread.to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    ReadingKey(key)
}

pub fn number(key: ReadingKey) -> u64 {
    u64::from_be_bytes(key.0[8..].try_into().unwrap())
}

/// Reading `n` of a device; a device named `nobody…` is unassigned.
pub fn reading(n: u64, device: &str) -> Reading {
    let received = Stamp::at_ms(NOW_MS);
    let value = Value::Number((60 + i64::try_from(n % 60).unwrap()).into());
    Reading {
        key: key(n),
        device: DeviceId(device.into()),
        profile: "test".into(),
        slot: None,
        patient: (!device.starts_with("nobody")).then(|| PatientId::new("Patient/p")),
        vital: Vital::parse("heart-rate").unwrap(),
        parts: vec![Part { role: Role::Value, value, unit: Unit::parse("/min").unwrap() }],
        sequence: Some(n),
        taken: Taken {
            device: None,
            received,
            at_ms: Some(NOW_MS),
            uncertainty_ms: 1_000,
            method: TimeMethod::Received,
        },
        quality: vec![],
        site: None,
        stored: false,
        unassigned: None,
        amendment: None,
        // Every fifth was dated by a pair of clocks.
        clocks: (n % 5 == 2).then(|| Arc::new(pair(n))),
    }
}

/// What a device's clock showed when it was asked.
pub fn pair(n: u64) -> Coincident {
    let offset_min = i16::try_from(n % 25).unwrap() * 60 - 720;
    Coincident { device: "2010-01-01T06:00:00".parse().unwrap(), offset_min, box_ms: NOW_MS - 5_000 }
}

pub fn frame(bytes: &str) -> Frame {
    Frame {
        path: Channel::Topic("vitals/cuff".into()),
        bytes: Bytes::copy_from_slice(bytes.as_bytes()),
        ..Frame::new("home", "", Stamp::at_ms(NOW_MS))
    }
}

pub fn arrival(readings: Vec<Reading>) -> Arrival {
    let bytes = readings.iter().map(|r| format!("{{\"n\":{}}}", number(r.key))).collect::<String>();
    Arrival { frame: frame(&bytes), undated: false, outcome: Ok(readings) }
}

pub fn marked(bytes: &str, dup: bool, packet_id: u16, connection: u32) -> Frame {
    Frame { redelivery: Some(Redelivery { dup, packet_id, connection, count: 1 }), ..frame(bytes) }
}

pub fn reject(bytes: &str) -> Arrival {
    Arrival { frame: frame(bytes), undated: false, outcome: Err(Reject::new("WL-D001", "too short")) }
}

/// One arrival for each reading.
pub fn group(readings: impl IntoIterator<Item = Reading>) -> Arc<Group> {
    Arc::new(Group { arrivals: readings.into_iter().map(|r| arrival(vec![r])).collect(), events: vec![] })
}

pub fn creditors(names: &[&str]) -> Vec<Creditor> {
    let creditor = |name: &&str| Creditor {
        name: (*name).into(),
        readings: true,
        alerts: true,
        evidence: true,
        terms: Terms::open(),
    };
    names.iter().map(creditor).collect()
}

pub fn settings() -> JournalSettings {
    JournalSettings { reserve_mib: 1, ..JournalSettings::default() }
}

pub fn clock() -> Clock {
    Clock::manual(Stamp::at_ms(NOW_MS))
}

pub fn open(folder: &Path) -> (Journal, Recovered) {
    Journal::open(folder, &settings(), &creditors(&["centre"]), clock()).unwrap()
}

pub fn delivered(item: &Item) -> (ItemId, Outcome) {
    (item.id, Outcome::Delivered(Receipt { location: "Observation/1/_history/1".into(), known: false }))
}

pub fn retry(item: &Item, after: Option<std::time::Duration>, destination: bool) -> (ItemId, Outcome) {
    (item.id, Outcome::Retry { after, why: Why::new("WL-F003", "it answered 503"), destination })
}

pub fn rejected(item: &Item) -> (ItemId, Outcome) {
    (item.id, Outcome::Reject(Why::new("WL-F011", "it answered 422")))
}

/// Numbers of the readings in these items.
pub fn numbers(items: &[Item]) -> Vec<u64> {
    items
        .iter()
        .map(|i| match &i.what {
            Payload::Reading(r) => number(r.key),
            Payload::Alert(_) => panic!("an alert in a lane of readings"),
        })
        .collect()
}

pub async fn lease(journal: &Journal, lane: Lane, max: usize) -> Vec<Item> {
    journal.lease("centre", lane, max).await.unwrap()
}

pub async fn settle(journal: &Journal, outcomes: Vec<(ItemId, Outcome)>) {
    journal.settle("centre", outcomes).await.unwrap();
}

pub fn new(n: u32) -> Kept {
    Kept { new: n, ..Kept::default() }
}

pub fn known(n: u32) -> Kept {
    Kept { known: n, ..Kept::default() }
}

pub fn alert(id: &str, evidence: Vec<ReadingKey>) -> Alert {
    let raised = Stamp::at_ms(NOW_MS);
    Alert {
        id: AlertId(id.into()),
        rule: "hr-high".into(),
        condition: Condition::Limit,
        priority: Priority::High,
        patient: Some(PatientId::new("Patient/p")),
        device: None,
        vital: None,
        text: "heart rate 150 /min, limit 120".into(),
        evidence,
        raised,
        received: raised,
        acknowledged: None,
        resolved: None,
        taken_back: None,
    }
}

pub fn raised(alert: Alert) -> AlertEvent {
    AlertEvent { happened: Happened::Raised, at: alert.raised, alert }
}

pub fn resolved(alert: Alert) -> AlertEvent {
    let at = Stamp::at_ms(NOW_MS + 60_000);
    AlertEvent { happened: Happened::Resolved, at, alert: Alert { resolved: Some(at), ..alert } }
}

/// The file as another program sees it: sound, and its references hold.
#[allow(clippy::disallowed_methods)]
pub fn sound(folder: &Path) {
    let conn = rusqlite::Connection::open(folder.join("journal.sqlite3")).unwrap();
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let dangling: i64 = conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get(0)).unwrap();
    assert_eq!(dangling, 0);
}
