//! Whose weight could it be: a doubt about a slot, and a suggestion to a person. Never a binding.
//!
//! Promises: a weight that fits another person here and not the holder, or that nobody can have become so soon, is held
//! back for a person to say. A change that a body can make is not: it is what alerts are for.
//! Must never: give a reading to anybody.

use std::collections::HashMap;

use crate::reading::{PatientId, Reading};
use crate::unit::Unit;
use crate::vital::Role;

/// A weight is somebody's if it is so near to the last one.
const LIKE: f64 = 0.03;
/// And not somebody's if it is so far from it.
const UNLIKE: f64 = 0.08;
/// No body changes by so much in [`SOON_MS`]: a guest, a child, a bag.
const IMPOSSIBLE: f64 = 0.2;
const SOON_MS: u64 = 30 * 86_400_000;
/// The last one counts for so long.
const REMEMBERED_MS: u64 = 60 * 86_400_000;

/// The last weight of each person.
#[derive(Default)]
pub struct Likeness(HashMap<PatientId, (f64, i64)>);

impl Likeness {
    /// A reading that is somebody's.
    pub fn note(&mut self, reading: &Reading) {
        let (Some(patient), Some((kg, at))) = (&reading.patient, weight(reading)) else { return };
        let newest = self.0.get(patient).is_none_or(|(_, before)| *before <= at);
        if newest && reading.quality.is_empty() {
            self.0.insert(patient.clone(), (kg, at));
        }
    }

    /// A reading that was not somebody's after all.
    pub fn forget(&mut self, reading: &Reading) {
        if let (Some(patient), Some(_)) = (&reading.patient, weight(reading)) {
            self.0.remove(patient);
        }
    }

    /// It does not fit this person, and fits another one or nobody.
    pub fn contradicts(&self, patient: &PatientId, reading: &Reading) -> bool {
        let Some(now) = weight(reading) else { return false };
        let Some((own, since)) = self.off(patient, now) else { return false };
        let fits = |p: &PatientId| self.off(p, now).is_some_and(|(off, _)| off < LIKE);
        (own > IMPOSSIBLE && since <= SOON_MS) || own > UNLIKE && self.0.keys().any(|p| p != patient && fits(p))
    }

    /// The one person whom it fits.
    pub fn suggest(&self, reading: &Reading) -> Option<PatientId> {
        let now = weight(reading)?;
        let mut near = self.0.keys().filter(|p| self.off(p, now).is_some_and(|(off, _)| off < UNLIKE));
        let only = near.next().filter(|_| near.next().is_none())?;
        self.off(only, now).filter(|(off, _)| *off < LIKE).map(|_| only.clone())
    }

    /// How far it is from the last one of this person, as a share of that; and how long that is ago.
    fn off(&self, patient: &PatientId, (kg, at): (f64, i64)) -> Option<(f64, u64)> {
        let (last, before) = self.0.get(patient)?;
        let since = at.abs_diff(*before);
        (since <= REMEMBERED_MS).then(|| ((kg - last).abs() / last, since))
    }
}

/// Kilograms, and when.
fn weight(reading: &Reading) -> Option<(f64, i64)> {
    if reading.vital.id != "body-weight" {
        return None;
    }
    let (value, unit) = reading.number(Role::Value)?;
    let kg = unit.convert(value, Unit::parse("kg")?, 3)?.to_f64();
    let at = reading.taken.at_ms.unwrap_or(reading.taken.received.wall_ms);
    (kg > 0.0).then_some((kg, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::reading::{DeviceId, Part, ReadingKey, Taken, TimeMethod, Value};
    use crate::vital::Vital;

    const DAY: i64 = 86_400_000;

    fn weighs(patient: Option<&str>, kg: &str, day: i64) -> Reading {
        let unit = Unit::parse("kg").unwrap();
        let received = Stamp::at_ms(20_000 * DAY + day * DAY);
        let at_ms = Some(received.wall_ms);
        Reading {
            key: ReadingKey([0; 16]),
            device: DeviceId("mqtt:scale".into()),
            profile: "p".into(),
            slot: None,
            patient: patient.map(PatientId::new),
            vital: Vital::parse("body-weight").unwrap(),
            parts: vec![Part { role: Role::Value, value: Value::Number(kg.parse().unwrap()), unit }],
            sequence: None,
            taken: Taken { device: None, received, at_ms, uncertainty_ms: 1_000, method: TimeMethod::Received },
            quality: vec![],
            site: None,
            stored: false,
            unassigned: None,
            amendment: None,
            clocks: None,
        }
    }

    #[test]
    fn a_weight_is_doubted_and_suggested_but_never_given() {
        let (a, b) = (PatientId::new("a"), PatientId::new("b"));
        let mut known = Likeness::default();
        assert!(!known.contradicts(&a, &weighs(None, "60.0", 0)), "nothing is known");
        known.note(&weighs(Some("a"), "82.4", 0));
        known.note(&weighs(Some("b"), "61.0", 0));
        known.note(&weighs(Some("b"), "75.0", -1));
        assert!(known.contradicts(&a, &weighs(None, "61.2", 1)));
        assert!(!known.contradicts(&b, &weighs(None, "61.2", 1)));
        assert!(!known.contradicts(&a, &weighs(None, "70.0", 1)), "it fits nobody, and may be a change");
        assert!(!known.contradicts(&a, &weighs(None, "66.0", 1)), "a fifth less at most");
        assert!(known.contradicts(&a, &weighs(None, "65.8", 1)), "a child, a guest, a bag");
        assert!(known.contradicts(&a, &weighs(None, "99.0", 30)));
        assert!(!known.contradicts(&a, &weighs(None, "99.0", 31)), "so much may have changed since");
        assert!(known.contradicts(&a, &weighs(None, "61.2", 20)));
        assert_eq!(known.suggest(&weighs(None, "61.2", 1)), Some(b.clone()));
        assert_eq!(known.suggest(&weighs(None, "70.0", 1)), None);
        assert_eq!(known.suggest(&weighs(None, "61.2", 90)), None, "too long ago");
        known.note(&weighs(Some("c"), "63.0", 0));
        assert_eq!(known.suggest(&weighs(None, "61.2", 1)), None, "it could be either");
    }
}
