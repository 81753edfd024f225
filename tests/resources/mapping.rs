//! A destination's own codes and units, in its resources and through the command.

use std::process::{Command, Output};

use wardline::fhir::{Scope, Unmappable, UsCore, Write, single};

use super::forms::{mapped, plain, resource, scope, text};

fn codes(concept: &serde_json::Value) -> Vec<&str> {
    concept["coding"].as_array().unwrap().iter().map(|c| c["code"].as_str().unwrap()).collect()
}

fn tag(json: &serde_json::Value) -> &str {
    json["meta"]["tag"].as_array().unwrap().iter().find(|t| t["system"] == "urn:wardline:mapping").unwrap()["code"]
        .as_str()
        .unwrap()
}

#[test]
fn each_resource_bears_the_version_of_its_codes_and_units() {
    let base = wardline::vital::BASE_VERSION;
    assert_eq!(tag(&resource(&plain("inr"), &scope(UsCore::Any))), base);
    // Also where the table does not speak of it.
    assert_eq!(tag(&resource(&plain("inr"), &mapped())), format!("{base}+site-a-3"));
}

#[test]
fn a_table_changes_what_it_names_and_nothing_else() {
    let weight = resource(&plain("body-weight"), &mapped());
    assert_eq!(codes(&weight["code"]), ["3141-9", "29463-7", "188736"]);
    assert_eq!(weight["code"]["text"], "Weight at home");
    assert_eq!(weight["valueQuantity"]["code"], "[lb_av]");
    assert_eq!(weight["valueQuantity"]["unit"], "pounds");
    assert!(text(&plain("body-weight"), &mapped()).contains("\"value\":179.6,"), "81.45 kg, to one decimal");
    assert!(weight["meta"]["profile"][0].as_str().unwrap().ends_with("us-core-body-weight"));
    let bp = resource(&plain("blood-pressure"), &mapped());
    assert_eq!(codes(&bp["component"][0]["code"]), ["SYS", "8480-6", "150021"]);
    assert_eq!(codes(&bp["component"][1]["code"]), ["8462-4", "150022"]);
    // What the profile fixes is gone: no claim.
    let spo2 = resource(&plain("spo2"), &mapped());
    assert_eq!(codes(&spo2["code"]), ["O2", "150456"]);
    assert!(spo2["meta"].get("profile").is_none());
    let strip = |scope: &Scope| text(&plain("fvc"), scope).replace("+site-a-3", "");
    assert_eq!(strip(&mapped()), strip(&scope(UsCore::V8)));
}

#[test]
fn what_no_code_system_has_goes_to_the_inbox_where_the_destination_wants_codes() {
    let strict = Scope { uncoded: false, ..scope(UsCore::Any) };
    for (id, sent) in [("impedance", false), ("basal-metabolism", false), ("fvc", true), ("soft-lean-mass", true)] {
        let outcome = single(&plain(id), &strict, Write::Update);
        assert_eq!(outcome.err(), (!sent).then_some(Unmappable::Uncoded), "{id}");
    }
    let named = Scope { uncoded: false, ..mapped() };
    assert!(single(&plain("impedance"), &named, Write::Update).is_ok(), "the table names it");
    let loose = resource(&plain("impedance"), &scope(UsCore::Any));
    assert_eq!(loose["code"], serde_json::json!({ "text": "Impedance" }));
}

pub fn wardline(folder: &std::path::Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wardline")).current_dir(folder).args(args).output().unwrap()
}

/// A configuration with a destination that has this table.
pub fn configured(table: &str, more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("site-a.toml"), table).unwrap();
    let text = format!(
        "[gateway]\nid = \"box-17\"\nstate = \"state\"\n[journal]\nunencrypted = true\n[[destination]]\nconsent = \"enrolment\"\nkind = \"fhir\"\n\
         name = \"centre\"\nurl = \"https://centre.example/fhir\"\nmapping_file = \"site-a.toml\"\n{more}\n"
    );
    std::fs::write(folder.path().join("w.toml"), text).unwrap();
    folder
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_dry_run_shows_what_would_be_sent_and_what_differs() {
    let table = "version = \"site-a-3\"\n[[vital]]\nvital = \"body-weight\"\nunit = \"[lb_av]\"\ntext = \"Weight\"\n";
    let folder = configured(table, "profile = \"hapi\"");
    let run = |args: &[&str]| {
        wardline(folder.path(), &[&["destination", "mapping", "centre", "--config", "w.toml"], args].concat())
    };
    let output = run(&[]);
    assert!(output.status.success(), "{}", said(&output));
    let shown = said(&output);
    for expected in ["+site-a-3", "body-weight (kg)", "[lb_av]", "instead of", "claims us-core-body-weight"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(!shown.contains("body-height"), "what does not differ: {shown}");
    assert!(said(&run(&["--all"])).contains("body-height (cm)"));
    let example = said(&run(&["--example", "body-weight"]));
    let json: serde_json::Value = serde_json::from_str(&example).unwrap();
    assert_eq!(json["valueQuantity"]["code"], "[lb_av]");
    assert!(wardline(folder.path(), &["check", "--config", "w.toml"]).status.success());
}

#[test]
fn a_table_that_cannot_be_sent_is_found_by_the_check_and_by_the_dry_run() {
    let table = "version = \"1\"\n[[vital]]\nvital = \"body-weight\"\nunit = \"stone\"\n";
    let folder = configured(table, "idempotency = \"update\"");
    for args in [&["check", "--config", "w.toml"][..], &["destination", "mapping", "centre", "--config", "w.toml"]] {
        let output = wardline(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        for expected in ["WL-T004", "site-a.toml", "body-weight", "stone"] {
            assert!(said(&output).contains(expected), "{expected}: {}", said(&output));
        }
    }
}

#[test]
fn a_named_destination_sets_defaults_and_what_the_file_says_counts() {
    let check =
        |more: &str| said(&wardline(configured("version = \"1\"", more).path(), &["check", "--config", "w.toml"]));
    for name in ["hapi", "medplum", "azure", "epic-like", "healow"] {
        assert!(check(&format!("profile = \"{name}\"")).contains("nothing is wrong"), "{name}");
    }
    assert!(check("profile = \"nonesuch\"\nidempotency = \"update\"").contains("nonesuch"));
    assert!(check("profile = \"healow\"\nus_core = \"8.0.0\"").contains("nothing is wrong"));
    assert!(check("profile = \"healow\"\nus_core = \"7.0.0\"").contains("6.1.0"));
    // What healow's defaults made a contradiction of.
    assert!(check("profile = \"healow\"\ndevices = \"resource\"").contains("takes no resource of its own"));
    assert!(check("idempotency = \"update\"\nphd = true").contains("Devices that can be found"));
}
