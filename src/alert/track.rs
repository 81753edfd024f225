//! The readings of one patient that one rule still looks back on: n of m, in order.
//!
//! Promises: a window is a function of the last readings alone, so that a restart rebuilds it from the journal.
//! Doubt can only add: a doubtful value beyond the limit counts, a doubtful value inside it is evidence of nothing.
//! Must never: grow beyond m.

use std::collections::VecDeque;
use std::time::Duration;

use super::rules::{Place, Sustained};
use crate::clock::Stamp;
use crate::reading::{DeviceId, Reading, ReadingKey};

/// What a window says after a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new: not often enough, between, or no evidence.
    Quiet,
    /// Beyond often enough, counting only values that nobody doubts.
    Sure,
    /// Beyond often enough, counting doubtful values.
    Doubtful,
    /// Beyond doubt inside the clear condition.
    Clear,
}

impl Verdict {
    /// Where nothing is looked back on: the one value decides.
    pub(super) fn at_once(place: Place, doubtful: bool) -> Self {
        match (place, doubtful) {
            (Place::Beyond, false) => Self::Sure,
            (Place::Beyond, true) => Self::Doubtful,
            (Place::Clear, false) => Self::Clear,
            (Place::Clear, true) | (Place::Between, _) => Self::Quiet,
        }
    }
}

/// A reading as one rule sees it.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) reading: &'a Reading,
    pub(super) place: Place,
    pub(super) doubtful: bool,
    pub(super) retrospective: bool,
}

#[derive(Clone, Copy)]
struct Mark {
    beyond: bool,
    doubtful: bool,
    key: ReadingKey,
    received: Stamp,
    at_ms: Option<i64>,
}

/// A window of readings.
#[derive(Default)]
pub(super) struct Window {
    marks: VecDeque<Mark>,
    newest: Option<(DeviceId, i64)>,
}

impl Window {
    /// Takes a reading. `slack`: an older device time by up to this is a message out of order, by more a clock that was set.
    pub(super) fn take(&mut self, sight: Sight<'_>, sustained: Sustained, slack: Duration) -> Verdict {
        let Sight { reading, place, doubtful, .. } = sight;
        let beyond = place == Place::Beyond;
        let late = self.is_late(reading, slack);
        if !beyond && (doubtful || late) {
            return Verdict::Quiet;
        }
        let taken = &reading.taken;
        self.marks.push_back(Mark { beyond, doubtful, key: reading.key, received: taken.received, at_ms: taken.at_ms });
        while self.marks.len() > sustained.m {
            self.marks.pop_front();
        }
        if let (Some(at), false) = (device_ms(reading), late) {
            self.newest = Some((reading.device.clone(), at));
        }
        let counts =
            |sure: bool| self.beyond(sight, sustained).filter(|m| !(sure && m.doubtful)).count() >= sustained.n;
        match place {
            Place::Beyond if !doubtful && counts(true) => Verdict::Sure,
            Place::Beyond if counts(false) => Verdict::Doubtful,
            Place::Clear => Verdict::Clear,
            Place::Beyond | Place::Between => Verdict::Quiet,
        }
    }

    /// The readings beyond the limit that count with the one just taken, which is the last; and of how many.
    pub(super) fn evidence(&self, last: Sight<'_>, sustained: Sustained) -> (Vec<ReadingKey>, usize) {
        (self.beyond(last, sustained).map(|m| m.key).collect(), self.marks.len())
    }

    fn beyond(&self, last: Sight<'_>, sustained: Sustained) -> impl Iterator<Item = &Mark> {
        let near = move |m: &Mark| sustained.within.is_none_or(|within| m.apart(last) <= within);
        self.marks.iter().filter(move |m| m.beyond && near(m))
    }

    /// The same device took it before a reading that was judged already: it says nothing about now.
    fn is_late(&self, reading: &Reading, slack: Duration) -> bool {
        let (Some((device, newest)), Some(at)) = (&self.newest, device_ms(reading)) else { return false };
        let behind = u64::try_from(newest.saturating_sub(at)).unwrap_or(0);
        *device == reading.device && behind > 0 && Duration::from_millis(behind) <= slack
    }
}

impl Mark {
    /// Old readings are apart by the times at which they were taken, live ones by their receipt.
    fn apart(&self, last: Sight<'_>) -> Duration {
        let taken = &last.reading.taken;
        match (last.retrospective, taken.at_ms, self.at_ms) {
            (true, Some(a), Some(b)) => Duration::from_millis(a.abs_diff(b)),
            // Not known how far apart: doubt does not silence.
            (true, ..) => Duration::ZERO,
            (false, ..) => taken.received.since(self.received),
        }
    }
}

fn device_ms(reading: &Reading) -> Option<i64> {
    reading.taken.at_ms.filter(|_| reading.taken.is_dated_by_device())
}
