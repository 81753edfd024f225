//! Acknowledging, and what a restart keeps.

use super::*;

#[test]
fn acknowledged_by_name_and_still_open_until_it_clears() {
    let mut b = Bench::new(SYSTOLIC);
    b.sys("190");
    let id = b.engine.open().next().unwrap().id.clone();
    let events = b.engine.acknowledge(b.now, &id, "Ada").unwrap();
    assert_eq!(short(&events), ["acknowledged limit"]);
    assert_eq!(events[0].alert.acknowledged.as_ref().unwrap().by, "Ada");
    assert!(b.engine.acknowledge(b.now, &id, "Ada").unwrap().is_empty(), "the same name twice is once");
    assert_eq!(short(&b.engine.acknowledge(b.now, &id, "Grace").unwrap()), ["acknowledged limit"], "a hand-over");
    assert!(b.sys("195").is_empty());
    let cleared = {
        let r = b.systolic("120");
        b.step(&r)
    };
    assert_eq!(cleared[0].alert.acknowledged.as_ref().unwrap().by, "Grace");
    assert_eq!(b.engine.acknowledge(b.now, &id, "Ada"), Err(AlertError::NotOpen));
    assert_eq!(b.engine.acknowledge(b.now, &AlertId("0".repeat(32).into()), "Ada"), Err(AlertError::NotOpen));
}

#[test]
fn nobody_acknowledges_without_a_name() {
    let mut b = Bench::new(SYSTOLIC);
    b.sys("190");
    let id = b.engine.open().next().unwrap().id.clone();
    for name in ["", "  ", "a\nb", &"x".repeat(129)] {
        assert_eq!(b.engine.acknowledge(b.now, &id, name), Err(AlertError::Name), "{name:?}");
    }
}

#[test]
fn a_restart_raises_nothing_twice_and_clears_as_before() {
    let mut b = Bench::new(SYSTOLIC);
    let high = b.systolic("190");
    let open: Vec<_> = b.step(&high).into_iter().map(|e| e.alert).collect();
    b.engine = Engine::new(rules(SYSTOLIC), OLD_AFTER);
    assert!(b.engine.restore(b.now, open.clone(), std::slice::from_ref(&high)).is_empty());
    assert_eq!(b.engine.open().cloned().collect::<Vec<_>>(), open);
    assert!(b.step(&high).is_empty() && b.sys("195").is_empty());
    assert_eq!(b.sys("120"), ["resolved limit"]);
}

#[test]
fn a_restart_in_the_midst_of_counting_does_not_begin_anew() {
    let text = format!("{SYSTOLIC}sustained={{n=3,m=3,within_s=600}}\n");
    let mut b = Bench::new(&text);
    let recent = [b.systolic("190"), b.systolic("190")];
    recent.iter().for_each(|r| assert!(b.step(r).is_empty()));
    b.engine = Engine::new(rules(&text), OLD_AFTER);
    b.now.boot += 1;
    b.now.mono_us = 0;
    assert!(b.engine.restore(b.now, vec![], &recent).is_empty());
    assert!(b.open().is_empty());
    assert_eq!(b.sys("190"), ["raised limit"]);
}

#[test]
fn an_alert_whose_rule_is_gone_ends_with_a_person() {
    let mut b = Bench::new(SYSTOLIC);
    b.sys("190");
    let open: Vec<_> = b.engine.open().cloned().collect();
    let id = open[0].id.clone();
    let other = SYSTOLIC.replace("'sys'", "'other'");
    b.engine = Engine::new(rules(&other), OLD_AFTER);
    assert!(b.engine.restore(b.now, open.clone(), &[]).is_empty());
    assert_eq!(short(&b.engine.acknowledge(b.now, &id, "Ada").unwrap()), ["acknowledged limit", "resolved limit"]);
    let had =
        Alert { acknowledged: Some(crate::alarm::Acknowledged { by: "Ada".into(), at: b.now }), ..open[0].clone() };
    b.engine = Engine::new(rules(&other), OLD_AFTER);
    assert_eq!(short(&b.engine.restore(b.now, vec![had], &[])), ["resolved limit"]);
}

#[test]
fn a_flood_of_unknown_devices_is_said_and_leaves_room_for_patients() {
    let mut b = Bench::new(SYSTOLIC);
    let template = b.systolic("190");
    for n in 0..crate::limits::ALERTS_UNASSIGNED_MAX + 1 {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let device = DeviceId(format!("mqtt:{n}").into());
        let reading = Reading { key: ReadingKey(key), device, patient: None, ..template.clone() };
        let events = b.short(&reading);
        let full = n == crate::limits::ALERTS_UNASSIGNED_MAX;
        assert_eq!(events, [if full { "raised technical" } else { "raised unconfirmed" }], "{n}");
    }
    assert_eq!(b.sys("191"), ["raised limit"], "a patient still finds room");
    assert!(b.engine.step(b.now, Input::Tick).is_empty());
    let one = b.engine.open().find(|a| a.condition == Condition::Unconfirmed).unwrap().id.clone();
    b.engine.acknowledge(b.now, &one, "Ada").unwrap();
    assert_eq!(short(&b.engine.step(b.now, Input::Tick)), ["resolved technical"]);
}
