//! Pulse oximeter: 2A5E spot check, 2A5F continuous, 2A60 features (dossier §2.4).
//!
//! Doubts about signal and sensor become labels. When the device says that its clock is not set, its time is no time.
//! Must never: pass a demonstration, a test or an invalid value as a plain vital.

use super::date_time;
use super::draft::{self, Shared};
use super::ieee11073::{Real, encode_sfloat};
use super::reader::read;
use super::record::{self, Record};
use super::{Reader, reject};
use crate::reading::{Absence, Draft, Quality, Reject, Value};
use crate::vital::status;

const MEASUREMENT_STATUS: [(u8, &str); 11] = [
    (5, "measurement_ongoing"),
    (6, "early_estimate"),
    (7, "validated"),
    (8, "fully_qualified"),
    (9, "from_storage"),
    (10, "demo"),
    (11, "testing"),
    (12, "calibration_ongoing"),
    (13, "unavailable"),
    (14, "questionable"),
    (15, "invalid"),
];
const SENSOR_STATUS: [(u8, &str); 16] = [
    (0, "extended_display_update"),
    (1, "equipment_malfunction"),
    (2, "signal_processing_irregularity"),
    (3, "inadequate_signal"),
    (4, "poor_signal"),
    (5, "low_perfusion"),
    (6, "erratic_signal"),
    (7, "nonpulsatile_signal"),
    (8, "questionable_pulse"),
    (9, "signal_analysis_ongoing"),
    (10, "sensor_interference"),
    (11, "sensor_unconnected_to_user"),
    (12, "unknown_sensor"),
    (13, "sensor_displaced"),
    (14, "sensor_malfunctioning"),
    (15, "sensor_disconnected"),
];
const FEATURES: [(u8, &str); 8] = [
    (0, "measurement_status_support"),
    (1, "device_sensor_status_support"),
    (2, "storage"),
    (3, "timestamp"),
    (4, "spo2pr_fast"),
    (5, "spo2pr_slow"),
    (6, "pulse_amplitude_index"),
    (7, "multiple_bond"),
];
/// Any of these makes a value questionable.
const DOUBTS: [&str; 13] = [
    "equipment_malfunction",
    "signal_processing_irregularity",
    "inadequate_signal",
    "poor_signal",
    "low_perfusion",
    "erratic_signal",
    "nonpulsatile_signal",
    "questionable_pulse",
    "sensor_interference",
    "sensor_unconnected_to_user",
    "sensor_displaced",
    "sensor_malfunctioning",
    "sensor_disconnected",
];

/// 2A5E.
pub(super) fn spot_check(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        pair(r, record, "spo2", "pulse_rate")?;
        if flags & 1 != 0 {
            record.put("timestamp", date_time::optional(r, "timestamp")?);
        }
        statuses(r, record, flags >> 1)?;
        record.put("clock_not_set", flags & 0x10 != 0);
        record.reserved(flags & 0xE0 != 0);
        Ok(())
    })
}

/// 2A5F.
pub(super) fn continuous(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        pair(r, record, "spo2", "pulse_rate")?;
        if flags & 1 != 0 {
            pair(r, record, "spo2_fast", "pulse_rate_fast")?;
        }
        if flags & 2 != 0 {
            pair(r, record, "spo2_slow", "pulse_rate_slow")?;
        }
        statuses(r, record, flags >> 2)?;
        record.reserved(flags & 0xE0 != 0);
        Ok(())
    })
}

/// 2A60.
pub(super) fn features(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let raw = r.u16("features")?;
        record.put("features", record::bits(raw.into(), &FEATURES));
        if raw & 1 != 0 {
            record.put(
                "measurement_status_support",
                record::bits(r.u16("measurement status")?.into(), &MEASUREMENT_STATUS),
            );
        }
        if raw & 2 != 0 {
            record.put("device_sensor_status_support", record::bits(r.u24("sensor status")?, &SENSOR_STATUS));
        }
        record.reserved(record::unnamed(raw.into(), &FEATURES));
        Ok(())
    })
}

fn pair(r: &mut Reader<'_>, record: &mut Record, spo2: &'static str, rate: &'static str) -> Result<(), Reject> {
    record.put(spo2, r.sfloat("SpO2")?);
    record.put(rate, r.sfloat("pulse rate")?);
    Ok(())
}

/// Measurement status, device and sensor status, pulse amplitude index: three flags in a row.
fn statuses(r: &mut Reader<'_>, record: &mut Record, flags: u8) -> Result<(), Reject> {
    let mut status = |name, raw, names: &[(u8, &'static str)]| {
        record.put(name, record::bits(raw, names));
        record.reserved(record::unnamed(raw, names));
    };
    if flags & 1 != 0 {
        status("measurement_status", r.u16("measurement status")?.into(), &MEASUREMENT_STATUS);
    }
    if flags & 2 != 0 {
        status("device_sensor_status", r.u24("sensor status")?, &SENSOR_STATUS);
    }
    if flags & 4 != 0 {
        record.put("pulse_amplitude_index", r.sfloat("pulse amplitude index")?);
    }
    Ok(())
}

/// SpO2, pulse rate, and the perfusion index where there is one. Fast and slow averages are not forwarded.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let mut shared = Shared::of(record);
    if record.flag("clock_not_set") {
        shared.time(Some(Err(())));
    }
    let says = |names: &[&str]| record.says("measurement_status", names);
    shared.stored = says(&["from_storage"]);
    shared.label(Quality::Early, says(&["early_estimate"]));
    shared.label(Quality::Test, says(&["demo", "testing"]));
    shared.label(Quality::Calibrating, says(&["calibration_ongoing"]));
    shared.label(Quality::Invalid, says(&["invalid"]));
    let doubtful = says(&["questionable"]) || record.says("device_sensor_status", &DOUBTS);
    shared.label(Quality::Questionable, doubtful);
    let unavailable = says(&["unavailable"]);
    let available = |value: Option<Value>| {
        value.map(|v| match v {
            Value::Number(_) if unavailable => Value::Absent(Absence::NotPerformed),
            other => other,
        })
    };
    let mut drafts = shared.each([
        ("spo2", available(record.value("spo2")), "%"),
        ("oximeter-pulse-rate", available(draft::rate(record, "pulse_rate")), "/min"),
        ("perfusion-index", available(record.value("pulse_amplitude_index")), "%"),
    ]);
    draft::statuses(status::OXIMETER, record.list("device_sensor_status"), &mut drafts);
    drafts
}

/// What a 2A5E says.
#[derive(Clone)]
pub struct SpotCheck {
    /// Oxygen saturation, %.
    pub spo2: Real,
    /// Beats per minute.
    pub pulse: Real,
    /// The oximeter's clock.
    pub time: Option<jiff::civil::DateTime>,
    /// Measurement status bits.
    pub status: Option<u16>,
    /// Device and sensor status bits (24).
    pub sensor: Option<u32>,
    /// Pulse amplitude index, %.
    pub amplitude: Option<Real>,
    /// The clock was never set.
    pub clock_not_set: bool,
}

/// The octets of a 2A5E. Rejected: a number that an SFLOAT does not hold.
pub fn encode(m: &SpotCheck) -> Result<Vec<u8>, Reject> {
    let sfloat = |field, value| encode_sfloat(value).ok_or_else(|| reject::illegal(field));
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let present = bit(m.time.is_some(), 1) | bit(m.status.is_some(), 2) | bit(m.sensor.is_some(), 4);
    let mut bytes = vec![present | bit(m.amplitude.is_some(), 8) | bit(m.clock_not_set, 0x10)];
    bytes.extend(sfloat("SpO2", m.spo2)?);
    bytes.extend(sfloat("pulse rate", m.pulse)?);
    bytes.extend(m.time.into_iter().flat_map(date_time::encode));
    bytes.extend(m.status.into_iter().flat_map(u16::to_le_bytes));
    bytes.extend(m.sensor.into_iter().flat_map(|s| s.to_le_bytes().into_iter().take(3)));
    if let Some(amplitude) = m.amplitude {
        bytes.extend(sfloat("pulse amplitude index", amplitude)?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;

    #[test]
    fn three_readings_and_no_time_of_a_clock_that_was_never_set() {
        let all = drafted("2A5E", "1f5df35800e9070101000000800120000019f0");
        assert_eq!(lines(&all), ["spo2 86.1 %", "oximeter-pulse-rate 88 /min", "perfusion-index 2.5 %"]);
        for d in &all {
            assert_eq!((d.device_time, doubts(d)), (None, vec![Quality::TimeDoubtful, Quality::Questionable]));
        }
        assert!(drafted("2A5E", "0161004800e9070101000000")[0].device_time.is_some());
    }

    #[test]
    fn each_measurement_status_has_its_label() {
        let with = |bit: u16| drafted("2A5F", &format!("0461004800{:04x}", (1u16 << bit).swap_bytes()))[0].clone();
        for (bit, label) in [
            (6, Quality::Early),
            (10, Quality::Test),
            (11, Quality::Test),
            (12, Quality::Calibrating),
            (14, Quality::Questionable),
            (15, Quality::Invalid),
            (0, Quality::Quirk),
        ] {
            assert_eq!(with(bit).quality, [label], "bit {bit}");
        }
        for bit in [5, 7, 8] {
            assert!(with(bit).quality.is_empty(), "bit {bit}");
        }
        assert!(with(9).stored && !with(7).stored);
        assert_eq!(line(&with(13)), "spo2 NotPerformed %");
    }

    #[test]
    fn a_poor_signal_is_questionable_and_an_update_of_the_display_is_not() {
        for bit in 0..16u32 {
            let [a, b, c, _] = (1u32 << bit).to_le_bytes();
            let drafts = drafted("2A5F", &format!("0861004800{a:02x}{b:02x}{c:02x}"));
            let doubted = doubts(&drafts[0]) == [Quality::Questionable];
            assert_eq!(doubted, ![0, 9, 12].contains(&bit), "bit {bit}");
            // The nomenclature counts from the other end.
            let code = drafts[0].quality.iter().find_map(|q| q.status()).unwrap().code;
            assert_eq!((code, said(&drafts[1]).len()), (format!("150604.{}", 15 - bit).as_str(), 0));
        }
    }

    #[test]
    fn specials_are_absent_values() {
        assert_eq!(lines(&drafted("2A5E", "00ff070008")), ["spo2 NotANumber %", "oximeter-pulse-rate Error /min"]);
    }

    #[test]
    fn pulse_zero_is_no_pulse() {
        assert_eq!(lines(&drafted("2A5F", "0061000000"))[1], "oximeter-pulse-rate Unknown /min");
    }

    #[test]
    fn fast_and_slow_averages_are_not_forwarded() {
        assert_eq!(drafted("2A5F", "03610048006000490062004700").len(), 2);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let m = SpotCheck {
            spo2: Real::Number("86.1".parse().unwrap()),
            pulse: 88.into(),
            time: Some(jiff::civil::date(2025, 1, 1).at(0, 0, 0, 0)),
            status: Some(0x180),
            sensor: Some(0x20),
            amplitude: Some(Real::Number("2.5".parse().unwrap())),
            clock_not_set: true,
        };
        assert_eq!(encode(&m).unwrap(), octets("1f5df35800e9070101000000800120000019f0").unwrap());
    }
}
