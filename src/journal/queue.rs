//! What is leased, what waits for a retry, and where each lane stands, for one destination. Memory only, no SQLite.
//!
//! Promises: a later item of a line (a device, an alert) is not taken while an earlier one of the same lane is in
//! flight or waits for its retry; nothing is passed over for good. A crash forgets leases: what was in flight is owed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::clock::Stamp;
use crate::custody::Lane;
use crate::limits;

/// A debt as the walk finds it. `line`: what keeps its order, a device or an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Debt {
    pub(super) id: i64,
    pub(super) line: i64,
    pub(super) attempts: u32,
}

/// What to do with a debt that the walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Take,
    Pass,
    /// Enough for now.
    Stop,
}

/// One destination's debts of one kind.
pub(super) struct Queue {
    /// Up to here it is backlog, beyond it fresh.
    boundary: i64,
    fresh: Position,
    backlog: Position,
    busy: BTreeMap<i64, Busy>,
    /// The busy items of each line.
    lines: HashMap<i64, BTreeSet<i64>>,
    /// Retries by due time.
    due: BTreeSet<(u64, i64)>,
}

/// An item that was leased.
struct Busy {
    line: i64,
    attempts: u32,
    /// `None`: in flight. Else it waits until this microsecond of the monotonic clock.
    due: Option<u64>,
}

/// How far a lane was looked through, and the first item of each line that was passed over.
#[derive(Default)]
struct Position {
    seen: i64,
    passed: HashMap<i64, i64>,
}

/// One lease: counts what it looks at.
#[derive(Default)]
pub(super) struct Walk {
    looked: usize,
    passed: usize,
    pub(super) taken: Vec<Debt>,
}

impl Walk {
    /// One more was looked at that is not due. Answers whether the walk goes on.
    pub(super) fn goes_on(&mut self) -> bool {
        self.looked += 1;
        self.looked <= limits::LEASE_WALK_MAX
    }
}

impl Queue {
    /// Everything up to `newest` is backlog; nothing waits up to `settled`.
    pub(super) fn new(settled: i64, newest: i64) -> Self {
        let at = |seen| Position { seen, passed: HashMap::new() };
        Self {
            boundary: newest,
            fresh: at(newest),
            backlog: at(settled.min(newest)),
            busy: BTreeMap::new(),
            lines: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// The destination was seen failing: what is there now is backlog.
    pub(super) fn outage(&mut self, newest: i64) {
        let passed = std::mem::take(&mut self.fresh.passed);
        for (line, id) in passed {
            let first = self.backlog.passed.entry(line).or_insert(id);
            *first = id.min(*first);
        }
        self.boundary = newest.max(self.boundary);
        self.fresh.seen = self.boundary;
    }

    /// Makes retries leasable whose time has come. Answers whether there were any.
    pub(super) fn wake(&mut self, now_us: u64) -> bool {
        let mut any = false;
        while let Some(&(at, id)) = self.due.first().filter(|(at, _)| *at <= now_us) {
            self.due.remove(&(at, id));
            self.free(id);
            self.look_again_from(id);
            any = true;
        }
        any
    }

    /// When the next retry falls due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Where a walk begins and ends: ids above the first, up to the second.
    pub(super) fn window(&self, lane: Lane, newest: i64) -> (i64, i64) {
        match lane {
            Lane::Backlog => (self.backlog.seen, self.boundary.min(newest)),
            Lane::Fresh | Lane::Alert => (self.fresh.seen, newest),
        }
    }

    /// There is nothing more to look at up to this id.
    pub(super) fn seen(&mut self, lane: Lane, through: i64) {
        let position = self.position(lane);
        position.seen = position.seen.max(through);
    }

    /// Looks at the next debt of a walk.
    pub(super) fn look(&mut self, lane: Lane, debt: Debt, walk: &mut Walk, max: usize) -> Verdict {
        if walk.taken.len() >= max || walk.looked >= limits::LEASE_WALK_MAX || walk.passed > max {
            return Verdict::Stop;
        }
        walk.looked += 1;
        if self.busy.contains_key(&debt.id) {
            self.position(lane).seen = debt.id;
            return Verdict::Pass;
        }
        let lower = if lane == Lane::Backlog { i64::MIN } else { self.boundary + 1 };
        let held = self.lines.get(&debt.line).and_then(|ids| ids.range(lower..=debt.id.max(lower)).next());
        let verdict = match held {
            Some(id) => {
                // In flight: soon over, no need to look far ahead. Waiting for a retry: the others overtake it.
                walk.passed += usize::from(self.busy.get(id).is_some_and(|b| b.due.is_none()));
                self.position(lane).passed.entry(debt.line).or_insert(debt.id);
                Verdict::Pass
            }
            None => {
                walk.taken.push(debt);
                Verdict::Take
            }
        };
        self.position(lane).seen = debt.id;
        verdict
    }

    /// Ends a walk: what it took is in flight.
    pub(super) fn take(&mut self, walk: &Walk) {
        for debt in &walk.taken {
            self.busy.insert(debt.id, Busy { line: debt.line, attempts: debt.attempts, due: None });
            self.lines.entry(debt.line).or_default().insert(debt.id);
        }
    }

    /// It is settled, or owed again at once.
    pub(super) fn settled(&mut self, id: i64, again: bool) {
        if self.attempts_in_flight(id).is_some() {
            self.free(id);
            if again {
                self.look_again_from(id);
            }
        }
    }

    /// It waits for `after`, and later ones of its line with it if it `holds` them. Answers whether anything is due at once.
    pub(super) fn retry(&mut self, id: i64, after: Option<Duration>, holds: bool, now: Stamp) -> bool {
        let Some(after) = after.filter(|a| !a.is_zero()) else {
            self.settled(id, true);
            return true;
        };
        let at_us = now.plus(after).mono_us;
        let Some(Busy { due: due @ None, line, .. }) = self.busy.get_mut(&id) else { return false };
        *due = Some(at_us);
        let line = *line;
        self.due.insert((at_us, id));
        if !holds {
            self.let_pass(line, id);
        }
        !holds
    }

    /// Nothing waits up to this id. For a queue with one lane.
    pub(super) fn settled_through(&self) -> i64 {
        let busy = self.busy.keys().next().map_or(i64::MAX, |id| id - 1);
        let passed = self.fresh.passed.values().min().map_or(i64::MAX, |id| id - 1);
        self.fresh.seen.min(busy).min(passed)
    }

    /// Failed attempts of an item, if it is in flight.
    pub(super) fn attempts_in_flight(&self, id: i64) -> Option<u32> {
        self.busy.get(&id).filter(|b| b.due.is_none()).map(|b| b.attempts)
    }

    /// Items that are in flight.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = i64> {
        self.busy.iter().filter(|(_, b)| b.due.is_none()).map(|(id, _)| *id)
    }

    /// A debt that was made for an older item.
    pub(super) fn look_again_from(&mut self, id: i64) {
        let lane = if id <= self.boundary { Lane::Backlog } else { Lane::Fresh };
        let position = self.position(lane);
        position.seen = position.seen.min(id - 1);
    }

    /// An item that was settled is owed again. For a queue with one lane.
    pub(super) fn owed_again(&mut self, id: i64) {
        self.boundary = self.boundary.min(id - 1);
        self.fresh.seen = self.fresh.seen.min(id - 1);
    }

    /// Items from this one on may be due that were not when a walk saw them.
    pub(super) fn look_through_again(&mut self, from: i64) {
        self.backlog.seen = self.backlog.seen.min(from - 1);
        self.fresh.seen = self.fresh.seen.min(self.boundary.max(from - 1));
    }

    fn position(&mut self, lane: Lane) -> &mut Position {
        match lane {
            Lane::Backlog => &mut self.backlog,
            Lane::Fresh | Lane::Alert => &mut self.fresh,
        }
    }

    /// No longer busy: what was passed over because of it is looked at again.
    fn free(&mut self, id: i64) {
        let Some(Busy { line, .. }) = self.busy.remove(&id) else { return };
        self.let_pass(line, id);
    }

    /// It does not hold its line any more.
    fn let_pass(&mut self, line: i64, id: i64) {
        if let Some(ids) = self.lines.get_mut(&line) {
            ids.remove(&id);
            if ids.is_empty() {
                self.lines.remove(&line);
            }
        }
        let lane = if id <= self.boundary { Lane::Backlog } else { Lane::Fresh };
        if let Some(first) = self.position(lane).passed.remove(&line) {
            self.look_again_from(first);
        }
    }
}
