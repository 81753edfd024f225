//! The local signal: what is open now, for the page, the status and whatever makes light or noise; and how fast it came.
//!
//! Promises: needs neither disk nor network; each change is there at once for all who watch. Must never: block.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::Engine;
use crate::alarm::{Alert, AlertEvent, Condition, Happened, Priority};
use crate::clock::Stamp;

/// The signal; cheap to clone.
#[derive(Clone)]
pub struct Signal {
    open: watch::Sender<Arc<[Alert]>>,
    latency: Arc<Recorder>,
}

impl Default for Signal {
    fn default() -> Self {
        Self { open: watch::Sender::new(Arc::from([])), latency: Arc::new(Recorder::default()) }
    }
}

impl Signal {
    /// Signals the engine's present state after `events`; `now` is the moment of signalling.
    /// After a restart, without events: what is open is signalled again.
    pub fn signal(&self, now: Stamp, engine: &Engine, events: &[AlertEvent]) {
        let mut open: Vec<Alert> = engine.open().cloned().collect();
        open.sort_by_key(|a| (std::cmp::Reverse(a.priority), std::cmp::Reverse(a.raised.wall_ms)));
        self.open.send_replace(open.into());
        for event in events {
            self.count(now, event);
        }
    }

    /// The open alerts, the most urgent first, and every change of them.
    pub fn watch(&self) -> watch::Receiver<Arc<[Alert]>> {
        self.open.subscribe()
    }

    /// Receipt of the frame → signalled, of the alerts about now.
    pub fn latency(&self) -> Latency {
        self.latency.summary()
    }

    fn count(&self, now: Stamp, event: &AlertEvent) {
        let (alert, happened) = (
            &event.alert,
            match event.happened {
                Happened::Raised => "raised",
                Happened::Acknowledged => "acknowledged",
                Happened::Resolved => "resolved",
                Happened::TakenBack => "taken-back",
            },
        );
        let (condition, is_now) = match alert.condition {
            Condition::Limit => ("limit", true),
            Condition::Unconfirmed => ("unconfirmed", true),
            Condition::Retrospective => ("retrospective", false),
            Condition::Technical => ("technical", false),
        };
        let priority = match alert.priority {
            Priority::High => "high",
            Priority::Medium => "medium",
            Priority::Low => "low",
        };
        metrics::counter!("wardline_alert_events_total", "happened" => happened, "condition" => condition, "priority" => priority)
            .increment(1);
        if event.happened == Happened::Raised && is_now {
            let latency = now.since(alert.received);
            metrics::histogram!("wardline_alert_latency_seconds").record(latency.as_secs_f64());
            self.latency.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }
}

/// Latency so far, microseconds; percentiles up to 1/16 too high, never too low.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Alerts measured.
    pub count: u64,
    /// Half were not slower.
    pub p50_us: u64,
    /// 99 of 100 were not slower.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
}

/// Buckets per doubling.
const STEPS: u64 = 16;
/// Up to 2^40 µs: twelve days.
const BUCKETS: usize = 37 * 16;

/// A histogram of fixed size whose buckets grow with the value.
struct Recorder {
    buckets: Box<[AtomicU64]>,
    max: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), max: AtomicU64::new(0) }
    }
}

impl Recorder {
    fn record(&self, us: u64) {
        let bucket = usize::try_from(bucket(us)).unwrap_or(usize::MAX).min(BUCKETS - 1);
        if let Some(b) = self.buckets.get(bucket) {
            b.fetch_add(1, Ordering::Relaxed);
        }
        self.max.fetch_max(us, Ordering::Relaxed);
    }

    fn summary(&self) -> Latency {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let max_us = self.max.load(Ordering::Relaxed);
        let at = |percent: u64| {
            let rank = count.saturating_mul(percent).div_ceil(100).max(1);
            let mut below = 0;
            let found = counts.iter().position(|c| {
                below += c;
                below >= rank
            });
            found.map_or(0, |b| upper(u64::try_from(b).unwrap_or(u64::MAX)).min(max_us))
        };
        Latency { count, p50_us: at(50), p99_us: at(99), max_us }
    }
}

/// Values below 16 have a bucket each; above, each doubling has 16.
fn bucket(us: u64) -> u64 {
    let doubling = u64::from(us.max(STEPS).ilog2() - STEPS.ilog2());
    doubling * STEPS + (us >> doubling)
}

/// The largest value of a bucket.
fn upper(bucket: u64) -> u64 {
    if bucket < 2 * STEPS {
        return bucket;
    }
    let (doubling, step) = (bucket / STEPS - 1, bucket % STEPS + STEPS);
    ((step + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_gapless_and_at_most_a_sixteenth_wide() {
        for us in (0..100_000).chain([1 << 30, (1 << 40) - 1]) {
            let b = bucket(us);
            assert!(upper(b) >= us && (b == 0 || upper(b - 1) < us), "{us} in {b}");
            assert!(upper(b) - us <= us / 16, "{us}: {}", upper(b));
            assert!(b < BUCKETS as u64, "{us}");
        }
    }

    #[test]
    fn percentiles_are_never_too_low() {
        let recorder = Recorder::default();
        assert_eq!(recorder.summary(), Latency::default());
        (1..=1_000).for_each(|us| recorder.record(us));
        recorder.record(u64::MAX);
        let l = recorder.summary();
        assert_eq!((l.count, l.max_us), (1_001, u64::MAX));
        assert!((501..=532).contains(&l.p50_us) && (991..=1_053).contains(&l.p99_us), "{l:?}");
    }
}
