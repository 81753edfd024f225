//! Whose reading is it, when was it taken, is it plausible: [`Draft`] to [`Reading`]. Pure.
//!
//! Promises: the journal key depends on what arrived and nothing else; a reading binds to a patient only on
//! unambiguous evidence; a time that cannot be trusted is labelled. Must never: drop a draft, or guess an owner.

mod attribution;
mod identity;
pub mod stream;
mod time;

use std::collections::HashMap;

use jiff::tz::TimeZone;

use crate::config::{Config, DeviceSettings};
use crate::profile::Decoded;
use crate::reading::{Delivery, DeviceId, Draft, Frame, Quality, Reading, is_plausible};

/// What the gateway knows of its devices, and the zone in which they tell the time.
pub struct Intake {
    zone: TimeZone,
    devices: HashMap<DeviceId, Device>,
    run: u64,
}

struct Device {
    holders: attribution::Holders,
    zone: Option<TimeZone>,
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
        let mut intake = Self { zone, devices: HashMap::new(), run };
        config.devices.iter().for_each(|d| intake.register(d));
        intake
    }

    /// Adds a device or replaces what is known of it. Takes effect with the next frame.
    pub fn register(&mut self, device: &DeviceSettings) {
        let zone = device.time_zone.as_deref().and_then(|z| TimeZone::get(z).ok());
        let holders = attribution::Holders::new(device);
        self.devices.insert(device.id.clone(), Device { holders, zone });
    }

    /// Whether a device is known here.
    pub fn knows(&self, device: &DeviceId) -> bool {
        self.devices.contains_key(device)
    }

    /// The readings of a decoded frame.
    pub fn take(&self, frame: &Frame, decoded: Decoded) -> Taken {
        let known = self.devices.get(&decoded.device);
        let zone = known.and_then(|d| d.zone.as_ref()).unwrap_or(&self.zone);
        let mut undated = false;
        let mut readings = Vec::with_capacity(decoded.drafts.len());
        for (index, draft) in decoded.drafts.into_iter().enumerate() {
            let arrival = identity::Arrival { run: self.run, frame, index };
            undated |= identity::is_undated(&draft);
            let key = identity::key(&decoded.device, &draft, &arrival);
            let (taken, time_doubt) = time::resolve(&draft, frame, zone);
            let patient = known.and_then(|d| d.holders.bind(draft.slot));
            let quality = labels(&draft, time_doubt);
            readings.push(Reading {
                key,
                device: decoded.device.clone(),
                profile: decoded.profile.clone(),
                slot: draft.slot,
                patient,
                vital: draft.vital,
                parts: draft.parts,
                sequence: draft.sequence,
                taken,
                quality,
                site: draft.site,
                // What waited and is dated by its device has an age of its own.
                stored: draft.stored || (frame.delivery == Delivery::Waited && !taken.is_dated_by_device()),
            });
        }
        Taken { readings, undated }
    }
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
