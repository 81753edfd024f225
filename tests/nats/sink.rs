//! The destination itself against the server: what settles, what is refused before anything is sent, who is let in.

use serde_json::{Value, json};
use wardline::config::{DestinationSettings, NatsSettings};
use wardline::custody::Outcome;
use wardline::sink::Destination;
use wardline::sink::nats::NatsSink;

use super::support::certificates;
use super::support::nats::{Bus, Console};
use super::support::readings;
use super::support::toxic::{Luck, Toxic};

fn sink_with(url: &str, more: &str) -> NatsSink {
    let text = format!(
        "kind = \"nats\"\nname = \"fleet\"\nservers = [\"{url}\"]\nstream = \"WARDLINE\"\ntimeout_s = 2\n{more}"
    );
    let DestinationSettings::Nats(settings) = toml(&text) else { panic!() };
    NatsSink::new(&settings, &"box.1".into()).unwrap()
}

fn toml(text: &str) -> DestinationSettings {
    let whole = format!(
        "[gateway]\nid = \"b\"\nstate = \"/tmp\"\n[journal]\nunencrypted = true\n[[destination]]\nconsent = \"enrolment\"\n{text}\n"
    );
    let config = wardline::config::Config::parse(&whole, std::path::Path::new("/tmp/x.toml")).unwrap();
    config.destinations[0].clone()
}

async fn deliver(sink: &NatsSink, numbers: std::ops::Range<u64>) -> Vec<String> {
    let outcomes = sink.deliver(&readings::heart_rates(numbers), &[]).await;
    outcomes
        .iter()
        .map(|o| match o {
            Outcome::Delivered(r) => format!("{}{}", r.location, if r.known { " known" } else { "" }),
            Outcome::Retry { why, destination, .. } => format!("{} {destination}", why.code),
            Outcome::Reject(why) => format!("rejected {}", why.code),
            Outcome::Withheld => "withheld".to_owned(),
        })
        .collect()
}

#[tokio::test]
async fn the_streams_word_settles_and_a_resend_is_known() {
    let Some(bus) = Bus::start("") else { return };
    let mut console = Console::connect(bus.port).await;
    console.stream("WARDLINE", &["wardline.>"], Value::Null).await;
    let sink = sink_with(&bus.url(), "");
    assert_eq!(deliver(&sink, 0..2).await, ["WARDLINE:1", "WARDLINE:2"]);
    assert_eq!(deliver(&sink, 1..3).await, ["WARDLINE:2 known", "WARDLINE:3"]);
    assert_eq!(console.messages("WARDLINE").await, 3);
    let (subject, headers, body) = console.message("WARDLINE", 1).await;
    assert_eq!(subject, "wardline.box_1.readings");
    assert!(
        !subject.contains("p1") && !headers.contains("Patient") && headers.contains("Nats-Msg-Id: wl-"),
        "{headers}"
    );
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["wardline"], &body["gateway"]), (&json!(1), &json!("box.1")));
}

/// Each of these would lose something, some day: nothing is sent there.
#[tokio::test]
async fn a_stream_that_could_lose_something_gets_nothing() {
    let Some(bus) = Bus::start("") else { return };
    let mut console = Console::connect(bus.port).await;
    let sink = sink_with(&bus.url(), "");
    assert_eq!(deliver(&sink, 0..1).await, ["WL-N003 true"], "there is no stream");
    let minute = 60_000_000_000_u64;
    for (changes, subjects, expected) in [
        (json!({ "storage": "memory" }), "wardline.>", "WL-N007 true"),
        (json!({ "discard": "old", "max_msgs": 5 }), "wardline.>", "WL-N006 true"),
        (json!({ "max_age": 60 * minute }), "wardline.>", "WL-N006 true"),
        (json!({ "retention": "interest" }), "wardline.>", "WL-N006 true"),
        (json!({ "duplicate_window": minute / 2 }), "wardline.>", "WL-N008 true"),
        (Value::Null, "wardline.*.readings", "WL-N005 true"),
    ] {
        console.stream("WARDLINE", &[subjects], changes).await;
        assert_eq!(deliver(&sink, 0..1).await, [expected]);
        assert_eq!(console.messages("WARDLINE").await, 0);
        console.call("STREAM.DELETE.WARDLINE", Value::Null).await;
    }
    let creating = sink_with(&bus.url(), "create = true");
    assert_eq!(deliver(&creating, 0..1).await, ["WARDLINE:1"]);
    assert_eq!(deliver(&sink, 0..1).await, ["WARDLINE:1 known"], "what it creates passes its own look");
}

#[tokio::test]
async fn a_full_stream_refuses_and_takes_again_when_there_is_room() {
    let Some(bus) = Bus::start("") else { return };
    let mut console = Console::connect(bus.port).await;
    console.stream("WARDLINE", &["wardline.>"], json!({ "max_msgs": 3 })).await;
    let sink = sink_with(&bus.url(), "");
    assert_eq!(deliver(&sink, 0..4).await, ["WARDLINE:1", "WARDLINE:2", "WARDLINE:3", "WL-N004 true"]);
    console.call("STREAM.PURGE.WARDLINE", Value::Null).await;
    assert_eq!(deliver(&sink, 3..4).await, ["WARDLINE:4"]);
}

/// Another stream on our subjects, or none: the word of anybody else is no receipt.
#[tokio::test]
async fn no_other_streams_word_counts() {
    let Some(bus) = Bus::start("") else { return };
    let mut console = Console::connect(bus.port).await;
    console.stream("WARDLINE", &["wardline.>"], Value::Null).await;
    let sink = sink_with(&bus.url(), "");
    assert_eq!(deliver(&sink, 0..1).await, ["WARDLINE:1"]);
    // While it is connected, the stream is exchanged for another one.
    console.call("STREAM.DELETE.WARDLINE", Value::Null).await;
    assert_eq!(deliver(&sink, 1..2).await, ["WL-N003 true"]);
    console.stream("OTHER", &["wardline.>"], Value::Null).await;
    assert_eq!(deliver(&sink, 1..2).await, ["WL-N005 true"]);
    assert_eq!(console.messages("OTHER").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_acknowledgement_is_ambiguous_and_the_resend_is_known() {
    let Some(bus) = Bus::start("") else { return };
    let mut console = Console::connect(bus.port).await;
    console.stream("WARDLINE", &["wardline.>"], Value::Null).await;
    let proxy = Toxic::start(bus.port).await;
    let sink = sink_with(&format!("nats://127.0.0.1:{}", proxy.port), "");
    assert_eq!(deliver(&sink, 0..1).await, ["WARDLINE:1"]);
    // Half-open: what is sent does not arrive, or its answer does not.
    proxy.order(Luck::Silent);
    assert_eq!(deliver(&sink, 1..2).await, ["WL-F002 true"]);
    proxy.order(Luck::Good);
    let again = deliver(&sink, 1..2).await;
    assert!(again[0].starts_with("WARDLINE:2"), "{again:?}");
    proxy.order(Luck::Reset);
    let broken = deliver(&sink, 2..3).await;
    assert!(["WL-F001 true", "WL-F002 true"].contains(&broken[0].as_str()), "{broken:?}");
    proxy.order(Luck::Good);
    assert!(deliver(&sink, 2..3).await[0].starts_with("WARDLINE:3"));
    assert_eq!(console.messages("WARDLINE").await, 3);
}

/// The pair of the nkeys' documentation.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

fn secret(folder: &std::path::Path, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn each_kind_of_credential_lets_us_in_and_a_wrong_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let users = format!(
        "authorization {{ users: [ {{ nkey: {PUBLIC} }}, {{ user: box, password: hush }}, \
         {{ user: mute, password: hush, permissions: {{ publish: \"$JS.API.>\" }} }} ] }}"
    );
    let (Some(by_user), Some(by_token)) = (Bus::start(&users), Bus::start("authorization { token: \"word\" }")) else {
        return;
    };
    let seed = format!("create = true\ncredentials_file = \"{}\"", secret(folder.path(), "seed", SEED));
    let user =
        format!("create = true\nuser = \"box\"\ncredentials_file = \"{}\"", secret(folder.path(), "pw", "hush\n"));
    let wrong = format!("user = \"box\"\ncredentials_file = \"{}\"", secret(folder.path(), "no", "no\n"));
    let mute = user.replace("\"box\"", "\"mute\"");
    let token = format!("create = true\ncredentials_file = \"{}\"", secret(folder.path(), "token", "word\n"));
    assert_eq!(deliver(&sink_with(&by_user.url(), &seed), 0..1).await, ["WARDLINE:1"]);
    assert_eq!(deliver(&sink_with(&by_user.url(), &user), 1..2).await, ["WARDLINE:2"]);
    assert_eq!(
        deliver(&sink_with(&by_user.url(), &mute), 2..3).await,
        ["WL-N002 true"],
        "it may look, and not publish"
    );
    assert_eq!(deliver(&sink_with(&by_user.url(), &wrong), 2..3).await, ["WL-N001 true"]);
    assert_eq!(deliver(&sink_with(&by_user.url(), ""), 2..3).await, ["WL-N001 true"]);
    assert_eq!(deliver(&sink_with(&by_token.url(), &token), 0..1).await, ["WARDLINE:1"]);
}

#[tokio::test]
async fn tls_lets_in_who_is_known_and_nothing_goes_to_a_stranger() {
    let folder = tempfile::tempdir().unwrap();
    certificates::write(folder.path());
    let c = folder.path().display();
    let Some(bus) = Bus::start(&format!(
        "tls {{ cert_file: \"{c}/server.pem\", key_file: \"{c}/server.key\", ca_file: \"{c}/ca.pem\", verify: true }}"
    )) else {
        return;
    };
    let url = format!("tls://127.0.0.1:{}", bus.port);
    let ours =
        format!("client_certificate_file = \"{c}/client.pem\"\nclient_key_file = \"{c}/client.key\"\ncreate = true");
    let good = sink_with(&url, &format!("ca_file = \"{c}/ca.pem\"\n{ours}"));
    assert_eq!(deliver(&good, 0..1).await, ["WARDLINE:1"]);
    let stranger = sink_with(&url, &format!("ca_file = \"{c}/other-ca.pem\"\n{ours}"));
    assert_eq!(deliver(&stranger, 1..2).await, ["WL-F003 true"]);
    let nobody = sink_with(&url, &format!("ca_file = \"{c}/ca.pem\""));
    assert_eq!(deliver(&nobody, 1..2).await, ["WL-F001 true"]);
    // In clear where TLS is asked for.
    let Some(plain) = Bus::start("") else { return };
    let downgraded =
        sink_with(&format!("tls://127.0.0.1:{}", plain.port), &format!("ca_file = \"{c}/ca.pem\"\n{ours}"));
    assert_eq!(deliver(&downgraded, 1..2).await, ["WL-F001 true"]);
    assert!(!plain.log().contains("CONNECT"));
}

/// A server that is away is passed by; one that is no NATS server is said to be none.
#[tokio::test]
async fn the_next_server_is_asked() {
    let Some(bus) = Bus::start("") else { return };
    let text = format!(
        "kind = \"nats\"\nname = \"fleet\"\nservers = [\"nats://127.0.0.1:9\", \"{}\"]\nstream = \"WARDLINE\"\ncreate = true",
        bus.url()
    );
    let DestinationSettings::Nats(settings) = toml(&text) else { panic!() };
    let sink = NatsSink::new(&settings, &"b".into()).unwrap();
    assert_eq!(deliver(&sink, 0..1).await, ["WARDLINE:1"]);
    let alone = NatsSettings { servers: vec!["nats://127.0.0.1:9".into()], ..settings };
    assert_eq!(deliver(&NatsSink::new(&alone, &"b".into()).unwrap(), 1..2).await, ["WL-F001 true"]);
}
