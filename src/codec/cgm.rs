//! Continuous glucose monitoring: 2AA7 measurement, 2AA8 feature, 2AA9 status, 2AAA session start, 2AAB session run time,
//! 2AAC control point (dossier §2.6).
//!
//! A measurement states minutes since the session's start; only with 2AAA is that a time ([`resolve`]).
//! Must never: make a reading of a record whose checksum is broken.

use super::date_time;
use super::draft::Shared;
use super::glucose;
use super::reader::read;
use super::record::{self, Field, Record};
use super::{Reader, crc16, reject};
use crate::reading::{Absence, DeviceTime, Draft, Quality, Reject, Value};

const STATUS: [(u8, &str); 21] = [
    (0, "session_stopped"),
    (1, "device_battery_low"),
    (2, "sensor_type_incorrect"),
    (3, "sensor_malfunction"),
    (4, "device_specific_alert"),
    (5, "general_device_fault"),
    (8, "time_sync_required"),
    (9, "calibration_not_allowed"),
    (10, "calibration_recommended"),
    (11, "calibration_required"),
    (12, "temperature_too_high"),
    (13, "temperature_too_low"),
    (14, "calibration_process_pending"),
    (16, "below_patient_low"),
    (17, "above_patient_high"),
    (18, "below_hypo"),
    (19, "above_hyper"),
    (20, "rate_decrease_exceeded"),
    (21, "rate_increase_exceeded"),
    (22, "below_device_range"),
    (23, "above_device_range"),
];
/// Any of these makes a value questionable.
const DOUBTS: [&str; 7] = [
    "session_stopped",
    "sensor_type_incorrect",
    "sensor_malfunction",
    "general_device_fault",
    "calibration_required",
    "temperature_too_high",
    "temperature_too_low",
];
const FEATURES: [(u8, &str); 17] = [
    (0, "calibration"),
    (1, "patient_high_low"),
    (2, "hypo"),
    (3, "hyper"),
    (4, "rate"),
    (5, "device_specific"),
    (6, "sensor_malfunction"),
    (7, "sensor_temperature"),
    (8, "sensor_result"),
    (9, "low_battery"),
    (10, "sensor_type_error"),
    (11, "general_fault"),
    (12, "e2e_crc"),
    (13, "multiple_bond"),
    (14, "multiple_sessions"),
    (15, "trend"),
    (16, "quality"),
];
/// Size, flags, glucose, offset.
const RECORD_OCTETS_MIN: usize = 6;

/// 2AA7: one or more records, each with its size.
pub(super) fn measurement(bytes: &[u8]) -> Result<Record, Reject> {
    let mut r = Reader::new(bytes);
    let mut records = Vec::new();
    while r.left() > 0 || records.is_empty() {
        let size = usize::from(r.clone().u8("size")?);
        if size < RECORD_OCTETS_MIN {
            return Err(reject::illegal("size"));
        }
        records.push(Field::from(one(r.take(size, "record")?)?));
    }
    let mut record = Record::default();
    record.put("records", records);
    Ok(record)
}

fn one(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        r.u8("size")?;
        let flags = r.u8("flags")?;
        record.put("glucose_mg_dl", r.sfloat("glucose")?);
        record.put("time_offset_min", r.u16("time offset")?);
        let mut status = 0;
        for (flag, field, shift) in [(0x80, "status", 0), (0x40, "calibration", 8), (0x20, "warning", 16)] {
            if flags & flag != 0 {
                status |= u32::from(r.u8(field)?) << shift;
            }
        }
        record.put("status", record::bits(status, &STATUS));
        if flags & 1 != 0 {
            record.put("trend_mg_dl_min", r.sfloat("trend")?);
        }
        if flags & 2 != 0 {
            record.put("quality_pct", r.sfloat("quality")?);
        }
        record.reserved(flags & 0x1C != 0 || record::unnamed(status, &STATUS));
        crc16::trailer(bytes, r, record)
    })
}

/// 2AA8: the checksum field is always there; 0xFFFF where it is not supported.
pub(super) fn feature(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let raw = r.u24("features")?;
        record.put("features", record::bits(raw, &FEATURES));
        glucose::sample(record, r.u8("type and location")?);
        let supported = raw & 1 << 12 != 0;
        let crc = r.clone().u16("checksum")?;
        if supported || crc != u16::MAX {
            crc16::trailer(bytes, r, record)?;
        } else {
            record.put("crc", r.u16("checksum")?);
            record.put("crc_default", true);
        }
        record.reserved(record::unnamed(raw, &FEATURES));
        Ok(())
    })
}

/// 2AA9.
pub(super) fn status(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("time_offset_min", r.u16("time offset")?);
        let raw = r.u24("status")?;
        record.put("status", record::bits(raw, &STATUS));
        crc16::trailer(bytes, r, record)?;
        record.reserved(record::unnamed(raw, &STATUS));
        Ok(())
    })
}

/// 2AAA.
pub(super) fn session_start(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("start", date_time::required(r, "start time")?);
        date_time::zone(r, record)?;
        date_time::dst(r, record)?;
        crc16::trailer(bytes, r, record)
    })
}

/// 2AAB.
pub(super) fn run_time(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("hours", r.u16("run time")?);
        crc16::trailer(bytes, r, record)
    })
}

/// 2AAC. Levels come in threes from 0x07: set, get, response.
pub(super) fn control_point(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let opcode = r.u8("opcode")?;
        record.put("opcode", opcode);
        match opcode {
            0x01 | 0x03 => record.put("interval_min", r.u8("interval")?),
            0x04 | 0x06 => calibration(r, record)?,
            0x05 => record.put("record_number", r.u16("record number")?),
            0x07..=0x18 if opcode % 3 != 2 => record.put("level", r.sfloat("level")?),
            0x02 | 0x07..=0x18 | 0x19..=0x1B => {}
            0x1C => {
                record.put("request_opcode", r.u8("request opcode")?);
                record.put("response_code", r.u8("response code")?);
            }
            _ => return Err(reject::illegal("opcode")),
        }
        crc16::trailer(bytes, r, record)
    })
}

fn calibration(r: &mut Reader<'_>, record: &mut Record) -> Result<(), Reject> {
    record.put("glucose_mg_dl", r.sfloat("glucose")?);
    record.put("calibration_time_min", r.u16("calibration time")?);
    glucose::sample(record, r.u8("type and location")?);
    record.put("next_calibration_min", r.u16("next calibration")?);
    record.put("record_number", r.u16("record number")?);
    record.put("status_raw", r.u8("calibration status")?);
    Ok(())
}

/// One glucose per record. Its sequence is the offset in minutes; without the session's start it has no time.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let records = record.list("records").iter().filter_map(|f| match f {
        Field::Record(r) => Some(r),
        _ => None,
    });
    records.filter_map(draft).collect()
}

fn draft(record: &Record) -> Option<Draft> {
    let mut shared = Shared { sequence: record.whole("time_offset_min"), ..Shared::default() };
    let says = |names: &[&str]| record.says("status", names);
    shared.label(Quality::Questionable, says(&DOUBTS));
    shared.label(Quality::Calibrating, says(&["calibration_process_pending"]));
    shared.label(Quality::TimeDoubtful, says(&["time_sync_required"]));
    let value = record.value("glucose_mg_dl").unwrap_or(Value::Absent(Absence::Unknown));
    glucose::range(&mut shared, value, says(&["above_device_range"]), says(&["below_device_range"]));
    shared.one("glucose-interstitial", Some(value), "mg/dL")
}

/// The start of the session from a 2AAA: an instant where the sensor knows its zone, else its local time.
/// `None`: not set yet, or its checksum is broken.
pub fn start(record: &Record) -> Option<DeviceTime> {
    let Some(Field::Time(start)) = record.get("start").filter(|_| record.intact()) else { return None };
    let civil = start.civil()?;
    let minutes = |name| match record.get(name) {
        Some(Field::Number(n)) => Some(n.mantissa()),
        _ => None,
    };
    let (Some(zone), Some(dst)) = (minutes("tz_min"), minutes("dst_min")) else {
        return Some(DeviceTime::Civil(civil));
    };
    let offset = jiff::SignedDuration::from_mins(zone + dst);
    let instant = civil.checked_sub(offset).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(DeviceTime::Instant(instant))
}

/// Gives a draft of 2AA7 its time: start of the session plus its minutes.
pub fn resolve(draft: &mut Draft, start: DeviceTime) {
    let minutes = draft.sequence.and_then(|s| i64::try_from(s).ok()).unwrap_or_default();
    let offset = jiff::SignedDuration::from_mins(minutes);
    draft.device_time = match start {
        DeviceTime::Civil(t) => t.checked_add(offset).ok().map(DeviceTime::Civil),
        DeviceTime::Instant(t) => t.checked_add(offset).ok().map(DeviceTime::Instant),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;

    #[test]
    fn each_record_is_a_reading_with_its_offset() {
        let two = drafted("2AA7", "06000c10050006000c100600");
        assert_eq!(lines(&two), ["glucose-interstitial 120 mg/dL", "glucose-interstitial 120 mg/dL"]);
        assert_eq!([two[0].sequence, two[1].sequence], [Some(5), Some(6)]);
        assert_eq!(two[0].device_time, None);
    }

    #[test]
    fn one_broken_checksum_rejects_all_records() {
        assert_eq!(rejected("2AA7", "06000c10050008000c100600586f"), "WL-D004");
        let record = super::measurement(&octets("08000c100600586f").unwrap()).unwrap();
        assert!(crate::codec::find("2AA7").unwrap().drafts(&record).is_empty());
        json("2AA7", "08000c100600596f");
    }

    #[test]
    fn sizes_must_add_up() {
        for broken in ["", "05000c1005", "07000c100600", "00", "06000c10060006", "ff000c100600"] {
            rejected("2AA7", broken);
        }
    }

    #[test]
    fn statuses_have_their_labels() {
        let with = |flags: &str, octet: &str| drafted("2AA7", &format!("07{flags}0c100600{octet}"))[0].quality.clone();
        assert_eq!(with("20", "80"), [Quality::AboveRange]);
        assert_eq!(with("20", "40"), [Quality::BelowRange]);
        assert_eq!(with("20", "05"), []);
        assert_eq!(with("80", "08"), [Quality::Questionable]);
        assert_eq!(with("80", "02"), []);
        assert_eq!(with("40", "08"), [Quality::Questionable]);
        assert_eq!(with("40", "01"), [Quality::TimeDoubtful]);
        assert_eq!(with("40", "40"), [Quality::Calibrating]);
        assert_eq!(with("80", "80"), [Quality::Quirk]);
        assert_eq!(drafted("2AA7", "0600fe070600")[0].quality, [Quality::AboveRange]);
    }

    #[test]
    fn trend_and_quality_follow_the_status() {
        let expected = r#"{"records":[{"glucose_mg_dl":120,"time_offset_min":10,"status":["session_stopped","calibration_not_allowed","below_hypo"],"trend_mg_dl_min":3,"quality_pct":30}]}"#;
        assert_eq!(json("2AA7", "0de378000a0001020403001e00"), expected);
    }

    #[test]
    fn the_session_s_start_makes_offsets_times() {
        let start_of = |hex: &str| start(&super::session_start(&octets(hex).unwrap()).unwrap());
        let Some(DeviceTime::Instant(at)) = start_of("e007060f0a1e000404") else { panic!("no instant") };
        assert_eq!(at.to_string(), "2016-06-15T08:30:00Z");
        assert!(matches!(start_of("e007060f0a1e008004"), Some(DeviceTime::Civil(_))));
        assert_eq!(start_of("000004180d08180802"), None);
        assert_eq!(start_of("e007060f0a1e0004040000"), None, "a broken checksum");
        let mut draft = drafted("2AA7", "06000c100500").remove(0);
        resolve(&mut draft, DeviceTime::Instant(at));
        assert_eq!(draft.device_time, Some(DeviceTime::Instant("2016-06-15T08:35:00Z".parse().unwrap())));
    }

    #[test]
    fn control_point_levels_come_in_threes() {
        assert_eq!(json("2AAC", "150100"), r#"{"opcode":21,"level":1}"#);
        assert_eq!(json("2AAC", "08"), r#"{"opcode":8}"#);
        assert_eq!(json("2AAC", "1a"), r#"{"opcode":26}"#);
        for broken in ["00", "1d", "0801", "07", "1c01"] {
            rejected("2AAC", broken);
        }
        assert_eq!(rejected("2AAC", "1c0202a701"), "WL-D004");
    }

    #[test]
    fn a_feature_without_checksum_has_the_default_one() {
        assert_eq!(rejected("2AA8", "6e8e01160000"), "WL-D004");
        assert_eq!(rejected("2AA8", "6e9e0116ffff"), "WL-D004");
    }
}
