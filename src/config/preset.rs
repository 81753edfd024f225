//! Named destinations: `profile = "healow"` and its like set defaults of the other keys, and nothing else.
//!
//! What the file says itself always counts. Must never: set a key that says where, with which secret, or to whom.

use toml::{Table, Value};

/// The names, for messages and the documentation.
pub const NAMES: [&str; 5] = ["azure", "epic-like", "hapi", "healow", "medplum"];

/// What a name stands for. `None`: there is none such.
fn defaults(name: &str) -> Option<Vec<(&'static str, Value)>> {
    let text = |s: &str| Value::String(s.into());
    Some(match name {
        "hapi" => vec![
            ("idempotency", text("conditional-create")),
            ("bundle", text("batch")),
            ("devices", text("resource")),
            ("us_core", text("6.1.0")),
        ],
        "medplum" => vec![
            ("idempotency", text("conditional-create")),
            ("bundle", text("batch")),
            ("bundle_max", Value::Integer(50)),
            ("us_core", text("8.0.0")),
        ],
        "azure" => vec![
            ("idempotency", text("update")),
            ("bundle", text("batch")),
            ("gzip", Value::Boolean(false)),
            ("us_core", text("6.1.0")),
        ],
        // Observations one at a time, with codes only: such servers take few resources and answer each.
        "epic-like" => vec![
            ("idempotency", text("conditional-create")),
            ("bundle", text("batch")),
            ("bundle_max", Value::Integer(1)),
            ("uncoded", text("inbox")),
            ("us_core", text("6.1.0")),
        ],
        "healow" => vec![
            ("idempotency", text("update")),
            ("bundle", text("collection")),
            ("requests_per_min", Value::Integer(250)),
            ("devices", text("contained")),
            ("gzip", Value::Boolean(false)),
            ("uncoded", text("inbox")),
            ("us_core", text("6.1.0")),
        ],
        _ => return None,
    })
}

/// How a token must be signed for a destination of this name, as JOSE calls it. It follows from the key, so no default sets it.
pub fn signs(name: &str) -> Option<&'static str> {
    (name == "healow").then_some("RS384")
}

/// Puts the defaults of each named FHIR destination into its table. `None`: no destination bears a name.
pub(super) fn apply(file: &mut Table) -> Option<()> {
    let is_fhir = |table: &Table| table.get("kind").and_then(Value::as_str) == Some("fhir");
    let named: Vec<()> = match file.get_mut("destination")? {
        // A relay has one, of one kind.
        Value::Table(one) => fill(one).into_iter().collect(),
        Value::Array(all) => {
            let tables = all.iter_mut().filter_map(Value::as_table_mut);
            tables.filter(|table| is_fhir(table)).filter_map(fill).collect()
        }
        _ => return None,
    };
    (!named.is_empty()).then_some(())
}

/// A name that there is not is found by the check that follows.
fn fill(table: &mut Table) -> Option<()> {
    for (key, value) in table.get("profile").and_then(Value::as_str).and_then(defaults)? {
        table.entry(key).or_insert(value);
    }
    Some(())
}
