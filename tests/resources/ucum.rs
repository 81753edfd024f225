//! The units against the LOINC team's own UCUM library (`@lhncbc/ucum-lhc`, by `scripts/tools ucum`): each is a valid
//! code, and each conversion gives what ours gives. Skipped, loudly, where it is not installed.

use std::process::Command;

use serde_json::Value as Json;
use wardline::unit::{Dimension, UNITS, Unit};

use crate::support;

/// Reads `[[from, to], …]` and prints `{units: {code: status}, factors: [converted 37, or null]}`.
const SCRIPT: &str = r#"
const { UcumLhcUtils } = require('@lhncbc/ucum-lhc');
const ucum = UcumLhcUtils.getInstance();
const { codes, pairs } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const units = Object.fromEntries(codes.map((c) => [c, ucum.validateUnitString(c).status]));
const values = pairs.map(([a, b]) => { const r = ucum.convertUnitTo(a, 37, b); return r.status === 'succeeded' ? r.toVal : null; });
console.log(JSON.stringify({ units, values }));
"#;

#[test]
fn every_unit_is_a_ucum_code_and_converts_as_the_ucum_library_does() {
    let tools = support::fhir_server::tools();
    let (folder, node) = (tools.join("ucum"), tools.join("oracle/node"));
    if !folder.join("node_modules/@lhncbc/ucum-lhc").exists() || !node.exists() {
        support::skipped("the UCUM library is not installed: run scripts/tools ucum");
        return;
    }
    let mut codes: Vec<&str> = UNITS.iter().map(|u| u.ucum).collect();
    codes.extend(["bpm", "mmHg", "stone"]);
    let mut pairs = Vec::new();
    for (a, b) in UNITS.iter().flat_map(|a| UNITS.iter().map(move |b| (a, b))) {
        if a.ucum != b.ucum {
            pairs.push([a.ucum, b.ucum]);
        }
    }
    let question = serde_json::json!({ "codes": codes, "pairs": pairs }).to_string();
    let scratch = tempfile::tempdir().unwrap();
    let (script, input) = (scratch.path().join("ask.cjs"), scratch.path().join("ask.json"));
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::write(&input, question).unwrap();
    let output = Command::new(node)
        .arg(&script)
        .env("NODE_PATH", folder.join("node_modules"))
        .stdin(std::fs::File::open(input).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Json = serde_json::from_slice(&output.stdout).unwrap();
    for unit in UNITS {
        assert_eq!(answer["units"][unit.ucum], "valid", "{}", unit.ucum);
    }
    for wrong in ["bpm", "mmHg", "stone"] {
        assert_ne!(answer["units"][wrong], "valid", "{wrong}: it sees what is wrong");
    }
    let mut compared = 0;
    for (pair, theirs) in pairs.iter().zip(answer["values"].as_array().unwrap()) {
        let [a, b] = pair.map(|code| Unit::parse(code).unwrap());
        let Some(ours) = a.convert("37".parse().unwrap(), b, 9) else { continue };
        // UCUM takes what stands in braces for a comment, and a count for a number: these we do not convert at all.
        let theirs = theirs.as_f64().unwrap_or_else(|| panic!("{pair:?}: the library does not convert it"));
        let ours: f64 = ours.to_string().parse().unwrap();
        // Its metre of mercury is the same number; what differs is its floating point.
        assert!((ours - theirs).abs() <= theirs.abs() * 1e-6 + 1e-9, "{pair:?}: {ours} and {theirs}");
        assert!(a.dimension() != Dimension::AmountConcentration || b.dimension() == a.dimension());
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}
