//! Settings of consent: which vital signs are so sensitive that a general consent does not cover them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{Config, DestinationSettings, Finding};
use crate::consent::{ALL, GENERAL, GENERALS, Rule, Sensitive, Terms};
use crate::demographics::LACKING;
use crate::vital::Vital;

/// What needs a consent of its own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsentSettings {
    /// Vital signs by the name of their category.
    pub sensitive: BTreeMap<String, Vec<String>>,
    /// An export is for those who may have what this destination may have. None: what each of them may have.
    pub export_as: Option<String>,
}

impl Config {
    /// What is sensitive.
    pub fn sensitive(&self) -> Sensitive {
        let of = |(name, vitals): (&String, &Vec<String>)| {
            let name: Arc<str> = name.as_str().into();
            vitals.iter().filter_map(|v| Vital::parse(v)).map(|v| (v, name.clone())).collect::<Vec<_>>()
        };
        Sensitive::new(self.consent.sensitive.iter().flat_map(of))
    }

    /// What this destination needs before it gets anything.
    pub fn terms(&self, destination: &DestinationSettings) -> Terms {
        // What says nothing was refused at the start; if not, the stricter word counts.
        let person = destination.fields().of_a_person();
        Terms { rule: destination.consent().unwrap_or(Rule::Recorded), sensitive: self.sensitive(), person }
    }

    /// Match fields: for what can send them, and from a box whose disk tells nobody.
    pub(super) fn check_match_fields(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for destination in self.destinations.iter().filter(|d| !d.fields().of_a_person().is_empty()) {
            let mut add = |code, reason: &str, remedy| {
                let key = format!("destination {}, fields", destination.name());
                found.push(Finding { code, key, reason: reason.into(), remedy });
            };
            if !matches!(destination, DestinationSettings::Hl7(_)) {
                add(
                    "WL-C032",
                    "only a receiver of HL7 v2 gets fields of a person",
                    "Leave `patient-identifier`, `patient-name`, `birth-date` and `sex` out: this destination knows patients by their reference.",
                );
            }
            if self.journal.unencrypted {
                add(
                    "WL-C033",
                    "fields of a person are kept in an encrypted journal only",
                    "Give the journal a key (`wardline key new`), or leave these fields out.",
                );
            }
        }
        found
    }

    /// Where a consent can be for, and whose.
    pub(super) fn check_consent(&self) -> Vec<Finding> {
        let silent = |d: &&DestinationSettings| d.consent().is_none();
        let unsaid = |d: &DestinationSettings| Finding {
            code: "WL-C030",
            key: format!("destination {}, consent", d.name()),
            reason: "it does not say whose readings may go there".into(),
            remedy: "Add `consent = \"recorded\"` (only with a recorded consent of the patient) or, where the contract of \
                     enrolment covers this destination, `consent = \"enrolment\"`; docs/consent.md.",
        };
        let mut found: Vec<Finding> = self.destinations.iter().filter(silent).map(unsaid).collect();
        let mut add = |key: String, reason: String, remedy| {
            found.push(Finding { code: "WL-C031", key, reason, remedy });
        };
        if let Some(name) =
            self.consent.export_as.as_deref().filter(|n| !self.destinations.iter().any(|d| d.name() == *n))
        {
            let reason = format!("there is no destination `{name}`");
            add(
                "consent.export_as".into(),
                reason,
                "Name a destination whose consents cover exports, or leave it out.",
            );
        }
        for destination in &self.destinations {
            let DestinationSettings::Fhir(fhir) = destination else { continue };
            let Some(care) = fhir.care_plan.as_ref().filter(|care| care.consents.is_some()) else { continue };
            let key = |key: &str| format!("destination {}, care_plan.{key}", fhir.name);
            if fhir.consent == Some(Rule::Enrolment) {
                let reason =
                    "where the contract of enrolment covers everything, a Consent of the centre would stop nothing";
                add(key("consents"), reason.into(), "Use `consent = \"recorded\"`, or leave `consents` out.");
            }
            for (code, category) in &care.consent_codes {
                let known = GENERALS.contains(&category.as_str()) || category == GENERAL;
                if !known && !self.consent.sensitive.contains_key(category) {
                    add(
                        key("consent_codes"),
                        format!("there is no category `{category}`"),
                        "docs/consent.md lists them.",
                    );
                }
                if !code.contains('|') {
                    add(
                        key("consent_codes"),
                        format!("`{code}` is no `system|code`"),
                        "Write the code system, a bar, and the code.",
                    );
                }
            }
        }
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, vitals) in &self.consent.sensitive {
            let key = format!("consent.sensitive.{name}");
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
                add(key.clone(), "a category has 1 to 64 of a-z 0-9 -".into(), "Give it another name.");
            }
            if GENERALS.contains(&name.as_str()) || [GENERAL, ALL, LACKING].contains(&name.as_str()) {
                let reason = "this is the name of what is not sensitive";
                add(key.clone(), reason.into(), "Give it a name of its own.");
            }
            for vital in vitals {
                if Vital::parse(vital).is_none() {
                    let reason = format!("there is no vital sign `{vital}`");
                    add(
                        key.clone(),
                        reason,
                        "`wardline profile show` names those of a device; docs/fhir.md lists all.",
                    );
                }
                if let Some(other) = before.insert(vital, name) {
                    let reason = format!("`{vital}` is in `{other}` already");
                    add(key.clone(), reason, "Leave each vital sign in one category.");
                }
            }
        }
        found
    }
}
