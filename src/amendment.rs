//! Corrections of what was delivered: the old reading is taken back, and a new one stands in its place.
//!
//! Both are readings of their own, owed and settled like any other. Promises: a correction that is made twice is one;
//! what is taken back keeps the identity under which destinations know it. Must never: change the reading that arrived.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::association::Unassigned;
use crate::reading::{PatientId, Reading, ReadingKey};

/// What a reading corrects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    /// The reading that was wrong.
    pub of: ReadingKey,
    /// What is done about it.
    pub kind: Kind,
    /// Who found it wrong.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Why; stays on the box.
    pub reason: String,
}

/// What a correction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Says of the old reading that it was entered in error.
    Withdrawal,
    /// Stands in its place.
    Replacement,
}

/// Who corrects, when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Why.
    pub reason: String,
}

/// The old reading, taken back: its patient, values and time as they were delivered.
pub fn withdrawal(old: &Reading, order: &Order) -> Reading {
    amended(old, Kind::Withdrawal, key_of(&old.key, "withdrawn"), order)
}

/// The same measurement for `patient`.
pub fn replacement(old: &Reading, patient: PatientId, order: &Order) -> Reading {
    let new = amended(old, Kind::Replacement, key_of(&old.key, "replaced"), order);
    Reading { patient: Some(patient), unassigned: None, ..new }
}

/// The same measurement, of nobody who is known.
pub fn unowned(old: &Reading, order: &Order) -> Reading {
    let new = amended(old, Kind::Replacement, key_of(&old.key, "replaced"), order);
    Reading { patient: None, unassigned: Some(Unassigned::TakenBack), ..new }
}

/// What the same bytes mean by now, and whose that is: of nobody, if it has no patient. Its key is its own where that differs, so that the device's next sending is known.
pub fn reread(old: &Reading, new: Reading, order: &Order) -> Reading {
    let key = if new.key == old.key { key_of(&old.key, "replaced") } else { new.key };
    let unassigned = new.patient.is_none().then_some(Unassigned::TakenBack);
    amended(&Reading { unassigned, ..new }, Kind::Replacement, key, order).of(old.key)
}

fn amended(reading: &Reading, kind: Kind, key: ReadingKey, order: &Order) -> Reading {
    let Order { by, at_ms, reason } = order.clone();
    let amendment = Amendment { of: reading.key, kind, by, at_ms, reason };
    // It may be old: what corrects never pages as "now".
    Reading { key, stored: true, amendment: Some(Arc::new(amendment)), ..reading.clone() }
}

impl Reading {
    /// It says of another reading that it was wrong.
    pub fn is_withdrawal(&self) -> bool {
        self.amendment.as_ref().is_some_and(|a| a.kind == Kind::Withdrawal)
    }

    /// The key under which destinations know it: of what is taken back, the old one's.
    pub fn known_as(&self) -> &ReadingKey {
        self.amendment.as_ref().filter(|a| a.kind == Kind::Withdrawal).map_or(&self.key, |a| &a.of)
    }

    fn of(mut self, old: ReadingKey) -> Self {
        if let Some(amendment) = self.amendment.as_mut() {
            Arc::make_mut(amendment).of = old;
        }
        self
    }
}

/// Of the correction of a reading.
fn key_of(old: &ReadingKey, what: &str) -> ReadingKey {
    let mut key = [0; 16];
    let hash = digest(&SHA256, format!("wardline-{what}-1:{old}").as_bytes());
    key.iter_mut().zip(hash.as_ref()).for_each(|(k, d)| *k = *d);
    ReadingKey(key)
}
