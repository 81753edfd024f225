//! When a reading was taken: by the device's clock where that can be believed, or corrected by how far it is known to be
//! off; else by the receipt of a live value. `docs/time.md` has the whole table.
//!
//! Promises: the device's word is kept whatever we make of it; a doubt is said, and the interval holds each time that may
//! be true. Must never: date a stored value by its receipt, or take a clock that began anew for one that goes right.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::coincident::{self, Record, Word};
use super::past::Past;
use crate::clock::WALL_FLOOR_MS;
use crate::limits::{BOX_LIFE_MAX, CLOCK_AHEAD_MAX, DEVICE_MEMORY_MAX, LAG_SPREAD, LATE_MAX, LIVE_LAG_MAX};
use crate::reading::{Coincident, Delivery, DeviceTime, Draft, Frame, Path, Quality, Reading, Taken, TimeMethod};

/// A device's clock shows whole seconds and drifts: what its instant is good for.
const DEVICE_UNCERTAINTY_MS: u32 = 1_000;
/// What the time of receipt is good for.
const RECEIPT_UNCERTAINTY_MS: u32 = 1_000;
/// A local time that occurs twice.
const FOLD_UNCERTAINTY_MS: u32 = 3_600_000;

/// What is known of the time of a reading.
pub(super) struct Resolved {
    pub(super) taken: Taken,
    /// The device's time had to be doubted.
    pub(super) doubt: bool,
    /// It does not say that it is from a memory, and may be old all the same.
    pub(super) may_be_old: bool,
    /// The pair of clocks on whose line the device's time lies.
    pub(super) clocks: Option<Arc<Coincident>>,
}

/// An instant with how it was found.
struct Dated {
    ms: i64,
    uncertainty_ms: u32,
    method: TimeMethod,
    doubt: bool,
    clocks: Option<Coincident>,
}

/// Milliseconds of a limit.
pub(super) fn ms(limit: std::time::Duration) -> i64 {
    i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)
}

/// A length of time as an uncertainty; more than it can hold is "nobody knows".
pub(super) fn span(ms: i64) -> u32 {
    u32::try_from(ms.unsigned_abs()).unwrap_or(u32::MAX)
}

/// The resolved time. `prompt`: the link brings values at once, so that what comes late is a wrong clock.
///
/// An undated value that waited at the broker is dated by its receipt with no bound on the error: it is labelled, and
/// counts as stored, so that it never pages as "now".
pub(super) fn resolve(draft: &Draft, frame: &Frame, prompt: bool, zone: &TimeZone, past: &mut Past) -> Resolved {
    let received = frame.received;
    let waited = frame.delivery == Delivery::Waited;
    let own_doubt = draft.quality.contains(&Quality::TimeDoubtful);
    let look = Look { draft, frame, prompt: prompt && !waited && !draft.stored, zone };
    let said = draft.device_time.filter(|_| !own_doubt).map(|time| (time, instant(time, zone)));
    let (dated, steady) = match said {
        Some((time, said)) => look.believe(time, said, past),
        None => (None, false),
    };
    if let Some(Dated { ms, uncertainty_ms, method, doubt, clocks }) = dated {
        let method = if received.trusted { method } else { TimeMethod::Unchecked };
        let taken = Taken { device: draft.device_time, received, at_ms: Some(ms), uncertainty_ms, method };
        let may_be_old = waited && (doubt || !received.trusted);
        return Resolved { taken, doubt, may_be_old, clocks: clocks.map(Arc::new) };
    }
    // What is just now needs no word of the device; without a clock of ours there is nothing to hold against it either. A
    // broadcast may go on telling what was measured before.
    let broadcast = matches!(frame.path, Path::Advertisement { .. });
    let unchecked = look.prompt && !received.trusted && !own_doubt && !broadcast;
    let doubt = (draft.device_time.is_some() && !unchecked) || waited;
    let (at_ms, uncertainty_ms, method) = if draft.stored {
        (None, u32::MAX, TimeMethod::Unresolved)
    } else {
        let uncertainty = match () {
            () if waited => u32::MAX,
            () if steady => span(ms(LAG_SPREAD)),
            () if look.prompt || !(doubt || own_doubt) => RECEIPT_UNCERTAINTY_MS,
            // Whoever kept it may have kept it for as long; a date that could be true is not excluded.
            () => span(ms(LATE_MAX)).max(look.age(said.map(|(_, (at, ..))| at))),
        };
        match received.trusted {
            true => (Some(received.wall_ms), uncertainty, TimeMethod::Received),
            false => (None, uncertainty, TimeMethod::Pending),
        }
    };
    let taken = Taken { device: draft.device_time, received, at_ms, uncertainty_ms, method };
    let late = doubt && !look.prompt && !steady && past.sends_late(received.wall_ms);
    Resolved { taken, doubt, may_be_old: waited || late, clocks: None }
}

/// What a reading of before tells of its device's clock.
pub(super) fn learn(reading: &Reading, zone: &TimeZone, past: &mut Past) {
    let taken = &reading.taken;
    let Some(time) = taken.device.filter(|_| reading.amendment.is_none()) else { return };
    let (at, ..) = instant(time, zone);
    let doubted = reading.quality.contains(&Quality::TimeDoubtful);
    let age = taken.received.wall_ms.saturating_sub(at);
    // What cannot be true tells nothing of what follows.
    let possible = age <= ms(DEVICE_MEMORY_MAX) && age >= -ms(CLOCK_AHEAD_MAX);
    if taken.method == TimeMethod::DeviceCorrected || !possible || !taken.received.trusted {
        return;
    }
    if let Some(number) = reading.sequence {
        let near = age.abs() <= ms(CLOCK_AHEAD_MAX);
        let of = (reading.vital.id, reading.slot);
        let by_message = !reading.stored && reading.device.0.starts_with("mqtt:");
        past.follows(of, number, at, near, !by_message, taken.received);
    }
    if !reading.stored && !doubted && taken.is_dated_by_device() && age > ms(LIVE_LAG_MAX) {
        past.was_late(taken.received.wall_ms);
    }
}

/// One value, and how it came.
struct Look<'a> {
    draft: &'a Draft,
    frame: &'a Frame,
    /// It was measured just now, or the link would not have brought it.
    prompt: bool,
    zone: &'a TimeZone,
}

type Said = (i64, u32, TimeMethod);

impl Look<'_> {
    /// The time that the device means, if it can be true. Also whether the device's clock is off by a known length.
    fn believe(&self, time: DeviceTime, (at, uncertainty_ms, method): Said, past: &mut Past) -> (Option<Dated>, bool) {
        let as_said = Dated { ms: at, uncertainty_ms, method, doubt: false, clocks: None };
        let received = self.frame.received;
        let age = received.wall_ms.saturating_sub(at);
        let near = received.trusted && age.abs() <= ms(CLOCK_AHEAD_MAX);
        let vouched = match &self.frame.clocks {
            Some(clocks) if self.draft.stored => coincident::vouch(clocks, at, received, self.zone),
            _ => near,
        };
        let fell = self.is_possible(at) && !self.follows(at, vouched, past);
        let possible = self.is_possible(at) && !fell;
        let word = match (time, &self.frame.clocks) {
            (DeviceTime::Civil(civil), Some(clocks)) => {
                let record = Record { time: civil, said: at, near, possible, fell, live: !self.draft.stored };
                coincident::read(clocks, &record, received, self.zone)
            }
            _ => None,
        };
        match word {
            Some(Word::Corrected { ms, uncertainty_ms, doubt, by }) => {
                let clocks = coincident::kept(by, self.zone);
                (Some(Dated { ms, uncertainty_ms, method: TimeMethod::DeviceCorrected, doubt, clocks }), false)
            }
            Some(Word::AsSaid { off_ms, doubt, by }) => {
                let clocks = by.and_then(|pair| coincident::kept(pair, self.zone));
                (Some(Dated { uncertainty_ms: uncertainty_ms.max(off_ms), doubt, clocks, ..as_said }), false)
            }
            Some(Word::Wrong) => (None, false),
            // It was measured just now: as soon as our clock is known, so is when that was.
            None if self.prompt && !received.trusted => (None, false),
            None => self.believe_alone(as_said, age, possible, past),
        }
    }

    /// The same where the device's clock was not asked.
    fn believe_alone(&self, as_said: Dated, age: i64, possible: bool, past: &mut Past) -> (Option<Dated>, bool) {
        let received = self.frame.received;
        let live = !self.draft.stored && self.frame.delivery == Delivery::Live;
        let steady = live && !self.prompt && received.trusted && past.is_steady(age, received);
        let too_late = match &self.frame.path {
            _ if !live || !received.trusted => false,
            _ if self.prompt => age > ms(LIVE_LAG_MAX),
            Path::Topic(_) => age > ms(LATE_MAX),
            // Cuffs and scales send what they could not send before by the same characteristic, without saying so.
            Path::Characteristic { .. } | Path::Advertisement { .. } => false,
        };
        if too_late || !possible {
            return (None, steady);
        }
        if steady && age > 0 {
            // Always late by the same time: a clock that is behind, or a relay. Both times are in the interval.
            let uncertainty_ms = as_said.uncertainty_ms.max(span(age));
            return (Some(Dated { uncertainty_ms, doubt: true, ..as_said }), true);
        }
        if live && received.trusted && age > ms(LIVE_LAG_MAX) {
            past.was_late(received.wall_ms);
        }
        (Some(as_said), steady)
    }

    /// No device measured before, or will have.
    fn is_possible(&self, at: i64) -> bool {
        let received = self.frame.received;
        let (first, last) = match received.trusted {
            true => (received.wall_ms, received.wall_ms.saturating_add(ms(CLOCK_AHEAD_MAX))),
            // It is not earlier than this build.
            false => (WALL_FLOOR_MS, WALL_FLOOR_MS.saturating_add(ms(BOX_LIFE_MAX))),
        };
        at >= first.saturating_sub(ms(DEVICE_MEMORY_MAX)) && at <= last
    }

    /// By its number, it does not come after one that was taken later.
    fn follows(&self, at: i64, near: bool, past: &mut Past) -> bool {
        let Some(number) = self.draft.sequence else { return true };
        let counts_records = self.draft.stored || !matches!(self.frame.path, Path::Topic(_));
        past.follows((self.draft.vital.id, self.draft.slot), number, at, near, counts_records, self.frame.received)
    }

    /// How old a value is by its own word, where that could be true.
    fn age(&self, said: Option<i64>) -> u32 {
        let at = said.filter(|at| self.frame.received.trusted && self.is_possible(*at));
        at.map_or(0, |at| span(self.frame.received.wall_ms.saturating_sub(at)))
    }
}

/// The instant that a device states.
pub(super) fn instant(time: DeviceTime, zone: &TimeZone) -> Said {
    match time {
        DeviceTime::Instant(t) => (t.as_millisecond(), DEVICE_UNCERTAINTY_MS, TimeMethod::DeviceInstant),
        DeviceTime::Civil(civil) => {
            let (t, uncertainty) = civil_instant(civil, zone);
            (t.map_or(i64::MIN, Timestamp::as_millisecond), uncertainty, TimeMethod::DeviceCivil)
        }
    }
}

/// A local time in a zone. One that occurs twice, or not at all, is known to the hour only.
fn civil_instant(civil: DateTime, zone: &TimeZone) -> (Option<Timestamp>, u32) {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let uncertainty = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => DEVICE_UNCERTAINTY_MS,
        AmbiguousOffset::Gap { .. } | AmbiguousOffset::Fold { .. } => FOLD_UNCERTAINTY_MS,
    };
    (ambiguous.compatible().ok(), uncertainty)
}
