//! How long to wait before the next try: often and cheaply while a destination is away, ever longer while it is unwell.
//! Random, so that a thousand gateways do not return at once. Pure but for the dice.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use super::why::is_absence;
use crate::custody::Why;
use crate::limits;

/// The wait after `failures` failures in a row (from 1), the last for `why`; what the destination asked for counts first.
pub(super) fn wait(why: &Why, after: Option<Duration>, failures: u32, after_max: Duration) -> Duration {
    if let Some(after) = after {
        // Not before what it asked for, and not all of us at that moment.
        return after.min(after_max) + random(Duration::ZERO, limits::UNWELL_RETRY.0);
    }
    if is_absence(why) {
        return random(limits::ABSENCE_RETRY.0, limits::ABSENCE_RETRY.1);
    }
    let (first, last) = limits::UNWELL_RETRY;
    let bound = first.saturating_mul(1 << failures.min(10)).min(last);
    random(first, bound)
}

fn random(low: Duration, high: Duration) -> Duration {
    let mut octets = [0; 4];
    // Without random numbers the upper bound is the safe choice.
    if SystemRandom::new().fill(&mut octets).is_err() {
        return high;
    }
    let share = f64::from(u32::from_be_bytes(octets)) / f64::from(u32::MAX);
    low + high.saturating_sub(low).mul_f64(share)
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
            let wait = wait(&why, None, failures, LONG);
            assert!((Duration::from_millis(250)..Duration::from_secs(1)).contains(&wait), "{wait:?}");
        }
    }

    #[test]
    fn an_unwell_destination_is_asked_ever_less() {
        let why = Trouble::ServerError(500).why();
        let longest = |failures| (0..200).map(|_| wait(&why, None, failures, LONG)).max().unwrap();
        assert!(longest(1) <= Duration::from_secs(1));
        assert!((10..=60).contains(&longest(9).as_secs()));
        assert!(longest(u32::MAX) <= Duration::from_secs(60));
    }

    #[test]
    fn what_it_asks_for_counts_within_bounds() {
        let why = Trouble::Throttled(429).why();
        let waited = wait(&why, Some(Duration::from_secs(7)), 1, LONG).as_secs_f64();
        assert!((7.0..=7.5).contains(&waited));
        assert!(wait(&why, Some(Duration::from_secs(86_400)), 1, LONG).as_secs() <= 600);
    }
}
