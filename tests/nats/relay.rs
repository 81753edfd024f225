//! From the gateway's binary through a stream and relays to a FHIR endpoint: relays killed, doubled and cut off, the server
//! restarted, the endpoint with bad manners. 0 lost, 0 doubled.

use std::time::Duration;

use serde_json::json;
use wardline::lab::endpoint::{Endpoint, Manners, Outage};
use wardline::lab::rng::Rng;
use wardline::nats::jetstream;

use super::support::broker::{Broker, Door};
use super::support::device::Device;
use super::support::gateway::Gateway;
use super::support::nats::{Bus, Console};
use super::support::obligations::{Book, Verdict};
use super::support::relay::Relay;
use super::support::toxic::{Luck, Toxic};
use super::support::within;
use super::{all_is_well, asked, keeping, seed, settings, until};

/// A broker, a bus with its streams, and a gateway between them.
struct Field {
    _broker: Broker,
    bus: Bus,
    gateway: Gateway,
    device: Device,
    book: Book,
}

impl Field {
    async fn new(changes: serde_json::Value) -> Option<Self> {
        let broker = Broker::start(&Door::Open, "max_queued_messages 0")?;
        let bus = Bus::start("")?;
        Console::connect(bus.port).await.streams(changes).await;
        let book = Book::new(4);
        let mut gateway = Gateway::new(&settings(&book, broker.port, &bus.url()));
        gateway.start();
        let device = Device::connect(broker.device_port);
        Some(Self { _broker: broker, bus, gateway, device, book })
    }

    async fn publish(&mut self, numbers: std::ops::Range<u64>) {
        assert!(self.book.publish(&self.device, numbers).await, "the broker was there");
    }

    fn relay(&self, name: &str, endpoint: &Endpoint) -> Relay {
        Relay::new(name, &self.bus.url(), &endpoint.url(), ("", ""))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_reach_the_centre_through_stream_and_relay_once() {
    let Some(mut field) = Field::new(json!({})).await else { return };
    let endpoint = keeping(Manners::default());
    let mut relay = field.relay("r1", &endpoint);
    relay.start();
    field.publish(0..500).await;
    all_is_well(&field.book, &endpoint).await;
    // The resource names the gateway that took the reading, not the relay that brought it.
    let bodies = endpoint.bodies("Observation");
    assert!(bodies.iter().all(|b| b.contains("test-box") && !b.contains("r1")), "{}", bodies[0]);
    // Nothing is left in a work queue.
    let mut console = Console::connect(field.bus.port).await;
    console.until("WARDLINE", |n| n == 0).await;
    let metrics = relay.get("/metrics").unwrap();
    assert!(metrics.contains("wardline_relay_taken_total{kind=\"readings\"} 500"), "{metrics}");
    assert_eq!(relay.status()["destination"]["delivered"], 500);
    let log = relay.log() + &field.gateway.log();
    assert!(!log.contains("Patient/") && !log.contains("p1"), "{log}");
    assert_eq!(relay.stop(), Some(0), "{}", relay.log());
    assert_eq!(field.gateway.stop(), Some(0));
}

/// `RELAY_KILLS=300` for more of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_that_are_killed_and_doubled_lose_and_double_nothing() {
    let Some(mut field) = Field::new(json!({})).await else { return };
    let (kills, mut dice) = (asked("RELAY_KILLS", 25), Rng::new(seed()));
    let rude = Manners {
        latency_ms: 5,
        jitter_ms: 20,
        fail_rate: 0.05,
        lost_rate: 0.05,
        reset_rate: 0.03,
        truncate_rate: 0.03,
        entry_fail_rate: 0.02,
        ..Manners::default()
    };
    let endpoint = keeping(rude);
    let mut relays: Vec<Relay> = (0..3).map(|n| field.relay(&format!("r{n}"), &endpoint)).collect();
    relays.iter_mut().for_each(Relay::start);
    let mut between = 0;
    for kill in 0..kills {
        let before = endpoint.counts().observations;
        field.publish(kill * 20..(kill + 1) * 20).await;
        tokio::time::sleep(Duration::from_millis(dice.below(150))).await;
        let victim = usize::try_from(dice.below(3)).unwrap();
        relays[victim].kill();
        relays[victim].spawn();
        between += u64::from(endpoint.counts().observations > before);
    }
    all_is_well(&field.book, &endpoint).await;
    println!("{kills} relay kills, {} readings owed, delivered in {between} rounds", field.book.owed());
    assert!(between > 0, "they were always killed before they delivered anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_break_and_fall_silent_lose_and_double_nothing() {
    let Some(broker) = Broker::start(&Door::Open, "max_queued_messages 0") else { return };
    let Some(bus) = Bus::start("") else { return };
    Console::connect(bus.port).await.streams(json!({})).await;
    let (to_bus, from_bus) = (Toxic::start(bus.port).await, Toxic::start(bus.port).await);
    let (mut book, endpoint) = (Book::new(4), keeping(Manners::default()));
    let url = |port: u16| format!("nats://127.0.0.1:{port}");
    let mut gateway = Gateway::new(&settings(&book, broker.port, &url(to_bus.port)));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let mut one = Relay::new("one", &url(from_bus.port), &endpoint.url(), ("", ""));
    let mut two = Relay::new("two", &bus.url(), &endpoint.url(), ("", ""));
    one.start();
    let mut dice = Rng::new(seed());
    for round in 0..12_u64 {
        match round % 6 {
            0 => to_bus.order(Luck::CutAnswer(2_000 + dice.below(3_000))),
            1 => from_bus.order(Luck::CutAnswer(3_000 + dice.below(9_000))),
            2 => to_bus.cut(),
            3 => from_bus.cut(),
            4 => from_bus.order(Luck::CutRequest(2_000 + dice.below(9_000))),
            _ => to_bus.order(Luck::CutRequest(1_000 + dice.below(9_000))),
        }
        assert!(book.publish(&device, round * 40..(round + 1) * 40).await);
        tokio::time::sleep(Duration::from_millis(dice.below(200))).await;
        to_bus.order(Luck::Good);
        from_bus.order(Luck::Good);
    }
    // Half-open: the relay's link says nothing any more, and what it holds must come by another.
    assert!(book.publish(&device, 1_000..1_100).await);
    from_bus.order(Luck::Silent);
    assert!(book.publish(&device, 1_100..1_200).await);
    two.start();
    until("the way round the silent relay", || endpoint.counts().observations > 600).await;
    until("the silence is noticed", || one.status()["bus"]["readings"]["up"] == false).await;
    from_bus.order(Luck::Good);
    all_is_well(&book, &endpoint).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_and_a_centre_that_is_away_lose_nothing() {
    let Some(mut field) = Field::new(json!({})).await else { return };
    let endpoint = keeping(Manners::default());
    let mut relays = [field.relay("r1", &endpoint), field.relay("r2", &endpoint)];
    relays.iter_mut().for_each(Relay::start);
    field.publish(0..50).await;
    for round in 1..4_u64 {
        field.bus.kill();
        field.publish(round * 100..round * 100 + 50).await;
        field.bus.restart();
        field.publish(round * 100 + 50..round * 100 + 100).await;
        let outage = if round == 2 { Outage::Refuse } else { Outage::Unavailable };
        endpoint.behave(Manners { outage, ..Manners::default() });
        field.publish(1_000 + round * 100..1_000 + round * 100 + 50).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        endpoint.behave(Manners::default());
    }
    all_is_well(&field.book, &endpoint).await;
}

/// How many readings the endpoint has taken or refused. Before that, the stream may not even have them all.
fn answered(endpoint: &Endpoint) -> u64 {
    let counts = endpoint.counts();
    counts.observations + counts.invalid
}

/// What the destination refuses for good is put aside with its reason, and holds up nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_put_aside_with_its_reason() {
    let Some(mut field) = Field::new(json!({})).await else { return };
    let endpoint = keeping(Manners { refuse_rate: 0.1, ..Manners::default() });
    let mut relay = field.relay("r1", &endpoint);
    relay.start();
    field.publish(0..200).await;
    let mut console = Console::connect(field.bus.port).await;
    until("an answer to each", || answered(&endpoint) >= 200).await;
    console.until("WARDLINE", |n| n == 0).await;
    let refused = console.messages("REFUSED").await;
    let there = endpoint.counts().observations;
    assert!(refused > 0 && there + refused == 200, "{there} there, {refused} put aside");
    let (subject, headers, body) = console.message("REFUSED", 1).await;
    assert_eq!(subject, "wardline-rejected.test-box.readings");
    assert!(
        headers.contains("Wardline-Why: WL-F011") && headers.contains("Wardline-Subject: wardline.test-box.readings")
    );
    // Sent again as it is, it is what the gateway wrote.
    assert!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["reading"]["key"].is_string());
    assert_eq!(relay.status()["bus"]["readings"]["rejected"], refused);
    assert!(relay.log().contains("WL-N011"));
}

/// Without room for what is refused, it stays in the stream, and the others pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_put_aside_stays_and_holds_up_nobody() {
    let Some(mut field) = Field::new(json!({})).await else { return };
    let mut console = Console::connect(field.bus.port).await;
    console.call("STREAM.DELETE.REFUSED", serde_json::Value::Null).await;
    let small = json!({ "retention": "limits", "max_msgs": 1 });
    console.stream("REFUSED", &["wardline-rejected.>"], small).await;
    let endpoint = keeping(Manners { refuse_rate: 0.1, ..Manners::default() });
    let mut relay = field.relay("r1", &endpoint);
    relay.start();
    field.publish(0..200).await;
    until("an answer to each", || answered(&endpoint) >= 200).await;
    let there = endpoint.counts().observations;
    assert!(there < 199, "too few were refused to see it: {there} there");
    // One of the refused found room. The others stay; what was delivered does not.
    console.until("WARDLINE", |n| n == 199 - there).await;
    assert_eq!(console.messages("REFUSED").await, 1);
    until("its word", || relay.status()["bus"]["readings"]["why"]["code"] == "WL-N004").await;
    // Of the next some are refused as well, not all.
    field.publish(200..220).await;
    until("more of them", || endpoint.counts().observations > there).await;
    assert_eq!(console.messages("REFUSED").await, 1);
}

/// The test of the test: a relay that acknowledges before it delivers, and dies, loses what it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_before_delivery_is_seen() {
    let Some(mut field) = Field::new(json!({})).await else { return };
    let endpoint = keeping(Manners::default());
    let mut relay = field.relay("r1", &endpoint);
    relay.start();
    field.publish(0..20).await;
    until("delivery", || endpoint.counts().observations >= 20).await;
    relay.kill();
    field.publish(20..60).await;
    let mut hasty = Console::connect(field.bus.port).await;
    hasty.until("WARDLINE", |n| n >= 40).await;
    let inbox = hasty.link.reply_subject();
    jetstream::pull(&mut hasty.link, "WARDLINE", "centre-readings", &inbox, (15, Duration::from_secs(5)));
    hasty.link.flush().await.unwrap();
    for _ in 0..15 {
        let message = within("a message", hasty.link.next()).await.unwrap();
        hasty.link.publish(message.reply.as_deref().unwrap(), None, &[], b"+ACK");
        hasty.link.flush().await.unwrap();
    }
    relay.start();
    until("delivery of the rest", || endpoint.counts().observations >= 45).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let verdict = field.book.judge(&endpoint.bodies("Observation"));
    assert_eq!((verdict.missing.len(), verdict.doubled.len()), (15, 0), "{verdict:?}");
}

/// The test of the test: at a server that looks at no identity, what comes again after a lost answer is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_identity_is_seen() {
    let Some(mut field) = Field::new(json!({})).await else { return };
    let endpoint = keeping(Manners { unconditional_rate: 1.0, lost_rate: 0.5, ..Manners::default() });
    let mut relay = Relay::new("r1", &field.bus.url(), &endpoint.url(), ("", "bundle_max = 5"));
    relay.start();
    field.publish(0..100).await;
    let judged = || field.book.judge(&endpoint.bodies("Observation"));
    until("delivery of each", || judged().missing.is_empty()).await;
    // What was stored comes again a second after its answer was lost.
    until("a double", || !judged().doubled.is_empty()).await;
    let verdict = judged();
    assert_eq!(Verdict { doubled: vec![], ..verdict }, Verdict::default());
}

/// The stream's window for duplicates is over when the gateway sends again: the centre has each reading once all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_in_the_stream_twice_is_at_the_centre_once() {
    let Some(mut field) = Field::new(json!({})).await else { return };
    let endpoint = keeping(Manners::default());
    field.publish(0..40).await;
    let mut console = Console::connect(field.bus.port).await;
    console.until("WARDLINE", |n| n >= 40).await;
    // As after the window: the same messages again, and the stream takes them.
    for seq in 1..=40 {
        let (subject, _, body) = console.message("WARDLINE", seq).await;
        console.link.publish(&subject, None, &[], &body);
    }
    console.link.flush().await.unwrap();
    console.until("WARDLINE", |n| n >= 80).await;
    let mut relays = [field.relay("r1", &endpoint), field.relay("r2", &endpoint)];
    relays.iter_mut().for_each(Relay::start);
    console.until("WARDLINE", |n| n == 0).await;
    all_is_well(&field.book, &endpoint).await;
    let delivered: u64 = relays.iter().map(|r| r.status()["destination"]["delivered"].as_u64().unwrap()).sum();
    assert_eq!(delivered, 80, "each was brought, and found to be there");
}
