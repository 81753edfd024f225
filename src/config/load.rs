//! From a file to a [`Config`] that holds, or to findings: file, key, reason, remedy.
//!
//! Must never: quote a line of the file (a name or a reference of a patient may stand in it).

use std::fmt;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{
    AuthSettings, BluetoothSettings, Config, DestinationSettings, FhirSettings, Hl7Settings, MqttSettings,
    NatsSettings, NdjsonSettings, SourceSettings, WebhookSettings,
};
use crate::fault::Explain;

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable code, `WL-C…`.
    pub code: &'static str,
    /// Which key: `gateway.id`, `source ward`, `line 7, destination.url`.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do now.
    pub remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Make the file readable.
    #[error("{file}: cannot be read: {source}")]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Correct the file where it says.
    #[error("{file}: {}", list(.findings))]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// Everything that was found; at least one.
        findings: Vec<Finding>,
    },
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("; ")
}

impl Explain for ConfigError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "WL-C001",
            Self::Invalid { findings, .. } => findings.first().map_or("WL-C002", |f| f.code),
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "Give the path of a file that the gateway's user can read.",
            Self::Invalid { findings, .. } => findings.first().map_or("Correct the file.", |f| f.remedy),
        }
    }
}

/// Reads a file, and looks at the files that it names.
pub(super) fn load<T>(
    file: &Path,
    parse: fn(&str, &Path) -> Result<T, ConfigError>,
    check_files: fn(&T) -> Vec<Finding>,
) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: file.into(), source };
    let mode = std::fs::metadata(file).map_err(unreadable)?.permissions().mode();
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let config = parse(&text, file)?;
    let mut findings = check_files(&config);
    if mode & 0o002 != 0 {
        findings.push(Finding {
            code: "WL-C006",
            key: "mode".into(),
            reason: format!("everybody can change this file (mode {:03o})", mode & 0o777),
            remedy: "Take the permission away: chmod o-w.",
        });
    }
    if findings.is_empty() { Ok(config) } else { Err(ConfigError::Invalid { file: file.into(), findings }) }
}

/// Parses a text with its defaults, makes its paths absolute, and looks whether it holds.
pub(super) fn parse<T: DeserializeOwned>(
    text: &str,
    file: &Path,
    resolve: fn(&mut T, &Path),
    check: fn(&T) -> Vec<Finding>,
) -> Result<T, ConfigError> {
    let invalid = |findings| ConfigError::Invalid { file: file.into(), findings };
    let mut config: T =
        named(text).unwrap_or_else(|| toml::from_str(text)).map_err(|e| invalid(vec![locate(text, &e)]))?;
    resolve(&mut config, file.parent().unwrap_or(Path::new("")));
    let findings = check(&config);
    if findings.is_empty() { Ok(config) } else { Err(invalid(findings)) }
}

impl Config {
    /// Reads a file, and looks at the files that it names: there, readable, and secrets for nobody else to read.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        load(file, Self::parse, Self::check_files)
    }

    /// Parses a text; `file` is named in errors, and relative paths are taken from its folder. Looks at no other file.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        parse(text, file, Self::resolve, Self::check)
    }

    /// Makes relative paths start at the folder of the configuration file.
    fn resolve(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&*path);
        join(&mut self.gateway.state);
        self.gateway.profiles.as_mut().map(join);
        self.journal.key_file.as_mut().map(join);
        join(&mut self.control.socket);
        join(&mut self.control.status_socket);
        self.alerts.rules.iter_mut().for_each(join);
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.ca_file.as_mut().map(join);
        }
        for source in &mut self.sources {
            let SourceSettings::Mqtt(m) = source else { continue };
            m.resolve_tls(&join);
            m.password_file.as_mut().map(join);
        }
        for destination in &mut self.destinations {
            destination.resolve(&join);
        }
    }
}

impl DestinationSettings {
    fn resolve(&mut self, join: &impl Fn(&mut PathBuf)) {
        match self {
            Self::Fhir(f) => f.resolve(join),
            Self::Hl7(h) => h.resolve_tls(join),
            Self::Ndjson(n) => join(&mut n.folder),
            Self::Webhook(w) => {
                join(&mut w.secret_file);
                [&mut w.ca_file, &mut w.crl_file].into_iter().flatten().for_each(join);
            }
            Self::Nats(n) => n.resolve(join),
        }
    }
}

impl FhirSettings {
    /// Makes relative paths absolute.
    pub(super) fn resolve(&mut self, join: &impl Fn(&mut PathBuf)) {
        self.resolve_tls(join);
        [&mut self.token_file, &mut self.mapping_file].into_iter().flatten().for_each(join);
        if let Some(AuthSettings::Smart(smart)) = &mut self.auth {
            join(&mut smart.key_file);
            smart.jwks_file.as_mut().map(join);
        }
    }
}

impl NatsSettings {
    /// Makes relative paths absolute.
    pub(super) fn resolve(&mut self, join: &impl Fn(&mut PathBuf)) {
        self.resolve_tls(join);
        self.credentials_file.as_mut().map(join);
    }
}

/// The file with the defaults of its named destinations. `None`: it has none, or is not even TOML.
fn named<T: DeserializeOwned>(text: &str) -> Option<Result<T, toml::de::Error>> {
    let mut table: toml::Table = toml::from_str(text).ok()?;
    super::preset::apply(&mut table)?;
    // A table knows no lines; the text says where the same is wrong.
    let placed = |e: toml::de::Error| {
        let in_text = toml::from_str::<T>(text).err();
        in_text.filter(|t| t.message() == e.message()).unwrap_or(e)
    };
    Some(table.try_into().map_err(placed))
}

/// Line and key of a parse error. Of a source or destination the parser knows only where its table begins; parsing
/// that table alone as what its `kind` says finds the key.
fn locate(text: &str, error: &toml::de::Error) -> Finding {
    let (mut at, mut message) = (error.span().map_or(0, |s| s.start), error.message().to_owned());
    if let Some((start, exact)) = within_tables(text, at) {
        at = start + exact.span().map_or(0, |s| s.start);
        message = exact.message().to_owned();
    }
    let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    let lines: Vec<_> = text.lines().take(line).collect();
    let table = lines.iter().rev().find_map(|line| header(line));
    let key = lines.get(line - 1).and_then(|l| l.split_once('=')).map(|(key, _)| key.trim());
    let place = [table, key].into_iter().flatten().collect::<Vec<_>>().join(".");
    Finding {
        code: "WL-C002",
        key: if place.is_empty() { format!("line {line}") } else { format!("line {line}, {place}") },
        reason: message.trim().replace('\n', " "),
        remedy: "Correct this key; docs/configuration.md lists all of them.",
    }
}

/// `source` of `[[source]]`, `gateway` of `[gateway]`.
fn header(line: &str) -> Option<&str> {
    let line = line.trim();
    line.starts_with('[').then(|| line.trim_matches(['[', ']']).trim())
}

/// The exact error in the `[[source]]` or `[[destination]]` that begins at `at` or, as the parser names the first of them for
/// any, in a later one.
fn within_tables(text: &str, at: usize) -> Option<(usize, toml::de::Error)> {
    let name = header(text.get(at..)?.lines().next()?)?;
    let mut start = 0;
    let tables = text.split_inclusive('\n').filter_map(|line| {
        let begins = start;
        start += line.len();
        (begins >= at && line.starts_with("[[") && header(line) == Some(name)).then_some(begins)
    });
    tables.collect::<Vec<_>>().into_iter().find_map(|begins| within_table(text, begins))
}

/// The exact error in the `[[source]]` or `[[destination]]` that begins at `at`, and where that table's keys begin.
fn within_table(text: &str, at: usize) -> Option<(usize, toml::de::Error)> {
    let table = text.get(at..)?;
    let name = header(table.lines().next()?).filter(|_| table.starts_with("[["))?;
    let start = table.find('\n')? + 1;
    let body = table.get(start..)?;
    let body = body.get(..body.find("\n[").map_or(body.len(), |end| end + 1))?;
    let (kind, line) = kind_of(body)?;
    // The tag is not a key of the settings: blank it, keeping every place.
    let mut blanked = body.to_owned();
    blanked.replace_range(line.clone(), &" ".repeat(line.len()));
    let error = match (name, kind) {
        ("source", "mqtt") => error_of::<MqttSettings>(&blanked),
        ("source", "bluetooth") => error_of::<BluetoothSettings>(&blanked),
        ("destination", "fhir") => error_of::<FhirSettings>(&blanked),
        ("destination", "hl7") => error_of::<Hl7Settings>(&blanked),
        ("destination", "ndjson") => error_of::<NdjsonSettings>(&blanked),
        ("destination", "webhook") => error_of::<WebhookSettings>(&blanked),
        ("destination", "nats") => error_of::<NatsSettings>(&blanked),
        _ => None,
    }?;
    Some((at + start, error))
}

fn error_of<T: DeserializeOwned>(text: &str) -> Option<toml::de::Error> {
    toml::from_str::<T>(text).err()
}

/// The `kind` of a table, and where its line is.
fn kind_of(body: &str) -> Option<(&str, Range<usize>)> {
    let mut start = 0;
    for line in body.split_inclusive('\n') {
        let key = line.split_once('=').map(|(key, value)| (key.trim(), value));
        if let Some(("kind", value)) = key {
            let kind = value.split(['"', '\'']).nth(1)?;
            return Some((kind, start..start + line.trim_end().len()));
        }
        start += line.len();
    }
    None
}
