//! What a centre ordered, obeyed at run time: limits in the place of a rule's, and measurements that must not stay out.
//!
//! Promises: a new limit counts from the next reading on; an open alert stays open until a reading is clear of the limit
//! that is in force by then, as after a restart with other rules; a measurement that stays out is one alert, until one
//! comes. Must never: resolve an alert because a limit moved.

use std::collections::BTreeMap;
use std::time::Duration;

use super::judge::{self, Doubt, Finding};
use super::lifecycle::Change;
use super::track::Sight;
use super::{Engine, target, window};
use crate::alarm::AlertEvent;
use crate::careplan::{Aim, span};
use crate::clock::Stamp;
use crate::reading::{PatientId, Quality, Reading};
use crate::vital::Vital;

/// A measurement may come so much later than it is expected: a fifth of the time between two.
const GRACE: u32 = 5;

/// An order that comes into force or ends.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// Whose it is.
    pub patient: PatientId,
    /// What.
    pub aim: Aim,
    /// Id of the order; `None`: it ends.
    pub order: Option<String>,
    /// Since when.
    pub since: Stamp,
}

/// Measurements that are expected.
#[derive(Default)]
pub(super) struct Expectations(BTreeMap<(PatientId, &'static str), Expected>);

struct Expected {
    vital: Vital,
    every: Duration,
    order: String,
    /// Since when it is ordered.
    since: Stamp,
    last: Stamp,
}

impl Expectations {
    /// A measurement came: those whose alert may end.
    pub(super) fn note(&mut self, reading: &Reading) -> Vec<String> {
        let Some(patient) = &reading.patient else { return Vec::new() };
        let counts = !reading.quality.contains(&Quality::Test) && reading.parts.iter().any(|p| p.number().is_some());
        let mut over = Vec::new();
        let theirs = self.0.range_mut((patient.clone(), "")..).take_while(|((whose, _), _)| whose == patient);
        for (_, expected) in theirs {
            if counts && is_like(expected.vital, reading.vital) {
                let at = reading.taken.received;
                if at.since(expected.last) > Duration::ZERO {
                    expected.last = at;
                }
                over.push(name(expected));
            }
        }
        over
    }

    /// When the patient's were measured, by these readings alone.
    pub(super) fn again(&mut self, patient: &PatientId, recent: &[Reading]) {
        self.0.iter_mut().filter(|((whose, _), _)| whose == patient).for_each(|(_, e)| e.last = e.since);
        recent.iter().filter(|r| r.patient.as_ref() == Some(patient)).for_each(|reading| drop(self.note(reading)));
    }

    /// Those that stay out.
    pub(super) fn overdue(&self, now: Stamp) -> Vec<(PatientId, Vital, String, String)> {
        let late = self.0.iter().filter(|(_, e)| now.since(e.last) > e.every + e.every / GRACE);
        late.map(|((patient, _), e)| {
            let text = format!(
                "{} was not measured: it is ordered every {} (order {}), and the last is longer ago",
                e.vital.name,
                span(e.every.as_secs()),
                e.order
            );
            (patient.clone(), e.vital, name(e), text)
        })
        .collect()
    }
}

/// Two vitals that are one to whoever orders them: they share a LOINC code.
fn is_like(ordered: Vital, measured: Vital) -> bool {
    ordered == measured || ordered.loinc.iter().any(|l| measured.loinc.iter().any(|m| m.0 == l.0))
}

fn name(expected: &Expected) -> String {
    format!("not-measured:{}:{}", expected.vital.id, expected.order)
}

impl Engine {
    /// Obeys an order, or stops obeying it. `recent`: readings of before, oldest first; those that a limit concerns are
    /// looked at again for the windows, and raise nothing.
    pub fn obey(&mut self, now: Stamp, ordered: &Ordered, recent: &[Reading]) -> Vec<AlertEvent> {
        let mut happened = Change { now, events: Vec::new() };
        match &ordered.aim {
            Aim::Limit { rule, .. } => self.relimit(ordered, rule, recent),
            // Whoever sends obeys it.
            Aim::Share { .. } => {}
            Aim::Expect { vital, every_s } => {
                let key = (ordered.patient.clone(), vital.id);
                if let Some(before) = self.expected.0.remove(&key) {
                    self.conditions.report(&name(&before), None, &mut self.register, &mut happened);
                }
                if let Some(order) = ordered.order.clone() {
                    let (vital, every) = (*vital, Duration::from_secs(*every_s));
                    self.expected
                        .0
                        .insert(key, Expected { vital, every, order, since: ordered.since, last: ordered.since });
                    recent.iter().for_each(|reading| drop(self.expected.note(reading)));
                }
            }
        }
        happened.events
    }

    fn relimit(&mut self, ordered: &Ordered, rule: &str, recent: &[Reading]) {
        let Some(at) = self.rules.iter().position(|r| *r.id == *rule) else { return };
        let Some(limit) = self.rules.get(at).map(|r| target::limit(r, &ordered.aim)) else { return };
        let known = self.patients.entry(ordered.patient.clone()).or_default();
        known.ordered.retain(|(index, _)| *index != at);
        known.ordered.extend(limit.filter(|_| ordered.order.is_some()).map(|limit| (at, limit)));
        known.now.retain(|(index, _)| *index != at);
        known.past.retain(|(index, _)| *index != at);
        recent.iter().filter(|r| r.patient.as_ref() == Some(&ordered.patient)).for_each(|r| self.look_again(at, r));
    }

    /// Only for the window of this rule.
    pub(super) fn look_again(&mut self, at: usize, reading: &Reading) {
        let Some(rule) = self.rules.get(at).filter(|r| r.vitals.contains(&reading.vital)) else { return };
        let Some(known) = reading.patient.as_ref().and_then(|p| self.patients.get_mut(p)) else { return };
        if reading.quality.contains(&Quality::Test) {
            return;
        }
        let limit = known.limit(at).unwrap_or(rule.limit);
        let Finding::At(place) = judge::find(&limit, rule.role, reading) else { return };
        let retrospective = judge::is_retrospective(reading, self.old_after);
        let sight = Sight { reading, place, doubtful: Doubt::of(reading).is_some(), retrospective };
        let windows = if retrospective { &mut known.past } else { &mut known.now };
        if let Some(window) = window(windows, at, sight, rule) {
            let _ = window.take(sight, rule.sustained, self.old_after);
        }
    }
}
