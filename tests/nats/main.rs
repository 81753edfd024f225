//! A fleet's bus: the NATS destination and `wardline relay`, against Debian's nats-server and the lab's FHIR endpoint.
//! What is there in the end is judged by an oracle that asks neither gateway nor relay.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests say what is wrong by ending, and measure their own patience"
)]

#[path = "../support/mod.rs"]
mod support;

mod relay;
mod rules;
mod sink;

use std::time::{Duration, Instant};

use wardline::lab::endpoint::{Endpoint, Settings};

use support::PATIENCE;
use support::obligations::{Book, Verdict};

/// A gateway between a broker and a stream, and the patients of a book.
fn settings(book: &Book, broker_port: u16, bus: &str) -> String {
    format!(
        "[journal]\nreserve_mib = 1\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{broker_port}\"\n\
         [[destination]]\nkind = \"nats\"\nname = \"fleet\"\nservers = [\"{bus}\"]\nstream = \"WARDLINE\"\ntimeout_s = 3\n{}",
        book.settings()
    )
}

fn keeping(manners: wardline::lab::endpoint::Manners) -> Endpoint {
    Endpoint::start(Settings { keep: true, manners, seed: seed(), ..Settings::default() }).unwrap()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < 2 * PATIENCE, "{what} did not happen within {:?}", 2 * PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything owed is there, and nothing else than what was handed out; waits for it, then looks a moment longer.
async fn all_is_well(book: &Book, endpoint: &Endpoint) {
    until("delivery of what is owed", || endpoint.counts().observations >= book.owed()).await;
    until("delivery of each", || book.judge(&endpoint.bodies("Observation")).missing.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(book.judge(&endpoint.bodies("Observation")), Verdict::default());
    assert_eq!(endpoint.counts().duplicates, 0);
}

/// The seed of this run: `JOURNAL_SEED` repeats one.
fn seed() -> u64 {
    std::env::var("JOURNAL_SEED").map_or_else(|_| u64::from(std::process::id()), |s| s.parse().unwrap())
}

/// A number from the environment: the long runs ask for more.
fn asked(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |n| n.parse().unwrap())
}
