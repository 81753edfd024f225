//! What a central server gets, resource by resource: golden files, the guide's rules, codes and units as data, and the
//! way back from a resource to what was measured.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests say what is wrong by ending"
)]

#[path = "../support/mod.rs"]
#[allow(unused_imports, reason = "each test file uses a part")]
mod support;

mod clocks;
mod delivery;
mod forms;
mod golden;
mod mapping;
mod metrics;
mod phd;
mod round_trip;
mod searched;
mod servers;
mod terminology;
mod ucum;
