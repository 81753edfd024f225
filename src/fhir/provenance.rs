//! Provenance: which device measured, which gateway assembled, who entered a correction, and why.
//!
//! Pure; one for each correction. Must never: hold more of a person than the name that the decision bears.

use serde_json::{Value, json};

use super::device::{Device, author};
use super::scope::Scope;
use super::types::{date_time, system};

/// What came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The resource was entered in error, and is withdrawn.
    Withdrawal,
    /// It takes the place of one that was withdrawn.
    Replacement,
    /// It was recorded by a device.
    Record,
}

/// Where a resource comes from.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// The device that measured, by its id here.
    pub device: &'a str,
    /// The person who corrected, by the name of the decision.
    pub person: Option<&'a str>,
    /// Why, in that person's words.
    pub reason: Option<&'a str>,
    /// Milliseconds since 1970.
    pub recorded_ms: i64,
}

/// The Provenance of these targets (`Observation/…`, with a version where one is known).
/// `before`: what a replacement took the place of.
pub fn provenance(targets: &[&str], why: Why, origin: &Origin<'_>, before: Option<&str>, scope: &Scope) -> Value {
    let device = Device::new(origin.device);
    let mut agents = vec![agent("author", json!(device.outside(scope))), agent("assembler", json!(author(scope)))];
    agents.extend(origin.person.map(|name| agent("enterer", json!({"display": name}))));
    let mut out = json!({
        "resourceType": "Provenance",
        "target": targets.iter().map(|target| json!({"reference": target})).collect::<Vec<_>>(),
        "recorded": date_time(origin.recorded_ms, true),
        "activity": {"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation",
            "code": match why { Why::Record => "CREATE", Why::Withdrawal => "NULLIFY", Why::Replacement => "UPDATE" },
        }]},
        "agent": agents,
    });
    let Some(map) = out.as_object_mut() else { return out };
    if let Some(reason) = origin.reason {
        map.insert("reason".into(), json!([{"text": reason}]));
    }
    if let Some(before) = before {
        map.insert("entity".into(), json!([{"role": "revision", "what": {"reference": before}}]));
    }
    out
}

fn agent(code: &str, who: Value) -> Value {
    json!({"type": {"coding": [{"system": system::PARTICIPANT, "code": code}]}, "who": who})
}
