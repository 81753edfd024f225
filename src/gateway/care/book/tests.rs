//! Orders through their life: proposed, accepted, replaced, refused, withdrawn; and what the engine is told.

use std::path::Path;

use super::*;
use crate::careplan::{Edge, Target};

const TEXT: &str = include_str!("../../../../config/alerts/default.toml");

fn rules() -> Rules {
    Rules::parse(&[(Path::new("default.toml"), TEXT)], &[]).unwrap()
}

fn patient() -> PatientId {
    PatientId::new("Patient/p")
}

fn goal(id: &str, updated_ms: i64, loinc: &str, edge: Edge, value: &str, unit: &str) -> Heard {
    let target =
        Target { loinc: loinc.into(), edge, inclusive: true, value: value.parse().unwrap(), unit: unit.into() };
    Heard {
        resource: format!("Goal/{id}"),
        version: None,
        updated_ms: Some(updated_ms),
        patient: Some(patient()),
        active: true,
        said: Ok(vec![Said::Target(target)]),
    }
}

fn pulse(id: &str, updated_ms: i64, value: &str) -> Heard {
    goal(id, updated_ms, "8867-4", Edge::High, value, "/min")
}

struct Desk {
    book: Book,
    rules: Rules,
    apply: Apply,
    now_ms: i64,
}

impl Desk {
    fn new(apply: Apply) -> Self {
        Self { book: Book::default(), rules: rules(), apply, now_ms: 1_000 }
    }

    /// What the engine is told.
    fn hear(&mut self, heard: &[Heard]) -> Vec<(String, bool)> {
        self.now_ms += 1_000;
        let whose = patient();
        let round = Round { destination: "centre", patient: &whose, apply: self.apply, now_ms: self.now_ms };
        told(self.book.hear(&round, &self.rules, heard))
    }

    fn states(&self) -> Vec<(String, &'static str)> {
        let mut states: Vec<_> = self.book.orders.values().map(|o| (o.words(), o.state.word())).collect();
        states.sort();
        states
    }

    fn waiting(&self) -> String {
        self.book.orders.values().find(|o| o.state == State::Proposed).unwrap().id.clone()
    }
}

fn told(changes: Changes) -> Vec<(String, bool)> {
    assert_eq!(changes.orders.is_empty(), changes.events.is_empty());
    changes.obeyed.into_iter().map(|(order, on)| (order.words(), on)).collect()
}

const HAND: Hand<'_> = Hand { by: "Ada", at_ms: 9_000 };
const P100: &str = "heart-rate-high: at or above 100 /min";
const P90: &str = "heart-rate-high: at or above 90 /min";

#[test]
fn an_order_waits_for_a_person_and_the_old_one_stays_meanwhile() {
    let mut desk = Desk::new(Apply::SignOff);
    assert!(desk.hear(&[pulse("1", 1, "100")]).is_empty());
    assert!(desk.hear(&[pulse("1", 1, "100")]).is_empty(), "said again, it is the same");
    let id = desk.waiting();
    let done = desk.book.accept(&desk.rules, &id, HAND).unwrap();
    assert_eq!(
        (done.events[0].by.as_str(), done.events[0].old.as_str(), done.events[0].new.as_str()),
        ("Ada", "", P100)
    );
    assert_eq!(done.obeyed[0].0.at_ms, HAND.at_ms, "it counts from then on");
    assert_eq!(told(done), [(P100.to_owned(), true)]);
    // The centre changes its mind: the old number stays in force until the new one is accepted.
    assert!(desk.hear(&[pulse("1", 2, "90")]).is_empty());
    assert_eq!(desk.states(), [(P100.into(), "in force"), (P90.into(), "waits")]);
    let id = desk.waiting();
    let done = desk.book.accept(&desk.rules, &id, HAND).unwrap();
    let event = done.events.last().unwrap();
    assert_eq!((event.old.as_str(), event.new.as_str()), (P100, P90));
    assert_eq!(told(done), [(P90.to_owned(), true)]);
    assert_eq!(desk.states(), [(P100.into(), "superseded"), (P90.into(), "in force")]);
    assert_eq!(desk.book.accept(&desk.rules, &id, HAND).unwrap_err(), Deny::NotWaiting);
    assert_eq!(desk.book.accept(&desk.rules, "none", HAND).unwrap_err(), Deny::Unknown);
    // Taken back: the rule's own limit again.
    let over = Heard { active: false, said: Ok(vec![]), ..pulse("1", 3, "90") };
    assert_eq!(desk.hear(&[over]), [(P90.to_owned(), false)]);
}

#[test]
fn a_bad_order_is_refused_and_the_old_one_stays() {
    let mut desk = Desk::new(Apply::Automatic);
    assert_eq!(desk.hear(&[pulse("1", 1, "100")]), [(P100.to_owned(), true)]);
    // Another patient's goal that the server shows as well is nothing to this one.
    let elses = Heard { patient: Some(PatientId::new("Patient/other")), ..pulse("9", 3, "90") };
    assert!(desk.hear(&[elses]).is_empty() && desk.book.orders.len() == 1);
    let unclear = Heard { said: Err("a target is a single value"), ..pulse("1", 2, "0") };
    let foreign = Heard { patient: Some(PatientId::new("Patient/other")), ..pulse("1", 3, "90") };
    let nobodys = Heard { patient: None, ..pulse("1", 4, "90") };
    for bad in [
        unclear,
        foreign,
        nobodys,
        pulse("1", 5, "1000"),
        pulse("1", 6, "0"),
        pulse("1", 6, "-90"),
        pulse("1", 7, "160"),
        pulse("1", 8, "39"),
        goal("1", 9, "8867-4", Edge::High, "90", "mm[Hg]"),
        goal("1", 10, "8867-4", Edge::High, "90", "bpm"),
        goal("1", 11, "718-7", Edge::High, "7", "g/dL"),
        goal("1", 11, "4548-4", Edge::High, "7", "%"),
        goal("1", 12, "85354-9", Edge::High, "140", "mm[Hg]"),
    ] {
        assert!(desk.hear(std::slice::from_ref(&bad)).is_empty(), "{bad:?}");
        let in_force: Vec<_> = desk.book.orders.values().filter(|o| o.state == State::InForce).collect();
        assert_eq!((in_force.len(), in_force[0].words().as_str()), (1, P100), "{bad:?}");
    }
    let mut codes: Vec<&str> = desk
        .book
        .orders
        .values()
        .filter_map(|o| if let State::Refused { code, .. } = &o.state { Some(code.as_str()) } else { None })
        .collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, ["WL-G001", "WL-G002", "WL-G003", "WL-G004", "WL-G005", "WL-G006", "WL-G007", "WL-G008"]);
}

#[test]
fn the_newer_of_two_counts_and_what_it_replaced_returns_when_it_ends() {
    let mut desk = Desk::new(Apply::Automatic);
    assert_eq!(desk.hear(&[pulse("old", 1, "100"), pulse("new", 2, "90")]).last().unwrap(), &(P90.to_owned(), true));
    // The older one is shown again, and stays behind.
    assert!(desk.hear(&[pulse("old", 1, "100"), pulse("new", 2, "90")]).is_empty());
    // Shown the other way round as well.
    let mut other = Desk::new(Apply::Automatic);
    assert_eq!(other.hear(&[pulse("new", 2, "90"), pulse("old", 1, "100")]), [(P90.to_owned(), true)]);
    assert_eq!(desk.states(), other.states());
    let over = Heard { active: false, ..pulse("new", 3, "90") };
    assert_eq!(desk.hear(&[over, pulse("old", 1, "100")]), [(P90.to_owned(), false), (P100.to_owned(), true)]);
}

#[test]
fn what_a_person_declined_stays_declined() {
    let mut desk = Desk::new(Apply::SignOff);
    desk.hear(&[pulse("1", 1, "100")]);
    let id = desk.waiting();
    assert!(told(desk.book.decline(&id, "too low for him", HAND).unwrap()).is_empty());
    assert!(desk.hear(&[pulse("1", 1, "100")]).is_empty());
    assert_eq!(desk.states(), [(P100.into(), "declined")]);
    // A person may think again.
    assert_eq!(told(desk.book.accept(&desk.rules, &id, HAND).unwrap()), [(P100.to_owned(), true)]);
    assert_eq!(told(desk.book.decline(&id, "no", HAND).unwrap()), [(P100.to_owned(), false)]);
}

#[test]
fn an_order_to_measure_begins_and_ends() {
    let mut desk = Desk::new(Apply::Automatic);
    let expect = |loinc: &str, until_ms| Said::Expect { loinc: loinc.into(), every_s: 86_400, until_ms };
    let plan = |until_ms| Heard {
        resource: "CarePlan/c".into(),
        said: Ok(vec![expect("29463-7", until_ms), expect("8310-5", None)]),
        ..pulse("c", 1, "1")
    };
    let words = "body-weight expected every 1 d".to_owned();
    assert_eq!(desk.hear(&[plan(None)]).len(), 2);
    // One of its activities is over; the other one goes on.
    assert_eq!(desk.hear(&[plan(Some(500))]), [(words, false)]);
    let mut states: Vec<_> = desk.states().into_iter().map(|(_, state)| state).collect();
    states.sort_unstable();
    assert_eq!(states, ["in force", "withdrawn"]);
}

#[test]
fn a_number_that_is_said_again_counts_again() {
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[pulse("1", 1, "90")]);
    assert_eq!(desk.hear(&[pulse("1", 2, "100")]), [(P100.to_owned(), true)]);
    assert_eq!(desk.hear(&[pulse("1", 3, "90")]), [(P90.to_owned(), true)], "the wider one is not said any more");
    assert_eq!(desk.states(), [(P100.into(), "superseded"), (P90.into(), "in force")]);
    assert!(desk.hear(&[pulse("1", 3, "90")]).is_empty());
    // What waits for a person waits again.
    let mut desk = Desk::new(Apply::SignOff);
    for (n, value) in [(1, "90"), (2, "100")] {
        desk.hear(&[pulse("1", n, value)]);
        let id = desk.waiting();
        desk.book.accept(&desk.rules, &id, HAND).unwrap();
    }
    assert!(desk.hear(&[pulse("1", 3, "90")]).is_empty());
    assert_eq!(desk.states(), [(P100.into(), "in force"), (P90.into(), "waits")]);
}

#[test]
fn two_numbers_of_one_goal_in_one_place_are_not_chosen_from() {
    let mut desk = Desk::new(Apply::Automatic);
    let said = |values: &[&str]| {
        let all = values.iter().flat_map(|v| pulse("1", 1, v).said.unwrap()).collect();
        Heard { said: Ok(all), ..pulse("1", 1, "90") }
    };
    assert!(desk.hear(&[said(&["90", "100"])]).is_empty());
    assert!(desk.book.orders.values().all(|o| matches!(&o.state, State::Refused { code, .. } if code == "WL-G007")));
    assert_eq!(desk.hear(&[said(&["90", "90"])]), [(P90.to_owned(), true)], "the same twice is one");
    assert!(desk.hear(&[said(&["90", "100"])]).is_empty(), "and stays");
    assert!(desk.states().contains(&(P90.into(), "in force")));
}

#[test]
fn another_destinations_resource_of_the_same_name_is_another_one() {
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[pulse("1", 5, "90")]);
    let (whose, rules) = (patient(), rules());
    let round = Round { destination: "clinic", patient: &whose, apply: Apply::Automatic, now_ms: 9_000 };
    assert!(told(desk.book.hear(&round, &rules, &[pulse("1", 4, "100")])).is_empty(), "it is the older one");
}

#[test]
fn a_centre_that_says_ever_new_things_fills_nothing() {
    let mut desk = Desk::new(Apply::Automatic);
    for n in 0..3 * i64::try_from(CARE_ORDERS_MAX).unwrap() {
        desk.hear(&[pulse("1", n, &format!("{}.{n:04}", 80 + n % 20))]);
    }
    assert!(desk.book.orders.len() <= CARE_ORDERS_MAX + 1, "{}", desk.book.orders.len());
}

/// However much the centre says afterwards: it would else be offered again, or come into force by policy.
#[test]
fn what_a_person_declined_is_not_forgotten_for_what_the_centre_says_later() {
    for apply in [Apply::SignOff, Apply::Automatic] {
        let mut desk = Desk::new(apply);
        desk.hear(&[pulse("1", 1, "100")]);
        let id = desk.book.orders.keys().next().unwrap().clone();
        desk.book.decline(&id, "too low for him", HAND).unwrap();
        for n in 0..2 * i64::try_from(CARE_ORDERS_MAX).unwrap() {
            desk.hear(&[pulse("2", 2 + n, &format!("{}.{n:04}", 80 + n % 20))]);
        }
        desk.hear(&[Heard { active: false, ..pulse("2", 9_000, "80") }]);
        assert!(desk.hear(&[pulse("1", 1, "100")]).is_empty());
        assert!(matches!(desk.book.orders[&id].state, State::Declined { .. }), "{:?}", desk.book.orders.get(&id));
        assert!(desk.book.orders.len() <= CARE_ORDERS_MAX + 2, "{}", desk.book.orders.len());
    }
}

#[test]
fn other_rules_after_a_restart_refuse_what_does_not_fit_any_more() {
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[pulse("1", 1, "100")]);
    assert!(desk.book.review(&desk.rules, |_| true, 5).is_empty());
    let other = TEXT.replace("id = \"heart-rate-high\"", "id = \"heart-rate-raised\"");
    let rules = Rules::parse(&[(Path::new("other.toml"), other.as_str())], &[]).unwrap();
    assert_eq!(desk.book.review(&rules, |_| true, 5).events.len(), 1);
    assert!(desk.book.orders.values().all(|o| o.state != State::InForce));
}

/// A destination that is not asked any more, or a patient who left the box: their end would never be heard.
#[test]
fn what_nobody_asks_for_any_more_is_over_until_it_is_heard_again() {
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[pulse("1", 1, "100")]);
    let over = desk.book.review(&desk.rules, |o| o.destination != "centre", 5);
    assert_eq!(
        (over.events.len(), over.events[0].by.as_str(), over.events[0].old.as_str()),
        (1, "configuration", P100)
    );
    assert_eq!(desk.states(), [(P100.into(), "withdrawn")]);
    assert_eq!(desk.hear(&[pulse("1", 1, "100")]), [(P100.to_owned(), true)]);
}
