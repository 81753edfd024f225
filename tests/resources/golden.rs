//! One readable file for each resource, under `tests/golden/fhir`. `WARDLINE_GOLDEN=write` writes them anew: what has
//! changed is then seen by the next reader of the change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use wardline::deed::Did;
use wardline::fhir::{
    Audit, Bundle, Clocks, Facts, Kind, Metric, Origin, UsCore, Why, Write, audit_event, coincident, device_metric,
    gateway_device, provenance, sensor_device,
};
use wardline::nameplate::{Certification, Nameplate, Udi};
use wardline::vital::Vital;

use super::forms;

const AT_MS: i64 = 1_795_342_271_250;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fhir")
}

/// What is in 180A of a cuff that says all of it.
pub fn cuff() -> Facts {
    let text = |t: &str| Some(t.to_owned());
    let plate = Nameplate {
        system_id: text("71-10-00-FE-FF-5F-49-B0"),
        manufacturer: text("A&D Medical"),
        model: text("UA-651BLE"),
        serial: text("5150600017"),
        hardware: text("1.00"),
        software: text("2.01"),
        firmware: text("BLP008_d016"),
        udi: Some(Udi {
            label: text("(01)00012345600012"),
            di: text("00012345600012"),
            issuer: text("http://hl7.org/fhir/NamingSystem/gs1-di"),
            authority: None,
        }),
        certification: Certification::parse(&[0, 2, 0, 18, 2, 1, 0, 8, 5, 0, 0, 1, 0, 2, 0x80, 7, 2, 2, 0, 2, 0x80, 0]),
    };
    Facts {
        plate,
        vitals: vec![Vital::parse("blood-pressure").unwrap(), Vital::parse("pulse-rate").unwrap()],
        clock_is_set: Some(false),
    }
}

/// What is no Observation of a patient.
pub fn others() -> Vec<(&'static str, Json)> {
    let scope = forms::scope(UsCore::Any);
    let clocks = |theirs| Clocks { device: "ble:C0:26:DF:00:11:22", theirs, ours_ms: AT_MS };
    let face = ("2026-11-22T11:09:58".parse().unwrap(), 60);
    let origin = Origin {
        device: "ble:C0:26:DF:00:11:22",
        person: Some("N. Nurse"),
        reason: Some("Wrong patient"),
        recorded_ms: AT_MS,
    };
    let audit = |did, person, patients: &[&str], failed| {
        let seal = "5e1f0c6a9d3b4e7f8a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071";
        audit_event(&Audit { did, person, patients, failed, at_ms: AT_MS, seal }, &scope)
    };
    let metric = |reading: &wardline::reading::Reading, facts: &Facts| {
        let scope = match reading.vital.id == "body-weight" {
            true => wardline::fhir::Scope { mapping: forms::mapped().mapping, ..forms::placed() },
            false => forms::placed(),
        };
        Json::Object(device_metric(&Metric::of(reading, &scope)[0], &scope, facts))
    };
    let whose = &["Patient/8f2c"];
    let mut bundle = Bundle::new(Kind::Collection, 2);
    for id in ["blood-pressure", "pulse-rate"] {
        bundle.reading(&forms::plain(id), &forms::guided(), Write::Update).unwrap();
    }
    vec![
        ("device.sensor", sensor_device("ble:C0:26:DF:00:11:22", &cuff(), None)),
        ("device.sensor-unknown", sensor_device("mqtt:cuff-17", &Facts::default(), None)),
        ("device.gateway", gateway_device(&scope, None)),
        ("clocks", coincident(&clocks(Some(face)), &scope).unwrap()),
        (
            "clocks.guide",
            coincident(&Clocks::of(&forms::clocked("blood-pressure")).unwrap(), &forms::placed()).unwrap(),
        ),
        ("clocks.lost", coincident(&clocks(None), &scope).unwrap()),
        ("metric.blood-pressure", metric(&forms::plain("blood-pressure"), &Facts::default())),
        ("metric.blood-pressure.guide", metric(&forms::plain("blood-pressure"), &cuff())),
        ("metric.body-weight.site-a", metric(&forms::plain("body-weight"), &Facts::default())),
        ("metric.heart-rate.mean", metric(&forms::mean("heart-rate"), &Facts::default())),
        ("provenance.withdrawal", provenance(&["Observation/wl-1"], Why::Withdrawal, &origin, &scope)),
        ("provenance.replacement", provenance(&["Observation/wl-2"], Why::Replacement, &origin, &scope)),
        ("audit.exported", audit(Did::Exported, Some("N. Nurse"), &["Patient/8f2c", "Patient/91d0"], false)),
        ("audit.exported-not-whole", audit(Did::Exported, Some("N. Nurse"), whose, true)),
        ("audit.read", audit(Did::Read, Some("N. Nurse"), whose, false)),
        ("audit.configured", audit(Did::Configured, None, &[], false)),
        ("audit.consented", audit(Did::Consented, Some("N. Nurse"), whose, false)),
        ("audit.matched", audit(Did::Matched, Some("N. Nurse"), whose, false)),
        ("bundle.collection", serde_json::from_slice(&bundle.finish()).unwrap()),
    ]
}

#[test]
fn every_resource_is_as_its_golden_file_shows() {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (name, reading, scope) in forms::all() {
        files.insert(name, pretty(&forms::text(&reading, &scope)));
    }
    files.extend(others().into_iter().map(|(name, json)| (name.to_owned(), pretty(&json.to_string()))));
    let folder = folder();
    if std::env::var_os("WARDLINE_GOLDEN").is_some_and(|v| v == "write") {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.join(format!("{name}.json")), text).unwrap());
    }
    let there: BTreeMap<String, String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&p).unwrap()))
        .collect();
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&files), names(&there), "run with WARDLINE_GOLDEN=write and look at what changes");
    for (name, text) in &files {
        assert!(*text == there[name], "{name}.json is not what is sent now:\n{text}");
    }
}

/// The version of this software as `VERSION`, as no file must change with a release. Two spaces a level, a line for each member, numbers as they were written: `36.60` stays `36.60`.
pub fn pretty(json: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    for c in json.replace(concat!("\"", env!("CARGO_PKG_VERSION"), "\""), "\"VERSION\"").chars() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                depth += 1;
                line(&mut out, depth);
            }
            '}' | ']' => {
                depth -= 1;
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                quoted = true;
                out.push(c);
            }
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}
