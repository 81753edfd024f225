//! One fuzz target per codec file: hostile bytes into every characteristic of that file.
//!
//! A target fails when a codec panics, or when what it gives is not whole: a record that is not JSON, a draft from a
//! broken checksum, a number without a place in the tables.

//!
//! The codecs and the leaves under them are compiled from the product's sources, without the rest of the gateway:
//! they need no runtime, and the instrumented build takes seconds.

pub use libfuzzer_sys;

#[path = "../../src/amendment.rs"]
pub mod amendment;
#[path = "../../src/association.rs"]
pub mod association;
#[path = "../../src/capture/mod.rs"]
pub mod capture;
#[path = "../../src/careplan.rs"]
pub mod careplan;
#[path = "../../src/clock.rs"]
pub mod clock;
#[path = "../../src/codec/mod.rs"]
pub mod codec;
#[path = "../../src/decimal.rs"]
pub mod decimal;
#[path = "../../src/fault.rs"]
pub mod fault;
#[path = "../../src/hl7v2/ack.rs"]
pub mod hl7_ack;
#[path = "../../src/hl7v2/frame.rs"]
pub mod hl7_frame;
#[path = "../../src/fhir/inbound/mod.rs"]
pub mod inbound;
#[path = "../../src/limits.rs"]
pub mod limits;
#[path = "../../src/reading.rs"]
pub mod reading;
#[path = "../../src/unit.rs"]
pub mod unit;
// By its own name, as it has files below it.
#[path = "../../src"]
mod product {
    pub mod vital;
}
pub use product::vital;

use codec::{CODECS, Quirk, find};
use reading::{Draft, Value};

/// Each target, which is a file of `src/codec`, with its characteristics.
pub const TARGETS: &[(&str, &[&str])] = &[
    ("adv_bthome", &["ADV:FCD2"]),
    ("adv_mi_scale", &["ADV:181D", "ADV:181B"]),
    ("battery", &["2A19", "2BED"]),
    ("blood_pressure", &["2A35", "2A36", "2A49"]),
    ("body_composition", &["2A9C"]),
    // No codec: a capture of a device, as a file that anybody may have written.
    (CAPTURE, &[]),
    ("cgm", &["2AA7", "2AA8", "2AA9", "2AAA", "2AAB", "2AAC"]),
    ("crc16", &["CRC16"]),
    ("date_time", &["2A08", "2A0D", "2A0E", "2A0F", "2A14", "2A2B", "2BF2"]),
    ("device_information", &["2A23", "2A24", "2A25", "2A26", "2A27", "2A28", "2A29", "2A2A", "2A50", "2BFF"]),
    ("enhanced_blood_pressure", &["2B34", "2B35", "2B36"]),
    ("glucose", &["2A18", "2A34", "2A51"]),
    ("heart_rate", &["2A37", "2A38"]),
    // No codec: what an HL7 receiver answers.
    (HL7_ACK, &[]),
    ("ieee11073", &["SFLOAT", "FLOAT"]),
    // No codec: what a centre orders.
    (INBOUND, &[]),
    ("lepu", &["LEPU:PC60"]),
    ("pulse_oximeter", &["2A5E", "2A5F", "2A60"]),
    ("racp", &["2A52"]),
    ("taidoc", &["TAIDOC:GLUCOSE", "TAIDOC:BP", "TAIDOC:TEMP"]),
    ("temperature", &["2A1C", "2A1D", "2A1E", "2A21"]),
    ("transtek", &["TRANSTEK:8A21", "TRANSTEK:8A22", "TRANSTEK:8A82"]),
    ("user_control", &["2A9F"]),
    ("viatom", &["VIATOM"]),
    ("weight", &["2A9D", "2A9E"]),
];

/// The target of `src/capture`.
pub const CAPTURE: &str = "capture";

/// The target of `src/hl7v2/ack.rs` and `src/hl7v2/frame.rs`.
pub const HL7_ACK: &str = "hl7_ack";

/// The target of `src/fhir/inbound`.
pub const INBOUND: &str = "inbound";

/// Codecs that no target reaches.
pub fn forgotten() -> Vec<&'static str> {
    let reached = |name: &str| TARGETS.iter().any(|(_, names)| names.contains(&name));
    CODECS.iter().map(|c| c.name).filter(|name| !reached(name)).collect()
}

/// The program of a target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::run($name, bytes));
    };
}

/// Every characteristic of a target, under every quirk.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, names) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target in the table");
    for name in *names {
        let codec = find(name).expect("a codec in the registry");
        if let Some(head) = codec.head
            && let Ok((frames, rest)) = codec::frames(bytes, head)
        {
            assert_eq!(frames.iter().map(|f| f.len()).sum::<usize>() + rest.len(), bytes.len());
        }
        for quirk in [Quirk::None, Quirk::BeurerBm85] {
            let Ok(record) = codec.inspect(bytes, quirk) else { continue };
            assert_eq!(codec.decode(bytes, quirk).is_ok(), record.intact());
            let json: serde_json::Value = serde_json::from_str(&record.to_json()).expect("a record is JSON");
            assert!(json.is_object());
            codec.drafts(&record).iter().for_each(check);
            if *name == "2A9C" {
                let _ = codec::body_composition::join(&record, &record);
            }
            let _ = codec::cgm::start(&record);
            let _ = codec::taidoc::taken(&record);
        }
    }
    if target == INBOUND {
        ordered(bytes);
    }
    if target == CAPTURE {
        captured(bytes);
    }
    if target == HL7_ACK {
        acknowledged(bytes);
    }
    if target == "enhanced_blood_pressure" {
        segments(bytes);
    }
}

/// What no draft may lack, and what its numbers must stand.
fn check(draft: &Draft) {
    assert!(!draft.parts.is_empty());
    for part in &draft.parts {
        if part.role.is_context() {
            // Typed in beside a glucose, in a unit of its own.
            assert!(draft.vital.id.starts_with("glucose-"), "{} has no context", draft.vital.id);
        } else {
            assert!(draft.vital.component(part.role).is_some(), "{} has no such part", draft.vital.id);
            assert!(draft.vital.unit(part.unit.ucum()).is_some(), "{} is not measured so", draft.vital.id);
        }
        if let Value::Number(n) = part.value {
            draft.vital.plausible(part.role, n, part.unit);
            let text = n.to_string();
            assert_eq!(text.parse().ok().or(Some(n)), Some(n), "digits are kept");
        }
    }
}

/// Whatever a centre sends, what is understood of it is whole, and what is over orders nothing.
fn ordered(bytes: &[u8]) {
    for kind in ["Goal", "ServiceRequest", "CarePlan", "Consent"] {
        let page = inbound::page(bytes, kind).unwrap_or_default();
        for heard in page.heard.into_iter().chain(inbound::resource(bytes, kind).ok()) {
            assert!(heard.resource.starts_with(kind));
            let said = heard.said.unwrap_or_default();
            assert!(heard.active || said.is_empty());
            assert!(said.len() <= 2 * limits::CARE_PARTS_MAX);
            for one in said {
                let (loinc, fine) = match one {
                    inbound::Said::Target(t) => (t.loinc, !t.unit.is_empty()),
                    inbound::Said::Expect { loinc, every_s, .. } => (loinc, every_s >= 60),
                    inbound::Said::Consent(said) => {
                        assert!(said.permitted || (said.except.is_empty() && said.from_ms.is_none()));
                        assert!(!said.permitted || !said.unclear);
                        ("consent".into(), said.of.len() <= 64 * limits::CARE_PARTS_MAX)
                    }
                };
                assert!(fine && !loinc.is_empty());
            }
        }
    }
}

/// What is read can be written, and is read alike; masking it once more changes no length.
fn captured(bytes: &[u8]) {
    let Ok(capture) = capture::read(bytes) else { return };
    let lines = capture.lines.iter().map(capture::Line::to_json);
    let text: String = std::iter::once(capture.head.to_json()).chain(lines).collect();
    // Written out in full, it may be longer than what was read.
    if text.len() <= limits::CAPTURE_BYTES_MAX {
        assert_eq!(capture::read(text.as_bytes()).ok(), Some(capture.clone()));
    }
    let mut mask = capture::Mask::new("C0:26:DF:00:11:22");
    if let Some(name) = capture.name() {
        assert_eq!(mask.name(name, None).chars().count(), name.chars().count());
    }
    for octets in capture.lines.iter().filter_map(|line| line.hex.as_ref()) {
        assert_eq!(mask.octets(&octets.0).0.len(), octets.0.len());
    }
}

/// Frames come out alike however the octets are cut, and of an acknowledgement only codes, places and short names are kept.
fn acknowledged(bytes: &[u8]) {
    let (piece, octets) = bytes.split_first().map_or((1, bytes), |(first, rest)| (usize::from(*first).max(1), rest));
    let whole = frames_of(octets, octets.len().max(1));
    assert_eq!(whole.is_ok(), frames_of(octets, piece).is_ok());
    for message in whole.iter().flatten().chain([&octets.to_vec()]) {
        assert!(message.len() <= limits::HL7_ANSWER_BYTES_MAX || message.len() == octets.len());
        let answer = hl7_ack::read_all(message).unwrap_or_default();
        assert!(answer.batch.iter().all(|batch| batch.chars().count() <= 40));
        for ack in hl7_ack::read(message).iter().chain(&answer.acks) {
            assert!(ack.control_id.chars().count() <= 40 && ack.by.len() <= 81 && ack.detail.len() <= 40);
            assert!(ack.by.chars().chain(ack.detail.chars()).all(|c| c.is_ascii() && !c.is_control()));
        }
    }
}

/// The frames in these octets, fed in pieces.
fn frames_of(octets: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, hl7_frame::Overlong> {
    let mut deframer = hl7_frame::Deframer::new(256);
    let mut found = Vec::new();
    for piece in octets.chunks(piece) {
        deframer.feed(piece);
        while let Some(message) = deframer.message()? {
            assert!(message.len() <= 256);
            found.push(message);
        }
    }
    Ok(found)
}

/// The bytes as segments of one record, each with its length before it.
fn segments(mut bytes: &[u8]) {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (part, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        parts.push(part);
        bytes = rest;
    }
    let _ = codec::enhanced_blood_pressure::join(&parts);
}
