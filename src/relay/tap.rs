//! One way of a relay to its stream: a durable pull consumer that all relays share, on a connection of its own.
//!
//! Promises: what is held is said to be held until it is settled; a silent connection is noticed and left; what a relay
//! holds and has not lent goes back when its destination is away, so that another relay can bring it.
//! Must never: acknowledge what the destination has not, or end a message that the stream of the refused does not have; of a
//! foreign one that is too large for it, that it was there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::hand::{Hand, Held};
use super::status::Seen;
use crate::config::{GatewayId, RelayConfig};
use crate::custody::{Outcome, Payload, Why};
use crate::fault::Explain;
use crate::limits;
use crate::nats::jetstream::{self, ConsumerState, Message, Outgoing};
use crate::nats::link::{Link, Reach};
use crate::nats::message::{self, Kind, Unreadable};
use crate::nats::{NatsError, shape};
use crate::reading::Reading;

/// What the delivery loop asks of a way.
pub(super) enum Order {
    Lease { max: usize, back: oneshot::Sender<Vec<Lent>> },
    Settle { fates: Vec<(u64, Fate)>, back: oneshot::Sender<()> },
}

/// A message, lent to the delivery loop.
pub(super) struct Lent {
    pub(super) seq: u64,
    pub(super) gateway: GatewayId,
    pub(super) what: Payload,
    pub(super) evidence: Vec<Arc<Reading>>,
    pub(super) attempts: u32,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The destination has it.
    Done,
    /// It failed by itself: again after a while.
    Later(Duration),
    /// The destination is away, or fails on what it was sent: any relay may have it.
    Back {
        /// It may be this message that it failed on.
        suspect: bool,
    },
    /// Refused for good.
    Refused(Why),
}

impl Fate {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered(_) => Self::Done,
            Outcome::Retry { after, why, destination }
                if !destination || (after.is_some() && why.may_be_the_items()) =>
            {
                Self::Later(after.unwrap_or(limits::ITEM_RETRY.0))
            }
            Outcome::Retry { why, .. } => Self::Back { suspect: why.may_be_the_items() },
            Outcome::Reject(why) => Self::Refused(why.clone()),
            Outcome::Withheld => Self::Back { suspect: false },
        }
    }
}

/// A lease that waits for messages.
struct Waiting {
    max: usize,
    back: oneshot::Sender<Vec<Lent>>,
    until: Instant,
}

/// One way.
pub(super) struct Tap {
    kind: Kind,
    config: Arc<RelayConfig>,
    reach: Arc<Reach>,
    news: watch::Sender<u64>,
    seen: watch::Sender<Seen>,
    hand: Hand,
    waiting: Option<Waiting>,
    /// Asked for and not come, and until when the consumer stands by it.
    asked: (usize, Instant),
    /// The inbox of what was asked last.
    inbox: String,
    /// The destination is away: nothing is kept that was not asked for.
    unwell: bool,
    /// Up to here the way that this one waits for is done.
    free: u64,
    assured: Instant,
    looked: Instant,
}

impl Tap {
    pub(super) fn new(
        kind: Kind,
        config: Arc<RelayConfig>,
        reach: Arc<Reach>,
        news: watch::Sender<u64>,
        seen: watch::Sender<Seen>,
    ) -> Self {
        let now = Instant::now();
        let (hand, waiting, asked) = (Hand::default(), None, (0, now));
        Self {
            kind,
            config,
            reach,
            news,
            seen,
            hand,
            waiting,
            asked,
            inbox: String::new(),
            unwell: false,
            free: 0,
            assured: now,
            looked: now,
        }
    }

    fn consumer(&self, kind: Kind) -> String {
        format!("{}-{}", self.config.relay.durable, kind.word())
    }

    fn stream(&self) -> &str {
        &self.config.bus.stream
    }

    /// Serves the delivery loop until `stop`.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                opened = self.open() => opened,
            };
            let why = match opened {
                Ok(mut link) => {
                    self.up();
                    match self.serve(&mut link, &mut orders, &stop).await {
                        Ok(()) => return self.farewell(&mut link).await,
                        Err(e) => e,
                    }
                }
                Err(e) => e,
            };
            self.down(&why);
            // Others get what was not lent when its time is up; what was lent is still ours to acknowledge.
            drop(self.hand.let_go_ready());
            self.asked = (0, Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(limits::ABSENCE_RETRY.1) => {}
            }
        }
    }

    /// A connection, with stream and consumer as they must be.
    async fn open(&self) -> Result<Link, NatsError> {
        let mut link = self.reach.connect().await?;
        let bus = &self.config.bus;
        let (rejected, refused_subject) = (&self.config.relay.rejected_stream, format!("{}.>", self.rejected_prefix()));
        let streams = [
            (
                &bus.stream,
                format!("{}.>", bus.subject_prefix),
                "workqueue",
                Kind::ALL.map(|k| k.subject(&bus.subject_prefix, "*")).to_vec(),
            ),
            (rejected, refused_subject.clone(), "limits", vec![refused_subject]),
        ];
        for (name, takes, retention, needs) in streams {
            let found = match jetstream::stream(&mut link, name).await {
                Err(NatsError::NoStream(_)) if bus.create => {
                    jetstream::create_stream(&mut link, name, &[takes], retention).await?;
                    jetstream::stream(&mut link, name).await?
                }
                Err(NatsError::NoStream(why)) => return Err(NatsError::NoStream(format!("{why}: {name}"))),
                found => found?,
            };
            shape::stream(&found, &needs)?;
        }
        let (consumer, filter) = (self.consumer(self.kind), self.kind.subject(&bus.subject_prefix, "*"));
        let wait = Duration::from_secs(self.config.relay.ack_wait_s);
        if let Err(NatsError::Shape { code: "WL-N010", .. }) =
            jetstream::consumer(&mut link, &bus.stream, &consumer).await
        {
            let at_once = self.at_once().unwrap_or(limits::RELAY_AT_ONCE);
            jetstream::create_consumer(&mut link, &bus.stream, &consumer, &filter, (wait, at_once)).await?;
        }
        self.look(&mut link).await?;
        Ok(link)
    }

    /// Corrections go one at a time, whoever brings them.
    fn at_once(&self) -> Option<u32> {
        (!self.kind.after().is_empty()).then_some(1)
    }

    async fn look(&self, link: &mut Link) -> Result<ConsumerState, NatsError> {
        let state = jetstream::consumer(link, self.stream(), &self.consumer(self.kind)).await?;
        let filter = self.kind.subject(&self.config.bus.subject_prefix, "*");
        let wait = Duration::from_secs(self.config.relay.ack_wait_s);
        shape::consumer(&state.config, &filter, wait, self.at_once())?;
        let (held, ready) = self.hand.count();
        self.seen.send_modify(|seen| {
            (seen.pending, seen.unacknowledged, seen.held, seen.ready) =
                (state.num_pending, state.num_ack_pending, held, ready);
        });
        Ok(state)
    }

    /// Until the connection is of no more use, or `stop`.
    async fn serve(
        &mut self,
        link: &mut Link,
        orders: &mut mpsc::Receiver<Order>,
        stop: &CancellationToken,
    ) -> Result<(), NatsError> {
        let mut tick = interval(limits::RELAY_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.looked = Instant::now();
        loop {
            let until = self.waiting.as_ref().map_or_else(|| Instant::now() + limits::RELAY_LOOK, |w| w.until);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                order = orders.recv() => match order {
                    Some(order) => within(self.obey(order, link)).await?,
                    None => return Ok(()),
                },
                message = link.next() => within(self.arrived(message?, link)).await?,
                () = sleep_until(until) => self.answer(),
                _ = tick.tick() => within(self.tend(link)).await?,
            }
        }
    }

    async fn obey(&mut self, order: Order, link: &mut Link) -> Result<(), NatsError> {
        match order {
            Order::Lease { max, back } => {
                self.answer();
                self.waiting = Some(Waiting { max, back, until: Instant::now() + limits::RELAY_LEASE_WAIT });
                self.free_if_past(link).await?;
                if self.may_lend() {
                    self.answer();
                    return Ok(());
                }
                let (left, until) = self.asked;
                // What was asked for before comes by itself, and is told.
                if left > 0 && Instant::now() <= until && !self.unwell {
                    self.answer();
                } else if left == 0 || Instant::now() > until {
                    self.inbox = link.reply_subject();
                    let (inbox, most) = (self.inbox.clone(), max.clamp(1, self.most()));
                    let consumer = self.consumer(self.kind);
                    jetstream::pull(link, &self.config.bus.stream, &consumer, &inbox, (most, limits::RELAY_PULL));
                    self.asked = (most, Instant::now() + limits::RELAY_PULL + Duration::from_secs(1));
                    link.flush().await?;
                }
                Ok(())
            }
            Order::Settle { fates, back } => {
                for (seq, fate) in fates {
                    self.settle(seq, fate, link).await?;
                }
                link.flush().await?;
                let _ = back.send(());
                Ok(())
            }
        }
    }

    /// No relay takes so much at once that the others stand idle.
    fn most(&self) -> usize {
        self.at_once().map_or(2 * self.config.destination.bundle_max.max(1), |n| n as usize)
    }

    async fn settle(&mut self, seq: u64, fate: Fate, link: &mut Link) -> Result<(), NatsError> {
        if let Fate::Refused(why) = &fate {
            // It stays held, and the loop asks again, until the refused have it.
            let Some(held) = self.hand.get(seq) else { return Ok(()) };
            let message = self.refused(seq, &held.subject, &held.raw, why);
            let there = self.put_aside(message, link).await?;
            if !there && let Some(held) = self.hand.let_go(seq) {
                back(link, &held.ack, limits::RELAY_AGAIN);
                return Ok(());
            }
        }
        let Some(held) = self.hand.let_go(seq) else { return Ok(()) };
        match fate {
            Fate::Done => {
                self.unwell = false;
                self.hand.forget(seq);
                link.publish(&held.ack, None, &[], b"+ACK");
            }
            Fate::Refused(_) => {
                self.hand.forget(seq);
                link.publish(&held.ack, None, &[], b"+TERM");
            }
            Fate::Later(after) => {
                self.hand.failed(seq);
                back(link, &held.ack, after);
            }
            Fate::Back { suspect } => {
                self.unwell = true;
                if suspect {
                    self.hand.failed(seq);
                }
                back(link, &held.ack, limits::RELAY_BACK);
                self.hand.let_go_ready().iter().for_each(|held| back(link, &held.ack, limits::RELAY_BACK));
            }
        }
        Ok(())
    }

    fn rejected_prefix(&self) -> String {
        format!("{}-rejected", self.config.bus.subject_prefix)
    }

    /// A refused message, as the stream of the refused keeps it.
    fn refused(&self, seq: u64, subject: &str, raw: &bytes::Bytes, why: &Why) -> Outgoing {
        let rest = subject.split_once('.').map_or("unknown", |(_, rest)| rest);
        Outgoing {
            subject: format!("{}.{rest}", self.rejected_prefix()),
            id: format!("{}:{seq}:{}", self.stream(), self.config.relay.durable),
            payload: raw.clone(),
            headers: vec![
                ("Wardline-Why", format!("{}: {}", why.code, why.text)),
                ("Wardline-Subject", subject.to_owned()),
                ("Wardline-Seq", seq.to_string()),
            ],
        }
    }

    /// Whether the stream of the refused has it now. Without its word the message must not be let go.
    async fn put_aside(&mut self, message: Outgoing, link: &mut Link) -> Result<bool, NatsError> {
        let wait = Duration::from_secs(self.config.bus.timeout_s.max(1));
        let rejected = self.config.relay.rejected_stream.clone();
        let (mut answers, over) = jetstream::publish(link, &rejected, std::slice::from_ref(&message), wait).await;
        match (answers.pop().flatten(), over) {
            (Some(Ok(taken)), _) => {
                let kind = self.kind.word();
                metrics::counter!("wardline_relay_rejected_total", "kind" => kind).increment(1);
                tracing::warn!(code = "WL-N011", kind, seq = taken.seq, "a message was refused and put aside");
                self.seen.send_modify(|seen| seen.rejected += 1);
                Ok(true)
            }
            // The connection is sound: others go on meanwhile.
            (Some(Err(e)), _) | (None, Some(e @ NatsError::NotPermitted(_))) => {
                let why = Why::new(e.code(), format!("what is refused cannot be put aside: {e}"));
                if self.seen.borrow().why.as_ref() != Some(&why) {
                    tracing::warn!(kind = self.kind.word(), code = %why.code, why = %why.text, "a message goes back");
                }
                self.seen.send_modify(|seen| seen.why = Some(why));
                Ok(false)
            }
            (None, Some(e)) => Err(e),
            (None, None) => Err(NatsError::NoAnswer("it is not known whether it was put aside")),
        }
    }

    /// A message, or the end of what was asked for.
    async fn arrived(&mut self, message: Message, link: &mut Link) -> Result<(), NatsError> {
        let Some((_, seq)) = jetstream::place(&message) else {
            // 408 time is up, 404 none, 409 too many held: whatever it is, it is asked anew.
            if message.status.is_some() && message.subject == self.inbox {
                self.asked.0 = 0;
                self.tell();
            }
            return Ok(());
        };
        self.asked.0 = self.asked.0.saturating_sub(1);
        let ack = message.reply.clone().unwrap_or_default();
        if self.unwell && self.waiting.is_none() {
            back(link, &ack, limits::RELAY_BACK);
            return link.flush().await;
        }
        match self.read(&message) {
            Ok(letter) => {
                metrics::counter!("wardline_relay_taken_total", "kind" => self.kind.word()).increment(1);
                let held = Held { ack, subject: message.subject, raw: message.payload, letter };
                self.hand.take(seq, held);
                self.free_if_past(link).await?;
                self.company();
                Ok(())
            }
            Err(Unreadable::Newer) => {
                self.newer();
                back(link, &ack, limits::RELAY_AGAIN);
                link.flush().await
            }
            Err(Unreadable::Foreign(why)) => {
                let why = Why::new("WL-N013", why);
                let mut outgoing = self.refused(seq, &message.subject, &message.payload, &why);
                let size = message.oversize.unwrap_or(message.payload.len());
                if message.oversize.is_some() || !jetstream::has_room(link, &message.payload) {
                    // None of ours is so large. Only that it was there is kept: else it would come again for ever.
                    outgoing.headers.push(("Wardline-Size", size.to_string()));
                    outgoing.payload = bytes::Bytes::new();
                }
                if self.put_aside(outgoing, link).await? {
                    link.publish(&ack, None, &[], b"+TERM");
                } else {
                    back(link, &ack, limits::RELAY_AGAIN);
                }
                link.flush().await
            }
        }
    }

    /// What a message says, if it says it on the way of its kind and of its gateway.
    fn read(&self, message: &Message) -> Result<message::Letter, Unreadable> {
        if message.oversize.is_some() {
            return Err(Unreadable::Foreign("it is larger than any of ours"));
        }
        let letter = message::read(&message.payload)?;
        let expected = self.kind.subject(&self.config.bus.subject_prefix, &letter.gateway);
        if message.subject != expected || Kind::of(&letter.what) != self.kind {
            return Err(Unreadable::Foreign("it is not what its subject says"));
        }
        match &letter.what {
            Payload::Reading(reading) if reading.patient.is_none() => {
                Err(Unreadable::Foreign("it is nobody's reading"))
            }
            _ => Ok(letter),
        }
    }

    /// Something came: whoever waits gets it after a moment of company, whoever sleeps is woken.
    fn company(&mut self) {
        if !self.may_lend() {
            return;
        }
        let ready = self.hand.count().1;
        match &mut self.waiting {
            Some(waiting) => {
                waiting.until = waiting.until.min(Instant::now() + limits::RELAY_COMPANY);
                if ready >= waiting.max || self.asked.0 == 0 {
                    self.answer();
                }
            }
            None => self.tell(),
        }
    }

    /// Wakes the delivery loop, to lease again.
    fn tell(&self) {
        self.news.send_modify(|n| *n += 1);
    }

    fn may_lend(&self) -> bool {
        self.hand.first().is_some_and(|seq| self.is_free(seq))
    }

    fn is_free(&self, seq: u64) -> bool {
        self.kind.after().is_empty() || seq <= self.free
    }

    /// Whether what the first one waits for is done by now.
    async fn free_if_past(&mut self, link: &mut Link) -> Result<(), NatsError> {
        let Some(seq) = self.hand.first().filter(|seq| *seq > self.free) else { return Ok(()) };
        for before in self.kind.after() {
            if !jetstream::consumer(link, self.stream(), &self.consumer(*before)).await?.is_past(seq) {
                return Ok(());
            }
        }
        self.free = seq;
        Ok(())
    }

    /// Answers the lease that waits, with what there is.
    fn answer(&mut self) {
        let Some(Waiting { max, back, .. }) = self.waiting.take() else { return };
        let (kind, free) = (self.kind, self.free);
        let seqs = self.hand.lend(max, |seq| kind.after().is_empty() || seq <= free);
        let lent = seqs.iter().filter_map(|seq| {
            let held = self.hand.get(*seq)?;
            let (gateway, what) = (held.letter.gateway.clone(), held.letter.what.clone());
            Some(Lent {
                seq: *seq,
                gateway,
                what,
                evidence: held.letter.evidence.clone(),
                attempts: self.hand.tries(*seq),
            })
        });
        if back.send(lent.collect()).is_err() {
            // Nobody waits any more.
            self.hand.give_back(&seqs);
        }
        if !seqs.is_empty() {
            // A lease that got less than it asked for is no sign that there is no more.
            self.tell();
        }
    }

    /// Says that what is held is held, asks for signs of life, looks at the consumer.
    async fn tend(&mut self, link: &mut Link) -> Result<(), NatsError> {
        if link.quiet() > 3 * limits::RELAY_QUIET {
            return Err(NatsError::NoAnswer("the connection is silent"));
        }
        if link.quiet() > limits::RELAY_QUIET {
            link.ping().await?;
        }
        let third = (Duration::from_secs(self.config.relay.ack_wait_s) / 3).min(limits::RELAY_ASSURE_MAX);
        if self.assured.elapsed() >= third {
            self.assured = Instant::now();
            self.hand.all().for_each(|held| link.publish(&held.ack, None, &[], b"+WPI"));
            link.flush().await?;
        }
        if self.asked.0 > 0 && Instant::now() > self.asked.1 {
            self.asked.0 = 0;
            self.tell();
        }
        if !self.may_lend() && self.hand.first().is_some() {
            self.free_if_past(link).await?;
            self.company();
        }
        if self.looked.elapsed() >= limits::RELAY_LOOK {
            self.looked = Instant::now();
            self.look(link).await?;
        }
        Ok(())
    }

    /// Everything that is held goes back at once.
    async fn farewell(&self, link: &mut Link) {
        self.hand.all().for_each(|held| link.publish(&held.ack, None, &[], b"-NAK"));
        let _ = within(link.flush()).await;
    }

    fn newer(&self) {
        let first = self.seen.borrow().newer == 0;
        if first {
            let kind = self.kind.word();
            tracing::warn!(code = "WL-N012", kind, "a message of a newer gateway waits for a newer relay");
        }
        metrics::counter!("wardline_relay_newer_total", "kind" => self.kind.word()).increment(1);
        self.seen.send_modify(|seen| seen.newer += 1);
    }

    fn up(&self) {
        let was = self.seen.borrow().up;
        if !was {
            tracing::info!(kind = self.kind.word(), "the bus is there");
        }
        self.seen.send_modify(|seen| (seen.up, seen.why) = (true, None));
        self.tell();
    }

    fn down(&self, why: &NatsError) {
        let why = Why::new(why.code(), why.to_string());
        if self.seen.borrow().why.as_ref() != Some(&why) {
            tracing::warn!(kind = self.kind.word(), code = %why.code, why = %why.text, "the bus is away");
        }
        self.seen.send_modify(|seen| (seen.up, seen.why) = (false, Some(why)));
    }
}

/// A message goes back to the stream, to come again after a while.
fn back(link: &mut Link, ack: &str, after: Duration) {
    link.publish(ack, None, &[], format!("-NAK {{\"delay\": {}}}", after.as_nanos()).as_bytes());
}

/// A connection that takes nothing is over.
async fn within(work: impl Future<Output = Result<(), NatsError>>) -> Result<(), NatsError> {
    let most = limits::RELAY_WRITE_MAX + limits::NATS_API_WAIT;
    timeout(most, work).await.unwrap_or(Err(NatsError::NoAnswer("the connection takes nothing")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Trouble;

    #[test]
    fn the_stream_is_told_what_the_destination_said() {
        let away = Trouble::Unreachable("refused");
        let nine = Duration::from_secs(9);
        let after = Some(nine);
        assert_eq!(Fate::of(&away.destination(None)), Fate::Back { suspect: false });
        assert_eq!(Fate::of(&away.destination(after)), Fate::Back { suspect: false }, "no message is suspected for it");
        assert_eq!(Fate::of(&Trouble::ServerError(500).destination(None)), Fate::Back { suspect: true });
        assert_eq!(Fate::of(&Trouble::ServerError(500).destination(after)), Fate::Later(nine));
        assert_eq!(Fate::of(&Trouble::Conflict.item(Duration::from_secs(3))), Fate::Later(Duration::from_secs(3)));
        assert!(matches!(Fate::of(&Trouble::TooLarge.reject()), Fate::Refused(_)));
    }
}
