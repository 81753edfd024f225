//! What is owed to one destination: the journal as that destination's loop sees it.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::custody::{Item, ItemId, Lane, Outcome, Payload};
use crate::journal::{Journal, JournalError};
use crate::minimum::Fields;
use crate::reading::{Reading, ReadingKey};
use crate::sink::{Gate, Outbox, OutboxError};

/// Finds the readings that alerts point to.
pub type Evidence = Arc<dyn Fn(Vec<ReadingKey>) -> BoxFuture<'static, Vec<Arc<Reading>>> + Send + Sync>;

/// Evidence from this journal.
pub(super) fn evidence_of(journal: &Journal) -> Evidence {
    let reader = Arc::new(journal.reader());
    Arc::new(move |keys| {
        let reader = reader.clone();
        let find = move || keys.into_iter().filter_map(|key| reader.standing(key).ok()?.map(Arc::new)).collect();
        async { tokio::task::spawn_blocking(find).await.unwrap_or_default() }.boxed()
    })
}

/// The debts to one destination.
pub(super) struct Debts {
    journal: Journal,
    destination: Arc<str>,
    evidence: Evidence,
    clock: Clock,
    fields: Fields,
}

impl Debts {
    pub(super) fn new(journal: &Journal, destination: &Arc<str>, evidence: Evidence, clock: &Clock) -> Self {
        let (journal, destination, clock) = (journal.clone(), destination.clone(), clock.clone());
        Self { journal, destination, evidence, clock, fields: Fields::default() }
    }

    /// What the destination may get of each item.
    pub(super) fn with(self, fields: Fields) -> Self {
        Self { fields, ..self }
    }

    fn minimal(&self, item: Item) -> Item {
        let what = match item.what {
            Payload::Reading(reading) => Payload::Reading(self.fields.of(reading)),
            Payload::Alert(event) => Payload::Alert(self.fields.of_alert(event)),
        };
        Item { what, ..item }
    }
}

impl Outbox for Debts {
    async fn lease(&self, lane: Lane, max: usize) -> Result<Vec<Item>, OutboxError> {
        let items = self.journal.lease(&self.destination, lane, max).await.map_err(|e| later(&e))?;
        Ok(items.into_iter().map(|item| self.minimal(item)).collect())
    }

    async fn admit(&self, items: Vec<Item>) -> Vec<Item> {
        let (consents, now) = (self.journal.consents(), self.clock.now());
        let (mut go, mut back) = (Vec::with_capacity(items.len()), Vec::new());
        for item in items {
            let id = item.id;
            match consents.gate(&self.destination).and_then(|gate| gate.admit(item, now)) {
                Some(item) => go.push(item),
                None => back.push(id),
            }
        }
        if !back.is_empty() {
            // The journal has ended: nothing is sent any more either.
            let _ = self.journal.give_back(&self.destination, back).await;
        }
        go
    }

    async fn settle(&self, outcomes: Vec<(ItemId, Outcome)>) -> Result<(), OutboxError> {
        self.journal.settle(&self.destination, outcomes).await.map_err(|e| later(&e))
    }

    async fn settle_in_company(&self, outcomes: Vec<(ItemId, Outcome)>) -> Result<(), OutboxError> {
        self.journal.settle_in_company(&self.destination, outcomes).await.map_err(|e| later(&e))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.journal.changed()
    }

    async fn evidence(&self, keys: Vec<ReadingKey>) -> Vec<Arc<Reading>> {
        let (consents, now) = (self.journal.consents(), self.clock.now());
        let Some(gate) = consents.gate(&self.destination) else { return Vec::new() };
        let found = (self.evidence)(keys).await.into_iter();
        found.filter(|r| gate.is_open() || gate.permits(r, now)).map(|r| self.fields.of(r)).collect()
    }
}

/// A full disk passes; after anything else the process ends.
fn later(error: &JournalError) -> OutboxError {
    match error {
        JournalError::Full => OutboxError::Later,
        JournalError::Fatal(_) | JournalError::Closed => OutboxError::Closed,
    }
}

/// Consents as they were last committed, for a sink that asks before each request.
struct Turnstile {
    journal: Journal,
    destination: Arc<str>,
    clock: Clock,
}

/// The gate of this destination.
pub(super) fn gate(journal: &Journal, destination: &Arc<str>, clock: &Clock) -> Arc<dyn Gate> {
    Arc::new(Turnstile { journal: journal.clone(), destination: destination.clone(), clock: clock.clone() })
}

impl Gate for Turnstile {
    fn admit(&self, item: &Item) -> Option<Item> {
        self.journal.consents().gate(&self.destination)?.admit(item.clone(), self.clock.now())
    }

    fn permits(&self, reading: &Reading) -> bool {
        let consents = self.journal.consents();
        let gate = consents.gate(&self.destination);
        gate.is_some_and(|gate| gate.is_open() || gate.permits(reading, self.clock.now()))
    }
}
