//! What a relay must not do, whatever it is given: let a correction overtake, pass on what it does not understand, hold
//! an alert behind readings, work with a consumer that gives up.

use std::sync::Arc;

use serde_json::{Value, json};
use wardline::amendment::{self, Order};
use wardline::config::DestinationSettings;
use wardline::custody::{Item, ItemId, Outcome, Payload};
use wardline::lab::endpoint::{Endpoint, Manners, Outage};
use wardline::sink::Destination;
use wardline::sink::nats::NatsSink;

use super::support::nats::{Bus, Console};
use super::support::readings::{alert, heart_rate, item};
use super::support::relay::Relay;
use super::{keeping, until};

/// A bus with its streams, and what a gateway's destination would put there.
async fn field() -> Option<(Bus, Console, NatsSink)> {
    field_with("").await
}

async fn field_with(server: &str) -> Option<(Bus, Console, NatsSink)> {
    let bus = Bus::start(server)?;
    let mut console = Console::connect(bus.port).await;
    console.streams(Value::Null).await;
    let text = format!(
        "[gateway]\nid = \"b\"\nstate = \"/tmp\"\n[journal]\nunencrypted = true\n[[destination]]\nconsent = \"enrolment\"\nkind = \"nats\"\n\
         name = \"fleet\"\nservers = [\"{}\"]\nstream = \"WARDLINE\"\n",
        bus.url()
    );
    let config = wardline::config::Config::parse(&text, std::path::Path::new("/tmp/x.toml")).unwrap();
    let DestinationSettings::Nats(settings) = &config.destinations[0] else { panic!() };
    let sink = NatsSink::new(settings, &"box-1".into()).unwrap();
    Some((bus, console, sink))
}

async fn publish(sink: &NatsSink, items: Vec<Item>) {
    let outcomes = sink.deliver(&items, &[]).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered(_))), "{outcomes:?}");
}

fn withdrawal(n: u64) -> Item {
    let order = Order { by: "N. Nurse".into(), at_ms: 1_795_400_000_000, reason: "another arm".into() };
    item(amendment::withdrawal(&heart_rate(n), &order))
}

fn relay(name: &str, bus: &Bus, endpoint: &Endpoint, more: &str) -> Relay {
    Relay::new(name, &bus.url(), &endpoint.url(), ("", more))
}

/// Readings that are final, and readings that were taken back.
fn standing(endpoint: &Endpoint) -> (usize, usize) {
    let bodies = endpoint.bodies("Observation");
    let count = |status: &str| bodies.iter().filter(|b| b.contains(&format!("\"status\":\"{status}\""))).count();
    (count("final"), count("entered-in-error"))
}

/// At a server that writes whatever comes last, with readings that fail and come again seconds later.
const UPDATING: &str = "idempotency = \"update\"\nbundle_max = 4";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_never_overtakes_what_it_corrects() {
    let Some((bus, mut console, sink)) = field().await else { return };
    let endpoint = keeping(Manners { entry_fail_rate: 0.25, latency_ms: 10, jitter_ms: 30, ..Manners::default() });
    let mut relays: Vec<Relay> = (0..3).map(|n| relay(&format!("r{n}"), &bus, &endpoint, UPDATING)).collect();
    relays.iter_mut().for_each(Relay::start);
    publish(&sink, (0..60).map(|n| item(heart_rate(n))).collect()).await;
    publish(&sink, (0..60).step_by(6).map(withdrawal).collect()).await;
    console.until("WARDLINE", |n| n == 0).await;
    assert_eq!(standing(&endpoint), (50, 10));
    assert_eq!(endpoint.counts().duplicates, 0);
    assert!(!endpoint.bodies("Observation").iter().any(|b| b.contains("another arm")), "a reason stays on the box");
}

/// An alert brings its evidence along: what takes that back waits for the alert as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_never_overtakes_an_alert_that_carries_what_it_corrects() {
    let Some((bus, mut console, sink)) = field().await else { return };
    let endpoint = keeping(Manners { latency_ms: 60, ..Manners::default() });
    for n in 0..12 {
        let seen = heart_rate(n);
        let event = alert(&format!("{n:032x}"), "raised", &[&seen]);
        let item = Item { id: ItemId::Alert(1), what: Payload::Alert(Arc::new(event)), attempts: 0 };
        let outcomes = sink.deliver(&[item], &[Arc::new(seen)]).await;
        assert!(matches!(outcomes[0], Outcome::Delivered(_)), "{outcomes:?}");
    }
    publish(&sink, (0..12).map(withdrawal).collect()).await;
    let mut relays = [relay("r1", &bus, &endpoint, UPDATING), relay("r2", &bus, &endpoint, UPDATING)];
    relays.iter_mut().for_each(Relay::start);
    console.until("WARDLINE", |n| n == 0).await;
    assert_eq!((standing(&endpoint), endpoint.bodies("Task").len()), ((0, 12), 12));
}

/// The test of the test: one that comes before what it corrects is seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_that_overtakes_is_seen() {
    let Some((bus, mut console, sink)) = field().await else { return };
    let endpoint = keeping(Manners::default());
    publish(&sink, (0..3).map(withdrawal).collect()).await;
    let mut one = relay("r", &bus, &endpoint, UPDATING);
    one.start();
    until("the corrections", || standing(&endpoint) == (0, 3)).await;
    publish(&sink, (0..3).map(|n| item(heart_rate(n))).collect()).await;
    console.until("WARDLINE", |n| n == 0).await;
    assert_eq!(standing(&endpoint), (3, 0), "they stand again");
    // With a conditional create even that does no harm.
    let careful = keeping(Manners::default());
    one.stop();
    let mut one = relay("r", &bus, &careful, "");
    one.start();
    publish(&sink, (10..13).map(withdrawal).collect()).await;
    until("the corrections", || standing(&careful) == (0, 3)).await;
    publish(&sink, (10..13).map(|n| item(heart_rate(n))).collect()).await;
    console.until("WARDLINE", |n| n == 0).await;
    assert_eq!(standing(&careful), (0, 3));
}

/// An alert does not wait behind readings, and what happened to it comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_passes_the_readings_with_its_evidence() {
    let Some((bus, mut console, sink)) = field().await else { return };
    let endpoint = keeping(Manners { latency_ms: 60, ..Manners::default() });
    publish(&sink, (0..150).map(|n| item(heart_rate(n))).collect()).await;
    let seen = heart_rate(900);
    let event = |happened: &str| {
        let event = alert("00112233445566778899aabbccddeeff", happened, &[&seen]);
        Item { id: ItemId::Alert(1), what: Payload::Alert(Arc::new(event)), attempts: 0 }
    };
    for happened in ["raised", "acknowledged", "resolved"] {
        let outcomes = sink.deliver(&[event(happened)], &[Arc::new(seen.clone())]).await;
        assert!(matches!(outcomes[0], Outcome::Delivered(_)), "{outcomes:?}");
    }
    let mut relays = [relay("r1", &bus, &endpoint, "bundle_max = 2"), relay("r2", &bus, &endpoint, "bundle_max = 2")];
    relays.iter_mut().for_each(Relay::start);
    until("the alert", || !endpoint.bodies("Task").is_empty()).await;
    assert!(endpoint.counts().observations < 140, "it did not wait for the readings");
    console.until("WARDLINE", |n| n == 0).await;
    let tasks = endpoint.bodies("Task");
    assert_eq!((tasks.len(), endpoint.counts().observations), (1, 151), "its evidence came along");
    assert!(tasks[0].contains("\"status\":\"completed\""), "{}", tasks[0]);
}

/// What it does not understand whole stays, what is none of ours is put aside, and neither holds up the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_neither_passed_on_nor_lost() {
    let Some((bus, mut console, sink)) = field().await else { return };
    let endpoint = keeping(Manners::default());
    publish(&sink, vec![item(heart_rate(1))]).await;
    let (subject, _, body) = console.message("WARDLINE", 1).await;
    let text = String::from_utf8(body).unwrap();
    let newer = text.replacen("\"reading\":{", "\"reading\":{\"sedated\":true,", 1);
    let stolen = text.replacen("box-1", "box-2", 1);
    for body in [newer.as_str(), stolen.as_str(), "hello", "{\"wardline\":1,\"gateway\":\"box-1\"}"] {
        console.link.publish(&subject, None, &[], body.as_bytes());
    }
    console.link.flush().await.unwrap();
    publish(&sink, vec![item(heart_rate(2))]).await;
    let mut one = relay("r", &bus, &endpoint, "");
    one.start();
    until("the others", || endpoint.counts().observations == 2).await;
    until("those of nobody", || one.status()["bus"]["readings"]["rejected"] == 3).await;
    console.until("WARDLINE", |n| n == 1).await;
    assert_eq!(console.messages("REFUSED").await, 3);
    assert_eq!(one.status()["bus"]["readings"]["newer"], 1);
    let (_, headers, _) = console.message("REFUSED", 1).await;
    assert!(headers.contains("WL-N013"), "{headers}");
    assert!(one.log().contains("WL-N012") && !one.log().contains("sedated") && !one.log().contains("hello"));
}

/// What is larger than any of ours cannot be one: it is set aside unread, and what stands behind it is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_larger_than_any_of_ours_holds_up_nobody() {
    let Some((bus, mut console, sink)) = field_with("max_payload: 8388608").await else { return };
    let endpoint = keeping(Manners::default());
    publish(&sink, vec![item(heart_rate(1))]).await;
    // Also one that the relay reads, and that has no room beside the words with which it would be set aside.
    for (kind, octets) in [("readings", 5 << 20), ("readings", (4 << 20) - 40), ("corrections", 6 << 20)] {
        console.link.publish(&format!("wardline.box-1.{kind}"), None, &[], &vec![b'x'; octets]);
        console.link.flush().await.unwrap();
    }
    publish(&sink, vec![item(heart_rate(2)), withdrawal(1)]).await;
    let mut one = relay("r", &bus, &endpoint, "");
    one.start();
    until("what stands behind", || standing(&endpoint) == (1, 1)).await;
    console.until("WARDLINE", |n| n == 0).await;
    assert_eq!(console.messages("REFUSED").await, 3);
    for seq in 1..=3 {
        let (_, headers, body) = console.message("REFUSED", seq).await;
        assert!(headers.contains("WL-N013") && headers.contains("Wardline-Size: ") && body.is_empty(), "{headers}");
    }
    assert_eq!(one.status()["bus"]["readings"]["rejected"], 2);
    assert_eq!(one.log().matches("WL-N011").count(), 3, "{}", one.log());
    assert!(!one.log().contains("the bus is away"), "{}", one.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_or_stream_that_gives_up_is_not_worked_with() {
    let Some((bus, mut console, sink)) = field().await else { return };
    let endpoint = keeping(Manners::default());
    publish(&sink, vec![item(heart_rate(1))]).await;
    let consumer = |max_deliver: i64| {
        json!({ "stream_name": "WARDLINE", "config": {
            "durable_name": "centre-readings", "filter_subject": "wardline.*.readings", "deliver_policy": "all",
            "ack_policy": "explicit", "ack_wait": 5_000_000_000_u64, "max_deliver": max_deliver, "replay_policy": "instant" } })
    };
    console.call("CONSUMER.DURABLE.CREATE.WARDLINE.centre-readings", consumer(3)).await;
    let mut one = relay("r", &bus, &endpoint, "");
    one.spawn();
    until("its word", || one.status()["bus"]["readings"]["why"]["code"] == "WL-N010").await;
    assert_eq!(endpoint.counts().observations, 0);
    assert!(one.get("/readyz").unwrap().starts_with("HTTP/1.1 503"));
    // Without it, the relay makes its own.
    console.call("CONSUMER.DELETE.WARDLINE.centre-readings", Value::Null).await;
    until("delivery", || endpoint.counts().observations == 1).await;
    // The stream of the refused must keep what it takes, too.
    console.call("STREAM.DELETE.REFUSED", Value::Null).await;
    let mut two = relay("two", &bus, &endpoint, "");
    two.spawn();
    until("its word", || two.status()["bus"]["readings"]["why"]["code"] == "WL-N003").await;
}

/// Relays share the work, and the work of one that ends in order goes on at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_relay_held_goes_to_the_others_when_it_ends_in_order() {
    let Some((bus, mut console, sink)) = field().await else { return };
    let away = keeping(Manners { outage: Outage::Unavailable, ..Manners::default() });
    let endpoint = keeping(Manners::default());
    let mut one = relay("r1", &bus, &away, "");
    one.start();
    publish(&sink, (0..100).map(|n| item(heart_rate(n))).collect()).await;
    until("the outage", || one.status()["destination"]["state"] == "down").await;
    // Its own destination is away; another relay's is not.
    let mut two = relay("r2", &bus, &endpoint, "");
    two.start();
    until("most of them", || endpoint.counts().observations >= 95).await;
    assert_eq!(one.stop(), Some(0), "{}", one.log());
    until("the rest", || endpoint.counts().observations == 100).await;
    console.until("WARDLINE", |n| n == 0).await;
}
