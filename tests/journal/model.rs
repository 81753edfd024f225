//! The journal against a model of it: random commits, leases, outcomes, crashes.
//!
//! `PROPTEST_CASES` for longer runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use wardline::clock::{Clock, Stamp};
use wardline::custody::{Item, Lane, Outcome};
use wardline::journal::Journal;
use wardline::journal::reader::Reader;
use wardline::reading::Reading;

use super::support::*;

const NAMES: [&str; 2] = ["centre", "files"];

#[derive(Clone, Debug)]
enum Step {
    /// Readings by number: new ones, and some that were there already. `device` 3 is nobody's.
    Commit(Vec<(u8, u8)>),
    Lease {
        to: usize,
        lane: Lane,
        max: usize,
    },
    /// What becomes of each item in flight, in turn.
    Settle {
        to: usize,
        fates: Vec<Fate>,
    },
    Wait,
    /// Orderly end and start.
    Restart,
    /// The files as they are on the disk, opened by another.
    Crash,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Deliver,
    Reject,
    RetryNow,
    RetryLater,
    Outage,
    Keep,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Deliver),
        1 => Just(Fate::Reject),
        1 => Just(Fate::RetryNow),
        1 => Just(Fate::RetryLater),
        1 => Just(Fate::Outage),
        2 => Just(Fate::Keep),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop_oneof![Just(Lane::Fresh), Just(Lane::Backlog)];
    prop_oneof![
        4 => prop::collection::vec((any::<u8>(), 0u8..4), 1..12).prop_map(Step::Commit),
        5 => (0..NAMES.len(), lane, 1usize..8).prop_map(|(to, lane, max)| Step::Lease { to, lane, max }),
        4 => (0..NAMES.len(), prop::collection::vec(fate(), 1..8)).prop_map(|(to, fates)| Step::Settle { to, fates }),
        1 => Just(Step::Wait),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

/// One destination in the model. Readings are known by the order in which they were committed.
#[derive(Default)]
struct Desk {
    waiting: BTreeSet<usize>,
    delivered: u64,
    rejected: u64,
    flight: BTreeMap<usize, Item>,
    /// Waiting for their retry.
    held: BTreeSet<usize>,
    /// Of these, what failed twice: it holds nobody up.
    loose: BTreeSet<usize>,
    /// Beyond it: fresh.
    boundary: usize,
}

struct World {
    folder: tempfile::TempDir,
    journal: Option<Journal>,
    clock: Clock,
    /// Device of each committed reading, in order; and where each number is.
    committed: Vec<u8>,
    places: BTreeMap<u64, usize>,
    known: u64,
    desks: [Desk; 2],
}

fn start(folder: &Path, clock: &Clock) -> Journal {
    Journal::open(folder, &settings(), &creditors(&NAMES), clock.clone()).unwrap().0
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Stamp::at_ms(NOW_MS));
        let journal = Some(start(folder.path(), &clock));
        let desks = [Desk::default(), Desk::default()];
        Self { folder, journal, clock, committed: vec![], places: BTreeMap::new(), known: 0, desks }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Commit(readings) => self.commit(readings).await,
            Step::Lease { to, lane, max } => drop(self.lease(to, lane, max).await),
            Step::Settle { to, fates } => self.settle(to, fates).await,
            Step::Wait => {
                self.clock.advance(Duration::from_secs(3_600));
                self.desks.iter_mut().for_each(|d| {
                    d.held.clear();
                    d.loose.clear();
                });
            }
            Step::Restart => {
                self.journal().close().await;
                self.begin_again();
            }
            Step::Crash => {
                let copy = tempfile::tempdir().unwrap();
                for file in ["journal.sqlite3", "journal.sqlite3-wal"] {
                    let _ = std::fs::copy(self.folder.path().join(file), copy.path().join(file));
                }
                self.folder = copy;
                self.begin_again();
            }
        }
    }

    /// Leases are forgotten, and everything that waits is backlog.
    fn begin_again(&mut self) {
        self.journal = Some(start(self.folder.path(), &self.clock));
        for desk in &mut self.desks {
            desk.flight.clear();
            desk.held.clear();
            desk.loose.clear();
            desk.boundary = self.committed.len();
        }
    }

    async fn commit(&mut self, readings: Vec<(u8, u8)>) {
        let mut expected = Vec::new();
        for (n, device) in &readings {
            let new = !self.places.contains_key(&u64::from(*n));
            expected.push(if new { new_one() } else { known(1) });
            if !new {
                self.known += 1;
                continue;
            }
            let place = self.committed.len();
            self.places.insert(u64::from(*n), place);
            self.committed.push(*device);
            if *device < 3 {
                self.desks.iter_mut().for_each(|d| {
                    d.waiting.insert(place);
                });
            }
        }
        let readings: Vec<Reading> = readings.iter().map(|(n, d)| reading(u64::from(*n), name(*d))).collect();
        assert_eq!(self.journal().commit(group(readings)).await.unwrap(), expected);
    }

    /// What comes is owed, not in flight, in order, and in the right lane.
    async fn lease(&mut self, to: usize, lane: Lane, max: usize) -> usize {
        let items = self.journal().lease(NAMES[to], lane, max).await.unwrap();
        assert!(items.len() <= max);
        let places: Vec<usize> = numbers(&items).iter().map(|n| self.places[n]).collect();
        let committed = &self.committed;
        let desk = &mut self.desks[to];
        let lane_of = |place: usize, boundary: usize| if place < boundary { Lane::Backlog } else { Lane::Fresh };
        assert!(places.is_sorted());
        for (i, &place) in places.iter().enumerate() {
            assert!(desk.waiting.contains(&place), "not owed");
            assert!(!desk.flight.contains_key(&place), "leased twice");
            assert!(!desk.held.contains(&place), "before its time");
            assert_eq!(lane_of(place, desk.boundary), lane);
            let earlier = desk.waiting.range(..place).find(|e| {
                committed[**e] == committed[place]
                    && lane_of(**e, desk.boundary) == lane
                    && !places[..i].contains(*e)
                    && !desk.loose.contains(*e)
            });
            assert_eq!(earlier, None, "an earlier one of its device was left behind");
        }
        let count = items.len();
        desk.flight.extend(places.into_iter().zip(items));
        count
    }

    async fn settle(&mut self, to: usize, fates: Vec<Fate>) {
        let newest = self.committed.len();
        let desk = &mut self.desks[to];
        let mut outcomes: Vec<(_, Outcome)> = Vec::new();
        let flight: Vec<usize> = desk.flight.keys().copied().collect();
        for (place, fate) in flight.into_iter().zip(fates) {
            let item = desk.flight[&place].clone();
            let item = &item;
            let later = Some(Duration::from_secs(60));
            outcomes.push(match fate {
                Fate::Keep => continue,
                Fate::Deliver => delivered(item),
                Fate::Reject => rejected(item),
                Fate::RetryNow => retry(item, None, false),
                Fate::RetryLater => retry(item, later, false),
                Fate::Outage => retry(item, None, true),
            });
            desk.flight.remove(&place);
            match fate {
                Fate::Deliver => desk.delivered += u64::from(desk.waiting.remove(&place)),
                Fate::Reject => desk.rejected += u64::from(desk.waiting.remove(&place)),
                Fate::RetryLater => {
                    desk.held.insert(place);
                    if item.attempts > 0 {
                        desk.loose.insert(place);
                    }
                }
                Fate::Outage => desk.boundary = newest,
                Fate::RetryNow | Fate::Keep => {}
            }
        }
        self.journal().settle(NAMES[to], outcomes).await.unwrap();
    }

    /// Counts agree; then all that waits can be delivered, and nothing else.
    async fn finish(mut self) {
        self.agree();
        self.take(Step::Wait).await;
        for to in 0..NAMES.len() {
            for _ in 0..1_000 {
                self.settle(to, vec![Fate::Deliver; 1_000]).await;
                let leased = self.lease(to, Lane::Fresh, 5).await + self.lease(to, Lane::Backlog, 5).await;
                if leased == 0 {
                    break;
                }
            }
            assert!(self.desks[to].waiting.is_empty(), "never leased: {:?}", self.desks[to].waiting);
        }
        self.agree();
        self.journal().close().await;
        sound(self.folder.path());
    }

    fn agree(&self) {
        let custody = Reader::new(self.folder.path()).custody().unwrap();
        let nobodys = self.committed.iter().filter(|d| **d == 3).count() as u64;
        assert_eq!((custody.committed, custody.known), (self.committed.len() as u64, self.known));
        assert_eq!(custody.unassigned, nobodys);
        let waiting: BTreeSet<usize> = self.desks.iter().flat_map(|d| d.waiting.iter().copied()).collect();
        assert_eq!(custody.waiting, waiting.len() as u64);
        assert_eq!(custody.settled, self.committed.len() as u64 - nobodys - custody.waiting);
        for (owed, desk) in custody.destinations.iter().zip(&self.desks) {
            let counts = (owed.readings.waiting, owed.readings.delivered, owed.readings.rejected);
            assert_eq!(counts, (desk.waiting.len() as u64, desk.delivered, desk.rejected));
        }
    }
}

fn new_one() -> wardline::journal::Kept {
    new(1)
}

fn name(device: u8) -> &'static str {
    ["a", "b", "c", "nobody"][usize::from(device)]
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(40, |n| n.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn the_journal_does_what_the_model_says(steps in prop::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.take(step).await;
            }
            world.finish().await;
        });
    }
}
