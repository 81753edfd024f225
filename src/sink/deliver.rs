//! The one loop that brings what is owed to a destination.
//!
//! Promises: alerts have a way of their own and never wait behind readings; fresh readings overtake the backlog; each
//! leased item is settled once; an absent destination is asked cheaply and its return is seen within a second.
//! Must never: drop an item, or keep a destination busy with one that it cannot take.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::answer::patience;
use super::pace::{self, Dice};
use super::why::{Trouble, is_absence, is_silence};
use super::{Destination, DestinationStatus, Outbox, OutboxError, State};
use crate::clock::Clock;
use crate::custody::{Item, ItemId, Lane, Outcome, Payload, Why};
use crate::limits;

/// Delivers until `stop`, or until the outbox is closed.
pub async fn run(
    name: Arc<str>,
    sink: impl Destination,
    outbox: impl Outbox,
    clock: Clock,
    stop: CancellationToken,
    status: watch::Sender<DestinationStatus>,
    dice: Dice,
) {
    let shared = Shared { name, sink, outbox, clock, stop, status, dice };
    let alerts = async {
        if shared.sink.takes_alerts() {
            Courier::new(&shared, &[Lane::Alert]).run().await;
        }
    };
    let readings = async {
        if shared.sink.takes_readings() {
            Courier::new(&shared, &[Lane::Fresh, Lane::Backlog]).run().await;
        }
    };
    tokio::join!(alerts, readings);
}

struct Shared<D, O> {
    name: Arc<str>,
    sink: D,
    outbox: O,
    clock: Clock,
    stop: CancellationToken,
    status: watch::Sender<DestinationStatus>,
    dice: Dice,
}

/// One way to the destination: that of alerts, or that of readings.
struct Courier<'a, D, O> {
    to: &'a Shared<D, O>,
    /// In order of precedence.
    hands: Vec<Hand>,
    changed: watch::Receiver<u64>,
    /// Outcomes of the last batch: they are recorded while the next one is under way.
    unsettled: Vec<(ItemId, Outcome)>,
    /// The hand that they came from.
    unsettled_hand: usize,
    /// Failures of the destination in a row.
    failures: u32,
    /// When the last batch left, if it was not full: thin traffic waits for company from here.
    thin_since: Option<Instant>,
}

/// Leased items of a lane.
struct Hand {
    lane: Lane,
    items: VecDeque<Item>,
    /// The journal may have more.
    more: bool,
}

/// What the destination's trouble is.
struct Unwell {
    why: Why,
    after: Option<Duration>,
}

/// Whether anything waits until outcomes are recorded.
#[derive(Clone, Copy)]
enum Hurry {
    Yes,
    No,
}

/// The loop ends: the process stops, or the outbox is closed. What was not settled is leased again after the restart.
struct End;

impl<'a, D: Destination, O: Outbox> Courier<'a, D, O> {
    fn new(to: &'a Shared<D, O>, lanes: &[Lane]) -> Self {
        let hand = |lane: &Lane| Hand { lane: *lane, items: VecDeque::new(), more: true };
        Self {
            to,
            hands: lanes.iter().map(hand).collect(),
            changed: to.outbox.changed(),
            unsettled: Vec::new(),
            unsettled_hand: 0,
            failures: 0,
            thin_since: None,
        }
    }

    async fn run(mut self) {
        while self.turn().await.is_ok() {}
    }

    async fn turn(&mut self) -> Result<(), End> {
        if self.to.stop.is_cancelled() {
            self.settle().await?;
            return Err(End);
        }
        match self.next().await? {
            Some(batch) => match self.send(batch).await? {
                Some(unwell) => self.outage(unwell).await,
                None => Ok(()),
            },
            None => self.idle().await,
        }
    }

    /// The next batch, from the first lane that has one.
    async fn next(&mut self) -> Result<Option<Vec<Item>>, End> {
        if self.changed.has_changed().map_err(|_| End)? {
            self.changed.mark_unchanged();
            self.look_again();
        }
        let batch_max = self.to.sink.batch_max().max(1);
        for at in 0..self.hands.len() {
            self.refill(at, batch_max).await?;
            if let Some(hand) = self.hands.get_mut(at).filter(|h| !h.items.is_empty()) {
                let n = hand.items.len().min(batch_max);
                // Sending it records the outcomes of the batch before it, whatever hand that came from.
                self.unsettled_hand = at;
                return Ok(Some(hand.items.drain(..n).collect()));
            }
        }
        self.to.record(std::mem::take(&mut self.unsettled), Hurry::No).await?;
        Ok(None)
    }

    /// Leases for an empty hand. The journal holds an item back behind an unsettled one of its lane, so these come first.
    async fn refill(&mut self, at: usize, batch_max: usize) -> Result<(), End> {
        let Some(lane) = self.hands.get(at).filter(|h| h.items.is_empty() && h.more).map(|h| h.lane) else {
            return Ok(());
        };
        if self.unsettled_hand == at {
            self.settle().await?;
        }
        let asked = batch_max.saturating_mul(limits::BATCHES_IN_HAND);
        let leased = self.lease(lane, asked).await?;
        if let Some(hand) = self.hands.get_mut(at) {
            hand.more = leased.len() >= asked;
            hand.items.extend(leased);
        }
        Ok(())
    }

    fn look_again(&mut self) {
        self.hands.iter_mut().for_each(|hand| hand.more = true);
    }

    /// Sends a batch while the outcomes of the one before it are recorded.
    async fn send(&mut self, batch: Vec<Item>) -> Result<Option<Unwell>, End> {
        let full = batch.len() >= self.to.sink.batch_max();
        let batch = self.to.outbox.admit(batch).await;
        if batch.is_empty() {
            return self.settle().await.map(|()| None);
        }
        self.thin_since = (!full).then(Instant::now);
        let before = std::mem::take(&mut self.unsettled);
        let (outcomes, recorded) = tokio::join!(self.to.attempt(&batch), self.to.record(before, Hurry::Yes));
        recorded?;
        let outcomes = outcomes.ok_or(End)?;
        let unwell = outcomes.iter().find_map(unwell);
        self.to.note(&outcomes);
        self.unsettled = batch.iter().map(|item| item.id).zip(outcomes).collect();
        if unwell.is_none() {
            self.failures = 0;
        }
        Ok(unwell)
    }

    /// Until the destination takes an item again: everything goes back, and one item at a time asks for it.
    async fn outage(&mut self, mut unwell: Unwell) -> Result<(), End> {
        for hand in &mut self.hands {
            hand.more = true;
            let returned = hand.items.drain(..).map(|item| (item.id, unwell.outcome()));
            self.unsettled.extend(returned);
        }
        self.settle().await?;
        let mut held: Option<(Item, Instant)> = None;
        loop {
            self.failures = self.failures.saturating_add(1);
            let wait = pace::wait(&self.to.dice, &unwell.why, unwell.after, self.failures, self.patience());
            self.pause(wait).await?;
            let (item, since) = match held.take() {
                Some(held) => held,
                None => match self.probe().await? {
                    Some(item) => (item, Instant::now()),
                    None => return Ok(()),
                },
            };
            // A consent may have been withdrawn while it waited.
            let Some(item) = self.to.outbox.admit(vec![item]).await.pop() else { continue };
            let outcome = self.to.attempt(std::slice::from_ref(&item)).await.ok_or(End)?.pop();
            let outcome = outcome.unwrap_or_else(|| unwell.outcome());
            self.to.note(std::slice::from_ref(&outcome));
            if outcome == Outcome::Withheld {
                self.unsettled.push((item.id, outcome));
                self.settle().await?;
                continue;
            }
            let Some(again) = self::unwell(&outcome) else {
                self.unsettled.push((item.id, outcome));
                return self.settle().await;
            };
            unwell = again;
            if is_absence(&unwell.why) && since.elapsed() < limits::PROBE_HELD_MAX {
                held = Some((item, since));
            } else {
                // Another one next time: it may be this one that the destination fails on, or is lost in thought over.
                let after = Some(patience(item.attempts).min(limits::UNWELL_RETRY.1));
                let why = unwell.why.clone();
                let outcome = if why.may_be_the_items() {
                    Outcome::Retry { after, why, destination: true }
                } else if is_silence(&why) {
                    Outcome::Retry { after, why, destination: false }
                } else {
                    unwell.outcome()
                };
                self.unsettled.push((item.id, outcome));
                self.settle().await?;
            }
        }
    }

    /// One item to ask with.
    async fn probe(&mut self) -> Result<Option<Item>, End> {
        for at in 0..self.hands.len() {
            let Some(lane) = self.hands.get(at).map(|h| h.lane) else { break };
            if let Some(item) = self.lease(lane, 1).await?.pop() {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Until there may be something to do. After a batch that was not full, thin traffic waits for company.
    async fn idle(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.to.stop.cancelled() => return Ok(()),
            changed = self.changed.changed() => changed.map_err(|_| End)?,
            () = sleep(limits::IDLE_LOOK) => {}
        }
        self.look_again();
        match self.thin_since.take() {
            Some(since) if !self.is_urgent() => {
                let until = since + self.to.sink.linger();
                tokio::select! {
                    biased;
                    () = self.to.stop.cancelled() => {}
                    () = sleep_until(until) => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Alerts never linger, and do not wait as long as a destination might like.
    fn is_urgent(&self) -> bool {
        self.hands.iter().any(|h| h.lane == Lane::Alert)
    }

    fn patience(&self) -> Duration {
        if self.is_urgent() { limits::ALERT_RETRY_AFTER_MAX } else { limits::RETRY_AFTER_MAX }
    }

    async fn pause(&self, wait: Duration) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.to.stop.cancelled() => Err(End),
            () = sleep(wait) => Ok(()),
        }
    }

    async fn lease(&self, lane: Lane, max: usize) -> Result<Vec<Item>, End> {
        loop {
            match self.to.outbox.lease(lane, max).await {
                Ok(items) => return Ok(items),
                Err(OutboxError::Later) => self.pause(limits::OUTBOX_RETRY).await?,
                Err(OutboxError::Closed) => return Err(End),
            }
        }
    }

    async fn settle(&mut self) -> Result<(), End> {
        self.to.record(std::mem::take(&mut self.unsettled), Hurry::Yes).await
    }
}

impl<D: Destination, O: Outbox> Shared<D, O> {
    /// Outcomes of a batch, one for each item. `None`: the process stops and the answer did not come in time.
    async fn attempt(&self, batch: &[Item]) -> Option<Vec<Outcome>> {
        let keys = batch.iter().filter_map(|item| match &item.what {
            Payload::Alert(event) => Some(event.alert.evidence.iter().copied()),
            Payload::Reading(_) => None,
        });
        let keys: Vec<_> = keys.flatten().collect();
        let evidence = if keys.is_empty() { Vec::new() } else { self.outbox.evidence(keys).await };
        let too_late = async {
            self.stop.cancelled().await;
            sleep(limits::DELIVERY_FAREWELL_MAX).await;
        };
        let mut outcomes = tokio::select! {
            biased;
            outcomes = self.sink.deliver(batch, &evidence) => outcomes,
            () = too_late => return None,
        };
        let unknown = || Trouble::Unclear("nothing is known of this item").item(limits::ITEM_RETRY.0);
        outcomes.resize_with(batch.len(), unknown);
        Some(outcomes)
    }

    async fn record(&self, outcomes: Vec<(ItemId, Outcome)>, hurry: Hurry) -> Result<(), End> {
        if outcomes.is_empty() {
            return Ok(());
        }
        loop {
            let recorded = match hurry {
                Hurry::Yes => self.outbox.settle(outcomes.clone()).await,
                Hurry::No => self.outbox.settle_in_company(outcomes.clone()).await,
            };
            match recorded {
                Ok(()) => return Ok(()),
                Err(OutboxError::Later) => sleep(limits::OUTBOX_RETRY).await,
                Err(OutboxError::Closed) => return Err(End),
            }
        }
    }

    /// Counts, and tells how the destination is.
    fn note(&self, outcomes: &[Outcome]) {
        let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|o| is(o)).count() as u64;
        let delivered = count(|o| matches!(o, Outcome::Delivered(_)));
        let rejected = count(|o| matches!(o, Outcome::Reject(_)));
        let withheld = count(|o| *o == Outcome::Withheld);
        if withheld == outcomes.len() as u64 {
            // Nothing was sent: nothing is known of the destination.
            return;
        }
        let retried = outcomes.len() as u64 - delivered - rejected - withheld;
        for (what, n) in [("delivered", delivered), ("rejected", rejected), ("retried", retried)] {
            if n > 0 {
                metrics::counter!("wardline_outcomes_total", "destination" => self.name.clone(), "outcome" => what)
                    .increment(n);
            }
        }
        for outcome in outcomes {
            if let Outcome::Reject(why) = outcome {
                tracing::warn!(destination = %self.name, code = %why.code, why = %why.text, "an item was refused for good");
            }
        }
        let trouble = outcomes.iter().find_map(unwell);
        let now = self.clock.now();
        self.status.send_modify(|status| {
            status.delivered += delivered;
            status.rejected += rejected;
            if delivered > 0 {
                status.last_delivered = Some(now);
            }
            let state = if trouble.is_some() { State::Down } else { State::Up };
            if status.state != state {
                status.since = Some(now);
                status.state = state;
                match &trouble {
                    Some(t) => {
                        tracing::warn!(destination = %self.name, code = %t.why.code, why = %t.why.text, "destination is down")
                    }
                    None => tracing::info!(destination = %self.name, "destination is up"),
                }
            }
            status.why = trouble.map(|t| t.why);
        });
    }
}

impl Unwell {
    fn outcome(&self) -> Outcome {
        Outcome::Retry { after: None, why: self.why.clone(), destination: true }
    }
}

fn unwell(outcome: &Outcome) -> Option<Unwell> {
    match outcome {
        Outcome::Retry { after, why, destination: true } => Some(Unwell { why: why.clone(), after: *after }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
