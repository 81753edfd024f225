//! Whom we trust at the other end of TLS, and who we say we are: the one maker of client settings, for brokers and
//! destinations.
//!
//! Promises: files that cannot be used are refused at start; what is renewed in them counts at the next connection, as
//! a certificate may end, or be revoked, sooner than a gateway is restarted. Must never: connect with less than the
//! files ask for, or resume a session whose certificate was not looked at again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::secret::{self, SecretError};

/// The files of one peer, all PEM.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Trust the machine's authorities also beside `authorities`; without `authorities` they are always trusted.
    pub machine_too: bool,
    /// CA certificates.
    pub authorities: Option<PathBuf>,
    /// Revocation lists of the authorities. A certificate whose issuer has none in it passes; an old list still counts.
    pub revoked: Option<PathBuf>,
    /// Our certificate and its chain, and the key to it: both or neither.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// Whether there is one.
    pub fn any(&self) -> bool {
        self.authorities.is_some() || self.revoked.is_some() || self.identity.is_some()
    }
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Give a PEM file that holds what the setting says.
    #[error("{file}: {reason}")]
    File {
        /// Which file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Give the key's file as secrets are given.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Install the machine's certificates, or configure some.
    #[error("there are no CA certificates to check the other end with")]
    NoAuthorities,
    /// The TLS library refuses its own settings.
    #[error("{0}")]
    Library(String),
}

/// What failed between us and the other end, as far as it says whether anything of ours was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its certificate is not accepted: nothing was sent.
    Certificate(String),
    /// No connection came about: nothing was taken.
    Unopened(&'static str),
    /// It broke in use: what was sent may have been taken.
    Broken,
}

impl Failure {
    /// `in_use`: our side of the handshake was over. Under TLS 1.3 the other end refuses our certificate only then.
    pub fn of(error: &rustls::Error, in_use: bool) -> Self {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                Self::Certificate("signed by nobody we trust (UnknownIssuer)".into())
            }
            rustls::Error::InvalidCertificate(reason) => Self::Certificate(reason.to_string()),
            rustls::Error::AlertReceived(alert) if !in_use || is_about_us(*alert) => {
                Self::Unopened("TLS failed: it refuses us")
            }
            _ if in_use => Self::Broken,
            rustls::Error::PeerIncompatible(_) => Self::Unopened("TLS failed: it offers only unsafe versions"),
            _ => Self::Unopened("TLS failed: it does not speak it"),
        }
    }
}

/// An alert about our certificate, or that we have none (RFC 8446, section 6.2): nothing is read before that.
fn is_about_us(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::AccessDenied
            | A::BadCertificate
            | A::CertificateExpired
            | A::CertificateRequired
            | A::CertificateRevoked
            | A::CertificateUnknown
            | A::DecryptError
            | A::HandshakeFailure
            | A::UnknownCA
            | A::UnsupportedCertificate
    )
}

/// Settings that look at their files again at each handshake.
///
/// # Errors
/// When a file cannot be used, or there is nobody to trust.
pub fn client(files: Files) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let known = Known::read(&files, &provider)?;
    let (identified, live) = (files.identity.is_some(), Arc::new(Live { provider, known: Mutex::new(known), files }));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&live.provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Library(e.to_string()))?
        // Not dangerous: it asks webpki, with what the files hold now.
        .dangerous()
        .with_custom_certificate_verifier(live.clone());
    let mut config = if identified { builder.with_client_cert_resolver(live) } else { builder.with_no_client_auth() };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Settings that trust nobody: for a peer that is asked without TLS.
///
/// # Errors
/// When the library refuses its own settings.
pub fn nobody() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Library(e.to_string()))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// What the files held when they were last read whole.
#[derive(Clone)]
struct Known {
    verifier: Arc<WebPkiServerVerifier>,
    identity: Option<Arc<CertifiedKey>>,
}

struct Live {
    files: Files,
    provider: Arc<CryptoProvider>,
    known: Mutex<Known>,
}

impl Known {
    fn read(files: &Files, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        if files.machine_too || files.authorities.is_none() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if let Some(file) = &files.authorities {
            for certificate in all::<CertificateDer<'_>>(file, "certificate")? {
                roots.add(certificate).map_err(|e| refused(file, e))?;
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities);
        }
        let mut verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        if let Some(file) = &files.revoked {
            let lists = all::<CertificateRevocationListDer<'_>>(file, "revocation list")?;
            verifier = verifier.with_crls(lists).allow_unknown_revocation_status();
        }
        let verifier = verifier.build().map_err(|e| match &files.revoked {
            Some(file) => refused(file, e),
            None => TlsError::Library(e.to_string()),
        })?;
        let identity = files.identity.as_ref().map(|(chain, key)| certified(chain, key, provider)).transpose()?;
        Ok(Self { verifier, identity })
    }
}

fn certified(chain: &Path, key_file: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = secret::read(key_file)?;
    let key = PrivateKeyDer::from_pem_slice(key.reveal())
        .map_err(|_| refused(key_file, "holds no private key in PEM form"))?;
    let chain = all(chain, "certificate")?;
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(|e| refused(key_file, e))
}

fn all<T: PemObject>(file: &Path, what: &str) -> Result<Vec<T>, TlsError> {
    let found: Result<Vec<_>, _> = T::pem_file_iter(file).map_err(|e| refused(file, e))?.collect();
    match found {
        Ok(list) if list.is_empty() => Err(refused(file, format!("holds no {what} in PEM form"))),
        Ok(list) => Ok(list),
        Err(e) => Err(refused(file, e)),
    }
}

fn refused(file: &Path, reason: impl fmt::Display) -> TlsError {
    TlsError::File { file: file.into(), reason: reason.to_string() }
}

impl Live {
    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As the files are now. Files that are being replaced may be half there: then what was read before counts.
    fn read_again(&self) -> Known {
        if self.files.any() {
            match Known::read(&self.files, &self.provider) {
                Ok(known) => *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known,
                Err(e) => tracing::warn!("{e}. What was read before is used."),
            }
        }
        self.known()
    }
}

impl ServerCertVerifier for Live {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let known = self.read_again();
        known.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known().verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known().verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known().verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Live {
    /// The server's certificate was verified before: the files were just read.
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.known().identity.filter(|identity| identity.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_taken_is_said_not_to_be() {
        let of = |error: &rustls::Error| (Failure::of(error, false), Failure::of(error, true));
        let expired = of(&rustls::Error::InvalidCertificate(CertificateError::Expired));
        assert!(matches!(expired, (Failure::Certificate(_), Failure::Certificate(_))), "{expired:?}");
        let refused = Failure::Unopened("TLS failed: it refuses us");
        for alert in [AlertDescription::UnknownCA, AlertDescription::CertificateRequired] {
            assert_eq!(of(&rustls::Error::AlertReceived(alert)), (refused.clone(), refused.clone()));
        }
        assert_eq!(of(&rustls::Error::AlertReceived(AlertDescription::InternalError)), (refused, Failure::Broken));
        let noise = Failure::Unopened("TLS failed: it does not speak it");
        assert_eq!(of(&rustls::Error::DecryptError), (noise, Failure::Broken));
    }
}
