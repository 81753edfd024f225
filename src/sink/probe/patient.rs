//! Finds a patient at the centre by an identifier and proves them by their birth date; asks later how they stand there.
//!
//! Promises: only one active record that bears the identifier and has exactly this birth date is a match; every other
//! answer stops with its own reason. Must never: hold, show or log what the centre said of a person, beyond its reference.

use std::fmt;

use reqwest::Url;
use serde::Deserialize;

use super::Prober;
use crate::fault::Explain;
use crate::fhir::inbound;
use crate::reading::PatientId;
use crate::roster::Standing;
use crate::sink::answer::{Whole, whole};
use crate::sink::why::Trouble;

/// The elements that are needed, and no others: names and addresses stay at the centre.
const ELEMENTS: &str = "identifier,active,birthDate,deceased,deceasedBoolean,deceasedDateTime,link";

/// What a person is searched and proved by. Redacts itself; gone when the answer is there.
#[derive(Clone)]
pub struct Criteria {
    /// System of the identifier; empty: one without a system.
    pub system: String,
    /// Its value.
    pub value: String,
    /// `1950-03-07`.
    pub birth_date: String,
}

impl fmt::Debug for Criteria {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Criteria(…)")
    }
}

/// Why nobody was matched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Correct the identifier, or ask the centre to enter the patient.
    #[error("the centre has no patient with this identifier")]
    Nobody,
    /// The centre must say which one it is.
    #[error("the centre has more than one patient with this identifier")]
    Several,
    /// One of the two is wrong: nobody can say which.
    #[error("the centre has a patient with this identifier, and another birth date")]
    OtherBirthDate,
    /// The centre must enter it.
    #[error("the centre has a patient with this identifier, and no full birth date that would prove who it is")]
    Unproved,
    /// Ask the centre which record is in use.
    #[error("the centre's record of this patient is not in use (active = false)")]
    Inactive,
    /// Ask the centre.
    #[error("the centre says that this patient has died")]
    Deceased,
    /// Ask the centre about that record.
    #[error("the centre has merged this patient's record into another one")]
    Merged(Option<PatientId>),
    /// Look at the destination.
    #[error("the centre's answer is not understood: {0}")]
    Unclear(&'static str),
    /// Try again when it can be asked.
    #[error("the centre cannot be asked: {0} ({code})", code = .0.code())]
    Away(Trouble),
}

impl Mismatch {
    /// The record to ask the centre about. For the person who asked: it is the patient's.
    pub fn about(&self) -> Option<&PatientId> {
        match self {
            Self::Merged(other) => other.as_ref(),
            _ => None,
        }
    }
}

impl Explain for Mismatch {
    fn code(&self) -> &'static str {
        match self {
            Self::Nobody => "WL-M001",
            Self::Several => "WL-M002",
            Self::OtherBirthDate => "WL-M003",
            Self::Unproved => "WL-M004",
            Self::Inactive => "WL-M005",
            Self::Deceased => "WL-M006",
            Self::Merged(_) => "WL-M007",
            Self::Unclear(_) => "WL-M008",
            Self::Away(_) => "WL-M009",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Nobody => {
                "Check system and value letter by letter. Until the centre has the patient, leave the device without one: its readings are kept as nobody's."
            }
            Self::Several => {
                "Ask the centre which record is the right one and that it joins them. Until then leave the device without a patient: its readings are kept as nobody's."
            }
            Self::OtherBirthDate => {
                "Compare identifier and birth date with the person's papers, and ask the centre. Do not try other dates. Until then leave the device without a patient."
            }
            Self::Unproved => {
                "Ask the centre to enter the whole birth date. Until then leave the device without a patient: its readings are kept as nobody's."
            }
            Self::Inactive | Self::Deceased | Self::Merged(_) => {
                "Ask the centre which record is in use, and match by an identifier of that one. Until then leave the device without a patient."
            }
            Self::Unclear(_) => {
                "See `wardline destination probe`; the server must search Patient by identifier and show it, with birthDate."
            }
            Self::Away(_) => {
                "Try again when the destination answers (`wardline status`). Until then leave the device without a patient: its readings are kept as nobody's."
            }
        }
    }
}

impl Prober {
    /// The one patient with this identifier and this birth date.
    pub async fn patient_of(&self, criteria: &Criteria) -> Result<PatientId, Mismatch> {
        let base = self.sink.peer.below("Patient");
        let mut url = Url::parse(&base).map_err(|_| Mismatch::Unclear("its URL cannot be searched"))?;
        let token = format!("{}|{}", escaped(&criteria.system), escaped(&criteria.value));
        url.query_pairs_mut()
            .append_pair("identifier", &token)
            .append_pair("_elements", ELEMENTS)
            .append_pair("_count", "10");
        self.sink.turn().await;
        let answer = self.sink.get(url.as_str()).await.map_err(Mismatch::Away)?;
        match whole(&answer) {
            Whole::Taken => judge(&answer.body, criteria),
            Whole::Destination(trouble) => Err(Mismatch::Away(trouble)),
            _ => Err(Mismatch::Unclear("it does not search patients by identifier")),
        }
    }

    /// How a patient stands there now.
    pub async fn standing(&self, patient: &PatientId) -> Result<Standing, Trouble> {
        self.sink.turn().await;
        let answer = self.sink.look(&format!("{}?_elements={ELEMENTS}", patient.reveal())).await?;
        if matches!(answer.status, 404 | 410) {
            // A base that is wrong says the same of everything: only a FHIR server's own words count.
            return if is_outcome(&answer.body) { Ok(Standing::Gone) } else { Err(Trouble::NotHere(answer.status)) };
        }
        match whole(&answer) {
            Whole::Taken => standing_of(&answer.body, patient),
            Whole::Destination(trouble) => Err(trouble),
            _ => Err(Trouble::Unclear("it does not show the patient")),
        }
    }
}

/// Whether a FHIR server speaks.
pub(super) fn is_outcome(body: &[u8]) -> bool {
    let said: Option<Record> = serde_json::from_slice(body).ok();
    said.is_some_and(|r| r.kind == "OperationOutcome")
}

/// In a token `\`, `,`, `|` and `$` stand for themselves only behind a `\` (R4 §3.1.1.5.7).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | ',' | '|' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// What a search's answer says.
fn judge(body: &[u8], criteria: &Criteria) -> Result<PatientId, Mismatch> {
    let set: Searchset = serde_json::from_slice(body).map_err(|_| Mismatch::Unclear("it is not a searchset"))?;
    if set.kind != "Bundle" || set.of.as_deref().is_some_and(|of| of != "searchset") {
        return Err(Mismatch::Unclear("it is not a searchset"));
    }
    let counts = |e: &&Entry| e.search.as_ref().is_none_or(|s| s.mode.is_empty() || s.mode == "match");
    let found: Vec<&Record> = set.entry.iter().filter(counts).filter_map(|e| e.resource.as_ref()).collect();
    if found.iter().any(|r| r.kind != "Patient") {
        return Err(Mismatch::Unclear("it shows other things than patients"));
    }
    let bears = |r: &&Record| {
        r.identifier.iter().any(|i| {
            i.value.as_deref() == Some(&*criteria.value) && i.system.as_deref().unwrap_or_default() == criteria.system
        })
    };
    if !found.iter().all(bears) {
        // It ignores what it was asked, or does not show what must be compared.
        return Err(Mismatch::Unclear("it shows patients without this identifier"));
    }
    let more = set.link.iter().any(|l| l.relation == "next") || set.total.is_some_and(|n| n > found.len() as u64);
    let in_use: Vec<&&Record> = found.iter().filter(|r| r.standing() == Standing::Active).collect();
    let one = match (&*in_use, &*found) {
        _ if more => return Err(Mismatch::Several),
        ([one], _) => **one,
        ([], []) => return Err(Mismatch::Nobody),
        ([], [one]) => return Err(one.refusal()),
        _ => return Err(Mismatch::Several),
    };
    match one.birth_date.as_deref() {
        Some(date) if date == criteria.birth_date => {}
        Some(date) if date.len() == 10 => return Err(Mismatch::OtherBirthDate),
        _ => return Err(Mismatch::Unproved),
    }
    one.reference().ok_or(Mismatch::Unclear("the patient has no id"))
}

/// What a read's answer says.
fn standing_of(body: &[u8], patient: &PatientId) -> Result<Standing, Trouble> {
    let record: Record = serde_json::from_slice(body).map_err(|_| Trouble::Unclear("it is not a Patient"))?;
    if record.kind != "Patient" || record.reference().as_ref() != Some(patient) {
        return Err(Trouble::Unclear("it shows something else than the patient"));
    }
    Ok(record.standing())
}

/// What of a searchset is looked at.
#[derive(Deserialize)]
struct Searchset {
    #[serde(rename = "resourceType")]
    kind: String,
    #[serde(rename = "type")]
    of: Option<String>,
    total: Option<u64>,
    #[serde(default)]
    link: Vec<Page>,
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    relation: String,
}

#[derive(Deserialize)]
struct Entry {
    search: Option<Mode>,
    resource: Option<Record>,
}

#[derive(Deserialize)]
struct Mode {
    #[serde(default)]
    mode: String,
}

/// What of a Patient is looked at.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "resourceType")]
    kind: String,
    id: Option<String>,
    active: Option<bool>,
    #[serde(rename = "birthDate")]
    birth_date: Option<String>,
    #[serde(rename = "deceasedBoolean")]
    deceased: Option<bool>,
    #[serde(rename = "deceasedDateTime")]
    deceased_at: Option<String>,
    #[serde(default)]
    identifier: Vec<Identifier>,
    #[serde(default)]
    link: Vec<Link>,
}

#[derive(Deserialize)]
struct Identifier {
    system: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Link {
    #[serde(rename = "type")]
    of: Option<String>,
    other: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    reference: Option<String>,
}

impl Record {
    fn standing(&self) -> Standing {
        if let Some(link) = self.link.iter().find(|l| l.of.as_deref() == Some("replaced-by")) {
            let other = link.other.as_ref().and_then(|o| o.reference.as_deref());
            return Standing::Merged { into: other.and_then(inbound::patient) };
        }
        match (self.active, self.deceased == Some(true) || self.deceased_at.is_some()) {
            (_, true) => Standing::Deceased,
            (Some(false), false) => Standing::Inactive,
            _ => Standing::Active,
        }
    }

    fn refusal(&self) -> Mismatch {
        match self.standing() {
            Standing::Merged { into } => Mismatch::Merged(into),
            Standing::Deceased => Mismatch::Deceased,
            _ => Mismatch::Inactive,
        }
    }

    fn reference(&self) -> Option<PatientId> {
        inbound::patient(&format!("Patient/{}", self.id.as_deref()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn criteria() -> Criteria {
        Criteria { system: "urn:mrn".into(), value: "canary-17".into(), birth_date: "1950-03-07".into() }
    }

    fn person(id: &str, more: &Value) -> Value {
        let mut person = json!({"resourceType": "Patient", "id": id, "birthDate": "1950-03-07",
            "identifier": [{"system": "urn:other", "value": "1"}, {"system": "urn:mrn", "value": "canary-17"}]});
        person.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        person
    }

    fn set(people: &[Value]) -> Value {
        let entries: Vec<_> = people.iter().map(|p| json!({"resource": p, "search": {"mode": "match"}})).collect();
        json!({"resourceType": "Bundle", "type": "searchset", "total": people.len(), "entry": entries})
    }

    #[track_caller]
    fn check(answer: &Value, expected: Result<&str, &str>) {
        let found = judge(answer.to_string().as_bytes(), &criteria());
        let shown = format!("{found:?} {:?}", criteria());
        assert!(!shown.contains("canary") && !shown.contains("1950"), "{shown}");
        let found = found.as_ref().map(|p| p.reveal()).map_err(Explain::code);
        assert_eq!(found, expected, "{answer}");
    }

    #[test]
    fn only_one_active_record_with_identifier_and_birth_date_is_a_match() {
        let fine = person("8f2c", &json!({}));
        let merged = json!({"link": [{"other": {"reference": "https://x/fhir/Patient/9"}, "type": "replaced-by"}]});
        check(&set(std::slice::from_ref(&fine)), Ok("Patient/8f2c"));
        check(&set(&[person("8f2c", &json!({"active": true, "deceasedBoolean": false}))]), Ok("Patient/8f2c"));
        // The record that was merged away bears the identifier too.
        check(&set(&[person("1", &merged), fine.clone()]), Ok("Patient/8f2c"));
        check(&set(&[]), Err("WL-M001"));
        check(&set(&[fine.clone(), person("2", &json!({}))]), Err("WL-M002"));
        check(&set(&[person("8f2c", &json!({"birthDate": "1950-03-08"}))]), Err("WL-M003"));
        for partial in [json!("1950-03"), json!("1950"), json!(null)] {
            check(&set(&[person("8f2c", &json!({"birthDate": partial}))]), Err("WL-M004"));
        }
        check(&set(&[person("8f2c", &json!({"active": false}))]), Err("WL-M005"));
        check(&set(&[person("8f2c", &json!({"deceasedBoolean": true}))]), Err("WL-M006"));
        check(&set(&[person("8f2c", &json!({"deceasedDateTime": "2020"}))]), Err("WL-M006"));
        check(&set(&[person("8f2c", &merged)]), Err("WL-M007"));
        check(&set(&[person("1", &merged), person("2", &json!({"active": false}))]), Err("WL-M002"));
        let seen_only = json!({"link": [{"other": {"reference": "Patient/9"}, "type": "seealso"}]});
        check(&set(&[person("8f2c", &seen_only)]), Ok("Patient/8f2c"));
    }

    #[test]
    fn what_is_not_understood_is_no_match() {
        let fine = person("8f2c", &json!({}));
        let mut more = set(std::slice::from_ref(&fine));
        more["total"] = json!(2);
        check(&more, Err("WL-M002"));
        let mut paged = set(std::slice::from_ref(&fine));
        paged["link"] = json!([{"relation": "next", "url": "x"}]);
        check(&paged, Err("WL-M002"));
        // A server that ignores what it was asked shows whomever it has.
        let other = json!({"identifier": [{"system": "urn:mrn", "value": "canary-18"}]});
        check(&set(&[person("8f2c", &other)]), Err("WL-M008"));
        check(&set(&[person("8f2c", &json!({"identifier": []}))]), Err("WL-M008"));
        check(&set(&[person("8f/2c", &json!({}))]), Err("WL-M008"));
        check(&set(&[person("", &json!({}))]), Err("WL-M008"));
        check(&set(&[json!({"resourceType": "Observation"})]), Err("WL-M008"));
        check(&json!({"resourceType": "OperationOutcome"}), Err("WL-M008"));
        check(&json!([1]), Err("WL-M008"));
        check(&fine, Err("WL-M008"));
        // What is told beside the matches is no match.
        let beside = json!({"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}});
        let mut told = set(std::slice::from_ref(&fine));
        told["entry"].as_array_mut().unwrap().push(beside);
        check(&told, Ok("Patient/8f2c"));
    }

    #[test]
    fn a_standing_is_that_of_the_patient_that_was_asked_for() {
        let of = |p: &Value| standing_of(p.to_string().as_bytes(), &PatientId::new("Patient/8f2c"));
        assert_eq!(of(&person("8f2c", &json!({}))), Ok(Standing::Active));
        assert!(of(&person("9", &json!({}))).is_err());
        let merged = json!({"active": false, "link": [{"other": {"reference": "Patient/9"}, "type": "replaced-by"}]});
        let into = Some(PatientId::new("Patient/9"));
        assert_eq!(of(&person("8f2c", &merged)), Ok(Standing::Merged { into }));
    }

    #[test]
    fn an_identifier_cannot_ask_for_more_than_itself() {
        assert_eq!(escaped(r"a,b|c$d\e"), r"a\,b\|c\$d\\e");
    }
}
