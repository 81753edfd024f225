//! The journal: the only code that sees SQLite. One writer on its own thread, WAL, `synchronous=FULL`, group commit.
//!
//! Promises: what [`Journal::commit`] answered is on the disk; what was delivered stays settled; a failed sync is fatal.
//! Must never: answer before the sync, retry a failed sync, or delete what is not settled.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::alarm::{Alert, AlertEvent};
use crate::clock::{Clock, Stamp};
use crate::config::{DeviceSettings, JournalSettings};
use crate::custody::{Creditor, Item, ItemId, Lane, Outcome};
use crate::reading::{Arrival, Reading, ReadingKey};

/// Handle to the writer's thread; cheap to clone.
#[derive(Clone)]
pub struct Journal {}

/// What is committed together: kept until the journal took it, so that a full disk can be tried again.
#[derive(Debug, Default)]
pub struct Group {
    /// Frames with what became of them.
    pub arrivals: Vec<Arrival>,
    /// Alert events.
    pub events: Vec<AlertEvent>,
}

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
    /// Devices that were added or changed at run time; they stand before the configuration's.
    pub devices: Vec<DeviceSettings>,
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
    /// `creditors` are the configured destinations with what each of them is owed.
    pub fn open(
        _folder: &Path,
        _settings: &JournalSettings,
        _creditors: &[Creditor],
        _clock: Clock,
    ) -> Result<(Self, Recovered), OpenError> {
        todo!()
    }

    /// Stores a group in one synced transaction; answers for each arrival, in order, after the sync.
    /// Below the reserve of free space a group with arrivals is refused whole with `Full`; one with alert events only is taken.
    pub async fn commit(&self, _group: Arc<Group>) -> Result<Vec<Kept>, JournalError> {
        todo!()
    }

    /// Keeps a device's settings that were changed at run time.
    pub async fn save_device(&self, _device: DeviceSettings) -> Result<(), JournalError> {
        todo!()
    }

    /// Leases up to `max` due items of a lane for a destination, oldest first; they are not leased again until settled.
    ///
    /// Fresh is what was committed since the destination was last seen failing (an outcome `Retry` with `destination`)
    /// or the process started; Backlog is the rest. A device's later reading is not leased while an earlier one of the
    /// same lane is leased or waits for its retry. Unassigned readings are never leased.
    pub async fn lease(&self, _destination: &str, _lane: Lane, _max: usize) -> Result<Vec<Item>, JournalError> {
        todo!()
    }

    /// Records the outcomes of leased items: each leased item is settled exactly once. `Retry` without `after` is due at once;
    /// when a retry falls due, [`Journal::changed`] tells. After an error the items are leased again.
    pub async fn settle(&self, _destination: &str, _outcomes: Vec<(ItemId, Outcome)>) -> Result<(), JournalError> {
        todo!()
    }

    /// Changes whenever something new may be due.
    pub fn changed(&self) -> watch::Receiver<u64> {
        todo!()
    }

    /// Ends the writer in order, after everything that was asked before.
    pub async fn close(&self) {
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
