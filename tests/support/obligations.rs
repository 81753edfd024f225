//! What is owed, kept apart from the gateway: a reading that the broker acknowledged must be at the destination, once,
//! with its value and its patient. What was handed out and not acknowledged may be there, once. Nothing else may.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use wardline::decimal::Decimal;
use wardline::lab::tally::Tally;

use super::device::Device;

/// Reading 0 was taken then; each further one a second later: the first second of a day of this month.
fn first_s() -> i64 {
    static FIRST: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *FIRST.get_or_init(|| (jiff::Timestamp::now().as_second() / 86_400 - 20) * 86_400)
}

/// When reading `n` was taken, without the zone.
pub fn time_of(n: u64) -> String {
    let time = jiff::Timestamp::from_second(first_s() + i64::try_from(n).unwrap()).unwrap();
    time.to_string().trim_end_matches('Z').to_owned()
}

/// The readings of some patients, a device each.
pub struct Book {
    patients: u64,
    owed: BTreeSet<u64>,
    offered: BTreeSet<u64>,
}

/// What is wrong at the destination.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Owed and not there.
    pub missing: Vec<u64>,
    /// There more than once.
    pub doubled: Vec<u64>,
    /// There with another value or of another patient.
    pub wrong: Vec<u64>,
    /// There, and never handed out.
    pub foreign: Vec<String>,
}

impl Book {
    /// Nothing is owed yet.
    pub fn new(patients: u64) -> Self {
        Self { patients, owed: BTreeSet::new(), offered: BTreeSet::new() }
    }

    /// Patients and devices, as a gateway is configured with them.
    pub fn settings(&self) -> String {
        let mut text = String::new();
        for p in 0..self.patients {
            write!(text, "[[patient]]\nreference = \"Patient/p{p}\"\n").unwrap();
            write!(text, "[[device]]\nid = \"mqtt:watch-{p}\"\npatient = \"Patient/p{p}\"\n").unwrap();
        }
        text
    }

    /// Topic and payload of reading `n`: each has a second, a patient and a value of its own.
    pub fn message(&self, n: u64) -> (String, String) {
        let time = jiff::Timestamp::from_second(first_s() + i64::try_from(n).unwrap()).unwrap();
        let text = format!("{{\"id\":{n},\"time\":\"{time}\",\"heart_rate\":{}}}", rate(n));
        (format!("vitals/watch-{}", n % self.patients), text)
    }

    /// Hands readings to the broker, and owes those that it acknowledged. Whether it acknowledged all.
    pub async fn publish(&mut self, device: &Device, numbers: Range<u64>) -> bool {
        let messages: Vec<_> = numbers.clone().map(|n| self.message(n)).collect();
        self.offered.extend(numbers.clone());
        let taken = device.offer(messages).await;
        self.owed.extend(numbers.zip(&taken).filter(|(_, taken)| **taken).map(|(n, _)| n));
        taken.iter().all(|taken| *taken)
    }

    /// How many are owed.
    pub fn owed(&self) -> u64 {
        self.owed.len() as u64
    }

    /// What is owed, as the lab's endpoint counts what it holds.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for n in &self.owed {
            let value = Decimal::from(i64::try_from(rate(*n)).unwrap());
            let patient = format!("Patient/p{}", n % self.patients);
            let mark = tally.mark(&patient, "8867-4", [Some((value, "/min"))].into_iter());
            tally.add(mark);
        }
        tally
    }

    /// Compares with the Observations of the destination.
    pub fn judge(&self, observations: &[Arc<str>]) -> Verdict {
        let mut verdict = Verdict::default();
        let mut found: BTreeMap<u64, u32> = BTreeMap::new();
        for text in observations {
            let body: serde_json::Value = serde_json::from_str(text).unwrap();
            let time = body["effectiveDateTime"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
            let n =
                time.and_then(|t| u64::try_from(t.as_second() - first_s()).ok()).filter(|n| self.offered.contains(n));
            let Some(n) = n else {
                verdict.foreign.push(text.to_string());
                continue;
            };
            *found.entry(n).or_default() += 1;
            let patient = format!("Patient/p{}", n % self.patients);
            if body["subject"]["reference"] != patient || body["valueQuantity"]["value"] != rate(n) {
                verdict.wrong.push(n);
            }
        }
        verdict.missing = self.owed.iter().copied().filter(|n| !found.contains_key(n)).collect();
        verdict.doubled = found.iter().filter(|(_, times)| **times > 1).map(|(n, _)| *n).collect();
        verdict
    }
}

/// A quiet pulse that its neighbours do not have.
fn rate(n: u64) -> u64 {
    60 + n * 7_919 % 37
}
