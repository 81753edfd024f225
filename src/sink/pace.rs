//! How long to wait before the next try: often and cheaply while a destination is away, ever longer while it is unwell.
//! Random, so that a thousand gateways do not return at once. Pure but for the dice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use super::why::is_absence;
use crate::custody::Why;
use crate::limits;

/// The dice: the machine's, or those of a simulation, which a seed repeats.
#[derive(Clone, Debug, Default)]
pub struct Dice(Option<Arc<AtomicU64>>);

impl Dice {
    /// The same seed throws the same.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(seed | 1))))
    }

    /// `None`: there are no random numbers.
    fn throw(&self) -> Option<u32> {
        let mut octets = [0; 4];
        if let Some(state) = &self.0 {
            let next = state.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.store(next, Ordering::Relaxed);
            return u32::try_from(next >> 32).ok();
        }
        SystemRandom::new().fill(&mut octets).ok().map(|()| u32::from_be_bytes(octets))
    }

    fn between(&self, low: Duration, high: Duration) -> Duration {
        // Without random numbers the upper bound is the safe choice.
        let Some(throw) = self.throw() else { return high };
        low + high.saturating_sub(low).mul_f64(f64::from(throw) / f64::from(u32::MAX))
    }
}

/// The wait after `failures` failures in a row (from 1), the last for `why`; what the destination asked for counts first.
pub(super) fn wait(dice: &Dice, why: &Why, after: Option<Duration>, failures: u32, after_max: Duration) -> Duration {
    let (first, last) = limits::UNWELL_RETRY;
    let bound = first.saturating_mul(1 << failures.min(10)).min(last);
    if let Some(after) = after {
        // Not before what it asked for, and not all of us at that moment: it may have told everybody the same.
        let after = after.min(after_max);
        return after + dice.between(Duration::ZERO, bound.max(after / 4).min(last).min(after_max));
    }
    if is_absence(why) {
        return dice.between(limits::ABSENCE_RETRY.0, limits::ABSENCE_RETRY.1);
    }
    // Not from zero: the return of many that wait between nothing and all is twice as dense at its beginning.
    dice.between(first.max(bound / 2), bound)
}

/// So many requests in a minute, and a short burst: a destination that states a limit is never asked for more.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Time that one request costs; zero: no limit.
    each: Duration,
    /// When the bucket would be full again.
    full: Mutex<Instant>,
}

impl Bucket {
    /// `per_minute`: 0 is no limit.
    pub(super) fn new(per_minute: u32) -> Self {
        let each = if per_minute == 0 { Duration::ZERO } else { Duration::from_secs(60) / per_minute };
        Self { each, full: Mutex::new(Instant::now()) }
    }

    /// Takes one request's share. How long to wait for it; what is urgent takes it in advance and does not wait.
    pub(super) fn take(&self, now: Instant) -> Duration {
        if self.each.is_zero() {
            return Duration::ZERO;
        }
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        *full = (*full).max(now) + self.each;
        // A burst of what ten seconds allow.
        (*full - now).saturating_sub(limits::BURST_MAX.max(self.each))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Trouble;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn an_absent_destination_is_asked_within_a_second_however_long_it_is_away() {
        let why = Trouble::Unreachable("refused").why();
        for failures in [1, 2, 100, u32::MAX] {
            let wait = wait(&Dice::default(), &why, None, failures, LONG);
            assert!((Duration::from_millis(250)..Duration::from_secs(1)).contains(&wait), "{wait:?}");
        }
    }

    #[test]
    fn an_unwell_destination_is_asked_ever_less() {
        let why = Trouble::ServerError(500).why();
        let longest = |failures| (0..200).map(|_| wait(&Dice::default(), &why, None, failures, LONG)).max().unwrap();
        assert!(longest(1) <= Duration::from_secs(1));
        assert!((10..=60).contains(&longest(9).as_secs()));
        assert!(longest(u32::MAX) <= Duration::from_secs(60));
    }

    #[test]
    fn what_it_asks_for_counts_within_bounds() {
        let why = Trouble::Throttled(429).why();
        let waited = wait(&Dice::default(), &why, Some(Duration::from_secs(7)), 1, LONG).as_secs_f64();
        assert!((7.0..=8.75).contains(&waited));
        assert!(wait(&Dice::default(), &why, Some(Duration::from_secs(86_400)), 1, LONG).as_secs() <= 660);
        assert!(
            wait(&Dice::default(), &why, Some(Duration::from_secs(86_400)), 99, Duration::from_secs(30)).as_secs()
                <= 60
        );
    }

    /// When each of 1,000 gateways asks first after the destination's return, if its tries begin with the outage.
    fn returns(outage: Duration, try_again: impl Fn(Duration, u32) -> Duration) -> Vec<Duration> {
        let first = |_| {
            let (mut at, mut failures) = (Duration::ZERO, 0);
            while at < outage {
                failures += 1;
                at += try_again(at, failures);
            }
            at - outage
        };
        (0..1_000).map(first).collect()
    }

    /// The fullest tenth of the time in which they all return, against the mean of the tenths.
    fn peak(returns: &[Duration]) -> f64 {
        let last = returns.iter().max().unwrap().as_secs_f64();
        let mut tenths = [0_u32; 10];
        for at in returns {
            tenths[((at.as_secs_f64() / last * 10.0) as usize).min(9)] += 1;
        }
        f64::from(*tenths.iter().max().unwrap()) / 100.0
    }

    /// N4. Whatever the outage looked like: gone, unwell, or asking all of us to come at one and the same moment.
    #[test]
    fn a_thousand_gateways_return_from_an_outage_without_a_crowd() {
        let six_hours = Duration::from_secs(6 * 3_600);
        let unwell = Trouble::Unavailable(500).why();
        let unwell = crate::custody::Why { code: "WL-F005".into(), ..unwell };
        let gone = Trouble::Unreachable("refused").why();
        let throttled = Trouble::Throttled(429).why();
        // Ten minutes are enough here: a try a second, and none knows of the ones before it.
        let until = |at| Some(six_hours.saturating_sub(at));
        let crowds = [
            ("gone", peak(&returns(Duration::from_secs(600), |_, n| wait(&Dice::default(), &gone, None, n, LONG)))),
            ("unwell", peak(&returns(six_hours, |_, n| wait(&Dice::default(), &unwell, None, n, LONG)))),
            (
                "the same moment for all",
                peak(&returns(six_hours, |at, n| wait(&Dice::default(), &throttled, until(at), n, LONG))),
            ),
        ];
        eprintln!("N4: peak arrival against the mean: {crowds:?}");
        assert!(crowds.iter().all(|(_, crowd)| *crowd <= 2.0), "{crowds:?}");
    }

    #[test]
    fn no_more_requests_than_are_allowed() {
        let bucket = Bucket::new(60);
        let start = Instant::now();
        let waits: Vec<_> = (0..30).map(|_| bucket.take(start)).collect();
        assert!(waits[..10].iter().all(Duration::is_zero), "a burst of ten seconds' worth");
        assert_eq!(waits[29], Duration::from_secs(20));
        assert!(bucket.take(start + Duration::from_secs(60)).is_zero(), "it fills again");
        assert!((0..1_000).all(|_| Bucket::new(0).take(start).is_zero()), "no limit");
    }
}
