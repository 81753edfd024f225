//! Bytes from the world. A source sends [`Frame`]s and is told by ticket which of them are synced to disk.
//!
//! Must never: let a device, a broker or a person believe that a frame is kept before it was told so.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Stamp};
use crate::fault::Explain;
use crate::reading::Frame;
pub use crate::secret;

pub mod ble;
pub mod mqtt;
pub mod replay;
pub mod sim;

/// What a source is given by the gateway.
pub struct Port {
    /// Frames go here; when it is full, stop reading.
    pub frames: mpsc::Sender<Frame>,
    /// Tickets of frames that are synced to disk come from here. Closed: nothing more will be told.
    pub kept: mpsc::Receiver<u64>,
    /// How the source is doing, for status, health and metrics.
    pub status: watch::Sender<SourceStatus>,
    /// Stamps frames.
    pub clock: Clock,
    /// The gateway is shutting down: read nothing new, wait a little for the last tickets, leave.
    pub stop: CancellationToken,
}

/// How a source is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Connected since then; `None`: not connected.
    pub connected_since: Option<Stamp>,
    /// What went wrong last; cleared when the connection stands again.
    pub trouble: Option<Trouble>,
    /// Connections lost or refused since the start.
    pub failures: u64,
    /// Frames received since the start.
    pub frames: u64,
    /// Frames received and not acknowledged yet.
    pub outstanding: usize,
}

/// An error as it is shown: no patient data, no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Stable code.
    pub code: &'static str,
    /// Cause and remedy.
    pub sentence: Arc<str>,
}

impl Trouble {
    /// What a person is shown of an error.
    pub fn of(error: &dyn Explain) -> Self {
        Self { code: error.code(), sentence: format!("{error}. {}", error.remedy()).into() }
    }
}
