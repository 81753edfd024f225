//! Calls that fail.

use rusqlite::ffi;

use super::State;

/// What fails, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fails {
    /// Nothing.
    #[default]
    Nothing,
    /// Every kind of call, with an I/O error; what a write was to write is not written.
    Any,
    /// Writes: no space.
    Full,
    /// Writes: half of it is written, then there is no space.
    Short,
    /// Syncs: what they were for is never durable for sure.
    Sync,
}

/// From which call on. `at` counts the calls that can fail so, from 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fault {
    pub what: Fails,
    pub at: u64,
    /// All later ones fail too.
    pub stays: bool,
    seen: u64,
}

/// A call to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Read,
    Write,
    Truncate,
    Sync,
    Size,
    Delete,
    Access,
    Lock,
    SharedMemory,
    /// Of the program itself, beside SQLite.
    Entry,
}

impl Fault {
    /// The `at`-th call fails so; and, if it `stays`, all later ones.
    pub fn new(what: Fails, at: u64, stays: bool) -> Self {
        Self { what, at, stays, seen: 0 }
    }

    pub(crate) fn happened(&self) -> bool {
        self.what != Fails::Nothing && self.seen >= self.at
    }

    fn strikes(&mut self, call: Call) -> bool {
        let fits = match self.what {
            Fails::Nothing => false,
            Fails::Any => true,
            Fails::Full | Fails::Short => call == Call::Write,
            Fails::Sync => call == Call::Sync,
        };
        self.seen += u64::from(fits);
        fits && (self.seen == self.at || self.stays && self.seen > self.at)
    }
}

impl State {
    /// Counts a call; an error: SQLite's code for how it fails.
    pub(crate) fn call(&mut self, call: Call) -> Result<(), i32> {
        if !self.fault.strikes(call) {
            return Ok(());
        }
        Err(match (call, self.fault.what) {
            (Call::Write, Fails::Full | Fails::Short) => ffi::SQLITE_FULL,
            (Call::Open, _) => ffi::SQLITE_CANTOPEN,
            (Call::Read, _) => ffi::SQLITE_IOERR_READ,
            (Call::Write, _) => ffi::SQLITE_IOERR_WRITE,
            (Call::Truncate, _) => ffi::SQLITE_IOERR_TRUNCATE,
            (Call::Sync, _) => ffi::SQLITE_IOERR_FSYNC,
            (Call::Size, _) => ffi::SQLITE_IOERR_FSTAT,
            (Call::Delete, _) => ffi::SQLITE_IOERR_DELETE,
            (Call::Access, _) => ffi::SQLITE_IOERR_ACCESS,
            (Call::Lock, _) => ffi::SQLITE_IOERR_LOCK,
            (Call::SharedMemory, _) => ffi::SQLITE_IOERR_SHMMAP,
            (Call::Entry, _) => ffi::SQLITE_IOERR,
        })
    }

    /// A short write writes half.
    pub(crate) fn short(&self) -> bool {
        self.fault.what == Fails::Short
    }
}
