use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::*;
use crate::clock::Stamp;
use crate::reading::{DeviceId, Frame, Path, Value};

const HEAD: &str = r#"
id = "x"
title = "X"
manufacturer = "X"
confidence = "C"
sources = ["constructed"]
link = "mqtt"
"#;

fn profile(rules: &str) -> Profile {
    Profile::parse(&format!("{HEAD}{rules}"), FilePath::new("x.toml")).unwrap()
}

fn decoder(rules: &str) -> Decoder {
    Decoder::new(Arc::new(Catalogue::new(vec![(PathBuf::from("x.toml"), profile(rules))]).unwrap()))
}

fn topic(topic: &str, bytes: &[u8]) -> Frame {
    Frame { path: Path::Topic(topic.into()), ..Frame::new("test", bytes.to_vec(), Stamp::at_ms(0)) }
}

/// A rule with one heart rate at this path.
fn heart_rate(format: &str, keys: &str, path: &str) -> String {
    format!(
        "[[decode]]\ntopic = 'a/{{device}}'\nformat = '{format}'\n{keys}\n[[decode.vital]]\nvital = 'heart-rate'\nvalue = {{ path = '{path}', unit = '/min' }}\n"
    )
}

#[track_caller]
fn check(rules: &str, bytes: impl AsRef<[u8]>, expected: Result<&str, &str>) {
    let decoded = decoder(rules).decode(&topic("a/b", bytes.as_ref()));
    let got = decoded.as_ref().map_err(|r| r.code).map(|d| {
        let numbers = d.drafts.iter().flat_map(|d| &d.parts).map(|p| match p.value {
            Value::Number(n) => n.to_string(),
            Value::Absent(why) => format!("{why:?}"),
        });
        numbers.collect::<Vec<_>>().join(" ")
    });
    assert_eq!(got.as_deref().map_err(|e| *e), expected);
}

#[test]
fn json_is_decoded_whole_or_rejected_whole() {
    let rules = heart_rate("json", "", "v.hr");
    check(&rules, r#"{"v":{"hr":72.50}}"#, Ok("72.50"));
    check(&rules, r#"{"v":{"\u0068r":72}}"#, Ok("72"));
    check(&rules, r#" {"other":[{"v":1},[[]]],"v":{"x":{},"hr":1e2}} "#, Ok("100"));
    check(&rules, r#"{"v":{"hr":null}}"#, Ok(""));
    check(&rules, r#"{"v":null}"#, Err("WL-D104"));
    check(&rules, r#"{"v":{"hr":72}}x"#, Err("WL-D101"));
    check(&rules, r#"{"v":{"hr":72}"#, Err("WL-D101"));
    check(&rules, r#"{"v":{"hr":072}}"#, Err("WL-D101"));
    check(&rules, r#"{"v":{"hr":NaN}}"#, Err("WL-D101"));
    check(&rules, r#"{"v":[72]}"#, Err("WL-D101"));
    check(&rules, r#"[72]"#, Err("WL-D101"));
    check(&rules, "", Err("WL-D101"));
    check(&rules, b"{\"v\":{\"hr\":72},\"x\":\"\xff\"}", Err("WL-D101"));
    check(&rules, r#"{"v":{"hr":72},"v":{}}"#, Err("WL-D111"));
    check(&rules, r#"{"v":{"hr":72,"h\u0072":72}}"#, Err("WL-D111"));
    for not_a_number in ["\"72\"", "true", "{}", "[]", "12345678901234567890", "1e999"] {
        check(&rules, format!(r#"{{"v":{{"hr":{not_a_number}}}}}"#), Err("WL-D112"));
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let rules = heart_rate("json", "", "hr");
    let nested = |n: usize| format!(r#"{{"x":{}{},"hr":72}}"#, "[".repeat(n), "]".repeat(n));
    check(&rules, nested(15), Ok("72"));
    check(&rules, nested(16), Err("WL-D102"));
    check(&rules, nested(30_000), Err("WL-D102"));
    // Many brackets, none of them deep; and brackets in a text.
    check(&rules, format!(r#"{{"x":[{}1],"hr":72}}"#, "[],".repeat(100)), Ok("72"));
    check(&rules, format!(r#"{{"x":"\"{}","hr":72}}"#, "[".repeat(100)), Ok("72"));
    check(&rules, format!(r#"{{"x":"{}","hr":72}}"#, "x".repeat(70_000)), Err("WL-D105"));
    let each = heart_rate("json", "each = 'r'", "hr");
    let array = |n: usize| format!(r#"{{"r":[{}]}}"#, vec![r#"{"hr":1}"#; n].join(","));
    assert_eq!(decoder(&each).decode(&topic("a/b", array(1_000).as_bytes())).unwrap().drafts.len(), 1_000);
    check(&each, array(1_001), Err("WL-D103"));
}

#[test]
fn cbor_is_bounded_too() {
    let rules = heart_rate("cbor", "", "hr");
    let with = |x: &[u8]| [b"\xa2\x61x".as_slice(), x, b"\x62hr\x18\x48"].concat();
    check(&rules, with(&[0xf6]), Ok("72"));
    check(&rules, with(&[0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]), Ok("72"));
    check(&rules, with(&[[0x81].repeat(10), vec![0]].concat()), Ok("72"));
    check(&rules, with(&[[0x81].repeat(20), vec![0]].concat()), Err("WL-D101"));
    check(&rules, with(&[[0x81].repeat(60_000), vec![0]].concat()), Err("WL-D101"));
    check(&rules, [0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Err("WL-D101"));
    check(&rules, b"\xa2\x62hr\x01\x62hr\x02", Err("WL-D111"));
    // A float at its own width, an integer beyond a decimal, a tag that is skipped, a decimal fraction that is not understood.
    check(&rules, b"\xa1\x62hr\xfa\x42\x91\x33\x33", Ok("72.6"));
    check(&rules, b"\xa1\x62hr\x1b\xff\xff\xff\xff\xff\xff\xff\xff", Err("WL-D112"));
    check(&rules, b"\xa1\x62hr\xd8\x20\x18\x48", Ok("72"));
    check(&rules, b"\xa1\x62hr\xc4\x82\x20\x18\x48", Err("WL-D112"));
}

#[test]
fn counters_that_may_begin_anew_count_only_beside_a_time() {
    let keys =
        |unique: bool| format!("id = {{ path = 'id', unique = {unique} }}\ntime = {{ path = 't', form = 'epoch-s' }}");
    #[track_caller]
    fn sequence(keys: &str, message: &str) -> Option<u64> {
        let decoded = decoder(&heart_rate("json", keys, "hr")).decode(&topic("a/b", message.as_bytes())).unwrap();
        decoded.drafts[0].sequence
    }
    assert_eq!(sequence(&keys(false), r#"{"id":5,"hr":72}"#), None);
    assert_eq!(sequence(&keys(false), r#"{"id":5,"hr":72,"t":1795341600}"#), Some(5));
    assert_eq!(sequence(&keys(true), r#"{"id":5,"hr":72}"#), Some(5));
    assert_eq!(sequence(&keys(true), r#"{"id":1795341600123456789,"hr":72}"#), Some(1_795_341_600_123_456_789));
    let text = sequence(&keys(true), r#"{"id":"a","hr":72}"#);
    assert_eq!(text, Some(0xaf63_dc4c_8601_ec8c));
    check(&heart_rate("json", &keys(true), "hr"), r#"{"id":1.5,"hr":72}"#, Err("WL-D118"));
    check(&heart_rate("json", &keys(true), "hr"), r#"{"id":1,"hr":72,"t":"now"}"#, Err("WL-D114"));
}

#[test]
fn the_most_specific_topic_wins_and_a_tie_is_rejected() {
    let rules = |topic: &str| heart_rate("json", "", "hr").replace("a/{device}", topic);
    let named = |id: &str, topic: &str| {
        let text = format!("{}{}", HEAD.replace("\"x\"", &format!("\"{id}\"")), rules(topic));
        (PathBuf::from(id), Profile::parse(&text, FilePath::new(&format!("{id}.toml"))).unwrap())
    };
    let catalogue = Catalogue::new(vec![
        named("loose", "+/b/{device}"),
        named("tight", "a/b/{device}"),
        named("other", "a/{device}/c"),
    ]);
    let mut decoder = Decoder::new(Arc::new(catalogue.unwrap()));
    let mut profile =
        |t: &str| decoder.decode(&topic(t, b"{\"hr\":1}")).map(|d| d.profile.to_string()).map_err(|r| r.code);
    assert_eq!(profile("a/b/d").as_deref(), Ok("tight"));
    assert_eq!(profile("z/b/d").as_deref(), Ok("loose"));
    assert_eq!(profile("a/b/c"), Err("WL-P002"));
    assert_eq!(profile("a/b"), Err("WL-P001"));
    let same = Catalogue::new(vec![named("one", "a/{device}"), named("two", "a/{device}")]);
    assert!(matches!(same, Err(ProfileError::Conflict { .. })));
}

#[test]
fn strangers_do_not_make_the_decoder_grow() {
    let mut decoder = decoder(&heart_rate("json", "", "hr"));
    for i in 0..3 * crate::limits::DEVICE_IDS_CACHED_MAX {
        decoder.decode(&topic(&format!("a/{i}"), b"{\"hr\":1}")).unwrap();
    }
    assert!(decoder.remembered() <= crate::limits::DEVICE_IDS_CACHED_MAX);
    for bad in ["a/x y", "a/\u{7}", &format!("a/{}", "x".repeat(200))] {
        assert_eq!(decoder.decode(&topic(bad, b"{\"hr\":1}")).unwrap_err().code, "WL-D106");
    }
}

#[test]
fn a_profile_that_makes_no_sense_is_refused_with_its_key() {
    #[track_caller]
    fn check(rules: &str, code: &str, part: &str) {
        use crate::fault::{Explain, sentence};
        let error = Profile::parse(&format!("{HEAD}{rules}"), FilePath::new("x.toml")).unwrap_err();
        let text = sentence(&error);
        assert!(error.code() == code && text.contains("x.toml") && text.contains(part), "{text}");
    }
    let good = heart_rate("json", "", "hr");
    profile(&good);
    check("", "WL-P004", "decode");
    check("surplus = 1", "WL-P004", "surplus");
    check(&format!("experimental = true\n{good}"), "WL-P005", "note");
    check(&good.replace("'/min'", "'mm[Hg]'"), "WL-P005", "decode[0].vital[0].value.unit");
    check(&good.replace("'heart-rate'", "'mood'"), "WL-P004", "unknown vital sign");
    check(&good.replace("'/min'", "{ pth = 'u' }"), "WL-P004", "UCUM code, or { path, map }");
    check(&good.replace("value =", "systolic ="), "WL-P005", "systolic");
    check(&good.replace("{device}", "x"), "WL-P005", "device");
    check(&good.replace("a/{device}", "+/{device}"), "WL-P005", "no literal level");
    check(&good.replace("topic = 'a/{device}'", "characteristic = '2A37'"), "WL-P005", "decode[0]");
    check(&good.replace("format = 'json'", "codec = '2A37'"), "WL-P005", "field table");
    check(&good.replace("'json'", "'binary'"), "WL-P005", "length");
    check(&good.replace("path = 'hr'", "path = 'a..b'"), "WL-P005", "empty key");
    check(&format!("{good}\n[[decode]]\ntopic = 'c/{{device}}'\ncodec = 'FFFF'"), "WL-P005", "decode[1].codec");
    let other = Profile::parse(&format!("{HEAD}{good}"), FilePath::new("y.toml"));
    assert!(matches!(other, Err(ProfileError::Meaningless { key, .. }) if key == "id"));
}

#[test]
fn every_built_in_profile_holds_its_examples_and_wins_one() {
    let catalogue = Catalogue::built_in();
    assert_eq!(catalogue.profiles().len(), FILES.len(), "a built-in profile is refused");
    for profile in catalogue.profiles() {
        let file = FilePath::new(&*profile.id);
        check_examples(profile, file).unwrap_or_else(|e| panic!("{e}"));
        let mut decoder = Decoder::new(Arc::new(Catalogue::built_in()));
        let mut won = 0;
        for frame in frames(profile) {
            match decoder.decode(&frame) {
                Ok(decoded) => {
                    assert_eq!(decoded.profile, profile.id, "another profile takes {frame:?}");
                    won += 1;
                }
                Err(reject) => assert!(!reject.code.starts_with("WL-P"), "{frame:?}: {reject}"),
            }
        }
        assert!(won > 0, "{} wins none of its examples", profile.id);
    }
}

#[test]
fn every_codec_is_used_by_a_profile() {
    let used: BTreeSet<&str> = Catalogue::built_in().codecs_used().into_iter().collect();
    // Encodings of single values: parts of characteristics, not characteristics.
    let parts = ["SFLOAT", "FLOAT", "CRC16"];
    let all: BTreeSet<&str> = crate::codec::CODECS.iter().map(|c| c.name).filter(|c| !parts.contains(c)).collect();
    let unused: Vec<&&str> = all.difference(&used).collect();
    assert!(unused.is_empty(), "no profile uses {unused:?}");
}

#[test]
fn a_broken_example_refuses_the_profile() {
    let example = |hr: &str| {
        format!(
            "[[example]]\nname = 'n'\norigin = 'o'\ndevice = 'mqtt:b'\nframe = {{ topic = 'a/b', text = '{{\"hr\":72}}' }}\nreadings = [{{ vital = 'heart-rate', value = '{hr}', unit = '/min' }}]\n"
        )
    };
    let with = |examples: &str| profile(&format!("{}{examples}", heart_rate("json", "", "hr")));
    let file = FilePath::new("x.toml");
    check_examples(&with(&[example("72"), example("72")].concat()), file).unwrap();
    for wrong in ["73", "72.0"] {
        let e = check_examples(&with(&[example("72"), example(wrong)].concat()), file).unwrap_err();
        assert!(matches!(e, ProfileError::ExampleFails { .. }), "{e}");
    }
    assert!(check_examples(&with(&example("72")), file).is_err(), "one example is not enough");
}

#[test]
fn unknown_devices_have_no_profile() {
    let mut decoder = Decoder::new(Arc::new(Catalogue::built_in()));
    let device = DeviceId("ble:AA".into());
    for path in [
        Path::Characteristic { device: device.clone(), uuid: "FFF1".into(), name: None },
        Path::Advertisement { device, service: "FE95".into() },
        Path::Topic("".into()),
    ] {
        let frame = Frame { path, ..Frame::new("test", vec![1], Stamp::at_ms(0)) };
        assert_eq!(decoder.decode(&frame).unwrap_err().code, "WL-P001");
    }
}

#[test]
fn a_vendor_s_profile_comes_before_the_standard_service() {
    let catalogue = Catalogue::built_in();
    let rule = |uuid: &str, name: Option<&str>| {
        let device = DeviceId("ble:AA".into());
        catalogue.rule_for(&Path::Characteristic { device, uuid: uuid.into(), name: name.map(Into::into) }).unwrap()
    };
    assert!(rule("2A35", Some("A&D_UA-651BLE_112233")).starts_with("profile and-ua-651ble: characteristic 2A35"));
    assert!(rule("2A35", Some("Somebody's cuff")).starts_with("profile standard-blood-pressure"));
    assert!(rule("2A35", None).starts_with("profile standard-blood-pressure"));
    assert!(rule("2a19", Some("A&D_UA-651BLE_112233")).starts_with("profile standard-common"));
    let topic = catalogue.rule_for(&Path::Topic("vitals/x".into())).unwrap();
    assert_eq!(topic, "profile wardline-json: topic vitals/+, field table, json");
}

#[test]
fn a_broadcast_heard_again_is_one_reading_until_its_time_has_passed() {
    let mut decoder = Decoder::new(Arc::new(Catalogue::built_in()));
    let mut heard = |device: &str, hex: &[u8], at_ms: i64| {
        let path = Path::Advertisement { device: DeviceId(device.into()), service: "FCD2".into() };
        let frame = Frame { path, ..Frame::new("test", hex.to_vec(), Stamp::at_ms(at_ms)) };
        decoder.decode(&frame).unwrap().drafts.len()
    };
    let (a, b) = ([0x40, 6, 0x5e, 0x1f], [0x40, 6, 0x5f, 0x1f]);
    assert_eq!(
        [heard("x", &a, 0), heard("x", &a, 29_000), heard("x", &a, 58_000), heard("x", &a, 89_000)],
        [1, 0, 0, 1]
    );
    assert_eq!([heard("x", &b, 90_000), heard("x", &a, 91_000), heard("y", &a, 91_000)], [1, 1, 1]);
    for i in 0..3 * crate::limits::DEVICES_REMEMBERED_MAX {
        assert_eq!(heard(&i.to_string(), &a, 92_000), 1);
    }
}

const RING: &str = "0734594a-a8e7-4b1a-a6b1-cd5243059a57";
const WHOLE: [u8; 21] = [0x55, 0, 0xff, 0, 0, 13, 0, 0x62, 0x42, 0, 0, 0, 0, 0, 0x61, 0, 0x92, 0x0a, 1, 0, 0x2f];

/// Readings that these notifications of a ring make, or the codes of their rejections.
fn ring(notifications: &[&[u8]]) -> Vec<Result<usize, &'static str>> {
    let mut decoder = Decoder::new(Arc::new(Catalogue::built_in()));
    let decode = |bytes: &&[u8]| {
        let path = Path::Characteristic { device: DeviceId("ble:AA".into()), uuid: RING.into(), name: None };
        let frame = Frame { path, ..Frame::new("test", bytes.to_vec(), Stamp::at_ms(0)) };
        decoder.decode(&frame).map(|d| d.drafts.len()).map_err(|r| r.code)
    };
    notifications.iter().map(decode).collect()
}

#[test]
fn a_frame_in_several_notifications_is_one_and_a_lost_end_costs_only_its_frame() {
    let (begin, end) = WHOLE.split_at(20);
    assert_eq!(ring(&[&WHOLE]), [Ok(2)]);
    assert_eq!(ring(&[begin, end]), [Ok(0), Ok(2)]);
    let octet_by_octet: Vec<&[u8]> = WHOLE.chunks(1).collect();
    assert_eq!(ring(&octet_by_octet).last(), Some(&Ok(2)));
    // The end is lost: the next frame is read, in one piece or in two.
    assert_eq!(ring(&[begin, &WHOLE]), [Ok(0), Ok(2)]);
    assert_eq!(ring(&[begin, begin, end]), [Ok(0), Ok(0), Ok(2)]);
    let two = [WHOLE, WHOLE].concat();
    assert_eq!(ring(&[&two, &two[..30], &two[30..]]), [Ok(4), Ok(2), Ok(2)]);
    // The beginning is lost, or what follows is none: said, and forgotten.
    assert_eq!(ring(&[end, &WHOLE]), [Err("WL-D003"), Ok(2)]);
    assert_eq!(ring(&[begin, &[9, 9], &WHOLE]), [Ok(0), Err("WL-D003"), Ok(2)]);
    let long = [&[0x55, 0, 0xff, 0, 0, 0xf0, 1][..], &[0; 600]].concat();
    assert_eq!(ring(&[&long, &WHOLE]), [Err("WL-D009"), Ok(2)]);
    // A long frame that never ends holds no more than itself.
    assert_eq!(ring(&[&long[..500], &long[..500], &WHOLE]), [Ok(0), Ok(0), Ok(2)]);
}

#[test]
fn a_measurement_has_the_time_that_was_told_right_before_it() {
    let uuid = "00001524-1212-efde-1523-785feabcd123";
    let (when, what) = ([0x51, 0x25, 0x7c, 0x35, 0x29, 9, 0xa5, 0xfe], [0x51, 0x26, 0x78, 0, 0x19, 0x40, 0xa5, 0xed]);
    let mut decoder = Decoder::new(Arc::new(Catalogue::built_in()));
    let mut told = |device: &str, bytes: [u8; 8]| {
        let name = Some("FORA GD40".into());
        let path = Path::Characteristic { device: DeviceId(device.into()), uuid: uuid.into(), name };
        let frame = Frame { path, ..Frame::new("test", bytes.to_vec(), Stamp::at_ms(0)) };
        decoder.decode(&frame).unwrap().drafts.iter().filter(|d| d.device_time.is_some()).count()
    };
    assert_eq!([told("a", what), told("a", when), told("a", what), told("a", what)], [0, 0, 1, 0]);
    assert_eq!([told("a", when), told("b", what), told("a", what)], [0, 0, 1], "of one device, not of another");
}

#[test]
fn nothing_a_device_sends_ends_the_process() {
    use proptest::test_runner::{Config, TestRunner};
    let catalogue = Arc::new(Catalogue::built_in());
    let frames: Vec<Frame> = catalogue.profiles().into_iter().flat_map(frames).collect();
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    let cases = (proptest::sample::select(frames), 0usize..300, proptest::num::u8::ANY, 0usize..300);
    runner
        .run(&cases, |(mut frame, at, octet, length)| {
            let mut bytes = frame.bytes.to_vec();
            if let Some(b) = bytes.get_mut(at) {
                *b = octet;
            }
            bytes.truncate(length);
            frame.bytes = bytes.into();
            let mut decoder = Decoder::new(Arc::clone(&catalogue));
            let _ = decoder.decode(&frame);
            let _ = decoder.decode(&frame);
            Ok(())
        })
        .unwrap();
}

/// Nanoseconds of this thread on a processor.
fn on_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// `cargo test --release --lib profile::tests::cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, for release builds"]
fn cost_of_a_message() {
    let catalogue = Arc::new(Catalogue::built_in());
    for id in ["flat-json-vitals", "wardline-json", "wardline-cbor", "standard-blood-pressure"] {
        let frame = frames(catalogue.find(id).unwrap()).remove(0);
        let mut decoder = Decoder::new(Arc::clone(&catalogue));
        let (rounds, start) = (200_000, on_cpu_ns());
        for _ in 0..rounds {
            std::hint::black_box(decoder.decode(std::hint::black_box(&frame)).unwrap());
        }
        println!("{id}: {} octets, {} ns", frame.bytes.len(), (on_cpu_ns() - start) / rounds);
    }
}
