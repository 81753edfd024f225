//! The endpoint's search for a patient's Observations: in the order in which they came, page by page.
//!
//! Only with bodies kept; without them it is refused, never answered with nothing.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::resource::Refusal;
use super::store::{Store, parameter};

/// Resources on a page, unless fewer are asked for.
const PAGE: usize = 100;

/// Whether a query is one for a patient's resources, and whose.
pub(super) fn whose(query: &str) -> Option<String> {
    let named = parameter(query, "patient").or_else(|| parameter(query, "subject"))?;
    Some(if named.contains('/') { named } else { format!("Patient/{named}") })
}

/// Any other kept resources: by identifier, by patient, by when they changed. One page.
pub(super) fn set(store: &Store, kind: &str, query: &str) -> String {
    let (whose, since_ms) = (whose(query), since(query).ok().flatten().unwrap_or(i64::MIN));
    let identifiers = parameter(query, "identifier");
    let fits = |resource: &Value| {
        let subject = ["subject", "patient"].iter().find_map(|name| resource.pointer(&format!("/{name}/reference")));
        let theirs = whose.is_none() || subject.and_then(Value::as_str) == whose.as_deref();
        let bears = |wanted: &str| {
            let of =
                |i: &Value| format!("{}|{}", i["system"].as_str().unwrap_or(""), i["value"].as_str().unwrap_or(""));
            resource["identifier"].as_array().is_some_and(|all| all.iter().any(|i| of(i) == wanted))
        };
        let named = identifiers.as_ref().is_none_or(|all| all.split(',').any(bears));
        resource["resourceType"] == kind && theirs && named
    };
    let entries = store.kept().into_iter().filter(|kept| kept.updated_ms >= since_ms).filter_map(|kept| {
        let mut resource: Value = serde_json::from_str(&kept.body).ok().filter(&fits)?;
        let fields = resource.as_object_mut()?;
        fields.insert("id".into(), json!(&*kept.id));
        let updated = jiff::Timestamp::from_millisecond(kept.updated_ms).ok()?;
        let meta = fields.entry("meta").or_insert_with(|| json!({})).as_object_mut()?;
        meta.insert("lastUpdated".into(), json!(updated.to_string()));
        Some(json!({"resource": resource, "search": {"mode": "match"}}))
    });
    let mut entries: Vec<Value> = entries.collect();
    let total = entries.len();
    if parameter(query, "_summary").as_deref() == Some("count") {
        entries.clear();
    }
    json!({"resourceType": "Bundle", "type": "searchset", "total": total, "entry": entries}).to_string()
}

const UNCLEAR: Refusal = Refusal { status: 400, code: "invalid", text: "_lastUpdated is only known as ge" };

fn since(query: &str) -> Result<Option<i64>, Refusal> {
    let Some(text) = parameter(query, "_lastUpdated") else { return Ok(None) };
    let since = text.strip_prefix("ge").and_then(|t| t.parse::<jiff::Timestamp>().ok());
    since.map(|t| Some(t.as_millisecond())).ok_or(UNCLEAR)
}

/// A searchset, or the reason why there is none. `address`: of the type, for links.
pub(super) fn page(store: &Store, whose: &str, query: &str, address: &str) -> Result<String, Refusal> {
    const UNKEPT: Refusal =
        Refusal { status: 501, code: "not-supported", text: "bodies are not kept here: no search by patient" };
    let since_ms = since(query)?.unwrap_or(i64::MIN);
    let number = |name| parameter(query, name).and_then(|n| n.parse::<usize>().ok());
    let (count, begin) = (number("_count").unwrap_or(PAGE).clamp(1, PAGE), number("_page").unwrap_or(0));
    let elements = parameter(query, "_elements");
    let all = store.of_patient(whose, since_ms).ok_or(UNKEPT)?;
    let entries = all.iter().skip(begin).take(count).filter_map(|found| {
        let mut resource: Value = serde_json::from_str(&found.body).ok()?;
        let fields = resource.as_object_mut()?;
        if let Some(elements) = &elements {
            fields.retain(|name, _| name == "resourceType" || elements.split(',').any(|e| e == name));
        }
        fields.insert("id".into(), json!(&*found.id));
        let updated = jiff::Timestamp::from_millisecond(found.updated_ms).ok()?;
        let meta = fields.entry("meta").or_insert_with(|| json!({})).as_object_mut()?;
        meta.insert("lastUpdated".into(), json!(updated.to_string()));
        let url = format!("{address}/{}", found.id);
        Some(json!({"fullUrl": url, "resource": resource, "search": {"mode": "match"}}))
    });
    let entries: Vec<Value> = entries.collect();
    let asked: Vec<&str> = query.split('&').filter(|p| !p.starts_with("_page=")).collect();
    let link = |relation: &str, page: Option<usize>| {
        let mut url = format!("{address}?{}", asked.join("&"));
        // Writing to a String cannot fail.
        let _ = page.map_or(Ok(()), |page| write!(url, "&_page={page}"));
        json!({"relation": relation, "url": url})
    };
    let mut links = vec![link("self", None)];
    if begin + count < all.len() {
        links.push(link("next", Some(begin + count)));
    }
    let set =
        json!({"resourceType": "Bundle", "type": "searchset", "total": all.len(), "link": links, "entry": entries});
    Ok(set.to_string())
}
