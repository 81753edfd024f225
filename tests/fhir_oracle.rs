//! Every vital with every label, absence, site and unit, judged by Medplum's validator against the US Core profiles of
//! two versions. Skipped, loudly, where the definitions or the validator are not at hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::readings::reading;
use wardline::fhir::{Devices, Scope, UsCore, Write, single};
use wardline::reading::{Quality, Reading};
use wardline::unit::UNITS;
use wardline::vital::status::{STATUSES, Status};
use wardline::vital::{Role, SITES, Site, VITALS, VitalRow};

const QUALITIES: [Quality; 10] = [
    Quality::Questionable,
    Quality::Invalid,
    Quality::Early,
    Quality::Calibrating,
    Quality::Test,
    Quality::Implausible,
    Quality::AboveRange,
    Quality::BelowRange,
    Quality::TimeDoubtful,
    Quality::Quirk,
];

const ABSENCES: [&str; 6] =
    ["not-a-number", "positive-infinity", "negative-infinity", "error", "not-performed", "unknown"];

/// A reading of this vital whose parts are made by `part`.
fn made(n: &mut u64, row: &VitalRow, part: impl Fn(Role) -> Option<Value>) -> Reading {
    *n += 1;
    let parts: Vec<Value> = row.components.iter().filter_map(|c| part(c.role)).collect();
    reading(*n, "Patient/p1", row.id, &Value::Array(parts))
}

fn number(role: Role, value: &str, unit: &str) -> Value {
    let value: Value = serde_json::from_str(value).unwrap();
    json!({"role": role, "value": {"number": value}, "unit": unit})
}

fn absent(role: Role, why: &str, unit: &str) -> Value {
    json!({"role": role, "value": {"absent": why}, "unit": unit})
}

/// Units that a reading of this vital may carry: all of its dimension.
fn units(row: &VitalRow) -> Vec<&'static str> {
    let dimensions: Vec<_> = row.units.iter().map(|u| wardline::unit::Unit::parse(u).unwrap().dimension()).collect();
    UNITS.iter().filter(|u| dimensions.contains(&u.dimension)).map(|u| u.ucum).collect()
}

/// Every form that a reading can have.
fn forms() -> Vec<Reading> {
    let mut n = 0;
    let mut all = Vec::new();
    for row in VITALS {
        let first = row.units[0];
        for unit in units(row) {
            for value in ["97", "36.60", "0.5"] {
                all.push(made(&mut n, row, |role| Some(number(role, value, unit))));
            }
        }
        for why in ABSENCES {
            all.push(made(&mut n, row, |role| Some(absent(role, why, first))));
            for missing in row.components {
                all.push(made(&mut n, row, |role| {
                    Some(if role == missing.role { absent(role, why, first) } else { number(role, "80", first) })
                }));
            }
        }
        for missing in row.components {
            all.push(made(&mut n, row, |role| (role != missing.role).then(|| number(role, "80", first))));
        }
        for quality in QUALITIES {
            let mut labelled = made(&mut n, row, |role| Some(number(role, "80", first)));
            labelled.quality.push(quality);
            all.push(labelled);
        }
        // No device says all of these at once; a profile judges a component by itself.
        let mut said = made(&mut n, row, |role| Some(number(role, "80", first)));
        said.quality = STATUSES.iter().filter_map(|status| Status::parse(status.id)).map(Quality::Status).collect();
        all.push(said);
        let mut doubtful = made(&mut n, row, |role| Some(number(role, "80", first)));
        doubtful.quality = QUALITIES.into();
        all.push(doubtful);
        if row.components.len() == 1 {
            let statistics = [Role::Value, Role::Minimum, Role::Maximum].map(|role| number(role, "80.5", first));
            let counted = [number(Role::Count, "58", "1"), number(Role::Duration, "59.120", "s")];
            n += 1;
            let parts = statistics.into_iter().chain(counted).collect();
            all.push(reading(n, "Patient/p1", row.id, &Value::Array(parts)));
        }
        for site in SITES {
            let mut placed = made(&mut n, row, |role| Some(number(role, "37.0", first)));
            placed.site = Site::parse(site.id);
            all.push(placed);
        }
    }
    all
}

/// The folder of definitions, the validator, and the Node.js that runs it; `None`, said loudly: something is missing.
fn oracle() -> Option<(PathBuf, PathBuf, PathBuf)> {
    let shared = std::env::var_os("WARDLINE_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")));
    let (definitions, script) = (shared.join("standards/fhir"), shared.join("labs/fhir/fhir-oracle.mjs"));
    let tools = support::fhir_server::tools().join("oracle");
    for needed in [&definitions, &script, &tools.join("node")] {
        if !needed.exists() {
            support::skipped(&format!("the profile oracle: {} is missing", needed.display()));
            return None;
        }
    }
    Some((definitions, script, tools))
}

/// What the validator says of these lines: how many passed, and what failed.
fn judge(version: &str, lines: &str) -> Option<(String, Vec<String>)> {
    let (definitions, script, tools) = oracle()?;
    let folder = tempfile::tempdir().unwrap();
    // Node.js looks for packages beside the script.
    std::fs::copy(script, folder.path().join("oracle.mjs")).unwrap();
    std::os::unix::fs::symlink(tools.join("node_modules"), folder.path().join("node_modules")).unwrap();
    std::fs::write(folder.path().join("all.ndjson"), lines).unwrap();
    let judged = Command::new(tools.join("node"))
        .current_dir(folder.path())
        .args(["oracle.mjs".as_ref(), definitions.as_os_str(), version.as_ref(), "all.ndjson".as_ref()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judged.stdout);
    let failed: Vec<String> = said.lines().filter(|l| l.starts_with("FAIL")).take(10).map(str::to_owned).collect();
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(!last.is_empty(), "{version}: {}", String::from_utf8_lossy(&judged.stderr));
    Some((last, failed))
}

#[test]
fn every_form_of_a_reading_fits_its_us_core_profile() {
    for (version, us_core) in [("6.1.0", UsCore::V6), ("8.0.0", UsCore::V8)] {
        let mut lines = String::new();
        let forms = forms();
        // The devices within, and the claims of the device guide, must not break what US Core asks for.
        let scopes = [
            Scope { us_core, ..Scope::new("box-1") },
            Scope { us_core, phd: true, devices: Devices::Contained, ..Scope::new("box-1") },
        ];
        for (form, scope) in forms.iter().flat_map(|form| scopes.iter().map(move |scope| (form, scope))) {
            let resource = single(form, scope, Write::Update).unwrap();
            writeln!(lines, "{}", String::from_utf8(resource.body).unwrap()).unwrap();
        }
        let Some((last, failed)) = judge(version, &lines) else { return };
        assert_eq!(last, format!("{} passed, 0 failed", 2 * forms.len()), "{version}: {failed:#?}");
    }
}

/// A period is what 6.1.0 refuses; that the same form passes without one is what `us_core = "6.1.0"` is for.
#[test]
fn the_golden_files_fit_both_versions_and_a_period_fits_the_newer_one_only() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/fhir"));
    let mut observations = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let is_coincident = json["code"]["coding"][0]["code"] == "67975";
        if json["resourceType"] == "Bundle" || json["resourceType"] == "Observation" && !is_coincident {
            observations.push(json);
        }
    }
    let (lasting, moments): (Vec<_>, Vec<_>) =
        observations.into_iter().partition(|o| o["effectivePeriod"].is_object() && o["meta"]["profile"].is_array());
    let lines = |all: &[Value]| all.iter().map(|o| format!("{o}\n")).collect::<String>();
    for version in ["6.1.0", "8.0.0"] {
        let Some((last, failed)) = judge(version, &lines(&moments)) else { return };
        assert!(last.ends_with(" passed, 0 failed") && failed.is_empty(), "{version}: {last} {failed:#?}");
    }
    let (last, _) = judge("8.0.0", &lines(&lasting)).unwrap();
    assert_eq!((last, lasting.len()), ("2 passed, 0 failed".into(), 2));
    let (last, _) = judge("6.1.0", &lines(&lasting)).unwrap();
    assert_eq!(last, "0 passed, 2 failed", "6.1.0 refuses a period");
}

/// What the tests delivered to endpoints of the lab, one of each form (`WARDLINE_LAB_RECORD`): `./dev test` runs this after all others.
#[test]
#[ignore = "judges what other tests leave behind: `./dev test` runs it at its end"]
fn what_the_tests_delivered_fits_both_versions() {
    let folder = PathBuf::from(std::env::var_os("WARDLINE_LAB_RECORD").expect("the folder that the tests wrote to"));
    let mut all = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        all.extend(text.lines().map(str::to_owned));
    }
    // Not what a test wrote by hand, nor what the probe writes so that it is refused (a year before the first); and the clock
    // of a device is no vital sign.
    let is_to_be_refused = |line: &str| line.contains("\"effectiveDateTime\":\"-");
    let ours = all.iter().filter(|line| line.contains("urn:wardline:mapping") && !is_to_be_refused(line));
    let parsed = ours.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let observations: Vec<Value> = parsed.filter(|o| o["code"]["coding"][0]["code"] != "67975").collect();
    assert!(observations.len() > 50, "{} Observations in {}", observations.len(), folder.display());
    for version in ["6.1.0", "8.0.0"] {
        // A vital sign's mean over a period is what 6.1.0 refuses.
        let fits = |o: &&Value| version == "8.0.0" || !o["effectivePeriod"].is_object();
        let lines: Vec<String> = observations.iter().filter(fits).map(|o| format!("{o}\n")).collect();
        let Some((last, failed)) = judge(version, &lines.concat()) else { return };
        println!("{version}: {last}, of {} forms", observations.len());
        assert_eq!(last, format!("{} passed, 0 failed", lines.len()), "{version}: {failed:#?}");
    }
}
