//! Consents of a shared scale's users, pure: one user after the other is asked for with the code that is kept, so that the
//! scale gives that user's measurements.
//!
//! Promises: one request at a time, each user once in a connection; every wait ends; a user of whom nothing clear is heard keeps
//! no other one waiting. Must never: take the late answer about one user for a refusal of another one's code.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::users::{Said, User};
use super::words::{Fact, Offer};
use crate::clock::Stamp;
use crate::limits::BLE_ASK_MAX;
use crate::user_code::Request;

/// Before the next user is asked for, the measurements of the one before are waited for: until nothing came for the first of
/// these, for the second at most. The specification does not say whether a scale that gets another consent still sends what
/// it had begun; the first is shorter than the silence after which a crowded adapter lets a device go.
const SETTLE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(20));

/// Op code of a response at the control point, and of the request that it answers.
const RESPONSE: [u8; 2] = [0x20, 0x02];
const SUCCESS: u8 = 1;
const NOT_AUTHORIZED: u8 = 5;

#[derive(Clone, Copy)]
enum State {
    Idle,
    /// This user's answer is waited for.
    Asked {
        slot: u8,
        given_ms: i64,
        since: Stamp,
    },
    /// The measurements of the last user come, if there are any.
    Settling {
        since: Stamp,
        heard: Stamp,
    },
}

/// The consents of one connection.
pub(super) struct Consents {
    users: VecDeque<User>,
    control: Option<Offer>,
    state: State,
    /// When something of a user was heard last, once a consent was given.
    heard: Option<Stamp>,
    /// An answer did not come in time: it may come as that to the next request.
    owed: bool,
}

impl Default for Consents {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl Consents {
    /// Of these users, in this order.
    pub(super) fn of(users: Vec<User>) -> Self {
        Self { users: users.into(), control: None, state: State::Idle, heard: None, owed: false }
    }

    /// They are asked for at this control point. Answers how many there are.
    pub(super) fn plan(&mut self, control: &Offer) -> usize {
        self.control = Some(control.clone());
        self.users.len()
    }

    /// Codes were given or taken away: these are kept, and these users are new. Answers where they are asked for.
    pub(super) fn change(&mut self, kept: &BTreeMap<u8, i64>, new: Vec<User>, now: Stamp) -> Option<Offer> {
        let control = self.control.clone()?;
        self.users.retain(|user| kept.get(&user.slot) == Some(&user.given_ms));
        if let (State::Idle, Some(heard), false) = (self.state, self.heard, new.is_empty()) {
            self.state = State::Settling { since: now, heard };
        }
        self.users.extend(new);
        Some(control)
    }

    /// The plan asks for them, and the device has their control point.
    pub(super) fn is_planned(&self) -> bool {
        self.control.is_some()
    }

    /// What comes from this characteristic is an answer.
    pub(super) fn is_control(&self, uuid: &str) -> bool {
        self.control.as_ref().is_some_and(|control| control.uuid == uuid)
    }

    /// The request for the next user. Whatever becomes of it, it was made.
    pub(super) fn ask(&mut self, now: Stamp) -> Option<(Request, Fact)> {
        let User { slot, given_ms, code } = self.users.pop_front()?;
        self.state = State::Asked { slot, given_ms, since: now };
        Some((code.request(slot), Fact::User { slot, given_ms, said: Said::Nothing }))
    }

    /// The request was not taken.
    pub(super) fn failed(&mut self) {
        self.state = State::Idle;
    }

    /// An answer, or something else that the control point says.
    pub(super) fn answered(&mut self, bytes: &[u8], now: Stamp) -> Option<Fact> {
        let State::Asked { slot, given_ms, .. } = self.state else { return None };
        let (head, code) = bytes.split_first_chunk::<2>()?;
        let code = *code.first().filter(|_| *head == RESPONSE)?;
        self.state = State::Idle;
        let said = match code {
            SUCCESS => {
                self.heard = Some(now);
                if !self.users.is_empty() {
                    self.state = State::Settling { since: now, heard: now };
                }
                Said::Accepted
            }
            NOT_AUTHORIZED if !self.owed => Said::Refused,
            // It was said when the request was made.
            _ => return None,
        };
        Some(Fact::User { slot, given_ms, said })
    }

    /// A measurement came.
    pub(super) fn heard(&mut self, now: Stamp) {
        if let State::Settling { heard, .. } = &mut self.state {
            *heard = now;
        }
        self.heard = self.heard.map(|_| now);
    }

    /// Nothing else may be asked now.
    pub(super) fn is_waiting(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// After how long [`Consents::late`] is to be called, if nothing happens.
    pub(super) fn due(&self, now: Stamp) -> Option<Duration> {
        let after = |since: Stamp, wait: Duration| wait.saturating_sub(now.since(since));
        match self.state {
            State::Idle => None,
            State::Asked { since, .. } => Some(after(since, BLE_ASK_MAX)),
            State::Settling { since, heard } => Some(after(heard, SETTLE.0).min(after(since, SETTLE.1))),
        }
    }

    /// Answers whether a wait is over.
    pub(super) fn late(&mut self, now: Stamp) -> bool {
        if self.due(now) != Some(Duration::ZERO) {
            return false;
        }
        self.owed |= matches!(self.state, State::Asked { .. });
        self.state = State::Idle;
        true
    }
}

#[cfg(test)]
mod tests;
