//! The units that vitals and rules may carry: UCUM code, MDC code, and the exact way between them.
//!
//! Conversions are rational, so that comparing a reading with a limit in another unit never rounds.
//! Must never: convert between amounts that need more than a factor and an offset (mg/dL and mmol/L).

use std::cmp::Ordering;

use crate::decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a unit measures; only units of one dimension convert.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    Ratio,
    Pressure,
    Rate,
    Temperature,
    Mass,
    Length,
    MassPerArea,
    MassConcentration,
    AmountConcentration,
    Energy,
    Resistance,
    Time,
    Volume,
    Flow,
    Count,
    CountPerDay,
    NormalizedRatio,
}

/// One unit. `base = value × num / den + offset_num / offset_den`.
#[derive(Debug)]
pub struct UnitRow {
    /// UCUM code, case sensitive.
    pub ucum: &'static str,
    /// What people read.
    pub display: &'static str,
    /// ISO/IEEE 11073-10101 32-bit code, where dossier §6 has one.
    pub mdc: Option<u32>,
    /// What it measures.
    pub dimension: Dimension,
    num: i64,
    den: i64,
    offset_num: i64,
    offset_den: i64,
}

/// A row of [`UNITS`].
#[derive(Clone, Copy, Debug)]
pub struct Unit(&'static UnitRow);

const fn row(
    ucum: &'static str,
    display: &'static str,
    mdc: Option<u32>,
    dimension: Dimension,
    num: i64,
    den: i64,
) -> UnitRow {
    UnitRow { ucum, display, mdc, dimension, num, den, offset_num: 0, offset_den: 1 }
}

use Dimension as D;

/// All units. Factors: UCUM 2.1 (1 m[Hg] = 133.3220 kPa, 1 [lb_av] = 0.45359237 kg, 1 [in_i] = 2.54 cm, 1 cal = 4.184 J).
pub static UNITS: &[UnitRow] = &[
    row("%", "%", Some(262_688), D::Ratio, 1, 100),
    row("1", "", Some(262_656), D::Ratio, 1, 1),
    row("mm[Hg]", "mmHg", Some(266_016), D::Pressure, 133_322, 1_000),
    row("kPa", "kPa", Some(265_987), D::Pressure, 1_000, 1),
    row("/min", "/min", Some(264_864), D::Rate, 1, 1),
    row("{beats}/min", "beats/min", Some(264_864), D::Rate, 1, 1),
    row("{breaths}/min", "breaths/min", Some(264_928), D::Rate, 1, 1),
    row("Cel", "°C", Some(268_192), D::Temperature, 1, 1),
    UnitRow {
        ucum: "[degF]",
        display: "°F",
        mdc: Some(266_560),
        dimension: D::Temperature,
        num: 5,
        den: 9,
        offset_num: -160,
        offset_den: 9,
    },
    row("kg", "kg", Some(263_875), D::Mass, 1, 1),
    row("g", "g", None, D::Mass, 1, 1_000),
    row("mg", "mg", None, D::Mass, 1, 1_000_000),
    row("[lb_av]", "lb", Some(263_904), D::Mass, 45_359_237, 100_000_000),
    row("cm", "cm", Some(263_441), D::Length, 1, 1),
    row("m", "m", None, D::Length, 100, 1),
    row("[in_i]", "in", Some(263_520), D::Length, 254, 100),
    row("kg/m2", "kg/m²", Some(264_096), D::MassPerArea, 1, 1),
    row("mg/dL", "mg/dL", Some(264_274), D::MassConcentration, 1, 1),
    row("mmol/L", "mmol/L", Some(266_866), D::AmountConcentration, 1, 1),
    row("kJ", "kJ", None, D::Energy, 1, 1),
    row("kcal", "kcal", None, D::Energy, 4_184, 1_000),
    row("Ohm", "Ω", Some(266_432), D::Resistance, 1, 1),
    row("ms", "ms", Some(264_338), D::Time, 1, 1_000),
    row("s", "s", None, D::Time, 1, 1),
    row("min", "min", None, D::Time, 60, 1),
    row("h", "h", None, D::Time, 3_600, 1),
    row("L", "L", Some(263_744), D::Volume, 1, 1),
    row("mL", "mL", None, D::Volume, 1, 1_000),
    row("L/min", "L/min", Some(265_216), D::Flow, 1, 1),
    row("L/s", "L/s", None, D::Flow, 60, 1),
    row("{steps}", "steps", Some(268_800), D::Count, 1, 1),
    row("{steps}/(24.h)", "steps/24 h", None, D::CountPerDay, 1, 1),
    row("{INR}", "INR", Some(268_752), D::NormalizedRatio, 1, 1),
];

impl Unit {
    /// The unit with this UCUM code.
    pub fn parse(ucum: &str) -> Option<Self> {
        UNITS.iter().find(|u| u.ucum == ucum).map(Self)
    }

    /// UCUM code.
    pub fn ucum(self) -> &'static str {
        self.0.ucum
    }
    /// What people read.
    pub fn display(self) -> &'static str {
        self.0.display
    }
    /// MDC code.
    pub fn mdc(self) -> Option<u32> {
        self.0.mdc
    }
    /// What it measures.
    pub fn dimension(self) -> Dimension {
        self.0.dimension
    }

    /// `value` in `to`, rounded to `decimals`. `None` for another dimension or an overflow.
    pub fn convert(self, value: Decimal, to: Self, decimals: u16) -> Option<Decimal> {
        if self.dimension() != to.dimension() {
            return None;
        }
        if self == to {
            return Some(value);
        }
        let (n, d) = self.base(value)?;
        // (n/d − to.offset) × to.den / to.num, over the common denominator.
        let num = n.checked_mul(to.0.offset_den.into())?.checked_sub(i128::from(to.0.offset_num).checked_mul(d)?)?;
        let num = num.checked_mul(to.0.den.into())?;
        let den = d.checked_mul(to.0.offset_den.into())?.checked_mul(to.0.num.into())?;
        let scaled = num.checked_mul(10i128.checked_pow(decimals.into())?)?;
        let (q, r) = (scaled.checked_div(den)?, scaled.checked_rem(den)?);
        let up = r.unsigned_abs().checked_mul(2)? >= den.unsigned_abs();
        let q = if up { q.checked_add(num.signum() * den.signum())? } else { q };
        Some(Decimal::new(i64::try_from(q).ok()?, i16::try_from(decimals).ok()?.checked_neg()?))
    }

    /// The power of ten between two units, where that is all there is between them: 2 from `m` to `cm`, 0 from `{beats}/min` to `/min`.
    pub fn power_of_ten(self, to: Self) -> Option<i16> {
        let (a, b) = (self.0, to.0);
        if a.dimension != b.dimension || a.offset_num != 0 || b.offset_num != 0 {
            return None;
        }
        let (mut num, mut den) = (i128::from(a.num) * i128::from(b.den), i128::from(a.den) * i128::from(b.num));
        let mut power = 0;
        while num > den && num % 10 == 0 {
            (num, power) = (num / 10, power + 1);
        }
        while den > num && den % 10 == 0 {
            (den, power) = (den / 10, power - 1);
        }
        (num == den).then_some(power)
    }

    /// Compares two amounts, each in its own unit. `None` for different dimensions, and only for those.
    /// Exact; numbers in different units that together need more than 38 digits are compared by magnitude.
    pub fn compare(a: Decimal, in_a: Self, b: Decimal, in_b: Self) -> Option<Ordering> {
        if in_a.dimension() != in_b.dimension() {
            return None;
        }
        if in_a == in_b {
            return Some(a.cmp(&b));
        }
        let exact = || {
            let ((n, d), (m, e)) = (in_a.base(a)?, in_b.base(b)?);
            Some(n.checked_mul(e)?.cmp(&m.checked_mul(d)?))
        };
        exact().or_else(|| in_a.magnitude(a).partial_cmp(&in_b.magnitude(b)))
    }

    /// `value` in the dimension's base unit, to 15 digits: what the range of 128 bits cannot hold.
    #[allow(clippy::cast_precision_loss, reason = "the table's factors are far below 2^53")]
    fn magnitude(self, value: Decimal) -> f64 {
        value.to_f64() * self.0.num as f64 / self.0.den as f64 + self.0.offset_num as f64 / self.0.offset_den as f64
    }

    /// `value` in the dimension's base unit, as numerator and positive denominator.
    fn base(self, value: Decimal) -> Option<(i128, i128)> {
        let power = 10i128.checked_pow(u32::from(value.exponent().unsigned_abs()))?;
        let (n, d) = if value.exponent() >= 0 {
            (i128::from(value.mantissa()).checked_mul(power)?, 1)
        } else {
            (value.mantissa().into(), power)
        };
        let (n, d) = (n.checked_mul(self.0.num.into())?, d.checked_mul(self.0.den.into())?);
        let n = n.checked_mul(self.0.offset_den.into())?.checked_add(i128::from(self.0.offset_num).checked_mul(d)?)?;
        Some((n, d.checked_mul(self.0.offset_den.into())?))
    }
}

impl PartialEq for Unit {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}
impl Eq for Unit {}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.ucum())
    }
}

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<De: Deserializer<'de>>(d: De) -> Result<Self, De::Error> {
        let code = std::borrow::Cow::<str>::deserialize(d)?;
        Self::parse(&code).ok_or_else(|| serde::de::Error::custom("unknown UCUM unit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(value: &str, from: &str, to: &str, decimals: u16, expected: &str) {
        let got =
            Unit::parse(from).unwrap().convert(value.parse().unwrap(), Unit::parse(to).unwrap(), decimals).unwrap();
        assert_eq!(got.to_string(), expected);
    }

    #[test]
    fn conversions_agree_with_ucum() {
        check("98.6", "[degF]", "Cel", 1, "37.0");
        check("37.0", "Cel", "[degF]", 1, "98.6");
        check("165", "[lb_av]", "kg", 8, "74.84274105");
        check("17.6", "kPa", "mm[Hg]", 0, "132");
        check("1.70", "m", "cm", 0, "170");
        check("-40", "[degF]", "Cel", 1, "-40.0");
    }

    #[test]
    fn powers_of_ten_are_found() {
        let power = |a: &str, b: &str| Unit::parse(a).unwrap().power_of_ten(Unit::parse(b).unwrap());
        assert_eq!(power("m", "cm"), Some(2));
        assert_eq!(power("g", "kg"), Some(-3));
        assert_eq!(power("1", "%"), Some(2));
        assert_eq!(power("{beats}/min", "/min"), Some(0));
        for (a, b) in [("kPa", "mm[Hg]"), ("[degF]", "Cel"), ("[in_i]", "cm"), ("kg", "Cel"), ("h", "min")] {
            assert_eq!(power(a, b), None, "{a} {b}");
        }
    }

    #[test]
    fn comparison_does_not_round() {
        let (c, f) = (Unit::parse("Cel").unwrap(), Unit::parse("[degF]").unwrap());
        assert_eq!(Unit::compare("100.4".parse().unwrap(), f, "38.0".parse().unwrap(), c), Some(Ordering::Equal));
        assert_eq!(Unit::compare("100.3999".parse().unwrap(), f, "38.0".parse().unwrap(), c), Some(Ordering::Less));
        let (mg, mmol) = (Unit::parse("mg/dL").unwrap(), Unit::parse("mmol/L").unwrap());
        assert_eq!(Unit::compare(Decimal::from(100), mg, Decimal::from(5), mmol), None);
    }

    #[test]
    fn what_128_bits_cannot_hold_is_compared_all_the_same() {
        let (mmhg, kpa) = (Unit::parse("mm[Hg]").unwrap(), Unit::parse("kPa").unwrap());
        let limit = Decimal::from(24);
        for (mantissa, exponent, expected) in [
            (1, 127, Ordering::Greater),
            (-1, 127, Ordering::Less),
            (1, -128, Ordering::Less),
            (8_388_605, 127, Ordering::Greater),
            (180_000_000_000_000_000, -15, Ordering::Less),
            (181_000_000_000_000_000, -15, Ordering::Greater),
        ] {
            let value = Decimal::new(mantissa, exponent);
            assert_eq!(Unit::compare(value, mmhg, limit, kpa), Some(expected), "{mantissa}e{exponent}");
        }
    }

    #[test]
    fn every_row_is_its_own_and_can_be_undone() {
        for row in UNITS {
            let unit = Unit::parse(row.ucum).unwrap();
            assert!(std::ptr::eq(unit.0, row), "{} stands twice", row.ucum);
            assert!(row.num > 0 && row.den > 0 && row.offset_den > 0, "{}", row.ucum);
            for other in UNITS.iter().filter(|o| o.dimension == row.dimension) {
                let other = Unit::parse(other.ucum).unwrap();
                let there = unit.convert(Decimal::from(37), other, 9).unwrap();
                let back = other.convert(there, unit, 2).unwrap();
                assert_eq!(back, Decimal::from(37), "{} to {} and back", unit.ucum(), other.ucum());
            }
        }
    }

    proptest! {
        #[test]
        fn comparison_agrees_with_conversion(m in -1_000_000i64..1_000_000, e in -3i16..1, n in -1_000_000i64..1_000_000, i in 0..UNITS.len(), j in 0..UNITS.len()) {
            let (a, b) = (Unit(&UNITS[i]), Unit(&UNITS[j]));
            let (x, y) = (Decimal::new(m, e), Decimal::new(n, -2));
            let order = Unit::compare(x, a, y, b);
            prop_assert_eq!(order.is_some(), a.dimension() == b.dimension());
            prop_assert_eq!(Unit::compare(y, b, x, a), order.map(Ordering::reverse));
            if let (Some(order), Some(x)) = (order, a.convert(x, b, 12)) {
                // Conversion rounds to 12 decimals: only what rounds to the same number may disagree.
                prop_assert!(x.cmp(&y) == order || x == y);
            }
        }

        #[test]
        fn comparison_answers_for_any_two_of_a_dimension(m: i64, e in -160i16..160, n: i64, f in -160i16..160) {
            let (c, fahrenheit) = (Unit::parse("Cel").unwrap(), Unit::parse("[degF]").unwrap());
            let (x, y) = (Decimal::new(m, e), Decimal::new(n, f));
            let order = Unit::compare(x, c, y, fahrenheit);
            prop_assert!(order.is_some());
            prop_assert_eq!(Unit::compare(y, fahrenheit, x, c), order.map(Ordering::reverse));
        }
    }
}
