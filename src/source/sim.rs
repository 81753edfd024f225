//! A source inside the process: the lab's devices send real bytes through it, and nothing has to be installed.
//!
//! Promises: it behaves like a device with a memory. It keeps each frame until it is told that the frame is synced,
//! sends it again under the same ticket, with the time of its first receipt, when it waits too long, and stops sending when
//! its window is full.
//! Must never: forget a frame by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Port, SourceStatus};
use crate::clock::Stamp;
use crate::limits::{SIM_IN_FLIGHT_MAX, SIM_RESEND_AFTER};
use crate::reading::{Frame, Path};

/// Something a device sends.
#[derive(Clone, Debug)]
pub struct Emission {
    /// How long after the start.
    pub after: Duration,
    /// Which device, and what kind of bytes.
    pub path: Path,
    /// The bytes.
    pub bytes: Bytes,
}

/// The devices behind the source.
pub trait Feed: Send {
    /// What is sent next; `after` never goes back. `None`: that was all.
    fn next(&mut self) -> Option<Emission>;
    /// The emission is synced to disk; `ticket` counts emissions from 1.
    fn kept(&mut self, ticket: u64);
}

struct Waiting {
    path: Path,
    bytes: Bytes,
    /// First. An undated reading is known again by its ticket and this.
    received: Stamp,
    sent: Stamp,
}

/// Plays the feed until the gateway stops.
pub async fn run(mut port: Port, name: Arc<str>, mut feed: impl Feed) {
    let started = port.clock.now();
    let mut status = SourceStatus { connected_since: Some(started), ..SourceStatus::default() };
    let mut unkept: BTreeMap<u64, Waiting> = BTreeMap::new();
    let mut next = feed.next();
    let mut ticket = 0;
    loop {
        status.outstanding = unkept.len();
        port.status.send_replace(status.clone());
        let now = port.clock.now();
        let room = unkept.len() < SIM_IN_FLIGHT_MAX;
        let due = next.as_ref().filter(|_| room).map(|e| e.after.saturating_sub(now.since(started)));
        let stale = unkept.first_key_value().map(|(_, w)| SIM_RESEND_AFTER.saturating_sub(now.since(w.sent)));
        tokio::select! {
            biased;
            () = port.stop.cancelled() => break,
            told = port.kept.recv() => match told {
                Some(ticket) => told_of(ticket, &mut unkept, &mut feed),
                None => return,
            },
            permit = room_after(due, &port.frames) => {
                let Ok(permit) = permit else { return };
                if let Some(e) = next.take() {
                    ticket += 1;
                    status.frames += 1;
                    let sent = port.clock.now();
                    let pressing = unkept.len() + 1 >= SIM_IN_FLIGHT_MAX;
                    permit.send(frame(&name, ticket, e.path.clone(), e.bytes.clone(), sent, pressing));
                    unkept.insert(ticket, Waiting { path: e.path, bytes: e.bytes, received: sent, sent });
                }
                next = feed.next();
            }
            permit = room_after(stale, &port.frames) => {
                let Ok(permit) = permit else { return };
                if let Some((ticket, w)) = unkept.iter_mut().next() {
                    w.sent = port.clock.now();
                    permit.send(frame(&name, *ticket, w.path.clone(), w.bytes.clone(), w.received, true));
                }
            }
        }
    }
    while let Some(ticket) = port.kept.recv().await {
        told_of(ticket, &mut unkept, &mut feed);
    }
}

/// Told twice, after a second sending, counts once.
fn told_of(ticket: u64, unkept: &mut BTreeMap<u64, Waiting>, feed: &mut impl Feed) {
    if unkept.remove(&ticket).is_some() {
        feed.kept(ticket);
    }
}

fn frame(name: &Arc<str>, ticket: u64, path: Path, bytes: Bytes, received: Stamp, pressing: bool) -> Frame {
    Frame { path, ticket, pressing, ..Frame::new(name, bytes, received) }
}

type Permit<'a> = Result<mpsc::Permit<'a, Frame>, mpsc::error::SendError<()>>;

/// Room for a frame, after this time. `None`: never.
async fn room_after(time: Option<Duration>, frames: &mpsc::Sender<Frame>) -> Permit<'_> {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
    frames.reserve().await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;
    use crate::reading::DeviceId;

    struct Script {
        left: u64,
        kept: Arc<Mutex<Vec<u64>>>,
    }

    impl Feed for Script {
        fn next(&mut self) -> Option<Emission> {
            self.left = self.left.checked_sub(1)?;
            let path = Path::Characteristic { device: DeviceId("ble:x".into()), uuid: "2A37".into(), name: None };
            Some(Emission { after: Duration::ZERO, path, bytes: Bytes::from_static(&[0, 60]) })
        }
        fn kept(&mut self, ticket: u64) {
            self.kept.lock().unwrap().push(ticket);
        }
    }

    struct Bench {
        frames: mpsc::Receiver<Frame>,
        tell: mpsc::Sender<u64>,
        kept: Arc<Mutex<Vec<u64>>>,
        clock: Clock,
    }

    fn bench(emissions: u64) -> (Bench, impl Future<Output = ()>) {
        let (to_frames, frames) = mpsc::channel(4_096);
        let (tell, kept_rx) = mpsc::channel(16);
        let kept = Arc::new(Mutex::new(Vec::new()));
        let clock = Clock::manual(Stamp::at_ms(1_000));
        let stop = CancellationToken::new();
        let (status, _) = watch::channel(SourceStatus::default());
        let port = Port { frames: to_frames, kept: kept_rx, status, clock: clock.clone(), stop };
        let source = run(port, "sim".into(), Script { left: emissions, kept: kept.clone() });
        (Bench { frames, tell, kept, clock }, source)
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_is_the_devices_until_it_is_kept() {
        let (mut bench, source) = bench(2);
        let test = async move {
            let (a, b) = (bench.frames.recv().await.unwrap(), bench.frames.recv().await.unwrap());
            assert_eq!((a.ticket, b.ticket), (1, 2));
            bench.tell.send(2).await.unwrap();
            bench.clock.advance(SIM_RESEND_AFTER);
            let again = bench.frames.recv().await.unwrap();
            assert_eq!((again.ticket, &again.bytes, again.received), (1, &a.bytes, a.received));
            bench.tell.send(1).await.unwrap();
            // Told of both sendings: counted once.
            bench.tell.send(1).await.unwrap();
            drop(bench.tell);
            bench.kept
        };
        let ((), kept) = tokio::join!(source, test);
        assert_eq!(*kept.lock().unwrap(), [2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_window_stops_the_sending() {
        let window = SIM_IN_FLIGHT_MAX as u64;
        let (mut bench, source) = bench(window + 5);
        let test = async move {
            for n in 1..=window {
                let frame = bench.frames.recv().await.unwrap();
                assert_eq!((frame.ticket, frame.pressing), (n, n == window));
            }
            tokio::task::yield_now().await;
            assert!(bench.frames.try_recv().is_err());
            bench.tell.send(7).await.unwrap();
            assert_eq!(bench.frames.recv().await.unwrap().ticket, window + 1);
        };
        tokio::select! { () = source => panic!("it ended"), () = test => {} }
    }
}
