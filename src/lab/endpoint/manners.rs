//! How badly the endpoint behaves, and the dice that decide when.
//!
//! Promises: with the same seed and the same requests in the same order, the same misfortunes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lab::rng::Rng;

/// Probabilities are per request unless said otherwise, in `0.0..=1.0`. The default is a polite server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Manners {
    /// Every answer waits this long, milliseconds.
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u64,
    /// And up to this much longer.
    #[arg(long, default_value_t = 0)]
    pub jitter_ms: u64,
    /// 500, 502 or 503 before anything is stored.
    #[arg(long, default_value_t = 0.0)]
    pub fail_rate: f64,
    /// 429 with Retry-After before anything is stored.
    #[arg(long, default_value_t = 0.0)]
    pub throttle_rate: f64,
    /// What Retry-After says, seconds.
    #[arg(long, default_value_t = 1)]
    pub retry_after_s: u64,
    /// The connection is reset before anything is stored.
    #[arg(long, default_value_t = 0.0)]
    pub reset_rate: f64,
    /// Stored, and then the answer is lost: a reset, or a 504 of some proxy.
    #[arg(long, default_value_t = 0.0)]
    pub lost_rate: f64,
    /// Stored, and the answer breaks off in the middle.
    #[arg(long, default_value_t = 0.0)]
    pub truncate_rate: f64,
    /// The answer's body trickles.
    #[arg(long, default_value_t = 0.0)]
    pub slow_rate: f64,
    /// For how long it trickles, milliseconds.
    #[arg(long, default_value_t = 2_000)]
    pub slow_ms: u64,
    /// Per entry of a batch: 500 for this one only.
    #[arg(long, default_value_t = 0.0)]
    pub entry_fail_rate: f64,
    /// Per resource, and always the same ones: 422, for good.
    #[arg(long, default_value_t = 0.0)]
    pub refuse_rate: f64,
    /// Per entry: the condition of a conditional create is not looked at, as on servers where it races.
    #[arg(long, default_value_t = 0.0)]
    pub unconditional_rate: f64,
    /// A Bundle with more entries is answered 413; 0: any size.
    #[arg(long, default_value_t = 0)]
    pub bundle_max: usize,
    /// The next so many new Observations are answered 201 and forgotten: what no server may do, to see it counted.
    #[arg(long, default_value_t = 0)]
    pub forget: u32,
    /// A search by patient is refused, as by servers that know none.
    #[arg(long, default_value_t = false)]
    pub unsearchable: bool,
    /// Whether it answers at all.
    #[arg(long, value_enum, default_value_t = Outage::None)]
    pub outage: Outage,
}

/// Ways of not being there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Outage {
    /// It is there.
    #[default]
    None,
    /// Connections are refused, open ones are reset.
    Refuse,
    /// Everything is answered 503.
    Unavailable,
}

/// What befalls one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Served,
    /// This status, nothing stored.
    Failed(u16),
    /// 429, nothing stored.
    Throttled,
    /// A reset, nothing stored.
    Reset,
    /// Stored, then a reset.
    LostByReset,
    /// Stored, then a 504.
    LostByProxy,
    /// Stored, half an answer.
    Truncated,
    /// Stored, a trickling answer.
    Slow,
}

impl Manners {
    /// Throws the dice for one request: how long it waits, and what befalls it.
    pub fn fate(&self, dice: &mut Rng) -> (Duration, Fate) {
        let wait = Duration::from_millis(self.latency_ms.saturating_add(dice.below(self.jitter_ms.saturating_add(1))));
        if self.outage == Outage::Unavailable {
            return (wait, Fate::Failed(503));
        }
        let status = [500, 502, 503].get(usize::try_from(dice.below(3)).unwrap_or(0)).copied().unwrap_or(500);
        let proxy = dice.chance(0.5);
        let fates = [
            (self.reset_rate, Fate::Reset),
            (self.fail_rate, Fate::Failed(status)),
            (self.throttle_rate, Fate::Throttled),
            (self.lost_rate, if proxy { Fate::LostByProxy } else { Fate::LostByReset }),
            (self.truncate_rate, Fate::Truncated),
            (self.slow_rate, Fate::Slow),
        ];
        let fate = fates.into_iter().find(|(rate, _)| dice.chance(*rate)).map_or(Fate::Served, |(_, fate)| fate);
        (wait, fate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polite_server_serves() {
        let mut dice = Rng::new(1);
        assert!((0..1_000).all(|_| Manners::default().fate(&mut dice) == (Duration::ZERO, Fate::Served)));
    }

    #[test]
    fn rates_are_rates_and_seeds_are_seeds() {
        let rude = Manners { fail_rate: 0.1, lost_rate: 0.2, ..Manners::default() };
        let run = || {
            let mut dice = Rng::new(5);
            (0..5_000).map(|_| rude.fate(&mut dice).1).collect::<Vec<_>>()
        };
        let fates = run();
        assert_eq!(fates, run());
        let failed = fates.iter().filter(|f| matches!(f, Fate::Failed(_))).count();
        let lost = fates.iter().filter(|f| matches!(f, Fate::LostByProxy | Fate::LostByReset)).count();
        assert!((400..600).contains(&failed) && (750..1_050).contains(&lost), "{failed} {lost}");
    }
}
