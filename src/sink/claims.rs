//! What the settings of a FHIR destination mean for its resources.
//!
//! Must never: begin with a table of codes that cannot be sent.

use std::sync::Arc;

use crate::config::{DeviceForm, FhirSettings, Uncoded, UsCore};
use crate::fhir::{Devices, Scope, UsCore as Claim};
use crate::mapping::{Mapping, MappingError};

/// Reads the destination's own table, if it has one.
pub fn scope(settings: &FhirSettings, gateway: &Arc<str>) -> Result<Scope, MappingError> {
    Ok(Scope {
        us_core: match settings.us_core {
            UsCore::None => Claim::None,
            UsCore::Any => Claim::Any,
            UsCore::V6 => Claim::V6,
            UsCore::V8 => Claim::V8,
        },
        phd: settings.phd,
        devices: match settings.devices {
            DeviceForm::Reference => Devices::Reference,
            DeviceForm::Contained => Devices::Contained,
            DeviceForm::Resource => Devices::Placed(Arc::default()),
        },
        uncoded: settings.uncoded == Uncoded::Text,
        mapping: settings.mapping_file.as_deref().map(Mapping::load).transpose()?.map(Arc::new),
        ..Scope::new(gateway.clone())
    })
}
