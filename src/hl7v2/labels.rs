//! Labels of a reading as abnormal flags (OBX-8) and notes (NTE), in the vocabulary of IHE PCD-01.
//!
//! Must never: lose one that changes how a value may be used.

use crate::reading::{Absence, Quality};

/// What a reading's labels mean for its OBX segments.
#[derive(Default)]
pub(super) struct Labels {
    /// The device takes the value back: none is given.
    pub invalid: bool,
    /// The true value lies beyond the one given: `>` or `<`.
    pub comparator: Option<&'static str>,
    flags: Vec<&'static str>,
    notes: Vec<&'static str>,
}

impl Labels {
    pub fn of(quality: &[Quality]) -> Self {
        let mut labels = Self::default();
        for label in quality {
            match label {
                Quality::Questionable => labels.flag("QUES"),
                Quality::Invalid => labels.invalid = true,
                Quality::Early => labels.flag("EARLY"),
                Quality::Calibrating => labels.flag("CAL"),
                Quality::Test => {
                    labels.flag("TEST");
                    labels.notes.push("Test, demonstration or control measurement: not a result of the patient.");
                }
                Quality::Implausible => {
                    labels.flag("QUES");
                    labels.notes.push("Outside the plausible range: confirm before use.");
                }
                Quality::AboveRange => labels.comparator = Some(">"),
                Quality::BelowRange => labels.comparator = Some("<"),
                Quality::TimeDoubtful => labels.notes.push("The device's clock was in doubt."),
                // How the bytes were read does not change what they say.
                Quality::Quirk => {}
                // An OBX of its own (`status.rs`): no word of what the value is worth.
                Quality::Status(_) => {}
            }
        }
        if labels.invalid {
            labels.notes.push("The device reported this measurement as invalid.");
        }
        labels
    }

    fn flag(&mut self, flag: &'static str) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    /// OBX-8 of a value, or of what is absent for this reason.
    pub fn flags(&self, absent: Option<Absence>) -> String {
        let first = match absent {
            _ if self.invalid => Some("INV"),
            Some(Absence::NotANumber | Absence::Error) => Some("INV"),
            Some(Absence::NotPerformed | Absence::Unknown) => Some("NAV"),
            // Off scale (table 0078).
            Some(Absence::PositiveInfinity) => Some(">"),
            Some(Absence::NegativeInfinity) => Some("<"),
            None => self.comparator,
        };
        first.into_iter().chain(self.flags.iter().copied()).collect::<Vec<_>>().join("~")
    }

    pub fn notes(&self) -> &[&'static str] {
        &self.notes
    }
}
