//! What a centre orders, read from FHIR R4: Goal targets, ServiceRequests, CarePlan activities, and what a patient consents
//! to. Pure: bytes in, orders out.
//!
//! Promises: a resource that cannot be read spoils no other one; what changes the meaning of a resource and is not known
//! here (`modifierExtension`) makes it not understood. Must never: guess a unit, a bound or a frequency.

mod consent;
mod goal;
mod timing;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::careplan::Target;
use crate::limits::{CARE_PARTS_MAX, TEXT_CHARS_MAX};
use crate::reading::PatientId;

pub use consent::Provision;

/// Why something is not understood: a sentence without its content.
pub type Unclear = &'static str;

/// One thing that a resource orders.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// A limit.
    Target(Target),
    /// A measurement, at least once in this time.
    Expect {
        /// LOINC code of what is to be measured.
        loinc: String,
        /// Seconds.
        every_s: u64,
        /// It is over from then on.
        until_ms: Option<i64>,
    },
    /// What may go, or may not.
    Consent(Provision),
}

/// One resource as it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// `Goal/17`.
    pub resource: String,
    /// Which version of it, if the server says so.
    pub version: Option<String>,
    /// When the centre last changed it, by its clock.
    pub updated_ms: Option<i64>,
    /// Whose it says that it is.
    pub patient: Option<PatientId>,
    /// It is to be followed; otherwise it is over, or taken back.
    pub active: bool,
    /// What it orders.
    pub said: Result<Vec<Said>, Unclear>,
}

/// A page of a searchset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Resources that could be named.
    pub heard: Vec<Heard>,
    /// Its own address, as the server has it.
    pub own: Option<String>,
    /// Where the next page is.
    pub next: Option<String>,
}

/// The resources on a page, of this type only. An error: it is no searchset.
pub fn page(body: &[u8], kind: &str) -> Result<Page, Unclear> {
    let set: Searchset<'_> = serde_json::from_slice(body).map_err(|_| "its answer is not a searchset")?;
    if set.kind != "Bundle" || set.of.as_deref().is_some_and(|of| of != "searchset") {
        return Err("its answer is not a searchset");
    }
    let link = |relation: &str| set.link.iter().find(|l| l.relation == relation).map(|l| l.url.clone());
    let heard = set.entry.iter().filter_map(|e| resource(e.resource?.get().as_bytes(), kind).ok()).collect();
    Ok(Page { heard, own: link("self"), next: link("next") })
}

/// One resource of this type. An error: it cannot even be named.
pub fn resource(body: &[u8], kind: &str) -> Result<Heard, Unclear> {
    if kind == "Consent" {
        return consent::heard(body);
    }
    let head: Head = serde_json::from_slice(body).map_err(|_| "it is not a resource")?;
    let id = head.id.filter(|id| is_id(id)).ok_or("it has no id")?;
    if head.kind != kind {
        return Err("it is another resource");
    }
    let (updated, version) = head.meta.map_or((None, None), |m| (m.updated, m.version));
    let updated = updated.and_then(|t| t.parse::<jiff::Timestamp>().ok());
    let mut heard = Heard {
        resource: format!("{kind}/{id}"),
        version: version.filter(|version| is_id(version)),
        updated_ms: updated.map(jiff::Timestamp::as_millisecond),
        patient: head.subject.and_then(|s| s.reference).as_deref().and_then(patient),
        active: head.lifecycle.or(head.status).as_deref() == Some("active"),
        said: Ok(Vec::new()),
    };
    // What is over need not be understood.
    if heard.active {
        heard.said = match kind {
            "Goal" => goal::targets(body),
            "ServiceRequest" => timing::request(body),
            "CarePlan" => timing::plan(body),
            _ => Err("nothing is known of such resources"),
        };
    }
    Ok(heard)
}

#[derive(Deserialize)]
pub(super) struct Searchset<'a> {
    #[serde(rename = "resourceType")]
    pub(super) kind: String,
    #[serde(rename = "type")]
    pub(super) of: Option<String>,
    #[serde(default)]
    pub(super) link: Vec<Link>,
    #[serde(default, borrow)]
    pub(super) entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    pub(super) relation: String,
    #[serde(default)]
    pub(super) url: String,
}

#[derive(Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    pub(super) resource: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "resourceType")]
    kind: String,
    id: Option<String>,
    meta: Option<Meta>,
    subject: Option<Reference>,
    status: Option<String>,
    #[serde(rename = "lifecycleStatus")]
    lifecycle: Option<String>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "lastUpdated")]
    updated: Option<String>,
    #[serde(rename = "versionId")]
    version: Option<String>,
}

#[derive(Deserialize)]
struct Reference {
    reference: Option<String>,
}

/// A CodeableConcept.
#[derive(Default, Deserialize)]
struct Concept {
    #[serde(default)]
    coding: Vec<Coding>,
}

#[derive(Deserialize)]
struct Coding {
    system: Option<String>,
    code: Option<String>,
}

impl Concept {
    /// Its one LOINC code; `None`: it has none, or several that may mean different things are for the caller to refuse.
    fn loinc(&self) -> Result<Option<String>, Unclear> {
        let mut codes: Vec<&str> = self
            .coding
            .iter()
            .filter(|c| c.system.as_deref() == Some("http://loinc.org"))
            .filter_map(|c| c.code.as_deref())
            .collect();
        codes.dedup();
        match codes.as_slice() {
            [] => Ok(None),
            [one] if one.len() <= 16 => Ok(Some((*one).to_owned())),
            // The two codes of an oximeter's saturation mean the same.
            many if many.iter().all(|c| matches!(*c, "59408-5" | "2708-6")) => Ok(Some("59408-5".into())),
            _ => Err("what is measured has several LOINC codes"),
        }
    }
}

/// Something that an element holds beside what is known here: present, and never looked into.
pub(super) type Modifiers = Option<Vec<IgnoredAny>>;

pub(super) fn unmodified(modifiers: &Modifiers) -> Result<(), Unclear> {
    match modifiers {
        Some(all) if !all.is_empty() => Err("it has a modifierExtension, which may turn its meaning around"),
        _ => Ok(()),
    }
}

fn few<T>(parts: Vec<T>) -> Result<Vec<T>, Unclear> {
    if parts.len() > CARE_PARTS_MAX { Err("it has more parts than are read of one") } else { Ok(parts) }
}

pub(super) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

/// `Patient/8f2c` from a reference, absolute or not; `None`: it is none of FHIR's grammar.
pub fn patient(text: &str) -> Option<PatientId> {
    let text = text.split("/_history/").next().filter(|t| t.len() <= 4 * TEXT_CHARS_MAX)?;
    let mut parts = text.rsplit('/');
    let (id, kind) = (parts.next()?, parts.next()?);
    (kind == "Patient" && is_id(id)).then(|| PatientId::new(&format!("Patient/{id}")))
}

#[cfg(test)]
mod consent_tests;
#[cfg(test)]
mod tests;
