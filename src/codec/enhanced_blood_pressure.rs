//! Enhanced blood pressure: 2B34 measurement, 2B35 intermediate cuff pressure, 2B36 record (dossier §2.3).
//!
//! As 2A35, but with times in seconds from 1900 or 2000. A record carries a 2A35 or 2B34 from memory, in one segment or many.
//! Must never: join segments of two records, or with one missing.

use super::blood_pressure::{self, pulse_user_status};
use super::date_time::{self, DateTime};
use super::draft::Shared;
use super::reader::read;
use super::record::{Record, hex};
use super::{Quirk, Reader, crc16, reject};
use crate::reading::{Draft, Reject};

/// 2B34.
pub(super) fn measurement(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| fields(r, record, blood_pressure::pressures))
}

/// 2B35: one pressure, of the cuff.
pub(super) fn intermediate(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        fields(r, record, |r, record| {
            record.put("cuff_pressure", r.sfloat("cuff pressure")?);
            Ok(())
        })
    })
}

fn fields(
    r: &mut Reader<'_>,
    record: &mut Record,
    pressures: fn(&mut Reader<'_>, &mut Record) -> Result<(), Reject>,
) -> Result<(), Reject> {
    let flags = r.u8("flags")?;
    let epoch = if flags & 0x40 != 0 { 2000 } else { 1900 };
    blood_pressure::unit(record, flags);
    pressures(r, record)?;
    if flags & 0x02 != 0 {
        record.put("timestamp", seconds_since(epoch, r.u32("timestamp")?));
    }
    pulse_user_status(r, record, flags)?;
    if flags & 0x20 != 0 {
        record.put("user_facing_time", seconds_since(epoch, r.u32("user facing time")?));
    }
    record.reserved(flags & 0x80 != 0);
    Ok(())
}

fn seconds_since(epoch: i16, seconds: u32) -> Option<DateTime> {
    let start = jiff::civil::date(epoch, 1, 1).at(0, 0, 0, 0);
    start.checked_add(jiff::SignedDuration::from_secs(seconds.into())).ok().and_then(DateTime::from_civil)
}

/// Blood pressure and pulse. The time that the cuff shows its user is the local one.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let mut shared = Shared::of(record);
    if let Some(time) = date_time::of(record, "user_facing_time") {
        shared = Shared { slot: shared.slot, ..Shared::default() };
        shared.time(Some(time));
    }
    blood_pressure::drafts_of(record, shared)
}

/// The start of each segment.
struct Header {
    first: bool,
    last: bool,
    counter: u8,
    sequence: u16,
    uuid: u16,
}

impl Header {
    fn read(r: &mut Reader<'_>) -> Result<Self, Reject> {
        let octet = r.u8("segmentation header")?;
        let (first, last, counter) = (octet & 1 != 0, octet & 2 != 0, octet >> 2);
        Ok(Self { first, last, counter, sequence: r.u16("sequence number")?, uuid: r.u16("UUID")? })
    }

    fn put(&self, record: &mut Record) {
        record.put("first_segment", self.first);
        record.put("last_segment", self.last);
        record.put("segment_counter", self.counter);
        record.put("sequence", self.sequence);
        record.put("uuid", format!("{:04X}", self.uuid));
    }
}

/// 2B36. A record in one segment shows what is in it; of several, [`join`] makes one.
pub(super) fn stored(bytes: &[u8]) -> Result<Record, Reject> {
    let mut r = Reader::new(bytes);
    let header = Header::read(&mut r)?;
    if header.first && header.last {
        return join(&[bytes]);
    }
    let mut record = Record::default();
    header.put(&mut record);
    record.put("payload", hex(r.rest()));
    Ok(record)
}

/// One record from all of its segments, in order. Rejected: segments of different records, or one is missing.
pub fn join(segments: &[&[u8]]) -> Result<Record, Reject> {
    let (mut payload, mut all) = (Vec::new(), Vec::new());
    let mut before: Option<Header> = None;
    for (index, segment) in segments.iter().enumerate() {
        let mut r = Reader::new(segment);
        let header = Header::read(&mut r)?;
        let follows = before.as_ref().is_none_or(|b| {
            (b.sequence, b.uuid) == (header.sequence, header.uuid) && (b.counter + 1) % 64 == header.counter
        });
        let in_place = header.first == (index == 0) && header.last == (index + 1 == segments.len());
        if !follows || !in_place {
            return Err(reject::PARTS_DIFFER);
        }
        payload.extend_from_slice(r.rest());
        all.extend_from_slice(segment);
        before = Some(header);
    }
    let header = before.ok_or(reject::PARTS_DIFFER)?;
    let mut record = Record::default();
    header.put(&mut record);
    match contents(header.uuid) {
        Some(codec) => inside(&mut record, codec, &payload, &all)?,
        None => record.put("payload", hex(&payload)),
    }
    Ok(record)
}

type Contents = fn(&[u8]) -> Result<Record, Reject>;

fn contents(uuid: u16) -> Option<Contents> {
    match uuid {
        0x2A35 => Some(|bytes| blood_pressure::measurement(bytes, Quirk::None)),
        0x2B34 => Some(measurement),
        _ => None,
    }
}

/// Nothing in a record says whether a checksum ends it: it does if the measurement ends two octets early.
fn inside(record: &mut Record, codec: Contents, payload: &[u8], all: &[u8]) -> Result<(), Reject> {
    let without = codec(payload);
    let (body, _) = payload.split_at(payload.len().saturating_sub(2));
    match (&without, codec(body)) {
        (Err(_), Ok(measured)) => {
            record.put("record", measured);
            let mut r = Reader::new(all);
            r.take(all.len().saturating_sub(2), "record")?;
            crc16::trailer(all, &mut r, record)
        }
        _ => {
            record.put("record", without?);
            Ok(())
        }
    }
}

/// What the record holds, from memory and under its number.
pub(super) fn stored_drafts(record: &Record) -> Vec<Draft> {
    let Some(measured) = record.record("record") else { return Vec::new() };
    let mut drafts =
        if record.text("uuid") == Some("2B34") { drafts(measured) } else { blood_pressure::drafts(measured) };
    for draft in &mut drafts {
        draft.sequence = record.whole("sequence");
        draft.stored = true;
    }
    drafts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;
    use crate::reading::DeviceTime;

    #[test]
    fn seconds_count_from_1900_or_2000_and_the_user_s_time_is_the_local_one() {
        assert!(json("2B34", "427c00560061000000 0000").contains("2000-01-01T00:00:00"));
        assert!(json("2B34", "027c00560061000000 0000").contains("1900-01-01T00:00:00"));
        let both = drafted("2B34", "667c0056006100000000003300 3c000000");
        assert_eq!(lines(&both), ["blood-pressure Systolic=124 Diastolic=86 Mean=97 mm[Hg]", "pulse-rate 51 /min"]);
        let Some(DeviceTime::Civil(time)) = both[0].device_time else { panic!("no time") };
        assert_eq!(time.to_string(), "2000-01-01T00:01:00");
        assert!(both[0].quality.is_empty());
    }

    #[test]
    fn a_cuff_that_inflates_is_no_reading() {
        assert_eq!(json("2B35", "007c00"), r#"{"unit":"mmHg","cuff_pressure":124}"#);
        assert!(drafted("2B35", "007c00").is_empty());
    }

    #[test]
    fn a_record_carries_a_measurement_from_memory() {
        let stored = drafted("2B36", "030700352a007c0056006100");
        assert_eq!((lines(&stored).len(), stored[0].sequence, stored[0].stored), (1, Some(7), true));
        let crc = crc16::crc16(&octets("030700352a007c0056006100").unwrap()).swap_bytes();
        let with = format!("030700352a007c0056006100{crc:04x}");
        assert!(json("2B36", &with).contains("\"crc_ok\":true"));
        assert_eq!(rejected("2B36", "030700352a007c00560061000000"), "WL-D004");
        assert_eq!(rejected("2B36", "030700352a007c005600"), "WL-D001");
    }

    #[test]
    fn segments_join_in_order_or_not_at_all() {
        let (first, last) = (octets("010700352a007c0056").unwrap(), octets("060700352a006100").unwrap());
        let whole = join(&[&first, &last]).unwrap();
        assert_eq!(lines(&stored_drafts(&whole)), ["blood-pressure Systolic=124 Diastolic=86 Mean=97 mm[Hg]"]);
        assert!(drafted("2B36", "010700352a007c0056").is_empty());
        let other = octets("060800352a006100").unwrap();
        let gap = octets("0a0700352a006100").unwrap();
        for wrong in [&[&first[..]][..], &[&last, &first], &[&first, &other], &[&first, &gap], &[]] {
            assert!(join(wrong).is_err());
        }
    }
}
