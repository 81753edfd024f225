//! How readings travel to a FHIR server, as far as that changes while it runs.
//!
//! Must never: send more entries than are configured, or another kind of Bundle than one that is configured.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::config::BundleKind;
use crate::fhir::Kind;

/// What is changed while it runs: by a 413, and by what a probe found.
#[derive(Debug)]
pub struct Habits {
    /// Entries in a Bundle at most.
    pub(super) bundle_max: AtomicUsize,
    /// Readings travel as a transaction.
    pub(super) transaction: AtomicBool,
    pub(super) configured: BundleKind,
    pub(super) configured_max: usize,
}

impl Habits {
    /// Entries at most, and whether readings travel as a transaction.
    pub fn now(&self) -> (usize, bool) {
        (self.bundle_max.load(Ordering::Relaxed), self.transaction.load(Ordering::Relaxed))
    }

    /// How readings travel now.
    pub(super) fn kind(&self) -> Kind {
        match self.configured {
            BundleKind::Collection => Kind::Collection,
            _ if self.transaction.load(Ordering::Relaxed) => Kind::Transaction,
            _ => Kind::Batch,
        }
    }

    /// Obeys what a probe found: never more entries, and the kind of Bundle that works where none is configured.
    pub fn obey(&self, bundle_max: Option<usize>, batch_works: Option<bool>) {
        if let Some(most) = bundle_max {
            self.bundle_max.store(most.clamp(1, self.configured_max), Ordering::Relaxed);
        }
        if let (BundleKind::Auto, Some(works)) = (self.configured, batch_works) {
            self.transaction.store(!works, Ordering::Relaxed);
        }
    }
}
