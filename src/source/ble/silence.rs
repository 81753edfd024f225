//! When nothing is heard any more, pure: scan, then adapter, then our whole part are started anew; after that, a person.
//!
//! Silence alone can be a house where everything sleeps, so that it counts only after something was heard, is healed at
//! once and said late. Must never: switch an adapter off while a device is connected through it.

use std::time::Duration;

use crate::clock::Stamp;
use crate::limits::{BLE_SILENCE, BLE_SILENCE_AGAIN, BLE_SILENCE_STEP};

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Stop and start the scan.
    Scan,
    /// Switch the adapter off and on.
    Adapter,
    /// Build our part anew: connections, adapter, agent, scan.
    Rebuild,
}

/// How far it went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    /// When anything was heard last; `None`: never yet.
    heard: Option<Stamp>,
    /// The last remedy, and when.
    tried: Option<(Remedy, Stamp)>,
}

impl Silence {
    /// Something was heard: all is well.
    pub(super) fn heard(&mut self, now: Stamp) {
        *self = Self { heard: Some(now), tried: None };
    }

    /// When anything was heard last.
    pub(super) fn since(&self) -> Option<Stamp> {
        self.heard
    }

    /// How long nothing has been heard, once every remedy was tried.
    pub(super) fn unhealed(&self, now: Stamp) -> Option<Duration> {
        let tried_all = matches!(self.tried, Some((Remedy::Rebuild, _)));
        self.heard.filter(|_| tried_all).map(|heard| now.since(heard))
    }

    /// What to do now. `quiet_link`: a connection is at work, and the controller may hear nothing beside it.
    pub(super) fn look(&mut self, now: Stamp, busy: bool) -> Option<Remedy> {
        let heard = self.heard?;
        if busy {
            return None;
        }
        let remedy = match self.tried {
            None if now.since(heard) >= BLE_SILENCE => Remedy::Scan,
            Some((Remedy::Scan, at)) if now.since(at) >= BLE_SILENCE_STEP => Remedy::Adapter,
            Some((Remedy::Adapter, at)) if now.since(at) >= BLE_SILENCE_STEP => Remedy::Rebuild,
            Some((Remedy::Rebuild, at)) if now.since(at) >= BLE_SILENCE_AGAIN => Remedy::Scan,
            _ => return None,
        };
        self.tried = Some((remedy, now));
        Some(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_healed_step_by_step_within_a_minute() {
        let start = Stamp::at_ms(1_000_000);
        let mut silence = Silence::default();
        assert_eq!(silence.look(start.plus(Duration::from_secs(3_600)), false), None, "nobody was ever heard");
        silence.heard(start);
        let mut did = Vec::new();
        for second in 0..60 {
            let now = start.plus(Duration::from_secs(second));
            did.extend(silence.look(now, false).map(|remedy| (second, remedy)));
        }
        assert_eq!(did, [(25, Remedy::Scan), (40, Remedy::Adapter), (55, Remedy::Rebuild)]);
        assert!(silence.unhealed(start.plus(Duration::from_secs(60))).is_some());
        silence.heard(start.plus(Duration::from_secs(61)));
        assert_eq!(silence.unhealed(start.plus(Duration::from_secs(62))), None);
    }

    #[test]
    fn a_connection_at_work_is_left_alone() {
        let start = Stamp::at_ms(1_000_000);
        let mut silence = Silence::default();
        silence.heard(start);
        assert_eq!(silence.look(start.plus(Duration::from_secs(100)), true), None);
    }

    #[test]
    fn it_is_tried_again_later() {
        let start = Stamp::at_ms(1_000_000);
        let mut silence = Silence::default();
        silence.heard(start);
        let scans =
            (0..3_600).filter(|s| silence.look(start.plus(Duration::from_secs(*s)), false) == Some(Remedy::Scan));
        assert!((4..8).contains(&scans.count()));
    }
}
