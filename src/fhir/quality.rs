//! Labels of a reading as FHIR has them (Personal Health Device guide, measurement status;
//! `docs/decisions/0021-observation-mapping.md`). Must never: lose one that changes how a value may be used.

use super::types::{Annotation, One, one, system};
use crate::reading::Quality;

/// What a reading's labels mean for its Observation.
#[derive(Default)]
pub(super) struct Labels {
    /// `status` is `preliminary` rather than `final`.
    pub preliminary: bool,
    /// The device takes the value back: none is given, the reason is `error`.
    pub invalid: bool,
    /// `meta.security` says HTEST.
    pub test: bool,
    /// The true value lies beyond the one given.
    pub comparator: Option<&'static str>,
    questionable: bool,
    early: bool,
    calibrating: bool,
    implausible: bool,
    time_doubtful: bool,
}

impl Labels {
    pub fn of(quality: &[Quality]) -> Self {
        let mut labels = Self::default();
        for label in quality {
            match label {
                Quality::Questionable => labels.questionable = true,
                Quality::Invalid => labels.invalid = true,
                Quality::Early => labels.early = true,
                Quality::Calibrating => labels.calibrating = true,
                Quality::Test => labels.test = true,
                Quality::Implausible => labels.implausible = true,
                Quality::AboveRange => labels.comparator = Some(">"),
                Quality::BelowRange => labels.comparator = Some("<"),
                Quality::TimeDoubtful => labels.time_doubtful = true,
                // How the bytes were read does not change what they say.
                Quality::Quirk => {}
                // A component (`status.rs`): no word of what the value is worth.
                Quality::Status(_) => {}
            }
        }
        labels.preliminary = labels.early || labels.calibrating || labels.implausible;
        labels
    }

    pub fn interpretation(&self) -> Vec<One<'static>> {
        let status = [
            (self.questionable || self.implausible, "questionable"),
            (self.early, "early-indication"),
            (self.calibrating, "calibration-ongoing"),
        ];
        let status = status.iter().filter(|(set, _)| *set).map(|(_, code)| one(system::MEASUREMENT_STATUS, code));
        // Off scale high, off scale low.
        status.chain(self.comparator.map(|code| one(system::INTERPRETATION, code))).collect()
    }

    pub fn notes(&self) -> Vec<Annotation<'static>> {
        let notes = [
            (self.implausible, "Outside the plausible range: confirm before use."),
            (self.invalid, "The device reported this measurement as invalid."),
            (self.test, "Test, demonstration or control measurement: not a result of the patient."),
            (self.time_doubtful, "The device's clock was in doubt."),
        ];
        notes.iter().filter(|(set, _)| *set).map(|(_, text)| Annotation { author: None, time: None, text }).collect()
    }
}
