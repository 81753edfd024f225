//! Devices at the server: each is written before its first reading, and found again by where it is.
//!
//! Promises: once for each device and run; a server that takes no Devices gets readings that name them by identifier.
//! Must never: hold a reading for the sake of a Device that is refused.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::fhir::{FhirSink, Numbered, Unwell, versionless};
use crate::custody::Outcome;
use crate::fhir::{Devices, Facts, Scope, Single, device_resource as device};
use crate::limits;
use crate::vital::Vital;

/// What is known of the devices at one server.
#[derive(Default)]
pub(super) struct Places {
    found: Arc<HashMap<String, String>>,
    refused: HashSet<String>,
}

impl Places {
    fn knows(&self, device: &str) -> bool {
        self.found.contains_key(device) || self.refused.contains(device)
    }

    fn learn(&mut self, device: &str, place: Option<String>) {
        if self.found.len().saturating_add(self.refused.len()) >= limits::DEVICE_IDS_CACHED_MAX {
            // Written once more: that is harmless.
            *self = Self::default();
        }
        match place {
            Some(place) => drop(Arc::make_mut(&mut self.found).insert(device.to_owned(), place)),
            None => drop(self.refused.insert(device.to_owned())),
        }
    }
}

impl FhirSink {
    /// The scope with the places that are known by now.
    pub(super) fn scope(&self) -> Scope {
        let mut scope = self.scope.clone();
        if matches!(scope.devices, Devices::Placed(_)) {
            scope.devices = Devices::Placed(self.places().found.clone());
        }
        scope
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the devices of these readings that were not written yet. An error: the destination is unwell.
    pub(super) async fn place(&self, readings: &[Numbered<'_>]) -> Result<(), Unwell> {
        if !matches!(self.scope.devices, Devices::Placed(_)) {
            return Ok(());
        }
        let mut wanted: BTreeMap<&str, Vec<Vital>> = BTreeMap::new();
        for (_, item, reading) in readings.iter().filter(|(.., r)| r.patient.is_some()) {
            let vitals = wanted.entry(&*reading.device.0).or_default();
            if !vitals.contains(&reading.vital) {
                vitals.push(reading.vital);
            }
            let scope = self.scope_of(item);
            if !self.places().knows(&scope.gateway) {
                self.put(&scope.gateway, device::gateway(&scope, self.write)).await?;
            }
        }
        for (id, vitals) in wanted {
            if !self.places().knows(id) {
                let facts = Facts { vitals, ..Facts::default() };
                self.put(id, device::sensor(id, &facts, self.write)).await?;
            }
        }
        Ok(())
    }

    async fn put(&self, id: &str, resource: Single) -> Result<(), Unwell> {
        self.turn().await;
        let place = match self.one(resource).await? {
            Outcome::Delivered(receipt) => versionless(&receipt),
            Outcome::Reject(why) => {
                tracing::warn!(code = %why.code, "the destination takes no Device: readings name it by identifier");
                None
            }
            // It is asked again with the next readings.
            Outcome::Retry { .. } => return Ok(()),
        };
        self.places().learn(id, place);
        Ok(())
    }
}

/// For the sink's own construction.
pub(super) fn empty() -> Mutex<Places> {
    Mutex::default()
}
