//! How many frames that say nothing one device may bring: a flood costs its sender, not the others. Pure.
//!
//! Promises: a reading of a device that is known here is always taken, however many came before it; so is all that can
//! have waited in the shipped broker. The memory is bounded; of what is refused the first frames of each flood are kept
//! with their bytes, the rest is counted, and people are told.
//! Must never: refuse what somebody waits for, or look into a frame.

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
    /// What cannot be told to be of a known device, together: invented devices are many.
    strangers: Bucket,
    refused: u64,
    last_beyond: Option<Stamp>,
    said: bool,
}

/// A token bucket, as the time when it would be full again.
#[derive(Default)]
struct Bucket {
    full_us: u64,
    kept: u32,
    /// It brought readings of a device that is known here.
    known: bool,
}

impl Quota {
    /// What becomes of a frame. `owed`: it holds readings of a device that is known here.
    pub(super) fn admit(&mut self, frame: &Frame, owed: bool, now: Stamp) -> Admission {
        let device = match &frame.path {
            Path::Topic(topic) => topic.clone(),
            Path::Characteristic { device, .. } | Path::Advertisement { device, .. } => device.0.clone(),
        };
        if self.devices.len() >= limits::DEVICE_RATES_MAX {
            // A full bucket remembers nothing but who it is.
            self.devices.retain(|_, bucket| bucket.full_us > now.mono_us || bucket.known);
        }
        let key = (frame.source.clone(), device);
        let room = self.devices.len() < limits::DEVICE_RATES_MAX;
        let bucket = match self.devices.get_mut(&key) {
            Some(bucket) => Some(bucket),
            None if room => Some(self.devices.entry(key).or_default()),
            None => None,
        };
        let cost = cost(frame);
        let (within, known) = bucket.map_or((Admission::Taken, false), |bucket| {
            bucket.known |= owed;
            (bucket.take(cost, now), bucket.known)
        });
        // What one topic may send, an inventor of topics may send in all.
        let admission = match within {
            Admission::Taken if !known => self.strangers.take(cost, now),
            within => within,
        };
        if admission == Admission::Taken {
            return admission;
        }
        self.last_beyond = Some(now);
        if owed {
            return Admission::Taken;
        }
        self.refused += 1;
        admission
    }

    /// What is to be said now, if that changed: whether a flood lasts, and the sentence.
    pub(super) fn news(&mut self, now: Stamp) -> Option<(bool, String)> {
        let lasts = self.last_beyond.is_some_and(|last| now.since(last) < limits::FLOOD_QUIET);
        if lasts == self.said {
            return None;
        }
        self.said = lasts;
        if lasts {
            let text = "A device sends more than one device may: its readings are kept, what cannot be read or is \
                        nobody's is only counted (WL-D901)";
            return Some((true, text.into()));
        }
        let n = std::mem::take(&mut self.refused);
        self.last_beyond = None;
        self.strangers.kept = 0;
        self.devices.values_mut().for_each(|bucket| bucket.kept = 0);
        tracing::warn!(code = FLOOD.code, refused = n, "A flood is over.");
        Some((false, format!("It is over: {n} messages were not taken")))
    }
}

impl Bucket {
    fn take(&mut self, cost: u32, now: Stamp) -> Admission {
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

/// A frame costs by its length, or a few large ones would fill the disk.
fn cost(frame: &Frame) -> u32 {
    1 + u32::try_from(frame.bytes.len() / 1024).unwrap_or(u32::MAX - 1)
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
        assert_eq!(quota.admit(&quiet, true, at(0)), Admission::Taken);
        let mut taken = 0;
        for ms in 0..300_000 {
            taken += u32::from(quota.admit(&loud, false, at(ms)) == Admission::Taken);
            if ms % 1_000 == 0 {
                assert_eq!(quota.admit(&quiet, false, at(ms)), Admission::Taken);
            }
        }
        // The burst, and the rate for 300 s.
        let allowed = limits::DEVICE_FRAMES_BURST + 300 * limits::DEVICE_FRAMES_PER_SECOND;
        assert!((allowed - 10..=allowed + 10).contains(&taken), "{taken}");
        let (begins, text) = quota.news(at(300_000)).unwrap();
        assert!(begins && text.contains("WL-D901") && !text.contains("loud"), "{text}");
        assert_eq!(quota.news(at(301_000)), None, "said once");
        let (lasts, text) = quota.news(at(300_000 + 61_000)).unwrap();
        assert!(!lasts && text.contains(&(300_000 - taken).to_string()), "{text}");
        assert_eq!(quota.admit(&loud, false, at(362_000)), Admission::Taken, "it may go on");
    }

    #[test]
    fn readings_of_a_known_device_are_never_refused_and_people_are_told() {
        let mut quota = Quota::default();
        let (day, twice) = (frame("vitals/oximeter", 200), 2 * limits::DEVICE_FRAMES_BURST);
        assert!((0..86_400).all(|_| quota.admit(&day, true, at(0)) == Admission::Taken));
        assert_eq!(quota.news(at(1)), None, "a day at one a second, at once, is no flood");
        assert!((0..twice).all(|_| quota.admit(&day, true, at(1)) == Admission::Taken));
        assert!(quota.news(at(2)).is_some_and(|(lasts, _)| lasts));
        assert_ne!(quota.admit(&day, false, at(2)), Admission::Taken, "what it sends besides");
        let (_, text) = quota.news(at(62_000)).unwrap();
        assert!(text.contains(" 1 messages"), "{text}");
    }

    #[test]
    fn what_waited_in_the_shipped_broker_is_never_refused() {
        let shipped = include_str!("../../config/mosquitto.conf");
        let asked = |key: &str| shipped.lines().find_map(|l| l.strip_prefix(key)?.trim().parse::<u32>().ok()).unwrap();
        let most = asked("max_queued_messages") + asked("max_queued_bytes") / 1_024;
        assert!(most <= limits::DEVICE_FRAMES_BURST, "{most}");
    }

    #[test]
    fn the_first_frames_of_a_flood_are_kept_and_large_ones_count_for_many() {
        let mut quota = Quota::default();
        let large = frame("vitals/loud", limits::PAYLOAD_BYTES_MAX);
        let all: Vec<_> = (0..4_000).map(|_| quota.admit(&large, false, at(0))).collect();
        let count = |what| all.iter().filter(|a| **a == what).count();
        assert_eq!(count(Admission::Taken), limits::DEVICE_FRAMES_BURST as usize / 65);
        assert_eq!(count(Admission::Kept), limits::FLOOD_FRAMES_KEPT as usize);
    }

    #[test]
    fn invented_devices_share_what_strangers_may_and_the_memory_is_bounded() {
        let mut quota = Quota::default();
        assert_eq!(quota.admit(&frame("vitals/known", 100), true, at(0)), Admission::Taken);
        let refused = (0..400_000_u32).filter(|n| {
            let ghost = frame(&format!("vitals/ghost-{n}"), 100);
            quota.admit(&ghost, false, at(i64::from(*n))) != Admission::Taken
        });
        assert!(refused.count() > 150_000);
        assert!(quota.devices.len() <= limits::DEVICE_RATES_MAX);
        assert_eq!(quota.admit(&frame("vitals/known", 100), false, at(400_000)), Admission::Taken);
        assert_eq!(quota.admit(&frame("vitals/new", 100), true, at(400_000)), Admission::Taken);
    }
}
