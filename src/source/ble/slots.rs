//! Connections that bluetoothd holds and nobody uses, pure: a leaked one would keep its device, and a place, until a reboot.
//!
//! Let go again, then the adapter is switched off and on, then everything of ours is built anew and a person is told.
//! Must never: switch the adapter off under other devices at once, or act on a connection that is ours.

use std::collections::BTreeMap;

use crate::clock::Stamp;
use crate::limits::{BLE_SILENCE_AGAIN, BLE_SLOT_HELD, BLE_SLOT_PATIENCE, BLE_SLOT_STEP};

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Relief {
    /// Let go of this device once more, and ask whether it is so.
    Release(String),
    /// Switch the adapter off and on.
    Adapter,
    /// Build our part anew.
    Rebuild,
}

/// One that is held.
struct Held {
    since: Stamp,
    /// When it was let go again.
    released: Option<Stamp>,
}

/// All of them, by address.
#[derive(Default)]
pub(super) struct Slots {
    held: BTreeMap<String, Held>,
    /// The last step beyond letting go, and when.
    tried: Option<(Relief, Stamp)>,
    /// All was tried, and some are held still.
    given_up: bool,
}

impl Slots {
    /// Whether bluetoothd holds a connection of this device that we do not have.
    pub(super) fn seen(&mut self, address: &str, held: bool, now: Stamp) {
        if held {
            self.held.entry(address.to_owned()).or_insert(Held { since: now, released: None });
        } else if self.held.remove(address).is_some() && self.held.is_empty() {
            (self.tried, self.given_up) = (None, false);
        }
    }

    /// We use it ourselves again: whether it is held shows later, and what was tried before is not forgotten.
    pub(super) fn used(&mut self, address: &str, now: Stamp) {
        if let Some(held) = self.held.get_mut(address) {
            *held = Held { since: now, released: None };
        }
    }

    /// Held, whatever was tried: a person must see to it.
    pub(super) fn unhealed(&self) -> impl Iterator<Item = &str> {
        self.held.keys().filter(|_| self.given_up).map(String::as_str)
    }

    /// Devices that are not known any more are nobody's business.
    pub(super) fn retain(&mut self, known: impl Fn(&str) -> bool) {
        self.held.retain(|address, _| known(address));
    }

    /// What to do now. `busy`: another device is connected.
    pub(super) fn look(&mut self, now: Stamp, busy: bool) -> Option<Relief> {
        let due = |since: Stamp, wait| now.since(since) >= wait;
        let (address, oldest) = self.held.iter_mut().min_by_key(|(_, held)| held.since.mono_us)?;
        if !due(oldest.since, BLE_SLOT_HELD) {
            return None;
        }
        let Some(released) = oldest.released else {
            oldest.released = Some(now);
            return Some(Relief::Release(address.clone()));
        };
        let step = match &self.tried {
            None if !due(released, BLE_SLOT_STEP) || (busy && !due(oldest.since, BLE_SLOT_PATIENCE)) => return None,
            None => Relief::Adapter,
            Some((Relief::Adapter, at)) if due(*at, BLE_SLOT_STEP) => Relief::Rebuild,
            Some((Relief::Rebuild, at)) if due(*at, BLE_SILENCE_AGAIN) => {
                (oldest.released, self.tried) = (None, None);
                return None;
            }
            Some(_) => return None,
        };
        self.given_up |= step == Relief::Rebuild;
        self.tried = Some((step.clone(), now));
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lived(seconds: u64, held: impl Fn(u64) -> bool, busy: bool) -> Vec<(u64, Relief)> {
        let (start, mut slots, mut did) = (Stamp::at_ms(1_000_000), Slots::default(), Vec::new());
        for second in 0..seconds {
            let now = start.plus(Duration::from_secs(second));
            slots.seen("A", held(second), now);
            did.extend(slots.look(now, busy).map(|relief| (second, relief)));
        }
        did
    }

    #[test]
    fn a_connection_that_is_held_is_let_go_again_then_the_adapter_then_all() {
        let release = Relief::Release("A".into());
        let all = [(12, release.clone()), (22, Relief::Adapter), (32, Relief::Rebuild)];
        assert_eq!(lived(100, |_| true, false), all);
        assert_eq!(lived(100, |s| s < 20, false), all[..1], "letting go helped");
        assert_eq!(lived(100, |s| s < 11, false), [], "it was slow");
        // It is tried again, much later.
        assert_eq!(lived(700, |_| true, false).len(), 6);
    }

    #[test]
    fn what_nothing_ends_is_a_persons_business_until_it_is_gone() {
        let (start, mut slots) = (Stamp::at_ms(1_000_000), Slots::default());
        for second in 0..3_600 {
            let now = start.plus(Duration::from_secs(second));
            slots.seen("A", true, now);
            slots.look(now, false);
            assert_eq!(slots.unhealed().count(), usize::from(second >= 32), "{second}");
        }
        // It was read meanwhile, and is held again: the adapter is not started anew each time.
        let later = start.plus(Duration::from_secs(3_600));
        slots.tried = Some((Relief::Rebuild, later));
        slots.used("A", later);
        for second in 3_600..3_900 {
            let now = start.plus(Duration::from_secs(second));
            slots.seen("A", true, now);
            let relief = slots.look(now, false);
            assert_eq!(relief, (second == 3_612).then(|| Relief::Release("A".into())));
            assert_eq!(slots.unhealed().count(), 1);
        }
        slots.seen("A", false, start);
        slots.seen("B", true, start);
        assert_eq!(slots.unhealed().count(), 0, "another one has its own turn");
    }

    #[test]
    fn others_that_are_connected_are_not_cut_off_at_once() {
        assert_eq!(lived(100, |_| true, true)[1], (60, Relief::Adapter));
    }
}
