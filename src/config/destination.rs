//! Settings of destinations.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::Hl7Settings;
use crate::consent::Rule;
use crate::minimum::{Field, Fields};
use crate::tls::Files;

/// A destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum DestinationSettings {
    /// A FHIR R4 server.
    Fhir(FhirSettings),
    /// HL7 v2 messages over MLLP.
    Hl7(Box<Hl7Settings>),
    /// NDJSON files.
    Ndjson(NdjsonSettings),
    /// Alerts to a signed webhook.
    Webhook(WebhookSettings),
    /// A stream of a NATS server, for a fleet.
    Nats(NatsSettings),
}

impl DestinationSettings {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Fhir(f) => &f.name,
            Self::Hl7(h) => &h.name,
            Self::Ndjson(n) => &n.name,
            Self::Webhook(w) => &w.name,
            Self::Nats(n) => &n.name,
        }
    }

    /// Whose readings may go there, if it says so.
    pub fn consent(&self) -> Option<Rule> {
        match self {
            Self::Fhir(f) => f.consent,
            Self::Hl7(h) => h.consent,
            Self::Ndjson(n) => n.consent,
            Self::Webhook(w) => w.consent,
            Self::Nats(n) => n.consent,
        }
    }

    /// What it gets of them.
    pub fn fields(&self) -> Fields {
        let fields = match self {
            Self::Fhir(f) => &f.fields,
            Self::Hl7(h) => &h.fields,
            Self::Ndjson(n) => &n.fields,
            Self::Webhook(w) => &w.fields,
            Self::Nats(n) => &n.fields,
        };
        Fields::from(fields.as_deref())
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

/// How readings travel together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BundleKind {
    /// `batch`, unless a probe found that the server takes `transaction` only.
    #[default]
    Auto,
    /// Each entry on its own.
    Batch,
    /// All or none; a refused one is divided until the entry that is refused is alone.
    Transaction,
    /// A document: the receiver takes it whole or refuses it; a refused one is divided likewise. Alerts do not go there.
    Collection,
}

/// Which US Core profiles are claimed: `true`, `false`, or a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Said")]
pub enum UsCore {
    /// None.
    None,
    /// In the form of the newest version, without saying which.
    #[default]
    Any,
    /// 6.1.0.
    V6,
    /// 8.0.0.
    V8,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Flag(bool),
    Version(String),
}

impl TryFrom<Said> for UsCore {
    type Error = &'static str;
    fn try_from(said: Said) -> Result<Self, Self::Error> {
        match said {
            Said::Flag(false) => Ok(Self::None),
            Said::Flag(true) => Ok(Self::Any),
            Said::Version(v) if v == "6.1.0" => Ok(Self::V6),
            Said::Version(v) if v == "8.0.0" => Ok(Self::V8),
            Said::Version(_) => Err("`us_core` is \"6.1.0\", \"8.0.0\", true or false"),
        }
    }
}

/// How the devices of an Observation are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceForm {
    /// By identifier.
    #[default]
    Reference,
    /// Within each Observation.
    Contained,
    /// As resources, written once before the first reading.
    Resource,
}

/// How what is at the server is named while nobody knows where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum References {
    /// By its identifier.
    #[default]
    Logical,
    /// In a transaction, by a search that the server answers; else by its identifier.
    Conditional,
}

/// What becomes of a vital sign that no code system has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Uncoded {
    /// It goes out with its name.
    #[default]
    Text,
    /// It waits in the inbox.
    Inbox,
}

/// How the gateway gets a token for a FHIR server.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum AuthSettings {
    /// SMART Backend Services.
    Smart(Box<SmartSettings>),
}

/// SMART Backend Services: a token for an assertion that is signed with a key of the gateway's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmartSettings {
    /// As the centre registered the gateway.
    pub client_id: String,
    /// Private key (PKCS#8 PEM), made by `wardline key smart new`. It says how it signs: ES384 or RS384.
    pub key_file: PathBuf,
    /// What to ask for, e.g. `system/Observation.cu`.
    pub scopes: Vec<String>,
    /// Where tokens are given; without it, what the FHIR server's SMART configuration says.
    #[serde(default)]
    pub token_url: Option<String>,
    /// Where the public keys are written, for whoever serves them.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// Where they are served, for a token server that wants it in each assertion.
    #[serde(default)]
    pub jku: Option<String>,
    /// A new key is tried after the centre had so long to fetch it, minutes.
    #[serde(default = "new_key_after")]
    pub new_key_after_min: u64,
}

fn new_key_after() -> u64 {
    60
}

/// Who brings what a centre orders into force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Apply {
    /// A person accepts each order.
    #[default]
    SignOff,
    /// What makes sense here is in force at once.
    Automatic,
}

/// The centre's limits and orders are asked for and followed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarePlanSettings {
    /// Who brings them into force.
    #[serde(default)]
    pub apply: Apply,
    /// How often the centre is asked, minutes.
    #[serde(default = "every_min")]
    pub every_min: u64,
    /// Consents of this server count here, and who brings what permits into force. Absent: they are not asked for.
    #[serde(default)]
    pub consents: Option<Apply>,
    /// What a code of such a Consent (`system|code`) means here.
    #[serde(default)]
    pub consent_codes: BTreeMap<String, String>,
}

fn every_min() -> u64 {
    15
}

/// What people at the centre do with the Task of an alert is asked for and shown here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowTasksSettings {
    /// How often the centre is asked, seconds.
    #[serde(default = "every_s")]
    pub every_s: u64,
}

fn every_s() -> u64 {
    60
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
    /// Whose readings may go there: no default, `Config::check` asks for it.
    #[serde(default)]
    pub consent: Option<Rule>,
    /// What it gets beside the core; default: everything.
    #[serde(default)]
    pub fields: Option<Vec<Field>>,
    /// How readings travel together.
    #[serde(default)]
    pub bundle: BundleKind,
    /// Entries in a Bundle at most.
    #[serde(default = "bundle_max")]
    pub bundle_max: usize,
    /// Requests in a minute at most; 0: no limit. An alert does not wait for it.
    #[serde(default)]
    pub requests_per_min: u32,
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
    /// Revocation lists (PEM) of the CAs.
    #[serde(default)]
    pub crl_file: Option<PathBuf>,
    /// Client certificate chain (PEM).
    #[serde(default)]
    pub client_certificate_file: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// File with a static bearer token (for a lab).
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// How the gateway gets a token of its own.
    #[serde(default)]
    pub auth: Option<AuthSettings>,
    /// A named set of defaults for the other keys.
    #[serde(default)]
    pub profile: Option<String>,
    /// Claim US Core profiles in `meta.profile`.
    #[serde(default)]
    pub us_core: UsCore,
    /// Claim the profiles of the Personal Health Device guide.
    #[serde(default)]
    pub phd: bool,
    /// How devices are named.
    #[serde(default)]
    pub devices: DeviceForm,
    /// With Devices as resources: what each measures is written as well (DeviceMetric).
    #[serde(default)]
    pub device_metrics: bool,
    /// How Devices are named whose place is not known.
    #[serde(default)]
    pub references: References,
    /// Vital signs without a code.
    #[serde(default)]
    pub uncoded: Uncoded,
    /// The destination's own codes and units (TOML).
    #[serde(default)]
    pub mapping_file: Option<PathBuf>,
    /// It is told what people did at the box, as AuditEvents.
    #[serde(default)]
    pub audit: bool,
    /// Who owns the Task of an alert, e.g. `Group/care-managers`.
    #[serde(default)]
    pub alert_owner: Option<String>,
    /// Goals and orders of this server are followed; absent: they are not.
    #[serde(default)]
    pub care_plan: Option<CarePlanSettings>,
    /// What is done with the Tasks of alerts there comes back, and is not overwritten; absent: neither.
    #[serde(default)]
    pub follow_tasks: Option<FollowTasksSettings>,
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
    /// Whose readings may go there: no default, `Config::check` asks for it.
    #[serde(default)]
    pub consent: Option<Rule>,
    /// What it gets beside the core; default: everything.
    #[serde(default)]
    pub fields: Option<Vec<Field>>,
    /// A new file after this many MiB.
    #[serde(default = "rotate")]
    pub rotate_mib: u64,
    /// In the form of a Bulk Data export: a file shows when it is whole, and `manifest.json` lists the whole ones.
    #[serde(default)]
    pub bulk: bool,
    /// With `bulk`: a file is closed after this many minutes.
    #[serde(default = "rotate_min")]
    pub rotate_min: u64,
}

fn rotate_min() -> u64 {
    60
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
    /// Whose readings may go there: no default, `Config::check` asks for it.
    #[serde(default)]
    pub consent: Option<Rule>,
    /// What it gets beside the core; default: everything.
    #[serde(default)]
    pub fields: Option<Vec<Field>>,
    /// CA certificates (PEM) beside the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Revocation lists (PEM) of the CAs.
    #[serde(default)]
    pub crl_file: Option<PathBuf>,
    /// Time-out of a request, seconds.
    #[serde(default = "timeout")]
    pub timeout_s: u64,
}

impl WebhookSettings {
    /// What TLS is made with.
    pub fn tls(&self) -> Files {
        Files { machine_too: true, authorities: self.ca_file.clone(), revoked: self.crl_file.clone(), identity: None }
    }
}

/// A stream of a NATS server (JetStream), from which relays bring what it holds to the centre.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    /// Name of the destination.
    pub name: String,
    /// `tls://host:4222`, or `nats://` on this machine; the next is asked when one is away.
    pub servers: Vec<String>,
    /// The stream.
    pub stream: String,
    /// Whose readings may go there: no default, `Config::check` asks for it.
    #[serde(default)]
    pub consent: Option<Rule>,
    /// What it gets beside the core; default: everything.
    #[serde(default)]
    pub fields: Option<Vec<Field>>,
    /// First word of the subjects: `wardline` of `wardline.box-1.readings`.
    #[serde(default = "subject_prefix")]
    pub subject_prefix: String,
    /// Create the stream if it is not there.
    #[serde(default)]
    pub create: bool,
    /// With it, `credentials_file` holds the password.
    #[serde(default)]
    pub user: Option<String>,
    /// Credentials of `nsc`, an nkey seed, or a token.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// CA certificates (PEM) beside the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Revocation lists (PEM) of the CAs.
    #[serde(default)]
    pub crl_file: Option<PathBuf>,
    /// Client certificate chain (PEM).
    #[serde(default)]
    pub client_certificate_file: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// How long the stream's word is waited for, seconds.
    #[serde(default = "stream_timeout")]
    pub timeout_s: u64,
}

fn subject_prefix() -> String {
    "wardline".into()
}
fn stream_timeout() -> u64 {
    10
}
