//! A decoded record: named fields in wire order, as JSON under the names of the test vectors.
//!
//! Must never: print what was measured in `Debug`.

use std::borrow::Cow;
use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::date_time::DateTime;
use super::ieee11073::Real;
use crate::decimal::Decimal;
use crate::reading::{Absence, Value};

/// The field that says that reserved bits or a device's quirk were tolerated.
pub(super) const QUIRK: &str = "quirk";

/// A decoded record: named fields in wire order.
#[derive(Clone, Default, PartialEq)]
pub struct Record(pub Vec<(&'static str, Field)>);

/// One field of a record.
#[derive(Clone, PartialEq)]
pub enum Field {
    /// A number with its decimals.
    Number(Decimal),
    /// A code that stands in place of a number.
    Special(Special),
    /// A device's date and time, without a zone.
    Time(DateTime),
    /// Text.
    Text(Cow<'static, str>),
    /// Yes or no.
    Flag(bool),
    /// A field whose value is "unknown", or illegal where the record can do without it.
    Null,
    /// A list: status bits, RR intervals, CGM records.
    List(Vec<Field>),
    /// A nested record.
    Record(Record),
}

/// A code in place of a number: the IEEE 11073-20601 special values, and "measurement unsuccessful" (0xFFFF) of scales.
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
    /// Measurement unsuccessful.
    Unsuccessful,
}

impl Special {
    /// As in the test vectors.
    pub fn name(self) -> &'static str {
        match self {
            Self::NaN => "NaN",
            Self::NRes => "NRes",
            Self::PositiveInfinity => "+INF",
            Self::NegativeInfinity => "-INF",
            Self::Reserved => "Reserved",
            Self::Unsuccessful => "unsuccessful",
        }
    }
}

impl From<Special> for Absence {
    /// Dossier §1.1.
    fn from(special: Special) -> Self {
        match special {
            Special::NaN => Self::NotANumber,
            Special::PositiveInfinity => Self::PositiveInfinity,
            Special::NegativeInfinity => Self::NegativeInfinity,
            Special::NRes | Special::Reserved | Special::Unsuccessful => Self::Error,
        }
    }
}

impl Record {
    /// Appends a field.
    pub fn put(&mut self, name: &'static str, field: impl Into<Field>) {
        self.0.push((name, field.into()));
    }

    /// Says that reserved bits were set, if they were.
    pub(super) fn reserved(&mut self, set: bool) {
        if set && self.get(QUIRK).is_none() {
            self.put(QUIRK, "reserved-bits");
        }
    }

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

    /// A whole number that is not negative.
    pub fn whole(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Field::Number(n) if n.exponent() == 0 => u64::try_from(n.mantissa()).ok(),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Field::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this flag is there and set.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == Some(&Field::Flag(true))
    }

    /// A nested record.
    pub fn record(&self, name: &str) -> Option<&Record> {
        match self.get(name)? {
            Field::Record(r) => Some(r),
            _ => None,
        }
    }

    /// The members of a list; none where it is not there.
    pub fn list(&self, name: &str) -> &[Field] {
        match self.get(name) {
            Some(Field::List(members)) => members,
            _ => &[],
        }
    }

    /// Whether a list holds one of these names: a status bit is set.
    pub fn says(&self, list: &str, names: &[&str]) -> bool {
        self.list(list).iter().any(|f| matches!(f, Field::Text(t) if names.contains(&t.as_ref())))
    }

    /// No checksum in it is broken.
    pub fn intact(&self) -> bool {
        !self.any(&|name, field| name == "crc_ok" && *field == Field::Flag(false))
    }

    /// Reserved bits or a device's quirk were tolerated.
    pub fn tolerated(&self) -> bool {
        self.any(&|name, _| name == QUIRK)
    }

    /// Whether a field, at any depth, is such.
    fn any(&self, is: &dyn Fn(&str, &Field) -> bool) -> bool {
        self.0.iter().any(|(name, field)| is(name, field) || field.any(is))
    }

    /// As one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Field {
    fn any(&self, is: &dyn Fn(&str, &Field) -> bool) -> bool {
        match self {
            Self::Record(r) => r.any(is),
            Self::List(members) => members.iter().any(|m| m.any(is)),
            _ => false,
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(n, _)| n)).finish()
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Field(…)")
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, field)| map.serialize_entry(name, field))?;
        map.end()
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(n) => n.serialize(s),
            Self::Special(special) => s.serialize_str(special.name()),
            Self::Time(time) => s.collect_str(time),
            Self::Text(text) => s.serialize_str(text),
            Self::Flag(flag) => s.serialize_bool(*flag),
            Self::Null => s.serialize_unit(),
            Self::List(members) => s.collect_seq(members),
            Self::Record(record) => record.serialize(s),
        }
    }
}

impl From<Real> for Field {
    fn from(real: Real) -> Self {
        match real {
            Real::Number(n) => Self::Number(n),
            Real::Special(s) => Self::Special(s),
        }
    }
}

impl From<&'static str> for Field {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<T: Into<Field>> From<Option<T>> for Field {
    fn from(field: Option<T>) -> Self {
        field.map_or(Self::Null, Into::into)
    }
}

macro_rules! into_field {
    ($($from:ty => $variant:ident($into:expr)),* $(,)?) => {
        $(impl From<$from> for Field {
            fn from(value: $from) -> Self {
                Self::$variant($into(value))
            }
        })*
    };
}
into_field! {
    bool => Flag(std::convert::identity),
    String => Text(Cow::Owned),
    Decimal => Number(std::convert::identity),
    DateTime => Time(std::convert::identity),
    Vec<Field> => List(std::convert::identity),
    Record => Record(std::convert::identity),
    Special => Special(std::convert::identity),
    u8 => Number(whole),
    i8 => Number(whole),
    u16 => Number(whole),
    i16 => Number(whole),
    i32 => Number(whole),
    u32 => Number(whole),
    i64 => Number(whole),
}

fn whole(value: impl Into<i64>) -> Decimal {
    Decimal::from(value.into())
}

/// The names of the bits that are set, in order.
pub(super) fn bits(raw: u32, names: &[(u8, &'static str)]) -> Field {
    let set = names.iter().filter(|(bit, _)| raw & 1 << bit != 0);
    Field::List(set.map(|(_, name)| Field::from(*name)).collect())
}

/// Whether bits without a name are set.
pub(super) fn unnamed(raw: u32, names: &[(u8, &'static str)]) -> bool {
    names.iter().fold(raw, |left, (bit, _)| left & !(1 << bit)) != 0
}

/// The name of a code: its place in the list, or `reserved:7`.
pub(super) fn name(code: u8, names: &[&'static str]) -> Field {
    match names.get(usize::from(code)) {
        Some(name) if !name.is_empty() => Field::from(*name),
        _ => Field::from(format!("reserved:{code}")),
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> Field {
    Field::from(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
}
