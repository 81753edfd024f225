//! A journal on a disk in memory, work for it, and what must be true of it after a power cut or a fault.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wardline::clock::{Clock, Stamp};
use wardline::config::JournalSettings;
use wardline::custody::{Item, Lane, Outcome, Payload};
use wardline::journal::{Group, Journal, JournalError, OpenError, Recovered};
use wardline_disk::{Random, VFS};

use super::support::*;

#[path = "../support/under.rs"]
mod under;

pub use under::Under;

/// Seed of this run: `JOURNAL_SEED`, or another one each time. It is printed, and a failure shows it.
pub fn seed() -> u64 {
    let seed = std::env::var("JOURNAL_SEED").map_or_else(|_| u64::from(std::process::id()), |s| s.parse().unwrap());
    eprintln!("JOURNAL_SEED={seed}");
    seed
}

/// How often: the variable for the long run.
pub fn times(variable: &str, normally: u64) -> u64 {
    std::env::var(variable).map_or(normally, |n| n.parse().unwrap())
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub kept: BTreeSet<u64>,
    /// Delivered or refused, and the journal said that it is recorded.
    pub settled: BTreeSet<u64>,
    /// The same was asked, with or without an answer.
    pub tried: BTreeSet<u64>,
    pub alerts: BTreeSet<String>,
    pub alerts_settled: BTreeSet<String>,
    pub alerts_tried: BTreeSet<String>,
    /// Settled readings may have gone, after their days.
    pub aged: bool,
}

/// A journal at work, and what it acknowledged.
pub struct Work {
    pub journal: Journal,
    pub clock: Clock,
    pub facts: Facts,
    pub next: u64,
}

pub fn open_on(under: &Under, folder: &Path, settings: &JournalSettings, clock: &Clock) -> Result<Journal, OpenError> {
    Ok(open_with_past(under, folder, settings, clock)?.0)
}

pub fn open_with_past(
    under: &Under,
    folder: &Path,
    settings: &JournalSettings,
    clock: &Clock,
) -> Result<(Journal, Recovered), OpenError> {
    loop {
        let disk = Arc::new(under.clone());
        match Journal::open_on(disk, vault(folder), settings, &creditors(&["centre"]), clock.clone()) {
            // Between the fork and the exec of another test's child, its copy of the lock is held.
            Err(OpenError::InUse(_)) => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

/// Without a reserve, so that the disk itself is what is full.
pub fn bare() -> JournalSettings {
    JournalSettings { reserve_mib: 0, ..JournalSettings::default() }
}

impl Work {
    pub fn start(under: &Under, folder: &Path, settings: &JournalSettings, next: u64) -> Result<Self, OpenError> {
        let clock = Clock::manual(Stamp::at_ms(NOW_MS));
        let journal = open_on(under, folder, settings, &clock)?;
        Ok(Self { journal, clock, facts: Facts::default(), next })
    }

    /// One step of the gateway's work, chosen at random.
    pub async fn step(&mut self, random: &mut Random) -> Result<(), JournalError> {
        self.clock.advance(Duration::from_secs(2));
        match random.below(10) {
            0..4 => self.commit(random).await,
            4..8 => self.deliver(random).await,
            8 => self.alert().await,
            _ => self.deliver_alerts().await,
        }
    }

    /// Acknowledged are those that this answers.
    pub async fn commit(&mut self, random: &mut Random) -> Result<(), JournalError> {
        let numbers: Vec<u64> = (self.next..=self.next + random.below(6) as u64).collect();
        self.next += numbers.len() as u64;
        let mut arrivals = Vec::new();
        for n in &numbers {
            let mut arrival = arrival(vec![reading(*n, &format!("d{}", n % 3))]);
            arrival.frame.bytes = vec![7; 20 + random.below(2_000)].into();
            arrivals.push(arrival);
        }
        if random.one_in(4) {
            arrivals.push(reject("x"));
        }
        self.journal.commit(Arc::new(Group { arrivals, events: vec![] })).await?;
        self.facts.kept.extend(numbers);
        Ok(())
    }

    pub async fn alert(&mut self) -> Result<(), JournalError> {
        let id = format!("a{}", self.next);
        self.next += 1;
        let events = vec![raised(alert(&id, vec![]))];
        self.journal.commit(Arc::new(Group { arrivals: vec![], events })).await?;
        self.facts.alerts.insert(id);
        Ok(())
    }

    pub async fn deliver(&mut self, random: &mut Random) -> Result<(), JournalError> {
        let lane = if random.one_in(2) { Lane::Fresh } else { Lane::Backlog };
        let items = self.journal.lease("centre", lane, 1 + random.below(8)).await?;
        for n in numbers(&items) {
            assert!(!self.facts.settled.contains(&n), "{n} is settled and was leased again");
        }
        let outcomes: Vec<_> = items.iter().map(|item| self.outcome(item, random)).collect();
        let settles = |o: &&(_, Outcome)| !matches!(o.1, Outcome::Retry { .. });
        let numbers = numbers(&items).into_iter().zip(&outcomes).filter(|(_, o)| settles(o)).map(|(n, _)| n);
        let numbers: Vec<u64> = numbers.collect();
        self.facts.tried.extend(&numbers);
        self.journal.settle("centre", outcomes).await?;
        self.facts.settled.extend(numbers);
        Ok(())
    }

    fn outcome(&self, item: &Item, random: &mut Random) -> (wardline::custody::ItemId, Outcome) {
        match random.below(10) {
            0 => rejected(item),
            1 => retry(item, Some(Duration::from_secs(3)), false),
            2 => retry(item, None, true),
            _ => delivered(item),
        }
    }

    pub async fn deliver_alerts(&mut self) -> Result<(), JournalError> {
        let items = self.journal.lease("centre", Lane::Alert, 4).await?;
        let ids = alert_ids(&items);
        self.facts.alerts_tried.extend(ids.iter().cloned());
        self.journal.settle("centre", items.iter().map(delivered).collect()).await?;
        self.facts.alerts_settled.extend(ids);
        Ok(())
    }
}

fn alert_ids(items: &[Item]) -> Vec<String> {
    let id = |i: &Item| match &i.what {
        Payload::Alert(event) => event.alert.id.0.to_string(),
        Payload::Reading(_) => panic!("a reading in the lane of alerts"),
    };
    items.iter().map(id).collect()
}

/// Opens the journal on this disk, as after a restart, and holds it against what was acknowledged.
pub async fn verify(under: &Under, folder: &Path, facts: &Facts) -> Result<(), String> {
    under.disk.mount(folder);
    let clock = Clock::manual(Stamp::at_ms(NOW_MS));
    let started = Clock::system();
    let from = started.now();
    let opened = open_with_past(under, folder, &bare(), &clock);
    let (journal, recovered) = opened.map_err(|e| format!("corrupt: it does not open: {e}"))?;
    if let Some(salvaged) = recovered.salvaged.filter(|_| under.synchronous == "FULL") {
        return Err(format!("corrupt: what a power cut leaves was taken for damage: {salvaged:?}"));
    }
    let took = started.now().since(from);
    if took > Duration::from_secs(5) {
        return Err(format!("recovery took {took:?}"));
    }
    let broken = |e: JournalError| format!("corrupt: {e}");
    let readings = journal.lease("centre", Lane::Backlog, 10_000).await.map_err(broken)?;
    let alerts = journal.lease("centre", Lane::Alert, 10_000).await.map_err(broken)?;
    journal.close().await;
    let leased: BTreeSet<u64> = numbers(&readings).into_iter().collect();
    let alerts: BTreeSet<String> = alert_ids(&alerts).into_iter().collect();
    let missing = |kind: &str, n: usize| if n == 0 { Ok(()) } else { Err(format!("lost: {n} {kind}")) };
    missing("readings owed", facts.kept.iter().filter(|n| !facts.tried.contains(n) && !leased.contains(n)).count())?;
    missing("alerts owed", facts.alerts.difference(&alerts).filter(|a| !facts.alerts_tried.contains(*a)).count())?;
    let again = facts.settled.intersection(&leased).count() + facts.alerts_settled.intersection(&alerts).count();
    if again > 0 {
        return Err(format!("unsettled: {again}"));
    }
    let stored = look_inside(folder)?;
    let may_go = |n: &u64| facts.aged && facts.tried.contains(n);
    missing("rows", facts.kept.difference(&stored).filter(|n| !may_go(n)).count())
}

/// The keys in the file, which must be sound.
#[allow(clippy::disallowed_methods, reason = "another program's sight of the file")]
fn look_inside(folder: &Path) -> Result<BTreeSet<u64>, String> {
    let look = || -> rusqlite::Result<_> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let conn = rusqlite::Connection::open_with_flags_and_vfs(folder.join("journal.sqlite3"), flags, VFS)?;
        unlock(&conn);
        let verdict: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0))?;
        let mut keys = conn.prepare("SELECT key FROM reading")?;
        let keys: Result<Vec<u64>, _> =
            keys.query_map([], |r| Ok(number(wardline::reading::ReadingKey(r.get(0)?))))?.collect();
        Ok((verdict, keys?))
    };
    let (verdict, keys) = look().map_err(|e| format!("corrupt: {e}"))?;
    if verdict != "ok" {
        return Err(format!("corrupt: {verdict}"));
    }
    let set: BTreeSet<u64> = keys.iter().copied().collect();
    if set.len() == keys.len() { Ok(set) } else { Err("corrupt: a reading twice".into()) }
}
