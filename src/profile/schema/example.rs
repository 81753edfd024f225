//! Frames with the readings they stand for: the tests of a profile, its entry in the page of devices, seeds of the fuzzer.

use serde::Deserialize;

use crate::reading::Quality;

/// A frame with the readings it stands for, or the code with which it is rejected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What it shows.
    pub name: String,
    /// Where the bytes are from: captured, quoted from a document, or constructed.
    pub origin: String,
    /// Frames that the device sent before.
    #[serde(default)]
    pub before: Vec<ExampleFrame>,
    /// The frame.
    pub frame: ExampleFrame,
    /// Which device it is from, if the message says so.
    #[serde(default)]
    pub device: Option<String>,
    /// What it means.
    #[serde(default)]
    pub readings: Vec<Expected>,
    /// The code with which it is rejected.
    #[serde(default)]
    pub reject: Option<String>,
}

/// The bytes of an example and their way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleFrame {
    /// UUID of the characteristic.
    #[serde(default)]
    pub characteristic: Option<String>,
    /// The device's local name.
    #[serde(default)]
    pub name: Option<String>,
    /// UUID of the broadcast service.
    #[serde(default)]
    pub service: Option<String>,
    /// Topic.
    #[serde(default)]
    pub topic: Option<String>,
    /// Octets in hex; spaces are allowed.
    #[serde(default)]
    pub hex: Option<String>,
    /// Text, for JSON.
    #[serde(default)]
    pub text: Option<String>,
}

/// An expected reading. What is not stated must not be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Which vital.
    pub vital: String,
    /// Its one value with its decimals, or the reason for its absence.
    #[serde(default)]
    pub value: Option<String>,
    /// Systolic pressure.
    #[serde(default)]
    pub systolic: Option<String>,
    /// Diastolic pressure.
    #[serde(default)]
    pub diastolic: Option<String>,
    /// Mean pressure.
    #[serde(default)]
    pub mean: Option<String>,
    /// UCUM code.
    pub unit: String,
    /// The device's time: local, or with an offset.
    #[serde(default)]
    pub time: Option<String>,
    /// Record number or message id.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// User slot.
    #[serde(default)]
    pub slot: Option<u8>,
    /// Body site.
    #[serde(default)]
    pub site: Option<String>,
    /// Labels.
    #[serde(default)]
    pub quality: Vec<Quality>,
    /// From the device's memory.
    #[serde(default)]
    pub stored: bool,
}
