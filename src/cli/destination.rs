//! `wardline destination`: what a FHIR destination can, as it states and as it was found; finding out more.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use serde_json::value::RawValue;

use super::inbox::wrapped;
use super::remote::Remote;
use super::text;
use crate::control::probe::Shown;
use crate::probed::{Credential, Finding, Stated, Written};

/// Arguments of `wardline destination`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// What is known of it, and what of that is obeyed.
    Show(Show),
    /// Ask it. Without --write only its CapabilityStatement is read.
    Probe(Probe),
    /// What it would be sent for each vital sign, and how that differs from the base: a dry run of its `mapping_file`.
    Mapping(super::mapping::Args),
}

#[derive(clap::Args)]
struct Show {
    /// Its name in the configuration.
    name: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct Probe {
    #[command(flatten)]
    show: Show,
    /// Write test resources, marked HTEST, for a test patient: some hundred stay there.
    #[arg(long, requires = "consent")]
    write: bool,
    /// Who of the destination's owners consented to that.
    #[arg(long, value_name = "NAME", requires = "write")]
    consent: Option<String>,
}

/// Runs it. Exit code 1: the configuration and the destination contradict each other, or there is no token.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (remote, raw): (_, Box<RawValue>) = match &args.command {
        Command::Mapping(mapping) => return super::mapping::run(mapping),
        Command::Show(show) => {
            let path = format!("/v1/destinations/{}", show.name);
            (&show.remote, show.remote.ask(async |client| client.get(&path, &[]).await)?)
        }
        Command::Probe(probe) => {
            let path = format!("/v1/destinations/{}/probe", probe.show.name);
            let body = serde_json::json!({ "write": probe.write, "consent": probe.consent });
            let remote = &probe.show.remote;
            (remote, remote.ask_patiently(async |client| client.post(&path, &body).await)?)
        }
    };
    let shown: Shown = serde_json::from_str(raw.get())?;
    if remote.json {
        println!("{raw}");
    } else {
        print!("{}", render(&shown));
    }
    let shut_out = shown.credential.as_ref().is_some_and(|c| c.trouble.is_some());
    Ok(if shown.conflicts.is_empty() && !shut_out { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(shown: &Shown) -> String {
    let mut out = format!("Destination {} at {}\n", shown.name, shown.url);
    out.push_str(&format!("configured  idempotency {}, bundle {}\n", shown.idempotency, shown.bundle));
    out.push_str(&format!("obeyed now  {} with at most {} entries\n", shown.travels, shown.bundle_max));
    for c in &shown.conflicts {
        out.push('\n');
        out.push_str(&wrapped(&format!("{}: {}.", c.code, c.text), ""));
        out.push_str(&wrapped(&c.remedy, "  "));
    }
    if let Some(credential) = &shown.credential {
        admission(&mut out, credential);
    }
    match &shown.known.stated {
        Some((at_ms, stated)) => statement(&mut out, *at_ms, stated),
        None => out.push_str(&format!("\nNot asked yet:\n  wardline destination probe {}\n", shown.name)),
    }
    match &shown.known.written {
        Some((at_ms, written)) => tried(&mut out, *at_ms, written),
        None => out.push_str(&format!(
            "\nNot tried yet. With the consent of its owner:\n  wardline destination probe {} --write --consent \"NAME\"\n",
            shown.name
        )),
    }
    out
}

fn admission(out: &mut String, credential: &Credential) {
    out.push_str("\nHow it is let in (SMART Backend Services)\n");
    let mut say = |what: &str, said: &str| out.push_str(&format!("  {what:<20} {said}\n"));
    say("key", &format!("{} {}", credential.alg, credential.kid));
    if let Some(kid) = &credential.new_kid {
        say("new key, waiting", kid);
    }
    say("token server", credential.token_url.as_deref().unwrap_or("not asked yet"));
    say("token", &credential.until_ms.map_or_else(|| "none".into(), |ms| format!("good until {}", text::time(ms))));
    if credential.unsaid {
        say("granted", "as asked; the token server does not say");
    } else if !credential.granted.is_empty() {
        say("granted", &credential.granted.join(" "));
    }
    if !credential.missing.is_empty() {
        say("NOT granted", &credential.missing.join(" "));
    }
    if let Some((code, text, remedy)) = &credential.trouble {
        out.push_str(&wrapped(&format!("{code}: {text}."), "  "));
        out.push_str(&wrapped(remedy, "    "));
    }
}

fn statement(out: &mut String, at_ms: i64, stated: &Stated) {
    out.push_str(&format!("\nIts own statement ({})\n", text::time(at_ms)));
    let mut say = |what: &str, said: &str| out.push_str(&format!("  {what:<40} {said}\n"));
    let word = |said: Option<bool>| match said {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not stated",
    };
    say("software", stated.software.as_deref().unwrap_or("not stated"));
    say("FHIR version", stated.fhir_version.as_deref().unwrap_or("not stated"));
    say("batch, transaction", &format!("{}, {}", word(stated.batch), word(stated.transaction)));
    say("update creates", word(stated.update_create));
    say("conditional create", word(stated.conditional_create));
    say("$validate", word(stated.validate));
}

fn tried(out: &mut String, at_ms: i64, w: &Written) {
    out.push_str(&format!("\nTried by writing ({}), consented by {}\n", text::time(at_ms), w.consent));
    let mut say =
        |what: &str, said: String| out.push_str(&format!("  {}\n", text::cut(&format!("{what:<40} {said}"), 78)));
    let word = |f: &Option<Finding>| match f {
        Some(Finding::Works) => "works".to_owned(),
        Some(Finding::Fails(why)) => format!("NO: {why}"),
        None => "not tried".to_owned(),
    };
    say("update under our id, twice", word(&w.put_create));
    say("conditional create, twice", word(&w.conditional_create));
    let left = w.parallel_creates.map_or_else(
        || "not tried".into(),
        |n| if n == 1 { "works: one resource".into() } else { format!("NO: {n} resources") },
    );
    say("eight conditional creates at once", left);
    say("eight updates at once", word(&w.parallel_updates));
    say("batch", word(&w.batch));
    say("transaction", word(&w.transaction));
    say("one bad entry leaves the others", word(&w.per_entry));
    say("largest Bundle", w.bundle_max.map_or_else(|| "none was taken".into(), |n| format!("{n} entries")));
    say("$validate", word(&w.validate));
    say("too many requests", w.throttled.clone().unwrap_or_else(|| "never said".into()));
    for (vital, unit, finding) in &w.units {
        say(&format!("{vital} in {unit}"), word(&Some(finding.clone())));
    }
    out.push_str(&format!("  {} test resources stay there, of {}, marked HTEST.\n", w.left, w.patient));
}
