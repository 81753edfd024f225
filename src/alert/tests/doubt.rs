//! Doubt about value or owner never silences; doubt about time makes retrospective; a test alerts never.

use super::*;

#[track_caller]
fn check(label: Quality, value: &str, expected: &[&str]) {
    let mut b = Bench::new(SYSTOLIC);
    let reading = Reading { quality: vec![label], ..b.systolic(value) };
    assert_eq!(b.short(&reading), expected, "{label:?} {value}");
}

#[test]
fn a_doubtful_extreme_is_unconfirmed() {
    for label in [Quality::Questionable, Quality::Invalid, Quality::Implausible, Quality::Early, Quality::Calibrating] {
        check(label, "190", &["raised unconfirmed"]);
        check(label, "120", &[]);
    }
    check(Quality::Quirk, "190", &["raised limit"]);
    check(Quality::TimeDoubtful, "190", &["raised limit"]);
    check(Quality::Test, "190", &[]);
}

#[test]
fn an_implausible_value_needs_no_label_to_be_doubted() {
    let mut b = Bench::new(SYSTOLIC);
    let reading = b.systolic("400");
    let events = b.step(&reading);
    assert_eq!(short(&events), ["raised unconfirmed"]);
    assert_eq!(
        events[0].alert.text,
        "Unconfirmed: Systolic blood pressure 400 mmHg above 180 mmHg (outside the plausible range)"
    );
}

#[test]
fn a_systolic_pressure_below_the_diastolic_is_doubted() {
    let mut b = Bench::new(SYSTOLIC);
    let reading = b.reading("blood-pressure", &[(Role::Systolic, "185", "mm[Hg]"), (Role::Diastolic, "190", "mm[Hg]")]);
    assert_eq!(b.short(&reading), ["raised unconfirmed"]);
}

#[test]
fn a_number_of_any_size_is_compared() {
    let mut b = Bench::new(SYSTOLIC);
    for (value, expected) in [("1e127", &["raised unconfirmed"][..]), ("1e-127", &[])] {
        let reading = b.reading("blood-pressure", &[(Role::Systolic, value, "kPa")]);
        assert_eq!(b.short(&reading), expected, "{value}");
    }
}

const GLUCOSE: &str = "[[rule]]\nid='high'\ntitle='t'\nvitals=['glucose-*']\nabove=400\nunit='mg/dL'\npriority='high'\n\
                       [[rule]]\nid='low'\ntitle='t'\nvitals=['glucose-*']\nbelow=54\nunit='mg/dL'\npriority='high'\n";

#[track_caller]
fn glucose(value: &str, quality: &[Quality], expected: Option<(&str, &str)>) {
    let mut b = Bench::new(GLUCOSE);
    let reading = b.reading("glucose-capillary-plasma", &[(Role::Value, value, "mg/dL")]);
    let events = b.step(&Reading { quality: quality.to_vec(), ..reading });
    let got = events.first().map(|e| (&*e.alert.rule, e.alert.text.as_str()));
    assert_eq!((got, events.len()), (expected, usize::from(expected.is_some())), "{value} {quality:?}");
}

#[test]
fn beyond_the_range_of_the_device_is_beyond_every_limit_on_that_side() {
    let high = Some(("high", "Glucose (capillary plasma) over the device's range, above 400 mg/dL"));
    let low = Some(("low", "Glucose (capillary plasma) under the device's range, below 54 mg/dL"));
    glucose("NaN", &[Quality::AboveRange], high);
    glucose("NaN", &[Quality::BelowRange], low);
    glucose("+INF", &[], high);
    glucose("-INF", &[], low);
    glucose("380", &[Quality::AboveRange], Some(("high", "Glucose (capillary plasma) 380 mg/dL above 400 mg/dL")));
}

#[test]
fn what_is_no_number_is_no_vital_sign() {
    for value in ["NaN", "error"] {
        glucose(value, &[], None);
        glucose(value, &[Quality::Questionable], None);
    }
    glucose("NaN", &[Quality::AboveRange, Quality::Test], None);
}

#[test]
fn what_is_no_number_clears_nothing() {
    let mut b = Bench::new(SYSTOLIC);
    b.sys("190");
    for value in ["NaN", "error", "-INF"] {
        assert!(b.sys(value).is_empty(), "{value}");
    }
    for label in [Quality::Questionable, Quality::Invalid, Quality::Implausible, Quality::Early, Quality::Test] {
        let normal = Reading { quality: vec![label], ..b.systolic("120") };
        assert!(b.step(&normal).is_empty(), "{label:?}");
    }
    assert_eq!(b.open(), [Condition::Limit]);
}

#[test]
fn certainty_takes_the_place_of_doubt_without_a_gap() {
    let mut b = Bench::new(SYSTOLIC);
    let doubtful = Reading { quality: vec![Quality::Questionable], ..b.systolic("190") };
    assert_eq!(b.short(&doubtful), ["raised unconfirmed"]);
    assert_eq!(b.sys("191"), ["raised limit", "resolved unconfirmed"]);
    let again = Reading { quality: vec![Quality::Questionable], ..b.systolic("192") };
    assert!(b.step(&again).is_empty(), "the confirmed one is open");
    assert_eq!(b.sys("120"), ["resolved limit"]);
}

#[test]
fn an_unconfirmed_value_is_cleared_by_a_certain_one() {
    let mut b = Bench::new(SYSTOLIC);
    let doubtful = Reading { quality: vec![Quality::Questionable], ..b.systolic("190") };
    b.step(&doubtful);
    assert_eq!(b.sys("120"), ["resolved unconfirmed"]);
}

#[test]
fn doubt_changes_the_label_and_not_the_moment() {
    let mut b = Bench::new(&format!("{SYSTOLIC}sustained={{n=2,m=2}}\n"));
    let doubtful = |b: &mut Bench, value| Reading { quality: vec![Quality::Questionable], ..b.systolic(value) };
    assert!(b.sys("190").is_empty());
    let inside = doubtful(&mut b, "120");
    assert!(b.step(&inside).is_empty(), "a doubtful normal value is evidence of nothing");
    let beyond = doubtful(&mut b, "190");
    assert_eq!(b.short(&beyond), ["raised unconfirmed"]);
    let events = {
        let r = b.systolic("190");
        b.step(&r)
    };
    assert!(events.is_empty(), "one of the two is doubtful still, and that is open");
    assert_eq!(b.sys("190"), ["raised limit", "resolved unconfirmed"]);
}

#[test]
fn an_extreme_of_nobody_known_is_unconfirmed_at_once_and_ends_with_a_person() {
    let mut b = Bench::new(&format!("{SYSTOLIC}sustained={{n=3,m=5}}\n"));
    let nobodys = |b: &mut Bench, value| Reading { patient: None, ..b.systolic(value) };
    let high = nobodys(&mut b, "190");
    let events = b.step(&high);
    assert_eq!(short(&events), ["raised unconfirmed"]);
    assert!(events[0].alert.text.ends_with("(patient not known)"));
    assert_eq!((&events[0].alert.patient, events[0].alert.device.as_ref()), (&None, Some(&high.device)));
    let normal = nobodys(&mut b, "120");
    assert!(b.step(&normal).is_empty(), "it may be another person's");
    let id = events[0].alert.id.clone();
    let taken = b.engine.acknowledge(b.now, &id, "Ada").unwrap();
    assert_eq!(short(&taken), ["acknowledged unconfirmed", "resolved unconfirmed"]);
    let again = nobodys(&mut b, "190");
    assert_eq!(b.short(&again), ["raised unconfirmed"]);
}

#[test]
fn a_reading_that_may_be_old_is_retrospective_and_leaves_now_alone() {
    let mut b = Bench::new(SYSTOLIC);
    let stored = Reading { stored: true, ..b.systolic("190") };
    let events = b.step(&stored);
    assert_eq!(short(&events), ["raised retrospective"]);
    assert!(
        events[0].alert.text.starts_with("Retrospective: ")
            && events[0].alert.text.contains(", taken 2026-11-22T10:00")
    );
    assert_eq!(b.sys("191"), ["raised limit"]);
    let normal = Reading { stored: true, ..b.systolic("120") };
    assert!(b.step(&normal).is_empty());
    assert_eq!(b.sys("120"), ["resolved limit"]);
    assert_eq!(b.open(), [Condition::Retrospective], "it waits for a person");
    let id = events[0].alert.id.clone();
    assert_eq!(b.engine.acknowledge(b.now, &id, "Ada").unwrap().len(), 2);
    assert!(b.open().is_empty());
}

/// A reading that its device dated `age_s` before its receipt.
fn dated(b: &mut Bench, age_s: i64, uncertainty_ms: u32) -> Reading {
    let mut reading = b.systolic("190");
    reading.taken.at_ms = Some(reading.taken.received.wall_ms - age_s * 1_000);
    reading.taken.uncertainty_ms = uncertainty_ms;
    reading.taken.method = TimeMethod::DeviceInstant;
    reading
}

#[test]
fn the_age_of_a_reading_is_its_devices_time_against_its_receipt() {
    #[track_caller]
    fn check(age_s: i64, uncertainty_ms: u32, change: impl Fn(&mut Reading), expected: &str) {
        let mut b = Bench::new(SYSTOLIC);
        let mut reading = dated(&mut b, age_s, uncertainty_ms);
        change(&mut reading);
        assert_eq!(b.short(&reading), [expected]);
    }
    check(900, 0, |_| (), "raised limit");
    check(901, 0, |_| (), "raised retrospective");
    check(901, 1_000, |_| (), "raised limit");
    check(-3_600, 0, |_| (), "raised limit");
    // A live value needs no trusted clock, and a device's doubtful time says nothing about age.
    check(90_000, 0, |r| r.taken.received.trusted = false, "raised limit");
    check(90_000, 0, |r| r.quality = vec![Quality::TimeDoubtful], "raised limit");
    check(90_000, 0, |r| r.taken.method = TimeMethod::Received, "raised limit");
    check(0, 0, |r| r.taken.at_ms = None, "raised limit");
    // A stored one without a time is never "now".
    check(
        0,
        0,
        |r| (r.taken.at_ms, r.taken.method, r.stored) = (None, TimeMethod::Unresolved, true),
        "raised retrospective",
    );
}

#[test]
fn an_old_and_ownerless_extreme_is_retrospective() {
    let mut b = Bench::new(SYSTOLIC);
    let reading = Reading { patient: None, stored: true, ..b.systolic("190") };
    let events = b.step(&reading);
    assert_eq!(short(&events), ["raised retrospective"]);
    assert!(events[0].alert.text.ends_with("(patient not known)"));
}

#[test]
fn an_earlier_value_that_arrives_late_does_not_clear() {
    let mut b = Bench::new(SYSTOLIC);
    let high = dated(&mut b, 0, 0);
    assert_eq!(b.short(&high), ["raised limit"]);
    let mut earlier = dated(&mut b, 120, 0);
    earlier.parts[0].value = Value::Number(120.into());
    assert!(b.step(&earlier).is_empty());
    let mut later = dated(&mut b, 0, 0);
    later.parts[0].value = Value::Number(120.into());
    assert_eq!(b.short(&later), ["resolved limit"]);
}

#[test]
fn a_history_has_its_own_window_by_the_times_it_was_taken() {
    let mut b = Bench::new(&format!("{SYSTOLIC}sustained={{n=2,m=3,within_s=600}}\n"));
    let mut stored = |at_min: i64| {
        let mut reading = dated(&mut b, 0, 0);
        (reading.stored, reading.taken.at_ms) = (true, Some(NOW_MS - 86_400_000 + at_min * 60_000));
        b.short(&reading)
    };
    assert!(stored(0).is_empty());
    assert!(stored(60).is_empty(), "an hour apart, though they arrive together");
    assert_eq!(stored(65), ["raised retrospective"]);
    assert!(b.sys("190").is_empty(), "the past does not count for now");
}
