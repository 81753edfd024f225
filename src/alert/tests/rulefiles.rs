//! Rule files: what is refused, with which code; what ships is valid.

use super::*;
use crate::fault::Explain;

#[track_caller]
fn refused(text: &str, code: &str, key: &str) {
    let errors = Rules::parse(&[(Path::new("bad.toml"), text)], &[]).unwrap_err();
    let got: Vec<_> = errors.iter().map(|e| (e.code(), e.key.as_str())).collect();
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!(got[0].0, code, "{text}: {}", errors[0]);
    assert!(got[0].1.ends_with(key), "{got:?}");
    assert!(errors[0].to_string().starts_with("bad.toml: ") && !errors[0].remedy().is_empty());
}

#[test]
fn a_limit_needs_a_unit_that_measures_its_vital() {
    refused(&SYSTOLIC.replace("unit='mm[Hg]'\n", ""), "WL-A003", "rule `sys`: unit");
    refused(&SYSTOLIC.replace("mm[Hg]", ""), "WL-A003", "unit");
    refused(&SYSTOLIC.replace("mm[Hg]", "mmHg"), "WL-A004", "unit");
    refused(&SYSTOLIC.replace("mm[Hg]", "Cel"), "WL-A005", "unit");
    let mixed = SYSTOLIC.replace("vital='blood-pressure'\nrole='systolic'", "vitals=['spo2','pulse-rate']");
    refused(&mixed.replace("mm[Hg]", "%"), "WL-A005", "unit");
}

#[test]
fn what_is_unclear_is_refused() {
    refused("", "WL-A002", "rule");
    refused("[[rule]]\nid='a'", "WL-A002", "form");
    refused(&format!("{SYSTOLIC}snooze=1\n"), "WL-A002", "form");
    refused(&SYSTOLIC.replace("above=180", "above='much'"), "WL-A002", "form");
    refused(&SYSTOLIC.replace("'sys'", "'a b'"), "WL-A002", "id");
    refused(&SYSTOLIC.replace("vital='blood-pressure'", "vital='bp'"), "WL-A006", "vitals");
    refused(&SYSTOLIC.replace("vital='blood-pressure'\n", ""), "WL-A006", "vitals");
    refused(&SYSTOLIC.replace("role='systolic'\n", ""), "WL-A006", "vitals");
    refused(&SYSTOLIC.replace("above=180\n", ""), "WL-A007", "above");
    refused(&format!("{SYSTOLIC}below=90\n"), "WL-A007", "above");
    refused(&SYSTOLIC.replace("clear_below", "clear_above"), "WL-A007", "clear");
    refused(&SYSTOLIC.replace("clear_below=170", "clear_below=181"), "WL-A007", "clear");
    for bad in ["{n=0,m=1}", "{n=3,m=2}", "{n=1,m=17}", "{n=1,m=2,within_s=0}"] {
        refused(&format!("{SYSTOLIC}sustained={bad}\n"), "WL-A008", "sustained");
    }
    refused(&format!("{SYSTOLIC}{SYSTOLIC}"), "WL-A009", "rule `sys`: id");
}

#[test]
fn every_problem_of_every_file_is_named() {
    let bad = SYSTOLIC.replace("mm[Hg]", "mmHg");
    let errors = Rules::parse(&[(Path::new("a"), &bad), (Path::new("b"), ""), (Path::new("c"), SYSTOLIC)], &[]);
    assert_eq!(errors.unwrap_err().len(), 2);
    let errors = Rules::load(&["/nowhere/rules.toml".into()], &[]).unwrap_err();
    assert_eq!(errors[0].code(), "WL-A001");
}

#[test]
fn limits_stay_exactly_as_written() {
    let text = |limit: &str| SYSTOLIC.replace("above=180", &format!("above={limit}")).replace("clear_below=170\n", "");
    for (limit, expected) in [("180", "180"), ("'180.50'", "180.50"), ("180.1", "180.1")] {
        assert_eq!(rules(&text(limit)).all[0].limit.value.to_string(), expected);
    }
}

#[track_caller]
fn own(limits: &str, code: Option<&str>) {
    let text = format!("[gateway]\nid='g'\nstate='/s'\n[[patient]]\nreference='Patient/secret'\nlimits=[{limits}]");
    let patients = toml::from_str::<crate::config::Config>(&text).unwrap().patients;
    let got = Rules::parse(&[(Path::new("r"), SYSTOLIC)], &patients);
    if let Err(errors) = &got {
        assert!(!errors[0].to_string().contains("secret"), "a patient's reference is not for logs");
    }
    assert_eq!(got.err().map(|e| e[0].code()), code, "{limits}");
}

#[test]
fn a_patients_own_limit_obeys_the_same_rules() {
    own("{rule='sys',limit=160,unit='mm[Hg]'}", None);
    own("{rule='sys',limit=160,unit='mm[Hg]',clear=150}", None);
    own("{rule='sys',limit='21.3',unit='kPa',clear=20}", None);
    own("{rule='none',limit=160,unit='mm[Hg]'}", Some("WL-A010"));
    own("{rule='sys',limit=160,unit=''}", Some("WL-A003"));
    own("{rule='sys',limit=160,unit='Cel'}", Some("WL-A005"));
    own("{rule='sys',limit='21.3',unit='kPa'}", Some("WL-A007"));
    own("{rule='sys',limit=160,unit='mm[Hg]',clear=161}", Some("WL-A007"));
}

#[test]
fn every_shipped_set_is_valid_and_says_that_it_needs_sign_off() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/alerts");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("clinical sign-off"), "{}", file.display());
        if let Err(errors) = Rules::load(std::slice::from_ref(&file), &[]) {
            panic!("{}", errors.iter().map(|e| crate::fault::sentence(e)).collect::<Vec<_>>().join("\n"));
        }
    }
}

#[test]
fn the_default_set_watches_what_the_dossier_lists_in_every_unit() {
    let rules = Rules::load(&[], &[]).unwrap();
    let watched = |vital: &str, role, side, unit: &str| {
        let vital = Vital::parse(vital).unwrap();
        let unit = Unit::parse(unit).unwrap();
        rules.all.iter().any(|r| {
            r.vitals.contains(&vital)
                && r.role == role
                && r.limit.side == side
                && r.limit.unit.dimension() == unit.dimension()
        })
    };
    use crate::alert::rules::Side::{Lower, Upper};
    assert!(watched("blood-pressure", Role::Systolic, Upper, "mm[Hg]"));
    assert!(watched("blood-pressure", Role::Diastolic, Upper, "mm[Hg]"));
    assert!(watched("blood-pressure", Role::Systolic, Lower, "mm[Hg]"));
    assert!(watched("spo2", Role::Value, Lower, "%"));
    for side in [Upper, Lower] {
        assert!(watched("body-temperature", Role::Value, side, "Cel"));
        for vital in ["heart-rate", "pulse-rate", "oximeter-pulse-rate"] {
            assert!(watched(vital, Role::Value, side, "/min"));
        }
        for row in crate::vital::VITALS.iter().filter(|v| v.id.starts_with("glucose")) {
            for unit in row.units {
                assert!(watched(row.id, Role::Value, side, unit), "{} {side:?} {unit}", row.id);
            }
        }
    }
}
