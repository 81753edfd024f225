//! Destinations, one file each; [`deliver`] is the one loop for all of them.
//!
//! A sink gets a batch and answers for each item. Leasing, lanes, back-off, `Retry-After`, the breaker live in `deliver.rs` only.
//! Must never: answer Delivered without the destination's own word.

mod amend;
mod answer;
pub mod audits;
pub mod claims;
mod clocks;
pub mod deliver;
mod device_metrics;
pub mod fhir;
mod flight;
mod gate;
mod habits;
pub mod http;
mod loads;
mod manifest;
pub mod mllp;
pub mod nats;
pub mod ndjson;
mod pace;
mod places;
pub mod probe;
mod searched;
pub mod smart;
mod tasks;
mod transactions;
pub mod webhook;
mod why;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

pub use gate::Gate;
pub use pace::Dice;
pub use why::Trouble;

use crate::clock::{Clock, Stamp};
use crate::config::{DestinationSettings, GatewayId};
use crate::custody::{Item, ItemId, Lane, Outcome, Payload, Why};
use crate::fault::Explain;
use crate::mapping::MappingError;
use crate::nameplate::Nameplates;
use crate::reading::{Reading, ReadingKey};
use crate::secret::SecretError;

/// A destination, ready to take items.
pub enum Sink {
    /// A FHIR R4 server.
    Fhir(Box<fhir::FhirSink>),
    /// HL7 v2 messages over MLLP.
    Hl7(Box<mllp::MllpSink>),
    /// NDJSON files.
    Ndjson(ndjson::NdjsonSink),
    /// Alerts to a signed webhook.
    Webhook(Box<webhook::WebhookSink>),
    /// A stream of a NATS server.
    Nats(Box<nats::NatsSink>),
}

/// What the loop needs of a destination.
pub trait Destination {
    /// One outcome for each item, in order. `evidence`: readings that the alerts among them point to.
    fn deliver(&self, items: &[Item], evidence: &[Arc<Reading>]) -> impl Future<Output = Vec<Outcome>>;
    /// Items at once, at most.
    fn batch_max(&self) -> usize;
    /// How long thin traffic waits for company.
    fn linger(&self) -> Duration;
    /// Whether readings go there.
    fn takes_readings(&self) -> bool;
    /// Whether alert events go there.
    fn takes_alerts(&self) -> bool;
}

impl Sink {
    /// From settings: reads secrets and certificates, opens files; sends nothing.
    pub fn build(settings: &DestinationSettings, gateway: &GatewayId, clock: &Clock) -> Result<Self, SinkError> {
        Ok(match settings {
            DestinationSettings::Fhir(s) => Self::Fhir(Box::new(fhir::FhirSink::timed(s, gateway, clock)?)),
            DestinationSettings::Hl7(s) => Self::Hl7(Box::new(mllp::MllpSink::new(s, gateway, clock)?)),
            DestinationSettings::Ndjson(s) => Self::Ndjson(ndjson::NdjsonSink::new(s, gateway)?),
            DestinationSettings::Webhook(s) => Self::Webhook(Box::new(webhook::WebhookSink::new(s, gateway, clock)?)),
            DestinationSettings::Nats(s) => Self::Nats(Box::new(nats::NatsSink::new(s, gateway)?)),
        })
    }

    /// Asks for match fields before each message, if it is a destination that can have them.
    pub fn asks(&mut self, who: mllp::Who) {
        if let Self::Hl7(hl7) = self {
            hl7.asks(who);
        }
    }

    /// Asked before each request for what may still go. Files and a webhook send all of a batch at once, and the loop asks for these.
    pub fn gated(&mut self, gate: Arc<dyn Gate>) {
        match self {
            Self::Fhir(sink) => sink.gated(gate),
            Self::Hl7(sink) => sink.gated(gate),
            Self::Nats(sink) => sink.gated(gate),
            Self::Ndjson(_) | Self::Webhook(_) => {}
        }
    }

    /// The same, with what devices say of themselves: for a destination that writes of devices.
    pub fn naming(self, plates: &Nameplates) -> Self {
        match self {
            Self::Fhir(sink) => Self::Fhir(Box::new(sink.naming(plates.clone()))),
            other => other,
        }
    }

    /// What kind it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fhir(_) => "fhir",
            Self::Hl7(_) => "hl7",
            Self::Ndjson(_) => "ndjson",
            Self::Webhook(_) => "webhook",
            Self::Nats(_) => "nats",
        }
    }

    /// Whether an alert brings the readings along that it rests on. In a message of HL7 v2 stands a value, under no order.
    pub fn brings_evidence(&self) -> bool {
        matches!(self, Self::Fhir(_) | Self::Nats(_))
    }

    /// Whether an item of this kind goes there.
    pub fn accepts(&self, what: &Payload) -> bool {
        match what {
            Payload::Reading(_) => self.takes_readings(),
            Payload::Alert(_) => self.takes_alerts(),
        }
    }
}

/// The same question to whichever it is.
macro_rules! each {
    ($sink:expr, $s:ident => $answer:expr) => {
        match $sink {
            Sink::Fhir($s) => $answer,
            Sink::Hl7($s) => $answer,
            Sink::Ndjson($s) => $answer,
            Sink::Webhook($s) => $answer,
            Sink::Nats($s) => $answer,
        }
    };
}

impl Destination for Sink {
    async fn deliver(&self, items: &[Item], evidence: &[Arc<Reading>]) -> Vec<Outcome> {
        each!(self, s => s.deliver(items, evidence).await)
    }
    fn batch_max(&self) -> usize {
        each!(self, s => s.batch_max())
    }
    fn linger(&self) -> Duration {
        each!(self, s => s.linger())
    }
    fn takes_readings(&self) -> bool {
        each!(self, s => s.takes_readings())
    }
    fn takes_alerts(&self) -> bool {
        each!(self, s => s.takes_alerts())
    }
}

/// What is owed to one destination: the journal, as a destination's loop sees it.
pub trait Outbox {
    /// Due items of a lane, oldest first; not leased again until settled.
    fn lease(&self, lane: Lane, max: usize) -> impl Future<Output = Result<Vec<Item>, OutboxError>>;
    /// Outcomes of leased items, each once.
    fn settle(&self, outcomes: Vec<(ItemId, Outcome)>) -> impl Future<Output = Result<(), OutboxError>>;
    /// The same for a loop that has nothing else to do: a moment later is early enough, if that saves a sync.
    fn settle_in_company(&self, outcomes: Vec<(ItemId, Outcome)>) -> impl Future<Output = Result<(), OutboxError>> {
        self.settle(outcomes)
    }
    /// Of items that are about to be sent, what may go; the rest is owed again, as if it had not been leased.
    fn admit(&self, items: Vec<Item>) -> impl Future<Output = Vec<Item>> {
        std::future::ready(items)
    }
    /// Changes whenever something new may be due.
    fn changed(&self) -> watch::Receiver<u64>;
    /// The readings with these keys, as far as they are kept: evidence of alerts.
    fn evidence(&self, keys: Vec<ReadingKey>) -> impl Future<Output = Vec<Arc<Reading>>>;
}

/// Why the outbox does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// Ask again.
    #[error("not now")]
    Later,
    /// End: the process does.
    #[error("closed")]
    Closed,
}

/// How a destination is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DestinationStatus {
    /// Its state.
    pub state: State,
    /// Since when; `None`: since the start.
    pub since: Option<Stamp>,
    /// Why it is not up.
    pub why: Option<Why>,
    /// Items delivered since the start.
    pub delivered: u64,
    /// Items it refused since the start.
    pub rejected: u64,
    /// When it last took something.
    pub last_delivered: Option<Stamp>,
}

/// The state of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not tried yet.
    #[default]
    Starting,
    /// Took what was last sent, or refused it by itself.
    Up,
    /// Away or unwell; it is tried again.
    Down,
}

/// Why a destination cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Correct the URL or the certificates.
    #[error(transparent)]
    Http(#[from] http::HttpError),
    /// Correct the table of codes and units.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// Correct the addresses, certificates or credential.
    #[error(transparent)]
    Reach(#[from] crate::nats::link::ReachError),
    /// Correct the secret's file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Make or correct the key of the destination's client.
    #[error(transparent)]
    Auth(#[from] smart::AuthTrouble),
    /// Write one line of visible characters into it.
    #[error("{0}: is not a token")]
    Token(PathBuf),
    /// Give a folder that can be written.
    #[error("{folder}: cannot be used: {source}")]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Explain for SinkError {
    fn code(&self) -> &'static str {
        match self {
            Self::Http(e) => e.code(),
            Self::Mapping(e) => e.code(),
            Self::Reach(e) => e.code(),
            Self::Auth(e) => e.code(),
            Self::Secret(_) => "WL-F105",
            Self::Token(_) => "WL-F106",
            Self::Folder { .. } => "WL-F107",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Http(e) => e.remedy(),
            Self::Mapping(e) => e.remedy(),
            Self::Reach(e) => e.remedy(),
            Self::Auth(e) => e.remedy(),
            Self::Secret(_) => "Give a file that only the gateway's user can read (mode 0600) and that is not empty.",
            Self::Token(_) => "Write the token on one line, without spaces or control characters.",
            Self::Folder { .. } => "Give a folder that the gateway's user may write as `folder`.",
        }
    }
}
