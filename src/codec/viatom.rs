//! Viatom and Wellue rings (O2Ring, Checkme O2): the answer to "live values", request 17.
//!
//! `55 result ~result block(2) length(2) data crc`, CRC-8 with polynomial 07. Framing and captured data:
//! github.com/MackeyStingray/o2r; the pulse has 16 bits: viatom-develop/LepuBle. An answer does not name its question:
//! thirteen octets are live values. Must never: make a number without a finger in the ring.

use super::draft::Shared;
use super::reader::read;
use super::record::{self, Record};
use super::{Head, reject};
use crate::decimal::Decimal;
use crate::limits::CHARACTERISTIC_BYTES_MAX;
use crate::reading::{Absence, Draft, Reject, Value};

const START: u8 = 0x55;
/// Header and checksum.
const AROUND: usize = 8;
/// Octets of live values.
const LIVE: usize = 13;

/// How long the frame is that begins so.
pub fn head(octets: &[u8]) -> Head {
    match *octets {
        [START, result, inverse, ..] if inverse != !result => Head::Foreign,
        [START, _, _, _, _, low, high, ..] => {
            let length = usize::from(u16::from_le_bytes([low, high])) + AROUND;
            if length <= CHARACTERISTIC_BYTES_MAX { Head::Frame(length) } else { Head::Foreign }
        }
        [START, ..] | [] => Head::Short,
        _ => Head::Foreign,
    }
}

/// CRC-8, polynomial 07, initial value 0.
fn crc8(octets: &[u8]) -> u8 {
    octets.iter().fold(0, |crc, octet| {
        (0..8).fold(crc ^ octet, |crc, _| if crc & 0x80 != 0 { crc << 1 ^ 0x07 } else { crc << 1 })
    })
}

/// One frame.
pub(super) fn frame(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let (start, result, inverse) = (r.u8("start")?, r.u8("result")?, r.u8("result")?);
        if start != START || inverse != !result {
            return Err(reject::illegal("start of a frame"));
        }
        record.put("result", result);
        record.put("block", r.u16("block")?);
        let length = usize::from(r.u16("length")?);
        let data = r.take(length, "data")?;
        let crc = r.u8("checksum")?;
        let covered = bytes.split_last().map_or(&[][..], |(_, covered)| covered);
        record.put("crc_ok", crc8(covered) == crc);
        if result == 0 && length == LIVE {
            live(data, record)?;
        } else {
            record.put("data", record::hex(data));
        }
        Ok(())
    })
}

fn live(data: &[u8], record: &mut Record) -> Result<(), Reject> {
    let mut r = super::Reader::new(data);
    record.put("spo2", r.u8("SpO2")?);
    record.put("pulse_rate", r.u16("pulse rate")?);
    r.take(4, "unknown")?;
    record.put("battery", r.u8("battery")?);
    record.put("charging", r.u8("charging")?);
    record.put("motion", r.u8("motion")?);
    record.put("signal", r.u8("signal")?);
    record.put("finger", r.u8("finger")? != 0);
    r.take(1, "unknown")?;
    r.end()
}

/// Saturation and pulse; none of a ring that is being charged.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    if record.get("spo2").is_none() || record.whole("charging") != Some(0) {
        return Vec::new();
    }
    let (finger, shared) = (record.flag("finger"), Shared::default());
    let measured = |name: &str, most: i64| {
        let number = record.value(name).filter(|v| match v {
            Value::Number(n) => finger && (Decimal::from(1)..=Decimal::from(most)).contains(n),
            Value::Absent(_) => false,
        });
        Some(number.unwrap_or(Value::Absent(Absence::NotPerformed)))
    };
    shared.each([("spo2", measured("spo2", 100), "%"), ("oximeter-pulse-rate", measured("pulse_rate", 0xFFFE), "/min")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;

    #[test]
    fn the_checksum_is_that_of_the_request() {
        assert_eq!(crc8(&octets("aa17e800000000").unwrap()), 0x1b);
    }

    #[test]
    fn a_finger_makes_numbers_and_none_makes_absences() {
        let live = drafted("VIATOM", "5500ff00000d00624200000000006100920a01002f");
        assert_eq!(lines(&live), ["spo2 98 %", "oximeter-pulse-rate 66 /min"]);
        let off = drafted("VIATOM", "5500ff00000d00ffffff000000006201000000003d");
        assert!(off.is_empty(), "it is being charged");
        // No numbers; and the last numbers, after the finger has left.
        for values in ["ffffff", "624200"] {
            let mut off = octets(&format!("5500ff00000d00{values}0000000062000000000000")).unwrap();
            off[20] = crc8(&off[..20]);
            let off = drafted_of("VIATOM", &off, crate::codec::Quirk::None);
            assert_eq!(lines(&off), ["spo2 NotPerformed %", "oximeter-pulse-rate NotPerformed /min"]);
        }
    }

    #[test]
    fn other_answers_and_failures_are_no_values() {
        let with_crc = |hex: &str| {
            let mut frame = octets(hex).unwrap();
            frame.push(crc8(&frame));
            drafted_of("VIATOM", &frame, crate::codec::Quirk::None)
        };
        assert!(with_crc("5500ff0000040001020304").is_empty());
        assert!(with_crc("5501fe00000d00624200000000006100920a0100").is_empty());
        assert_eq!(rejected("VIATOM", "5500ff00000d00624300000000006100920a01002f"), "WL-D004");
        assert_eq!(rejected("VIATOM", "550000000000004a"), "WL-D003");
    }

    #[test]
    fn the_head_tells_the_length_as_soon_as_it_can() {
        assert_eq!(head(&[]), Head::Short);
        assert_eq!(head(&[0x55, 0, 0xff, 0, 0, 13]), Head::Short);
        assert_eq!(head(&[0x55, 0, 0xff, 0, 0, 13, 0]), Head::Frame(21));
        for foreign in [&[0xaa][..], &[0x55, 0, 0], &[0x55, 0, 0xff, 0, 0, 0, 0xff]] {
            assert_eq!(head(foreign), Head::Foreign);
        }
    }
}
