//! Alerts: pure, `step(now, input)`. Evaluated before disk and network.
//!
//! Promises: the same inputs give the same alerts; doubt about value or owner never silences; one open alert per
//! patient and condition. Must never: read a clock, wait, or log a value.

use crate::alarm::{Alert, AlertEvent, AlertId};
use crate::clock::Stamp;
use crate::reading::Reading;

/// The engine with the state of all rules.
pub struct Engine {}

/// What the engine reacts to.
pub enum Input<'a> {
    /// A reading, assigned or not.
    Reading(&'a Reading),
    /// Time passes.
    Tick,
    /// A person takes an alert.
    Acknowledge {
        /// Which.
        id: &'a AlertId,
        /// Name given by the person.
        by: &'a str,
    },
}

impl Engine {
    /// One step: what happened because of this input.
    pub fn step(&mut self, _now: Stamp, _input: Input<'_>) -> Vec<AlertEvent> {
        Vec::new()
    }

    /// Alerts that are not resolved.
    pub fn open(&self) -> Vec<&Alert> {
        Vec::new()
    }
}
