//! What the control plane says, as JSON: one type for each answer, shared by handlers, CLI and page.
//!
//! Times are milliseconds since 1970 unless a field says otherwise.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::radio::RadioState;
use crate::custody::Why;
use crate::reading::{PatientId, Reading};

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the gateway.
    pub version: String,
    /// Name of the box.
    pub gateway: Arc<str>,
    /// When the process started.
    pub started_ms: i64,
    /// Seconds since then, by the monotonic clock.
    pub uptime_s: u64,
    /// The wall clock is plausible.
    pub clock_trusted: bool,
    /// Parts that make no progress; empty: all is well.
    pub stalled: Vec<String>,
    /// Sources.
    pub sources: Vec<Link>,
    /// Destinations.
    pub destinations: Vec<Link>,
    /// What waits for each destination.
    pub outbox: Vec<Outbox>,
    /// Causes for which something is stuck: see the inbox.
    #[serde(default)]
    pub inbox: usize,
    /// The Bluetooth radio and its devices; `None`: there is no such source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radio: Option<RadioState>,
    /// Open alerts.
    pub alerts: AlertCounts,
}

/// How a source or a destination is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// `mqtt`, `fhir`, …
    pub kind: String,
    /// Its state.
    pub state: LinkState,
    /// Since when; `None`: since the start.
    pub since_ms: Option<i64>,
    /// Why it is not up.
    pub why: Option<Why>,
}

/// The state of a source or a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Not tried yet.
    Starting,
    /// Works.
    Up,
    /// Does not; it is tried again.
    Down,
}

impl LinkState {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What waits for one destination, and what it refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    /// The destination.
    pub destination: Arc<str>,
    /// Items that wait.
    pub waiting: u64,
    /// When the oldest of them was committed.
    pub oldest_ms: Option<i64>,
    /// Items that the destination refused for good.
    pub rejected: u64,
    /// Delivered in all.
    pub delivered: u64,
    /// Newest failures, each with its code.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// Of what waits: what lacks a consent.
    #[serde(default)]
    pub withheld: Vec<Withheld>,
}

/// What one missing consent keeps from a destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Withheld {
    /// Whose consent. `None`: an alert of a device that is nobody's.
    pub patient: Option<PatientId>,
    /// The category that it must cover.
    pub category: String,
    /// Readings.
    pub readings: u64,
    /// Alert events.
    pub alerts: u64,
    /// When the oldest of them was taken in.
    pub oldest_ms: i64,
}

/// An item that was not delivered, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// `reading` or `alert`, and its id.
    pub item: String,
    /// When it was last tried.
    pub at_ms: i64,
    /// Tries so far.
    pub attempts: u32,
    /// It will not be tried again.
    pub rejected: bool,
    /// Code and sentence.
    pub why: Why,
}

/// Open alerts by priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCounts {
    /// High.
    pub high: usize,
    /// Medium.
    pub medium: usize,
    /// Low.
    pub low: usize,
    /// Of all these, not yet taken by a person.
    pub unacknowledged: usize,
}

/// Which readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Of this device.
    pub device: Option<String>,
    /// Received at or after this instant.
    pub since_ms: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// Which readings are exported, and how.
#[derive(Clone, Debug)]
pub struct ExportFilter {
    /// Taken at or after this instant.
    pub since_ms: i64,
    /// And before this one.
    pub until_ms: i64,
    /// Of this device.
    pub device: Option<String>,
    /// Of this patient.
    pub patient: Option<PatientId>,
    /// How.
    pub format: ExportFormat,
}

/// What an export holds, said when it is whole: behind its lines, after [`EXPORT_SAID`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Lines, without a header.
    pub lines: u64,
    /// Readings that are not in it.
    pub left_out: LeftOut,
}

/// Why readings are not in an export. Counts only: of whom is nobody's business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// They are nobody's, who could have consented.
    pub no_patient: u64,
    /// Their patient's consent is lacking.
    pub no_consent: u64,
    /// Rows that cannot be read.
    pub damaged: u64,
}

/// Begins what is said behind the lines of an export: no line holds it.
pub const EXPORT_SAID: u8 = 0x1e;

/// The form of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// RFC 4180, with a header.
    #[default]
    Csv,
    /// One JSON object a line.
    Ndjson,
}

/// One line of `GET /v1/readings`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The reading; its `key` is the id for `explain`.
    pub reading: Reading,
    /// When it was synced to disk.
    pub committed_ms: i64,
    /// Where it stands at each destination.
    pub destinations: Vec<Standing>,
}

/// Where an item stands at one destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The destination.
    pub destination: Arc<str>,
    /// `waiting`, `delivered`, `rejected`, `expired`.
    pub state: String,
    /// The receipt's location, or why it waits or was refused.
    pub note: Option<String>,
}

/// `GET /v1/readings/{id}`: bytes → rule → reading → resource → attempts → receipt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// The bytes as they came.
    pub frame: Option<RawFrame>,
    /// The decode rule: id of the profile.
    pub rule: Arc<str>,
    /// What the bytes mean.
    pub reading: Reading,
    /// When it was synced to disk.
    pub committed_ms: i64,
    /// What is sent: the FHIR resource. `None`: unassigned, never sent.
    pub resource: Option<Box<serde_json::value::RawValue>>,
    /// Each attempt at each destination, oldest first.
    pub attempts: Vec<Attempt>,
    /// Where it stands at each destination.
    pub destinations: Vec<Standing>,
}

/// Bytes as they came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawFrame {
    /// Name of the source.
    pub source: Arc<str>,
    /// Topic, characteristic or service.
    pub channel: String,
    /// Hex digits; `None`: the bytes have been cleared by retention.
    pub hex: Option<String>,
    /// When they came.
    pub received_ms: i64,
}

/// One line of `GET /v1/custody`: one day, patient and destination.
/// `committed = delivered + waiting + refused + discarded`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// `2026-11-22`, UTC.
    pub day: String,
    /// Whose; `None`: nobody's yet, never sent.
    pub patient: Option<PatientId>,
    /// The destination; `None` for what is nobody's.
    pub destination: Option<Arc<str>>,
    /// Taken in on that day.
    pub committed: u64,
    /// There, with a receipt.
    pub delivered: u64,
    /// Owed.
    pub waiting: u64,
    /// In the inbox.
    pub refused: u64,
    /// Given up, by a person.
    pub discarded: u64,
    /// When the oldest was taken in that is owed.
    pub oldest_ms: Option<i64>,
}

/// `GET /v1/custody/verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// Nothing is wrong.
    pub intact: bool,
    /// Entries of the chain.
    pub entries: u64,
    /// Readings that are there.
    pub readings: u64,
    /// Readings that retention removed.
    pub removed: u64,
    /// Seal of the newest entry, hex.
    pub head: Option<String>,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// `GET /v1/storage`. Sizes are octets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    /// What the journal may take (`journal.budget_mib`).
    pub budget: u64,
    /// What must stay free on the disk (`journal.reserve_mib`): below it nothing new is acknowledged, alerts go on.
    pub reserve: u64,
    /// Settled readings are kept so long, days (`journal.keep_settled_days`).
    pub keep_settled_days: u32,
    /// What the journal holds.
    pub used: u64,
    /// Its file.
    pub file: u64,
    /// Its write-ahead log.
    pub wal: u64,
    /// Free on the disk.
    pub free: Option<u64>,
    /// Readings.
    pub readings: u64,
    /// Of these, owed: never given up.
    pub waiting: u64,
    /// Readings whose raw bytes are kept.
    pub with_bytes: u64,
    /// When the oldest was taken in.
    pub oldest_ms: Option<i64>,
    /// Taken in during the last 24 hours.
    pub last_day: u64,
    /// At this rate, with nothing delivered: days until nothing new can be taken in. `None`: no rate yet.
    pub days_left: Option<u64>,
}

/// What a copy of the journal holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// Readings.
    pub readings: u64,
    /// When the newest was taken in.
    pub newest_ms: Option<i64>,
    /// Octets.
    pub bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Seal of the newest entry of the chain of custody, hex.
    pub head: Option<String>,
}

/// One try at one destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The destination.
    pub destination: Arc<str>,
    /// When.
    pub at_ms: i64,
    /// `delivered`, `retry`, `rejected`.
    pub outcome: String,
    /// The receipt, or the reason with its code.
    pub note: Option<String>,
}
