//! How an Observation names its devices: by identifier (no Device has to be created or kept in step at the server),
//! by a Device within it, by where a Device is, or in a transaction by a search that finds it. The identifier always goes along: what bears our mark is known by it.
//! A Bluetooth device by its address as the Personal Health Device guide writes it, any other by its name here.

use super::scope::{Devices, Scope};
use super::types::{Identifier, Reference, system};

/// Where an Observation names the gateway that sent it.
pub const GATEWAY_EXTENSION: &str = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice";
/// The system of gateways' identifiers.
pub const GATEWAY_SYSTEM: &str = system::GATEWAY;

/// A device's reference, with the text it borrows from.
pub(super) struct Device<'i> {
    id: &'i str,
    system: &'static str,
    value: String,
}

impl<'i> Device<'i> {
    pub fn new(id: &'i str) -> Self {
        match id.strip_prefix("ble:") {
            Some(address) => Self { id, system: system::BLUETOOTH_ADDRESS, value: address.replace(':', "-") },
            None => Self { id, system: system::DEVICE, value: id.to_owned() },
        }
    }

    /// In an Observation.
    pub fn reference<'a>(&'a self, scope: &'a Scope) -> Reference<'a> {
        match &scope.devices {
            Devices::Contained => Reference { reference: Some("#sensor".into()), ..self.named() },
            Devices::Reference | Devices::Placed(_) => self.outside(scope),
        }
    }

    /// Where nothing is contained.
    pub fn outside<'a>(&'a self, scope: &'a Scope) -> Reference<'a> {
        Reference { reference: scope.reference(self.id, &self.identifier()), ..self.named() }
    }

    fn named(&self) -> Reference<'_> {
        Reference::known_as("Device", self.system, &self.value)
    }

    pub fn identifier(&self) -> Identifier<'_> {
        Identifier { system: self.system, value: &self.value }
    }
}

/// The gateway, in an Observation.
pub(super) fn gateway(scope: &Scope) -> Reference<'_> {
    match &scope.devices {
        Devices::Contained => Reference { reference: Some("#gateway".into()), ..author(scope) },
        Devices::Reference | Devices::Placed(_) => author(scope),
    }
}

/// The gateway, where nothing is contained.
pub(super) fn author(scope: &Scope) -> Reference<'_> {
    let named = Reference::known_as("Device", system::GATEWAY, &scope.gateway);
    let known = Identifier { system: system::GATEWAY, value: &scope.gateway };
    Reference { reference: scope.reference(&scope.gateway, &known), ..named }
}
