//! `wardline check` through the built binary: what is wrong, where, why, what to do, and exit code 2.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests say what is wrong by ending, and measure their own patience"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn check(file: &Path, json: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardline"));
    command.arg("check").arg("--config").arg(file);
    if json {
        command.arg("--json");
    }
    command.output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

/// Writes this configuration and expects these words in its one line, and exit code 2.
#[track_caller]
fn refused(text: &[u8], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wardline.toml");
    std::fs::write(&file, text).unwrap();
    let output = check(&file, false);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let lines = lines(&output);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with(file.to_str().unwrap()), "{lines:?}");
    assert!(words.iter().all(|w| lines[0].contains(w)), "{words:?}: {lines:?}");
}

const SMALL: &str = "[gateway]\nid = \"box-1\"\nstate = \"state\"\n[journal]\nunencrypted = true\n";

#[test]
fn a_good_one_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wardline.toml");
    std::fs::write(&file, SMALL).unwrap();
    let output = check(&file, false);
    assert!(output.status.success(), "{output:?}");
    assert!(lines(&output)[0].ends_with("nothing is wrong"));
    let output = check(&file, true);
    assert_eq!(lines(&output), ["[]"]);
}

#[test]
fn a_file_that_cannot_be_read() {
    let output = check(Path::new("no-such-folder/wardline.toml"), false);
    assert_eq!(output.status.code(), Some(2));
    assert!(lines(&output)[0].contains("WL-C001"), "{output:?}");
    refused(&[0xFF, 0xFE, b'['], &["WL-C001"]);
}

#[test]
fn a_file_that_ends_in_the_middle() {
    refused(b"[gateway]\nid = \"box-1\"\nstate = \"sta", &["WL-C002", "line 3"]);
    refused(b"[gateway]\nid = \"box-1\"\n", &["WL-C002", "state"]);
    refused(b"", &["WL-C002", "gateway"]);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    refused(
        SMALL.replace("[journal]", "zone = \"UTC\"\n[journal]").as_bytes(),
        &["WL-C002", "line 4, gateway.zone", "time_zone"],
    );
    let source = "[[source]]\nkind = \"mqtt\"\nname = \"ward\"\nurl = \"mqtt://127.0.0.1\"\nqos = 2\n";
    refused(format!("{SMALL}{source}").as_bytes(), &["WL-C002", "line 10, source.qos"]);
}

#[test]
fn each_problem_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wardline.toml");
    let text = "[gateway]\nid = \"box 1\"\nstate = \"s\"\ntime_zone = \"Mars/Olympus\"\n[journal]\nreserve_mib = 0\n";
    std::fs::write(&file, text).unwrap();
    let output = check(&file, true);
    assert_eq!(output.status.code(), Some(2));
    let problems: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes: Vec<_> = problems.as_array().unwrap().iter().map(|p| p["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["WL-C003", "WL-C008", "WL-C010"]);
    assert!(problems[0]["remedy"].as_str().unwrap().len() > 5);
}

#[test]
fn a_secret_that_everybody_can_read_or_write() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("wardline.toml"), folder.path().join("password"));
    let source = "[[source]]\nkind = \"mqtt\"\nname = \"ward\"\nurl = \"mqtt://127.0.0.1\"\nuser = \"u\"\npassword_file = \"password\"\n";
    std::fs::write(&file, format!("{SMALL}{source}")).unwrap();
    std::fs::write(&secret, "canary-secret\n").unwrap();
    for mode in [0o666, 0o604, 0o602, 0o640] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = check(&file, false);
        assert_eq!(output.status.code(), Some(2), "{mode:o}");
        let line = lines(&output).remove(0);
        assert!(line.contains("WL-C006") && line.contains("source ward, password_file"), "{line}");
        assert!(!line.contains("canary"), "{line}");
    }
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(check(&file, false).status.success());
}

#[test]
fn the_gateway_does_not_start_on_what_check_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wardline.toml");
    std::fs::write(&file, format!("{SMALL}[log]\nlevel = \"loud\"\n")).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_wardline")).arg("run").arg("--config").arg(&file).output().unwrap();
    assert_eq!(run.status.code(), Some(2), "{run:?}");
    assert!(String::from_utf8_lossy(&run.stderr).contains("WL-C011"), "{run:?}");
    assert!(!folder.path().join("state").exists(), "nothing was touched");
}

#[test]
fn rules_without_a_unit_or_with_a_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    let (file, rules) = (folder.path().join("wardline.toml"), folder.path().join("rules.toml"));
    std::fs::write(&file, format!("{SMALL}[alerts]\nrules = [\"rules.toml\"]\n")).unwrap();
    let missing = lines(&check(&file, false)).remove(0);
    assert!(missing.contains("alerts.rules") && missing.contains("WL-C007"), "{missing}");
    let rule = |unit: &str| {
        format!(
            "[[rule]]\nid = \"low\"\ntitle = \"Low\"\nvital = \"heart-rate\"\nbelow = 40\nclear_above = 45\npriority = \"high\"\n{unit}\n"
        )
    };
    for (unit, code) in [("", "WL-A003"), ("unit = \"bpm\"", "WL-A004"), ("unit = \"mm[Hg]\"", "WL-A005")] {
        std::fs::write(&rules, rule(unit)).unwrap();
        let output = check(&file, false);
        assert_eq!(output.status.code(), Some(2));
        let line = lines(&output).remove(0);
        assert!(
            line.starts_with(rules.to_str().unwrap()) && line.contains(code) && line.contains("rule `low`"),
            "{line}"
        );
    }
    std::fs::write(&rules, rule("unit = \"/min\"")).unwrap();
    assert!(check(&file, false).status.success(), "{:?}", check(&file, false));
    std::fs::write(&rules, "not toml at all").unwrap();
    assert_eq!(lines(&check(&file, false)).len(), 1);
}

#[test]
fn a_profile_whose_example_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (file, profiles) = (folder.path().join("wardline.toml"), folder.path().join("profiles"));
    std::fs::write(&file, SMALL.replace("state =", "profiles = \"profiles\"\nstate =")).unwrap();
    assert!(lines(&check(&file, false))[0].contains("gateway.profiles"), "the folder is not there");
    std::fs::create_dir(&profiles).unwrap();
    assert!(check(&file, false).status.success());
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles/wardline-json.toml");
    let good = std::fs::read_to_string(shipped).unwrap();
    let with = |text: &str| {
        std::fs::write(profiles.join("wardline-json.toml"), text).unwrap();
        let output = check(&file, false);
        (output.status.code(), lines(&output).remove(0))
    };
    assert_eq!(with(&good).0, Some(0));
    let changed = good.replacen("value = \"97\"", "value = \"96\"", 1);
    assert_ne!(changed, good);
    let (code, line) = with(&changed);
    assert_eq!(code, Some(2));
    assert!(line.contains("wardline-json.toml") && line.contains("WL-P006") && line.contains("example"), "{line}");
    let (code, line) = with(&good.replacen("link = \"mqtt\"", "link = \"mqtt\"\nspeed = 3", 1));
    assert_eq!(code, Some(2));
    assert!(line.contains("WL-P004") && line.contains("speed"), "{line}");
}

/// healow takes tokens that are signed with RS384: of the key in use, and of the one that shall take its place.
#[test]
fn a_key_that_the_named_receiver_does_not_take_is_found_before_it_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wardline.toml");
    let smart = |words: &[&str]| {
        let wardline =
            Command::new(env!("CARGO_BIN_EXE_wardline")).args(["key", "smart"]).args(words).output().unwrap();
        assert!(wardline.status.success(), "{wardline:?}");
        String::from_utf8(wardline.stdout).unwrap()
    };
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ec, rsa) = (at("ec.pem"), at("rsa.pem"));
    smart(&["new", &ec]);
    smart(&["new", &rsa, "--alg", "rs384"]);
    let found = |profile: &str, key: &str| -> Vec<String> {
        let destination = format!(
            "[[destination]]\nkind = \"fhir\"\nname = \"centre\"\nconsent = \"recorded\"\nurl = \"https://fhir.example\"\n{profile}\n\
             [destination.auth]\nkind = \"smart\"\nclient_id = \"box\"\nkey_file = \"{key}\"\nscopes = [\"system/Observation.cu\"]\n"
        );
        std::fs::write(&file, format!("{SMALL}{destination}")).unwrap();
        let output = check(&file, false);
        let lines = lines(&output);
        let is_good = lines[0].ends_with("nothing is wrong");
        assert_eq!(output.status.code(), Some(if is_good { 0 } else { 2 }), "{output:?}");
        lines.into_iter().filter(|_| !is_good).collect()
    };
    let healow = "profile = \"healow\"";
    let wrong = found(healow, &ec);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    for word in ["WL-C013", "destination centre, auth.key_file", "RS384", "ES384", "ec.pem", "--alg rs384"] {
        assert!(wrong[0].contains(word), "{word}: {wrong:?}");
    }
    for (profile, key) in [(healow, &rsa), ("idempotency = \"update\"", &ec), ("profile = \"azure\"", &ec)] {
        assert_eq!(found(profile, key), [""; 0], "{profile}");
    }
    // The new key is of the old one's kind, unless somebody wants another.
    assert!(smart(&["rotate", &rsa]).matches("RS384").count() == 2 && found(healow, &rsa).is_empty());
    std::fs::remove_file(at("rsa.pem.new")).unwrap();
    smart(&["rotate", &rsa, "--alg", "es384"]);
    let wrong = found(healow, &rsa);
    assert!(wrong.len() == 1 && wrong[0].contains("the new key beside it"), "{wrong:?}");
}
