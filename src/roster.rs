//! Who is a patient of this box: those of the configuration, and those who joined at run time after a match at the centre.
//!
//! Holds a pseudonymous reference and the name that the household chose, nothing else. Must never: hold demographics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::reading::PatientId;

/// A patient who was matched at a destination.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Pseudonymous reference at the centre: `Patient/8f2c`.
    pub reference: PatientId,
    /// What the household calls them.
    pub display: Option<String>,
    /// The destination at which they were found.
    pub destination: String,
    /// Who matched them.
    pub by: String,
    /// When, milliseconds since 1970.
    pub since_ms: i64,
    /// How they stood there when it was last asked.
    pub standing: Standing,
    /// When that was.
    pub checked_ms: i64,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Member(…)")
    }
}

/// How a patient stands at the centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// As a patient whose readings are expected.
    Active,
    /// The record is not in use (`active = false`).
    Inactive,
    /// The person has died.
    Deceased,
    /// The record was merged into another one.
    Merged {
        /// Which one, where the centre says.
        into: Option<PatientId>,
    },
    /// There is no such record any more.
    Gone,
}

impl Standing {
    /// Code and sentence of what is wrong; `None`: nothing is.
    pub fn trouble(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Active => None,
            Self::Inactive => Some(("WL-M005", "the centre's record of this patient is not in use")),
            Self::Deceased => Some(("WL-M006", "the centre says that this patient has died")),
            Self::Merged { .. } => Some(("WL-M007", "the centre has merged this patient's record into another one")),
            Self::Gone => Some(("WL-M010", "the centre has no such patient any more")),
        }
    }
}

/// The patients of this box. Clones share one list.
#[derive(Clone, Default)]
pub struct Roster(Arc<RwLock<BTreeMap<PatientId, Option<String>>>>);

impl Roster {
    /// Adds a patient. A name that is given now stands before an earlier one.
    pub fn join(&self, patient: &PatientId, display: Option<&str>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(patient.clone()).or_default();
        if display.is_some() {
            *known = display.map(str::to_owned);
        }
    }

    /// Whether they are one of this box.
    pub fn contains(&self, patient: &PatientId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(patient)
    }

    /// What the household calls them.
    pub fn display(&self, patient: &PatientId) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(patient).cloned().flatten()
    }

    /// All of them, with the names that the household chose.
    pub fn all(&self) -> Vec<(PatientId, Option<String>)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(patient, display)| (patient.clone(), display.clone())).collect()
    }
}

impl<const N: usize> From<[PatientId; N]> for Roster {
    fn from(patients: [PatientId; N]) -> Self {
        let roster = Self::default();
        patients.iter().for_each(|patient| roster.join(patient, None));
        roster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joins_is_there_for_all_and_redacts_themselves() {
        let roster = Roster::from([PatientId::new("Patient/a")]);
        let other = roster.clone();
        let late = PatientId::new("Patient/canary");
        assert!(!other.contains(&late));
        roster.join(&late, Some("Grandma"));
        roster.join(&late, None);
        assert_eq!((other.contains(&late), other.display(&late)), (true, Some("Grandma".into())));
        let member = Member {
            reference: late,
            display: Some("Grandma".into()),
            destination: "centre".into(),
            by: "Ada".into(),
            since_ms: 1,
            standing: Standing::Merged { into: Some(PatientId::new("Patient/canary-2")) },
            checked_ms: 1,
        };
        let shown = format!("{member:?} {:?}", member.standing);
        assert!(!shown.contains("canary") && !shown.contains("Grandma"), "{shown}");
    }
}
