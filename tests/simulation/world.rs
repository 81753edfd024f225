//! What is around the gateway and outlives it: true time, devices, the centre, the weather, and what each of them knows.
//!
//! One lock, one thread, one dice: the same seed plays the same story.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};
use wardline_disk::Random;

use super::centre::Centre;
use super::devices::{Device, Fact};
use super::link::Link;

/// 2026-06-01T00:00:00Z: when each story begins.
pub const BEGINNING_MS: i64 = 1_780_272_000_000;
pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;

/// A defect that is put into the test's own parts, to prove that it is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flaw {
    #[default]
    None,
    /// The disk does not sync each commit.
    NoSync,
    /// A source is told before the commit.
    ToldEarly,
    /// The centre loses one thing that it had confirmed.
    LostReceipt,
    /// The centre changes the last digit of one value.
    WrongDigit,
    /// The centre files what comes under the wrong patient.
    WrongPatient,
    /// The centre does not know what it has: repeated sendings are doubles.
    NoIdentity,
    /// The wall clock is said to be right when it is not.
    UntrustedTime,
    /// The local signal is dead.
    Silent,
}

pub struct World {
    state: Mutex<State>,
    /// The life must end now.
    pub end: Notify,
}

/// An alert about a vital of a patient, as it was signalled.
#[derive(Default)]
pub struct Seen {
    pub last_ms: i64,
    pub open: bool,
}

pub struct State {
    pub random: Random,
    pub flaw: Flaw,
    /// True time when this life's runtime began, and when that was.
    base: (i64, Option<Instant>),
    /// When this life of the gateway began.
    pub life_ms: i64,
    /// Which boot of the machine.
    pub boot: u64,
    /// From when on the wall clock was wrong by how much, in which boot.
    pub wall: Vec<(i64, i64, u64)>,
    pub facts: Vec<Fact>,
    /// Facts by device and what tells them apart.
    pub known: HashMap<(usize, String), usize>,
    pub devices: Vec<Device>,
    pub links: [Link; 2],
    pub centre: Centre,
    /// Patients and vitals with an alert.
    pub alerted: HashMap<(String, &'static str), Seen>,
    /// Technical conditions that are open now.
    pub conditions: Vec<String>,
    /// Nothing runs any more but what ends the life: the power is gone.
    pub frozen: bool,
    /// Cut the power when the next source is told that a frame is kept.
    pub cut_when_told: bool,
    pub wrong: Vec<String>,
    pub events: u64,
    hash: u64,
    tell: bool,
}

impl World {
    pub fn new(seed: u64, flaw: Flaw) -> Arc<Self> {
        let mut random = Random::new(seed);
        // The first numbers of neighbouring seeds resemble each other.
        for _ in 0..16 {
            random.next();
        }
        let mut state = State {
            flaw,
            base: (BEGINNING_MS, None),
            life_ms: BEGINNING_MS,
            boot: 1,
            wall: vec![(BEGINNING_MS, 0, 1)],
            facts: Vec::new(),
            known: HashMap::new(),
            devices: Vec::new(),
            links: [Link::radio(), Link::broker()],
            centre: Centre::new(&mut random),
            alerted: HashMap::new(),
            conditions: Vec::new(),
            frozen: false,
            cut_when_told: false,
            wrong: Vec::new(),
            events: 0,
            hash: seed,
            tell: std::env::var_os("SIM_TELL").is_some(),
            random,
        };
        state.devices = Device::ward(&mut state.random);
        Arc::new(Self { state: Mutex::new(state), end: Notify::new() })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Milliseconds since 1970, as a perfect clock would say.
    pub fn now(&self) -> i64 {
        let (ms, since) = self.base;
        ms + since.map_or(0, |s| i64::try_from(s.elapsed().as_millis()).unwrap())
    }

    /// When that will be by the runtime's clock.
    pub fn instant(&self, at_ms: i64) -> Instant {
        Instant::now() + Duration::from_millis(u64::try_from(at_ms - self.now()).unwrap_or(0))
    }

    /// A life begins, in a runtime of its own.
    pub fn begin(&mut self) {
        self.base.1 = Some(Instant::now());
        self.life_ms = self.now();
        self.conditions.clear();
        self.alerted.values_mut().for_each(|seen| seen.open = false);
        self.centre.failing_since_ms = None;
        self.frozen = false;
    }

    /// It has ended; nothing runs for a while.
    pub fn pause(&mut self, ended_ms: i64, away_ms: i64) {
        self.base = (ended_ms + away_ms, None);
    }

    /// How wrong the wall clock is now.
    pub fn offset(&self) -> i64 {
        self.wall.last().map_or(0, |(_, offset, _)| *offset)
    }

    /// Something happened: it becomes part of the story's hash.
    pub fn note(&mut self, what: &str, a: u64, b: u64) {
        let now = self.now();
        let mut hasher = DefaultHasher::new();
        (self.hash, now, what, a, b).hash(&mut hasher);
        self.hash = hasher.finish();
        self.events += 1;
        if self.tell {
            let at = jiff::Timestamp::from_millisecond(now).unwrap();
            eprintln!("{at} {what} {a} {b}");
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// A promise is broken.
    pub fn wrong(&mut self, what: String) {
        let at = jiff::Timestamp::from_millisecond(self.now()).unwrap();
        if self.wrong.len() < 20 {
            self.wrong.push(format!("{at}: {what}"));
        }
    }

    /// A time between the two.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.random.next() >> 1).unwrap() % (high - low).max(1)
    }
}
