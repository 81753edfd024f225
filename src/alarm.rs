//! Alerts as records: what was detected, for whom, how urgent, and what happened to it since.
//!
//! Vocabulary of IEC 60601-1-8 (priority, latched, acknowledged, technical condition). Not a certified alarm system.
//! Records only: the rules and the life cycle are in `alert/`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::reading::{DeviceId, PatientId, ReadingKey};
use crate::vital::Vital;

/// Identity of an alert: 32 hex digits, the same at every destination and after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AlertId(pub Arc<str>);

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How soon a person must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Awareness.
    Low,
    /// Prompt response.
    Medium,
    /// Immediate response.
    High,
}

/// What kind of condition it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// A value beyond a limit, owner and value beyond doubt.
    Limit,
    /// A value beyond a limit whose value, owner or consent is in doubt: "unconfirmed critical value".
    Unconfirmed,
    /// A value beyond a limit that may be old: recorded, never paged as "now".
    Retrospective,
    /// The gateway or a device cannot do its work.
    Technical,
}

/// Who acknowledged, and when.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Name given by the person.
    pub by: String,
    /// When.
    pub at: Stamp,
}

impl fmt::Debug for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acknowledged(…, {})", self.at.wall_ms)
    }
}

/// One alert with its state. Redacts whose it is and what was measured.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Identity.
    pub id: AlertId,
    /// The rule that raised it.
    pub rule: Arc<str>,
    /// What kind of condition.
    pub condition: Condition,
    /// How soon a person must act.
    pub priority: Priority,
    /// Whose. `None`: unassigned device, or a technical condition.
    pub patient: Option<PatientId>,
    /// Which device.
    pub device: Option<DeviceId>,
    /// Which vital sign.
    pub vital: Option<Vital>,
    /// What a care manager reads: limit and value with unit. Patient data: never logged.
    pub text: String,
    /// The readings that raised it, the last one last.
    pub evidence: Vec<ReadingKey>,
    /// When the condition was found.
    pub raised: Stamp,
    /// Receipt of the frame that raised it, for the latency that counts.
    pub received: Stamp,
    /// Acknowledgement, if any.
    pub acknowledged: Option<Acknowledged>,
    /// When the condition had cleared, or the alert was taken back.
    pub resolved: Option<Stamp>,
    /// Who took back all that it rests on: it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<Acknowledged>,
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Alert");
        s.field("id", &self.id.0).field("rule", &self.rule).field("condition", &self.condition);
        s.field("priority", &self.priority).field("acknowledged", &self.acknowledged.is_some());
        s.field("resolved", &self.resolved.is_some()).finish_non_exhaustive()
    }
}

/// What happened to an alert; append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Happened {
    /// The condition was found.
    Raised,
    /// A person took it.
    Acknowledged,
    /// The condition cleared.
    Resolved,
    /// All that it rests on was taken back.
    #[serde(rename = "taken-back")]
    TakenBack,
}

/// One event with the alert as it stands after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// What happened.
    pub happened: Happened,
    /// When.
    pub at: Stamp,
    /// The alert after it.
    pub alert: Alert,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_patient_nor_value_nor_name() {
        let at = Stamp::at_ms(1_000);
        let alert = Alert {
            id: AlertId("00ff".into()),
            rule: "bp-high".into(),
            condition: Condition::Limit,
            priority: Priority::High,
            patient: Some(PatientId::new("Patient/canary")),
            device: Some(DeviceId("ble:canary".into())),
            vital: Vital::parse("blood-pressure"),
            text: "Systolic blood pressure 186 canary".into(),
            evidence: vec![ReadingKey([0xca; 16])],
            raised: at,
            received: at,
            acknowledged: Some(Acknowledged { by: "Canary".into(), at }),
            resolved: None,
            taken_back: None,
        };
        let event = AlertEvent { happened: Happened::Raised, at, alert: alert.clone() };
        let shown = format!("{event:?} {alert:#?} {:?}", alert.acknowledged).to_lowercase();
        assert!(!shown.contains("canary") && !shown.contains("186") && !shown.contains("caca"), "{shown}");
        assert!(shown.contains("bp-high"));
    }
}
