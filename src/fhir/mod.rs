//! Reading or alert to FHIR R4 resources; pure, one file per resource.
//!
//! Serialised straight from the reading: decimals stay exact, the same reading gives the same octets each time.
//! Must never: send a doubtful value as a plain vital, a value without its unit, or a reading without its patient.

mod alert;
mod audit_event;
mod bundle;
mod codes;
mod coincident;
mod detected_issue;
mod device;
mod device_metric;
pub mod device_resource;
mod identity;
pub mod inbound;
mod observation;
mod provenance;
mod quality;
mod scope;
mod task;
pub mod task_returned;
mod task_update;
mod types;

pub use alert::{AlertResources, Pointer};
pub use audit_event::{Audit, audit_event};
pub use bundle::{Bundle, Kind, Single, Target, Write, single, single_at, single_new};
pub use coincident::{Clocks, coincident};
pub use device::{GATEWAY_EXTENSION, GATEWAY_SYSTEM};
pub use device_metric::{Metric, device_metric};
pub use device_resource::{Facts, gateway_device, sensor_device};
pub use identity::{Clue, Identity, alert_id};
pub use observation::write as write_observation;
pub use provenance::{Origin, Why, provenance};
pub use scope::{Devices, Scope, UsCore};
pub use task_update::updated as updated_task;

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
    /// A person must look: the destination takes no vital sign without a code, and this one has none.
    #[error("no code system has this vital sign, and the destination takes none without a code")]
    Uncoded,
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
