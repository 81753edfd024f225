//! Corrections against a destination that takes, refuses, or takes and does not say so; with restarts at any moment.
//!
//! What must hold in the end: no reading that was corrected stands in its old chart, what takes its place is there once,
//! and everything else is there as it was.

use std::collections::{BTreeMap, BTreeSet};

use wardline::amendment::{self, Order};
use wardline::clock::{Clock, Stamp};
use wardline::custody::{Item, ItemId, Lane, Outcome, Payload, Receipt, Why};
use wardline::journal::{Act, Correction, Journal};
use wardline::reading::{PatientId, Reading, ReadingKey};
use wardline_disk::{Disk, Image, Random};

use super::simulated::*;
use super::support::*;

/// What a server holds: by the key under which it knows a reading, whose it is and whether it stands.
#[derive(Default)]
struct Server(BTreeMap<ReadingKey, (String, bool)>);

impl Server {
    fn take(&mut self, item: &Item) {
        let Payload::Reading(reading) = &item.what else { panic!("an alert") };
        let patient = reading.patient.as_ref().unwrap().reveal().to_owned();
        // A late original finds what took it back: created under a condition.
        let stands = !reading.is_withdrawal();
        match self.0.get(reading.known_as()) {
            Some((_, false)) if stands => {}
            _ => drop(self.0.insert(*reading.known_as(), (patient, stands))),
        }
    }
}

struct World {
    stored: Vec<(i64, Reading)>,
    corrected: BTreeMap<ReadingKey, Option<ReadingKey>>,
    refused: BTreeSet<ReadingKey>,
    server: Server,
    /// An original was sent although it had been corrected.
    sent_late: u64,
}

impl World {
    async fn commit(&mut self, journal: &Journal, n: u64, row: &mut i64) {
        let device = ["a", "b"][usize::try_from(n % 2).unwrap()];
        let reading = reading(n, device);
        journal.commit(group([reading.clone()])).await.unwrap();
        *row += 1;
        self.stored.push((*row, reading));
    }

    fn outcome(&mut self, item: &Item, random: &mut Random) -> (ItemId, Outcome) {
        let Payload::Reading(reading) = &item.what else { panic!("an alert") };
        if reading.amendment.is_none() && self.corrected.contains_key(&reading.key) {
            self.sent_late += 1;
        }
        match random.below(10) {
            0 => (item.id, Outcome::Retry { after: None, why: Why::new("WL-F001", "not there"), destination: true }),
            1 => {
                self.server.take(item);
                (item.id, Outcome::Retry { after: None, why: Why::new("WL-F002", "no answer"), destination: true })
            }
            2 if reading.amendment.is_none() => {
                self.refused.insert(reading.key);
                rejected(item)
            }
            _ => {
                self.server.take(item);
                (item.id, Outcome::Delivered(Receipt { location: "Observation/1".into(), known: false }))
            }
        }
    }

    async fn correct(&mut self, journal: &Journal, random: &mut Random, row: &mut i64) {
        if self.stored.is_empty() {
            return;
        }
        let (of, old) = self.stored[random.below(self.stored.len())].clone();
        let order = Order { by: "Ada".into(), at_ms: NOW_MS, reason: "wrong".into() };
        let replacement = match random.below(3) {
            0 => None,
            _ => Some(amendment::replacement(&old, PatientId::new("Patient/q"), &order)),
        };
        let correction =
            Correction { row: of, withdrawal: amendment::withdrawal(&old, &order), replacement: replacement.clone() };
        let act = Act::Correct { by: "Ada".into(), corrections: vec![correction] };
        if journal.redress(act).await.unwrap() == 0 {
            return;
        }
        assert!(!self.corrected.contains_key(&old.key), "corrected twice");
        self.corrected.insert(old.key, replacement.as_ref().map(|r| r.key));
        *row += 1;
        if let Some(replacement) = replacement {
            *row += 1;
            self.stored.push((*row, replacement));
        }
    }

    fn check(&self) {
        for (_, reading) in &self.stored {
            let there = self.server.0.get(&reading.key);
            let patient = reading.patient.as_ref().unwrap().reveal();
            match self.corrected.contains_key(&reading.key) {
                true => assert!(there.is_none_or(|(_, stands)| !stands), "it stands in the wrong chart"),
                false if self.refused.contains(&reading.key) => {}
                false => assert_eq!(there, Some(&(patient.to_owned(), true)), "{:?}", reading.amendment),
            }
        }
    }
}

async fn story(seed: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(Image::new());
    disk.mount(folder.path());
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let mut random = Random::new(seed);
    let refused = BTreeSet::new();
    let mut world =
        World { stored: vec![], corrected: BTreeMap::new(), refused, server: Server::default(), sent_late: 0 };
    let (mut n, mut row) = (0, 0);
    let mut now = Stamp::at_ms(NOW_MS);
    for start in 1..=6 {
        now = Stamp { mono_us: 1_000_000, boot: start, ..now };
        let (journal, past) = open_with_past(&under, folder.path(), &bare(), &Clock::manual(now)).unwrap();
        assert_eq!(past.salvaged, None);
        let mut flying: Vec<Item> = Vec::new();
        for _ in 0..30 {
            match random.below(6) {
                0 | 1 => {
                    n += 1;
                    world.commit(&journal, n, &mut row).await;
                }
                2 => {
                    let lane = [Lane::Fresh, Lane::Backlog][random.below(2)];
                    flying.extend(journal.lease("centre", lane, 4).await.unwrap());
                }
                3 | 4 => {
                    let outcomes = flying.drain(..).map(|item| world.outcome(&item, &mut random)).collect();
                    journal.settle("centre", outcomes).await.unwrap();
                }
                _ => world.correct(&journal, &mut random, &mut row).await,
            }
        }
        // What flies at a crash may arrive.
        flying.iter().filter(|_| random.below(2) == 0).for_each(|item| world.server.take(item));
        drop(journal);
    }
    let (journal, _) =
        open_with_past(&under, folder.path(), &bare(), &Clock::manual(Stamp { boot: 9, ..now })).unwrap();
    loop {
        let mut items = journal.lease("centre", Lane::Backlog, 100).await.unwrap();
        items.extend(journal.lease("centre", Lane::Fresh, 100).await.unwrap());
        if items.is_empty() {
            break;
        }
        items.iter().for_each(|item| world.server.take(item));
        journal.settle("centre", items.iter().map(delivered).collect()).await.unwrap();
    }
    world.check();
    journal.close().await;
    drop(journal);
    let (journal, _) =
        open_with_past(&under, folder.path(), &bare(), &Clock::manual(Stamp { boot: 10, ..now })).unwrap();
    assert!(journal.lease("centre", Lane::Backlog, 10).await.unwrap().is_empty(), "all is settled for good");
    assert_eq!(world.sent_late, 0, "what was corrected is not sent any more");
    journal.close().await;
    world.corrected.len() as u64
}

#[tokio::test]
async fn what_was_corrected_stands_nowhere_and_what_is_right_stands_once() {
    let mut corrected = 0;
    for n in 0..times("WARDLINE_CORRECTIONS", 20) {
        corrected += story(seed().wrapping_add(n)).await;
    }
    assert!(corrected > 40, "{corrected} corrections prove little");
}
