//! Every vital with every label, absence, site and unit, judged by Medplum's validator against the US Core profiles of
//! two versions. Skipped, loudly, where the definitions or the validator are not at hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::readings::reading;
use wardline::fhir::{Scope, Write, single};
use wardline::reading::{Quality, Reading};
use wardline::unit::UNITS;
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

#[test]
fn every_form_of_a_reading_fits_its_us_core_profile() {
    let Some((definitions, script, tools)) = oracle() else { return };
    let folder = tempfile::tempdir().unwrap();
    // Node.js looks for packages beside the script.
    std::fs::copy(script, folder.path().join("oracle.mjs")).unwrap();
    std::os::unix::fs::symlink(tools.join("node_modules"), folder.path().join("node_modules")).unwrap();
    let scope = Scope { gateway: "box-1".into(), us_core: true };
    let forms = forms();
    for version in ["6.1.0", "8.0.0"] {
        // vs-1 as FHIR R4 wrote it holds of no period, though the profile allows one; US Core 8 has it right.
        let forms: Vec<_> = forms.iter().filter(|f| version != "6.1.0" || f.lasted_ms().is_none()).collect();
        let mut lines = String::new();
        for form in &forms {
            let resource = single(form, &scope, Write::Update).unwrap();
            writeln!(lines, "{}", String::from_utf8(resource.body).unwrap()).unwrap();
        }
        std::fs::write(folder.path().join("all.ndjson"), lines).unwrap();
        let judged = Command::new(tools.join("node"))
            .current_dir(folder.path())
            .args(["oracle.mjs".as_ref(), definitions.as_os_str(), version.as_ref(), "all.ndjson".as_ref()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&judged.stdout);
        let failed: Vec<&str> = said.lines().filter(|l| l.starts_with("FAIL")).take(10).collect();
        assert!(judged.status.success(), "{version}: {failed:#?}\n{}", String::from_utf8_lossy(&judged.stderr));
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(last, format!("{} passed, 0 failed", forms.len()), "{version}");
    }
}
