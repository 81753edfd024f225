//! Whether the radio works, pure: what is wrong stays wrong until something proves otherwise.
//!
//! Promises: that our part could be built anew ends no trouble; a device that is heard, a connection, or a scan that runs for
//! some time does. Must never: call a radio well because it failed only just now, or end the process of a box whose radio
//! never worked.

use std::mem::discriminant;
use std::time::Duration;

use super::fault::RadioFault;
use crate::clock::Stamp;

/// Looks in a row that find the scan running prove that it runs: one alone may be before it ends by itself.
const BLE_SCANS_PROVEN: u32 = 2;
/// Lives of the radio in a row that proved nothing, before a new process is tried,
const BLE_PROCESS_LIVES: u32 = 10;
/// and how long they last at least,
const BLE_PROCESS_WAIT: Duration = Duration::from_secs(600);
/// and how old this one is at least.
const BLE_PROCESS_OLD: Duration = Duration::from_secs(6 * 3_600);

/// What shows that the radio works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// An advertisement was heard.
    Heard,
    /// A device is connected.
    Connected,
    /// So many looks in a row found the scan running.
    Scan,
}

/// How it is with the radio.
#[derive(Debug, Default)]
pub(super) struct Standing {
    fault: Option<RadioFault>,
    /// The log knows of it.
    told: Option<RadioFault>,
    /// Something proved this life of the radio.
    proven: bool,
    /// And any life of this process.
    ever: bool,
    /// Looks in a row that found the scan running.
    scans: u32,
    /// Lives in a row that proved nothing.
    fruitless: u32,
    /// When they began.
    since: Option<Stamp>,
}

impl Standing {
    /// A life of the radio begins.
    pub(super) fn opened(&mut self) {
        self.scans = 0;
    }

    /// It ended; `true`: the log does not know why yet.
    pub(super) fn ended(&mut self, fault: &RadioFault, now: Stamp) -> bool {
        // The next one may not even open.
        if !std::mem::take(&mut self.proven) {
            self.fruitless += 1;
            self.since.get_or_insert(now);
        }
        // Silence is said late, by `silent`; a connection that is held is said of its device: for others the radio works.
        if !matches!(fault, RadioFault::Silent(_) | RadioFault::Held) {
            self.fault = Some(fault.clone());
        }
        let known = self.told.as_ref().is_some_and(|told| discriminant(told) == discriminant(fault));
        self.told = Some(fault.clone());
        !known
    }

    /// Nothing was heard for so long that it is said.
    pub(super) fn silent(&mut self, silent: Duration) {
        self.fault.get_or_insert(RadioFault::Silent(silent.as_secs() / 60));
    }

    /// What is wrong.
    pub(super) fn fault(&self) -> Option<&RadioFault> {
        self.fault.as_ref()
    }

    /// This life was worth it: the next one may begin at once.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// A look at the adapter found the scan running, or not; `true`: that ends a trouble.
    pub(super) fn scanned(&mut self, runs: bool) -> bool {
        self.scans = if runs { self.scans + 1 } else { 0 };
        self.scans >= BLE_SCANS_PROVEN && self.proves(Proof::Scan)
    }

    /// The radio works; `true`: that ends a trouble.
    pub(super) fn proves(&mut self, proof: Proof) -> bool {
        (self.proven, self.ever, self.fruitless, self.since) = (true, true, 0, None);
        // A scan that runs and hears nothing is what silence is.
        let heard = proof != Proof::Scan;
        if heard || !matches!(self.told, Some(RadioFault::Silent(_) | RadioFault::Held)) {
            self.told = None;
        }
        if heard || !matches!(self.fault, Some(RadioFault::Silent(_))) {
            return self.fault.take().is_some();
        }
        false
    }

    /// btleplug's own D-Bus connection may be dead. Each new one leaves the old one behind, so that it is tried less and
    /// less often while it does not help.
    pub(super) fn doubts_scan(&self, fault: &RadioFault) -> bool {
        let scan = matches!(fault, RadioFault::NoScan | RadioFault::Hung(super::scan::SCAN));
        *fault == RadioFault::NoBus || (scan && self.fruitless.is_power_of_two())
    }

    /// Only a new process is left to try: the radio worked in this one, and nothing that was built anew did any good. Once
    /// for each such outage, as a new process has not seen it work; and not soon after the last.
    pub(super) fn needs_process(&self, age: Duration, now: Stamp) -> bool {
        let ours = matches!(self.fault, Some(RadioFault::NoScan | RadioFault::Hung(_)));
        let long = self.since.is_some_and(|since| now.since(since) >= BLE_PROCESS_WAIT);
        ours && long && self.ever && self.fruitless >= BLE_PROCESS_LIVES && age >= BLE_PROCESS_OLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp::at_ms(1_000_000).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_radio_that_is_only_opened_again_proves_nothing() {
        let mut standing = Standing::default();
        standing.opened();
        assert!(standing.ended(&RadioFault::NoScan, at(30)), "the log is told once");
        for life in 2..9 {
            standing.opened();
            assert!(!standing.scanned(false) && !standing.is_proven());
            assert!(!standing.ended(&RadioFault::NoScan, at(30 * life)));
            assert_eq!(standing.fault(), Some(&RadioFault::NoScan));
        }
        standing.opened();
        // It ran for a moment.
        assert!(!standing.scanned(true) && !standing.scanned(false) && !standing.scanned(true));
        assert!(standing.scanned(true), "it runs");
        assert_eq!(standing.fault(), None);
    }

    #[test]
    fn silence_is_over_when_something_is_heard_and_not_before() {
        let mut standing = Standing::default();
        standing.opened();
        assert!(standing.ended(&RadioFault::Silent(1), at(55)));
        assert_eq!(standing.fault(), None, "it is said late");
        standing.silent(Duration::from_secs(1_800));
        standing.opened();
        assert!(!standing.scanned(true) && !standing.scanned(true) && !standing.scanned(true));
        assert!(!standing.ended(&RadioFault::Silent(40), at(2_400)), "all night");
        assert_eq!(standing.fault(), Some(&RadioFault::Silent(30)));
        assert!(standing.proves(Proof::Heard));
    }

    #[test]
    fn a_dead_handle_is_replaced_at_once_and_then_ever_less_often() {
        let (mut standing, hung) = (Standing::default(), RadioFault::Hung(super::super::scan::SCAN));
        let mut replaced = 0;
        standing.opened();
        standing.proves(Proof::Heard);
        standing.ended(&RadioFault::NoAdapter(String::new()), at(0));
        for life in 1..=1_000 {
            // It does not even open.
            standing.ended(&hung, at(15 * life));
            let replaces = standing.doubts_scan(&hung);
            assert!(life > 1 || replaces);
            replaced += u32::from(replaces);
        }
        assert_eq!(replaced, 10);
        assert!(standing.doubts_scan(&RadioFault::NoBus) && !standing.doubts_scan(&RadioFault::NoDaemon));
    }

    #[test]
    fn a_new_process_is_the_last_step_once_for_each_outage() {
        let (mut standing, old, hung) = (Standing::default(), BLE_PROCESS_OLD, RadioFault::Hung("adapter"));
        let fails = |standing: &mut Standing, fault: &RadioFault| {
            (1..200).find(|life| {
                standing.opened();
                standing.ended(fault, at(15 * life));
                standing.needs_process(old, at(15 * life))
            })
        };
        assert_eq!(fails(&mut standing, &hung), None, "a radio that never worked is no better in a new process");
        standing.proves(Proof::Connected);
        assert_eq!(fails(&mut standing, &RadioFault::NoAdapter(String::new())), None, "that is not ours to heal");
        standing.proves(Proof::Connected);
        assert_eq!(fails(&mut standing, &hung), Some(2 + BLE_PROCESS_WAIT.as_secs() / 15));
        assert!(!standing.needs_process(old / 2, at(9_000)), "it was started only just now");
    }
}
