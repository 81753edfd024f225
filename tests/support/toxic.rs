//! A TCP proxy in which bad luck can be ordered: links that say nothing, trickle, break, or are forgotten by a NAT.
//! The luck of the moment is that of open connections too, as when somebody pulls a cable. Ends with the test's runtime.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wardline::lab::rng::Rng;

/// What befalls what passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Luck {
    /// Nothing.
    Good,
    /// Connections are taken, and no byte goes on in either direction; it comes when the luck is better.
    Silent,
    /// So many bytes a second each way.
    Trickle(u64),
    /// Every connection is reset at once.
    Reset,
    /// This share of new connections is cut after a random number of bytes; the others live.
    Lossy(f64),
    /// Each connection is cut when so many bytes came back: in the middle of an answer.
    CutAnswer(u64),
    /// Each connection is cut when so many bytes went out: in the middle of a request.
    CutRequest(u64),
    /// A connection on which nothing moved for so long is dead without a word: what is sent on it vanishes.
    Forgets(Duration),
}

/// A running proxy.
pub struct Toxic {
    pub port: u16,
    luck: watch::Sender<Luck>,
    target: Arc<AtomicU16>,
    /// Cancelled: the connections of its time are cut.
    era: Arc<Mutex<CancellationToken>>,
    accepted: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

/// One connection through it.
struct Line {
    luck: watch::Receiver<Luck>,
    cut: CancellationToken,
    /// Bytes until it is cut, if it is one of the unlucky.
    doom: Option<u64>,
    moved: [AtomicU64; 2],
    last: Mutex<Instant>,
    forgotten: AtomicBool,
    passed: Arc<AtomicU64>,
}

impl Toxic {
    /// Towards a port of 127.0.0.1.
    pub async fn start(target: u16) -> Self {
        Self::listen(Ipv4Addr::LOCALHOST.into(), target).await.unwrap()
    }

    /// The same, listening on another address of this machine.
    pub async fn listen(address: IpAddr, target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let (luck, seen) = watch::channel(Luck::Good);
        let port = listener.local_addr()?.port();
        let target = Arc::new(AtomicU16::new(target));
        let (accepted, passed) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let era = Arc::new(Mutex::new(CancellationToken::new()));
        let proxy = Self {
            port,
            luck,
            target: target.clone(),
            era: era.clone(),
            accepted: accepted.clone(),
            passed: passed.clone(),
        };
        tokio::spawn(async move {
            let mut dice = Rng::new(u64::from(port));
            while let Ok((client, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let now = *seen.borrow();
                let doom = match now {
                    Luck::Lossy(share) => dice.chance(share).then(|| dice.below(3_000)),
                    _ => None,
                };
                let line = Line {
                    luck: seen.clone(),
                    cut: era.lock().unwrap().child_token(),
                    doom,
                    moved: Default::default(),
                    last: Mutex::new(Instant::now()),
                    forgotten: AtomicBool::new(false),
                    passed: passed.clone(),
                };
                tokio::spawn(carry(client, target.load(Ordering::SeqCst), Arc::new(line)));
            }
        });
        Ok(proxy)
    }

    /// From now on, for open connections too.
    pub fn order(&self, luck: Luck) {
        self.luck.send_replace(luck);
    }

    /// Resets the open connections.
    pub fn cut(&self) {
        std::mem::take(&mut *self.era.lock().unwrap()).cancel();
    }

    /// New connections go to another port.
    pub fn aim(&self, target: u16) {
        self.target.store(target, Ordering::SeqCst);
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Bytes so far, both ways.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, target: u16, line: Arc<Line>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::join!(pump(from_client, to_server, &line, 0), pump(from_server, to_client, &line, 1));
}

/// One direction, 0 towards the server, until it ends; a cut resets both ends.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: &Line, way: usize) {
    let mut luck = line.luck.clone();
    let ended = tokio::select! {
        () = line.cut.cancelled() => Err(()),
        () = reset_ordered(&mut luck) => Err(()),
        ended = forward(&mut from, &mut to, line, way) => ended,
    };
    if ended.is_err() {
        line.cut.cancel();
        let _ = from.as_ref().set_zero_linger();
        let _ = to.as_ref().set_zero_linger();
        to.forget();
    }
}

async fn reset_ordered(luck: &mut watch::Receiver<Luck>) {
    if luck.wait_for(|l| *l == Luck::Reset).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// `Err`: the connection is cut.
async fn forward(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, line: &Line, way: usize) -> Result<(), ()> {
    let mut buffer = [0; 4_096];
    loop {
        let n = from.read(&mut buffer).await.map_err(|_| ())?;
        if line.forgets() {
            // Whoever sends is not told, and an end is not passed on.
            if n == 0 {
                std::future::pending::<()>().await;
            }
            continue;
        }
        if n == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        for chunk in line.chunks(&buffer[..n]) {
            line.wait(chunk.len()).await;
            let room = line.room(way);
            let (goes, last) = (chunk.len().min(room), chunk.len() >= room);
            to.write_all(&chunk[..goes]).await.map_err(|_| ())?;
            line.moved[way].fetch_add(goes as u64, Ordering::SeqCst);
            line.passed.fetch_add(goes as u64, Ordering::SeqCst);
            *line.last.lock().unwrap() = Instant::now();
            if last {
                return Err(());
            }
        }
    }
}

impl Line {
    fn now(&self) -> Luck {
        *self.luck.borrow()
    }

    fn chunks<'a>(&self, bytes: &'a [u8]) -> std::slice::Chunks<'a, u8> {
        bytes.chunks(if matches!(self.now(), Luck::Trickle(_)) { 1 } else { bytes.len() })
    }

    /// Until these bytes may pass.
    async fn wait(&self, bytes: usize) {
        let mut luck = self.luck.clone();
        let _ = luck.wait_for(|l| *l != Luck::Silent).await;
        if let Luck::Trickle(rate) = self.now() {
            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / rate as f64)).await;
        }
    }

    /// How many more bytes pass before it is cut.
    fn room(&self, way: usize) -> usize {
        let limit = match (self.now(), way) {
            (Luck::CutRequest(limit), 0) | (Luck::CutAnswer(limit), 1) => limit,
            _ => self.doom.unwrap_or(u64::MAX),
        };
        usize::try_from(limit.saturating_sub(self.moved[way].load(Ordering::SeqCst))).unwrap_or(usize::MAX)
    }

    fn forgets(&self) -> bool {
        if let Luck::Forgets(after) = self.now()
            && self.last.lock().unwrap().elapsed() > after
        {
            self.forgotten.store(true, Ordering::SeqCst);
        }
        self.forgotten.load(Ordering::SeqCst)
    }
}
