//! Technical conditions: the gateway or a device cannot do its work. Somebody reports that they hold, and that they ended.
//!
//! Promises: one alert from begin to end of a condition; one that nobody reports any more after a restart ends by itself.
//! Must never: hold patient data in a name or a text.

use std::collections::HashMap;
use std::sync::Arc;

use super::lifecycle::{Change, Register};
use super::raise;
use crate::alarm::{Alert, AlertId, Condition, Priority};
use crate::clock::Stamp;
use crate::limits::TECHNICAL_REPORTED_MAX;
use crate::reading::PatientId;
use crate::unit::Unit;
use crate::vital::Vital;

const OVERFLOW: &str = "alerts-overflow";

/// The conditions that hold.
#[derive(Default)]
pub(super) struct Conditions {
    open: HashMap<Arc<str>, Held>,
}

struct Held {
    id: AlertId,
    /// From before a restart, and not reported since.
    unreported_since: Option<Stamp>,
}

impl Conditions {
    /// A condition holds, with priority and text, or has ended.
    pub(super) fn report(
        &mut self,
        name: &str,
        held: Option<(Priority, &str)>,
        register: &mut Register,
        happened: &mut Change,
    ) {
        match (held, self.open.get_mut(name)) {
            (Some(_), Some(held)) => held.unreported_since = None,
            (Some((priority, text)), None) => {
                let alert = raise::technical(happened.now, name, priority, text);
                self.open.insert(name.into(), Held { id: alert.id.clone(), unreported_since: None });
                register.raise(alert, happened);
            }
            (None, Some(_)) => {
                if let Some(held) = self.open.remove(name) {
                    register.resolve(&held.id, happened);
                }
            }
            (None, None) => {}
        }
    }

    /// Alerts found no room.
    pub(super) fn overflow(&mut self, register: &mut Register, happened: &mut Change) {
        register.overflowed = false;
        let text = "Too many open alerts: further conditions are not alerted until some are resolved";
        self.report(OVERFLOW, Some((Priority::High, text)), register, happened);
    }

    /// Readings arrive that no limit can be compared with.
    pub(super) fn unwatched(&mut self, name: &str, register: &mut Register, happened: &mut Change) {
        let text = "Readings arrive in a unit for which the alert rules have no limit: add a rule in that unit";
        self.report(name, Some((Priority::Medium, text)), register, happened);
    }

    /// A patient's measurement stays out.
    pub(super) fn missing(
        &mut self,
        (patient, vital): (&PatientId, Vital),
        name: &str,
        text: &str,
        register: &mut Register,
        happened: &mut Change,
    ) {
        if let Some(held) = self.open.get_mut(name) {
            held.unreported_since = None;
            return;
        }
        let alert = raise::technical(happened.now, name, Priority::Medium, text);
        let alert = Alert { patient: Some(patient.clone()), vital: Some(vital), ..alert };
        self.open.insert(name.into(), Held { id: alert.id.clone(), unreported_since: None });
        register.raise(alert, happened);
    }

    /// Takes a technical alert from before a restart.
    pub(super) fn adopt(&mut self, now: Stamp, alert: &Alert) {
        if alert.condition == Condition::Technical {
            let held = Held { id: alert.id.clone(), unreported_since: Some(now) };
            self.open.insert(alert.rule.clone(), held);
        }
    }

    /// Ends what nobody reports any more, and the overflow once there is room again.
    pub(super) fn tick(&mut self, register: &mut Register, happened: &mut Change) {
        let now = happened.now;
        let is_over = |name: &str, held: &Held| {
            (name == OVERFLOW && register.has_room(false))
                || held.unreported_since.is_some_and(|s| now.since(s) >= TECHNICAL_REPORTED_MAX)
        };
        let over: Vec<_> = self.open.iter().filter(|(n, h)| is_over(n, h)).map(|(n, _)| n.clone()).collect();
        for name in over {
            self.report(&name, None, register, happened);
        }
    }
}

/// Name of the condition that a vital's readings come in a unit that no rule can be compared with.
pub(super) fn unwatched_name(vital: Vital, unit: Unit) -> String {
    format!("no-limit-in-unit:{}:{}", vital.id, unit.ucum())
}
