//! What somebody did here that they may be asked about later: readings taken out or looked at, and what was set otherwise.
//!
//! An entry of the chain of custody; as much of it as a destination may know becomes an AuditEvent there.
//! Must never: hold what was read, or a person of whom no reading was meant.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reading::PatientId;

/// Patients that one deed names; of more, the first.
pub const PATIENTS_NAMED_MAX: usize = 100;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Did {
    /// An export, or a copy of the journal, began: its end is a deed of its own, and this one is told to nobody.
    Exporting,
    /// Readings left the box in bulk; or should have.
    Exported,
    /// A person looked at them here.
    Read,
    /// The box was started with another configuration than before.
    Configured,
    /// A consent was recorded, or taken back.
    Consented,
    /// Match fields of a patient were given.
    Introduced,
    /// They were taken back.
    Forgotten,
    /// The code of a scale's user was given.
    CodeGiven,
    /// It was taken away.
    CodeForgotten,
    /// A patient was matched at the centre and joined the box.
    Matched,
    /// A device has another holder.
    Handed,
    /// Limits of alerts, or measurements that are expected, are others, as a centre ordered.
    Ordered,
    /// Readings that were nobody's got their patient.
    Assigned,
    /// Readings were taken back, or given to another patient.
    Corrected,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// What.
    pub did: Did,
    /// Who, as far as it was said. `None`: the gateway by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whose readings, or settings, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patients: Vec<PatientId>,
    /// It did not come about, or not whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Of an export: the entry with which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<i64>,
}

impl fmt::Debug for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deed").field("did", &self.did).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Did {
    /// As the journal, and a destination, has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exporting => "exporting",
            Self::Exported => "exported",
            Self::Read => "read",
            Self::Configured => "configured",
            Self::Consented => "consented",
            Self::Introduced => "introduced",
            Self::Forgotten => "forgotten",
            Self::CodeGiven => "code-given",
            Self::CodeForgotten => "code-forgotten",
            Self::Matched => "matched",
            Self::Handed => "handed",
            Self::Ordered => "ordered",
            Self::Assigned => "assigned",
            Self::Corrected => "corrected",
        }
    }

    /// A deed of this kind.
    pub fn by(self, by: Option<&str>) -> Deed {
        Deed { did: self, by: by.map(str::to_owned), patients: Vec::new(), failed: false, begun: None }
    }
}

impl Deed {
    /// The same about these patients, each once.
    pub fn about<'a>(mut self, patients: impl IntoIterator<Item = &'a PatientId>) -> Self {
        for patient in patients {
            if self.patients.len() >= PATIENTS_NAMED_MAX {
                break;
            }
            if !self.patients.contains(patient) {
                self.patients.push(patient.clone());
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_journals_and_patients_are_named_once_and_not_without_end() {
        for did in [Did::Exporting, Did::Read, Did::CodeGiven, Did::CodeForgotten, Did::Handed, Did::Corrected] {
            assert_eq!(serde_json::to_value(did).unwrap(), did.word());
        }
        let all: Vec<PatientId> = (0..300).map(|n| PatientId::new(&format!("Patient/{}", n / 2))).collect();
        let deed = Did::Read.by(Some("Ada")).about(&all);
        assert_eq!(deed.patients.len(), PATIENTS_NAMED_MAX);
        assert_eq!(deed.patients[1].reveal(), "Patient/1");
        let json = serde_json::to_string(&deed.clone().about(&[])).unwrap();
        assert_eq!(serde_json::from_str::<Deed>(&json).unwrap(), deed);
        assert!(!format!("{deed:?}").contains("Ada"));
    }
}
