//! D6: twenty devices with a reading a minute each while the destination is away for days, with a restart and a kill in
//! between. Nothing is dropped, the journal stays small, a fresh reading overtakes, and each device's order is kept.

use std::time::{Duration, Instant};

use wardline::lab::endpoint::{Endpoint, Manners, Outage, Settings};
use wardline::lab::tally::Difference;

use super::support::broker::{Broker, Door};
use super::support::device::Device;
use super::support::gateway::Gateway;
use super::support::obligations::Book;
use super::{PATIENCE, asked, settings, until_within};

const DEVICES: u64 = 20;
const A_DAY: u64 = DEVICES * 24 * 60;
/// Of one device at once: no faster than a hub would send its memory.
const AT_ONCE: u64 = 1_440;

/// The journal's files.
fn stored(gateway: &Gateway) -> u64 {
    let files = std::fs::read_dir(gateway.path("state")).unwrap();
    files.map(|f| f.unwrap().metadata().unwrap().len()).sum()
}

fn mib(octets: u64) -> f64 {
    octets as f64 / 1_048_576.0
}

/// `OUTAGE_DAYS=30` for the whole of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_without_the_destination_lose_nothing_and_a_fresh_reading_overtakes() {
    let extra = "max_queued_messages 0\nmax_inflight_messages 200";
    let Some(broker) = Broker::start(&Door::Open, extra) else { return };
    let days = asked("OUTAGE_DAYS", 1);
    let away = Manners { outage: Outage::Refuse, ..Manners::default() };
    let endpoint = Endpoint::start(Settings { manners: away, ..Settings::default() }).unwrap();
    let mut book = Book::new(DEVICES);
    let fresh =
        "[[patient]]\nreference = \"Patient/fresh\"\n[[device]]\nid = \"mqtt:fresh\"\npatient = \"Patient/fresh\"\n";
    let mut gateway = Gateway::new(&format!("{}{fresh}", settings(&book, broker.port, &endpoint.url(), "")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let all = days * A_DAY;
    let since = Instant::now();
    for (part, first) in (0..all).step_by(AT_ONCE as usize).enumerate() {
        assert!(book.publish(&device, first..(first + AT_ONCE).min(all)).await);
        match part % 20 {
            7 => gateway.kill(),
            15 => assert_eq!(gateway.stop(), Some(0), "{}", gateway.log()),
            _ => continue,
        }
        gateway.start();
    }
    let waiting = |gateway: &Gateway| gateway.json(&["outbox"])[0]["waiting"].as_u64().unwrap();
    until_within(3 * PATIENCE, "all in the journal", || waiting(&gateway) == all).await;
    let (took, size) = (since.elapsed().as_secs_f64(), stored(&gateway));
    assert!(size <= 512 * 1_024 * 1_024, "{} MiB", mib(size));

    endpoint.behave(Manners::default());
    let since = Instant::now();
    until_within(PATIENCE, "the first delivery", || endpoint.counts().observations > 0).await;
    let now = jiff::Timestamp::now();
    let message = format!("{{\"id\":1,\"time\":\"{now}\",\"heart_rate\":71}}");
    let published = Instant::now();
    device.publish("vitals/fresh", [message]).await;
    until_within(PATIENCE, "the fresh one", || endpoint.tally().count("Patient/fresh", "8867-4") == 1).await;
    let (overtook, before) = (published.elapsed(), endpoint.counts().observations);
    assert!(before < all, "it came after all the others");
    // Held up by whatever, as long as something moves.
    let mut last = (0, Instant::now());
    while endpoint.counts().observations < all + 1 {
        let held = endpoint.counts().observations;
        if held > last.0 {
            last = (held, Instant::now());
        }
        assert!(last.1.elapsed() < PATIENCE, "{held} of {all} and no more\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let drained = since.elapsed().as_secs_f64();
    until_within(PATIENCE, "the receipts", || waiting(&gateway) == 0).await;
    let counts = endpoint.counts();
    assert_eq!((counts.observations, counts.duplicates, counts.conflicts), (all + 1, 0, 0), "{counts:?}");
    // What came after the last try may go first, as fresh; each lane keeps the order.
    assert_eq!(counts.out_of_order, 0, "a device's readings came out of order: {counts:?}");
    let found = book.tally().compare(&endpoint.tally());
    assert_eq!(found, Difference { surplus: 1, ..Difference::default() }, "the fresh one is not in the book");
    println!(
        "D6 {days} days of {DEVICES} devices: {all} readings taken in {took:.0} s, journal {:.0} MiB, drained at {:.0} \
         readings/s, a fresh one there after {:.2} s, before {:.0} % of the backlog",
        mib(size),
        all as f64 / drained,
        overtook.as_secs_f64(),
        100.0 * (1.0 - before as f64 / all as f64),
    );
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// The test of the test: an order that is not kept in either of two lanes is seen at the endpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_out_of_order_are_seen() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings::default()).unwrap();
    let mut book = Book::new(1);
    let mut gateway = Gateway::new(&settings(&book, broker.port, &endpoint.url(), ""));
    gateway.start();
    let device = Device::connect(broker.device_port);
    for n in [2, 1, 0] {
        assert!(book.publish(&device, n..n + 1).await);
        until_within(PATIENCE, "delivery", || endpoint.counts().observations == book.owed()).await;
    }
    assert_eq!(endpoint.counts().out_of_order, 1);
}
