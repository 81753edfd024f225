//! Body temperature: 2A1C measurement, 2A1E intermediate, 2A1D type, 2A21 interval (dossier §2.2).
//!
//! The FLOAT's decimals are kept, the unit is the device's. Must never: publish a thermometer that is still rising (2A1E).

use super::date_time;
use super::draft::Shared;
use super::ieee11073::{Real, encode_float};
use super::reader::read;
use super::record::{self, Record};
use super::reject;
use crate::reading::{Draft, Reject};
use crate::vital::Site;

/// Names of the types with the body site each stands for; "body" is no site.
const TYPES: [(&str, &str); 10] = [
    ("", ""),
    ("armpit", "armpit"),
    ("body", ""),
    ("ear", "ear-lobe"),
    ("finger", "finger"),
    ("gastro_intestinal_tract", "gastro-intestinal-tract"),
    ("mouth", "mouth"),
    ("rectum", "rectum"),
    ("toe", "toe"),
    ("tympanum", "tympanum"),
];

/// 2A1C and 2A1E.
pub(super) fn measurement(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        record.put("unit", if flags & 1 != 0 { "F" } else { "C" });
        record.put("temperature", r.float("temperature")?);
        if flags & 2 != 0 {
            record.put("timestamp", date_time::optional(r, "timestamp")?);
        }
        if flags & 4 != 0 {
            record.put("type", record::name(r.u8("type")?, &TYPES.map(|(name, _)| name)));
        }
        record.reserved(flags & 0xF8 != 0);
        Ok(())
    })
}

/// 2A1D.
pub(super) fn kind(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let value = r.u8("type")?;
        record.put("value", value);
        record.put("name", record::name(value, &TYPES.map(|(name, _)| name)));
        Ok(())
    })
}

/// 2A21: seconds; 0 is "not periodic".
pub(super) fn interval(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("interval_s", r.u16("interval")?);
        Ok(())
    })
}

/// The body site of a temperature type by its name, as in 2A1C and 2A1D.
pub fn site(kind: &str) -> Option<Site> {
    TYPES.iter().find(|(name, _)| *name == kind).and_then(|(_, site)| Site::parse(site))
}

/// One body temperature.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let mut shared = Shared::of(record);
    shared.site = record.text("type").and_then(site);
    let unit = if record.text("unit") == Some("F") { "[degF]" } else { "Cel" };
    shared.one("body-temperature", record.value("temperature"), unit).into_iter().collect()
}

/// What a 2A1C says.
#[derive(Clone)]
pub struct Measurement {
    /// In °F rather than °C.
    pub fahrenheit: bool,
    /// The temperature.
    pub temperature: Real,
    /// The thermometer's clock.
    pub time: Option<jiff::civil::DateTime>,
    /// Where on the body: 1 armpit … 9 tympanum.
    pub kind: Option<u8>,
}

/// The octets of a 2A1C. Rejected: a number that a FLOAT does not hold.
pub fn encode(m: &Measurement) -> Result<Vec<u8>, Reject> {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let mut bytes = vec![bit(m.fahrenheit, 1) | bit(m.time.is_some(), 2) | bit(m.kind.is_some(), 4)];
    bytes.extend(encode_float(m.temperature).ok_or_else(|| reject::illegal("temperature"))?);
    bytes.extend(m.time.into_iter().flat_map(date_time::encode));
    bytes.extend(m.kind);
    Ok(bytes)
}
