//! `wardline devices user`: codes of the users of a shared scale, and what the scale said of them.
//!
//! Promises: a code comes from standard input or a file that others cannot read, and is repeated nowhere. Must never: take
//! one as an argument, where every user of the machine and the shell's history would have it.
#![allow(clippy::print_stdout)]

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::remote::Remote;
use super::text::{self, Table};
use crate::control::users::{Forgetting, Giving, Standing, Users};
use crate::secret;
use crate::user_code::UserCode;

/// Nobody types more before they see that it is not a code.
const LINE_MAX: u64 = 64;

#[derive(clap::Args)]
pub(super) struct User {
    /// ble:C0:26:DF:00:11:22.
    id: String,
    /// The user's number on the scale. Without it: whose code is kept, and what the scale said of it.
    #[arg(long, value_name = "N")]
    slot: Option<u8>,
    /// A file with the code, which others cannot read; `-`, or nothing: standard input.
    #[arg(long, value_name = "FILE", requires = "slot", conflicts_with = "forget")]
    code_file: Option<PathBuf>,
    /// Take the code away: the scale is not asked for this user any more.
    #[arg(long, requires = "slot")]
    forget: bool,
    /// Who says so.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Runs it. Exit code 1: a code is lacking or refused.
pub(super) fn user(args: &User) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/devices/{}/users", args.id);
    let Some(slot) = args.slot else { return list(args, &path) };
    let Some(by) = args.by.clone() else { bail!("say who decides it: --by NAME") };
    let (raw, done): (Box<RawValue>, _) = if args.forget {
        let (path, what) = (format!("{path}/forget"), Forgetting { slot, by });
        let raw = args.remote.ask(async |client| client.post(&path, &what).await)?;
        (raw, "The code is gone from this box, and the scale is not asked for this user any more.")
    } else {
        let what = Giving { slot, code: code(args.code_file.as_deref())?, by };
        let raw = args.remote.ask(async |client| client.post(&path, &what).await)?;
        (
            raw,
            "The scale is asked with it, now or at its next connection; `wardline devices user ID` says what it answered.",
        )
    };
    if args.remote.json {
        println!("{raw}");
    } else {
        println!("{}, user {slot}: {done}", args.id);
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person typed is never part of an error.
fn code(file: Option<&Path>) -> anyhow::Result<UserCode> {
    let file = file.filter(|file| *file != Path::new("-"));
    let line = match file {
        Some(file) => {
            let kept = secret::read(file).map_err(|e| anyhow!(crate::fault::sentence(&Unread(e))))?;
            Zeroizing::new(String::from_utf8_lossy(kept.line()).into_owned())
        }
        None => {
            if std::io::stdin().is_terminal() {
                eprint!("Code, four digits: ");
                std::io::stderr().flush()?;
            }
            let mut line = Zeroizing::new(String::new());
            std::io::stdin().lock().take(LINE_MAX).read_line(&mut line).context("standard input")?;
            line
        }
    };
    UserCode::parse(line.trim()).ok_or_else(|| anyhow!("a code has one to four digits, as the scale shows them"))
}

fn list(args: &User, path: &str) -> anyhow::Result<ExitCode> {
    if args.by.is_some() {
        bail!("say which user of the scale: --slot N");
    }
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get(path, &[]).await)?;
    let said = args.remote.print(&raw, render)?;
    let wrong = |state: Standing| matches!(state, Standing::NoCode | Standing::Refused);
    let fine = said.faults.is_empty() && !said.users.iter().any(|user| wrong(user.state));
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(all: &Users) -> String {
    let mut table = Table::new(&["user", "code", "asked", "given", "by"]);
    let or_dash = |ms: Option<i64>| ms.map_or_else(|| "-".into(), text::minute);
    for user in &all.users {
        table.row([
            user.slot.to_string(),
            user.state.word().into(),
            or_dash(user.asked_ms),
            or_dash(user.given_ms),
            user.by.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    let mut out = table.render("No user's code is kept: `wardline devices user ID --slot N --by NAME` takes one.");
    all.faults.iter().for_each(|why| out.push_str(&format!("{} ({})\n", why.text, why.code)));
    out
}

/// The file with the code is not used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unread(secret::SecretError);

impl crate::fault::Explain for Unread {
    fn code(&self) -> &'static str {
        "WL-O054"
    }
    fn remedy(&self) -> &'static str {
        "Give a file that only you can read (mode 0600), and remove it when it was taken."
    }
}
