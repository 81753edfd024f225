//! What bytes mean: a codec, or a table of fields. Must never: hold an expression.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::decimal::DecimalText;
use crate::reading::Quality;
use crate::vital::{Role, Site, Vital};

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
    /// Values of a stream, several in a minute: gathered to a mean for each period before they are delivered. Alert rules
    /// see each.
    #[serde(default)]
    pub stream: bool,
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
    /// Other things publish on this topic too: a message that holds nothing known is no defect.
    #[serde(default)]
    pub shared: bool,
    /// The same readings again within this many seconds are the same broadcast, heard again.
    #[serde(default)]
    pub repeats_s: Option<u16>,
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
#[serde(untagged, expecting = "expected a value, or a list of values: texts, whole numbers, true or false")]
pub enum OneOrMany {
    /// One.
    One(Literal),
    /// Any of them.
    Many(Vec<Literal>),
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number, true or false")]
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
#[serde(untagged, expecting = "expected a UCUM code, or { path, map }")]
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
