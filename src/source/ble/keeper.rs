//! The Bluetooth source's one loop: what is heard, whose turn it is, what the connections tell, whether the radio works.
//!
//! Promises: a stranger is never connected to; tickets find their connection; a radio that fails is built anew, for ever,
//! and said meanwhile. Must never: wait for a device, or for BlueZ, in a place where another one would wait with it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::bus::{Bus, Sighting};
use super::fault::{DeviceFault, RadioFault};
use super::gap;
use super::link::{Link, News};
use super::memory::Memory;
use super::peers::Peers;
use super::scan::Radio;
use super::session::Fact;
use super::silence::Silence;
use super::slots::Slots;
use super::standing::{Proof, Standing};
use super::strangers::Strangers;
use super::tap::Ear;
use super::view::{Phase, RadioView};
use super::{Forget, Known, Setup};
use crate::clock::Stamp;
use crate::fault::Explain;
use crate::limits::{BLE_BROADCAST_SAME, BLE_CLOCK_SLACK, BLE_MAIL_MAX, BLE_REBUILD, BLE_TOLD_MAX, NAMEPLATE_AGAIN};
use crate::reading::{ClockPair, DeviceId, Frame, Path};
use crate::source::{Port, SourceStatus, Trouble};

/// Where tickets and bad news of one connection go.
struct Line {
    told: mpsc::Sender<u64>,
    lost: CancellationToken,
    give_way: CancellationToken,
}

type Mail = (u32, DeviceId, News);

/// The source's state; it outlives the radio.
pub(super) struct Keeper {
    pub(super) setup: Setup,
    pub(super) port: Port,
    pub(super) peers: Peers,
    pub(super) silence: Silence,
    pub(super) slots: Slots,
    pub(super) status: SourceStatus,
    pub(super) view: RadioView,
    pub(super) strangers: Strangers,
    memory: Memory,
    pub(super) standing: Standing,
    started: Stamp,
    links: JoinSet<()>,
    /// Which connection a task of them is.
    crew: HashMap<Id, (u32, DeviceId)>,
    lines: HashMap<u32, Line>,
    next_link: u32,
    news: (mpsc::Sender<Mail>, mpsc::Receiver<Mail>),
    crowded: watch::Sender<bool>,
    /// Newest broadcast of each device and service: the same bytes again are no news.
    broadcasts: BTreeMap<(String, String), (bytes::Bytes, Stamp)>,
    /// Of this bus; each new one would cost a D-Bus connection that never ends.
    pub(super) radio: Option<Radio>,
    untold: bool,
    /// It was told to stop, and knows.
    stopping: bool,
}

/// Something that happens whether or not there is a radio.
pub(super) enum Event {
    Kept(u64),
    /// Nothing more will be told.
    Untold,
    News(Mail),
    Known,
    /// The code of a user was given, or taken away, or judged.
    Codes,
    Parted(Result<(Id, ()), JoinError>),
    /// A person takes a bond away.
    Forget(Forget),
    Stop,
}

impl Keeper {
    pub(super) fn new(setup: Setup, memory: Memory, port: Port) -> Self {
        let mut keeper = Self {
            started: port.clock.now(),
            silence: Silence::new(memory.has_met()),
            setup,
            port,
            peers: Peers::default(),
            slots: Slots::default(),
            status: SourceStatus::default(),
            view: RadioView::default(),
            strangers: Strangers::default(),
            memory,
            standing: Standing::default(),
            links: JoinSet::new(),
            crew: HashMap::new(),
            lines: HashMap::new(),
            next_link: 0,
            news: mpsc::channel(BLE_MAIL_MAX),
            crowded: watch::channel(false).0,
            broadcasts: BTreeMap::new(),
            radio: None,
            untold: false,
            stopping: false,
        };
        keeper.learn_known();
        keeper
    }

    /// Runs until the gateway stops, or only a new process is left to try.
    pub(super) async fn run(mut self) -> Result<(), RadioFault> {
        let mut wait = BLE_REBUILD.0;
        loop {
            let Err(fault) = self.life().await else { break };
            if self.standing.is_proven() {
                wait = BLE_REBUILD.0;
            }
            self.broken(&fault);
            if self.standing.needs_process(self.now().since(self.started), self.now()) {
                // In order: what came is committed, and the service manager starts the next one.
                self.leave().await;
                return Err(fault);
            }
            let ready = tokio::time::sleep(wait);
            tokio::pin!(ready);
            loop {
                tokio::select! {
                    () = &mut ready => break,
                    event = self.event() => if self.take(event) {
                        self.leave().await;
                        return Ok(());
                    },
                }
            }
            wait = (wait * 2).min(BLE_REBUILD.1);
        }
        self.leave().await;
        Ok(())
    }

    /// The radio does not work: said, and everything of it forgotten.
    fn broken(&mut self, fault: &RadioFault) {
        self.status.failures += 1;
        if self.standing.ended(fault, self.now()) {
            tracing::warn!(code = fault.code(), "Bluetooth: {fault}.");
        }
        if self.standing.doubts_scan(fault) {
            self.radio = None;
        }
        self.view.adapter = None;
        self.view.restarts[2] += 1;
        self.peers.all.values_mut().for_each(super::peers::Peer::vanished);
        self.publish();
    }

    /// The radio is open: that ends no trouble yet.
    pub(super) fn opened(&mut self, adapter: &str) {
        self.view.adapter = Some(adapter.to_owned());
        self.standing.opened();
        self.silence.opened(self.now());
        self.peers.all.values_mut().for_each(super::peers::Peer::relieved);
        self.publish();
    }

    /// Something shows that the radio works.
    pub(super) fn proves(&mut self, proof: Proof) {
        if self.standing.proves(proof) {
            self.works_again();
        }
    }

    /// What was wrong is over.
    pub(super) fn works_again(&mut self) {
        tracing::info!("Bluetooth works again.");
        self.publish();
    }

    /// Lets go of all devices; what they sent is still committed.
    async fn leave(mut self) {
        self.setup.tap.close("the gateway stops");
        while !self.links.is_empty() {
            let event = self.event().await;
            self.take(event);
        }
        if let Some(write) = self.memory.unwritten() {
            let _ = tokio::task::spawn_blocking(write).await;
        }
    }

    pub(super) fn now(&self) -> Stamp {
        self.port.clock.now()
    }

    /// What comes next, radio or not.
    pub(super) async fn event(&mut self) -> Event {
        tokio::select! {
            biased;
            ticket = self.port.kept.recv(), if !self.untold => ticket.map_or(Event::Untold, Event::Kept),
            Some(mail) = self.news.1.recv() => Event::News(mail),
            Some(parted) = self.links.join_next_with_id() => Event::Parted(parted),
            Ok(()) = self.setup.known.changed() => Event::Known,
            Ok(()) = self.setup.codes.changed() => Event::Codes,
            Some(order) = self.setup.forget.recv() => Event::Forget(order),
            () = self.port.stop.cancelled(), if !self.stopping => {
                self.stopping = true;
                Event::Stop
            }
            else => std::future::pending().await,
        }
    }

    /// Takes it; `true`: the gateway stops.
    pub(super) fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Kept(ticket) => {
                // The connection in the upper half, its own count in the lower.
                let (number, ticket) = ((ticket >> 32) as u32, ticket & u64::from(u32::MAX));
                if let Some(line) = self.lines.get(&number) {
                    let _ = line.told.try_send(ticket);
                }
            }
            Event::Untold => {
                self.untold = true;
                // Whoever waits for a ticket waits in vain.
                self.lines.clear();
            }
            Event::News((number, id, news)) => self.news(number, &id, news),
            Event::Known => drop(self.learn_known()),
            Event::Codes => self.learn_codes(),
            Event::Parted(parted) => self.parted(parted),
            Event::Forget((_, answer)) => drop(answer.send(Err("there is no Bluetooth now".into()))),
            Event::Stop => return true,
        }
        false
    }

    /// A task is over. One that panicked has said nothing: its device would be connecting for ever, and nobody else could.
    fn parted(&mut self, parted: Result<(Id, ()), JoinError>) {
        let id = parted.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let Some((number, device)) = self.crew.remove(&id) else { return };
        if parted.is_err() {
            self.news(number, &device, News::Ended(Some(DeviceFault::Broken)));
            self.news(number, &device, News::Settled);
        }
    }

    /// Takes over which devices are known; answers with the addresses of new ones.
    pub(super) fn learn_known(&mut self) -> Vec<String> {
        let known: Arc<Known> = self.setup.known.borrow_and_update().clone();
        let address = |id: &DeviceId| super::peers::address(id).to_ascii_uppercase();
        let new = known.keys().map(address).filter(|a| !self.peers.all.contains_key(a)).collect();
        self.peers.know(known.keys().cloned());
        for peer in self.peers.all.values_mut() {
            let kept = self.memory.of(&peer.health.id);
            (peer.health.gaps, peer.health.says, peer.served) = (kept.gaps, kept.says, kept.served);
        }
        self.memory.retain(|id| known.contains_key(id));
        self.broadcasts.retain(|(address, _), _| self.peers.all.contains_key(address));
        self.strangers.forget(|address| self.peers.all.contains_key(address));
        new
    }

    fn news(&mut self, number: u32, id: &DeviceId, news: News) {
        let now = self.now();
        match news {
            News::Settled => drop(self.lines.remove(&number)),
            News::Connected(_) => self.proves(Proof::Connected),
            _ => {}
        }
        // Of a device that is not known any more, or of an earlier connection.
        let key = super::peers::address(id).to_ascii_uppercase();
        let Some(peer) = self.peers.all.get_mut(&key).filter(|p| p.link == number) else { return };
        match news {
            News::Connected(profiles) => {
                metrics::counter!("wardline_bluetooth_connections_total").increment(1);
                peer.health.phase = Phase::Connected;
                peer.health.connections += 1;
                peer.health.profiles = profiles;
                peer.health.answered = Some(now);
                peer.served = true;
                self.memory.change(id, |kept| kept.served = true);
            }
            News::Values(n) => {
                metrics::counter!("wardline_bluetooth_values_total").increment(n);
                peer.health.values += n;
                peer.health.answered = Some(now);
                self.status.frames += n;
            }
            News::Keep(cursor) => self.memory.change(id, |kept| kept.moved(cursor)),
            News::Learn(fact) => self.learn(&key, id, fact),
            News::Ended(fault) => {
                if let Some(fault) = &fault {
                    metrics::counter!("wardline_bluetooth_failures_total", "code" => fault.code()).increment(1);
                    tracing::info!(device = %id, code = fault.code(), "{fault}.");
                }
                peer.ended(fault, now);
            }
            News::Settled => peer.settled(),
        }
    }

    fn learn(&mut self, key: &str, id: &DeviceId, fact: Fact) {
        let (zone, at) = (self.setup.zone(id), self.now());
        let now_ms = at.wall_ms;
        let Some(peer) = self.peers.all.get_mut(key) else { return };
        match fact {
            Fact::Battery(level) => peer.health.battery = Some(level),
            Fact::Says(of, octets) => {
                let before = peer.health.says.firmware.clone();
                peer.health.says.learn(&of, &octets);
                // With another firmware other things may be other, too.
                if before.is_some() && before != peer.health.says.firmware {
                    tracing::info!(device = %id, "the device has another firmware.");
                    peer.health.told = None;
                }
                self.memory.change(id, |kept| kept.says.clone_from(&peer.health.says));
            }
            Fact::Doubted(doubted) => self.memory.change(id, |kept| kept.doubted = doubted),
            Fact::Told => peer.health.told = Some(at),
            Fact::AsksUsers => peer.health.users.asks = true,
            Fact::User { slot, given_ms, said } => peer.health.users.learn(id, (slot, given_ms), said, at),
            Fact::ClockSet => tracing::info!(device = %id, "the device's clock was wrong and is set."),
            Fact::Clock(device, at) => {
                let here = at.timestamp().to_zoned(zone).datetime();
                let ahead = device.duration_since(here).as_secs();
                peer.health.clock = Some((ahead, at));
                if ahead.unsigned_abs() > BLE_CLOCK_SLACK.as_secs() {
                    tracing::info!(device = %id, ahead_s = ahead, "the device's clock is wrong.");
                }
                let pair = ClockPair { device, box_ms: at.wall_ms, trusted: at.trusted };
                // What was seen by a clock of ours that nobody had set does not take the place of a pair that tells something.
                self.memory.change(id, |kept| {
                    if pair.trusted || kept.clock.as_ref().is_none_or(|known| !known.trusted) {
                        kept.clock = Some(pair);
                    }
                });
            }
            Fact::Judged(judged, gap) => {
                self.memory.change(id, |kept| {
                    kept.judged = judged;
                    let news = gap.filter(|gap| gap::notice(&mut kept.gaps, *gap, now_ms));
                    peer.health.gaps.clone_from(&kept.gaps);
                    if let Some(gap) = news {
                        metrics::counter!("wardline_bluetooth_gaps_total").increment(1);
                        tracing::warn!(device = %id, code = gap.code(), "{gap}.");
                    }
                });
            }
        }
    }

    /// A device was heard.
    pub(super) fn heard(&mut self, sighting: Sighting) {
        if sighting.rssi.is_some() || !sighting.data.is_empty() {
            let now = self.now();
            self.silence.heard(now);
            self.view.heard = Some(now);
            self.proves(Proof::Heard);
        }
        self.told_of(sighting);
    }

    /// The same, or BlueZ tells what it knows from before, which is no sign that anything is heard now.
    pub(super) fn told_of(&mut self, sighting: Sighting) {
        let now = self.now();
        let Some(peer) = self.peers.all.get_mut(&sighting.address) else {
            self.strangers.heard(sighting, &self.setup.catalogue, now);
            return;
        };
        peer.seen(&sighting, &self.setup.catalogue, now);
        let id = peer.health.id.clone();
        self.setup.tap.heard(&id, &sighting, &self.setup.catalogue);
        match sighting.paired {
            Some(true) => self.memory.change(&id, |kept| kept.bonded = true),
            // It was, and nobody here took the bond away.
            Some(false) if self.memory.of(&id).bonded => peer.unbonded(),
            _ => {}
        }
        let taken = |service: &String| peer.may_broadcast(service, &self.setup.catalogue);
        let data: Vec<_> = sighting.data.into_iter().filter(|(service, _)| taken(service)).collect();
        for (service, bytes) in data {
            self.broadcast(&id, &sighting.address, service, bytes, now);
        }
    }

    /// Data of an advertisement that is taken: a frame, unless the same was heard just now.
    fn broadcast(&mut self, id: &DeviceId, address: &str, service: String, bytes: bytes::Bytes, now: Stamp) {
        let key = (address.to_owned(), service.clone());
        let before = self.broadcasts.insert(key.clone(), (bytes.clone(), now));
        if before.is_some_and(|(same, at)| same == bytes && now.since(at) < BLE_BROADCAST_SAME) {
            return;
        }
        let path = Path::Advertisement { device: id.clone(), service: service.into() };
        self.next_link = self.next_link.wrapping_add(1);
        // A number that no connection has: nobody waits for its ticket, but its key must be its own.
        let ticket = u64::from(self.next_link) << 32;
        let frame = Frame { path, ticket, ..Frame::new(&self.setup.name, bytes, now) };
        // It is repeated: what finds no room now is heard again.
        if self.port.frames.try_send(frame).is_err() {
            self.broadcasts.remove(&key);
            metrics::counter!("wardline_bluetooth_broadcasts_dropped_total").increment(1);
            return;
        }
        self.status.frames += 1;
    }

    /// A device that is known, or not, was heard just now.
    pub(super) fn is_near(&self, id: &DeviceId) -> bool {
        let address = super::peers::address(id);
        let known = self.peers.all.get(address).is_some_and(|p| p.present && p.health.seen.is_some());
        known || self.strangers.has(address)
    }

    /// BlueZ has the bond of a device that has lost it.
    pub(super) fn is_half_bonded(&self, id: &DeviceId) -> bool {
        let peer = self.peers.all.get(super::peers::address(id));
        peer.is_some_and(|p| p.health.paired && p.health.trouble == Some(DeviceFault::BondLost))
    }

    /// A person takes the bond of a device away; answers with its address.
    pub(super) fn forgotten(&mut self, id: &DeviceId) -> String {
        let address = super::peers::address(id).to_owned();
        self.memory.change(id, |kept| kept.bonded = false);
        if let Some(peer) = self.peers.all.get_mut(&address) {
            peer.forgotten();
        }
        self.lost(&address);
        address
    }

    /// BlueZ says that a device is not connected any more, and it is so.
    pub(super) fn lost(&self, address: &str) {
        let Some(peer) = self.peers.all.get(address) else { return };
        if let Some(line) = self.lines.get(&peer.link) {
            line.lost.cancel();
        }
    }

    /// It is so: a device is not connected any more.
    pub(super) fn unlinked(&mut self, address: &str) {
        if let Some(peer) = self.peers.all.get_mut(address) {
            peer.linked(false);
        }
        self.lost(address);
    }

    /// A connection of ours stands, as far as we know.
    pub(super) fn is_linked(&self, address: &str) -> bool {
        self.peers.all.get(address).is_some_and(|p| p.health.phase == Phase::Connected)
    }

    /// Begins the next connection, if there is a place and a device for it.
    pub(super) fn connect_next(&mut self, bus: &Bus, gone: &CancellationToken) {
        let now = self.now();
        let most = self.setup.max_connected;
        if let Some(line) = self.peers.gives_way(now).and_then(|link| self.lines.get(&link)) {
            line.give_way.cancel();
        }
        if let Some(address) = self.peers.turn(most, now) {
            self.connect(&address, bus, gone);
        }
        let crowded = self.peers.is_crowded(most, now);
        self.crowded.send_if_modified(|before| std::mem::replace(before, crowded) != crowded);
    }

    fn connect(&mut self, address: &str, bus: &Bus, gone: &CancellationToken) {
        self.next_link = self.next_link.wrapping_add(1);
        let (number, now) = (self.next_link, self.now());
        let mut codes = self.setup.codes.clone();
        let users = self.users_of(address, &codes.borrow_and_update(), now);
        let Some(peer) = self.peers.all.get_mut(address) else { return };
        peer.connecting(number);
        peer.began = Some(now);
        let (told, kept) = mpsc::channel(BLE_TOLD_MAX);
        let (lost, give_way) = (CancellationToken::new(), CancellationToken::new());
        self.lines.insert(number, Line { told, lost: lost.clone(), give_way: give_way.clone() });
        let device = peer.health.id.clone();
        let remembered = self.memory.of(&device);
        let seen = super::users::given(&device, &codes.borrow());
        let mut crowded = self.crowded.subscribe();
        crowded.mark_changed();
        let whose = (number, device.clone());
        let link = Link {
            number,
            address: address.to_owned(),
            name: peer.name.as_deref().map(Arc::from),
            told_of: peer.name.as_deref().map(Arc::from),
            source: self.setup.name.clone(),
            paired: peer.health.paired,
            bonded_before: remembered.bonded,
            cursor: remembered.cursor,
            judged: remembered.judged,
            doubted: remembered.doubted,
            users,
            seen,
            codes,
            clocks: None,
            clock_before: remembered.clock.clone(),
            curious: peer.health.told.is_none_or(|told| now.since(told) >= NAMEPLATE_AGAIN),
            zone: self.setup.zone(&device),
            catalogue: self.setup.catalogue.clone(),
            bus: bus.clone(),
            clock: self.port.clock.clone(),
            frames: self.port.frames.clone(),
            told: kept,
            news: self.news.0.clone(),
            crowded,
            lost,
            give_way,
            gone: gone.clone(),
            waiting: VecDeque::new(),
            ear: Ear::new(&self.setup.tap, &device),
            device,
        };
        self.crew.insert(self.links.spawn(link.run()).id(), whose);
    }

    /// Once a second: who is not heard any more, what is to be written, what others see.
    pub(super) fn tick(&mut self) {
        let now = self.now();
        for peer in self.peers.all.values_mut() {
            peer.fade(now);
            peer.health.gaps.retain(|noticed| noticed.is_fresh(now.wall_ms));
        }
        self.strangers.fade(now);
        if let Some(write) = self.memory.unwritten() {
            self.links.spawn(async move {
                let _ = tokio::task::spawn_blocking(write).await;
            });
        }
        let said = self.setup.silence;
        if let Some(silent) = self.silence.unhealed(now).filter(|silent| !said.is_zero() && *silent >= said) {
            self.standing.silent(silent);
        }
        self.publish();
    }

    pub(super) fn publish(&mut self) {
        self.judge_users();
        self.view.devices = self.peers.all.values().map(|p| p.health.clone()).collect();
        self.view.strangers = self.strangers.listed();
        let held = self.slots.unhealed().filter_map(|address| self.peers.all.get(address));
        self.view.held = held.map(|peer| peer.health.id.clone()).collect();
        let fault = self.standing.fault();
        self.status.trouble = fault.map(|fault| Trouble::of(fault));
        // A break for silence, or for one connection, is no news; a radio that never opened has not begun.
        self.status.connected_since = match self.status.connected_since {
            _ if fault.is_some() => None,
            None if self.view.adapter.is_some() => Some(self.port.clock.now()),
            since => since,
        };
        metrics::gauge!("wardline_bluetooth_connected").set(self.peers.connected() as f64);
        let view = &self.view;
        self.setup.view.send_if_modified(|before| {
            let changed = **before != *view;
            if changed {
                *before = Arc::new(view.clone());
            }
            changed
        });
        let status = &self.status;
        self.port.status.send_if_modified(|before| {
            let changed = before != status;
            if changed {
                before.clone_from(status);
            }
            changed
        });
    }
}

/// The zone of a device's clock.
impl Setup {
    pub(super) fn zone(&self, id: &DeviceId) -> TimeZone {
        let own = self.known.borrow().get(id).cloned().flatten();
        own.and_then(|name| TimeZone::get(&name).ok()).unwrap_or_else(|| self.time_zone.clone())
    }
}

/// How often time passes for those who are not heard.
pub(super) const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
