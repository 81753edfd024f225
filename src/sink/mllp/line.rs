//! One connection to an MLLP receiver, over TCP or TLS, with whole messages in and out.
//!
//! Must never: wait without an end, hold more than a bounded answer, or speak before the certificate is verified.

use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Trouble;
use crate::hl7v2::Deframer;
use crate::limits;
use crate::sink::http::{HttpError, of_tls};
use crate::tls::{self, Files};

/// The port that IANA gave to MLLP.
const PORT: u16 = 2_575;

/// Where a receiver is, and how it is spoken to.
pub(super) struct Address {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Octets of an answer.
    answer_max: usize,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An open connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    answers: Deframer,
    /// Whether anything came since the last message went out.
    pub heard: bool,
}

impl Address {
    /// `mllps://host:port`, or `mllp`.
    pub fn new(url: &str, files: Files, answer_max: usize) -> Result<Self, HttpError> {
        let wrong = || HttpError::Mllp(url.into());
        let parsed = Url::parse(url).map_err(|_| wrong())?;
        let host = parsed.host_str().map(|h| h.trim_matches(['[', ']']).to_owned()).filter(|h| !h.is_empty());
        let host = host.ok_or_else(wrong)?;
        let tls = match parsed.scheme() {
            "mllps" => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
                Some((TlsConnector::from(std::sync::Arc::new(tls::client(files)?)), name))
            }
            "mllp" => None,
            _ => return Err(wrong()),
        };
        Ok(Self { host, port: parsed.port().unwrap_or(PORT), tls, answer_max })
    }

    /// Connects, TLS included, within the shorter of `patience` and our own.
    pub async fn connect(&self, patience: Duration) -> Result<Connection, Trouble> {
        let limit = limits::CONNECT_MAX.min(patience);
        let stream = timeout(limit, self.open()).await;
        let stream = stream.unwrap_or(Err(Trouble::Unreachable("connecting takes too long")))?;
        Ok(Connection { stream, answers: Deframer::new(self.answer_max), heard: false })
    }

    async fn open(&self) -> Result<Box<dyn Stream>, Trouble> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| match e.kind() {
            io::ErrorKind::ConnectionRefused => Trouble::Unreachable("refused"),
            // The resolver's errors are not the kernel's.
            _ if e.raw_os_error().is_none() => Trouble::Unreachable("the name is not found"),
            _ => Trouble::Unreachable("it breaks off at once"),
        })?;
        // An acknowledgement is waited for after each message: none of it may wait for more.
        let _ = tcp.set_nodelay(true);
        let Some((connector, name)) = &self.tls else { return Ok(Box::new(tcp)) };
        let stream = connector
            .connect(name.clone(), tcp)
            .await
            .map_err(|e| tls_reason(&e, false).unwrap_or(Trouble::Unreachable("TLS failed: it breaks off")))?;
        Ok(Box::new(stream))
    }
}

impl Connection {
    /// Whether it is still open, as far as it can be told without asking. What came late is thrown away.
    pub fn is_usable(&mut self) -> bool {
        let mut buffer = [0; 1_024];
        for _ in 0..limits::HL7_STRAYS_MAX {
            match self.stream.read(&mut buffer).now_or_never() {
                None => return true,
                Some(Ok(n)) if n > 0 => {
                    self.answers.feed(buffer.get(..n).unwrap_or_default());
                    while let Ok(Some(_)) = self.answers.message() {}
                }
                Some(_) => return false,
            }
        }
        false
    }

    /// Sends octets. Whether they arrived is not known when it fails.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), Trouble> {
        self.heard = false;
        self.stream.write_all(octets).await.map_err(|e| broken(&e))?;
        self.stream.flush().await.map_err(|e| broken(&e))
    }

    /// The next whole message.
    pub async fn read(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut buffer = [0; 4_096];
        loop {
            match self.answers.message() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(_) => return Err(Trouble::Hl7Unclear("it has no end")),
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Err(Trouble::NoAnswer("the connection broke")),
                Ok(n) => {
                    self.heard = true;
                    self.answers.feed(buffer.get(..n).unwrap_or_default());
                }
                Err(e) => return Err(broken(&e)),
            }
        }
    }
}

fn broken(error: &io::Error) -> Trouble {
    // A receiver that refuses our certificate says so after the handshake, before it reads anything.
    tls_reason(error, true).unwrap_or(Trouble::NoAnswer("the connection broke"))
}

fn tls_reason(error: &io::Error, in_use: bool) -> Option<Trouble> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(|e| of_tls(e, in_use))
}
