//! The known devices and whose turn it is, pure.
//!
//! Promises: only a known device is ever chosen; never more at once than the adapter carries, one being connected at a
//! time; one that has just woken comes first, then the one that waited longest. Must never: forget that a device failed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bus::Sighting;
use super::fault::DeviceFault;
use super::view::{DeviceHealth, Phase};
use crate::clock::Stamp;
use crate::limits::{BLE_AGAIN, BLE_ASLEEP, BLE_CUT_OFF, BLE_HEARD_MAX, BLE_QUARANTINE, BLE_RETRY, BLE_UNTOLD};
use crate::profile::Catalogue;
use crate::profile::schema::PairingMethod;
use crate::reading::DeviceId;

/// A device that broadcast so long ago is taken for one that only broadcasts, and is not connected to.
const BLE_BROADCASTER: Duration = Duration::from_secs(60);
/// Links that end at once count against a bond only if the device is heard this strongly, dBm: some 10 dB above the edge of range.
const BLE_CLEAR_DBM: i16 = -85;
/// And if it takes so long from the first to the last of them: a telephone that holds the device lets it go by then.
const BLE_CUT_OFF_OVER: Duration = Duration::from_secs(6);
/// A connection that does not come about is given up after this, while a device that has just woken waits, and while any does.
const BLE_CONNECT_CROWDED: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(10));

/// One known device.
pub(super) struct Peer {
    pub(super) health: DeviceHealth,
    pub(super) name: Option<String>,
    pub(super) services: Vec<String>,
    /// The connection that it has, or had last.
    pub(super) link: u32,
    /// BlueZ knows it now: only then it can be connected.
    pub(super) present: bool,
    /// BlueZ says that it is connected.
    pub(super) linked: bool,
    /// When it broadcast last what is taken of it: then it is only heard.
    broadcast: Option<Stamp>,
    /// It was connected and read, now or before a restart: what it broadcasts is not its own.
    pub(super) served: bool,
    /// When it was heard last, or a connection with it was given up.
    stirred: Option<Stamp>,
    /// What its advertisement says of its plan: how it bonds. `None`: known only once it is connected.
    planned: Option<PairingMethod>,
    woke: bool,
    /// Its connection began to be made.
    pub(super) began: Option<Stamp>,
    waits_since: Option<Stamp>,
    not_before: Option<Stamp>,
    wait: Duration,
    /// Connections in a row that it ended at once although it was near, and the first of them.
    cut_off: Option<(u32, Stamp)>,
    /// In this connection BlueZ has said that the bond is gone.
    unbonded: bool,
}

impl Peer {
    pub(super) fn new(id: DeviceId) -> Self {
        Self {
            health: DeviceHealth::new(id),
            name: None,
            services: Vec::new(),
            link: 0,
            present: false,
            linked: false,
            broadcast: None,
            served: false,
            stirred: None,
            planned: None,
            woke: false,
            began: None,
            waits_since: None,
            not_before: None,
            wait: BLE_RETRY.0,
            cut_off: None,
            unbonded: false,
        }
    }

    /// It was heard, or something of it changed.
    pub(super) fn seen(&mut self, sighting: &Sighting, catalogue: &Catalogue, now: Stamp) {
        self.present = true;
        if let Some(linked) = sighting.connected {
            self.linked(linked);
        }
        let heard = sighting.rssi.is_some() || !sighting.data.is_empty() || sighting.connected == Some(true);
        if heard {
            let slept = self.stirred.is_none_or(|at| now.since(at) >= BLE_ASLEEP);
            let idle = matches!(self.health.phase, Phase::Away | Phase::Near);
            self.woke |= slept && idle;
            (self.health.seen, self.stirred) = (Some(now), Some(now));
            if idle {
                self.health.phase = Phase::Near;
                self.waits_since.get_or_insert(now);
            }
        }
        if sighting.rssi.is_some() || !sighting.data.is_empty() {
            self.health.habits.heard(sighting.rssi, now);
        }
        self.health.rssi = sighting.rssi.or(self.health.rssi);
        let name = sighting.name.as_ref().filter(|name| self.name.as_ref() != Some(name));
        let services = sighting.services.as_ref().filter(|services| self.services != **services);
        if name.is_some() || services.is_some() {
            self.name = name.cloned().or(self.name.take());
            self.services = services.cloned().unwrap_or_else(|| std::mem::take(&mut self.services));
            let plan = catalogue.plan(self.name.as_deref(), &self.services.iter().cloned().collect());
            self.planned = plan.as_ref().ok().map(|p| p.pairing);
            self.health.instructions = plan.map(|p| p.instructions).unwrap_or_default();
        }
        if let Some(paired) = sighting.paired {
            if paired && !self.health.paired {
                self.relieved();
            }
            self.health.paired = paired;
        }
        if sighting.data.iter().any(|(service, _)| self.may_broadcast(service, catalogue)) {
            self.broadcast = Some(now);
        }
    }

    /// What it broadcasts for this service is taken: its profile says by its name that it does, or it was never read by
    /// connecting and says no way to. Anybody near can send such data from a cuff's address.
    pub(super) fn may_broadcast(&self, service: &str, catalogue: &Catalogue) -> bool {
        let connects = self.served || self.planned.is_some() || !self.health.profiles.is_empty();
        catalogue.hears(service) && (!connects || catalogue.broadcasts(self.name.as_deref(), service))
    }

    /// BlueZ says that it is connected, or not.
    pub(super) fn linked(&mut self, linked: bool) {
        if self.linked && !linked && self.health.trouble == Some(DeviceFault::Stuck) {
            self.health.trouble = None;
        }
        self.linked = linked;
    }

    /// A new chance at once: a person paired it, or the radio is back.
    pub(super) fn relieved(&mut self) {
        if self.health.trouble != Some(DeviceFault::Flood) {
            self.not_before = None;
            self.wait = BLE_RETRY.0;
        }
    }

    /// It waits for a connection now.
    fn is_waiting(&self, now: Stamp) -> bool {
        let here = self.health.seen.is_some_and(|seen| now.since(seen) < BLE_HEARD_MAX);
        let allowed = self.not_before.is_none_or(|at| now.mono_us >= at.mono_us);
        // One that woke is not kept waiting because it slept when it was last tried; a flood is.
        let woke = self.woke && self.health.trouble != Some(DeviceFault::Flood);
        // One that says nothing of itself may only broadcast: its data is waited for.
        let told = self.planned.is_some() || !self.health.profiles.is_empty();
        let known = told || self.waits_since.is_some_and(|since| now.since(since) >= BLE_UNTOLD);
        let broadcasts = self.broadcast.is_some_and(|at| now.since(at) < BLE_BROADCASTER);
        self.health.phase == Phase::Near && self.present && here && known && !broadcasts && (allowed || woke)
    }

    /// Without a bond it would answer nothing: it is not tried.
    fn wants_bond(&self) -> bool {
        !self.health.paired && self.planned == Some(PairingMethod::Passkey)
    }

    /// A connection with it has been made for so long, and does not stand.
    fn is_slow(&self, wait: Duration, now: Stamp) -> bool {
        let began = self.began.is_some_and(|at| now.since(at) >= wait);
        self.health.phase == Phase::Connecting && !self.linked && began
    }

    /// A connection begins.
    pub(super) fn connecting(&mut self, link: u32) {
        self.link = link;
        self.health.phase = Phase::Connecting;
        self.woke = false;
        self.waits_since = None;
        self.unbonded = false;
    }

    /// BlueZ says that its bond is gone, and nobody here took it away.
    pub(super) fn unbonded(&mut self) {
        self.health.trouble = Some(DeviceFault::BondLost);
        self.unbonded = true;
    }

    /// A person took its bond away.
    pub(super) fn forgotten(&mut self) {
        (self.health.paired, self.health.trouble, self.unbonded) = (false, None, false);
    }

    /// A connection ended, well or not.
    pub(super) fn ended(&mut self, fault: Option<DeviceFault>, now: Stamp) {
        self.health.phase = Phase::Settling;
        let stood = !matches!(fault, Some(DeviceFault::Connect | DeviceFault::Stuck));
        // BlueZ tells nobody that the encryption failed: it shows the bond as before, and the link ends. At the edge of
        // range links end like that as well, and so they do for some seconds while a telephone holds the device.
        let clear = self.health.rssi.is_some_and(|dbm| dbm >= BLE_CLEAR_DBM);
        self.cut_off = match (&fault, self.cut_off) {
            (Some(DeviceFault::CutOff), before) if clear => {
                let (n, first) = before.unwrap_or((0, now));
                Some((n + 1, first))
            }
            _ => None,
        };
        let refused = self.cut_off.is_some_and(|(n, first)| n >= BLE_CUT_OFF && now.since(first) >= BLE_CUT_OFF_OVER);
        let lost = if self.health.paired { refused } else { self.unbonded };
        self.unbonded = false;
        // A connection that ends well may have begun before the bond was gone: that stays said.
        let fault = if lost { Some(DeviceFault::BondLost) } else { fault };
        let wait = match &fault {
            None => {
                self.wait = BLE_RETRY.0;
                BLE_AGAIN
            }
            Some(DeviceFault::Flood) => BLE_QUARANTINE,
            Some(_) => {
                let wait = self.wait;
                self.wait = (wait * 2).min(BLE_RETRY.1);
                wait
            }
        };
        self.health.failures += u64::from(fault.is_some());
        self.health.trouble = fault;
        self.not_before = Some(now.plus(wait));
        self.stirred = Some(now);
        // What it sent while it was connected was heard.
        if stood {
            self.health.seen = Some(now);
        }
    }

    /// Everything it sent is committed, or given up.
    pub(super) fn settled(&mut self) {
        self.health.phase = Phase::Away;
    }

    /// BlueZ has forgotten it, or the radio is gone.
    pub(super) fn vanished(&mut self) {
        (self.present, self.linked) = (false, false);
        if self.health.phase == Phase::Near {
            self.health.phase = Phase::Away;
            self.waits_since = None;
        }
    }

    /// BlueZ holds a connection of it that is not ours.
    pub(super) fn is_held(&self) -> bool {
        let ours = matches!(self.health.phase, Phase::Connecting | Phase::Connected);
        let stuck = self.health.trouble == Some(DeviceFault::Stuck) && self.health.phase != Phase::Connected;
        stuck || (self.linked && !ours)
    }

    /// It was not heard for a while.
    pub(super) fn fade(&mut self, now: Stamp) {
        let gone = self.health.seen.is_none_or(|seen| now.since(seen) >= BLE_HEARD_MAX);
        if self.health.phase == Phase::Near && gone {
            self.health.phase = Phase::Away;
            self.waits_since = None;
        }
    }
}

/// All known devices, by address.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) all: BTreeMap<String, Peer>,
}

/// `ble:C0:26:DF:00:11:22` without its link, in capitals as BlueZ writes it.
pub(super) fn address(id: &DeviceId) -> &str {
    id.0.strip_prefix("ble:").unwrap_or_default()
}

impl Peers {
    /// Takes over which devices are known.
    pub(super) fn know(&mut self, known: impl Iterator<Item = DeviceId>) {
        let mut before = std::mem::take(&mut self.all);
        for id in known {
            let key = address(&id).to_ascii_uppercase();
            let peer = before.remove(&key).unwrap_or_else(|| Peer::new(id));
            self.all.insert(key, peer);
        }
    }

    /// Connections that are there or being made.
    pub(super) fn connected(&self) -> usize {
        self.all.values().filter(|p| matches!(p.health.phase, Phase::Connecting | Phase::Connected)).count()
    }

    /// Some device waits and there is no place for it.
    pub(super) fn is_crowded(&self, most: usize, now: Stamp) -> bool {
        self.connected() >= most && self.all.values().any(|p| p.is_waiting(now))
    }

    /// The connection that is being made and is given up: its device does not answer, and another one is awake now, for
    /// seconds perhaps.
    pub(super) fn gives_way(&self, now: Stamp) -> Option<u32> {
        let (woken, any) = BLE_CONNECT_CROWDED;
        let others = || self.all.values().filter(|p| p.is_waiting(now) && !p.wants_bond());
        let in_the_way = |p: &&Peer| {
            (p.is_slow(woken, now) && others().any(|o| o.woke)) || (p.is_slow(any, now) && others().next().is_some())
        };
        self.all.values().find(in_the_way).map(|p| p.link)
    }

    /// Whose turn it is, if there is a place. One that needs a bond and has none is told apart, and not tried.
    pub(super) fn turn(&mut self, most: usize, now: Stamp) -> Option<String> {
        let connecting = self.all.values().any(|p| p.health.phase == Phase::Connecting);
        if connecting || self.connected() >= most {
            return None;
        }
        loop {
            let waiting = self.all.iter().filter(|(_, p)| p.is_waiting(now));
            let (address, peer) = waiting.min_by_key(|(_, p)| (!p.woke, p.waits_since.map(|s| s.mono_us)))?;
            let address = address.clone();
            if !peer.wants_bond() {
                return Some(address);
            }
            // Without its bond every question would hang: a person must pair it.
            let peer = self.all.get_mut(&address)?;
            let (lost, seen) = (peer.health.trouble == Some(DeviceFault::BondLost), peer.health.seen);
            peer.ended(Some(if lost { DeviceFault::BondLost } else { DeviceFault::NotPaired }), now);
            peer.settled();
            (peer.health.phase, peer.health.seen) = (Phase::Near, seen);
            peer.waits_since = Some(now);
            peer.woke = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(address: &str) -> Sighting {
        let services = Some(vec!["1810".into()]);
        Sighting { address: address.into(), rssi: Some(-60), services, ..Sighting::default() }
    }

    fn peers(n: usize) -> Peers {
        let mut peers = Peers::default();
        peers.know((0..n).map(|i| DeviceId(format!("ble:C0:00:00:00:00:{i:02X}").into())));
        peers
    }

    fn key(i: usize) -> String {
        format!("C0:00:00:00:00:{i:02X}")
    }

    #[test]
    fn one_that_woke_comes_before_those_that_wait() {
        let (catalogue, start) = (Catalogue::built_in(), Stamp::at_ms(1_000_000));
        let mut peers = peers(3);
        let mut now = start;
        // 0 and 1 are always awake, and were served before; 2 sleeps.
        for i in [0, 1] {
            peers.all.get_mut(&key(i)).unwrap().seen(&heard(&key(i)), &catalogue, now);
            let first = peers.turn(9, now).unwrap();
            assert_eq!(first, key(i));
            let peer = peers.all.get_mut(&first).unwrap();
            peer.connecting(1);
            peer.ended(None, now);
            peer.settled();
        }
        for second in 0..20 {
            now = start.plus(Duration::from_secs(second));
            for i in [0, 1] {
                peers.all.get_mut(&key(i)).unwrap().seen(&heard(&key(i)), &catalogue, now);
            }
        }
        peers.all.get_mut(&key(2)).unwrap().seen(&heard(&key(2)), &catalogue, now);
        assert_eq!(peers.turn(9, now).unwrap(), key(2));
        peers.all.get_mut(&key(2)).unwrap().connecting(2);
        assert_eq!(peers.turn(9, now), None, "one is connected at a time");
        peers.all.get_mut(&key(2)).unwrap().health.phase = Phase::Connected;
        assert_eq!(peers.turn(1, now), None, "the adapter is full");
        assert!(peers.is_crowded(1, now) && !peers.is_crowded(2, now));
        assert_eq!(peers.turn(2, now).unwrap(), key(0));
    }

    #[test]
    fn one_that_does_not_answer_gives_way_to_one_that_is_awake() {
        let (catalogue, start) = (Catalogue::built_in(), Stamp::at_ms(1_000_000));
        let after = |seconds| start.plus(Duration::from_secs(seconds));
        let mut peers = peers(3);
        let absent = peers.all.get_mut(&key(0)).unwrap();
        absent.connecting(7);
        absent.began = Some(start);
        assert_eq!(peers.gives_way(after(20)), None, "nobody waits");
        let hears =
            |peers: &mut Peers, i: usize, at| peers.all.get_mut(&key(i)).unwrap().seen(&heard(&key(i)), &catalogue, at);
        hears(&mut peers, 1, after(1));
        let given = |peers: &Peers| (1..25).find(|s| peers.gives_way(after(*s)).is_some());
        assert_eq!(given(&peers), Some(4), "it woke, and sleeps soon");
        peers.all.get_mut(&key(1)).unwrap().woke = false;
        assert_eq!(given(&peers), Some(10), "it waits like others");
        peers.all.get_mut(&key(0)).unwrap().linked(true);
        assert_eq!(given(&peers), None, "it stands: its services are being found");
        // One that is not tried without its bond is waited for by nobody.
        peers.all.get_mut(&key(0)).unwrap().linked(false);
        peers.all.get_mut(&key(1)).unwrap().planned = Some(PairingMethod::Passkey);
        assert_eq!(given(&peers), None);
    }

    #[test]
    fn a_device_that_fails_is_tried_later_and_later() {
        let (catalogue, mut now) = (Catalogue::built_in(), Stamp::at_ms(1_000_000));
        let mut peers = peers(1);
        let mut tries = 0;
        for _ in 0..600 {
            now = now.plus(Duration::from_secs(1));
            peers.all.get_mut(&key(0)).unwrap().seen(&heard(&key(0)), &catalogue, now);
            if let Some(address) = peers.turn(1, now) {
                tries += 1;
                let peer = peers.all.get_mut(&address).unwrap();
                peer.connecting(tries);
                peer.ended(Some(DeviceFault::Connect), now);
                peer.settled();
            }
        }
        assert!((8..12).contains(&tries), "{tries}");
    }

    #[test]
    fn a_meter_without_its_bond_is_said_and_not_tried() {
        let (catalogue, now) = (Catalogue::built_in(), Stamp::at_ms(1_000_000));
        let mut peers = peers(1);
        let meter = Sighting { services: Some(vec!["1808".into()]), paired: Some(false), ..heard(&key(0)) };
        peers.all.get_mut(&key(0)).unwrap().seen(&meter, &catalogue, now);
        assert_eq!(peers.turn(1, now), None);
        assert_eq!(peers.all[&key(0)].health.trouble, Some(DeviceFault::NotPaired));
        peers.all.get_mut(&key(0)).unwrap().seen(&Sighting { paired: Some(true), ..meter }, &catalogue, now);
        assert_eq!(peers.turn(1, now), Some(key(0)));
    }

    #[test]
    fn a_bonded_device_that_ends_each_connection_at_once_has_lost_its_bond() {
        let catalogue = Catalogue::built_in();
        let mut peers = peers(1);
        let peer = peers.all.get_mut(&key(0)).unwrap();
        let cut = Some(DeviceFault::CutOff);
        // Each connection a while after the one before, at this strength.
        let mut troubles = |paired, rssi, apart: u64, faults: &[Option<DeviceFault>]| {
            let mut now = Stamp::at_ms(1_000_000);
            let seen = Sighting { paired: Some(paired), rssi: Some(rssi), ..heard(&key(0)) };
            peer.ended(None, now);
            for fault in faults {
                now = now.plus(Duration::from_secs(apart));
                peer.seen(&seen, &catalogue, now);
                peer.ended(fault.clone(), now);
            }
            peer.health.trouble.clone()
        };
        let five = vec![cut.clone(); 5];
        assert_eq!(troubles(false, -60, 8, &five), cut, "there is no bond to lose");
        assert_eq!(troubles(true, -60, 8, &five), Some(DeviceFault::BondLost));
        assert_eq!(troubles(true, -60, 8, &[cut.clone(), cut.clone(), None]), None);
        assert_eq!(troubles(true, -60, 8, &[Some(DeviceFault::Connect), cut.clone(), cut.clone()]), cut);
        assert_eq!(troubles(true, -60, 1, &five[..3]), cut, "it may be held by another one for some seconds");
        assert_eq!(troubles(true, -92, 60, &five), cut, "at the edge of range links break early");
    }

    #[test]
    fn a_bond_that_went_while_its_link_was_ending_stays_said() {
        let (catalogue, now) = (Catalogue::built_in(), Stamp::at_ms(1_000_000));
        let mut peers = peers(1);
        let peer = peers.all.get_mut(&key(0)).unwrap();
        let mut ended = |forgotten: bool| {
            peer.connecting(1);
            peer.seen(&Sighting { paired: Some(false), ..heard(&key(0)) }, &catalogue, now);
            peer.unbonded();
            if forgotten {
                peer.forgotten();
            }
            peer.ended(None, now);
            let first = peer.health.trouble.clone();
            peer.connecting(2);
            peer.ended(None, now);
            (first, peer.health.trouble.clone())
        };
        assert_eq!(
            ended(false),
            (Some(DeviceFault::BondLost), None),
            "of the connection in which it was said, and no other"
        );
        assert_eq!(ended(true), (None, None), "a person took it away");
    }

    #[test]
    fn what_only_broadcasts_is_never_connected_to() {
        let (catalogue, mut now) = (Catalogue::built_in(), Stamp::at_ms(1_000_000));
        let mut peers = peers(2);
        let data = |service: &str| vec![(service.to_owned(), vec![0x40].into())];
        // One that says nothing else of itself, and one whose profile knows it by its name.
        let bthome = Sighting { data: data("FCD2"), services: None, ..heard(&key(0)) };
        let name = Some("MI_SCALE".to_owned());
        let mi = Sighting { data: data("181D"), services: Some(vec!["181D".into()]), name, ..heard(&key(1)) };
        for _ in 0..60 {
            now = now.plus(Duration::from_secs(1));
            peers.all.get_mut(&key(0)).unwrap().seen(&bthome, &catalogue, now);
            peers.all.get_mut(&key(1)).unwrap().seen(&mi, &catalogue, now);
            assert_eq!(peers.turn(9, now), None);
        }
    }

    #[test]
    fn a_stray_advertisement_stops_no_device_that_is_connected_to() {
        let (catalogue, now) = (Catalogue::built_in(), Stamp::at_ms(1_000_000));
        let mut peers = peers(2);
        // One whose services tell how it is read, and one that says nothing of itself and was read before.
        for (i, services) in [(0, Some(vec!["1810".to_owned()])), (1, None)] {
            let forged = Sighting { data: vec![("FCD2".into(), vec![0x40].into())], services, ..heard(&key(i)) };
            let peer = peers.all.get_mut(&key(i)).unwrap();
            if i == 1 {
                peer.health.profiles = vec!["standard-blood-pressure".into()];
            }
            peer.seen(&forged, &catalogue, now);
            assert_eq!(peers.turn(9, now), Some(key(i)), "{i}");
            peers.all.get_mut(&key(i)).unwrap().health.phase = Phase::Connected;
        }
    }

    #[test]
    fn a_device_that_did_not_connect_was_not_heard_by_that() {
        let (catalogue, start) = (Catalogue::built_in(), Stamp::at_ms(1_000_000));
        let mut peers = peers(1);
        let peer = peers.all.get_mut(&key(0)).unwrap();
        peer.seen(&heard(&key(0)), &catalogue, start);
        let later = start.plus(Duration::from_secs(25));
        for (fault, seen) in [(DeviceFault::Connect, start), (DeviceFault::Stuck, start), (DeviceFault::Lost, later)] {
            peer.connecting(1);
            peer.ended(Some(fault.clone()), later);
            assert_eq!(peer.health.seen, Some(seen), "{fault}");
        }
    }
}
