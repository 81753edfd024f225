//! Whom we trust as a broker, and who we say we are: the TLS settings of a source.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::fault::SourceError;
use crate::config::MqttSettings;
use crate::tls::{self, TlsError};

/// The TLS side of a target.
pub(super) struct Trust {
    pub(super) server: ServerName<'static>,
    pub(super) config: Arc<ClientConfig>,
}

impl Trust {
    pub(super) fn new(settings: &MqttSettings, host: &str) -> Result<Self, SourceError> {
        let name = settings.name.clone();
        let wrong = |reason: &str| SourceError::Setting { name: name.clone(), reason: reason.into() };
        let server = ServerName::try_from(host.to_owned()).map_err(|_| wrong("`url` has no valid host"))?;
        if settings.client_certificate_file.is_some() != settings.client_key_file.is_some() {
            return Err(wrong("`client_certificate_file` and `client_key_file` go together"));
        }
        let config = tls::client(settings.tls()).map_err(|e| match e {
            TlsError::File { file, reason } => SourceError::Certificate { name: name.clone(), file, reason },
            TlsError::Secret(source) => SourceError::Secret { name: name.clone(), source },
            TlsError::NoAuthorities => SourceError::NoRoots { name: name.clone() },
            TlsError::Library(reason) => wrong(&reason),
        })?;
        Ok(Self { server, config: Arc::new(config) })
    }
}
