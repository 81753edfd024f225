//! Wire encodings, one file each, pure: bytes in, a [`Record`] out, and the drafts it stands for.
//!
//! Order in every codec: length, integrity, flags, fields, trailing bytes. A record is decoded whole or rejected whole.
//! Reserved flag bits are tolerated only while the lengths still add up, and then the record says so (`quirk`).
//! Must never: emit part of a record, or a number for a special value.

mod draft;
mod framing;
mod reader;
mod record;
mod registry;
pub mod reject;

pub mod adv_bthome;
pub mod adv_mi_scale;
pub mod battery;
pub mod blood_pressure;
pub mod body_composition;
pub mod cgm;
pub mod crc16;
pub mod date_time;
pub mod device_information;
pub mod enhanced_blood_pressure;
pub mod glucose;
pub mod heart_rate;
pub mod ieee11073;
pub mod lepu;
pub mod pulse_oximeter;
pub mod racp;
pub mod scale;
pub mod taidoc;
pub mod temperature;
pub mod transtek;
pub mod user_control;
pub mod vectors;
pub mod viatom;
pub mod weight;

pub use framing::{Head, frames};
pub use reader::Reader;
pub use record::{Field, Record, Special};
pub use registry::CODECS;

#[cfg(test)]
mod tests;

use crate::limits;
use crate::reading::{Draft, Quality, Reject};

/// An encoding in the registry.
pub struct Codec {
    /// Name in profiles and on the command line: `2A35`, `ADV:FCD2`.
    pub name: &'static str,
    /// What it is called: `Blood Pressure Measurement`.
    pub title: &'static str,
    read: Read,
    drafts: fn(&Record) -> Vec<Draft>,
    /// For a vendor's stream of frames, of which a notification holds parts: how long the one is that begins here.
    pub head: Option<fn(&[u8]) -> Head>,
}

/// How a codec reads: most know no quirks.
enum Read {
    Plain(fn(&[u8]) -> Result<Record, Reject>),
    Quirky(fn(&[u8], Quirk) -> Result<Record, Reject>),
}

/// A deviation of a real device that its profile tolerates by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quirk {
    /// None: the characteristic as specified.
    #[default]
    None,
    /// Beurer BM85: user id without its flag, pulse and status big-endian, flag bit 6 set.
    BeurerBm85,
}

impl std::str::FromStr for Quirk {
    type Err = Reject;

    fn from_str(name: &str) -> Result<Self, Reject> {
        match name {
            "none" => Ok(Self::None),
            "beurer-bm85" => Ok(Self::BeurerBm85),
            _ => Err(reject::UNKNOWN_QUIRK),
        }
    }
}

/// The codec of this name.
pub fn find(name: &str) -> Option<&'static Codec> {
    CODECS.iter().find(|c| c.name == name)
}

impl Codec {
    /// Bytes to record. Short or long payloads, illegal fields and broken checksums are rejected whole.
    pub fn decode(&self, bytes: &[u8], quirk: Quirk) -> Result<Record, Reject> {
        let record = self.inspect(bytes, quirk)?;
        if record.intact() { Ok(record) } else { Err(reject::BROKEN_CRC) }
    }

    /// As [`Codec::decode`], but a record with a broken checksum is shown, marked `crc_ok: false`. For people, never for readings.
    pub fn inspect(&self, bytes: &[u8], quirk: Quirk) -> Result<Record, Reject> {
        if bytes.len() > limits::CHARACTERISTIC_BYTES_MAX {
            return Err(reject::TOO_LONG);
        }
        match (&self.read, quirk) {
            (Read::Plain(read), Quirk::None) => read(bytes),
            (Read::Plain(_), _) => Err(reject::UNKNOWN_QUIRK),
            (Read::Quirky(read), quirk) => read(bytes, quirk),
        }
    }

    /// The readings-to-be of a record; none for features, control points, progress values and broken checksums.
    pub fn drafts(&self, record: &Record) -> Vec<Draft> {
        if !record.intact() {
            return Vec::new();
        }
        let mut drafts = (self.drafts)(record);
        if record.tolerated() {
            drafts.iter_mut().for_each(|d| d.quality.push(Quality::Quirk));
        }
        drafts
    }
}
