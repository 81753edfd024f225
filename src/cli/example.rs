//! `wardline profile example`: a capture's frames as examples of a profile, ready to be pasted into it.
//!
//! Exit codes: 0 examples are printed, 1 there is none, 2 the capture or the profile is refused.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::capture::{Capture, Kind};
use crate::fault::sentence;
use crate::profile::schema::ExampleFrame;
use crate::profile::{Catalogue, Profile, ProfileError, example as writer};

/// Arguments of `wardline profile example`.
#[derive(clap::Args)]
pub(super) struct Example {
    /// A capture: `wardline devices record` makes one.
    file: PathBuf,
    /// Id of a profile, or a file that is being written and need have no examples yet.
    #[arg(long, value_name = "ID|FILE.toml")]
    profile: String,
    /// What the examples show: each gets a number after it.
    #[arg(long, default_value = "a captured value")]
    name: String,
}

pub(super) fn example(order: &Example, folder: Option<&Path>) -> anyhow::Result<ExitCode> {
    let refused = |why: &str| {
        eprintln!("{why}");
        Ok(ExitCode::from(2))
    };
    let capture = match super::record::open(&order.file) {
        Ok(capture) => capture,
        Err(e) => return refused(&e.to_string()),
    };
    let profile = match find(&order.profile, folder) {
        Ok(profile) => profile,
        Err(e) => return refused(&sentence(&e)),
    };
    let Some(profile) = profile else {
        anyhow::bail!("there is no profile \"{}\"; `wardline profile list` shows all", order.profile)
    };
    let device = capture.name().unwrap_or("a device without a name");
    let origin = format!("captured by wardline {} from {device}", capture.head.wardline);
    let written = match writer::write(&profile, &frames(&capture), &order.name, &origin) {
        Ok(written) => written,
        Err(e) => return refused(&sentence(&e)),
    };
    print!("{}", written.toml);
    eprintln!(
        "{} examples; {} frames without a reading, sent twice, or needing too many before them; {} that {} has no rule for.",
        written.examples, written.left_out, written.foreign, profile.id
    );
    eprintln!("They are what the device measured: check them against its display, and that nobody minds.");
    Ok(if written.examples > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A profile that is being written need not hold its examples yet.
fn find(named: &str, folder: Option<&Path>) -> Result<Option<Profile>, ProfileError> {
    if named.ends_with(".toml") {
        let file = Path::new(named);
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|source| ProfileError::Unreadable { file: file.into(), source })?;
        return Profile::parse(&text, file).map(Some);
    }
    let catalogue = match folder {
        Some(folder) => Catalogue::with_folder(folder)?,
        None => Catalogue::built_in(),
    };
    Ok(catalogue.take(named))
}

fn frames(capture: &Capture) -> Vec<ExampleFrame> {
    let none = || ExampleFrame { characteristic: None, name: None, service: None, topic: None, hex: None, text: None };
    let mut frames = Vec::new();
    for line in &capture.lines {
        if line.kind == Kind::Heard {
            frames.extend(line.service_data.iter().map(|(service, data)| ExampleFrame {
                service: Some(service.clone()),
                hex: Some(data.to_string()),
                ..none()
            }));
        }
        if line.is_value()
            && let Some(hex) = &line.hex
        {
            let characteristic = line.characteristic.clone();
            frames.push(ExampleFrame { characteristic, hex: Some(hex.to_string()), ..none() });
        }
    }
    frames
}
