//! What one reading means for one limit: where it lies, and what is in doubt about it.
//!
//! Promises: doubt about value or owner never makes a reading count for less; a device's "beyond my range" counts as
//! beyond; only doubt about time makes it retrospective, and a live value needs no trusted clock for that.
//! Must never: take a NaN, an error or a test reading for a vital sign.

use std::time::Duration;

use super::rules::{Limit, Place, Side};
use crate::reading::{Absence, Quality, Reading, Value, is_plausible};
use crate::unit::Unit;
use crate::vital::Role;

/// Why a value beyond a limit is "unconfirmed". The gravest one is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    Owner,
    Implausible,
    Device,
    Preliminary,
}

impl Doubt {
    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Owner => "patient not known",
            Self::Implausible => "outside the plausible range",
            Self::Device => "the device doubts the value",
            Self::Preliminary => "preliminary value",
        }
    }

    /// Doubt about value or owner; doubt about time is [`is_retrospective`].
    pub(super) fn of(reading: &Reading) -> Option<Self> {
        let has = |q: Quality| reading.quality.contains(&q);
        if reading.patient.is_none() {
            Some(Self::Owner)
        // Judged here too, so that safety does not hang on a label that somebody forgot.
        } else if has(Quality::Implausible) || !is_plausible(reading.vital, &reading.parts) {
            Some(Self::Implausible)
        } else if has(Quality::Questionable) || has(Quality::Invalid) {
            Some(Self::Device)
        } else if has(Quality::Early) || has(Quality::Calibrating) {
            Some(Self::Preliminary)
        } else {
            None
        }
    }
}

/// Where a reading lies in regard to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// A place.
    At(Place),
    /// A number in a unit that cannot be compared with the limit.
    Incomparable(Unit),
    /// No number: not a vital sign.
    Nothing,
}

/// Where the number in this role lies.
pub(super) fn find(limit: &Limit, role: Role, reading: &Reading) -> Finding {
    let has = |q: Quality| reading.quality.contains(&q);
    let beyond_range = match limit.side {
        Side::Upper => has(Quality::AboveRange),
        Side::Lower => has(Quality::BelowRange),
    };
    if beyond_range {
        return Finding::At(Place::Beyond);
    }
    let Some(part) = reading.parts.iter().find(|p| p.role == role) else { return Finding::Nothing };
    match (part.value, limit.side) {
        (Value::Number(n), _) => limit.place(n, part.unit).map_or(Finding::Incomparable(part.unit), Finding::At),
        (Value::Absent(Absence::PositiveInfinity), Side::Upper)
        | (Value::Absent(Absence::NegativeInfinity), Side::Lower) => Finding::At(Place::Beyond),
        (Value::Absent(_), _) => Finding::Nothing,
    }
}

/// Whether the reading may be old: from a memory, or dated by its device surely longer ago than `old_after`.
///
/// A time that the device or intake doubts says nothing about age, nor does the difference to a wall clock that
/// nobody set: a live value then is "now", because a wrong clock must not silence.
pub(super) fn is_retrospective(reading: &Reading, old_after: Duration) -> bool {
    if reading.stored {
        return true;
    }
    let taken = &reading.taken;
    if !taken.is_dated_by_device() || !taken.received.trusted || reading.quality.contains(&Quality::TimeDoubtful) {
        return false;
    }
    taken.at_ms.is_some_and(|at| {
        let age = taken.received.wall_ms.saturating_sub(at).saturating_sub(i64::from(taken.uncertainty_ms));
        i128::from(age) > i128::try_from(old_after.as_millis()).unwrap_or(i128::MAX)
    })
}
