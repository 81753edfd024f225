//! One session with a broker, over as many connections as it takes: one place awaits, one place changes state.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::fault::SourceError;
use super::link::{Event, Link, Message, Voice};
use super::plan::Plan;
use super::window::Window;
use crate::clock::{Clock, Stamp};
use crate::fault::Explain;
use crate::limits;
use crate::reading::{Delivery, Frame, Path, Redelivery};
use crate::source::{Port, SourceStatus, Trouble};

/// Tickets taken from the gateway at once.
const TOLD_AT_ONCE: usize = 1_024;

pub(super) struct Session<V> {
    plan: Plan,
    voice: V,
    frames: mpsc::Sender<Frame>,
    kept: mpsc::Receiver<u64>,
    status: watch::Sender<SourceStatus>,
    clock: Clock,
    stop: CancellationToken,
    window: Window,
    topics: Topics,
    told: Vec<u64>,
    /// Frames that go to the gateway next.
    ready: Vec<Frame>,
    received: u64,
    connected: Option<Stamp>,
    /// When we were last connected, or closed a connection.
    last_seen: Option<Stamp>,
    /// Messages may have waited at the broker, until it has nothing more to send at once.
    catching_up: bool,
    /// When the window was last as full as a broker with a backlog fills it.
    last_full: Option<Stamp>,
    attempts: u32,
    /// This connection brought a message.
    useful: bool,
    metrics: Metrics,
}

struct Metrics {
    frames: metrics::Counter,
    redelivered: metrics::Counter,
    passed_over: metrics::Counter,
    failures: metrics::Counter,
    connected: metrics::Gauge,
    outstanding: metrics::Gauge,
}

impl Metrics {
    fn new(source: &Arc<str>) -> Self {
        let source = || source.to_string();
        Self {
            frames: metrics::counter!("wardline_source_frames_total", "source" => source()),
            redelivered: metrics::counter!("wardline_source_redelivered_total", "source" => source()),
            passed_over: metrics::counter!("wardline_source_passed_over_total", "source" => source()),
            failures: metrics::counter!("wardline_source_failures_total", "source" => source()),
            connected: metrics::gauge!("wardline_source_connected", "source" => source()),
            outstanding: metrics::gauge!("wardline_source_outstanding", "source" => source()),
        }
    }
}

/// Why waiting ended before its time: the gateway is shutting down.
struct Stopped;

impl<V: Voice> Session<V> {
    pub(super) fn new(plan: Plan, voice: V, port: Port) -> Self {
        Self {
            metrics: Metrics::new(&plan.name),
            plan,
            voice,
            frames: port.frames,
            kept: port.kept,
            status: port.status,
            clock: port.clock,
            stop: port.stop,
            window: Window::default(),
            topics: Topics::default(),
            told: Vec::with_capacity(TOLD_AT_ONCE),
            ready: vec![],
            received: 0,
            connected: None,
            last_seen: None,
            catching_up: false,
            last_full: None,
            attempts: 0,
            useful: false,
        }
    }

    pub(super) async fn run(mut self, mut link: impl Link) {
        let mut events = vec![];
        let _: Result<(), Stopped> = async {
            loop {
                match self.attend(link.next(&mut events)).await? {
                    Ok(()) => {
                        let now = self.clock.now();
                        events.drain(..).for_each(|e| self.apply(e, now));
                        self.forward().await?;
                    }
                    Err(error) => {
                        let pause = self.lost(&error);
                        self.attend(tokio::time::sleep(pause)).await?;
                    }
                }
            }
        }
        .await;
        self.farewell(link).await;
    }

    /// Waits for `what`, and meanwhile acknowledges whatever the gateway tells.
    async fn attend<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Stopped> {
        let stop = self.stop.clone();
        let mut stopped = pin!(stop.cancelled());
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return Err(Stopped),
                n = self.kept.recv_many(&mut self.told, TOLD_AT_ONCE) => match n {
                    0 => return Err(Stopped),
                    _ => self.acknowledge(),
                },
                done = &mut what => return Ok(done),
            }
        }
    }

    fn acknowledge(&mut self) {
        for ticket in self.told.drain(..) {
            self.window.tell(ticket);
        }
        while let Some(packet_id) = self.window.due() {
            if !self.voice.acknowledge(packet_id) {
                break;
            }
            self.window.acknowledged();
        }
        self.show();
    }

    fn apply(&mut self, event: Event, now: Stamp) {
        match event {
            Event::Message(message) => self.message(message, now),
            Event::Connected { resumed } => self.connected(resumed, now),
            Event::Subscribed { refused: 0 } => {}
            Event::Subscribed { refused } => {
                let error = SourceError::Subscription(refused);
                tracing::error!(source = &*self.plan.name, code = error.code(), "{error}. {}", error.remedy());
                self.status.send_modify(|s| s.trouble = Some(Trouble::of(&error)));
            }
        }
    }

    fn connected(&mut self, resumed: bool, now: Stamp) {
        self.window.open();
        self.voice.subscribe(&self.plan.filters.subscribed);
        let absent = self.last_seen.map(|then| now.since(then));
        self.catching_up = resumed && absent.is_none_or(|a| a > limits::MQTT_ABSENCE_MAX);
        self.last_full = Some(now);
        self.connected = Some(now);
        self.metrics.connected.set(1.0);
        self.status.send_modify(|s| {
            s.connected_since = Some(now);
            s.trouble = None;
            s.outstanding = 0;
        });
        tracing::info!(source = &*self.plan.name, resumed, "Connected to the broker.");
    }

    fn message(&mut self, message: Message, now: Stamp) {
        self.useful = true;
        let ticket = self.window.take(message.packet_id);
        let topic = self.topics.get(&message.topic);
        if message.repeat || !self.plan.filters.want(&topic) {
            self.metrics.passed_over.increment(1);
            return self.window.tell(ticket);
        }
        let outstanding = self.window.len();
        self.received += 1;
        self.metrics.frames.increment(1);
        if message.dup {
            self.metrics.redelivered.increment(1);
        }
        if self.catching_up {
            self.watch_backlog(outstanding, now);
        }
        let (bytes, delivery) = cut(message.payload, message.retained || self.catching_up);
        self.ready.push(Frame {
            source: Arc::clone(&self.plan.name),
            path: Path::Topic(topic),
            bytes,
            received: now,
            ticket,
            pressing: outstanding >= usize::from(self.plan.in_flight)
                || (outstanding > 0 && outstanding.is_multiple_of(limits::MQTT_BROKER_WINDOW)),
            redelivery: Some(Redelivery {
                dup: message.dup,
                packet_id: message.packet_id,
                connection: self.window.connection(),
                count: self.window.frames(),
            }),
            delivery,
            clocks: None,
        });
    }

    /// A broker with a backlog refills the window at each acknowledgement. When it did not for a while, what comes is new.
    fn watch_backlog(&mut self, outstanding: usize, now: Stamp) {
        if outstanding >= limits::MQTT_BROKER_WINDOW.min(usize::from(self.plan.in_flight)) {
            self.last_full = Some(now);
        } else if self.last_full.is_none_or(|full| now.since(full) > limits::MQTT_BACKLOG_QUIET) {
            self.catching_up = false;
        }
    }

    /// Hands the frames over. A full channel stops the reading: the broker keeps the rest.
    async fn forward(&mut self) -> Result<(), Stopped> {
        let ready = std::mem::take(&mut self.ready);
        let mut ready = ready.into_iter();
        for frame in ready.by_ref() {
            match self.frames.try_send(frame) {
                Ok(()) => {}
                Err(TrySendError::Closed(_)) => return Err(Stopped),
                Err(TrySendError::Full(frame)) => {
                    let frames = self.frames.clone();
                    if self.attend(frames.send(frame)).await?.is_err() {
                        return Err(Stopped);
                    }
                }
            }
        }
        self.acknowledge();
        Ok(())
    }

    /// The connection failed or ended: says so, and how long to wait.
    fn lost(&mut self, error: &SourceError) -> Duration {
        let now = self.clock.now();
        let steady = self.connected.take().map(|since| {
            self.last_seen = Some(now);
            now.since(since) > limits::MQTT_STEADY
        });
        self.window.close();
        self.attempts = attempts(self.attempts, steady == Some(true), std::mem::take(&mut self.useful));
        self.metrics.connected.set(0.0);
        self.metrics.failures.increment(1);
        let trouble = Trouble::of(error);
        let news = self.status.borrow().trouble.as_ref() != Some(&trouble);
        if news {
            tracing::warn!(source = &*self.plan.name, code = trouble.code, "{}", trouble.sentence);
        }
        self.status.send_modify(|s| {
            s.connected_since = None;
            s.trouble = Some(trouble);
            s.failures += 1;
            s.outstanding = 0;
        });
        pause(self.attempts, error.is_slow(), random())
    }

    fn show(&mut self) {
        let (frames, outstanding) = (self.received, self.window.len());
        self.metrics.outstanding.set(f64::from(u32::try_from(outstanding).unwrap_or(u32::MAX)));
        self.status.send_if_modified(|s| {
            let changed = (s.frames, s.outstanding) != (frames, outstanding);
            (s.frames, s.outstanding) = (frames, outstanding);
            changed
        });
    }

    /// Reads nothing new, waits a little for what the journal still commits, then leaves.
    async fn farewell(mut self, mut link: impl Link) {
        drop(std::mem::replace(&mut self.frames, mpsc::channel(1).0));
        self.stop = CancellationToken::new();
        if self.connected.is_some() {
            let _ = tokio::time::timeout(limits::MQTT_FAREWELL_MAX, async {
                let mut events = vec![];
                while self.window.len() > 0 {
                    if !matches!(self.attend(link.next(&mut events)).await, Ok(Ok(()))) {
                        return;
                    }
                    events.clear();
                }
                self.voice.leave();
                while link.next(&mut events).await.is_ok() {}
            })
            .await;
        }
        self.metrics.connected.set(0.0);
        self.status.send_modify(|s| s.connected_since = None);
    }
}

/// A payload as far as it is kept, and how it came.
fn cut(payload: Bytes, waited: bool) -> (Bytes, Delivery) {
    if payload.len() > limits::PAYLOAD_BYTES_MAX {
        // A copy, or the evidence would keep the whole packet in memory.
        let kept = payload.get(..limits::OVERSIZED_KEPT_BYTES).unwrap_or_default();
        return (Bytes::copy_from_slice(kept), Delivery::Cut { length: payload.len() });
    }
    (payload, if waited { Delivery::Waited } else { Delivery::Live })
}

/// How many attempts in a row count as failed now. Readings wait while we do: what works in between is asked again soon.
fn attempts(before: u32, steady: bool, useful: bool) -> u32 {
    match (steady, useful) {
        (true, _) => 0,
        (false, true) => before.saturating_add(1).min(limits::MQTT_USEFUL_ATTEMPTS),
        (false, false) => before.saturating_add(1),
    }
}

/// Exponential with full jitter, so that a thousand boxes do not return at once; slow where a person must act first.
fn pause(attempts: u32, slow: bool, random: f64) -> Duration {
    let (first, last) = limits::MQTT_RETRY;
    let bound = if slow { last } else { first.saturating_mul(1 << attempts.min(16)).min(last) };
    let least = if slow { last / 2 } else { first / 10 };
    least + bound.saturating_sub(least).mul_f64(random)
}

/// 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    filled.map_or(0.5, |()| f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX))
}

/// Topics seen, shared by their frames.
#[derive(Default)]
struct Topics(HashSet<Arc<str>>);

impl Topics {
    fn get(&mut self, topic: &[u8]) -> Arc<str> {
        // The broker must send UTF-8; if it does not, no profile will match what is left of it.
        let topic = String::from_utf8_lossy(topic);
        if let Some(known) = self.0.get(&*topic) {
            return Arc::clone(known);
        }
        if self.0.len() >= limits::MQTT_TOPICS_REMEMBERED {
            self.0.clear();
        }
        let new: Arc<str> = topic.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_waits_longer_each_time_and_never_too_long() {
        let at = |attempts, slow, random| pause(attempts, slow, random).as_millis();
        assert_eq!([at(0, false, 1.0), at(1, false, 1.0), at(3, false, 1.0)], [1_000, 2_000, 8_000]);
        assert_eq!([at(6, false, 1.0), at(u32::MAX, false, 1.0)], [60_000, 60_000]);
        assert_eq!([at(9, false, 0.0), at(0, true, 0.0), at(0, true, 1.0)], [100, 30_000, 60_000]);
        assert!((0.0..=1.0).contains(&random()));
    }

    #[test]
    fn a_link_that_works_between_its_cuts_is_never_left_for_long() {
        let after = |flaps, useful| (0..flaps).fold(0, |before, _| attempts(before, false, useful));
        assert!(pause(after(100, true), false, 1.0) <= Duration::from_secs(8));
        assert_eq!(pause(after(100, false), false, 1.0), limits::MQTT_RETRY.1);
        assert_eq!(attempts(100, true, false), 0);
    }

    #[test]
    fn known_topics_are_shared_and_their_number_is_bounded() {
        let mut topics = Topics::default();
        let first = topics.get(b"vitals/cuff");
        assert!(Arc::ptr_eq(&first, &topics.get(b"vitals/cuff")));
        for i in 0..3 * limits::MQTT_TOPICS_REMEMBERED {
            topics.get(i.to_string().as_bytes());
        }
        assert!(topics.0.len() <= limits::MQTT_TOPICS_REMEMBERED);
        assert_eq!(&*topics.get(b"\xff/x"), "\u{fffd}/x");
    }

    #[test]
    fn what_is_kept_of_a_large_payload_does_not_hold_the_whole() {
        let large = Bytes::from(vec![7; limits::PAYLOAD_BYTES_MAX + 1]);
        let (kept, delivery) = cut(large.clone(), true);
        assert_eq!((kept.len(), delivery), (limits::OVERSIZED_KEPT_BYTES, Delivery::Cut { length: large.len() }));
        assert!(large.try_into_mut().is_ok(), "nobody else holds it");
        let (kept, delivery) = cut(Bytes::from_static(b"x"), true);
        assert_eq!((kept.len(), delivery), (1, Delivery::Waited));
    }
}
