//! Readings that can be read at a glance: every vital sign with a value that a person could have.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use wardline::fhir::{Clocks, Devices, Scope, UsCore, Write, single};
use wardline::reading::{Part, Quality, Reading};
use wardline::vital::{Role, Site, Status, VITALS, Vital};

use crate::support::readings::reading;

/// Values in the first unit.
const VALUES: &[(&str, &str)] = &[
    ("heart-rate", "72"),
    ("pulse-rate", "71"),
    ("oximeter-pulse-rate", "70"),
    ("resting-heart-rate", "58"),
    ("spo2", "97"),
    ("perfusion-index", "4.2"),
    ("body-temperature", "36.60"),
    ("body-weight", "81.45"),
    ("body-height", "176"),
    ("body-mass-index", "26.3"),
    ("body-fat", "24.1"),
    ("fat-free-mass", "61.8"),
    ("soft-lean-mass", "58.2"),
    ("body-water-mass", "44.9"),
    ("basal-metabolism", "7012"),
    ("muscle-percentage", "41.0"),
    ("muscle-mass", "33.4"),
    ("impedance", "512"),
    ("respiratory-rate", "16"),
    ("rr-interval", "833"),
    ("pr-interval", "160"),
    ("qtc-interval", "410"),
    ("sdnn", "48"),
    ("steps", "412"),
    ("steps-24h", "6120"),
    ("energy-expended", "210"),
    ("peak-expiratory-flow", "430"),
    ("peak-expiratory-flow-best", "480"),
    ("fev1", "3.12"),
    ("fev6", "3.91"),
    ("fvc", "4.02"),
    ("fev1-fvc", "77.6"),
    ("inr", "2.4"),
    ("hba1c", "6.8"),
];

fn value(id: &str, role: Role) -> &'static str {
    match role {
        Role::Systolic => "128",
        Role::Diastolic => "82",
        Role::Mean => "97",
        _ if id.starts_with("glucose") => "104",
        _ => VALUES.iter().find(|(vital, _)| *vital == id).unwrap_or_else(|| panic!("a value for {id}")).1,
    }
}

pub fn part(role: Role, value: &str, unit: &str) -> Json {
    let value: Json = serde_json::from_str(value).unwrap();
    json!({"role": role, "value": {"number": value}, "unit": unit})
}

pub fn absent(role: Role, why: &str, unit: &str) -> Json {
    json!({"role": role, "value": {"absent": why}, "unit": unit})
}

pub fn with(id: &str, parts: Vec<Json>) -> Reading {
    reading(1, "Patient/8f2c", id, &Json::Array(parts))
}

pub fn plain(id: &str) -> Reading {
    let vital = Vital::parse(id).unwrap();
    with(id, vital.components.iter().map(|c| part(c.role, value(id, c.role), vital.units[0])).collect())
}

pub fn labelled(id: &str, quality: Quality) -> Reading {
    Reading { quality: vec![quality], ..plain(id) }
}

/// With these status bits.
pub fn said(id: &str, words: &[&str]) -> Reading {
    let status = |word: &&str| Quality::Status(Status::parse(word).unwrap());
    Reading { quality: words.iter().map(status).collect(), ..plain(id) }
}

/// A glucose, with what a person typed in beside it.
fn eaten() -> Vec<Part> {
    let typed = [
        part(Role::Value, "162", "mg/dL"),
        part(Role::Carbohydrate, "45", "g"),
        part(Role::Medication, "0.04", "mL"),
        part(Role::Exercise, "60", "%"),
        part(Role::Exercised, "1800", "s"),
    ];
    serde_json::from_value(Json::Array(typed.into())).unwrap()
}

/// The mean of a minute of a stream.
pub fn mean(id: &str) -> Reading {
    let unit = Vital::parse(id).unwrap().units[0];
    let numbers = [(Role::Value, "72.4", unit), (Role::Minimum, "66", unit), (Role::Maximum, "79", unit)];
    let counted = [(Role::Count, "58", "1"), (Role::Duration, "59.120", "s")];
    with(id, numbers.into_iter().chain(counted).map(|(role, n, unit)| part(role, n, unit)).collect())
}

pub fn moles(id: &str) -> Reading {
    with(id, vec![part(Role::Value, "5.8", "mmol/L")])
}

pub fn at(site: &str) -> Reading {
    Reading { site: Site::parse(site), ..plain("body-temperature") }
}

/// As a correction makes it.
pub fn amended(id: &str, kind: &str) -> Reading {
    let old = plain(id);
    let mut json = serde_json::to_value(&old).unwrap();
    json["amendment"] = json!({
        "of": old.key, "kind": kind, "by": "N. Nurse", "at_ms": 1_795_350_000_000_u64, "reason": "the wrong twin",
    });
    if kind == "replacement" {
        json["key"] = json!("000000000000000000000000000000ff");
        json["patient"] = json!("Patient/91d0");
    }
    serde_json::from_value(json).unwrap()
}

pub fn scope(us_core: UsCore) -> Scope {
    Scope { us_core, ..Scope::new("box-17") }
}

/// With the devices within, so that the guide's profiles are claimed where they hold.
pub fn guided() -> Scope {
    Scope { phd: true, devices: Devices::Contained, ..scope(UsCore::V8) }
}

/// By a cuff whose clock began anew with the year.
pub fn clocked(id: &str) -> Reading {
    let mut json = serde_json::to_value(plain(id)).unwrap();
    json["taken"]["device"] = json!({"civil": "2026-01-01T05:12:31"});
    json["taken"]["method"] = json!("device-corrected");
    json["clocks"] = json!({"device": "2026-01-01T06:12:34", "offset_min": 60, "box_ms": 1_795_342_269_250_u64});
    serde_json::from_value(json).unwrap()
}

/// With the devices and the pair of clocks at the server.
pub fn placed() -> Scope {
    let places = [("ble:C0:26:DF:00:11:22", "Device/d-17"), ("box-17", "Device/g-17")];
    let places = places.map(|(id, place)| (id.to_owned(), place.to_owned())).into();
    let scope = Scope { phd: true, devices: Devices::Placed(Arc::new(places)), ..scope(UsCore::V8) };
    let reading = clocked("blood-pressure");
    let name = Clocks::of(&reading).unwrap().name(&scope);
    Scope { clocks: Arc::new([(name, "Observation/c-17".to_owned())].into()), ..scope }
}

pub fn mapped() -> Scope {
    let text = r#"
        version = "site-a-3"
        [[vital]]
        vital = "body-weight"
        coding = [{ system = "http://loinc.org", code = "3141-9", display = "Body weight Measured" }]
        text = "Weight at home"
        unit = "[lb_av]"
        unit_text = "pounds"
        decimals = 1
        [[vital]]
        vital = "blood-pressure"
        role = "systolic"
        coding = [{ system = "urn:site-a:flowsheet", code = "SYS" }]
        [[vital]]
        vital = "spo2"
        coding = [{ system = "urn:site-a:flowsheet", code = "O2" }]
        replace = true
        [[vital]]
        vital = "impedance"
        coding = [{ system = "urn:site-a:flowsheet", code = "BIA" }]
    "#;
    let mapping = wardline::mapping::Mapping::parse(text, std::path::Path::new("site-a.toml")).unwrap();
    Scope { mapping: Some(Arc::new(mapping)), ..scope(UsCore::V8) }
}

pub fn resource(reading: &Reading, scope: &Scope) -> Json {
    serde_json::from_str(&text(reading, scope)).unwrap()
}

pub fn text(reading: &Reading, scope: &Scope) -> String {
    String::from_utf8(single(reading, scope, Write::Update).unwrap().body).unwrap()
}

/// Every golden Observation: its file's name, the reading, and what its destination is like.
pub fn all() -> Vec<(String, Reading, Scope)> {
    let (any, six, eight) = (scope(UsCore::Any), scope(UsCore::V6), scope(UsCore::V8));
    let mut all = Vec::new();
    let mut add = |name: &str, reading: Reading, scope: &Scope| all.push((name.to_owned(), reading, scope.clone()));
    for row in VITALS {
        add(row.id, plain(row.id), &any);
        if !row.loinc_moles.is_empty() || row.units.contains(&"mmol/L") {
            add(&format!("{}.moles", row.id), moles(row.id), &any);
        }
    }
    for site in ["armpit", "ear-lobe", "finger", "gastro-intestinal-tract", "mouth", "rectum", "toe", "tympanum"] {
        add(&format!("body-temperature.site-{site}"), at(site), &any);
    }
    for (name, id) in [("heart-rate", "heart-rate"), ("spo2", "spo2")] {
        add(&format!("{name}.mean-us-core-6"), mean(id), &six);
        add(&format!("{name}.mean-us-core-8"), mean(id), &eight);
    }
    add("spo2.absent", with("spo2", vec![absent(Role::Value, "not-a-number", "%")]), &any);
    let half = vec![part(Role::Systolic, "128", "mm[Hg]"), absent(Role::Diastolic, "error", "mm[Hg]")];
    add("blood-pressure.absent-half", with("blood-pressure", half), &any);
    let kpa = [(Role::Systolic, "17.1"), (Role::Diastolic, "10.9")].map(|(role, n)| part(role, n, "kPa")).to_vec();
    add("blood-pressure.from-kpa", with("blood-pressure", kpa), &any);
    add("body-height.from-metres", with("body-height", vec![part(Role::Value, "1.76", "m")]), &any);
    add("body-temperature.fahrenheit", with("body-temperature", vec![part(Role::Value, "97.9", "[degF]")]), &any);
    for (name, quality) in [
        ("questionable", Quality::Questionable),
        ("invalid", Quality::Invalid),
        ("early", Quality::Early),
        ("implausible", Quality::Implausible),
        ("test", Quality::Test),
        ("clock-in-doubt", Quality::TimeDoubtful),
    ] {
        add(&format!("blood-pressure.{name}"), labelled("blood-pressure", quality), &any);
    }
    add("glucose-capillary-plasma.above-range", labelled("glucose-capillary-plasma", Quality::AboveRange), &any);
    add("blood-pressure.irregular-pulse", said("blood-pressure", &["irregular-pulse", "improper-position"]), &any);
    add("spo2.poor-signal", said("spo2", &["poor-signal", "low-perfusion"]), &any);
    let finger = Reading { site: Site::parse("finger"), ..said("glucose-capillary-plasma", &["meter-battery-low"]) };
    add("glucose-capillary-plasma.battery-low", finger, &any);
    let meal =
        Reading { parts: eaten(), ..said("glucose-capillary-plasma", &["lunch", "after-meal", "tested-by-self"]) };
    add("glucose-capillary-plasma.after-meal", meal, &any);
    add("blood-pressure.withdrawn", amended("blood-pressure", "withdrawal"), &any);
    add("blood-pressure.replacement", amended("blood-pressure", "replacement"), &any);
    add("blood-pressure.guide", plain("blood-pressure"), &guided());
    add("spo2.guide", plain("spo2"), &guided());
    add("blood-pressure.both-clocks", clocked("blood-pressure"), &placed());
    for id in ["body-weight", "blood-pressure", "spo2", "impedance"] {
        add(&format!("{id}.site-a"), plain(id), &mapped());
    }
    all
}
