//! How the radio and each device are, for status, health and the command line.
//!
//! Must never: hold a measured value.

use std::sync::Arc;

use super::fault::DeviceFault;
use super::gap::Noticed;
use super::habits::Habits;
use super::users::Users;
use crate::clock::Stamp;
use crate::fault::Explain;
use crate::nameplate::Nameplate;
use crate::reading::DeviceId;
use crate::source::Trouble;

/// What a device is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not heard.
    #[default]
    Away,
    /// Heard; waits for its turn, or for its next try.
    Near,
    /// Being connected.
    Connecting,
    /// Connected.
    Connected,
    /// Let go; its last values are being committed.
    Settling,
}

impl Phase {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Near => "near",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Settling => "settling",
        }
    }
}

/// How one known device is.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceHealth {
    /// Which.
    pub id: DeviceId,
    /// What it is doing.
    pub phase: Phase,
    /// Strength of its last advertisement, dBm.
    pub rssi: Option<i16>,
    /// How strong it is, how often it is heard and wakes, as it was learnt since the start.
    pub habits: Habits,
    /// When it was heard last.
    pub seen: Option<Stamp>,
    /// When it answered or sent a value last.
    pub answered: Option<Stamp>,
    /// Connections since the start.
    pub connections: u64,
    /// Failures since the start.
    pub failures: u64,
    /// Values since the start.
    pub values: u64,
    /// Per cent.
    pub battery: Option<u8>,
    /// What it says of itself.
    pub says: Nameplate,
    /// When it was last asked all of that.
    pub told: Option<Stamp>,
    /// Profiles that it is read with.
    pub profiles: Vec<Arc<str>>,
    /// What a person does to pair it, step by step.
    pub instructions: Vec<String>,
    /// It is bonded with this box.
    pub paired: bool,
    /// How far its clock is ahead of ours, seconds; when we asked.
    pub clock: Option<(i64, Stamp)>,
    /// What went wrong last; cleared when a connection goes well.
    pub trouble: Option<DeviceFault>,
    /// Records that were never seen here, as long as it is said.
    pub gaps: Vec<Noticed>,
    /// How it stands with its users and their codes.
    pub users: Users,
}

impl DeviceHealth {
    /// A device of which nothing is known yet.
    pub fn new(id: DeviceId) -> Self {
        Self {
            id,
            phase: Phase::Away,
            rssi: None,
            habits: Habits::default(),
            seen: None,
            answered: None,
            connections: 0,
            failures: 0,
            values: 0,
            battery: None,
            says: Nameplate::default(),
            told: None,
            profiles: Vec::new(),
            instructions: Vec::new(),
            paired: false,
            clock: None,
            trouble: None,
            gaps: Vec::new(),
            users: Users::default(),
        }
    }

    /// What went wrong last, as a person is told.
    pub fn why(&self) -> Option<Trouble> {
        self.trouble.as_ref().map(|fault| Trouble::of(fault as &dyn Explain))
    }
}

/// A device that is not known and never connected to.
#[derive(Clone, Debug, PartialEq)]
pub struct Stranger {
    /// `ble:C0:26:DF:00:11:22`.
    pub id: DeviceId,
    /// Its name, as it says.
    pub name: Option<String>,
    /// Strength, dBm.
    pub rssi: Option<i16>,
    /// When it was heard last.
    pub seen: Stamp,
    /// Profiles that it could be read with.
    pub profiles: Vec<Arc<str>>,
}

/// Everything about the radio.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RadioView {
    /// `hci0`; `None`: there is none now.
    pub adapter: Option<String>,
    /// When anything was heard last.
    pub heard: Option<Stamp>,
    /// Restarts of the scan, of the adapter, and of our part, since the start.
    pub restarts: [u64; 3],
    /// Devices of which bluetoothd holds a connection, whatever was tried.
    pub held: Vec<DeviceId>,
    /// Known devices, by id.
    pub devices: Vec<DeviceHealth>,
    /// Others that were heard within the last minute.
    pub strangers: Vec<Stranger>,
}
