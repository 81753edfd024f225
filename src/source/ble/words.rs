//! What session, link and keeper say to each other about one connection: what to ask, what came of it, what was found out.
//!
//! Must never: hold a user's code that its `Debug` would show.

use std::sync::Arc;

use bytes::Bytes;
use jiff::civil::DateTime;

use super::fault::DeviceFault;
use super::gap::Gap;
use super::history::Cursor;
use super::users::Said;
use crate::clock::Stamp;
use crate::user_code::Request;

/// A characteristic that the device offers; UUIDs in the spelling of frames.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// Its service.
    pub service: String,
    /// Its UUID.
    pub uuid: String,
    /// It can be read.
    pub reads: bool,
}

/// What to ask of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read a characteristic.
    Read,
    /// Enable its notifications or indications.
    Subscribe,
    /// Write it.
    Write(Vec<u8>),
    /// Write a request for a user's consent.
    Consent(Request),
}

/// Something found out about the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Per cent.
    Battery(u8),
    /// What its clock said, and when we asked.
    Clock(DateTime, Stamp),
    /// Its clock was set.
    ClockSet,
    /// What a characteristic says of the device itself.
    Says(String, Vec<u8>),
    /// It was asked all that it could say of itself.
    Told,
    /// Its plan asks for the consent of its users, and it has their control point.
    AsksUsers,
    /// The consent of this user was asked for with the code that was given then; or what it says of it.
    User {
        /// The user's number.
        slot: u8,
        /// When the code was given.
        given_ms: i64,
        /// What.
        said: Said,
    },
    /// Up to this number its records are here, or are said to be missing; what is newly missing.
    Judged(Option<u16>, Option<Gap>),
    /// At this number the cursor waits for missing ones, which are asked for again in the next connection.
    Doubted(Option<u16>),
}

/// What the connection is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask this, and tell the answer: `Session::answered`.
    Do(Offer, Operation),
    /// Hand this value on; when it is committed, tell its ticket: `Session::kept`.
    Hand {
        /// Counts values of this connection from 1.
        ticket: u64,
        /// UUID.
        uuid: Arc<str>,
        /// The value.
        bytes: Bytes,
    },
    /// Keep where the history stands.
    Keep(Option<Cursor>),
    /// Remember this.
    Learn(Fact),
    /// Everything is done, or it is another device's turn: let the device go.
    Release,
    /// It cannot go on: let the device go, and try later.
    Fail(DeviceFault),
}

/// Why an operation has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The device refuses it.
    Refused,
    /// It wants a bond first.
    Unauthorised,
    /// The time is up.
    Timeout,
    /// The link is gone.
    Lost,
}
