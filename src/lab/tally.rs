//! Counting readings on both sides of the gateway, to compare what was sent with what was found.
//!
//! A group is one patient and one code. Each keeps a count and a sum of hashes of its values, so that a reading that is
//! missing, there twice, at the wrong patient, or altered shows, in memory that does not grow with the readings.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::decimal::Decimal;

/// Counts by patient and code.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    index: HashMap<(Box<str>, Box<str>), usize>,
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Group {
    count: u64,
    sum: u64,
}

/// One reading as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    group: usize,
    hash: u64,
}

/// What two tallies say of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Expected and not found.
    pub missing: u64,
    /// Found and not expected.
    pub surplus: u64,
    /// Groups whose number is right and whose values are not.
    pub altered: u64,
}

impl Tally {
    /// What a reading adds: numbers in order with their unit, `None` where one is absent.
    pub fn mark<'a>(
        &mut self,
        subject: &str,
        code: &str,
        numbers: impl Iterator<Item = Option<(Decimal, &'a str)>>,
    ) -> Mark {
        // Same keys in every process: no one sends us values to make it collide.
        let mut hasher = DefaultHasher::new();
        numbers.for_each(|n| n.hash(&mut hasher));
        let next = self.groups.len();
        let group = *self.index.entry((subject.into(), code.into())).or_insert(next);
        if group == next {
            self.groups.push(Group::default());
        }
        Mark { group, hash: hasher.finish() }
    }

    /// Counts it.
    pub fn add(&mut self, mark: Mark) {
        if let Some(group) = self.groups.get_mut(mark.group) {
            group.count += 1;
            group.sum = group.sum.wrapping_add(mark.hash);
        }
    }

    /// Takes it back.
    pub fn remove(&mut self, mark: Mark) {
        if let Some(group) = self.groups.get_mut(mark.group) {
            group.count = group.count.saturating_sub(1);
            group.sum = group.sum.wrapping_sub(mark.hash);
        }
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.groups.iter().map(|g| g.count).sum()
    }

    /// How many of this patient and code.
    pub fn count(&self, subject: &str, code: &str) -> u64 {
        self.get(&(subject.into(), code.into())).count
    }

    fn get(&self, key: &(Box<str>, Box<str>)) -> Group {
        self.index.get(key).and_then(|g| self.groups.get(*g)).copied().unwrap_or_default()
    }

    /// Compares what was expected (`self`) with what was found.
    pub fn compare(&self, found: &Self) -> Difference {
        let mut d = Difference::default();
        for key in self.index.keys() {
            let (want, have) = (self.get(key), found.get(key));
            d.missing += want.count.saturating_sub(have.count);
            d.surplus += have.count.saturating_sub(want.count);
            d.altered += u64::from(want.count == have.count && want.sum != have.sum);
        }
        let unknown = found.index.keys().filter(|key| !self.index.contains_key(*key));
        d.surplus += unknown.map(|key| found.get(key).count).sum::<u64>();
        d
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(readings: &[(&str, &str, &str)]) -> Tally {
        let mut t = Tally::default();
        for (subject, code, value) in readings {
            let mark = t.mark(subject, code, [Some((value.parse().unwrap(), "u"))].into_iter());
            t.add(mark);
        }
        t
    }

    #[test]
    fn order_and_trailing_zeros_do_not_matter() {
        let a = tally(&[("a", "hr", "60"), ("a", "hr", "61"), ("b", "bp", "120")]);
        let b = tally(&[("b", "bp", "120.0"), ("a", "hr", "61"), ("a", "hr", "60")]);
        assert_eq!(a.compare(&b), Difference::default());
    }

    #[test]
    fn what_differs_shows() {
        let all = tally(&[("a", "hr", "60"), ("a", "hr", "61"), ("b", "hr", "70")]);
        let d = |other: &Tally| {
            let d = all.compare(other);
            (d.missing, d.surplus, d.altered)
        };
        assert_eq!(d(&tally(&[("a", "hr", "60"), ("b", "hr", "70")])), (1, 0, 0), "one is missing");
        assert_eq!(d(&tally(&[("a", "hr", "60"), ("a", "hr", "62"), ("b", "hr", "70")])), (0, 0, 1), "altered");
        assert_eq!(d(&tally(&[("a", "hr", "60"), ("b", "hr", "61"), ("b", "hr", "70")])), (1, 1, 0), "wrong patient");
        let twice = tally(&[("a", "hr", "60"), ("a", "hr", "61"), ("b", "hr", "70"), ("c", "hr", "70")]);
        assert_eq!(d(&twice), (0, 1, 0), "nobody's");
    }

    #[test]
    fn taking_back_undoes() {
        let mut t = tally(&[("a", "hr", "60")]);
        let mark = t.mark("a", "hr", [None].into_iter());
        t.add(mark);
        t.remove(mark);
        assert_eq!(t.compare(&tally(&[("a", "hr", "60")])), Difference::default());
    }
}
