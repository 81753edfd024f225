//! What one way of a relay holds of its stream: messages that came, were lent to the deliveries, and are not settled. Pure.
//!
//! Promises: a message is lent once until it is settled, in the order of the stream; tries are remembered when a message
//! goes back and comes again. Must never: forget how a message that it holds is acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use crate::limits;
use crate::nats::message::Letter;

/// A message that came.
#[derive(Debug)]
pub(super) struct Held {
    /// Where its acknowledgement goes.
    pub(super) ack: String,
    /// Where it was sent.
    pub(super) subject: String,
    /// As it came: it is kept so when it is refused.
    pub(super) raw: Bytes,
    /// What it says.
    pub(super) letter: Letter,
}

/// What is held, by number in the stream.
#[derive(Default)]
pub(super) struct Hand {
    held: BTreeMap<u64, Held>,
    /// Of those, not lent.
    ready: BTreeSet<u64>,
    /// Tries that failed on a message itself.
    tries: HashMap<u64, u32>,
}

impl Hand {
    /// Takes a message in. One that is held already was handed out again: its newer acknowledgement counts.
    pub(super) fn take(&mut self, seq: u64, held: Held) {
        if self.held.insert(seq, held).is_none() {
            self.ready.insert(seq);
        }
    }

    /// Lends up to `max`, oldest first, as far as `may` lets them go.
    pub(super) fn lend(&mut self, max: usize, may: impl Fn(u64) -> bool) -> Vec<u64> {
        let lent: Vec<u64> = self.ready.iter().copied().take_while(|seq| may(*seq)).take(max).collect();
        self.ready.retain(|seq| !lent.contains(seq));
        lent
    }

    /// Lent messages come back unused.
    pub(super) fn give_back(&mut self, seqs: &[u64]) {
        self.ready.extend(seqs.iter().filter(|seq| self.held.contains_key(seq)));
    }

    /// A held message.
    pub(super) fn get(&self, seq: u64) -> Option<&Held> {
        self.held.get(&seq)
    }

    /// It is settled, or goes back to the stream.
    pub(super) fn let_go(&mut self, seq: u64) -> Option<Held> {
        self.ready.remove(&seq);
        self.held.remove(&seq)
    }

    /// All that is held and not lent goes back.
    pub(super) fn let_go_ready(&mut self) -> Vec<Held> {
        let ready = std::mem::take(&mut self.ready);
        ready.iter().filter_map(|seq| self.held.remove(seq)).collect()
    }

    /// Everything that is held.
    pub(super) fn all(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }

    /// The first that waits to be lent.
    pub(super) fn first(&self) -> Option<u64> {
        self.ready.first().copied()
    }

    /// How many are held, and how many of them are not lent.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.held.len(), self.ready.len())
    }

    /// Tries that failed on it.
    pub(super) fn tries(&self, seq: u64) -> u32 {
        self.tries.get(&seq).copied().unwrap_or(0)
    }

    /// One more failed on it.
    pub(super) fn failed(&mut self, seq: u64) {
        if self.tries.len() >= limits::RELAY_TRIES_MAX {
            // A message that is forgotten gets some tries more.
            self.tries.clear();
        }
        let tries = self.tries.entry(seq).or_default();
        *tries = tries.saturating_add(1);
    }

    /// It is done with.
    pub(super) fn forget(&mut self, seq: u64) {
        self.tries.remove(&seq);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::custody::Payload;
    use crate::fhir::fixtures::reading;

    fn held(ack: &str) -> Held {
        let letter =
            Letter { gateway: "b".into(), what: Payload::Reading(Arc::new(reading("spo2"))), evidence: vec![] };
        Held { ack: ack.into(), subject: "w.b.readings".into(), raw: Bytes::new(), letter }
    }

    #[test]
    fn a_message_is_lent_once_in_order_until_it_is_settled() {
        let mut hand = Hand::default();
        for seq in [5, 3, 4] {
            hand.take(seq, held("a"));
        }
        assert_eq!(hand.lend(2, |_| true), [3, 4]);
        hand.take(3, held("b"));
        assert_eq!((hand.lend(9, |_| true), hand.lend(9, |_| true)), (vec![5], vec![]));
        assert_eq!(hand.let_go(3).unwrap().ack, "b", "the newer acknowledgement counts");
        hand.give_back(&[3, 5]);
        assert_eq!(hand.lend(9, |_| true), [5], "what was let go does not come back");
        assert_eq!(hand.count(), (2, 0));
    }

    #[test]
    fn nothing_passes_one_that_may_not_go_yet() {
        let mut hand = Hand::default();
        (1..4).for_each(|seq| hand.take(seq, held("a")));
        assert_eq!(hand.lend(9, |seq| seq != 2), [1]);
        assert_eq!(hand.first(), Some(2));
        assert_eq!(hand.let_go_ready().len(), 2);
        assert_eq!(hand.count(), (1, 0));
    }

    #[test]
    fn tries_outlive_the_hand() {
        let mut hand = Hand::default();
        hand.take(1, held("a"));
        hand.failed(1);
        hand.let_go(1);
        hand.take(1, held("b"));
        assert_eq!(hand.tries(1), 1);
        hand.forget(1);
        assert_eq!(hand.tries(1), 0);
    }
}
