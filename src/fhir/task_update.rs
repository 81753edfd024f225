//! What we have to say about an alert, written into its Task as the centre holds it.
//!
//! Promises: whatever the centre wrote into it stays, to the letter: its owner, its notes, what is not known here; so does a
//! status that is further than ours. Nothing is sent where nothing changes. Must never: open again what the centre closed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::detected_issue::TAKEN_BACK;
use super::inbound::Unclear;
use super::task_returned::{Standing, task};
use super::types::{Annotation, moment, text};
use crate::alarm::{Alert, AlertEvent};
use crate::clock::Stamp;

/// On the Task: nobody needs to act for the value's sake any more.
const CLEARED: &str = "Condition cleared";
/// In a note, with the name of who took it here.
pub(super) const TAKEN_HERE: &str = "Acknowledged at the gateway.";

#[derive(Deserialize)]
struct Note {
    text: Option<String>,
    #[serde(rename = "authorString")]
    author: Option<String>,
}

/// Why nobody needs to act any more, and since when.
pub(super) fn over(alert: &Alert) -> Option<(&'static str, Stamp)> {
    match (&alert.taken_back, alert.resolved) {
        (Some(person), _) => Some((TAKEN_BACK, person.at)),
        (None, resolved) => resolved.map(|at| (CLEARED, at)),
    }
}

/// The Task after this event. `None`: it says so already. An error: it is not understood, and is to stay as it is.
pub fn updated(seen: &[u8], event: &AlertEvent) -> Result<Option<Vec<u8>>, Unclear> {
    let standing = task(seen)?.standing;
    let broken = "a Task is not as FHIR writes it";
    let mut parts: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(seen).map_err(|_| broken)?;
    let mut changed = false;
    let mut put = |parts: &mut BTreeMap<String, Box<RawValue>>, key: &str, value: Option<Box<RawValue>>| {
        changed |= value.is_some();
        parts.extend(value.map(|value| (key.to_owned(), value)));
    };
    let alert = &event.alert;
    let status = match (standing, &alert.acknowledged, alert.resolved) {
        // Whoever has it there is at work for nothing, or for somebody else.
        (Standing::Waiting | Standing::Claimed | Standing::Working | Standing::Held, ..)
            if alert.taken_back.is_some() =>
        {
            Some("entered-in-error")
        }
        (Standing::Waiting, Some(_), None) => Some("accepted"),
        (Standing::Waiting | Standing::Claimed, Some(_), Some(_)) => Some("completed"),
        // Nobody took it, or whoever has it there says how far it is.
        _ => None,
    };
    put(&mut parts, "status", status.and_then(raw));
    let mut notes = Vec::new();
    if let (Standing::Waiting, Some(ack)) = (standing, &alert.acknowledged) {
        let time = moment(ack.at);
        notes.push(Annotation { author: Some(&ack.by), time, text: TAKEN_HERE });
    }
    match (over(alert), parts.contains_key("businessStatus")) {
        (Some((word, _)), false) => put(&mut parts, "businessStatus", raw(text(word))),
        // The centre has a word of its own there, or we had: ours goes beside it.
        (Some((word, at)), true) if !parts.get("businessStatus").is_some_and(|theirs| theirs.get().contains(word)) => {
            notes.push(Annotation { author: None, time: moment(at), text: word });
        }
        _ => {}
    }
    let notes = noted(parts.get("note").map(|n| &**n), &notes)?;
    put(&mut parts, "note", notes);
    if !changed {
        return Ok(None);
    }
    parts.extend(moment(event.at).and_then(raw).map(|at| ("lastModified".to_owned(), at)));
    serde_json::to_vec(&parts).map(Some).map_err(|_| broken)
}

/// Their notes and those of ours that are not among them. `None`: all of ours are.
fn noted(theirs: Option<&RawValue>, ours: &[Annotation<'_>]) -> Result<Option<Box<RawValue>>, Unclear> {
    let broken = "a Task is not as FHIR writes it";
    let theirs = theirs.map_or("[]", RawValue::get);
    let known: Vec<Note> = serde_json::from_str(theirs).map_err(|_| broken)?;
    let mut all: Vec<Box<RawValue>> = serde_json::from_str(theirs).map_err(|_| broken)?;
    let before = all.len();
    for note in ours {
        let is_ours = |n: &Note| n.text.as_deref() == Some(note.text) && n.author.as_deref() == note.author;
        if !known.iter().any(is_ours) {
            all.extend(raw(note));
        }
    }
    Ok(if all.len() > before { raw(all) } else { None })
}

/// Nothing of ours fails to serialise.
fn raw(value: impl Serialize) -> Option<Box<RawValue>> {
    to_raw_value(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(acknowledged: bool, resolved: bool) -> AlertEvent {
        let at = json!({"wall_ms": 1_795_342_271_500u64, "mono_us": 1, "boot": 1, "trusted": true});
        let happened = if resolved { "resolved" } else { "acknowledged" };
        serde_json::from_value(json!({"happened": happened, "at": at, "alert": {
            "id": "00ff", "rule": "r", "condition": "limit", "priority": "high", "patient": "Patient/a", "device": null,
            "vital": null, "text": "x", "evidence": [], "raised": at, "received": at,
            "acknowledged": acknowledged.then(|| json!({"by": "N. Nurse", "at": at})), "resolved": resolved.then_some(&at)}}))
        .unwrap()
    }

    fn seen(status: &str, more: &str) -> String {
        format!(
            r#"{{"resourceType":"Task","id":"t1","meta":{{"versionId":"3"}},"status":"{status}",
            "identifier":[{{"system":"urn:wardline:alert","value":"00ff"}}],"owner":{{"display":"Dr Ada"}}{more}}}"#
        )
    }

    fn after(status: &str, more: &str, event: &AlertEvent) -> Option<Value> {
        let body = updated(seen(status, more).as_bytes(), event).unwrap()?;
        let again = updated(&body, event).unwrap();
        assert_eq!(again, None, "sent again, it changes nothing");
        Some(serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_status_of_the_centre_that_is_further_stays() {
        let status = |seen: &str, acknowledged, resolved| {
            after(seen, "", &event(acknowledged, resolved)).map(|t| t["status"].as_str().unwrap().to_owned())
        };
        let is = |s: &str| Some(s.to_owned());
        assert_eq!(status("requested", true, false), is("accepted"));
        assert_eq!(status("requested", true, true), is("completed"));
        assert_eq!(status("requested", false, true), is("requested"));
        assert_eq!(status("accepted", true, false), None);
        assert_eq!(status("received", true, false), None);
        assert_eq!(status("received", true, true), is("completed"));
        assert_eq!(status("accepted", true, true), is("completed"));
        for kept in ["in-progress", "on-hold", "completed", "rejected", "cancelled", "failed", "entered-in-error"] {
            assert_eq!(status(kept, true, false), None);
            assert_eq!(status(kept, true, true), is(kept), "that the condition cleared is said");
        }
        assert!(updated(seen("done", "").as_bytes(), &event(true, true)).is_err());
    }

    #[test]
    fn what_the_centre_wrote_stays_to_the_letter() {
        let more = r#","input":[{"type":{"text":"x"},"valueDecimal":1.10}],"note":[{"text":"called"}],
            "businessStatus":{"text":"awaiting call"},"unknownToUs":{"a":[1e400]}"#;
        let body = updated(seen("in-progress", more).as_bytes(), &event(true, true)).unwrap().unwrap();
        let text = String::from_utf8(body).unwrap();
        for kept in
            ["\"valueDecimal\":1.10", "1e400", "awaiting call", "{\"text\":\"called\"}", "\"display\":\"Dr Ada\""]
        {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert!(text.contains(CLEARED) && !text.contains(TAKEN_HERE), "{text}");
    }

    #[test]
    fn who_took_it_here_is_noted_beside_what_is_there() {
        let task = after("requested", r#","note":[{"text":"called"}]"#, &event(true, false)).unwrap();
        assert_eq!(
            (&task["note"][0]["text"], &task["note"][1]["authorString"]),
            (&json!("called"), &json!("N. Nurse"))
        );
        assert_eq!(task["owner"]["display"], "Dr Ada");
    }
}
