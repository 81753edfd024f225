//! Settings of a destination that speaks HL7 v2 over MLLP.

use std::path::PathBuf;

use serde::Deserialize;

use crate::consent::Rule;
use crate::minimum::Field;

/// Which of two codings stands first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstCode {
    /// ISO/IEEE 11073, with LOINC as the alternative.
    #[default]
    Mdc,
    /// LOINC, with ISO/IEEE 11073 as the alternative.
    Loinc,
}

/// Which of two units stands first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstUnit {
    /// ISO/IEEE 11073, with UCUM as the alternative.
    #[default]
    Mdc,
    /// UCUM, with ISO/IEEE 11073 as the alternative.
    Ucum,
}

/// OBX-11 of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ResultStatus {
    /// Entered, not verified: nobody at the box has looked at it.
    #[default]
    R,
    /// Final, for a receiver that files nothing else.
    F,
}

/// Messages in one batch at most: with an acknowledgement for each, the answer stays within what is read of one.
pub const HL7_BATCH_MAX: usize = 200;

/// The character set of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum CharacterSet {
    /// `UNICODE UTF-8`.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1, which western Europe's older systems have.
    #[serde(rename = "8859/1")]
    Latin1,
    /// Seven bits.
    #[serde(rename = "ascii")]
    Ascii,
}

/// A receiver of HL7 v2.6 messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hl7Settings {
    /// Name of the destination.
    pub name: String,
    /// `mllps://host:port`; `mllp` on this machine only.
    pub url: String,
    /// PID-3.4, who gave the patients' references: no default, it decides whose chart a reading goes into.
    pub assigning_authority: String,
    /// Whose readings may go there: no default, `Config::check` asks for it.
    #[serde(default)]
    pub consent: Option<Rule>,
    /// What it gets beside the core; default: everything of a reading. What is of a person it gets only if it is named here.
    #[serde(default)]
    pub fields: Option<Vec<Field>>,
    /// PID-3.5.
    #[serde(default = "identifier_type")]
    pub identifier_type: String,
    /// PID-3.4 of the identifier among the match fields: needed where `fields` has `patient-identifier`.
    #[serde(default)]
    pub match_authority: Option<String>,
    /// PID-3.5 of it.
    #[serde(default = "match_identifier_type")]
    pub match_identifier_type: String,
    /// MSH-5.
    #[serde(default)]
    pub receiving_application: String,
    /// MSH-6.
    #[serde(default)]
    pub receiving_facility: String,
    /// MSH-4.
    #[serde(default)]
    pub sending_facility: String,
    /// The gateway's EUI-64; without it one is made of `gateway.id`.
    #[serde(default)]
    pub eui64: Option<String>,
    /// MSH-11.
    #[serde(default = "processing_id")]
    pub processing_id: String,
    /// MSH-21 of readings.
    #[serde(default = "message_profile")]
    pub message_profile: String,
    /// Which code stands first in OBX-3.
    #[serde(default)]
    pub first_code: FirstCode,
    /// Which unit stands first in OBX-6.
    #[serde(default)]
    pub first_unit: FirstUnit,
    /// OBX-11 of a value.
    #[serde(default)]
    pub result_status: ResultStatus,
    /// Readings of one patient in a message at most.
    #[serde(default = "one")]
    pub readings_per_message: usize,
    /// Messages in one batch (BHS, BTS) at most, where more than one reading waits; 1: no batches.
    #[serde(default = "one")]
    pub batch: usize,
    /// MSH-18, and the octets of messages.
    #[serde(default)]
    pub charset: CharacterSet,
    /// Alerts go there as well (PCD-04).
    #[serde(default)]
    pub alerts: bool,
    /// MSH-21 of alerts.
    #[serde(default = "alert_profile")]
    pub alert_profile: String,
    /// Codes of an alert's facets 1 to 7.
    #[serde(default = "alert_facets")]
    pub alert_facets: [String; 7],
    /// One connection for many messages; else one for each.
    #[serde(default = "yes")]
    pub keep_connection: bool,
    /// How long an acknowledgement is waited for, seconds.
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
}

fn identifier_type() -> String {
    "PI".into()
}
fn match_identifier_type() -> String {
    "MR".into()
}
fn processing_id() -> String {
    "P".into()
}
fn message_profile() -> String {
    "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO".into()
}
fn alert_profile() -> String {
    "IHE_PCD_ACM_001^IHE PCD^1.3.6.1.4.1.19376.1.6.4.4^ISO".into()
}
fn alert_facets() -> [String; 7] {
    [
        "196616^MDC_EVT_ALARM",
        "68480^MDC_ATTR_ALERT_SOURCE",
        "68481^MDC_ATTR_EVENT_PHASE",
        "68482^MDC_ATTR_ALARM_STATE",
        "68483^MDC_ATTR_ALARM_INACTIVATION_STATE",
        "68484^MDC_ATTR_ALARM_PRIORITY",
        "68485^MDC_ATTR_ALERT_TYPE",
    ]
    .map(|code| format!("{code}^MDC"))
}
fn yes() -> bool {
    true
}
fn one() -> usize {
    1
}
fn timeout() -> u64 {
    30
}
