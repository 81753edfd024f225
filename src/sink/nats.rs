//! A stream of a NATS server: readings and alerts, as messages that a relay brings to the centre.
//!
//! Promises: Delivered is the stream's own word with the message's number; each try has the same id, so the stream, and
//! after its window the relay's destination, knows it again; alerts have a connection of their own. A stream that could
//! drop what it took gets nothing. Must never: name a patient in a subject or a header.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::gate::{self, Gate};
use super::why::Trouble;
use super::{Destination, SinkError};
use crate::config::{GatewayId, NatsSettings};
use crate::custody::{Item, Outcome, Payload, Receipt};
use crate::fhir::{Identity, Scope, Unmappable, alert_id, write_observation};
use crate::limits;
use crate::nats::auth::Credential;
use crate::nats::jetstream::{self, Outgoing, Taken};
use crate::nats::link::{Link, Reach, ReachError};
use crate::nats::message::{Kind, VERSION, write};
use crate::nats::{NatsError, shape};
use crate::reading::Reading;

/// A stream.
pub struct NatsSink {
    reach: Reach,
    stream: String,
    prefix: String,
    create: bool,
    wait: Duration,
    scope: Scope,
    /// What may still go at this moment.
    gate: Arc<dyn Gate>,
    readings: Mutex<Option<Way>>,
    alerts: Mutex<Option<Way>>,
}

/// A connection whose stream was looked at.
struct Way {
    link: Link,
    looked: Instant,
}

impl NatsSink {
    /// From settings; reads the credential and the certificates, sends nothing.
    pub fn new(settings: &NatsSettings, gateway: &GatewayId) -> Result<Self, SinkError> {
        Ok(Self {
            reach: reach(settings, gateway)?,
            stream: settings.stream.clone(),
            prefix: settings.subject_prefix.clone(),
            create: settings.create,
            wait: Duration::from_secs(settings.timeout_s.max(1)),
            scope: Scope::new(gateway.clone()),
            gate: Arc::new(gate::Open),
            readings: Mutex::default(),
            alerts: Mutex::default(),
        })
    }

    /// Asked before each batch is published for what may still go: until then, everything.
    pub fn gated(&mut self, gate: Arc<dyn Gate>) {
        self.gate = gate;
    }

    /// A connection to a stream that keeps what it takes.
    async fn ready(&self, way: Option<Way>) -> Result<Way, NatsError> {
        if let Some(mut way) = way {
            let sound = if way.link.quiet() < limits::NATS_QUIET { Ok(()) } else { way.link.catch_up().await };
            if sound.is_ok() {
                if way.looked.elapsed() >= limits::NATS_LOOK_AGAIN {
                    self.look(&mut way.link).await?;
                    way.looked = Instant::now();
                }
                return Ok(way);
            }
        }
        let mut link = self.reach.connect().await?;
        self.look(&mut link).await?;
        Ok(Way { link, looked: Instant::now() })
    }

    async fn look(&self, link: &mut Link) -> Result<(), NatsError> {
        let found = match jetstream::stream(link, &self.stream).await {
            Err(NatsError::NoStream(_)) if self.create => {
                let subjects = [format!("{}.>", self.prefix)];
                jetstream::create_stream(link, &self.stream, &subjects, "workqueue").await?;
                jetstream::stream(link, &self.stream).await?
            }
            found => found?,
        };
        shape::stream(&found, &Kind::ALL.map(|kind| kind.subject(&self.prefix, &self.scope.gateway)))
    }

    /// Messages with their items' places, of what may go at this moment; the rest has its outcome.
    fn batch(
        &self,
        items: &[Item],
        evidence: &[Arc<Reading>],
        outcomes: &mut [Option<Outcome>],
    ) -> (Vec<Outgoing>, Vec<usize>) {
        let evidence = gate::evidence(&*self.gate, evidence);
        let (mut batch, mut places) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for (n, (item, slot)) in items.iter().zip(outcomes).enumerate() {
            let item = self.gate.admit(item).ok_or(Outcome::Withheld);
            match item.and_then(|item| self.outgoing(&item, &evidence)) {
                Ok(outgoing) => {
                    batch.push(outgoing);
                    places.push(n);
                }
                Err(outcome) => *slot = Some(outcome),
            }
        }
        (batch, places)
    }

    fn outgoing(&self, item: &Item, evidence: &[Arc<Reading>]) -> Result<Outgoing, Outcome> {
        let id = match &item.what {
            Payload::Reading(reading) => self.reading_id(reading).map_err(Trouble::unmappable)?,
            Payload::Alert(event) => {
                format!("{}:{:?}:{}", alert_id(&event.alert.id), event.happened, event.at.wall_ms)
            }
        };
        let payload = write(&self.scope.gateway, &item.what, evidence)
            .ok_or_else(|| Trouble::Unclear("it cannot be written").reject())?;
        Ok(Outgoing {
            subject: Kind::of(&item.what).subject(&self.prefix, &self.scope.gateway),
            id,
            payload: Bytes::from(payload),
            headers: vec![("Wardline-Version", VERSION.to_string())],
        })
    }

    /// The Observation's identity, hashed: it names device and patient. What has no Observation is refused here, where a
    /// person can mend it, not at the relay.
    fn reading_id(&self, reading: &Reading) -> Result<String, Unmappable> {
        let identity = Identity::of(reading)?;
        write_observation(reading, &self.scope, &identity, None, &mut Vec::with_capacity(1_500))?;
        // What takes a reading back has the reading's identity.
        let what = if reading.is_withdrawal() { ":withdrawn" } else { "" };
        Ok(identity.resource_id() + what)
    }
}

/// How the servers of these settings are reached. `name`: who we are there.
///
/// # Errors
/// When an address or a file cannot be used.
pub fn reach(settings: &NatsSettings, name: &str) -> Result<Reach, ReachError> {
    let credential = Credential::read(settings.user.as_deref(), settings.credentials_file.as_deref())?;
    Reach::new(&settings.servers, settings.tls(), credential, name)
}

impl Destination for NatsSink {
    async fn deliver(&self, items: &[Item], evidence: &[Arc<Reading>]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; items.len()];
        let mut over = NatsError::NoAnswer("it takes too long");
        let urgent = items.iter().any(|item| matches!(item.what, Payload::Alert(_)));
        let mut slot = if urgent { &self.alerts } else { &self.readings }.lock().await;
        // Taken out: a delivery that is given up half-way leaves no connection behind.
        match self.ready(slot.take()).await {
            Ok(mut way) => {
                let (batch, places) = self.batch(items, evidence, &mut outcomes);
                let (answers, broken) = jetstream::publish(&mut way.link, &self.stream, &batch, self.wait).await;
                for (n, answer) in places.iter().zip(answers) {
                    if let (Some(slot), Some(answer)) = (outcomes.get_mut(*n), answer) {
                        *slot = Some(outcome(answer));
                    }
                }
                match broken {
                    Some(e) => over = e,
                    None => *slot = Some(way),
                }
            }
            Err(e) => over = e,
        }
        outcomes.into_iter().map(|o| o.unwrap_or_else(|| Trouble::Bus(over.clone()).destination(None))).collect()
    }

    fn batch_max(&self) -> usize {
        limits::NATS_BATCH_MAX
    }

    fn linger(&self) -> Duration {
        limits::NATS_LINGER
    }

    fn takes_readings(&self) -> bool {
        true
    }

    fn takes_alerts(&self) -> bool {
        true
    }
}

fn outcome(answer: Result<Taken, NatsError>) -> Outcome {
    match answer {
        Ok(Taken { stream, seq, duplicate }) => {
            Outcome::Delivered(Receipt { location: format!("{stream}:{seq}").into(), known: duplicate })
        }
        Err(NatsError::TooLarge) => Trouble::Bus(NatsError::TooLarge).reject(),
        Err(e) => Trouble::Bus(e).destination(None),
    }
}
