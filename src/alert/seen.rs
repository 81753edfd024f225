//! Readings that were judged already: a reading that is sent again neither raises nor clears anything.

use std::collections::{HashSet, VecDeque};

use crate::reading::ReadingKey;

/// The newest keys, a bounded number of them.
pub(super) struct Keys {
    known: HashSet<ReadingKey>,
    order: VecDeque<ReadingKey>,
    max: usize,
}

impl Keys {
    pub(super) fn new(max: usize) -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), max }
    }

    /// Whether it is new; the oldest one is forgotten for it.
    pub(super) fn insert(&mut self, key: ReadingKey) -> bool {
        if !self.known.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let key = |n: u8| ReadingKey([n; 16]);
        let mut keys = Keys::new(2);
        assert!(keys.insert(key(1)) && keys.insert(key(2)) && !keys.insert(key(1)));
        assert!(keys.insert(key(3)) && keys.insert(key(1)) && !keys.insert(key(3)));
        assert_eq!(keys.known.len(), 2);
    }
}
