//! Observations on their way to a FHIR server, so that its two ways never send the same one at the same moment: a server
//! whose conditional create looks first and stores then would have it twice.
//!
//! Promises: an alert waits for nothing; readings wait for an alert that carries them. Must never: take a reading to be on
//! its way when its request has ended, however it ended.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::reading::{Reading, ReadingKey};

/// What is on its way to one server.
#[derive(Default)]
pub(super) struct Flight {
    carried: Mutex<Carried>,
    landed: Notify,
}

/// How many requests of each way carry it.
#[derive(Default)]
struct Carried {
    readings: HashMap<ReadingKey, usize>,
    alerts: HashMap<ReadingKey, usize>,
}

type Way = fn(&mut Carried) -> &mut HashMap<ReadingKey, usize>;

/// Until it is dropped, these are on their way.
pub(super) struct Airborne<'f> {
    flight: &'f Flight,
    way: Way,
    keys: Vec<ReadingKey>,
}

impl Flight {
    /// Readings, as soon as no alert carries one of them. What takes a reading back counts as that reading.
    pub(super) async fn readings(&self, readings: impl Iterator<Item = &Reading>) -> Airborne<'_> {
        let keys: Vec<ReadingKey> = readings.map(|r| *r.known_as()).collect();
        loop {
            let mut landed = std::pin::pin!(self.landed.notified());
            landed.as_mut().enable();
            {
                let mut carried = self.carried();
                if !keys.iter().any(|key| carried.alerts.contains_key(key)) {
                    return self.take_off(&mut carried, |c| &mut c.readings, keys);
                }
            }
            landed.await;
        }
    }

    /// The evidence of an alert: what it carries, and what is on its way without it.
    pub(super) fn evidence(&self, evidence: &[ReadingKey]) -> (Airborne<'_>, Vec<ReadingKey>) {
        let mut carried = self.carried();
        let (elsewhere, keys) = evidence.iter().partition(|key| carried.readings.contains_key(key));
        (self.take_off(&mut carried, |c| &mut c.alerts, keys), elsewhere)
    }

    fn take_off(&self, carried: &mut Carried, way: Way, keys: Vec<ReadingKey>) -> Airborne<'_> {
        keys.iter().for_each(|key| *way(carried).entry(*key).or_default() += 1);
        Airborne { flight: self, way, keys }
    }

    fn carried(&self) -> MutexGuard<'_, Carried> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Airborne<'_> {
    fn drop(&mut self) {
        let mut carried = self.flight.carried();
        let among = (self.way)(&mut carried);
        for key in &self.keys {
            let left = among.get(key).map_or(0, |n| n.saturating_sub(1));
            match left {
                0 => drop(among.remove(key)),
                left => drop(among.insert(*key, left)),
            }
        }
        drop(carried);
        self.flight.landed.notify_waiters();
    }
}
