//! What the centre ordered: limits that move at run time, and measurements that stay out.

use super::super::ordered::Ordered;
use super::*;
use crate::alarm::Condition;
use crate::careplan::{Aim, Edge, Target};

const PULSE: &str = "[[rule]]\nid='high'\ntitle='t'\nvitals=['heart-rate']\nabove=110\nunit='/min'\nclear_below=105\npriority='medium'\n\
    [[rule]]\nid='very-high'\ntitle='t'\nvitals=['heart-rate']\nabove=150\nunit='/min'\npriority='high'\n\
    [[rule]]\nid='low'\ntitle='t'\nvitals=['heart-rate']\nbelow=40\nunit='/min'\npriority='high'\n";

fn target(edge: Edge, value: &str) -> Target {
    Target { loinc: "8867-4".into(), edge, inclusive: true, value: value.parse().unwrap(), unit: "/min".into() }
}

fn aim(text: &str, value: &str) -> Aim {
    rules(text).aim(&PatientId::new("Patient/p"), &target(Edge::High, value)).unwrap()
}

fn ordered(bench: &Bench, aim: Aim, on: bool) -> Ordered {
    let order = on.then(|| "0123456789ab".to_owned());
    Ordered { patient: PatientId::new("Patient/p"), aim, order, since: bench.now }
}

fn pulse(bench: &mut Bench, value: &str) -> Reading {
    let reading = bench.reading("heart-rate", &[(Role::Value, value, "/min")]);
    Reading { patient: Some(PatientId::new("Patient/p")), ..reading }
}

fn step(bench: &mut Bench, value: &str) -> Vec<Happened> {
    let reading = pulse(bench, value);
    bench.engine.step(bench.now, Input::Reading(&reading)).into_iter().map(|e| e.happened).collect()
}

fn obey(bench: &mut Bench, aim: Aim, on: bool, recent: &[Reading]) {
    let ordered = ordered(bench, aim, on);
    assert!(bench.engine.obey(bench.now, &ordered, recent).is_empty());
}

#[test]
fn an_ordered_limit_counts_from_the_next_reading_and_ends_when_it_is_withdrawn() {
    let mut bench = Bench::new(PULSE);
    assert!(step(&mut bench, "100").is_empty());
    obey(&mut bench, aim(PULSE, "100"), true, &[]);
    assert_eq!(step(&mut bench, "100"), [Happened::Raised], "the bound itself is beyond, as it was ordered");
    // The clear condition keeps its distance of 5.
    assert!(step(&mut bench, "96").is_empty());
    assert_eq!(step(&mut bench, "94"), [Happened::Resolved]);
    obey(&mut bench, aim(PULSE, "100"), false, &[]);
    assert!(step(&mut bench, "109").is_empty());
    assert_eq!(step(&mut bench, "111"), [Happened::Raised]);
}

#[test]
fn an_open_alert_stays_until_a_reading_is_clear_of_the_limit_in_force() {
    let mut bench = Bench::new(PULSE);
    assert_eq!(step(&mut bench, "115"), [Happened::Raised]);
    // A wider limit resolves nothing by itself, a reading does: as after a restart with other rules.
    obey(&mut bench, aim(PULSE, "130"), true, &[]);
    assert_eq!(bench.engine.open().len(), 1);
    assert_eq!(step(&mut bench, "115"), [Happened::Resolved]);
    let mut restarted = Bench::new(&PULSE.replace("above=110", "at_or_above=130").replace("=105", "=125"));
    let mut first = Bench::new(PULSE);
    step(&mut first, "115");
    let open: Vec<_> = first.engine.open().cloned().collect();
    assert!(restarted.engine.restore(restarted.now, open, &[]).is_empty());
    assert_eq!(step(&mut restarted, "115"), [Happened::Resolved]);
}

#[test]
fn readings_of_before_count_under_the_new_limit() {
    let text = PULSE.replace("priority='medium'\n", "priority='medium'\nsustained={n=2,m=3}\n");
    let mut bench = Bench::new(&text);
    let before = pulse(&mut bench, "102");
    bench.engine.step(bench.now, Input::Reading(&before));
    obey(&mut bench, aim(&text, "100"), true, std::slice::from_ref(&before));
    assert_eq!(step(&mut bench, "101"), [Happened::Raised], "two of three");
}

#[test]
fn a_floor_is_tightened_and_never_loosened() {
    let whose = PatientId::new("Patient/p");
    let code = |edge, value: &str| rules(PULSE).aim(&whose, &target(edge, value)).map_err(|e| e.code());
    assert!(code(Edge::High, "150").is_ok());
    assert_eq!(code(Edge::High, "150.1"), Err("WL-G005"));
    assert!(code(Edge::Low, "50").is_ok());
    assert_eq!(code(Edge::Low, "39"), Err("WL-G005"));
    assert_eq!(code(Edge::High, "40"), Err("WL-G006"));
    assert_eq!(code(Edge::High, "301"), Err("WL-G003"));
    // At the floor itself: what was beyond stays beyond.
    let at = |text: &str, inclusive| {
        let target = Target { inclusive, ..target(Edge::High, "150") };
        rules(text).aim(&whose, &target).map_err(|e| e.code()).is_ok()
    };
    let inclusive = PULSE.replace("above=150", "at_or_above=150");
    assert_eq!((at(PULSE, false), at(&inclusive, true), at(&inclusive, false)), (true, true, false));
    let only_upper = PULSE.split("[[rule]]\nid='low'").next().unwrap();
    assert_eq!(rules(only_upper).aim(&whose, &target(Edge::Low, "50")).map_err(|e| e.code()), Err("WL-G004"));
}

#[test]
fn a_limit_in_another_unit_is_exact_and_its_clear_condition_goes_along() {
    let rules = rules(
        "[[rule]]\nid='fever'\ntitle='t'\nvital='body-temperature'\nat_or_above='38.0'\nunit='Cel'\nclear_below='37.8'\npriority='medium'\n",
    );
    let target = Target {
        loinc: "8310-5".into(),
        edge: Edge::High,
        inclusive: false,
        value: "100.9".parse().unwrap(),
        unit: "[degF]".into(),
    };
    let aim = rules.aim(&PatientId::new("Patient/p"), &target).unwrap();
    let limit = super::super::target::limit(&rules.all[0], &aim).unwrap();
    assert_eq!((limit.value.to_string(), limit.unit.ucum(), limit.inclusive), ("100.9".into(), "[degF]", false));
    assert_eq!(limit.clear.unwrap().to_string(), "100.54", "0.36 °F further in");
}

#[test]
fn a_measurement_that_stays_out_is_one_alert_until_one_comes() {
    let mut bench = Bench::new(PULSE);
    let aim = Aim::Expect { vital: Vital::parse("heart-rate").unwrap(), every_s: 3_600 };
    obey(&mut bench, aim.clone(), true, &[]);
    let tick = |bench: &mut Bench, minutes: u64| {
        bench.now = bench.now.plus(Duration::from_secs(60 * minutes));
        bench.engine.step(bench.now, Input::Tick)
    };
    assert!(tick(&mut bench, 71).is_empty(), "a fifth more is no delay");
    let raised = tick(&mut bench, 2);
    assert_eq!((raised.len(), raised[0].alert.condition), (1, Condition::Technical));
    assert_eq!(raised[0].alert.patient.as_ref().unwrap().reveal(), "Patient/p");
    assert!(tick(&mut bench, 60).is_empty(), "one alert");
    assert_eq!(step(&mut bench, "70"), [Happened::Resolved]);
    assert!(tick(&mut bench, 60).is_empty());
    assert_eq!(tick(&mut bench, 20).len(), 1, "again");
    // The order is taken back: its alert ends.
    let ordered = ordered(&bench, aim, false);
    assert_eq!(bench.engine.obey(bench.now, &ordered, &[]).len(), 1);
    assert!(tick(&mut bench, 600).is_empty());
}

#[test]
fn another_patients_reading_is_no_answer_to_an_order() {
    let mut bench = Bench::new(PULSE);
    let aim = Aim::Expect { vital: Vital::parse("heart-rate").unwrap(), every_s: 60 };
    obey(&mut bench, aim, true, &[]);
    bench.now = bench.now.plus(Duration::from_secs(100));
    let other = Reading { patient: Some(PatientId::new("Patient/other")), ..pulse(&mut bench, "70") };
    bench.engine.step(bench.now, Input::Reading(&other));
    assert_eq!(bench.engine.step(bench.now, Input::Tick).len(), 1);
}
