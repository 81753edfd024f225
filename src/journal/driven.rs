//! The writer as a future instead of a thread: for the simulation, where one thread runs everything and time jumps.
//!
//! Promises: the same writer, turn by turn; whoever drives it sees each turn begin and end, and no other task of the
//! runtime runs between a turn's answers and its end. Must never: be used by the gateway itself, whose disk may hang.

use std::path::Path;
use std::sync::Arc;

use super::disk::Disk;
use super::writer::Writer;
use super::{Bench, Journal, OpenError, Recovered, Salvaged};
use crate::clock::Clock;
use crate::config::JournalSettings;
use crate::custody::Creditor;

/// What whoever drives the writer is told.
#[doc(hidden)]
pub enum Driven {
    /// It is open.
    Open(Journal, Box<Recovered>),
    /// A turn begins.
    Begins,
    /// It has ended. What it answered was seen by nobody yet.
    Ended,
}

/// The journal's place.
struct Place<'a> {
    disk: Arc<dyn Disk>,
    folder: &'a Path,
    settings: &'a JournalSettings,
    creditors: &'a [Creditor],
    clock: Clock,
}

impl Journal {
    /// Opens the journal on this disk, and is its writer until the journal is closed, or `told` answers `false`: then the
    /// writer stops where it is, as at a power cut.
    #[doc(hidden)]
    pub async fn drive_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        settings: &JournalSettings,
        creditors: &[Creditor],
        clock: Clock,
        mut told: impl FnMut(Driven) -> bool,
    ) -> Result<(), OpenError> {
        let place = Place { disk, folder, settings, creditors, clock };
        let why = match place.drive(None, &mut told).await {
            Err(OpenError::Damaged(why)) => why,
            ended_or_refused => return ended_or_refused,
        };
        let salvaged = Self::salvage(&*place.disk, folder, creditors, &place.clock, why)?;
        place.drive(Some(salvaged), &mut told).await
    }
}

impl Place<'_> {
    async fn drive(&self, salvaged: Option<Salvaged>, told: &mut impl FnMut(Driven) -> bool) -> Result<(), OpenError> {
        let Self { disk, folder, settings, creditors, clock } = self;
        let (journal, recovered, bench) = Journal::furnish(disk.clone(), folder, settings, creditors, clock.clone())?;
        let Bench { opened, setup, queue } = bench;
        let bell = journal.bell.clone();
        let mut writer = Writer::prepare(&opened.conn, setup)?;
        if !told(Driven::Open(journal, Box::new(Recovered { salvaged, ..recovered }))) {
            return Ok(());
        }
        loop {
            let first = match queue.try_recv() {
                Ok(first) => Some(first),
                Err(_) => {
                    tokio::select! {
                        biased;
                        () = bell.notified() => {}
                        () = tokio::time::sleep(writer.idle()) => {}
                    }
                    queue.try_recv().ok()
                }
            };
            if !told(Driven::Begins) {
                return Ok(());
            }
            let close = writer.turn(first, &queue);
            let goes_on = told(Driven::Ended);
            if let Some(waits) = close {
                let _ = waits.send(());
                return Ok(());
            }
            if !goes_on {
                return Ok(());
            }
        }
    }
}
