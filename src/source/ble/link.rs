//! One connection: the radio and the session joined. Waits here, decides in [`Session`].
//!
//! Promises: values are taken off D-Bus at once and wait in a bounded queue of this connection alone; every wait ends; the
//! device is let go whatever happens. Must never: let a device that floods, or hangs, hold up another one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::bus::Bus;
use super::fault::DeviceFault;
use super::history::Cursor;
use super::session::{Act, FIRMWARE, Fact, NoAnswer, Offer, Operation, Session};
use super::tap::Ear;
use super::users::{self, User};
use super::wire::Wire;
use crate::clock::{Clock, Stamp};
use crate::fault::Explain;
use crate::limits::{
    BLE_IN_FLIGHT_MAX, BLE_LAST_WORDS, BLE_LAST_WORDS_MAX, BLE_RELEASE_MAX, BLE_SETTLE_MAX, BLE_VALUES_BURST,
    BLE_VALUES_PER_S, BLE_VALUES_WAITING_MAX,
};
use crate::nameplate;
use crate::profile::schema::PairingMethod;
use crate::profile::{Catalogue, Plan, reject, told};
use crate::reading::{ClockPair, Clocks, DeviceId, Frame, Path};
use crate::user_code::Codes;

/// What a connection tells the source.
#[derive(Debug)]
pub(super) enum News {
    /// It stands; the profiles that it is read with.
    Connected(Vec<Arc<str>>),
    /// So many values came.
    Values(u64),
    /// Keep this.
    Keep(Option<Cursor>),
    /// Remember this.
    Learn(Fact),
    /// It is over; `None`: all is well.
    Ended(Option<DeviceFault>),
    /// Its values are committed, or given up.
    Settled,
}

/// Everything that one connection needs.
pub(super) struct Link {
    pub(super) number: u32,
    pub(super) device: DeviceId,
    pub(super) address: String,
    pub(super) name: Option<Arc<str>>,
    /// What profiles match on: the name, and its firmware once it was asked for.
    pub(super) told_of: Option<Arc<str>>,
    pub(super) source: Arc<str>,
    pub(super) paired: bool,
    pub(super) bonded_before: bool,
    pub(super) cursor: Option<Cursor>,
    pub(super) judged: Option<u16>,
    pub(super) doubted: Option<u16>,
    /// Its users whose codes may be tried.
    pub(super) users: Vec<User>,
    /// All codes, as they change; and those of its users that were seen.
    pub(super) codes: watch::Receiver<Arc<Codes>>,
    pub(super) seen: BTreeMap<u8, i64>,
    /// Its clock, once it was asked for.
    pub(super) clocks: Option<Arc<Clocks>>,
    /// What its clock said in an earlier connection.
    pub(super) clock_before: Option<ClockPair>,
    /// It is asked what it says of itself.
    pub(super) curious: bool,
    pub(super) zone: TimeZone,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) bus: Bus,
    pub(super) clock: Clock,
    pub(super) frames: mpsc::Sender<Frame>,
    pub(super) told: mpsc::Receiver<u64>,
    pub(super) news: mpsc::Sender<(u32, DeviceId, News)>,
    pub(super) crowded: watch::Receiver<bool>,
    /// BlueZ says that the link is gone.
    pub(super) lost: CancellationToken,
    /// Another device is awake: a connection that does not come about is given up.
    pub(super) give_way: CancellationToken,
    /// The radio is gone, or the gateway ends.
    pub(super) gone: CancellationToken,
    /// Values that the pipeline has no room for yet.
    pub(super) waiting: VecDeque<Frame>,
    pub(super) ear: Ear,
}

/// Why the work on a connection ended.
enum End {
    /// By itself, by our plan, or by the device when all was done.
    Well,
    Fault(DeviceFault),
}

impl Link {
    /// Runs it to its end.
    pub(super) async fn run(mut self) {
        let mut call = None;
        let end = self.work(&mut call).await;
        let flooded = matches!(end, End::Fault(DeviceFault::Flood));
        if flooded {
            self.waiting.clear();
        }
        let fault = match end {
            End::Well => None,
            End::Fault(DeviceFault::NotPaired) if self.bonded_before || self.paired => Some(DeviceFault::BondLost),
            End::Fault(fault) => Some(fault),
        };
        // Also a connection that was only half made.
        let limit = if self.gone.is_cancelled() { BLE_RELEASE_MAX / 2 } else { BLE_RELEASE_MAX };
        let _ = tokio::time::timeout(limit, self.bus.disconnect(&self.address)).await;
        if let Some(call) = call.as_mut().filter(|_| !flooded) {
            let _ = tokio::time::timeout(BLE_LAST_WORDS_MAX, self.last_words(call)).await;
        }
        self.ear.disconnected(fault.as_ref().map(Explain::code));
        self.say(News::Ended(fault)).await;
        if let Some(call) = &mut call {
            let settle = self.settle(&mut call.session);
            let _ = tokio::time::timeout(BLE_SETTLE_MAX, settle).await;
            let last = call.session.end();
            self.remember(last).await;
        }
        self.say(News::Settled).await;
    }

    async fn say(&self, news: News) {
        let _ = self.news.send((self.number, self.device.clone(), news)).await;
    }

    async fn connect(&self) -> Result<(Wire, Vec<Offer>), DeviceFault> {
        let mut wire = Wire::open(&self.bus, &self.address, self.ear.clone()).await?;
        wire.connect().await?;
        let offers = wire.discover().await?;
        Ok((wire, offers))
    }

    /// Its firmware, where profiles are told apart by it: asked each time, as a telephone's app may have changed it.
    fn firmware(
        &self,
        wire: &Wire,
        offers: &[Offer],
    ) -> impl Future<Output = Result<Option<Vec<u8>>, DeviceFault>> + Send + use<> {
        let asks = self.name.as_deref().is_some_and(|name| self.catalogue.asks_firmware(name));
        let offer = offers.iter().find(|o| o.uuid == FIRMWARE && o.reads && asks);
        let answer = offer.map(|offer| wire.carry_out(offer, Operation::Read));
        async move {
            let Some(answer) = answer else { return Ok(None) };
            match answer.await {
                Ok(octets) => Ok(Some(octets)),
                Err(NoAnswer::Refused) => Ok(None),
                Err(NoAnswer::Unauthorised) => Err(DeviceFault::NotPaired),
                Err(NoAnswer::Timeout) => Err(DeviceFault::Timeout),
                Err(NoAnswer::Lost) => Err(DeviceFault::Lost),
            }
        }
    }

    /// What its profiles plan for what it offers.
    fn plan(&self, offers: &[Offer]) -> Result<Arc<Plan>, DeviceFault> {
        let services: BTreeSet<String> = offers.iter().map(|o| o.service.clone()).collect();
        if services.is_empty() {
            // The discovery broke off: the link is as good as none.
            return Err(DeviceFault::Connect);
        }
        let plan = self.catalogue.plan(self.told_of.as_deref(), &services).map_err(|e| {
            if e == reject::SEVERAL_PROFILES { DeviceFault::SeveralProfiles } else { DeviceFault::NoProfile }
        })?;
        if plan.pairing == PairingMethod::Passkey && !self.paired {
            return Err(DeviceFault::NotPaired);
        }
        Ok(Arc::new(plan))
    }

    async fn work(&mut self, place: &mut Option<Call>) -> End {
        let (gone, lost, frames) = (self.gone.clone(), self.lost.clone(), self.frames.clone());
        let connected = async {
            let (wire, offers) = self.connect().await?;
            let firmware = self.firmware(&wire, &offers).await?;
            Ok((wire, offers, firmware))
        };
        let connected = tokio::select! {
            connected = connected => connected,
            () = self.give_way.cancelled() => return End::Fault(DeviceFault::Connect),
            () = gone.cancelled() => return End::Well,
        };
        let (wire, offers, firmware) = match connected {
            Ok(connected) => connected,
            Err(fault) => return End::Fault(fault),
        };
        let revision = firmware.as_deref().and_then(nameplate::text);
        if let (Some(name), Some(revision), Some(octets)) = (&self.name, revision, firmware) {
            self.told_of = Some(told(name, &revision));
            self.say(News::Learn(Fact::Says(FIRMWARE.into(), octets))).await;
        }
        let plan = self.plan(&offers);
        let profiles = plan.as_ref().map(|plan| &plan.profiles[..]).unwrap_or_default();
        self.ear.connected(self.name.as_deref(), &offers, profiles, &self.catalogue);
        let plan = match plan {
            Ok(plan) => plan,
            Err(fault) => return End::Fault(fault),
        };
        self.say(News::Connected(plan.profiles.clone())).await;
        let session = Session::new(plan, self.cursor, self.zone.clone(), self.clock.now());
        let mut session = session.judged(self.judged).doubting(self.doubted).users(std::mem::take(&mut self.users));
        let begin = session.begin(&offers, self.curious, self.clock.now());
        let Call { session, wire, desk } = place.insert(Call { session, wire, desk: Desk::new(self.clock.now()) });
        let mut acts = begin;
        loop {
            for act in std::mem::take(&mut acts) {
                if let Some(end) = self.act(act, wire, desk).await {
                    return end;
                }
            }
            if let Some(fault) = desk.overflow(self.waiting.len(), session.is_fetching()) {
                return End::Fault(fault);
            }
            let room = self.has_room(session);
            let due = session.due(self.clock.now());
            let clock = self.clock.clone();
            acts = tokio::select! {
                biased;
                () = gone.cancelled() => return End::Well,
                Some(ticket) = self.told.recv() => session.kept(ticket),
                answer = desk.answer() => session.answered(answer, clock.now()),
                value = wire.next() => match value {
                    Some((uuid, bytes)) => {
                        desk.counted(clock.now(), session.is_fetching());
                        session.value(&uuid, bytes, clock.now())
                    }
                    None => return ended(session),
                },
                () = lost.cancelled() => return ended(session),
                permit = frames.reserve(), if room => {
                    let Ok(permit) = permit else { return End::Well };
                    if let Some(frame) = self.waiting.pop_front() {
                        permit.send(frame);
                    }
                    Vec::new()
                }
                Ok(()) = self.codes.changed() => {
                    let new = users::changed(&self.device, &self.codes.borrow_and_update(), &mut self.seen);
                    session.codes(&self.seen, new, clock.now())
                }
                Ok(()) = self.crowded.changed() => {
                    session.crowd(*self.crowded.borrow_and_update());
                    Vec::new()
                }
                () = after(due), if due.is_some() => session.late(clock.now()),
            };
        }
    }

    /// Carries out what the session wants; `Some`: the connection is over.
    async fn act(&mut self, act: Act, wire: &mut Wire, desk: &mut Desk) -> Option<End> {
        match act {
            Act::Do(offer, operation) => desk.asked = Some(Box::pin(wire.carry_out(&offer, operation))),
            Act::Hand { ticket, uuid, bytes } => {
                let path = Path::Characteristic { device: self.device.clone(), uuid, name: self.told_of.clone() };
                // Which connection, then which value of it.
                let ticket = (u64::from(self.number) << 32) | ticket;
                let pressing = self.waiting.len() + 1 >= BLE_VALUES_WAITING_MAX / 2;
                let clocks = self.clocks.clone();
                let frame =
                    Frame { path, ticket, pressing, clocks, ..Frame::new(&self.source, bytes, self.clock.now()) };
                self.waiting.push_back(frame);
                self.say(News::Values(1)).await;
            }
            Act::Keep(cursor) => self.say(News::Keep(cursor)).await,
            Act::Learn(fact) => {
                if let Fact::Clock(device, at) = &fact {
                    let now = ClockPair { device: *device, box_ms: at.wall_ms, trusted: at.trusted };
                    self.clocks = Some(Arc::new(Clocks { now, before: self.clock_before.clone() }));
                }
                self.say(News::Learn(fact)).await;
            }
            Act::Release => return Some(End::Well),
            Act::Fail(fault) => return Some(End::Fault(fault)),
        }
        None
    }

    /// Some value waits, and may go to the pipeline.
    fn has_room(&self, session: &Session) -> bool {
        let in_flight = session.outstanding().saturating_sub(self.waiting.len());
        !self.waiting.is_empty() && in_flight < BLE_IN_FLIGHT_MAX
    }

    /// However it ended, values may be behind the news of that, or came while we let go. bluetoothd has confirmed them, and the
    /// device takes them for told: they are still taken.
    async fn last_words(&mut self, call: &mut Call) {
        let Call { session, wire, desk } = call;
        while let Ok(Some((uuid, bytes))) = tokio::time::timeout(BLE_LAST_WORDS, wire.next()).await {
            desk.counted(self.clock.now(), session.is_fetching());
            if desk.overflow(self.waiting.len(), session.is_fetching()).is_some() {
                return;
            }
            for act in session.value(&uuid, bytes, self.clock.now()) {
                let over = matches!(act, Act::Release | Act::Fail(_) | Act::Do(..));
                if !over {
                    self.act(act, wire, desk).await;
                }
            }
        }
    }

    /// Of an ended connection, what is to be kept counts, and nothing else.
    async fn remember(&self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Keep(cursor) => self.say(News::Keep(cursor)).await,
                Act::Learn(fact) => self.say(News::Learn(fact)).await,
                Act::Do(..) | Act::Hand { .. } | Act::Release | Act::Fail(_) => {}
            }
        }
    }

    /// The device is let go; what it sent goes on to the journal, and moves its cursor.
    async fn settle(&mut self, session: &mut Session) {
        while session.outstanding() > 0 {
            let room = self.has_room(session);
            tokio::select! {
                biased;
                told = self.told.recv() => {
                    let Some(ticket) = told else { return };
                    let acts = session.kept(ticket);
                    self.remember(acts).await;
                }
                permit = self.frames.reserve(), if room => {
                    let Ok(permit) = permit else { return };
                    if let Some(frame) = self.waiting.pop_front() {
                        permit.send(frame);
                    }
                }
            }
        }
    }
}

/// A connection that came about.
struct Call {
    session: Session,
    wire: Wire,
    desk: Desk,
}

/// The link is gone: fine if everything was done.
fn ended(session: &Session) -> End {
    if session.is_content() { End::Well } else { End::Fault(DeviceFault::Lost) }
}

async fn after(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}

/// What lies on the table of one connection.
struct Desk {
    asked: Option<BoxFuture<'static, Result<Vec<u8>, NoAnswer>>>,
    allowance: u32,
    counted: Stamp,
}

impl Desk {
    fn new(now: Stamp) -> Self {
        Self { asked: None, allowance: BLE_VALUES_BURST, counted: now }
    }

    /// The answer to what was asked; never, if nothing was.
    async fn answer(&mut self) -> Result<Vec<u8>, NoAnswer> {
        let Some(asked) = &mut self.asked else { return std::future::pending().await };
        let answer = asked.await;
        self.asked = None;
        answer
    }

    /// A value came: outside a history, it takes from the allowance, which grows again with time.
    fn counted(&mut self, now: Stamp, fetching: bool) {
        let seconds = u32::try_from(now.since(self.counted).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            let grown = self.allowance.saturating_add(seconds.saturating_mul(BLE_VALUES_PER_S));
            (self.allowance, self.counted) = (grown.min(BLE_VALUES_BURST), now);
        }
        if !fetching {
            self.allowance = self.allowance.saturating_sub(1);
        }
    }

    /// More than anybody measures, or more than the journal takes.
    fn overflow(&self, waiting: usize, fetching: bool) -> Option<DeviceFault> {
        if self.allowance == 0 {
            return Some(DeviceFault::Flood);
        }
        let full = waiting >= BLE_VALUES_WAITING_MAX;
        full.then_some(if fetching { DeviceFault::Held } else { DeviceFault::Flood })
    }
}
