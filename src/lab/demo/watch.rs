//! What the lab sees while the demonstration runs: alerts as they are signalled, and the backlog as it goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Phase, Progress};
use crate::alarm::{Alert, AlertId, Condition};
use crate::clock::Clock;

/// Every alert that was signalled locally, with how long after its frame.
pub(super) struct AlertLog {
    signal: watch::Receiver<Arc<[Alert]>>,
    seen: HashMap<AlertId, Option<Duration>>,
}

impl AlertLog {
    pub(super) fn new(signal: watch::Receiver<Arc<[Alert]>>) -> Self {
        Self { signal, seen: HashMap::new() }
    }

    /// Waits for the next change of the signal and notes what is new.
    pub(super) async fn next(&mut self, clock: &Clock) {
        if self.signal.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.drain(clock);
    }

    /// Notes what is signalled now.
    pub(super) fn drain(&mut self, clock: &Clock) {
        let now = clock.now();
        for alert in self.signal.borrow_and_update().iter() {
            // A technical condition has no frame.
            let latency = (alert.condition != Condition::Technical).then(|| now.since(alert.received));
            self.seen.entry(alert.id.clone()).or_insert(latency);
        }
    }

    pub(super) fn open(&self) -> usize {
        self.signal.borrow().len()
    }

    /// All that were signalled.
    pub(super) fn raised(&self) -> u64 {
        self.seen.len() as u64
    }

    /// Milliseconds at this percentile, of the alerts about a frame. `None`: there were none.
    pub(super) fn latency_ms(&self, percentile: usize) -> Option<f64> {
        let mut all: Vec<Duration> = self.seen.values().copied().flatten().collect();
        all.sort_unstable();
        let rank = (all.len() * percentile).div_ceil(100).max(1);
        all.get(rank - 1).map(|d| (d.as_secs_f64() * 1e6).round() / 1e3)
    }
}

/// How fast the backlog of the outage went.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// The largest backlog.
    pub(super) most: u64,
    end: Option<Progress>,
    first: Option<Progress>,
    drained: Option<Progress>,
}

impl Drain {
    pub(super) fn see(&mut self, now: &Progress) {
        self.most = self.most.max(now.waiting);
        if !matches!(now.phase, Phase::After | Phase::Settling) || self.drained.is_some() {
            return;
        }
        let end = *self.end.get_or_insert(*now);
        if now.delivered > end.delivered {
            self.first.get_or_insert(*now);
        }
        // What always waits: the readings of the last moments.
        if now.waiting <= (end.waiting / 20).max(30) {
            self.drained = Some(*now);
        }
    }

    /// Observations stored per second, from the end of the outage's silence until the backlog was gone.
    pub(super) fn per_s(&self) -> f64 {
        let (Some(end), Some(first), Some(drained)) = (self.end, self.first, self.drained) else { return 0.0 };
        // The first look after the silence already sees a first batch: it took a look's time at most.
        let seconds = (drained.elapsed.saturating_sub(first.elapsed) + super::LOOK_EVERY).as_secs_f64();
        (drained.delivered.saturating_sub(end.delivered) as f64 / seconds).round()
    }

    /// From the end of the outage to the first Observation, milliseconds.
    pub(super) fn first_ms(&self) -> Option<u64> {
        let (end, first) = (self.end?, self.first?);
        u64::try_from(first.elapsed.saturating_sub(end.elapsed).as_millis()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64, phase: Phase, delivered: u64, waiting: u64) -> Progress {
        let elapsed = Duration::from_millis(ms);
        Progress { elapsed, phase, committed: delivered + waiting, delivered, waiting, alerts: 0 }
    }

    #[test]
    fn the_rate_is_of_the_backlog_alone() {
        let mut d = Drain::default();
        d.see(&at(0, Phase::Before, 100, 10));
        d.see(&at(900, Phase::Outage, 100, 2_000));
        d.see(&at(1_000, Phase::After, 100, 2_200));
        d.see(&at(1_500, Phase::After, 100, 2_300));
        d.see(&at(1_510, Phase::After, 300, 2_200));
        d.see(&at(2_500, Phase::After, 2_100, 90));
        d.see(&at(9_000, Phase::Settling, 9_000, 0));
        assert_eq!((d.most, d.per_s(), d.first_ms()), (2_300, 2_000.0, Some(510)));
    }

    #[test]
    fn without_a_backlog_there_is_no_rate() {
        let mut d = Drain::default();
        d.see(&at(1_000, Phase::Outage, 5, 0));
        assert_eq!((d.per_s(), d.first_ms()), (0.0, None));
    }
}
