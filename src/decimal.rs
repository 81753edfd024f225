//! Decimals as devices and payloads state them: a mantissa and an exponent.
//!
//! Promises: the number of decimals is kept (`36.0` is not `36`), nothing passes through binary
//! floating point, and arithmetic that would lose a digit answers `None`.
//! Wide enough for IEEE 11073-20601 FLOAT (24-bit mantissa, exponent −128…127).
//! Equality, order and hashing are numeric: `36.0 == 36`; compare `exponent()` where precision matters.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// mantissa × 10^exponent.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    mantissa: i64,
    exponent: i16,
}

/// The text is not a JSON-style number, or has more digits than 18.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number of at most 18 digits")]
pub struct NotADecimal;

/// Digits a mantissa may have: every such number fits `i64`.
const DIGITS_MAX: usize = 18;
/// Widest exponent accepted: FLOAT reaches ±128; text may add its own decimals.
const EXPONENT_MAX: i16 = 160;

impl Decimal {
    /// Zero without decimals.
    pub const ZERO: Self = Self::new(0, 0);

    /// mantissa × 10^exponent, as a wire format gives it.
    pub const fn new(mantissa: i64, exponent: i16) -> Self {
        Self { mantissa, exponent }
    }

    /// The digits, with sign.
    pub const fn mantissa(self) -> i64 {
        self.mantissa
    }

    /// The power of ten of the last digit: −1 for `36.0`.
    pub const fn exponent(self) -> i16 {
        self.exponent
    }

    /// How many decimals are stated: 1 for `36.0`, 0 for `120`.
    pub const fn decimals(self) -> u16 {
        if self.exponent < 0 { self.exponent.unsigned_abs() } else { 0 }
    }

    /// The shortest decimal that reads back as this `f32`. `None` for NaN and the infinities.
    pub fn from_f32(value: f32) -> Option<Self> {
        value.is_finite().then(|| format!("{value:e}").parse().ok()).flatten()
    }

    /// The shortest decimal that reads back as this `f64`. `None` for NaN and the infinities.
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then(|| format!("{value:e}").parse().ok()).flatten()
    }

    /// Multiplies by a power of ten: exact, the digits stay.
    pub fn scale10(self, power: i16) -> Self {
        Self::new(self.mantissa, self.exponent.saturating_add(power))
    }

    /// Exact product. `None` on overflow.
    pub fn times(self, other: Self) -> Option<Self> {
        Some(Self::new(self.mantissa.checked_mul(other.mantissa)?, self.exponent.checked_add(other.exponent)?))
    }

    /// Exact sum, with the decimals of the finer operand. `None` on overflow.
    pub fn plus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let (a, b) = (self.at(exponent)?, other.at(exponent)?);
        Some(Self::new(i64::try_from(a.checked_add(b)?).ok()?, exponent))
    }

    /// Exact difference, with the decimals of the finer operand. `None` on overflow.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.plus(Self::new(other.mantissa.checked_neg()?, other.exponent))
    }

    /// Quotient with `decimals` decimals, half away from zero. For unit conversions that have no exact decimal.
    pub fn over(self, divisor: Self, decimals: u16) -> Option<Self> {
        let target = i16::try_from(decimals).ok()?.checked_neg()?;
        let power = i32::from(self.exponent) - i32::from(divisor.exponent) - i32::from(target);
        let (mut num, mut den) = (i128::from(self.mantissa), i128::from(divisor.mantissa));
        let factor = 10i128.checked_pow(power.unsigned_abs());
        if power >= 0 && num != 0 {
            num = num.checked_mul(factor?)?;
        } else if power < 0 && den != 0 {
            // A divisor beyond 128 bits is more than twice any mantissa: the quotient rounds to zero.
            match factor.and_then(|f| den.checked_mul(f)) {
                Some(larger) => den = larger,
                None => return Some(Self::new(0, target)),
            }
        }
        Some(Self::new(i64::try_from(round_div(num, den)?).ok()?, target))
    }

    /// Rounds to `decimals` decimals, half away from zero; a coarser number is left as it is.
    pub fn round(self, decimals: u16) -> Option<Self> {
        if self.decimals() <= decimals { Some(self) } else { self.over(Self::new(1, 0), decimals) }
    }

    /// The nearest `f64`, for display and statistics; never for what is delivered.
    pub fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The mantissa at a smaller exponent.
    fn at(self, exponent: i16) -> Option<i128> {
        let power = u32::try_from(i32::from(self.exponent) - i32::from(exponent)).ok()?;
        if self.mantissa == 0 {
            return Some(0);
        }
        i128::from(self.mantissa).checked_mul(10i128.checked_pow(power)?)
    }

    /// Digits without trailing zeros: the same for numerically equal decimals.
    fn reduced(self) -> (i64, i16) {
        if self.mantissa == 0 {
            return (0, 0);
        }
        let (mut m, mut e) = (self.mantissa, self.exponent);
        while m % 10 == 0 {
            m /= 10;
            e = e.saturating_add(1);
        }
        (m, e)
    }
}

fn round_div(num: i128, den: i128) -> Option<i128> {
    let (q, r) = (num.checked_div(den)?, num.checked_rem(den)?);
    let up = r.unsigned_abs().checked_mul(2)? >= den.unsigned_abs();
    Some(if up { q + num.signum() * den.signum() } else { q })
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self::new(value, 0)
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.reduced() == other.reduced()
    }
}
impl Eq for Decimal {}

impl std::hash::Hash for Decimal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.reduced().hash(state);
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.mantissa.signum(), other.mantissa.signum());
        if a != b || a == 0 {
            return a.cmp(&b);
        }
        let exponent = self.exponent.min(other.exponent);
        match (self.at(exponent), other.at(exponent)) {
            (Some(x), Some(y)) => x.cmp(&y),
            // One of them is 20 powers of ten larger: its exponent decides.
            _ if a > 0 => self.exponent.cmp(&other.exponent),
            _ => other.exponent.cmp(&self.exponent),
        }
    }
}

/// Plain digits, no exponent, as FHIR's `decimal` wants them: `120`, `36.0`, `0.0012`.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.mantissa.unsigned_abs();
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let power = self.exponent.unsigned_abs();
        let width = usize::from(power);
        if self.exponent >= 0 {
            let zeros = if digits == 0 { 0 } else { width };
            return write!(f, "{sign}{digits}{:0<zeros$}", "");
        }
        // A power beyond 64 bits is larger than any mantissa: all digits are decimals.
        let (whole, fraction) = match 10u64.checked_pow(u32::from(power)) {
            Some(one) => (digits / one, digits % one),
            None => (0, digits),
        };
        write!(f, "{sign}{whole}.{fraction:0>width$}")
    }
}

/// Reads a JSON number (`-12.50`, `1.2e-3`), keeping its decimals.
impl FromStr for Decimal {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let (number, power) = match text.split_once(['e', 'E']) {
            Some((n, p)) => (n, p.parse::<i16>().map_err(|_| NotADecimal)?),
            None => (text, 0),
        };
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let fraction_missing = number.contains('.') && fraction.is_empty();
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || fraction_missing || !all_digits(whole) || !all_digits(fraction) {
            return Err(NotADecimal);
        }
        let digits = whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0');
        if digits.clone().count() > DIGITS_MAX {
            return Err(NotADecimal);
        }
        let mantissa = digits.fold(0i64, |m, b| m * 10 + i64::from(b - b'0'));
        let decimals = i16::try_from(fraction.len()).map_err(|_| NotADecimal)?;
        let exponent = power.checked_sub(decimals).ok_or(NotADecimal)?;
        if exponent.abs() > EXPONENT_MAX {
            return Err(NotADecimal);
        }
        Ok(Self::new(if negative { -mantissa } else { mantissa }, exponent))
    }
}

/// As a JSON number with its decimals. JSON only: other formats would lose them.
impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let raw = serde_json::value::RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
        raw.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = <Box<serde_json::value::RawValue>>::deserialize(d)?;
        raw.get().trim_matches('"').parse().map_err(serde::de::Error::custom)
    }
}

/// A decimal in settings, where TOML would make a binary float of a bare number: write `"37.5"`, or a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecimalText(pub Decimal);

impl<'de> Deserialize<'de> for DecimalText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Whole(i64),
            Float(f64),
            Text(String),
        }
        let bad = || serde::de::Error::custom("not a decimal number");
        match Form::deserialize(d)? {
            Form::Whole(n) => Ok(Self(Decimal::from(n))),
            // The shortest decimal of the float is what was written, up to 15 digits.
            Form::Float(x) => Decimal::from_f64(x).map(Self).ok_or_else(bad),
            Form::Text(t) => t.parse().map(Self).map_err(|_| bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn decimals_are_kept() {
        for text in ["36.0", "36", "0.0012", "-0.50", "120", "0.0", "2.00"] {
            assert_eq!(d(text).to_string(), text);
        }
        assert_eq!(d("1.2e-3").to_string(), "0.0012");
        assert_eq!(Decimal::new(2, 1).to_string(), "20");
        assert_eq!(Decimal::new(0, 5).to_string(), "0");
    }

    #[test]
    fn json_keeps_decimals() {
        let json = serde_json::to_string(&d("36.0")).unwrap();
        assert_eq!(json, "36.0");
        assert_eq!(serde_json::from_str::<Decimal>(&json).unwrap().exponent(), -1);
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in ["", "-", ".", "1.", ".5", "+1", "0x1", "NaN", "1e", "1234567890123456789", "1e999", "１"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn comparison_is_numeric() {
        assert_eq!(d("36.0"), d("36"));
        assert!(d("-1") < d("0.0"));
        assert!(Decimal::new(1, 127) > Decimal::new(999, -128));
        assert!(Decimal::new(-1, 127) < Decimal::new(-999, -128));
    }

    #[test]
    fn binary_floats_become_their_shortest_decimal() {
        assert_eq!(Decimal::from_f32(36.6).unwrap().to_string(), "36.6");
        assert_eq!(Decimal::from_f64(0.1).unwrap().to_string(), "0.1");
        assert_eq!(Decimal::from_f64(120.0).unwrap().to_string(), "120");
        assert_eq!(Decimal::from_f32(-0.0).unwrap().to_string(), "0");
        assert_eq!(Decimal::from_f32(1e30), Some(Decimal::new(1, 30)));
        assert_eq!(Decimal::from_f32(f32::MIN_POSITIVE).unwrap().mantissa(), 11_754_944);
        assert!(Decimal::from_f64(1e300).is_none(), "wider than any device states");
        assert!(Decimal::from_f32(f32::NAN).is_none());
    }

    #[test]
    fn what_is_far_too_small_rounds_to_zero() {
        assert_eq!(Decimal::new(8_388_605, -128).round(2).unwrap().to_string(), "0.00");
        assert_eq!(Decimal::new(i64::MIN, -57).round(1).unwrap().to_string(), "0.0");
        assert_eq!(Decimal::new(0, 127).over(d("3"), 2).unwrap().to_string(), "0.00");
        assert_eq!(d("1").over(Decimal::new(3, 100), 2).unwrap().to_string(), "0.00");
        assert!(d("1").over(Decimal::ZERO, 2).is_none() && d("1").over(Decimal::new(0, 90), 2).is_none());
        assert!(Decimal::new(1, 127).over(d("3"), 2).is_none());
    }

    #[test]
    fn equal_numbers_are_equal_keys() {
        let set =
            std::collections::HashSet::from([d("36.0"), d("36"), d("3.6e1"), Decimal::new(360, -1), d("-0.0"), d("0")]);
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn kilopascal_converts_with_rounding() {
        // UCUM: 1 m[Hg] = 133.3220 kPa.
        assert_eq!(d("17.6").over(d("0.133322"), 0).unwrap().to_string(), "132");
        assert_eq!(d("-2.5").round(0).unwrap().to_string(), "-3");
    }

    proptest! {
        #[test]
        fn text_round_trips(m in -999_999_999_999i64..999_999_999_999, e in -12i16..6) {
            let x = Decimal::new(m, e);
            prop_assert_eq!(d(&x.to_string()), x);
        }

        #[test]
        fn sum_and_difference_undo_each_other(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000, e in -6i16..6, g in -6i16..6) {
            let (x, y) = (Decimal::new(a, e), Decimal::new(b, g));
            prop_assert_eq!(x.plus(y).unwrap().minus(y).unwrap(), x);
        }

        #[test]
        fn order_equality_and_hash_agree(a in -2_000i64..2_000, b in -2_000i64..2_000, e in -4i16..4, g in -4i16..4) {
            let (x, y) = (Decimal::new(a, e), Decimal::new(b, g));
            prop_assert_eq!(x == y, x.cmp(&y).is_eq());
            let exact = |m: i64, e: i16| i128::from(m) * 10i128.pow(u32::try_from(e + 4).unwrap());
            prop_assert_eq!(x.cmp(&y), exact(a, e).cmp(&exact(b, g)));
        }

        #[test]
        fn rounding_is_to_the_nearest(m in -1_000_000i64..1_000_000, e in -9i16..3, decimals in 0u16..6) {
            let x = Decimal::new(m, e);
            let rounded = x.round(decimals).unwrap();
            let off = rounded.minus(x).unwrap();
            let half = Decimal::new(5, -i16::try_from(decimals).unwrap() - 1);
            prop_assert!(off <= half && off >= Decimal::new(-5, half.exponent()));
            prop_assert!(rounded.decimals() <= decimals.max(x.decimals()));
        }

        #[test]
        fn a_float_reads_back_as_itself(bits: u32) {
            let x = f32::from_bits(bits);
            if let Some(d) = Decimal::from_f32(x) {
                prop_assert_eq!(d.to_string().parse::<f32>().unwrap(), x);
            } else {
                prop_assert!(!x.is_finite());
            }
        }

        #[test]
        fn order_is_antisymmetric(a: i64, b: i64, e in -160i16..160, g in -160i16..160) {
            let (x, y) = (Decimal::new(a, e), Decimal::new(b, g));
            prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse());
        }
    }
}
