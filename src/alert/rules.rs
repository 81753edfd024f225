//! Alert rules: what a value is compared with, how often, and how it clears again.
//!
//! A rule that stands here cannot be wrong in form: its unit measures what its vitals measure, its clear condition
//! lies inside its limit, its n is not above its m. Reading the files is `ruleset.rs`; what a reading means for a
//! limit is `judge.rs`. Must never: round a limit.

use std::sync::Arc;
use std::time::Duration;

use crate::alarm::Priority;
use crate::decimal::Decimal;
use crate::unit::Unit;
use crate::vital::{Role, Vital};

/// One limit on one number of some vital signs.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Stable name; part of each alert's identity.
    pub id: Arc<str>,
    /// What people call it.
    pub title: Arc<str>,
    /// The vitals it applies to, taken together: readings of any of them count.
    pub vitals: Vec<Vital>,
    /// Which number of them.
    pub role: Role,
    /// The limit, unless a patient has one of their own.
    pub limit: Limit,
    /// How soon a person must act.
    pub priority: Priority,
    /// How often before it counts.
    pub sustained: Sustained,
}

/// Which way is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Larger values are beyond.
    Upper,
    /// Smaller values are beyond.
    Lower,
}

/// A limit with its unit and its clear condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which way is out.
    pub side: Side,
    /// The limit itself is beyond ("at or above").
    pub inclusive: bool,
    /// The number, exactly as written.
    pub value: Decimal,
    /// Its unit, and that of `clear`.
    pub unit: Unit,
    /// Hysteresis: only a value further in than this clears. `None`: any value that is not beyond.
    pub clear: Option<Decimal>,
}

/// n of the last m readings, optionally within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sustained {
    /// This many beyond the limit …
    pub n: usize,
    /// … of the last so many that count …
    pub m: usize,
    /// … and none of them older than this before the newest.
    pub within: Option<Duration>,
}

impl Sustained {
    /// The first value beyond the limit counts.
    pub const ONCE: Self = Self { n: 1, m: 1, within: None };
}

/// Where a number lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Beyond the limit.
    Beyond,
    /// Back inside the limit, and not yet clear.
    Between,
    /// Inside the clear condition.
    Clear,
}

impl Limit {
    /// Where `value` lies, exactly. `None`: its unit measures something else.
    pub fn place(&self, value: Decimal, unit: Unit) -> Option<Place> {
        let outward = |bound| {
            let order = Unit::compare(value, unit, bound, self.unit)?;
            Some(if self.side == Side::Upper { order } else { order.reverse() })
        };
        let order = outward(self.value)?;
        if order.is_gt() || (self.inclusive && order.is_eq()) {
            return Some(Place::Beyond);
        }
        match self.clear {
            Some(clear) if !outward(clear)?.is_lt() => Some(Place::Between),
            _ => Some(Place::Clear),
        }
    }

    /// "at or above 180 mmHg".
    pub fn words(&self) -> String {
        let (side, at) =
            (if self.side == Side::Upper { "above" } else { "below" }, if self.inclusive { "at or " } else { "" });
        format!("{at}{side} {} {}", self.value, self.unit.display())
    }

    /// The clear condition does not lie beyond the limit.
    pub(super) fn clears_inside(&self) -> bool {
        let inward = |c: Decimal| if self.side == Side::Upper { c <= self.value } else { c >= self.value };
        self.clear.is_none_or(inward)
    }

    /// This limit with another value; the clear condition keeps its distance. `None`: too many digits.
    pub(super) fn moved_to(&self, value: Decimal) -> Option<Self> {
        let clear = match self.clear {
            Some(c) => Some(c.plus(value.minus(self.value)?)?),
            None => None,
        };
        Some(Self { value, clear, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(side: Side, inclusive: bool, value: &str, clear: Option<&str>) -> Limit {
        let number = |text: &str| text.parse().unwrap();
        Limit { side, inclusive, value: number(value), unit: Unit::parse("mm[Hg]").unwrap(), clear: clear.map(number) }
    }

    #[track_caller]
    fn check(limit: Limit, value: &str, unit: &str, expected: Option<Place>) {
        assert_eq!(limit.place(value.parse().unwrap(), Unit::parse(unit).unwrap()), expected);
    }

    #[test]
    fn an_upper_limit_with_hysteresis() {
        let l = limit(Side::Upper, false, "180", Some("170"));
        check(l, "180.1", "mm[Hg]", Some(Place::Beyond));
        check(l, "180", "mm[Hg]", Some(Place::Between));
        check(l, "170", "mm[Hg]", Some(Place::Between));
        check(l, "169.9", "mm[Hg]", Some(Place::Clear));
        check(limit(Side::Upper, true, "180", Some("180")), "180", "mm[Hg]", Some(Place::Beyond));
    }

    #[test]
    fn a_lower_limit_with_hysteresis() {
        let l = limit(Side::Lower, false, "90", Some("95"));
        check(l, "89.9", "mm[Hg]", Some(Place::Beyond));
        check(l, "90", "mm[Hg]", Some(Place::Between));
        check(l, "95", "mm[Hg]", Some(Place::Between));
        check(l, "95.1", "mm[Hg]", Some(Place::Clear));
    }

    #[test]
    fn another_unit_is_compared_exactly() {
        // UCUM: 1 mm[Hg] = 0.133322 kPa, so 24 kPa is 180.015 mm[Hg] and 23.99 kPa is 179.940 mm[Hg].
        let l = limit(Side::Upper, false, "180", None);
        check(l, "24", "kPa", Some(Place::Beyond));
        check(l, "23.99", "kPa", Some(Place::Clear));
        check(l, "180", "Cel", None);
    }

    #[test]
    fn a_moved_limit_keeps_its_hysteresis() {
        let moved = limit(Side::Upper, false, "180", Some("170")).moved_to("160.5".parse().unwrap()).unwrap();
        assert_eq!(moved.clear.unwrap().to_string(), "150.5");
    }
}
