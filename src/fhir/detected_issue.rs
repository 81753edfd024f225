//! Alert to DetectedIssue: what was detected, for whom, how severe, on which evidence, and who took it.
//! An unconfirmed value is `preliminary`; an acknowledgement is a `mitigation`. Must never: name an owner that is in doubt.

use serde::Serialize;

use super::alert::Pointer;
use super::device::author;
use super::scope::Scope;
use super::types::{Coding, Concept, Identifier, One, Reference, moment, system, text};
use crate::alarm::{Alert, Condition, Priority};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DetectedIssue<'a> {
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    identifier: [Identifier<'a>; 1],
    status: &'static str,
    code: One<'a>,
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<Reference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identified_date_time: Option<String>,
    author: Reference<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    implicated: Vec<Reference<'a>>,
    detail: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mitigation: Vec<Mitigation<'a>>,
}

#[derive(Serialize)]
struct Mitigation<'a> {
    action: One<'static>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    author: Reference<'a>,
}

/// The DetectedIssue's JSON. `implicated`: where the evidence is.
pub(super) fn json(alert: &Alert, scope: &Scope, id: Option<&str>, implicated: &[Pointer]) -> Vec<u8> {
    let mut mitigation = Vec::new();
    if let Some(ack) = &alert.acknowledged {
        let date = moment(ack.at);
        mitigation.push(Mitigation { action: text("Acknowledged"), date, author: Reference::named(&ack.by) });
    }
    if let Some(person) = &alert.taken_back {
        let date = moment(person.at);
        mitigation.push(Mitigation { action: text(TAKEN_BACK), date, author: Reference::named(&person.by) });
    } else if let Some(at) = alert.resolved {
        let date = moment(at);
        mitigation.push(Mitigation { action: text("Condition cleared"), date, author: author(scope) });
    }
    let resource = DetectedIssue {
        resource_type: "DetectedIssue",
        id,
        identifier: [Identifier { system: system::ALERT, value: &alert.id.0 }],
        status: match alert.condition {
            _ if alert.taken_back.is_some() => "entered-in-error",
            Condition::Unconfirmed => "preliminary",
            Condition::Limit | Condition::Retrospective | Condition::Technical => "final",
        },
        code: Concept { coding: Some([Coding::new(system::RULE, &alert.rule)]), text: Some(title(alert.condition)) },
        severity: match alert.priority {
            Priority::High => "high",
            Priority::Medium => "moderate",
            Priority::Low => "low",
        },
        patient: alert.patient.as_ref().map(|p| Reference::to(p.reveal())),
        identified_date_time: moment(alert.raised),
        author: author(scope),
        implicated: implicated.iter().map(Pointer::reference).collect(),
        detail: &alert.text,
        mitigation,
    };
    // Nothing in these types fails to serialise.
    serde_json::to_vec(&resource).unwrap_or_default()
}

/// Nothing was detected: the readings were another's, or were read wrong.
pub(super) const TAKEN_BACK: &str = "Readings taken back";

/// What a condition is called.
pub(super) fn title(condition: Condition) -> &'static str {
    match condition {
        Condition::Limit => "Value beyond its limit",
        Condition::Unconfirmed => "Unconfirmed critical value",
        Condition::Retrospective => "Earlier value beyond its limit",
        Condition::Technical => "Technical condition",
    }
}
