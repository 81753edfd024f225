//! What MQTT 5 and 3.1.1 have in common, as the session sees them.

use std::future::Future;

use bytes::Bytes;

use super::fault::SourceError;

/// What a broker sent.
pub(super) enum Event {
    /// The connection stands.
    Connected {
        /// The broker kept our session: subscriptions, and what was published meanwhile.
        resumed: bool,
    },
    /// The answer to our subscriptions.
    Subscribed {
        /// How many of them the broker refused.
        refused: usize,
    },
    /// A message.
    Message(Message),
}

/// A message as it came.
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    /// 0: nobody waits for an acknowledgement.
    pub(super) packet_id: u16,
    pub(super) dup: bool,
    /// Kept by the broker since an unknown time.
    pub(super) retained: bool,
    /// A retained message that came before and comes again only because we subscribed again.
    pub(super) repeat: bool,
}

/// Drives a connection; connects anew when it is polled after an error.
pub(super) trait Link: Send {
    /// Waits for input, then takes all that is ready. Not to be dropped half-way while the connection is wanted.
    fn next(&mut self, events: &mut Vec<Event>) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// Speaks into a connection that [`Link::next`] drives. Nothing is sent before that is polled.
pub(super) trait Voice: Send {
    /// Acknowledges a packet of this connection. `false`: not now.
    fn acknowledge(&self, packet_id: u16) -> bool;
    /// Subscribes at QoS 1. Retained messages come only for subscriptions that are new to the broker, where it can tell.
    fn subscribe(&self, filters: &[String]);
    /// Says goodbye; the broker keeps the session.
    fn leave(&self);
}
