//! Settings made ready: where to, as whom, trusting whom. All that can be refused is refused here, at start.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::fault::SourceError;
use super::filters::Filters;
use crate::config::MqttSettings;
use crate::limits;
use crate::source::secret::{self, Secret};

/// The broker's end.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A source ready to connect.
pub(super) struct Plan {
    pub(super) name: Arc<str>,
    pub(super) target: Arc<Target>,
    pub(super) client_id: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) filters: Filters,
    pub(super) in_flight: u16,
    pub(super) session_seconds: u32,
}

impl Plan {
    pub(super) fn new(settings: &MqttSettings, gateway_id: &str, filters: Vec<String>) -> Result<Self, SourceError> {
        let name = settings.name.clone();
        let bad = |reason: &str| SourceError::Setting { name: name.clone(), reason: reason.into() };
        let (secure, host, port) = parse_url(&settings.url).map_err(bad)?;
        let password = settings
            .password_file
            .as_deref()
            .map(secret::read)
            .transpose()
            .map_err(|source| SourceError::Secret { name: name.clone(), source })?;
        if password.is_some() && settings.user.is_none() {
            return Err(bad("`password_file` needs `user`"));
        }
        if !secure && (settings.ca_file.is_some() || settings.client_certificate_file.is_some()) {
            return Err(bad("`url` says mqtt://, the certificates want mqtts://"));
        }
        if settings.in_flight == 0 || settings.in_flight > limits::MQTT_IN_FLIGHT_MAX {
            return Err(bad("`in_flight` must be 1 to 1000"));
        }
        if filters.is_empty() {
            return Err(bad("no topic to subscribe to: no profile has one, and `topics` is empty"));
        }
        if let Some(wrong) = filters.iter().position(|f| !rumqttc::valid_filter(f)) {
            return Err(bad(&format!("topic filter {} is not a valid one", wrong + 1)));
        }
        let tls = if secure { Some(tls(settings, &host)?) } else { None };
        Ok(Self {
            name: settings.name.as_str().into(),
            target: Arc::new(Target { host, port, tls }),
            client_id: settings.client_id.clone().unwrap_or_else(|| format!("wardline-{gateway_id}")),
            user: settings.user.clone(),
            password,
            filters: Filters::new(filters),
            in_flight: settings.in_flight,
            session_seconds: settings.session_hours.saturating_mul(3_600),
        })
    }
}

/// `mqtt://host:1883`, `mqtts://host:8883`, `mqtt://[::1]`: whether TLS, host, port.
fn parse_url(url: &str) -> Result<(bool, String, u16), &'static str> {
    let (secure, rest, default) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
        (Some(rest), _) => (false, rest, 1883),
        (_, Some(rest)) => (true, rest, 8883),
        _ => return Err("`url` must begin with mqtt:// or mqtts://"),
    };
    if rest.contains('@') {
        return Err("`url` must not hold user or password: use `user` and `password_file`");
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or("`url` has no valid host")?)),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(default), str::parse).map_err(|_| "`url` has no valid port")?;
    if host.is_empty() || port == 0 || host.contains(['/', '?', '#', ' ']) {
        return Err("`url` has no valid host and port");
    }
    Ok((secure, host.into(), port))
}

type Tls = (Arc<ClientConfig>, ServerName<'static>);

fn tls(settings: &MqttSettings, host: &str) -> Result<Tls, SourceError> {
    let name = &settings.name;
    let refused =
        |file: &Path, reason: String| SourceError::Certificate { name: name.clone(), file: file.into(), reason };
    let roots = match &settings.ca_file {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file).map_err(|e| refused(file, e))? {
                roots.add(certificate).map_err(|e| refused(file, e.to_string()))?;
            }
            roots
        }
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
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
    let server = ServerName::try_from(host.to_owned())
        .map_err(|_| SourceError::Setting { name: name.clone(), reason: "`url` has no valid host".into() })?;
    Ok((Arc::new(config), server))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(|e| e.to_string())?.collect();
    match found {
        Ok(list) if list.is_empty() => Err("holds no certificate in PEM form".into()),
        Ok(list) => Ok(list),
        Err(e) => Err(e.to_string()),
    }
}
