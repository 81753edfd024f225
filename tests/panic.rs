//! A panic ends the process in order, when it is ours. Alone in its file: the hook is the whole process's.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests say what is wrong by ending, and measure their own patience"
)]

use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use wardline::telemetry;

#[test]
fn a_panic_of_ours_stops_the_gateway_and_one_inside_a_library_does_not() {
    let stop = CancellationToken::new();
    let panicked = telemetry::end_on_panic(stop.clone());

    // Panics in the library's own file.
    let library = std::thread::spawn(|| bytes::Bytes::from_static(b"ab").split_to(3));
    assert!(library.join().is_err());
    assert!(!stop.is_cancelled() && !panicked.load(Ordering::Acquire));

    let ours = std::thread::spawn(|| std::hint::black_box(Option::<u8>::None).unwrap());
    assert!(ours.join().is_err());
    assert!(stop.is_cancelled() && panicked.load(Ordering::Acquire));
}
