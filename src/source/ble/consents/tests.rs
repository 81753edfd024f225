//! Sessions with a scale that gives a user's weights only for that user's code.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jiff::tz::TimeZone;

use super::*;
use crate::limits::BLE_QUIET_CROWDED;
use crate::profile::schema::{PairingMethod, Step, Subscription};
use crate::profile::{Catalogue, Plan};
use crate::source::ble::session::Session;
use crate::source::ble::words::{Act, NoAnswer, Operation};
use crate::user_code::UserCode;

const CONTROL: &str = "2A9F";
const WEIGHT: &str = "2A9D";

fn at(ms: u64) -> Stamp {
    Stamp::at_ms(1_000).plus(Duration::from_millis(ms))
}

fn offers(uuids: &[&str]) -> Vec<Offer> {
    uuids.iter().map(|u| Offer { service: "181D".into(), uuid: (*u).into(), reads: false }).collect()
}

fn user(slot: u8, code: &str) -> User {
    User { slot, given_ms: 100 + i64::from(slot), code: UserCode::parse(code).unwrap() }
}

fn plan() -> Arc<Plan> {
    Arc::new(Plan {
        profiles: Vec::new(),
        pairing: PairingMethod::None,
        instructions: Vec::new(),
        steps: vec![
            Step::Subscribe { characteristic: WEIGHT.into(), kind: Subscription::Indicate },
            Step::UserConsent { characteristic: CONTROL.into() },
            Step::Write { characteristic: "FFF1".into(), hex: "00".into() },
        ],
    })
}

/// A scale that takes what it is asked, one connection with it, and what came of both.
struct Scale {
    session: Session,
    /// What it is asked, in words.
    asked: Vec<String>,
    /// What is known of its users.
    said: BTreeMap<u8, Said>,
    /// Weights that were handed on.
    weights: usize,
    asks: bool,
    ended: Option<Act>,
    /// The next request for a consent is not taken.
    refuses: Option<NoAnswer>,
}

impl Scale {
    fn with(users: Vec<User>, uuids: &[&str]) -> Self {
        let session = Session::new(plan(), None, TimeZone::UTC, at(0)).users(users);
        let (asked, said) = (Vec::new(), BTreeMap::new());
        let mut scale = Self { session, asked, said, weights: 0, asks: false, ended: None, refuses: None };
        let acts = scale.session.begin(&offers(uuids), false, at(0));
        scale.follow(acts, at(0));
        scale
    }

    fn of(users: Vec<User>) -> Self {
        Self::with(users, &[WEIGHT, CONTROL, "FFF1"])
    }

    fn follow(&mut self, acts: Vec<Act>, now: Stamp) {
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            match act {
                Act::Do(offer, operation) => {
                    let mut answer = Ok(Vec::new());
                    self.asked.push(match operation {
                        Operation::Consent(request) => {
                            answer = self.refuses.take().map_or(answer, Err);
                            request.reveal().iter().map(|octet| format!("{octet:02x}")).collect()
                        }
                        Operation::Subscribe => format!("subscribe {}", offer.uuid),
                        Operation::Write(_) => format!("write {}", offer.uuid),
                        Operation::Read => format!("read {}", offer.uuid),
                    });
                    acts.extend(self.session.answered(answer, now));
                }
                Act::Learn(Fact::User { slot, given_ms, said }) => {
                    assert_eq!(given_ms, 100 + i64::from(slot));
                    self.said.insert(slot, said);
                }
                Act::Learn(Fact::AsksUsers) => self.asks = true,
                Act::Hand { .. } => self.weights += 1,
                Act::Release | Act::Fail(_) => self.ended = Some(act),
                Act::Learn(_) | Act::Keep(_) => {}
            }
        }
    }

    fn answers(&mut self, code: u8, ms: u64) {
        let acts = self.session.value(CONTROL, Bytes::copy_from_slice(&[0x20, 2, code]), at(ms));
        self.follow(acts, at(ms));
    }

    fn weighs(&mut self, ms: u64) {
        let acts = self.session.value(WEIGHT, Bytes::from_static(&[0, 1, 2]), at(ms));
        self.follow(acts, at(ms));
    }

    fn passes(&mut self, ms: u64) {
        let acts = self.session.late(at(ms));
        self.follow(acts, at(ms));
    }

    fn asked(&self) -> Vec<&str> {
        self.asked.iter().map(String::as_str).collect()
    }
}

const BEGIN: [&str; 2] = ["subscribe 2A9D", "subscribe 2A9F"];

fn after<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&BEGIN, rest].concat()
}

#[test]
fn users_are_asked_for_in_turn_and_the_measurements_of_one_are_waited_for_before_the_next() {
    let mut scale = Scale::of(vec![user(1, "1234"), user(2, "0007")]);
    assert_eq!(scale.asked(), after(&["0201d204"]));
    assert!(!scale.session.is_content(), "an end now would be amiss");
    scale.answers(1, 100);
    assert_eq!(scale.said[&1], Said::Accepted);
    // Weights that come one by one hold the next user back; a quiet time does not.
    for ms in [1_000, 3_900, 6_800] {
        scale.passes(ms - 10);
        scale.weighs(ms);
    }
    scale.passes(9_799);
    assert_eq!(scale.asked(), after(&["0201d204"]));
    scale.passes(9_800);
    assert_eq!(scale.asked(), after(&["0201d204", "02020700"]));
    scale.answers(1, 10_000);
    // After the last one nothing is waited for, and the rest of the plan goes on.
    assert_eq!(scale.asked(), after(&["0201d204", "02020700", "write FFF1"]));
    assert_eq!((scale.weights, scale.said[&2], scale.session.is_content()), (3, Said::Accepted, true));
}

#[test]
fn a_user_whose_measurements_have_no_end_gives_way_to_the_next() {
    let mut scale = Scale::of(vec![user(1, "1234"), user(2, "0007")]);
    scale.answers(1, 0);
    for ms in (500..20_000).step_by(500) {
        scale.weighs(ms);
        scale.passes(ms);
        assert_eq!(scale.asked(), after(&["0201d204"]), "{ms}");
    }
    scale.passes(20_000);
    assert_eq!(scale.asked(), after(&["0201d204", "02020700"]));
}

#[test]
fn a_refused_code_is_told_and_the_next_user_is_asked_for_at_once() {
    let mut scale = Scale::of(vec![user(1, "1234"), user(2, "0007")]);
    scale.answers(5, 100);
    assert_eq!((scale.said[&1], scale.asked()), (Said::Refused, after(&["0201d204", "02020700"])));
    // Heard again, it does not speak of the other one, who was accepted.
    scale.answers(1, 200);
    scale.answers(5, 300);
    assert_eq!(scale.said, [(1, Said::Refused), (2, Said::Accepted)].into());
    assert_eq!(scale.ended, None);
}

#[test]
fn other_answers_and_requests_that_are_not_taken_keep_nobody_waiting() {
    for code in [2, 3, 4, 0xff] {
        let mut scale = Scale::of(vec![user(1, "1234"), user(2, "0007")]);
        scale.answers(code, 100);
        assert_eq!((scale.said[&1], scale.asked().len()), (Said::Nothing, 4), "{code}");
        scale.answers(1, 200);
        assert_eq!((scale.said[&2], scale.ended), (Said::Accepted, None));
    }
    let mut scale = Scale::of(vec![user(1, "1234"), user(2, "0007"), user(3, "0008")]);
    scale.refuses = Some(NoAnswer::Refused);
    scale.answers(5, 100);
    assert_eq!(scale.said, [(1, Said::Refused), (2, Said::Nothing), (3, Said::Nothing)].into());
    scale.answers(1, 200);
    assert_eq!((scale.said[&3], scale.ended), (Said::Accepted, None));
}

#[test]
fn the_late_answer_about_one_user_refuses_no_other_ones_code() {
    let mut scale = Scale::of(vec![user(1, "1234"), user(2, "0007")]);
    assert_eq!(scale.session.due(at(0)), Some(BLE_ASK_MAX));
    scale.passes(2_999);
    assert_eq!(scale.asked().len(), 3);
    scale.passes(3_000);
    assert_eq!(scale.asked(), after(&["0201d204", "02020700"]));
    // It speaks of the first.
    scale.answers(5, 3_100);
    assert_eq!(scale.said, [(1, Said::Nothing), (2, Said::Nothing)].into());
    assert_eq!((scale.asked().last(), &scale.ended), (Some(&"write FFF1"), &None));
}

#[test]
fn what_is_no_answer_is_not_taken_for_one() {
    let mut scale = Scale::of(vec![user(1, "1234")]);
    for bytes in [&[][..], &[0x20], &[0x20, 2], &[0x20, 1, 5], &[2, 1, 5], &[0x20, 3, 1]] {
        let acts = scale.session.value(CONTROL, Bytes::copy_from_slice(bytes), at(10));
        assert_eq!(acts, [], "{bytes:?}");
    }
    scale.answers(1, 20);
    assert_eq!(scale.said[&1], Said::Accepted);
}

#[test]
fn without_a_code_or_a_control_point_the_step_does_nothing() {
    let scale = Scale::of(Vec::new());
    assert_eq!((scale.asked(), scale.asks), (vec!["subscribe 2A9D", "write FFF1"], true));
    let scale = Scale::with(vec![user(1, "1234")], &[WEIGHT, "FFF1"]);
    assert_eq!((scale.asked(), scale.asks, &scale.ended), (vec!["subscribe 2A9D", "write FFF1"], false, &None));
}

#[test]
fn a_crowd_lets_no_user_out_and_an_end_in_between_is_amiss() {
    let mut scale = Scale::of(vec![user(1, "1234"), user(2, "0007")]);
    scale.session.crowd(true);
    assert!(BLE_ASK_MAX < BLE_QUIET_CROWDED && SETTLE.0 < BLE_QUIET_CROWDED);
    scale.passes(3_000);
    assert_eq!((scale.asked().len(), scale.ended.clone()), (4, None));
    assert!(!scale.session.is_content());
    scale.passes(6_000);
    assert_eq!(scale.ended, None, "the rest of the plan went on");
    assert!(scale.session.is_content());
    scale.passes(10_000);
    assert_eq!(scale.ended, Some(Act::Release));
}

#[test]
fn a_code_that_is_given_meanwhile_is_tried_and_one_that_is_taken_away_is_not() {
    let mut scale = Scale::of(Vec::new());
    let acts = scale.session.codes(&[(1, 101)].into(), vec![user(1, "1234")], at(10_000));
    scale.follow(acts, at(10_000));
    let begin = ["subscribe 2A9D", "write FFF1", "subscribe 2A9F", "0201d204"];
    assert_eq!(scale.asked(), begin);
    scale.answers(1, 10_100);
    scale.weighs(11_000);
    // What the first one's consent opened is waited for, also now; the third's is taken away before it was tried.
    let acts =
        scale.session.codes(&[(1, 101), (2, 102), (3, 103)].into(), vec![user(2, "0007"), user(3, "0008")], at(12_000));
    scale.follow(acts, at(12_000));
    let acts = scale.session.codes(&[(1, 101), (2, 102)].into(), Vec::new(), at(13_000));
    scale.follow(acts, at(13_000));
    scale.passes(13_999);
    assert_eq!(scale.asked(), begin);
    scale.passes(14_000);
    scale.answers(1, 14_100);
    assert_eq!(scale.asked(), [&begin[..], &["02020700"]].concat());
    scale.passes(30_000);
    assert_eq!((scale.asked().len(), scale.session.is_content()), (5, true));
}

#[test]
fn the_profiles_of_scales_ask_for_consents_last_of_what_they_subscribe_to() {
    let catalogue = Catalogue::built_in();
    for (name, services) in [(Some("BF105"), vec!["181C"]), (None, vec!["181B", "181D"])] {
        let plan = catalogue.plan(name, &services.iter().map(|s| (*s).to_owned()).collect()).unwrap();
        let consents = plan.steps.iter().filter(|s| matches!(s, Step::UserConsent { .. })).count();
        assert_eq!(consents, 1, "{:?}", plan.steps);
        let last = plan.steps.iter().rposition(|s| matches!(s, Step::Subscribe { .. })).unwrap();
        let consent = plan.steps.iter().position(|s| matches!(s, Step::UserConsent { .. })).unwrap();
        assert!(last < consent, "{:?}", plan.steps);
    }
}

#[test]
fn no_code_is_shown_by_what_a_session_says() {
    let users = vec![user(1, "4711"), user(2, "4711")];
    let mut session = Session::new(plan(), None, TimeZone::UTC, at(0)).users(users.clone());
    let mut shown = format!("{users:?}");
    let mut acts = session.begin(&offers(&[WEIGHT, CONTROL, "FFF1"]), false, at(0));
    for _ in 0..3 {
        shown.push_str(&format!("{acts:?}"));
        acts = session.answered(Ok(Vec::new()), at(0));
    }
    shown.push_str(&format!("{:?}", session.value(CONTROL, Bytes::from_static(&[0x20, 2, 5]), at(1))));
    // As digits, as a number, and as octets in either order.
    for part in ["4711", "103, 18", "18, 103", "6712", "1267"] {
        assert!(!shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains("Consent(Request(…))"), "the harness sees requests: {shown}");
}
