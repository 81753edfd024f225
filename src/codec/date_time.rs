//! Dates, times, zones: 2A08, 2A2B, 2A0E, 2A0D, 2A0F, 2A14, 2BF2 (dossier §1.2).
//!
//! A device's date and time has no zone. Year, month or day 0 means unknown: then it is no time at all.
//! Must never: complete an unknown date.

use std::fmt;

use super::reader::read;
use super::record::{Field, Record};
use super::{Reader, reject};
use crate::reading::{DeviceTime, Reject};

/// Date and time as a device says it; year, month or day may be 0, unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl DateTime {
    /// From its seven octets. `None`: out of the ranges of the specification.
    fn from_octets([y0, y1, month, day, hour, minute, second]: [u8; 7]) -> Option<Self> {
        let year = u16::from_le_bytes([y0, y1]);
        let legal = (year == 0 || (1582..=9999).contains(&year))
            && month <= 12
            && day <= 31
            && hour <= 23
            && minute <= 59
            && second <= 59;
        legal.then_some(Self { year, month, day, hour, minute, second })
    }

    /// A date and time of the calendar. `None`: a part is unknown, or there is no such day.
    pub fn civil(self) -> Option<jiff::civil::DateTime> {
        let [month, day, hour, minute, second] =
            [self.month, self.day, self.hour, self.minute, self.second].map(u8::cast_signed);
        if self.year == 0 {
            return None;
        }
        jiff::civil::DateTime::new(self.year.cast_signed(), month, day, hour, minute, second, 0).ok()
    }

    /// The same, as a reading's time.
    pub fn device_time(self) -> Option<DeviceTime> {
        self.civil().map(DeviceTime::Civil)
    }

    /// Of the calendar, to the second. `None`: a year that the encoding has no place for.
    pub fn from_civil(time: jiff::civil::DateTime) -> Option<Self> {
        Self::from_octets(encode(time))
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

/// The time that seven octets say. `None`: none, or one that is not in the calendar.
pub fn civil(octets: [u8; 7]) -> Option<jiff::civil::DateTime> {
    DateTime::from_octets(octets).and_then(DateTime::civil)
}

/// The seven octets of a date and time.
pub fn encode(time: jiff::civil::DateTime) -> [u8; 7] {
    let [y0, y1] = time.year().to_le_bytes();
    let [month, day, hour, minute, second] =
        [time.month(), time.day(), time.hour(), time.minute(), time.second()].map(i8::cast_unsigned);
    [y0, y1, month, day, hour, minute, second]
}

/// A date and time that the record cannot do without.
pub(super) fn required(r: &mut Reader<'_>, field: &'static str) -> Result<DateTime, Reject> {
    DateTime::from_octets(r.array(field)?).ok_or_else(|| reject::illegal(field))
}

/// A date and time that the record can do without: null where it is illegal, so that the measurement survives (dossier §1.3).
pub(super) fn optional(r: &mut Reader<'_>, field: &'static str) -> Result<Option<DateTime>, Reject> {
    r.array(field).map(DateTime::from_octets)
}

/// 2A08.
pub(super) fn date_time(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("datetime", required(r, "date and time")?);
        Ok(())
    })
}

/// 2A2B.
pub(super) fn current_time(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("datetime", required(r, "date and time")?);
        record.put("day_of_week", up_to(r.u8("day of week")?, 7, "day of week")?);
        record.put("fractions256", r.u8("fractions")?);
        let reason = r.u8("adjust reason")?;
        record.put("adjust_reason", reason);
        record.reserved(reason & 0xF0 != 0);
        Ok(())
    })
}

/// 2A0E.
pub(super) fn time_zone(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, zone)
}

/// 2A0D.
pub(super) fn dst_offset(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, dst)
}

/// 2A0F.
pub(super) fn local_time(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        zone(r, record)?;
        dst(r, record)
    })
}

/// 2A14: 254 and 255 mean more than the field can say, or unknown.
pub(super) fn reference_time(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("source", r.u8("source")?);
        record.put("accuracy", r.u8("accuracy")?);
        record.put("days", r.u8("days since update")?);
        let hours = r.u8("hours since update")?;
        record.put("hours", if hours == u8::MAX { hours } else { up_to(hours, 23, "hours since update")? });
        Ok(())
    })
}

/// 2BF2: 9 octets in a service's record, 11 as a characteristic with the clock's own state.
pub(super) fn elapsed_time(bytes: &[u8]) -> Result<Record, Reject> {
    const RESOLUTIONS: [&str; 4] = ["1s", "100ms", "1ms", "100us"];
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        record.put("tick", flags & 1 != 0);
        record.put("utc", flags & 2 != 0);
        record.put("resolution", super::record::name(flags >> 2 & 3, &RESOLUTIONS));
        record.put("tz_used", flags & 0x10 != 0);
        record.put("current_timeline", flags & 0x20 != 0);
        record.put("value", r.u48("time value")?.cast_signed());
        record.put("sync_source", r.u8("time sync source")?);
        record.put("offset_15min", r.i8("offset")?);
        if r.left() > 0 {
            record.put("clock_status", r.u8("clock status")?);
            record.put("clock_capabilities", r.u8("clock capabilities")?);
        }
        record.reserved(flags & 0xC0 != 0);
        Ok(())
    })
}

/// Time zone in quarters of an hour; −128 is unknown.
pub(super) fn zone(r: &mut Reader<'_>, record: &mut Record) -> Result<(), Reject> {
    let minutes = match r.i8("time zone")? {
        i8::MIN => None,
        quarters @ -48..=56 => Some(i16::from(quarters) * 15),
        _ => return Err(reject::illegal("time zone")),
    };
    record.put("tz_min", minutes);
    Ok(())
}

/// Daylight saving time; 255 is unknown.
pub(super) fn dst(r: &mut Reader<'_>, record: &mut Record) -> Result<(), Reject> {
    let minutes = match r.u8("DST offset")? {
        u8::MAX => None,
        quarters @ (0 | 2 | 4 | 8) => Some(i16::from(quarters) * 15),
        _ => return Err(reject::illegal("DST offset")),
    };
    record.put("dst_min", minutes);
    Ok(())
}

fn up_to(value: u8, largest: u8, field: &'static str) -> Result<u8, Reject> {
    if value <= largest { Ok(value) } else { Err(reject::illegal(field)) }
}

/// A record's time under this name. `Err`: the field is there, but no time can be made of it.
pub(super) fn of(record: &Record, name: &str) -> Option<Result<DeviceTime, ()>> {
    match record.get(name)? {
        Field::Time(time) => Some(time.device_time().ok_or(())),
        _ => Some(Err(())),
    }
}

#[cfg(test)]
mod tests {
    use crate::codec::tests::*;

    #[test]
    fn ranges_are_those_of_the_specification() {
        for legal in ["00000000000000", "2e060101000000", "0f270c1f173b3b", "e807021e000000"] {
            json("2A08", legal);
        }
        for illegal in [
            "2d060101000000",
            "1027010100 0000",
            "e8070d01000000",
            "e8070120000000",
            "e8070101180000",
            "e80701010000 3c",
        ] {
            assert_eq!(rejected("2A08", illegal), "WL-D003", "{illegal}");
        }
    }

    #[test]
    fn an_unknown_or_impossible_date_is_not_completed() {
        use super::{DateTime, encode};
        for unknown in [[0, 0, 4, 17, 20, 41, 59], [0xE8, 7, 0, 17, 0, 0, 0], [0xE8, 7, 2, 30, 0, 0, 0]] {
            assert_eq!(DateTime::from_octets(unknown).unwrap().civil(), None);
        }
        let leap = jiff::civil::date(2024, 2, 29).at(23, 59, 59, 0);
        assert_eq!(DateTime::from_octets(encode(leap)).unwrap().civil(), Some(leap));
    }

    #[test]
    fn zones_and_summer_time_have_their_unknowns() {
        assert_eq!(json("2A0F", "80ff"), r#"{"tz_min":null,"dst_min":null}"#);
        assert_eq!(json("2A0F", "1404"), r#"{"tz_min":300,"dst_min":60}"#);
        for illegal in ["cf00", "3900", "0001", "0003"] {
            assert_eq!(rejected("2A0F", illegal), "WL-D003", "{illegal}");
        }
    }

    #[test]
    fn the_rest_keep_to_their_ranges() {
        assert_eq!(rejected("2A2B", "e10701040b262d080102"), "WL-D003");
        assert_eq!(rejected("2A14", "01020518"), "WL-D003");
        assert!(json("2A14", "0102ffff").contains("255"));
        assert!(json("2BF2", "22000102030405030c").contains("\"value\":5514788471040"), "nine octets");
        assert_eq!(rejected("2BF2", "220001020304050 30c00"), "WL-D001");
    }
}
