//! The only reader of time.
//!
//! Wall time may be wrong or jump; monotonic time orders and measures; the boot id says which
//! monotonic timeline it was. Everything else takes `now` as an argument.
//! Must never: turn an untrusted wall clock into a trusted instant.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// 2026-01-01T00:00:00Z: a wall clock before this build's time is not a clock that was set.
pub const WALL_FLOOR_MS: i64 = 1_767_225_600_000;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// One moment, three ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Milliseconds since 1970-01-01T00:00:00Z, as the wall clock said.
    pub wall_ms: i64,
    /// Microseconds since this boot; orders and measures within one `boot`.
    pub mono_us: u64,
    /// Which boot: two stamps' `mono_us` compare only within one.
    pub boot: u64,
    /// Whether the wall clock was plausible when it was read, and nobody had doubted it.
    pub trusted: bool,
}

impl Stamp {
    /// Time since `earlier` by the monotonic clock; by the wall clock across boots. Never negative.
    pub fn since(self, earlier: Self) -> Duration {
        if self.boot == earlier.boot {
            Duration::from_micros(self.mono_us.saturating_sub(earlier.mono_us))
        } else {
            Duration::from_millis(u64::try_from(self.wall_ms.saturating_sub(earlier.wall_ms)).unwrap_or(0))
        }
    }

    /// This moment plus a duration, on both clocks.
    pub fn plus(self, d: Duration) -> Self {
        let ms = i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let us = u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        Self { wall_ms: self.wall_ms.saturating_add(ms), mono_us: self.mono_us.saturating_add(us), ..self }
    }

    /// The wall clock as an instant.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.wall_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// A fixed moment for tests: wall `ms`, monotonic the same, boot 1, trusted.
    pub fn at_ms(ms: i64) -> Self {
        Self { wall_ms: ms, mono_us: u64::try_from(ms).unwrap_or(0).saturating_mul(1_000), boot: 1, trusted: true }
    }
}

/// Where stamps come from; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    System {
        started: Instant,
        uptime_us: u64,
        boot: u64,
        /// It may have been restored from a file, and nobody has set it since.
        doubted: AtomicBool,
    },
    Manual(Mutex<Stamp>),
    /// Of the runtime: what its clock said, and what ours is to say for it.
    Runtime(Mutex<(tokio::time::Instant, Stamp)>),
}

impl Clock {
    /// The machine's clocks.
    #[allow(clippy::disallowed_methods, reason = "the one reader of time")]
    pub fn system() -> Self {
        let (boot, uptime_us) = Self::timeline().unwrap_or_else(|| (Self::own_boot(), 0));
        Self(Arc::new(Kind::System { started: Instant::now(), uptime_us, boot, doubted: AtomicBool::new(false) }))
    }

    /// The machine's boot id and its uptime, microseconds.
    fn timeline() -> Option<(u64, u64)> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot = u64::from_str_radix(boot.replace('-', "").get(..15)?, 16).ok()?;
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let uptime = Duration::try_from_secs_f64(uptime.split(' ').next()?.parse().ok()?).ok()?;
        Some((boot, u64::try_from(uptime.as_micros()).ok()?))
    }

    /// Where `/proc` is hidden: a timeline of this process alone, which no other stamp can be mistaken to be on.
    fn own_boot() -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(std::process::id()) >> 4
    }

    /// A clock that only moves when it is told to.
    pub fn manual(start: Stamp) -> Self {
        Self(Arc::new(Kind::Manual(Mutex::new(start))))
    }

    /// A clock that goes with the runtime's time, which a simulation lets jump: it shows `start` now.
    /// Wherever it is set, its monotonic part goes on evenly.
    pub fn of_runtime(start: Stamp) -> Self {
        Self(Arc::new(Kind::Runtime(Mutex::new((tokio::time::Instant::now(), start)))))
    }

    /// Now.
    #[allow(clippy::disallowed_methods, reason = "the one reader of time")]
    pub fn now(&self) -> Stamp {
        match &*self.0 {
            Kind::System { started, uptime_us, boot, doubted } => {
                // Before the time is read: a clock that is set in between must not make the old time a trusted one.
                let believed = !doubted.load(Ordering::Acquire);
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
                let elapsed = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                Stamp {
                    wall_ms,
                    mono_us: uptime_us.saturating_add(elapsed),
                    boot: *boot,
                    trusted: wall_ms >= WALL_FLOOR_MS && believed,
                }
            }
            Kind::Manual(stamp) => *stamp.lock().unwrap_or_else(PoisonError::into_inner),
            Kind::Runtime(base) => {
                let (from, stamp) = *base.lock().unwrap_or_else(PoisonError::into_inner);
                let now = stamp.plus(from.elapsed());
                Stamp { trusted: now.wall_ms >= WALL_FLOOR_MS, ..now }
            }
        }
    }

    /// Doubts the machine's wall clock from now on, or ends that; a clock of a test has its own trust.
    pub fn doubt(&self, yes: bool) {
        if let Kind::System { doubted, .. } = &*self.0 {
            doubted.store(yes, Ordering::Release);
        }
    }

    /// Moves a manual clock forward; the machine's clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(stamp) = &*self.0 {
            let mut stamp = stamp.lock().unwrap_or_else(PoisonError::into_inner);
            *stamp = stamp.plus(by);
        }
    }

    /// Sets a manual clock, and the wall time of a runtime's; the machine's clock ignores it.
    pub fn set(&self, to: Stamp) {
        match &*self.0 {
            Kind::System { .. } => {}
            Kind::Manual(stamp) => *stamp.lock().unwrap_or_else(PoisonError::into_inner) = to,
            Kind::Runtime(base) => {
                let now = self.now();
                let set = (tokio::time::Instant::now(), Stamp { wall_ms: to.wall_ms, ..now });
                *base.lock().unwrap_or_else(PoisonError::into_inner) = set;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_jumps_back_does_not_make_time_negative() {
        let early = Stamp::at_ms(2_000_000);
        let late = Stamp { wall_ms: 0, mono_us: early.mono_us + 5_000, ..early };
        assert_eq!(late.since(early), Duration::from_millis(5));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[test]
    fn a_clock_at_1970_is_not_trusted_nor_is_one_that_is_doubted() {
        let system = Clock::system();
        assert!(system.now().trusted);
        let same = system.clone();
        same.doubt(true);
        assert!(!system.now().trusted);
        same.doubt(false);
        assert!(system.now().trusted);
        let manual = Clock::manual(Stamp { wall_ms: 0, mono_us: 1, boot: 2, trusted: false });
        manual.advance(Duration::from_secs(1));
        assert_eq!(manual.now().wall_ms, 1_000);
        assert!(!manual.now().trusted);
    }
}
