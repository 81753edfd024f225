//! Settings: parsed once into types that cannot be wrong. Unknown keys are errors.
//!
//! Files hold no secrets: they name files that do (`…_file`), which must not be readable by others.
//! Must never: guess a default for something that decides where patient data goes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fault::Explain;
use crate::reading::{DeviceId, PatientId};

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
}

fn utc() -> String {
    "UTC".into()
}

/// The journal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalSettings {
    /// How long thin traffic waits for company before a commit, milliseconds; 0: never. An alert never waits.
    pub commit_linger_ms: u64,
    /// Settled readings are kept this long, days.
    pub keep_settled_days: u32,
    /// The journal's share of the disk, MiB; beyond it, raw bytes of settled readings go first, then settled readings, nothing else.
    pub budget_mib: u64,
    /// Free space that must remain, MiB; below it nothing new is acknowledged.
    pub reserve_mib: u64,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { commit_linger_ms: 20, keep_settled_days: 30, budget_mib: 512, reserve_mib: 32 }
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

/// A source of bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum SourceSettings {
    /// A broker.
    Mqtt(MqttSettings),
}

impl SourceSettings {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Mqtt(m) => &m.name,
        }
    }
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

/// A destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum DestinationSettings {
    /// A FHIR R4 server.
    Fhir(FhirSettings),
    /// NDJSON files.
    Ndjson(NdjsonSettings),
    /// Alerts to a signed webhook.
    Webhook(WebhookSettings),
}

impl DestinationSettings {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Fhir(f) => &f.name,
            Self::Ndjson(n) => &n.name,
            Self::Webhook(w) => &w.name,
        }
    }
}

/// How a FHIR server is kept from storing a reading twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idempotency {
    /// `ifNoneExist` on the identifier.
    ConditionalCreate,
    /// PUT with an id derived from the identity.
    Update,
}

/// A FHIR R4 server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FhirSettings {
    /// Name of the destination.
    pub name: String,
    /// Base URL.
    pub url: String,
    /// How duplicates are shut out: no default, it depends on the server.
    pub idempotency: Idempotency,
    /// Entries in a Bundle at most.
    #[serde(default = "bundle_max")]
    pub bundle_max: usize,
    /// Compress request bodies.
    #[serde(default = "yes")]
    pub gzip: bool,
    /// How long thin traffic waits for company before a POST, milliseconds. An alert never waits.
    #[serde(default = "linger")]
    pub linger_ms: u64,
    /// Time-out of a request, seconds.
    #[serde(default = "timeout")]
    pub timeout_s: u64,
    /// CA certificates (PEM) beside the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// File with a static bearer token (for a lab).
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Claim US Core profiles in `meta.profile`.
    #[serde(default = "yes")]
    pub us_core: bool,
    /// Who owns the Task of an alert, e.g. `Group/care-managers`.
    #[serde(default)]
    pub alert_owner: Option<String>,
}

fn bundle_max() -> usize {
    100
}
fn yes() -> bool {
    true
}
fn linger() -> u64 {
    50
}
fn timeout() -> u64 {
    30
}

/// NDJSON files: one Observation a line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NdjsonSettings {
    /// Name of the destination.
    pub name: String,
    /// Folder.
    pub folder: PathBuf,
    /// A new file after this many MiB.
    #[serde(default = "rotate")]
    pub rotate_mib: u64,
}

fn rotate() -> u64 {
    64
}

/// A webhook for alerts. The body is signed: `Wardline-Signature: t=…,v1=hex(HMAC-SHA256(secret, t.body))`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Name of the destination.
    pub name: String,
    /// Where to POST.
    pub url: String,
    /// File with the shared secret.
    pub secret_file: PathBuf,
    /// CA certificates (PEM) beside the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Time-out of a request, seconds.
    #[serde(default = "timeout")]
    pub timeout_s: u64,
}

/// A patient of this box.
#[derive(Clone, Debug, Deserialize)]
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

/// A limit of a rule, replaced for one patient.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOverride {
    /// Id of the rule.
    pub rule: String,
    /// New limit, with its unit.
    pub limit: crate::decimal::DecimalText,
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
    /// Zone of this device's clock, if it is not the gateway's.
    #[serde(default)]
    pub time_zone: Option<String>,
}

/// Alert rules.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertSettings {
    /// Files with rules, relative to the configuration file.
    #[serde(default)]
    pub rules: Vec<PathBuf>,
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

/// Why a configuration is refused: file, key, reason, remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Make the file readable.
    #[error("{file}: cannot be read: {source}")]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Correct the file where it says.
    #[error("{file}: {reason}")]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// Line, key and reason.
        reason: String,
    },
}

impl Explain for ConfigError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "WL-C001",
            Self::Invalid { .. } => "WL-C002",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "Give the path of a file that the gateway's user can read.",
            Self::Invalid { .. } => "Correct the file and run `wardline check`.",
        }
    }
}

impl Config {
    /// Reads a file; paths in it are made relative to its folder.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable { file: file.into(), source })?;
        Self::parse(&text, file)
    }

    /// Parses a text; `file` is named in errors and gives the folder of relative paths.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let invalid = |reason: String| ConfigError::Invalid { file: file.into(), reason };
        let config: Self = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
        Ok(config)
    }
}

/// What every task shares of the box: its name.
pub type GatewayId = Arc<str>;
