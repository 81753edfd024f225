//! A receiver of HL7 v2 that follows a script: for each message the acknowledgement, or the misbehaviour, that a test asks
//! for. Plain or TLS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use wardline::hl7v2::{Deframer, wrap};

/// What the receiver does with a message.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Acknowledges with this code.
    Ack(&'static str),
    /// The same with this ERR segment.
    Err(&'static str, &'static str),
    /// Acknowledges another message.
    AckFor(&'static str, String),
    /// One after the other.
    All(Vec<Reply>),
    /// Waits first.
    After(Duration, Box<Reply>),
    /// Sends octets as they are.
    Raw(Vec<u8>),
    /// Half of an acknowledgement, and no more.
    Half,
    /// Never ends a frame.
    Endless,
    /// Says nothing.
    Silence,
    /// Closes the connection.
    Close,
}

/// A running receiver; ends with the test's runtime.
pub struct Receiver {
    pub port: u16,
    messages: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

type Script = Arc<dyn Fn(&str, usize) -> Reply + Send + Sync>;

impl Receiver {
    /// `script` gets the message and how many came before it.
    pub async fn start(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(None, script).await
    }

    pub async fn serve(
        tls: Option<Arc<rustls::ServerConfig>>,
        script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, messages: Arc::default(), connections: Arc::default() };
        let (messages, connections) = (receiver.messages.clone(), receiver.connections.clone());
        let (acceptor, script): (_, Script) = (tls.map(TlsAcceptor::from), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let (script, messages, acceptor) = (script.clone(), messages.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => drop(converse(socket, script, messages).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(socket).await {
                                converse(stream, script, messages).await;
                            }
                        }
                    }
                });
            }
        });
        receiver
    }

    /// Messages as they came, in order.
    pub fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    /// Control ids of the messages, in order.
    pub fn ids(&self) -> Vec<String> {
        self.messages().iter().map(|m| field(m, "MSH", 10)).collect()
    }

    /// How often somebody connected.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// The messages in a frame: itself, or those of the batch that it is.
pub fn messages_in(frame: &str) -> Vec<String> {
    let rows = frame.split_inclusive('\r').filter(|row| !row.starts_with("BHS") && !row.starts_with("BTS"));
    rows.fold(Vec::new(), |mut messages, row| {
        match messages.last_mut() {
            Some(last) if !row.starts_with("MSH") => String::push_str(last, row),
            _ => messages.push(row.to_owned()),
        }
        messages
    })
}

/// An answering batch to `batch` that says it holds `said` of these acknowledgements.
pub fn answering_batch(batch: &str, acks: &[(&str, &str)], said: usize) -> Vec<u8> {
    let one = |(code, id): &(&str, &str)| {
        format!("MSH|^~\\&|LAB|CITY|box||20261122101112||ACK^R01^ACK|1|P|2.6\rMSA|{code}|{id}\r")
    };
    let acks: String = acks.iter().map(one).collect();
    wrap(format!("BHS|^~\\&|LAB|CITY|box||20261122101112||||9|{batch}\r{acks}BTS|{said}\r"))
}

/// A field of the first segment of this name, as it stands.
pub fn field(message: &str, segment: &str, number: usize) -> String {
    let row = message.split('\r').find(|row| row.starts_with(segment)).unwrap_or_default();
    let at = if matches!(segment, "MSH" | "BHS") { number - 1 } else { number };
    row.split('|').nth(at).unwrap_or_default().to_owned()
}

/// An acknowledgement as a receiver writes it.
pub fn acknowledgement(code: &str, id: &str, rest: &str) -> Vec<u8> {
    wrap(format!("MSH|^~\\&|LAB|CITY|box||20261122101112||ACK^R01^ACK|1|P|2.6\rMSA|{code}|{id}\r{rest}"))
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: Script,
    messages: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut frames = Deframer::new(1 << 24);
    let mut buffer = vec![0; 65_536];
    loop {
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        frames.feed(&buffer[..n]);
        while let Some(message) = frames.message().unwrap() {
            let message = String::from_utf8(message).unwrap();
            let before = {
                let mut messages = messages.lock().unwrap();
                messages.push(message.clone());
                messages.len() - 1
            };
            reply(&mut stream, &field(&message, "MSH", 10), script(&message, before)).await?;
        }
    }
}

/// `None`: the connection ends.
async fn reply<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, id: &str, reply: Reply) -> Option<()> {
    let octets = match reply {
        Reply::Ack(code) => acknowledgement(code, id, ""),
        Reply::Err(code, rest) => acknowledgement(code, id, rest),
        Reply::AckFor(code, other) => acknowledgement(code, &other, ""),
        Reply::Raw(octets) => octets,
        Reply::Half => {
            let whole = acknowledgement("AA", id, "");
            whole[..whole.len() / 2].to_vec()
        }
        Reply::Silence => return Some(()),
        Reply::Close => return None,
        Reply::All(replies) => {
            for one in replies {
                Box::pin(self::reply(stream, id, one)).await?;
            }
            return Some(());
        }
        Reply::After(wait, then) => {
            tokio::time::sleep(wait).await;
            return Box::pin(self::reply(stream, id, *then)).await;
        }
        Reply::Endless => loop {
            stream.write_all(&[b"\x0bMSH|".as_slice(), &[b'x'; 65_536]].concat()).await.ok()?;
        },
    };
    stream.write_all(&octets).await.ok()?;
    stream.flush().await.ok()
}
