//! Limits, hysteresis, n of m, re-sent readings.

use super::*;

#[test]
fn raised_once_latched_and_resolved_with_hysteresis() {
    let mut b = Bench::new(SYSTOLIC);
    let reading = b.systolic("186");
    let events = b.step(&reading);
    assert_eq!(short(&events), ["raised limit"]);
    let alert = &events[0].alert;
    assert_eq!(alert.text, "Systolic blood pressure 186 mmHg above 180 mmHg");
    assert_eq!((alert.priority, &*alert.rule), (Priority::High, "sys"));
    assert_eq!((alert.evidence.as_slice(), alert.received), (&[reading.key][..], reading.taken.received));
    assert_eq!(alert.id.0.len(), 32);
    for (value, expected) in [("190", &[][..]), ("175", &[]), ("170", &[]), ("169", &["resolved limit"]), ("120", &[])]
    {
        assert_eq!(b.sys(value), expected, "{value}");
    }
    assert_eq!(b.sys("181"), ["raised limit"]);
}

#[test]
fn a_reading_that_is_sent_again_raises_and_clears_nothing() {
    let mut b = Bench::new(SYSTOLIC);
    let (normal, high) = (b.systolic("120"), b.systolic("186"));
    assert!(b.step(&normal).is_empty());
    assert_eq!(b.short(&high), ["raised limit"]);
    assert!(b.step(&normal).is_empty() && b.step(&high).is_empty());
    assert_eq!(b.open(), [Condition::Limit]);
}

#[test]
fn the_same_history_gives_the_same_ids_and_other_patients_others() {
    let run = |patient: &str| {
        let mut b = Bench::new(SYSTOLIC);
        let reading = Reading { patient: Some(PatientId::new(patient)), ..b.systolic("186") };
        b.step(&reading)[0].alert.id.clone()
    };
    assert_eq!(run("Patient/a"), run("Patient/a"));
    assert_ne!(run("Patient/a"), run("Patient/b"));
}

#[test]
fn patients_and_rules_do_not_mix() {
    let two = format!("{SYSTOLIC}{}", SYSTOLIC.replace("'sys'", "'sys2'").replace("above=180", "above=185"));
    let mut b = Bench::new(&two);
    assert_eq!(b.sys("183").len(), 1);
    let other = Reading { patient: Some(PatientId::new("Patient/b")), ..b.systolic("190") };
    assert_eq!(b.short(&other), ["raised limit", "raised limit"]);
    assert_eq!(b.sys("120").len(), 1);
    assert_eq!(b.open().len(), 2);
}

#[test]
fn sustained_counts_n_of_the_last_m() {
    let mut b = Bench::new(&format!("{SYSTOLIC}sustained={{n=2,m=3}}\n"));
    assert!(b.sys("190").is_empty());
    assert!(b.sys("120").is_empty());
    assert!(b.sys("121").is_empty());
    assert!(b.sys("190").is_empty(), "the first one is out of the last three");
    assert!(b.sys("150").is_empty());
    let reading = b.systolic("190");
    let events = b.step(&reading);
    assert_eq!(short(&events), ["raised limit"]);
    assert_eq!(events[0].alert.text, "Systolic blood pressure 190 mmHg above 180 mmHg, 2 of 3 readings");
    assert_eq!(events[0].alert.evidence.len(), 2);
    assert_eq!(events[0].alert.evidence[1], reading.key);
}

#[test]
fn sustained_within_a_time_forgets_what_is_older() {
    let mut b = Bench::new(&format!("{SYSTOLIC}sustained={{n=2,m=3,within_s=60}}\n"));
    assert!(b.sys("190").is_empty());
    b.now = b.now.plus(Duration::from_secs(61));
    assert!(b.sys("190").is_empty());
    assert_eq!(b.sys("190"), ["raised limit"]);
}

#[test]
fn one_rule_sees_the_pulse_of_every_device() {
    let mut b = Bench::new(
        "[[rule]]\nid='hr'\ntitle='t'\nvitals=['heart-rate','pulse-rate','oximeter-pulse-rate']\nabove=110\nunit='/min'\npriority='medium'\nsustained={n=2,m=2}",
    );
    let first = b.reading("heart-rate", &[(Role::Value, "120", "/min")]);
    let second = b.reading("oximeter-pulse-rate", &[(Role::Value, "121", "/min")]);
    assert!(b.step(&first).is_empty());
    assert_eq!(b.short(&second), ["raised limit"]);
}

#[test]
fn another_unit_is_compared_exactly() {
    let mut b = Bench::new(SYSTOLIC);
    let kpa = |b: &mut Bench, value| b.reading("blood-pressure", &[(Role::Systolic, value, "kPa")]);
    let (inside, beyond) = (kpa(&mut b, "23.99"), kpa(&mut b, "24.00"));
    assert!(b.step(&inside).is_empty());
    let events = b.step(&beyond);
    assert_eq!(events[0].alert.text, "Systolic blood pressure 24.00 kPa above 180 mmHg");
}

#[test]
fn a_patient_may_have_a_limit_of_their_own() {
    let patient = |limits: &str| {
        let text = format!("[gateway]\nid='g'\nstate='/s'\n[[patient]]\nreference='Patient/a'\nlimits=[{limits}]");
        toml::from_str::<crate::config::Config>(&text).unwrap().patients
    };
    let own = patient("{rule='sys',limit=160,unit='mm[Hg]'}");
    let rules = Rules::parse(&[(Path::new("r"), SYSTOLIC)], &own).unwrap();
    let mut b = Bench::with(rules);
    let reading = b.systolic("161");
    assert_eq!(b.step(&reading)[0].alert.text, "Systolic blood pressure 161 mmHg above 160 mmHg");
    assert!(b.sys("150").is_empty(), "the clear condition moved with the limit: below 150");
    assert_eq!(b.sys("149"), ["resolved limit"]);
    let other = Reading { patient: Some(PatientId::new("Patient/b")), ..b.systolic("161") };
    assert!(b.step(&other).is_empty());
}
