//! Devices as logical references: by identifier, so that no Device has to be created or kept in step at the server.
//! A Bluetooth device by its address as the Personal Health Device guide writes it, any other by its name here.

use super::types::{Identifier, Reference, system};

/// Where an Observation names the gateway that sent it.
pub const GATEWAY_EXTENSION: &str = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice";
/// The system of gateways' identifiers.
pub const GATEWAY_SYSTEM: &str = system::GATEWAY;

/// A device's reference, with the text it borrows from.
pub(super) struct Device {
    system: &'static str,
    value: String,
}

impl Device {
    pub fn new(id: &str) -> Self {
        match id.strip_prefix("ble:") {
            Some(address) => Self { system: system::BLUETOOTH_ADDRESS, value: address.replace(':', "-") },
            None => Self { system: system::DEVICE, value: id.to_owned() },
        }
    }

    pub fn reference(&self) -> Reference<'_> {
        Reference::known_as("Device", self.system, &self.value)
    }
}

/// The gateway itself.
pub(super) fn gateway(id: &str) -> Reference<'_> {
    Reference {
        kind: Some("Device"),
        identifier: Some(Identifier { system: system::GATEWAY, value: id }),
        ..Reference::default()
    }
}
