//! Times in payloads. Must never: guess a zone; a text without an offset stays the device's local time.

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;

use super::schema::TimeForm;
use super::wire::Scalar;
use crate::decimal::Decimal;
use crate::reading::DeviceTime;

/// The time that a scalar states in this form. `None`: it states none.
pub(super) fn read(scalar: &Scalar<'_>, form: TimeForm) -> Option<DeviceTime> {
    match (form, scalar) {
        (TimeForm::Iso8601, Scalar::Text(text)) => iso8601(text),
        (TimeForm::EpochS, Scalar::Number(n)) => epoch(*n, 9),
        (TimeForm::EpochMs, Scalar::Number(n)) => epoch(*n, 6),
        _ => None,
    }
}

/// `2026-11-22T10:00:00Z`, `…+01:00`, or local. A zone in brackets is not understood: it could contradict the offset.
pub fn iso8601(text: &str) -> Option<DeviceTime> {
    let pieces = Pieces::parse(text).ok()?;
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    let civil = pieces.date().to_datetime(pieces.time()?);
    let Some(offset) = pieces.to_numeric_offset() else { return Some(DeviceTime::Civil(civil)) };
    offset.to_timestamp(civil).ok().map(DeviceTime::Instant)
}

/// `n` × 10^`power` nanoseconds since 1970; finer digits are cut off.
fn epoch(n: Decimal, power: i16) -> Option<DeviceTime> {
    let exponent = n.exponent().checked_add(power)?;
    let factor = 10i128.checked_pow(u32::from(exponent.unsigned_abs()))?;
    let mantissa = i128::from(n.mantissa());
    let nanos = if exponent >= 0 { mantissa.checked_mul(factor)? } else { mantissa.checked_div(factor)? };
    Timestamp::from_nanosecond(nanos).ok().map(DeviceTime::Instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scalar: Scalar<'_>, form: TimeForm, expected: Option<&str>) {
        let shown = read(&scalar, form).map(|t| match t {
            DeviceTime::Civil(c) => c.to_string(),
            DeviceTime::Instant(i) => i.to_string(),
        });
        assert_eq!(shown.as_deref(), expected);
    }

    #[test]
    fn offsets_make_instants_and_their_absence_local_time() {
        let text = |t: &'static str| Scalar::Text(t.into());
        check(text("2026-11-22T10:00:00Z"), TimeForm::Iso8601, Some("2026-11-22T10:00:00Z"));
        check(text("2026-11-22T10:00:00.250+01:00"), TimeForm::Iso8601, Some("2026-11-22T09:00:00.25Z"));
        check(text("2026-11-22T10:00:00"), TimeForm::Iso8601, Some("2026-11-22T10:00:00"));
        for bad in
            ["2026-11-22", "10:00", "", "yesterday", "2026-02-30T10:00:00Z", "2026-11-22T10:00:00+01:00[Europe/Berlin]"]
        {
            check(text(bad), TimeForm::Iso8601, None);
        }
    }

    #[test]
    fn epochs_keep_their_digits() {
        let number = |t: &str| Scalar::Number(t.parse().unwrap());
        check(number("1795341600"), TimeForm::EpochS, Some("2026-11-22T10:00:00Z"));
        check(number("1795341600.5"), TimeForm::EpochS, Some("2026-11-22T10:00:00.5Z"));
        check(number("1795341600250"), TimeForm::EpochMs, Some("2026-11-22T10:00:00.25Z"));
        check(number("1e30"), TimeForm::EpochS, None);
        check(number("1e150"), TimeForm::EpochMs, None);
        check(Scalar::Text("1795341600".into()), TimeForm::EpochS, None);
    }
}
