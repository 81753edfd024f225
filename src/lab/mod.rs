//! The lab: virtual patients, the devices they use, and a FHIR endpoint with bad manners.
//!
//! What the product is tested with, and what its users can test their own rules and servers with.
//! Everything is seeded. Must never: run inside a gateway that serves a patient.

pub mod demo;
pub mod device;
pub mod endpoint;
pub mod mqtt;
pub mod patient;
pub mod peripheral;
pub mod rng;
pub mod tally;
pub mod ward;
