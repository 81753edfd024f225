//! What can go wrong with Bluetooth, as a person is told: of the radio as a whole, and of one device.
//!
//! Must never: hold a measured value, a local name, or free text of a peripheral.

use crate::fault::Explain;

/// Why Bluetooth as a whole does not work. It is tried again, for ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RadioFault {
    /// No system bus.
    #[error("the system's D-Bus cannot be reached")]
    NoBus,
    /// bluetoothd is not running.
    #[error("bluetoothd is not running")]
    NoDaemon,
    /// bluetoothd, or the bus, does not answer.
    #[error("bluetoothd did not answer within 5 s ({0})")]
    Hung(&'static str),
    /// There is no adapter, or not the one that the settings name.
    #[error("there is no Bluetooth adapter{0}")]
    NoAdapter(String),
    /// The adapter is off and cannot be switched on.
    #[error("the Bluetooth adapter is off and cannot be switched on")]
    Off,
    /// The scan does not start, or ended by itself.
    #[error("the scan for devices does not run")]
    NoScan,
    /// Nothing is heard any more, and restarts did not help.
    #[error("nothing was heard for {0} min, and restarts of scan and adapter did not help")]
    Silent(u64),
    /// bluetoothd holds a connection that is not used, whatever we do.
    #[error("bluetoothd holds a connection that nobody uses, and a restart of the adapter did not help")]
    Held,
}

impl Explain for RadioFault {
    fn code(&self) -> &'static str {
        match self {
            Self::NoBus => "WL-S050",
            Self::NoDaemon => "WL-S051",
            Self::Hung(_) => "WL-S052",
            Self::NoAdapter(_) => "WL-S053",
            Self::Off => "WL-S054",
            Self::NoScan => "WL-S055",
            Self::Silent(_) => "WL-S056",
            Self::Held => "WL-S073",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::NoBus => "Start dbus; the gateway tries again.",
            Self::NoDaemon => "systemctl start bluetooth; the gateway tries again.",
            Self::Hung(_) => "The gateway builds its part anew; if it stays so, systemctl restart bluetooth.",
            Self::NoAdapter(_) => "Plug it in, or correct `adapter`; bluetoothctl list shows what is there.",
            Self::Off => "rfkill unblock bluetooth; is the gateway's user in the group bluetooth?",
            Self::NoScan => "The gateway goes on trying; if it stays so, systemctl restart bluetooth.",
            Self::Silent(_) => "Are devices near and awake? If so, plug the adapter out and in, or restart the box.",
            Self::Held => "systemctl restart bluetooth; if that does not help, plug the adapter out and in.",
        }
    }
}

/// Why a device was not served. It is tried again, later and later, and at once when it wakes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceFault {
    /// It does not connect.
    #[error("it does not connect")]
    Connect,
    /// It ends the link as soon as it stands. With a bond, and again and again: it has lost its half of it.
    #[error("it ends each connection at once")]
    CutOff,
    /// bluetoothd still makes, or holds, a connection that we gave up.
    #[error("bluetoothd holds a connection to it that nobody uses")]
    Stuck,
    /// The link broke before everything was done.
    #[error("the link broke in mid-session")]
    Lost,
    /// What its profile needs is not there.
    #[error("it does not offer characteristic {0}")]
    Missing(String),
    /// It was never paired with this box, and needs to be.
    #[error("it is not paired with this box")]
    NotPaired,
    /// It was paired, and does not know us any more.
    #[error("it has forgotten that it is paired with this box")]
    BondLost,
    /// It refuses a read, a write or a subscription.
    #[error("it refuses characteristic {0}")]
    Refused(String),
    /// An answer did not come.
    #[error("it did not answer in time")]
    Timeout,
    /// Its memory cannot be read now.
    #[error("its memory cannot be read (response code {0})")]
    History(u8),
    /// It sends far more than anybody measures.
    #[error("it sends more values than anybody measures and is left alone for 10 min")]
    Flood,
    /// Our journal takes nothing now: the rest of its memory is fetched later.
    #[error("the journal takes nothing now; the rest of its memory is fetched later")]
    Held,
    /// Our part of its connection panicked, in a library.
    #[error("the gateway's own part of its connection failed")]
    Broken,
    /// No profile fits it.
    #[error("no firmware profile fits it")]
    NoProfile,
    /// Several profiles fit it.
    #[error("several firmware profiles fit it equally well")]
    SeveralProfiles,
}

impl Explain for DeviceFault {
    fn code(&self) -> &'static str {
        match self {
            Self::Connect | Self::CutOff => "WL-S060",
            Self::Stuck => "WL-S073",
            Self::Lost => "WL-S061",
            Self::Missing(_) => "WL-S062",
            Self::NotPaired => "WL-S063",
            Self::BondLost => "WL-S064",
            Self::Refused(_) => "WL-S065",
            Self::Timeout => "WL-S066",
            Self::History(_) => "WL-S067",
            Self::Flood => "WL-S068",
            Self::NoProfile | Self::SeveralProfiles => "WL-S069",
            Self::Held => "WL-S070",
            Self::Broken => "WL-O012",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Connect => "Bring it nearer, change its battery, and see that no telephone holds it.",
            Self::CutOff => "Bring it nearer, and see that no telephone holds it; if it was reset, pair it again.",
            Self::Stuck => "Nothing yet: the adapter is started anew within a minute or two.",
            Self::Lost => "Bring it nearer; what it keeps in its memory is fetched next time.",
            Self::Missing(_) => "Is it the right device, with the firmware of its profile? `wardline devices`.",
            Self::NotPaired => "Pair it: `wardline devices pair ID`.",
            Self::BondLost => "Pair it again: `wardline devices pair ID`.",
            Self::Refused(_) => "Pair it again; if that does not help, its profile does not fit its firmware.",
            Self::Timeout => "It is tried again; if it stays so, take its battery out and in.",
            Self::History(_) => "It is tried again; see the manual for how to let it send.",
            Self::Flood => "Take the device away: it is broken, or not what it says it is.",
            Self::Broken => "It is tried again; report the line of the log that has a file in it.",
            Self::Held => "See what `wardline storage` says of the disk.",
            Self::NoProfile | Self::SeveralProfiles => "Add a profile for it (docs/profiles.md).",
        }
    }
}
