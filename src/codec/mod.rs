//! Wire encodings, one file each, pure: bytes in, a [`Record`] out, and the drafts it stands for.
//!
//! Order in every codec: length, integrity, flags, fields, trailing bytes. A record is decoded whole or rejected whole.
//! Must never: emit part of a record, or a number for a special value.

use crate::decimal::Decimal;
use crate::reading::{Absence, Draft, Reject, Value};

/// A decoded record: named fields in wire order. Prints as JSON under the names of the test vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record(pub Vec<(&'static str, Field)>);

/// One field of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// A number with its decimals.
    Number(Decimal),
    /// NaN, NRes, +INF, −INF, Reserved.
    Special(Special),
    /// Text.
    Text(String),
    /// Yes or no.
    Flag(bool),
    /// A field whose value is "unknown".
    Null,
    /// A list: status bits, RR intervals, CGM records.
    List(Vec<Field>),
    /// A nested record.
    Record(Record),
}

/// IEEE 11073-20601 special values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Not a number.
    NaN,
    /// Not at this resolution.
    NRes,
    /// Positive infinity.
    PositiveInfinity,
    /// Negative infinity.
    NegativeInfinity,
    /// Reserved for future use.
    Reserved,
}

/// An encoding in the registry.
pub struct Codec {
    /// Name in profiles and on the command line: `2A35`, `ADV:FCD2`.
    pub name: &'static str,
    /// What it is called: `Blood Pressure Measurement`.
    pub title: &'static str,
    /// Bytes to record.
    pub decode: fn(&[u8], Quirk) -> Result<Record, Reject>,
    /// Record to drafts; no drafts for features, control points and the like.
    pub drafts: fn(&Record) -> Vec<Draft>,
}

/// A deviation of a real device that its profile tolerates by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quirk {
    /// None: the characteristic as specified.
    #[default]
    None,
    /// Beurer BM85: user id without its flag, pulse and status big-endian, flag bit 6 set.
    BeurerBm85,
}

/// The codec of this name.
pub fn find(_name: &str) -> Option<&'static Codec> {
    None
}

impl From<Special> for Absence {
    /// Dossier §1.1.
    fn from(special: Special) -> Self {
        match special {
            Special::NaN => Self::NotANumber,
            Special::PositiveInfinity => Self::PositiveInfinity,
            Special::NegativeInfinity => Self::NegativeInfinity,
            Special::NRes | Special::Reserved => Self::Error,
        }
    }
}

impl Record {
    /// The field of this name.
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, f)| f)
    }

    /// The measured value of this name: a number or the reason for its absence. `None`: the field is not there.
    pub fn value(&self, name: &str) -> Option<Value> {
        match self.get(name)? {
            Field::Number(n) => Some(Value::Number(*n)),
            Field::Special(s) => Some(Value::Absent((*s).into())),
            _ => None,
        }
    }
}
