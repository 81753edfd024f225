//! The stream as the delivery loop sees it: leases are fetches, outcomes are acknowledgements.
//!
//! Must never: let an outcome be forgotten while the bus is away; the loop asks again until it is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::tap::{Fate, Lent, Order};
use crate::config::GatewayId;
use crate::custody::{Item, ItemId, Lane, Outcome, Payload};
use crate::limits;
use crate::nats::message::Kind;
use crate::reading::{Reading, ReadingKey};
use crate::sink::{Outbox, OutboxError};

/// What the delivery loop holds, and where it came from.
#[derive(Clone, Default)]
pub(super) struct Underway(Arc<Mutex<HashMap<ItemId, Origin>>>);

struct Origin {
    /// The way it came.
    kind: Kind,
    gateway: GatewayId,
    /// Readings that an alert points to.
    evidence: Vec<Arc<Reading>>,
}

impl Underway {
    /// Which gateway an item is from.
    pub(super) fn gateway(&self, id: ItemId) -> Option<GatewayId> {
        self.held().get(&id).map(|origin| origin.gateway.clone())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<ItemId, Origin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ways to the stream.
pub(super) struct Taps {
    ways: HashMap<Kind, mpsc::Sender<Order>>,
    changed: watch::Receiver<u64>,
    underway: Underway,
}

impl Taps {
    pub(super) fn new(
        ways: HashMap<Kind, mpsc::Sender<Order>>,
        changed: watch::Receiver<u64>,
        underway: Underway,
    ) -> Self {
        Self { ways, changed, underway }
    }

    async fn lease_of(&self, kind: Kind, max: usize) -> Result<Vec<Item>, OutboxError> {
        let (back, answer) = oneshot::channel();
        let way = self.ways.get(&kind).ok_or(OutboxError::Closed)?;
        way.send(Order::Lease { max, back }).await.map_err(|_| OutboxError::Closed)?;
        // While the bus is away there is nothing; what comes too late goes back by itself.
        let lent = match timeout(2 * limits::RELAY_LEASE_WAIT, answer).await {
            Ok(Ok(lent)) => lent,
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        Ok(lent.into_iter().filter_map(|lent| self.item(kind, lent)).collect())
    }

    fn item(&self, kind: Kind, lent: Lent) -> Option<Item> {
        let number = i64::try_from(lent.seq).ok()?;
        let id = match &lent.what {
            Payload::Reading(_) => ItemId::Reading(number),
            Payload::Alert(_) => ItemId::Alert(number),
        };
        self.underway.held().insert(id, Origin { kind, gateway: lent.gateway, evidence: lent.evidence });
        Some(Item { id, what: lent.what, attempts: lent.attempts })
    }
}

impl Outbox for Taps {
    async fn lease(&self, lane: Lane, max: usize) -> Result<Vec<Item>, OutboxError> {
        // Corrections are few, and wait by themselves for what they correct.
        let kinds = match lane {
            Lane::Alert => [Kind::Alerts, Kind::Followups].as_slice(),
            Lane::Fresh => [Kind::Corrections].as_slice(),
            Lane::Backlog => [Kind::Readings].as_slice(),
        };
        for kind in kinds {
            let found = self.lease_of(*kind, max).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    async fn settle(&self, outcomes: Vec<(ItemId, Outcome)>) -> Result<(), OutboxError> {
        let mut by_kind: HashMap<Kind, Vec<(u64, Fate)>> = HashMap::new();
        for (id, outcome) in &outcomes {
            let (ItemId::Reading(number) | ItemId::Alert(number)) = *id;
            let kind = self.underway.held().get(id).map(|origin| origin.kind);
            let (Some(kind), Ok(seq)) = (kind, u64::try_from(number)) else { continue };
            by_kind.entry(kind).or_default().push((seq, Fate::of(outcome)));
        }
        for (kind, fates) in by_kind {
            let (back, answer) = oneshot::channel();
            let way = self.ways.get(&kind).ok_or(OutboxError::Closed)?;
            way.send(Order::Settle { fates, back }).await.map_err(|_| OutboxError::Closed)?;
            match timeout(limits::RELAY_SETTLE_WAIT, answer).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(OutboxError::Later),
            }
        }
        let mut underway = self.underway.held();
        outcomes.iter().for_each(|(id, _)| drop(underway.remove(id)));
        Ok(())
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    async fn evidence(&self, keys: Vec<ReadingKey>) -> Vec<Arc<Reading>> {
        let underway = self.underway.held();
        underway.values().flat_map(|origin| &origin.evidence).filter(|r| keys.contains(&r.key)).cloned().collect()
    }
}
