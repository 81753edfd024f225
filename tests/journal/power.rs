//! Power cuts: each unsynced write is lost, torn, kept, or applied in another order; also inside recovery and the making
//! of the journal.
//!
//! `JOURNAL_CUTS=100000` for the long run; `JOURNAL_SEED` repeats one.

use std::path::Path;

use wardline_disk::{Disk, Image, Random};

use super::simulated::*;

/// Cuts of one run of work.
const CUTS_PER_RUN: u64 = 40;

/// A run of work, with the place of the log at which each fact was acknowledged.
struct Run {
    disk: Disk,
    facts: Vec<(usize, Facts)>,
}

async fn run(synchronous: &'static str, folder: &Path, random: &mut Random) -> Run {
    let disk = Disk::new(Image::new());
    disk.mount(folder);
    let under = Under { disk: disk.clone(), synchronous };
    let mut facts = vec![(0, Facts::default())];
    let mut next = 1;
    // Restarts in between; the last part ends with the cut.
    for part in 0..1 + random.below(3) {
        let mut work = Work::start(&under, folder, &bare(), next).unwrap();
        work.facts = facts.last().unwrap().1.clone();
        if part > 0 && random.one_in(3) {
            work.facts.aged = true;
            work.clock.advance(std::time::Duration::from_secs(40 * 24 * 60 * 60));
        }
        facts.push((disk.position(), work.facts.clone()));
        for _ in 0..4 + random.below(24) {
            // What is asked may be recorded before the answer.
            let before = work.facts.clone();
            let asked_at = disk.position();
            work.step(random).await.unwrap();
            let asked =
                Facts { tried: work.facts.tried.clone(), alerts_tried: work.facts.alerts_tried.clone(), ..before };
            facts.push((asked_at, asked));
            facts.push((disk.position(), work.facts.clone()));
        }
        next += 10_000;
        work.journal.close().await;
    }
    Run { disk, facts }
}

impl Run {
    /// What was acknowledged at this place of the log.
    fn at(&self, position: usize) -> &Facts {
        &self.facts[self.facts.partition_point(|(at, _)| *at <= position) - 1].1
    }
}

/// Answers what was found wrong, with the seed of its run.
async fn cuts(synchronous: &'static str, cuts: u64, seed: u64) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut made = 0;
    for round in 0.. {
        if made >= cuts {
            break;
        }
        let mut random = Random::new(seed.wrapping_add(round));
        let run = run(synchronous, folder.path(), &mut random).await;
        for _ in 0..CUTS_PER_RUN {
            // The making of the journal is a small part of the log: more often.
            let length = run.disk.position();
            let early = random.one_in(6);
            let at = random.below(if early { length.min(120) } else { length + 1 });
            let mut image = run.disk.cut(at, &mut random);
            // Cut again while it recovers, and again.
            loop {
                made += 1;
                let under = Under { disk: Disk::new(image), synchronous };
                if let Err(e) = verify(&under, folder.path(), run.at(at)).await {
                    wrong.push(format!("{e} (JOURNAL_SEED={} cut at {at} of {length})", seed.wrapping_add(round)));
                    break;
                }
                if !random.one_in(3) {
                    break;
                }
                image = under.disk.cut(random.below(under.disk.position() + 1), &mut random);
            }
        }
    }
    eprintln!("{made} power cuts, {} found something wrong", wrong.len());
    wrong
}

#[tokio::test]
async fn power_cuts_lose_nothing_acknowledged() {
    let wrong = cuts("FULL", times("JOURNAL_CUTS", 10_000), seed()).await;
    assert!(wrong.is_empty(), "{} cuts: {:#?}", wrong.len(), &wrong[..wrong.len().min(10)]);
}

/// The test of the test: without a sync for each commit, the same run finds readings lost, and nothing but that.
#[tokio::test]
async fn power_cuts_without_syncs_are_seen_to_lose_readings() {
    let made = times("JOURNAL_CUTS", 10_000) / 20;
    let wrong = cuts("NORMAL", made, seed()).await;
    assert!(wrong.len() as u64 > made / 50, "{wrong:?}");
    let other: Vec<_> = wrong.iter().filter(|w| w.starts_with("corrupt")).collect();
    assert!(other.is_empty(), "{other:#?}");
}
