//! Bars of docs/reliability.md that are proven from outside: the built binary, real mosquitto, the lab's FHIR endpoint,
//! and bad luck between them. What is there in the end is judged by an oracle that never asks the gateway.

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

mod flaps;
mod hostile;
mod kills;
mod links;
mod outage;
mod soak;
mod tls;

use std::time::{Duration, Instant};

use wardline::lab::endpoint::Endpoint;

use support::PATIENCE;
use support::gateway::Gateway;
use support::obligations::{Book, Verdict};

/// A gateway between a broker and a FHIR endpoint, and the patients of a book.
fn settings(book: &Book, broker_port: u16, url: &str, more: &str) -> String {
    format!(
        "[journal]\nreserve_mib = 1\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{broker_port}\"\n\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\nidempotency = \"conditional-create\"\n\
         {more}\n{}",
        book.settings()
    )
}

async fn until(what: &str, done: impl FnMut() -> bool) {
    until_within(PATIENCE, what, done).await;
}

async fn until_within(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < patience, "{what} did not happen within {patience:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything owed is there, and nothing else than what was handed out; waits for it, then looks a moment longer.
async fn all_is_well(book: &Book, endpoint: &Endpoint, patience: Duration) {
    until_within(patience, "delivery of what is owed", || endpoint.counts().observations >= book.owed()).await;
    until_within(patience, "delivery of each", || book.judge(&endpoint.bodies("Observation")).missing.is_empty()).await;
    assert_eq!(book.judge(&endpoint.bodies("Observation")), Verdict::default());
    assert_eq!(endpoint.counts().duplicates, 0);
}

/// The seed of this run: `JOURNAL_SEED` repeats one.
fn seed() -> u64 {
    let seed = std::env::var("JOURNAL_SEED").map_or_else(|_| u64::from(std::process::id()), |s| s.parse().unwrap());
    println!("JOURNAL_SEED={seed}");
    seed
}

/// A number from the environment: the long runs ask for more.
fn asked(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |n| n.parse().unwrap())
}

/// Code and sentence of what is wrong with the first source or destination, as `wardline status` has it.
fn why(gateway: &Gateway, links: &str) -> Option<(String, String)> {
    // It may not answer yet.
    let status: serde_json::Value = serde_json::from_str(&gateway.cli(&["status", "--json"]).0).ok()?;
    let why = &status[links][0]["why"];
    let text = |key: &str| why[key].as_str().map(str::to_owned);
    Some((text("code")?, text("text")?))
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap()
}
