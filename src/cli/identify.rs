//! `wardline patient identify`, `identified`, `forget`: match fields, for destinations whose site opted into them.
//!
//! Promises: values come from standard input or a file that others cannot read, and are repeated nowhere. Must never: take
//! one as an argument, where every user of the machine and the shell's history would have it.
#![allow(clippy::print_stdout)]

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::remote::Remote;
use super::text::{self, Table};
use crate::control::demographics::{Forgetting, Introduction, Named, Registered};
use crate::demographics::Demographics;
use crate::minimum::Field;
use crate::reading::PatientId;
use crate::{limits, secret};

#[derive(clap::Args)]
pub(super) struct Identify {
    /// Whom, e.g. Patient/8f2c.
    patient: String,
    /// The destination that asks for match fields.
    #[arg(long, value_name = "DESTINATION")]
    to: String,
    /// A file with the fields (TOML), which others cannot read. Without it they come from standard input: asked for one by
    /// one at a terminal, else as TOML.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Who says so.
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
pub(super) struct Forget {
    /// Whose match fields, e.g. Patient/8f2c.
    patient: String,
    /// The destination.
    #[arg(long, value_name = "DESTINATION", required_unless_present = "everywhere")]
    to: Vec<String>,
    /// Of every destination.
    #[arg(long, conflicts_with = "to")]
    everywhere: bool,
    /// Who says so.
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    remote: Remote,
}

fn all(remote: &Remote) -> anyhow::Result<(Box<RawValue>, Vec<Named>)> {
    let raw: Box<RawValue> = remote.ask(async |client| client.get("/v1/match-fields", &[]).await)?;
    let named = serde_json::from_str(raw.get())?;
    Ok((raw, named))
}

/// Exit code 1: a destination asks for fields that are not given.
pub(super) fn list(remote: &Remote) -> anyhow::Result<ExitCode> {
    let (raw, named) = all(remote)?;
    let lacking = |n: &Named| {
        let lacking = n.asks.iter().filter(|field| !n.given.contains(field)).map(|field| field.word());
        lacking.collect::<Vec<_>>().join(", ")
    };
    if remote.json {
        println!("{raw}");
    } else {
        let mut table = Table::new(&["patient", "destination", "by", "at", "match fields"]);
        for n in &named {
            let state = if lacking(n).is_empty() { "given" } else { "lacking" };
            table.row([
                n.patient.reveal().to_owned(),
                n.destination.to_string(),
                n.by.clone().unwrap_or_else(|| "-".into()),
                n.at_ms.map_or_else(|| "-".into(), text::minute),
                state.into(),
            ]);
        }
        print!("{}", table.render("No destination asks for match fields: all know patients by their reference."));
        for n in named.iter().filter(|n| !lacking(n).is_empty()) {
            println!("{} at {} lacks {} (WL-H005).", n.patient.reveal(), n.destination, lacking(n));
        }
    }
    let whole = named.iter().all(|n| lacking(n).is_empty());
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn identify(args: &Identify) -> anyhow::Result<ExitCode> {
    let patient = PatientId::new(&args.patient);
    let person = match &args.file {
        Some(file) => written(secret::read(file).map_err(|e| anyhow!(crate::fault::sentence(&Unread(e))))?.reveal())?,
        None if std::io::stdin().is_terminal() => {
            let (_, named) = all(&args.remote)?;
            let asks = named.into_iter().find(|n| n.patient == patient && *n.destination == *args.to).map(|n| n.asks);
            asked(&asks.unwrap_or_default())?
        }
        None => {
            let mut text = Zeroizing::new(Vec::new());
            std::io::stdin()
                .lock()
                .take(limits::MATCH_FILE_BYTES_MAX)
                .read_to_end(&mut text)
                .context("standard input")?;
            written(&text)?
        }
    };
    let what = Introduction { patient, destination: args.to.clone(), person, by: args.by.clone() };
    let raw: Box<RawValue> = args.remote.ask(async |client| client.post("/v1/match-fields", &what).await)?;
    args.remote.print(&raw, |_: &Registered| {
        format!("{} finds {} by them from now on. What waited for them is on its way.\n", args.to, args.patient)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// TOML. What a parser says of it may repeat it.
fn written(text: &[u8]) -> anyhow::Result<Demographics> {
    let keys =
        "match fields are TOML with the keys identifier, family, given, further, birth-date, sex; values are in quotes";
    let text = std::str::from_utf8(text).map_err(|_| anyhow!("match fields are UTF-8"))?;
    toml::from_str(text).map_err(|_| anyhow!(keys))
}

/// Each field for itself, at a terminal.
fn asked(asks: &[Field]) -> anyhow::Result<Demographics> {
    let mut input = std::io::stdin().lock().take(limits::MATCH_FILE_BYTES_MAX);
    let mut told = |what: &str| -> anyhow::Result<Option<String>> {
        eprint!("{what}: ");
        std::io::stderr().flush()?;
        let mut line = String::new();
        input.read_line(&mut line).context("standard input")?;
        Ok(Some(line.trim().to_owned()).filter(|l| !l.is_empty()))
    };
    let mut person = Demographics::default();
    for field in asks {
        match field {
            Field::PatientIdentifier => {
                person.identifier = told("Identifier, as the receiver's own authority gave it")?
            }
            Field::PatientName => {
                person.family = told("Family name")?;
                person.given = told("Given name")?;
                person.further = told("Further given names, or nothing")?;
            }
            Field::BirthDate => {
                let date = told("Birth date, as in 1950-03-07")?.map(|d| d.parse()).transpose();
                person.birth_date =
                    date.map_err(|_| anyhow!("a birth date is year, month and day, as in 1950-03-07"))?;
            }
            Field::Sex => person.sex = told("Sex: F, M, O (other), U (unknown), A (ambiguous), N (not applicable)")?,
            _ => {}
        }
    }
    Ok(person)
}

pub(super) fn forget(args: &Forget) -> anyhow::Result<ExitCode> {
    let patient = PatientId::new(&args.patient);
    let to = if args.everywhere {
        let (_, named) = all(&args.remote)?;
        let theirs = named.into_iter().filter(|n| n.patient == patient && !n.given.is_empty());
        theirs.map(|n| n.destination.to_string()).collect()
    } else {
        args.to.clone()
    };
    if to.is_empty() {
        bail!("there are no match fields of this patient");
    }
    for destination in to {
        let what = Forgetting { patient: patient.clone(), destination, by: args.by.clone() };
        let raw: Box<RawValue> = args.remote.ask(async |client| client.post("/v1/match-fields/forget", &what).await)?;
        args.remote.print(&raw, |done: &Registered| {
            let on_the_way = match done.on_the_way {
                0 => String::new(),
                n => format!(" Up to {n} readings were in a message at that moment, and may have arrived."),
            };
            format!(
                "The match fields of {} for {} are gone: what is owed there waits.{on_the_way}\n",
                args.patient, what.destination
            )
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The file of match fields is not used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unread(secret::SecretError);

impl crate::fault::Explain for Unread {
    fn code(&self) -> &'static str {
        "WL-O052"
    }
    fn remedy(&self) -> &'static str {
        "Give a file that only you can read (mode 0600), and remove it when it was taken."
    }
}
