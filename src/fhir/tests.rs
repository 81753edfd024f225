use serde_json::{Value as Json, json};

use super::fixtures::{alert, nth, reading};
use super::*;
use crate::alarm::{Acknowledged, Condition, Happened};
use crate::clock::Stamp;
use crate::reading::{Absence, DeviceId, DeviceTime, Part, PatientId, Quality, Reading, TimeMethod, Value};
use crate::unit::Unit;
use crate::vital::{Role, Site, VITALS};
use std::sync::Arc;

fn scope() -> Scope {
    Scope::new("box-1")
}

fn text(reading: &Reading) -> String {
    String::from_utf8(single(reading, &scope(), Write::ConditionalCreate).unwrap().body).unwrap()
}

fn observation(reading: &Reading) -> Json {
    serde_json::from_str(&text(reading)).unwrap()
}

/// A reading of one value in this unit.
fn of(vital: &str, value: &str, unit: &str) -> Reading {
    let mut r = reading(vital);
    r.parts[0].value = Value::Number(value.parse().unwrap());
    r.parts[0].unit = Unit::parse(unit).unwrap();
    r
}

fn labelled(quality: Quality) -> Json {
    let mut r = of("body-temperature", "36.0", "Cel");
    r.quality.push(quality);
    observation(&r)
}

fn codes(concept: &Json) -> Vec<&str> {
    concept["coding"].as_array().unwrap().iter().map(|c| c["code"].as_str().unwrap()).collect()
}

#[track_caller]
fn quantity(value: &str, unit: &str, vital: &str, expected: &str, code: &str) {
    let r = of(vital, value, unit);
    let json = text(&r);
    assert!(json.contains(&format!(r#""value":{expected},"#)), "{json}");
    assert!(json.contains(&format!(r#""code":"{code}""#)), "{json}");
}

#[test]
fn a_whole_observation() {
    let mut r = of("spo2", "97", "%");
    r.device = DeviceId("ble:C0:26:DF:00:11:22".into());
    r.site = Site::parse("finger");
    let expected = json!({
        "resourceType": "Observation",
        "meta": {
            "profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-pulse-oximetry"],
            "tag": [
                {"system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-tags", "code": "patient-supplied"},
                {"system": "urn:wardline:mapping", "code": crate::vital::BASE_VERSION}
            ]
        },
        "extension": [{
            "url": "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice",
            "valueReference": {"type": "Device", "identifier": {"system": "urn:wardline:gateway", "value": "box-1"}}
        }],
        "identifier": [{
            "system": "http://hl7.org/fhir/uv/phd/StructureDefinition/PhdBaseObservation",
            "value": "C026DF001122-8f2c-150456-R848657471.250-0707070707070707"
        }],
        "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]},
            {"coding": [{"system": "http://hl7.org/fhir/uv/phd/CodeSystem/PhdObservationCategories", "code": "phd"}]}
        ],
        "code": {
            "coding": [
                {"system": "http://loinc.org", "code": "59408-5", "display": "Oxygen saturation in Arterial blood by Pulse oximetry"},
                {"system": "http://loinc.org", "code": "2708-6", "display": "Oxygen saturation in Arterial blood"},
                {"system": "urn:iso:std:iso:11073:10101", "code": "150456", "display": "MDC_PULS_OXIM_SAT_O2"}
            ],
            "text": "Oxygen saturation"
        },
        "subject": {"reference": "Patient/8f2c"},
        "effectiveDateTime": "2026-11-22T10:11:11Z",
        "performer": [{"reference": "Patient/8f2c"}],
        "valueQuantity": {"value": 97, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"},
        "bodySite": {"coding": [{"system": "http://snomed.info/sct", "code": "7569003", "display": "Finger structure"}]},
        "device": {
            "type": "Device",
            "identifier": {"system": "http://hl7.org/fhir/sid/eui-48/bluetooth", "value": "C0-26-DF-00-11-22"}
        }
    });
    assert_eq!(observation(&r), expected);
}

#[test]
fn decimals_are_the_devices() {
    quantity("36.0", "Cel", "body-temperature", "36.0", "Cel");
    quantity("97.70", "[degF]", "body-temperature", "97.70", "[degF]");
    quantity("72", "{beats}/min", "heart-rate", "72", "/min");
    quantity("1.70", "m", "body-height", "170", "cm");
    quantity("1.705", "m", "body-height", "170.5", "cm");
    quantity("165.35", "[lb_av]", "body-weight", "165.35", "[lb_av]");
}

/// The mean of a stream: its period, how it was made, and what it was made from.
#[test]
fn a_period_of_a_stream_is_an_average_with_its_statistics() {
    let mut r = of("heart-rate", "61.5", "/min");
    let part = |role, value: &str, unit| Part {
        role,
        value: Value::Number(value.parse().unwrap()),
        unit: Unit::parse(unit).unwrap(),
    };
    r.parts.extend([
        part(Role::Minimum, "60", "/min"),
        part(Role::Maximum, "63", "{beats}/min"),
        part(Role::Count, "58", "1"),
        part(Role::Duration, "59.120", "s"),
    ]);
    let o = observation(&r);
    assert_eq!(o["effectivePeriod"], json!({"start": "2026-11-22T10:11:11.250Z", "end": "2026-11-22T10:12:10.370Z"}));
    assert!(o.get("effectiveDateTime").is_none());
    assert_eq!(o["valueQuantity"]["value"], json!(61.5));
    let statistics = "http://terminology.hl7.org/CodeSystem/observation-statistics";
    assert_eq!(o["method"], json!({"coding": [{"system": statistics, "code": "average"}]}));
    let quantity = |value, unit: &str, code| json!({"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": code});
    let told: Vec<_> = o["component"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["code"]["coding"][0]["code"].clone(), c["valueQuantity"].clone()))
        .collect();
    let mut count = quantity(58, "", "1");
    count.as_object_mut().unwrap().remove("unit");
    assert_eq!(
        told,
        [
            (json!("minimum"), quantity(60, "/min", "/min")),
            (json!("maximum"), quantity(63, "/min", "/min")),
            (json!("count"), count)
        ]
    );
}

#[test]
fn a_unit_that_does_not_fit_is_refused() {
    let r = of("heart-rate", "72", "kg");
    assert_eq!(single(&r, &scope(), Write::Update).err(), Some(Unmappable::Unit));
    let mut bundle = Bundle::new(Kind::Batch, 2);
    bundle.reading(&reading("spo2"), &scope(), Write::Update).unwrap();
    assert!(bundle.reading(&r, &scope(), Write::Update).is_err());
    bundle.reading(&reading("spo2"), &scope(), Write::Update).unwrap();
    let json: Json = serde_json::from_slice(&bundle.finish()).unwrap();
    assert_eq!(json["entry"].as_array().unwrap().len(), 2);
}

#[test]
fn blood_pressure_is_a_panel_that_always_has_both_halves() {
    let mut r = reading("blood-pressure");
    for (part, value) in r.parts.iter_mut().zip(["17.6", "11.3", "13.4"]) {
        (part.value, part.unit) = (Value::Number(value.parse().unwrap()), Unit::parse("kPa").unwrap());
    }
    let o = observation(&r);
    let values: Vec<&Json> = o["component"].as_array().unwrap().iter().map(|c| &c["valueQuantity"]["value"]).collect();
    assert_eq!(values, [132, 85, 101]);
    assert_eq!(codes(&o["component"][0]["code"]), ["8480-6", "150021"]);
    assert!(o.get("valueQuantity").is_none() && o.get("dataAbsentReason").is_none());

    r.parts.retain(|p| p.role != Role::Diastolic);
    r.parts[1].value = Value::Absent(Absence::NotANumber);
    let o = observation(&r);
    assert_eq!(o["component"].as_array().unwrap().len(), 2, "a mean without a number is left out");
    assert_eq!(codes(&o["component"][1]["dataAbsentReason"]), ["unknown"]);
    assert!(o["component"][1].get("valueQuantity").is_none());
}

#[test]
fn an_absence_is_a_reason_and_no_value() {
    for (absence, code) in [
        (Absence::NotANumber, "not-a-number"),
        (Absence::PositiveInfinity, "positive-infinity"),
        (Absence::NegativeInfinity, "negative-infinity"),
        (Absence::Error, "error"),
        (Absence::NotPerformed, "not-performed"),
        (Absence::Unknown, "unknown"),
    ] {
        let mut r = reading("heart-rate");
        r.parts[0].value = Value::Absent(absence);
        let o = observation(&r);
        assert_eq!(codes(&o["dataAbsentReason"]), [code]);
        assert!(o.get("valueQuantity").is_none());
    }
}

#[test]
fn every_doubt_has_its_label() {
    let invalid = labelled(Quality::Invalid);
    assert_eq!((codes(&invalid["dataAbsentReason"]), invalid.get("valueQuantity")), (vec!["error"], None));
    assert_eq!(codes(&labelled(Quality::Questionable)["interpretation"][0]), ["questionable"]);
    let early = labelled(Quality::Early);
    assert_eq!(
        (&early["status"], codes(&early["interpretation"][0])),
        (&json!("preliminary"), vec!["early-indication"])
    );
    assert_eq!(codes(&labelled(Quality::Calibrating)["interpretation"][0]), ["calibration-ongoing"]);
    assert_eq!(labelled(Quality::Test)["meta"]["security"][0]["code"], "HTEST");
    let implausible = labelled(Quality::Implausible);
    assert_eq!(implausible["status"], "preliminary");
    assert_eq!(codes(&implausible["interpretation"][0]), ["questionable"]);
    assert!(implausible["note"][0]["text"].as_str().unwrap().contains("plausible"));
    assert_eq!(labelled(Quality::AboveRange)["valueQuantity"]["comparator"], ">");
    assert_eq!(codes(&labelled(Quality::BelowRange)["interpretation"][0]), ["<"]);
    assert!(labelled(Quality::TimeDoubtful)["note"][0]["text"].as_str().unwrap().contains("clock"));
    let plain = labelled(Quality::Quirk);
    assert!(plain.get("note").is_none() && plain.get("interpretation").is_none());
}

#[test]
fn a_site_adds_its_codes_to_a_temperature_only() {
    let mut r = reading("body-temperature");
    r.site = Site::parse("mouth");
    let o = observation(&r);
    assert_eq!(codes(&o["code"]), ["8310-5", "8331-1", "188424"]);
    assert_eq!(codes(&o["bodySite"]), ["74262004"]);
    let mut r = reading("heart-rate");
    r.site = Site::parse("ear-lobe");
    assert_eq!(codes(&observation(&r)["code"]), ["8867-4", "147842"]);
}

#[test]
fn glucose_is_a_laboratory_result_coded_by_its_unit() {
    let o = observation(&of("glucose-capillary-plasma", "5.6", "mmol/L"));
    assert_eq!(codes(&o["code"]), ["14743-9", "160188"]);
    assert_eq!(codes(&o["category"][0]), ["laboratory"]);
    assert_eq!(o["meta"]["profile"][0], "http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab");
    assert_eq!(codes(&observation(&of("glucose-capillary-plasma", "101", "mg/dL"))["code"]), ["41653-7", "160188"]);
}

#[test]
fn time_has_the_precision_that_is_known() {
    let mut r = reading("heart-rate");
    r.taken.method = TimeMethod::DeviceInstant;
    assert_eq!(observation(&r)["effectiveDateTime"], "2026-11-22T10:11:11.250Z");
    r.taken.at_ms = None;
    assert_eq!(single(&r, &scope(), Write::Update).err(), Some(Unmappable::Undated));
}

#[test]
fn an_update_goes_to_an_id_that_depends_on_the_reading_alone() {
    let mut r = reading("heart-rate");
    let target = |r: &Reading| single(r, &scope(), Write::Update).unwrap().target;
    let first = target(&r);
    assert_eq!((first.method, first.if_none_exist.is_none()), ("PUT", true));
    let id = first.url.strip_prefix("Observation/").unwrap();
    assert!(id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    r.quality.push(Quality::Questionable);
    assert_eq!(target(&r), first);
    r.patient = Some(PatientId::new("Patient/other"));
    assert_ne!(target(&r), first);
}

#[test]
fn text_from_outside_cannot_break_the_json() {
    let mut r = reading("heart-rate");
    r.device = DeviceId("mqtt:\"},{\u{0}\\\n|,é".into());
    let mut bundle = Bundle::new(Kind::Batch, 1);
    bundle.reading(&r, &scope(), Write::ConditionalCreate).unwrap();
    let json: Json = serde_json::from_slice(&bundle.finish()).unwrap();
    assert_eq!(json["entry"][0]["resource"]["device"]["identifier"]["value"], "mqtt:\"},{\u{0}\\\n|,é");
    let query = json["entry"][0]["request"]["ifNoneExist"].as_str().unwrap();
    let value = query.split_once('|').unwrap().1;
    assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:".contains(&b)), "{query}");
}

#[test]
fn every_vital_maps_with_and_without_profiles() {
    for row in VITALS {
        let o = observation(&reading(row.id));
        assert_eq!(o["meta"].get("profile").is_some(), row.us_core.is_some(), "{}", row.id);
        assert!(o.get("valueQuantity").is_some() || o["component"].is_array(), "{}", row.id);
        assert!(text(&reading(row.id)).len() < 2_300, "{}", row.id);
    }
    let bare = Scope { us_core: UsCore::None, ..scope() };
    let o = single(&reading("spo2"), &bare, Write::Update).unwrap();
    assert!(!String::from_utf8(o.body).unwrap().contains("us-core-pulse"));
}

fn transaction(event: &crate::alarm::AlertEvent, write: Write, readings: &[Arc<Reading>]) -> Json {
    let scope = scope();
    let resources = AlertResources { event, scope: &scope, owner: Some("Group/care"), write, readings, elsewhere: &[] };
    let (body, entries) = resources.transaction().unwrap();
    let json: Json = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["entry"].as_array().unwrap().len(), entries);
    json
}

#[test]
fn an_alert_goes_out_with_its_evidence_and_a_task() {
    let (a, b) = (nth("heart-rate", 1), nth("heart-rate", 2));
    let mut foreign = nth("heart-rate", 3);
    foreign.patient = Some(PatientId::new("Patient/other"));
    let event = alert(&[&a, &foreign, &b]);
    let readings = [a, b, foreign].map(Arc::new);
    let t = transaction(&event, Write::ConditionalCreate, &readings);
    let kinds: Vec<&Json> = t["entry"].as_array().unwrap().iter().map(|e| &e["resource"]["resourceType"]).collect();
    assert_eq!(kinds, ["Observation", "Observation", "DetectedIssue", "Task"]);
    let (issue, task) = (&t["entry"][2], &t["entry"][3]);
    assert_eq!(issue["resource"]["implicated"][0]["reference"], t["entry"][0]["fullUrl"]);
    assert_eq!(issue["resource"]["implicated"][1]["reference"], t["entry"][1]["fullUrl"]);
    assert_eq!(issue["resource"]["severity"], "high");
    assert_eq!(issue["request"]["ifNoneExist"], "identifier=urn:wardline:alert|0123456789abcdef0123456789abcdef");
    assert_eq!(task["resource"]["focus"]["reference"], issue["fullUrl"]);
    assert_eq!((&task["resource"]["status"], &task["resource"]["priority"]), (&json!("requested"), &json!("stat")));
    assert_eq!(task["resource"]["owner"]["reference"], "Group/care");

    let t = transaction(&event, Write::Update, &readings);
    let issue = &t["entry"][2];
    let observation = t["entry"][0]["request"]["url"].as_str().unwrap();
    assert_eq!(issue["resource"]["implicated"][0]["reference"], observation);
    assert_eq!(t["entry"][3]["resource"]["focus"]["reference"], issue["request"]["url"]);
}

#[test]
fn an_acknowledgement_updates_and_only_a_person_finishes_the_task() {
    let mut event = alert(&[]);
    event.happened = Happened::Resolved;
    event.alert.resolved = Some(Stamp::at_ms(fixtures::RECEIVED_MS));
    event.alert.condition = Condition::Unconfirmed;
    event.alert.patient = None;
    let t = transaction(&event, Write::ConditionalCreate, &[]);
    assert_eq!(t["entry"][0]["request"]["method"], "PUT");
    assert_eq!(t["entry"][0]["resource"]["status"], "preliminary");
    assert_eq!(t["entry"][1]["resource"]["status"], "requested");
    assert_eq!(t["entry"][1]["resource"]["businessStatus"]["text"], "Condition cleared");

    event.alert.acknowledged = Some(Acknowledged { by: "N. Nurse".into(), at: event.at });
    let t = transaction(&event, Write::ConditionalCreate, &[]);
    assert_eq!(t["entry"][1]["resource"]["status"], "completed");
    assert_eq!(t["entry"][0]["resource"]["mitigation"][0]["author"]["display"], "N. Nurse");
}

#[test]
fn a_stored_device_time_makes_the_identity() {
    let mut r = reading("heart-rate");
    let undated = Identity::of(&r).unwrap().resource_id();
    r.taken.device = Some(DeviceTime::Civil("2026-11-22T10:11:12".parse().unwrap()));
    let dated = Identity::of(&r).unwrap().resource_id();
    assert_ne!(undated, dated);
    r.taken.received = Stamp::at_ms(0);
    assert_eq!(Identity::of(&r).unwrap().resource_id(), dated, "the time of receipt is not in it");
}
