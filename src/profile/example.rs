//! Frames of a device, written as examples of a profile with what they decode to now; for the author to check.
//!
//! Promises: what it writes, pasted into the profile, passes the profile's own test. Must never: call what it found right;
//! only somebody who saw the device's display can.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::compile::{Profile, name};
use super::error::ProfileError;
use super::examples::{self, frame, shown_time};
use super::schema::{ExampleFrame, ProfileFile};
use super::{Catalogue, Decoder};
use crate::limits::CAPTURE_BEFORE_MAX;
use crate::reading::{Draft, Frame, Reject, Value};
use crate::vital::Role;

/// What became of writing examples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Blocks of TOML.
    pub toml: String,
    /// How many.
    pub examples: usize,
    /// Frames that the profile has no rule for.
    pub foreign: usize,
    /// Frames in which there is no reading, and those that came before.
    pub left_out: usize,
}

/// Writes these frames, which are named by `title`, and come from `origin`.
pub fn write(profile: &Profile, frames: &[ExampleFrame], title: &str, origin: &str) -> Result<Written, ProfileError> {
    let meaningless = |(key, reason)| ProfileError::Meaningless { file: PathBuf::from(&*profile.id), key, reason };
    let alone = super::compile::compile(profile.file.clone()).map_err(meaningless)?;
    let catalogue = Arc::new(Catalogue::new(vec![(PathBuf::from(&*profile.id), alone)])?);
    let (mut written, mut decoder) = (Written::default(), Decoder::new(catalogue.clone()));
    let mut before: Vec<Earlier<'_>> = Vec::new();
    let mut seen = HashSet::new();
    for example in frames {
        let Ok(frame) = frame(&profile.file, example) else { continue };
        if catalogue.rule_for(&frame.path).is_err() {
            written.foreign += 1;
            continue;
        }
        let drafts = decoder.decode(&frame).map(|decoded| decoded.drafts);
        let again = !seen.insert((frame.path.clone(), frame.bytes.clone()));
        let says = drafts.as_ref().map_or(true, |drafts| !drafts.is_empty());
        match (says && !again).then(|| needed(&catalogue, &before, &frame, &drafts)).flatten() {
            Some(needed) => {
                written.examples += 1;
                let needed: Vec<&ExampleFrame> = needed.iter().map(|(example, _)| *example).collect();
                let named = format!("{title} {}", written.examples);
                block(&mut written.toml, (&named, origin), &profile.file, (&needed, example), &drafts);
            }
            None => written.left_out += 1,
        }
        // A frame that is rejected cannot stand before another one in an example.
        if drafts.is_ok() {
            before.push((example, frame));
        }
    }
    Ok(written)
}

/// A frame that came before, and how it is written.
type Earlier<'e> = (&'e ExampleFrame, Frame);

/// The fewest frames before this one with which it says the same as it did in its place: the newest, or the newest of each
/// characteristic (a session's start may be long ago). `None`: neither is enough.
fn needed<'b, 'e>(
    catalogue: &Arc<Catalogue>,
    before: &'b [Earlier<'e>],
    frame: &Frame,
    drafts: &Result<Vec<Draft>, Reject>,
) -> Option<Vec<&'b Earlier<'e>>> {
    let newest = (0..=before.len().min(CAPTURE_BEFORE_MAX)).filter_map(|n| before.get(before.len() - n..));
    let of_each = || {
        let mut channels = HashSet::new();
        let mut last: Vec<_> = before.iter().rev().filter(|(_, f)| channels.insert(&f.path)).collect();
        last.reverse();
        last
    };
    let mut all = newest.map(|earlier| earlier.iter().collect()).chain(std::iter::once_with(of_each));
    all.find(|earlier: &Vec<&Earlier<'_>>| {
        let mut decoder = Decoder::new(catalogue.clone());
        let taken = earlier.len() <= CAPTURE_BEFORE_MAX && earlier.iter().all(|(_, f)| decoder.decode(f).is_ok());
        taken && decoder.decode(frame).map(|decoded| decoded.drafts) == *drafts
    })
}

/// A text in TOML, which is one in JSON as well.
fn quoted(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    serde_json::to_string(&plain).unwrap_or_default()
}

fn block(
    out: &mut String,
    (named, origin): (&str, &str),
    profile: &ProfileFile,
    (before, example): (&[&ExampleFrame], &ExampleFrame),
    drafts: &Result<Vec<Draft>, Reject>,
) {
    let _ = writeln!(out, "[[example]]\nname = {}\norigin = {}", quoted(named), quoted(origin));
    if !before.is_empty() {
        let frames: Vec<String> = before.iter().map(|frame| format!("  {},", inline(frame))).collect();
        let _ = writeln!(out, "before = [\n{}\n]", frames.join("\n"));
    }
    let _ = writeln!(out, "frame = {}", inline(example));
    match drafts {
        Err(reject) => {
            let _ =
                writeln!(out, "# {} does not understand it: right only if the device sent a broken value.", profile.id);
            let _ = writeln!(out, "reject = {}", quoted(reject.code));
        }
        Ok(drafts) => {
            let _ = writeln!(out, "# What it decodes to now. Is it what the device showed?\nreadings = [");
            let readings: String = drafts.iter().map(|draft| format!("  {},\n", reading(draft))).collect();
            let _ = writeln!(out, "{readings}]");
        }
    }
    out.push('\n');
}

fn inline(frame: &ExampleFrame) -> String {
    let fields = [("characteristic", &frame.characteristic), ("service", &frame.service), ("hex", &frame.hex)];
    let fields: Vec<String> =
        fields.iter().filter_map(|(key, text)| Some(format!("{key} = {}", quoted(text.as_ref()?)))).collect();
    format!("{{ {} }}", fields.join(", "))
}

/// As `examples.rs` compares it.
fn reading(draft: &Draft) -> String {
    let mut fields = vec![format!("vital = {}", quoted(draft.vital.id))];
    for role in [Role::Value, Role::Systolic, Role::Diastolic, Role::Mean] {
        let Some(part) = draft.parts.iter().find(|part| part.role == role) else { continue };
        let value = match part.value {
            Value::Number(n) => n.to_string(),
            Value::Absent(why) => examples::absence(why).into(),
        };
        fields.push(format!("{} = {}", name(role), quoted(&value)));
    }
    fields.extend(draft.parts.first().map(|part| format!("unit = {}", quoted(part.unit.ucum()))));
    fields.extend(draft.device_time.map(|time| format!("time = {}", quoted(&shown_time(time)))));
    fields.extend(draft.sequence.map(|n| format!("sequence = {n}")));
    fields.extend(draft.slot.map(|n| format!("slot = {n}")));
    fields.extend(draft.site.map(|site| format!("site = {}", quoted(site.id))));
    if !draft.quality.is_empty() {
        fields.push(format!("quality = {}", serde_json::to_string(&draft.quality).unwrap_or_default()));
    }
    fields.extend(draft.stored.then(|| "stored = true".to_owned()));
    format!("{{ {} }}", fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{FILES, check_examples};

    fn text(of: &ProfileFile, example: &ExampleFrame) -> Option<ExampleFrame> {
        let bytes = frame(of, example).ok()?.bytes;
        let hex = bytes.iter().map(|octet| format!("{octet:02x}")).collect();
        Some(ExampleFrame { hex: Some(hex), text: None, name: None, ..example.clone() })
    }

    /// Every frame of every profile for Bluetooth, written anew and put into the profile in place of its examples.
    #[test]
    fn what_is_written_passes_the_profiles_own_test() {
        let (mut proven, mut with_before) = (0, 0);
        for (file, toml) in FILES {
            let profile = Profile::parse(toml, file.as_ref()).unwrap();
            let all = profile.file.examples.iter().flat_map(|e| e.before.iter().chain([&e.frame]));
            let frames: Vec<ExampleFrame> =
                all.filter(|f| f.topic.is_none()).filter_map(|f| text(&profile.file, f)).collect();
            let written = write(&profile, &frames, "a \"quoted\" name", "captured").unwrap();
            if written.examples == 0 {
                continue;
            }
            let head = toml.split("[[example]]").next().unwrap();
            // The test wants two at least.
            let twice = if written.examples == 1 { written.toml.repeat(2) } else { written.toml.clone() };
            let again = format!("{head}\n{twice}");
            let again =
                Profile::parse(&again, file.as_ref()).unwrap_or_else(|e| panic!("{file}: {e}\n{}", written.toml));
            check_examples(&again, file.as_ref()).unwrap_or_else(|e| panic!("{file}: {e}\n{}", written.toml));
            proven += written.examples;
            with_before += written.toml.matches("\nbefore").count();
        }
        assert!(proven > 60 && with_before > 0, "{proven} examples, {with_before} with frames before them");
    }
}
