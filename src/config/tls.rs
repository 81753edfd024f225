//! What the keys of TLS mean, for each table that has all four.
//!
//! The keys themselves stand in each table: serde finds no unknown key in a table with a flattened part.
//! Must never: forget one of them, or the trust of one peer would be that of another.

use std::path::PathBuf;

use super::{FhirSettings, Hl7Settings, MqttSettings, NatsSettings};
use crate::tls::Files;

macro_rules! tls_keys {
    ($($settings:ident: machine_too = $machine_too:literal;)*) => {$(
        impl $settings {
            /// What TLS is made with.
            pub fn tls(&self) -> Files {
                Files {
                    machine_too: $machine_too,
                    authorities: self.ca_file.clone(),
                    revoked: self.crl_file.clone(),
                    identity: self.client_certificate_file.clone().zip(self.client_key_file.clone()),
                }
            }

            /// Makes the paths of these files absolute.
            pub(super) fn resolve_tls(&mut self, join: &impl Fn(&mut PathBuf)) {
                let files = [&mut self.ca_file, &mut self.crl_file, &mut self.client_certificate_file, &mut self.client_key_file];
                files.into_iter().flatten().for_each(join);
            }
        }
    )*};
}

tls_keys! {
    FhirSettings: machine_too = true;
    Hl7Settings: machine_too = true;
    NatsSettings: machine_too = true;
    // A broker in the house: with an authority of its own, nobody else's word counts.
    MqttSettings: machine_too = false;
}
