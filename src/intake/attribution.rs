//! Who holds a device: one person, or one per user slot. Anything else is unassigned.

use std::collections::BTreeMap;

use crate::config::DeviceSettings;
use crate::reading::PatientId;

/// The holders of one device.
pub(super) struct Holders {
    alone: Option<PatientId>,
    slots: BTreeMap<u8, PatientId>,
}

impl Holders {
    pub(super) fn new(device: &DeviceSettings) -> Self {
        let slots = device.slots.iter().filter_map(|(slot, patient)| Some((slot.parse().ok()?, patient.clone())));
        Self { alone: device.patient.clone(), slots: slots.collect() }
    }

    /// The patient, on unambiguous evidence only: the slot that the device reported, or a device with a single holder.
    pub(super) fn bind(&self, slot: Option<u8>) -> Option<PatientId> {
        if self.slots.is_empty() {
            return self.alone.clone();
        }
        slot.and_then(|s| self.slots.get(&s)).cloned()
    }
}
