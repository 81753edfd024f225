//! What a device's earlier values tell of its clock: numbers that grow while times fall, and lags that stay the same.
//!
//! Small, bounded, and learned again from the journal after a restart. Promises: a clock that fell back is believed again
//! only when there is a sign that it was set right. Must never: hold it against a device that values come late.

use std::collections::HashMap;

use super::time::ms;
use crate::clock::Stamp;
use crate::limits::{
    CLOCK_AHEAD_MAX, CLOCK_FALL_CLEAR, CLOCK_FALL_MAX, LAG_OCCASION, LAG_SPREAD, LAG_STEADY, LATE_MAX,
    RECORD_COUNTERS_MAX, RECORD_NUMBERS_SKIPPED_MAX,
};

/// A counter of records: of one vital and user.
type Counter = (&'static str, Option<u8>);

/// Of one device.
#[derive(Default)]
pub(super) struct Past {
    marks: HashMap<Counter, Mark>,
    lag: Option<Lag>,
    late_ms: Option<i64>,
}

/// The latest record that was believed.
struct Mark {
    number: u64,
    ms: i64,
    /// Records after it said that they were taken before it: how far the clock fell, and what it said last.
    fell: Option<(i64, i64)>,
}

/// How far live values are behind.
struct Lag {
    ms: i64,
    at: Stamp,
    times: u8,
}

impl Past {
    /// Whether a record may have been taken at `at`, given those with lower numbers. `near`: it is just now by our clock.
    /// `records`: the device counts its records; else whoever sends counts messages, and old ones may come after new ones.
    pub(super) fn follows(
        &mut self,
        of: Counter,
        number: u64,
        at: i64,
        near: bool,
        records: bool,
        received: Stamp,
    ) -> bool {
        let full = self.marks.len() >= RECORD_COUNTERS_MAX;
        let fresh = Mark { number, ms: at, fell: None };
        let Some(mark) = self.marks.get_mut(&of) else {
            if !full {
                self.marks.insert(of, fresh);
            }
            return true;
        };
        let ahead = received.trusted && mark.ms > received.wall_ms.saturating_add(ms(CLOCK_AHEAD_MAX));
        if near || ahead {
            *mark = fresh;
            return true;
        }
        if number < mark.number || number - mark.number > RECORD_NUMBERS_SKIPPED_MAX {
            // An old record again, a count that began anew, or no count at all.
            if at > mark.ms && mark.fell.is_none() {
                *mark = fresh;
            }
            return true;
        }
        if let Some((fell, last)) = mark.fell {
            let leaps = at.saturating_sub(last) >= fell / 2 && fell >= ms(CLOCK_FALL_CLEAR) && at >= mark.ms;
            if leaps {
                *mark = fresh;
            } else if number > mark.number {
                mark.fell = Some((fell, at));
            }
            return leaps || number == mark.number;
        }
        let tolerance = if records { ms(CLOCK_FALL_MAX) } else { ms(LATE_MAX) };
        if at < mark.ms.saturating_sub(tolerance) {
            mark.fell = Some((mark.ms.saturating_sub(at), at));
            return false;
        }
        (mark.number, mark.ms) = (number, mark.ms.max(at));
        true
    }

    /// Whether live values of several occasions were all off by the same time. `age`: of this one.
    pub(super) fn is_steady(&mut self, age: i64, received: Stamp) -> bool {
        if age.abs() <= ms(CLOCK_AHEAD_MAX) {
            self.lag = None;
            return false;
        }
        match &mut self.lag {
            Some(lag) if (lag.ms - age).abs() <= ms(LAG_SPREAD) => {
                if received.since(lag.at) >= LAG_OCCASION {
                    (lag.at, lag.times) = (received, lag.times.saturating_add(1));
                }
                lag.times >= LAG_STEADY
            }
            lag => {
                *lag = Some(Lag { ms: age, at: received, times: 1 });
                false
            }
        }
    }

    /// A value came late, by a clock that is believed: whoever sends it keeps values.
    pub(super) fn was_late(&mut self, now_ms: i64) {
        self.late_ms = Some(self.late_ms.map_or(now_ms, |before| before.max(now_ms)));
    }

    /// Values of this device were late, not long ago.
    pub(super) fn sends_late(&self, now_ms: i64) -> bool {
        self.late_ms.is_some_and(|at| now_ms.saturating_sub(at) <= ms(LATE_MAX))
    }
}
