//! AuditEvent: that data left, was read, or that the configuration changed; by whom, and whether it came about.
//!
//! Pure. Must never: say what the data were.

use serde_json::{Value, json};

use super::device::author;
use super::scope::Scope;
use super::types::{date_time, system};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// Readings were written to a file or sent in bulk.
    Export,
    /// A person read them here.
    Read,
    /// The configuration changed.
    Configured,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Audit<'a> {
    /// What.
    pub did: Did,
    /// Who, by name; none: the gateway itself.
    pub person: Option<&'a str>,
    /// Whose data, as the centre names them; empty: nobody's in particular.
    pub patients: &'a [&'a str],
    /// It did not come about.
    pub failed: bool,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// The AuditEvent.
pub fn audit_event(audit: &Audit<'_>, scope: &Scope) -> Value {
    let (kind, subtype, action) = match audit.did {
        Did::Export => ("110106", "Export", "R"),
        Did::Read => ("110110", "Patient Record", "R"),
        Did::Configured => ("110100", "Application Activity", "U"),
    };
    let mut agents = vec![json!({"who": author(scope), "requestor": audit.person.is_none()})];
    agents.extend(audit.person.map(|name| json!({"who": {"display": name}, "name": name, "requestor": true})));
    let patients = audit.patients.iter();
    let entities: Vec<_> = patients
        .map(|patient| {
            json!({
                "what": {"reference": patient},
                "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "1"},
                "role": {"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "1"},
            })
        })
        .collect();
    let mut out = json!({
        "resourceType": "AuditEvent",
        "type": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": kind, "display": subtype},
        "action": action,
        "recorded": date_time(audit.at_ms, true),
        "outcome": if audit.failed { "4" } else { "0" },
        "agent": agents,
        "source": {"observer": author(scope), "type": [{"system": system::AUDIT_SOURCE, "code": "4"}]},
    });
    if let (Some(map), false) = (out.as_object_mut(), entities.is_empty()) {
        map.insert("entity".into(), entities.into());
    }
    out
}
