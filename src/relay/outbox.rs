//! The stream as the delivery loop sees it: leases are fetches, outcomes are acknowledgements.
//!
//! Must never: let an outcome be forgotten while the bus is away; the loop asks again until it is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::Origins;
use super::tap::{Fate, Lent, Order};
use crate::config::GatewayId;
use crate::custody::{Item, ItemId, Lane, Outcome, Payload};
use crate::limits;
use crate::nats::message::Kind;
use crate::reading::{Reading, ReadingKey};
use crate::sink::{Outbox, OutboxError};

/// The ways to the stream.
pub(super) struct Taps {
    ways: HashMap<Kind, mpsc::Sender<Order>>,
    changed: watch::Receiver<u64>,
    origins: Origins,
    /// On which way an item came.
    kinds: Mutex<HashMap<ItemId, Kind>>,
    /// Readings that alerts under way point to.
    evidence: Mutex<HashMap<ItemId, Vec<Arc<Reading>>>>,
}

impl Taps {
    pub(super) fn new(
        ways: HashMap<Kind, mpsc::Sender<Order>>,
        changed: watch::Receiver<u64>,
        origins: Origins,
    ) -> Self {
        Self { ways, changed, origins, kinds: Mutex::default(), evidence: Mutex::default() }
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
        held(&self.origins).insert(id, lent.gateway);
        held(&self.kinds).insert(id, kind);
        if !lent.evidence.is_empty() {
            held(&self.evidence).insert(id, lent.evidence);
        }
        Some(Item { id, what: lent.what, attempts: lent.attempts })
    }

    fn forget(&self, id: ItemId) {
        held::<HashMap<ItemId, GatewayId>>(&self.origins).remove(&id);
        held(&self.kinds).remove(&id);
        held(&self.evidence).remove(&id);
    }
}

fn held<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
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
            let (Some(kind), Ok(seq)) = (held(&self.kinds).get(id).copied(), u64::try_from(number)) else { continue };
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
        outcomes.iter().for_each(|(id, _)| self.forget(*id));
        Ok(())
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    async fn evidence(&self, keys: Vec<ReadingKey>) -> Vec<Arc<Reading>> {
        let known = held(&self.evidence);
        known.values().flatten().filter(|r| keys.contains(&r.key)).cloned().collect()
    }
}
