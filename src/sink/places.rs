//! Devices at the server: each is written before its first reading, and found again by where it is; after them what each
//! measures (`device_metrics.rs`) and the pairs of clocks (`clocks.rs`).
//!
//! Promises: again only if more, or something else, is known of it; what others wrote into it stays; a server that takes
//! no Devices gets readings that name them by identifier. Must never: hold a reading for the sake of a Device that is
//! refused or cannot be brought up to date.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::clocks::Pairs;
use super::device_metrics::Metrics;
use super::fhir::{FhirSink, Numbered, Unwell, versionless};
use crate::custody::Outcome;
use crate::fhir::{Devices, Facts, Scope, Single, Write, device_resource as device};
use crate::limits;
use crate::nameplate::Nameplates;
use crate::vital::Vital;

/// What is known of the devices at one server.
#[derive(Default)]
pub(super) struct Places {
    found: Arc<HashMap<String, String>>,
    refused: HashSet<String>,
    written: HashMap<String, Written>,
    plates: Nameplates,
    pub(super) clocks: Pairs,
    pub(super) metrics: Metrics,
}

/// What was written of a device, and what it measures as far as it was seen in this run.
#[derive(Default)]
struct Written {
    body: Vec<u8>,
    vitals: Vec<Vital>,
    not_before: Option<Instant>,
}

impl Places {
    fn learn(&mut self, device: &str, place: Option<String>) {
        if self.found.len().saturating_add(self.refused.len()) >= limits::DEVICE_IDS_CACHED_MAX {
            // Written once more: that is harmless.
            let (clocks, metrics) = (std::mem::take(&mut self.clocks), std::mem::take(&mut self.metrics));
            *self = Self { plates: self.plates.clone(), clocks, metrics, ..Self::default() };
        }
        match place {
            Some(place) => drop(Arc::make_mut(&mut self.found).insert(device.to_owned(), place)),
            None => drop(self.refused.insert(device.to_owned())),
        }
    }

    /// All that is known of a device, with these vital signs beside those that were seen of it before.
    pub(super) fn facts(&mut self, device: &str, vitals: &[Vital]) -> Facts {
        let plate = self.plates.of(device);
        let mut all = vitals.to_vec();
        if let Some(written) = self.written.get_mut(device) {
            merge(&mut written.vitals, vitals);
            all.clone_from(&written.vitals);
        }
        Facts { plate, vitals: all, ..Facts::default() }
    }

    /// Whether this is news to the server; then it counts as written.
    fn is_news(&mut self, device: &str, body: &[u8]) -> bool {
        let written = self.written.get(device);
        !self.refused.contains(device)
            && written.is_none_or(|w| w.body != body && w.not_before.is_none_or(|at| Instant::now() >= at))
    }

    fn wrote(&mut self, device: &str, body: Vec<u8>, vitals: &[Vital]) {
        let written = self.written.entry(device.to_owned()).or_default();
        merge(&mut written.vitals, vitals);
        (written.body, written.not_before) = (body, None);
    }

    /// It stays as it is there for now.
    fn later(&mut self, device: &str) {
        let written = self.written.entry(device.to_owned()).or_default();
        written.not_before = Some(Instant::now() + limits::DEVICE_RENEWAL_AGAIN);
    }
}

impl FhirSink {
    /// The scope with the places that are known by now.
    pub(super) fn scope(&self) -> Scope {
        let mut scope = self.scope.clone();
        if matches!(scope.devices, Devices::Placed(_)) {
            let places = self.places();
            scope.devices = Devices::Placed(places.found.clone());
            scope.clocks = places.clocks.found();
        }
        scope
    }

    pub(super) fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same with what devices say of themselves.
    pub(super) fn naming(self, plates: Nameplates) -> Self {
        self.places().plates = plates;
        self
    }

    /// Writes the devices of these readings of which the server does not have all that is known. An error: the destination is unwell.
    pub(super) async fn place(&self, readings: &[Numbered<'_>]) -> Result<(), Unwell> {
        if !matches!(self.scope.devices, Devices::Placed(_)) {
            return Ok(());
        }
        let mut wanted: BTreeMap<&str, Vec<Vital>> = BTreeMap::new();
        for (_, item, reading) in readings.iter().filter(|(.., r)| r.patient.is_some()) {
            let vitals = wanted.entry(&*reading.device.0).or_default();
            merge(vitals, &[reading.vital]);
            let scope = self.scope_of(item);
            self.write_device(&scope.gateway, device::gateway(&scope, self.write), &[]).await?;
        }
        for (id, vitals) in wanted {
            let facts = self.places().facts(id, &vitals);
            self.write_device(id, device::sensor(id, &facts, self.write), &facts.vitals).await?;
        }
        self.place_metrics(readings).await?;
        self.place_clocks(readings).await
    }

    /// If it is news to the server.
    async fn write_device(&self, id: &str, resource: Single, vitals: &[Vital]) -> Result<(), Unwell> {
        if !self.places().is_news(id, &resource.body) {
            return Ok(());
        }
        let place = self.places().found.get(id).cloned();
        match place.filter(|_| self.write == Write::ConditionalCreate) {
            Some(place) => {
                self.renew(id, &place, resource, vitals).await;
                Ok(())
            }
            None => self.put(id, resource, vitals).await,
        }
    }

    async fn put(&self, id: &str, resource: Single, vitals: &[Vital]) -> Result<(), Unwell> {
        self.turn().await;
        match self.one(resource.clone()).await? {
            Outcome::Delivered(receipt) => {
                let place = match versionless(&receipt) {
                    Some(place) => Some(place),
                    None => self.find("Device", resource.target.if_none_exist.as_deref()).await,
                };
                self.places().learn(id, place.clone());
                // What was there before may be of an earlier day, or of others.
                match place.filter(|_| receipt.known && self.write == Write::ConditionalCreate) {
                    Some(place) => self.renew(id, &place, resource, vitals).await,
                    None => self.places().wrote(id, resource.body, vitals),
                }
            }
            Outcome::Reject(why) => {
                tracing::warn!(code = %why.code, "the destination takes no Device: readings name it by identifier");
                self.places().learn(id, None);
            }
            // It is asked again with the next readings.
            Outcome::Retry { .. } | Outcome::Withheld => {}
        }
        Ok(())
    }

    /// Where the one resource is that a search finds: for a server that does not say where it had it already.
    pub(super) async fn find(&self, kind: &str, search: Option<&str>) -> Option<String> {
        let search = search.filter(|_| self.wire.is_none())?.replace('|', "%7C");
        self.turn().await;
        let answer = self.look(&format!("{kind}?{search}")).await.ok().filter(|answer| answer.status == 200)?;
        device::only(&answer.body, kind).map(|id| format!("{kind}/{id}"))
    }

    /// Brings a Device up to date where it is, without taking away what others know of it. It holds up nothing.
    async fn renew(&self, id: &str, place: &str, ours: Single, vitals: &[Vital]) {
        if self.try_renew(place, &ours).await {
            self.places().wrote(id, ours.body, vitals);
        } else {
            tracing::info!("a Device at the destination could not be brought up to date: it is tried again later");
            self.places().later(id);
        }
    }

    pub(super) async fn try_renew(&self, place: &str, ours: &Single) -> bool {
        if self.wire.is_some() {
            // The simulation has no Devices to read.
            return true;
        }
        self.turn().await;
        let Ok(answer) = self.look(place).await else { return false };
        if answer.status != 200 {
            return false;
        }
        let Some(renewed) = device::renewed(&answer.body, ours) else { return true };
        self.turn().await;
        matches!(self.one(renewed).await, Ok(Outcome::Delivered(_)))
    }
}

/// Those that are not among them yet.
fn merge(all: &mut Vec<Vital>, more: &[Vital]) {
    for vital in more {
        if !all.contains(vital) {
            all.push(*vital);
        }
    }
}

/// For the sink's own construction.
pub(super) fn empty() -> Mutex<Places> {
    Mutex::default()
}
