//! A small seeded generator (SplitMix64), so that every run of the lab can be had again.
//!
//! Promises: the same seed gives the same numbers on every machine. Must never: be used for keys or secrets.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// SplitMix64's finaliser: spreads one number over all 64 bits.
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Rng {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(STEP)))
    }

    /// An independent stream for one purpose, the same each time it is asked for.
    pub const fn fork(&self, purpose: u64) -> Self {
        Self(mix(self.0 ^ mix(purpose.wrapping_mul(STEP))))
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// In `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        // 53 bits: all that an f64 holds.
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// In `0..n`; 0 for `n == 0`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw().checked_rem(n).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_stream() {
        let take = |seed| {
            (0..8)
                .map({
                    let mut r = Rng::new(seed);
                    move |_| r.draw()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
        let root = Rng::new(7);
        assert_eq!(root.fork(1).draw(), root.fork(1).draw());
        assert_ne!(root.fork(1).draw(), root.fork(2).draw());
    }

    #[test]
    fn numbers_stay_in_their_range_and_spread() {
        let mut r = Rng::new(1);
        let xs: Vec<f64> = (0..10_000).map(|_| r.between(2.0, 4.0)).collect();
        assert!(xs.iter().all(|x| (2.0..4.0).contains(x)));
        let mean = xs.iter().sum::<f64>() / xs.len() as f64;
        assert!((mean - 3.0).abs() < 0.05, "{mean}");
    }
}
