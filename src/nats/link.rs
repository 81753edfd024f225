//! One connection to one of the servers, for whoever holds it: asked, read and written by its holder, and by nobody else.
//!
//! Promises: reading can be given up at any moment without losing a byte; a connection that failed is not used again.
//! Must never: send a credential, or a message, before TLS is up where TLS is asked for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::auth::{AuthError, Credential, Presented};
use super::wire::{self, Message, Op};
use super::{NatsError, name};
use crate::fault::Explain;
use crate::limits;
use crate::tls::{self, Failure, Files, TlsError};

/// How the servers are reached.
pub struct Reach {
    servers: Vec<Address>,
    /// Which one is asked first: the next after one that failed.
    turn: AtomicUsize,
    tls: Option<TlsConnector>,
    credential: Credential,
    /// What the server calls us, and the middle of our inboxes: rights can be given by it.
    name: String,
}

struct Address {
    host: String,
    port: u16,
    tls: bool,
}

/// Why servers cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// Correct the address.
    #[error("`{0}` is not an address of a NATS server")]
    Address(String),
    /// Correct the certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Correct the credential.
    #[error(transparent)]
    Credential(#[from] AuthError),
}

impl Explain for ReachError {
    fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "WL-N101",
            Self::Tls(_) => "WL-N102",
            Self::Credential(_) => "WL-N103",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Address(_) => "Write it as `tls://host:4222`.",
            Self::Tls(_) => "Give PEM files that hold what the setting's name says; a key that others cannot read.",
            Self::Credential(_) => {
                "Give the credentials file of `nsc`, an nkey seed or a token, which others cannot read."
            }
        }
    }
}

impl Reach {
    /// From settings; reads the files, sends nothing.
    ///
    /// # Errors
    /// When an address or a file cannot be used.
    pub fn new(servers: &[String], files: Files, credential: Credential, name: &str) -> Result<Self, ReachError> {
        let servers = servers.iter().map(|s| address(s)).collect::<Result<Vec<_>, _>>()?;
        let wanted = files.any() || servers.iter().any(|s| s.tls);
        let tls = if wanted { Some(TlsConnector::from(Arc::new(tls::client(files)?))) } else { None };
        Ok(Self { servers, turn: AtomicUsize::new(0), tls, credential, name: name.replace('.', "_") })
    }

    /// Connects to the first server that lets us in.
    ///
    /// # Errors
    /// What was wrong with the last that was asked.
    pub async fn connect(&self) -> Result<Link, NatsError> {
        let mut last = NatsError::Unreachable("there is no server");
        for _ in &self.servers {
            let turn = self.turn.load(Ordering::Relaxed);
            let Some(address) = self.servers.get(turn % self.servers.len()) else { break };
            let opening = timeout(limits::CONNECT_MAX, Link::open(address, self)).await;
            match opening.unwrap_or(Err(NatsError::Unreachable("connecting takes too long"))) {
                Ok(link) => return Ok(link),
                Err(e) => last = e,
            }
            self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        }
        Err(last)
    }
}

/// `tls://host:port`, `nats://host:port`; the port may be missing.
fn address(text: &str) -> Result<Address, ReachError> {
    let wrong = || ReachError::Address(text.into());
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let tls = match scheme {
        "tls" => true,
        "nats" => false,
        _ => return Err(wrong()),
    };
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']')) {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
        None => (rest, 4222),
    };
    let host = host.trim_matches(['[', ']']);
    if host.is_empty() || host.contains(['@', '/']) || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok(Address { host: host.into(), port, tls })
}

/// What a server says of itself.
#[derive(Deserialize)]
#[serde(default)]
struct Info {
    max_payload: usize,
    tls_required: bool,
    nonce: String,
    headers: bool,
}

impl Default for Info {
    fn default() -> Self {
        Self { max_payload: 1024 * 1024, tls_required: false, nonce: String::new(), headers: false }
    }
}

/// What we say of ourselves.
#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    name: &'a str,
    lang: &'a str,
    version: &'a str,
    protocol: u8,
    headers: bool,
    no_responders: bool,
    echo: bool,
    #[serde(flatten)]
    who: Presented,
}

trait Way: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Way for T {}

/// A connection.
pub struct Link {
    way: Box<dyn Way>,
    input: BytesMut,
    output: BytesMut,
    /// Messages that came while an answer was waited for.
    early: VecDeque<Message>,
    /// One that is too large to be taken, and how much of its body is to come.
    passing: Option<(Message, usize)>,
    /// Answers come here, each with a number behind it.
    inbox: String,
    asked: u64,
    heard: Instant,
    /// Octets of a message, at most.
    pub max_payload: usize,
}

impl Link {
    async fn open(to: &Address, reach: &Reach) -> Result<Self, NatsError> {
        let tcp = TcpStream::connect((to.host.as_str(), to.port)).await.map_err(|e| unreachable(&e))?;
        let _ = tcp.set_nodelay(true);
        let mut link = Self {
            way: Box::new(tcp),
            input: BytesMut::with_capacity(16 * 1024),
            output: BytesMut::with_capacity(16 * 1024),
            early: VecDeque::new(),
            passing: None,
            inbox: format!("_INBOX.{}.{}", reach.name, name()?),
            asked: 0,
            heard: Instant::now(),
            max_payload: 0,
        };
        let info = link.greeting().await?;
        link.max_payload = info.max_payload.min(limits::NATS_PAYLOAD_BYTES_MAX);
        if to.tls || info.tls_required {
            link = link.upgrade(&to.host, reach).await?;
        }
        if !info.headers {
            return Err(NatsError::Unclear("its server is too old: it knows no headers"));
        }
        link.introduce(reach, &info, to.tls || info.tls_required).await?;
        Ok(link)
    }

    async fn greeting(&mut self) -> Result<Info, NatsError> {
        match self.op().await.map_err(early)? {
            Op::Info(json) => serde_json::from_slice(&json).map_err(|_| NatsError::Unclear("its greeting is not JSON")),
            _ => Err(NatsError::Unclear("it does not speak NATS")),
        }
    }

    async fn upgrade(mut self, host: &str, reach: &Reach) -> Result<Self, NatsError> {
        // What was said in clear after the greeting was said by nobody.
        if !self.input.is_empty() {
            return Err(NatsError::Unclear("it speaks on before TLS is up"));
        }
        let connector =
            reach.tls.as_ref().ok_or(NatsError::Unreachable("it wants TLS: write its address as `tls://`"))?;
        let host =
            ServerName::try_from(host.to_owned()).map_err(|_| NatsError::Unreachable("its name is no host's"))?;
        let way = connector
            .connect(host, self.way)
            .await
            .map_err(|e| tls_failure(&e, false).unwrap_or(NatsError::Unreachable("TLS failed: it breaks off")))?;
        self.way = Box::new(way);
        Ok(self)
    }

    async fn introduce(&mut self, reach: &Reach, info: &Info, tls: bool) -> Result<(), NatsError> {
        let connect = Connect {
            verbose: false,
            pedantic: false,
            tls_required: tls,
            name: &reach.name,
            lang: "wardline",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            headers: true,
            no_responders: true,
            echo: true,
            who: reach.credential.present(&info.nonce),
        };
        let json =
            zeroize::Zeroizing::new(serde_json::to_string(&connect).map_err(|_| NatsError::Unclear("no memory"))?);
        let inbox = self.inbox.clone();
        self.output.extend_from_slice(b"CONNECT ");
        self.output.extend_from_slice(json.as_bytes());
        self.output.extend_from_slice(format!("\r\nPING\r\nSUB {inbox}.* 1\r\n").as_bytes());
        // Under TLS 1.3 a server that does not trust our certificate says so only now.
        self.flush().await.map_err(early)?;
        loop {
            match self.op().await.map_err(early)? {
                Op::Pong => return Ok(()),
                Op::Err(text) => return Err(refusal(&text)),
                _ => {}
            }
        }
    }

    /// Adds a message to what [`Link::flush`] sends.
    pub fn publish(&mut self, subject: &str, reply: Option<&str>, headers: &[(&str, &str)], payload: &[u8]) {
        wire::publish(&mut self.output, subject, reply, headers, payload);
    }

    /// A subject for one answer.
    pub fn reply_subject(&mut self) -> String {
        self.asked += 1;
        format!("{}.{}", self.inbox, self.asked)
    }

    /// Sends what was added. Given up half-way, it goes on with the next call.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn flush(&mut self) -> Result<(), NatsError> {
        while !self.output.is_empty() {
            let sent = self.way.write(&self.output).await.map_err(|e| broken(&e))?;
            if sent == 0 {
                return Err(NatsError::NoAnswer("the connection broke"));
            }
            self.output.advance(sent);
        }
        self.way.flush().await.map_err(|e| broken(&e))
    }

    /// The next message of ours. Can be given up at any moment.
    ///
    /// # Errors
    /// When the connection breaks, or the server ends it.
    pub async fn next(&mut self) -> Result<Message, NatsError> {
        match self.early.pop_front() {
            Some(message) => Ok(message),
            None => self.message().await,
        }
    }

    async fn message(&mut self) -> Result<Message, NatsError> {
        loop {
            match self.op().await? {
                Op::Message(message) => return Ok(message),
                Op::Ping => {
                    self.output.extend_from_slice(b"PONG\r\n");
                    self.flush().await?;
                }
                Op::Err(text) => return Err(refusal(&text)),
                Op::Oversize(message, left) => self.passing = Some((message, left)),
                Op::Info(_) | Op::Pong | Op::Ok => {}
            }
        }
    }

    async fn op(&mut self) -> Result<Op, NatsError> {
        loop {
            if let Some((_, left)) = &mut self.passing {
                if wire::pass_over(&mut self.input, left)?
                    && let Some((message, _)) = self.passing.take()
                {
                    return Ok(Op::Message(message));
                }
            } else if let Some(op) = wire::take(&mut self.input)? {
                return Ok(op);
            }
            if self.way.read_buf(&mut self.input).await.map_err(|e| broken(&e))? == 0 {
                return Err(NatsError::NoAnswer("the connection broke"));
            }
            self.heard = Instant::now();
        }
    }

    /// Asks, and waits for the answer; what else comes meanwhile is kept for [`Link::next`].
    ///
    /// # Errors
    /// When there is no answer, or nobody to answer.
    pub async fn request(&mut self, subject: &str, payload: &[u8], wait: Duration) -> Result<Message, NatsError> {
        let reply = self.reply_subject();
        self.publish(subject, Some(&reply), &[], payload);
        let asking = async {
            self.flush().await?;
            loop {
                let message = self.message().await?;
                if message.subject == reply {
                    return Ok(message);
                }
                self.keep(message)?;
            }
        };
        let answer = timeout(wait, asking).await.unwrap_or(Err(NatsError::NoAnswer("it takes too long")))?;
        if answer.status == Some(503) {
            Err(NatsError::NoStream("JetStream does not answer".into()))
        } else {
            Ok(answer)
        }
    }

    /// The next message that comes in, not one that was kept.
    ///
    /// # Errors
    /// When the connection breaks, or the server ends it.
    pub(super) async fn fresh(&mut self) -> Result<Message, NatsError> {
        self.message().await
    }

    /// Keeps a message for [`Link::next`]. An answer that came too late for the one who asked is none.
    pub(super) fn keep(&mut self, message: Message) -> Result<(), NatsError> {
        if message.reply.is_none() && message.status.is_none() {
            return Ok(());
        }
        if self.early.len() >= limits::NATS_EARLY_MAX {
            return Err(NatsError::Unclear("it sends more than was asked for"));
        }
        self.early.push_back(message);
        Ok(())
    }

    /// Asks for a sign of life, which [`Link::quiet`] shows.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn ping(&mut self) -> Result<(), NatsError> {
        self.output.extend_from_slice(b"PING\r\n");
        self.flush().await
    }

    /// How long nothing was heard.
    pub fn quiet(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Looks at what came while nobody read: an end of the connection, a ping.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn catch_up(&mut self) -> Result<(), NatsError> {
        // An end that came long ago is read at once; where there is nothing to read, there is nothing to wait for.
        match timeout(limits::NATS_GLANCE, self.message()).await {
            // An answer that came too late for the one who asked.
            Ok(Ok(_)) | Err(_) => Ok(()),
            Ok(Err(e)) => Err(e),
        }
    }
}

/// Before the connection stands, nothing of ours was sent.
fn early(error: NatsError) -> NatsError {
    match error {
        NatsError::NoAnswer(_) => NatsError::Unreachable("it breaks off at once"),
        other => other,
    }
}

fn refusal(text: &str) -> NatsError {
    let text = text.to_ascii_lowercase();
    let is = |word: &str| text.contains(word);
    if is("permissions violation for publish") {
        NatsError::NotPermitted("publish where it must")
    } else if is("permissions violation") {
        NatsError::NotPermitted("listen to its own inbox")
    } else if is("maximum payload") {
        NatsError::TooLarge
    } else if is("expired") {
        NatsError::Refused("the credential has expired")
    } else if is("revoked") {
        NatsError::Refused("the credential is revoked")
    } else if is("authorization") || is("authentication") || is("account") {
        NatsError::Refused("the credential is refused")
    } else if is("connections exceeded") {
        NatsError::Refused("it has too many connections")
    } else {
        NatsError::NoAnswer("it ended the connection")
    }
}

fn unreachable(error: &std::io::Error) -> NatsError {
    NatsError::Unreachable(match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "refused",
        _ if error.raw_os_error().is_none() => "the name is not found",
        _ => "no way there",
    })
}

fn tls_failure(error: &std::io::Error, in_use: bool) -> Option<NatsError> {
    let failure = Failure::of(error.get_ref()?.downcast_ref::<rustls::Error>()?, in_use);
    Some(match failure {
        Failure::Certificate(reason) => NatsError::Certificate(reason),
        Failure::Unopened(reason) => NatsError::Unreachable(reason),
        Failure::Broken => NatsError::NoAnswer("the connection broke"),
    })
}

fn broken(error: &std::io::Error) -> NatsError {
    tls_failure(error, true).unwrap_or(NatsError::NoAnswer("the connection broke"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_port() {
        let of = |text| address(text).map(|a| (a.host, a.port, a.tls)).ok();
        assert_eq!(of("tls://bus.example:4223"), Some(("bus.example".into(), 4223, true)));
        assert_eq!(of("nats://127.0.0.1"), Some(("127.0.0.1".into(), 4222, false)));
        assert_eq!(of("tls://[::1]:5/"), Some(("::1".into(), 5, true)));
        for wrong in ["bus", "http://x", "nats://", "nats://user:word@x", "tls://x:y", "nats://a b"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        assert_eq!(refusal("Authorization Violation"), NatsError::Refused("the credential is refused"));
        assert_eq!(refusal("User Authentication Expired"), NatsError::Refused("the credential has expired"));
        assert!(matches!(refusal("Permissions Violation for Publish to \"a\""), NatsError::NotPermitted(_)));
        assert!(matches!(refusal("Stale Connection"), NatsError::NoAnswer(_)));
    }
}
