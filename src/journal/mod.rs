//! The journal: the only code that sees SQLite. One writer on its own thread, WAL, `synchronous=FULL`, group commit.
//!
//! Promises: what [`Journal::commit`] answered is on the disk; what was delivered stays settled; a failed sync is fatal.
//! Must never: answer before the sync, retry a failed sync, or delete what is not settled.

mod amend;
pub mod backup;
mod baseless;
mod chain;
mod charts;
mod consent;
mod counts;
mod days;
mod deeds;
mod demographics;
#[doc(hidden)]
pub mod disk;
mod driven;
pub mod export;
mod glean;
mod handover;
pub mod inbox;
mod known;
mod lease;
mod leaves;
mod ledger;
mod life;
mod open;
mod outbox;
mod page;
mod pending;
mod people;
mod queue;
pub mod reader;
mod recount;
mod recover;
mod redelivery;
mod redress;
pub mod rekey;
pub mod reset;
mod retention;
mod room;
mod row;
mod salvage;
mod schema;
mod seal;
mod space;
mod spans;
mod store;
mod tally;
mod user_codes;
mod vault;
mod verify;
mod wal;
mod withheld;
mod writer;

pub(crate) use baseless::says_the_same;

use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use tokio::sync::{Notify, Semaphore, oneshot, watch};

use crate::alarm::{Alert, AlertEvent};
use crate::association::Held;
use crate::clock::Clock;
use crate::config::{DeviceSettings, JournalSettings};
use crate::custody::{Creditor, Item, ItemId, Lane, Outcome};
use crate::fault::Explain;
use crate::limits;
use crate::reading::{Arrival, DeviceId, Reading};

use disk::Disk;

pub use amend::Correction;
pub use consent::{Consents, Gate};
pub use counts::{Counts, Custody, Owed};
pub use days::{Day, DayCounts};
pub use deeds::{Deeds, Told};
pub use demographics::Introduced;
#[doc(hidden)]
pub use driven::Driven;
pub use known::Horizon;
pub use life::Life;
pub use open::OpenError;
pub use reader::{ReadError, Reader};
pub use recount::{Recount, Sought};
pub use redress::Act;
pub use room::Room;
pub use salvage::Salvaged;
pub use user_codes::Change as UserCodeChange;
pub use vault::{Key, KeyError, Vault};
pub use verify::Verified;
pub use withheld::Withheld;
use writer::{Command, Envelope, Setup, Writer};

/// Handle to the writer's thread; cheap to clone. When the last one is dropped, the writer ends in order and is waited for.
#[derive(Clone)]
pub struct Journal {
    commands: SyncSender<Envelope>,
    /// One permit for each place in the queue of commands, so that sending never blocks the caller's thread.
    places: Arc<Semaphore>,
    /// Rings for each command: for a writer without a thread of its own.
    bell: Arc<Notify>,
    creditors: Arc<[Creditor]>,
    vault: Arc<Vault>,
    changed: watch::Receiver<u64>,
    consents: watch::Receiver<Arc<Consents>>,
    /// Last: when the last of them goes, no handle can ask any more, and the thread ends.
    end: Arc<End>,
}

/// The end of the writer's thread, which is waited for: while the process ends, libcrypto takes itself apart, and a writer
/// that is still at work would take that for a failure of the disk (WL-J010), or crash.
#[derive(Default)]
struct End(OnceLock<JoinHandle<()>>);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

/// What the writer works with.
struct Bench {
    opened: open::Opened,
    setup: Setup,
    queue: Receiver<Envelope>,
}

/// What is committed together: kept until the journal took it, so that a full disk can be tried again.
#[derive(Debug, Default)]
pub struct Group {
    /// Frames with what became of them.
    pub arrivals: Vec<Arrival>,
    /// Alert events.
    pub events: Vec<AlertEvent>,
}

/// What a commit did with one arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Who held which device when.
    pub held: Vec<Held>,
    /// Devices of which that is damaged.
    pub held_lost: Vec<DeviceId>,
    /// Damaged records about people, these among them: what they said is not in force.
    pub people_damaged: usize,
    /// When the newest reading was committed, milliseconds since 1970.
    pub newest_ms: Option<i64>,
    /// A random number of this start: no other start has it, also not of a journal that was restored or begun anew.
    pub run: u64,
    /// The journal was damaged.
    pub salvaged: Option<Salvaged>,
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

impl Explain for JournalError {
    fn code(&self) -> &'static str {
        match self {
            Self::Fatal(_) => "WL-J010",
            Self::Full => "WL-J011",
            Self::Closed => "WL-J012",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Fatal(_) => "Check the disk; the gateway recovers when it is started again.",
            Self::Full => "Free disk space; sources keep what was not acknowledged and send it again.",
            Self::Closed => "Start the gateway again.",
        }
    }
}

impl Journal {
    /// Opens or creates the journal in this vault; checks version, integrity and free space; starts the writer's thread.
    /// `creditors` are the configured destinations with what each of them is owed.
    pub fn open(
        vault: impl Into<Vault>,
        settings: &JournalSettings,
        creditors: &[Creditor],
        clock: Clock,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(Arc::new(disk::Machine), vault, settings, creditors, clock)
    }

    /// The same on another disk than the machine's.
    #[doc(hidden)]
    pub fn open_on(
        disk: Arc<dyn Disk>,
        vault: impl Into<Vault>,
        settings: &JournalSettings,
        creditors: &[Creditor],
        clock: Clock,
    ) -> Result<(Self, Recovered), OpenError> {
        let vault = &vault.into();
        let open = || Self::open_as_it_is(disk.clone(), vault, settings, creditors, clock.clone());
        let why = match open() {
            Err(OpenError::Damaged(why)) => why,
            opened_or_refused => return opened_or_refused,
        };
        let made = vault.is_made(&*disk);
        let salvaged = Self::salvage(&*disk, vault, creditors, &clock, why)?;
        let (journal, recovered) = open()?;
        // Power was lost while it was first made: nothing had been acknowledged, and nothing was found.
        let salvaged = Some(salvaged).filter(|salvaged| made || salvaged.readings > 0);
        Ok((journal, Recovered { salvaged, ..recovered }))
    }

    fn salvage(
        disk: &dyn Disk,
        vault: &Vault,
        creditors: &[Creditor],
        clock: &Clock,
        why: String,
    ) -> Result<Salvaged, OpenError> {
        let _lock = open::claim(&vault.folder)?;
        salvage::salvage(disk, vault, creditors, clock, why)
    }

    fn open_as_it_is(
        disk: Arc<dyn Disk>,
        vault: &Vault,
        settings: &JournalSettings,
        creditors: &[Creditor],
        clock: Clock,
    ) -> Result<(Self, Recovered), OpenError> {
        let (journal, recovered, Bench { opened, setup, queue }) =
            Self::furnish(disk, vault, settings, creditors, clock)?;
        let (ready, is_ready) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || write(opened.conn, setup, &queue, &ready, opened.lock))
            .map_err(|source| OpenError::Folder { path: vault.folder.clone(), source: Arc::new(source) })?;
        if let Err(e) = is_ready.recv().unwrap_or(Err(rusqlite::Error::InvalidQuery)) {
            // The file is closed when this returns.
            let _ = thread.join();
            return Err(e.into());
        }
        let _ = journal.end.0.set(thread);
        Ok((journal, recovered))
    }

    /// The handle, what is kept of the past, and what the writer needs to begin.
    fn furnish(
        disk: Arc<dyn Disk>,
        vault: &Vault,
        settings: &JournalSettings,
        creditors: &[Creditor],
        clock: Clock,
    ) -> Result<(Self, Recovered, Bench), OpenError> {
        let opened = open::open(&*disk, vault, settings, &clock)?;
        wal::begin_anew(&opened.conn)?;
        let (start, tally) = recover::begin(&opened.conn, creditors, clock.now())?;
        let recovered = recover::past(&opened.conn, random())?;
        let rows = |to: fn(&Creditor) -> bool| -> Vec<i64> {
            creditors.iter().zip(&tally.accounts).filter(|(c, _)| to(c)).map(|(_, a)| a.id).collect()
        };
        let (alerts_to, evidence_to) = (rows(|c| c.alerts), rows(|c| c.evidence));
        let (tell, changed) = watch::channel(0);
        let tidied = user_codes::tidy(&opened.conn, vault.key().is_some())?;
        if demographics::keep_only_asked(&opened.conn, creditors)? || tidied {
            // Also out of the WAL.
            wal::begin_anew(&opened.conn)?;
        }
        let (tell_consents, consents) = watch::channel(Arc::new(Consents::load(&opened.conn, creditors)?));
        let space = space::Space::new(disk, vault.folder.clone(), settings.reserve_mib << 20);
        let setup = Setup {
            tally,
            start,
            alerts_to,
            evidence_to,
            clock,
            settings: settings.clone(),
            space,
            changed: tell,
            consents: tell_consents,
            names: creditors.iter().map(|c| c.name.clone()).collect(),
            wal_pages: opened.wal_pages.clone(),
        };
        let (commands, queue) = sync_channel(limits::JOURNAL_COMMANDS_MAX);
        let places = Arc::new(Semaphore::new(limits::JOURNAL_COMMANDS_MAX));
        let (creditors, vault) = (creditors.into(), Arc::new(vault.clone()));
        let end = Arc::default();
        let journal = Self { commands, places, bell: Arc::default(), creditors, vault, changed, consents, end };
        Ok((journal, recovered, Bench { opened, setup, queue }))
    }

    /// Stores a group in one synced transaction; answers for each arrival, in order, after the sync.
    /// Below the reserve of free space a group with arrivals is refused whole with `Full`; one with alert events only is taken.
    pub async fn commit(&self, group: Arc<Group>) -> Result<Vec<Kept>, JournalError> {
        self.ask(|reply| Command::Commit(group, reply)).await?
    }

    /// Keeps a device's settings that were changed at run time.
    pub async fn save_device(&self, device: DeviceSettings) -> Result<(), JournalError> {
        self.ask(|reply| Command::SaveDevice(Box::new(device), reply)).await?
    }

    /// Records what a person, or the gateway itself, decided about the inbox. Answers how many items it concerned.
    pub async fn redress(&self, act: Act) -> Result<u64, JournalError> {
        self.ask(|reply| Command::Redress(Box::new(act), reply)).await?
    }

    /// Leases up to `max` due items of a lane for a destination, oldest first; they are not leased again until settled.
    ///
    /// Fresh is what was committed since the destination was last seen failing (an outcome `Retry` with `destination`)
    /// or the process started; Backlog is the rest. A device's later reading is not leased while an earlier one of the
    /// same lane is leased or waits for its first retry; one that failed twice holds nobody up. Unassigned readings are never leased.
    pub async fn lease(&self, destination: &str, lane: Lane, max: usize) -> Result<Vec<Item>, JournalError> {
        let Some(desk) = self.desk(destination) else { return Ok(Vec::new()) };
        self.ask(|reply| Command::Lease(desk, lane, max, reply)).await?
    }

    /// Records the outcomes of leased items: each leased item is settled exactly once. `Retry` without `after` is due at once;
    /// when a retry falls due, [`Journal::changed`] tells. After an error the items are leased again.
    pub async fn settle(&self, destination: &str, outcomes: Vec<(ItemId, Outcome)>) -> Result<(), JournalError> {
        let Some(desk) = self.desk(destination) else { return Ok(()) };
        self.ask(|reply| Command::Settle(desk, outcomes, reply)).await?
    }

    /// Like [`Journal::settle`], with the next transaction, or within `limits::SETTLE_LINGER`: for whoever has nothing else to do.
    pub async fn settle_in_company(
        &self,
        destination: &str,
        outcomes: Vec<(ItemId, Outcome)>,
    ) -> Result<(), JournalError> {
        let Some(desk) = self.desk(destination) else { return Ok(()) };
        self.ask(|reply| Command::SettleInCompany(desk, outcomes, reply)).await?
    }

    /// Leased items that were not tried are owed again, as if they had not been leased.
    pub async fn give_back(&self, destination: &str, items: Vec<ItemId>) -> Result<(), JournalError> {
        let Some(desk) = self.desk(destination) else { return Ok(()) };
        self.ask(|reply| Command::GiveBack(desk, items, reply)).await?
    }

    /// What each destination may get, as last committed: whoever is about to send looks here.
    pub fn consents(&self) -> Arc<Consents> {
        self.consents.borrow().clone()
    }

    /// A read-only sight of it, with a connection of its own.
    pub fn reader(&self) -> Reader {
        Reader::new(&*self.vault)
    }

    /// Changes whenever something new may be due.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Ends the writer in order, after everything that was asked before.
    pub async fn close(&self) {
        let _ = self.ask(Command::Close).await;
    }

    fn desk(&self, destination: &str) -> Option<usize> {
        self.creditors.iter().position(|c| &*c.name == destination)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        let place = self.places.clone().acquire_owned().await.map_err(|_| JournalError::Closed)?;
        self.commands.try_send((command(reply), place)).map_err(|_| JournalError::Closed)?;
        self.bell.notify_one();
        answer.await.map_err(|_| JournalError::Closed)
    }
}

/// Of this start alone. Where the machine has no randomness, the time stands in for it.
fn random() -> u64 {
    let mut octets = [0; 8];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut octets);
    if filled.is_ok() { u64::from_ne_bytes(octets) } else { Clock::system().now().wall_ms.unsigned_abs() }
}

/// The thread. The lock goes last, when the file is closed; then whoever waits for the end is told.
fn write(
    conn: rusqlite::Connection,
    setup: Setup,
    queue: &Receiver<Envelope>,
    ready: &SyncSender<rusqlite::Result<()>>,
    lock: File,
) {
    let waits = match Writer::prepare(&conn, setup) {
        Ok(writer) => {
            let _ = ready.send(Ok(()));
            writer.run(queue)
        }
        Err(e) => {
            let _ = ready.send(Err(e));
            None
        }
    };
    drop(conn);
    drop(lock);
    if let Some(waits) = waits {
        let _ = waits.send(());
    }
}
