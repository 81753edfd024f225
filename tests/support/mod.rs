//! What integration tests share: a broker of their own, devices that publish, certificates, patience with an end.
//!
//! Each test starts what it needs on free ports of 127.0.0.1 and ends it by its handle, also when it panics.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests run their own tasks, measure their own patience, and say what is wrong by ending"
)]

use std::future::Future;
use std::net::TcpListener;
use std::time::Duration;

pub mod broker;
pub mod centre;
pub mod certificates;
pub mod device;
pub mod fhir_server;
pub mod gateway;
pub mod hl7_peer;
pub mod mllp;
pub mod nats;
pub mod obligations;
pub mod process;
pub mod readings;
pub mod relay;
pub mod scripted;
pub mod source;
pub mod token_server;
pub mod toxic;

/// How long anything may take before a test calls it hung. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A day of last week, `2026-11-22`: what live devices say may be days old, and not months.
pub fn day() -> &'static str {
    static DAY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    DAY.get_or_init(|| {
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(6 * 24);
        then.strftime("%Y-%m-%d").to_string()
    })
}

/// A payload that says 2026-11-22, as of a [`day`] of last week.
pub fn dated(payload: &str) -> String {
    payload.replace("2026-11-22", day())
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Waits for something that must happen.
#[track_caller]
pub fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(done) => done,
            Err(_) => panic!("{place}: {what} did not happen within {PATIENCE:?}"),
        }
    }
}

/// Says loudly that a test did not run, and how to make it run: past the runner, who keeps to himself what a test that passes says.
pub fn skipped(why: &str) {
    std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("SKIPPED: {why}\n")).unwrap();
}
