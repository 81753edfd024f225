//! What a FHIR server's answer means, for a whole request and for each entry of a Bundle. Pure.
//!
//! Lenient in reading, strict in believing: positions count only if there are as many answers as entries, and only
//! a 2xx for an entry is a delivery. Must never: take a server's own words along; they may quote the patient.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::http::Answer;
use super::why::Trouble;
use crate::custody::{Outcome, Receipt};
use crate::limits;

/// What a whole request came to.
#[derive(Debug)]
pub(super) enum Whole {
    /// 2xx: the body says more.
    Taken,
    /// The request as such is refused: something in it, perhaps.
    Refused,
    /// Less at once.
    TooLarge,
    /// Not compressed, perhaps.
    MediaType,
    /// The destination, not what was sent.
    Destination(Trouble),
}

/// By HTTP status.
pub(super) fn whole(answer: &Answer) -> Whole {
    match answer.status {
        200..=299 => Whole::Taken,
        s @ (401 | 403) => Whole::Destination(Trouble::Credential(s)),
        s @ (408 | 425 | 429) => Whole::Destination(Trouble::Throttled(s)),
        413 => Whole::TooLarge,
        415 => Whole::MediaType,
        s @ (300..=399 | 404 | 405 | 410) => Whole::Destination(Trouble::NotHere(s)),
        400..=499 => Whole::Refused,
        s @ (502..=504) => Whole::Destination(Trouble::Unavailable(s)),
        s => Whole::Destination(Trouble::ServerError(s)),
    }
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(rename = "resourceType", borrow)]
    resource_type: Cow<'a, str>,
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    location: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    outcome: Option<OperationOutcome<'a>>,
}

#[derive(Deserialize)]
struct OperationOutcome<'a> {
    #[serde(rename = "resourceType", borrow, default)]
    resource_type: Cow<'a, str>,
    #[serde(borrow, default)]
    issue: Vec<Issue<'a>>,
}

#[derive(Deserialize)]
struct Issue<'a> {
    #[serde(borrow, default)]
    severity: Cow<'a, str>,
    #[serde(borrow, default)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    expression: Vec<Cow<'a, str>>,
}

impl Issue<'_> {
    fn is_error(&self) -> bool {
        matches!(&*self.severity, "error" | "fatal")
    }

    /// `: invalid at Observation.status`; only what looks like a code and a path.
    fn detail(&self) -> String {
        let code: String = self.code.chars().filter(|c| c.is_ascii_lowercase() || *c == '-').take(40).collect();
        let path = self.expression.first().map_or("", |e| e);
        let path: String =
            path.chars().take_while(|c| c.is_ascii_alphanumeric() || ".[]".contains(*c)).take(80).collect();
        match (code.is_empty(), path.is_empty()) {
            (true, _) => String::new(),
            (false, true) => format!(": {code}"),
            (false, false) => format!(": {code} at {path}"),
        }
    }
}

fn outcome(body: &[u8]) -> Option<OperationOutcome<'_>> {
    serde_json::from_slice(body).ok().filter(|o: &OperationOutcome<'_>| o.resource_type == "OperationOutcome")
}

fn detail(body: &[u8]) -> String {
    outcome(body).map_or_else(String::new, |o| first_error(&o))
}

/// `Some(None)`: an OperationOutcome without an error; `Some(Some(_))`: its first error.
pub(super) fn verdict(body: &[u8]) -> Option<Option<String>> {
    let outcome = outcome(body)?;
    Some(outcome.issue.iter().find(|i| i.is_error()).map(Issue::detail))
}

fn first_error(outcome: &OperationOutcome<'_>) -> String {
    outcome.issue.iter().find(|i| i.is_error()).or(outcome.issue.first()).map_or_else(String::new, Issue::detail)
}

/// An answer to a Bundle that does not say what became of which entry.
#[derive(Debug)]
pub(super) enum Misread {
    /// A FHIR server that does not answer each entry: one at a time is certain.
    Divide,
    /// No FHIR server, or half of an answer.
    Unclear(Trouble),
}

/// The outcomes of a Bundle's `sent` entries.
pub(super) fn entries(body: &[u8], sent: usize) -> Result<Vec<Outcome>, Misread> {
    let unclear = |why| Err(Misread::Unclear(Trouble::Unclear(why)));
    let bundle: Bundle<'_> = match serde_json::from_slice(body) {
        Ok(bundle) => bundle,
        Err(_) if body.trim_ascii().is_empty() => return unclear("it is empty"),
        Err(e) if e.is_data() => return unclear("it is not a Bundle"),
        Err(_) => return unclear("it is not JSON, or breaks off"),
    };
    match &*bundle.resource_type {
        "Bundle" if bundle.entry.len() == sent => Ok(bundle.entry.iter().map(|e| entry(e.response.as_ref())).collect()),
        "Bundle" | "OperationOutcome" => Err(Misread::Divide),
        _ => unclear("it is not a Bundle"),
    }
}

/// The receipt of a document that was taken whole: there is no word about its entries.
pub(super) fn document(answer: &Answer) -> Result<Receipt, Misread> {
    let silent = answer.body.trim_ascii().is_empty() && matches!(answer.status, 201 | 202 | 204);
    match verdict(&answer.body) {
        Some(Some(_)) => Err(Misread::Divide),
        // A captive portal says 200, too.
        None if !silent && answer.location.is_none() && !is_resource(&answer.body) => {
            Err(Misread::Unclear(Trouble::Unclear("it is not a FHIR server's")))
        }
        _ => Ok(receipt(answer.location.as_deref().unwrap_or(""), false)),
    }
}

/// The outcomes of entries that were sent to these URLs: a receipt counts only if it is for what was sent there.
pub(super) fn receipts<'a>(body: &[u8], urls: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<Outcome>, Misread> {
    let outcomes = entries(body, urls.len())?;
    Ok(outcomes.into_iter().zip(urls).map(|(outcome, url)| ours(outcome, url)).collect())
}

/// A receipt for another resource than the one that was sent to this URL is none.
pub(super) fn ours(outcome: Outcome, url: &str) -> Outcome {
    let path = url.split('?').next().unwrap_or(url);
    let Outcome::Delivered(Receipt { location, .. }) = &outcome else { return outcome };
    // A create names the type, an update the id as well. A server need not say where it is.
    let fits = location.is_empty()
        || location
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && path.contains('/')));
    if fits { outcome } else { not_ours() }
}

/// Neither is an answer that shows another resource.
pub(super) fn shown(outcome: Outcome, body: &[u8], url: &str) -> Outcome {
    #[derive(Deserialize)]
    struct Shown<'a> {
        #[serde(rename = "resourceType", borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        id: Option<Cow<'a, str>>,
    }
    let Ok(shown) = serde_json::from_slice::<Shown<'_>>(body) else { return outcome };
    let path = url.split('?').next().unwrap_or(url);
    let (kind, id) = path.split_once('/').map_or((path, None), |(kind, id)| (kind, Some(id)));
    let other = shown.kind != kind || id.zip(shown.id).is_some_and(|(ours, theirs)| ours != theirs);
    if matches!(outcome, Outcome::Delivered(_)) && shown.kind != "OperationOutcome" && other {
        return not_ours();
    }
    outcome
}

fn not_ours() -> Outcome {
    Trouble::Unclear("its receipt is for another resource").item(limits::ITEM_RETRY.0)
}

fn entry(response: Option<&Response<'_>>) -> Outcome {
    let Some(response) = response else {
        return Trouble::Unclear("an entry has no response").item(limits::ITEM_RETRY.0);
    };
    // `201 Created`, `201`, or a number of another server's taste.
    let status = response.status.split_ascii_whitespace().next().and_then(|s| s.parse().ok()).unwrap_or(0);
    let location = response.location.as_deref().unwrap_or("");
    match status {
        200..=299 => Outcome::Delivered(receipt(location, status != 201)),
        _ => refused(status, response.outcome.as_ref().map_or_else(String::new, first_error)),
    }
}

/// What one resource's 4xx or 5xx means for it.
fn refused(status: u16, detail: String) -> Outcome {
    let soon = limits::ITEM_RETRY.0;
    match status {
        0 => Trouble::Unclear("an entry has no status").item(soon),
        304 => Outcome::Delivered(Receipt { location: "".into(), known: true }),
        // The credential or the server's rules for it: nothing that is wrong with the reading.
        401 | 403 => Trouble::Credential(status).item(soon),
        405 => Trouble::NotHere(status).item(soon),
        408 | 423 | 425 | 429 => Trouble::Throttled(status).item(soon),
        409 => Trouble::Conflict.item(soon),
        412 => Trouble::Doubled.reject(),
        400..=499 => Trouble::Refused { status, detail }.reject(),
        502..=504 => Trouble::Unavailable(status).item(soon),
        _ => Trouble::ServerError(status).item(soon),
    }
}

/// What became of a resource that was sent alone. An error: what answers does not speak as a FHIR server.
pub(super) fn single(answer: &Answer) -> Result<Outcome, Trouble> {
    let soon = limits::ITEM_RETRY.0;
    match answer.status {
        200..=299 => match (outcome(&answer.body), &answer.location) {
            (Some(o), _) if o.issue.iter().any(Issue::is_error) => {
                Ok(Trouble::Unclear("success and error at once").item(soon))
            }
            // A captive portal says 200, too.
            (None, None) if !answer.versioned && !is_resource(&answer.body) => {
                Err(Trouble::Unclear("it is not a FHIR server's"))
            }
            (_, location) => Ok(Outcome::Delivered(receipt(location.as_deref().unwrap_or(""), answer.status != 201))),
        },
        // Only a FHIR server's own word refuses a reading; a proxy's does not.
        status @ 400..=499 if status != 412 && outcome(&answer.body).is_none() => {
            Err(Trouble::Refused { status, detail: " without a FHIR reason".into() })
        }
        status => Ok(refused(status, detail(&answer.body))),
    }
}

fn is_resource(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Resource<'a> {
        #[serde(rename = "resourceType", borrow)]
        _kind: Cow<'a, str>,
    }
    serde_json::from_slice::<Resource<'_>>(body).is_ok()
}

/// A location without the server's idea of its own address: `Observation/1/_history/2`.
fn receipt(location: &str, known: bool) -> Receipt {
    let parts: Vec<&str> = location.trim_end_matches('/').rsplitn(5, '/').collect();
    let relative = match *parts.as_slice() {
        [version, "_history", id, kind, ..] => format!("{kind}/{id}/_history/{version}"),
        [id, kind, ..] => format!("{kind}/{id}"),
        _ => location.to_owned(),
    };
    Receipt { location: relative.chars().take(limits::LOCATION_CHARS_MAX).collect::<String>().into(), known }
}

/// A retry's time for an item that failed `attempts` times: it doubles.
pub(super) fn patience(attempts: u32) -> Duration {
    let (first, last) = limits::ITEM_RETRY;
    first.saturating_mul(1 << attempts.min(16)).min(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, location: None, versioned: false, retry_after: None, body: body.into() }
    }

    #[track_caller]
    fn entry_of(response: &str) -> Outcome {
        let body = format!(r#"{{"resourceType":"Bundle","entry":[{{"response":{response}}}]}}"#);
        entries(body.as_bytes(), 1).unwrap().remove(0)
    }

    fn code(outcome: &Outcome) -> (&str, &'static str) {
        match outcome {
            Outcome::Delivered(_) => ("", "delivered"),
            Outcome::Retry { why, destination: true, .. } => (&why.code, "destination"),
            Outcome::Retry { why, .. } => (&why.code, "item"),
            Outcome::Reject(why) => (&why.code, "reject"),
            Outcome::Withheld => ("", "withheld"),
        }
    }

    #[test]
    fn entries_are_read_as_servers_write_them() {
        for (status, location, known) in [
            ("201 Created", "http://inside:8090/fhir/Observation/1/_history/1", false),
            ("201", "Observation/1/_history/1", false),
            ("200 OK", "/Observation/1/_history/1", true),
        ] {
            let response = format!(r#"{{"status":"{status}","location":"{location}","etag":"W/\"1\"","x":{{}}}}"#);
            let expected = Receipt { location: "Observation/1/_history/1".into(), known };
            assert_eq!(entry_of(&response), Outcome::Delivered(expected));
        }
        let outcome = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"x"},
            {"severity":"error","code":"code-invalid","diagnostics":"Doe, John: 250","expression":["Observation.status 'Doe'"]}]}"#;
        let refused = entry_of(&format!(r#"{{"status":"422","outcome":{outcome}}}"#));
        let Outcome::Reject(why) = &refused else { panic!("{refused:?}") };
        assert_eq!(why.text, "refused (HTTP 422: code-invalid at Observation.status)");
    }

    #[test]
    fn each_status_of_an_entry_has_its_class() {
        for (status, expected) in [
            (400, ("WL-F011", "reject")),
            (401, ("WL-F007", "item")),
            (403, ("WL-F007", "item")),
            (404, ("WL-F011", "reject")),
            (405, ("WL-F008", "item")),
            (409, ("WL-F013", "item")),
            (412, ("WL-F012", "reject")),
            (422, ("WL-F011", "reject")),
            (429, ("WL-F006", "item")),
            (500, ("WL-F005", "item")),
            (503, ("WL-F004", "item")),
        ] {
            assert_eq!(code(&entry_of(&format!(r#"{{"status":"{status}"}}"#))), expected, "{status}");
        }
        assert_eq!(code(&entry_of("null")), ("WL-F010", "item"));
        assert_eq!(code(&entry_of(r#"{"status":"fine"}"#)), ("WL-F010", "item"));
    }

    #[test]
    fn an_answer_that_does_not_fit_is_no_answer() {
        for body in ["", "<html>login</html>", r#"{"resourceType":"Bundle","entry":[{"respo"#, "[]", "7", "{}"] {
            let misread = entries(body.as_bytes(), 1).unwrap_err();
            assert!(matches!(misread, Misread::Unclear(_)), "{body}");
        }
        for body in [
            r#"{"resourceType":"OperationOutcome","issue":[]}"#,
            r#"{"resourceType":"Bundle","entry":[]}"#,
            r#"{"resourceType":"Bundle","entry":[{},{}]}"#,
        ] {
            assert!(matches!(entries(body.as_bytes(), 1), Err(Misread::Divide)), "{body}");
        }
    }

    #[test]
    fn each_status_of_a_request_has_its_class() {
        for (status, expected) in [
            (302, "WL-F008"),
            (401, "WL-F007"),
            (403, "WL-F007"),
            (404, "WL-F008"),
            (405, "WL-F008"),
            (408, "WL-F006"),
            (410, "WL-F008"),
            (425, "WL-F006"),
            (429, "WL-F006"),
            (500, "WL-F005"),
            (501, "WL-F005"),
            (502, "WL-F004"),
            (503, "WL-F004"),
            (504, "WL-F004"),
        ] {
            let Whole::Destination(trouble) = whole(&answer(status, "")) else { panic!("{status}") };
            assert_eq!(trouble.why().code, expected, "{status}");
        }
        assert!(matches!(whole(&answer(200, "")), Whole::Taken));
        assert!(matches!(whole(&answer(413, "")), Whole::TooLarge));
        assert!(matches!(whole(&answer(415, "")), Whole::MediaType));
        for status in [400, 409, 412, 422] {
            assert!(matches!(whole(&answer(status, "")), Whole::Refused), "{status}");
        }
    }

    #[test]
    fn only_a_fhir_server_takes_or_refuses_a_reading() {
        let word = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid"}]}"#;
        let of = |status, body| code(&single(&answer(status, body)).unwrap()).1;
        assert_eq!(of(400, word), "reject");
        assert!(single(&answer(400, "<html>blocked</html>")).is_err());
        assert_eq!(of(200, word), "item");
        assert_eq!(of(201, r#"{"resourceType":"Observation"}"#), "delivered");
        assert!(single(&answer(200, "<html>log in</html>")).is_err());
        assert!(single(&answer(201, "")).is_err());
        let located = Answer { location: Some("http://x/fhir/Observation/1/_history/1".into()), ..answer(201, "") };
        assert_eq!(code(&single(&located).unwrap()).1, "delivered");
    }

    #[test]
    fn patience_grows_and_ends() {
        assert_eq!(patience(0), Duration::from_secs(2));
        assert_eq!(patience(3), Duration::from_secs(16));
        assert_eq!(patience(u32::MAX), Duration::from_secs(600));
    }
}
