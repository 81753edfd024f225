//! Settings of destinations.

use std::path::PathBuf;

use serde::Deserialize;

use crate::tls::Files;

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
}

fn every_min() -> u64 {
    15
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
    /// Goals and orders of this server are followed; absent: they are not.
    #[serde(default)]
    pub care_plan: Option<CarePlanSettings>,
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
