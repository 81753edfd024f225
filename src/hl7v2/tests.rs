//! Messages as they leave: golden files of every vital, and what is read back from them by another's parser.

use std::path::PathBuf;
use std::sync::Arc;

use hl7_parser::Message as Parsed;
use proptest::prelude::*;

use super::*;
use crate::alarm::{Acknowledged, AlertEvent, Condition, Happened, Priority};
use crate::amendment;
use crate::clock::Stamp;
use crate::decimal::Decimal;
use crate::demographics::Demographics;
use crate::fhir::fixtures::{RECEIVED_MS, alert, nth, reading};
use crate::minimum::Field;
use crate::reading::{Absence, DeviceId, Part, PatientId, Quality, Reading, TimeMethod, Value};
use crate::unit::Unit;
use crate::vital::{Role, Site, Status, VITALS, Vital};

pub(super) fn sender() -> Sender {
    Sender {
        gateway: "box-1".into(),
        eui64: Sender::local_eui64("box-1"),
        facility: "Home".into(),
        to_application: "LAB".into(),
        to_facility: "CITY^1.2.3^ISO".into(),
        processing: "P".into(),
        profile: "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO".into(),
        alert_profile: "IHE_PCD_ACM_001^IHE PCD^1.3.6.1.4.1.19376.1.6.4.4^ISO".into(),
        authority: "CLINIC^1.2.3.4^ISO".into(),
        identifier_type: "PI".into(),
        match_authority: "HOSPITAL^1.2.3^ISO".into(),
        match_identifier_type: "MR".into(),
        codes: Order::Mdc,
        units: Order::Mdc,
        status: "R",
        characters: Charset::Utf8,
    }
}

fn facets() -> Facets {
    let code = |code: &str| format!("{code}^MDC");
    Facets {
        event: code("196616^MDC_EVT_ALARM"),
        source: code("68480^MDC_ATTR_ALERT_SOURCE"),
        phase: code("68481^MDC_ATTR_EVENT_PHASE"),
        state: code("68482^MDC_ATTR_ALARM_STATE"),
        inactivation: code("68483^MDC_ATTR_ALARM_INACTIVATION_STATE"),
        priority: code("68484^MDC_ATTR_ALARM_PRIORITY"),
        kind: code("68485^MDC_ATTR_ALERT_TYPE"),
    }
}

const NOW_MS: i64 = RECEIVED_MS + 1_000;

#[track_caller]
fn message(reading: &Reading) -> Message {
    write_readings(&[reading], &sender(), None, NOW_MS).unwrap()
}

#[track_caller]
fn text(reading: &Reading) -> String {
    message(reading).text
}

fn of(vital: &str, value: &str, unit: &str) -> Reading {
    let mut r = reading(vital);
    r.parts[0].value = Value::Number(value.parse().unwrap());
    r.parts[0].unit = Unit::parse(unit).unwrap();
    r
}

fn labelled(label: Quality) -> Reading {
    let mut r = of("body-temperature", "36.0", "Cel");
    r.quality.push(label);
    r
}

fn absent(why: Absence) -> Reading {
    let mut r = reading("spo2");
    r.parts[0].value = Value::Absent(why);
    r
}

fn stream() -> Reading {
    let mut r = of("heart-rate", "71.4", "/min");
    let part = |role, n: &str, unit| {
        let unit = Unit::parse(unit).unwrap();
        Part { role, value: Value::Number(n.parse().unwrap()), unit }
    };
    r.parts.push(part(Role::Minimum, "58", "/min"));
    r.parts.push(part(Role::Maximum, "91", "/min"));
    r.parts.push(part(Role::Count, "60", "1"));
    r.parts.push(part(Role::Duration, "60", "s"));
    r
}

/// Field `field` of the `n`th segment of this name, as it stands.
fn field(message: &str, segment: &str, n: usize, field: usize) -> String {
    let parsed = Parsed::parse(message.trim_end()).unwrap();
    let found = parsed.segment_n(segment, n).and_then(|s| s.field(field).map(|f| f.raw_value().to_owned()));
    found.unwrap_or_default()
}

/// The value behind the escapes. (That parser's own way back loses its place behind a character beyond ASCII.)
fn plain(raw: &str) -> String {
    let text = |(n, part): (usize, &str)| match (n % 2, part) {
        (0, text) => text.to_owned(),
        (_, "F") => "|".into(),
        (_, "S") => "^".into(),
        (_, "T") => "&".into(),
        (_, "R") => "~".into(),
        (_, "E") => "\\".into(),
        (_, digits) => {
            let digits = digits.strip_prefix('X').unwrap_or_else(|| panic!("{digits}: {raw}")).as_bytes();
            let octet = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
            let octets: Vec<u8> = digits.chunks(2).map(octet).collect();
            // As docs/hl7.md has it: two digits are a character below U+0100, more are UTF-8.
            match octets[..] {
                [one] => char::from(one).to_string(),
                _ => String::from_utf8(octets).unwrap(),
            }
        }
    };
    raw.split('\\').enumerate().map(text).collect()
}

/// A message with each segment on its line, held against its file. `WARDLINE_GOLDEN=write` writes the files anew.
#[track_caller]
fn golden(name: &str, message: &str) {
    golden_octets(name, message.as_bytes());
}

#[track_caller]
fn golden_octets(name: &str, message: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hl7");
    let text: Vec<u8> = message.iter().map(|b| if *b == b'\r' { b'\n' } else { *b }).collect();
    let file = folder.join(format!("{name}.hl7"));
    if std::env::var_os("WARDLINE_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&file, &text).unwrap();
    }
    let kept = std::fs::read(&file).unwrap_or_default();
    let shown = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert_eq!(shown(&text), shown(&kept), "{}: WARDLINE_GOLDEN=write writes it anew", file.display());
    assert_eq!(text, kept, "{}: another character set", file.display());
}

fn no_codes(vital: &str) -> bool {
    ["basal-metabolism", "muscle-percentage", "muscle-mass", "impedance"].contains(&vital)
}

#[test]
fn every_vital_has_its_message() {
    for row in VITALS {
        let mut r = reading(row.id);
        r.device = DeviceId("ble:C0:26:DF:00:11:22".into());
        match write_readings(&[&r], &sender(), None, NOW_MS) {
            Ok(message) => golden(row.id, &message.text),
            Err(why) => assert!(no_codes(row.id) && why == Unmappable::Uncoded, "{}: {why}", row.id),
        }
    }
}

#[test]
fn every_case_has_its_message() {
    let mut oral = of("body-temperature", "99.14", "[degF]");
    oral.site = Site::parse("mouth");
    golden("case-oral-fahrenheit", &text(&oral));
    golden("case-glucose-by-moles", &text(&of("glucose-capillary-plasma", "5.5", "mmol/L")));
    golden("case-pressure-from-kilopascal", &{
        let mut r = reading("blood-pressure");
        for (part, n) in r.parts.iter_mut().zip(["17.6", "10.1", "12.6"]) {
            (part.value, part.unit) = (Value::Number(n.parse().unwrap()), Unit::parse("kPa").unwrap());
        }
        text(&r)
    });
    golden("case-pressure-without-diastolic", &{
        let mut r = reading("blood-pressure");
        r.parts.remove(1);
        text(&r)
    });
    golden("case-mean-of-a-stream", &text(&stream()));
    golden(
        "case-above-range",
        &text(&{
            let mut r = of("glucose-capillary-whole-blood", "600", "mg/dL");
            r.quality.push(Quality::AboveRange);
            r
        }),
    );
    for (name, label) in [
        ("questionable", Quality::Questionable),
        ("invalid", Quality::Invalid),
        ("early", Quality::Early),
        ("calibrating", Quality::Calibrating),
        ("test", Quality::Test),
        ("implausible", Quality::Implausible),
        ("time-doubtful", Quality::TimeDoubtful),
    ] {
        golden(&format!("label-{name}"), &text(&labelled(label)));
    }
    let status = |vital, words: &[&str]| {
        let mut r = reading(vital);
        r.quality.extend(words.iter().map(|word| Quality::Status(Status::parse(word).unwrap())));
        text(&r)
    };
    golden("case-irregular-pulse", &status("blood-pressure", &["irregular-pulse", "improper-position"]));
    golden("case-oximeter-status", &status("spo2", &["poor-signal"]));
    let mut eaten = reading("glucose-capillary-plasma");
    let words = ["lunch", "after-meal", "tested-by-self", "rapid-acting-insulin"];
    eaten.quality.extend(words.map(|word| Quality::Status(Status::parse(word).unwrap())));
    let typed = [(Role::Carbohydrate, "45", "g"), (Role::Medication, "0.04", "mL"), (Role::Exercise, "60", "%")];
    let typed = typed.into_iter().chain([(Role::Exercised, "1800", "s")]);
    let number = |n: &str| Value::Number(n.parse().unwrap());
    eaten.parts.extend(typed.map(|(role, n, u)| Part { role, value: number(n), unit: Unit::parse(u).unwrap() }));
    golden("case-glucose-context", &text(&eaten));
    golden("absent-not-performed", &text(&absent(Absence::NotPerformed)));
    golden("absent-error", &text(&absent(Absence::Error)));
    golden("absent-positive-infinity", &text(&absent(Absence::PositiveInfinity)));
    let together = [nth("heart-rate", 1), nth("spo2", 2), nth("blood-pressure", 3)];
    let all: Vec<&Reading> = together.iter().collect();
    golden("case-three-together", &write_readings(&all, &sender(), None, NOW_MS).unwrap().text);
    let other = Sender { codes: Order::Other, units: Order::Other, status: "F", ..sender() };
    golden("case-loinc-and-ucum-first", &write_readings(&all[..2], &other, None, NOW_MS).unwrap().text);
}

#[test]
fn a_correction_takes_back_the_order_and_stands_under_one_of_its_own() {
    let old = reading("blood-pressure");
    let order = amendment::Order { by: "T. Tech".into(), at_ms: NOW_MS, reason: "wrong cuff".into() };
    let back = amendment::withdrawal(&old, &order);
    let new = amendment::replacement(&old, PatientId::new("Patient/other"), &order);
    let (was, back, new) = (message(&old), message(&back), message(&new));
    golden("case-withdrawn", &back.text);
    golden("case-replacement", &new.text);
    assert_eq!(field(&was.text, "OBR", 1, 3), field(&back.text, "OBR", 1, 3), "known by its order number");
    assert_ne!(field(&was.text, "OBR", 1, 3), field(&new.text, "OBR", 1, 3));
    let ids = std::collections::BTreeSet::from([was.control_id, back.control_id, new.control_id]);
    assert_eq!(ids.len(), 3, "three messages");
    let stati = |text: &str| (3..=5).map(|n| field(text, "OBX", n, 11)).collect::<String>();
    assert_eq!((stati(&was.text), stati(&back.text), stati(&new.text)), ("RRR".into(), "WWW".into(), "RRR".into()));
    assert!(!new.text.contains("8f2c") && !back.text.contains("other") && !new.text.contains("T. Tech"));
}

#[test]
fn every_event_of_an_alert_has_its_message() {
    let evidence = of("heart-rate", "150", "/min");
    let mut event = alert(&[&evidence]);
    let shown =
        |event: &AlertEvent| write_alert(event, &[Arc::new(evidence.clone())], (&sender(), &facets()), None, NOW_MS);
    golden("alert-raised", &shown(&event).text);
    // By a clock that nobody had set.
    let mut unset = event.clone();
    (unset.alert.raised.trusted, unset.at.trusted) = (false, false);
    let text = shown(&unset).text;
    assert_eq!((field(&text, "OBR", 1, 7), field(&text, "OBX", 1, 14)), (String::new(), String::new()));
    event.happened = Happened::Acknowledged;
    event.alert.acknowledged = Some(Acknowledged { by: "N. Nurse".into(), at: Stamp::at_ms(NOW_MS) });
    golden("alert-acknowledged", &shown(&event).text);
    event.happened = Happened::Resolved;
    event.alert.resolved = Some(Stamp::at_ms(NOW_MS));
    golden("alert-resolved", &shown(&event).text);
    let mut technical = alert(&[]);
    (technical.alert.patient, technical.alert.vital) = (None, None);
    (technical.alert.condition, technical.alert.priority) = (Condition::Technical, Priority::Low);
    technical.alert.text = "The scale in the hall has not been heard for a day".into();
    golden("alert-technical", &shown(&technical).text);
}

#[test]
fn evidence_of_another_patient_is_no_source() {
    let mut theirs = of("heart-rate", "151", "/min");
    let event = alert(&[&theirs]);
    theirs.patient = Some(PatientId::new("Patient/other"));
    let text = write_alert(&event, &[Arc::new(theirs.clone())], (&sender(), &facets()), None, NOW_MS).text;
    assert!(!text.contains("|151|") && !text.contains("other"), "{text}");
    theirs.patient = None;
    assert!(!write_alert(&event, &[Arc::new(theirs)], (&sender(), &facets()), None, NOW_MS).text.contains("|151|"));
}

#[test]
fn the_control_id_is_that_of_what_is_sent_and_fits_every_version() {
    let (a, b) = (nth("spo2", 1), nth("spo2", 2));
    let id = |readings: &[&Reading], now| write_readings(readings, &sender(), None, now).unwrap().control_id;
    assert_eq!(id(&[&a], 0), id(&[&a], NOW_MS), "a resend has the same");
    assert_eq!(id(&[&a], 0), "VAENWH54FY5IBNOUNHTI", "frozen: a new one would double what is sent again");
    let mut moved = a.clone();
    moved.patient = Some(PatientId::new("Patient/other"));
    let ids = [id(&[&a], 0), id(&[&b], 0), id(&[&a, &b], 0), id(&[&b, &a], 0), id(&[&moved], 0)];
    let different: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(different.len(), ids.len());
    assert!(ids.iter().all(|id| id.len() == 20 && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())));
    let event = alert(&[&a]);
    let taken = AlertEvent { happened: Happened::Acknowledged, ..event.clone() };
    assert_ne!(alert_control_id(&event), alert_control_id(&taken));
}

#[test]
fn who_has_neither_patient_nor_time_nor_code_is_not_sent() {
    let why = |change: fn(&mut Reading)| {
        let mut r = reading("spo2");
        change(&mut r);
        write_readings(&[&r], &sender(), None, NOW_MS).unwrap_err()
    };
    assert_eq!(why(|r| r.patient = None), Unmappable::Unassigned);
    assert_eq!(why(|r| r.taken.at_ms = None), Unmappable::Undated);
    assert_eq!(why(|r| r.parts[0].unit = Unit::parse("kg").unwrap()), Unmappable::Unit);
    assert_eq!(why(|r| r.vital = Vital::parse("impedance").unwrap()), Unmappable::Uncoded);
    let mut other = nth("spo2", 2);
    other.patient = Some(PatientId::new("Patient/other"));
    let together = write_readings(&[&reading("spo2"), &other], &sender(), None, NOW_MS);
    assert_eq!(together, Err(Unmappable::Unassigned), "two patients share no message");
}

#[test]
fn what_people_and_devices_write_stays_data() {
    let mut r = reading("spo2");
    r.device = DeviceId("mqtt:a|b^c&d~e\\f\rMSH|".into());
    r.patient = Some(PatientId::new("Patient/p|1^2&3"));
    let text = text(&r);
    assert!(text.contains("|p\\F\\1\\S\\2\\T\\3^^^CLINIC&1.2.3.4&ISO^PI|"), "{text}");
    assert!(text.contains("mqtt:a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\X0D\\MSH\\F\\^box-1"), "{text}");
    assert_eq!(text.matches('\r').count(), 5, "MSH, PID, OBR and two OBX: {text}");
    let mut event = alert(&[]);
    event.alert.text = "Größe 五\n".repeat(500);
    let message = write_alert(&event, &[], (&sender(), &facets()), None, NOW_MS);
    assert_eq!(field(&message.text, "MSH", 1, 18), "UNICODE UTF-8");
    assert_eq!(message.text.matches("Größe 五\\X0A\\").count(), 500, "nothing of it is cut off");
    assert!(message.text.split('\r').all(|s| s.is_empty() || s.len() > 3));
    assert_eq!(field(&text, "MSH", 1, 18), "", "ASCII needs no character set");
}

fn person() -> Demographics {
    Demographics {
        identifier: Some("47|11".into()),
        family: Some("O'Neill^Ørsted & ~Søn".into()),
        given: Some("Zoë\\五".into()),
        further: Some("Ada".into()),
        birth_date: Some("1950-03-07".parse().unwrap()),
        sex: Some("F".into()),
    }
}

#[test]
fn a_receiver_that_matches_by_more_than_the_pseudonym_gets_what_it_asks_for() {
    let text =
        |person: &Demographics| write_readings(&[&reading("spo2")], &sender(), Some(person), NOW_MS).unwrap().text;
    let whole = text(&person());
    golden("case-match-fields", &whole);
    assert_eq!(
        field(&whole, "PID", 1, 3),
        "47\\F\\11^^^HOSPITAL&1.2.3&ISO^MR~8f2c^^^CLINIC&1.2.3.4&ISO^PI",
        "the receiver's own identifier first"
    );
    let name = field(&whole, "PID", 1, 5);
    let parts: Vec<String> = name.split('^').map(plain).collect();
    assert_eq!(parts, ["O'Neill^Ørsted & ~Søn", "Zoë\\五", "Ada", "", "", "", "L"]);
    assert_eq!((&*field(&whole, "PID", 1, 7), &*field(&whole, "PID", 1, 8)), ("19500307", "F"));
    assert_eq!(field(&whole, "MSH", 1, 18), "UNICODE UTF-8");
    // A part of it, and the rest as without.
    let only = text(&person().cut(&[Field::BirthDate]));
    assert!(only.contains("PID|||8f2c^^^CLINIC&1.2.3.4&ISO^PI||^^^^^^S||19500307\r"), "{only}");
    // The same message, whoever it names: a resend is known.
    let ids = [Some(person()), None].map(|p| write_readings(&[&reading("spo2")], &sender(), p.as_ref(), 0).unwrap());
    assert_eq!(ids[0].control_id, ids[1].control_id);
    let event = alert(&[&reading("heart-rate")]);
    let alarm = write_alert(&event, &[], (&sender(), &facets()), Some(&person()), NOW_MS).text;
    assert_eq!(field(&alarm, "PID", 1, 7), "19500307");
    let mut nobodys = event;
    nobodys.alert.patient = None;
    let alarm = write_alert(&nobodys, &[], (&sender(), &facets()), Some(&person()), NOW_MS).text;
    assert!(!alarm.contains("PID") && !alarm.contains("Neill"), "{alarm}");
}

#[test]
fn a_receiver_gets_its_own_character_set_and_says_so() {
    let mut r = reading("spo2");
    r.device = DeviceId("mqtt:uhr-größe".into());
    let of = |characters: Charset, r: &Reading| {
        write_readings(&[r], &Sender { characters, ..sender() }, Some(&person()), NOW_MS).unwrap()
    };
    for (name, set, said) in [("case-8859-1", Charset::Latin1, "8859/1"), ("case-ascii", Charset::Ascii, "ASCII")] {
        let message = of(set, &r);
        let octets = set.octets(&message.text);
        golden_octets(name, &octets);
        assert_eq!(field(&message.text, "MSH", 1, 18), said);
        assert_eq!(set == Charset::Ascii, octets.is_ascii());
        let name = field(&message.text, "PID", 1, 5);
        let parts: Vec<String> = name.split('^').take(2).map(plain).collect();
        assert_eq!(parts, ["O'Neill^Ørsted & ~Søn", "Zoë\\五"], "nothing of it is lost: {name}");
        assert_eq!(message.control_id, of(Charset::Utf8, &r).control_id, "the same message");
        // It is said where nothing needs it, too: a receiver that wants a set wants to know it.
        let plain = write_readings(&[&reading("spo2")], &Sender { characters: set, ..sender() }, None, NOW_MS).unwrap();
        assert_eq!((field(&plain.text, "MSH", 1, 18), plain.text.is_ascii()), (said.into(), true));
    }
    assert!(Charset::Latin1.octets(&of(Charset::Latin1, &r).text).windows(5).any(|w| w == b"gr\xF6\xDFe"));
}

#[test]
fn values_stay_as_the_device_gave_them() {
    for (vital, value, unit, expected, code) in [
        ("body-temperature", "36.0", "Cel", "36.0", "268192^MDC_DIM_DEGC^MDC^Cel^Cel^UCUM"),
        ("body-weight", "80.350", "kg", "80.350", "263875^MDC_DIM_KILO_G^MDC^kg^kg^UCUM"),
        ("body-weight", "80350", "g", "80350", "g^g^UCUM"),
        ("body-height", "1.70", "m", "170", "263441^MDC_DIM_CENTI_M^MDC^cm^cm^UCUM"),
        ("heart-rate", "72", "{beats}/min", "72", "264864^MDC_DIM_BEAT_PER_MIN^MDC^/min^/min^UCUM"),
        ("respiratory-rate", "14", "/min", "14", "264928^MDC_DIM_RESP_PER_MIN^MDC^/min^/min^UCUM"),
        ("glucose-interstitial", "5.5", "mmol/L", "5.5", "266866^MDC_DIM_MILLI_MOLE_PER_L^MDC^mmol/L^mmol/L^UCUM"),
    ] {
        let text = text(&of(vital, value, unit));
        assert_eq!((field(&text, "OBX", 2, 5), field(&text, "OBX", 2, 6)), (expected.into(), code.into()), "{vital}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A name in PID-5 and a text of up to 4,000 characters, in each set: read back whole from the octets.
    #[test]
    fn whatever_people_write_is_read_back_from_every_character_set(
        family in "\\PC{1,50}", given in "[A-Za-zÀ-ÿ|^&~\\\\]{1,30}", words in "(\\PC|[À-ÿ|^&~\\\\\n]){0,4000}",
    ) {
        let person = Demographics { family: Some(family.clone()), given: Some(given.clone()), ..Demographics::default() };
        let mut event = alert(&[]);
        event.alert.text.clone_from(&words);
        for characters in [Charset::Utf8, Charset::Latin1, Charset::Ascii] {
            let to = Sender { characters, ..sender() };
            let message = write_alert(&event, &[], (&to, &facets()), Some(&person), NOW_MS);
            let octets = characters.octets(&message.text).into_owned();
            let text = match characters {
                Charset::Utf8 => String::from_utf8(octets).unwrap(),
                _ => octets.iter().map(|b| char::from(*b)).collect(),
            };
            prop_assert_eq!(text.matches('\r').count(), 10, "a segment is a segment");
            let name = field(&text, "PID", 1, 5);
            let read: Vec<String> = name.split('^').take(2).map(plain).collect();
            prop_assert_eq!(&read, &[family.clone(), given.clone()]);
            let said = field(&text, "OBX", 1, 5);
            prop_assert_eq!(said.split('^').nth(4).map(plain).unwrap_or_default(), words.clone());
        }
    }
}

proptest! {
    /// Read back by a parser of somebody else: the same value, unit, precision, time, patient and device.
    #[test]
    fn what_is_written_is_read_back(
        mantissa in -999_999i64..999_999, exponent in -4i16..1, at in 1_500_000_000_000i64..1_900_000_000_000,
        patient in "[A-Za-z0-9.|^&~\\\\-]{1,40}", device in "[ -~äöü]{1,40}", exact: bool,
    ) {
        let mut r = reading("body-weight");
        let value = Decimal::new(mantissa, exponent);
        r.parts[0].value = Value::Number(value);
        r.patient = Some(PatientId::new(&format!("Patient/{patient}")));
        r.device = DeviceId(format!("mqtt:{device}").into());
        r.taken.at_ms = Some(at);
        if exact {
            (r.taken.method, r.taken.uncertainty_ms) = (TimeMethod::DeviceInstant, 0);
        }
        let text = write_readings(&[&r], &sender(), None, at).unwrap().text;
        let parsed = Parsed::parse(text.trim_end()).unwrap();
        prop_assert_eq!(parsed.segment_count("OBX"), 2);
        prop_assert_eq!(field(&text, "OBX", 2, 5), value.to_string());
        prop_assert!(field(&text, "OBX", 2, 6).ends_with("^kg^kg^UCUM"));
        let id = parsed.segment("PID").and_then(|s| s.field(3)).and_then(|f| f.component(1)).unwrap().raw_value();
        prop_assert_eq!(plain(id), patient);
        let equipment = parsed.segment_n("OBX", 1).and_then(|s| s.field(18)).and_then(|f| f.component(1)).unwrap();
        prop_assert_eq!(plain(equipment.raw_value()), r.device.0.to_string());
        let time = field(&text, "OBX", 2, 14);
        let (format, precision) = if exact { ("%Y%m%d%H%M%S%.f%z", 1) } else { ("%Y%m%d%H%M%S%z", 1_000) };
        let read = jiff::Timestamp::strptime(format, &time).unwrap().as_millisecond();
        prop_assert_eq!(read, at.div_euclid(precision) * precision);
    }
}
