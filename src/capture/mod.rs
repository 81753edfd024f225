//! A capture: what one device sent, as a file that a technician can give away. One head line, then one JSON line for each
//! thing that happened.
//!
//! Promises: neither address nor serial number, neither patient nor owner is in it; every file that is read is bounded, and
//! what is wrong with it is named by its line. The values are the device's readings: health data without a name.
//! Must never: be believed. A capture comes from anybody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod mask;
mod read;

pub use mask::Mask;
pub use read::{CaptureError, read};

/// The form that this version writes and reads.
pub const FORMAT: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`FORMAT`].
    pub wardline_capture: u32,
    /// Version of the gateway that recorded it.
    pub wardline: String,
    /// Profiles that the device was read with until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// When it began, local time, down to the hour.
    pub started: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An advertisement.
    Heard,
    /// Connected, and its services are known.
    Connected,
    /// Let go, or gone.
    Disconnected,
    /// A characteristic was read.
    Read,
    /// A value came by itself.
    Notification,
    /// The same, confirmed.
    Indication,
    /// We subscribed.
    Subscribe,
    /// We wrote.
    Write,
    /// What we asked last was not answered.
    Failed,
    /// The recording ended.
    End,
}

/// One line after the head. Which fields are there depends on the kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Since the start, milliseconds.
    pub ms: u64,
    /// What happened.
    pub kind: Kind,
    /// The device's name, without its serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Strength of an advertisement, dBm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rssi: Option<i16>,
    /// Services that it advertises.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Data of an advertisement, by service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_data: BTreeMap<String, Octets>,
    /// The same, by manufacturer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub manufacturer_data: BTreeMap<String, Octets>,
    /// What a connected device offers: `1810/2A35`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offers: Vec<String>,
    /// Profiles that plan the connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Service of the characteristic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Characteristic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub characteristic: Option<String>,
    /// The value. Not there: withheld, as it names the device or a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<Octets>,
    /// Why it failed or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Line {
    /// With nothing in it.
    pub fn new(kind: Kind) -> Self {
        Self {
            ms: 0,
            kind,
            name: None,
            rssi: None,
            services: Vec::new(),
            service_data: BTreeMap::new(),
            manufacturer_data: BTreeMap::new(),
            offers: Vec::new(),
            profiles: Vec::new(),
            service: None,
            characteristic: None,
            hex: None,
            why: None,
        }
    }

    /// It ended.
    pub fn end(ms: u64, why: &str) -> Self {
        Self { ms, why: Some(why.into()), ..Self::new(Kind::End) }
    }

    /// As a line of the file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// A value that the device sent: it may hold readings.
    pub fn is_value(&self) -> bool {
        matches!(self.kind, Kind::Read | Kind::Notification | Kind::Indication)
    }
}

impl Head {
    /// As a line of the file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// A capture that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Its head.
    pub head: Head,
    /// What happened, in order.
    pub lines: Vec<Line>,
}

impl Capture {
    /// The device's name, without its serial number.
    pub fn name(&self) -> Option<&str> {
        self.lines.iter().find_map(|line| line.name.as_deref())
    }
}

/// Octets, as hex digits in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

impl std::fmt::Display for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Serialize for Octets {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        read::octets(&text).map(Self).ok_or_else(|| serde::de::Error::custom("hex is pairs of hex digits, 513 at most"))
    }
}
