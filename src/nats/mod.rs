//! NATS and its JetStream, as far as a gateway and a relay need them: a client of our own (decision 0055).
//!
//! Promises: where TLS is asked for, nothing is sent before it is up; every line, message and wait is bounded; whoever asks
//! knows whether a stream has taken a message, has refused it, or has not been heard.
//! Must never: run by itself (whoever holds a [`Link`] drives it), or put anything of a patient in a subject or a header.

pub mod auth;
pub mod jetstream;
pub mod link;
pub mod message;
pub mod shape;
mod wire;

use crate::fault::Explain;

/// Why a server does not do what it is asked. Holds nothing that the server said about a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NatsError {
    /// Try again soon: nothing was sent.
    #[error("no connection: {0}")]
    Unreachable(&'static str),
    /// Try again: what was sent last may have arrived.
    #[error("no answer: {0}")]
    NoAnswer(&'static str),
    /// A person must look: nothing was sent.
    #[error("its certificate is not accepted: {0}")]
    Certificate(String),
    /// Correct the credential.
    #[error("the server does not let us in: {0}")]
    Refused(&'static str),
    /// Give the right in the server's configuration.
    #[error("we have no right to {0}")]
    NotPermitted(&'static str),
    /// Create the stream, or switch JetStream on.
    #[error("{0}")]
    NoStream(String),
    /// Make room in the stream: nothing is lost, it waits.
    #[error("the stream is full")]
    Full,
    /// Change the stream or the consumer.
    #[error("{what}")]
    Shape {
        /// Code of what is wrong.
        code: &'static str,
        /// What is wrong, and what it would have to be.
        what: String,
    },
    /// Too large for the stream or the server.
    #[error("too large for it")]
    TooLarge,
    /// Look at the server's log.
    #[error("it fails ({0})")]
    Fails(u64),
    /// Not a NATS server, or one that we do not understand.
    #[error("its answer is not understood: {0}")]
    Unclear(&'static str),
}

impl Explain for NatsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "WL-F001",
            Self::NoAnswer(_) => "WL-F002",
            Self::Certificate(_) => "WL-F003",
            Self::Refused(_) => "WL-N001",
            Self::NotPermitted(_) => "WL-N002",
            Self::NoStream(_) => "WL-N003",
            Self::Full => "WL-N004",
            Self::Shape { code, .. } => code,
            Self::TooLarge => "WL-F009",
            Self::Fails(_) => "WL-N009",
            Self::Unclear(_) => "WL-F010",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "Check the network and `servers`.",
            Self::NoAnswer(_) => "Check the server's load and its disk; raise `timeout_s` if it is slow by nature.",
            Self::Certificate(_) => "Give the authority that signed it as `ca_file`, or renew the certificate.",
            Self::Refused(_) => "Renew the credential in `credentials_file`.",
            Self::NotPermitted(_) => "Give this user the rights that docs/nats.md lists.",
            Self::NoStream(_) => "Create the stream as docs/nats.md says, or set `create = true`.",
            Self::Full => "Make room: start relays, or raise `max_bytes` of the stream.",
            Self::Shape { .. } => "Change the stream or the consumer as docs/nats.md says.",
            Self::TooLarge => "Raise `max_payload` of the server and `max_msg_size` of the stream.",
            Self::Fails(_) => "Look at the server's log.",
            Self::Unclear(_) => "Check that `servers` are NATS servers with JetStream.",
        }
    }
}

/// A random name, for inboxes.
fn name() -> Result<String, NatsError> {
    let mut octets = [0; 12];
    let random = ring::rand::SystemRandom::new();
    ring::rand::SecureRandom::fill(&random, &mut octets).map_err(|_| NatsError::Unreachable("no random numbers"))?;
    Ok(octets.iter().map(|b| format!("{b:02x}")).collect())
}
