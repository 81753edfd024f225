//! One connection as a state machine, pure: what a profile plans becomes operations, what a device sends becomes values.
//!
//! Promises: one operation at a time; every value of a subscription is handed out once, under a ticket; the cursor of a
//! history follows the commit. Must never: wait, read a clock, or write what the plan does not say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::tz::TimeZone;

use super::consents::Consents;
use super::context::{self, Together};
use super::dial::Dial;
use super::fault::DeviceFault;
use super::history::{Answered, Cursor, History};
use super::questions::Questions;
use super::users::User;
pub use super::words::{Act, Fact, NoAnswer, Offer, Operation};
use crate::clock::Stamp;
use crate::codec::date_time;
use crate::limits::{BLE_ASK_MAX, BLE_CLOCK_SLACK, BLE_HISTORY_SILENCE, BLE_QUIET, BLE_QUIET_CROWDED, BLE_TURN_MAX};
use crate::nameplate::CHARACTERISTICS;
use crate::profile::schema::{HistoryFrom, Step};
use crate::profile::{Plan, octets};

/// Pulse Oximeter Service, and what such a device can do.
const OXIMETER: &str = "1822";
const OXIMETER_FEATURES: &str = "2A60";
/// The control point of stored records.
const RACP: &str = "2A52";
const BATTERY: &str = "2A19";
pub(super) const FIRMWARE: &str = "2A26";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    Read,
    Subscribe,
    Write(Vec<u8>),
    /// Write, and wait for a value.
    Ask(Vec<u8>),
    /// Ask for the consent of the next user.
    Consent,
    /// Look at the clock, and set it if it is wrong.
    Clock,
    SetClock(Dial),
    History,
    /// A fact that no plan asks for.
    Fact,
}

/// One connection.
pub struct Session {
    plan: Arc<Plan>,
    zone: TimeZone,
    cursor: Option<Cursor>,
    judged: Option<u16>,
    doubted: Option<u16>,
    tasks: VecDeque<(Offer, Task)>,
    current: Option<(Offer, Task)>,
    subscribed: BTreeSet<String>,
    history: Option<History>,
    questions: Questions,
    together: Together,
    consents: Consents,
    /// It is being asked what it says of itself.
    curious: bool,
    /// A request for records is under way.
    asking: bool,
    control: Option<Offer>,
    outstanding: BTreeSet<u64>,
    ticket: u64,
    began: Stamp,
    heard: Stamp,
    crowded: bool,
    over: bool,
}

type Acts = Vec<Act>;

impl Session {
    /// With a device that is connected; `cursor` is where its history stood last.
    pub fn new(plan: Arc<Plan>, cursor: Option<Cursor>, zone: TimeZone, now: Stamp) -> Self {
        Self {
            plan,
            zone,
            cursor,
            judged: None,
            doubted: None,
            tasks: VecDeque::new(),
            current: None,
            subscribed: BTreeSet::new(),
            history: None,
            questions: Questions::default(),
            together: Together::default(),
            consents: Consents::default(),
            curious: false,
            asking: false,
            control: None,
            outstanding: BTreeSet::new(),
            ticket: 0,
            began: now,
            heard: now,
            crowded: false,
            over: false,
        }
    }

    /// Up to this number nothing is missing of its records, or it was said.
    pub fn judged(self, judged: Option<u16>) -> Self {
        Self { judged, ..self }
    }

    /// At this number the cursor waited for missing ones when the connection before broke off.
    pub fn doubting(self, doubted: Option<u16>) -> Self {
        Self { doubted, ..self }
    }

    /// The users whose codes may be tried, in this order.
    pub fn users(self, users: Vec<User>) -> Self {
        Self { consents: Consents::of(users), ..self }
    }

    /// The connection is over, and what is committed of it was told: what is still to be kept or said.
    pub fn end(&mut self) -> Acts {
        if let Some(history) = &mut self.history {
            history.end();
        }
        let mut acts = self.moved();
        let doubted = self.history.as_ref().map_or(self.doubted, History::doubted);
        if doubted != self.doubted {
            self.doubted = doubted;
            acts.push(Act::Learn(Fact::Doubted(doubted)));
        }
        acts
    }

    /// Its services are known: plans, and begins. `curious`: it is asked what it says of itself as well.
    pub fn begin(&mut self, offers: &[Offer], curious: bool, now: Stamp) -> Acts {
        if let Err(fault) = self.arrange(offers, now) {
            return self.fail(fault);
        }
        let facts: &[&str] = if curious { &CHARACTERISTICS } else { &[] };
        self.curious = curious;
        for uuid in [BATTERY].iter().chain(facts) {
            let planned = self.tasks.iter().any(|(o, _)| o.uuid == *uuid);
            let offer = offers.iter().find(|o| o.uuid == *uuid && o.reads).filter(|_| !planned);
            self.tasks.extend(offer.map(|o| (o.clone(), Task::Fact)));
        }
        let mut acts: Acts = self.consents.is_planned().then_some(Act::Learn(Fact::AsksUsers)).into_iter().collect();
        acts.extend(self.next(now));
        acts
    }

    /// Steps become tasks on what is offered. What is not there is left out, unless nothing could come without it.
    fn arrange(&mut self, offers: &[Offer], now: Stamp) -> Result<(), DeviceFault> {
        let find = |uuid: &str, service: Option<&String>| {
            offers.iter().find(|o| o.uuid == uuid && service.is_none_or(|s| *s == o.service)).cloned()
        };
        let (mut wanted, mut missing) = (0, None);
        let plan = self.plan.clone();
        for step in &plan.steps {
            let task = match step {
                Step::Bond {} | Step::AwaitDisconnect {} => None,
                Step::Read { characteristic } => find(characteristic, None).map(|o| (o, Task::Read)),
                Step::Write { characteristic, hex } => {
                    let bytes = octets("hex", hex).unwrap_or_default();
                    find(characteristic, None).map(|o| (o, Task::Write(bytes)))
                }
                Step::Ask { characteristic, hex, every_s } => {
                    let bytes = octets("hex", hex).unwrap_or_default();
                    let offer = find(characteristic, None);
                    let offer = offer.ok_or_else(|| DeviceFault::Missing(characteristic.clone()))?;
                    if let Some(every_s) = *every_s {
                        self.questions.repeat(&offer, &bytes, every_s, now);
                    }
                    Some((offer, Task::Ask(bytes)))
                }
                Step::UserConsent { characteristic } => {
                    let control = find(characteristic, None);
                    let users = control.as_ref().map_or(0, |control| self.consents.plan(control));
                    control.into_iter().for_each(|control| self.ask_users(&control, users));
                    None
                }
                Step::WriteClock { characteristic, service, form, prefix } => {
                    let dial = Dial { form: *form, prefix: octets("prefix", prefix).unwrap_or_default() };
                    let task = |o: Offer| match o.reads && dial.is_readable() {
                        true => (o, Task::Clock),
                        false => (o, Task::SetClock(dial)),
                    };
                    find(characteristic, service.as_ref()).map(task)
                }
                Step::Subscribe { characteristic, .. } => {
                    let found = find(characteristic, None);
                    wanted += usize::from(found.is_some() && characteristic != RACP);
                    if found.is_none() {
                        missing.get_or_insert_with(|| characteristic.clone());
                    }
                    found.map(|o| (o, Task::Subscribe))
                }
                Step::History { characteristic, from } => {
                    let control = find(characteristic, None);
                    // Where no cursor depends on it, a memory is an addition: most oximeters have none.
                    if control.is_none() && *from == HistoryFrom::LastSequence {
                        return Err(DeviceFault::Missing(characteristic.clone()));
                    }
                    self.control = self.control.take().or(control.clone());
                    let dated = |o: &Offer| o.service != OXIMETER || find(OXIMETER_FEATURES, None).is_some();
                    control.filter(dated).map(|o| (o, Task::History))
                }
            };
            self.tasks.extend(task);
        }
        match missing {
            Some(uuid) if wanted == 0 => Err(DeviceFault::Missing(uuid)),
            _ => Ok(()),
        }
    }

    /// Without a code nothing is asked, and nothing is subscribed to.
    fn ask_users(&mut self, control: &Offer, users: usize) {
        let subscription = (control.clone(), Task::Subscribe);
        let subscribes = self.subscribed.contains(&control.uuid)
            || self.tasks.contains(&subscription)
            || self.current.as_ref() == Some(&subscription);
        self.tasks.extend(Some(subscription).filter(|_| users > 0 && !subscribes));
        self.tasks.extend(vec![(control.clone(), Task::Consent); users]);
    }

    /// Codes were given or taken away meanwhile: these are kept, and these users are new.
    pub fn codes(&mut self, kept: &BTreeMap<u8, i64>, new: Vec<User>, now: Stamp) -> Acts {
        let users = new.len();
        if !self.over
            && let Some(control) = self.consents.change(kept, new, now)
        {
            self.ask_users(&control, users);
        }
        self.next(now)
    }

    /// The answer to what was asked last.
    pub fn answered(&mut self, answer: Result<Vec<u8>, NoAnswer>, now: Stamp) -> Acts {
        let Some((offer, task)) = self.current.take() else { return Vec::new() };
        if self.over {
            return Vec::new();
        }
        // That it takes a question does not mean that it has something to tell.
        if !matches!(task, Task::Ask(_)) {
            self.heard = now;
        }
        let is_last = task == Task::Fact && self.curious && !self.tasks.iter().any(|(_, task)| *task == Task::Fact);
        let mut acts = match (task, answer) {
            (Task::Fact, Err(NoAnswer::Refused | NoAnswer::Unauthorised)) => Vec::new(),
            (_, Err(NoAnswer::Timeout)) => return self.fail(DeviceFault::Timeout),
            (_, Err(NoAnswer::Lost)) => return self.fail(DeviceFault::Lost),
            (_, Err(NoAnswer::Unauthorised)) => return self.fail(DeviceFault::NotPaired),
            // What it does not tell, and a clock that it keeps itself, stop nothing.
            (Task::Read | Task::Clock | Task::SetClock(_), Err(NoAnswer::Refused)) => {
                self.leave_undated(&offer, &[]);
                Vec::new()
            }
            (Task::Subscribe, Err(NoAnswer::Refused)) if self.consents.is_control(&offer.uuid) => {
                self.tasks.retain(|(_, task)| *task != Task::Consent);
                Vec::new()
            }
            (Task::Consent, Err(NoAnswer::Refused)) => {
                self.consents.failed();
                Vec::new()
            }
            (Task::History, Err(NoAnswer::Refused)) if self.is_counting() => self.count_less(now),
            (_, Err(NoAnswer::Refused)) => return self.fail(DeviceFault::Refused(offer.uuid)),
            (Task::Fact, Ok(bytes)) => fact(&offer.uuid, &bytes).into_iter().map(Act::Learn).collect(),
            (Task::Read, Ok(bytes)) => {
                self.leave_undated(&offer, &bytes);
                self.hand(&offer.uuid, bytes.into())
            }
            (Task::Clock, Ok(bytes)) => self.clock(offer, &bytes, now),
            (Task::SetClock(_), Ok(_)) => vec![Act::Learn(Fact::ClockSet)],
            (Task::Subscribe, Ok(_)) => {
                self.subscribed.insert(offer.uuid);
                Vec::new()
            }
            (Task::Write(_) | Task::Ask(_) | Task::Consent, Ok(_)) => Vec::new(),
            // The records come now, and the control point tells when they are all; it may have told already.
            (Task::History, Ok(_)) => Vec::new(),
        };
        if is_last {
            self.curious = false;
            acts.push(Act::Learn(Fact::Told));
        }
        acts.extend(self.next(now));
        acts
    }

    /// An oximeter that keeps spot checks without their times is not asked for them: fetched again, each would be a new reading.
    fn leave_undated(&mut self, read: &Offer, features: &[u8]) {
        // PLX Features, bit 3: spot checks have a time.
        if read.uuid == OXIMETER_FEATURES && features.first().is_none_or(|octet| octet & 8 == 0) {
            self.tasks.retain(|(o, task)| *task != Task::History || o.service != OXIMETER);
        }
    }

    /// The device says what time it is. It is set only if it is wrong by more than it took to ask, and ours is right.
    fn clock(&mut self, offer: Offer, bytes: &[u8], now: Stamp) -> Acts {
        let Some(time) = bytes.first_chunk().and_then(|first| date_time::civil(*first)) else {
            // It does not know the time at all.
            self.tasks.push_front((offer, Task::SetClock(Dial::default())));
            return Vec::new();
        };
        let here = now.timestamp().to_zoned(self.zone.clone()).datetime();
        let wrong = time.duration_until(here).unsigned_abs();
        if wrong > BLE_CLOCK_SLACK {
            self.tasks.push_front((offer, Task::SetClock(Dial::default())));
        }
        vec![Act::Learn(Fact::Clock(time, now))]
    }

    /// A notification or an indication.
    pub fn value(&mut self, uuid: &str, bytes: Bytes, now: Stamp) -> Acts {
        // A bonded device may push at once what it is about to be subscribed to.
        let pushed = |(offer, task): &(Offer, Task)| *task == Task::Subscribe && offer.uuid == uuid;
        let planned = self.current.as_ref().is_some_and(pushed) || self.tasks.iter().any(pushed);
        // What is read arrives as a value as well: only what is subscribed counts.
        if !(planned || self.subscribed.contains(uuid)) {
            return Vec::new();
        }
        self.heard = now;
        if self.consents.is_control(uuid) {
            let said = self.consents.answered(&bytes, now);
            let mut acts: Acts = said.map(Act::Learn).into_iter().collect();
            acts.extend(self.next(now));
            return acts;
        }
        self.consents.heard(now);
        let ours = self.control.as_ref().is_some_and(|c| c.uuid == uuid);
        if self.over {
            // Confirmed before the link was gone: the device takes it for told. There is nothing more to ask.
            return if ours { Vec::new() } else { self.hand(uuid, bytes) };
        }
        match &mut self.history {
            Some(_) if ours => {
                let mut acts: Acts = self.together.flush().map(|value| self.hand_on(value)).into_iter().collect();
                let history = self.history.as_mut().filter(|_| self.asking);
                let answered = history.map_or(Answered::Nothing, |history| history.response(&bytes));
                acts.extend(self.response(answered, now));
                acts
            }
            Some(_) | None => {
                let mut acts = self.hand(uuid, bytes);
                if self.questions.heard() {
                    acts.extend(self.next(now));
                }
                acts
            }
        }
    }

    fn response(&mut self, answered: Answered, now: Stamp) -> Acts {
        let mut acts = self.moved();
        match answered {
            Answered::Nothing => {}
            Answered::Failed(code) => acts.extend(self.fail(DeviceFault::History(code))),
            Answered::Ask => acts.extend(self.ask_on(now)),
            Answered::All => {
                self.asking = false;
                acts.extend(self.next(now));
            }
        }
        acts
    }

    /// The control point is free, and there is more to ask of it.
    fn ask_on(&mut self, now: Stamp) -> Acts {
        self.asking = false;
        if let Some(control) = self.control.clone() {
            self.tasks.push_front((control, Task::History));
        }
        self.next(now)
    }

    /// How many records it has is asked.
    fn is_counting(&self) -> bool {
        self.asking && self.history.as_ref().is_some_and(History::is_counting)
    }

    /// It does not say how many it has: it is asked for them all the same.
    fn count_less(&mut self, now: Stamp) -> Acts {
        if let Some(history) = &mut self.history {
            history.count_less();
        }
        self.ask_on(now)
    }

    /// A value is committed.
    pub fn kept(&mut self, ticket: u64) -> Acts {
        if !self.outstanding.remove(&ticket) {
            return Vec::new();
        }
        if let Some(history) = &mut self.history {
            history.kept(ticket);
        }
        let mut acts = self.moved();
        acts.extend(self.done());
        acts
    }

    /// What is missing, and then the cursor, if it moved: what it passes must have been said.
    fn moved(&mut self) -> Acts {
        let Some(history) = &mut self.history else { return Vec::new() };
        let (gap, judged, cursor) = (history.gap(), history.judged(), history.cursor());
        let mut acts = Vec::new();
        if gap.is_some() || judged != self.judged {
            self.judged = judged;
            acts.push(Act::Learn(Fact::Judged(judged, gap)));
        }
        if cursor != self.cursor {
            self.cursor = cursor;
            acts.push(Act::Keep(cursor));
        }
        acts
    }

    /// Other devices wait for a connection.
    pub fn crowd(&mut self, crowded: bool) {
        self.crowded = crowded;
    }

    /// After how long [`Session::late`] is to be called, if nothing happens. `None`: an answer is waited for.
    pub fn due(&self, now: Stamp) -> Option<Duration> {
        if self.over {
            return None;
        }
        let after = |since: Stamp, wait: Duration| wait.saturating_sub(now.since(since));
        if self.is_fetching() {
            let silence = if self.is_counting() { BLE_ASK_MAX } else { BLE_HISTORY_SILENCE };
            return Some(after(self.heard, silence));
        }
        if self.current.is_some() {
            return None;
        }
        let waits = [self.questions.due(now), self.consents.due(now)].into_iter().flatten().min();
        Some(waits.map_or(Duration::MAX, |wait| wait).min(self.quiet(now)))
    }

    /// After how long it is let go, if nothing comes.
    fn quiet(&self, now: Stamp) -> Duration {
        let after = |since: Stamp, wait: Duration| wait.saturating_sub(now.since(since));
        let quiet = if self.crowded { BLE_QUIET_CROWDED } else { BLE_QUIET };
        let turn = self.crowded.then(|| after(self.began, BLE_TURN_MAX));
        turn.map_or(Duration::MAX, |t| t).min(after(self.heard, quiet))
    }

    /// Nothing happened until then.
    pub fn late(&mut self, now: Stamp) -> Acts {
        if self.due(now) != Some(Duration::ZERO) {
            return Vec::new();
        }
        if self.is_counting() {
            self.heard = now;
            return self.count_less(now);
        }
        if self.is_fetching() {
            let mut acts: Acts = self.together.flush().map(|value| self.hand_on(value)).into_iter().collect();
            acts.extend(self.fail(DeviceFault::Timeout));
            return acts;
        }
        if self.consents.late(now) {
            return self.next(now);
        }
        if self.quiet(now) == Duration::ZERO {
            return self.release();
        }
        if self.questions.gave_up(now) {
            // It has no answer, so it has none to the questions after it.
            self.tasks.retain(|(_, task)| !matches!(task, Task::Ask(_)));
        } else {
            let again = self.questions.again(now).into_iter().map(|(offer, octets)| (offer, Task::Ask(octets)));
            self.tasks.extend(again);
        }
        self.next(now)
    }

    /// A request for records is under way.
    pub fn is_fetching(&self) -> bool {
        self.asking
    }

    /// Everything that was planned is done: if the link ends now, nothing is amiss.
    pub fn is_content(&self) -> bool {
        self.current.is_none() && self.tasks.is_empty() && !self.is_fetching() && !self.consents.is_waiting()
    }

    /// Values that are not committed yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// A value goes on; one that announces its context waits for it, as long as records are sent.
    fn hand(&mut self, uuid: &str, bytes: Bytes) -> Acts {
        let values = match self.asking && !self.over {
            true => self.together.take(uuid, bytes),
            false => {
                let own = bytes.len();
                self.together.flush().into_iter().chain([(uuid, bytes, own)]).collect()
            }
        };
        values.into_iter().map(|value| self.hand_on(value)).collect()
    }

    fn hand_on(&mut self, (uuid, bytes, own): context::Value<'_>) -> Act {
        self.ticket += 1;
        self.outstanding.insert(self.ticket);
        if let Some(history) = self.history.as_mut().filter(|h| !h.is_complete()) {
            // Whether its context came does not make it another record.
            history.record(self.ticket, uuid, bytes.get(..own).unwrap_or(&bytes));
        }
        Act::Hand { ticket: self.ticket, uuid: uuid.into(), bytes }
    }

    fn next(&mut self, now: Stamp) -> Acts {
        let waits = self.questions.is_waiting() || self.consents.is_waiting();
        if self.over || self.asking || self.current.is_some() || waits {
            return Vec::new();
        }
        let Some((offer, task)) = self.tasks.pop_front() else { return self.done() };
        let mut acts = Vec::new();
        let operation = match &task {
            Task::Read | Task::Clock | Task::Fact => Operation::Read,
            Task::Subscribe => Operation::Subscribe,
            Task::Write(bytes) => Operation::Write(bytes.clone()),
            Task::Ask(bytes) => {
                self.questions.asked(now);
                Operation::Write(bytes.clone())
            }
            Task::Consent => {
                let Some((request, asked)) = self.consents.ask(now) else { return self.next(now) };
                acts.push(Act::Learn(asked));
                Operation::Consent(request)
            }
            Task::SetClock(_) if !now.trusted => return self.next(now),
            Task::SetClock(dial) => Operation::Write(dial.octets(&offer.uuid, &self.zone, now)),
            Task::History => {
                self.asking = true;
                let (cursor, judged, doubted) = (self.cursor, self.judged, self.doubted);
                let new = || History::new(cursor, judged).doubting(doubted);
                Operation::Write(self.history.get_or_insert_with(new).request())
            }
        };
        self.current = Some((offer.clone(), task));
        acts.push(Act::Do(offer, operation));
        acts
    }

    /// A device that only gives its memory is let go when everything is committed.
    fn done(&mut self) -> Acts {
        let settled = self.history.as_ref().is_some_and(History::is_settled);
        let only_history = settled && self.plan.steps.iter().all(|s| !matches!(s, Step::AwaitDisconnect {}));
        let all = self.is_content() && only_history && self.outstanding.is_empty() && !self.streams();
        if all && !self.over { self.release() } else { Vec::new() }
    }

    /// It sends by itself, beside its memory: continuous glucose, or the values of another service.
    fn streams(&self) -> bool {
        self.subscribed.iter().any(|uuid| !matches!(uuid.as_str(), "2A18" | "2A34" | RACP))
    }

    fn release(&mut self) -> Acts {
        self.over = true;
        vec![Act::Release]
    }

    fn fail(&mut self, fault: DeviceFault) -> Acts {
        self.over = true;
        vec![Act::Fail(fault)]
    }
}

fn fact(uuid: &str, bytes: &[u8]) -> Option<Fact> {
    match uuid {
        BATTERY => bytes.first().copied().filter(|level| *level <= 100).map(Fact::Battery),
        _ => CHARACTERISTICS.contains(&uuid).then(|| Fact::Says(uuid.to_owned(), bytes.to_vec())),
    }
}
