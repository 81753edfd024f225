//! Blood glucose: 2A18 measurement, 2A34 context, 2A51 feature (dossier §2.5).
//!
//! Concentrations are kg/L or mol/L on the wire and become mg/dL or mmol/L by moving the decimal point, never by a factor.
//! Records come from the meter's memory. Must never: pass a control solution, or "too high" without saying so.

use super::date_time;
use super::draft::{self, Shared};
use super::ieee11073::{Real, encode_sfloat};
use super::reader::{Reader, read};
use super::record::{self, Field, Record};
use super::reject;
use crate::decimal::Decimal;
use crate::reading::{Absence, DeviceTime, Draft, Part, Quality, Reject, Value};
use crate::unit::Unit;
use crate::vital::{Role, Site, Status, status};

/// Sample types with the vital each stands for.
pub(super) const TYPES: [(&str, &str); 11] = [
    ("", ""),
    ("capillary_whole_blood", "glucose-capillary-whole-blood"),
    ("capillary_plasma", "glucose-capillary-plasma"),
    ("venous_whole_blood", "glucose-venous-whole-blood"),
    ("venous_plasma", "glucose-venous-plasma"),
    ("arterial_whole_blood", "glucose-arterial-whole-blood"),
    ("arterial_plasma", "glucose-arterial-plasma"),
    ("undetermined_whole_blood", "glucose-whole-blood"),
    ("undetermined_plasma", "glucose-plasma"),
    ("interstitial_fluid", "glucose-interstitial"),
    ("control_solution", ""),
];
/// 5 is for CGM sensors.
pub(super) const LOCATIONS: [&str; 16] = [
    "",
    "finger",
    "alternate_site_test",
    "earlobe",
    "control_solution",
    "subcutaneous_tissue",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "not_available",
];
const STATUS: [(u8, &str); 12] = [
    (0, "device_battery_low"),
    (1, "sensor_malfunction"),
    (2, "sample_size_insufficient"),
    (3, "strip_insertion_error"),
    (4, "strip_type_incorrect"),
    (5, "result_too_high"),
    (6, "result_too_low"),
    (7, "temperature_too_high"),
    (8, "temperature_too_low"),
    (9, "read_interrupted"),
    (10, "general_fault"),
    (11, "time_fault"),
];
/// Any of these makes a value questionable.
const DOUBTS: [&str; 8] = [
    "sensor_malfunction",
    "sample_size_insufficient",
    "strip_insertion_error",
    "strip_type_incorrect",
    "temperature_too_high",
    "temperature_too_low",
    "read_interrupted",
    "general_fault",
];
const FEATURES: [(u8, &str); 12] = [
    (0, "low_battery"),
    (1, "sensor_malfunction"),
    (2, "sample_size"),
    (3, "strip_insertion"),
    (4, "strip_type"),
    (5, "result_high_low"),
    (6, "temperature_high_low"),
    (7, "read_interrupt"),
    (8, "general_fault"),
    (9, "time_fault"),
    (10, "multiple_bond"),
    (11, "user_facing_time"),
];
const CARBOHYDRATES: [&str; 8] = ["", "breakfast", "lunch", "dinner", "snack", "drink", "supper", "brunch"];
const MEALS: [&str; 6] = ["", "preprandial", "postprandial", "fasting", "casual", "bedtime"];
const TESTERS: [&str; 16] =
    ["", "self", "health_care_professional", "lab_test", "", "", "", "", "", "", "", "", "", "", "", "not_available"];
const HEALTH: [&str; 16] = [
    "",
    "minor_issues",
    "major_issues",
    "during_menses",
    "under_stress",
    "no_issues",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "not_available",
];
const MEDICATIONS: [&str; 6] = [
    "",
    "rapid_acting_insulin",
    "short_acting_insulin",
    "intermediate_acting_insulin",
    "long_acting_insulin",
    "premixed_insulin",
];

/// 2A18.
pub(super) fn measurement(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        record.put("sequence", r.u16("sequence number")?);
        record.put("base_time", date_time::required(r, "base time")?);
        if flags & 1 != 0 {
            record.put("time_offset_min", r.i16("time offset")?);
        }
        let moles = flags & 4 != 0;
        record.put("concentration_unit", if moles { "mol/L" } else { "kg/L" });
        if flags & 2 != 0 {
            let raw = r.sfloat("concentration")?;
            record.put("concentration_raw", raw);
            let (name, power) = if moles { ("mmol_l", 3) } else { ("mg_dl", 5) };
            record.put(name, scaled(raw, power));
            sample(record, r.u8("type and location")?);
        }
        if flags & 8 != 0 {
            let raw = r.u16("status")?.into();
            record.put("status", record::bits(raw, &STATUS));
            record.reserved(record::unnamed(raw, &STATUS));
        }
        record.put("context_follows", flags & 0x10 != 0);
        record.reserved(flags & 0xE0 != 0);
        // Its context may stand behind it: the Bluetooth source puts the two together.
        if flags & 0x10 != 0 && sequence(r.peek()).is_some() && sequence(r.peek()) == sequence(bytes) {
            let flags = r.u8("flags of the context")?;
            r.u16("sequence number of the context")?;
            typed(flags, r, record)?;
            record.put("context", true);
        }
        Ok(())
    })
}

/// The record number of a 2A18 or of a 2A34: after the flags.
pub fn sequence(bytes: &[u8]) -> Option<u16> {
    bytes.get(1..3).and_then(|octets| octets.try_into().ok()).map(u16::from_le_bytes)
}

/// Whether a 2A18 says that its context comes next.
pub fn announces_context(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|flags| flags & 0x10 != 0)
}

fn scaled(raw: Real, power: i16) -> Real {
    match raw {
        Real::Number(n) => Real::Number(n.scale10(power)),
        special => special,
    }
}

/// Type in the low nibble, location in the high one.
pub(super) fn sample(record: &mut Record, octet: u8) {
    record.put("type", record::name(octet & 0x0F, &TYPES.map(|(name, _)| name)));
    record.put("location", record::name(octet >> 4, &LOCATIONS));
}

/// Whether a 2A34 can be read whole.
pub fn is_context(bytes: &[u8]) -> bool {
    context(bytes).is_ok()
}

/// 2A34. Pairs with the measurement of the same sequence number; behind it, in one value, it is read with it.
pub(super) fn context(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        record.put("sequence", r.u16("sequence number")?);
        typed(flags, r, record)
    })
}

/// The fields of a context.
fn typed(flags: u8, r: &mut Reader<'_>, record: &mut Record) -> Result<(), Reject> {
    if flags & 0x80 != 0 {
        let extended = r.u8("extended flags")?;
        record.reserved(extended != 0);
    }
    if flags & 0x01 != 0 {
        record.put("carbohydrate", record::name(r.u8("carbohydrate id")?, &CARBOHYDRATES));
        record.put("carbohydrate_kg", r.sfloat("carbohydrate")?);
    }
    if flags & 0x02 != 0 {
        record.put("meal", record::name(r.u8("meal")?, &MEALS));
    }
    if flags & 0x04 != 0 {
        let octet = r.u8("tester and health")?;
        record.put("tester", record::name(octet & 0x0F, &TESTERS));
        record.put("health", record::name(octet >> 4, &HEALTH));
    }
    if flags & 0x08 != 0 {
        record.put("exercise_duration_s", r.u16("exercise duration")?);
        record.put("exercise_intensity_pct", r.u8("exercise intensity")?);
    }
    if flags & 0x10 != 0 {
        record.put("medication", record::name(r.u8("medication id")?, &MEDICATIONS));
        record.put(if flags & 0x20 != 0 { "medication_l" } else { "medication_kg" }, r.sfloat("medication")?);
    }
    if flags & 0x40 != 0 {
        record.put("hba1c_pct", r.sfloat("HbA1c")?);
    }
    Ok(())
}

/// 2A51.
pub(super) fn feature(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let raw = r.u16("features")?.into();
        record.put("features", record::bits(raw, &FEATURES));
        record.reserved(record::unnamed(raw, &FEATURES));
        Ok(())
    })
}

/// One glucose, from the meter's memory.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let mut shared = Shared { sequence: record.whole("sequence"), stored: true, ..Shared::default() };
    shared.time(Some(taken(record).ok_or(())));
    let says = |names: &[&str]| record.says("status", names);
    shared.label(Quality::TimeDoubtful, says(&["time_fault"]));
    shared.label(Quality::Questionable, says(&DOUBTS));
    let kind = record.text("type").unwrap_or_default();
    let control = kind == "control_solution" || record.text("location") == Some("control_solution");
    shared.label(Quality::Test, control);
    let known = TYPES.iter().find(|(name, _)| *name == kind).map(|(_, vital)| *vital).filter(|v| !v.is_empty());
    // A meter that names no known sample measures blood; that this is not certain is said.
    shared.label(Quality::Questionable, known.is_none() && !control);
    let (name, unit) =
        if record.text("concentration_unit") == Some("mol/L") { ("mmol_l", "mmol/L") } else { ("mg_dl", "mg/dL") };
    shared.site = record.text("location").and_then(site);
    let value = record.value(name).unwrap_or(Value::Absent(Absence::Unknown));
    range(&mut shared, value, says(&["result_too_high"]), says(&["result_too_low"]));
    let mut drafts: Vec<Draft> =
        shared.one(known.unwrap_or("glucose-whole-blood"), Some(value), unit).into_iter().collect();
    draft::statuses(status::GLUCOSE_METER, record.list("status"), &mut drafts);
    if let Some(draft) = drafts.first_mut() {
        in_context(record, draft);
    }
    drafts
}

/// What the person typed in beside the measurement. An HbA1c is no part of it: it was measured elsewhere, some day.
fn in_context(record: &Record, draft: &mut Draft) {
    let fields = [
        ("carbohydrate", status::CARBOHYDRATE),
        ("meal", status::MEAL),
        ("tester", status::TESTER),
        ("health", status::HEALTH),
        ("medication", status::MEDICATION),
    ];
    let said = fields.into_iter().filter_map(|(field, of)| Status::named(of, record.text(field)?));
    draft.quality.extend(said.map(Quality::Status));
    let numbers = [
        (Role::Carbohydrate, "carbohydrate_kg", 3, "g"),
        (Role::Medication, "medication_kg", 6, "mg"),
        (Role::Medication, "medication_l", 3, "mL"),
        (Role::Exercise, "exercise_intensity_pct", 0, "%"),
        (Role::Exercised, "exercise_duration_s", 0, "s"),
    ];
    for (role, field, power, unit) in numbers {
        // Less than nothing is no amount, 65535 s is "overrun", and more than a hundred percent no intensity.
        let most = match role {
            Role::Exercise => 100,
            Role::Exercised => 65_534,
            _ => i64::MAX,
        };
        if let (Some(Value::Number(n)), Some(unit)) = (record.value(field), Unit::parse(unit))
            && (Decimal::ZERO..=Decimal::from(most)).contains(&n)
        {
            draft.parts.push(Part { role, value: Value::Number(n.scale10(power)), unit });
        }
    }
}

/// Where the sample was taken, where that is a place: "alternate site" says only where it was not.
fn site(location: &str) -> Option<Site> {
    match location {
        "finger" => Site::parse("finger"),
        "earlobe" => Site::parse("ear-lobe"),
        _ => None,
    }
}

/// Beyond what the meter can measure: said by a status bit, or by an infinity in place of the number.
pub(super) fn range(shared: &mut Shared, value: Value, high: bool, low: bool) {
    shared.label(Quality::AboveRange, high || value == Value::Absent(Absence::PositiveInfinity));
    shared.label(Quality::BelowRange, low || value == Value::Absent(Absence::NegativeInfinity));
}

/// Base time and offset: a change of the meter's clock changes the offset.
fn taken(record: &Record) -> Option<DeviceTime> {
    let Some(Field::Time(base)) = record.get("base_time") else { return None };
    let minutes = match record.get("time_offset_min") {
        Some(Field::Number(n)) => n.mantissa(),
        _ => 0,
    };
    let time = base.civil()?.checked_add(jiff::SignedDuration::from_mins(minutes)).ok()?;
    Some(DeviceTime::Civil(time))
}

/// What a 2A18 says.
#[derive(Clone)]
pub struct Measurement {
    /// The meter's record number.
    pub sequence: u16,
    /// The meter's clock.
    pub time: jiff::civil::DateTime,
    /// Minutes by which that clock was set since.
    pub offset_min: Option<i16>,
    /// In mmol/L rather than mg/dL.
    pub mmol_l: bool,
    /// The result in that unit.
    pub result: Option<Real>,
    /// Sample: 1 capillary whole blood … 10 control solution.
    pub sample: u8,
    /// Location: 1 finger … 15 not available.
    pub location: u8,
    /// Status bits.
    pub status: Option<u16>,
}

/// The octets of a 2A18. Rejected: a number that an SFLOAT does not hold.
pub fn encode(m: &Measurement) -> Result<Vec<u8>, Reject> {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let present = bit(m.offset_min.is_some(), 1) | bit(m.result.is_some(), 2) | bit(m.status.is_some(), 8);
    let mut bytes = vec![present | bit(m.mmol_l, 4)];
    bytes.extend(m.sequence.to_le_bytes());
    bytes.extend(date_time::encode(m.time));
    bytes.extend(m.offset_min.into_iter().flat_map(i16::to_le_bytes));
    if let Some(result) = m.result {
        let raw = scaled(result, if m.mmol_l { -3 } else { -5 });
        bytes.extend(encode_sfloat(raw).ok_or_else(|| reject::illegal("concentration"))?);
        bytes.push(m.sample & 0x0F | m.location << 4);
    }
    bytes.extend(m.status.into_iter().flat_map(u16::to_le_bytes));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;

    /// Flags, sequence 7 and 2024-06-15 08:00, then the rest.
    fn sample(flags: &str, rest: &str) -> Draft {
        drafted("2A18", &format!("{flags}0700e807060f080000{rest}"))[0].clone()
    }

    #[test]
    fn the_decimal_point_moves_and_nothing_else() {
        let captured = drafted("2A18", "030600e407040d10260a000078b0f1");
        assert_eq!(lines(&captured), ["glucose-capillary-whole-blood 120 mg/dL"]);
        assert_eq!((captured[0].sequence, captured[0].stored, captured[0].site), (Some(6), true, None));
        assert_eq!(line(&sample("06", "37c011")), "glucose-capillary-whole-blood 5.5 mmol/L");
        assert!(json("2A18", "030600e407040d10260a000078b0f1").contains("\"concentration_raw\":0.00120,\"mg_dl\":120"));
    }

    #[test]
    fn time_is_base_and_offset() {
        let civil = |d: &Draft| match d.device_time {
            Some(DeviceTime::Civil(t)) => t.to_string(),
            _ => String::new(),
        };
        assert_eq!(civil(&sample("03", "c4ff78b011")), "2024-06-15T07:00:00");
        assert_eq!(civil(&sample("02", "78b011")), "2024-06-15T08:00:00");
        let fault = sample("0a", "78b0110008");
        assert_eq!(
            (civil(&fault).is_empty(), &fault.quality[..]),
            (false, &[Quality::TimeDoubtful][..]),
            "a time fault has no code"
        );
        let unset = &drafted("2A18", "02070000000000000000 78b011")[0];
        assert_eq!((unset.device_time, &unset.quality[..]), (None, &[Quality::TimeDoubtful][..]));
        assert_eq!(rejected("2A18", "020700ffffffffffffff78b011"), "WL-D003");
    }

    #[test]
    fn control_solution_is_a_test_by_type_or_by_location() {
        for octet in ["1a", "41", "4a"] {
            assert_eq!(sample("02", &format!("78b0{octet}")).quality, [Quality::Test], "{octet}");
        }
        assert_eq!(sample("02", "78b010").quality, [Quality::Questionable], "a reserved type");
    }

    #[test]
    fn beyond_the_meter_s_range_is_said() {
        assert_eq!(doubts(&sample("0a", "78b0112000")), [Quality::AboveRange]);
        assert_eq!(doubts(&sample("0a", "78b0114000")), [Quality::BelowRange]);
        let infinite = sample("02", "fe0711");
        assert_eq!(
            (line(&infinite).as_str(), &infinite.quality[..]),
            ("glucose-capillary-whole-blood PositiveInfinity mg/dL", &[Quality::AboveRange][..])
        );
        let without = sample("08", "2000");
        assert_eq!(line(&without), "glucose-whole-blood Unknown mg/dL");
        assert!(without.quality.contains(&Quality::AboveRange));
    }

    #[test]
    fn faults_of_strip_and_sample_are_doubts_and_a_low_battery_is_none() {
        let low = sample("0a", "78b0110100");
        assert_eq!((doubts(&low), said(&low)), (vec![], vec!["meter-battery-low"]));
        for bit in [1, 2, 3, 4, 7, 8, 9, 10u16] {
            let draft = sample("0a", &format!("78b011{:04x}", (1u16 << bit).swap_bytes()));
            assert_eq!(doubts(&draft), [Quality::Questionable], "bit {bit}");
            let code = draft.quality.iter().find_map(|q| q.status()).unwrap().code;
            assert_eq!(code, format!("8417752.{bit}"));
        }
    }

    #[test]
    fn a_location_that_is_a_place_is_the_site() {
        for (octet, site) in [("11", Some("finger")), ("31", Some("ear-lobe")), ("21", None), ("f1", None)] {
            assert_eq!(sample("02", &format!("78b0{octet}")).site.map(|s| s.id), site, "{octet}");
        }
    }

    #[test]
    fn every_sample_type_has_its_vital() {
        for (_, vital) in TYPES.iter().filter(|(_, v)| !v.is_empty()) {
            assert!(crate::vital::Vital::parse(vital).is_some(), "{vital}");
        }
    }

    #[test]
    fn context_reads_every_field() {
        let expected = r#"{"sequence":4,"carbohydrate":"breakfast","carbohydrate_kg":0.05,"meal":"postprandial","tester":"self","health":"no_issues","exercise_duration_s":3600,"exercise_intensity_pct":50,"medication":"rapid_acting_insulin","medication_l":0.00012,"hba1c_pct":6.5}"#;
        assert_eq!(json("2A34", "ff0400000105e00251100e320 10cb041f0"), expected);
    }

    #[test]
    fn a_context_behind_its_measurement_is_read_with_it() {
        let context = "ff0700 00 01 05e0 02 51 100e 32 01 0cb0 41f0".replace(' ', "");
        let both = sample("1b", &format!("c4ff78b0110000{context}"));
        let words: Vec<&str> = both.quality.iter().filter_map(|q| q.status()).map(|s| s.id).collect();
        assert_eq!(words, ["breakfast", "after-meal", "tested-by-self", "no-health-issues", "rapid-acting-insulin"]);
        let text = lines(std::slice::from_ref(&both)).remove(0);
        let expected =
            "glucose-capillary-whole-blood 120 Carbohydrate=50 Medication=0.12 Exercise=50 Exercised=3600 mg/dL";
        assert_eq!(text, expected, "an HbA1c is not of it");
        let units: Vec<&str> = both.parts.iter().map(|p| p.unit.ucum()).collect();
        assert_eq!(units, ["mg/dL", "g", "mL", "%", "s"]);
        // Without its context it is the same measurement.
        let alone = sample("1b", "c4ff78b0110000");
        assert_eq!((alone.parts.len(), alone.quality.len(), alone.sequence), (1, 0, both.sequence));
        // Nonsense is left out; of another record it is no part of this one.
        let nonsense = sample("1b", "c4ff78b0110000 0a0700 02 ffff ff".replace(' ', "").as_str());
        assert_eq!((nonsense.parts.len(), nonsense.quality.len()), (1, 1));
        let negative = sample("1b", "c4ff78b0110000 010700 01 05e8".replace(' ', "").as_str());
        assert_eq!((negative.parts.len(), negative.quality.len()), (1, 1), "breakfast of less than nothing");
        let other = format!("1b0700e807060f080000c4ff78b0110000{}", "020800 01".replace(' ', ""));
        assert_eq!(rejected("2A18", &other), "WL-D002");
    }

    #[test]
    fn what_is_encoded_decodes() {
        let m = Measurement {
            sequence: 6,
            time: jiff::civil::date(2020, 4, 13).at(16, 38, 10, 0),
            offset_min: Some(0),
            mmol_l: false,
            result: Some(120.into()),
            sample: 1,
            location: 15,
            status: None,
        };
        assert_eq!(encode(&m).unwrap(), octets("030600e407040d10260a000078b0f1").unwrap());
        let moles = Measurement { mmol_l: true, result: Some(Real::Number("5.5".parse().unwrap())), ..m };
        assert_eq!(
            lines(&drafted_of("2A18", &encode(&moles).unwrap(), crate::codec::Quirk::None)),
            ["glucose-capillary-whole-blood 5.5 mmol/L"]
        );
    }
}
