//! How a device's clock is written: as its characteristic is specified, or in the form that its profile states.
//!
//! Pure. Must never: write a time that is not ours to give; whether our clock is right is asked before.

use jiff::tz::TimeZone;

use crate::clock::Stamp;
use crate::codec::date_time;
use crate::profile::schema::ClockForm;

/// 2010-01-01T00:00:00Z, in seconds since 1970.
const YEAR_2010: i64 = 1_262_304_000;

/// A form, and the octets before the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) form: ClockForm,
    pub(super) prefix: Vec<u8>,
}

impl Dial {
    /// What is read from it can be understood: only then a clock is read before it is set.
    pub(super) fn is_readable(&self) -> bool {
        self.form == ClockForm::DateTime && self.prefix.is_empty()
    }

    /// The octets that set a clock to now.
    pub(super) fn octets(&self, uuid: &str, zone: &TimeZone, now: Stamp) -> Vec<u8> {
        let mut octets = self.prefix.clone();
        let seconds = now.timestamp().as_second();
        match self.form {
            ClockForm::DateTime => octets.extend(date_time(uuid, zone, now)),
            ClockForm::Since1970 => octets.extend(word(seconds)),
            ClockForm::Since2010 => octets.extend(word(seconds.saturating_sub(YEAR_2010))),
        }
        octets
    }
}

fn word(seconds: i64) -> [u8; 4] {
    u32::try_from(seconds).unwrap_or(0).to_le_bytes()
}

/// 2A08, or 2A2B with what it has beyond.
fn date_time(uuid: &str, zone: &TimeZone, now: Stamp) -> Vec<u8> {
    let here = now.timestamp().to_zoned(zone.clone()).datetime();
    let mut octets = date_time::encode(here).to_vec();
    if uuid == "2A2B" {
        // Day of the week, fractions of a second, and the reason: a person, or another clock, set it.
        let weekday = here.date().weekday().to_monday_one_offset().cast_unsigned();
        let fraction = u8::try_from(here.subsec_nanosecond() / 3_906_250).unwrap_or(0);
        octets.extend([weekday, fraction, 1]);
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_count_from_the_year_that_the_profile_states() {
        let now = Stamp::at_ms(1_496_402_560_000);
        let written = |form| Dial { form, prefix: vec![2] }.octets("8A81", &TimeZone::UTC, now);
        // The clock that a BS444 showed in its own record: 2017-06-02T11:22:40.
        assert_eq!(written(ClockForm::Since2010), [2, 0x80, 0x0f, 0xf4, 0x0d]);
        assert_eq!(written(ClockForm::Since1970), [2, 0x80, 0x4a, 0x31, 0x59]);
    }
}
