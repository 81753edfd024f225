//! Who holds a device: a device, or one user slot of it, with a patient for a window of time; and why a reading has no owner.
//!
//! Histories only grow: a window that ended stays, as stored readings from it may still come. Must never: let two windows of one slot overlap.

use serde::{Deserialize, Serialize};

use crate::reading::{DeviceId, PatientId};

/// A patient had a device, or one user slot of it, from the first instant up to the second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// User slot; `None`: the whole device.
    pub slot: Option<u8>,
    /// Whose readings they are.
    pub patient: PatientId,
    /// Hand-out, milliseconds since 1970. `None`: nobody else ever had it.
    pub from_ms: Option<i64>,
    /// Return. `None`: still held.
    pub until_ms: Option<i64>,
    /// Who said so.
    pub by: String,
}

impl Association {
    /// Whether an interval lies wholly within the window.
    pub fn covers(&self, first_ms: i64, last_ms: i64) -> bool {
        self.from_ms.is_none_or(|from| from <= first_ms) && self.until_ms.is_none_or(|until| last_ms < until)
    }

    /// Whether any instant of the interval is in the window.
    pub fn touches(&self, first_ms: i64, last_ms: i64) -> bool {
        self.from_ms.is_none_or(|from| from <= last_ms) && self.until_ms.is_none_or(|until| first_ms < until)
    }
}

/// All that is known of who held one device, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(pub Vec<Association>);

/// A device with its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which device.
    pub device: DeviceId,
    /// Who held it when.
    pub history: History,
}

/// Why nobody can be said to own a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unassigned {
    /// The device was never given to anybody.
    NoHolder,
    /// It is shared by slots, and the reading names none.
    NoSlot,
    /// The slot is nobody's.
    SlotUnknown,
    /// It is one person's, and tells of several users.
    SeveralUsers,
    /// Taken before the device was handed out.
    BeforeHandOut,
    /// Taken after it was given back.
    AfterReturn,
    /// The device changed hands within the uncertainty of its time.
    HandOver,
    /// Its time is not known, and several people had the device.
    TimeUnknown,
    /// The weight is not like the holder's: like another person's here, or like nobody's who could have it so soon.
    UnlikeHolder,
    /// A person took it out of the chart that it was in.
    TakenBack,
}

impl Unassigned {
    const ALL: [(Self, &'static str, &'static str); 10] = [
        (Self::NoHolder, "no-holder", "the device has no patient"),
        (Self::NoSlot, "no-slot", "several people share the device, and the reading does not say who of them it was"),
        (Self::SlotUnknown, "slot-unknown", "the user slot of the device has no patient"),
        (Self::SeveralUsers, "several-users", "the device is one patient's, and tells of more than one user"),
        (Self::BeforeHandOut, "before-hand-out", "taken before the device was handed out"),
        (Self::AfterReturn, "after-return", "taken after the device was given back"),
        (Self::HandOver, "hand-over", "the device changed hands within the uncertainty of the reading's time"),
        (Self::TimeUnknown, "time-unknown", "when it was taken is not known, and several people had the device"),
        (Self::UnlikeHolder, "unlike-holder", "the weight is not like that of who holds the device"),
        (Self::TakenBack, "taken-back", "a person took it out of the chart that it was in"),
    ];

    /// As the journal has it.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(why, ..)| *why == self).map_or("", |(_, word, _)| word)
    }

    /// For people.
    pub fn phrase(self) -> &'static str {
        Self::ALL.iter().find(|(why, ..)| *why == self).map_or("", |(.., phrase)| phrase)
    }

    /// The reason of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == word).map(|(why, ..)| *why)
    }
}
