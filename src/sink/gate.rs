//! What may still go at this moment: asked again right before each request, as a batch can be under way for minutes.
//!
//! Promises: what may not go is left out, and is neither an attempt nor the destination's trouble. Must never: hold an answer
//! back for the next request, since a consent may be withdrawn in between.

use std::sync::Arc;

use crate::custody::{Item, Payload};
use crate::reading::Reading;

/// What may go to one destination at this moment.
pub trait Gate: Send + Sync {
    /// The item as it may go now; `None`: it may not.
    fn admit(&self, item: &Item) -> Option<Item>;
    /// Whether a reading may go along as evidence.
    fn permits(&self, reading: &Reading) -> bool;
}

/// Nothing is held back: where nobody can ask, as at a relay.
pub(super) struct Open;

impl Gate for Open {
    fn admit(&self, item: &Item) -> Option<Item> {
        Some(item.clone())
    }

    fn permits(&self, _: &Reading) -> bool {
        true
    }
}

/// Evidence that may go along now.
pub(super) fn evidence(gate: &dyn Gate, readings: &[Arc<Reading>]) -> Vec<Arc<Reading>> {
    readings.iter().filter(|reading| gate.permits(reading)).cloned().collect()
}

/// The reading of an item that is one.
pub(super) fn reading_of(item: &Item) -> Option<&Arc<Reading>> {
    match &item.what {
        Payload::Reading(reading) => Some(reading),
        Payload::Alert(_) => None,
    }
}
