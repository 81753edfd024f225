//! A profile as it is written: one TOML file per device protocol version. Unknown keys are errors.
//!
//! This file says which keys there are; `compile.rs` says which combinations make sense.
//! Must never: hold an expression. What a table cannot say is a codec.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::decimal::DecimalText;
use crate::reading::Quality;
use crate::vital::{Role, Site, Vital};

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

/// Which Bluetooth devices a profile is for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matching {
    /// Advertised local names; `*` stands for any characters.
    pub names: Vec<String>,
    /// Services that the device offers, by UUID.
    pub services: Vec<String>,
    /// Company identifier of its manufacturer data.
    pub manufacturer: Option<u16>,
    /// Firmware revisions, from (inclusive) and to (exclusive).
    pub firmware: Option<Firmware>,
}

/// A range of firmware revisions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// From this one on.
    #[serde(default)]
    pub from: Option<String>,
    /// Before this one.
    #[serde(default)]
    pub before: Option<String>,
}

/// Whether and how a device bonds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pairing {
    /// The method.
    pub method: PairingMethod,
    /// What the patient does, step by step, in plain words.
    pub steps: Vec<String>,
}

/// How a device bonds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairingMethod {
    /// Not at all.
    #[default]
    None,
    /// Without a code.
    JustWorks,
    /// With the code that the device shows.
    Passkey,
}

/// What to do while connected, planned before the device wakes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// In this order.
    pub steps: Vec<Step>,
    /// What tells the device that a value has arrived, and when.
    pub confirm: Confirm,
    /// What can be lost between the device's send and our commit, in words.
    #[serde(default)]
    pub window: Option<String>,
}

/// One step of a session.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Bond now.
    Bond {},
    /// Read a characteristic.
    Read {
        /// UUID.
        characteristic: String,
    },
    /// Enable notifications or indications.
    Subscribe {
        /// UUID.
        characteristic: String,
        /// Which of the two.
        kind: Subscription,
    },
    /// Set the device's clock.
    WriteClock {
        /// UUID.
        characteristic: String,
        /// The service it lies in, where that is unusual.
        #[serde(default)]
        service: Option<String>,
    },
    /// Write fixed octets.
    Write {
        /// UUID.
        characteristic: String,
        /// Octets in hex.
        hex: String,
    },
    /// Fetch stored records through the record access control point.
    History {
        /// UUID of the control point.
        characteristic: String,
        /// Where to begin.
        from: HistoryFrom,
    },
    /// Wait until the device hangs up.
    AwaitDisconnect {},
}

/// How a value is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subscription {
    /// Unconfirmed.
    Notify,
    /// Confirmed by the link layer, before our commit.
    Indicate,
}

/// Where to begin with stored records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryFrom {
    /// After the last sequence number that is committed.
    LastSequence,
    /// All of them, each time.
    All,
}

/// When a device may forget a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confirm {
    /// We move its cursor, or let it delete, after the commit.
    AfterCommit,
    /// The link confirms by itself; what we control follows the commit.
    ByLink,
    /// It keeps nothing: what is not heard is gone.
    Nothing,
}

/// What the bytes of one characteristic, advertisement or topic mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// UUID of a characteristic.
    #[serde(default)]
    pub characteristic: Option<String>,
    /// UUID of the service whose data is broadcast.
    #[serde(default)]
    pub service: Option<String>,
    /// Topic pattern: literal levels, `+`, and one `{device}`.
    #[serde(default)]
    pub topic: Option<String>,
    /// A codec of the registry.
    #[serde(default)]
    pub codec: Option<String>,
    /// A deviation that the codec tolerates.
    #[serde(default)]
    pub quirk: crate::codec::Quirk,
    /// Hold a record that announces a context until the context says that it is no ketone value.
    #[serde(default)]
    pub hold_for_context: bool,
    /// A field table instead of a codec.
    #[serde(default)]
    pub format: Option<Format>,
    /// Path of the array whose elements are the readings; `$`: the message itself.
    #[serde(default)]
    pub each: Option<String>,
    /// Path of the device's id, where the topic has none.
    #[serde(default)]
    pub device: Option<String>,
    /// The message's id.
    #[serde(default)]
    pub id: Option<IdRule>,
    /// When the reading was taken.
    #[serde(default)]
    pub time: Option<TimeRule>,
    /// Path of the user slot, 0–255.
    #[serde(default)]
    pub slot: Option<String>,
    /// Paths that must not be there: their meaning is not understood.
    #[serde(default)]
    pub refuse: Vec<String>,
    /// Labels that the message's own flags put on its readings.
    #[serde(default)]
    pub labels: Vec<LabelRule>,
    /// Binary: the exact number of octets.
    #[serde(default)]
    pub length: Option<usize>,
    /// Binary: the first octets, in hex.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Binary: first octets of frames that hold no reading.
    #[serde(default)]
    pub ignore_prefixes: Vec<String>,
    /// Its vitals.
    #[serde(default, rename = "vital")]
    pub vitals: Vec<VitalRule>,
}

/// Wire format of a field table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 8259.
    Json,
    /// RFC 8949.
    Cbor,
    /// Fixed octets.
    Binary,
}

/// Where the message's id is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdRule {
    /// Path.
    pub path: String,
    /// It never repeats for another reading of the device, not even after a reset. Otherwise it counts only beside a time.
    #[serde(default)]
    pub unique: bool,
}

/// Where the time is, and in which form.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRule {
    /// Path.
    pub path: String,
    /// Form.
    pub form: TimeForm,
    /// A message without it is rejected.
    #[serde(default)]
    pub required: bool,
}

/// Forms of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeForm {
    /// `2026-11-22T10:00:00Z`; without an offset it is the device's local time.
    Iso8601,
    /// Seconds since 1970, with decimals where given.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
}

/// A label, and the field that puts it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRule {
    /// Path.
    pub path: String,
    /// One of these.
    pub is: OneOrMany,
    /// The label.
    pub label: Quality,
}

/// A field that must have one of some values.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Path; for a binary table none.
    #[serde(default)]
    pub path: Option<String>,
    /// One of these.
    #[serde(default)]
    pub is: Option<OneOrMany>,
    /// Binary: octet of the flag bit.
    #[serde(default)]
    pub at: Option<usize>,
    /// Binary: the bit, which must be set.
    #[serde(default)]
    pub bit: Option<u8>,
}

/// `"a"` or `["a", "b"]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(Literal),
    /// Any of them.
    Many(Vec<Literal>),
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Whole(i64),
    /// Text.
    Text(String),
}

/// A vital and where its numbers are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitalRule {
    /// Row of the table of vitals.
    pub vital: Vital,
    /// Only if.
    #[serde(default)]
    pub when: Option<Condition>,
    /// Its one value.
    #[serde(default)]
    pub value: Option<PartRule>,
    /// Systolic pressure.
    #[serde(default)]
    pub systolic: Option<PartRule>,
    /// Diastolic pressure.
    #[serde(default)]
    pub diastolic: Option<PartRule>,
    /// Mean pressure.
    #[serde(default)]
    pub mean: Option<PartRule>,
    /// A message without it is rejected.
    #[serde(default)]
    pub required: bool,
    /// Where on the body.
    #[serde(default)]
    pub site: Option<Site>,
    /// Labels that every such reading carries.
    #[serde(default)]
    pub quality: Vec<Quality>,
    /// The device's error field.
    #[serde(default)]
    pub errors: Option<ErrorRule>,
}

/// One number of a vital.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRule {
    /// Path in a message.
    #[serde(default)]
    pub path: Option<String>,
    /// Octet in a binary table.
    #[serde(default)]
    pub at: Option<usize>,
    /// How it is written.
    #[serde(default, rename = "type")]
    pub kind: Option<NumberType>,
    /// Its unit.
    pub unit: UnitRule,
    /// Multiplied by this.
    #[serde(default)]
    pub scale: Option<DecimalText>,
    /// Then this is added.
    #[serde(default)]
    pub offset: Option<DecimalText>,
    /// Values that are no measurement.
    #[serde(default)]
    pub special: BTreeMap<String, Meaning>,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberType {
    /// A number of JSON or CBOR.
    Number,
    /// Digits in a text.
    Text,
    /// Binary: unsigned octet.
    U8,
    /// Binary: signed octet.
    I8,
    /// Binary: unsigned, little-endian.
    U16,
    /// Binary: signed, little-endian.
    I16,
    /// Binary: unsigned, big-endian.
    U16be,
    /// Binary: signed, big-endian.
    I16be,
    /// Binary: unsigned, 24 bits, little-endian.
    U24,
    /// Binary: unsigned, 32 bits, little-endian.
    U32,
    /// Binary: unsigned, 32 bits, big-endian.
    U32be,
}

/// A unit: fixed, or told by the message.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum UnitRule {
    /// UCUM code.
    Fixed(String),
    /// A field and what its texts mean.
    Told(ToldUnit),
}

/// A field and what its texts mean as UCUM codes. Any other text rejects the message.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldUnit {
    /// Path.
    pub path: String,
    /// Text of the message → UCUM code.
    pub map: BTreeMap<String, String>,
}

/// What a value that is no measurement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// Nothing is wrong (error fields only).
    None,
    /// The device failed.
    Error,
    /// It did not measure.
    NotPerformed,
    /// It gives no reason.
    Unknown,
    /// Not a number.
    NotANumber,
    /// Beyond its upper range.
    AboveRange,
    /// Beyond its lower range.
    BelowRange,
}

/// The device's error field. A text that is not in the table rejects the message.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// Path.
    pub path: String,
    /// Text or number of the message → what it means.
    pub codes: BTreeMap<String, Meaning>,
}

/// Bounds narrower than those of the table of vitals; beyond them a value is labelled implausible.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plausible {
    /// Which vital.
    pub vital: Vital,
    /// Which number of it.
    #[serde(default = "value_role")]
    pub role: Role,
    /// Lowest plausible value.
    pub min: DecimalText,
    /// Highest plausible value.
    pub max: DecimalText,
    /// Their unit.
    pub unit: String,
}

fn value_role() -> Role {
    Role::Value
}

/// A frame with the readings it stands for, or the code with which it is rejected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What it shows.
    pub name: String,
    /// Where the bytes are from: captured, quoted from a document, or constructed.
    pub origin: String,
    /// Frames that the device sent before.
    #[serde(default)]
    pub before: Vec<ExampleFrame>,
    /// The frame.
    pub frame: ExampleFrame,
    /// Which device it is from, if the message says so.
    #[serde(default)]
    pub device: Option<String>,
    /// What it means.
    #[serde(default)]
    pub readings: Vec<Expected>,
    /// The code with which it is rejected.
    #[serde(default)]
    pub reject: Option<String>,
}

/// The bytes of an example and their way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleFrame {
    /// UUID of the characteristic.
    #[serde(default)]
    pub characteristic: Option<String>,
    /// The device's local name.
    #[serde(default)]
    pub name: Option<String>,
    /// UUID of the broadcast service.
    #[serde(default)]
    pub service: Option<String>,
    /// Topic.
    #[serde(default)]
    pub topic: Option<String>,
    /// Octets in hex; spaces are allowed.
    #[serde(default)]
    pub hex: Option<String>,
    /// Text, for JSON.
    #[serde(default)]
    pub text: Option<String>,
}

/// An expected reading. What is not stated must not be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Which vital.
    pub vital: String,
    /// Its one value with its decimals, or the reason for its absence.
    #[serde(default)]
    pub value: Option<String>,
    /// Systolic pressure.
    #[serde(default)]
    pub systolic: Option<String>,
    /// Diastolic pressure.
    #[serde(default)]
    pub diastolic: Option<String>,
    /// Mean pressure.
    #[serde(default)]
    pub mean: Option<String>,
    /// UCUM code.
    pub unit: String,
    /// The device's time: local, or with an offset.
    #[serde(default)]
    pub time: Option<String>,
    /// Record number or message id.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// User slot.
    #[serde(default)]
    pub slot: Option<u8>,
    /// Body site.
    #[serde(default)]
    pub site: Option<String>,
    /// Labels.
    #[serde(default)]
    pub quality: Vec<Quality>,
    /// From the device's memory.
    #[serde(default)]
    pub stored: bool,
}
