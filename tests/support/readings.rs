//! Readings, items and alerts as the journal would give them.

use std::sync::Arc;

use wardline::alarm::AlertEvent;
use wardline::custody::{Item, ItemId, Payload};
use wardline::reading::Reading;

/// Number `n`, of a patient, of a vital, in JSON as it is stored.
pub fn reading(n: u64, patient: &str, vital: &str, parts: &serde_json::Value) -> Reading {
    let at = 1_795_342_271_000 + n * 1_000;
    let stamp = serde_json::json!({"wall_ms": at, "mono_us": at, "boot": 1, "trusted": true});
    serde_json::from_value(serde_json::json!({
        "key": format!("{n:032x}"),
        "device": "ble:C0:26:DF:00:11:22",
        "profile": "test",
        "patient": patient,
        "vital": vital,
        "parts": parts,
        "taken": {"device": null, "received": stamp, "at_ms": at, "uncertainty_ms": 1_000, "method": "received"},
    }))
    .unwrap()
}

/// A heart rate of the patient `Patient/p1`.
pub fn heart_rate(n: u64) -> Reading {
    let value = format!(r#"[{{"role":"value","value":{{"number":{}}},"unit":"/min"}}]"#, 60 + n % 60);
    reading(n, "Patient/p1", "heart-rate", &serde_json::from_str(&value).unwrap())
}

/// Heart rates as items.
pub fn heart_rates(numbers: std::ops::Range<u64>) -> Vec<Item> {
    numbers.map(|n| item(heart_rate(n))).collect()
}

/// A reading as an item; its row is the end of its key.
pub fn item(reading: Reading) -> Item {
    let row = i64::from(reading.key.0[15]) + 256 * i64::from(reading.key.0[14]);
    Item { id: ItemId::Reading(row), what: Payload::Reading(Arc::new(reading)), attempts: 0 }
}

/// An alert event of `Patient/p1` with this evidence.
pub fn alert(id: &str, happened: &str, evidence: &[&Reading]) -> AlertEvent {
    let at = serde_json::json!({"wall_ms": 1_795_342_271_500u64, "mono_us": 1, "boot": 1, "trusted": true});
    let taken = (happened != "raised").then(|| serde_json::json!({"by": "N. Nurse", "at": at}));
    serde_json::from_value(serde_json::json!({
        "happened": happened,
        "at": at,
        "alert": {
            "id": id, "rule": "heart-rate-high", "condition": "limit", "priority": "high",
            "patient": "Patient/p1", "device": "ble:C0:26:DF:00:11:22", "vital": "heart-rate",
            "text": "Heart rate 150 /min is above 120 /min",
            "evidence": evidence.iter().map(|r| r.key.to_string()).collect::<Vec<_>>(),
            "raised": at, "received": at, "acknowledged": taken,
            "resolved": (happened == "resolved").then_some(&at),
        },
    }))
    .unwrap()
}

/// An alert event as an item.
pub fn alert_item(event: AlertEvent, attempts: u32) -> Item {
    Item { id: ItemId::Alert(1), what: Payload::Alert(Arc::new(event)), attempts }
}
