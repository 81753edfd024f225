//! Who may know whom. ARCHITECTURE.md draws it; this keeps it.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests say what is wrong by ending, and measure their own patience"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The words of the house: they know each other only.
const LEAVES: &[&str] = &[
    "alarm",
    "amendment",
    "association",
    "capture",
    "careplan",
    "clock",
    "consent",
    "custody",
    "decimal",
    "deed",
    "demographics",
    "fault",
    "limits",
    "mapping",
    "minimum",
    "nameplate",
    "printable",
    "probed",
    "reading",
    "roster",
    "secret",
    "socket",
    "tls",
    "unit",
    "user_code",
    "vital",
];

/// A room, and which rooms beside the leaves it may know. `None`: all of them.
const ROOMS: &[(&str, Option<&[&str]>)] = &[
    ("config", Some(&[])),
    // Pure: bytes and values in, values out.
    ("codec", Some(&[])),
    ("fhir", Some(&[])),
    ("hl7v2", Some(&[])),
    ("alert", Some(&["config"])),
    ("profile", Some(&["codec"])),
    ("intake", Some(&["config", "profile"])),
    // These three never know each other: the gateway joins them.
    ("source", Some(&["codec", "config", "profile"])),
    ("journal", Some(&["config"])),
    ("nats", Some(&[])),
    ("sink", Some(&["config", "fhir", "hl7v2", "nats"])),
    ("telemetry", Some(&["config"])),
    ("control", Some(&["config", "telemetry"])),
    ("page", Some(&["config", "control", "telemetry"])),
    // Around everything.
    ("gateway", None),
    // Another process: it knows neither sources nor journal.
    ("relay", Some(&["config", "nats", "sink", "telemetry"])),
    ("lab", None),
    ("cli", None),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && path.file_stem().is_none_or(|s| s != "tests") {
            found.push(path);
        }
    }
}

/// The room of a file: `src/journal/writer.rs` and `src/journal.rs` are `journal`.
fn room(root: &Path, file: &Path) -> String {
    let first = file.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Rooms named in a file's code after `crate::`, also within `use crate::{…}`; not in comments, not in its tests.
fn known(text: &str) -> BTreeSet<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let word = |s: &str| s.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (_, after) in code.match_indices("crate::").map(|(at, m)| (at, &code[at + m.len()..])) {
        match after.strip_prefix('{') {
            None => found.insert(word(after)),
            Some(list) => {
                let mut depth = 0;
                let list: String = list
                    .chars()
                    .take_while(|c| {
                        depth += i32::from(*c == '{') - i32::from(*c == '}');
                        depth >= 0
                    })
                    .collect();
                for part in list.split(',') {
                    found.insert(word(part.trim()));
                }
                true
            }
        };
    }
    found
}

#[test]
fn nobody_knows_more_than_the_table_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let rooms: BTreeSet<_> = files.iter().map(|f| room(&root, f)).filter(|r| r != "lib" && r != "main").collect();
    let mut wrong = Vec::new();
    for file in &files {
        let here = room(&root, file);
        let allowed: Vec<&str> = if LEAVES.contains(&here.as_str()) {
            vec![]
        } else if here == "lib" || here == "main" {
            continue;
        } else {
            match ROOMS.iter().find(|(name, _)| *name == here) {
                Some((_, Some(allowed))) => allowed.to_vec(),
                Some((_, None)) => continue,
                None => {
                    wrong.push(format!("{here} is not in the table"));
                    continue;
                }
            }
        };
        for other in known(&std::fs::read_to_string(file).unwrap()) {
            let fine = other == here
                || !rooms.contains(&other)
                || LEAVES.contains(&other.as_str())
                || allowed.contains(&other.as_str());
            if !fine {
                let file = file.strip_prefix(&root).unwrap().display();
                wrong.push(format!("src/{file}: {here} must not know {other}"));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_test_of_the_test() {
    let text = "use crate::journal::Journal;\nuse crate::{alert::{Engine, Input}, unit::Unit};\n// crate::page\n\
                fn f() { crate::sink::deliver() }\n#[cfg(test)]\nmod tests {\n use crate::lab::X; }\n";
    let found: Vec<_> = known(text).into_iter().filter(|w| !w.is_empty()).collect();
    assert_eq!(found, ["alert", "journal", "sink", "unit"]);
}
