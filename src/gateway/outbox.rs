//! What is owed to one destination: the journal as that destination's loop sees it.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::custody::{Item, ItemId, Lane, Outcome};
use crate::journal::{Journal, JournalError};
use crate::reading::{Reading, ReadingKey};
use crate::sink::{Outbox, OutboxError};

/// Finds the readings that alerts point to.
pub type Evidence = Arc<dyn Fn(Vec<ReadingKey>) -> BoxFuture<'static, Vec<Arc<Reading>>> + Send + Sync>;

/// Evidence from this journal.
pub(super) fn evidence_of(journal: &Journal) -> Evidence {
    let reader = Arc::new(journal.reader());
    Arc::new(move |keys| {
        let reader = reader.clone();
        let find = move || keys.into_iter().filter_map(|key| Some(Arc::new(reader.find(key).ok()??.reading))).collect();
        async { tokio::task::spawn_blocking(find).await.unwrap_or_default() }.boxed()
    })
}

/// The debts to one destination.
pub(super) struct Debts {
    journal: Journal,
    destination: Arc<str>,
    evidence: Evidence,
}

impl Debts {
    pub(super) fn new(journal: Journal, destination: Arc<str>, evidence: Evidence) -> Self {
        Self { journal, destination, evidence }
    }
}

impl Outbox for Debts {
    async fn lease(&self, lane: Lane, max: usize) -> Result<Vec<Item>, OutboxError> {
        self.journal.lease(&self.destination, lane, max).await.map_err(|e| later(&e))
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
        (self.evidence)(keys).await
    }
}

/// A full disk passes; after anything else the process ends.
fn later(error: &JournalError) -> OutboxError {
    match error {
        JournalError::Full => OutboxError::Later,
        JournalError::Fatal(_) | JournalError::Closed => OutboxError::Closed,
    }
}
