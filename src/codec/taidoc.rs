//! TaiDoc and Fora devices over their own service: the answers to "when" (25) and "what" (26) of a stored measurement.
//!
//! `51 command d0 d1 d2 d3 A5 sum`. Sources: github.com/glucometers-tech/glucometerutils (td42xx: frame, time, glucose,
//! meal) and advmeds-service/advmeds-bluetooth-lib (blood pressure, temperature, the kind of what was measured). A "what"
//! carries no time: `profile/memory.rs` joins the two. Must never: take ketone, uric acid, haematocrit or a control
//! solution for glucose, or an error for a pressure.

use super::date_time::DateTime;
use super::draft::Shared;
use super::reader::read;
use super::record::{self, Field, Record};
use super::reject;
use crate::decimal::Decimal;
use crate::reading::{DeviceTime, Draft, Reject, Value};
use crate::vital::Role;

const START: u8 = 0x51;
/// Direction: from the device.
const ANSWER: u8 = 0xA5;
/// The time of the measurement that was asked for.
const WHEN: u8 = 0x25;
/// The measurement.
const WHAT: u8 = 0x26;
/// What a glucose meter measured: bits 5 to 2 of the last octet.
const KINDS: [&str; 13] =
    ["glucose", "", "", "", "", "", "haematocrit", "ketone", "uric_acid", "cholesterol", "", "haemoglobin", "lactate"];
/// When: bits 7 and 6. The fourth is the control solution in the maker's other protocols; it is none of the known three.
const MEALS: [&str; 3] = ["none", "before", "after"];
/// Smaller "pulses" are error codes.
const PULSE_MIN: u8 = 4;

type Octets = [u8; 4];

fn answer(bytes: &[u8], what: impl FnOnce(Octets, &mut Record) -> Result<(), Reject>) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        if r.u8("start")? != START {
            return Err(reject::illegal("start of a frame"));
        }
        let (command, octets) = (r.u8("command")?, r.array("data")?);
        if r.u8("direction")? != ANSWER {
            return Err(reject::illegal("direction"));
        }
        let covered = bytes.split_last().map_or(&[][..], |(_, covered)| covered);
        let sum = covered.iter().fold(0u8, |sum, octet| sum.wrapping_add(*octet));
        record.put("crc_ok", r.u8("checksum")? == sum);
        match command {
            WHEN => when(octets, record),
            WHAT => what(octets, record)?,
            _ => record.put("command", command),
        }
        Ok(())
    })
}

/// Day in 16 bits, minute, hour. The upper bits of the last two are flags of some models.
fn when([low, high, minute, hour]: Octets, record: &mut Record) {
    let day = u16::from_le_bytes([low, high]);
    let part = |bits: u16| i8::try_from(bits).unwrap_or_default();
    let year = i16::try_from(2000 + (day >> 9)).unwrap_or_default();
    let (minute, hour) = (part(u16::from(minute & 0x3F)), part(u16::from(hour & 0x1F)));
    let time = jiff::civil::DateTime::new(year, part(day >> 5 & 0x0F), part(day & 0x1F), hour, minute, 0, 0);
    record.put("taken", time.ok().and_then(DateTime::from_civil).map_or(Field::Null, Field::from));
}

/// The time in an answer to "when". `None`: it is another answer.
pub fn taken(record: &Record) -> Option<Option<DeviceTime>> {
    match record.get("taken")? {
        Field::Time(time) => Some(time.device_time()),
        _ => Some(None),
    }
}

/// Of a glucose meter.
pub(super) fn glucose(bytes: &[u8]) -> Result<Record, Reject> {
    answer(bytes, |[low, high, _, marks], record| {
        record.put("value", u16::from_le_bytes([low, high]));
        record.put("kind", record::name(marks >> 2 & 0x0F, &KINDS));
        record.put("meal", record::name(marks >> 6, &MEALS));
        record.put("marks", marks & 0x03);
        Ok(())
    })
}

/// One glucose in mg/dL: of that kind, of a patient, with nothing unknown about it.
pub(super) fn glucose_drafts(record: &Record) -> Vec<Draft> {
    let known = record.text("meal").is_some_and(|meal| MEALS.contains(&meal)) && record.whole("marks") == Some(0);
    let value = record.value("value").filter(|v| *v != Value::Number(Decimal::ZERO));
    if record.text("kind") != Some("glucose") || !known {
        return Vec::new();
    }
    Shared::default().one("glucose-capillary-whole-blood", value, "mg/dL").into_iter().collect()
}

/// Of a blood pressure monitor. What its second octet means differs between models: it is not read.
pub(super) fn pressure(bytes: &[u8]) -> Result<Record, Reject> {
    answer(bytes, |[systolic, _, diastolic, pulse], record| {
        record.put("failed", systolic == 0 || diastolic == 0 || pulse < PULSE_MIN);
        record.put("systolic", systolic);
        record.put("diastolic", diastolic);
        record.put("pulse_rate", pulse);
        Ok(())
    })
}

/// Pressures and pulse.
pub(super) fn pressure_drafts(record: &Record) -> Vec<Draft> {
    let (Some(systolic), Some(diastolic)) = (record.value("systolic"), record.value("diastolic")) else {
        return Vec::new();
    };
    if record.flag("failed") {
        return Vec::new();
    }
    let shared = Shared::default();
    let pressures = [(Role::Systolic, systolic), (Role::Diastolic, diastolic)];
    let pressure = shared.panel("blood-pressure", &pressures, "mm[Hg]");
    pressure.into_iter().chain(shared.one("pulse-rate", record.value("pulse_rate"), "/min")).collect()
}

/// Of a thermometer: hundredths, or tenths where the number is below a thousand.
pub(super) fn temperature(bytes: &[u8]) -> Result<Record, Reject> {
    answer(bytes, |[low, high, _, _], record| {
        let raw = u16::from_le_bytes([low, high]);
        record.put("temperature", Decimal::new(raw.into(), if raw < 1000 { -1 } else { -2 }));
        Ok(())
    })
}

/// One body temperature.
pub(super) fn temperature_drafts(record: &Record) -> Vec<Draft> {
    let value = record.value("temperature").filter(|v| *v != Value::Number(Decimal::ZERO));
    Shared::default().one("body-temperature", value, "Cel").into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;

    fn frame(command: u8, data: Octets) -> String {
        let mut octets = vec![START, command];
        octets.extend(data);
        octets.push(ANSWER);
        octets.push(octets.iter().fold(0u8, |sum, o| sum.wrapping_add(*o)));
        octets.iter().map(|o| format!("{o:02x}")).collect()
    }

    /// The day as the device packs it.
    fn day(year: u16, month: u16, day: u16) -> [u8; 2] {
        ((year - 2000) << 9 | month << 5 | day).to_le_bytes()
    }

    fn time(data: Octets) -> Option<Option<String>> {
        let bytes = crate::codec::vectors::octets(&frame(WHEN, data)).unwrap();
        let record = crate::codec::find("TAIDOC:TEMP").unwrap().decode(&bytes, crate::codec::Quirk::None).unwrap();
        taken(&record).map(|t| t.map(|t| format!("{t:?}")))
    }

    #[test]
    fn the_time_is_unpacked_and_an_impossible_one_is_none() {
        let [low, high] = day(2026, 11, 28);
        let civil = "Civil(2026-11-28T09:41:00)";
        assert_eq!(time([low, high, 41, 9]), Some(Some(civil.into())));
        assert_eq!(time([low, high, 0x80 | 41, 0xE0 | 9]), Some(Some(civil.into())), "flags of a model");
        assert_eq!(time([low, high, 61, 9]), Some(None));
        assert_eq!(time([0, 0, 0, 0]), Some(None), "no such month");
        assert!(drafted("TAIDOC:GLUCOSE", &frame(WHEN, [low, high, 41, 9])).is_empty());
    }

    #[test]
    fn only_glucose_of_a_patient_is_glucose() {
        let read = |data| lines(&drafted("TAIDOC:GLUCOSE", &frame(WHAT, data)));
        for marks in [0x00, 0x40, 0x80] {
            assert_eq!(read([120, 0, 25, marks]), ["glucose-capillary-whole-blood 120 mg/dL"]);
        }
        assert_eq!(read([0x2c, 1, 0, 0]), ["glucose-capillary-whole-blood 300 mg/dL"]);
        assert!(read([120, 0, 25, 0xC0]).is_empty(), "control solution");
        for kind in 1u8..16 {
            assert!(read([120, 0, 25, kind << 2]).is_empty(), "{kind}");
        }
        for unknown in 1u8..4 {
            assert!(read([120, 0, 25, unknown]).is_empty());
        }
        assert!(read([0, 0, 0, 0]).is_empty());
    }

    #[test]
    fn an_error_is_no_pressure() {
        let read = |data| lines(&drafted("TAIDOC:BP", &frame(WHAT, data)));
        let all = ["blood-pressure Systolic=128 Diastolic=79 mm[Hg]", "pulse-rate 66 /min"];
        assert_eq!(read([128, 95, 79, 66]), all);
        for failed in [[0, 0, 79, 66], [128, 0, 0, 66], [128, 0, 79, 0], [128, 0, 79, 3]] {
            assert!(read(failed).is_empty());
        }
    }

    #[test]
    fn temperatures_keep_their_decimals() {
        let read = |raw: u16| {
            let [low, high] = raw.to_le_bytes();
            lines(&drafted("TAIDOC:TEMP", &frame(WHAT, [low, high, 0, 0])))
        };
        assert_eq!(read(366), ["body-temperature 36.6 Cel"]);
        assert_eq!(read(3660), ["body-temperature 36.60 Cel"]);
        assert!(read(0).is_empty());
    }

    #[test]
    fn broken_and_foreign_frames_are_rejected_and_other_answers_are_no_readings() {
        assert_eq!(rejected("TAIDOC:BP", "512680005f4242a5d9"), "WL-D003");
        assert_eq!(rejected("TAIDOC:BP", "5226805f4f42a500"), "WL-D003");
        assert_eq!(rejected("TAIDOC:BP", "5126805f4f42a500"), "WL-D004");
        assert_eq!(rejected("TAIDOC:BP", "512600000000a31a"), "WL-D003");
        assert!(drafted("TAIDOC:BP", &frame(0x24, [0x28, 0x31, 0, 0])).is_empty(), "its model");
    }
}
