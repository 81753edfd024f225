//! What is kept of the devices across restarts: where a history stands, whether there was a bond, what its clock said,
//! what it says of itself.
//!
//! Promises: a cursor is written only after the commit of what it stands for; one that the journal cannot vouch for (it
//! was restored, salvaged, begun anew) is dropped, and everything is fetched again. Losing the file loses no reading.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::gap::Noticed;
use super::history::Cursor;
use crate::nameplate::{Nameplate, Nameplates};
use crate::reading::{ClockPair, DeviceId};

/// Name of the file in the state folder.
pub const FILE: &str = "bluetooth.json";

/// Places of a device's cursor that are remembered: so many control solutions in a row cost no whole memory at a restart.
const BLE_TRAIL_MAX: usize = 8;

/// Of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Where its history stands.
    pub cursor: Option<Cursor>,
    /// Up to this number its records are here, or are said to be missing.
    pub judged: Option<u16>,
    /// Here the cursor waited for missing ones when the last connection broke off.
    pub doubted: Option<u16>,
    /// Where the cursor was before, the newest last: not every record became a reading that vouches for it.
    pub trail: Vec<Cursor>,
    /// What was never seen here, the newest last.
    pub gaps: Vec<Noticed>,
    /// It was bonded with this box.
    pub bonded: bool,
    /// It was connected and read.
    pub served: bool,
    /// Its clock, when it was last asked.
    pub clock: Option<ClockPair>,
    /// What it said of itself.
    pub says: Nameplate,
}

impl Kept {
    /// The cursor moved.
    pub fn moved(&mut self, cursor: Option<Cursor>) {
        let Some(to) = cursor else {
            self.trail.clear();
            return self.cursor = None;
        };
        self.trail.extend(self.cursor.filter(|before| *before != to));
        let many = self.trail.len().saturating_sub(BLE_TRAIL_MAX);
        self.trail.drain(..many);
        self.cursor = cursor;
    }

    /// Steps back to the last place that the journal vouches for; what is behind it is asked for again.
    fn doubt(&mut self, holds: impl Fn(u16) -> bool) {
        if self.cursor.is_none_or(|cursor| holds(cursor.sequence)) {
            return;
        }
        while let Some(before) = self.trail.pop() {
            self.cursor = Some(before).filter(|cursor| holds(cursor.sequence));
            if self.cursor.is_some() {
                break;
            }
        }
        self.cursor = self.cursor.filter(|cursor| holds(cursor.sequence));
        let here = self.cursor.map(|cursor| cursor.sequence);
        self.judged = self.judged.zip(here).map(|(judged, here)| judged.min(here));
    }
}

/// Of all devices.
#[derive(Debug, Default)]
pub struct Memory {
    file: PathBuf,
    devices: BTreeMap<DeviceId, Kept>,
    dirty: bool,
    plates: Nameplates,
}

impl Memory {
    /// Reads the file of this folder. `holds`: whether the journal has this record of this device.
    pub fn open(folder: &Path, holds: impl Fn(&DeviceId, u16) -> bool) -> Self {
        let file = folder.join(FILE);
        // A file that is not there or not whole is no error: everything is fetched again.
        let text = std::fs::read(&file).unwrap_or_default();
        let mut devices: BTreeMap<DeviceId, Kept> = serde_json::from_slice(&text).unwrap_or_default();
        for (id, kept) in &mut devices {
            kept.doubt(|sequence| holds(id, sequence));
        }
        Self { file, devices, dirty: false, plates: Nameplates::default() }
    }

    /// The same, and others are told what devices say of themselves.
    pub fn telling(self, plates: Nameplates) -> Self {
        self.devices.iter().for_each(|(id, kept)| plates.tell(id, &kept.says));
        Self { plates, ..self }
    }

    /// What is known of a device.
    pub(super) fn of(&self, id: &DeviceId) -> Kept {
        self.devices.get(id).cloned().unwrap_or_default()
    }

    /// Devices were connected to here before.
    pub(super) fn has_met(&self) -> bool {
        let met = |kept: &Kept| kept.cursor.is_some() || kept.clock.is_some() || kept.says != Nameplate::default();
        self.devices.values().any(met)
    }

    /// Changes it.
    pub(super) fn change(&mut self, id: &DeviceId, change: impl FnOnce(&mut Kept)) {
        let kept = self.devices.entry(id.clone()).or_default();
        let before = kept.clone();
        change(kept);
        if kept.says != before.says {
            self.plates.tell(id, &kept.says);
        }
        self.dirty |= *kept != before;
    }

    /// Only of these devices anything is kept.
    pub(super) fn retain(&mut self, known: impl Fn(&DeviceId) -> bool) {
        let before = self.devices.len();
        self.devices.retain(|id, _| known(id));
        self.plates.retain(&known);
        self.dirty |= self.devices.len() != before;
    }

    /// What is to be written, if anything changed.
    pub(super) fn unwritten(&mut self) -> Option<impl FnOnce() + Send + use<>> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let (file, text) = (self.file.clone(), serde_json::to_vec(&self.devices).unwrap_or_default());
        Some(move || {
            let new = file.with_extension("new");
            if let Err(e) = write(&new, &text).and_then(|()| std::fs::rename(&new, &file)) {
                // The cursors stay where they were: records come again, and the journal knows them.
                tracing::warn!(error = %e.kind(), "what is remembered of the Bluetooth devices could not be written.");
            }
        })
    }
}

/// For our own user only: it is not encrypted, and holds serial numbers (docs/decisions/0073).
fn write(file: &Path, text: &[u8]) -> std::io::Result<()> {
    // One that was left half-written may have another mode.
    let _ = std::fs::remove_file(file);
    std::fs::File::options().write(true).create_new(true).mode(0o600).open(file)?.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_the_journal_does_not_vouch_for_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let id = DeviceId("ble:C0:26:DF:00:11:22".into());
        let cursor = Some(Cursor { sequence: 7, mark: 1 });
        let mut memory = Memory::open(folder.path(), |_, _| true);
        memory.change(&id, |kept| {
            kept.cursor = cursor;
            kept.bonded = true;
        });
        std::fs::write(folder.path().join("bluetooth.new"), "left").unwrap();
        memory.unwritten().unwrap()();
        assert!(memory.unwritten().is_none());
        let mode = std::os::unix::fs::PermissionsExt::mode(&folder.path().join(FILE).metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Memory::open(folder.path(), |_, sequence| sequence == 7).of(&id).cursor, cursor);
        let doubted = Memory::open(folder.path(), |_, _| false).of(&id);
        assert_eq!((doubted.cursor, doubted.bonded), (None, true));
        // A control solution is a record, and no reading: the one before it vouches.
        memory.change(&id, |kept| {
            (0..20).for_each(|n| kept.moved(Some(Cursor { sequence: n, mark: 2 })));
            kept.judged = Some(19);
        });
        assert!(memory.of(&id).trail.len() <= BLE_TRAIL_MAX);
        memory.unwritten().unwrap()();
        let stepped = Memory::open(folder.path(), |_, sequence| sequence <= 17).of(&id);
        assert_eq!((stepped.cursor, stepped.judged), (Some(Cursor { sequence: 17, mark: 2 }), Some(17)));
        let doubted = Memory::open(folder.path(), |_, sequence| sequence <= 3).of(&id);
        assert_eq!((doubted.cursor, doubted.judged), (None, None), "too far back to be known");
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(Memory::open(folder.path(), |_, _| true).of(&id), Kept::default());
    }
}
