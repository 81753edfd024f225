//! What the broker sent and we have not acknowledged yet. Pure.
//!
//! Promises: packets are acknowledged in the order in which they came (MQTT 4.6), each once, and only those of this
//! connection: a packet id of an earlier one means another message now.

use std::collections::VecDeque;

/// Bits of a ticket that count; those above say which connection.
const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Marks the ticket of a message that nobody waits for (QoS 0).
const UNAWAITED: u64 = 1 << (COUNT_BITS - 1);

/// The in-flight window of one connection after another.
#[derive(Debug, Default)]
pub(super) struct Window {
    epoch: u64,
    /// Count of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
    /// Frames of this connection, awaited or not.
    frames: u64,
}

#[derive(Debug)]
struct Entry {
    packet_id: u16,
    told: bool,
}

impl Window {
    /// A new connection: whatever is open belongs to the broker again, which sends it anew.
    pub(super) fn open(&mut self) {
        self.epoch += 1;
        self.close();
    }

    /// The connection ended: tickets of it mean nothing any more.
    pub(super) fn close(&mut self) {
        self.first = 0;
        self.frames = 0;
        self.entries.clear();
    }

    /// Takes a packet; answers with its ticket. A packet id of 0 is a message without acknowledgement.
    pub(super) fn take(&mut self, packet_id: u16) -> u64 {
        self.frames += 1;
        let count = if packet_id == 0 {
            UNAWAITED | self.frames
        } else {
            self.entries.push_back(Entry { packet_id, told: false });
            self.first + self.entries.len() as u64 - 1
        };
        self.ticket(count)
    }

    /// The frame with this ticket is synced to disk. Tickets of earlier connections, and repeated ones, are ignored.
    pub(super) fn tell(&mut self, ticket: u64) {
        let count = ticket & COUNT_MASK;
        if self.ticket(count) != ticket || count < self.first {
            return;
        }
        let index = usize::try_from(count - self.first).unwrap_or(usize::MAX);
        if let Some(entry) = self.entries.get_mut(index) {
            entry.told = true;
        }
    }

    /// The packet to acknowledge next, if it may be.
    pub(super) fn due(&self) -> Option<u16> {
        self.entries.front().filter(|e| e.told).map(|e| e.packet_id)
    }

    /// The packet that was due is acknowledged.
    pub(super) fn acknowledged(&mut self) {
        if self.entries.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// Packets not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Which connection, from 1.
    pub(super) fn connection(&self) -> u32 {
        u32::try_from(self.epoch).unwrap_or(u32::MAX)
    }

    /// Frames of this connection so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    fn ticket(&self, count: u64) -> u64 {
        (self.epoch << COUNT_BITS) | (count & COUNT_MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(window: &mut Window) -> Vec<u16> {
        let mut ids = vec![];
        while let Some(id) = window.due() {
            window.acknowledged();
            ids.push(id);
        }
        ids
    }

    #[test]
    fn acknowledgements_keep_the_order_of_arrival() {
        let mut window = Window::default();
        window.open();
        let tickets: Vec<_> = [7, 3, 9].into_iter().map(|id| window.take(id)).collect();
        window.tell(tickets[2]);
        window.tell(tickets[1]);
        assert!(due(&mut window).is_empty());
        window.tell(tickets[0]);
        window.tell(tickets[0]);
        assert_eq!(due(&mut window), [7, 3, 9]);
        window.tell(tickets[1]);
        assert_eq!((due(&mut window), window.len()), (vec![], 0));
    }

    #[test]
    fn a_ticket_of_an_earlier_connection_is_ignored() {
        let mut window = Window::default();
        window.open();
        let old = window.take(5);
        window.close();
        window.tell(old);
        window.open();
        let new = window.take(5);
        window.tell(old);
        assert!(due(&mut window).is_empty());
        assert_ne!(old, new);
        window.tell(new);
        assert_eq!(due(&mut window), [5]);
    }

    #[test]
    fn a_message_without_acknowledgement_has_a_ticket_of_its_own() {
        let mut window = Window::default();
        window.open();
        let (a, b, c) = (window.take(0), window.take(1), window.take(0));
        assert!(a != b && b != c && a != c);
        window.tell(a);
        window.tell(c);
        assert_eq!((due(&mut window), window.len(), window.frames()), (vec![], 1, 3));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_told_each_packet_is_due_once_and_in_order(
            tells in proptest::collection::vec((0u64..40, proptest::bool::ANY), 0..200),
        ) {
            let mut window = Window::default();
            window.open();
            let tickets: Vec<_> = (1..=40).map(|id| window.take(id)).collect();
            let mut acknowledged = vec![];
            for (i, stale) in tells {
                let ticket = tickets[i as usize];
                window.tell(if stale { ticket.wrapping_sub(1 << COUNT_BITS) } else { ticket });
                acknowledged.extend(due(&mut window));
            }
            let expected: Vec<u16> = (1..=acknowledged.len() as u16).collect();
            proptest::prop_assert_eq!(acknowledged, expected);
        }
    }
}
