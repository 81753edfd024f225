//! `wardline demo` as a stranger runs it: the built binary, nothing installed, no network.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what is wrong by ending")]

use std::process::{Command, Stdio};

/// Runs the demo; its summary and its exit code.
fn demo(args: &[&str]) -> (serde_json::Value, Option<i32>) {
    let out = Command::new(env!("CARGO_BIN_EXE_wardline"))
        .arg("demo")
        .args(["--json"])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let summary = serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text:?}"));
    (summary, out.status.code())
}

fn number(summary: &serde_json::Value, key: &str) -> u64 {
    summary[key].as_u64().unwrap_or_else(|| panic!("{key} in {summary}"))
}

#[test]
fn a_day_through_an_outage_loses_nothing_and_doubles_nothing() {
    let (first, code) = demo(&["--seconds", "8", "--seed", "1"]);
    assert_eq!(code, Some(0), "{first}");
    for zero in ["lost", "duplicates", "waiting", "altered", "conflicts"] {
        assert_eq!(number(&first, zero), 0, "{zero} in {first}");
    }
    assert_eq!(number(&first, "committed"), number(&first, "delivered") + number(&first, "rejected"), "{first}");
    assert!(number(&first, "committed") > 1_000, "{first}");
    assert!(number(&first, "alerts_raised") >= 1, "{first}");
    assert_eq!(number(&first, "alerts_delivered"), number(&first, "alerts_raised"), "{first}");
    assert!(number(&first, "backlog_max") > 100, "there was no outage: {first}");
    for float in ["alert_latency_ms_p99", "drain_per_s"] {
        assert!(first[float].as_f64().is_some_and(|f| f > 0.0), "{float} in {first}");
    }
    // The same seed is the same day.
    let (again, _) = demo(&["--seconds", "8", "--seed", "1"]);
    for same in ["committed", "delivered", "rejected", "frames"] {
        assert_eq!(number(&first, same), number(&again, same), "{same}");
    }
}

#[test]
fn a_reading_that_the_centre_forgets_is_found_missing() {
    let (summary, code) = demo(&["--seconds", "4", "--seed", "2", "--fault", "drop-one"]);
    assert_eq!(code, Some(1), "{summary}");
    assert_eq!((number(&summary, "lost"), number(&summary, "waiting")), (1, 0), "{summary}");
}

#[test]
fn it_leaves_nothing_behind() {
    let folder = std::env::temp_dir().join(format!("demo-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_wardline"))
        .args(["demo", "--seconds", "3", "--patients", "2"])
        .env("TMPDIR", &folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let left = std::fs::read_dir(&folder).unwrap().count();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((out.status.code(), left), (Some(0), 0), "{text}");
    assert!(text.contains("Nothing lost, nothing doubled, nothing waiting."), "{text}");
    assert!(text.contains("Live page: http://127.0.0.1:"), "{text}");
}
