//! The decoder through the binary: the dossier's vectors, one record at a time, and what happens to bad input.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn decode(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wardline")).arg("decode").args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn vectors() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("WARDLINE_SHARED").map_or_else(beside, PathBuf::from);
    let file = shared.join("standards/gatt-vectors-dev.json");
    if !file.is_file() {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: {} is not there; set WARDLINE_SHARED\n", file.display()),
        )
        .unwrap();
        return None;
    }
    Some(file)
}

#[test]
fn all_vectors_pass() {
    let Some(file) = vectors() else { return };
    let output = decode(&["--vectors", file.to_str().unwrap()]);
    assert_eq!((stdout(&output), output.status.code()), ("135 passed, 0 failed\n", Some(0)));
}

/// Each vector alone, compared here and not by the binary: what is expected is printed, what must be rejected is.
#[test]
fn each_vector_alone_prints_what_is_expected() {
    let Some(file) = vectors() else { return };
    let file: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for v in file["vectors"].as_array().unwrap() {
        let mut args = vec!["--characteristic", v["characteristic"].as_str().unwrap(), v["hex"].as_str().unwrap()];
        if let Some(quirk) = v["quirk"].as_str() {
            args.extend(["--quirk", quirk]);
        }
        let output = decode(&args);
        let expected = v["expected"].as_object().unwrap();
        if expected.contains_key("error") {
            assert_eq!((stdout(&output), output.status.code()), ("", Some(2)), "{v}");
            continue;
        }
        let got: Value = serde_json::from_str(stdout(&output)).unwrap();
        for (key, want) in expected {
            assert!(same(want, &got[key]), "{key} of {v}: {got}");
        }
        let broken = stdout(&output).contains("\"crc_ok\":false");
        assert_eq!(output.status.code(), Some(if broken { 2 } else { 0 }), "{v}");
    }
}

fn same(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b))),
        _ => want == got,
    }
}

#[test]
fn numbers_keep_their_own_decimals() {
    let output = decode(&["--characteristic", "FLOAT", "680100ff"]);
    assert_eq!((stdout(&output), output.status.code()), ("{\"value\":36.0}\n", Some(0)));
}

#[test]
fn bad_input_ends_with_2_and_one_line() {
    for (args, code) in [
        (&["--characteristic", "2A35", "0077"][..], "WL-D001"),
        (&["--characteristic", "2A19", "6400"], "WL-D002"),
        (&["--characteristic", "2A19", "65"], "WL-D003"),
        (&["--characteristic", "2AA7", "08000c100600586f"], "WL-D004"),
        (&["--characteristic", "FFFF", "00"], "WL-D005"),
        (&["--characteristic", "2A19", "6"], "WL-D006"),
        (&["--characteristic", "ADV:FCD2", "41a4"], "WL-D007"),
        (&["--characteristic", "2A35", "00", "--quirk", "none-such"], "WL-D008"),
    ] {
        let output = decode(args);
        let stderr = str::from_utf8(&output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr.starts_with(&format!("{code}: ")) && stderr.lines().count() == 1, "{stderr}");
    }
    for usage in [&[][..], &["--characteristic", "2A35"], &["00"]] {
        assert_eq!(decode(usage).status.code(), Some(64), "{usage:?}");
    }
}

#[test]
fn a_mismatch_is_named_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vectors.json");
    let vector = |id: &str, rate: i32| json!({"id": id, "characteristic": "2A37", "hex": "0050", "expected": {"heart_rate": rate, "sensor_contact": "not_supported"}});
    let text = json!({"format": 1, "vectors": [vector("right", 80), vector("wrong", 81)]}).to_string();
    std::fs::write(&file, text).unwrap();
    let output = decode(&["--vectors", file.to_str().unwrap()]);
    assert_eq!(stdout(&output), "wrong: heart_rate: expected 81, got 80\n1 passed, 1 failed\n");
    assert_eq!(output.status.code(), Some(1));

    std::fs::write(&file, "{").unwrap();
    let output = decode(&["--vectors", file.to_str().unwrap()]);
    assert!(!output.status.success() && !output.stderr.is_empty());
}
