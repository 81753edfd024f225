//! The MQTT source: a persistent session at a broker, QoS 1, acknowledged when the journal has it.
//!
//! Promises: PUBACK only after the gateway told that the frame is synced; whatever was not acknowledged is sent again by
//! the broker, across restarts of either side; a broker that is away, refuses or misbehaves is a status, not an end.
//! Must never: acknowledge by itself, hold more than the in-flight window, or name a topic in a log or a metric.

use crate::config::{MqttSettings, MqttVersion};
use crate::source::Port;

mod fault;
mod filters;
mod link;
mod plan;
mod session;
mod sieve;
mod trust;
mod v4;
mod v5;
mod window;
mod wire;

pub use fault::SourceError;

/// Runs a source until the gateway stops. Ends with an error only if it cannot start: settings, secrets, certificates.
pub async fn run(
    settings: &MqttSettings,
    gateway_id: &str,
    filters: Vec<String>,
    port: Port,
) -> Result<(), SourceError> {
    let plan = plan::Plan::new(settings, gateway_id, filters)?;
    match settings.version {
        MqttVersion::V5 => {
            let (link, voice) = v5::open(&plan)?;
            session::Session::new(plan, voice, port).run(link).await;
        }
        MqttVersion::V311 => {
            let (link, voice) = v4::open(&plan)?;
            session::Session::new(plan, voice, port).run(link).await;
        }
    }
    Ok(())
}

/// Whether a source could start with these settings: for `wardline check`.
pub fn check(settings: &MqttSettings, gateway_id: &str, filters: Vec<String>) -> Result<(), SourceError> {
    plan::Plan::new(settings, gateway_id, filters).map(|_| ())
}
