//! What a centre orders for a patient: limits of alert rules, measurements that are expected, and what the patient consents
//! to; each with where it came from, how it stands, and what happened to it.
//!
//! Must never: stand without the destination and the resource that it came from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;
use crate::reading::PatientId;
use crate::unit::Unit;
use crate::vital::{Role, Vital};

/// Which way is out of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edge {
    /// Larger values are beyond.
    High,
    /// Smaller values are beyond.
    Low,
}

/// One edge of a Goal's target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// LOINC code of what is measured.
    pub loinc: String,
    /// Which way is out.
    pub edge: Edge,
    /// The bound itself is beyond (`<` and `>`; not `<=`, `>=` and ranges).
    pub inclusive: bool,
    /// The number, exactly as written.
    pub value: Decimal,
    /// UCUM code, as written.
    pub unit: String,
}

/// What is ordered, once it is known to make sense here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    /// A limit in the place of a rule's.
    Limit {
        /// Id of the rule.
        rule: String,
        /// The vital sign that was named.
        vital: Vital,
        /// Which number of it.
        role: Role,
        /// Which way is out.
        edge: Edge,
        /// The bound itself is beyond.
        inclusive: bool,
        /// The number.
        value: Decimal,
        /// Its unit.
        unit: Unit,
    },
    /// A measurement that is expected so often.
    Expect {
        /// Of this vital sign.
        vital: Vital,
        /// At least once in this time, seconds.
        every_s: u64,
    },
    /// Readings of these categories may go to the destination that says so, or may not (a Consent).
    Share {
        /// They may.
        permitted: bool,
        /// Each by itself, or `general` and `all` in a word.
        categories: Vec<String>,
        /// From then on, milliseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_ms: Option<i64>,
        /// Up to then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<i64>,
    },
}

impl Aim {
    /// "heart-rate-high: at or above 100 /min".
    pub fn words(&self) -> String {
        match self {
            Self::Limit { rule, edge, inclusive, value, unit, .. } => {
                let side = if *edge == Edge::High { "above" } else { "below" };
                let at = if *inclusive { "at or " } else { "" };
                format!("{rule}: {at}{side} {value} {}", unit.display())
            }
            Self::Expect { vital, every_s } => format!("{} expected every {}", vital.id, span(*every_s)),
            Self::Share { permitted, categories, from_ms, until_ms } => {
                let may = if *permitted { "consent to" } else { "no consent to" };
                let time = |word: &str, ms: &Option<i64>| {
                    let at = ms.and_then(|ms| jiff::Timestamp::from_second(ms.div_euclid(1_000)).ok());
                    at.map_or_else(String::new, |at| format!(" {word} {at}"))
                };
                format!("{may} {}{}{}", categories.join(", "), time("from", from_ms), time("until", until_ms))
            }
        }
    }

    /// What only one order can be in force of: a rule, or the measurements of a vital sign.
    pub fn place(&self) -> &str {
        match self {
            Self::Limit { rule, .. } => rule,
            Self::Expect { vital, .. } => vital.id,
            Self::Share { .. } => "consent",
        }
    }

    /// Whether both would be in force in the same place.
    pub fn competes(&self, other: &Self) -> bool {
        if matches!(self, Self::Share { .. }) {
            // Several consents stand beside each other.
            return self == other;
        }
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.place() == other.place()
    }
}

/// "2 d", "12 h", "30 min".
pub fn span(seconds: u64) -> String {
    match seconds {
        s if s >= 86_400 && s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s >= 3_600 && s % 3_600 == 0 => format!("{} h", s / 3_600),
        s => format!("{} min", s / 60),
    }
}

/// How an order stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A person must accept it.
    Proposed,
    /// In force.
    InForce,
    /// It makes no sense here: code and reason.
    Refused {
        /// Stable code.
        code: String,
        /// One sentence.
        why: String,
    },
    /// A person does not want it.
    Declined {
        /// Why.
        why: String,
    },
    /// Another order stands in its place.
    Superseded,
    /// The centre took it back.
    Withdrawn,
}

impl State {
    /// As people read it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Proposed => "waits",
            Self::InForce => "in force",
            Self::Refused { .. } => "refused",
            Self::Declined { .. } => "declined",
            Self::Superseded => "superseded",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether it may still come into force, or is.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Proposed | Self::InForce)
    }
}

/// One order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// 12 hex digits, from where it came from and what it says.
    pub id: String,
    /// The destination that it came from.
    pub destination: String,
    /// The resource there: `Goal/17`.
    pub resource: String,
    /// Which version of it, where the centre said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whose it is.
    pub patient: PatientId,
    /// What is ordered. `None`: it was not understood.
    pub aim: Option<Aim>,
    /// When the centre last changed the resource, by its clock.
    pub updated_ms: Option<i64>,
    /// When it was first seen here.
    pub seen_ms: i64,
    /// How it stands.
    pub state: State,
    /// Who brought it there: a person, `centre`, or `policy`.
    pub by: String,
    /// When.
    pub at_ms: i64,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("id", &self.id).field("state", &self.state.word()).finish_non_exhaustive()
    }
}

impl Order {
    /// Where it came from, to the version.
    pub fn reference(&self) -> String {
        match &self.version {
            Some(version) => format!("{}/_history/{version}", self.resource),
            None => self.resource.clone(),
        }
    }

    /// What it orders, in words.
    pub fn words(&self) -> String {
        self.aim.as_ref().map_or_else(|| "not understood".into(), Aim::words)
    }
}

/// A line of the record: what happened to an order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at_ms: i64,
    /// The order.
    pub order: String,
    /// Its state by then, in a word.
    pub what: String,
    /// Who: a person, `centre`, or `policy`.
    pub by: String,
    /// What was in force in its place before, in words; empty: the rule's own limit, or nothing.
    pub old: String,
    /// What is in force there now.
    pub new: String,
    /// Code and reason, where there is one.
    pub why: String,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("order", &self.order).field("what", &self.what).finish_non_exhaustive()
    }
}
