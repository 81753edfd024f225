//! The journal from outside: what it promises, with real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod amend;
mod backup;
mod basics;
mod child;
mod clock;
mod consent;
mod corrupt;
mod crash;
mod custody;
mod deeds;
mod evidence;
mod faults;
mod full;
mod handover;
mod inbox;
mod known;
mod log;
mod model;
mod museum;
mod older;
mod opening;
mod pending;
mod power;
mod reading;
mod released;
mod retention;
mod rewritten;
mod sealed;
mod simulated;
mod support;
mod sweep;
