//! Wardline: an edge gateway for remote patient monitoring.
//!
//! The modules stand in the order in which data flows; `ARCHITECTURE.md` is the map.

// Leaves: know nobody but each other.
pub mod alarm;
pub mod amendment;
pub mod association;
pub mod capture;
pub mod careplan;
pub mod clock;
pub mod consent;
pub mod custody;
pub mod decimal;
pub mod deed;
pub mod demographics;
pub mod fault;
pub mod limits;
pub mod mapping;
pub mod minimum;
pub mod nameplate;
pub mod printable;
pub mod probed;
pub mod reading;
pub mod roster;
pub mod secret;
pub mod socket;
pub mod tls;
pub mod unit;
pub mod user_code;
pub mod vital;

pub mod config;

// The way of a reading.
pub mod alert;
pub mod codec;
pub mod fhir;
pub mod hl7v2;
pub mod intake;
pub mod journal;
pub mod nats;
pub mod profile;
pub mod sink;
pub mod source;

// Around it.
pub mod control;
pub mod gateway;
pub mod lab;
pub mod page;
pub mod relay;
pub mod telemetry;

pub mod cli;
