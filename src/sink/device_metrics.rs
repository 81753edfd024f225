//! DeviceMetrics at the server, with `device_metrics`: each is written after the Device of its sensor, before the readings
//! that show it.
//!
//! Promises: again only if more, or something else, is known; what others wrote into one stays; a server that takes none is
//! left alone with them for a while. Must never: hold a reading for it, or tell of a device whose name is withheld.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::fhir::{FhirSink, Numbered, Unwell, versionless};
use super::why::Trouble;
use crate::custody::Outcome;
use crate::fhir::{Metric, Scope, Single, Write};
use crate::limits;
use crate::minimum::WITHHELD;

/// Metrics that are remembered as written; beyond it they are written once more: that is harmless.
const METRICS_CACHED_MAX: usize = 4 * limits::DEVICE_IDS_CACHED_MAX;

/// What is known of them at one server.
#[derive(Default)]
pub(super) struct Metrics {
    written: HashMap<String, Written>,
    /// The last one failed, and nobody knows yet whether it or the destination was why.
    failed: bool,
    not_before: Option<Instant>,
    /// The server has no search by which it could create one once: under an id of ours, then.
    by_id: bool,
    told: bool,
}

/// What was written of one; or when it is tried again.
struct Written {
    body: Vec<u8>,
    not_before: Option<Instant>,
}

impl Metrics {
    fn is_wanted(&self, name: &str, body: &[u8]) -> bool {
        let passed = |at: Option<Instant>| at.is_none_or(|at| Instant::now() >= at);
        let news = self.written.get(name).is_none_or(|w| w.body != body && passed(w.not_before));
        !self.failed && passed(self.not_before) && news
    }

    fn keep(&mut self, name: String, written: Written) {
        if self.written.len() >= METRICS_CACHED_MAX {
            self.written.clear();
        }
        self.written.insert(name, written);
    }

    fn wrote(&mut self, name: String, body: Vec<u8>) {
        self.keep(name, Written { body, not_before: None });
        (self.failed, self.not_before) = (false, None);
    }

    /// It stays as it is there for now.
    fn later(&mut self, name: String) {
        let not_before = Some(Instant::now() + limits::DEVICE_RENEWAL_AGAIN);
        self.keep(name, Written { body: Vec::new(), not_before });
    }

    /// No more of them for a while.
    fn pause(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("the destination takes no DeviceMetric: readings go without it");
        }
        (self.failed, self.not_before) = (false, Some(Instant::now() + limits::DEVICE_RENEWAL_AGAIN));
    }

    /// What came of the readings after it. Where they were taken, a metric that failed did so for itself; else it is asked
    /// with again.
    pub(super) fn judge(&mut self, passed: bool) {
        if std::mem::take(&mut self.failed) && passed {
            self.pause();
        }
    }
}

impl FhirSink {
    /// Writes those that these readings show and the server does not have. An error: the destination takes nothing now.
    pub(super) async fn place_metrics(&self, readings: &[Numbered<'_>]) -> Result<(), Unwell> {
        if !self.device_metrics {
            return Ok(());
        }
        let scope = self.scope();
        let mut wanted: BTreeMap<String, Metric<'_>> = BTreeMap::new();
        for (.., reading) in readings.iter().filter(|(.., r)| r.patient.is_some() && !r.is_withdrawal()) {
            // Where its Device is not, nobody knows what it is a metric of.
            if *reading.device.0 != *WITHHELD && scope.place(&reading.device.0).is_some() {
                wanted.extend(Metric::of(reading, &scope).into_iter().map(|metric| (metric.name(), metric)));
            }
        }
        for (name, metric) in wanted {
            while let Some((resource, write)) = self.news(&name, &metric, &scope) {
                if !self.write_metric(&name, resource, write).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What there is to write of one, and how.
    fn news(&self, name: &str, metric: &Metric<'_>, scope: &Scope) -> Option<(Single, Write)> {
        let mut places = self.places();
        let facts = places.facts(metric.device, &[metric.vital]);
        let write = if places.metrics.by_id { Write::Update } else { self.write };
        let resource = metric.single(scope, &facts, write);
        places.metrics.is_wanted(name, &resource.body).then_some((resource, write))
    }

    /// Whether it is to be tried in the other way at once.
    async fn write_metric(&self, name: &str, resource: Single, write: Write) -> Result<bool, Unwell> {
        let name = name.to_owned();
        self.turn().await;
        match self.one(resource.clone()).await {
            // What was there before may be of an earlier day, or of others.
            Ok(Outcome::Delivered(receipt)) if receipt.known && write == Write::ConditionalCreate => {
                let place = match versionless(&receipt) {
                    Some(place) => Some(place),
                    None => self.find("DeviceMetric", resource.target.if_none_exist.as_deref()).await,
                };
                let done = match place {
                    Some(place) => self.try_renew(&place, &resource).await,
                    None => false,
                };
                let metrics = &mut self.places().metrics;
                if done { metrics.wrote(name, resource.body) } else { metrics.later(name) }
            }
            Ok(Outcome::Delivered(_)) => self.places().metrics.wrote(name, resource.body),
            Ok(Outcome::Reject(_)) if write == Write::ConditionalCreate => {
                self.places().metrics.by_id = true;
                return Ok(true);
            }
            Ok(Outcome::Reject(_)) => self.places().metrics.pause(),
            Ok(Outcome::Retry { .. } | Outcome::Withheld) => self.places().metrics.failed = true,
            // It takes readings neither.
            Err(
                unwell @ (
                    Trouble::Unreachable(_) | Trouble::Certificate(_) | Trouble::Unavailable(_) | Trouble::Throttled(_),
                    _,
                ),
            ) => return Err(unwell),
            Err(_) => self.places().metrics.failed = true,
        }
        Ok(false)
    }
}
