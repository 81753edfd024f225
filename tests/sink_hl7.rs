//! Readings and alerts to an HL7 v2 receiver: what it gets, what its acknowledgements mean, and what bad manners lead to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod support;

#[path = "hl7/batches.rs"]
mod batches;

use std::sync::Arc;
use std::time::Duration;

use support::certificates::{self, ALWAYS, Identity, authority};
use support::mllp::{Receiver, Reply, acknowledgement, field};
use support::readings::{alert, alert_item, heart_rate, heart_rates, item, reading};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use wardline::clock::{Clock, Stamp};
use wardline::config::{DestinationSettings, Hl7Settings};
use wardline::custody::{Item, Outcome};
use wardline::demographics::Demographics;
use wardline::sink::{Destination, Sink};

fn settings(url: &str, more: &str) -> Hl7Settings {
    toml::from_str(&format!("name = \"lab\"\nurl = \"{url}\"\nassigning_authority = \"CLINIC\"\ntimeout_s = 1\n{more}"))
        .unwrap()
}

fn with(url: &str, more: &str) -> Sink {
    let clock = Clock::manual(Stamp::at_ms(1_795_342_300_000));
    Sink::build(&DestinationSettings::Hl7(Box::new(settings(url, more))), &"box-1".into(), &clock).unwrap()
}

fn sink(receiver: &Receiver) -> Sink {
    with(&format!("mllp://127.0.0.1:{}", receiver.port), "")
}

fn class(outcome: &Outcome) -> (String, &'static str) {
    match outcome {
        Outcome::Delivered(_) => (String::new(), "delivered"),
        Outcome::Retry { why, destination: true, .. } => (why.code.to_string(), "destination"),
        Outcome::Retry { why, .. } => (why.code.to_string(), "item"),
        Outcome::Reject(why) => (why.code.to_string(), "reject"),
        Outcome::Withheld => (String::new(), "withheld"),
    }
}

fn classes(outcomes: &[Outcome]) -> Vec<(String, &'static str)> {
    outcomes.iter().map(class).collect()
}

fn tried(mut items: Vec<Item>, attempts: u32) -> Vec<Item> {
    items.iter_mut().for_each(|i| i.attempts = attempts);
    items
}

#[tokio::test]
async fn readings_are_acknowledged_one_by_one_over_one_connection() {
    let receiver = Receiver::start(|_, n| Reply::Ack(if n % 2 == 0 { "AA" } else { "CA" })).await;
    let sink = sink(&receiver);
    let outcomes = sink.deliver(&heart_rates(0..5), &[]).await;
    let outcomes = [outcomes, sink.deliver(&heart_rates(5..7), &[]).await].concat();
    assert_eq!((receiver.connections(), receiver.messages().len()), (1, 7));
    for (n, (message, outcome)) in receiver.messages().iter().zip(&outcomes).enumerate() {
        let Outcome::Delivered(receipt) = outcome else { panic!("{outcome:?}") };
        assert_eq!(*receipt.location, format!("{} at LAB@CITY", field(message, "MSH", 10)));
        let value = message.split('\r').filter(|s| s.starts_with("OBX")).nth(1).unwrap().split('|').nth(5).unwrap();
        assert_eq!((value, &*field(message, "PID", 3)), (format!("{}", 60 + n).as_str(), "p1^^^CLINIC^PI"));
        assert_eq!(field(message, "OBR", 3).split('^').next().unwrap(), format!("{n:032x}"));
    }
}

#[tokio::test]
async fn every_acknowledgement_has_its_class() {
    type Expected = (&'static str, &'static str);
    let cases: Vec<(&str, Reply, Expected)> = vec![
        ("an error in it", Reply::Ack("AE"), ("WL-H001", "reject")),
        ("an error on commit", Reply::Ack("CE"), ("WL-H001", "reject")),
        ("refused", Reply::Ack("AR"), ("WL-H002", "item")),
        ("refused on commit", Reply::Ack("CR"), ("WL-H002", "item")),
        ("a word that is none", Reply::Ack("OK"), ("WL-H003", "destination")),
        ("silence", Reply::Silence, ("WL-F002", "destination")),
        ("closed after receipt", Reply::Close, ("WL-F002", "destination")),
        ("half of one", Reply::Half, ("WL-F002", "destination")),
        ("without an end", Reply::Endless, ("WL-H003", "destination")),
        ("another protocol", Reply::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), ("WL-F002", "destination")),
        ("a frame of noise", Reply::Raw(b"\x0b\xff\xfe\x00noise\x1c\x0d".to_vec()), ("WL-H003", "destination")),
        ("an empty frame", Reply::Raw(b"\x0b\x1c\x0d".to_vec()), ("WL-H003", "destination")),
        ("of no message", Reply::AckFor("AA", String::new()), ("WL-H003", "destination")),
        ("of another message", Reply::AckFor("AA", "SOMEBODYELSE".into()), ("WL-F002", "destination")),
        ("an error of another message", Reply::AckFor("AE", "SOMEBODYELSE".into()), ("WL-F002", "destination")),
        ("too late", Reply::After(Duration::from_secs(3), Box::new(Reply::Ack("AA"))), ("WL-F002", "destination")),
    ];
    for (what, reply, expected) in cases {
        let receiver = Receiver::start(move |_, n| if n == 0 { reply.clone() } else { Reply::Ack("AA") }).await;
        let sink = sink(&receiver);
        let items = heart_rates(0..2);
        let outcomes = sink.deliver(&items, &[]).await;
        assert_eq!(class(&outcomes[0]), (expected.0.to_owned(), expected.1), "{what}");
        // What is the destination's own holds the others; what is the item's does not.
        let second = if expected.1 == "destination" { class(&outcomes[0]) } else { (String::new(), "delivered") };
        assert_eq!(class(&outcomes[1]), second, "{what}");
        // Sent again, it is the same message, and it is taken.
        assert_eq!(classes(&sink.deliver(&items[..1], &[]).await), [(String::new(), "delivered")], "{what}");
        let ids = receiver.ids();
        assert_eq!(ids.first(), ids.last(), "{what}: a resend has the same control id");
    }
}

#[tokio::test]
async fn a_late_acknowledgement_is_never_another_messages() {
    // Each message is acknowledged once more when the next one comes, first with the wrong id.
    let earlier = std::sync::Mutex::new(String::from("NEVERSENT"));
    let receiver = Receiver::start(move |message, n| {
        let before = std::mem::replace(&mut *earlier.lock().unwrap(), field(message, "MSH", 10));
        let own = if n == 2 { Reply::Ack("AE") } else { Reply::Ack("AA") };
        Reply::All(vec![Reply::AckFor("AE", before.clone()), Reply::AckFor("AA", before), own])
    })
    .await;
    let outcomes = sink(&receiver).deliver(&heart_rates(0..4), &[]).await;
    let expected = ["delivered", "delivered", "reject", "delivered"];
    assert_eq!(classes(&outcomes).iter().map(|c| c.1).collect::<Vec<_>>(), expected);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn acknowledgements_without_an_end_are_given_up() {
    let many = || (0..100).map(|n| Reply::AckFor("AA", format!("STRAY{n}"))).collect();
    let receiver = Receiver::start(move |_, _| Reply::All(many())).await;
    let outcomes = sink(&receiver).deliver(&heart_rates(0..1), &[]).await;
    assert_eq!(classes(&outcomes), [("WL-H003".into(), "destination")]);
}

#[tokio::test]
async fn what_is_refused_while_others_pass_ends_with_a_person() {
    let receiver = Receiver::start(|m, _| Reply::Ack(if m.contains("|60|") { "AR" } else { "AA" })).await;
    let sink = sink(&receiver);
    for attempts in 0..8 {
        let outcomes = sink.deliver(&tried(heart_rates(0..2), attempts), &[]).await;
        assert_eq!(classes(&outcomes), [("WL-H002".into(), "item"), (String::new(), "delivered")], "{attempts}");
    }
    let outcomes = sink.deliver(&tried(heart_rates(0..2), 8), &[]).await;
    assert_eq!(classes(&outcomes), [("WL-H002".into(), "reject"), (String::new(), "delivered")]);
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_is_down_and_rejects_nothing() {
    let receiver = Receiver::start(|_, n| Reply::Ack(if n < 12 { "AR" } else { "AA" })).await;
    let sink = sink(&receiver);
    let first = sink.deliver(&heart_rates(0..5), &[]).await;
    let expected = ["item", "item", "destination", "destination", "destination"];
    assert_eq!(classes(&first).iter().map(|c| c.1).collect::<Vec<_>>(), expected);
    assert_eq!(receiver.messages().len(), 3, "the rest is not tried");
    // However often: a whole night of refusals is no reason to give a reading up.
    for _ in 3..12 {
        let outcomes = sink.deliver(&tried(heart_rates(0..1), 100), &[]).await;
        assert_eq!(classes(&outcomes), [("WL-H002".into(), "destination")]);
    }
    assert_eq!(classes(&sink.deliver(&heart_rates(0..1), &[]).await), [(String::new(), "delivered")]);
}

#[tokio::test]
async fn the_reason_of_an_error_is_a_code_and_a_place_and_no_words() {
    let reply = |_: &str, _| Reply::Err("AE", "ERR||PID^1^3|204^Doe, John unknown^HL70357|E||||canary\r");
    let receiver = Receiver::start(reply).await;
    let outcomes = sink(&receiver).deliver(&heart_rates(0..1), &[]).await;
    let Outcome::Reject(why) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(why.text, "the receiver found an error in it (AE: 204 at PID.1.3)");
}

#[tokio::test]
async fn several_readings_of_one_patient_travel_together_and_a_refused_one_is_found() {
    let receiver = Receiver::start(|m, _| Reply::Ack(if m.contains("|62|") { "AE" } else { "AA" })).await;
    let sink = with(&format!("mllp://127.0.0.1:{}", receiver.port), "readings_per_message = 3");
    let mut items = heart_rates(0..4);
    let value = serde_json::json!([{"role": "value", "value": {"number": 75}, "unit": "/min"}]);
    items.push(item(reading(4, "Patient/p2", "heart-rate", &value)));
    let outcomes = sink.deliver(&items, &[]).await;
    let expected = ["delivered", "delivered", "reject", "delivered", "delivered"];
    assert_eq!(classes(&outcomes).iter().map(|c| c.1).collect::<Vec<_>>(), expected);
    let orders: Vec<usize> = receiver.messages().iter().map(|m| m.matches("\rOBR|").count()).collect();
    assert_eq!(orders, [3, 1, 1, 1, 1, 1], "three whole, each alone, the fourth, the other patient's");
}

#[tokio::test]
async fn what_has_no_code_is_refused_here_and_the_others_go_on() {
    let receiver = Receiver::start(|_, _| Reply::Ack("AA")).await;
    let value = serde_json::json!([{"role": "value", "value": {"number": 500}, "unit": "Ohm"}]);
    let items = [item(reading(1, "Patient/p1", "impedance", &value)), item(heart_rate(2))];
    for more in ["", "readings_per_message = 10"] {
        let sink = with(&format!("mllp://127.0.0.1:{}", receiver.port), more);
        let outcomes = sink.deliver(&items, &[]).await;
        assert_eq!(classes(&outcomes), [("WL-H004".into(), "reject"), (String::new(), "delivered")], "{more}");
    }
}

#[tokio::test]
async fn alerts_have_a_connection_of_their_own_and_go_only_where_they_are_wanted() {
    let receiver = Receiver::start(|m, _| Reply::Ack(if m.contains("ORU^R40") { "AA" } else { "AR" })).await;
    let url = format!("mllp://127.0.0.1:{}", receiver.port);
    assert!(!with(&url, "").takes_alerts());
    let sink = with(&url, "alerts = true");
    assert!(sink.takes_alerts() && sink.takes_readings());
    assert!(!sink.brings_evidence(), "a value under no order is no reading");
    sink.deliver(&heart_rates(0..1), &[]).await;
    let mut event = alert("0123456789abcdef0123456789abcdef", "raised", &[]);
    event.alert.text = "Größe | 五\n".repeat(400);
    assert!(event.alert.text.chars().count() >= 4_000);
    let outcomes = sink.deliver(&[alert_item(event, 0)], &[]).await;
    assert_eq!(classes(&outcomes), [(String::new(), "delivered")]);
    let last = receiver.messages().pop().unwrap();
    assert_eq!((field(&last, "MSH", 18), receiver.connections()), ("UNICODE UTF-8".into(), 2));
    assert_eq!(last.matches("Größe \\F\\ 五\\X0A\\").count(), 400, "all of it arrives");
}

#[tokio::test]
async fn a_connection_that_the_receiver_closed_meanwhile_is_made_anew() {
    let receiver = Receiver::start(|_, _| Reply::All(vec![Reply::Ack("AA"), Reply::Close])).await;
    let sink = sink(&receiver);
    for n in 0..3 {
        let outcomes = sink.deliver(&heart_rates(n..n + 1), &[]).await;
        assert_eq!(classes(&outcomes), [(String::new(), "delivered")]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((receiver.connections(), receiver.messages().len()), (3, 3), "and nothing is sent twice");
}

/// Some close after each acknowledgement without a pause: it is learnt, and nobody waits for it.
#[tokio::test]
async fn a_receiver_that_takes_one_message_for_each_connection_is_understood() {
    let receiver = Receiver::start(|_, _| Reply::All(vec![Reply::Ack("AA"), Reply::Close])).await;
    let sink = sink(&receiver);
    for n in 0..4 {
        let outcomes = sink.deliver(&heart_rates(n * 10..n * 10 + 10), &[]).await;
        assert_eq!(classes(&outcomes), vec![(String::new(), "delivered"); 10], "{n}");
    }
    assert_eq!((receiver.connections(), receiver.messages().len()), (40, 40));
    // One that closes instead of answering is away, on a new connection as on one that was kept.
    let receiver = Receiver::start(|_, n| if n < 2 { Reply::Ack("AA") } else { Reply::Close }).await;
    let outcomes = self::sink(&receiver).deliver(&heart_rates(0..4), &[]).await;
    let expected = ["delivered", "delivered", "destination", "destination"];
    assert_eq!(classes(&outcomes).iter().map(|c| c.1).collect::<Vec<_>>(), expected);
    assert_eq!(receiver.ids()[2], receiver.ids()[3], "tried once more over a connection of its own");
    assert_eq!(receiver.messages().len(), 4);
}

/// A delivery that is broken off (the process stops) takes its connection with it: its acknowledgement comes to nobody.
#[tokio::test]
async fn a_delivery_that_is_broken_off_leaves_nothing_behind() {
    let slow = |_: &str, n: usize| match n {
        0 => Reply::After(Duration::from_millis(300), Box::new(Reply::Ack("AA"))),
        _ => Reply::Ack("AE"),
    };
    let receiver = Receiver::start(slow).await;
    let sink = sink(&receiver);
    let items = heart_rates(0..1);
    let broken_off = tokio::time::timeout(Duration::from_millis(100), sink.deliver(&items, &[])).await;
    assert!(broken_off.is_err());
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(classes(&sink.deliver(&items, &[]).await), [("WL-H001".into(), "reject")]);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn nobody_there_is_no_reason_to_refuse() {
    let port = support::free_port();
    let outcomes = with(&format!("mllp://127.0.0.1:{port}"), "").deliver(&heart_rates(0..3), &[]).await;
    assert_eq!(classes(&outcomes), vec![("WL-F001".to_owned(), "destination"); 3]);
    let unknown = with("mllp://nowhere.invalid:2575", "").deliver(&heart_rates(0..1), &[]).await;
    let Outcome::Retry { why, destination: true, .. } = &unknown[0] else { panic!("{unknown:?}") };
    assert_eq!(why.text, "no connection: the name is not found");
}

#[tokio::test]
async fn readings_go_to_a_certified_receiver_that_knows_us_and_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (authority("Test CA"), authority("Other CA"));
    certificates::put(folder.path(), "ca.pem", &ca.pem());
    Identity::new(Some(&ca), &[], ALWAYS).put(folder.path(), "client");
    Identity::new(Some(&other), &[], ALWAYS).put(folder.path(), "stranger");
    let good = Identity::new(Some(&ca), &["localhost"], ALWAYS).server_for(&ca);
    let wrong_host = Identity::new(Some(&ca), &["elsewhere.example"], ALWAYS).server_for(&ca);
    let expired = Identity::new(Some(&ca), &["localhost"], (2020, 2021)).server_for(&ca);
    let unknown = Identity::new(Some(&other), &["localhost"], ALWAYS).server();
    let at = folder.path().display();
    let own = |who: &str| {
        format!(
            "client_certificate_file = \"{at}/{who}.pem\"\nclient_key_file = \"{at}/{who}.key\"\nca_file = \"{at}/ca.pem\""
        )
    };
    for (what, server, files, expected) in [
        ("good", good.clone(), own("client"), ("", "delivered")),
        ("no certificate of ours", good.clone(), format!("ca_file = \"{at}/ca.pem\""), ("WL-F001", "destination")),
        ("another's certificate", good, own("stranger"), ("WL-F001", "destination")),
        ("wrong host", wrong_host, own("client"), ("WL-F003", "destination")),
        ("expired", expired, own("client"), ("WL-F003", "destination")),
        ("signed by a stranger", unknown, own("client"), ("WL-F003", "destination")),
    ] {
        let receiver = Receiver::serve(Some(server), |_, _| Reply::Ack("AA")).await;
        let sink = with(&format!("mllps://localhost:{}", receiver.port), &files);
        let outcomes = sink.deliver(&heart_rates(0..1), &[]).await;
        assert_eq!(class(&outcomes[0]), (expected.0.to_owned(), expected.1), "{what}: {outcomes:?}");
        assert_eq!(receiver.messages().len(), usize::from(expected.1 == "delivered"), "{what}");
    }
    // A receiver without TLS gets no reading either.
    let plain = Receiver::start(|_, _| Reply::Raw(acknowledgement("AA", "X", ""))).await;
    let outcomes =
        with(&format!("mllps://localhost:{}", plain.port), &own("client")).deliver(&heart_rates(0..1), &[]).await;
    assert_eq!((class(&outcomes[0]).1, plain.messages().len()), ("destination", 0));
}

/// A receiver that read the message may have stored it, however its connection ends; only before that it has not.
#[tokio::test]
async fn what_breaks_under_tls_after_the_message_went_out_is_ambiguous() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("Test CA");
    certificates::put(folder.path(), "ca.pem", &ca.pem());
    let server = Identity::new(Some(&ca), &["localhost"], ALWAYS).server();
    let files = format!("ca_file = \"{}/ca.pem\"", folder.path().display());
    for (after_the_message, code) in [(true, "WL-F002"), (false, "WL-F001")] {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let sink = with(&format!("mllps://localhost:{}", listener.local_addr().unwrap().port()), &files);
        let acceptor = TlsAcceptor::from(server.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                if after_the_message {
                    let mut stream = acceptor.accept(socket).await.unwrap();
                    assert!(stream.read(&mut [0; 4_096]).await.unwrap() > 0);
                    socket = stream.into_inner().0;
                }
                // As a proxy between us does, that gives up.
                let _ = socket.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        assert_eq!(classes(&sink.deliver(&heart_rates(0..1), &[]).await), [(code.to_owned(), "destination")]);
    }
}

/// The sender itself looks again right before each message: what was taken back meanwhile is in none.
#[tokio::test]
async fn who_cannot_be_named_is_not_sent_to_who_matches_by_name() {
    let receiver = Receiver::start(|_, _| Reply::Ack("AA")).await;
    let fields = "fields = [\"birth-date\", \"sex\"]\nalerts = true";
    let mut sink = with(&format!("mllp://127.0.0.1:{}", receiver.port), fields);
    let waits = [("WL-H005".to_owned(), "item")];
    assert_eq!(classes(&sink.deliver(&heart_rates(0..1), &[]).await), waits, "nobody was asked");
    let part = Demographics { sex: Some("F".into()), ..Demographics::default() };
    let whole = Demographics { birth_date: Some("1950-03-07".parse().unwrap()), ..part.clone() };
    sink.asks(Arc::new(move |_| Some(Arc::new(part.clone()))));
    assert_eq!(classes(&sink.deliver(&heart_rates(0..1), &[]).await), waits, "a part is not enough");
    let alarm = alert_item(alert("a1", "raised", &[&heart_rate(1)]), 0);
    assert_eq!(classes(&sink.deliver(std::slice::from_ref(&alarm), &[]).await), waits);
    assert_eq!(receiver.connections(), 0);
    // Given for two messages, and taken back.
    let left = std::sync::atomic::AtomicUsize::new(2);
    sink.asks(Arc::new(move |_| {
        let once = left.fetch_update(std::sync::atomic::Ordering::SeqCst, std::sync::atomic::Ordering::SeqCst, |n| {
            n.checked_sub(1)
        });
        once.ok().map(|_| Arc::new(whole.clone()))
    }));
    let outcomes = sink.deliver(&heart_rates(0..4), &[]).await;
    let expected = ["delivered", "delivered", "item", "item"];
    assert_eq!(classes(&outcomes).iter().map(|c| c.1).collect::<Vec<_>>(), expected);
    let messages = receiver.messages();
    assert_eq!(messages.len(), 2);
    assert!(messages.iter().all(|m| field(m, "PID", 7) == "19500307" && field(m, "PID", 8) == "F"), "{messages:?}");
}

/// A consent that ends while ten messages go one after the other: the next one is not sent any more.
#[tokio::test]
async fn what_may_not_go_any_more_is_in_no_further_message() {
    struct Until(Arc<std::sync::atomic::AtomicBool>);
    impl wardline::sink::Gate for Until {
        fn admit(&self, item: &Item) -> Option<Item> {
            let even = item.attempts == 0 && matches!(item.id, wardline::custody::ItemId::Reading(n) if n % 2 == 0);
            (even || !self.0.load(std::sync::atomic::Ordering::SeqCst)).then(|| item.clone())
        }
        fn permits(&self, _: &wardline::reading::Reading) -> bool {
            !self.0.load(std::sync::atomic::Ordering::SeqCst)
        }
    }
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ends = ended.clone();
    let receiver = Receiver::start(move |_, n| {
        ends.store(n >= 2, std::sync::atomic::Ordering::SeqCst);
        Reply::Ack("AA")
    })
    .await;
    let mut sink = sink(&receiver);
    sink.gated(Arc::new(Until(ended)));
    let outcomes = sink.deliver(&heart_rates(0..7), &[]).await;
    let words: Vec<_> = classes(&outcomes).into_iter().map(|(_, word)| word).collect();
    let [d, w] = ["delivered", "withheld"];
    assert_eq!((words, receiver.messages().len()), (vec![d, d, d, w, d, w, d], 5));
}
