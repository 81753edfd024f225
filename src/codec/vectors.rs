//! Test vectors in the format of the standards dossier: octets, and the fields that a decoder must find in them.
//!
//! Numbers compare numerically. Every expected field must be there and equal; a field beyond them is a mismatch unless
//! it says nothing (false, null, an empty list) or is one of [`ADDITIONAL`].

use serde::Deserialize;
use serde_json::{Map, Value};

use super::record::{Field, QUIRK, Record};
use super::{Quirk, find, reject};
use crate::decimal::Decimal;
use crate::reading::Reject;

/// Fields that a record may have beyond the vectors': what was tolerated, and a broadcaster's own clock.
const ADDITIONAL: [&str; 2] = [QUIRK, super::adv_mi_scale::CLOCK];

/// A file of vectors.
#[derive(Deserialize)]
pub struct Vectors {
    vectors: Vec<Vector>,
}

/// One vector; what else it says (source, licence, note) is for people.
#[derive(Deserialize)]
struct Vector {
    id: String,
    characteristic: String,
    hex: String,
    expected: Map<String, Value>,
    quirk: Option<String>,
}

/// What became of a file of vectors.
#[derive(Default)]
pub struct Report {
    /// How many agree.
    pub passed: usize,
    /// One line per vector that does not.
    pub mismatches: Vec<String>,
}

impl Vectors {
    /// Decodes each vector and compares.
    pub fn check(&self) -> Report {
        let mut report = Report::default();
        for vector in &self.vectors {
            match vector.check() {
                Ok(()) => report.passed += 1,
                Err(why) => report.mismatches.push(format!("{}: {why}", vector.id)),
            }
        }
        report
    }

    /// The octets of each vector with its characteristic: seeds for a fuzzer.
    pub fn octets(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.vectors.iter().filter_map(|v| Some((v.characteristic.as_str(), octets(&v.hex).ok()?)))
    }
}

impl Vector {
    fn check(&self) -> Result<(), String> {
        let plain = |r: Reject| r.to_string();
        let codec = find(&self.characteristic).ok_or(reject::UNKNOWN_CODEC).map_err(plain)?;
        let quirk: Quirk = self.quirk.as_deref().unwrap_or("none").parse().map_err(plain)?;
        let bytes = octets(&self.hex).map_err(plain)?;
        if self.expected.get("error") == Some(&Value::Bool(true)) {
            return match codec.decode(&bytes, quirk) {
                Err(_) => Ok(()),
                Ok(record) => Err(format!("expected a rejection, got {}", record.to_json())),
            };
        }
        let record = codec.inspect(&bytes, quirk).map_err(|r| format!("expected a record, got {r}"))?;
        let differences = differences(&self.expected, &record);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
    }
}

fn differences(expected: &Map<String, Value>, record: &Record) -> Vec<String> {
    let shown = |field| serde_json::to_string(field).unwrap_or_default();
    let wrong = expected.iter().filter_map(|(name, want)| match record.get(name) {
        None => Some(format!("{name}: expected {want}, got nothing")),
        Some(field) if equal(want, field) => None,
        Some(field) => Some(format!("{name}: expected {want}, got {}", shown(field))),
    });
    let beyond = record.0.iter().filter_map(|(name, field)| {
        let silent = matches!(field, Field::Flag(false) | Field::Null) || *field == Field::List(Vec::new());
        let known = expected.contains_key(*name) || silent || ADDITIONAL.contains(name);
        (!known).then(|| format!("{name}: expected nothing, got {}", shown(field)))
    });
    wrong.chain(beyond).collect()
}

fn equal(expected: &Value, field: &Field) -> bool {
    match (expected, field) {
        (Value::Null, Field::Null) => true,
        (Value::Bool(want), Field::Flag(got)) => want == got,
        (Value::Number(want), Field::Number(got)) => want.to_string().parse::<Decimal>() == Ok(*got),
        (Value::String(want), Field::Text(got)) => want == got,
        (Value::String(want), Field::Special(got)) => want == got.name(),
        (Value::String(want), Field::Time(got)) => *want == got.to_string(),
        (Value::Array(want), Field::List(got)) => {
            want.len() == got.len() && want.iter().zip(got).all(|(w, g)| equal(w, g))
        }
        (Value::Object(want), Field::Record(got)) => differences(want, got).is_empty(),
        _ => false,
    }
}

/// Octets from pairs of hexadecimal digits; spaces and colons may stand between them.
pub fn octets(hex: &str) -> Result<Vec<u8>, Reject> {
    let digits = hex.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b':');
    let nibbles: Option<Vec<u8>> =
        digits.map(|b| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let nibbles = nibbles.ok_or(reject::BAD_HEX)?;
    let (pairs, []) = nibbles.as_chunks() else { return Err(reject::BAD_HEX) };
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vector: &str) -> Report {
        serde_json::from_str::<Vectors>(&format!("{{\"vectors\":[{vector}]}}")).unwrap().check()
    }

    #[test]
    fn a_wrong_a_missing_and_an_unexpected_field_are_mismatches() {
        let ok = r#"{"id":"x","characteristic":"2A37","hex":"0050","expected":{"heart_rate":80.0,"sensor_contact":"not_supported"}}"#;
        assert_eq!(check(ok).passed, 1);
        for wrong in ["\"heart_rate\":81", "\"heart_rate\":80,\"pulse\":1", "\"sensor_contact\":true"] {
            let vector = ok.replace("\"heart_rate\":80.0", wrong);
            assert_eq!(check(&vector).mismatches.len(), 1, "{wrong}");
        }
        let unexpected = ok.replace(",\"sensor_contact\":\"not_supported\"", "");
        assert!(check(&unexpected).mismatches[0].contains("expected nothing"));
    }

    #[test]
    fn a_rejection_must_be_a_rejection() {
        let vector = r#"{"id":"x","characteristic":"2A37","hex":"00","expected":{"error":true}}"#;
        assert_eq!(check(vector).passed, 1);
        assert_eq!(check(&vector.replace("\"00\"", "\"0050\"")).mismatches.len(), 1);
        assert_eq!(check(&vector.replace("2A37", "FFFF")).mismatches.len(), 1);
    }

    #[test]
    fn hexadecimal_is_read_in_pairs() {
        assert_eq!(octets("00 fF:10").unwrap(), [0, 255, 16]);
        assert_eq!(octets("").unwrap(), [0u8; 0]);
        for bad in ["0", "0x10", "gg", "é0"] {
            assert!(octets(bad).is_err(), "{bad}");
        }
    }
}
