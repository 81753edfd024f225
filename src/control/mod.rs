//! HTTP on Unix sockets: commands on one, health and metrics on the other. The handlers that CLI and page share.
//!
//! Promises: who may do what is decided by the kernel's word about the peer ([`access`]); every body is bounded; every
//! refusal has a code, a cause and a remedy. Must never: change state itself (orders go to the pipeline and are
//! answered after the commit), or show patient data on the status socket.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use crate::alarm::{Alert, AlertId};
use crate::clock::{Clock, Stamp};
use crate::config::DeviceSettings;
use crate::reading::ReadingKey;
use crate::roster::Roster;
use crate::telemetry::Watchdog;

pub mod access;
pub mod charts;
pub mod client;
pub mod consents;
pub mod demographics;
mod health;
pub mod inbox;
pub mod patients;
pub mod probe;
mod problem;
pub mod radio;
mod routes;
pub mod serve;
pub mod technician;
#[cfg(test)]
mod tests;
pub mod thresholds;
pub mod users;
pub mod view;
pub mod witness;

pub use access::Role;
pub use health::router as health_router;
pub use problem::{Fault, Problem};
pub use routes::router;

/// What the handlers need of the running gateway.
pub struct Desk {
    /// Name of the box.
    pub gateway: Arc<str>,
    /// When the process started.
    pub started: Stamp,
    /// Time.
    pub clock: Clock,
    /// Whose readings this box may send: a device may be given to these only.
    pub patients: Roster,
    /// What the journal holds.
    pub records: Arc<dyn Records>,
    /// Alerts that are not resolved, as the engine has them now.
    pub alerts: watch::Receiver<Arc<[Alert]>>,
    /// Who carries orders out.
    pub orders: Arc<dyn Orders>,
    /// What is stuck.
    pub inbox: Arc<dyn inbox::Inbox>,
    /// Whose chart a reading belongs to.
    pub charts: Arc<dyn charts::Charts>,
    /// Who are the patients of this box, and what the centre says of them.
    pub people: Arc<dyn patients::People>,
    /// What the centres ordered.
    pub thresholds: Arc<dyn thresholds::Thresholds>,
    /// Who consented to what.
    pub consents: Arc<dyn consents::Consents>,
    /// Whom destinations find by more than the pseudonym.
    pub register: Arc<dyn demographics::Register>,
    /// Who looked at what.
    pub witness: witness::Witness,
    /// What is known of the destinations.
    pub probes: Arc<dyn probe::Probes>,
    /// One for each source.
    pub sources: Vec<Probe>,
    /// One for each destination.
    pub destinations: Vec<Probe>,
    /// How the Bluetooth radio and its devices are; `None`: there is no such source.
    pub radio: Option<Arc<dyn radio::Radio>>,
    /// Who may serve devices at the local page.
    pub technicians: technician::Technicians,
    /// Who is alive.
    pub watchdog: Arc<Watchdog>,
    /// Counters.
    pub metrics: PrometheusHandle,
}

/// Asks a source or a destination how it is; answers at once from what is known.
pub type Probe = Box<dyn Fn() -> view::Link + Send + Sync>;

/// An answer that comes piece by piece; an error is its last one.
pub type Pieces = Box<dyn Iterator<Item = Result<Vec<u8>, Unreadable>> + Send>;

/// What a person may order. Answered after the commit.
pub trait Orders: Send + Sync {
    /// A person takes an alert.
    fn acknowledge(&self, id: AlertId, by: String) -> BoxFuture<'_, Result<(), Fault>>;
    /// A device joins, or gets another holder, as somebody says: kept in the journal, in force with the next frame.
    fn add_device(&self, device: DeviceSettings, by: String) -> BoxFuture<'_, Result<(), Fault>>;
}

/// Read-only sight of the journal. Blocking: the handlers call it off the runtime's thread.
pub trait Records: Send + Sync {
    /// Readings, newest first.
    fn readings(&self, filter: &view::Filter) -> Result<Vec<view::Row>, Unreadable>;
    /// Everything about one reading.
    fn explain(&self, key: ReadingKey) -> Result<Option<view::Explained>, Unreadable>;
    /// Alerts, resolved ones too, newest first.
    fn alerts(&self, limit: usize) -> Result<Vec<Alert>, Unreadable>;
    /// What waits for each destination, and what was refused.
    fn outbox(&self, destination: Option<&str>) -> Result<Vec<view::Outbox>, Unreadable>;
    /// The account of each day from this instant on, newest first.
    fn custody(&self, since_ms: i64) -> Result<Vec<view::Day>, Unreadable>;
    /// Seal of the newest entry of the chain of custody, hex.
    fn seal(&self) -> Result<Option<String>, Unreadable>;
    /// The chain of custody, checked against what is there.
    fn verify(&self) -> Result<view::Verified, Unreadable>;
    /// What the journal takes of the disk.
    fn storage(&self, now_ms: i64) -> Result<view::Storage, Unreadable>;
    /// Writes a checked copy of the journal to a file of the gateway's own, which the caller removes.
    fn copy(&self) -> Result<(view::Copy, std::path::PathBuf), Unreadable>;
    /// Readings for analysis, as lines; only what may leave the box. It says of itself whether it came to its end.
    fn export(&self, filter: view::ExportFilter, taken: witness::Taken) -> Result<Pieces, Unreadable>;
    /// Devices and their holders as they are in force.
    fn devices(&self) -> Result<Vec<DeviceSettings>, Unreadable>;
}

/// The journal could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the journal could not be read: {0}")]
pub struct Unreadable(pub String);
