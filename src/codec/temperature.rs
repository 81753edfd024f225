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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;
    use crate::reading::Quality;

    #[test]
    fn decimals_unit_and_site_are_the_device_s() {
        let oral = drafted("2A1C", "04680100ff06");
        assert_eq!((lines(&oral), oral[0].site), (vec!["body-temperature 36.0 Cel".into()], Site::parse("mouth")));
        assert_eq!(lines(&drafted("2A1C", "01da0300ff")), ["body-temperature 98.6 [degF]"]);
        assert_eq!(lines(&drafted("2A1C", "00ffff7f00")), ["body-temperature NotANumber Cel"]);
    }

    #[test]
    fn every_named_site_is_in_the_table() {
        for (name, id) in TYPES.iter().filter(|(_, id)| !id.is_empty()) {
            assert_eq!(site(name), Site::parse(id));
            assert!(site(name).is_some(), "{name}");
        }
        assert_eq!((site("body"), site("")), (None, None));
    }

    #[test]
    fn a_thermometer_that_still_rises_is_no_reading() {
        assert!(drafted("2A1E", "00680100ff").is_empty());
    }

    #[test]
    fn reserved_types_and_flags_are_said() {
        assert!(json("2A1C", "04680100ff0a").contains("reserved:10"));
        assert_eq!(drafted("2A1C", "08680100ff")[0].quality, [Quality::Quirk]);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let time = Some(jiff::civil::date(2024, 6, 15).at(17, 17, 27, 0));
        let m =
            Measurement { fahrenheit: false, temperature: Real::Number("36.0".parse().unwrap()), time, kind: Some(6) };
        assert_eq!(encode(&m).unwrap(), octets("06680100ffe807060f11111b06").unwrap());
    }
}
