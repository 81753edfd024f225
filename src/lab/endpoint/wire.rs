//! The listening socket and its connections, which can be cut: from within a request, or all at once by an outage.
//!
//! During an outage the socket is closed, so that the machine itself refuses; afterwards the same port is bound again.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::limits::LAB_HANDSHAKE_MAX;

/// A socket that can go away and come back.
pub(super) struct Listener {
    address: SocketAddr,
    socket: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
    handshakes: JoinSet<Option<(Stream, SocketAddr)>>,
    refusing: watch::Receiver<bool>,
    /// Cancelled when an outage begins: cuts the connections of its time.
    era: CancellationToken,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection.
pub(super) struct Wire {
    stream: Stream,
    cut: CancellationToken,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// What a handler holds to reset the connection of its request.
#[derive(Clone)]
pub(super) struct Scissors(pub CancellationToken);

impl Connected<IncomingStream<'_, Listener>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self(stream.io().cut.clone())
    }
}

impl Listener {
    pub(super) fn new(
        socket: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        refusing: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self {
            address,
            socket: Some(socket),
            tls: tls.map(TlsAcceptor::from),
            handshakes: JoinSet::new(),
            refusing,
            era: CancellationToken::new(),
        })
    }

    /// Closes or reopens the socket, as the outage says.
    async fn obey(&mut self) {
        if *self.refusing.borrow_and_update() {
            self.socket = None;
            self.handshakes.abort_all();
            self.era.cancel();
        } else if self.socket.is_none() {
            self.era = CancellationToken::new();
            self.socket = TcpListener::bind(self.address).await.ok();
        }
    }

    fn wire(&self, stream: Stream) -> Wire {
        let cut = self.era.child_token();
        let cancelled = Box::pin(cut.clone().cancelled_owned());
        Wire { stream, cut, cancelled }
    }
}

async fn accept(socket: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match socket {
        Some(socket) => socket.accept().await,
        None => std::future::pending().await,
    }
}

async fn handshake(accept: Accept<TcpStream>, peer: SocketAddr) -> Option<(Stream, SocketAddr)> {
    let tls = tokio::time::timeout(LAB_HANDSHAKE_MAX, accept).await.ok()?.ok()?;
    Some((Stream::Tls(Box::new(tls)), peer))
}

impl axum::serve::Listener for Listener {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            if *self.refusing.borrow() != self.socket.is_none() {
                self.obey().await;
            }
            tokio::select! {
                changed = self.refusing.changed() => match changed {
                    Ok(()) => self.obey().await,
                    // Nobody can end the outage any more.
                    Err(_) if self.socket.is_none() => std::future::pending().await,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(done) = self.handshakes.join_next(), if !self.handshakes.is_empty() => {
                    if let Ok(Some((stream, peer))) = done {
                        return (self.wire(stream), peer);
                    }
                }
                accepted = accept(self.socket.as_ref()) => match (accepted, &self.tls) {
                    (Ok((tcp, peer)), tls) => {
                        let _ = tcp.set_nodelay(true);
                        match tls {
                            Some(tls) => drop(self.handshakes.spawn(handshake(tls.accept(tcp), peer))),
                            None => return (self.wire(Stream::Plain(tcp)), peer),
                        }
                    }
                    // Out of descriptors: wait until some are free.
                    (Err(_), _) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Wire {
    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        let cut = self.cut.is_cancelled() || self.cancelled.as_mut().poll(cx).is_ready();
        if cut {
            let tcp = match &self.stream {
                Stream::Plain(tcp) => tcp,
                Stream::Tls(tls) => tls.get_ref().0,
            };
            // A reset rather than an orderly end.
            let _ = tcp.set_zero_linger();
        }
        cut
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(cx) {
            return reset();
        }
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_cut(cx) {
            return reset();
        }
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_write(cx, bytes),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(cx) {
            return reset();
        }
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(cx) {
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
