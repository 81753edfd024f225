//! Records that a device counted and this box never saw: a telephone's app took them first, or somebody cleared the memory.
//!
//! Pure. Promises: each gap is noticed once, when the whole memory was read, also if it was asked a second time for what is
//! missing. Must never: judge numbers that do not count records (a sensor counts minutes), or say what was measured.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::fault::Explain;
use crate::limits::{BLE_GAP_SAID, BLE_GAPS_KEPT_MAX};

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Gap {
    /// Numbers were left out between records that came.
    #[error("{count} of its records between {first} and {last} were never seen here")]
    Missing {
        /// The first number that is missing.
        first: u16,
        /// The last one.
        last: u16,
        /// How many of them.
        count: u16,
    },
    /// It sent fewer than it said that it has, and which are missing is not known.
    #[error("it said that it has {told} records and sent {came}, also when it was asked again")]
    Fewer {
        /// As it said.
        told: u32,
        /// As came.
        came: u32,
    },
    /// It had records up to this one, and has none now.
    #[error("its memory was emptied after record {after}, not by this box: what followed was never seen here")]
    Emptied {
        /// The last one that is here.
        after: u16,
    },
    /// Its numbers began anew.
    #[error("its numbers began anew after record {after}: what was between was never seen here")]
    Anew {
        /// The last one of before that is here.
        after: u16,
    },
}

impl Explain for Gap {
    fn code(&self) -> &'static str {
        "WL-S072"
    }
    fn remedy(&self) -> &'static str {
        "Does a telephone read the device as well? Ask the patient; take what is missing from there."
    }
}

/// A gap, and when it was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noticed {
    /// Which.
    pub gap: Gap,
    /// Milliseconds since 1970, of our clock.
    pub at_ms: i64,
}

impl Noticed {
    /// It is still to be said.
    pub(super) fn is_fresh(&self, now_ms: i64) -> bool {
        let limit = i64::try_from(BLE_GAP_SAID.as_millis()).unwrap_or(i64::MAX);
        now_ms.saturating_sub(self.at_ms).saturating_abs() < limit
    }
}

/// Takes a gap to those that are known; the oldest give way. `false`: it is known.
pub(super) fn notice(known: &mut Vec<Noticed>, gap: Gap, at_ms: i64) -> bool {
    if known.iter().any(|n| n.gap == gap) {
        return false;
    }
    if known.len() >= BLE_GAPS_KEPT_MAX {
        known.remove(0);
    }
    known.push(Noticed { gap, at_ms });
    true
}

/// A number from here on starts anew some day.
const NEAR_THE_END: u16 = 0xff00;

/// The numbers of one transfer, against the highest one of before.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The highest number up to which was judged before. `None`: nothing yet.
    judged: Option<u16>,
    came: BTreeSet<u16>,
}

impl Numbers {
    pub(super) fn after(judged: Option<u16>) -> Self {
        Self { judged, came: BTreeSet::new() }
    }

    pub(super) fn judged(&self) -> Option<u16> {
        self.judged
    }

    /// Nothing is missing up to here.
    pub(super) fn unbroken_to(&mut self, number: u16) {
        self.judged = Some(self.judged.map_or(number, |j| j.max(number)));
    }

    pub(super) fn came(&mut self, number: u16) {
        self.came.insert(number);
    }

    /// Numbers that are missing, up to `until`: first, last, count.
    fn missing(&self, until: u16) -> Option<(u16, u16, u16)> {
        let mut found: Option<(u16, u16, u16)> = None;
        let mut before = self.judged;
        for number in self.came.iter().copied().filter(|n| self.judged.is_none_or(|j| *n > j) && *n <= until) {
            let next = before.map_or(number, |b| b.saturating_add(1));
            if number > next {
                let (first, _, count) = found.unwrap_or((next, next, 0));
                found = Some((first, number - 1, count.saturating_add(number - next)));
            }
            before = Some(number);
        }
        found
    }

    /// What came ends before what was here already.
    pub(super) fn seem_to_begin_anew(&self) -> bool {
        self.judged
            .filter(|j| *j < NEAR_THE_END)
            .is_some_and(|judged| self.came.last().is_some_and(|last| *last < judged))
    }

    /// So many numbers are missing.
    pub(super) fn count_missing(&self) -> u32 {
        self.missing(u16::MAX).map_or(0, |(.., count)| count.into())
    }

    /// The number before the first one that is missing, if it came: from there the device can be asked again.
    pub(super) fn before_missing(&self) -> Option<u16> {
        let (first, ..) = self.missing(u16::MAX)?;
        first.checked_sub(1).filter(|before| self.came.contains(before))
    }

    /// The number before the first one beyond `to` that is missing, where all up to `to` was asked for already.
    pub(super) fn before_missing_after(&self, to: u16) -> Option<u16> {
        let beyond = self.came.range(to..).copied();
        let next = beyond.clone().skip(1);
        beyond.zip(next).find(|(before, after)| *after > before.saturating_add(1)).map(|(before, _)| before)
    }

    /// A record of this number follows the one before without a gap, as far as it is known.
    pub(super) fn follows(&self, before: Option<u16>, number: u16) -> bool {
        let before = before.or(self.judged);
        before.is_none_or(|b| number <= b.saturating_add(1)) || self.judged.is_some_and(|j| number <= j)
    }

    /// Judges what came up to `until`; `whole`: it is all that the device has.
    pub(super) fn judge(&mut self, until: Option<u16>, whole: bool) -> Option<Gap> {
        let before = self.judged.filter(|j| *j < NEAR_THE_END);
        let Some(until) = until else {
            return before.filter(|_| whole && self.came.is_empty()).map(|after| Gap::Emptied { after });
        };
        match before {
            Some(after) if until < after => {
                if !whole {
                    return None;
                }
                self.judged = Some(until);
                Some(Gap::Anew { after })
            }
            _ => {
                let missing = self.missing(until);
                self.judged = Some(self.judged.map_or(until, |j| if whole { until } else { j.max(until) }));
                missing.map(|(first, last, count)| Gap::Missing { first, last, count })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(before: Option<u16>, came: &[u16]) -> Option<Gap> {
        let mut numbers = Numbers::after(before);
        came.iter().for_each(|n| numbers.came(*n));
        numbers.judge(came.iter().max().copied(), true)
    }

    #[test]
    fn numbers_that_jump_fall_or_vanish_are_gaps() {
        assert_eq!(judged(None, &[57, 58, 59]), None, "what was before the first is not ours");
        assert_eq!(judged(Some(20), &[20, 21]), None);
        assert_eq!(judged(Some(20), &[22, 21, 20]), None, "in any order");
        assert_eq!(judged(Some(20), &[26]), Some(Gap::Missing { first: 21, last: 25, count: 5 }));
        assert_eq!(judged(Some(20), &[22, 23, 26]), Some(Gap::Missing { first: 21, last: 25, count: 3 }));
        assert_eq!(judged(Some(20), &[]), Some(Gap::Emptied { after: 20 }));
        assert_eq!(judged(Some(20), &[3, 4]), Some(Gap::Anew { after: 20 }));
        assert_eq!(judged(Some(0xfff0), &[3, 4]), None, "the count starts anew");
    }

    #[test]
    fn a_gap_is_kept_once_and_the_oldest_give_way() {
        let mut known = Vec::new();
        assert!(notice(&mut known, Gap::Emptied { after: 1 }, 5));
        assert!(!notice(&mut known, Gap::Emptied { after: 1 }, 9));
        for after in 2..100 {
            assert!(notice(&mut known, Gap::Emptied { after }, 9));
        }
        assert_eq!(known.len(), BLE_GAPS_KEPT_MAX);
        assert!(known[0].is_fresh(10) && !known[0].is_fresh(9 + 7 * 86_400_000));
    }
}
