//! Alert to Task: the work that somebody has to do, with its owner and how far it is.
//! Requested until a person takes it; a condition that clears by itself does not finish it. Must never: complete a Task that nobody took.

use serde::Serialize;

use super::detected_issue::title;
use super::device::author;
use super::scope::Scope;
use super::task_update::{TAKEN_HERE, over};
use super::types::{Annotation, Identifier, One, Reference, moment, system, text};
use crate::alarm::{AlertEvent, Priority};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Task<'a> {
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    identifier: [Identifier<'a>; 1],
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    business_status: Option<One<'static>>,
    intent: &'static str,
    priority: &'static str,
    code: One<'static>,
    description: &'a str,
    focus: Reference<'a>,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    patient: Option<Reference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authored_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    requester: Reference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Reference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<[Annotation<'a>; 1]>,
}

/// The Task's JSON. `focus`: URL of the DetectedIssue; without one it is named by its identifier.
pub(super) fn json(
    event: &AlertEvent,
    scope: &Scope,
    owner: Option<&str>,
    id: Option<&str>,
    focus: Option<&str>,
) -> Vec<u8> {
    let alert = &event.alert;
    let resource = Task {
        resource_type: "Task",
        id,
        identifier: [Identifier { system: system::ALERT, value: &alert.id.0 }],
        status: match (&alert.acknowledged, alert.resolved) {
            _ if alert.taken_back.is_some() => "entered-in-error",
            (None, _) => "requested",
            (Some(_), None) => "accepted",
            (Some(_), Some(_)) => "completed",
        },
        business_status: over(alert).map(|(word, _)| text(word)),
        intent: "order",
        priority: match alert.priority {
            Priority::High => "stat",
            Priority::Medium => "urgent",
            Priority::Low => "routine",
        },
        code: text(title(alert.condition)),
        description: &alert.text,
        focus: focus.map_or_else(|| Reference::known_as("DetectedIssue", system::ALERT, &alert.id.0), Reference::to),
        patient: alert.patient.as_ref().map(|p| Reference::to(p.reveal())),
        authored_on: moment(alert.raised),
        last_modified: moment(event.at),
        requester: author(scope),
        owner: owner.map(Reference::to),
        note: alert.acknowledged.as_ref().map(|ack| {
            let time = moment(ack.at);
            [Annotation { author: Some(&ack.by), time, text: TAKEN_HERE }]
        }),
    };
    // Nothing in these types fails to serialise.
    serde_json::to_vec(&resource).unwrap_or_default()
}
