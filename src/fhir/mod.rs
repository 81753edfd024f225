//! Reading or alert to FHIR R4 resources; pure, one file per resource.
//!
//! Serialised straight from the reading: decimals stay exact, the same reading gives the same octets each time.
//! Must never: send a doubtful value as a plain vital, a value without its unit, or a reading without its patient.

mod alert;
mod bundle;
mod detected_issue;
mod device;
mod identity;
pub mod inbound;
mod observation;
mod quality;
mod task;
mod types;

pub use alert::{AlertResources, Pointer};
pub use bundle::{Bundle, Kind, Single, Target, Write, single, single_at, single_new};
pub use device::{GATEWAY_EXTENSION, GATEWAY_SYSTEM};
pub use identity::{Clue, Identity, alert_id};
pub use observation::{Scope, write as write_observation};

/// Why a reading has no Observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmappable {
    /// Wait: it is sent when its patient is known.
    #[error("the reading has no patient")]
    Unassigned,
    /// Wait: it is sent when its time is known.
    #[error("the reading has no resolved time")]
    Undated,
    /// A person must look: the profile gives a unit that the vital cannot have.
    #[error("the unit does not fit the vital sign")]
    Unit,
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
