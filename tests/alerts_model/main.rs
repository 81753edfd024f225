//! The alert engine against an independent reference, over seeded random histories: nothing missed, nothing spurious,
//! nothing late; and a restart at any step changes nothing.
//!
//! `WARDLINE_PATIENT_HOURS` sets how much is simulated (default 100,000), `WARDLINE_SEED` where the seeds begin.

#![allow(clippy::needless_range_loop, reason = "the step is also the time")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod engine;
mod history;
mod reference;
mod restart;
mod states;

use history::{Act, Event, History};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name} is not a number: {v}")))
}

#[test]
fn the_engine_agrees_with_the_reference() {
    let (hours, first) = (setting("WARDLINE_PATIENT_HOURS", 100_000), setting("WARDLINE_SEED", 1));
    let (mut done, mut seed, mut raised) = (0, first, std::collections::BTreeMap::new());
    while done < hours {
        let mut engine = engine::under_test();
        let mut history = History::new(seed);
        let mut got: Vec<Vec<Event>> = Vec::new();
        for _ in 0..history::STEPS {
            let act = history.next(&engine);
            got.push(engine::apply(&mut engine, &act));
        }
        let expected = reference::events(&history.acts);
        for (step, (got, expected)) in got.iter().zip(&expected).enumerate() {
            assert_eq!(got, expected, "seed {seed}, step {step}: {:?}", history.acts[step]);
        }
        for event in got.iter().flatten() {
            *raised.entry((event.happened.clone(), event.condition.clone())).or_insert(0) += 1;
        }
        done += history.patient_hours();
        seed += 1;
    }
    eprintln!("{done} patient-hours, seeds {first} to {}: {raised:?}", seed - 1);
    // A comparison of nothing with nothing proves nothing.
    for condition in ["Limit", "Unconfirmed", "Retrospective"] {
        for happened in ["Raised", "Acknowledged", "Resolved"] {
            let seen = raised.get(&(happened.to_owned(), condition.to_owned())).copied().unwrap_or(0);
            assert!(seen > 100 || hours < 50_000, "{happened} {condition}: only {seen}");
        }
    }
}

/// The reference can see a fault: one act left out of what it judges must show.
#[test]
fn the_reference_sees_what_is_missed() {
    let mut engine = engine::under_test();
    let mut history = History::new(7);
    let mut events = Vec::new();
    for _ in 0..history::STEPS {
        let act = history.next(&engine);
        events.push(engine::apply(&mut engine, &act));
    }
    let first = events.iter().position(|e| !e.is_empty()).expect("something happens");
    let without: Vec<Act> =
        history.acts.iter().enumerate().filter(|(n, _)| *n != first).map(|(_, a)| a.clone()).collect();
    assert_ne!(reference::events(&without)[first..], events[first + 1..]);
}
