//! Heart rate: 2A37 measurement, 2A38 body sensor location (dossier §2.1).
//!
//! Skin contact lost makes a rate questionable; rate 0 is no rate.
//! Must never: say 0 beats per minute.

use super::draft::{self, Shared};
use super::reader::read;
use super::record::{self, Field, Record};
use super::reject;
use crate::reading::{Draft, Quality, Reject};

const LOCATIONS: [&str; 7] = ["other", "chest", "wrist", "finger", "hand", "ear_lobe", "foot"];

/// 2A37.
pub(super) fn measurement(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        let rate = if flags & 1 != 0 { r.u16("heart rate")? } else { r.u8("heart rate")?.into() };
        record.put("heart_rate", rate);
        record.put("sensor_contact", Contact::of(flags).name());
        if flags & 0x08 != 0 {
            record.put("energy_expended_kj", r.u16("energy expended")?);
        }
        if flags & 0x10 != 0 {
            let mut intervals = vec![Field::from(r.u16("RR interval")?)];
            while r.left() > 0 {
                intervals.push(r.u16("RR interval")?.into());
            }
            record.put("rr_1024", intervals);
        }
        record.reserved(flags & 0xE0 != 0);
        Ok(())
    })
}

/// 2A38.
pub(super) fn location(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let value = r.u8("location")?;
        record.put("value", value);
        record.put("name", record::name(value, &LOCATIONS));
        Ok(())
    })
}

/// One heart rate.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let mut shared = Shared::of(record);
    shared.label(Quality::Questionable, record.text("sensor_contact") == Some(Contact::NotDetected.name()));
    shared.one("heart-rate", draft::rate(record, "heart_rate"), "/min").into_iter().collect()
}

/// What a sensor knows about skin contact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contact {
    /// It cannot tell.
    #[default]
    NotSupported,
    /// It touches no skin.
    NotDetected,
    /// It touches skin.
    Detected,
}

impl Contact {
    fn of(flags: u8) -> Self {
        match flags & 0x06 {
            0x06 => Self::Detected,
            0x04 => Self::NotDetected,
            _ => Self::NotSupported,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::NotSupported => "not_supported",
            Self::NotDetected => "not_detected",
            Self::Detected => "detected",
        }
    }
}

/// What a 2A37 says.
#[derive(Clone, Default)]
pub struct Measurement {
    /// Beats per minute.
    pub rate: u16,
    /// Skin contact.
    pub contact: Contact,
    /// Energy since the last reset, kJ.
    pub energy_kj: Option<u16>,
    /// RR intervals in 1/1024 s, oldest first.
    pub rr_1024: Vec<u16>,
}

/// The octets of a 2A37.
pub fn encode(m: &Measurement) -> Result<Vec<u8>, Reject> {
    let contact = match m.contact {
        Contact::NotSupported => 0,
        Contact::NotDetected => 0x04,
        Contact::Detected => 0x06,
    };
    let short = u8::try_from(m.rate).ok();
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = contact | flag(short.is_none(), 1) | flag(m.energy_kj.is_some(), 8) | flag(!m.rr_1024.is_empty(), 0x10);
    let mut bytes = vec![flags];
    match short {
        Some(rate) => bytes.push(rate),
        None => bytes.extend(m.rate.to_le_bytes()),
    }
    bytes.extend(m.energy_kj.into_iter().flat_map(u16::to_le_bytes));
    bytes.extend(m.rr_1024.iter().flat_map(|rr| rr.to_le_bytes()));
    if bytes.len() > crate::limits::CHARACTERISTIC_BYTES_MAX { Err(reject::TOO_LONG) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;

    #[test]
    fn a_rate_without_skin_contact_is_questionable() {
        let lost = drafted("2A37", "0448");
        assert_eq!(
            (lines(&lost), &lost[0].quality[..]),
            (vec!["heart-rate 72 /min".into()], &[Quality::Questionable][..])
        );
        for known_or_unknown in ["0648", "0048", "0248"] {
            assert!(drafted("2A37", known_or_unknown)[0].quality.is_empty());
        }
    }

    #[test]
    fn rate_zero_is_no_rate() {
        assert_eq!(lines(&drafted("2A37", "0600")), ["heart-rate Unknown /min"]);
    }

    #[test]
    fn intervals_come_whole_or_not_at_all() {
        for broken in ["104800", "1048", "00480102", "01c8"] {
            rejected("2A37", broken);
        }
    }

    #[test]
    fn reserved_flags_are_said() {
        assert_eq!(drafted("2A37", "8048")[0].quality, [Quality::Quirk]);
        assert_eq!(json("2A38", "09"), r#"{"value":9,"name":"reserved:9"}"#);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let m =
            Measurement { rate: 257, contact: Contact::Detected, energy_kj: Some(306), rr_1024: vec![1, 258, 65535] };
        assert_eq!(encode(&m).unwrap(), crate::codec::vectors::octets("1f0101320101000201ffff").unwrap());
        let plain = encode(&Measurement { rate: 80, ..Measurement::default() }).unwrap();
        assert_eq!(plain, [0, 80]);
        assert!(encode(&Measurement { rr_1024: vec![0; 300], ..m }).is_err());
    }
}
