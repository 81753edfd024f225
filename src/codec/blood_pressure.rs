//! Blood pressure: 2A35 measurement, 2A36 intermediate cuff pressure, 2A49 feature (dossier §2.3).
//!
//! A mean of NaN or literal 0 was not measured and is left out; the pulse is a reading of its own.
//! Must never: make a reading of a cuff that is still inflating (2A36).

use std::borrow::Cow;

use super::date_time;
use super::draft::{self, Shared};
use super::ieee11073::{Real, encode_sfloat, sfloat};
use super::reader::read;
use super::record::{self, Field, Record};
use super::{Quirk, Reader, reject};
use crate::decimal::Decimal;
use crate::reading::{Absence, Draft, Quality, Reject, Value};
use crate::vital::{Role, status};

const STATUS: [(u8, &str); 4] =
    [(0, "body_movement"), (1, "cuff_too_loose"), (2, "irregular_pulse"), (5, "improper_position")];
/// Bits 3 and 4 are a code.
const RANGE: [&str; 3] = ["in_range", "exceeds_upper", "below_lower"];
const FEATURES: [(u8, &str); 9] = [
    (0, "body_movement"),
    (1, "cuff_fit"),
    (2, "irregular_pulse"),
    (3, "pulse_rate_range"),
    (4, "position"),
    (5, "multiple_bond"),
    (6, "e2e_crc"),
    (7, "user_data_service"),
    (8, "user_facing_time"),
];

/// 2A35.
pub(super) fn measurement(bytes: &[u8], quirk: Quirk) -> Result<Record, Reject> {
    match quirk {
        Quirk::None => read(bytes, |r, record| fields(r, record, pressures)),
        Quirk::BeurerBm85 => bm85(bytes),
    }
}

/// 2A36: the cuff pressure is the first of the three; the others mean nothing.
pub(super) fn intermediate(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        fields(r, record, |r, record| {
            record.put("cuff_pressure", r.sfloat("cuff pressure")?);
            r.array::<4>("unused").map(drop)
        })
    })
}

/// 2A49.
pub(super) fn feature(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let raw = r.u16("features")?.into();
        record.put("features", record::bits(raw, &FEATURES));
        record.reserved(record::unnamed(raw, &FEATURES));
        Ok(())
    })
}

type Fields = fn(&mut Reader<'_>, &mut Record) -> Result<(), Reject>;

fn fields(r: &mut Reader<'_>, record: &mut Record, pressures: Fields) -> Result<(), Reject> {
    let flags = r.u8("flags")?;
    unit(record, flags);
    pressures(r, record)?;
    if flags & 0x02 != 0 {
        record.put("timestamp", date_time::optional(r, "timestamp")?);
    }
    pulse_user_status(r, record, flags)?;
    record.reserved(flags & 0xE0 != 0);
    Ok(())
}

pub(super) fn unit(record: &mut Record, flags: u8) {
    record.put("unit", if flags & 1 != 0 { "kPa" } else { "mmHg" });
}

pub(super) fn pressures(r: &mut Reader<'_>, record: &mut Record) -> Result<(), Reject> {
    record.put("systolic", r.sfloat("systolic")?);
    record.put("diastolic", r.sfloat("diastolic")?);
    record.put("map", r.sfloat("mean arterial pressure")?);
    Ok(())
}

/// The fields of flags 2, 3 and 4, which the enhanced measurement shares.
pub(super) fn pulse_user_status(r: &mut Reader<'_>, record: &mut Record, flags: u8) -> Result<(), Reject> {
    if flags & 0x04 != 0 {
        record.put("pulse_rate", r.sfloat("pulse rate")?);
    }
    if flags & 0x08 != 0 {
        record.put("user_id", r.u8("user id")?);
    }
    if flags & 0x10 != 0 {
        let raw = r.u16("status")?;
        let mut status = Record::default();
        status.put("bits", record::bits(raw.into(), &STATUS));
        let [low, _] = raw.to_le_bytes();
        status.put("pulse_rate_range", record::name(low >> 3 & 3, &RANGE));
        status.put("raw", raw);
        record.put("status", status);
        record.reserved(raw & 0xFFC0 != 0);
    }
    Ok(())
}

/// Beurer BM85: flags always 0x56, then user id without its flag; pulse and status big-endian; mean 0.
fn bm85(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        if flags & 0xFE != 0x56 {
            return Err(reject::illegal("flags"));
        }
        unit(record, flags);
        pressures(r, record)?;
        record.put("timestamp", date_time::optional(r, "timestamp")?);
        record.put("pulse_rate", sfloat(u16::from_be_bytes(r.array("pulse rate")?)));
        record.put("user_id", r.u8("user id")?);
        let status = u16::from_be_bytes(r.array("status")?);
        record.put("status_be_raw", status);
        record.put("irregular_pulse", status & 0x04 != 0);
        record.put(record::QUIRK, "beurer-bm85");
        Ok(())
    })
}

/// One blood pressure, and one pulse rate where there is one.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    drafts_of(record, Shared::of(record))
}

pub(super) fn drafts_of(record: &Record, mut shared: Shared) -> Vec<Draft> {
    let doubt = ["body_movement", "cuff_too_loose", "improper_position"];
    let doubtful = record.record("status").is_some_and(|s| s.says("bits", &doubt));
    shared.label(Quality::Questionable, doubtful);
    let mean = record.value("map").filter(|mean| match mean {
        Value::Number(n) => *n != Decimal::ZERO,
        Value::Absent(why) => *why != Absence::NotANumber,
    });
    let parts =
        [(Role::Systolic, record.value("systolic")), (Role::Diastolic, record.value("diastolic")), (Role::Mean, mean)];
    let parts: Vec<_> = parts.into_iter().filter_map(|(role, value)| Some((role, value?))).collect();
    let unit = if record.text("unit") == Some("kPa") { "kPa" } else { "mm[Hg]" };
    let pressure = shared.panel("blood-pressure", &parts, unit);
    let pulse = shared.one("pulse-rate", draft::rate(record, "pulse_rate"), "/min");
    let mut drafts: Vec<Draft> = pressure.into_iter().chain(pulse).collect();
    let said = record.record("status");
    let range = said.and_then(|s| s.get("pulse_rate_range"));
    // The Beurer BM85 has its status elsewhere.
    let irregular = record.flag("irregular_pulse").then_some(const { &Field::Text(Cow::Borrowed("irregular_pulse")) });
    let set = said.map_or(&[][..], |s| s.list("bits")).iter().chain(range).chain(irregular);
    draft::statuses(status::BLOOD_PRESSURE, set, &mut drafts);
    drafts
}

/// What a 2A35 says.
#[derive(Clone)]
pub struct Measurement {
    /// In kPa rather than mmHg.
    pub kpa: bool,
    /// Systolic pressure.
    pub systolic: Real,
    /// Diastolic pressure.
    pub diastolic: Real,
    /// Mean arterial pressure; NaN where the cuff has none.
    pub mean: Real,
    /// The cuff's clock.
    pub time: Option<jiff::civil::DateTime>,
    /// Beats per minute.
    pub pulse: Option<Real>,
    /// Slot of the user.
    pub user: Option<u8>,
    /// Status bits.
    pub status: Option<u16>,
}

/// The octets of a 2A35. Rejected: a number that an SFLOAT does not hold.
pub fn encode(m: &Measurement) -> Result<Vec<u8>, Reject> {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let present = bit(m.time.is_some(), 2) | bit(m.pulse.is_some(), 4);
    let mut bytes = vec![bit(m.kpa, 1) | present | bit(m.user.is_some(), 8) | bit(m.status.is_some(), 0x10)];
    for (field, value) in [("systolic", m.systolic), ("diastolic", m.diastolic), ("mean", m.mean)] {
        bytes.extend(encode_sfloat(value).ok_or_else(|| reject::illegal(field))?);
    }
    bytes.extend(m.time.into_iter().flat_map(date_time::encode));
    if let Some(pulse) = m.pulse {
        bytes.extend(encode_sfloat(pulse).ok_or_else(|| reject::illegal("pulse rate"))?);
    }
    bytes.extend(m.user);
    bytes.extend(m.status.into_iter().flat_map(u16::to_le_bytes));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::record::Special;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;

    const BM85: &str = "56770046000000ea07080b1439000057010040";
    const BM85_IRREGULAR: &str = "56770046000000ea07080b1439000057010044";

    #[test]
    fn pressure_and_pulse_are_two_readings_of_one_moment() {
        let both = drafted("2A35", "1e7c0056006100e807060f11111b3300012600");
        assert_eq!(lines(&both), ["blood-pressure Systolic=124 Diastolic=86 Mean=97 mm[Hg]", "pulse-rate 51 /min"]);
        for d in &both {
            assert_eq!((d.slot, d.device_time.is_some(), doubts(d)), (Some(1), true, vec![Quality::Questionable]));
        }
        // Said once, of the measurement.
        assert_eq!(said(&both[0]), ["cuff-too-loose", "irregular-pulse", "improper-position"]);
        assert!(said(&both[1]).is_empty());
    }

    #[test]
    fn each_status_bit_is_said_and_an_irregular_pulse_is_no_doubt_about_the_value() {
        let of = |status: &str| drafted("2A35", &format!("107c0056006100{status}")).remove(0);
        let irregular = of("0400");
        assert_eq!((said(&irregular), irregular.quality.len()), (vec!["irregular-pulse"], 1));
        for (status, word) in [("0800", "pulse-above-range"), ("1000", "pulse-below-range"), ("0100", "body-movement")]
        {
            assert_eq!(said(&of(status)), [word], "{status}");
        }
        assert!(of("0000").quality.is_empty());
        let bm85 = drafted_of("2A35", &octets(BM85_IRREGULAR).unwrap(), Quirk::BeurerBm85);
        assert_eq!(said(&bm85[0]), ["irregular-pulse"]);
    }

    #[test]
    fn kilopascals_stay_kilopascals() {
        assert_eq!(
            lines(&drafted("2A35", "01bdf00b009ff0")),
            ["blood-pressure Systolic=18.9 Diastolic=11 Mean=15.9 kPa"]
        );
    }

    #[test]
    fn a_mean_that_was_not_measured_is_left_out_and_other_specials_are_not() {
        for mean in ["ff07", "0000"] {
            let hex = format!("007c005600{mean}");
            assert_eq!(lines(&drafted("2A35", &hex)), ["blood-pressure Systolic=124 Diastolic=86 mm[Hg]"]);
        }
        let special = drafted("2A35", "00ff07ff070008");
        assert_eq!(lines(&special), ["blood-pressure Systolic=NotANumber Diastolic=NotANumber Mean=Error mm[Hg]"]);
    }

    #[test]
    fn pulse_zero_is_no_pulse() {
        assert_eq!(lines(&drafted("2A35", "047c00560061000000"))[1], "pulse-rate Unknown /min");
    }

    #[test]
    fn a_timestamp_that_says_nothing_is_a_doubt_about_time_only() {
        for clock in ["ffffffffffffff", "00000000000000", "e807021e000000"] {
            let draft = &drafted("2A35", &format!("027c0056006100{clock}"))[0];
            assert_eq!((draft.device_time, &draft.quality[..]), (None, &[Quality::TimeDoubtful][..]), "{clock}");
        }
        assert!(json("2A35", "027c0056006100ffffffffffffff").contains("\"timestamp\":null"));
    }

    #[test]
    fn unknown_user_has_no_slot() {
        assert_eq!(drafted("2A35", "087c0056006100ff")[0].slot, None);
    }

    #[test]
    fn a_cuff_that_inflates_is_no_reading() {
        assert!(drafted("2A36", "007c0000000000").is_empty());
    }

    #[test]
    fn the_bm85_is_read_only_under_its_quirk() {
        let bytes = octets(BM85).unwrap();
        let tolerated = drafted_of("2A35", &bytes, Quirk::BeurerBm85);
        assert_eq!(lines(&tolerated), ["blood-pressure Systolic=119 Diastolic=70 mm[Hg]", "pulse-rate 87 /min"]);
        assert_eq!((tolerated[0].slot, &tolerated[0].quality[..]), (Some(1), &[Quality::Quirk][..]));
        assert_eq!(rejected("2A35", BM85), "WL-D002");
        let plain = octets("007c0056006100").unwrap();
        assert!(measurement(&plain, Quirk::BeurerBm85).is_err());
    }

    #[test]
    fn reserved_bits_are_tolerated_while_lengths_add_up() {
        assert_eq!(drafted("2A35", "407c0056006100")[0].quality, [Quality::Quirk]);
        assert_eq!(rejected("2A35", "407c005600610001"), "WL-D002");
        assert_eq!(drafted("2A35", "107c00560061000080")[0].quality, [Quality::Quirk]);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let m = Measurement {
            kpa: false,
            systolic: 124.into(),
            diastolic: 86.into(),
            mean: 97.into(),
            time: Some(jiff::civil::date(2024, 6, 15).at(17, 17, 27, 0)),
            pulse: Some(51.into()),
            user: None,
            status: Some(39),
        };
        assert_eq!(encode(&m).unwrap(), octets("167c0056006100e807060f11111b33002700").unwrap());
        let without =
            Measurement { mean: Real::Special(Special::NaN), time: None, pulse: None, status: None, ..m.clone() };
        assert_eq!(encode(&without).unwrap(), octets("007c005600ff07").unwrap());
        assert_eq!(encode(&Measurement { systolic: 2047.into(), ..m }).unwrap_err().code, "WL-D003");
    }
}
