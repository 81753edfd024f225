//! The session against a meter that is interrupted at any moment: what it has is committed, all of it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::fault::DeviceFault;
use super::history::Cursor;
use super::session::{Act, Fact, NoAnswer, Offer, Operation, Session};
use crate::clock::Stamp;
use crate::limits::{BLE_ASK_MAX, BLE_HISTORY_SILENCE, BLE_QUIET, BLE_QUIET_CROWDED, BLE_TURN_MAX};
use crate::profile::schema::{ClockForm, PairingMethod, Step, Subscription};
use crate::profile::{Catalogue, Plan};

fn plan(services: &[&str]) -> Arc<Plan> {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);
    let services: BTreeSet<String> = services.iter().map(|s| (*s).to_owned()).collect();
    Arc::new(CATALOGUE.plan(None, &services).unwrap())
}

fn offers(list: &[(&str, &str)]) -> Vec<Offer> {
    list.iter().map(|(s, u)| Offer { service: (*s).into(), uuid: (*u).into(), reads: true }).collect()
}

fn now() -> Stamp {
    Stamp::at_ms(1_795_860_000_000)
}

/// A meter with its records, and a journal that knows a record again.
#[derive(Default)]
struct World {
    records: Vec<Vec<u8>>,
    backwards: bool,
    /// It does not say how many it has.
    silent: bool,
    journal: BTreeSet<Vec<u8>>,
    cursor: Option<Cursor>,
    judged: Option<u16>,
    doubted: Option<u16>,
    /// Its memory was cleared: that is said.
    cleared: bool,
    /// Numbers that were lost on their way: each once.
    lost: BTreeSet<u16>,
    /// Sent in all connections.
    sent: usize,
}

/// One connection to it.
struct Call {
    session: Session,
    /// What the meter is about to send: values, then the answer of its control point.
    sending: VecDeque<(&'static str, Vec<u8>)>,
    /// Handed on, not committed.
    pending: VecDeque<(u64, Vec<u8>)>,
    /// A record announced its context, which did not come yet.
    waits: Option<u16>,
    over: bool,
}

impl World {
    fn measure(&mut self) {
        let [low, high] = u16::try_from(self.records.len() + 1).unwrap().to_le_bytes();
        // Every third one announces its context.
        let flags = if low % 3 == 1 { 0x10 } else { 0 };
        self.records.push(vec![flags, low, high, 0xea, 7, 11, 22, 10, 0, low]);
    }

    fn call(&mut self) -> Call {
        let session = Session::new(plan(&["1808"]), self.cursor, TimeZone::UTC, now());
        let mut session = session.judged(self.judged).doubting(self.doubted);
        let offers = offers(&[("1808", "2A18"), ("1808", "2A34"), ("1808", "2A51"), ("1808", "2A52")]);
        let acts = session.begin(&offers, true, now());
        let mut call = Call { session, sending: VecDeque::new(), pending: VecDeque::new(), waits: None, over: false };
        call.follow(acts, self);
        call
    }
}

impl Call {
    fn follow(&mut self, acts: Vec<Act>, world: &mut World) {
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            match act {
                Act::Do(offer, operation) => {
                    if let Operation::Write(request) = operation {
                        assert_eq!(offer.uuid, "2A52");
                        self.report(&request, world);
                    }
                    acts.extend(self.session.answered(Ok(vec![0, 0]), now()));
                }
                // What the control point says is no record.
                Act::Hand { ticket, bytes, .. } => self.pending.push_back((ticket, bytes.to_vec())),
                Act::Keep(cursor) => world.cursor = cursor,
                Act::Learn(Fact::Judged(judged, gap)) => {
                    assert!(gap.is_none() || world.cleared, "everything is there: {gap:?}");
                    world.judged = judged;
                }
                Act::Learn(Fact::Doubted(doubted)) => world.doubted = doubted,
                Act::Learn(_) => {}
                Act::Release => self.over = true,
                Act::Fail(fault) => panic!("{fault}"),
            }
        }
    }

    fn report(&mut self, request: &[u8], world: &mut World) {
        let from = match *request {
            [1 | 4, 1] => 0,
            [1 | 4, 3, 1, low, high] => u16::from_le_bytes([low, high]),
            _ => panic!("{request:?} is asked: nothing but reports may be"),
        };
        let number = |r: &Vec<u8>| u16::from_le_bytes([r[1], r[2]]);
        let mut records: Vec<_> = world.records.iter().filter(|r| number(r) >= from).cloned().collect();
        if request.first() == Some(&4) {
            let [low, high] = u16::try_from(records.len()).unwrap().to_le_bytes();
            self.sending =
                VecDeque::from([("2A52", if world.silent { vec![6, 0, 4, 2] } else { vec![5, 0, low, high] })]);
            return;
        }
        if world.backwards {
            records.reverse();
        }
        let code = if records.is_empty() { 6 } else { 1 };
        world.sent += records.len();
        let context = |r: &Vec<u8>| (r[0] != 0).then(|| ("2A34", vec![2, r[1], r[2], 1]));
        self.sending = records
            .into_iter()
            .flat_map(|r| [context(&r), Some(("2A18", r))].into_iter().flatten().rev().collect::<Vec<_>>())
            .collect();
        self.sending.push_back(("2A52", vec![6, 0, 1, code]));
    }

    fn send(&mut self, world: &mut World) {
        let Some((uuid, bytes)) = self.sending.pop_front() else { return };
        let number = u16::from_le_bytes([bytes[1], bytes[2]]);
        let (waited, announces) = (self.waits.take(), uuid == "2A18" && bytes[0] != 0);
        self.waits = announces.then_some(number);
        let acts = self.session.value(uuid, Bytes::from(bytes), now());
        let handed = acts.iter().filter(|act| matches!(act, Act::Hand { .. })).count();
        // With its context, or when the next value shows that none comes.
        let together = uuid == "2A34" && waited == Some(number);
        let expected = usize::from(waited.is_some()) + usize::from(uuid != "2A52" && !announces && !together);
        assert_eq!(handed, expected, "each record that comes is handed on once");
        self.follow(acts, world);
    }

    /// The next record is lost on its way, if none of its number was lost before. Of the very first one nobody could know.
    fn lose(&mut self, world: &mut World) {
        if self.sending.front().is_some_and(|(uuid, _)| *uuid == "2A34") {
            // Of a context nobody is told that it is missing.
            self.sending.pop_front();
            return;
        }
        let number = |(uuid, r): &(&str, Vec<u8>)| (*uuid == "2A18").then(|| u16::from_le_bytes([r[1], r[2]]));
        let next = self.sending.front().and_then(number).filter(|n| *n > 1);
        if next.is_some_and(|n| world.lost.insert(n)) {
            self.sending.pop_front();
        }
    }

    /// The link is over: what was handed on is still committed, and then the session ends as a real one does.
    fn end(mut self, world: &mut World) {
        self.sending.clear();
        while !self.pending.is_empty() {
            self.commit(world);
        }
        let acts = self.session.end();
        self.follow(acts, world);
    }

    fn commit(&mut self, world: &mut World) {
        let Some((ticket, bytes)) = self.pending.pop_front() else { return };
        // The features that are read at the beginning are no record; nor is a context whose record was lost.
        if bytes.len() > 4 {
            world.journal.insert(bytes[..10].to_vec());
        }
        let acts = self.session.kept(ticket);
        self.follow(acts, world);
    }

    /// To its end, with nothing in the way.
    fn finish(mut self, world: &mut World) {
        for _ in 0..10_000 {
            if self.over {
                return self.end(world);
            }
            self.send(world);
            self.commit(world);
        }
        panic!("the session does not end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever breaks when: in the end the journal has what the meter has, and the next call brings one known record.
    #[test]
    fn every_interruption_of_a_transfer_loses_nothing(
        steps in prop::collection::vec(0u8..22, 0..300),
        first in 0usize..30,
        backwards: bool,
    ) {
        let mut world = World { backwards, silent: first % 3 == 0, ..World::default() };
        (0..first).for_each(|_| world.measure());
        let mut call = world.call();
        for step in steps {
            match step {
                0..=8 => call.send(&mut world),
                9..=15 => call.commit(&mut world),
                16 => world.measure(),
                // The link breaks: what was handed on is still committed, and moves the cursor.
                17 | 18 => {
                    call.end(&mut world);
                    call = world.call();
                }
                // A notification is lost, as it happens without anybody's knowing.
                20 | 21 => call.lose(&mut world),
                // The process is killed: what was not committed is gone.
                _ => call = world.call(),
            }
            let committed = &world.journal;
            if let Some(cursor) = world.cursor {
                let before = world.records.iter().take(usize::from(cursor.sequence));
                prop_assert!(before.clone().all(|r| committed.contains(r)), "the cursor stands beyond what is committed");
            }
        }
        world.call().finish(&mut world);
        world.call().finish(&mut world);
        let all: BTreeSet<_> = world.records.iter().cloned().collect();
        prop_assert_eq!(&world.journal, &all);
        world.sent = 0;
        world.call().finish(&mut world);
        if !backwards {
            prop_assert_eq!(world.sent, usize::from(!all.is_empty()));
        }
        prop_assert_eq!(&world.journal, &all);
    }

    /// A cleared memory begins again at 1: everything new is fetched.
    #[test]
    fn a_meter_that_was_reset_loses_nothing(before in 1usize..20, after in 1usize..30) {
        let mut world = World::default();
        (0..before).for_each(|_| world.measure());
        world.call().finish(&mut world);
        world.records.clear();
        world.cleared = true;
        (0..after).for_each(|_| world.measure());
        // The same numbers, other contents.
        world.records.iter_mut().for_each(|r| r[4] = 8);
        world.call().finish(&mut world);
        world.call().finish(&mut world);
        prop_assert!(world.records.iter().all(|r| world.journal.contains(r)));
    }
}

/// Begins a cuff's session and answers until nothing more is asked.
fn cuff(clock: Option<Vec<u8>>, trusted: bool) -> (Session, Vec<(String, Operation)>, Vec<Act>) {
    let now = Stamp { trusted, ..now() };
    let mut session = Session::new(plan(&["1810"]), None, TimeZone::UTC, now);
    let offers = offers(&[("1810", "2A35"), ("1810", "2A49"), ("1805", "2A2B"), ("180F", "2A19")]);
    let mut acts = VecDeque::from(session.begin(&offers, false, now));
    let (mut asked, mut others) = (Vec::new(), Vec::new());
    while let Some(act) = acts.pop_front() {
        match act {
            Act::Do(offer, operation) => {
                let answer = match (offer.uuid.as_str(), &operation) {
                    ("2A2B", Operation::Read) => clock.clone().ok_or(NoAnswer::Refused),
                    _ => Ok(vec![50]),
                };
                asked.push((offer.uuid, operation));
                acts.extend(session.answered(answer, now));
            }
            other => others.push(other),
        }
    }
    (session, asked, others)
}

fn written(asked: &[(String, Operation)]) -> Vec<&Vec<u8>> {
    let clock = |(uuid, operation): &&(String, Operation)| uuid == "2A2B" && matches!(operation, Operation::Write(_));
    asked.iter().filter(clock).filter_map(|(_, o)| if let Operation::Write(b) = o { Some(b) } else { None }).collect()
}

#[test]
fn a_clock_is_read_first_and_set_only_if_it_is_wrong() {
    // 2026-11-28T10:00:00, as ours.
    let right = crate::codec::date_time::encode(now().timestamp().to_zoned(TimeZone::UTC).datetime()).to_vec();
    let (_, asked, learnt) = cuff(Some(right.clone()), true);
    assert!(written(&asked).is_empty(), "it is right");
    assert!(learnt.iter().any(|a| matches!(a, Act::Learn(Fact::Clock(..)))));

    let (_, asked, learnt) = cuff(Some(vec![0xe4, 7, 1, 1, 0, 0, 0, 4, 0, 0]), true);
    let place = |wanted: &Operation| asked.iter().position(|(u, o)| u == "2A2B" && o == wanted);
    let set = written(&asked);
    assert_eq!((set.len(), &set[0][..7], set[0].len()), (1, &right[..], 10));
    assert!(place(&Operation::Read) < place(&Operation::Write(set[0].clone())));
    assert!(learnt.contains(&Act::Learn(Fact::ClockSet)));

    let (_, asked, _) = cuff(Some(vec![0; 10]), true);
    assert_eq!(written(&asked).len(), 1, "it does not know the time");
    let (_, asked, _) = cuff(Some(vec![0; 10]), false);
    assert!(written(&asked).is_empty(), "nor do we");
    let (_, asked, _) = cuff(None, true);
    assert!(written(&asked).is_empty(), "it does not tell");
}

#[test]
fn what_is_read_is_no_notification_and_what_is_not_subscribed_no_value() {
    let mut session = Session::new(plan(&["1810"]), None, TimeZone::UTC, now());
    let acts = session.begin(&offers(&[("1810", "2A35")]), false, now());
    assert!(matches!(&acts[..], [Act::Do(o, Operation::Subscribe)] if o.uuid == "2A35"));
    assert!(session.value("2A49", Bytes::from_static(&[0]), now()).is_empty());
    // An indication may be there before the answer to the subscription.
    assert!(matches!(session.value("2A35", Bytes::from_static(&[0]), now())[..], [Act::Hand { ticket: 1, .. }]));
    assert!(session.answered(Ok(Vec::new()), now()).is_empty());
    assert!(session.is_content());
}

#[test]
fn what_a_bonded_device_pushes_at_once_is_taken() {
    let mut session = Session::new(plan(&["1810"]), None, TimeZone::UTC, now());
    let acts = session.begin(&offers(&[("1810", "2A35"), ("1810", "2A49")]), false, now());
    assert!(matches!(&acts[..], [Act::Do(o, Operation::Read)] if o.uuid == "2A49"));
    assert!(matches!(session.value("2A35", Bytes::from_static(&[0]), now())[..], [Act::Hand { ticket: 1, .. }]));
    assert!(session.value("2A49", Bytes::from_static(&[0]), now()).is_empty());
}

#[test]
fn what_a_profile_cannot_do_without_must_be_there() {
    let begin = |services: &[&str], list: &[(&str, &str)]| {
        Session::new(plan(services), None, TimeZone::UTC, now()).begin(&offers(list), false, now())
    };
    assert_eq!(begin(&["1810"], &[("1810", "2A49")]), [Act::Fail(DeviceFault::Missing("2A35".into()))]);
    assert_eq!(begin(&["1808"], &[("1808", "2A18")]), [Act::Fail(DeviceFault::Missing("2A52".into()))]);
}

#[test]
fn a_connection_ends_when_nothing_comes_and_sooner_when_others_wait() {
    let (mut session, ..) = cuff(None, true);
    assert_eq!(session.due(now()), Some(BLE_QUIET));
    session.crowd(true);
    assert_eq!(session.due(now()), Some(BLE_QUIET_CROWDED));
    let later = now().plus(BLE_TURN_MAX - Duration::from_secs(1));
    session.value("2A35", Bytes::from_static(&[0]), later);
    assert_eq!(session.due(later), Some(Duration::from_secs(1)), "its turn is over");
    assert_eq!(session.late(later.plus(Duration::from_secs(1))), [Act::Release]);
    assert_eq!(session.due(later), None);
}

#[test]
fn a_history_that_falls_silent_and_an_answer_that_does_not_come_are_failures() {
    let mut world = World::default();
    world.measure();
    let mut call = world.call();
    assert!(call.session.is_fetching() && !call.session.is_content());
    // That it does not say how many it has is no failure: it is asked for them.
    let unsaid = now().plus(BLE_ASK_MAX);
    let acts = call.session.late(unsaid);
    assert!(matches!(&acts[..], [Act::Do(_, Operation::Write(request))] if *request == [1, 1]), "{acts:?}");
    call.session.answered(Ok(Vec::new()), unsaid);
    let late = unsaid.plus(BLE_HISTORY_SILENCE);
    assert_eq!(call.session.late(late), [Act::Fail(DeviceFault::Timeout)]);

    for (answer, fault) in [
        (NoAnswer::Timeout, DeviceFault::Timeout),
        (NoAnswer::Unauthorised, DeviceFault::NotPaired),
        (NoAnswer::Lost, DeviceFault::Lost),
        (NoAnswer::Refused, DeviceFault::Refused("2A35".into())),
    ] {
        let mut session = Session::new(plan(&["1810"]), None, TimeZone::UTC, now());
        session.begin(&offers(&[("1810", "2A35")]), false, now());
        assert_eq!(session.answered(Err(answer), now()), [Act::Fail(fault)]);
    }
}

/// A&D's custom characteristic lies in a service of almost the same UUID (obniz, quoting A&D's document).
#[test]
fn an_a_and_d_monitor_is_told_to_send_what_it_has() {
    let (service, custom) = ("233bf000-5a34-1b6d-975c-000d5690abe4", "233bf001-5a34-1b6d-975c-000d5690abe4");
    let services: BTreeSet<String> = ["1810", service].iter().map(|s| (*s).to_owned()).collect();
    let plan = Catalogue::built_in().plan(Some("A&D_UA-651BLE_1A2B3C"), &services).unwrap();
    let mut session = Session::new(Arc::new(plan), None, TimeZone::UTC, now());
    let acts = session.begin(&offers(&[("1810", "2A35"), ("1810", "2A08"), (service, custom)]), false, now());
    assert!(matches!(&acts[..], [Act::Do(o, Operation::Write(octets))] if o.uuid == custom && *octets == [2, 0, 0xe1]));
}

const RING: &str = "0734594a-a8e7-4b1a-a6b1-cd5243059a57";
const QUESTION: &str = "8b00ace7-eb0b-49b0-bbe9-9aee0a26e1a3";

/// A session with a device that answers questions, subscribed and asked once.
fn questioned(steps: &[(&str, Option<u16>)]) -> (Session, Vec<Act>) {
    let ask = |(hex, every_s): &(&str, Option<u16>)| Step::Ask {
        characteristic: QUESTION.into(),
        hex: (*hex).into(),
        every_s: *every_s,
    };
    let subscribe = Step::Subscribe { characteristic: RING.into(), kind: Subscription::Notify };
    let steps = std::iter::once(subscribe).chain(steps.iter().map(ask)).collect();
    let plan = Plan { profiles: Vec::new(), pairing: PairingMethod::None, instructions: Vec::new(), steps };
    let mut session = Session::new(Arc::new(plan), None, TimeZone::UTC, now());
    session.begin(&offers(&[("X", RING), ("X", QUESTION)]), false, now());
    let acts = session.answered(Ok(Vec::new()), now());
    (session, acts)
}

#[track_caller]
fn asked(acts: &[Act]) -> Option<u8> {
    acts.iter().find_map(|a| match a {
        Act::Do(offer, Operation::Write(octets)) if offer.uuid == QUESTION => octets.first().copied(),
        _ => None,
    })
}

#[test]
fn each_question_waits_for_the_answer_to_the_one_before() {
    let (mut session, acts) = questioned(&[("01", None), ("02", None)]);
    assert_eq!(asked(&acts), Some(1));
    assert!(session.answered(Ok(Vec::new()), now()).is_empty(), "it waits for a value");
    assert_eq!(session.due(now()), Some(BLE_ASK_MAX));
    assert_eq!(asked(&session.value(RING, Bytes::from_static(&[7]), now())), Some(2));
    // The value may be there before the write is confirmed.
    assert!(asked(&session.value(RING, Bytes::from_static(&[8]), now())).is_none());
    assert!(session.answered(Ok(Vec::new()), now()).is_empty());
    assert!(session.is_content());
    assert_eq!(session.due(now()), Some(BLE_QUIET));
}

#[test]
fn a_question_without_an_answer_ends_the_round_and_not_the_connection() {
    let (mut session, _) = questioned(&[("01", None), ("02", None), ("03", None)]);
    session.answered(Ok(Vec::new()), now());
    let late = now().plus(BLE_ASK_MAX);
    assert!(session.late(late).is_empty(), "the other two are not asked");
    assert!(session.is_content());
    assert_eq!(session.due(late), Some(BLE_QUIET - BLE_ASK_MAX), "nothing is waited for any more");
    assert_eq!(session.late(now().plus(BLE_QUIET)), [Act::Release]);
}

#[test]
fn live_values_are_asked_for_again_until_none_comes() {
    let (mut session, _) = questioned(&[("17", Some(4))]);
    let mut time = now();
    for _ in 0..100 {
        session.answered(Ok(Vec::new()), time);
        assert!(matches!(session.value(RING, Bytes::from_static(&[7]), time)[..], [Act::Hand { .. }]));
        assert_eq!(session.due(time), Some(Duration::from_secs(4)));
        assert!(session.late(time.plus(Duration::from_secs(3))).is_empty(), "too early");
        time = time.plus(Duration::from_secs(4));
        assert_eq!(asked(&session.late(time)), Some(0x17));
    }
    // It takes the questions and says nothing more: let go a minute after its last value.
    let last = time.plus(Duration::from_secs(56));
    let mut ends = None;
    for second in 0..120 {
        let now = time.plus(Duration::from_secs(second));
        session.answered(Ok(Vec::new()), now);
        let acts = session.late(now);
        if acts == [Act::Release] {
            ends = Some(now);
            break;
        }
    }
    assert_eq!(ends.map(|at| at.mono_us), Some(last.mono_us));
}

#[test]
fn a_question_that_cannot_be_asked_is_a_failure() {
    let steps = vec![Step::Ask { characteristic: QUESTION.into(), hex: "17".into(), every_s: None }];
    let plan = Plan { profiles: Vec::new(), pairing: PairingMethod::None, instructions: Vec::new(), steps };
    let mut session = Session::new(Arc::new(plan), None, TimeZone::UTC, now());
    let acts = session.begin(&offers(&[("X", RING)]), false, now());
    assert_eq!(acts, [Act::Fail(DeviceFault::Missing(QUESTION.into()))]);
}

#[test]
fn a_clock_in_a_form_of_its_own_is_set_without_being_read() {
    let begin = |trusted| {
        let form = ClockForm::Since2010;
        let steps = vec![Step::WriteClock { characteristic: "8A81".into(), service: None, form, prefix: "02".into() }];
        let plan = Plan { profiles: Vec::new(), pairing: PairingMethod::None, instructions: Vec::new(), steps };
        let now = Stamp { trusted, ..now() };
        Session::new(Arc::new(plan), None, TimeZone::UTC, now).begin(&offers(&[("78B2", "8A81")]), false, now)
    };
    assert!(matches!(&begin(true)[..], [Act::Do(_, Operation::Write(octets))] if octets.len() == 5 && octets[0] == 2));
    assert!(begin(false).is_empty(), "ours is not right");
}

/// An answer overtakes the value before it: what we asked is not answered any more, and the value is still taken.
#[test]
fn a_value_that_is_behind_the_end_is_still_taken() {
    let offers = offers(&[("1809", "2A1C"), ("180F", "2A19")]);
    for end in [NoAnswer::Lost, NoAnswer::Timeout] {
        let mut session = Session::new(plan(&["1809"]), None, TimeZone::UTC, now());
        session.begin(&offers, false, now());
        let asked = session.answered(Ok(Vec::new()), now());
        assert!(matches!(&asked[..], [Act::Do(offer, Operation::Read)] if offer.uuid == "2A19"), "{asked:?}");
        assert!(matches!(session.answered(Err(end), now())[..], [Act::Fail(_)]));
        let acts = session.value("2A1C", Bytes::from_static(&[1, 2, 3]), now());
        assert!(matches!(&acts[..], [Act::Hand { uuid, .. }] if &**uuid == "2A1C"), "{acts:?}");
        assert_eq!(session.value("2A19", Bytes::from_static(&[50]), now()), [], "read, not subscribed");
    }
}

#[test]
fn spot_checks_that_are_kept_without_their_time_are_not_asked_for() {
    let all = [("1822", "2A5E"), ("1822", "2A60"), ("1822", "2A52")];
    let asks = |list: &[(&str, &str)], features: Result<Vec<u8>, NoAnswer>| {
        let mut session = Session::new(plan(&["1822"]), None, TimeZone::UTC, now());
        let mut acts = VecDeque::from(session.begin(&offers(list), false, now()));
        let mut asked = false;
        while let Some(act) = acts.pop_front() {
            let Act::Do(offer, operation) = act else { continue };
            asked |= matches!(operation, Operation::Write(_));
            let answer = if offer.uuid == "2A60" { features.clone() } else { Ok(vec![]) };
            acts.extend(session.answered(answer, now()));
        }
        asked
    };
    assert!(asks(&all, Ok(vec![0x0c, 0])), "they have a time");
    assert!(!asks(&all, Ok(vec![0x04, 0])));
    assert!(!asks(&all, Ok(vec![])));
    assert!(!asks(&all, Err(NoAnswer::Refused)));
    assert!(!asks(&[all[0], all[2]], Ok(vec![])), "nothing says so");
}
