//! What the journal takes of the disk, and what it may give back: the figures behind `wardline storage`.

use std::path::Path;

use super::disk::{Disk, Machine};
use super::reader::{ReadError, Reader};
use super::{open, vault};
use crate::clock::DAY_MS;

/// Room, octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Pages of the database that hold something.
    pub used: u64,
    /// Size of the database's file.
    pub file: u64,
    /// Size of the write-ahead log.
    pub wal: u64,
    /// Free on the disk, for the gateway's user.
    pub free: Option<u64>,
    /// Readings.
    pub readings: u64,
    /// Of these, owed to a destination: never given up.
    pub waiting: u64,
    /// Readings whose raw bytes are kept.
    pub with_bytes: u64,
    /// When the oldest was taken in.
    pub oldest_ms: Option<i64>,
    /// Taken in during the 24 hours before `now_ms`.
    pub last_day: u64,
}

impl Reader {
    /// The figures.
    pub fn room(&self, folder: &Path, now_ms: i64) -> Result<Room, ReadError> {
        let size = |name: &str| folder.join(name).metadata().map_or(0, |m| m.len());
        let waiting = self.custody()?.waiting;
        self.with(|conn| {
            let number = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0)).map(i64::unsigned_abs);
            let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
            Ok(Room {
                used: pages * vault::page_bytes(conn)?.unsigned_abs(),
                file: size(open::FILE),
                wal: size(&format!("{}-wal", open::FILE)),
                free: Machine.free_bytes(folder).ok(),
                readings: number("SELECT count(*) FROM reading")?,
                waiting,
                with_bytes: number("SELECT count(*) FROM reading WHERE bytes IS NOT NULL OR frame IS NOT NULL")?,
                oldest_ms: conn.query_row("SELECT min(committed_ms) FROM reading", [], |r| r.get(0))?,
                last_day: number(&format!("SELECT count(*) FROM reading WHERE committed_ms > {}", now_ms - DAY_MS))?,
            })
        })
    }
}
