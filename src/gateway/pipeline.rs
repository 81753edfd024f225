//! Frames in, synced arrivals out: the one place that awaits between sources and journal.
//!
//! Promises: a source is told of a frame only after the journal answered for it; an alert is signalled before the disk
//! is asked, and its commit never lingers; a full queue pushes back. Of a flood, what is no reading of a known device is
//! told and counted instead: unacknowledged, it would stop the others. A value of a stream, which no device says again, is
//! told when it is gathered, and kept with its period (decision 0041).
//! Must never: drop a reading of a known device, tell twice, or answer a person before the commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::core::{Core, Look};
use super::orders::{Corrected, Order};
use super::quota::{Admission, FLOOD, Quota};
use crate::alarm::{AlertEvent, Priority};
use crate::alert::Input;
use crate::alert::corrected;
use crate::alert::notify::Signal;
use crate::clock::Clock;
use crate::journal::{Act, Group, Journal, JournalError, Kept};
use crate::limits;
use crate::reading::{Arrival, Frame};
use crate::source::ble::Known;
use crate::telemetry::Pulse;

/// The task between sources and journal.
pub(super) struct Pipeline {
    pub(super) core: Core,
    pub(super) quota: Quota,
    /// Alert events of the start itself, to be committed first.
    pub(super) ended: Vec<AlertEvent>,
    pub(super) journal: Journal,
    pub(super) signal: Signal,
    pub(super) clock: Clock,
    /// Thin traffic is committed this often at most; what comes after a pause waits for nothing.
    pub(super) linger: Duration,
    /// By source: where it is told which frames are kept.
    pub(super) kept: HashMap<Arc<str>, mpsc::Sender<u64>>,
    /// Bluetooth devices that may be connected to.
    pub(super) known: watch::Sender<Arc<Known>>,
    pub(super) pulse: Pulse,
}

/// What the pipeline is told.
pub(super) struct Inbox {
    pub(super) frames: mpsc::Receiver<Frame>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) technical: mpsc::Receiver<Technical>,
}

/// A technical condition of the gateway, as one of its tasks found it.
#[derive(Clone, Debug)]
pub(super) struct Technical {
    /// Stable name: `destination-down:centre`.
    pub(super) name: Arc<str>,
    /// Whether it holds now.
    pub(super) active: bool,
    pub(super) priority: Priority,
    /// What a person reads; no patient data.
    pub(super) text: String,
}

/// Tells a person who waits that it is done.
type Answer = Box<dyn FnOnce() + Send>;
type Done = (Arc<Group>, Vec<Answer>, Result<Vec<Kept>, JournalError>);
type InFlight = FuturesUnordered<BoxFuture<'static, Done>>;

/// What is collected for the next commit.
#[derive(Default)]
struct Pending {
    group: Group,
    answers: Vec<Answer>,
    since: Option<Instant>,
    urgent: bool,
}

impl Pipeline {
    /// Runs until the sources are gone (or `stop`) and everything taken is committed; an error: the journal failed.
    pub(super) async fn run(mut self, inbox: Inbox, stop: CancellationToken) -> Result<(), JournalError> {
        let Inbox { mut frames, mut orders, mut technical } = inbox;
        let mut pending = Pending::default();
        let mut in_flight = InFlight::new();
        let mut batch = Vec::with_capacity(limits::COMMIT_GROUP_MAX);
        let mut ticks = tokio::time::interval(self.pulse.every());
        let mut open = true;
        let mut quiet_until = Instant::now();
        self.begin(&mut pending);
        while open || !pending.is_empty() || !in_flight.is_empty() {
            let room = limits::COMMIT_GROUP_MAX.saturating_sub(pending.group.arrivals.len());
            let free = in_flight.len() < limits::COMMITS_IN_FLIGHT_MAX;
            let due = pending.due(quiet_until, !open).filter(|_| free);
            tokio::select! {
                biased;
                Some(done) = in_flight.next() => self.answer(done)?,
                () = until(due), if due.is_some() => {
                    quiet_until = Instant::now() + self.linger;
                    in_flight.push(self.commit(&mut pending));
                }
                Some(order) = orders.recv(), if open => self.order(order, &mut pending, &in_flight),
                Some(condition) = technical.recv(), if open => self.condition(&condition, &mut pending),
                n = frames.recv_many(&mut batch, room), if open && room > 0 => {
                    open = n > 0;
                    batch.drain(..).for_each(|frame| self.frame(frame, &mut pending));
                }
                _ = ticks.tick(), if open => self.tick(&mut pending),
                () = stop.cancelled(), if open => open = false,
            }
            if !open {
                let over = self.core.streams.end();
                over.into_iter().for_each(|period| self.collect(period, &mut pending));
            }
        }
        Ok(())
    }

    /// Signals again what was open before the restart.
    fn begin(&mut self, pending: &mut Pending) {
        let ended = std::mem::take(&mut self.ended);
        self.signal.signal(self.clock.now(), &self.core.engine, &ended);
        self.keep(ended, pending);
    }

    fn frame(&mut self, frame: Frame, pending: &mut Pending) {
        pending.urgent |= frame.pressing;
        let now = self.clock.now();
        let Look { arrival, gathered, events } = self.core.take(frame, now);
        self.signal(events, pending);
        let over = self.core.streams.ended(now);
        over.into_iter().for_each(|period| self.collect(period, pending));
        if gathered {
            return self.tell(&arrival.frame);
        }
        let owed = self.core.is_owed(&arrival);
        match self.quota.admit(&arrival.frame, owed, now) {
            Admission::Taken => self.collect(arrival, pending),
            Admission::Kept => self.collect(Arrival { undated: false, outcome: Err(FLOOD), ..arrival }, pending),
            Admission::Counted => {
                metrics::counter!("wardline_frames_rejected_total", "code" => FLOOD.code).increment(1);
                self.tell(&arrival.frame);
            }
        }
    }

    fn collect(&self, arrival: Arrival, pending: &mut Pending) {
        if let Err(reject) = &arrival.outcome {
            metrics::counter!("wardline_frames_rejected_total", "code" => reject.code).increment(1);
        }
        pending.group.arrivals.push(arrival);
        pending.since.get_or_insert_with(Instant::now);
    }

    /// Local signal first, then the disk.
    fn signal(&mut self, events: Vec<AlertEvent>, pending: &mut Pending) {
        if events.is_empty() {
            return;
        }
        self.signal.signal(self.clock.now(), &self.core.engine, &events);
        self.keep(events, pending);
    }

    fn keep(&self, events: Vec<AlertEvent>, pending: &mut Pending) {
        if events.is_empty() {
            return;
        }
        pending.group.events.extend(events);
        pending.since.get_or_insert_with(Instant::now);
        pending.urgent = true;
    }

    fn tick(&mut self, pending: &mut Pending) {
        self.pulse.beat();
        let now = self.clock.now();
        let events = self.core.engine.step(now, Input::Tick);
        self.signal(events, pending);
        let over = self.core.streams.ended(now);
        over.into_iter().for_each(|period| self.collect(period, pending));
        if let Some((active, text)) = self.quota.news(self.clock.now()) {
            let flood = Technical { name: "device-floods".into(), active, priority: Priority::Medium, text };
            self.condition(&flood, pending);
        }
    }

    fn condition(&mut self, condition: &Technical, pending: &mut Pending) {
        let Technical { name, active, priority, text } = condition;
        let input = Input::Technical { name, active: *active, priority: *priority, text };
        let events = self.core.engine.step(self.clock.now(), input);
        self.signal(events, pending);
    }

    fn order(&mut self, order: Order, pending: &mut Pending, in_flight: &InFlight) {
        match order {
            Order::Acknowledge { id, hand_over: false, answer, .. } if self.core.engine.is_taken(&id) => {
                let _ = answer.send(Ok(()));
            }
            Order::Acknowledge { id, by, answer, .. } => match self.core.engine.acknowledge(self.clock.now(), &id, &by)
            {
                Ok(events) => {
                    pending.answers.push(Box::new(move || {
                        let _ = answer.send(Ok(()));
                    }));
                    self.signal(events, pending);
                }
                Err(e) => drop(answer.send(Err(e))),
            },
            Order::AddDevice { device, by, answer } => {
                let held = self.core.intake.hand(&device, self.clock.now().wall_ms, &by);
                super::radio::know(&self.known, &device);
                let journal = self.journal.clone();
                in_flight.push(Box::pin(async move {
                    // Who holds it first: a device that is known and nobody's binds nothing.
                    let kept = match held {
                        Some(held) => journal.redress(Act::Hold { held: vec![held], by: Some(by) }).await.map(drop),
                        None => Ok(()),
                    };
                    let kept = match kept {
                        Ok(()) => journal.save_device(device).await,
                        Err(e) => Err(e),
                    };
                    drop(answer.send(kept));
                    (Arc::default(), Vec::new(), Ok(Vec::new()))
                }));
            }
            Order::Obey { ordered, recent } => {
                let now = self.clock.now();
                for ordered in &ordered {
                    let events = self.core.engine.obey(now, ordered, &recent);
                    self.signal(events, pending);
                }
            }
            Order::Learn { of } => of.iter().for_each(|reading| self.core.intake.learn(reading)),
            Order::Correct(order) => {
                let Corrected { wrong, right, changed, baseless, recent } = *order;
                wrong.iter().for_each(|reading| self.core.intake.unlearn(reading));
                right.iter().for_each(|reading| self.core.intake.learn(reading));
                let people = wrong.into_iter().filter_map(|reading| reading.patient).collect();
                let corrected = corrected::Corrected { people, right: &changed, baseless, recent: &recent };
                let events = self.core.engine.correct(self.clock.now(), corrected);
                self.signal(events, pending);
            }
            Order::Redo { cause, by, frames, mut decoder, answer } => {
                let now = self.clock.now();
                let (mut arrivals, mut events) = (Vec::new(), Vec::new());
                for (row, frame) in frames {
                    let Some((arrival, mut found)) = self.core.retake(&mut decoder, frame, now) else { continue };
                    arrivals.push((row, arrival));
                    events.append(&mut found);
                }
                self.signal(events, pending);
                let journal = self.journal.clone();
                in_flight.push(Box::pin(async move {
                    drop(answer.send(journal.redress(Act::Redo { cause, by, arrivals }).await));
                    (Arc::default(), Vec::new(), Ok(Vec::new()))
                }));
            }
        }
    }

    /// Hands the group to the journal. On a full disk it stays in hand: the sources are told nothing, and wait.
    fn commit(&self, pending: &mut Pending) -> BoxFuture<'static, Done> {
        let Pending { group, answers, .. } = std::mem::take(pending);
        let (journal, group) = (self.journal.clone(), Arc::new(group));
        Box::pin(async move {
            loop {
                let result = journal.commit(group.clone()).await;
                if !matches!(result, Err(JournalError::Full)) {
                    return (group, answers, result);
                }
                tokio::time::sleep(limits::DISK_FULL_RETRY).await;
            }
        })
    }

    /// Tells the sources, and the people who wait, that a group is on the disk.
    fn answer(&self, (group, answers, result): Done) -> Result<(), JournalError> {
        let kept = result?;
        let (new, known) = kept.iter().fold((0, 0), |(n, k), a| (n + u64::from(a.new), k + u64::from(a.known)));
        metrics::counter!("wardline_readings_committed_total").increment(new);
        metrics::counter!("wardline_readings_known_total").increment(known);
        group.arrivals.iter().for_each(|arrival| self.tell(&arrival.frame));
        answers.into_iter().for_each(|tell| tell());
        Ok(())
    }

    /// The source may forget it.
    fn tell(&self, frame: &Frame) {
        // A source that does not listen any more gets the frame again from its broker, and the journal knows it.
        if self.kept.get(&frame.source).is_none_or(|to| to.try_send(frame.ticket).is_err()) {
            tracing::debug!(source = &*frame.source, "a source could not be told of a kept frame.");
        }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.group.arrivals.is_empty() && self.group.events.is_empty()
    }

    /// When to commit. `None`: nothing to commit.
    fn due(&self, quiet_until: Instant, closing: bool) -> Option<Instant> {
        let since = self.since.filter(|_| !self.is_empty())?;
        let full = self.group.arrivals.len() >= limits::COMMIT_GROUP_MAX;
        Some(if self.urgent || full || closing { since } else { since.max(quiet_until) })
    }
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}
