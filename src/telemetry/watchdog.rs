//! Who is alive. Each part that must make progress has a [`Pulse`]; while all beat, the service manager's watchdog is
//! petted; when one stops, it is not, and the service manager restarts the process.
//!
//! Must never: be petted by a timer alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// All pulses of the process.
pub struct Watchdog {
    clock: Clock,
    pulses: Mutex<Vec<Watched>>,
}

struct Watched {
    name: &'static str,
    patience: Duration,
    last_us: Arc<AtomicU64>,
}

/// The pulse of one part; cheap to beat.
#[derive(Clone)]
pub struct Pulse {
    clock: Clock,
    patience: Duration,
    last_us: Arc<AtomicU64>,
}

impl Pulse {
    /// "I made progress now."
    pub fn beat(&self) {
        self.last_us.store(self.clock.now().mono_us, Ordering::Relaxed);
    }

    /// How often a part that has nothing else to do beats: well within its patience, and without waking a small box
    /// each second.
    pub fn every(&self) -> Duration {
        self.patience / 4
    }
}

impl Watchdog {
    /// With no pulse yet.
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, pulses: Mutex::new(Vec::new()) })
    }

    /// A part that must beat at least once in `patience`; it has just beaten.
    pub fn pulse(&self, name: &'static str, patience: Duration) -> Pulse {
        let pulse = Pulse { clock: self.clock.clone(), patience, last_us: Arc::default() };
        pulse.beat();
        let watched = Watched { name, patience, last_us: pulse.last_us.clone() };
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
        pulse
    }

    /// Parts whose patience is over; empty: all is well.
    pub fn stalled(&self) -> Vec<&'static str> {
        let now = self.clock.now().mono_us;
        let late =
            |w: &&Watched| Duration::from_micros(now.saturating_sub(w.last_us.load(Ordering::Relaxed))) > w.patience;
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(late).map(|w| w.name).collect()
    }

    /// Pets the service manager's watchdog, if it asked for that, until `stop`; also says who stalled.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let asked = sd_notify::watchdog_enabled();
        // Three times within the limit, so that one late turn is not a restart.
        let every = asked.map_or(Duration::from_secs(10), |limit| limit / 3);
        let mut turn = tokio::time::interval(every);
        let mut said = Vec::new();
        loop {
            tokio::select! {
                _ = turn.tick() => {}
                () = stop.cancelled() => return,
            }
            let stalled = self.stalled();
            if stalled.is_empty() && asked.is_some() {
                super::notify(&[NotifyState::Watchdog]);
            }
            if stalled != said {
                match stalled.is_empty() {
                    true => tracing::info!("Every part makes progress again."),
                    false => tracing::error!(code = "WL-O013", ?stalled, "Parts of the gateway make no progress."),
                }
                said = stalled;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;

    #[test]
    fn a_part_that_stops_beating_is_named_and_forgiven_when_it_beats_again() {
        let clock = Clock::manual(Stamp::at_ms(1_000));
        let dog = Watchdog::new(clock.clone());
        let journal = dog.pulse("journal", Duration::from_secs(5));
        let pipeline = dog.pulse("pipeline", Duration::from_secs(2));
        clock.advance(Duration::from_secs(3));
        journal.beat();
        assert_eq!(dog.stalled(), ["pipeline"]);
        pipeline.beat();
        assert!(dog.stalled().is_empty());
        clock.advance(Duration::from_secs(6));
        assert_eq!(dog.stalled(), ["journal", "pipeline"]);
    }
}
