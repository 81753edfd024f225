//! Bytes from the world. A source sends [`Frame`]s and is told by ticket which of them are synced to disk.
//!
//! Must never: let a device, a broker or a person believe that a frame is kept before it was told so.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::reading::Frame;

/// What a source is given by the gateway.
pub struct Port {
    /// Frames go here; when it is full, stop reading.
    pub frames: mpsc::Sender<Frame>,
    /// Tickets of frames that are synced to disk come from here.
    pub kept: mpsc::Receiver<u64>,
    /// Stamps frames.
    pub clock: Clock,
    /// The gateway is shutting down.
    pub stop: CancellationToken,
}
