//! What weight scales and body composition scales share: fixed-point masses and heights, and 0xFFFF.
//!
//! Values keep the decimals of the wire's resolution. Must never: make 327.675 kg of "unsuccessful".

use super::ieee11073::Real;
use super::record::Special;
use crate::decimal::Decimal;

/// Which units a scale uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Kilograms and metres.
    Metric,
    /// Pounds and inches.
    Imperial,
}

impl System {
    /// Flag bit 0.
    pub(super) fn of(imperial: bool) -> Self {
        if imperial { Self::Imperial } else { Self::Metric }
    }

    /// Unit of mass in records.
    pub(super) fn mass(self) -> &'static str {
        match self {
            Self::Metric => "kg",
            Self::Imperial => "lb",
        }
    }

    /// Unit of height in records.
    pub(super) fn length(self) -> &'static str {
        match self {
            Self::Metric => "m",
            Self::Imperial => "in",
        }
    }

    /// 0.005 kg or 0.01 lb.
    const fn mass_step(self) -> (i64, i16) {
        match self {
            Self::Metric => (5, -3),
            Self::Imperial => (1, -2),
        }
    }

    /// 0.001 m or 0.1 in.
    const fn length_step(self) -> (i64, i16) {
        match self {
            Self::Metric => (1, -3),
            Self::Imperial => (1, -1),
        }
    }

    /// A mass from the wire.
    pub(super) fn read_mass(self, raw: u16) -> Decimal {
        fixed(raw, self.mass_step())
    }

    /// A height from the wire.
    pub(super) fn read_length(self, raw: u16) -> Decimal {
        fixed(raw, self.length_step())
    }

    /// A mass for the wire, to the nearest step.
    pub(super) fn write_mass(self, value: Decimal) -> Option<u16> {
        steps(value, self.mass_step())
    }

    /// A height for the wire, to the nearest step.
    pub(super) fn write_length(self, value: Decimal) -> Option<u16> {
        steps(value, self.length_step())
    }
}

/// UCUM code of a record's unit of mass or height.
pub(super) fn ucum(unit: Option<&str>) -> &'static str {
    match unit {
        Some("lb") => "[lb_av]",
        Some("in") => "[in_i]",
        Some("m") => "m",
        _ => "kg",
    }
}

/// `raw` steps.
pub(super) fn fixed(raw: u16, (step, exponent): (i64, i16)) -> Decimal {
    Decimal::new(i64::from(raw) * step, exponent)
}

/// `raw` steps, unless it is the code for "unsuccessful".
pub(super) fn measured(raw: u16, value: Decimal) -> Real {
    if raw == u16::MAX { Real::Special(Special::Unsuccessful) } else { Real::Number(value) }
}

/// The nearest whole number of steps. `None`: negative, or not below the code for "unsuccessful".
pub(super) fn steps(value: Decimal, (step, exponent): (i64, i16)) -> Option<u16> {
    let steps = value.over(Decimal::new(step, exponent), 0)?.mantissa();
    u16::try_from(steps).ok().filter(|s| *s != u16::MAX)
}
