//! Technical conditions.

use super::*;

fn report(b: &mut Bench, active: bool) -> Vec<String> {
    let input = Input::Technical { name: "disk-full", active, priority: Priority::High, text: "The disk is full" };
    short(&b.engine.step(b.now, input))
}

#[test]
fn one_alert_from_begin_to_end() {
    let mut b = Bench::new(SYSTOLIC);
    assert!(report(&mut b, false).is_empty());
    assert_eq!(report(&mut b, true), ["raised technical"]);
    let first = b.engine.open().next().unwrap().id.clone();
    assert!(report(&mut b, true).is_empty());
    assert_eq!(report(&mut b, false), ["resolved technical"]);
    b.now = b.now.plus(Duration::from_secs(1));
    assert_eq!(report(&mut b, true), ["raised technical"]);
    assert_ne!(b.engine.open().next().unwrap().id, first, "another occurrence is another alert");
}

#[test]
fn acknowledging_does_not_end_it() {
    let mut b = Bench::new(SYSTOLIC);
    report(&mut b, true);
    let id = b.engine.open().next().unwrap().id.clone();
    assert_eq!(short(&b.engine.acknowledge(b.now, &id, "Ada").unwrap()), ["acknowledged technical"]);
    assert_eq!(b.open(), [Condition::Technical]);
}

#[test]
fn after_a_restart_it_ends_unless_somebody_reports_it_again() {
    let mut b = Bench::new(SYSTOLIC);
    report(&mut b, true);
    let open: Vec<_> = b.engine.open().cloned().collect();
    for reported in [true, false] {
        b.engine = Engine::new(rules(SYSTOLIC), OLD_AFTER);
        assert!(b.engine.restore(b.now, open.clone(), &[]).is_empty());
        assert!(b.engine.step(b.now, Input::Tick).is_empty());
        if reported {
            assert!(report(&mut b, true).is_empty(), "it is open already");
        }
        let later = b.now.plus(crate::limits::TECHNICAL_REPORTED_MAX);
        let expected: &[&str] = if reported { &[] } else { &["resolved technical"] };
        assert_eq!(short(&b.engine.step(later, Input::Tick)), expected);
    }
}

#[test]
fn readings_in_a_unit_that_no_rule_knows_are_said() {
    let low = "[[rule]]\nid='low'\ntitle='t'\nvitals=['glucose-*']\nbelow=54\nunit='mg/dL'\npriority='high'\n";
    let mut b = Bench::new(low);
    let moles = |b: &mut Bench| b.reading("glucose-capillary-plasma", &[(Role::Value, "2.1", "mmol/L")]);
    let reading = moles(&mut b);
    assert_eq!(b.short(&reading), ["raised technical"]);
    let reading = moles(&mut b);
    assert!(b.step(&reading).is_empty());
    let mut both = Bench::new(&format!(
        "{low}{}",
        low.replace("'low'", "'moles'").replace("54", "'3.0'").replace("mg/dL", "mmol/L")
    ));
    let reading = moles(&mut both);
    assert_eq!(both.short(&reading), ["raised limit"]);
}
