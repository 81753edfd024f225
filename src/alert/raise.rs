//! From a rule and a reading to the alert that a person reads.

use std::sync::Arc;

use super::judge::Doubt;
use super::lifecycle::identity;
use super::rules::{Limit, Rule, Side};
use crate::alarm::{Alert, Condition, Priority};
use crate::clock::Stamp;
use crate::reading::{Reading, ReadingKey};

/// What an alert is made of.
pub(super) struct Cause<'a> {
    pub(super) rule: &'a Rule,
    pub(super) limit: Limit,
    pub(super) reading: &'a Reading,
    pub(super) doubt: Option<Doubt>,
    pub(super) retrospective: bool,
    /// The readings beyond the limit, the last one last.
    pub(super) evidence: Vec<ReadingKey>,
    /// Of so many.
    pub(super) of: usize,
}

/// The alert of a reading.
pub(super) fn alert(now: Stamp, condition: Condition, cause: Cause<'_>) -> Alert {
    let (rule, reading) = (cause.rule, cause.reading);
    let subject = reading.patient.as_ref().map_or(&*reading.device.0, |p| p.reveal());
    let kind = if reading.patient.is_some() { "patient" } else { "device" };
    let id = identity(&[rule.id.as_bytes(), kind.as_bytes(), subject.as_bytes(), &reading.key.0]);
    Alert {
        id,
        rule: rule.id.clone(),
        condition,
        priority: rule.priority,
        patient: reading.patient.clone(),
        device: Some(reading.device.clone()),
        vital: Some(reading.vital),
        text: text(condition, &cause),
        evidence: cause.evidence,
        raised: now,
        received: reading.taken.received,
        acknowledged: None,
        resolved: None,
        taken_back: None,
    }
}

/// The alert of a technical condition; each time it begins is an alert of its own.
pub(super) fn technical(now: Stamp, name: &str, priority: Priority, text: &str) -> Alert {
    let begun = [now.boot.to_be_bytes(), now.mono_us.to_be_bytes()].concat();
    Alert {
        id: identity(&[name.as_bytes(), b"technical", &begun]),
        rule: Arc::from(name),
        condition: Condition::Technical,
        priority,
        patient: None,
        device: None,
        vital: None,
        text: text.into(),
        evidence: Vec::new(),
        raised: now,
        received: now,
        acknowledged: None,
        resolved: None,
        taken_back: None,
    }
}

/// "Systolic blood pressure 186 mmHg above 180 mmHg", with what is in doubt. Patient data.
fn text(condition: Condition, cause: &Cause<'_>) -> String {
    let Cause { rule, limit, reading, doubt, evidence, of, .. } = cause;
    let component = reading.vital.component(rule.role).and_then(|c| c.loinc.first());
    let name = component.map_or(reading.vital.name, |l| l.1);
    let mut text = match (reading.number(rule.role), limit.side) {
        (Some((value, unit)), _) => format!("{name} {value} {} {}", unit.display(), limit.words()),
        (None, Side::Upper) => format!("{name} over the device's range, {}", limit.words()),
        (None, Side::Lower) => format!("{name} under the device's range, {}", limit.words()),
    };
    if rule.sustained.m > 1 && reading.patient.is_some() {
        text += &format!(", {} of {of} readings", evidence.len());
    }
    if condition == Condition::Retrospective {
        let when = reading.taken.at_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        text += &when.map_or(", taken at an unknown time".into(), |t| format!(", taken {t:.0}"));
    }
    match (condition, doubt) {
        (Condition::Unconfirmed, None) => format!("Unconfirmed: {text} (earlier readings are in doubt)"),
        (Condition::Unconfirmed, Some(d)) => format!("Unconfirmed: {text} ({})", d.words()),
        (Condition::Retrospective, Some(d)) => format!("Retrospective: {text} ({})", d.words()),
        (Condition::Retrospective, None) => format!("Retrospective: {text}"),
        _ => text,
    }
}
