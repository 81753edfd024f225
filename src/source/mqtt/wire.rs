//! The octets between us and a broker: TCP, TLS over it where the URL says so, large reads, writes held together.
//!
//! The client flushes after each acknowledgement; a system call of 4 octets each would cost more than the rest of the
//! reading's way. What is flushed is sent when the client next waits for input, which it does at once.
//! Must never: hold back octets while the connection rests.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault::SourceError;
use super::plan::Target;
use super::sieve::Sieve;

/// Held back at most; beyond it, a write goes through.
const HELD_BYTES_MAX: usize = 16 * 1024;
/// Read at once: a system call per hundred readings rather than per thirty.
const READ_BYTES: usize = 32 * 1024;

/// What the connection tells apart from its octets.
#[derive(Clone, Default)]
pub(super) struct Aside(Arc<Inner>);

#[derive(Default)]
struct Inner {
    trouble: Mutex<Option<SourceError>>,
    leaving: AtomicBool,
}

impl Aside {
    /// Why the connection ended, where the octets' way knows it better than the client.
    pub(super) fn trouble(&self) -> Option<SourceError> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The client will leave: from now on a flush is a flush.
    pub(super) fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    fn note(&self, error: &io::Error) {
        *self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(SourceError::from_io(error));
    }
}

/// Connects, with TLS if the target wants it. The broker's certificate is checked before anything is sent.
pub(super) async fn connect(target: Arc<Target>, aside: Aside) -> io::Result<Wire> {
    let stream = open(&target).await.inspect_err(|e| aside.note(e))?;
    let inbox = Inbox { bytes: vec![0; READ_BYTES].into_boxed_slice(), start: 0, end: 0, sieve: Sieve::default() };
    Ok(Wire { stream, inbox, held: BytesMut::new(), aside })
}

async fn open(target: &Target) -> io::Result<Stream> {
    // Apart, as a name that is not found has no error kind of its own.
    let found = lookup_host((target.host.as_str(), target.port)).await.map_err(|_| io::ErrorKind::NotFound)?;
    let tcp = TcpStream::connect(&*found.collect::<Vec<_>>()).await?;
    tcp.set_nodelay(true)?;
    Ok(match &target.tls {
        None => Stream::Plain(tcp),
        Some(trust) => {
            let tls = TlsConnector::from(Arc::clone(&trust.config)).connect(trust.server.clone(), tcp).await?;
            Stream::Tls(Box::new(tls))
        }
    })
}

/// What was read and not given to the client yet.
struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    sieve: Sieve,
}

impl Inbox {
    /// Gives what passes the sieve; `false`: more must be read first.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let input = self.bytes.get_mut(self.start..self.end).unwrap_or_default();
        let room = input.len().min(buf.remaining());
        let sifted = self.sieve.sift(input, buf.initialize_unfilled_to(room));
        let (taken, given) = sifted.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        buf.advance(given);
        self.start += taken;
        Ok(given > 0)
    }

    /// Room behind what is left: at most part of a packet's header.
    fn space(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection whose small writes travel together.
pub(super) struct Wire {
    stream: Stream,
    inbox: Inbox,
    held: BytesMut,
    aside: Aside,
}

impl Wire {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let n = match &mut self.stream {
                Stream::Plain(s) => ready!(Pin::new(s).poll_write(cx, &self.held)),
                Stream::Tls(s) => ready!(Pin::new(s).poll_write(cx, &self.held)),
            }?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(n);
        }
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_sifted(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.inbox.give(buf)? {
                return Poll::Ready(Ok(()));
            }
            let mut space = ReadBuf::new(self.inbox.space());
            match &mut self.stream {
                Stream::Plain(s) => ready!(Pin::new(s).poll_read(cx, &mut space)),
                Stream::Tls(s) => ready!(Pin::new(s).poll_read(cx, &mut space)),
            }?;
            match space.filled().len() {
                0 => return Poll::Ready(Ok(())),
                n => self.inbox.end += n,
            }
        }
    }

    fn noted<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(e)) = &result {
            self.aside.note(e);
        }
        result
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            // Not sent whole yet: its waker is registered, and reading goes on meanwhile.
            let sent = self.poll_send(cx);
            if let Poll::Ready(Err(_)) = self.noted(sent) {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        let read = self.poll_sifted(cx, buf);
        self.noted(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.len() >= HELD_BYTES_MAX {
            let sent = self.poll_send(cx);
            ready!(self.noted(sent))?;
        }
        self.held.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.aside.0.leaving.load(Ordering::Relaxed) {
            let sent = self.poll_send(cx);
            return self.noted(sent);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
