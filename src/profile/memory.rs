//! What some Bluetooth encodings need to be remembered of a device between two frames:
//! the session start of a CGM, the first packet of a body composition, a glucose record that waits for its context.
//!
//! Must never: delay a reading for a second frame that may not come, except where the profile says that the first
//! alone could be another substance.

use std::collections::HashMap;

use crate::codec::Record;
use crate::limits::{DEVICES_REMEMBERED_MAX, RECORDS_HELD_MAX};
use crate::reading::{DeviceId, Draft};

/// Of all devices; the one that was silent longest is forgotten first.
#[derive(Default)]
pub(super) struct Memory {
    devices: HashMap<DeviceId, Remembered>,
    clock: u64,
}

#[derive(Default)]
struct Remembered {
    touched: u64,
    packet: Option<(Record, Vec<Draft>)>,
    waiting: Vec<Draft>,
}

/// Meal of a context that says "ketone" in place of a meal (dossier §5, i-SENS).
const KETONE: &str = "reserved:6";

impl Memory {
    /// The drafts of a record, in the light of what the device sent before.
    pub(super) fn after(
        &mut self,
        device: &DeviceId,
        codec: &str,
        record: &Record,
        drafts: Vec<Draft>,
        hold_for_context: bool,
    ) -> Vec<Draft> {
        match codec {
            "2A9C" if record.flag("multiple_packet") => self.of(device).second_packet(record, drafts),
            "2A18" if hold_for_context && record.flag("context_follows") => self.of(device).hold(drafts),
            "2A34" if hold_for_context => self.of(device).context(record),
            _ => drafts,
        }
    }

    fn of(&mut self, device: &DeviceId) -> &mut Remembered {
        self.clock += 1;
        if !self.devices.contains_key(device) && self.devices.len() >= DEVICES_REMEMBERED_MAX {
            let oldest = self.devices.iter().min_by_key(|(_, r)| r.touched).map(|(d, _)| d.clone());
            oldest.and_then(|d| self.devices.remove(&d));
        }
        let remembered = self.devices.entry(device.clone()).or_default();
        remembered.touched = self.clock;
        remembered
    }
}

impl Remembered {
    /// The second packet of a measurement repeats fields of the first: each part is one reading, not two.
    fn second_packet(&mut self, record: &Record, drafts: Vec<Draft>) -> Vec<Draft> {
        let first = self.packet.take();
        match first {
            Some((first, known)) if crate::codec::body_composition::join(&first, record).is_ok() => {
                drafts.into_iter().filter(|d| !known.iter().any(|k| k.vital == d.vital)).collect()
            }
            _ => {
                self.packet = Some((record.clone(), drafts.clone()));
                drafts
            }
        }
    }

    /// Until its context says that it is no ketone value.
    fn hold(&mut self, drafts: Vec<Draft>) -> Vec<Draft> {
        self.waiting.extend(drafts);
        let surplus = self.waiting.len().saturating_sub(RECORDS_HELD_MAX);
        self.waiting.drain(..surplus);
        Vec::new()
    }

    fn context(&mut self, record: &Record) -> Vec<Draft> {
        let sequence = record.whole("sequence");
        let mine = self.waiting.extract_if(.., |d| d.sequence == sequence).collect();
        if record.text("meal") == Some(KETONE) { Vec::new() } else { mine }
    }
}
