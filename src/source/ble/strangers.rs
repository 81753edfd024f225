//! Devices that are heard and not known: listed for the person who adds one, never connected to, never remembered for long.

use std::collections::BTreeMap;

use super::bus::Sighting;
use super::view::Stranger;
use crate::clock::Stamp;
use crate::limits::{BLE_LISTED_MAX, BLE_STRANGERS_MAX};
use crate::profile::Catalogue;
use crate::reading::DeviceId;

/// By address.
#[derive(Default)]
pub(super) struct Strangers(BTreeMap<String, Stranger>);

impl Strangers {
    /// One was heard. When there are too many, the newest stays out: they come and go within a minute.
    pub(super) fn heard(&mut self, sighting: Sighting, catalogue: &Catalogue, now: Stamp) {
        if sighting.rssi.is_none() {
            return;
        }
        if !self.0.contains_key(&sighting.address) && self.0.len() >= BLE_STRANGERS_MAX {
            return;
        }
        let id = DeviceId(format!("ble:{}", sighting.address).into());
        let stranger = self.0.entry(sighting.address).or_insert_with(|| Stranger {
            id,
            name: None,
            rssi: None,
            seen: now,
            profiles: Vec::new(),
        });
        stranger.seen = now;
        stranger.rssi = sighting.rssi;
        let told = sighting.name.is_some() || sighting.services.is_some();
        if sighting.name.is_some() {
            stranger.name = sighting.name;
        }
        if told {
            let services = sighting.services.unwrap_or_default().into_iter().collect();
            let plan = catalogue.plan(stranger.name.as_deref(), &services);
            stranger.profiles = plan.map(|p| p.profiles).unwrap_or_else(|_| std::mem::take(&mut stranger.profiles));
        }
    }

    /// This one was heard within the last minute.
    pub(super) fn has(&self, address: &str) -> bool {
        self.0.contains_key(address)
    }

    /// Those that were not heard for a while are gone.
    pub(super) fn fade(&mut self, now: Stamp) {
        self.0.retain(|_, s| now.since(s.seen) < BLE_LISTED_MAX);
    }

    /// These are known by now.
    pub(super) fn forget(&mut self, known: impl Fn(&str) -> bool) {
        self.0.retain(|address, _| !known(address));
    }

    /// All of them, the loudest first.
    pub(super) fn listed(&self) -> Vec<Stranger> {
        let mut all: Vec<_> = self.0.values().cloned().collect();
        all.sort_by_key(|s| std::cmp::Reverse(s.rssi));
        all
    }
}
