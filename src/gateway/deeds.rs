//! Keeps what people do in the journal, for the control plane's handlers.
//!
//! Must never: say that it is kept before it is on the disk.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::control::Fault;
use crate::control::witness::Deeds;
use crate::deed::Deed;
use crate::journal::{Act, Journal};

/// Exports that may end at the same moment. One that finds no place is said to be broken off at the next start.
const ENDING_MAX: usize = 64;

/// The journal, as whoever records deeds sees it.
pub(super) struct Ledger {
    journal: Journal,
    later: mpsc::Sender<Deed>,
}

/// What could not be waited for.
pub(super) struct Later {
    journal: Journal,
    deeds: mpsc::Receiver<Deed>,
}

/// Both ends.
pub(super) fn ledger(journal: &Journal) -> (Arc<Ledger>, Later) {
    let (later, deeds) = mpsc::channel(ENDING_MAX);
    (Arc::new(Ledger { journal: journal.clone(), later }), Later { journal: journal.clone(), deeds })
}

impl Deeds for Ledger {
    fn keep(&self, deed: Deed) -> BoxFuture<'_, Result<i64, Fault>> {
        async move {
            let kept = self.journal.redress(Act::Did(Box::new(deed))).await;
            kept.map(u64::cast_signed).map_err(|e| super::inbox::not_now(&e))
        }
        .boxed()
    }

    fn keep_later(&self, deed: Deed) {
        if self.later.try_send(deed).is_err() {
            tracing::debug!("The end of an export could not be recorded: the next start says that it broke off.");
        }
    }
}

impl Later {
    /// Keeps them until the end, and what is there by then.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let deed = tokio::select! {
                biased;
                deed = self.deeds.recv() => deed,
                () = stop.cancelled() => self.deeds.try_recv().ok(),
            };
            let Some(deed) = deed else { return };
            if let Err(e) = self.journal.redress(Act::Did(Box::new(deed))).await {
                tracing::warn!(%e, "The end of an export could not be recorded.");
            }
        }
    }
}
