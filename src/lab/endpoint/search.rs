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

/// A searchset, or the reason why there is none. `address`: of the type, for links.
pub(super) fn page(store: &Store, whose: &str, query: &str, address: &str) -> Result<String, Refusal> {
    const UNKEPT: Refusal =
        Refusal { status: 501, code: "not-supported", text: "bodies are not kept here: no search by patient" };
    const UNCLEAR: Refusal = Refusal { status: 400, code: "invalid", text: "_lastUpdated is only known as ge" };
    let since_ms = match parameter(query, "_lastUpdated") {
        Some(text) => {
            let since = text.strip_prefix("ge").and_then(|t| t.parse::<jiff::Timestamp>().ok());
            since.ok_or(UNCLEAR)?.as_millisecond()
        }
        None => i64::MIN,
    };
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
