//! D5: the broker comes and goes in mid-flow: its connections are cut, also within a message, and it is restarted. What it
//! acknowledged is at the destination once; what it did not acknowledge is sent again by the device, as devices do.

use std::time::Duration;

use futures_util::future::join_all;
use wardline::lab::endpoint::{Endpoint, Manners, Settings};
use wardline::lab::rng::Rng;

use super::support::broker::{Broker, Door};
use super::support::device::Device;
use super::support::gateway::Gateway;
use super::support::obligations::{Book, Verdict};
use super::support::toxic::{Luck, Toxic};
use super::{PATIENCE, all_is_well, asked, seed, settings, until_within, why};

const EACH: u64 = 20;
/// Several at the same time: after a few short connections in a row a gateway takes some seconds, as it should.
const SIDE_BY_SIDE: u64 = 10;

/// One broker, one gateway, so many flaps. How many readings were owed, and how often the gateway lost the broker.
async fn flapping(flaps: u64, mut dice: Rng) -> Option<(u64, u64)> {
    // Answers are lost too, or a double would not show.
    let manners = Manners { lost_rate: 0.2, ..Manners::default() };
    let endpoint = Endpoint::start(Settings { keep: true, manners, ..Settings::default() }).unwrap();
    let mut broker = Broker::start(&Door::Open, "max_queued_messages 0")?;
    let proxy = Toxic::start(broker.port).await;
    let mut book = Book::new(4);
    let mut gateway = Gateway::new(&settings(&book, proxy.port, &endpoint.url(), ""));
    gateway.start();
    let mut device = Device::connect(broker.device_port);
    for flap in 0..flaps {
        let numbers = flap * EACH..(flap + 1) * EACH;
        let moment = Duration::from_millis(dice.below(60));
        match dice.below(3) {
            0 => {
                let cutting = async {
                    tokio::time::sleep(moment).await;
                    proxy.cut();
                };
                assert!(tokio::join!(book.publish(&device, numbers), cutting).0);
            }
            1 => {
                proxy.order(Luck::CutAnswer(proxy_share(&mut dice)));
                assert!(book.publish(&device, numbers).await);
                tokio::time::sleep(moment).await;
                proxy.order(Luck::Good);
            }
            _ => {
                let restarting = async {
                    tokio::time::sleep(moment).await;
                    broker.stop();
                    broker.restart();
                };
                let all = tokio::join!(book.publish(&device, numbers.clone()), restarting).0;
                device = Device::connect(broker.device_port);
                assert!(all || book.publish(&device, numbers).await, "it is there again");
            }
        }
        until_within(2 * PATIENCE, "the connection", || why(&gateway, "sources").is_none()).await;
    }
    assert!(book.publish(&device, flaps * EACH..flaps * EACH + 1).await);
    all_is_well(&book, &endpoint, 3 * PATIENCE).await;
    let lost = gateway.log().matches("WL-S0").count() as u64;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    assert_eq!(book.judge(&endpoint.bodies("Observation")), Verdict::default());
    Some((book.owed(), lost))
}

/// Bytes after which a connection ends: some have room for a few messages, and none for long.
fn proxy_share(dice: &mut Rng) -> u64 {
    50 + dice.below(3_000)
}

/// `BROKER_FLAPS=1000` for more of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broker_that_comes_and_goes_leaves_one_of_each() {
    let (flaps, dice) = (asked("BROKER_FLAPS", 30), Rng::new(seed()));
    let each = flaps.div_ceil(SIDE_BY_SIDE);
    let all = join_all((0..SIDE_BY_SIDE).map(|n| flapping(each, dice.fork(n)))).await;
    let all: Vec<_> = all.into_iter().flatten().collect();
    let (owed, lost) = all.iter().fold((0, 0), |(o, l), (owed, lost)| (o + owed, l + lost));
    println!("{} broker flaps, {owed} readings owed, the broker lost {lost} times", each * SIDE_BY_SIDE);
    assert!(all.is_empty() || lost > 0, "no flap was felt");
}
