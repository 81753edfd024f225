//! `wardline check`: check configuration, profiles and rules. One line for each problem: file, key, reason, remedy, code.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::remote::CONFIG;
use crate::alert::ruleset::Rules;
use crate::config::{AuthSettings, Config, ConfigError, DestinationSettings, FhirSettings, Finding, preset};
use crate::fault::Explain;
use crate::mapping::{Mapping, MappingError};
use crate::profile::{Catalogue, ProfileError};
use crate::sink::smart::file::Keys;

/// Arguments of `wardline check`.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A problem and the file that it is in.
#[derive(serde::Serialize)]
struct Problem {
    file: String,
    key: String,
    reason: String,
    remedy: String,
    code: String,
}

impl Problem {
    fn new(file: &Path, key: &str, reason: &str, error: &dyn Explain) -> Self {
        Self {
            file: file.display().to_string(),
            key: key.into(),
            // One line for each problem, also where a parser shows the place below its words.
            reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
            remedy: error.remedy().into(),
            code: error.code().into(),
        }
    }

    fn of(file: &Path, finding: Finding) -> Self {
        Self {
            file: file.display().to_string(),
            key: finding.key,
            reason: finding.reason,
            remedy: finding.remedy.into(),
            code: finding.code.into(),
        }
    }
}

/// Checks; exit code 2 when something is wrong.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let problems = match Config::load(&args.config) {
        Ok(config) => check_named(&config),
        Err(ConfigError::Invalid { file, findings }) => findings.into_iter().map(|f| Problem::of(&file, f)).collect(),
        Err(ConfigError::Unreadable { file, source }) => {
            let reason = format!("cannot be read: {source}");
            vec![Problem::new(&file, "-", &reason, &ConfigError::Unreadable { file: file.clone(), source })]
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&problems)?);
    } else if problems.is_empty() {
        println!("{}: nothing is wrong", args.config.display());
    }
    if !args.json {
        for p in &problems {
            println!("{}: {}: {}. {} [{}]", p.file, p.key, p.reason, p.remedy, p.code);
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// What the configuration names: profiles, rules, tables of codes, keys.
fn check_named(config: &Config) -> Vec<Problem> {
    let mut problems = config.gateway.profiles.as_deref().map(check_profiles).unwrap_or_default();
    if let Err(errors) = Rules::load(&config.alerts.rules, &config.patients) {
        problems.extend(errors.iter().map(|e| Problem::new(&e.file, &e.key, &e.why.to_string(), e)));
    }
    let files = config.destinations.iter().filter_map(|d| match d {
        DestinationSettings::Fhir(fhir) => fhir.mapping_file.as_deref(),
        _ => None,
    });
    problems.extend(files.filter_map(|f| Some((f, Mapping::load(f).err()?))).map(|(f, e)| of_mapping(f, &e)));
    problems.extend(config.destinations.iter().flat_map(|d| match d {
        DestinationSettings::Fhir(fhir) => check_signature(fhir),
        _ => Vec::new(),
    }));
    problems
}

/// Keys that sign otherwise than the named receiver takes: the one in use, and the new one beside it.
fn check_signature(fhir: &FhirSettings) -> Vec<Problem> {
    let wanted = fhir.profile.as_deref().and_then(|name| Some((name, preset::signs(name)?)));
    let (Some((name, wanted)), Some(AuthSettings::Smart(smart))) = (wanted, &fhir.auth) else { return Vec::new() };
    let key = format!("destination {}, auth.key_file", fhir.name);
    let keys = match Keys::read(&smart.key_file) {
        Ok(keys) => keys,
        Err(e) => return vec![Problem::new(&smart.key_file, &key, &e.to_string(), &e)],
    };
    let new = keys.new.as_ref().map(|new| (&new.key, "the new key beside it"));
    let others = [(&keys.current, "the key")].into_iter().chain(new).filter(|(key, _)| key.alg().name() != wanted);
    let told = others.map(|(other, which)| {
        let reason =
            format!("`{name}` takes tokens that are signed with {wanted}; {which} signs with {}", other.alg().name());
        let remedy = "Make an RSA key with `wardline key smart new --alg rs384`, and register its public half.";
        Problem::of(&smart.key_file, Finding { code: "WL-C013", key: key.clone(), reason, remedy })
    });
    told.collect()
}

fn of_mapping(file: &Path, error: &MappingError) -> Problem {
    let (key, reason) = match error {
        MappingError::Unreadable { source, .. } => ("-".to_owned(), format!("cannot be read: {source}")),
        MappingError::Malformed { reason, .. } => ("form".to_owned(), reason.clone()),
        MappingError::Row { vital, wrong, .. } => (format!("vital \"{vital}\""), wrong.to_string()),
    };
    Problem::new(file, &key, &reason, error)
}

/// Each profile of the folder by itself, so that one does not hide another; then all of them together.
fn check_profiles(folder: &Path) -> Vec<Problem> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let mut files: Vec<_> = entries.filter(|f| f.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    let problems: Vec<_> = files.iter().filter_map(|f| Catalogue::load(f).err()).map(|e| of_profile(&e)).collect();
    if !problems.is_empty() {
        return problems;
    }
    Catalogue::with_folder(folder).err().iter().map(of_profile).collect()
}

fn of_profile(error: &ProfileError) -> Problem {
    let (file, key, reason) = match error {
        ProfileError::Unreadable { file, source } => (file, "-".to_owned(), format!("cannot be read: {source}")),
        ProfileError::Malformed { file, reason } => (file, "form".to_owned(), reason.clone()),
        ProfileError::Meaningless { file, key, reason } => (file, key.clone(), reason.clone()),
        ProfileError::ExampleFails { file, example, reason } => {
            (file, format!("example \"{example}\""), reason.clone())
        }
        ProfileError::Conflict { file, what, other } => (file, what.clone(), format!("is claimed by \"{other}\" too")),
    };
    Problem::new(file, &key, &reason, error)
}
