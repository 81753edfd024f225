//! What the drafts of one record share, and how they are made from its fields.
//!
//! Must never: make a draft for a field that is not there.

use super::date_time;
use super::record::{Field, Record};
use crate::decimal::Decimal;
use crate::reading::{Absence, DeviceTime, Draft, Part, Quality, Value};
use crate::unit::Unit;
use crate::vital::{Mdc, Role, Site, Status, Vital};

/// Slot, time, number, labels: the same for each draft of a record.
#[derive(Clone, Default)]
pub(super) struct Shared {
    pub(super) slot: Option<u8>,
    pub(super) sequence: Option<u64>,
    pub(super) device_time: Option<DeviceTime>,
    pub(super) quality: Vec<Quality>,
    pub(super) site: Option<Site>,
    pub(super) stored: bool,
}

impl Shared {
    /// From the fields `user_id` and `timestamp`. A timestamp that says nothing is a doubt about time.
    pub(super) fn of(record: &Record) -> Self {
        let mut shared = Self { slot: slot(record), ..Self::default() };
        shared.time(date_time::of(record, "timestamp"));
        shared
    }

    /// Sets the device's time, or the doubt about it.
    pub(super) fn time(&mut self, time: Option<Result<DeviceTime, ()>>) {
        self.device_time = time.and_then(Result::ok);
        self.label(Quality::TimeDoubtful, time == Some(Err(())));
    }

    /// Adds a label once, if it applies.
    pub(super) fn label(&mut self, quality: Quality, applies: bool) {
        if applies && !self.quality.contains(&quality) {
            self.quality.push(quality);
        }
    }

    /// A draft with one value.
    pub(super) fn one(&self, vital: &str, value: Option<Value>, ucum: &str) -> Option<Draft> {
        self.panel(vital, &[(Role::Value, value?)], ucum)
    }

    /// A draft for each number that is there: vital sign, value, unit.
    pub(super) fn each<const N: usize>(&self, numbers: [(&str, Option<Value>, &str); N]) -> Vec<Draft> {
        numbers.into_iter().filter_map(|(vital, value, ucum)| self.one(vital, value, ucum)).collect()
    }

    /// A draft with several.
    pub(super) fn panel(&self, vital: &str, values: &[(Role, Value)], ucum: &str) -> Option<Draft> {
        let (vital, unit) = (Vital::parse(vital)?, Unit::parse(ucum)?);
        Some(Draft {
            vital,
            parts: values.iter().map(|&(role, value)| Part { role, value, unit }).collect(),
            slot: self.slot,
            sequence: self.sequence,
            device_time: self.device_time,
            quality: self.quality.clone(),
            site: self.site,
            stored: self.stored,
        })
    }
}

/// Gives the measurement the status bits of this list that have a code. One draft of several of a record has them: they
/// are said of the measurement, once.
pub(super) fn statuses<'a>(of: Mdc, set: impl IntoIterator<Item = &'a Field>, drafts: &mut [Draft]) {
    let named = |field: &Field| match field {
        Field::Text(name) => Status::named(of, name),
        _ => None,
    };
    if let Some(first) = drafts.first_mut() {
        first.quality.extend(set.into_iter().filter_map(named).map(Quality::Status));
    }
}

/// The user's slot; 255 is "unknown user".
fn slot(record: &Record) -> Option<u8> {
    record.whole("user_id").and_then(|id| u8::try_from(id).ok()).filter(|id| *id != u8::MAX)
}

/// A heart or pulse rate: devices say 0 when they found none, and that is no number (dossier §2.1).
pub(super) fn rate(record: &Record, name: &str) -> Option<Value> {
    record.value(name).map(|v| if v == Value::Number(Decimal::ZERO) { Value::Absent(Absence::Unknown) } else { v })
}

/// No readings: features, control points, device information.
pub(super) fn none(_record: &Record) -> Vec<Draft> {
    Vec::new()
}
