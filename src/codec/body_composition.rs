//! Body composition scale: 2A9C measurement, in one packet or two (dossier §2.7).
//!
//! Each part is a reading of its own, so that a second packet that never comes costs only its own parts.
//! Must never: join packets of two people or two times, or emit 0xFFFF as a number.

use super::date_time;
use super::draft::Shared;
use super::ieee11073::Real;
use super::reader::read;
use super::record::{Field, Record, Special};
use super::scale::{self, System};
use super::{Reader, reject};
use crate::decimal::Decimal;
use crate::reading::{Draft, Reject};

/// Masses, by their flag bits.
const MASSES: [(u16, &str); 4] =
    [(5, "muscle_mass"), (6, "fat_free_mass"), (7, "soft_lean_mass"), (8, "body_water_mass")];
/// Set when the measurement takes two packets.
const MULTIPLE_PACKETS: u16 = 1 << 12;

/// 2A9C.
pub(super) fn measurement(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u16("flags")?;
        let has = |bit: u16| flags >> bit & 1 == 1;
        let system = System::of(has(0));
        record.put("unit", system.mass());
        record.put("body_fat_pct", number(r, "body fat", tenths)?);
        if has(1) {
            record.put("timestamp", date_time::optional(r, "timestamp")?);
        }
        if has(2) {
            record.put("user_id", r.u8("user id")?);
        }
        if has(3) {
            record.put("basal_metabolism_kj", number(r, "basal metabolism", |raw| scale::fixed(raw, (1, 0)))?);
        }
        if has(4) {
            record.put("muscle_pct", number(r, "muscle percentage", tenths)?);
        }
        for (bit, name) in MASSES {
            if has(bit) {
                record.put(name, number(r, name, |raw| system.read_mass(raw))?);
            }
        }
        if has(9) {
            record.put("impedance_ohm", number(r, "impedance", tenths)?);
        }
        if has(10) {
            record.put("weight", number(r, "weight", |raw| system.read_mass(raw))?);
        }
        if has(11) {
            record.put("height", number(r, "height", |raw| system.read_length(raw))?);
            record.put("height_unit", system.length());
        }
        record.put("multiple_packet", flags & MULTIPLE_PACKETS != 0);
        record.reserved(flags & 0xE000 != 0);
        Ok(())
    })
}

fn tenths(raw: u16) -> Decimal {
    scale::fixed(raw, (1, -1))
}

fn number(r: &mut Reader<'_>, field: &'static str, of: impl Fn(u16) -> Decimal) -> Result<Real, Reject> {
    r.u16(field).map(|raw| scale::measured(raw, of(raw)))
}

/// One reading per part.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let shared = Shared::of(record);
    let mass = scale::ucum(record.text("unit"));
    let length = scale::ucum(record.text("height_unit"));
    // The second packet repeats the field without a measurement behind it.
    let repeated =
        record.flag("multiple_packet") && record.get("body_fat_pct") == Some(&Field::Special(Special::Unsuccessful));
    let parts = [
        ("body-fat", "body_fat_pct", "%"),
        ("basal-metabolism", "basal_metabolism_kj", "kJ"),
        ("muscle-percentage", "muscle_pct", "%"),
        ("muscle-mass", "muscle_mass", mass),
        ("fat-free-mass", "fat_free_mass", mass),
        ("soft-lean-mass", "soft_lean_mass", mass),
        ("body-water-mass", "body_water_mass", mass),
        ("impedance", "impedance_ohm", "Ohm"),
        ("body-weight", "weight", mass),
        ("body-height", "height", length),
    ];
    let wanted = parts.iter().filter(|(vital, ..)| !(repeated && *vital == "body-fat"));
    wanted.filter_map(|(vital, field, unit)| shared.one(vital, record.value(field), unit)).collect()
}

/// One record from the two packets of a measurement. Rejected: packets of different users, times or units.
pub fn join(first: &Record, second: &Record) -> Result<Record, Reject> {
    let same = ["unit", "timestamp", "user_id", "multiple_packet"].iter().all(|f| first.get(f) == second.get(f));
    if !same || !first.flag("multiple_packet") {
        return Err(reject::PARTS_DIFFER);
    }
    let mut whole = first.clone();
    for (name, field) in &second.0 {
        match whole.0.iter_mut().find(|(n, _)| n == name) {
            None => whole.0.push((name, field.clone())),
            Some((_, held @ Field::Special(_))) => *held = field.clone(),
            Some((_, held)) if *held == *field || matches!(field, Field::Special(_)) => {}
            Some(_) => return Err(reject::PARTS_DIFFER),
        }
    }
    Ok(whole)
}

/// What a 2A9C says.
#[derive(Clone)]
pub struct Measurement {
    /// Units.
    pub system: System,
    /// Body fat, %; a special value is sent as "unsuccessful".
    pub fat: Real,
    /// The scale's clock.
    pub time: Option<jiff::civil::DateTime>,
    /// Slot of the user.
    pub user: Option<u8>,
    /// Basal metabolism, kJ.
    pub basal_kj: Option<u16>,
    /// Muscle, %.
    pub muscle: Option<Decimal>,
    /// Muscle, fat-free, soft lean and water mass.
    pub masses: [Option<Decimal>; 4],
    /// Impedance, Ω.
    pub impedance: Option<Decimal>,
    /// Weight.
    pub weight: Option<Decimal>,
    /// Height, m or in.
    pub height: Option<Decimal>,
    /// One of two packets.
    pub multiple_packet: bool,
}

/// The octets of a 2A9C. Rejected: a number that its field does not hold.
pub fn encode(m: &Measurement) -> Result<Vec<u8>, Reject> {
    let tenths = |value| scale::steps(value, (1, -1));
    let fat = match m.fat {
        Real::Number(n) => tenths(n).ok_or_else(|| reject::illegal("body fat"))?,
        Real::Special(_) => u16::MAX,
    };
    let mut flags = if m.multiple_packet { MULTIPLE_PACKETS } else { 0 };
    flags |=
        u16::from(m.system == System::Imperial) | u16::from(m.time.is_some()) << 1 | u16::from(m.user.is_some()) << 2;
    let mut tail: Vec<u8> = m.time.into_iter().flat_map(date_time::encode).chain(m.user).collect();
    let mass = |value| m.system.write_mass(value);
    let [muscle, fat_free, soft_lean, water] = m.masses.map(|v| v.map(mass));
    let fields = [
        m.basal_kj.map(Some),
        m.muscle.map(tenths),
        muscle,
        fat_free,
        soft_lean,
        water,
        m.impedance.map(tenths),
        m.weight.map(mass),
        m.height.map(|h| m.system.write_length(h)),
    ];
    for (bit, field) in (3..).zip(fields) {
        if let Some(raw) = field {
            flags |= 1 << bit;
            tail.extend(raw.ok_or_else(|| reject::illegal("body composition"))?.to_le_bytes());
        }
    }
    Ok([flags, fat].into_iter().flat_map(u16::to_le_bytes).chain(tail).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;

    fn record(hex: &str) -> Record {
        measurement(&octets(hex).unwrap()).unwrap()
    }

    #[test]
    fn each_part_is_a_reading_of_its_own() {
        let expected = [
            "body-fat 5.0 %",
            "basal-metabolism 8000 kJ",
            "muscle-percentage 40.0 %",
            "muscle-mass 75.000 kg",
            "fat-free-mass 80.000 kg",
            "soft-lean-mass 80.000 kg",
            "body-water-mass 80.000 kg",
            "impedance 500.0 Ohm",
            "body-weight 70.000 kg",
            "body-height 1.750 m",
        ];
        let all = drafted("2A9C", "fe0f3200e7070c190e1e2d03401f9001983a803e803e803e8813b036d606");
        assert_eq!(lines(&all), expected);
        assert!(all.iter().all(|d| d.slot == Some(3) && d.device_time.is_some()));
        assert_eq!(lines(&drafted("2A9C", "0000ffff")), ["body-fat Error %"]);
    }

    #[test]
    fn two_packets_make_one_record() {
        let (first, second) = (record("04103200 01"), record("0414ffff01b036"));
        let whole = join(&first, &second).unwrap();
        assert_eq!(
            whole.to_json(),
            r#"{"unit":"kg","body_fat_pct":5.0,"user_id":1,"multiple_packet":true,"weight":70.000}"#
        );
        assert_eq!(lines(&super::drafts(&second)), ["body-weight 70.000 kg"]);
        for other in ["04143200 02b036", "05143200 01b036", "04043200 01b036", "04143300 01b036"] {
            assert!(join(&first, &record(other)).is_err(), "{other}");
        }
        assert!(join(&record("00003200"), &record("00003200")).is_err());
    }

    #[test]
    fn what_is_encoded_decodes() {
        let d = |t: &str| Some(t.parse::<Decimal>().unwrap());
        let m = Measurement {
            system: System::Metric,
            fat: Real::Number(d("5").unwrap()),
            time: Some(jiff::civil::date(2023, 12, 25).at(14, 30, 45, 0)),
            user: Some(3),
            basal_kj: Some(8000),
            muscle: d("40"),
            masses: [d("75"), d("80"), d("80"), d("80")],
            impedance: d("500"),
            weight: d("70"),
            height: d("1.75"),
            multiple_packet: false,
        };
        let bytes = octets("fe0f3200e7070c190e1e2d03401f9001983a803e803e803e8813b036d606").unwrap();
        assert_eq!(encode(&m).unwrap(), bytes);
    }
}
