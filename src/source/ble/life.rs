//! One life of the radio: opened, used, watched, until it fails or the gateway stops.
//!
//! Promises: bluetoothd, the bus or the adapter gone is seen at once; a daemon that hangs, a scan that ended by itself, and
//! silence within a minute. What helps is tried from small to large: scan, adapter, everything anew.

use std::future::pending;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::agent;
use super::bus::{AdapterState, Bus, Sighting, Signal};
use super::fault::{DeviceFault, RadioFault};
use super::keeper::{Event, Keeper, TICK};
use super::pairing::Window;
use super::scan::Radio;
use super::silence::Remedy;
use super::slots::{Relief, Slots};
use super::view::Phase;
use crate::clock::Stamp;
use crate::fault::Explain;
use crate::limits::BLE_LOOK_EVERY;

/// Work on the adapter that takes its time: one piece at once.
type Chore = BoxFuture<'static, Result<Option<AdapterState>, RadioFault>>;

/// Everything that ends with the radio.
struct Life {
    bus: Bus,
    radio: Radio,
    gone: CancellationToken,
    chore: Option<Chore>,
    look: Instant,
    /// Looks in a row at which no scan ran.
    scanless: u32,
    /// Pairings and bonds that are being made or taken away.
    bonds: FuturesUnordered<BoxFuture<'static, ()>>,
    /// What BlueZ knows of devices that joined: it told of them before anybody listened.
    joined: FuturesUnordered<BoxFuture<'static, Option<Sighting>>>,
    /// Addresses that are said to be disconnected, or should be: whether it is so.
    doubted: FuturesUnordered<BoxFuture<'static, (String, bool)>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl Keeper {
    /// One life of the radio. `Ok`: the gateway stops.
    pub(super) async fn life(&mut self) -> Result<(), RadioFault> {
        let stop = self.port.stop.clone();
        let opened = tokio::select! {
            opened = open(self.setup.adapter.clone(), self.setup.window.clone(), self.radio.clone()) => opened?,
            () = stop.cancelled() => return Ok(()),
        };
        let (mut life, mut known, mut signals) = opened;
        self.part(&mut known, &life.bus).await;
        self.radio = Some(life.radio.clone());
        self.opened(life.bus.adapter_name());
        for signal in known {
            if let Signal::Device(sighting) = signal {
                self.told_of(sighting);
            }
        }
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.connect_next(&life.bus, &life.gone);
            tokio::select! {
                biased;
                event = self.event() => match event {
                    Event::Stop => {
                        life.gone.cancel();
                        let _ = tokio::time::timeout(TICK, life.radio.rest()).await;
                        return Ok(());
                    }
                    Event::Forget((id, answer)) => {
                        let (address, bus) = (self.forgotten(&id), life.bus.clone());
                        life.bonds.push(Box::pin(async move {
                            let _ = answer.send(bus.forget(&address).await);
                        }));
                    }
                    Event::Known => self.joined(&life),
                    event => {
                        self.take(event);
                    }
                },
                done = chore(&mut life.chore) => {
                    life.chore = None;
                    self.looked(done?, &mut life)?;
                }
                Some((address, connected)) = life.doubted.next() => if !connected { self.unlinked(&address) },
                Some(()) = life.bonds.next() => {}
                Some(joined) = life.joined.next() => joined.into_iter().for_each(|sighting| self.told_of(sighting)),
                _ = ticks.tick() => self.second(&mut life)?,
                signal = signals.next() => match signal {
                    Some(signal) => self.signal(signal, &mut life)?,
                    None => return Err(RadioFault::NoBus),
                },
            }
        }
    }

    /// Devices joined: what BlueZ knows of them is asked for, their names, services and bonds.
    fn joined(&mut self, life: &Life) {
        for address in self.learn_known() {
            let bus = life.bus.clone();
            life.joined.push(Box::pin(async move { bus.known(&address).await }));
        }
    }

    /// Ends links that stand already: of a gateway that was killed, say. Its device may still be telling its memory, and the
    /// end of that would pass for the end of what we ask.
    async fn part(&self, known: &mut [Signal], bus: &Bus) {
        let left = known.iter_mut().filter_map(|signal| match signal {
            Signal::Device(s) if s.connected == Some(true) && self.peers.all.contains_key(&s.address) => Some(s),
            _ => None,
        });
        let parting = left.map(async |sighting| {
            drop(bus.disconnect(&sighting.address).await);
            // One that nothing ends is still held.
            sighting.connected = bus.is_connected(&sighting.address).await.then_some(true);
        });
        join_all(parting).await;
    }

    fn signal(&mut self, signal: Signal, life: &mut Life) -> Result<(), RadioFault> {
        match signal {
            Signal::Device(sighting) => {
                if sighting.connected == Some(false) && self.is_linked(&sighting.address) {
                    let (bus, address) = (life.bus.clone(), sighting.address.clone());
                    life.doubted.push(Box::pin(async move {
                        let connected = bus.is_connected(&address).await;
                        (address, connected)
                    }));
                }
                self.heard(sighting);
            }
            Signal::Forgotten(address) => {
                self.lost(&address);
                if let Some(peer) = self.peers.all.get_mut(&address) {
                    peer.vanished();
                }
            }
            // What it means is found out by a look, at once.
            Signal::Adapter { powered: Some(false), .. } | Signal::Adapter { discovering: Some(false), .. } => {
                life.look = Instant::now();
            }
            Signal::Adapter { .. } => {}
            Signal::AdapterGone => return Err(RadioFault::NoAdapter(format!(" `{}`", life.bus.adapter_name()))),
            Signal::DaemonGone => return Err(RadioFault::NoDaemon),
        }
        Ok(())
    }

    /// A device that a person pairs is asked as soon as it is heard.
    fn pair(&mut self, life: &mut Life) {
        let window = self.setup.window.clone();
        let Some(id) = window.waiting().filter(|id| self.is_near(id)) else { return };
        let bus = life.bus.clone();
        // What BlueZ still takes for paired it would not pair: its half is taken away, and the device is heard anew.
        if self.is_half_bonded(&id) {
            let address = self.forgotten(&id);
            life.bonds.push(Box::pin(async move { drop(bus.forget(&address).await) }));
            return;
        }
        let address = super::peers::address(&id).to_owned();
        window.talking();
        life.bonds.push(Box::pin(async move {
            let paired = bus.pair(&address).await;
            window.over(paired.as_ref().copied().map_err(String::as_str));
        }));
    }

    /// Once a second: is it time to look, or to do something about silence.
    fn second(&mut self, life: &mut Life) -> Result<(), RadioFault> {
        self.tick();
        self.pair(life);
        if life.chore.is_some() {
            return Ok(());
        }
        let (now, busy) = (self.now(), self.peers.connected() > 0);
        if let Some(relief) = self.look_for_held(now, busy) {
            return self.relieve(relief, life);
        }
        match self.silence.look(now, busy) {
            Some(Remedy::Scan) => self.rescan(life),
            Some(Remedy::Adapter) => self.power_cycle(life),
            Some(Remedy::Rebuild) => {
                return Err(RadioFault::Silent(self.silence.quiet(now).map_or(0, |quiet| quiet.as_secs() / 60)));
            }
            None if life.look <= Instant::now() => {
                life.look = Instant::now() + BLE_LOOK_EVERY;
                let bus = life.bus.clone();
                life.chore = Some(Box::pin(async move { bus.adapter_state().await.map(Some) }));
            }
            None => {}
        }
        Ok(())
    }

    /// Whether bluetoothd holds connections that are not ours, and what to do about it.
    fn look_for_held(&mut self, now: Stamp, busy: bool) -> Option<Relief> {
        // While a person pairs, bluetoothd connects by itself, and is not to be disturbed.
        if self.setup.window.state().is_some_and(|(_, stage)| !stage.is_over()) {
            self.slots = Slots::default();
            return None;
        }
        self.slots.retain(|address| self.peers.all.contains_key(address));
        for (address, peer) in &self.peers.all {
            match peer.health.phase {
                Phase::Connected | Phase::Connecting if !peer.is_held() => self.slots.used(address, now),
                _ => self.slots.seen(address, peer.is_held(), now),
            }
        }
        self.slots.look(now, busy)
    }

    /// bluetoothd holds a connection of this device: it is said.
    fn is_stuck(&mut self, address: &str) {
        if let Some(peer) = self.peers.all.get_mut(address) {
            peer.health.trouble = Some(DeviceFault::Stuck);
        }
    }

    /// The adapter was started anew, or the scan: what was stuck may not be any more.
    fn try_stuck_again(&mut self) {
        let stuck = self.peers.all.values_mut().filter(|p| p.health.trouble == Some(DeviceFault::Stuck));
        stuck.for_each(super::peers::Peer::relieved);
    }

    /// bluetoothd holds a connection that nobody uses.
    fn relieve(&mut self, relief: Relief, life: &mut Life) -> Result<(), RadioFault> {
        match relief {
            Relief::Release(address) => {
                self.is_stuck(&address);
                release(address, life);
            }
            Relief::Adapter => {
                tracing::warn!(
                    code = RadioFault::Held.code(),
                    "bluetoothd holds a connection that nobody uses: the adapter is started anew."
                );
                self.power_cycle(life);
            }
            Relief::Rebuild => return Err(RadioFault::Held),
        }
        Ok(())
    }

    /// What a look at the adapter found.
    fn looked(&mut self, state: Option<AdapterState>, life: &mut Life) -> Result<(), RadioFault> {
        let Some(state) = state else {
            self.try_stuck_again();
            return Ok(());
        };
        if self.standing.scanned(state.powered && state.discovering) {
            self.works_again();
        }
        // While a device is being connected the controller may pause the scan.
        let connecting = self.peers.all.values().any(|p| p.health.phase == Phase::Connecting);
        if !state.powered {
            self.power_cycle(life);
        } else if state.discovering || connecting {
            life.scanless = 0;
        } else {
            life.scanless += 1;
            match life.scanless {
                1 => self.rescan(life),
                2 if self.peers.connected() == 0 => self.power_cycle(life),
                _ => return Err(RadioFault::NoScan),
            }
        }
        Ok(())
    }

    fn rescan(&mut self, life: &mut Life) {
        self.view.restarts[0] += 1;
        life.look = Instant::now() + BLE_LOOK_EVERY;
        let radio = life.radio.clone();
        life.chore = Some(Box::pin(async move { radio.scan().await.map(|()| None) }));
    }

    fn power_cycle(&mut self, life: &mut Life) {
        self.view.restarts[1] += 1;
        life.look = Instant::now() + BLE_LOOK_EVERY;
        let (bus, radio) = (life.bus.clone(), life.radio.clone());
        life.chore = Some(Box::pin(async move {
            bus.power(false).await?;
            bus.power(true).await?;
            radio.scan().await.map(|()| None)
        }));
    }
}

/// Lets go of a device once more.
fn release(address: String, life: &Life) {
    let bus = life.bus.clone();
    life.doubted.push(Box::pin(async move {
        let _ = bus.disconnect(&address).await;
        let connected = bus.is_connected(&address).await;
        (address, connected)
    }));
}

async fn chore(chore: &mut Option<Chore>) -> Result<Option<AdapterState>, RadioFault> {
    match chore {
        Some(chore) => chore.await,
        None => pending().await,
    }
}

/// Bus, adapter and scan, from nothing; each step has a time-out.
async fn open(
    adapter: Option<String>,
    window: Arc<Window>,
    radio: Option<Radio>,
) -> Result<(Life, Vec<Signal>, impl Stream<Item = Signal> + Send + Unpin), RadioFault> {
    let (bus, known, signals) = Bus::open(adapter.as_deref()).await?;
    if !bus.adapter_state().await?.powered {
        bus.power(true).await?;
    }
    // Without it nothing can be paired, and all the rest works.
    if let Err(fault) = agent::register(&bus, window).await {
        tracing::warn!("no pairing: the agent is not accepted ({fault:?}).");
    }
    let radio = match radio.filter(|r| r.is(bus.adapter_name())) {
        Some(radio) => radio,
        None => Radio::open(bus.adapter_name()).await?,
    };
    radio.scan().await?;
    let life = Life {
        bus,
        radio,
        gone: CancellationToken::new(),
        chore: None,
        look: Instant::now() + BLE_LOOK_EVERY,
        scanless: 0,
        bonds: FuturesUnordered::new(),
        joined: FuturesUnordered::new(),
        doubted: FuturesUnordered::new(),
    };
    Ok((life, known, signals))
}
