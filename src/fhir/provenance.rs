//! Provenance: which device measured, which gateway assembled, who entered a correction.
//!
//! Pure. It goes within what it is about, so that neither comes without the other and no server has to look for doubles.
//! Must never: hold more of a person than the name that the decision bears, or tell one patient's chart of another's.

use serde_json::{Value, json};

use super::device::{Device, author};
use super::scope::Scope;
use super::types::{date_time, system};
use crate::amendment::{Amendment, Kind};
use crate::reading::Reading;

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
    /// In words that may leave the house.
    pub reason: Option<&'a str>,
    /// Milliseconds since 1970.
    pub recorded_ms: i64,
}

/// The Provenance of these targets (`Observation/…`, with a version where one is known; `#`: what it is within).
pub fn provenance(targets: &[&str], why: Why, origin: &Origin<'_>, scope: &Scope) -> Value {
    let device = Device::new(origin.device);
    let mut agents = vec![agent("author", json!(device.outside(scope))), agent("assembler", json!(author(scope)))];
    agents.extend(origin.person.map(|name| agent("enterer", json!({"display": name}))));
    let code = match why {
        Why::Record => "CREATE",
        Why::Withdrawal => "NULLIFY",
        Why::Replacement => "UPDATE",
    };
    let mut out = json!({
        "resourceType": "Provenance",
        "target": targets.iter().map(|target| json!({"reference": target})).collect::<Vec<_>>(),
        "recorded": date_time(origin.recorded_ms, true),
        "activity": {"coding": [{"system": system::DATA_OPERATION, "code": code}]},
        "agent": agents,
    });
    if let (Some(reason), Some(map)) = (origin.reason, out.as_object_mut()) {
        map.insert("reason".into(), json!([{"text": reason}]));
    }
    out
}

/// Of a correction: within the Observation that it is about. The person's reason stays here.
pub(super) fn within(reading: &Reading, amendment: &Amendment, scope: &Scope) -> Value {
    let why = match amendment.kind {
        Kind::Withdrawal => Why::Withdrawal,
        Kind::Replacement => Why::Replacement,
    };
    let person = Some(&*amendment.by);
    let origin = Origin { device: &reading.device.0, person, reason: None, recorded_ms: amendment.at_ms };
    let mut out = provenance(&["#"], why, &origin, scope);
    if let Some(map) = out.as_object_mut() {
        map.insert("id".into(), "correction".into());
    }
    out
}

fn agent(code: &str, who: Value) -> Value {
    json!({"type": {"coding": [{"system": system::PARTICIPANT, "code": code}]}, "who": who})
}
