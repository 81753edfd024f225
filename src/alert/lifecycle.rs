//! The life of alerts: raised, acknowledged, resolved; the register of those that are open.
//!
//! Promises: each change is one event with the alert as it stands after it; nothing leaves the register without its
//! `Resolved`; a full register says so. Must never: grow without bound, or let unknown devices crowd out patients.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ring::digest::{Context, SHA256};

use crate::alarm::{Acknowledged, Alert, AlertEvent, AlertId, Condition, Happened};
use crate::clock::Stamp;
use crate::limits::{ALERTS_IN_MEMORY_MAX, ALERTS_UNASSIGNED_MAX};
use crate::reading::{DeviceId, PatientId, Reading};

/// What one step changes.
pub(super) struct Change {
    pub(super) now: Stamp,
    pub(super) events: Vec<AlertEvent>,
}

impl Change {
    fn add(&mut self, happened: Happened, alert: Alert) {
        self.events.push(AlertEvent { happened, at: self.now, alert });
    }
}

/// Of which at most one alert is open: a rule, a patient (or the device, where nobody knows whose it is), now or the past.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct About {
    rule: Arc<str>,
    patient: Option<PatientId>,
    device: Option<DeviceId>,
    past: bool,
}

impl About {
    pub(super) fn of(rule: &Arc<str>, reading: &Reading, past: bool) -> Self {
        Self::new(rule, reading.patient.as_ref(), Some(&reading.device), past)
    }

    fn new(rule: &Arc<str>, patient: Option<&PatientId>, device: Option<&DeviceId>, past: bool) -> Self {
        let device = device.filter(|_| patient.is_none());
        Self { rule: rule.clone(), patient: patient.cloned(), device: device.cloned(), past }
    }

    fn alert(alert: &Alert) -> Self {
        let past = alert.condition == Condition::Retrospective;
        Self::new(&alert.rule, alert.patient.as_ref(), alert.device.as_ref(), past)
    }
}

/// The open alerts.
#[derive(Default)]
pub(super) struct Register {
    open: BTreeMap<AlertId, Alert>,
    about: HashMap<About, AlertId>,
    without_patient: usize,
    /// An alert found no room since this was last looked at.
    pub(super) overflowed: bool,
}

impl Register {
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Alert> {
        self.open.values()
    }

    pub(super) fn is_taken(&self, id: &AlertId) -> bool {
        self.open.get(id).is_some_and(|alert| alert.acknowledged.is_some())
    }

    pub(super) fn about(&self, about: &About) -> Option<&Alert> {
        self.open.get(self.about.get(about)?)
    }

    /// Whether one more alert finds room; without a patient there is less of it.
    pub(super) fn has_room(&self, for_patient: bool) -> bool {
        self.open.len() < ALERTS_IN_MEMORY_MAX && (for_patient || self.without_patient < ALERTS_UNASSIGNED_MAX)
    }

    /// Raises an alert, unless there is no room. Technical ones always find it: their names come from the gateway itself.
    pub(super) fn raise(&mut self, alert: Alert, happened: &mut Change) {
        if alert.condition != Condition::Technical && !self.has_room(alert.patient.is_some()) {
            self.overflowed = true;
            return;
        }
        happened.add(Happened::Raised, alert.clone());
        self.adopt(alert);
    }

    /// Takes an alert that is open already.
    pub(super) fn adopt(&mut self, alert: Alert) {
        self.without_patient += usize::from(is_without_patient(&alert));
        self.about.insert(About::alert(&alert), alert.id.clone());
        self.open.insert(alert.id.clone(), alert);
    }

    /// Resolves an alert, if it is open.
    pub(super) fn resolve(&mut self, id: &AlertId, happened: &mut Change) {
        let Some(mut alert) = self.close(id) else { return };
        alert.resolved = Some(happened.now);
        happened.add(Happened::Resolved, alert);
    }

    /// Takes it out of the register.
    fn close(&mut self, id: &AlertId) -> Option<Alert> {
        let alert = self.open.remove(id)?;
        let about = About::alert(&alert);
        // A confirmed alert may have taken the place of this one.
        if self.about.get(&about) == Some(id) {
            self.about.remove(&about);
        }
        self.without_patient = self.without_patient.saturating_sub(usize::from(is_without_patient(&alert)));
        Some(alert)
    }

    /// What the alert rests on was taken back: it ends, if it is open, and it never was.
    pub(super) fn take_back(&mut self, alert: Alert, by: &str, happened: &mut Change) {
        let mut alert = self.close(&alert.id).unwrap_or(alert);
        alert.resolved = alert.resolved.or(Some(happened.now));
        alert.taken_back = Some(Acknowledged { by: by.into(), at: happened.now });
        happened.add(Happened::TakenBack, alert);
    }

    /// A person takes an alert. The same name twice is one acknowledgement; another name is a hand-over.
    pub(super) fn acknowledge(&mut self, id: &AlertId, by: &str, happened: &mut Change) -> Option<&Alert> {
        let alert = self.open.get_mut(id)?;
        if alert.acknowledged.as_ref().is_none_or(|a| a.by != by) {
            alert.acknowledged = Some(Acknowledged { by: by.into(), at: happened.now });
            happened.add(Happened::Acknowledged, alert.clone());
        }
        Some(alert)
    }
}

fn is_without_patient(alert: &Alert) -> bool {
    alert.patient.is_none() && alert.condition != Condition::Technical
}

/// The same for the same cause, at every destination and after a restart: SHA-256 over its length-prefixed parts.
pub(super) fn identity(parts: &[&[u8]]) -> AlertId {
    let mut hash = Context::new(&SHA256);
    hash.update(b"wardline-alert-1");
    for part in parts {
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finish();
    let hex: String = digest.as_ref().iter().take(16).map(|b| format!("{b:02x}")).collect();
    AlertId(hex.into())
}
