//! The one builder of HTTP clients, and the bounded exchange that all of them use.
//!
//! Promises: rustls with ring; the machine's roots and the configured ones, either may be missing; no redirects, no
//! proxies, no body without an end. Must never: send a byte of payload before the certificate is verified.

use std::error::Error as _;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{DATE, ETAG, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Url};

use super::why::Trouble;
use crate::fault::Explain;
use crate::limits;
use crate::tls::{self, Failure, Files, TlsError};

/// Why no client can be built.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Correct the URL.
    #[error("`{0}` is not an http or https URL")]
    Url(String),
    /// Correct the URL.
    #[error("`{0}` is not an mllps URL")]
    Mllp(String),
    /// Correct the files, or install the machine's certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP library refuses its own settings.
    #[error("no HTTP client can be built: {0}")]
    Client(String),
}

impl Explain for HttpError {
    fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "WL-F101",
            Self::Mllp(_) => "WL-H101",
            Self::Tls(TlsError::File { .. } | TlsError::Secret(_)) => "WL-F102",
            Self::Tls(TlsError::NoAuthorities) => "WL-F103",
            Self::Tls(TlsError::Library(_)) | Self::Client(_) => "WL-F104",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Url(_) => "Write it as `https://host[:port]/path`.",
            Self::Mllp(_) => "Write it as `mllps://host[:port]`.",
            Self::Tls(TlsError::File { .. }) => {
                "Give a PEM file that holds what the setting's name says and that the gateway's user can read."
            }
            Self::Tls(TlsError::Secret(_)) => {
                "Give the key in a file that the gateway's user can read and others cannot (`chmod o= FILE`)."
            }
            Self::Tls(TlsError::NoAuthorities) => {
                "Install the package ca-certificates, or give the authority's certificate as `ca_file`."
            }
            Self::Tls(TlsError::Library(_)) | Self::Client(_) => "Report this with the output of `wardline --version`.",
        }
    }
}

/// A client for one peer, with the peer's URL.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Connections are kept and used again.
    pub client: Client,
    /// Without a slash at its end.
    pub url: Url,
}

impl Peer {
    /// `files`: what TLS is made with. `timeout`: for a whole exchange.
    pub fn new(url: &str, files: Files, timeout: Duration) -> Result<Self, HttpError> {
        let parsed = Url::parse(url.trim_end_matches('/')).map_err(|_| HttpError::Url(url.into()))?;
        let https = parsed.scheme() == "https";
        if !(https || parsed.scheme() == "http") || parsed.host_str().is_none() {
            return Err(HttpError::Url(url.into()));
        }
        let tls = if https { tls::client(files)? } else { tls::nobody()? };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .referer(false)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("wardline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits::CONNECT_MAX.min(timeout))
            .timeout(timeout)
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(2)
            .build()
            .map_err(|e| HttpError::Client(e.to_string()))?;
        Ok(Self { client, url: parsed })
    }

    /// The URL of something below the peer's own.
    pub fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.url.as_str().trim_end_matches('/'))
    }
}

/// What came back, whole and bounded.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Where something was stored.
    pub location: Option<String>,
    /// Whether it names a version of what was stored (ETag).
    pub versioned: bool,
    /// When to come again, bounded.
    pub retry_after: Option<Duration>,
    /// At most `limits::RESPONSE_BYTES_MAX`.
    pub body: Vec<u8>,
}

/// A request as it would leave, for a [`Wire`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Ask {
    /// `POST`, `PUT`.
    pub method: String,
    /// With the base.
    pub url: String,
    /// `If-None-Exist`.
    pub condition: Option<String>,
    /// Not compressed.
    pub body: Vec<u8>,
}

/// What stands in for the network in the simulation.
#[doc(hidden)]
pub trait Wire: Send + Sync {
    /// One exchange.
    fn exchange(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, Trouble>>;
}

/// Sends a request and reads the answer to its end.
pub async fn exchange(request: RequestBuilder) -> Result<Answer, Trouble> {
    exchange_dated(request, limits::RESPONSE_BYTES_MAX).await.map(|(answer, _)| answer)
}

/// The same with a body of at most `max` octets, and with the time by the other's clock.
pub async fn exchange_dated(request: RequestBuilder, max: usize) -> Result<(Answer, Option<jiff::Timestamp>), Trouble> {
    let mut response = request.send().await.map_err(|e| broken(&e))?;
    let headers = response.headers();
    let date = headers.get(DATE).and_then(|v| v.to_str().ok()).and_then(date);
    let mut answer = Answer {
        status: response.status().as_u16(),
        location: headers.get(LOCATION).and_then(|v| v.to_str().ok()).map(str::to_owned),
        versioned: headers.contains_key(ETAG),
        retry_after: retry_after(headers),
        body: Vec::new(),
    };
    while let Some(chunk) = response.chunk().await.map_err(|e| broken(&e))? {
        if answer.body.len() + chunk.len() > max {
            return Err(Trouble::Unclear("it does not end"));
        }
        answer.body.extend_from_slice(&chunk);
    }
    Ok((answer, date))
}

/// As HTTP writes it.
fn date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|z| z.timestamp())
}

/// Seconds, or a date, which is measured by the destination's own clock: ours may be wrong.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|v: &reqwest::header::HeaderValue| v.to_str().ok());
    let said = text(RETRY_AFTER)?.trim();
    let after = match said.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let wait = date(said)?.duration_since(date(text(DATE)?)?);
            Duration::try_from(wait).unwrap_or(Duration::ZERO)
        }
    };
    Some(after.min(limits::RETRY_AFTER_MAX))
}

/// What an error of TLS says about who has seen what. `in_use`: the connection was open.
pub(super) fn of_tls(error: &rustls::Error, in_use: bool) -> Trouble {
    match Failure::of(error, in_use) {
        Failure::Certificate(reason) => Trouble::Certificate(reason),
        Failure::Unopened(reason) => Trouble::Unreachable(reason),
        Failure::Broken => Trouble::NoAnswer("the connection broke"),
    }
}

/// What a failed exchange says about who has seen the payload.
fn broken(error: &reqwest::Error) -> Trouble {
    let mut source = error.source();
    let mut refused = false;
    while let Some(cause) = source {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return of_tls(tls, !error.is_connect());
        }
        let io = cause.downcast_ref::<std::io::Error>();
        refused |= io.is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
        // io::Error hides its cause from `source`.
        let inner = io.and_then(std::io::Error::get_ref);
        source = match inner {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => cause.source(),
        };
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Trouble::Unreachable("connecting takes too long"),
        (true, false) if error.is_dns() => Trouble::Unreachable("the name is not found"),
        (true, false) if refused => Trouble::Unreachable("refused"),
        (true, false) => Trouble::Unreachable("it breaks off at once"),
        (false, true) => Trouble::NoAnswer("it takes too long"),
        (false, false) => Trouble::NoAnswer("the connection broke"),
    }
}
