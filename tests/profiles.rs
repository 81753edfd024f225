//! Profiles as a user meets them: files on disk, the generated page, the command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wardline::profile::schema::Link;
use wardline::profile::{Catalogue, FILES, page};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn wardline(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wardline")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder with one profile: a built-in one, changed.
fn folder_with(id: &str, change: impl Fn(String) -> String) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let source = FILES.iter().find(|(name, _)| *name == format!("{id}.toml")).unwrap().1;
    let file = folder.path().join(format!("{id}.toml"));
    std::fs::write(&file, change(source.into())).unwrap();
    (folder, file)
}

#[test]
fn no_profile_is_forgotten() {
    let folder = repository().join("firmware-profiles");
    let mut on_disk: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.ends_with(".toml"))
        .collect();
    on_disk.sort();
    let built_in: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
    assert_eq!(built_in, on_disk, "src/profile/built_in.rs lists the files of firmware-profiles/ in order");
}

#[test]
fn the_page_of_supported_devices_is_up_to_date() {
    let written = std::fs::read_to_string(repository().join("docs/supported-devices.md")).unwrap_or_default();
    let fresh = page::markdown(&Catalogue::built_in());
    assert!(written == fresh, "run `wardline profile list --markdown > docs/supported-devices.md`");
}

#[test]
fn every_built_in_profile_passes_its_test() {
    let output = wardline(&["profile", "test"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.ends_with("0 refused\n"), "{said}");
}

#[test]
fn a_profile_of_the_site_replaces_the_built_in_one_of_the_same_id() {
    let (folder, file) = folder_with("esphome-mr60bha2", |t| t.replace("Seeed MR60BHA2 radar", "Our radar"));
    let catalogue = Catalogue::with_folder(folder.path()).unwrap();
    assert_eq!(catalogue.profiles().len(), FILES.len());
    assert!(catalogue.find("esphome-mr60bha2").unwrap().file.title.starts_with("Our radar"));
    let output = wardline(&["profile", "test", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[test]
fn a_profile_that_cannot_be_trusted_is_refused_with_file_key_reason_and_remedy() {
    #[track_caller]
    fn check(change: impl Fn(String) -> String, code: &str, part: &str) {
        let (folder, file) = folder_with("esphome-mr60bha2", change);
        let output = wardline(&["profile", "test", file.to_str().unwrap()]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for expected in [code, part, "esphome-mr60bha2.toml", "wardline profile test FILE"] {
            assert!(
                said.contains(expected) || code == "WL-P006" && expected.starts_with("wardline"),
                "{expected}: {said}"
            );
        }
        assert!(Catalogue::with_folder(folder.path()).is_err());
    }
    check(|t| t.replace("value = \"63\"", "value = \"64\""), "WL-P006", "expected [heart-rate, value 64 /min");
    check(|t| t.replace("link =", "lnik ="), "WL-P004", "lnik");
    check(|t| t.replace("unit = \"/min\"", "unit = \"mm[Hg]\""), "WL-P005", "decode[0].vital[0].value.unit");
    check(|t| t.replace("special = { \"0\" = \"not-performed\" }", "codec = 1"), "WL-P004", "codec");
    let output = wardline(&["profile", "test", "/nonexistent/x.toml"]);
    assert!(text(&output.stdout).contains("WL-P003") && output.status.code() == Some(2));
}

#[test]
fn profiles_that_claim_the_same_topic_are_refused() {
    let (folder, file) = folder_with("wardline-json", |t| t.replace("id = \"wardline-json\"", "id = \"ours\""));
    std::fs::rename(&file, folder.path().join("ours.toml")).unwrap();
    let said = text(&wardline(&["profile", "test", "--folder", folder.path().to_str().unwrap()]).stdout);
    assert!(said.contains("WL-P007") && said.contains("\"wardline-json\"") && said.contains("vitals/+"), "{said}");
}

/// Standards and formats that many makers follow; what is not among them is a device that one can buy.
const NO_DEVICE: [&str; 8] =
    ["standard-", "wardline-", "bthome-v2", "biot-mqtt", "flat-json-vitals", "senml-cbor", "theengs-mqtt", "tasmota-"];

#[test]
fn twenty_devices_are_read_each_with_a_public_source_and_what_is_unproven_is_said() {
    let catalogue = Catalogue::built_in();
    let is_device = |id: &str| !NO_DEVICE.iter().any(|start| id.starts_with(start));
    let devices: Vec<_> = catalogue.profiles().into_iter().filter(|p| is_device(&p.id)).collect();
    assert!(devices.len() >= 20, "{}", devices.len());
    for device in devices {
        let file = &device.file;
        assert!(file.sources.iter().any(|s| s.starts_with("http")), "{} cites no public source", file.id);
        let captured = file.examples.iter().any(|e| e.origin.starts_with("captured"));
        let broker = file.link == Link::Mqtt;
        assert!(captured || file.experimental || broker, "{} has no captured example: it is experimental", file.id);
        let said = file.note.as_ref().is_some_and(|n| n.contains("Unproven:"));
        assert_eq!(said, file.experimental, "{} says what is unproven if it is experimental", file.id);
    }
}

#[test]
fn profiles_can_be_listed_and_shown() {
    let list = text(&wardline(&["profile", "list", "--json"]).stdout);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), FILES.len());
    let shown = text(&wardline(&["profile", "show", "wardline-json"]).stdout);
    assert!(shown.contains("vitals/+") && shown.contains("rejected with WL-D113"), "{shown}");
    assert!(!wardline(&["profile", "show", "nonesuch"]).status.success());
}
