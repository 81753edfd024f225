//! Whether this is the configuration of the last start: a hash of the file and of the files that it names, secrets left out.

use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::{Config, DestinationSettings};

/// SHA-256 of the file, its alert rules, its own profiles and its tables of codes; hex. A file that is not there counts as empty.
pub fn fingerprint(file: &Path, config: &Config) -> String {
    let mut files = vec![file.to_owned()];
    files.extend(config.alerts.rules.iter().cloned());
    files.extend(config.destinations.iter().filter_map(|d| match d {
        DestinationSettings::Fhir(fhir) => fhir.mapping_file.clone(),
        DestinationSettings::Hl7(_)
        | DestinationSettings::Ndjson(_)
        | DestinationSettings::Webhook(_)
        | DestinationSettings::Nats(_) => None,
    }));
    files.extend(config.gateway.profiles.iter().flat_map(|folder| profiles(folder)));
    let mut all = Context::new(&SHA256);
    for file in files {
        let text = std::fs::read(file).unwrap_or_default();
        all.update(&text.len().to_be_bytes());
        all.update(&text);
    }
    all.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

fn profiles(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = found.filter(|file| file.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}
