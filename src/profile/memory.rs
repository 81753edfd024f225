//! What some Bluetooth encodings need to be remembered of a device between two frames: the session start of a CGM,
//! the first packet of a body composition, the segments of a blood pressure record, a glucose that waits for its context,
//! the beginning of a vendor's frame, the time of a measurement that comes next.
//!
//! Must never: delay a reading for a second frame that may not come, except where the first alone is no reading,
//! or could be one of another substance.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Stamp;
use crate::codec::{self, Codec, Quirk, Record, body_composition, cgm, enhanced_blood_pressure, taidoc};
use crate::limits::{CHARACTERISTIC_BYTES_MAX, DEVICES_REMEMBERED_MAX, RECORD_SEGMENTS_MAX, RECORDS_HELD_MAX};
use crate::reading::{DeviceId, DeviceTime, Draft, Reject};

/// Of all devices; the one that was silent longest is forgotten first.
#[derive(Default)]
pub(super) struct Memory {
    devices: HashMap<DeviceId, Remembered>,
    clock: u64,
}

#[derive(Default)]
struct Remembered {
    touched: u64,
    session_start: Option<DeviceTime>,
    packet: Option<(Record, Vec<Draft>)>,
    segments: Vec<Bytes>,
    /// The beginning of a vendor's frame.
    partial: Vec<u8>,
    /// When a measurement was taken that comes next.
    taken: Option<DeviceTime>,
    waiting: Vec<Draft>,
    last: Option<(Vec<Draft>, Stamp)>,
}

/// Meal of a context that says "ketone" in place of a meal (dossier §5, i-SENS).
const KETONE: &str = "reserved:6";

impl Memory {
    /// The readings of a record, in the light of what the device sent before.
    pub(super) fn after(
        &mut self,
        device: &DeviceId,
        codec: &Codec,
        record: &Record,
        bytes: &Bytes,
        hold_for_context: bool,
    ) -> Result<Vec<Draft>, Reject> {
        let drafts = codec.drafts(record);
        Ok(match codec.name {
            "2A9C" if record.flag("multiple_packet") => self.of(device).second_packet(record, drafts),
            "2AAA" => {
                self.of(device).session_start = cgm::start(record);
                drafts
            }
            "2AA7" => self.of(device).in_session(drafts),
            "2B36" if record.get("payload").is_some() => self.of(device).segment(codec, record, bytes)?,
            "2A18" if hold_for_context && record.flag("context") => of_glucose(record, drafts),
            "2A18" if hold_for_context && record.flag("context_follows") => self.of(device).hold(drafts),
            "2A34" if hold_for_context => self.of(device).context(record),
            name if name.starts_with("TAIDOC:") => self.of(device).dated(record, drafts),
            _ => drafts,
        })
    }

    /// The whole frames that these octets end, in the light of what the device sent before.
    pub(super) fn frames(
        &mut self,
        device: &DeviceId,
        codec: &Codec,
        quirk: Quirk,
        bytes: &Bytes,
    ) -> Result<Vec<Bytes>, Reject> {
        let Some(head) = codec.head else { return Ok(vec![bytes.clone()]) };
        if bytes.len() > CHARACTERISTIC_BYTES_MAX {
            return Err(codec::reject::TOO_LONG);
        }
        let partial = &mut self.of(device).partial;
        let before = std::mem::take(partial);
        if !before.is_empty() {
            let joined = [&before[..], bytes].concat();
            if let Ok((frames, rest)) = codec::frames(&joined, head)
                && frames.iter().all(|f| codec.decode(f, quirk).is_ok())
            {
                *partial = rest.to_vec();
                return Ok(frames);
            }
            // The end of what came before was lost, so a frame begins here.
        }
        let (frames, rest) = codec::frames(bytes, head)?;
        *partial = rest.to_vec();
        Ok(frames)
    }

    /// Whether these readings are the last ones of the device, heard again before `window` passed since.
    pub(super) fn is_repeated(&mut self, device: &DeviceId, drafts: &[Draft], now: Stamp, window: Duration) -> bool {
        if drafts.is_empty() {
            return false;
        }
        let last = &mut self.of(device).last;
        let again = last.as_ref().is_some_and(|(seen, at)| seen == drafts && now.since(*at) < window);
        *last = Some((drafts.to_vec(), now));
        again
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
    /// Minutes since the session's start become times. Without the start they say nothing: the same number comes
    /// again in the next session, and would take its reading for an old one.
    fn in_session(&self, mut drafts: Vec<Draft>) -> Vec<Draft> {
        for draft in &mut drafts {
            match self.session_start {
                Some(start) => cgm::resolve(draft, start),
                None => draft.sequence = None,
            }
        }
        drafts
    }

    /// The second packet of a measurement repeats fields of the first: each part is one reading, not two.
    fn second_packet(&mut self, record: &Record, drafts: Vec<Draft>) -> Vec<Draft> {
        match self.packet.take() {
            Some((first, known)) if body_composition::join(&first, record).is_ok() => {
                drafts.into_iter().filter(|d| !known.iter().any(|k| k.vital == d.vital)).collect()
            }
            _ => {
                self.packet = Some((record.clone(), drafts.clone()));
                drafts
            }
        }
    }

    /// The last segment makes the record.
    fn segment(&mut self, codec: &Codec, record: &Record, bytes: &Bytes) -> Result<Vec<Draft>, Reject> {
        if record.flag("first_segment") || self.segments.len() >= RECORD_SEGMENTS_MAX {
            self.segments.clear();
        }
        self.segments.push(bytes.clone());
        if !record.flag("last_segment") {
            return Ok(Vec::new());
        }
        let segments = std::mem::take(&mut self.segments);
        let whole = enhanced_blood_pressure::join(&segments.iter().map(|b| &**b).collect::<Vec<_>>())?;
        if whole.intact() { Ok(codec.drafts(&whole)) } else { Err(crate::codec::reject::BROKEN_CRC) }
    }

    /// A measurement has the time of the answer before it. Without one it could be any of the memory, of any day.
    fn dated(&mut self, record: &Record, mut drafts: Vec<Draft>) -> Vec<Draft> {
        if let Some(time) = taidoc::taken(record) {
            self.taken = time;
            return Vec::new();
        }
        let Some(time) = self.taken.take() else { return Vec::new() };
        for draft in &mut drafts {
            (draft.device_time, draft.stored) = (Some(time), true);
        }
        drafts
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
        of_glucose(record, mine)
    }
}

/// None, if the context says that they are of another substance.
fn of_glucose(context: &Record, drafts: Vec<Draft>) -> Vec<Draft> {
    if context.text("meal") == Some(KETONE) { Vec::new() } else { drafts }
}
