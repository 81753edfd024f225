//! The Observations that an endpoint was sent, one of each form, in a file: for a validator of profiles, which is too slow to
//! stand in the way. `WARDLINE_LAB_RECORD=FOLDER` asks for it.
//!
//! Must never: fail a request, because the file cannot be written.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// Forms of one endpoint, at most.
const FORMS_MAX: usize = 10_000;
/// Strings that make a form: what a profile looks at. Of others only that they are there.
const TELLING: [&str; 9] =
    ["resourceType", "status", "system", "code", "unit", "url", "comparator", "profile", "valueString"];
/// Of these, how they are written.
const TIMES: [&str; 5] = ["effectiveDateTime", "start", "end", "issued", "time"];

/// The file, and the forms in it.
pub(super) struct Record {
    file: File,
    forms: HashSet<u64>,
}

impl Record {
    /// If somebody asked for it.
    pub(super) fn asked() -> std::io::Result<Option<Self>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(folder) = std::env::var_os("WARDLINE_LAB_RECORD") else { return Ok(None) };
        let name = format!("{}-{}.ndjson", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let file = File::create(std::path::Path::new(&folder).join(name))?;
        Ok(Some(Self { file, forms: HashSet::new() }))
    }

    /// An Observation came.
    pub(super) fn note(&mut self, body: &str) {
        let Ok(mut form) = serde_json::from_str::<Value>(body) else { return };
        reduce("", &mut form);
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        if self.forms.len() < FORMS_MAX && self.forms.insert(hasher.hash_one(form.to_string())) {
            let line = body.replace(['\n', '\r'], " ");
            let _ = writeln!(self.file, "{line}");
        }
    }
}

/// Leaves of a value what makes its form.
fn reduce(key: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| reduce(key, value)),
        Value::Array(all) => all.iter_mut().for_each(|value| reduce(key, value)),
        Value::Number(_) => *value = Value::from(0),
        Value::String(_) if TELLING.contains(&key) => {}
        Value::String(text) if TIMES.contains(&key) => {
            *text = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        }
        Value::String(text) => text.clear(),
        Value::Bool(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_what_a_profile_looks_at() {
        let form = |text: &str| {
            let mut value = serde_json::from_str(text).unwrap();
            reduce("", &mut value);
            value.to_string()
        };
        let same = [
            r#"{"id":"a","valueQuantity":{"value":1.0,"code":"/min"},"effectiveDateTime":"2026-11-22T10:00:00Z"}"#,
            r#"{"id":"b","valueQuantity":{"value":72,"code":"/min"},"effectiveDateTime":"2027-01-02T11:12:13Z"}"#,
        ];
        assert_eq!(form(same[0]), form(same[1]));
        for other in [
            r#"{"id":"b","valueQuantity":{"value":72,"code":"%"},"effectiveDateTime":"2027-01-02T11:12:13Z"}"#,
            r#"{"id":"b","valueQuantity":{"value":72,"code":"/min"},"effectiveDateTime":"2027-01-02T11:12:13.5Z"}"#,
            r#"{"valueQuantity":{"value":72,"code":"/min"},"effectiveDateTime":"2027-01-02T11:12:13Z"}"#,
        ] {
            assert_ne!(form(same[0]), form(other));
        }
    }
}
