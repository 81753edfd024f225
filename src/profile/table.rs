//! The field table of a JSON or CBOR message: which field is which vital, in which unit, taken when.
//!
//! Promises: a message is decoded whole or rejected whole. Must never: guess a unit, take a text for a number
//! unless the profile says so, or make a vital of a device's error code.

use super::reject;
use super::schema::{Format, Literal, Meaning, TimeForm};
use super::time;
use super::wire::{self, Node, Scalar, Slots};
use crate::decimal::Decimal;
use crate::reading::{Absence, DeviceTime, Draft, Part, Quality, Reject, Value};
use crate::unit::Unit;
use crate::vital::{Role, Site, Vital};

/// A table, ready to read messages.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) format: Format,
    pub(super) root: Node,
    /// Slots of the message.
    pub(super) slots: usize,
    /// Slots of an element of the array of readings; 0: there is none.
    pub(super) stride: usize,
    /// The array of readings.
    pub(super) each: Option<Place>,
    pub(super) device: Option<Place>,
    pub(super) id: Option<(Place, bool)>,
    pub(super) time: Option<TimeField>,
    pub(super) slot: Option<Place>,
    pub(super) refuse: Vec<Place>,
    /// A message that holds nothing known is of something else.
    pub(super) shared: bool,
    pub(super) labels: Vec<(Test, Quality)>,
    pub(super) vitals: Vec<VitalFields>,
    /// The path of each place, for reasons.
    pub(super) paths: Vec<(Place, String)>,
}

/// Where a field's content is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Slot of the message.
    Message(usize),
    /// Slot of the element.
    Element(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct TimeField {
    pub(super) place: Place,
    pub(super) form: TimeForm,
    pub(super) required: bool,
}

/// A field that must have one of some values.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pub(super) place: Place,
    pub(super) any_of: Vec<Literal>,
}

#[derive(Clone, Debug)]
pub(super) struct VitalFields {
    pub(super) vital: Vital,
    pub(super) when: Option<Test>,
    pub(super) parts: Vec<PartField>,
    pub(super) required: bool,
    pub(super) site: Option<Site>,
    pub(super) quality: Vec<Quality>,
    pub(super) errors: Option<(Place, Vec<(SpecialKey, Meaning)>)>,
}

#[derive(Clone, Debug)]
pub(super) struct PartField {
    pub(super) role: Role,
    pub(super) place: Place,
    /// Digits in a text rather than a number.
    pub(super) in_text: bool,
    pub(super) unit: UnitField,
    pub(super) scaling: Scaling,
    pub(super) special: Vec<(SpecialKey, Meaning)>,
    /// A panel without it says so.
    pub(super) wanted: bool,
}

#[derive(Clone, Debug)]
pub(super) enum UnitField {
    Fixed(Unit),
    Told(Place, Vec<(Box<str>, Unit)>),
}

/// value × factor + offset, exact.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scaling {
    pub(super) factor: Option<Decimal>,
    pub(super) offset: Option<Decimal>,
}

impl Scaling {
    pub(super) fn apply(self, n: Decimal) -> Option<Decimal> {
        let n = self.factor.map_or(Some(n), |f| n.times(f))?;
        self.offset.map_or(Some(n), |o| n.plus(o))
    }
}

/// A value that is no measurement, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SpecialKey {
    Number(Decimal),
    Text(Box<str>),
}

impl SpecialKey {
    pub(super) fn new(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Text(text.into()), Self::Number)
    }

    fn is(&self, scalar: &Scalar<'_>) -> bool {
        match (self, scalar) {
            (Self::Number(a), Scalar::Number(b)) => a == b,
            (Self::Number(a), Scalar::Text(b)) => b.parse() == Ok(*a),
            (Self::Text(a), Scalar::Text(b)) => **a == **b,
            (Self::Text(a), Scalar::Bool(b)) => **a == *if *b { "true" } else { "false" },
            _ => false,
        }
    }
}

impl Meaning {
    /// What stands in place of the number, and the label that goes with it.
    pub(super) fn absence(self) -> Option<(Absence, Option<Quality>)> {
        match self {
            Self::None => None,
            Self::Error => Some((Absence::Error, None)),
            Self::NotPerformed => Some((Absence::NotPerformed, None)),
            Self::Unknown => Some((Absence::Unknown, None)),
            Self::NotANumber => Some((Absence::NotANumber, None)),
            Self::AboveRange => Some((Absence::PositiveInfinity, Some(Quality::AboveRange))),
            Self::BelowRange => Some((Absence::NegativeInfinity, Some(Quality::BelowRange))),
        }
    }
}

/// The slots of one reading: its element's, and the message's.
#[derive(Clone, Copy)]
struct View<'v, 'm> {
    message: &'v [Scalar<'m>],
    element: &'v [Scalar<'m>],
}

impl<'v, 'm> View<'v, 'm> {
    fn get(self, place: Place) -> &'v Scalar<'m> {
        let found = match place {
            Place::Message(slot) => self.message.get(slot),
            Place::Element(slot) => self.element.get(slot),
        };
        found.unwrap_or(&Scalar::Missing)
    }

    fn has(self, place: Place) -> bool {
        !matches!(self.get(place), Scalar::Missing | Scalar::Null)
    }

    fn passes(self, test: &Test) -> bool {
        let scalar = self.get(test.place);
        test.any_of.iter().any(|literal| match (literal, scalar) {
            (Literal::Bool(a), Scalar::Bool(b)) => a == b,
            (Literal::Whole(a), Scalar::Number(b)) => Decimal::from(*a) == *b,
            (Literal::Text(a), Scalar::Text(b)) => **a == **b,
            _ => false,
        })
    }
}

/// What all readings of one element share.
struct Shared {
    sequence: Option<u64>,
    device_time: Option<DeviceTime>,
    slot: Option<u8>,
    labels: Vec<Quality>,
}

impl Table {
    /// Reads the fields that the table names.
    pub(super) fn read<'m>(&self, bytes: &'m [u8]) -> Result<Slots<'m>, Reject> {
        match self.format {
            Format::Json => wire::json(bytes, &self.root, self.slots, self.stride),
            _ => wire::cbor(bytes, &self.root, self.slots, self.stride),
        }
    }

    /// The device's id, where the message names it.
    pub(super) fn device<'s>(&self, slots: &'s Slots<'_>) -> Option<&'s str> {
        match (View { message: &slots.message, element: &[] }).get(self.device?) {
            Scalar::Text(id) => Some(id),
            _ => None,
        }
    }

    /// The readings of a message.
    pub(super) fn drafts(&self, slots: &Slots<'_>) -> Result<Vec<Draft>, Reject> {
        let message = View { message: &slots.message, element: &[] };
        let mut drafts = Vec::with_capacity(1);
        let mut known = false;
        match self.each {
            None => known = self.element(message, &mut drafts)?,
            Some(array) if message.has(array) => {
                known = slots.elements.is_empty();
                for element in slots.elements.chunks(self.stride.max(1)) {
                    known |= self.element(View { element, ..message }, &mut drafts)?;
                }
            }
            Some(_) => {}
        }
        if known || self.shared { Ok(drafts) } else { Err(reject::NOTHING_KNOWN) }
    }

    /// Adds the readings of one element; `true` if there was anything that the table knows, even if it is empty.
    fn element(&self, view: View<'_, '_>, drafts: &mut Vec<Draft>) -> Result<bool, Reject> {
        if let Some(refused) = self.refuse.iter().find(|p| !matches!(view.get(**p), Scalar::Missing)) {
            return Err(reject::refused(self.path(*refused)));
        }
        let shared = self.shared(view)?;
        let mut known = false;
        for fields in &self.vitals {
            if fields.when.as_ref().is_some_and(|test| !view.passes(test)) {
                continue;
            }
            known |= fields.parts.iter().any(|p| !matches!(view.get(p.place), Scalar::Missing));
            if let Some(draft) = self.vital(fields, view, &shared)? {
                known = true;
                drafts.push(draft);
            }
        }
        Ok(known)
    }

    fn shared(&self, view: View<'_, '_>) -> Result<Shared, Reject> {
        let device_time = self.time.map_or(Ok(None), |field| self.time(field, view))?;
        let sequence = match self.id {
            // A counter may begin anew: without a time beside it, it could take a new reading for an old one.
            Some((_, false)) if device_time.is_none() => None,
            Some((place, _)) => self.sequence(place, view)?,
            None => None,
        };
        let slot = match self.slot {
            Some(place) if view.has(place) => Some(self.user_slot(place, view)?),
            _ => None,
        };
        let labels = self.labels.iter().filter(|(test, _)| view.passes(test)).map(|(_, label)| *label).collect();
        Ok(Shared { sequence, device_time, slot, labels })
    }

    fn time(&self, field: TimeField, view: View<'_, '_>) -> Result<Option<DeviceTime>, Reject> {
        match view.get(field.place) {
            Scalar::Missing | Scalar::Null if field.required => Err(reject::missing(self.path(field.place))),
            Scalar::Missing | Scalar::Null => Ok(None),
            scalar => match time::read(scalar, field.form) {
                Some(time) => Ok(Some(time)),
                None => Err(reject::not_a_time(self.path(field.place))),
            },
        }
    }

    fn sequence(&self, place: Place, view: View<'_, '_>) -> Result<Option<u64>, Reject> {
        match view.get(place) {
            Scalar::Missing | Scalar::Null => Ok(None),
            Scalar::Number(n) if n.exponent() == 0 && n.mantissa() >= 0 => Ok(u64::try_from(n.mantissa()).ok()),
            Scalar::Digits(digits) => Ok(Some(digits.parse().unwrap_or_else(|_| fnv1a(digits)))),
            Scalar::Text(text) if !text.is_empty() => Ok(Some(fnv1a(text))),
            _ => Err(reject::not_an_id(self.path(place))),
        }
    }

    fn user_slot(&self, place: Place, view: View<'_, '_>) -> Result<u8, Reject> {
        let slot = match view.get(place) {
            Scalar::Number(n) if n.exponent() == 0 => u8::try_from(n.mantissa()).ok(),
            Scalar::Text(text) => text.parse().ok(),
            _ => None,
        };
        slot.ok_or_else(|| reject::not_an_id(self.path(place)))
    }

    fn vital(&self, fields: &VitalFields, view: View<'_, '_>, shared: &Shared) -> Result<Option<Draft>, Reject> {
        let mut quality = Vec::new();
        let failed = fields.errors.as_ref().map_or(Ok(None), |(place, codes)| self.failure(*place, codes, view))?;
        if failed.is_none() && !fields.parts.iter().any(|p| view.has(p.place)) {
            return match fields.parts.first() {
                Some(part) if fields.required => Err(reject::missing(self.path(part.place))),
                _ => Ok(None),
            };
        }
        let mut parts = Vec::with_capacity(fields.parts.len());
        let panel = fields.parts.iter().any(|p| p.wanted);
        for field in &fields.parts {
            let optional = panel && !field.wanted;
            let (value, label) = match failed {
                Some(_) if optional => continue,
                Some((why, label)) => (Value::Absent(why), label),
                None if optional && !view.has(field.place) => continue,
                None => self.value(field, view)?,
            };
            let unit = match self.unit(field, view) {
                Err(_) if failed.is_some() => fields.vital.first_unit().ok_or(reject::MALFORMED)?,
                told => told?,
            };
            parts.push(Part { role: field.role, value, unit });
            add(&mut quality, label);
        }
        fields.quality.iter().chain(&shared.labels).for_each(|l| add(&mut quality, Some(*l)));
        Ok(Some(Draft {
            vital: fields.vital,
            parts,
            slot: shared.slot,
            sequence: shared.sequence,
            device_time: shared.device_time,
            quality,
            site: fields.site,
            stored: false,
        }))
    }

    /// What the device's error field says.
    fn failure(
        &self,
        place: Place,
        codes: &[(SpecialKey, Meaning)],
        view: View<'_, '_>,
    ) -> Result<Option<(Absence, Option<Quality>)>, Reject> {
        let scalar = view.get(place);
        if !view.has(place) {
            return Ok(None);
        }
        match codes.iter().find(|(key, _)| key.is(scalar)) {
            Some((_, meaning)) => Ok(meaning.absence()),
            None => Err(reject::unknown_error(self.path(place))),
        }
    }

    fn value(&self, field: &PartField, view: View<'_, '_>) -> Result<(Value, Option<Quality>), Reject> {
        let scalar = view.get(field.place);
        if let Some((_, meaning)) = field.special.iter().find(|(key, _)| key.is(scalar)) {
            let (why, label) = meaning.absence().unwrap_or((Absence::Unknown, None));
            return Ok((Value::Absent(why), label));
        }
        let number = match scalar {
            Scalar::Missing | Scalar::Null => return Ok((Value::Absent(Absence::Unknown), None)),
            Scalar::Number(n) if !field.in_text => Some(*n),
            Scalar::Text(text) if field.in_text => text.parse().ok(),
            _ => None,
        };
        match number.and_then(|n| field.scaling.apply(n)) {
            Some(n) => Ok((Value::Number(n), None)),
            None => Err(reject::not_a_number(self.path(field.place))),
        }
    }

    fn unit(&self, field: &PartField, view: View<'_, '_>) -> Result<Unit, Reject> {
        let (place, map) = match &field.unit {
            UnitField::Fixed(unit) => return Ok(*unit),
            UnitField::Told(place, map) => (place, map),
        };
        let known = match view.get(*place) {
            Scalar::Text(text) => map.iter().find(|(t, _)| **t == **text),
            _ => None,
        };
        known.map(|(_, unit)| *unit).ok_or_else(|| reject::unknown_unit(self.path(*place)))
    }

    fn path(&self, place: Place) -> &str {
        self.paths.iter().find(|(p, _)| *p == place).map_or("?", |(_, path)| path)
    }
}

fn add(quality: &mut Vec<Quality>, label: Option<Quality>) {
    if let Some(label) = label.filter(|l| !quality.contains(l)) {
        quality.push(label);
    }
}

/// FNV-1a, 64 bit: a text id as a number, the same in every release.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}
