//! An HTTP server that follows a script: for each request the reply, or the misbehaviour, that a test asks for.
//! Speaks HTTP/1.1 by hand, so that it can break off, trickle, and never end; plain or TLS.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as it came, its body unpacked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in small letters.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v)
    }
}

/// What the server does.
#[derive(Clone)]
pub enum Reply {
    /// Status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Closes the connection without a word.
    Close,
    /// Announces the whole body, sends half of it, closes.
    Half(String),
    /// Sends without an end.
    Endless,
    /// Sends a byte now and then.
    Trickle,
    /// Keeps the connection and says nothing.
    Hang,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), String::new())
    }
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::Answer(status, vec![("content-type", "application/fhir+json".into())], body.to_string())
    }
}

/// A running server; ends with the test's runtime.
pub struct Scripted {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    /// Octets of requests that got through.
    received: Arc<AtomicUsize>,
}

type Script = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

impl Scripted {
    /// Plain HTTP.
    pub async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(None, script).await
    }

    /// HTTPS with this configuration; the URL names `host`.
    pub async fn serve(
        tls: Option<(Arc<rustls::ServerConfig>, &str)>,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match &tls {
            Some((_, host)) => format!("https://{host}:{port}/fhir"),
            None => format!("http://127.0.0.1:{port}/fhir"),
        };
        let server = Self { url, requests: Arc::default(), received: Arc::default() };
        let (requests, received) = (server.requests.clone(), server.received.clone());
        let acceptor = tls.map(|(config, _)| TlsAcceptor::from(config));
        let script: Script = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (script, requests, received, acceptor) =
                    (script.clone(), requests.clone(), received.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => converse(socket, script, requests, received).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(socket).await {
                                converse(stream, script, requests, received).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
    pub fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    script: Script,
    requests: Arc<Mutex<Vec<Request>>>,
    received: Arc<AtomicUsize>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream, &received).await {
        requests.lock().unwrap().push(request.clone());
        if reply(&mut stream, script(&request)).await.is_none() {
            return;
        }
    }
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, received: &AtomicUsize) -> Option<Request> {
    let mut line = String::new();
    let mut lines = Vec::new();
    loop {
        line.clear();
        let n = stream.read_line(&mut line).await.ok()?;
        received.fetch_add(n, Ordering::SeqCst);
        match line.trim_end() {
            "" if n == 0 => return None,
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<String, String> = lines
        .iter()
        .skip(1)
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    received.fetch_add(length, Ordering::SeqCst);
    if headers.get("content-encoding").is_some_and(|e| e == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).ok()?;
        body = plain;
    }
    Some(Request { method, path, headers, body })
}

/// `None`: the connection ends.
async fn reply<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, reply: Reply) -> Option<()> {
    match reply {
        Reply::Answer(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
            headers.iter().for_each(|(n, v)| head.push_str(&format!("{n}: {v}\r\n")));
            stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.ok()?;
            stream.flush().await.ok()
        }
        Reply::Close => None,
        Reply::Half(body) => {
            let head = format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{}", body.split_at(body.len() / 2).0).as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            None
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
            loop {
                stream.write_all(format!("10000\r\n{}\r\n", " ".repeat(0x10000)).as_bytes()).await.ok()?;
            }
        }
        Reply::Trickle => {
            stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 100000\r\n\r\n").await.ok()?;
            loop {
                stream.write_all(b" ").await.ok()?;
                stream.flush().await.ok()?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Reply::Hang => std::future::pending().await,
    }
}
