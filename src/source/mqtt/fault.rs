//! What can go wrong between us and a broker, as a person is told.
//!
//! Must never: hold a topic, a payload, a user name or what the broker wrote in free text.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::fault::Explain;
use crate::source::secret::SecretError;

/// Why a source does not start, or does not stay connected.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Do not start: a secret cannot be used.
    #[error("source {name}: {source}")]
    Secret {
        /// Name of the source.
        name: String,
        /// Which file and why.
        source: SecretError,
    },
    /// Do not start: a certificate or key cannot be used.
    #[error("source {name}: {file}: {reason}")]
    Certificate {
        /// Name of the source.
        name: String,
        /// Which file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Do not start: TLS without anything to trust.
    #[error("source {name}: no CA certificates: neither `ca_file` nor the machine has any")]
    NoRoots {
        /// Name of the source.
        name: String,
    },
    /// Do not start: a setting is wrong.
    #[error("source {name}: {reason}")]
    Setting {
        /// Name of the source.
        name: String,
        /// Which setting and why.
        reason: String,
    },
    /// Retry: nobody answers there.
    #[error("the broker cannot be reached ({0})")]
    Unreachable(io::ErrorKind),
    /// Retry: its name leads nowhere.
    #[error("the broker's name is not found")]
    Name,
    /// Retry slowly: it may be an impostor; nothing was sent.
    #[error("the broker's certificate is not accepted: {0}")]
    BrokerCertificate(String),
    /// Retry slowly: the broker wants another certificate.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// Retry slowly: a person must correct user, password or certificate.
    #[error("the broker refuses our credentials")]
    Credentials,
    /// Retry slowly: a person must change the broker's access list.
    #[error("the broker does not let us in")]
    NotAuthorised,
    /// Retry slowly: the settings do not fit the broker.
    #[error("the broker refuses the connection: {0}")]
    Refused(&'static str),
    /// Retry: the broker says later.
    #[error("the broker is busy or going down")]
    Busy,
    /// Retry slowly, or two gateways push each other out forever.
    #[error("another client took over our session")]
    TakenOver,
    /// Retry: the broker went away.
    #[error("the connection to the broker ended ({0})")]
    Lost(&'static str),
    /// Retry slowly: the next packet in the session cannot be read.
    #[error("the broker sent a packet that cannot be taken ({0})")]
    Packet(&'static str),
    /// Stay connected: other topics may work.
    #[error("the broker refuses {0} of our subscriptions")]
    Subscription(usize),
}

impl SourceError {
    /// A person must act first: asking again soon changes nothing.
    pub(super) fn is_slow(&self) -> bool {
        matches!(
            self,
            Self::BrokerCertificate(_)
                | Self::Tls(_)
                | Self::Credentials
                | Self::NotAuthorised
                | Self::Refused(_)
                | Self::TakenOver
                | Self::Packet(_)
        )
    }

    /// Sorts an I/O error, TLS included.
    pub(super) fn from_io(error: &io::Error) -> Self {
        match find_tls(error) {
            Some(rustls::Error::InvalidCertificate(why)) => Self::BrokerCertificate(certificate_fault(why)),
            Some(rustls::Error::AlertReceived(alert)) => Self::Tls(format!("the broker answered {alert:?}")),
            Some(other) => Self::Tls(other.to_string()),
            None => match error.kind() {
                io::ErrorKind::NotFound => Self::Name,
                io::ErrorKind::InvalidData => Self::Packet("not MQTT"),
                io::ErrorKind::UnexpectedEof => Self::Lost("closed"),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Lost("reset"),
                kind => Self::Unreachable(kind),
            },
        }
    }
}

/// The names in the broker's certificate are not ours to print; the kind of fault is.
fn certificate_fault(fault: &rustls::CertificateError) -> String {
    use rustls::CertificateError as C;
    match fault {
        C::Expired | C::ExpiredContext { .. } => "expired, or our clock is wrong".into(),
        C::NotValidYet | C::NotValidYetContext { .. } => "not valid yet, or our clock is wrong".into(),
        C::UnknownIssuer => "signed by nobody we trust".into(),
        C::NotValidForName | C::NotValidForNameContext { .. } => "made for another host name".into(),
        C::Revoked => "revoked".into(),
        other => format!("{other:?}").split([' ', '(', '{']).next().unwrap_or("invalid").into(),
    }
}

fn find_tls(error: &io::Error) -> Option<&rustls::Error> {
    let mut inner: Option<&(dyn Error + 'static)> = error.get_ref().map(|e| e as _);
    while let Some(e) = inner {
        if let Some(tls) = e.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        inner = match e.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|e| e as _),
            None => e.source(),
        };
    }
    None
}

impl Explain for SourceError {
    fn code(&self) -> &'static str {
        match self {
            Self::Secret { source: SecretError::Open { .. }, .. } => "WL-S002",
            Self::Secret { .. } => "WL-S001",
            Self::Certificate { .. } => "WL-S003",
            Self::NoRoots { .. } => "WL-S004",
            Self::Setting { .. } => "WL-S005",
            Self::Unreachable(_) | Self::Name => "WL-S010",
            Self::BrokerCertificate(_) => "WL-S011",
            Self::Tls(_) => "WL-S012",
            Self::Credentials => "WL-S013",
            Self::NotAuthorised => "WL-S014",
            Self::Refused(_) => "WL-S015",
            Self::Busy => "WL-S016",
            Self::TakenOver => "WL-S017",
            Self::Lost(_) => "WL-S018",
            Self::Packet(_) => "WL-S019",
            Self::Subscription(_) => "WL-S020",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Secret { source: SecretError::Open { .. }, .. } => {
                "Take the permission away (`chmod o= FILE`), and change the secret: somebody may have read it."
            }
            Self::Secret { .. } => "Give the path of a file with the secret that the gateway's user can read.",
            Self::Certificate { .. } => "Give a PEM file that holds what the setting's name says.",
            Self::NoRoots { .. } => "Set `ca_file` to the certificate of the CA that signed the broker's.",
            Self::Setting { .. } => "Correct the setting and run `wardline check`.",
            Self::Unreachable(_) => "Check that the broker runs, its address and port, and the network between.",
            Self::Name => "Check the host name in `url` and the name servers.",
            Self::BrokerCertificate(_) => {
                "Check `ca_file`, the host name in `url` and the clock; nothing was sent to this broker."
            }
            Self::Tls(_) => "Check `client_certificate_file`, `client_key_file` and which CA the broker trusts.",
            Self::Credentials => "Check `user` and `password_file` against the broker's password file.",
            Self::NotAuthorised => {
                "Check `user` and `password_file` or the client certificate, and what the broker allows them."
            }
            Self::Refused(_) => "Compare `version` and `client_id` with what the broker takes.",
            Self::Busy => "Nothing to do unless it stays: then look at the broker.",
            Self::TakenOver => "Give each gateway a `client_id` of its own.",
            Self::Lost(_) => {
                "Nothing to do unless it repeats: then look at the broker's log, and whether another gateway has our `client_id`."
            }
            Self::Packet(_) => {
                "Limit packets at the broker (`message_size_limit` in mosquitto), or remove the message from our queue there."
            }
            Self::Subscription(_) => "Allow this user to read the topics that `wardline profile list` shows.",
        }
    }
}
