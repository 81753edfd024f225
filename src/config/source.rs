//! Settings of sources.

use std::path::PathBuf;

use serde::Deserialize;

/// A source of bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum SourceSettings {
    /// A broker.
    Mqtt(MqttSettings),
    /// Bluetooth LE devices around the box.
    Bluetooth(BluetoothSettings),
}

impl SourceSettings {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Mqtt(m) => &m.name,
            Self::Bluetooth(b) => &b.name,
        }
    }
}

/// The Bluetooth source. Which devices it connects to: `[[device]]` with an id that begins with `ble:`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BluetoothSettings {
    /// Name of the source.
    pub name: String,
    /// `hci0`; default: the first adapter.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Devices connected at once; the others take turns.
    #[serde(default = "max_connected")]
    pub max_connected: usize,
    /// Minutes without any advertisement, after restarts that did not help, that are an alert; 0: never.
    #[serde(default = "silence_alert_min")]
    pub silence_alert_min: u32,
    /// Values of a stream are delivered as their mean over so many seconds; 0: each value.
    #[serde(default = "stream_period")]
    pub stream_period_s: u64,
}

fn stream_period() -> u64 {
    60
}

fn max_connected() -> usize {
    crate::limits::BLE_CONNECTED_DEFAULT
}
fn silence_alert_min() -> u32 {
    30
}

/// MQTT protocol level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MqttVersion {
    /// MQTT 5.0.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
}

/// An MQTT source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// Name of the source.
    pub name: String,
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// Protocol level.
    #[serde(default)]
    pub version: MqttVersion,
    /// Client id: the broker keeps the session under it. Default: `wardline-<gateway id>`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Topic filters; default: the patterns of the profiles.
    #[serde(default)]
    pub topics: Vec<String>,
    /// User name.
    #[serde(default)]
    pub user: Option<String>,
    /// File with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// CA certificates (PEM); default: the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Revocation lists (PEM) of those CAs.
    #[serde(default)]
    pub crl_file: Option<PathBuf>,
    /// Client certificate chain (PEM).
    #[serde(default)]
    pub client_certificate_file: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// Publishes unacknowledged at once.
    #[serde(default = "in_flight")]
    pub in_flight: u16,
    /// How long the broker keeps our session while we are away, hours.
    #[serde(default = "session_hours")]
    pub session_hours: u32,
}

fn in_flight() -> u16 {
    200
}
fn session_hours() -> u32 {
    24 * 14
}
