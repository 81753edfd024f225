//! IEEE 11073-20601 SFLOAT (16 bit) and FLOAT (32 bit): dossier §1.1.
//!
//! Mantissa and exponent are two's complement; the exponent is the precision and is kept.
//! A special value has exponent 0: `0x17FF` is 2047 × 10¹, not NaN. Must never: pass through binary floating point.

use super::reader::read;
use super::record::{Record, Special};
use crate::decimal::Decimal;
use crate::reading::Reject;

/// A number, or a special value in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Real {
    /// With its decimals.
    Number(Decimal),
    /// NaN, NRes, ±INF, Reserved.
    Special(Special),
}

impl From<Decimal> for Real {
    fn from(n: Decimal) -> Self {
        Self::Number(n)
    }
}

impl From<i64> for Real {
    fn from(n: i64) -> Self {
        Self::Number(n.into())
    }
}

impl Real {
    /// The number, if it is one.
    pub fn number(self) -> Option<Decimal> {
        match self {
            Self::Number(n) => Some(n),
            Self::Special(_) => None,
        }
    }
}

/// The codes of the specials, relative to the largest mantissa.
const SPECIALS: [(i64, Special); 5] = [
    (0, Special::NaN),
    (1, Special::NRes),
    (-1, Special::PositiveInfinity),
    (3, Special::NegativeInfinity),
    (2, Special::Reserved),
];

/// SFLOAT: exponent in bits 15–12, mantissa in bits 11–0.
pub fn sfloat(raw: u16) -> Real {
    let mantissa = (raw << 4).cast_signed() >> 4;
    let exponent = raw.cast_signed() >> 12;
    special(raw.into(), 0x07FF).map_or_else(|| Decimal::new(mantissa.into(), exponent).into(), Real::Special)
}

/// FLOAT: exponent in bits 31–24, mantissa in bits 23–0.
pub fn float(raw: u32) -> Real {
    let mantissa = (raw << 8).cast_signed() >> 8;
    let [.., exponent] = raw.to_le_bytes();
    let exponent = i16::from(exponent.cast_signed());
    special(raw.into(), 0x007F_FFFF).map_or_else(|| Decimal::new(mantissa.into(), exponent).into(), Real::Special)
}

/// Compared as whole words, so that only exponent 0 makes a special value.
fn special(raw: i64, largest: i64) -> Option<Special> {
    SPECIALS.iter().find(|(offset, _)| largest + offset == raw).map(|(_, s)| *s)
}

/// The SFLOAT of a value with its decimals. `None`: 12 bits do not hold it.
pub fn encode_sfloat(value: Real) -> Option<[u8; 2]> {
    let raw = encode(value, 12, -8..=7, 0x07FF)?;
    Some(u16::try_from(raw).ok()?.to_le_bytes())
}

/// The FLOAT of a value with its decimals. `None`: 24 bits do not hold it.
pub fn encode_float(value: Real) -> Option<[u8; 4]> {
    let raw = encode(value, 24, -128..=127, 0x007F_FFFF)?;
    Some(u32::try_from(raw).ok()?.to_le_bytes())
}

fn encode(value: Real, bits: u32, exponents: std::ops::RangeInclusive<i16>, largest: i64) -> Option<i64> {
    let n = match value {
        Real::Number(n) => n,
        Real::Special(s) => return SPECIALS.iter().find(|(_, x)| *x == s).map(|(offset, _)| largest + offset),
    };
    let (mut mantissa, mut exponent) = (n.mantissa(), n.exponent());
    while mantissa % 10 == 0 && mantissa != 0 && mantissa.abs() > largest {
        (mantissa, exponent) = (mantissa / 10, exponent + 1);
    }
    let fits = (-largest - 1..=largest).contains(&mantissa) && exponents.contains(&exponent);
    let field = |x: i64, bits: u32| x & ((1 << bits) - 1);
    let exponent_bits = if bits == 12 { 4 } else { 8 };
    let raw = field(mantissa, bits) | field(exponent.into(), exponent_bits) << bits;
    (fits && special(raw, largest).is_none()).then_some(raw)
}

/// The two octets of an SFLOAT alone.
pub(super) fn decode_sfloat(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("value", r.sfloat("value")?);
        Ok(())
    })
}

/// The four octets of a FLOAT alone.
pub(super) fn decode_float(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("value", r.float("value")?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(real: Real) -> String {
        match real {
            Real::Number(n) => n.to_string(),
            Real::Special(s) => s.name().to_owned(),
        }
    }

    #[test]
    fn decimals_are_the_device_s_own() {
        assert_eq!(text(float(0xFF00_0168)), "36.0");
        assert_eq!(text(float(0xFF00_0014)), "2.0");
        assert_eq!(text(float(0xFE00_00C8)), "2.00");
        assert_eq!(text(sfloat(0xE16C)), "3.64");
        assert_eq!(text(sfloat(0xB078)), "0.00120");
        assert_eq!(text(sfloat(0xF0B0)), "17.6");
    }

    #[test]
    fn specials_have_exponent_zero() {
        let names: Vec<_> = [0x07FFu16, 0x0800, 0x07FE, 0x0802, 0x0801].map(|raw| text(sfloat(raw))).to_vec();
        assert_eq!(names, ["NaN", "NRes", "+INF", "-INF", "Reserved"]);
        let names: Vec<_> =
            [0x007F_FFFFu32, 0x0080_0000, 0x007F_FFFE, 0x0080_0002, 0x0080_0001].map(|raw| text(float(raw))).to_vec();
        assert_eq!(names, ["NaN", "NRes", "+INF", "-INF", "Reserved"]);
        assert_eq!(text(sfloat(0x17FF)), "20470");
        assert_eq!(text(sfloat(0x1800)), "-20480");
        assert_eq!(text(sfloat(0x0803)), "-2045");
        assert_eq!(text(sfloat(0x07FD)), "2045");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let d = |t: &str| Real::from(t.parse::<Decimal>().unwrap());
        for value in ["2047", "2046", "-2048", "4099", "0.000000001", "1e12"] {
            assert!(encode_sfloat(d(value)).is_none(), "{value}");
        }
        assert_eq!(encode_sfloat(d("3000000")), Some([0x2c, 0x41]));
    }

    proptest! {
        #[test]
        fn every_sfloat_round_trips(raw: u16) {
            let value = sfloat(raw);
            prop_assert_eq!(encode_sfloat(value), Some(raw.to_le_bytes()));
        }

        #[test]
        fn every_float_round_trips(raw: u32) {
            let value = float(raw);
            prop_assert_eq!(encode_float(value), Some(raw.to_le_bytes()));
        }
    }
}
