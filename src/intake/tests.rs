use std::sync::Arc;

use super::*;
use crate::clock::Stamp;
use crate::reading::{Absence, Delivery, DeviceTime, Part, Path, PatientId, Redelivery, TimeMethod, Value};
use crate::unit::Unit;
use crate::vital::{Role, Vital};

/// 2026-11-22T10:00:00Z.
const NOW_MS: i64 = 1_795_341_600_000;

fn config(devices: &str) -> Config {
    let text = format!("[gateway]\nid='box'\nstate='/tmp/x'\ntime_zone='Europe/Berlin'\n{devices}");
    toml::from_str(&text).unwrap()
}

fn draft(value: &str) -> Draft {
    let number = Value::Number(value.parse().unwrap());
    Draft {
        vital: Vital::parse("pulse-rate").unwrap(),
        parts: vec![Part { role: Role::Value, value: number, unit: Unit::parse("/min").unwrap() }],
        slot: None,
        sequence: None,
        device_time: None,
        quality: vec![],
        site: None,
        stored: false,
    }
}

fn frame(count: u64) -> Frame {
    Frame {
        path: Path::Topic("vitals/cuff".into()),
        redelivery: Some(Redelivery { dup: false, packet_id: 7, connection: 1, count }),
        ..Frame::new("home", "x", Stamp::at_ms(NOW_MS))
    }
}

fn take_one(intake: &mut Intake, frame: &Frame, draft: Draft) -> Reading {
    let decoded =
        Decoded { device: DeviceId("mqtt:cuff".into()), profile: Arc::from("p"), drafts: vec![draft], stream: false };
    intake.take(frame, decoded).readings.remove(0)
}

fn civil(text: &str) -> Option<DeviceTime> {
    Some(DeviceTime::Civil(text.parse().unwrap()))
}

#[test]
fn a_dated_record_has_the_same_key_each_time_it_is_sent() {
    let mut intake = Intake::new(&config(""), 1);
    let dated = Draft { device_time: civil("2026-11-22T10:00:00"), ..draft("72") };
    let (a, b) = (take_one(&mut intake, &frame(1), dated.clone()), take_one(&mut intake, &frame(2), dated.clone()));
    assert_eq!(a.key, b.key);
    for other in [
        Draft { device_time: civil("2026-11-22T10:00:01"), ..dated.clone() },
        Draft { sequence: Some(1), ..dated.clone() },
        Draft { slot: Some(1), ..dated.clone() },
        Draft { vital: Vital::parse("heart-rate").unwrap(), ..dated.clone() },
        Draft { device_time: dated.device_time, ..draft("72.0") },
    ] {
        assert_ne!(a.key, take_one(&mut intake, &frame(1), other).key);
    }
}

#[test]
fn an_undated_record_is_a_new_reading_each_time() {
    let mut intake = Intake::new(&config(""), 1);
    let a = take_one(&mut intake, &frame(1), draft("72"));
    assert_ne!(a.key, take_one(&mut intake, &frame(2), draft("72")).key);
    assert_ne!(a.key, take_one(&mut Intake::new(&config(""), 2), &frame(1), draft("72")).key);
}

#[test]
fn a_reading_binds_only_on_unambiguous_evidence() {
    let alone = "[[device]]\nid='mqtt:cuff'\npatient='Patient/a'";
    let shared = "[[device]]\nid='mqtt:cuff'\nslots={1='Patient/a',2='Patient/b'}";
    #[track_caller]
    fn check(devices: &str, slot: Option<u8>, expected: Option<&str>) {
        let reading = take_one(&mut Intake::new(&config(devices), 1), &frame(1), Draft { slot, ..draft("72") });
        assert_eq!(reading.patient.as_ref().map(PatientId::reveal), expected);
    }
    check("", None, None);
    check(alone, None, Some("Patient/a"));
    check(shared, Some(2), Some("Patient/b"));
    check(shared, Some(3), None);
    check(shared, None, None);
}

#[test]
fn the_device_time_is_read_in_the_site_zone() {
    let reading = take_one(
        &mut Intake::new(&config(""), 1),
        &frame(1),
        Draft { device_time: civil("2026-11-22T10:30:00"), ..draft("72") },
    );
    assert_eq!(reading.taken.at_ms, Some(NOW_MS - 30 * 60 * 1_000));
    assert_eq!(reading.taken.method, TimeMethod::DeviceCivil);
}

#[test]
fn a_local_time_that_occurs_twice_is_known_to_the_hour_only() {
    let reading = take_one(
        &mut Intake::new(&config(""), 1),
        &frame(1),
        Draft { device_time: civil("2026-10-25T02:30:00"), ..draft("72") },
    );
    assert_eq!(reading.taken.uncertainty_ms, 3_600_000);
}

#[test]
fn a_time_that_cannot_be_is_doubted_not_believed() {
    let mut intake = Intake::new(&config(""), 1);
    for wrong in ["1970-01-01T00:00:00", "2031-01-01T00:00:00"] {
        let live = take_one(&mut intake, &frame(1), Draft { device_time: civil(wrong), ..draft("72") });
        assert_eq!((live.taken.at_ms, live.taken.method), (Some(NOW_MS), TimeMethod::Received));
        assert!(live.quality.contains(&Quality::TimeDoubtful));
        let stored = take_one(&mut intake, &frame(1), Draft { device_time: civil(wrong), stored: true, ..draft("72") });
        assert_eq!((stored.taken.at_ms, stored.taken.method), (None, TimeMethod::Unresolved));
    }
}

#[test]
fn without_a_trusted_clock_nothing_is_dated_by_it() {
    let mut early = frame(1);
    early.received = Stamp { wall_ms: 0, mono_us: 5, boot: 1, trusted: false };
    let reading = take_one(&mut Intake::new(&config(""), 1), &early, draft("72"));
    assert_eq!(reading.taken.at_ms, None);
}

#[test]
fn implausible_values_are_labelled_and_kept() {
    let reading = take_one(&mut Intake::new(&config(""), 1), &frame(1), draft("400"));
    assert_eq!(reading.quality, [Quality::Implausible]);
    let mut special = draft("1");
    special.parts[0].value = Value::Absent(Absence::NotANumber);
    assert!(take_one(&mut Intake::new(&config(""), 1), &frame(1), special).quality.is_empty());
}

#[test]
fn an_undated_value_that_waited_at_the_broker_is_never_now() {
    let late = Frame { delivery: Delivery::Waited, ..frame(1) };
    let reading = take_one(&mut Intake::new(&config(""), 1), &late, draft("72"));
    assert!(reading.stored && reading.quality.contains(&Quality::TimeDoubtful));
    assert_eq!(reading.taken.uncertainty_ms, u32::MAX);
    let dated = Draft { device_time: civil("2026-11-22T10:30:00"), ..draft("72") };
    let dated = take_one(&mut Intake::new(&config(""), 1), &late, dated);
    assert!(dated.quality.is_empty() && !dated.stored, "its own time says how old it is");
}

/// A record from a memory, over Bluetooth.
fn record(intake: &mut Intake, number: u64, said: &str, received_ms: i64) -> Reading {
    let device = DeviceId("mqtt:cuff".into());
    let path = Path::Characteristic { device, uuid: "2A18".into(), name: None };
    let frame = Frame { path, ticket: number, ..Frame::new("radio", "x", Stamp::at_ms(received_ms)) };
    take_one(intake, &frame, Draft { sequence: Some(number), device_time: civil(said), stored: true, ..draft("72") })
}

#[test]
fn numbers_tell_that_a_clock_fell_also_after_a_restart() {
    let devices = "[[device]]\nid='mqtt:cuff'\npatient='Patient/a'";
    const DAY: i64 = 86_400_000;
    let mut intake = Intake::new(&config(devices), 1);
    let before = record(&mut intake, 10, "2026-11-20T10:00:00", NOW_MS);
    assert_eq!(before.taken.method, TimeMethod::DeviceCivil);
    let fallen = record(&mut intake, 11, "2026-01-01T00:10:00", NOW_MS);
    assert_eq!((fallen.taken.at_ms, fallen.taken.method), (None, TimeMethod::Unresolved));
    assert!(fallen.quality.contains(&Quality::TimeDoubtful));
    let mut restarted = Intake::new(&config(devices), 2);
    [&before, &fallen].into_iter().for_each(|r| restarted.learn(r));
    for intake in [&mut intake, &mut restarted] {
        let at =
            |intake: &mut Intake, number, said, days| record(intake, number, said, NOW_MS + days * DAY).taken.at_ms;
        assert!(at(intake, 10, "2026-11-20T10:00:00", 0).is_some(), "an old one again");
        assert_eq!(at(intake, 12, "2026-01-02T00:10:00", 1), None);
        // It was set right: the leap says so.
        assert!(at(intake, 13, "2026-11-24T10:00:00", 3).is_some());
        assert!(at(intake, 14, "2026-11-25T10:00:00", 4).is_some());
        // The hour that a change of the zone takes back is no fall.
        assert!(at(intake, 15, "2026-11-25T09:05:00", 4).is_some());
    }
    // Messages are counted too, and old ones may come after new ones.
    let mut intake = Intake::new(&config(devices), 1);
    let message = |id, said| Draft { sequence: Some(id), device_time: civil(said), ..draft("72") };
    take_one(&mut intake, &frame(1), message(1, "2026-11-22T10:59:00"));
    let backlog = take_one(&mut intake, &frame(2), message(2, "2026-11-20T10:00:00"));
    assert_eq!((backlog.taken.method, backlog.quality.len()), (TimeMethod::DeviceCivil, 0));
}

#[test]
fn a_record_is_dated_by_the_pair_of_both_clocks_on_its_own_line() {
    use crate::reading::{ClockPair, Clocks, Coincident};
    enum By {
        Neither,
        Now,
        Before,
    }
    const HOUR: i64 = 3_600_000;
    let pair = |said: &str, hours_ago: i64| ClockPair {
        device: said.parse().unwrap(),
        box_ms: NOW_MS - hours_ago * HOUR,
        trusted: true,
    };
    #[track_caller]
    fn check(clocks: (ClockPair, Option<ClockPair>), said: &str, hours_ago: Option<i64>, doubt: bool, by: By) {
        let device = DeviceId("ble:meter".into());
        let path = Path::Characteristic { device, uuid: "2A18".into(), name: None };
        let pair = match by {
            By::Neither => None,
            By::Now => Some(clocks.0.clone()),
            By::Before => clocks.1.clone(),
        };
        let clocks = Some(Arc::new(Clocks { now: clocks.0, before: clocks.1 }));
        let frame = Frame { path, clocks, ..Frame::new("radio", "x", Stamp::at_ms(NOW_MS)) };
        let draft = Draft { device_time: civil(said), stored: true, ..draft("72") };
        let reading = take_one(&mut Intake::new(&config(""), 1), &frame, draft);
        let ago = reading.taken.at_ms.map(|at| (NOW_MS - at) / HOUR);
        assert_eq!((ago, reading.quality.contains(&Quality::TimeDoubtful)), (hours_ago, doubt), "{:?}", reading.taken);
        let kept = pair.map(|p| Coincident { device: p.device, offset_min: 60, box_ms: p.box_ms });
        assert_eq!(reading.clocks.as_deref(), kept.as_ref());
    }
    // Berlin: 11:00. Its clock began anew ten hours ago; the last visit was three days ago, and its clock was right then.
    let (anew, right) = (pair("2010-01-01T10:00:00", 0), pair("2026-11-19T11:00:00", 72));
    check((anew.clone(), Some(right.clone())), "2010-01-01T06:00:00", Some(4), false, By::Now);
    check((anew.clone(), Some(right.clone())), "2026-11-21T11:00:00", Some(24), false, By::Before);
    // Older than the last visit by the new line: of a setting that nobody saw.
    check((anew.clone(), Some(right)), "2009-12-20T00:00:00", None, true, By::Neither);
    check((anew.clone(), None), "2010-01-01T06:00:00", Some(4), true, By::Now);
    // Later than it shows now: it may be of any setting, so no pair is beside it.
    check((anew.clone(), None), "2026-11-21T11:00:00", Some(24), true, By::Neither);
    // The pair of a box that did not know the time says nothing.
    check((ClockPair { trusted: false, ..anew.clone() }, None), "2010-01-01T06:00:00", None, true, By::Neither);
    // It was set at the last visit, five hours ago; a record of before comes late.
    let then = ClockPair { box_ms: NOW_MS - 5 * HOUR, ..anew };
    check((pair("2026-11-22T11:00:00", 0), Some(then.clone())), "2010-01-01T08:00:00", Some(7), false, By::Before);
    check((pair("2026-11-22T11:00:00", 0), Some(then)), "2026-11-22T09:00:00", Some(2), false, By::Now);
    // Summer time that nobody ended.
    check((pair("2026-11-22T12:00:00", 0), None), "2026-11-22T07:00:00", Some(5), false, By::Now);
}

/// A live value may have been measured before the clock was set, or after it.
#[test]
fn a_live_value_has_the_pair_only_if_the_clock_still_showed_that_setting() {
    use crate::reading::{ClockPair, Clocks};
    let has = |shown: &str, said: &str| {
        let device = DeviceId("ble:cuff".into());
        let path = Path::Characteristic { device, uuid: "2A35".into(), name: None };
        let now = ClockPair { device: shown.parse().unwrap(), box_ms: NOW_MS - 10_000, trusted: true };
        let clocks = Some(Arc::new(Clocks { now, before: None }));
        let frame = Frame { path, clocks, ..Frame::new("radio", "x", Stamp::at_ms(NOW_MS)) };
        let reading =
            take_one(&mut Intake::new(&config(""), 1), &frame, Draft { device_time: civil(said), ..draft("72") });
        assert_eq!(reading.taken.method, TimeMethod::DeviceCivil, "{said}");
        reading.clocks.is_some()
    };
    // Berlin, 11:00:00; asked ten seconds ago.
    assert!(has("2026-11-22T10:59:50", "2026-11-22T10:59:58"), "right");
    assert!(has("2026-11-22T10:59:53", "2026-11-22T10:59:58"), "so little off that nobody sets it");
    assert!(has("2026-11-22T10:57:50", "2026-11-22T10:57:58"), "two minutes behind, and left so");
    assert!(!has("2026-11-22T10:57:50", "2026-11-22T10:59:58"), "two minutes behind, and set since");
    assert!(!has("2026-11-20T10:59:50", "2026-11-22T10:59:58"), "days behind, and set since");
}

#[test]
fn what_waited_while_nobody_knew_the_time_is_not_of_who_has_the_device_now() {
    let mut intake = Intake::new(&config("[[device]]\nid='mqtt:cuff'\npatient='Patient/a'"), 1);
    let settings = |patient: &str| DeviceSettings {
        id: DeviceId("mqtt:cuff".into()),
        patient: Some(PatientId::new(patient)),
        ..config("[[device]]\nid='mqtt:cuff'").devices.remove(0)
    };
    intake.hand(&settings("Patient/b"), NOW_MS, "technician");
    let early = Frame { received: Stamp { wall_ms: 0, mono_us: 5, boot: 1, trusted: false }, ..frame(1) };
    let live = take_one(&mut intake, &early, draft("72"));
    assert_eq!(live.patient, Some(PatientId::new("Patient/b")));
    let waited = take_one(&mut intake, &Frame { delivery: Delivery::Waited, ..early }, draft("72"));
    assert_eq!((waited.patient, waited.unassigned), (None, Some(Unassigned::TimeUnknown)));
}
