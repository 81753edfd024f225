//! Pairs of clocks at the server, where it keeps Devices and is told of the device guide (`devices = "resource"`, `phd`):
//! each is written once, after both Devices, before the first reading that it dates.
//!
//! Promises: written again it is the same resource; a reading goes without the reference where a server does not take the
//! pair. Must never: hold a reading for it, or be sent for a reading that does not go itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::fhir::{FhirSink, Numbered, Unwell, versionless};
use super::why::Trouble;
use crate::custody::Outcome;
use crate::fhir::{Clocks, Single};
use crate::limits;

/// Pairs of clocks whose place at a destination is kept ready; the oldest is written again if it is needed: that is harmless.
const CLOCK_PAIRS_CACHED_MAX: usize = 4_096;

/// What is known of them.
#[derive(Default)]
pub(super) struct Pairs {
    found: Arc<HashMap<String, String>>,
    order: VecDeque<String>,
    /// The last one failed, and nobody knows yet whether it or the destination was why.
    failed: bool,
    not_before: Option<Instant>,
}

impl Pairs {
    /// Where they are, by name.
    pub(super) fn found(&self) -> Arc<HashMap<String, String>> {
        self.found.clone()
    }

    fn is_wanted(&self, name: &str) -> bool {
        !self.failed && !self.found.contains_key(name) && self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    fn learn(&mut self, name: String, place: String) {
        self.order.push_back(name.clone());
        let found = Arc::make_mut(&mut self.found);
        found.insert(name, place);
        while self.order.len() > CLOCK_PAIRS_CACHED_MAX {
            self.order.pop_front().map(|oldest| found.remove(&oldest));
        }
        (self.failed, self.not_before) = (false, None);
    }

    /// No more of them for a while.
    fn pause(&mut self) {
        tracing::info!("the destination takes no coincident time stamp: readings go without it for a while");
        (self.failed, self.not_before) = (false, Some(Instant::now() + limits::DEVICE_RENEWAL_AGAIN));
    }

    /// What came of the readings after it. Where they were taken, a pair that failed did so for itself; else it is asked
    /// with again.
    pub(super) fn judge(&mut self, passed: bool) {
        if std::mem::take(&mut self.failed) && passed {
            self.pause();
        }
    }
}

impl FhirSink {
    /// Writes the pairs that date these readings and are not there. An error: the destination takes nothing now.
    pub(super) async fn place_clocks(&self, readings: &[Numbered<'_>]) -> Result<(), Unwell> {
        if !self.scope.phd {
            return Ok(());
        }
        for (_, item, reading) in readings.iter().filter(|(.., r)| r.patient.is_some()) {
            let Some(clocks) = Clocks::of(reading) else { continue };
            let (name, resource) = {
                let scope = self.scope_of(item);
                let name = clocks.name(&scope);
                if !scope.reaches(reading) || !self.places().clocks.is_wanted(&name) {
                    continue;
                }
                let Some(resource) = clocks.single(&scope, self.write) else { continue };
                (name, resource)
            };
            self.write_clocks(name, resource).await?;
        }
        Ok(())
    }

    async fn write_clocks(&self, name: String, resource: Single) -> Result<(), Unwell> {
        let search = resource.target.if_none_exist.clone();
        self.turn().await;
        match self.one(resource).await {
            Ok(Outcome::Delivered(receipt)) => {
                let place = match versionless(&receipt) {
                    Some(place) => Some(place),
                    None => self.find("Observation", search.as_deref()).await,
                };
                match place {
                    Some(place) => self.places().clocks.learn(name, place),
                    None => self.places().clocks.failed = true,
                }
            }
            Ok(Outcome::Reject(_)) => self.places().clocks.pause(),
            Ok(Outcome::Retry { .. } | Outcome::Withheld) => self.places().clocks.failed = true,
            // It takes readings neither.
            Err(
                unwell @ (
                    Trouble::Unreachable(_) | Trouble::Certificate(_) | Trouble::Unavailable(_) | Trouble::Throttled(_),
                    _,
                ),
            ) => return Err(unwell),
            Err(_) => self.places().clocks.failed = true,
        }
        Ok(())
    }
}
