//! What is to be seen on the page at one moment: plain data between [`super::board`] and [`super::render`].

use std::sync::Arc;

use crate::alarm::{Alert, Priority};
use crate::control::inbox::Group;
use crate::control::view::{Link, Outbox};

/// One moment.
pub(super) struct Scene {
    pub gateway: Arc<str>,
    pub now_ms: i64,
    pub zone: jiff::tz::TimeZone,
    pub clock_trusted: bool,
    pub stalled: Vec<String>,
    /// The journal could not be read: what is shown may be old.
    pub trouble: Option<String>,
    pub sources: Vec<Link>,
    pub places: Vec<Place>,
    pub alerts: Vec<Shown>,
    pub people: Vec<Person>,
    pub unassigned: usize,
    /// What is stuck, by cause.
    pub stuck: Vec<Group>,
}

/// A destination.
pub(super) struct Place {
    pub link: Link,
    pub outbox: Option<Outbox>,
    /// How much waited, over time.
    pub waited: Vec<(i64, f64)>,
}

/// An alert with the name of its patient.
pub(super) struct Shown {
    pub alert: Alert,
    pub who: String,
}

/// A patient.
pub(super) struct Person {
    pub name: String,
    pub alarm: Option<Priority>,
    pub tiles: Vec<Tile>,
}

/// A vital sign of a patient: its present value and its trend.
pub(super) struct Tile {
    pub name: &'static str,
    /// `128/79`; `None`: the device gave no number.
    pub value: Option<String>,
    pub unit: &'static str,
    pub at_ms: Option<i64>,
    /// What is doubtful about it.
    pub doubt: Option<&'static str>,
    /// One line per number.
    pub lines: Vec<Vec<(i64, f64)>>,
    /// The smallest range of values worth showing.
    pub least: f64,
}
