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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Name given by the person.
    pub by: String,
    /// When.
    pub at: Stamp,
}

/// One alert with its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// When the condition had cleared.
    pub resolved: Option<Stamp>,
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
