//! A record's time by what the device's clock said when it was asked: on which of its timelines the record lies, and when
//! that was by our clock. Pure.
//!
//! A clock ticks evenly between two settings, so that the time between the record and the question is true even where
//! the date is not. Must never: move a time by a clock of ours that was not right.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::time::{instant, ms, span};
use crate::clock::Stamp;
use crate::limits::{BLE_CLOCK_SLACK, CLOCK_AHEAD_MAX, CLOCK_DRIFT, CLOCK_RIGHT, CLOCK_ZONE_MAX, LIVE_LAG_MAX};
use crate::reading::{ClockPair, Clocks, Coincident, DeviceTime};

/// Asking takes a moment, and both clocks show whole seconds.
const ASKING_MS: i64 = 2_000;
/// A record may be so much later than the answer to the question: it was measured in between.
const AFTER_MS: i64 = 120_000;

/// What a device's word means, and the pair on whose line it lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word<'c> {
    /// What it says; the clock may be off by this. Without a pair it may be of a setting that nobody asked for.
    AsSaid { off_ms: u32, doubt: bool, by: Option<&'c ClockPair> },
    /// This instant.
    Corrected { ms: i64, uncertainty_ms: u32, doubt: bool, by: &'c ClockPair },
    /// No time that could be known.
    Wrong,
}

/// It may be what it says, or anything else.
const UNKNOWN: Word<'static> = Word::AsSaid { off_ms: u32::MAX, doubt: true, by: None };

/// One setting of a device's clock, by a pair that lies on it.
struct Line<'a> {
    pair: &'a ClockPair,
    /// How far the clock is behind ours.
    behind_ms: i64,
}

impl<'a> Line<'a> {
    fn of(pair: &'a ClockPair, zone: &TimeZone) -> Option<Self> {
        let (said, ..) = instant(DeviceTime::Civil(pair.device), zone);
        pair.trusted.then(|| Self { pair, behind_ms: pair.box_ms.saturating_sub(said) })
    }

    /// It still showed this setting when a live value came: nobody sets a clock that is so little off, or the value is nearer to
    /// its receipt by this line than by its word.
    fn held(&self, record: &Record, received: Stamp) -> bool {
        let lag = |at: i64| received.wall_ms.saturating_sub(at).saturating_abs();
        self.behind_ms.abs() <= ms(BLE_CLOCK_SLACK) || lag(self.at(record.time)) < lag(record.said)
    }

    fn is_right(&self) -> bool {
        self.behind_ms.abs() <= ms(CLOCK_RIGHT)
    }

    /// How long before the question a time was, on this line.
    fn before_ms(&self, time: DateTime) -> i64 {
        tick(self.pair.device).saturating_sub(tick(time))
    }

    fn reaches(&self, time: DateTime) -> bool {
        self.before_ms(time) >= -AFTER_MS
    }

    fn at(&self, time: DateTime) -> i64 {
        self.pair.box_ms.saturating_sub(self.before_ms(time))
    }

    /// How far off it is, to be added to what its seconds are good for.
    fn off(&self) -> u32 {
        span(self.behind_ms).saturating_add(1_000)
    }

    /// By this line. `possible`: what the device says could be true as well, so the interval holds both. `known`: there is
    /// no older setting of the clock that the record could be of.
    fn corrected(&self, record: &Record, possible: bool, known: bool) -> Word<'a> {
        let (at, by_line) = (self.at(record.time), self.uncertainty(record.time));
        let (uncertainty_ms, doubt) = match (possible, known) {
            (true, _) => (
                span(by_line.max(at.saturating_sub(record.said).saturating_abs())),
                self.behind_ms.abs() > ms(CLOCK_ZONE_MAX),
            ),
            (false, true) => (span(by_line), false),
            (false, false) => (u32::MAX, true),
        };
        Word::Corrected { ms: at, uncertainty_ms, doubt, by: self.pair }
    }

    fn uncertainty(&self, time: DateTime) -> i64 {
        let drift = self.before_ms(time).unsigned_abs() / CLOCK_DRIFT;
        ASKING_MS.saturating_add(i64::try_from(drift).unwrap_or(i64::MAX))
    }
}

/// A clock's face as a number that grows evenly.
fn tick(face: DateTime) -> i64 {
    Offset::UTC.to_timestamp(face).map_or(i64::MIN, |t| t.as_millisecond())
}

/// A record's time, and what is known of it without the pair.
pub(super) struct Record {
    /// As the device says it.
    pub(super) time: DateTime,
    /// The instant of that, if the clock was right.
    pub(super) said: i64,
    /// That instant is now.
    pub(super) near: bool,
    /// It can be true.
    pub(super) possible: bool,
    /// By its number it is later than one that says a later time.
    pub(super) fell: bool,
    /// The device does not say that it is from its memory.
    pub(super) live: bool,
}

/// Whether the clock was seen to be right before `said`, or set then, and is right now.
pub(super) fn vouch(clocks: &Clocks, said: i64, received: Stamp, zone: &TimeZone) -> bool {
    let right = Line::of(&clocks.now, zone).is_some_and(|line| received.trusted && line.is_right());
    right && clocks.before.as_ref().is_some_and(|before| before.trusted && said >= before.box_ms)
}

/// A pair as a reading keeps it. `None`: the device's local time is beyond what can be an instant.
pub(super) fn kept(pair: &ClockPair, zone: &TimeZone) -> Option<Coincident> {
    let at = zone.to_ambiguous_timestamp(pair.device).compatible().ok()?;
    let offset_min = i16::try_from(zone.to_offset(at).seconds() / 60).ok()?;
    Some(Coincident { device: pair.device, offset_min, box_ms: pair.box_ms })
}

/// What a record's time means. `None`: the clocks tell nothing.
pub(super) fn read<'c>(clocks: &'c Clocks, record: &Record, received: Stamp, zone: &TimeZone) -> Option<Word<'c>> {
    let Record { time, near, possible, fell, live, .. } = *record;
    let now = Line::of(&clocks.now, zone).filter(|_| received.trusted)?;
    let before = clocks.before.as_ref().and_then(|pair| Line::of(pair, zone));
    if near && live {
        // Right by now: it was always, or it was set since it was asked.
        let off_ms = if now.behind_ms.abs() <= ms(CLOCK_AHEAD_MAX) { now.off() } else { 0 };
        return Some(Word::AsSaid { off_ms, doubt: false, by: now.held(record, received).then_some(now.pair) });
    }
    if now.is_right() {
        // It was set since the last visit: what it measured before is on the line of then.
        let earlier = before.filter(|line| !line.is_right() && line.reaches(time));
        return Some(match earlier {
            // It is new since that visit, so it is not of before.
            Some(_) if fell => Word::Wrong,
            Some(line) => line.corrected(record, possible, true),
            None if possible => {
                Word::AsSaid { off_ms: now.off(), doubt: false, by: now.reaches(time).then_some(now.pair) }
            }
            None => Word::Wrong,
        });
    }
    if now.reaches(time) {
        let same = before.as_ref().is_some_and(|b| (b.behind_ms - now.behind_ms).abs() <= ms(CLOCK_RIGHT));
        let visited = before.as_ref().map(|line| line.pair.box_ms);
        // What is older than the last visit was taken then already: this is of a setting that nobody asked for.
        let older = visited.is_some_and(|at| now.at(time) < at.saturating_sub(now.uncertainty(time)));
        if older && !same {
            return Some(if possible { UNKNOWN } else { Word::Wrong });
        }
        let just_now = live && now.before_ms(time) <= ms(LIVE_LAG_MAX);
        let word = now.corrected(record, possible && !just_now, just_now || visited.is_some());
        return Some(match (word, visited.filter(|_| !same && !just_now)) {
            // It began anew since the last visit, once or more often: no more is certain than that it was since then.
            (Word::Corrected { ms: at, uncertainty_ms, doubt, by }, Some(visit)) => {
                let since = at.saturating_sub(visit).max(received.wall_ms.saturating_sub(at));
                Word::Corrected { ms: at, uncertainty_ms: uncertainty_ms.max(span(since)), doubt, by }
            }
            (word, _) => word,
        });
    }
    // Later than the clock shows now: from before it fell back.
    Some(match before {
        Some(line) if line.at(time) > received.wall_ms.saturating_add(ms(CLOCK_AHEAD_MAX)) => Word::Wrong,
        Some(line) if line.is_right() && possible => {
            Word::AsSaid { off_ms: line.off(), doubt: false, by: Some(line.pair) }
        }
        Some(line) if fell || line.is_right() => Word::Wrong,
        Some(line) => line.corrected(record, possible, true),
        None if possible => UNKNOWN,
        None => Word::Wrong,
    })
}
