//! Whom we trust as a broker, and who we say we are: the TLS settings of a source.
//!
//! Promises: files that cannot be used are refused at start; what is renewed in them counts at the next connection, as
//! a certificate may end sooner than a gateway is restarted. Must never: connect with less than the files ask for.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::fault::SourceError;
use crate::config::MqttSettings;
use crate::fault::Explain;
use crate::source::secret;

/// The TLS side of a target.
pub(super) struct Trust {
    settings: MqttSettings,
    pub(super) server: ServerName<'static>,
    current: Mutex<Arc<ClientConfig>>,
}

impl Trust {
    pub(super) fn new(settings: &MqttSettings, host: &str) -> Result<Self, SourceError> {
        let name = settings.name.clone();
        let server = ServerName::try_from(host.to_owned())
            .map_err(|_| SourceError::Setting { name, reason: "`url` has no valid host".into() })?;
        let current = Mutex::new(client(settings)?);
        Ok(Self { settings: settings.clone(), server, current })
    }

    /// For the next connection. Files that are being replaced may be half there: then what was read before counts.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        let files = &self.settings;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if files.ca_file.is_some() || files.client_certificate_file.is_some() {
            match client(files) {
                Ok(read) => *current = read,
                Err(e) => {
                    tracing::warn!(source = &*files.name, code = e.code(), "{e}. What was read before is used.");
                }
            }
        }
        Arc::clone(&current)
    }
}

fn client(settings: &MqttSettings) -> Result<Arc<ClientConfig>, SourceError> {
    let name = &settings.name;
    let refused =
        |file: &Path, reason: String| SourceError::Certificate { name: name.clone(), file: file.into(), reason };
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(file) => {
            for certificate in certificates(file).map_err(|e| refused(file, e))? {
                roots.add(certificate).map_err(|e| refused(file, e.to_string()))?;
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() {
        return Err(SourceError::NoRoots { name: name.clone() });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| SourceError::Setting { name: name.clone(), reason: e.to_string() })?
        .with_root_certificates(roots);
    let config = match (&settings.client_certificate_file, &settings.client_key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(chain_file), Some(key_file)) => {
            let chain = certificates(chain_file).map_err(|e| refused(chain_file, e))?;
            let key = secret::read(key_file).map_err(|source| SourceError::Secret { name: name.clone(), source })?;
            let key = PrivateKeyDer::from_pem_slice(key.reveal())
                .map_err(|_| refused(key_file, "holds no private key in PEM form".into()))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| refused(key_file, e.to_string()))?
        }
        _ => {
            let reason = "`client_certificate_file` and `client_key_file` go together".into();
            return Err(SourceError::Setting { name: name.clone(), reason });
        }
    };
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(|e| e.to_string())?.collect();
    match found {
        Ok(list) if list.is_empty() => Err("holds no certificate in PEM form".into()),
        Ok(list) => Ok(list),
        Err(e) => Err(e.to_string()),
    }
}
