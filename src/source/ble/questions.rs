//! Questions to a device that tells nothing by itself, pure: when a value is waited for, and what is asked again.
//!
//! Promises: one question at a time; an answer that does not come ends the round, not the connection.
//! Must never: ask more often than the plan says, or wait without an end.

use std::time::Duration;

use super::session::Offer;
use crate::clock::Stamp;
use crate::limits::BLE_ASK_MAX;

/// A question that is asked again and again.
struct Poll {
    offer: Offer,
    octets: Vec<u8>,
    every: Duration,
    asked: Stamp,
}

/// The questions of one connection.
#[derive(Default)]
pub(super) struct Questions {
    polls: Vec<Poll>,
    waits: Option<Stamp>,
}

impl Questions {
    /// This is to be asked again after so long.
    pub(super) fn repeat(&mut self, offer: &Offer, octets: &[u8], every_s: u16, now: Stamp) {
        let every = Duration::from_secs(every_s.into());
        self.polls.push(Poll { offer: offer.clone(), octets: octets.to_vec(), every, asked: now });
    }

    /// A question goes out: its answer is waited for.
    pub(super) fn asked(&mut self, now: Stamp) {
        self.waits = Some(now);
    }

    /// A value came. Whether it was waited for.
    pub(super) fn heard(&mut self) -> bool {
        self.waits.take().is_some()
    }

    /// A value is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.waits.is_some()
    }

    /// After how long an answer is given up, or the next question is due.
    pub(super) fn due(&self, now: Stamp) -> Option<Duration> {
        let after = |since: Stamp, wait: Duration| wait.saturating_sub(now.since(since));
        match self.waits {
            Some(since) => Some(after(since, BLE_ASK_MAX)),
            None => self.polls.iter().map(|p| after(p.asked, p.every)).min(),
        }
    }

    /// The answer that is waited for did not come. Whether it was waited for long enough.
    pub(super) fn gave_up(&mut self, now: Stamp) -> bool {
        let over = self.waits.is_some() && self.due(now) == Some(Duration::ZERO);
        if over {
            self.waits = None;
        }
        over
    }

    /// What is to be asked again now.
    pub(super) fn again(&mut self, now: Stamp) -> Vec<(Offer, Vec<u8>)> {
        let due = self.polls.iter_mut().filter(|p| now.since(p.asked) >= p.every);
        due.map(|p| {
            p.asked = now;
            (p.offer.clone(), p.octets.clone())
        })
        .collect()
    }
}
