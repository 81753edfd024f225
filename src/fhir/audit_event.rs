//! AuditEvent: that data left, was read, or that something was set otherwise; by whom, and whether it came about.
//!
//! Pure. Must never: say what the data were.

use serde_json::{Value, json};

use super::bundle::{Single, Target, Write};
use super::device::author;
use super::scope::Scope;
use super::types::{date_time, system};
use crate::deed::Did;

/// Digits of a seal that make an id.
const ID_DIGITS: usize = 40;

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a> {
    /// What.
    pub did: Did,
    /// Who, by name; none: the gateway itself.
    pub person: Option<&'a str>,
    /// Whose data, as the centre names them; empty: nobody's in particular, or of nobody who may be named there.
    pub patients: &'a [&'a str],
    /// It did not come about.
    pub failed: bool,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Seal of the entry of the chain of custody that says so, hex: no other event has it.
    pub seal: &'a str,
}

impl Audit<'_> {
    /// The id at a server that takes ours.
    fn id(&self) -> String {
        format!("wl-{}", self.seal.get(..ID_DIGITS).unwrap_or(self.seal))
    }

    /// As it is sent. AuditEvent has no identifier to search for: where ids are the server's, it is simply created.
    pub fn single(&self, scope: &Scope, write: Write) -> Single {
        let mut body = audit_event(self, scope);
        let target = match write {
            Write::Update => {
                let id = self.id();
                let target = Target::put(format!("AuditEvent/{id}"));
                if let Some(map) = body.as_object_mut() {
                    map.insert("id".into(), id.into());
                }
                target
            }
            Write::ConditionalCreate => Target { method: "POST", url: "AuditEvent".into(), if_none_exist: None },
        };
        Single { target, body: body.to_string().into_bytes() }
    }
}

/// Code of DICOM's audit messages, its display, and what was done to the data (CRUDE).
fn kind(did: Did) -> (&'static str, &'static str, &'static str) {
    match did {
        Did::Exporting | Did::Exported => ("110106", "Export", "R"),
        Did::Read => ("110110", "Patient Record", "R"),
        Did::Configured => ("110100", "Application Activity", "U"),
        Did::Matched => ("110110", "Patient Record", "C"),
        Did::Consented
        | Did::Introduced
        | Did::Forgotten
        | Did::CodeGiven
        | Did::CodeForgotten
        | Did::Handed
        | Did::Ordered
        | Did::Assigned
        | Did::Corrected => ("110110", "Patient Record", "U"),
    }
}

/// The AuditEvent.
pub fn audit_event(audit: &Audit<'_>, scope: &Scope) -> Value {
    let (kind, display, action) = kind(audit.did);
    let mut agents = vec![json!({"who": author(scope), "requestor": audit.person.is_none()})];
    agents.extend(audit.person.map(|name| json!({"who": {"display": name}, "name": name, "requestor": true})));
    let patients = audit.patients.iter();
    let mut entities: Vec<_> = patients
        .map(|patient| {
            json!({
                "what": {"reference": patient},
                "type": {"system": system::AUDIT_ENTITY, "code": "1"},
                "role": {"system": system::OBJECT_ROLE, "code": "1"},
            })
        })
        .collect();
    entities.push(json!({
        "what": {"identifier": {"system": system::CUSTODY, "value": audit.seal}},
        "type": {"system": system::AUDIT_ENTITY, "code": "2"},
    }));
    json!({
        "resourceType": "AuditEvent",
        "type": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": kind, "display": display},
        "subtype": [{"system": system::DEED, "code": audit.did.word()}],
        "action": action,
        "recorded": date_time(audit.at_ms, true),
        "outcome": if audit.failed { "4" } else { "0" },
        "agent": agents,
        "source": {"observer": author(scope), "type": [{"system": system::AUDIT_SOURCE, "code": "4"}]},
        "entity": entities,
    })
}
