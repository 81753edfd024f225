//! Readings and alerts for tests.

use crate::alarm::{Alert, AlertEvent, AlertId, Condition, Happened, Priority};
use crate::clock::Stamp;
use crate::reading::{DeviceId, Part, PatientId, Reading, ReadingKey, Taken, TimeMethod, Value};
use crate::vital::{Role, Vital};

/// 2026-11-22T10:11:11.250Z.
pub(crate) const RECEIVED_MS: i64 = 1_795_342_271_250;

/// A reading of this vital: 120/80 (93) for a panel, else 36.0, in the vital's first unit.
pub(crate) fn reading(vital: &str) -> Reading {
    let vital = Vital::parse(vital).unwrap();
    let value = |role| match role {
        Role::Value => "36.0",
        Role::Systolic => "120",
        Role::Diastolic => "80",
        Role::Mean => "93",
        _ => "1",
    };
    let part =
        |role| Part { role, value: Value::Number(value(role).parse().unwrap()), unit: vital.first_unit().unwrap() };
    let received = Stamp::at_ms(RECEIVED_MS);
    Reading {
        key: ReadingKey([7; 16]),
        device: DeviceId("mqtt:cuff-17".into()),
        profile: "test".into(),
        slot: None,
        patient: Some(PatientId::new("Patient/8f2c")),
        vital,
        parts: vital.components.iter().map(|c| part(c.role)).collect(),
        sequence: None,
        taken: Taken {
            device: None,
            received,
            at_ms: Some(RECEIVED_MS),
            uncertainty_ms: 1_000,
            method: TimeMethod::Received,
        },
        quality: Vec::new(),
        site: None,
        stored: false,
        unassigned: None,
        amendment: None,
        clocks: None,
    }
}

/// The nth reading of a vital: a key of its own.
pub(crate) fn nth(vital: &str, n: u64) -> Reading {
    let mut r = reading(vital);
    let mut key = [0; 16];
    key.iter_mut().zip(n.to_be_bytes()).for_each(|(k, b)| *k = b);
    r.key = ReadingKey(key);
    r
}

/// A raised alert on this evidence.
pub(crate) fn alert(evidence: &[&Reading]) -> AlertEvent {
    let at = Stamp::at_ms(RECEIVED_MS + 5);
    AlertEvent {
        happened: Happened::Raised,
        at,
        alert: Alert {
            id: AlertId("0123456789abcdef0123456789abcdef".into()),
            rule: "heart-rate-high".into(),
            condition: Condition::Limit,
            priority: Priority::High,
            patient: Some(PatientId::new("Patient/8f2c")),
            device: Some(DeviceId("mqtt:cuff-17".into())),
            vital: Vital::parse("heart-rate"),
            text: "Heart rate 150 /min is above 120 /min".into(),
            evidence: evidence.iter().map(|r| r.key).collect(),
            raised: at,
            received: Stamp::at_ms(RECEIVED_MS),
            acknowledged: None,
            resolved: None,
            taken_back: None,
        },
    }
}
