//! Bluetooth, through the built binary: virtual peripherals of the lab → a fake bluetoothd on a D-Bus of the test's own →
//! `wardline run` → a FHIR endpoint that counts.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by ending"
)]

mod bluez;
#[path = "../support/mod.rs"]
mod support;

mod asked;
mod capture;
mod cgm;
mod clocks;
mod consents;
mod failing;
mod figures;
mod firmware;
mod gaps;
mod healing;
mod long;
mod nameplate;
mod pairing;
mod pictures;
mod readings;
mod rig;
mod slots;
mod spot_checks;
mod timedate;
mod turns;
