//! What holds for every codec, and short names for the tests of each.

use proptest::prelude::*;

use super::*;
use crate::reading::{Part, Quality, Value};
use crate::vital::Role;

/// The record as JSON.
#[track_caller]
pub(super) fn json(name: &str, hex: &str) -> String {
    find(name).unwrap().decode(&vectors::octets(hex).unwrap(), Quirk::None).unwrap().to_json()
}

/// The code of the rejection.
#[track_caller]
pub(super) fn rejected(name: &str, hex: &str) -> &'static str {
    find(name).unwrap().decode(&vectors::octets(hex).unwrap(), Quirk::None).unwrap_err().code
}

/// The drafts.
#[track_caller]
pub(super) fn drafted(name: &str, hex: &str) -> Vec<Draft> {
    drafted_of(name, &vectors::octets(hex).unwrap(), Quirk::None)
}

#[track_caller]
pub(super) fn drafted_of(name: &str, bytes: &[u8], quirk: Quirk) -> Vec<Draft> {
    let codec = find(name).unwrap();
    codec.drafts(&codec.decode(bytes, quirk).unwrap())
}

/// `body-weight 70.000 kg`: a draft in one line.
pub(super) fn line(draft: &Draft) -> String {
    let part = |p: &Part| {
        let value = match p.value {
            Value::Number(n) => n.to_string(),
            Value::Absent(why) => format!("{why:?}"),
        };
        let role = if p.role == Role::Value { String::new() } else { format!("{:?}=", p.role) };
        format!("{role}{value}")
    };
    let parts: Vec<_> = draft.parts.iter().map(part).collect();
    format!("{} {} {}", draft.vital.id, parts.join(" "), draft.parts[0].unit.ucum())
}

/// Labels that are no status bits.
pub(super) fn doubts(draft: &Draft) -> Vec<Quality> {
    draft.quality.iter().copied().filter(|q| q.status().is_none()).collect()
}

/// Status bits of a draft, by their words.
pub(super) fn said(draft: &Draft) -> Vec<&'static str> {
    draft.quality.iter().filter_map(|q| q.status()).map(|status| status.id).collect()
}

pub(super) fn lines(drafts: &[Draft]) -> Vec<String> {
    drafts.iter().map(line).collect()
}

/// One long valid record of each codec, and whether each of its beginnings must be rejected.
const SAMPLES: [(&str, &str, bool); 62] = [
    ("SFLOAT", "b0f0", true),
    ("FLOAT", "680100ff", true),
    ("CRC16", "3e0102", false),
    ("2A08", "dd07081a090a14", true),
    ("2A0D", "08", true),
    ("2A0E", "f0", true),
    ("2A0F", "fc00", true),
    ("2A14", "01020503", true),
    ("2A2B", "e10701040b262d030102", true),
    ("2BF2", "05f4010000000000000000", false),
    ("2A19", "64", true),
    ("2BED", "07010001006404", true),
    ("2A1C", "07680100ffe807060f11111b06", true),
    ("2A1D", "09", true),
    ("2A1E", "00680100ff", true),
    ("2A21", "3c00", true),
    ("2A35", "1e7c0056006100e807060f11111b3300012700", true),
    ("2A36", "1e0400000000000000041114293b3c00012700", true),
    ("2A49", "ff01", true),
    ("2A37", "1f0101320101000201ffff", false),
    ("2A38", "05", true),
    ("2A5E", "1f5df35800e9070101000000800120000019f0", true),
    ("2A5F", "1f610048006000490062004700200000100019f0", true),
    ("2A60", "0f00e0ffffff00", true),
    ("2A18", "1be403e307021b0b0a1efbff1eb012050100", false),
    ("2A34", "ff0400000105b0010212100e0132018064000a", false),
    ("2A51", "f003", true),
    ("2A9D", "0f543de7070c190e1e2d03f500a802", true),
    ("2A9E", "8f000000", true),
    ("2A9C", "fe0f3200e7070c190e1e2d03401f9001983a803e803e803e881324b036d606", false),
    ("2AA7", "06000c10050010e378100a0001020403001e00e803", false),
    ("2AA8", "6e9e01168ac1", true),
    ("2AA9", "05003f3fffa7e0", false),
    ("2AAA", "e007060f0a1e000404", true),
    ("2AAB", "020008c3", false),
    ("2AAC", "0601200a00321400010004bfb2", false),
    ("2B34", "7e7c0056006100403af12d330001270080d0f12d", true),
    ("2B35", "427c00403af12d", true),
    ("2B36", "030700352a007c0056006100", false),
    ("2A52", "06000106", true),
    ("2A9F", "02011027", true),
    ("2A24", "4478", false),
    ("2A25", "31353837", false),
    ("2A26", "312e32", false),
    ("2A27", "4478", false),
    ("2A28", "312e32", false),
    ("2A29", "4120", false),
    ("2A23", "debc9afeff563412", true),
    ("2A2A", "0001", false),
    ("2A50", "02015f015f015f", true),
    ("2BFF", "0f4c424c00444900495353004155544800", true),
    ("ADV:FCD2", "4000090161065e1f", false),
    ("ADV:181D", "2244b20701010a1a15", true),
    ("ADV:181B", "0226e807060f11111bf401b036", true),
    ("LEPU:PC60", "aa550f0801603f002d00388c", true),
    ("TAIDOC:GLUCOSE", "512678001940a5ed", true),
    ("TAIDOC:BP", "5126805f4f42a58c", true),
    ("TAIDOC:TEMP", "51266e010000a58b", true),
    ("TRANSTEK:8A21", "1d802500fe800ff40d6a1700ff010900000000", true),
    ("TRANSTEK:8A22", "6f800ff40d01210c57f1e3f15bf123f0000000", true),
    ("TRANSTEK:8A82", "840001000125aa0003", false),
    ("VIATOM", "5500ff00000d00624200000000006100920a01002f", true),
];

#[test]
fn every_codec_has_a_name_of_its_own_and_a_sample() {
    for codec in CODECS {
        assert!(std::ptr::eq(find(codec.name).unwrap(), codec), "{} is not unique", codec.name);
        assert!(SAMPLES.iter().any(|(name, ..)| *name == codec.name), "{} has no sample", codec.name);
    }
    assert!(find("2a35").is_none() && find("FFFF").is_none());
}

fn samples() -> impl Iterator<Item = (&'static Codec, Vec<u8>, bool)> {
    SAMPLES.iter().map(|(name, hex, whole)| (find(name).unwrap(), vectors::octets(hex).unwrap(), *whole))
}

#[test]
fn a_beginning_of_a_record_is_no_record() {
    for (codec, bytes, whole) in samples() {
        for n in 0..bytes.len() {
            let beginning = codec.decode(&bytes[..n], Quirk::None);
            assert!(!whole || beginning.is_err(), "{} decodes its first {n} octets", codec.name);
        }
    }
}

#[test]
fn octets_after_the_last_field_are_rejected() {
    let open_ended = ["CRC16", "2A2A", "2A37", "2A24", "2A25", "2A26", "2A27", "2A28", "2A29", "TRANSTEK:8A82"];
    for (codec, mut bytes, _) in samples().filter(|(c, ..)| !open_ended.contains(&c.name)) {
        bytes.extend([0xA5, 0x5A, 0xA5]);
        assert!(codec.decode(&bytes, Quirk::None).is_err(), "{}", codec.name);
    }
}

#[test]
fn a_value_longer_than_a_characteristic_is_rejected() {
    for codec in CODECS {
        assert_eq!(codec.decode(&[b'1'; 513], Quirk::None).unwrap_err().code, "WL-D009", "{}", codec.name);
    }
}

#[test]
fn a_quirk_applies_only_where_it_is_known() {
    for codec in CODECS.iter().filter(|c| c.name != "2A35") {
        assert_eq!(codec.decode(&[0; 8], Quirk::BeurerBm85).unwrap_err().code, "WL-D008", "{}", codec.name);
    }
}

#[test]
fn what_was_measured_is_not_in_debug_output() {
    let record = find("2A37").unwrap().decode(&[0, 73], Quirk::None).unwrap();
    let debug = format!("{record:?} {:?}", record.get("heart_rate"));
    assert!(debug.contains("heart_rate") && !debug.contains("73"), "{debug}");
}

/// Decodes hostile bytes every way there is; whatever comes out is whole.
fn survives(codec: &Codec, bytes: &[u8]) {
    for quirk in [Quirk::None, Quirk::BeurerBm85] {
        let Ok(record) = codec.inspect(bytes, quirk) else { continue };
        assert_eq!(codec.decode(bytes, quirk).is_ok(), record.intact());
        assert!(serde_json::from_str::<serde_json::Value>(&record.to_json()).unwrap().is_object());
        for draft in codec.drafts(&record) {
            assert!(record.intact() && !draft.parts.is_empty());
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_codec_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        CODECS.iter().for_each(|codec| survives(codec, &bytes));
    }

    #[test]
    fn no_mutation_of_a_record_makes_its_codec_panic(
        which in 0..SAMPLES.len(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let (name, hex, _) = SAMPLES[which];
        let mut bytes = vectors::octets(hex).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(find(name).unwrap(), &bytes);
        bytes.truncate(cut.index(bytes.len() + 1));
        survives(find(name).unwrap(), &bytes);
    }
}
