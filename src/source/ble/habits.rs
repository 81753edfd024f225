//! What a device is wont to do, learnt from its advertisements, pure: how strong it is heard, how often, and how often it wakes.
//!
//! Promises: the trend is of the strength now against that of the last hours, so that one weak advertisement is no trend;
//! bounded, of this run only. Must never: decide anything; people see it.

use std::time::Duration;

use crate::clock::Stamp;
use crate::limits::BLE_ASLEEP;

/// The long mean of a device's strength takes in a value this often.
const BLE_TREND_EVERY: Duration = Duration::from_secs(60);
/// Of fewer values there is no trend.
const BLE_TREND_MIN: u32 = 10;
/// So many dB from the long mean are a trend: less is a person who walks past.
const BLE_TREND_DB: i32 = 6;

/// How its strength changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// It is heard more strongly than before.
    Better,
    /// As before.
    Steady,
    /// More weakly: it went away from the box, or its battery goes.
    Worse,
}

impl Trend {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Steady => "steady",
            Self::Worse => "worse",
        }
    }
}

/// Of one device. Strengths are in sixteenths of a dBm, so that means move.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Habits {
    quick: Option<i32>,
    slow: Option<i32>,
    /// How many parts of the slow mean there are, and when the last one came.
    parts: u32,
    parted: Option<Stamp>,
    heard: Option<Stamp>,
    woke: Option<Stamp>,
    /// Between two advertisements while it is awake.
    pub every: Option<Duration>,
    /// Between two times that it wakes.
    pub comes: Option<Duration>,
}

/// A mean that takes in a new value by one part in `n`.
fn towards(mean: Option<i32>, value: i32, n: i32) -> i32 {
    mean.map_or(value, |mean| mean + (value - mean) / n)
}

fn blend(mean: Option<Duration>, value: Duration) -> Duration {
    mean.map_or(value, |mean| (mean * 7 + value) / 8)
}

impl Habits {
    /// An advertisement was heard.
    pub(super) fn heard(&mut self, rssi: Option<i16>, now: Stamp) {
        match self.heard.map(|before| now.since(before)) {
            Some(gap) if gap < BLE_ASLEEP => self.every = Some(blend(self.every, gap)),
            _ => {
                if let Some(before) = self.woke.replace(now) {
                    self.comes = Some(blend(self.comes, now.since(before)));
                }
            }
        }
        self.heard = Some(now);
        let Some(strength) = rssi.map(|dbm| i32::from(dbm) * 16) else { return };
        let quick = towards(self.quick, strength, 4);
        self.quick = Some(quick);
        if self.parted.is_none_or(|at| now.since(at) >= BLE_TREND_EVERY) {
            self.slow = Some(towards(self.slow, quick, 16));
            self.parts = self.parts.saturating_add(1);
            self.parted = Some(now);
        }
    }

    /// How its strength changes; `None`: it was not heard for long enough to know.
    pub fn trend(&self) -> Option<Trend> {
        let (quick, slow) = self.quick.zip(self.slow).filter(|_| self.parts >= BLE_TREND_MIN)?;
        Some(match (quick - slow) / 16 {
            by if by >= BLE_TREND_DB => Trend::Better,
            by if by <= -BLE_TREND_DB => Trend::Worse,
            _ => Trend::Steady,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp::at_ms(1_000_000).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_strength_that_falls_is_a_trend_and_one_weak_advertisement_is_none() {
        let mut habits = Habits::default();
        for minute in 0..30 {
            assert_eq!(habits.trend().is_some(), minute >= u64::from(BLE_TREND_MIN));
            habits.heard(Some(-60), at(60 * minute));
        }
        assert_eq!(habits.trend(), Some(Trend::Steady));
        habits.heard(Some(-80), at(1_800));
        assert_eq!(habits.trend(), Some(Trend::Steady), "once is chance");
        (0..8).for_each(|n| habits.heard(Some(-80), at(1_801 + n)));
        assert_eq!(habits.trend(), Some(Trend::Worse));
        (0..20).for_each(|n| habits.heard(Some(-45), at(1_820 + n)));
        assert_eq!(habits.trend(), Some(Trend::Better));
    }

    #[test]
    fn how_often_it_is_heard_and_how_often_it_wakes_are_two_things() {
        let mut habits = Habits::default();
        // A cuff that measures each hour and is heard for ten seconds each second.
        for hour in 0..24 {
            (0..10).for_each(|second| habits.heard(None, at(3_600 * hour + second)));
        }
        assert_eq!((habits.every, habits.comes), (Some(Duration::from_secs(1)), Some(Duration::from_secs(3_600))));
        assert_eq!(habits.trend(), None);
    }
}
