//! The Task of an alert as the centre holds it: taken, given back, refused. Pure: bytes in, standing out.
//!
//! Promises: a Task that cannot be read spoils no other one; what may turn its meaning around (`modifierExtension`) makes it
//! not understood. Must never: take a Task for another alert's or another patient's, or a word of the centre for a name
//! before it was looked at.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::identity::escaped;
use super::inbound::{Modifiers, Searchset, Unclear, is_id, patient, unmodified};
use super::types::system;
use crate::alarm::{Alert, AlertId};
use crate::limits::{TASK_OWNER_CHARS_MAX, TASKS_SHOWN_MAX};
use crate::printable::is_unseen;

/// How the work of a Task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// `draft`, `requested`, `ready`: nobody has it.
    Waiting,
    /// `received`, `accepted`: somebody has it.
    Claimed,
    /// `in-progress`: somebody is at it.
    Working,
    /// `on-hold`: somebody was at it, and will be again.
    Held,
    /// `completed`.
    Done,
    /// `rejected`, `cancelled`, `failed`: nobody will do it.
    Declined(&'static str),
    /// `entered-in-error`: it says nothing.
    Void,
}

impl Standing {
    fn of(status: &str) -> Option<Self> {
        Some(match status {
            "draft" | "requested" | "ready" => Self::Waiting,
            "received" | "accepted" => Self::Claimed,
            "in-progress" => Self::Working,
            "on-hold" => Self::Held,
            "completed" => Self::Done,
            "rejected" => Self::Declined("rejected"),
            "cancelled" => Self::Declined("cancelled"),
            "failed" => Self::Declined("failed"),
            "entered-in-error" => Self::Void,
            _ => return None,
        })
    }
}

/// A Task that could be read.
#[derive(Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id there.
    pub id: String,
    /// Its version there, if the centre has versions.
    pub version: Option<String>,
    /// Whose work it is.
    pub alert: AlertId,
    /// How it stands.
    pub standing: Standing,
    /// The owner's name, if it is one that can be shown.
    pub owner: Option<String>,
    /// Whom it is for.
    subject: Option<String>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Task({}, {:?})", self.alert, self.standing)
    }
}

impl Task {
    /// Whether it is for whom the alert is about: the same patient, or nobody.
    pub fn is_about(&self, alert: &Alert) -> bool {
        let ours = alert.patient.as_ref().map(|p| p.reveal());
        match (self.subject.as_deref(), ours) {
            (None, None) => true,
            (Some(theirs), Some(ours)) => {
                theirs == ours || patient(theirs).is_some_and(|known| Some(known) == patient(ours))
            }
            _ => false,
        }
    }
}

/// A page of Tasks.
#[derive(Debug, Default)]
pub struct Page {
    /// Each Task, or why it is not understood.
    pub tasks: Vec<Result<Task, Unclear>>,
    /// Its own address, as the server has it.
    pub own: Option<String>,
    /// Where the next page is.
    pub next: Option<String>,
}

/// The search for the Tasks of these alerts, below the base.
pub fn question(alerts: &[AlertId]) -> String {
    let each = alerts.iter().map(|id| format!("{}%7C{}", escaped(system::ALERT), escaped(&id.0)));
    let all = each.collect::<Vec<_>>().join("%2C");
    format!("Task?identifier={all}&_elements=identifier,status,owner,for,modifierExtension&_count=50")
}

/// The whole Task of one alert, below the base.
pub fn whole_of(alert: &AlertId) -> String {
    format!("Task?identifier={}%7C{}&_count=5", escaped(system::ALERT), escaped(&alert.0))
}

/// The Tasks on a page. An error: it is no searchset, or not one of what was asked for.
pub fn tasks(body: &[u8]) -> Result<Page, Unclear> {
    let set = searchset(body)?;
    let link = |relation: &str| set.link.iter().find(|l| l.relation == relation).map(|l| l.url.clone());
    let resources = set.entry.iter().filter_map(|e| e.resource).filter(|r| is_task(r));
    let tasks = resources.map(|r| task(r.get().as_bytes())).collect();
    Ok(Page { tasks, own: link("self"), next: link("next") })
}

/// The Tasks on a page, as they are written there.
pub fn bodies(body: &[u8]) -> Result<Vec<&[u8]>, Unclear> {
    let set = searchset(body)?;
    Ok(set.entry.iter().filter_map(|e| e.resource).filter(|r| is_task(r)).map(|r| r.get().as_bytes()).collect())
}

fn searchset(body: &[u8]) -> Result<Searchset<'_>, Unclear> {
    let set: Searchset<'_> = serde_json::from_slice(body).map_err(|_| "its answer is not a searchset")?;
    if set.kind != "Bundle" || set.of.as_deref().is_some_and(|of| of != "searchset") {
        return Err("its answer is not a searchset");
    }
    if set.entry.len() > TASKS_SHOWN_MAX {
        return Err("it shows far more than it was asked for");
    }
    Ok(set)
}

/// Other resources of a page (an OperationOutcome) say nothing.
fn is_task(resource: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "resourceType")]
        kind: String,
    }
    serde_json::from_str::<Kind>(resource.get()).map_or(true, |k| k.kind == "Task")
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "resourceType")]
    kind: String,
    id: Option<String>,
    meta: Option<Meta>,
    #[serde(default)]
    identifier: Vec<Ident>,
    status: Option<String>,
    owner: Option<Owner>,
    #[serde(rename = "for")]
    subject: Option<Owner>,
    #[serde(rename = "modifierExtension")]
    modifiers: Modifiers,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "versionId")]
    version: Option<String>,
}

#[derive(Deserialize)]
struct Ident {
    system: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Owner {
    reference: Option<String>,
    display: Option<String>,
}

/// One Task.
pub fn task(body: &[u8]) -> Result<Task, Unclear> {
    let body: Body = serde_json::from_slice(body).map_err(|_| "a Task is not as FHIR writes it")?;
    if body.kind != "Task" {
        return Err("it is another resource");
    }
    unmodified(&body.modifiers)?;
    let id = body.id.filter(|id| is_id(id)).ok_or("a Task has no id")?;
    let mut ours = body.identifier.into_iter().filter(|i| i.system.as_deref() == Some(system::ALERT));
    let (first, second) = (ours.next().and_then(|i| i.value), ours.next());
    let alert = first.filter(|v| second.is_none() && is_id(v)).ok_or("a Task does not name one alert")?;
    let standing = body.status.as_deref().and_then(Standing::of).ok_or("a Task has a status that is not known")?;
    Ok(Task {
        id,
        version: body.meta.and_then(|m| m.version).filter(|v| is_id(v)),
        alert: AlertId(alert.into()),
        standing,
        owner: body.owner.and_then(|o| o.display).as_deref().and_then(name).map(str::to_owned),
        subject: body.subject.and_then(|s| s.reference),
    })
}

/// A name that can be shown as it is: short, and without anything that is not seen or that turns what stands around it.
fn name(display: &str) -> Option<&str> {
    let display = display.trim();
    let fits = (1..=TASK_OWNER_CHARS_MAX).contains(&display.chars().count()) && !display.chars().any(is_unseen);
    fits.then_some(display)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::PatientId;
    use serde_json::{Value, json};

    fn written(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut task = json!({"resourceType": "Task", "id": "t1", "meta": {"versionId": "3"}, "status": "accepted",
            "identifier": [{"system": "urn:x", "value": "1"}, {"system": "urn:wardline:alert", "value": "00ff"}],
            "for": {"reference": "Patient/a"}, "owner": {"display": " Dr Ada "}});
        change(&mut task);
        task.to_string().into_bytes()
    }

    fn alert(patient: Option<&str>) -> Alert {
        Alert { patient: patient.map(PatientId::new), ..crate::fhir::fixtures::alert(&[]).alert }
    }

    #[test]
    fn a_task_is_read_for_what_it_says() {
        let read = task(&written(|_| ())).unwrap();
        assert_eq!((&*read.id, read.version.as_deref(), &*read.alert.0), ("t1", Some("3"), "00ff"));
        assert_eq!((read.standing, read.owner.as_deref()), (Standing::Claimed, Some("Dr Ada")));
        for (status, standing) in [
            ("requested", Standing::Waiting),
            ("received", Standing::Claimed),
            ("in-progress", Standing::Working),
            ("on-hold", Standing::Held),
            ("completed", Standing::Done),
            ("cancelled", Standing::Declined("cancelled")),
            ("entered-in-error", Standing::Void),
        ] {
            assert_eq!(task(&written(|t| t["status"] = json!(status))).unwrap().standing, standing);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let refused: [fn(&mut Value); 11] = [
            |t| t["status"] = json!("done"),
            |t| t["status"] = json!(1),
            |t| t["status"] = Value::Null,
            |t| t["id"] = json!("../Patient/1"),
            |t| t["identifier"] = json!({"system": "urn:wardline:alert", "value": "00ff"}),
            |t| t["identifier"] = json!([]),
            |t| t["identifier"][0] = json!({"system": "urn:wardline:alert", "value": "11"}),
            |t| t["identifier"][1]["value"] = json!("a\nb"),
            |t| t["modifierExtension"] = json!([{"url": "urn:not"}]),
            |t| t["owner"] = json!("Ada"),
            |t| t["resourceType"] = json!("Goal"),
        ];
        for (n, change) in refused.into_iter().enumerate() {
            assert!(task(&written(change)).is_err(), "{n}");
        }
        assert!(task(b"{").is_err() && task(b"[]").is_err());
        // A version that could end a header is none.
        assert_eq!(task(&written(|t| t["meta"]["versionId"] = json!("1\"\r\nx: y"))).unwrap().version, None);
    }

    #[test]
    fn an_owner_is_a_name_or_nobody() {
        let owner = |display: &str| task(&written(|t| t["owner"]["display"] = json!(display))).unwrap().owner;
        assert_eq!(owner("Zoë O'Neil-Ñandú, RN").as_deref(), Some("Zoë O'Neil-Ñandú, RN"));
        for bad in ["", "  ", "a\u{7}b", "a\nb", "\u{202e}adA", "a\u{200b}", &"x".repeat(65)] {
            assert_eq!(owner(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_task_of_another_patient_is_not_ours() {
        let of = |reference: Value| task(&written(|t| t["for"] = reference)).unwrap();
        let ours = alert(Some("Patient/a"));
        assert!(of(json!({"reference": "Patient/a"})).is_about(&ours));
        assert!(of(json!({"reference": "https://centre.example/fhir/Patient/a/_history/2"})).is_about(&ours));
        for other in [json!({"reference": "Patient/b"}), json!({"reference": "Group/a"}), json!({}), Value::Null] {
            assert!(!of(other).is_about(&ours));
        }
        assert!(
            of(Value::Null).is_about(&alert(None)) && !of(json!({"reference": "Patient/a"})).is_about(&alert(None))
        );
    }

    #[test]
    fn a_page_keeps_the_bad_from_the_good() {
        let entry = |resource: &[u8]| format!("{{\"resource\":{}}}", String::from_utf8_lossy(resource));
        let outcome = br#"{"resourceType":"OperationOutcome","issue":[]}"#;
        let entries =
            [entry(&written(|_| ())), entry(&written(|t| t["status"] = json!("x"))), entry(outcome)].join(",");
        let page = tasks(format!(r#"{{"resourceType":"Bundle","entry":[{entries}]}}"#).as_bytes()).unwrap();
        assert_eq!((page.tasks.len(), page.tasks[0].is_ok(), page.tasks[1].is_err()), (2, true, true));
        let many = vec![entry(&written(|_| ())); 10_000].join(",");
        assert!(tasks(format!(r#"{{"resourceType":"Bundle","entry":[{many}]}}"#).as_bytes()).is_err());
        assert!(tasks(br#"{"resourceType":"OperationOutcome"}"#).is_err());
        let ids = [AlertId("aa".into()), AlertId("b/b".into())];
        assert!(question(&ids).starts_with("Task?identifier=urn:wardline:alert%7Caa%2Curn:wardline:alert%7Cb%2Fb&"));
    }
}
