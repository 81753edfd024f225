use std::sync::Arc;

use super::*;
use crate::clock::Stamp;
use crate::reading::{Absence, DeviceTime, Part, Path, PatientId, Redelivery, TimeMethod, Value};
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
