//! Whose reading is it, when was it taken, is it plausible: [`Draft`] to [`Reading`]. Pure.
//!
//! Promises: the journal key depends on what arrived and nothing else; a reading binds to a patient only on
//! unambiguous evidence; a time that cannot be trusted is labelled. Must never: drop a draft, or guess an owner.

mod attribution;
mod coincident;
mod identity;
pub mod likeness;
mod past;
pub mod stream;
mod time;

use std::collections::HashMap;

use jiff::tz::TimeZone;

use crate::association::{Held, History, Unassigned};
use crate::config::{Config, DeviceSettings};
use crate::intake::likeness::Likeness;
use crate::profile::Decoded;
use crate::reading::{DeviceId, Draft, Frame, Path, PatientId, Quality, Reading, is_plausible};

/// What the gateway knows of its devices, and the zone in which they tell the time.
pub struct Intake {
    zone: TimeZone,
    devices: HashMap<DeviceId, Device>,
    likeness: Likeness,
    run: u64,
}

#[derive(Default)]
struct Device {
    holders: attribution::Holders,
    zone: Option<TimeZone>,
    past: past::Past,
}

/// The readings of one frame.
pub struct Taken {
    /// One per draft, in order.
    pub readings: Vec<Reading>,
    /// A key came from the arrival itself, as the content holds neither time nor number:
    /// only MQTT's own marks tell a redelivery.
    pub undated: bool,
}

impl Intake {
    /// Devices and zone of the configuration; `run` is of this start of the process alone, so that keys of undated readings never repeat.
    pub fn new(config: &Config, run: u64) -> Self {
        let zone = TimeZone::get(&config.gateway.time_zone).unwrap_or(TimeZone::UTC);
        let mut intake = Self { zone, devices: HashMap::new(), likeness: Likeness::default(), run };
        config.devices.iter().for_each(|d| drop(intake.hand(d, i64::MIN, "configuration")));
        intake
    }

    /// A device as it is now, with what the journal says of who held it. What must be kept of that, if anything is new.
    pub fn take_over(&mut self, device: &DeviceSettings, past: History, now_ms: i64, by: &str) -> Option<Held> {
        let known = Device { holders: attribution::Holders::new(past), ..Device::default() };
        self.devices.insert(device.id.clone(), known);
        self.hand(device, now_ms, by)
    }

    /// Adds a device, or hands it to whom `device` says; its past stays. Takes effect with the next frame.
    /// What must be kept, if anything is new.
    pub fn hand(&mut self, device: &DeviceSettings, now_ms: i64, by: &str) -> Option<Held> {
        let known = self.devices.entry(device.id.clone()).or_default();
        known.zone = device.time_zone.as_deref().and_then(|z| TimeZone::get(z).ok());
        let changed = known.holders.hand(device, now_ms, by);
        changed.then(|| Held { device: device.id.clone(), history: known.holders.history.clone() })
    }

    /// A reading of before: what it tells of its device's users and clock, and of a person's weight.
    pub fn learn(&mut self, reading: &Reading) {
        if let Some(device) = self.devices.get_mut(&reading.device) {
            device.holders.tells(reading.slot);
            time::learn(reading, device.zone.as_ref().unwrap_or(&self.zone), &mut device.past);
        }
        self.likeness.note(reading);
    }

    /// A reading that was taken back: what it told of a person is not true.
    pub fn unlearn(&mut self, reading: &Reading) {
        self.likeness.forget(reading);
    }

    /// Whose a reading is that was nobody's, as things stand.
    pub fn owner(&self, reading: &Reading) -> Result<PatientId, Unassigned> {
        let known = self.devices.get(&reading.device).ok_or(Unassigned::NoHolder)?;
        let patient = known.holders.bind(reading.slot, &reading.taken)?;
        if self.likeness.contradicts(&patient, reading) { Err(Unassigned::UnlikeHolder) } else { Ok(patient) }
    }

    /// Whether a device is known here.
    pub fn knows(&self, device: &DeviceId) -> bool {
        self.devices.contains_key(device)
    }

    /// The readings of a decoded frame.
    pub fn take(&mut self, frame: &Frame, decoded: Decoded) -> Taken {
        let Decoded { device, profile, drafts, stream } = decoded;
        let prompt = stream || matches!(frame.path, Path::Advertisement { .. });
        let zone = self.devices.get(&device).and_then(|d| d.zone.as_ref()).unwrap_or(&self.zone).clone();
        let mut undated = false;
        let mut readings = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.into_iter().enumerate() {
            let arrival = identity::Arrival { run: self.run, frame, index };
            undated |= identity::is_undated(&draft);
            let key = identity::key(&device, &draft, &arrival);
            let mut strange = past::Past::default();
            let past = self.devices.get_mut(&device).map_or(&mut strange, |known| &mut known.past);
            let time::Resolved { taken, doubt, may_be_old, clocks } = time::resolve(&draft, frame, prompt, &zone, past);
            let quality = labels(&draft, doubt);
            let mut reading = Reading {
                key,
                device: device.clone(),
                profile: profile.clone(),
                slot: draft.slot,
                patient: None,
                vital: draft.vital,
                parts: draft.parts,
                sequence: draft.sequence,
                taken,
                quality,
                site: draft.site,
                // What waited and is dated by its device has an age of its own.
                stored: draft.stored || may_be_old,
                unassigned: None,
                amendment: None,
                clocks,
            };
            self.attribute(&mut reading);
            readings.push(reading);
        }
        Taken { readings, undated }
    }

    /// Binds it to its patient, or says why not.
    fn attribute(&mut self, reading: &mut Reading) {
        if let Some(device) = self.devices.get_mut(&reading.device) {
            device.holders.tells(reading.slot);
        }
        match self.owner(reading) {
            Ok(patient) => reading.patient = Some(patient),
            Err(why) => reading.unassigned = Some(why),
        }
        self.likeness.note(reading);
    }
}

/// Whose a reading is by who held its device.
pub fn owner(history: &History, reading: &Reading) -> Result<PatientId, Unassigned> {
    attribution::bind(history, reading.slot, &reading.taken)
}

/// The device's own labels and ours: implausible values and doubtful times.
fn labels(draft: &Draft, time_doubt: bool) -> Vec<Quality> {
    let mut quality = draft.quality.clone();
    let implausible = !is_plausible(draft.vital, &draft.parts);
    for (present, label) in [(implausible, Quality::Implausible), (time_doubt, Quality::TimeDoubtful)] {
        if present && !quality.contains(&label) {
            quality.push(label);
        }
    }
    quality
}

#[cfg(test)]
mod tests;
