//! Settings of destinations.

use std::path::PathBuf;

use serde::Deserialize;

use super::Hl7Settings;
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
    /// Claim US Core profiles in `meta.profile`.
    #[serde(default = "yes")]
    pub us_core: bool,
    /// Who owns the Task of an alert, e.g. `Group/care-managers`.
    #[serde(default)]
    pub alert_owner: Option<String>,
}

impl FhirSettings {
    /// What TLS is made with.
    pub fn tls(&self) -> Files {
        Files {
            machine_too: true,
            authorities: self.ca_file.clone(),
            revoked: self.crl_file.clone(),
            identity: self.client_certificate_file.clone().zip(self.client_key_file.clone()),
        }
    }
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

impl NatsSettings {
    /// What TLS is made with.
    pub fn tls(&self) -> Files {
        Files {
            machine_too: true,
            authorities: self.ca_file.clone(),
            revoked: self.crl_file.clone(),
            identity: self.client_certificate_file.clone().zip(self.client_key_file.clone()),
        }
    }
}

fn subject_prefix() -> String {
    "wardline".into()
}
fn stream_timeout() -> u64 {
    10
}
