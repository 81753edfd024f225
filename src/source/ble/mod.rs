//! The Bluetooth LE source: known devices are found, connected in turn, read as their profile plans, and let go.
//!
//! Promises: only configured devices are connected to; a stored record's cursor moves after the commit; nothing is ever
//! deleted from a device; whatever device, daemon, bus or adapter does, the source goes on or says why it cannot.
//! Must never: pair by itself, hold more than its bounds, or wait for BlueZ without a time-out of ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::BluetoothSettings;
use crate::profile::Catalogue;
use crate::reading::DeviceId;
use crate::source::Port;
use crate::user_code::Codes;

mod agent;
mod bus;
mod consents;
mod context;
mod count;
mod dial;
mod fault;
mod gap;
mod habits;
mod history;
mod keeper;
mod life;
mod link;
mod memory;
pub mod pairing;
mod peers;
mod questions;
mod scan;
mod session;
mod silence;
mod slots;
mod standing;
mod strangers;
mod tap;
#[cfg(test)]
mod tests;
mod users;
mod view;
mod wire;
mod words;

pub use fault::{DeviceFault, RadioFault};
pub use gap::{Gap, Noticed};
pub use memory::Memory;
pub use tap::{Recording, Tap};
pub use users::{Asked, Said, UserFault, Users};
pub use view::{DeviceHealth, Phase, RadioView, Stranger};

/// Known Bluetooth devices, each with the zone of its clock where it has one of its own.
pub type Known = BTreeMap<DeviceId, Option<String>>;

/// What the source is given beside its port.
pub struct Setup {
    /// Its name.
    pub name: Arc<str>,
    /// `hci0`; `None`: the first adapter.
    pub adapter: Option<String>,
    /// Devices connected at once.
    pub max_connected: usize,
    /// Unhealed silence that is a technical condition; zero: never.
    pub silence: Duration,
    /// Zone of devices' clocks.
    pub time_zone: TimeZone,
    /// Plans and broadcasts.
    pub catalogue: Arc<Catalogue>,
    /// Which devices are known, as it changes.
    pub known: watch::Receiver<Arc<Known>>,
    /// Codes of the users of shared scales, as they change.
    pub codes: watch::Receiver<Arc<Codes>>,
    /// How radio and devices are, for others.
    pub view: watch::Sender<Arc<RadioView>>,
    /// Where people pair.
    pub window: Arc<pairing::Window>,
    /// Bonds that are to be taken away.
    pub forget: mpsc::Receiver<Forget>,
    /// Where people record what a device sends.
    pub tap: Arc<Tap>,
}

/// A bond that a person takes away; answered when BlueZ has done it, or with why not.
pub type Forget = (DeviceId, oneshot::Sender<Result<(), String>>);

impl Setup {
    /// From the settings.
    pub fn new(
        settings: &BluetoothSettings,
        time_zone: TimeZone,
        catalogue: Arc<Catalogue>,
        known: watch::Receiver<Arc<Known>>,
        view: watch::Sender<Arc<RadioView>>,
        window: Arc<pairing::Window>,
        (forget, tap, codes): (mpsc::Receiver<Forget>, Arc<Tap>, watch::Receiver<Arc<Codes>>),
    ) -> Self {
        Self {
            name: settings.name.as_str().into(),
            adapter: settings.adapter.clone(),
            max_connected: settings.max_connected,
            silence: Duration::from_secs(60 * u64::from(settings.silence_alert_min)),
            time_zone,
            catalogue,
            known,
            codes,
            view,
            window,
            forget,
            tap,
        }
    }
}

/// Runs until the gateway stops, or until only a new process is left to try: then with why.
pub async fn run(setup: Setup, memory: Memory, port: Port) -> Result<(), RadioFault> {
    keeper::Keeper::new(setup, memory, port).run().await
}
