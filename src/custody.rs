//! What is owed to a destination, and what the destination answered.
//!
//! The common language of `journal/` (which keeps the debt) and `sink/` (which pays it), so that neither knows the other.
//! Must never: let an item leave without a receipt, a reject with its reason, or a new due time.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::AlertEvent;
use crate::consent::Terms;
use crate::reading::Reading;

/// One debt: a reading or an alert event, by its row in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ItemId {
    /// Row of a reading.
    Reading(i64),
    /// Row of an alert event.
    Alert(i64),
}

/// A destination with what it is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creditor {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Attributed readings.
    pub readings: bool,
    /// Alert events.
    pub alerts: bool,
    /// An alert brings the readings along that it rests on, each as what it is known by.
    pub evidence: bool,
    /// Whose readings it may get.
    pub terms: Terms,
}

/// Something to deliver.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its row.
    pub id: ItemId,
    /// What it is.
    pub what: Payload,
    /// Attempts made so far.
    pub attempts: u32,
}

/// What an item carries.
#[derive(Clone, Debug)]
pub enum Payload {
    /// An attributed reading.
    Reading(Arc<Reading>),
    /// An alert event.
    Alert(Arc<AlertEvent>),
}

/// Which queue: alerts first, then fresh readings, which overtake the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Alert events.
    Alert,
    /// Readings, newest arrivals (committed after the last outage ended).
    Fresh,
    /// Readings that waited through an outage.
    Backlog,
}

/// A destination's answer for one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Delivered(Receipt),
    /// Not yet, or not known (a lost answer): safe to send again because of the identity.
    Retry {
        /// The destination said when.
        after: Option<Duration>,
        /// Stable code and sentence.
        why: Why,
        /// The destination as a whole is unwell (breaker), rather than this one item.
        destination: bool,
    },
    /// The destination refuses it for good: a person must look.
    Reject(Why),
    /// Not sent, as it may not go any more: it is owed as if it had not been tried.
    Withheld,
}

/// What proves a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Where it is: `Observation/123/_history/1`, or a file and line.
    pub location: Arc<str>,
    /// The destination had it already.
    #[serde(default)]
    pub known: bool,
}

/// Why an item was not delivered. Holds no patient data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Stable code, `WL-F…`.
    pub code: std::borrow::Cow<'static, str>,
    /// One sentence.
    pub text: String,
}

impl Why {
    /// A code with a sentence.
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into() }
    }

    /// Whether the destination may have the item all the same. Not where nothing was sent.
    pub fn may_have_arrived(&self) -> bool {
        !["WL-F001", "WL-F003", "WL-H004"].contains(&&*self.code)
    }

    /// Whether a destination that is unwell failed on what it was sent, which may be the item's doing. Else it is away,
    /// full, or wants another credential, and no item is suspected for it.
    pub fn may_be_the_items(&self) -> bool {
        let destinations = ["WL-F001", "WL-F002", "WL-F003", "WL-F004", "WL-F006", "WL-F007", "WL-F008", "WL-F015"];
        // Those of a bus, and of whoever gives us tokens.
        let others = ["WL-N", "WL-A1"];
        !destinations.contains(&&*self.code) && !others.iter().any(|o| self.code.starts_with(o))
    }
}
