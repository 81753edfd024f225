//! Settings made ready: where to, as whom, trusting whom. All that can be refused is refused here, at start.

use std::sync::Arc;

use super::fault::SourceError;
use super::filters::Filters;
use super::trust::Trust;
use crate::config::MqttSettings;
use crate::limits;
use crate::source::secret::{self, Secret};

/// The broker's end.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Trust>,
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
        if !secure && settings.tls().any() {
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
        let tls = if secure { Some(Trust::new(settings, &host)?) } else { None };
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
