//! The minimum that a destination needs of a reading: beside what was measured, of whom and when, the fields that it is
//! configured to get.
//!
//! Promises: what is not among them is not in the reading that the destination's code sees, so it is in no octet that it
//! writes; the same reading is cut the same way each time. Must never: cut a value, its doubt, its owner or its time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alarm::AlertEvent;
use crate::reading::{DeviceId, Reading};
use crate::vital::Status;

/// In the place of a name that the destination does not get.
pub const WITHHELD: &str = "withheld";

/// What a destination may get beside the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// Which device measured: its address, serial number or name.
    Device,
    /// What the device's own clock said.
    DeviceTime,
    /// The user slot of a shared device, and its number of the record.
    Slot,
    /// Where on the body.
    Site,
    /// What a person typed in beside a glucose: meal, food, medication, exercise, health.
    Context,
    /// Name of this gateway.
    Gateway,
    /// Who corrected a reading, and in which words.
    Corrector,
    /// An identifier that the receiver's own authority gave the patient.
    PatientIdentifier,
    /// The patient's name.
    PatientName,
    /// The patient's birth date.
    BirthDate,
    /// The patient's sex.
    Sex,
}

impl Field {
    /// Those of a reading: a destination that says nothing gets all of them.
    pub const ALL: [Self; 7] =
        [Self::Device, Self::DeviceTime, Self::Slot, Self::Site, Self::Context, Self::Gateway, Self::Corrector];

    /// Those of a person, by which a receiver matches: a destination gets the ones that it names, and never by default.
    pub const OF_A_PERSON: [Self; 4] = [Self::PatientIdentifier, Self::PatientName, Self::BirthDate, Self::Sex];

    /// As the configuration writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::DeviceTime => "device-time",
            Self::Slot => "slot",
            Self::Site => "site",
            Self::Context => "context",
            Self::Gateway => "gateway",
            Self::Corrector => "corrector",
            Self::PatientIdentifier => "patient-identifier",
            Self::PatientName => "patient-name",
            Self::BirthDate => "birth-date",
            Self::Sex => "sex",
        }
    }
}

/// The fields of a destination; without a word of the configuration all of a reading, and none of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Option<Arc<[Field]>>);

impl From<Option<&[Field]>> for Fields {
    fn from(fields: Option<&[Field]>) -> Self {
        Self(fields.map(Arc::from))
    }
}

impl Fields {
    /// Whether it gets this one.
    pub fn has(&self, field: Field) -> bool {
        self.0.as_ref().map_or(!Field::OF_A_PERSON.contains(&field), |fields| fields.contains(&field))
    }

    /// By which fields it matches a person; empty: by the pseudonym alone.
    pub fn of_a_person(&self) -> Arc<[Field]> {
        Field::OF_A_PERSON.into_iter().filter(|field| self.has(*field)).collect()
    }

    /// The gateway's name, as the destination gets it.
    pub fn gateway(&self, name: &Arc<str>) -> Arc<str> {
        if self.has(Field::Gateway) { name.clone() } else { WITHHELD.into() }
    }

    /// The same of one that is not shared.
    pub fn cut(&self, reading: &Reading) -> Reading {
        Arc::unwrap_or_clone(self.of(Arc::new(reading.clone())))
    }

    /// A reading, as the destination gets it.
    pub fn of(&self, reading: Arc<Reading>) -> Arc<Reading> {
        if Field::ALL.iter().all(|field| self.has(*field)) {
            return reading;
        }
        let mut cut = Reading::clone(&reading);
        if !self.has(Field::Device) {
            cut.device = DeviceId(WITHHELD.into());
            // The profile's name tells the model.
            cut.profile = WITHHELD.into();
        }
        if !self.has(Field::DeviceTime) {
            // That it was doubted stays.
            cut.quality = reading.labels().into_owned();
            cut.taken.device = None;
        }
        if !self.has(Field::DeviceTime) || !self.has(Field::Device) {
            cut.clocks = None;
        }
        if !self.has(Field::Slot) {
            (cut.slot, cut.sequence) = (None, None);
        }
        if !self.has(Field::Site) {
            cut.site = None;
        }
        if !self.has(Field::Context) {
            cut.quality.retain(|label| label.status().is_none_or(Status::is_bit));
            cut.parts.retain(|part| !part.role.is_context());
        }
        if let Some(amendment) = cut.amendment.as_mut().filter(|_| !self.has(Field::Corrector)) {
            let amendment = Arc::make_mut(amendment);
            (amendment.by, amendment.reason) = (WITHHELD.into(), String::new());
        }
        Arc::new(cut)
    }

    /// An alert event, as the destination gets it.
    pub fn of_alert(&self, event: Arc<AlertEvent>) -> Arc<AlertEvent> {
        if self.has(Field::Device) || event.alert.device.is_none() {
            return event;
        }
        let mut cut = AlertEvent::clone(&event);
        cut.alert.device = None;
        Arc::new(cut)
    }
}
