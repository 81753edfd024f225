//! Devices that are named by a search for them (R4: conditional references): the server finds them while it takes a
//! transaction, and refuses the whole of it when it does not find exactly one.
//!
//! Promises: what was refused for it goes again at once by identifier; a Device that was not found is tried again later, one
//! at a time, so that it does not take the others along; a server that keeps a search as it stands gets no more of them. Must never: stand outside of a transaction, or hold anything up.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::fhir::{FhirSink, versionless};
use super::why::Trouble;
use crate::custody::Outcome;
use crate::fhir::Scope;
use crate::limits;
use crate::minimum::WITHHELD;
use crate::reading::Reading;

/// What a search begins with, as it would be kept.
const SEARCH: &[u8] = b"Device?identifier=";
/// A look at what was created takes no longer: an alert is already there.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// How it went with a Device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The server knew exactly one.
    Found,
    /// A transaction that looked for it was refused, and taken without.
    Doubted(Instant),
}

/// What is known of one server's Devices.
#[derive(Default)]
pub(super) struct Searches {
    /// It is configured, and the server was not seen to keep a search as it stands.
    on: AtomicBool,
    /// It was looked at what it makes of one.
    seen: AtomicBool,
    fates: Mutex<HashMap<String, Fate>>,
}

/// Names that one transaction looks for.
pub(super) type Offered = Arc<BTreeSet<String>>;

impl Searches {
    pub(super) fn new(on: bool) -> Self {
        Self { on: AtomicBool::new(on), ..Self::default() }
    }

    /// Which Devices of these readings, and of the gateways that send them, may be looked for in one transaction.
    pub(super) fn offer<'a>(&self, all: impl Iterator<Item = (Scope, Option<&'a Reading>)>) -> Offered {
        if !self.on.load(Ordering::Relaxed) {
            return Arc::default();
        }
        let mut names = BTreeSet::new();
        for (scope, reading) in all {
            let device = reading.map(|r| r.device.0.to_string());
            let unplaced = |name: &String| **name != *WITHHELD && scope.place(name).is_none();
            names.extend([Some(scope.gateway.to_string()), device].into_iter().flatten().filter(unplaced));
        }
        let (fates, now, mut doubted) = (self.fates(), Instant::now(), false);
        names.retain(|name| match fates.get(name) {
            None | Some(Fate::Found) => true,
            Some(Fate::Doubted(until)) => now >= *until && !std::mem::replace(&mut doubted, true),
        });
        Arc::new(names)
    }

    fn found(&self, offered: &Offered) {
        self.learn(offered.iter(), Fate::Found);
    }

    /// It was refused, and taken without.
    pub(super) fn missed(&self, offered: &Offered) {
        let until = Fate::Doubted(Instant::now() + limits::DEVICE_RENEWAL_AGAIN);
        let suspects: Vec<&String> = {
            let fates = self.fates();
            let unproven = |name: &&String| fates.get(*name) != Some(&Fate::Found);
            let suspects: Vec<_> = offered.iter().filter(unproven).collect();
            if suspects.is_empty() { offered.iter().collect() } else { suspects }
        };
        tracing::info!(
            devices = suspects.len(),
            "the destination does not find exactly one Device for each: they are named by identifier, and looked for again later"
        );
        self.learn(suspects.into_iter(), until);
    }

    fn learn<'a>(&self, names: impl Iterator<Item = &'a String>, fate: Fate) {
        let mut fates = self.fates();
        if fates.len() >= limits::DEVICE_IDS_CACHED_MAX {
            // They are looked for once more: that is harmless.
            fates.clear();
        }
        fates.extend(names.map(|name| (name.clone(), fate)));
    }

    fn fates(&self) -> MutexGuard<'_, HashMap<String, Fate>> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FhirSink {
    /// A transaction that looked for these was taken. The first resource that it created is looked at: a server that knows no
    /// such references would keep the search as it stands.
    pub(super) async fn found(&self, offered: &Offered, outcome: Option<&Outcome>) {
        if offered.is_empty() {
            return;
        }
        let new = match outcome {
            Some(Outcome::Delivered(receipt)) if !receipt.known && self.wire.is_none() => versionless(receipt),
            _ => None,
        };
        if let Some(place) = new.filter(|_| !self.searches.seen.load(Ordering::Relaxed)) {
            self.count();
            // Once, whatever it shows: an alert may be waiting behind it.
            self.searches.seen.store(true, Ordering::Relaxed);
            let look = tokio::time::timeout(LOOK_MAX, self.look(&place)).await;
            if let Ok(Ok(answer)) = look
                && answer.status == 200
                && answer.body.windows(SEARCH.len()).any(|part| part == SEARCH)
            {
                tracing::warn!(
                    "the destination keeps a search for a Device as it stands: Devices are named by identifier from now on"
                );
                self.searches.on.store(false, Ordering::Relaxed);
                return;
            }
        }
        self.searches.found(offered);
    }
}

/// Whether the answer to a transaction may be about its searches: some servers say 404, or fail.
pub(super) fn may_be_the_search(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::NotHere(404 | 410) | Trouble::ServerError(_) | Trouble::Refused { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(offered: &Offered) -> Vec<&str> {
        offered.iter().map(String::as_str).collect()
    }

    fn offer(searches: &Searches, gateways: &[&str]) -> Offered {
        searches.offer(gateways.iter().map(|g| (Scope::new(*g), None)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_missed_is_tried_again_alone_and_what_was_found_is_not_suspected() {
        assert!(names(&offer(&Searches::new(false), &["a"])).is_empty());
        let searches = Searches::new(true);
        assert!(names(&offer(&searches, &[WITHHELD])).is_empty());
        searches.found(&offer(&searches, &["a"]));
        let all = offer(&searches, &["a", "b", "c", "d"]);
        assert_eq!(names(&all), ["a", "b", "c", "d"]);
        searches.missed(&all);
        assert_eq!(names(&offer(&searches, &["a", "b", "c", "d", "e"])), ["a", "e"]);
        tokio::time::advance(limits::DEVICE_RENEWAL_AGAIN).await;
        let again = offer(&searches, &["a", "b", "c", "d"]);
        assert_eq!(names(&again), ["a", "b"]);
        searches.missed(&again);
        let next = offer(&searches, &["a", "b", "c", "d"]);
        assert_eq!(names(&next), ["a", "c"]);
        searches.found(&next);
        assert_eq!(names(&offer(&searches, &["a", "b", "c", "d"])), ["a", "c", "d"]);
        // What was found once may be gone.
        let known = offer(&searches, &["a", "c"]);
        searches.missed(&known);
        assert!(names(&offer(&searches, &["a", "c"])).is_empty());
    }
}
