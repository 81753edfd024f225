//! `org.bluez.Agent1`: what BlueZ asks while it pairs. Every answer is the pairing window's.
//!
//! Must never: agree to anything for a device that no person named.

use std::sync::Arc;

use zbus::zvariant::ObjectPath;
use zbus::{DBusError, interface};

use super::bus::{Bus, CallFault};
use super::pairing::{Reply, Stage, Window};

const PATH: &str = "/org/wardline/agent";
const MANAGER: &str = "org.bluez.AgentManager1";

/// What BlueZ is told instead of an answer.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.bluez.Error")]
pub(super) enum No {
    /// As zbus wants it.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// No.
    Rejected(String),
}

fn no<T>() -> Result<T, No> {
    Err(No::Rejected("nobody opened a pairing window for this device".into()))
}

struct Agent(Arc<Window>);

#[interface(name = "org.bluez.Agent1")]
impl Agent {
    fn release(&self) {}

    fn cancel(&self) {}

    /// Six digits that the device shows.
    async fn request_passkey(&self, device: ObjectPath<'_>) -> Result<u32, No> {
        match self.0.ask(device.as_str(), Stage::Enter).await {
            Some(Reply::Passkey(passkey)) => Ok(passkey),
            _ => no(),
        }
    }

    /// Six digits that a person types into the device; called again with each key pressed there.
    fn display_passkey(&self, device: ObjectPath<'_>, passkey: u32, _entered: u16) -> Result<(), No> {
        if self.0.show(device.as_str(), passkey) { Ok(()) } else { no() }
    }

    /// Both show the same digits, or not.
    async fn request_confirmation(&self, device: ObjectPath<'_>, passkey: u32) -> Result<(), No> {
        match self.0.ask(device.as_str(), Stage::Compare(passkey)).await {
            Some(Reply::Same(true)) => Ok(()),
            _ => no(),
        }
    }

    /// Without a code: the person who opened the window has said yes.
    fn request_authorization(&self, device: ObjectPath<'_>) -> Result<(), No> {
        if self.0.is_for(device.as_str()) { Ok(()) } else { no() }
    }

    /// Classic Bluetooth; nobody here speaks it.
    fn request_pin_code(&self, _device: ObjectPath<'_>) -> Result<String, No> {
        no()
    }

    fn display_pin_code(&self, _device: ObjectPath<'_>, _code: String) -> Result<(), No> {
        no()
    }

    fn authorize_service(&self, _device: ObjectPath<'_>, _uuid: String) -> Result<(), No> {
        no()
    }
}

/// Serves the agent and makes it BlueZ's own.
pub(super) async fn register(bus: &Bus, window: Arc<Window>) -> Result<(), CallFault> {
    let refused = |e: zbus::Error| CallFault::Refused(e.to_string());
    bus.calls.object_server().at(PATH, Agent(window)).await.map_err(refused)?;
    let path = ObjectPath::from_static_str_unchecked(PATH);
    // It can show digits, and ask for them: whatever the device can, there is a way.
    bus.call("/org/bluez", MANAGER, "RegisterAgent", &(&path, "KeyboardDisplay")).await?;
    bus.call("/org/bluez", MANAGER, "RequestDefaultAgent", &(&path,)).await
}
