//! What must hold of the files of this repository themselves.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests say what is wrong by ending, and measure their own patience"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use wardline::config::Config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if matches!(name.as_str(), ".git" | "target" | "artifacts" | "node_modules") {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// All texts of the repository, by path from its root.
fn texts() -> BTreeMap<String, String> {
    let mut found = Vec::new();
    files(root(), &mut found);
    let name = |p: &PathBuf| p.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    found.iter().filter_map(|p| Some((name(p), std::fs::read_to_string(p).ok()?))).collect()
}

fn source(name: &str) -> bool {
    name.starts_with("src/") && name.ends_with(".rs")
}

#[test]
fn files_stay_small() {
    let long: Vec<_> = texts()
        .into_iter()
        .filter(|(name, text)| source(name) && text.lines().count() > 600)
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = texts()
        .into_iter()
        .filter(|(name, text)| source(name) && !name.ends_with("/tests.rs") && !text.starts_with("//!"))
        .map(|(n, _)| n)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

/// `WL-` codes in a text.
fn codes(text: &str) -> BTreeSet<&str> {
    let code = |at: usize| {
        let code = text.get(at..at + 7)?;
        let mut chars = code.chars().skip(3);
        let fits = chars.next()?.is_ascii_uppercase() && chars.all(|c| c.is_ascii_digit());
        fits.then_some(code)
    };
    text.match_indices("WL-").filter_map(|(at, _)| code(at)).collect()
}

#[test]
fn every_code_has_its_runbook_and_every_runbook_its_code() {
    let texts = texts();
    let used: BTreeSet<_> = texts.iter().filter(|(name, _)| source(name)).flat_map(|(_, text)| codes(text)).collect();
    let written: BTreeSet<_> = texts
        .iter()
        .filter(|(name, _)| name.starts_with("docs/runbooks/"))
        .flat_map(|(_, text)| text.lines().filter_map(|l| l.strip_prefix("## ")).flat_map(codes))
        .collect();
    let missing: Vec<_> = used.difference(&written).collect();
    let stale: Vec<_> = written.difference(&used).collect();
    assert!(missing.is_empty(), "used in src/, no entry in docs/runbooks/: {missing:?}");
    assert!(stale.is_empty(), "in docs/runbooks/, not used in src/: {stale:?}");
}

#[test]
fn every_example_configuration_is_valid() {
    let mut seen = 0;
    for (name, text) in texts() {
        if name.starts_with("config/") && name.ends_with(".toml") && name.matches('/').count() == 1 {
            let parsed = Config::parse(&text, &root().join(&name));
            assert!(parsed.is_ok(), "{name}: {}", parsed.unwrap_err());
            for rules in parsed.unwrap().alerts.rules {
                assert!(rules.is_file(), "{name} names {}, which is not here", rules.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 3, "home, clinic and lab are there");
}

#[test]
fn nothing_names_the_machine_it_was_made_on() {
    // Spelled in two halves, so that this file does not find itself.
    let forbidden = [["/ro", "ot/"], ["/wo", "rk/"], ["/tm", "p/wt"], ["crates", ".io/api"], ["index.crates", ".io"]];
    let forbidden: Vec<String> = forbidden.iter().map(|halves| halves.concat()).collect();
    let mut found = Vec::new();
    for (name, text) in texts() {
        for (n, line) in text.lines().enumerate() {
            // A path of this machine begins there; a folder of the same name inside another does not.
            let begins = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric());
            if forbidden.iter().any(|f| line.match_indices(f.as_str()).any(|(at, _)| begins(at))) {
                found.push(format!("{name}:{}", n + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let texts = texts();
    let page = &texts["docs/configuration.md"];
    let keys = ["mod", "source", "destination", "hl7"].iter().flat_map(|file| {
        let text = &texts[&format!("src/config/{file}.rs")];
        text.lines().filter_map(|l| l.strip_prefix("    pub ")?.split_once(": ")).map(|(key, _)| key.to_owned())
    });
    // Tables have headings instead.
    let tables = ["sources", "destinations", "patients", "devices"];
    let missing: Vec<_> = keys
        .filter(|k| !tables.contains(&k.as_str()))
        .filter(|k| !page.contains(&format!("`{k}`")) && !page.contains(&format!("## [{k}]")))
        .filter(|k| !["rule", "limit", "unit"].contains(&k.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let texts = texts();
    let architecture = &texts.get("ARCHITECTURE.md").expect("ARCHITECTURE.md");
    let table = architecture.split("| invariant |").nth(1).expect("a table of invariants");
    let names: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let definition = format!("fn {name}(");
        let found = texts.iter().any(|(file, text)| file.ends_with(".rs") && text.contains(&definition));
        // Tests that run for both protocol levels are made by a macro, which lists their names.
        let listed = texts.iter().any(|(file, text)| file.starts_with("tests/") && text.contains(name));
        assert!(found || listed, "ARCHITECTURE.md names `{name}`, which is no test");
    }
}

#[test]
fn every_bar_names_tests_that_exist() {
    let texts = texts();
    let page = &texts["docs/reliability.md"];
    let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| bar")).collect();
    assert!(rows.len() >= 5, "a table of bars");
    for row in rows {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(columns.len(), 8, "six columns: {row}");
        let tests = columns[3].split('`').skip(1).step_by(2);
        let named: Vec<_> = tests.filter_map(|t| t.split_once("::")).collect();
        assert!(!named.is_empty() || columns[3].starts_with("pending"), "a test, or `pending`: {row}");
        for (file, name) in named {
            // A scenario of the emulated box is Python.
            let begins = if file.ends_with(".py") { "def" } else { "fn" };
            let there = texts.get(file).is_some_and(|text| text.contains(&format!("{begins} {name}(")));
            assert!(there, "docs/reliability.md names {file}::{name}, which is not there");
        }
        for run in columns[4].split('`').skip(1).step_by(2) {
            assert!(texts.contains_key(&format!("scripts/long/{run}")), "there is no scripts/long/{run}");
        }
    }
}
