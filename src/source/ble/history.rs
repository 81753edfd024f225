//! Fetching stored records through the record access control point, pure: which to ask for, and how far the journal has them.
//!
//! Promises: the cursor stands on a record only when that one and all before it are committed; one that stands on a
//! record which is not there any more, or is another one by now, is given up and all records are asked for.
//! Must never: ask a device to delete, or take records that came in no order for a prefix.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::count::Count;
use super::gap::{Gap, Numbers};
use crate::codec::racp;

/// The last record of a device that is committed with all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Its sequence number; for a sensor that counts minutes, its minute.
    pub sequence: u16,
    /// Of its bytes: whether it is still the same record.
    pub mark: u64,
}

/// The records whose numbers count one by one.
const COUNTED: &str = "2A18";
/// What belongs to a record, and is none.
const CONTEXT: &str = "2A34";

/// What the control point says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Everything was sent.
    All,
    /// Ask on: for the records, for all of them, or for those that are missing.
    Ask,
    /// It cannot now, or never; the response code.
    Failed(u8),
    /// Not an answer to us.
    Nothing,
}

#[derive(Debug)]
struct Record {
    ticket: u64,
    at: Option<Cursor>,
    kept: bool,
}

/// One transfer.
#[derive(Debug)]
pub(super) struct History {
    /// Where it began; stands until something better is proved.
    base: Option<Cursor>,
    asked_all: bool,
    /// The record under the cursor is another one: what is asked for next is everything.
    restarted: bool,
    ascending: bool,
    last: Option<u16>,
    highest: Option<Cursor>,
    open: VecDeque<Record>,
    /// The newest record of the committed prefix, once a later one has proved the order.
    proved: Option<Cursor>,
    /// Where the cursor was before a number that is missing: it waits there while the missing ones may still come, also in
    /// the next connection.
    waits: Option<Option<Cursor>>,
    /// The same place, if it waited there already in the connection before: with the end of this one they are given up.
    held: Option<Option<Cursor>>,
    /// The number at which the cursor waited when the connection before broke off.
    doubted: Option<u16>,
    numbers: Numbers,
    count: Count,
    /// Fewer came than the device said, also at the second time.
    fewer: Option<Gap>,
    /// Records that count from one to the next came.
    counts: bool,
    /// What is missing was asked for a second time, from this number on.
    again: Option<u16>,
    /// And up to this one: what is missing beyond was asked for once only.
    again_to: Option<u16>,
    /// The connection is over.
    ended: bool,
    complete: bool,
}

impl History {
    /// `judged`: the number up to which nothing is missing, or was said.
    pub(super) fn new(base: Option<Cursor>, judged: Option<u16>) -> Self {
        // A number near its end starts anew some day: then records before it are new ones.
        let base = base.filter(|c| c.sequence < 0xff00);
        Self {
            asked_all: base.is_none(),
            base,
            restarted: false,
            ascending: true,
            last: None,
            highest: None,
            open: VecDeque::new(),
            proved: None,
            waits: None,
            held: None,
            doubted: None,
            numbers: Numbers::after(judged),
            count: Count::default(),
            fewer: None,
            counts: false,
            again: None,
            again_to: None,
            ended: false,
            complete: false,
        }
    }

    /// The number at which the cursor waited when the connection before broke off: what it waited for has its last chance.
    pub(super) fn doubting(self, doubted: Option<u16>) -> Self {
        Self { doubted, ..self }
    }

    /// At which number the cursor waits now that the connection is over.
    pub(super) fn doubted(&self) -> Option<u16> {
        match self.waits {
            _ if self.is_settled() => None,
            Some(place) => self.place(place),
            None if self.held.is_some() => None,
            None => self.doubted,
        }
    }

    /// The number of a place of the cursor; of none, up to which was judged before.
    fn place(&self, place: Option<Cursor>) -> Option<u16> {
        place.map(|c| c.sequence).or(self.numbers.judged())
    }

    /// The request: how many, then for them; from the last committed record on, that one included, so that it can be recognised.
    pub(super) fn request(&self) -> Vec<u8> {
        match (self.again, self.base) {
            (None, Some(cursor)) if !self.asked_all && self.is_counting() => racp::count_from(cursor.sequence).to_vec(),
            (None, _) if self.is_counting() => racp::COUNT_ALL.to_vec(),
            (Some(number), _) => racp::report_from(number).to_vec(),
            (None, Some(cursor)) if !self.asked_all => racp::report_from(cursor.sequence).to_vec(),
            _ => racp::REPORT_ALL.to_vec(),
        }
    }

    /// What is asked is how many there are.
    pub(super) fn is_counting(&self) -> bool {
        self.count.is_open()
    }

    /// It does not say how many there are.
    pub(super) fn count_less(&mut self) {
        self.count.give_up();
    }

    /// A record came and goes to the journal under this ticket.
    pub(super) fn record(&mut self, ticket: u64, uuid: &str, bytes: &[u8]) {
        let numbers = sequences(uuid, bytes);
        if uuid != CONTEXT {
            self.count.came(&numbers);
        }
        let at = numbers.last().map(|sequence| Cursor { sequence: *sequence, mark: mark(bytes) });
        if let Some(at) = at {
            let first = self.last.is_none();
            if first && !self.asked_all && self.again.is_none() && self.base != Some(at) {
                self.restarted = true;
            }
            if uuid == COUNTED {
                self.counts = true;
                self.numbers.came(at.sequence);
            }
            self.ascending &= self.last.is_none_or(|last| last < at.sequence);
            self.last = Some(at.sequence);
            if self.highest.is_none_or(|h| h.sequence < at.sequence) {
                self.highest = Some(at);
            }
        }
        self.open.push_back(Record { ticket, at, kept: false });
    }

    /// The journal has a record.
    pub(super) fn kept(&mut self, ticket: u64) {
        if let Some(record) = self.open.iter_mut().find(|r| r.ticket == ticket) {
            record.kept = true;
        }
        // The newest one stays until a later number proves that they go up, or the transfer is complete.
        let proved = |open: &VecDeque<Record>| open.iter().skip(1).any(|r| r.at.is_some());
        let may_go = |open: &VecDeque<Record>| open.front().is_some_and(|r| r.kept && (r.at.is_none() || proved(open)));
        while may_go(&self.open) || self.complete && self.open.front().is_some_and(|r| r.kept) {
            if let Some(at) = self.open.pop_front().and_then(|r| r.at) {
                let before = self.proved.or(self.base);
                if !self.numbers.follows(before.map(|c| c.sequence), at.sequence) {
                    let last_chance = self.doubted.is_some() && self.place(before) == self.doubted;
                    let waits = if last_chance { &mut self.held } else { &mut self.waits };
                    waits.get_or_insert(before);
                }
                self.proved = Some(at);
            }
        }
    }

    /// The connection is over: what is missing by now does not come in it.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// What is missing before the cursor, told once.
    pub(super) fn gap(&mut self) -> Option<Gap> {
        let whole = self.is_settled();
        if self.restarted || !(whole || self.ended) {
            return None;
        }
        let until = self.cursor().map(|c| c.sequence).filter(|_| self.counts);
        let (missing, fewer) = (self.numbers.judge(until, whole), self.fewer.take_if(|_| whole));
        missing.or(fewer)
    }

    /// The number up to which nothing is missing, or was said.
    pub(super) fn judged(&mut self) -> Option<u16> {
        let unbroken = self.cursor().filter(|_| self.counts && self.ascending);
        if let Some(cursor) = unbroken {
            self.numbers.unbroken_to(cursor.sequence);
        }
        self.numbers.judged()
    }

    /// Where the cursor may stand now. `None`: nowhere.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        if self.restarted {
            return None;
        }
        if self.complete && self.open.is_empty() {
            return self.highest.or(self.base);
        }
        let held = self.held.filter(|_| !self.ended);
        match held.or(self.waits) {
            Some(waits) if self.ascending => waits,
            _ if self.ascending => self.proved.or(self.base),
            _ => self.base,
        }
    }

    /// A value of the control point.
    pub(super) fn response(&mut self, bytes: &[u8]) -> Answered {
        if self.is_counting() {
            return if self.count.response(bytes) { Answered::Ask } else { Answered::Nothing };
        }
        let [6, 0, 1, code] = *bytes else { return Answered::Nothing };
        match code {
            // Whatever it says: what is missing now, and was asked for twice, is not there.
            _ if self.again.is_some() => self.sent_again(),
            // Success, or no records.
            1 | 6 if self.asked_all => self.sent(),
            1 if !self.restarted && self.last.is_some() => self.sent(),
            // The record under the cursor is gone or another one; or the device cannot be asked like this.
            1 | 2 | 3 | 4 | 5 | 6 | 9 if !self.asked_all => {
                let (open, judged) = (std::mem::take(&mut self.open), self.numbers.judged());
                *self = Self { open, ..Self::new(None, judged).doubting(self.doubted) };
                self.open.iter_mut().for_each(|r| r.at = None);
                Answered::Ask
            }
            code => Answered::Failed(code),
        }
    }

    /// All that was asked for. A value can be lost on its way: what is missing is asked for once more, or all of it; so is
    /// a memory that seems to begin anew, as its newest records may be what was lost.
    fn sent(&mut self) -> Answered {
        let begin = self.base.filter(|_| !self.asked_all).map_or(0, |c| c.sequence);
        // Numbers say what is missing among those that were never judged; the count, of all.
        let short = self.count.short_by();
        let (missing, anew) = (self.numbers.count_missing(), self.asked_all && self.numbers.seem_to_begin_anew());
        let by_number = self.numbers.before_missing().filter(|_| short.is_none_or(|by| by == missing));
        let all = (missing > 0 || short.is_some() || anew).then_some(begin);
        let Some(number) = by_number.or(all) else { return self.completed() };
        (self.again, self.again_to, self.last) = (Some(number), self.highest.map(|h| h.sequence), None);
        Answered::Ask
    }

    /// What was asked for a second time. A record that was measured meanwhile may have been lost for the first time.
    fn sent_again(&mut self) -> Answered {
        let fresh = self.again_to.and_then(|to| self.numbers.before_missing_after(to));
        let Some(number) = fresh else { return self.completed() };
        (self.again, self.again_to, self.last) = (Some(number), self.highest.map(|h| h.sequence), None);
        Answered::Ask
    }

    fn completed(&mut self) -> Answered {
        self.complete = true;
        self.fewer = self.count.short();
        self.kept(0);
        Answered::All
    }

    /// Everything was sent and is committed.
    pub(super) fn is_settled(&self) -> bool {
        self.complete && self.open.is_empty()
    }

    /// Everything was sent.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }
}

/// The numbers under which a device finds the records of a value again, the last one last; none: it has no number.
fn sequences(uuid: &str, bytes: &[u8]) -> Vec<u16> {
    let number = |octets: Option<&[u8]>| octets.and_then(|o| o.try_into().ok()).map(u16::from_le_bytes);
    match uuid {
        // After the flags.
        COUNTED => number(bytes.get(1..3)).into_iter().collect(),
        // Continuous glucose: records with their size in front; minutes after size, flags and value.
        "2AA7" => {
            let (mut rest, mut found) = (bytes, Vec::new());
            while let Some(size) = rest.first().copied().filter(|n| *n >= 6) {
                let Some(minutes) = number(rest.get(4..6)) else { break };
                found.push(minutes);
                rest = rest.get(usize::from(size)..).unwrap_or_default();
            }
            found
        }
        _ => Vec::new(),
    }
}

/// The first octets of SHA-256.
fn mark(bytes: &[u8]) -> u64 {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u16, content: u8) -> Vec<u8> {
        let [low, high] = sequence.to_le_bytes();
        vec![0, low, high, content]
    }

    fn at(sequence: u16, content: u8) -> Cursor {
        Cursor { sequence, mark: mark(&record(sequence, content)) }
    }

    /// A transfer with a device that does not say how many it has.
    fn uncounted(base: Option<Cursor>, judged: Option<u16>) -> History {
        let mut h = History::new(base, judged);
        h.count_less();
        h
    }

    #[test]
    fn the_cursor_follows_the_committed_prefix_only() {
        let mut h = uncounted(None, None);
        assert_eq!(h.request(), [1, 1]);
        for n in 1..=3 {
            h.record(u64::from(n), "2A18", &record(n, 0));
        }
        h.kept(2);
        assert_eq!(h.cursor(), None);
        h.kept(1);
        assert_eq!(h.cursor(), Some(at(2, 0)));
        // The last one is not proved to be in order before the end.
        h.kept(3);
        assert_eq!(h.cursor(), Some(at(2, 0)));
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::All);
        assert_eq!((h.cursor(), h.is_settled()), (Some(at(3, 0)), true));
    }

    /// What belongs to the newest record comes behind it, and proves nothing.
    #[test]
    fn a_context_is_no_later_record() {
        let mut h = uncounted(None, None);
        h.record(1, "2A18", &record(23, 0));
        h.record(2, "2A34", &[2, 23, 0, 1]);
        h.kept(1);
        h.kept(2);
        assert_eq!(h.cursor(), None, "22 may come, and all before it");
        h.record(3, "2A18", &record(24, 0));
        h.kept(3);
        assert_eq!(h.cursor(), Some(at(23, 0)));
    }

    #[test]
    fn records_in_reverse_count_only_when_all_are_there() {
        let mut h = uncounted(None, None);
        for n in [3, 2, 1] {
            h.record(u64::from(n), "2A18", &record(n, 0));
            h.kept(u64::from(n));
        }
        assert_eq!(h.cursor(), None);
        h.response(&[6, 0, 1, 1]);
        assert_eq!(h.cursor(), Some(at(3, 0)));
    }

    #[test]
    fn a_memory_that_began_anew_is_asked_for_everything() {
        // Nothing from the cursor on: it was cleared.
        let mut h = uncounted(Some(at(500, 0)), Some(500));
        assert_eq!(h.request(), [1, 3, 1, 0xf4, 1]);
        assert_eq!(h.response(&[6, 0, 1, 6]), Answered::Ask);
        assert_eq!(h.request(), [4, 1], "of all of them it is asked anew");
        h.count_less();
        assert_eq!(h.request(), [1, 1]);
        assert_eq!(h.response(&[6, 0, 1, 6]), Answered::All);
        assert_eq!(h.cursor(), None);
        // Another record under the same number.
        let mut h = uncounted(Some(at(500, 0)), Some(500));
        h.record(1, "2A18", &record(500, 9));
        h.kept(1);
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::Ask);
        assert_eq!(h.cursor(), None);
    }

    #[test]
    fn the_same_record_again_is_nothing_new() {
        let mut h = uncounted(Some(at(500, 0)), Some(500));
        h.record(1, "2A18", &record(500, 0));
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::All);
        assert_eq!(h.cursor(), Some(at(500, 0)));
        h.kept(1);
        assert!(h.is_settled());
    }

    #[test]
    fn a_refused_operator_is_asked_without_it_and_a_busy_device_later() {
        let mut h = uncounted(Some(at(5, 0)), Some(5));
        assert_eq!(h.response(&[6, 0, 1, 4]), Answered::Ask);
        h.count_less();
        assert_eq!(h.response(&[6, 0, 1, 10]), Answered::Failed(10));
        assert_eq!(h.response(&[5, 0, 1]), Answered::Nothing);
    }

    fn all_kept(h: &mut History, numbers: &[u16]) {
        for n in numbers {
            let ticket = u64::from(*n) + 100 * u64::from(h.again.is_some());
            h.record(ticket, "2A18", &record(*n, 0));
            h.kept(ticket);
        }
    }

    #[test]
    fn what_is_missing_is_asked_for_once_more_and_then_said_once() {
        let mut h = uncounted(Some(at(20, 0)), Some(20));
        all_kept(&mut h, &[20, 21, 25, 26]);
        assert_eq!((h.cursor(), h.gap(), h.judged()), (Some(at(21, 0)), None, Some(21)), "it waits before the gap");
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::Ask);
        assert_eq!(h.request(), [1, 3, 1, 21, 0]);
        // One of them was lost on the way only.
        all_kept(&mut h, &[21, 24, 25, 26]);
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::All);
        assert_eq!(h.gap(), Some(Gap::Missing { first: 22, last: 23, count: 2 }));
        assert_eq!((h.cursor(), h.gap(), h.judged()), (Some(at(26, 0)), None, Some(26)));
    }

    #[test]
    fn what_was_missing_when_the_link_broke_is_asked_for_again_and_given_up_when_it_is_missing_again() {
        let broken = |numbers: &[u16], doubted: Option<u16>| {
            let mut h = uncounted(Some(at(8, 0)), Some(8)).doubting(doubted);
            all_kept(&mut h, numbers);
            let before = (h.cursor(), h.gap());
            h.end();
            (before, h.gap(), h.cursor().map(|c| c.sequence), h.judged(), h.doubted())
        };
        let wait = (Some(at(8, 0)), None);
        // 9 was lost on its way, or is not there: nobody knows yet.
        assert_eq!(broken(&[8, 10, 11, 12], None), (wait, None, Some(8), Some(8), Some(8)));
        // It came after all.
        let all = (Some(at(11, 0)), None);
        assert_eq!(broken(&[8, 9, 10, 11, 12], Some(8)), (all, None, Some(11), Some(11), Some(8)));
        // It did not, a second time; what is missing behind it has its second chance still.
        let gone = Some(Gap::Missing { first: 9, last: 9, count: 1 });
        assert_eq!(broken(&[8, 10, 11, 12], Some(8)), (wait, gone, Some(11), Some(11), None));
        assert_eq!(broken(&[8, 10, 11, 14, 15], Some(8)), (wait, gone, Some(11), Some(11), Some(11)));
        // The link broke before that was known.
        assert_eq!(broken(&[8], Some(8)), (wait, None, Some(8), Some(8), Some(8)));
    }

    #[test]
    fn a_memory_that_ran_over_and_breaks_off_twice_is_said_at_the_second_end() {
        let mut doubted = None;
        for turn in 0..2 {
            // The record under the cursor is gone, so that all are asked for.
            let mut h = uncounted(None, Some(20)).doubting(doubted);
            all_kept(&mut h, &[25, 26, 27]);
            assert_eq!((h.cursor(), h.gap()), (None, None));
            h.end();
            let (gap, place) = (h.gap(), h.cursor());
            doubted = h.doubted();
            if turn == 0 {
                assert_eq!((gap, place, h.judged(), doubted), (None, None, Some(20), Some(20)));
            } else {
                assert_eq!(gap, Some(Gap::Missing { first: 21, last: 24, count: 4 }));
                assert_eq!((place, h.judged(), doubted), (Some(at(26, 0)), Some(26), None));
            }
        }
    }

    #[test]
    fn what_was_measured_and_lost_while_it_was_asked_again_is_asked_for_a_second_time_too() {
        let mut h = uncounted(Some(at(8, 0)), Some(8));
        all_kept(&mut h, &[8, 10]);
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::Ask);
        assert_eq!(h.request(), [1, 3, 1, 8, 0]);
        all_kept(&mut h, &[8, 10, 12]);
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::Ask, "11 was asked for once only");
        assert_eq!(h.request(), [1, 3, 1, 10, 0]);
        (300..).zip([10, 11, 12]).for_each(|(ticket, n)| {
            h.record(ticket, "2A18", &record(n, 0));
            h.kept(ticket);
        });
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::All);
        assert_eq!((h.gap(), h.cursor()), (Some(Gap::Missing { first: 9, last: 9, count: 1 }), Some(at(12, 0))));
    }

    #[test]
    fn a_memory_that_was_emptied_or_began_anew_is_said_when_it_was_read() {
        let mut h = uncounted(Some(at(20, 0)), Some(20));
        h.response(&[6, 0, 1, 6]);
        assert_eq!(h.gap(), None);
        h.count_less();
        h.response(&[6, 0, 1, 6]);
        assert_eq!((h.gap(), h.judged()), (Some(Gap::Emptied { after: 20 }), Some(20)));
        let mut h = uncounted(None, Some(20));
        all_kept(&mut h, &[1, 2]);
        assert_eq!((h.gap(), h.judged()), (None, Some(20)), "more may come");
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::Ask, "or were lost on their way");
        all_kept(&mut h, &[1, 2]);
        h.response(&[6, 0, 1, 1]);
        assert_eq!((h.gap(), h.judged()), (Some(Gap::Anew { after: 20 }), Some(2)));
    }

    #[test]
    fn minutes_of_a_sensor_are_no_count() {
        let mut h = uncounted(None, None);
        for (ticket, minute) in [(1, 5), (2, 60)] {
            h.record(ticket, "2AA7", &[6, 0, 1, 0, minute, 0]);
            h.kept(ticket);
        }
        h.response(&[6, 0, 1, 1]);
        assert_eq!((h.gap(), h.judged(), h.is_settled()), (None, None, true));
    }

    #[test]
    fn minutes_are_read_from_each_record_of_a_packet() {
        assert_eq!(sequences("2AA7", &[6, 0, 1, 0, 5, 0, 6, 0, 1, 0, 6, 0]), [5, 6]);
        assert_eq!(sequences("2AA7", &[6, 0, 1]), [0; 0]);
        assert_eq!(sequences("2AA7", &[0; 6]), [0; 0]);
    }

    #[test]
    fn what_it_says_it_has_and_does_not_send_is_asked_for_once_more_and_then_said() {
        let minutes = |h: &mut History, ticket: u64, minute: u8| {
            h.record(ticket, "2AA7", &[6, 0, 1, 0, minute, 0]);
            h.kept(ticket);
        };
        let mut h = History::new(None, None);
        assert_eq!((h.request(), h.is_counting()), (vec![4, 1], true));
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::Nothing, "the end of what a killed process asked for");
        assert_eq!(h.response(&[5, 0, 4, 0]), Answered::Ask);
        assert_eq!(h.request(), [1, 1]);
        minutes(&mut h, 1, 5);
        minutes(&mut h, 2, 15);
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::Ask);
        assert_eq!(h.request(), [1, 3, 1, 0, 0]);
        // One of them comes now.
        (3..).zip([5, 10, 15]).for_each(|(ticket, minute)| minutes(&mut h, ticket, minute));
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::All);
        assert_eq!((h.gap(), h.gap()), (Some(Gap::Fewer { told: 4, came: 3 }), None));
        // From the cursor on it is asked the same way; one that does not say is read as before.
        let base = h.cursor();
        let mut h = History::new(base, None);
        assert_eq!(h.request(), [4, 3, 1, 15, 0]);
        h.count_less();
        assert_eq!(h.request(), [1, 3, 1, 15, 0]);
    }

    /// In a memory that is read whole once more, one that is here already may be lost beside a new one.
    #[test]
    fn what_was_judged_before_and_is_lost_on_the_way_is_no_gap() {
        let mut h = History::new(None, Some(7));
        h.response(&[5, 0, 9, 0]);
        all_kept(&mut h, &[1, 2, 4, 5, 6, 7, 9]);
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::Ask);
        assert_eq!(h.request(), [1, 3, 1, 0, 0], "of 3, which was judged, no number tells");
        all_kept(&mut h, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::All);
        assert_eq!((h.gap(), h.cursor()), (None, Some(at(9, 0))));
    }

    /// Numbers that count say which are missing: that is said, and not the difference as well.
    #[test]
    fn what_is_missing_by_its_number_is_said_once() {
        let mut h = History::new(Some(at(20, 0)), Some(20));
        h.response(&[5, 0, 3, 0]);
        all_kept(&mut h, &[20, 22]);
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::Ask);
        all_kept(&mut h, &[20, 22]);
        assert_eq!(h.response(&[6, 0, 1, 1]), Answered::All);
        assert_eq!((h.gap(), h.gap()), (Some(Gap::Missing { first: 21, last: 21, count: 1 }), None));
    }
}
