//! The journal: the only code that sees SQLite. One writer on its own thread, WAL, `synchronous=FULL`, group commit.
//!
//! Promises: what [`Journal::commit`] answered is on the disk; what was delivered stays settled; a failed sync is fatal.
//! Must never: answer before the sync, retry a failed sync, or delete what is not settled.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::alarm::{Alert, AlertEvent};
use crate::clock::{Clock, Stamp};
use crate::config::JournalSettings;
use crate::custody::{Item, ItemId, Lane, Outcome};
use crate::reading::{Arrival, Reading, ReadingKey};

/// Handle to the writer's thread; cheap to clone.
#[derive(Clone)]
pub struct Journal {}

/// What a commit did with one arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Readings stored for the first time.
    pub new: u32,
    /// Readings that were there already (redelivery, re-sent history).
    pub known: u32,
    /// The frame was kept as a reject.
    pub rejected: bool,
}

/// What is kept of the past that other parts need at start.
pub struct Recovered {
    /// Alerts that are not resolved.
    pub open_alerts: Vec<Alert>,
    /// The newest readings per patient and vital, oldest first, for rules that look back.
    pub recent: Vec<Reading>,
    /// Counts starts of the process, from 1.
    pub run: u32,
}

/// Why the journal cannot be used. The process ends in order and recovers at restart.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Stop acknowledging, alarm, exit: the disk did not take the data.
    #[error("the journal could not be synced: {0}")]
    Fatal(Arc<str>),
    /// Not now: keep nothing new, tell the source nothing; it will ask again.
    #[error("the disk is full: nothing new is kept until space is free")]
    Full,
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
}

impl Journal {
    /// Opens or creates the journal in this folder; checks version, integrity and free space; starts the writer's thread.
    /// `destinations` are the names of the configured destinations, in order.
    pub fn open(
        _folder: &Path,
        _settings: &JournalSettings,
        _destinations: &[String],
        _clock: Clock,
    ) -> Result<(Self, Recovered), OpenError> {
        todo!()
    }

    /// Stores arrivals and alert events in one synced transaction; answers for each arrival, in order, after the sync.
    pub async fn commit(&self, _arrivals: Vec<Arrival>, _events: Vec<AlertEvent>) -> Result<Vec<Kept>, JournalError> {
        todo!()
    }

    /// Leases up to `max` due items of a lane for a destination; they are not leased again until settled or `lease` has passed.
    /// Order is kept per patient and device. Unassigned readings are never leased.
    pub async fn lease(&self, _destination: &str, _lane: Lane, _max: usize) -> Result<Vec<Item>, JournalError> {
        todo!()
    }

    /// Records the outcomes of leased items.
    pub async fn settle(&self, _destination: &str, _outcomes: Vec<(ItemId, Outcome)>) -> Result<(), JournalError> {
        todo!()
    }

    /// Changes whenever something new may be due.
    pub fn changed(&self) -> watch::Receiver<u64> {
        todo!()
    }
}

/// Why the journal does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {}

/// What happened to one reading, for `wardline explain`.
pub struct Life {
    /// Its identity.
    pub key: ReadingKey,
    /// When it was committed.
    pub committed: Stamp,
}
