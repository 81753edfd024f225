//! The weather: what happens to the gateway, when, and that it stops.

use std::time::Duration;

use tokio::time::sleep_until;
use wardline::alert::notify::Signal;
use wardline::clock::{Clock, Stamp};
use wardline::control::Orders;
use wardline_disk::{Disk, Fails, Fault};

use super::story::{End, Story};
use super::world::{BEGINNING_MS, HOUR, MINUTE, SECOND, State};

/// What may happen.
#[derive(Clone, Copy, Debug)]
pub enum Weather {
    Kill,
    Stop,
    CutNow,
    CutInTurn,
    CutWhenTold,
    DiskFails(Fails),
    DiskFull,
    ClockJumps,
    LinkBreaks,
    Absent,
    Unwell,
    Flaky,
    /// A person takes an alert.
    Acknowledge,
}

const ALL: [Weather; 16] = [
    Weather::Kill,
    Weather::Stop,
    Weather::CutNow,
    Weather::CutInTurn,
    Weather::CutInTurn,
    Weather::CutWhenTold,
    Weather::DiskFails(Fails::Any),
    Weather::DiskFails(Fails::Sync),
    Weather::DiskFails(Fails::Short),
    Weather::DiskFull,
    Weather::ClockJumps,
    Weather::LinkBreaks,
    Weather::Absent,
    Weather::Unwell,
    Weather::Flaky,
    Weather::Acknowledge,
];

/// What ends by itself.
#[derive(Clone, Copy, Debug)]
enum Over {
    Link(usize),
    DiskFull,
    Clock,
}

pub struct Plan {
    /// Between two events, on average.
    every_ms: i64,
    next_ms: i64,
    /// From then on the weather is fine.
    fine_ms: i64,
    fine: bool,
    /// Faults that end, and when.
    over: Vec<(i64, Over)>,
    /// When the next life is asked for its last proof.
    fresh: Option<(i64, Vec<usize>)>,
    lives_in_fine: usize,
}

/// After this in fine weather nothing may be owed any more: an item that failed waits ten minutes at most, eight times.
const SETTLED_MS: i64 = 70 * MINUTE;
/// A fresh reading is there after this.
const FRESH_MS: i64 = 30 * SECOND;

impl Plan {
    pub fn new(state: &mut State, hours: i64) -> Self {
        let every_ms = HOUR * state.between(4, 60);
        let first = BEGINNING_MS + state.between(MINUTE, every_ms);
        Self {
            every_ms,
            next_ms: first,
            fine_ms: BEGINNING_MS + hours * HOUR,
            fine: false,
            over: Vec::new(),
            fresh: None,
            lives_in_fine: 0,
        }
    }

    /// A machine that boots may not know the time at first.
    pub fn reboot(&mut self, state: &mut State) {
        let (now, boot) = (state.now(), state.boot);
        self.over.retain(|(_, over)| !matches!(over, Over::Clock));
        let mut offset = 0;
        if !self.fine && state.random.one_in(3) {
            offset = -now + state.between(0, HOUR);
            let until = now + state.between(5 * SECOND, 20 * MINUTE);
            self.over.push((until, Over::Clock));
        }
        state.wall.push((now, offset, boot));
    }

    /// What somebody sees to between two lives: a disk that failed is another one, or works again.
    pub fn repair(&mut self, disk: &Disk, state: &mut State) {
        if self.fine || disk.failed() && state.random.one_in(2) {
            disk.fail(Fault::default());
        }
        self.lives_in_fine += usize::from(self.fine);
        if self.lives_in_fine > 3 {
            state.wrong("liveness: the gateway does not stay alive in fine weather".into());
        }
    }
}

/// Lets things happen until this life ends.
pub async fn direct(story: &Story, clock: &Clock, orders: &dyn Orders, signal: &Signal) -> End {
    loop {
        let at = {
            let plan = story.plan.borrow();
            let over = plan.over.iter().map(|(at, _)| *at).min().unwrap_or(i64::MAX);
            let fresh = plan.fresh.as_ref().map_or(i64::MAX, |(at, _)| *at);
            over.min(fresh).min(if plan.fine { i64::MAX } else { plan.next_ms.min(plan.fine_ms) })
        };
        let until = story.world.lock().instant(at);
        sleep_until(until).await;
        let now = story.world.lock().now();
        if now < at {
            continue;
        }
        clear_up(story, clock, now);
        let (fine, fine_ms, due) = {
            let plan = story.plan.borrow();
            (plan.fine, plan.fine_ms, plan.next_ms)
        };
        if fine {
            if let Some(end) = last_proof(story, now) {
                return end;
            }
        } else if now >= fine_ms {
            turn_fine(story, clock, now);
        } else if now >= due {
            let what = {
                let mut state = story.world.lock();
                let mut plan = story.plan.borrow_mut();
                let every = plan.every_ms;
                plan.next_ms = now + state.between(every / 10, every * 2);
                let what = ALL[state.random.below(ALL.len())];
                state.note(name(what), 0, 0);
                what
            };
            if let Some(end) = happen(story, clock, what, now) {
                return end;
            }
            if let Weather::Acknowledge = what {
                let open = signal.watch().borrow().first().map(|a| a.id.clone());
                if let Some(id) = open {
                    let asked = orders.acknowledge(id, "N. Nurse".into());
                    let _ = tokio::time::timeout(Duration::from_secs(60), asked).await;
                }
            }
        }
    }
}

fn name(what: Weather) -> &'static str {
    match what {
        Weather::Kill => "kill",
        Weather::Stop => "stop",
        Weather::CutNow => "cut now",
        Weather::CutInTurn => "cut in turn",
        Weather::CutWhenTold => "cut when told",
        Weather::DiskFails(_) => "disk fails",
        Weather::DiskFull => "disk full",
        Weather::ClockJumps => "clock jumps",
        Weather::LinkBreaks => "link breaks",
        Weather::Absent => "absent",
        Weather::Unwell => "unwell",
        Weather::Flaky => "flaky",
        Weather::Acknowledge => "acknowledge",
    }
}

/// Ends what is over.
fn clear_up(story: &Story, clock: &Clock, now: i64) {
    let mut plan = story.plan.borrow_mut();
    let (over, still) = plan.over.drain(..).partition(|(at, _)| *at <= now);
    plan.over = still;
    let over: Vec<(i64, Over)> = over;
    for (_, over) in over {
        match over {
            Over::Link(at) => story.world.lock().set_link(at, true),
            Over::DiskFull => story.disk.set_room(None),
            Over::Clock => set_wall(story, clock, 0),
        }
    }
}

fn set_wall(story: &Story, clock: &Clock, offset: i64) {
    let mut state = story.world.lock();
    let (now, boot) = (state.now(), state.boot);
    state.wall.push((now, offset, boot));
    clock.set(Stamp { wall_ms: now + offset, ..clock.now() });
    state.note("clock", offset.unsigned_abs(), boot);
}

fn happen(story: &Story, clock: &Clock, what: Weather, now: i64) -> Option<End> {
    let mut state = story.world.lock();
    let mut plan = story.plan.borrow_mut();
    match what {
        Weather::Kill => return Some(End::Killed),
        Weather::Stop => return Some(End::Stopped),
        Weather::CutNow => {
            state.frozen = true;
            return Some(End::Cut(story.disk.position()));
        }
        Weather::CutInTurn => story.cut_in_turn(),
        Weather::CutWhenTold => state.cut_when_told = true,
        Weather::DiskFails(what) => {
            let at = 1 + state.random.below(60) as u64;
            // A disk that is full for long is other weather.
            let stays = what != Fails::Short && state.random.one_in(3);
            story.disk.fail(Fault::new(what, at, stays));
        }
        Weather::DiskFull => {
            let room = story.disk.used() + state.random.below(40_000);
            story.disk.set_room(Some(room));
            plan.over.push((now + state.between(MINUTE, 20 * MINUTE), Over::DiskFull));
        }
        Weather::ClockJumps => {
            let offset = match state.random.below(6) {
                0 => -now + state.between(0, HOUR),
                1 => 10 * 365 * 24 * HOUR,
                2 => state.between(-24 * HOUR, 24 * HOUR),
                _ => state.between(-20 * MINUTE, 20 * MINUTE),
            };
            plan.over.push((now + state.between(MINUTE, 6 * HOUR), Over::Clock));
            drop((state, plan));
            set_wall(story, clock, offset);
        }
        Weather::LinkBreaks => {
            let at = state.random.below(2);
            let long = if state.random.one_in(4) { 12 * HOUR } else { 10 * MINUTE };
            plan.over.push((now + state.between(SECOND, long), Over::Link(at)));
            state.set_link(at, false);
        }
        Weather::Absent => {
            let long = if state.random.one_in(20) { 6 * HOUR } else { 10 * MINUTE };
            state.centre.absent_until = now + state.between(SECOND, long);
        }
        Weather::Unwell => {
            let status = [429, 500, 503, 502, 401, 404][state.random.below(6)];
            state.centre.unwell = (now + state.between(SECOND, HOUR), status);
        }
        Weather::Flaky => {
            state.centre.flaky = (now + state.between(MINUTE, 12 * HOUR), 2 + state.random.below(4));
        }
        Weather::Acknowledge => {}
    }
    None
}

/// Nothing goes wrong any more.
fn turn_fine(story: &Story, clock: &Clock, now: i64) {
    let over = std::mem::take(&mut story.plan.borrow_mut().over);
    story.plan.borrow_mut().over = over.into_iter().map(|(_, over)| (now, over)).collect();
    clear_up(story, clock, now);
    if story.world.lock().offset() != 0 {
        set_wall(story, clock, 0);
    }
    story.disk.fail(Fault::default());
    story.disk.set_room(None);
    story.fine();
    let mut state = story.world.lock();
    state.centre.heal();
    state.cut_when_told = false;
    state.note("fine", 0, 0);
    drop(state);
    let mut plan = story.plan.borrow_mut();
    plan.fine = true;
    plan.fresh = Some((now + SETTLED_MS, Vec::new()));
}

/// When all has settled: one fresh reading of each device; and they must be there at once.
fn last_proof(story: &Story, now: i64) -> Option<End> {
    let mut plan = story.plan.borrow_mut();
    let (at, sent) = plan.fresh.take()?;
    if now < at {
        plan.fresh = Some((at, sent));
        return None;
    }
    let mut state = story.world.lock();
    if sent.is_empty() {
        let facts: Vec<usize> = (0..state.devices.len()).map(|device| state.fact(device, false)).collect();
        for link in &state.links {
            link.bell.notify_one();
        }
        plan.fresh = Some((now + FRESH_MS, facts));
        return None;
    }
    for fact in sent {
        let fact = &state.facts[fact];
        let assigned = state.devices[fact.device].patient.is_some();
        let arrived = fact.garbage || fact.poison || !assigned || fact.stored.is_some();
        if !(fact.kept && arrived) {
            let what = format!("liveness: a fresh reading (kept: {}) does not pass in fine weather", fact.kept);
            state.wrong(what);
            break;
        }
    }
    Some(End::Finished)
}
