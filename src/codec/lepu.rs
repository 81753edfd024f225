//! Lepu (Viatom, Wellue, Creative) fingertip oximeters of the PC-60 line.
//!
//! `AA 55 group length kind data crc`, CRC-8/MAXIM; the length counts from the kind on. Kind 01 of group 0F: saturation,
//! pulse rate, perfusion index in tenths. Sources: github.com/sza2/viatom_pc60fw, and frames recorded from a PC-60NW.
//! Waves and battery are no readings. Must never: make a number of a zero, which stands for "no finger".

use super::draft::Shared;
use super::reader::read;
use super::record::{self, Record};
use super::{Head, reject};
use crate::decimal::Decimal;
use crate::reading::{Absence, Draft, Reject, Value};

const START: [u8; 2] = [0xAA, 0x55];
/// Octets before those that the length counts.
const BEFORE: usize = 4;
/// Group and kind of the numbers on the display.
const NUMBERS: (u8, u8) = (0x0F, 0x01);

/// How long the frame is that begins so.
pub fn head(octets: &[u8]) -> Head {
    match *octets {
        [0xAA, 0x55, _, length, ..] if length >= 2 => Head::Frame(BEFORE + usize::from(length)),
        [0xAA, 0x55, _, _, ..] => Head::Foreign,
        [] | [0xAA] | [0xAA, 0x55] | [0xAA, 0x55, _] => Head::Short,
        _ => Head::Foreign,
    }
}

/// CRC-8/MAXIM: reflected polynomial 8C, initial value 0.
fn crc8(octets: &[u8]) -> u8 {
    octets
        .iter()
        .fold(0, |crc, octet| (0..8).fold(crc ^ octet, |crc, _| if crc & 1 != 0 { crc >> 1 ^ 0x8C } else { crc >> 1 }))
}

/// One frame.
pub(super) fn frame(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        if r.array::<2>("start")? != START {
            return Err(reject::illegal("start of a frame"));
        }
        let (group, length) = (r.u8("group")?, r.u8("length")?);
        let kind = r.u8("kind")?;
        let data = usize::from(length).checked_sub(2).ok_or_else(|| reject::illegal("length"))?;
        let data = r.take(data, "data")?;
        let crc = r.u8("checksum")?;
        record.put("group", group);
        record.put("kind", kind);
        let covered = bytes.split_last().map_or(&[][..], |(_, covered)| covered);
        record.put("crc_ok", crc8(covered) == crc);
        if (group, kind) == NUMBERS { numbers(data, record) } else { Ok(()) }
    })
}

fn numbers(data: &[u8], record: &mut Record) -> Result<(), Reject> {
    let mut r = super::Reader::new(data);
    record.put("spo2", r.u8("SpO2")?);
    record.put("pulse_rate", r.u16("pulse rate")?);
    record.put("perfusion_index", Decimal::new(r.u8("perfusion index")?.into(), -1));
    record.put("unknown", record::hex(r.take(2, "unknown")?));
    r.end()
}

/// What the display shows.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let shared = Shared::default();
    let shown = |name: &str| {
        let zero = |v: Value| matches!(v, Value::Number(n) if n.mantissa() == 0);
        record.value(name).map(|v| if zero(v) { Value::Absent(Absence::NotPerformed) } else { v })
    };
    shared.each([
        ("spo2", shown("spo2"), "%"),
        ("oximeter-pulse-rate", shown("pulse_rate"), "/min"),
        ("perfusion-index", shown("perfusion_index"), "%"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;

    #[test]
    fn frames_that_were_recorded_are_read() {
        let shown = drafted("LEPU:PC60", "aa550f0801603f002d00388c");
        assert_eq!(lines(&shown), ["spo2 96 %", "oximeter-pulse-rate 63 /min", "perfusion-index 4.5 %"]);
        let shown = drafted("LEPU:PC60", "aa550f08015f470081001878");
        assert_eq!(lines(&shown), ["spo2 95 %", "oximeter-pulse-rate 71 /min", "perfusion-index 12.9 %"]);
        assert!(drafted("LEPU:PC60", "aa550f0b03201050432d36304e579e").is_empty(), "its name");
    }

    #[test]
    fn zeros_are_no_numbers_and_broken_frames_no_records() {
        let mut off = octets("aa550f080100000000003800").unwrap();
        off[11] = crc8(&off[..11]);
        let off = drafted_of("LEPU:PC60", &off, crate::codec::Quirk::None);
        let none = ["spo2 NotPerformed %", "oximeter-pulse-rate NotPerformed /min", "perfusion-index NotPerformed %"];
        assert_eq!(lines(&off), none);
        assert_eq!(rejected("LEPU:PC60", "aa550f0801613f002d00388c"), "WL-D004");
        assert_eq!(rejected("LEPU:PC60", "ab550f0801603f002d00388c"), "WL-D003");
        assert_eq!(rejected("LEPU:PC60", "aa550f0101603f"), "WL-D003");
    }

    #[test]
    fn the_head_tells_the_length_as_soon_as_it_can() {
        assert_eq!(head(&[0xaa, 0x55, 0x0f]), Head::Short);
        assert_eq!(head(&[0xaa, 0x55, 0x0f, 8]), Head::Frame(12));
        for foreign in [&[0x55][..], &[0xaa, 0], &[0xaa, 0x55, 0x0f, 1]] {
            assert_eq!(head(foreign), Head::Foreign);
        }
    }
}
