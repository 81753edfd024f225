//! A profile as it is written: one TOML file per device protocol version. Unknown keys are errors.
//!
//! This file says which keys there are; `compile.rs` says which combinations make sense.
//! Must never: hold an expression. What a table cannot say is a codec.

mod example;
mod plan;
mod rule;

use serde::Deserialize;

pub use example::{Example, ExampleFrame, Expected};
pub use plan::{ClockForm, Confirm, HistoryFrom, Matching, Pairing, PairingMethod, Session, Step, Subscription};
pub use rule::{
    Condition, ErrorRule, Format, IdRule, LabelRule, Literal, Meaning, NumberType, OneOrMany, PartRule, Plausible,
    Rule, TimeForm, TimeRule, ToldUnit, UnitRule, VitalRule,
};

/// A profile file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileFile {
    /// Stable id, also the name of the file: `a-z 0-9 -`.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// Who makes it; for a standard or a format, who publishes it.
    pub manufacturer: String,
    /// Models known to follow it.
    #[serde(default)]
    pub models: Vec<String>,
    /// How well the protocol is known.
    pub confidence: Confidence,
    /// Public documents that say so.
    pub sources: Vec<String>,
    /// What a technician should know.
    #[serde(default)]
    pub note: Option<String>,
    /// No public capture proves its bytes; the note says what is unproven.
    #[serde(default)]
    pub experimental: bool,
    /// How its bytes reach us.
    pub link: Link,
    /// Which Bluetooth devices it is for; empty: any that offers the characteristics.
    #[serde(default, rename = "match")]
    pub matching: Matching,
    /// Whether and how it bonds.
    #[serde(default)]
    pub pairing: Pairing,
    /// What to do while connected.
    #[serde(default)]
    pub session: Option<Session>,
    /// What its bytes mean.
    #[serde(rename = "decode")]
    pub rules: Vec<Rule>,
    /// Bounds narrower than those of the table of vitals.
    #[serde(default, rename = "plausible")]
    pub plausible: Vec<Plausible>,
    /// Frames with the readings they stand for.
    #[serde(default, rename = "example")]
    pub examples: Vec<Example>,
}

/// How well a protocol is known (marks of the standards dossier).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Confidence {
    /// Normative text and an implementation, or two independent implementations that agree.
    A,
    /// One normative source, or several that are not.
    B,
    /// One source that is not normative: prove it on the device before use.
    C,
}

/// How bytes reach us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// A Bluetooth LE connection.
    Ble,
    /// A Bluetooth LE broadcast: unauthenticated, without an owner.
    Advertisement,
    /// A broker.
    Mqtt,
}
