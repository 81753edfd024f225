//! What is owed to one destination: the journal as that destination's loop sees it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::custody::{Item, ItemId, Lane, Outcome};
use crate::journal::reader::Reader;
use crate::journal::{Journal, JournalError};
use crate::reading::{Reading, ReadingKey};
use crate::sink::{Outbox, OutboxError};

/// The debts to one destination.
pub(super) struct Debts {
    journal: Journal,
    destination: Arc<str>,
    reader: Arc<Reader>,
}

impl Debts {
    pub(super) fn new(journal: Journal, destination: Arc<str>) -> Self {
        let reader = Arc::new(journal.reader());
        Self { journal, destination, reader }
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
        let reader = self.reader.clone();
        let find = move || keys.into_iter().filter_map(|key| Some(Arc::new(reader.find(key).ok()??.reading))).collect();
        tokio::task::spawn_blocking(find).await.unwrap_or_default()
    }
}

/// A full disk passes; after anything else the process ends.
fn later(error: &JournalError) -> OutboxError {
    match error {
        JournalError::Full => OutboxError::Later,
        JournalError::Fatal(_) | JournalError::Closed => OutboxError::Closed,
    }
}
