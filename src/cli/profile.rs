//! `wardline profile`: list, show and test firmware profiles.
//!
//! Exit codes: 0 all is well, 2 a profile is refused (with a `WL-P` code).
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::example;
use crate::fault::sentence;
use crate::profile::schema::{Example, ExampleFrame, Link, PairingMethod};
use crate::profile::{Catalogue, FILES, Profile, ProfileError, check_examples, page};

/// Arguments of `wardline profile`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Folder of profiles beside the built-in ones.
    #[arg(long, global = true, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// All profiles, one line each.
    List {
        /// As JSON.
        #[arg(long, conflicts_with = "markdown")]
        json: bool,
        /// As docs/supported-devices.md.
        #[arg(long)]
        markdown: bool,
    },
    /// One profile: what it matches, reads, asks of the patient, and its examples.
    Show {
        /// Its id.
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Decode the examples of profiles: of these files, or of all.
    Test {
        /// Profile files.
        files: Vec<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a capture's frames as examples of a profile, with what they decode to now.
    Example(example::Example),
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Command::Test { files, json } = &args.command {
        return Ok(test(files, args.folder.as_deref(), *json));
    }
    if let Command::Example(order) = &args.command {
        return example::example(order, args.folder.as_deref());
    }
    let catalogue = match &args.folder {
        None => Catalogue::built_in(),
        Some(folder) => match Catalogue::with_folder(folder) {
            Ok(catalogue) => catalogue,
            Err(e) => {
                eprintln!("{}", sentence(&e));
                return Ok(ExitCode::from(2));
            }
        },
    };
    match &args.command {
        Command::List { markdown: true, .. } => print!("{}", page::markdown(&catalogue)),
        Command::List { json: true, .. } => {
            let all: Vec<Value> = catalogue.profiles().into_iter().map(summary).collect();
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Command::List { .. } => {
            for p in catalogue.profiles() {
                let mark = if p.file.experimental { " (experimental)" } else { "" };
                println!("{:<28} {:<14} {:?}  {}{mark}", p.id, link(p.file.link), p.file.confidence, p.file.title);
            }
        }
        Command::Show { id, json } => match catalogue.find(id) {
            Some(profile) if *json => println!("{}", serde_json::to_string_pretty(&summary(profile))?),
            Some(profile) => show(profile),
            None => anyhow::bail!("there is no profile \"{id}\"; `wardline profile list` shows all"),
        },
        Command::Test { .. } | Command::Example(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn link(link: Link) -> &'static str {
    match link {
        Link::Ble => "ble",
        Link::Advertisement => "advertisement",
        Link::Mqtt => "mqtt",
    }
}

fn summary(profile: &Profile) -> Value {
    let file = &profile.file;
    json!({
        "id": file.id,
        "title": file.title,
        "manufacturer": file.manufacturer,
        "models": file.models,
        "link": link(file.link),
        "confidence": format!("{:?}", file.confidence),
        "experimental": file.experimental,
        "names": file.matching.names,
        "bytes": page::ways(profile),
        "vitals": page::vitals(profile),
        "examples": file.examples.iter().map(|e| &e.name).collect::<Vec<_>>(),
        "sources": file.sources,
        "note": file.note,
    })
}

fn show(profile: &Profile) {
    let file = &profile.file;
    println!("{}: {}", file.id, file.title);
    println!("  made by     {} {}", file.manufacturer, file.models.join(", "));
    let mark = if file.experimental { ", experimental" } else { "" };
    println!("  link        {}, confidence {:?}{mark}", link(file.link), file.confidence);
    if !file.matching.names.is_empty() {
        println!("  names       {}", file.matching.names.join(", "));
    }
    println!("  bytes       {}", page::ways(profile).join(", "));
    println!("  readings    {}", page::vitals(profile).join(", "));
    if file.pairing.method != PairingMethod::None {
        println!("  pairing");
        file.pairing.steps.iter().enumerate().for_each(|(i, s)| println!("    {}. {s}", i + 1));
    }
    if let Some(note) = &file.note {
        println!("  note        {}", note.trim().replace('\n', " "));
    }
    file.sources.iter().for_each(|s| println!("  source      {s}"));
    println!("  examples");
    file.examples.iter().for_each(|e| println!("    {}\n      {}\n      -> {}", e.name, bytes(&e.frame), outcome(e)));
}

fn bytes(frame: &ExampleFrame) -> String {
    let way = frame.characteristic.as_ref().or(frame.service.as_ref()).or(frame.topic.as_ref());
    let bytes = frame.hex.as_ref().or(frame.text.as_ref());
    format!("{} {}", way.map_or("", |w| w), bytes.map_or("", |b| b))
}

fn outcome(example: &Example) -> String {
    if let Some(code) = &example.reject {
        return format!("rejected with {code}");
    }
    let reading = |r: &crate::profile::schema::Expected| {
        let numbers = [&r.value, &r.systolic, &r.diastolic, &r.mean];
        let numbers: Vec<&str> = numbers.into_iter().filter_map(|n| n.as_deref()).collect();
        format!("{} {} {}", r.vital, numbers.join("/"), r.unit)
    };
    let readings: Vec<String> = example.readings.iter().map(reading).collect();
    if readings.is_empty() { "no reading".into() } else { readings.join(", ") }
}

/// One line for each profile that is refused, and a closing count.
fn test(files: &[PathBuf], folder: Option<&Path>, as_json: bool) -> ExitCode {
    let mut results: Vec<(String, Result<usize, ProfileError>)> = Vec::new();
    let proven = |p: &Profile, file: &Path| check_examples(p, file).map(|()| p.file.examples.len());
    if files.is_empty() {
        for (name, text) in FILES {
            let file = Path::new(name);
            results.push(((*name).into(), Profile::parse(text, file).and_then(|p| proven(&p, file))));
        }
    }
    for file in files {
        let result = Catalogue::load(file).map(|p| p.file.examples.len());
        results.push((file.display().to_string(), result));
    }
    if let Some(folder) = folder {
        let result = Catalogue::with_folder(folder).map(|c| c.profiles().iter().map(|p| p.file.examples.len()).sum());
        results.push((folder.display().to_string(), result));
    }
    report(&results, as_json);
    if results.iter().all(|(_, r)| r.is_ok()) { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn report(results: &[(String, Result<usize, ProfileError>)], as_json: bool) {
    let failed = results.iter().filter(|(_, r)| r.is_err()).count();
    if as_json {
        let line = |(file, result): &(String, Result<usize, ProfileError>)| match result {
            Ok(n) => json!({ "file": file, "examples": n, "ok": true }),
            Err(e) => json!({ "file": file, "ok": false, "error": sentence(e) }),
        };
        println!("{}", json!(results.iter().map(line).collect::<Vec<_>>()));
        return;
    }
    for (_, result) in results {
        if let Err(e) = result {
            println!("{}", sentence(e));
        }
    }
    let examples: usize = results.iter().filter_map(|(_, r)| r.as_ref().ok()).sum();
    println!("{} profiles passed with {examples} examples, {failed} refused", results.len() - failed);
}
