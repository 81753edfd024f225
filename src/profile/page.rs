//! `docs/supported-devices.md`, from the profiles themselves; a test fails when it is stale.

use std::fmt::Write;

use super::catalogue::Catalogue;
use super::compile::{Bytes, Profile, Way};
use super::schema::{Link, PairingMethod};

const HEAD: &str = "# Supported devices

Generated from `firmware-profiles/` by `wardline profile list --markdown`; do not edit.

Confidence: **A** normative text and an implementation, or two independent implementations that agree; **B** one normative
source, or several that are not; **C** one source that is not normative: prove it on the device before use. **experimental**: no
public capture of such a device proves what it sends, or how it is asked; the note says what is unproven.
";

/// The whole page.
pub fn markdown(catalogue: &Catalogue) -> String {
    let mut page = String::from(HEAD);
    for (link, title) in [
        (Link::Ble, "Bluetooth LE, connected"),
        (Link::Advertisement, "Bluetooth LE, broadcast (unauthenticated; repeats; no owner until one is assigned)"),
        (Link::Mqtt, "MQTT"),
    ] {
        let of_link: Vec<&Profile> = catalogue.profiles().into_iter().filter(|p| p.file.link == link).collect();
        if of_link.is_empty() {
            continue;
        }
        page +=
            &format!("\n## {title}\n\n| profile | devices | readings | bytes | confidence |\n|---|---|---|---|---|\n");
        for profile in &of_link {
            page += &row(profile);
        }
        for profile in of_link {
            page += &section(profile);
        }
    }
    page
}

/// What the profile's examples show that it reads.
pub fn vitals(profile: &Profile) -> Vec<String> {
    let expected = profile.file.examples.iter().flat_map(|e| &e.readings);
    let mut all: Vec<String> = expected.map(|r| r.vital.clone()).collect();
    all.sort();
    all.dedup();
    all
}

/// Characteristics, services or topics.
pub fn ways(profile: &Profile) -> Vec<String> {
    let way = |way: &Way| match way {
        Way::Characteristic(uuid) | Way::Advertisement(uuid) => uuid.clone(),
        Way::Topic(pattern) => pattern.filter(),
    };
    profile.rules.iter().map(|r| way(&r.way)).collect()
}

fn row(profile: &Profile) -> String {
    let file = &profile.file;
    let models = if file.models.is_empty() { String::new() } else { format!(": {}", file.models.join(", ")) };
    let ways: Vec<String> = ways(profile).iter().map(|w| format!("`{w}`")).collect();
    let (id, title, vitals) = (&file.id, &file.title, vitals(profile).join(", "));
    let mark = if file.experimental { ", **experimental**" } else { "" };
    format!(
        "| [{title}](#{id}) | {}{models} | {vitals} | {} | {:?}{mark} |\n",
        file.manufacturer,
        ways.join(" "),
        file.confidence
    )
}

fn section(profile: &Profile) -> String {
    let file = &profile.file;
    let mark = if file.experimental { " **Experimental.**" } else { "" };
    let mut text = format!("\n### {}\n\n{}.{mark}", file.id, file.title);
    if let Some(note) = &file.note {
        let _ = write!(text, " {}", note.trim().replace('\n', " "));
    }
    text.push_str("\n\n");
    if !file.matching.names.is_empty() {
        let _ = writeln!(text, "- Names: {}", quoted(&file.matching.names));
    } else if file.link == Link::Ble {
        let _ = writeln!(text, "- Any name, with one of the services: {}", quoted(&file.matching.services));
    }
    if file.pairing.method != PairingMethod::None {
        let _ = writeln!(text, "- Pairing: {}", file.pairing.steps.join(" "));
    }
    if let Some(window) = file.session.as_ref().and_then(|s| s.window.as_ref()) {
        let _ = writeln!(text, "- What can be lost: {window}");
    }
    let codecs: Vec<&str> = profile
        .rules
        .iter()
        .filter_map(|r| if let Bytes::Codec { codec, .. } = &r.bytes { Some(codec.title) } else { None })
        .collect();
    if !codecs.is_empty() {
        let _ = writeln!(text, "- Decodes: {}", codecs.join(", "));
    }
    let examples: Vec<String> = file.examples.iter().map(|e| format!("{} ({})", e.name, e.origin)).collect();
    let _ = writeln!(text, "- Examples: {}", examples.join("; "));
    let _ = writeln!(text, "- Sources: {}", file.sources.join("; "));
    text
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" ")
}
