//! A profile proves itself: each of its examples is decoded and compared, decimals included.
//!
//! An example is decoded by its profile alone; that no other profile wants the frame is a test of the catalogue.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::compile::{Profile, name};
use super::error::ProfileError;
use super::schema::{Example, ExampleFrame, Expected, ProfileFile};
use super::session::octets;
use super::{Catalogue, Decoder, time};
use crate::clock::Stamp;
use crate::reading::{Absence, DeviceId, DeviceTime, Draft, Frame, Part, Path, Value};
use crate::vital::Role;

/// Which device the examples of a link come from, where the message does not say so.
const LINK_DEVICE: &str = "ble:00:00:5E:00:53:01";

/// Decodes every example of a profile. The first that does not hold is the error.
pub fn check(profile: &Profile, file: &FilePath) -> Result<(), ProfileError> {
    // Parsed once more, as a catalogue owns its profiles.
    let alone = super::compile::compile(profile.file.clone());
    let meaningless = |(key, reason)| ProfileError::Meaningless { file: file.into(), key, reason };
    let catalogue = Arc::new(Catalogue::new(vec![(PathBuf::from(file), alone.map_err(meaningless)?)])?);
    if profile.file.examples.len() < 2 {
        let reason = "there must be two at least, one of them an edge case".into();
        return Err(ProfileError::Meaningless { file: file.into(), key: "example".into(), reason });
    }
    for example in &profile.file.examples {
        let failed = |reason| ProfileError::ExampleFails { file: file.into(), example: example.name.clone(), reason };
        check_one(&profile.file, example, &catalogue).map_err(failed)?;
    }
    Ok(())
}

/// The frames of all examples of a profile, without those before them.
pub fn frames(profile: &Profile) -> Vec<Frame> {
    let examples = profile.file.examples.iter();
    examples.filter_map(|e| frame(&profile.file, &e.frame).ok()).collect()
}

fn check_one(profile: &ProfileFile, example: &Example, catalogue: &Arc<Catalogue>) -> Result<(), String> {
    let mut decoder = Decoder::new(Arc::clone(catalogue));
    for before in &example.before {
        decoder.decode(&frame(profile, before)?).map_err(|r| format!("a frame before it is rejected: {r}"))?;
    }
    let decoded = match (decoder.decode(&frame(profile, &example.frame)?), &example.reject) {
        (Err(got), Some(code)) if got.code == *code => return Ok(()),
        (Err(got), _) => return Err(format!("rejected with {got}")),
        (Ok(_), Some(code)) => return Err(format!("not rejected with {code}")),
        (Ok(decoded), None) => decoded,
    };
    let device = example.device.as_deref().unwrap_or(LINK_DEVICE);
    if *decoded.device.0 != *device {
        return Err(format!("is from device {}, not {device}", decoded.device));
    }
    let expected: Vec<String> = example.readings.iter().map(expected).collect::<Result<_, _>>()?;
    let got: Vec<String> = decoded.drafts.iter().map(shown).collect();
    if expected == got { Ok(()) } else { Err(format!("expected [{}], got [{}]", expected.join("; "), got.join("; "))) }
}

pub(super) fn frame(profile: &ProfileFile, example: &ExampleFrame) -> Result<Frame, String> {
    let device = || DeviceId(LINK_DEVICE.into());
    let path = match (&example.characteristic, &example.service, &example.topic) {
        (Some(uuid), None, None) => {
            // A profile for devices of certain names is tried with one that fits.
            let name = profile.matching.sample(example.name.as_deref());
            Path::Characteristic { device: device(), uuid: uuid.as_str().into(), name }
        }
        (None, Some(uuid), None) => Path::Advertisement { device: device(), service: uuid.as_str().into() },
        (None, None, Some(topic)) => Path::Topic(topic.as_str().into()),
        _ => return Err("its frame needs a characteristic, a service or a topic, and only that".into()),
    };
    let bytes = match (&example.hex, &example.text) {
        (Some(hex), None) => octets("hex", hex).map_err(|(key, why)| format!("{key} {why}"))?,
        (None, Some(text)) => text.clone().into_bytes(),
        _ => return Err("its frame needs either hex or text".into()),
    };
    Ok(Frame { path, ..Frame::new("example", bytes, Stamp::at_ms(0)) })
}

/// One line for a draft, so that a difference can be read.
fn shown(draft: &Draft) -> String {
    let part = |p: &Part| match p.value {
        Value::Number(n) => format!("{} {n} {}", name(p.role), p.unit.ucum()),
        Value::Absent(why) => format!("{} {} {}", name(p.role), absence(why), p.unit.ucum()),
    };
    let mut line = vec![draft.vital.id.to_string()];
    line.extend(draft.parts.iter().map(part));
    line.extend(draft.device_time.map(|t| format!("time {}", shown_time(t))));
    line.extend(draft.sequence.map(|n| format!("sequence {n}")));
    line.extend(draft.slot.map(|n| format!("slot {n}")));
    line.extend(draft.site.map(|s| format!("site {}", s.id)));
    line.extend(draft.quality.iter().map(|q| format!("{q:?}")));
    line.extend(draft.stored.then(|| "stored".into()));
    line.join(", ")
}

fn expected(reading: &Expected) -> Result<String, String> {
    let parts = [
        (Role::Value, &reading.value),
        (Role::Systolic, &reading.systolic),
        (Role::Diastolic, &reading.diastolic),
        (Role::Mean, &reading.mean),
    ];
    let mut line = vec![reading.vital.clone()];
    for (role, value) in parts {
        line.extend(value.as_ref().map(|v| format!("{} {v} {}", name(role), reading.unit)));
    }
    if let Some(text) = &reading.time {
        let time = time::iso8601(text).ok_or_else(|| format!("time \"{text}\" is not ISO 8601"))?;
        line.push(format!("time {}", shown_time(time)));
    }
    line.extend(reading.sequence.map(|n| format!("sequence {n}")));
    line.extend(reading.slot.map(|n| format!("slot {n}")));
    line.extend(reading.site.as_ref().map(|s| format!("site {s}")));
    line.extend(reading.quality.iter().map(|q| format!("{q:?}")));
    line.extend(reading.stored.then(|| "stored".into()));
    Ok(line.join(", "))
}

pub(super) fn shown_time(time: DeviceTime) -> String {
    match time {
        DeviceTime::Civil(t) => t.to_string(),
        DeviceTime::Instant(t) => t.to_string(),
    }
}

pub(super) fn absence(why: Absence) -> &'static str {
    match why {
        Absence::NotANumber => "not-a-number",
        Absence::PositiveInfinity => "positive-infinity",
        Absence::NegativeInfinity => "negative-infinity",
        Absence::Error => "error",
        Absence::NotPerformed => "not-performed",
        Absence::Unknown => "unknown",
    }
}
