//! D2: `kill -9` of the gateway in mid-flow, while it starts, delivers and is told; judged by what the broker took.

use std::time::Duration;

use wardline::lab::endpoint::{Endpoint, Settings};
use wardline::lab::rng::Rng;

use super::support::broker::{Broker, Door};
use super::support::device::Device;
use super::support::gateway::Gateway;
use super::support::obligations::{Book, Verdict, time_of};
use super::support::{PATIENCE, within};
use super::{all_is_well, asked, seed, settings};

const EACH: u64 = 8;

fn keeping() -> Endpoint {
    Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap()
}

/// `GATEWAY_KILLS=500` for more of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_reading_survives_kills_in_mid_flow_exactly_once() {
    let Some(broker) = Broker::start(&Door::Open, "max_queued_messages 0") else { return };
    let (kills, mut dice) = (asked("GATEWAY_KILLS", 50), Rng::new(seed()));
    let (endpoint, mut book) = (keeping(), Book::new(4));
    let mut gateway = Gateway::new(&settings(&book, broker.port, &endpoint.url(), ""));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let mut delivered_between = 0;
    for kill in 0..kills {
        let before = endpoint.counts().observations;
        let killing = async {
            // The moment is random on purpose: before it is ready, while it catches up, or at rest.
            tokio::time::sleep(Duration::from_millis(dice.below(200))).await;
            gateway.kill();
            gateway.spawn();
        };
        let sending = book.publish(&device, kill * EACH..(kill + 1) * EACH);
        let (taken, ()) = within("a kill", async { tokio::join!(sending, killing) }).await;
        assert!(taken, "the broker was there");
        delivered_between += u64::from(endpoint.counts().observations > before);
    }
    // And a fresh one passes.
    assert!(book.publish(&device, kills * EACH..kills * EACH + 1).await);
    all_is_well(&book, &endpoint, 2 * PATIENCE).await;
    println!("{kills} gateway kills, {} readings owed, delivered in {delivered_between} rounds", book.owed());
    assert!(delivered_between > 0, "it was always killed before it delivered anything");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    assert_eq!(book.judge(&endpoint.bodies("Observation")), Verdict::default());
}

/// The test of the test: a broker that acknowledges more than it keeps while the gateway is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_obligation_is_seen() {
    let Some(broker) = Broker::start(&Door::Open, "max_inflight_messages 3\nmax_queued_messages 5") else { return };
    let (endpoint, mut book) = (keeping(), Book::new(4));
    let mut gateway = Gateway::new(&settings(&book, broker.port, &endpoint.url(), ""));
    gateway.start();
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 0..EACH).await);
    super::until("delivery", || endpoint.counts().observations >= 3).await;
    gateway.kill();
    assert!(book.publish(&device, 100..130).await);
    gateway.start();
    assert!(book.publish(&device, 200..201).await);
    let last = time_of(200);
    super::until("delivery of the last", || endpoint.bodies("Observation").iter().any(|b| b.contains(&last))).await;
    let verdict = book.judge(&endpoint.bodies("Observation"));
    assert!(verdict.missing.len() >= 20 && verdict.missing.iter().all(|n| *n < 200), "{verdict:?}");
    assert!(verdict.doubled.is_empty() && verdict.wrong.is_empty() && verdict.foreign.is_empty(), "{verdict:?}");
}

/// The same for what arrives twice, altered, at another patient, or from nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_sees_each_kind_of_wrong() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let (endpoint, mut book) = (keeping(), Book::new(4));
    let mut gateway = Gateway::new(&settings(&book, broker.port, &endpoint.url(), ""));
    gateway.start();
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 0..4).await);
    all_is_well(&book, &endpoint, PATIENCE).await;
    let good = endpoint.bodies("Observation");
    let changed = |from: &str, to: &str| {
        let mut all = good.clone();
        let at = all.iter().position(|b| b.contains(from)).unwrap();
        all[at] = all[at].replacen(from, to, 1).into();
        book.judge(&all)
    };
    assert_eq!(book.judge(&good[1..]).missing.len(), 1);
    assert_eq!(book.judge(&[&good[..], &good[..1]].concat()).doubled.len(), 1);
    assert_eq!(changed("\"value\":60", "\"value\":61").wrong, [0]);
    assert_eq!(changed("Patient/p1", "Patient/p2").wrong, [1]);
    let foreign = changed(&time_of(3), &time_of(9));
    assert_eq!((foreign.foreign.len(), &foreign.missing[..]), (1, &[3][..]));
}
