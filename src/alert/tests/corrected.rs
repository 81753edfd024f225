//! Readings that a person corrected: windows, expectations, and alerts that rest on nothing any more.

use super::super::corrected::Corrected;
use super::super::ordered::Ordered;
use super::*;
use crate::amendment::{self, Order};
use crate::careplan::Aim;

const TWO_OF_THREE: &str = "[[rule]]\nid='sys'\ntitle='t'\nvital='blood-pressure'\nrole='systolic'\nabove=180\nunit='mm[Hg]'\nclear_below=170\npriority='high'\nsustained = { n = 2, m = 3 }\n";

fn order() -> Order {
    Order { by: "Ada".into(), at_ms: NOW_MS, reason: "another cuff".into() }
}

fn for_b(reading: &Reading) -> Reading {
    amendment::replacement(reading, PatientId::new("Patient/b"), &order())
}

fn correct(bench: &mut Bench, right: &[Reading], baseless: Vec<Alert>, recent: &[Reading]) -> Vec<AlertEvent> {
    let people = [PatientId::new("Patient/a")].into();
    let baseless = baseless.into_iter().map(|alert| (alert, "Ada".to_owned())).collect();
    bench.engine.correct(bench.now, Corrected { people, right, baseless, recent })
}

#[test]
fn what_was_taken_back_counts_no_more() {
    for corrected in [false, true] {
        let mut bench = Bench::new(TWO_OF_THREE);
        let wrong = bench.systolic("190");
        assert!(bench.short(&wrong).is_empty());
        if corrected {
            let right = for_b(&wrong);
            assert!(correct(&mut bench, std::slice::from_ref(&right), vec![], std::slice::from_ref(&right)).is_empty());
        }
        let expected: &[&str] = if corrected { &[] } else { &["raised limit"] };
        assert_eq!(bench.sys("191"), expected);
        if corrected {
            assert_eq!(bench.sys("192"), ["raised limit"]);
        }
    }
}

#[test]
fn the_right_chart_is_told_first_and_as_of_the_past() {
    let mut bench = Bench::new(SYSTOLIC);
    let wrong = bench.systolic("190");
    let raised = bench.step(&wrong);
    let right = for_b(&wrong);
    let events =
        correct(&mut bench, std::slice::from_ref(&right), vec![raised[0].alert.clone()], std::slice::from_ref(&right));
    assert_eq!(short(&events), ["raised retrospective", "taken-back limit"]);
    assert_eq!(events[0].alert.patient, right.patient);
    let gone = &events[1].alert;
    assert_eq!((gone.id.clone(), gone.taken_back.as_ref().unwrap().by.as_str()), (raised[0].alert.id.clone(), "Ada"));
    assert!(gone.resolved.is_some());
    assert_eq!(bench.open(), [Condition::Retrospective]);
    // The next value of the first patient raises anew.
    assert_eq!(bench.sys("190"), ["raised limit"]);
}

#[test]
fn an_alert_that_was_over_already_is_taken_back_too_and_keeps_when_it_ended() {
    let mut bench = Bench::new(SYSTOLIC);
    let wrong = bench.systolic("190");
    bench.step(&wrong);
    let clear = bench.systolic("120");
    let over = bench.step(&clear).remove(0).alert;
    let ended = over.resolved;
    let events = correct(&mut bench, &[], vec![over], &[clear]);
    assert_eq!(short(&events), ["taken-back limit"]);
    assert_eq!(events[0].alert.resolved, ended);
}

#[test]
fn whom_anothers_reading_passed_for_measured_is_not_measured() {
    let mut bench = Bench::new(SYSTOLIC);
    let (patient, vital) = (PatientId::new("Patient/a"), Vital::parse("blood-pressure").unwrap());
    let aim = Aim::Expect { vital, every_s: 3_600 };
    let ordered = Ordered { patient, aim, order: Some("o1".into()), since: bench.now };
    bench.engine.obey(bench.now, &ordered, &[]);
    bench.now = bench.now.plus(Duration::from_secs(60 * 60));
    let wrong = bench.systolic("120");
    bench.step(&wrong);
    bench.now = bench.now.plus(Duration::from_secs(60 * 60));
    assert!(bench.engine.step(bench.now, Input::Tick).is_empty());
    let right = for_b(&wrong);
    correct(&mut bench, std::slice::from_ref(&right), vec![], std::slice::from_ref(&right));
    assert_eq!(short(&bench.engine.step(bench.now, Input::Tick)), ["raised technical"]);
}
