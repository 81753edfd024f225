//! The links: a radio that brings Bluetooth values, and a broker with its persistent session. As sources of the gateway
//! they do what the real ones do: tell nobody that a frame is kept before they were told so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;
use wardline::clock::Stamp;
use wardline::reading::{Delivery, Frame, Redelivery};
use wardline::source::{Port, SourceStatus, Trouble};

use super::world::{Flaw, MINUTE, SECOND, State, World};

/// A frame that was not told of for so long is sent again by its device.
const AGAIN_AFTER_MS: i64 = 30 * SECOND;
/// Until then a link that is down is an alert: a minute, and some.
pub const DOWN_SAID_MS: i64 = 75 * SECOND;
/// What was first sent longer ago than this waited at the broker.
const WAITED_MS: i64 = 10 * SECOND;

pub struct Link {
    pub name: &'static str,
    mqtt: bool,
    pub up: bool,
    /// Since when; the gateway must say that it is down.
    pub since_ms: i64,
    pub bell: Arc<Notify>,
    /// Facts on their way: in the device's memory, or at the broker.
    pub queue: VecDeque<usize>,
    /// Sent, and not told of, by ticket.
    unkept: BTreeMap<u64, Out>,
    /// At the broker: sent in this or an earlier connection, and not acknowledged.
    in_flight: VecDeque<(u16, usize, i64)>,
    /// Of them, to be sent in this connection, with DUP.
    again: VecDeque<(u16, usize, i64)>,
    ticket: u64,
    packet: u16,
    connection: u32,
    count: u64,
}

struct Out {
    fact: usize,
    sent_ms: i64,
    packet: u16,
    connection: u32,
    received: Stamp,
}

/// What a link has to do.
enum Todo {
    Send(Frame),
    Until(i64),
}

impl Link {
    fn new(name: &'static str, mqtt: bool) -> Self {
        Self {
            name,
            mqtt,
            up: true,
            since_ms: 0,
            bell: Arc::default(),
            queue: VecDeque::new(),
            unkept: BTreeMap::new(),
            in_flight: VecDeque::new(),
            again: VecDeque::new(),
            ticket: 0,
            packet: 0,
            connection: 0,
            count: 0,
        }
    }

    pub fn radio() -> Self {
        Self::new("radio", false)
    }

    pub fn broker() -> Self {
        Self::new("ward", true)
    }

    /// Frames that the gateway may hold at once.
    fn window(&self) -> usize {
        if self.mqtt { 20 } else { 50 }
    }

    /// Nothing waits anywhere.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.unkept.is_empty() && self.in_flight.is_empty()
    }

    fn connect(&mut self) {
        self.connection += 1;
        self.count = 0;
        if self.mqtt {
            self.unkept.clear();
            self.again = self.in_flight.clone();
        }
    }
}

impl State {
    /// The gateway has started anew: it knows nothing of earlier tickets.
    fn begin_link(&mut self, at: usize) {
        let link = &mut self.links[at];
        (link.connection, link.ticket) = (0, 0);
        let lost: Vec<usize> = std::mem::take(&mut link.unkept).into_values().map(|out| out.fact).collect();
        if !link.mqtt {
            lost.into_iter().rev().for_each(|fact| link.queue.push_front(fact));
        }
        if link.up {
            link.connect();
        }
        self.forget(at);
    }

    /// What a device without a memory measures while nobody listens is gone.
    fn forget(&mut self, at: usize) {
        self.measure(at);
        let (devices, facts) = (&self.devices, &self.facts);
        self.links[at].queue.retain(|fact| devices[facts[*fact].device].has_memory());
    }

    /// The link breaks, or stands again.
    pub fn set_link(&mut self, at: usize, up: bool) {
        if self.links[at].up == up {
            return;
        }
        self.forget(at);
        let now = self.now();
        let link = &mut self.links[at];
        (link.up, link.since_ms) = (up, now);
        if up {
            link.connect();
        }
        link.bell.notify_one();
        self.note("link", at as u64, u64::from(up));
    }

    fn todo(&mut self, at: usize, port: &Port) -> Todo {
        let next = self.measure(at);
        let now = self.now();
        let link = &mut self.links[at];
        if !link.up {
            self.check_down(at);
            return Todo::Until(next);
        }
        if link.unkept.len() < link.window() {
            if let Some((packet, fact, first)) = link.again.pop_front() {
                return Todo::Send(self.frame(at, fact, packet, true, first, port));
            }
            if let Some(fact) = link.queue.pop_front() {
                link.packet = link.packet % 60_000 + 1;
                let packet = link.packet;
                if link.mqtt {
                    link.in_flight.push_back((packet, fact, now));
                }
                return Todo::Send(self.frame(at, fact, packet, false, now, port));
            }
        }
        // The oldest first; the same ticket and the same time, and so the same reading.
        let oldest = link.unkept.iter_mut().filter(|_| !link.mqtt).min_by_key(|(_, out)| out.sent_ms);
        match oldest {
            Some((ticket, out)) if out.sent_ms + AGAIN_AFTER_MS <= now => {
                out.sent_ms = now;
                let (ticket, fact, received) = (*ticket, out.fact, out.received);
                Todo::Send(self.frame_of(fact, ticket, None, received, Delivery::Live))
            }
            Some((_, out)) => Todo::Until(next.min(out.sent_ms + AGAIN_AFTER_MS)),
            None => Todo::Until(next),
        }
    }

    /// A source that is down for a minute is an alert.
    fn check_down(&mut self, at: usize) {
        let (name, since) = (self.links[at].name, self.links[at].since_ms.max(self.life_ms));
        let said = self.conditions.iter().any(|c| c.strip_prefix("source-down:") == Some(name));
        if self.now() - since > DOWN_SAID_MS && !said {
            self.wrong(format!("liveness: {name} is down since {since}, and nobody says so"));
        }
    }

    fn frame(&mut self, at: usize, fact: usize, packet_id: u16, dup: bool, first: i64, port: &Port) -> Frame {
        let waited = self.now() - first > WAITED_MS;
        let link = &mut self.links[at];
        link.ticket += 1;
        link.count += 1;
        let (ticket, connection, count) = (link.ticket, link.connection, link.count);
        let marks = link.mqtt.then_some(Redelivery { dup, packet_id, connection, count });
        let mut received = port.clock.now();
        received.trusted |= self.flaw == Flaw::UntrustedTime;
        let sent_ms = self.now();
        let link = &mut self.links[at];
        link.unkept.insert(ticket, Out { fact, sent_ms, packet: packet_id, connection, received });
        let pressing = link.unkept.len() >= link.window();
        let boot = self.boot;
        self.facts[fact].handed.push((sent_ms, boot));
        if self.flaw == Flaw::ToldEarly {
            self.facts[fact].kept = true;
        }
        let delivery = if waited { Delivery::Waited } else { Delivery::Live };
        Frame { pressing, ..self.frame_of(fact, ticket, marks, received, delivery) }
    }

    fn frame_of(
        &mut self,
        fact: usize,
        ticket: u64,
        redelivery: Option<Redelivery>,
        received: Stamp,
        delivery: Delivery,
    ) -> Frame {
        self.note("sent", fact as u64, ticket);
        let device = &self.devices[self.facts[fact].device];
        let name = self.links[device.link()].name;
        let bytes = self.facts[fact].bytes.clone();
        Frame { path: device.path(), ticket, redelivery, delivery, ..Frame::new(name, bytes, received) }
    }

    /// The gateway says that this frame is kept.
    fn told(&mut self, at: usize, ticket: u64) {
        let link = &mut self.links[at];
        let Some(out) = link.unkept.remove(&ticket) else { return };
        if link.mqtt {
            let acknowledged = link.up && out.connection == link.connection;
            if acknowledged {
                link.in_flight.retain(|(packet, ..)| *packet != out.packet);
            }
        }
        let fact = out.fact;
        self.note("kept", fact as u64, ticket);
        self.facts[fact].kept = true;
        self.check_alert(fact);
        // A history is sent again, a message is published twice.
        let device = &self.devices[self.facts[fact].device];
        if device.has_memory() && self.facts[fact].stated_ms.is_some() && self.random.one_in(30) {
            self.links[at].queue.push_back(fact);
        }
    }

    /// A critical value must be signalled before anybody is told that it is kept.
    fn check_alert(&mut self, fact: usize) {
        let Worry { critical, vital, patient, since } = self.worry(fact);
        let Some(patient) = patient.filter(|_| critical) else { return };
        // Normal ones that came after it may have ended the alert between two looks.
        let later = self.facts[fact..].iter().any(|f| f.vital == vital && !f.critical && !f.handed.is_empty());
        let seen = self.alerted.get(&(patient.clone(), vital)).is_some_and(|seen| seen.open || seen.last_ms >= since);
        if !seen && !later {
            self.wrong(format!("safety: fact {fact} ({vital}) is kept, and nobody was alerted"));
        }
    }

    fn worry(&self, fact: usize) -> Worry {
        let fact = &self.facts[fact];
        let patient = self.devices[fact.device].patient.map(str::to_owned);
        let since = fact.handed.first().map_or(0, |(at, _)| *at);
        Worry { critical: fact.critical, vital: fact.vital, patient, since }
    }
}

struct Worry {
    critical: bool,
    vital: &'static str,
    patient: Option<String>,
    since: i64,
}

/// The source, as the gateway runs it.
pub async fn run(mut port: Port, world: Arc<World>, at: usize) {
    let bell = {
        let mut state = world.lock();
        state.begin_link(at);
        state.links[at].bell.clone()
    };
    let mut shown = None;
    loop {
        let next = {
            let mut state = world.lock();
            let todo = (!state.frozen).then(|| state.todo(at, &port));
            todo.map(|todo| (todo, state.links[at].up))
        };
        // The power is gone: nothing happens any more.
        let Some((todo, up)) = next else { return std::future::pending().await };
        if shown != Some(up) {
            shown = Some(up);
            let trouble = (!up).then(|| Trouble { code: "WL-S000", sentence: "the link is down".into() });
            let connected_since = up.then(|| port.clock.now());
            port.status.send_replace(SourceStatus { connected_since, trouble, ..SourceStatus::default() });
        }
        let until = match todo {
            Todo::Send(frame) => {
                if port.frames.send(frame).await.is_err() {
                    return;
                }
                world.lock().instant(0)
            }
            // While it is down, somebody looks whether the gateway says so.
            Todo::Until(ms) => {
                let state = world.lock();
                state.instant(ms.min(state.now() + if up { i64::MAX / 4 } else { MINUTE }))
            }
        };
        tokio::select! {
            biased;
            () = port.stop.cancelled() => break,
            told = port.kept.recv() => match told {
                Some(ticket) => kept(&world, at, ticket),
                None => return,
            },
            () = bell.notified() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
    while let Some(ticket) = port.kept.recv().await {
        kept(&world, at, ticket);
    }
}

fn kept(world: &World, at: usize, ticket: u64) {
    let mut state = world.lock();
    if state.frozen {
        return;
    }
    state.told(at, ticket);
    if std::mem::take(&mut state.cut_when_told) {
        state.frozen = true;
        world.end.notify_one();
    }
}
