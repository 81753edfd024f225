//! Settings: parsed once into types that cannot be wrong. Unknown keys are errors.
//!
//! Files hold no secrets: they name files that do (`…_file`), which must not be readable by others.
//! Must never: guess a default for something that decides where patient data goes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::reading::{DeviceId, PatientId};

mod check;
mod consent;
mod destination;
mod fingerprint;
mod hl7;
mod load;
pub mod preset;
mod relay;
mod source;
#[cfg(test)]
mod tests;
mod tls;

pub use check::{check_device, url_trouble};
pub use consent::ConsentSettings;
pub use destination::{
    Apply, AuthSettings, BundleKind, CarePlanSettings, DestinationSettings, DeviceForm, FhirSettings,
    FollowTasksSettings, Idempotency, NatsSettings, NdjsonSettings, References, SmartSettings, Uncoded, UsCore,
    WebhookSettings,
};
pub use fingerprint::fingerprint;
pub use hl7::{CharacterSet, FirstCode, FirstUnit, HL7_BATCH_MAX, Hl7Settings, ResultStatus};
pub use load::{ConfigError, Finding};
pub use relay::{RelayConfig, RelaySettings};
pub use source::{BluetoothSettings, MqttSettings, MqttVersion, SourceSettings};

/// One configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The box itself.
    pub gateway: Gateway,
    /// The journal.
    #[serde(default)]
    pub journal: JournalSettings,
    /// Sockets.
    #[serde(default)]
    pub control: ControlSettings,
    /// The local page; absent: off.
    #[serde(default)]
    pub page: Option<PageSettings>,
    /// Where bytes come from.
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceSettings>,
    /// What needs a consent of its own.
    #[serde(default)]
    pub consent: ConsentSettings,
    /// Where readings and alerts go.
    #[serde(default, rename = "destination")]
    pub destinations: Vec<DestinationSettings>,
    /// Whose readings this box may send.
    #[serde(default, rename = "patient")]
    pub patients: Vec<PatientSettings>,
    /// Which devices belong to whom.
    #[serde(default, rename = "device")]
    pub devices: Vec<DeviceSettings>,
    /// Alert rules.
    #[serde(default)]
    pub alerts: AlertSettings,
    /// The outbound sign of life; absent: off.
    #[serde(default)]
    pub heartbeat: Option<HeartbeatSettings>,
    /// Logs.
    #[serde(default)]
    pub log: LogSettings,
}

/// The box itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Name of this box at the centre; part of resource ids: 1–64 of `A–Z a–z 0–9 - .`.
    pub id: String,
    /// Folder of the journal and other state.
    pub state: PathBuf,
    /// IANA name of the zone in which devices without a zone tell the time.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Folder of firmware profiles beside the built-in ones.
    #[serde(default)]
    pub profiles: Option<PathBuf>,
    /// When the box's own clock is believed.
    #[serde(default)]
    pub clock: ClockTrust,
    /// A file that is there once the clock was set; systemd-timesyncd writes the default one.
    #[serde(default = "synchronized")]
    pub clock_file: PathBuf,
}

/// When the box's own clock is believed. Never before the time of this build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockTrust {
    /// With a battery-backed clock from the start; else once it was set, where the machine can tell.
    #[default]
    Auto,
    /// Once it was set by a time server, whatever the machine has.
    Synchronised,
    /// Always.
    Always,
}

fn synchronized() -> PathBuf {
    "/run/systemd/timesync/synchronized".into()
}

fn utc() -> String {
    "UTC".into()
}

/// The journal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalSettings {
    /// Thin traffic is committed once in this time at most, milliseconds. What comes after a pause waits for nothing, nor does an alert.
    pub commit_linger_ms: u64,
    /// Settled readings are kept this long, days.
    pub keep_settled_days: u32,
    /// The journal's share of the disk, MiB; beyond it, raw bytes of settled readings go first, then settled readings, nothing else.
    pub budget_mib: u64,
    /// Free space that must remain, MiB; below it nothing new is acknowledged.
    pub reserve_mib: u64,
    /// File with the key that encrypts the journal (`wardline key new`); nobody but the gateway's user can read it.
    pub key_file: Option<PathBuf>,
    /// The journal is not encrypted, on purpose: only where nobody can take the disk.
    pub unencrypted: bool,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            commit_linger_ms: 100,
            keep_settled_days: 30,
            budget_mib: 512,
            reserve_mib: 32,
            key_file: None,
            unencrypted: false,
        }
    }
}

/// Sockets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlSettings {
    /// Commands: mode 0660, peer credentials decide.
    pub socket: PathBuf,
    /// Health and metrics, read-only.
    pub status_socket: PathBuf,
    /// Health and metrics over TCP as well; loopback only.
    pub status_tcp: Option<SocketAddr>,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            socket: "/run/wardline/control.sock".into(),
            status_socket: "/run/wardline/status.sock".into(),
            status_tcp: None,
        }
    }
}

/// The local page.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageSettings {
    /// Loopback only, until it has TLS and sessions.
    pub listen: SocketAddr,
}

/// A patient of this box. Redacts itself.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatientSettings {
    /// Pseudonymous reference at the centre: `Patient/8f2c`.
    pub reference: PatientId,
    /// What the household calls them; shown on the page only.
    #[serde(default)]
    pub display: Option<String>,
    /// Overrides of alert rules for this patient: rule id → limits.
    #[serde(default)]
    pub limits: Vec<LimitOverride>,
}

impl std::fmt::Debug for PatientSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PatientSettings(…)")
    }
}

/// A limit of a rule, replaced for one patient.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOverride {
    /// Id of the rule.
    pub rule: String,
    /// New limit, with its unit.
    pub limit: crate::decimal::DecimalText,
    /// New clear condition in the same unit; default: as far from the limit as the rule's.
    #[serde(default)]
    pub clear: Option<crate::decimal::DecimalText>,
    /// UCUM code.
    pub unit: String,
}

/// A device and its holder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSettings {
    /// `mqtt:cuff-17`, `ble:C0:26:DF:00:11:22`.
    pub id: DeviceId,
    /// The patient who holds it alone.
    #[serde(default)]
    pub patient: Option<PatientId>,
    /// Patients by user slot, for a shared device.
    #[serde(default)]
    pub slots: std::collections::BTreeMap<String, PatientId>,
    /// Hand-out: since when it is with them; what it stored before is not taken for theirs. Default: nobody else ever had it.
    #[serde(default)]
    pub since: Option<jiff::Timestamp>,
    /// Zone of this device's clock, if it is not the gateway's.
    #[serde(default)]
    pub time_zone: Option<String>,
}

/// Alert rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertSettings {
    /// Files with rules, relative to the configuration file; none: the shipped set.
    pub rules: Vec<PathBuf>,
    /// A reading taken longer ago than this when it arrives is recorded as retrospective, never paged as "now"; minutes.
    pub old_after_min: u32,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self { rules: Vec::new(), old_after_min: 15 }
    }
}

impl AlertSettings {
    /// The age from which a reading is retrospective.
    pub fn old_after(&self) -> std::time::Duration {
        std::time::Duration::from_secs(u64::from(self.old_after_min) * 60)
    }
}

/// The outbound sign of life.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatSettings {
    /// Where to POST.
    pub url: String,
    /// How often, seconds.
    #[serde(default = "heartbeat_every")]
    pub every_s: u64,
    /// CA certificates (PEM) beside the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn heartbeat_every() -> u64 {
    60
}

/// Logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// JSON lines rather than text.
    pub json: bool,
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { json: false, level: "info".into() }
    }
}

/// What every task shares of the box: its name.
pub type GatewayId = Arc<str>;
