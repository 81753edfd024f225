//! How many frames one device may bring: a flood costs its sender, not the others. Pure.
//!
//! Promises: a device that stays within its rate is never touched, whatever the others do; the memory is bounded; of what
//! is refused the first frames of each flood are kept with their bytes, the rest is counted, and people are told.
//! Must never: look into a frame, or refuse a device that comes back with up to `limits::DEVICE_FRAMES_BURST` of history.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Stamp;
use crate::limits;
use crate::reading::{Frame, Path, Reject};

/// What a device sent beyond its rate.
pub(super) const FLOOD: Reject = Reject::new("WL-D901", "the device sends more than one device may");

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It goes its way.
    Taken,
    /// Refused, and kept as evidence.
    Kept,
    /// Refused and counted.
    Counted,
}

/// The rates of all devices.
#[derive(Default)]
pub(super) struct Quota {
    /// By source and device, as far as the link tells them apart.
    devices: HashMap<(Arc<str>, Arc<str>), Bucket>,
    /// Frames of nobody that is known, together: invented devices are many.
    strangers: Bucket,
    refused: u64,
    last_refused: Option<Stamp>,
    said: bool,
}

/// A token bucket, as the time when it would be full again.
#[derive(Default)]
struct Bucket {
    full_us: u64,
    kept: u32,
}

impl Quota {
    /// Whether a frame's device stays within its rate.
    pub(super) fn admit(&mut self, frame: &Frame, now: Stamp) -> Admission {
        let device = match &frame.path {
            Path::Topic(topic) => topic.clone(),
            Path::Characteristic { device, .. } | Path::Advertisement { device, .. } => device.0.clone(),
        };
        if self.devices.len() >= limits::DEVICE_RATES_MAX {
            // A full bucket remembers nothing.
            self.devices.retain(|_, bucket| bucket.full_us > now.mono_us);
        }
        let key = (frame.source.clone(), device);
        let room = self.devices.len() < limits::DEVICE_RATES_MAX;
        let bucket = match self.devices.get_mut(&key) {
            Some(bucket) => bucket,
            None if room => self.devices.entry(key).or_default(),
            None => &mut self.strangers,
        };
        let admission = bucket.take(frame.bytes.len(), now);
        self.note(admission, now)
    }

    /// The same for a frame that turned out to be of nobody who is known here.
    pub(super) fn admit_stranger(&mut self, frame: &Frame, now: Stamp) -> Admission {
        let admission = self.strangers.take(frame.bytes.len(), now);
        self.note(admission, now)
    }

    fn note(&mut self, admission: Admission, now: Stamp) -> Admission {
        if admission != Admission::Taken {
            self.refused += 1;
            self.last_refused = Some(now);
        }
        admission
    }

    /// What is to be said now, if that changed: whether a flood lasts, and the sentence.
    pub(super) fn news(&mut self, now: Stamp) -> Option<(bool, String)> {
        let lasts = self.last_refused.is_some_and(|last| now.since(last) < limits::FLOOD_QUIET);
        if lasts == self.said {
            return None;
        }
        self.said = lasts;
        if lasts {
            let text = "A device sends more than one device may: what is beyond it is not taken (WL-D901)";
            return Some((true, text.into()));
        }
        let n = std::mem::take(&mut self.refused);
        self.last_refused = None;
        self.strangers.kept = 0;
        self.devices.values_mut().for_each(|bucket| bucket.kept = 0);
        tracing::warn!(code = FLOOD.code, refused = n, "A flood is over.");
        Some((false, format!("It is over: {n} messages were not taken")))
    }
}

impl Bucket {
    /// A frame costs by its length, or a few large ones would fill the disk.
    fn take(&mut self, bytes: usize, now: Stamp) -> Admission {
        let cost = 1 + u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        let full_us = self.full_us.max(now.mono_us).saturating_add(micros(cost));
        if full_us - now.mono_us <= micros(limits::DEVICE_FRAMES_BURST) {
            self.full_us = full_us;
            return Admission::Taken;
        }
        if self.kept < limits::FLOOD_FRAMES_KEPT {
            self.kept += 1;
            return Admission::Kept;
        }
        Admission::Counted
    }
}

/// The time in which so many frames are allowed.
fn micros(frames: u32) -> u64 {
    let each = Duration::from_secs(1) / limits::DEVICE_FRAMES_PER_SECOND;
    u64::try_from(each.as_micros()).unwrap_or(u64::MAX).saturating_mul(frames.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(topic: &str, length: usize) -> Frame {
        Frame { path: Path::Topic(topic.into()), ..Frame::new("home", vec![0; length], Stamp::at_ms(0)) }
    }

    fn at(ms: i64) -> Stamp {
        Stamp::at_ms(1_795_341_600_000 + ms)
    }

    #[test]
    fn a_flood_costs_its_sender_and_nobody_else() {
        let mut quota = Quota::default();
        let (loud, quiet) = (frame("vitals/loud", 100), frame("vitals/quiet", 100));
        let mut taken = 0;
        for ms in 0..200_000 {
            taken += u32::from(quota.admit(&loud, at(ms)) == Admission::Taken);
            if ms % 1_000 == 0 {
                assert_eq!(quota.admit(&quiet, at(ms)), Admission::Taken);
            }
        }
        // The burst, and the rate for 200 s.
        let allowed = limits::DEVICE_FRAMES_BURST + 200 * limits::DEVICE_FRAMES_PER_SECOND;
        assert!((allowed - 10..=allowed + 10).contains(&taken), "{taken}");
        let (begins, text) = quota.news(at(200_000)).unwrap();
        assert!(begins && text.contains("WL-D901") && !text.contains("loud"), "{text}");
        assert_eq!(quota.news(at(201_000)), None, "said once");
        let (lasts, text) = quota.news(at(200_000 + 61_000)).unwrap();
        assert!(!lasts && text.contains(&(200_000 - taken).to_string()), "{text}");
        assert_eq!(quota.admit(&loud, at(262_000)), Admission::Taken, "it may go on");
    }

    #[test]
    fn weeks_of_history_at_once_are_no_flood() {
        let mut quota = Quota::default();
        let month = frame("vitals/hub", 300);
        assert!((0..43_200).all(|_| quota.admit(&month, at(0)) == Admission::Taken));
    }

    #[test]
    fn the_first_frames_of_a_flood_are_kept_and_large_ones_count_for_many() {
        let mut quota = Quota::default();
        let large = frame("vitals/loud", limits::PAYLOAD_BYTES_MAX);
        let all: Vec<_> = (0..2_000).map(|_| quota.admit(&large, at(0))).collect();
        let count = |what| all.iter().filter(|a| **a == what).count();
        assert_eq!(count(Admission::Taken), limits::DEVICE_FRAMES_BURST as usize / 65);
        assert_eq!(count(Admission::Kept), limits::FLOOD_FRAMES_KEPT as usize);
    }

    #[test]
    fn invented_devices_share_what_strangers_may_and_the_memory_is_bounded() {
        let mut quota = Quota::default();
        let refused = (0..200_000_u32).filter(|n| {
            let ghost = frame(&format!("vitals/ghost-{n}"), 100);
            let admitted = quota.admit(&ghost, at(i64::from(*n)));
            admitted == Admission::Taken && quota.admit_stranger(&ghost, at(i64::from(*n))) != Admission::Taken
        });
        assert!(refused.count() > 100_000);
        assert!(quota.devices.len() <= limits::DEVICE_RATES_MAX);
        assert_eq!(quota.admit(&frame("vitals/known", 100), at(200_000)), Admission::Taken);
    }
}
