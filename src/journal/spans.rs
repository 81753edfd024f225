//! A set of row numbers as spans: what is settled, in a few numbers instead of a row for each reading.
//!
//! Promises: spans neither touch nor overlap, so that what is settled in order stays one span.

use std::collections::BTreeMap;

/// First row of each span, and its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(BTreeMap<i64, i64>);

/// What changed in the table of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A span with this first row ends here now.
    Put(i64, i64),
    /// There is no span with this first row any more.
    Remove(i64),
}

impl Spans {
    /// Adds the rows from `first` to `last`.
    pub(super) fn insert(&mut self, first: i64, last: i64, mut changed: impl FnMut(Change)) {
        let (mut from, mut to) = (first, last);
        if let Some((&f, &l)) = self.0.range(..=first).next_back()
            && l >= first - 1
        {
            (from, to) = (f, to.max(l));
        }
        while let Some((&f, &l)) = self.0.range(from + 1..=to.saturating_add(1)).next() {
            self.0.remove(&f);
            changed(Change::Remove(f));
            to = to.max(l);
        }
        if self.0.insert(from, to) != Some(to) {
            changed(Change::Put(from, to));
        }
    }

    /// Takes one row out.
    pub(super) fn remove(&mut self, row: i64, mut changed: impl FnMut(Change)) {
        let Some((&first, &last)) = self.0.range(..=row).next_back().filter(|(_, l)| **l >= row) else { return };
        if first == row {
            self.0.remove(&first);
            changed(Change::Remove(first));
        } else {
            self.0.insert(first, row - 1);
            changed(Change::Put(first, row - 1));
        }
        if row < last {
            self.0.insert(row + 1, last);
            changed(Change::Put(row + 1, last));
        }
    }

    /// First and last row of each span, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    pub(super) fn contains(&self, row: i64) -> bool {
        self.0.range(..=row).next_back().is_some_and(|(_, last)| *last >= row)
    }

    /// The first gap above `after`: its rows are above the first number and below the second.
    pub(super) fn gap(&self, after: i64) -> (i64, i64) {
        let above = self.0.range(..=after.saturating_add(1)).next_back().map_or(after, |(_, last)| after.max(*last));
        let below = self.0.range(above.saturating_add(1)..).next().map_or(i64::MAX, |(first, _)| *first);
        (above, below)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_become_one_span() {
        let mut spans = Spans::default();
        let mut changes = Vec::new();
        for (first, last) in [(0, 0), (5, 6), (1, 2), (3, 4)] {
            spans.insert(first, last, |c| changes.push(c));
        }
        assert_eq!(spans.0, BTreeMap::from([(0, 6)]));
        assert_eq!(
            changes,
            [Change::Put(0, 0), Change::Put(5, 6), Change::Put(0, 2), Change::Remove(5), Change::Put(0, 6)]
        );
        assert_eq!(spans.gap(3), (6, i64::MAX));
    }

    proptest! {
        /// Against a plain set; the changes, applied to a copy, give the same spans.
        #[test]
        fn spans_are_a_set(steps in prop::collection::vec((prop::bool::weighted(0.7), 0i64..60, 0i64..6), 1..80)) {
            let (mut spans, mut copy, mut set) = (Spans::default(), BTreeMap::new(), BTreeSet::new());
            for (insert, first, length) in steps {
                let mut apply = |c| match c {
                    Change::Put(f, l) => drop(copy.insert(f, l)),
                    Change::Remove(f) => drop(copy.remove(&f)),
                };
                if insert {
                    spans.insert(first, first + length, &mut apply);
                    set.extend(first..=first + length);
                } else {
                    spans.remove(first, &mut apply);
                    set.remove(&first);
                }
                prop_assert_eq!(&spans.0, &copy);
                for row in -1..70 {
                    prop_assert_eq!(spans.contains(row), set.contains(&row));
                    let (above, below) = spans.gap(row);
                    let first_open = (row + 1..).find(|r| !set.contains(r)).unwrap();
                    prop_assert_eq!(above + 1, first_open);
                    prop_assert!((above + 1..below.min(100)).all(|r| !set.contains(&r)));
                    prop_assert!(below == i64::MAX || set.contains(&below));
                }
            }
        }
    }
}
