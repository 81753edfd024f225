//! A person corrected readings: what rested on the old ones alone never was, and what the new ones say is judged, as past.
//!
//! Promises: windows and expected measurements are afterwards as a restart would make them; whatever the right chart has to
//! be told is raised before anything ends. Must never: end an alert that still rests on a reading, or page as "now".

use std::collections::BTreeSet;

use super::lifecycle::Change;
use super::{Engine, Input};
use crate::alarm::{Alert, AlertEvent};
use crate::clock::Stamp;
use crate::reading::{PatientId, Reading};

/// Readings that were corrected, and what follows from that.
pub struct Corrected<'a> {
    /// Whose they no longer are.
    pub people: BTreeSet<PatientId>,
    /// What stands in their place and says something else.
    pub right: &'a [Reading],
    /// Alerts all of whose evidence was taken back, and who did that.
    pub baseless: Vec<(Alert, String)>,
    /// The newest readings that stand, oldest first.
    pub recent: &'a [Reading],
}

impl Engine {
    /// Gives what is raised, and what never was.
    pub fn correct(&mut self, now: Stamp, corrected: Corrected<'_>) -> Vec<AlertEvent> {
        let Corrected { people, right, baseless, recent } = corrected;
        let mut events: Vec<AlertEvent> = Vec::new();
        for reading in right {
            events.extend(self.step(now, Input::Reading(reading)));
        }
        for person in &people {
            self.look_back(person, recent);
            self.expected.again(person, recent);
        }
        let mut happened = Change { now, events };
        for (alert, by) in baseless {
            self.register.take_back(alert, &by, &mut happened);
        }
        happened.events
    }

    /// Fills the patient's windows anew.
    fn look_back(&mut self, person: &PatientId, recent: &[Reading]) {
        if let Some(known) = self.patients.get_mut(person) {
            known.now.clear();
            known.past.clear();
        }
        for reading in recent.iter().filter(|r| r.patient.as_ref() == Some(person)) {
            let rules = self.by_vital.get(&reading.vital).cloned().unwrap_or_default();
            rules.into_iter().for_each(|at| self.look_again(at, reading));
        }
    }
}
