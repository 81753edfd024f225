//! When nothing is heard any more, pure: scan, then adapter, then our whole part are started anew; after that, a person.
//!
//! Silence alone can be a house where everything sleeps, so that it is said late, and only where something was heard before;
//! elsewhere what may help is tried once. Must never: switch an adapter off while a device is connected through it, unless
//! others were heard beside such connections for minutes and are not any more.

use std::time::Duration;

use crate::clock::Stamp;
use crate::limits::{BLE_SILENCE, BLE_SILENCE_AGAIN, BLE_SILENCE_STEP};

/// While a device is connected, silence of all others is odd after this, where they were heard beside it all the time.
const BLE_SILENCE_BESIDE: Duration = Duration::from_secs(60);
/// All the time: for so long without a break. A telephone that passes by is none.
const BLE_LIVELY: Duration = Duration::from_secs(300);

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
    /// Something was heard in this place, now or before the start.
    before: bool,
    /// Silent since then: something was heard, or the radio opened; `None`: neither yet.
    since: Option<Stamp>,
    /// When a connection stood last.
    linked: Option<Stamp>,
    /// Beside a connection others were heard, without a break, from here to there.
    lively: Option<(Stamp, Stamp)>,
    /// The last remedy, and when.
    tried: Option<(Remedy, Stamp)>,
    /// All was tried since something was heard.
    exhausted: bool,
}

impl Silence {
    /// `before`: this box has heard devices before it was started.
    pub(super) fn new(before: bool) -> Self {
        Self { before, ..Self::default() }
    }

    /// The radio is open: from now on something can be heard.
    pub(super) fn opened(&mut self, now: Stamp) {
        if self.tried.is_none() {
            self.since = Some(now);
        }
    }

    /// Something was heard: all is well.
    pub(super) fn heard(&mut self, now: Stamp) {
        if self.linked.is_some_and(|at| now.since(at) < BLE_SILENCE_STEP) {
            let goes_on = self.lively.filter(|(_, last)| now.since(*last) < BLE_SILENCE_STEP);
            self.lively = Some((goes_on.map_or(now, |(first, _)| first), now));
        }
        *self = Self { before: true, since: Some(now), tried: None, exhausted: false, ..*self };
    }

    /// How long nothing works any more, once every remedy was tried; a connection works.
    pub(super) fn unhealed(&self, now: Stamp) -> Option<Duration> {
        let quiet = self.quiet(now)?;
        let quiet = self.linked.map_or(quiet, |at| quiet.min(now.since(at)));
        (self.exhausted && self.before).then_some(quiet)
    }

    /// How long nothing has been heard.
    pub(super) fn quiet(&self, now: Stamp) -> Option<Duration> {
        self.since.map(|since| now.since(since))
    }

    /// What to do now. `busy`: a connection is at work, and the controller may hear nothing beside it.
    pub(super) fn look(&mut self, now: Stamp, busy: bool) -> Option<Remedy> {
        if busy {
            self.linked = Some(now);
        }
        let quiet = self.quiet(now)?;
        let due = |at: Stamp, wait| now.since(at) >= wait;
        let apart = self.linked.is_none_or(|at| due(at, BLE_SILENCE_STEP));
        // Where others were heard all the time, that they are not any more is no chance.
        let odd =
            self.lively.is_some_and(|(first, last)| last.since(first) >= BLE_LIVELY) && quiet >= BLE_SILENCE_BESIDE;
        let remedy = match self.tried {
            None if quiet >= BLE_SILENCE => Remedy::Scan,
            Some((Remedy::Scan, at)) if due(at, BLE_SILENCE_STEP) && (apart || odd) => Remedy::Adapter,
            Some((Remedy::Scan, at)) if due(at, BLE_SILENCE_AGAIN) => Remedy::Scan,
            Some((Remedy::Adapter, at)) if due(at, BLE_SILENCE_STEP) && apart => Remedy::Rebuild,
            // Where nothing was ever heard, once is enough.
            Some((Remedy::Rebuild, at)) if due(at, BLE_SILENCE_AGAIN) && self.before => Remedy::Scan,
            _ => return None,
        };
        if remedy == Remedy::Adapter && !apart {
            self.lively = None;
        }
        self.exhausted |= remedy == Remedy::Rebuild;
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

    /// Each second, for so long; a voice beside the connection each so many seconds.
    fn lived(
        silence: &mut Silence,
        seconds: std::ops::Range<u64>,
        busy: bool,
        voice: Option<u64>,
    ) -> Vec<(u64, Remedy)> {
        let mut did = Vec::new();
        for second in seconds {
            let now = Stamp::at_ms(1_000_000).plus(Duration::from_secs(second));
            did.extend(silence.look(now, busy).map(|remedy| (second, remedy)));
            if voice.is_some_and(|every| second % every == 0) {
                silence.heard(now);
            }
        }
        did
    }

    #[test]
    fn a_connection_at_work_is_not_cut_but_the_scan_is_started_anew() {
        let mut silence = Silence::default();
        silence.heard(Stamp::at_ms(1_000_000));
        let scans = [(25, Remedy::Scan), (625, Remedy::Scan), (1_225, Remedy::Scan)];
        assert_eq!(lived(&mut silence, 0..1_800, true, None), scans);
        assert_eq!(silence.unhealed(Stamp::at_ms(2_800_000)), None, "it works");
        // What it hid is healed once it is over, and counts from there.
        let did = lived(&mut silence, 1_800..1_900, false, None);
        assert_eq!(did, [(1_814, Remedy::Adapter), (1_829, Remedy::Rebuild)]);
        assert!(silence.unhealed(Stamp::at_ms(2_900_000)).unwrap() < Duration::from_secs(120));
    }

    #[test]
    fn a_house_that_was_lively_beside_a_connection_and_is_mute_gets_the_adapter_anew_once() {
        let mut silence = Silence::default();
        silence.opened(Stamp::at_ms(1_000_000));
        assert_eq!(lived(&mut silence, 0..601, true, Some(5)), []);
        let did = lived(&mut silence, 601..1_000, true, None);
        assert_eq!(did, [(625, Remedy::Scan), (660, Remedy::Adapter)]);
        // A telephone in the street is no such house.
        let mut silence = Silence::default();
        silence.opened(Stamp::at_ms(1_000_000));
        assert!(lived(&mut silence, 0..3_600, true, Some(300)).iter().all(|(_, remedy)| *remedy == Remedy::Scan));
    }

    #[test]
    fn where_nothing_was_ever_heard_everything_is_tried_once_and_nobody_is_told() {
        let all = [(25, Remedy::Scan), (40, Remedy::Adapter), (55, Remedy::Rebuild)];
        let (start, late) = (Stamp::at_ms(1_000_000), Stamp::at_ms(5_000_000));
        let mut silence = Silence::new(false);
        assert_eq!(lived(&mut silence, 0..100, false, None), [], "the radio is not open yet");
        silence.opened(start);
        assert_eq!(lived(&mut silence, 0..3_600, false, None), all);
        assert_eq!(silence.unhealed(late), None);
        // A box that was started again has heard something before.
        let mut silence = Silence::new(true);
        silence.opened(start);
        assert_eq!(lived(&mut silence, 0..600, false, None), all);
        assert!(silence.unhealed(late).is_some());
    }

    #[test]
    fn what_nothing_healed_stays_so_while_it_is_tried_again() {
        let mut silence = Silence::default();
        silence.heard(Stamp::at_ms(1_000_000));
        lived(&mut silence, 0..56, false, None);
        for second in 56..3_600 {
            let now = Stamp::at_ms(1_000_000).plus(Duration::from_secs(second));
            silence.look(now, false);
            assert!(silence.unhealed(now).is_some(), "{second}");
        }
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
