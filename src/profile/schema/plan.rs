//! Which Bluetooth devices a profile is for, how they bond, and the session planned before they wake.

use serde::Deserialize;

use crate::profile::firmware::Firmware;

/// Which Bluetooth devices a profile is for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matching {
    /// Advertised local names; `*` stands for any characters.
    pub names: Vec<String>,
    /// Services that the device offers, by UUID.
    pub services: Vec<String>,
    /// Company identifier of its manufacturer data.
    pub manufacturer: Option<u16>,
    /// Firmware revisions, as `">=1.2, <2"`; it is read in each connection.
    pub firmware: Option<Firmware>,
}

/// Whether and how a device bonds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pairing {
    /// The method.
    pub method: PairingMethod,
    /// What the patient does, step by step, in plain words.
    pub steps: Vec<String>,
}

/// How a device bonds; the later, the stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairingMethod {
    /// Not at all.
    #[default]
    None,
    /// Without a code.
    JustWorks,
    /// With the code that the device shows.
    Passkey,
}

/// What to do while connected, planned before the device wakes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// In this order.
    pub steps: Vec<Step>,
    /// What tells the device that a value has arrived, and when.
    pub confirm: Confirm,
    /// What can be lost between the device's send and our commit, in words.
    #[serde(default)]
    pub window: Option<String>,
}

/// One step of a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Bond now.
    Bond {},
    /// Read a characteristic.
    Read {
        /// UUID.
        characteristic: String,
    },
    /// Enable notifications or indications.
    Subscribe {
        /// UUID.
        characteristic: String,
        /// Which of the two.
        kind: Subscription,
    },
    /// Set the device's clock.
    WriteClock {
        /// UUID.
        characteristic: String,
        /// The service it lies in, where that is unusual.
        #[serde(default)]
        service: Option<String>,
        /// How the time is written.
        #[serde(default)]
        form: ClockForm,
        /// Octets before it, in hex.
        #[serde(default)]
        prefix: String,
    },
    /// Write fixed octets.
    Write {
        /// UUID.
        characteristic: String,
        /// Octets in hex.
        hex: String,
    },
    /// Write fixed octets, and go on when a value has come, or none comes.
    Ask {
        /// UUID.
        characteristic: String,
        /// Octets in hex.
        hex: String,
        /// Again after so many seconds, as long as values come.
        #[serde(default)]
        every_s: Option<u16>,
    },
    /// Ask for the consent of each user whose code the box has; without one, nothing is asked.
    UserConsent {
        /// UUID of the user control point.
        characteristic: String,
    },
    /// Fetch stored records through the record access control point.
    History {
        /// UUID of the control point.
        characteristic: String,
        /// Where to begin.
        from: HistoryFrom,
    },
    /// Wait until the device hangs up.
    AwaitDisconnect {},
}

/// How a clock is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockForm {
    /// As the characteristic is specified: 2A08 or 2A2B, local time.
    #[default]
    DateTime,
    /// Seconds since 1970, UTC, 32 bits little-endian.
    #[serde(rename = "since-1970")]
    Since1970,
    /// Seconds since 2010, UTC, 32 bits little-endian.
    #[serde(rename = "since-2010")]
    Since2010,
}

/// How a value is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subscription {
    /// Unconfirmed.
    Notify,
    /// Confirmed by the link layer, before our commit.
    Indicate,
}

/// Where to begin with stored records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryFrom {
    /// After the last sequence number that is committed.
    LastSequence,
    /// All of them, each time, where the device has such a control point.
    All,
}

/// When a device may forget a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confirm {
    /// We move its cursor, or let it delete, after the commit.
    AfterCommit,
    /// The link confirms by itself; what we control follows the commit.
    ByLink,
    /// It keeps nothing: what is not heard is gone.
    Nothing,
}
