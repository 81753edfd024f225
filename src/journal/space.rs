//! Free space of the disk: below the reserve nothing new is kept.

use std::path::PathBuf;
use std::sync::Arc;

use super::disk::Disk;
use crate::clock::Stamp;
use crate::limits;

/// Looks at the disk now and then.
pub(super) struct Space {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    reserve_bytes: u64,
    looked: Option<Stamp>,
    low: bool,
}

impl Space {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf, reserve_bytes: u64) -> Self {
        Self { disk, folder, reserve_bytes, looked: None, low: false }
    }

    /// Leaves word that the journal is damaged, for the next start.
    pub(super) fn note_damage(&self) {
        if let Err(e) = super::salvage::mark(&*self.disk, &self.folder) {
            tracing::error!(code = "WL-J014", reason = %e, "Damage of the journal was found, and could not be noted.");
        }
    }

    /// Less is free than must be.
    pub(super) fn is_low(&mut self, now: Stamp) -> bool {
        if self.looked.is_none_or(|then| now.since(then) >= limits::JOURNAL_SPACE_EVERY) {
            self.looked = Some(now);
            self.low = self.disk.free_bytes(&self.folder).is_ok_and(|free| free < self.reserve_bytes);
        }
        self.low
    }
}
