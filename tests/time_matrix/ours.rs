//! The box's own clock: not set yet, set later, set anew while it was believed.

use std::collections::HashMap;

use wardline::config::JournalSettings;
use wardline::consent::Terms;
use wardline::custody::{Creditor, Lane, Payload};
use wardline::journal::{Group, Journal};
use wardline::reading::{Arrival, ReadingKey, Taken};

use super::*;

/// Values of a box that has just started, and what becomes of them when its clock is set a minute later.
///
/// A clock that has the time of before the power cut dates as little as one that begins in 1970: each row holds for both.
pub(super) async fn not_set() -> String {
    let rows: Vec<(Clock, Came)> = CLOCKS.into_iter().flat_map(|clock| WAYS.map(|came| (clock, came))).collect();
    let rows = rows.into_iter().filter(|(clock, came)| exists(*clock, *came, Ours::Unset)).enumerate();
    let rows: Vec<(Clock, Came, Reading)> = rows
        .map(|(n, (clock, came))| {
            let (unset, stale) = (Bench::row(clock, came, Ours::Unset), Bench::row(clock, came, Ours::Stale));
            judge(clock, came, Ours::Unset, &unset);
            let told = |reading| line(clock.name(), came.name(), reading);
            assert_eq!(told(&unset), told(&stale), "by a clock that is two hours behind");
            // Each is a reading of its own to the journal.
            (clock, came, Reading { key: key(n), ..unset })
        })
        .collect();
    let later = set_later(rows.iter().map(|(.., reading)| reading.clone()).collect()).await;
    let head = HEAD.replace("pages as |\n", "pages as | once it is set |\n").replace("---|\n", "---|---|\n");
    let mut page = format!("\n### Our clock is not set yet\n\n{head}");
    for (clock, came, before) in &rows {
        let taken = &later[&before.key];
        let row = line(clock.name(), came.name(), before);
        let truth = NOW - came.age();
        let after = Reading { taken: *taken, ..before.clone() };
        let at = taken.at_ms.map(|at| Timestamp::from_millisecond(at).unwrap());
        let told = match (before.taken.method, at) {
            (TimeMethod::Pending, Some(at)) => {
                // Received 25 s after the start of the box.
                assert_eq!((taken.at_ms, taken.method), (Some(NOW), TimeMethod::Received), "{row}");
                assert_eq!(taken.uncertainty_ms, before.taken.uncertainty_ms, "{row}");
                format!("{at} ± {}", length(taken.uncertainty_ms))
            }
            (TimeMethod::Unresolved | TimeMethod::Unchecked, None) => {
                assert_eq!(taken.method, TimeMethod::Unresolved, "{row}");
                assert!(came.is_stored(), "what is just now has a time: {row}");
                "a person decides".into()
            }
            (TimeMethod::Unchecked, Some(at)) => {
                let (found, allowed) = (at.as_millisecond(), i64::from(taken.uncertainty_ms).max(BY_EYE));
                let known = (found - truth).abs() <= allowed;
                assert!(known || is_unknowable(*clock, *came), "{row} {taken:?}");
                assert_eq!(doubtful(&after), taken.method == TimeMethod::Received, "{row} {taken:?}");
                let doubt = if doubtful(&after) { ", doubtful" } else { "" };
                format!("{at} ± {}{doubt}", length(taken.uncertainty_ms))
            }
            other => panic!("{row}: {other:?}"),
        };
        writeln!(page, "{} {told} |", row.trim_end()).unwrap();
    }
    page
}

fn key(n: usize) -> ReadingKey {
    // Keys are hashes: spread them.
    ReadingKey((n as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes())
}

/// The times of these readings after the clock of the same boot was set, as a destination gets them.
async fn set_later(readings: Vec<Reading>) -> HashMap<ReadingKey, Taken> {
    let folder = tempfile::tempdir().unwrap();
    let clock = wardline::clock::Clock::manual(Bench::new(Came::Live, Ours::Unset).stamp(NOW));
    let settings = JournalSettings { reserve_mib: 1, unencrypted: true, ..JournalSettings::default() };
    let creditors =
        [Creditor { name: "centre".into(), readings: true, alerts: true, evidence: true, terms: Terms::open() }];
    let (journal, _) = Journal::open(folder.path(), &settings, &creditors, clock.clone()).unwrap();
    let arrival = |(n, reading): (usize, Reading)| Arrival {
        frame: Frame {
            path: Path::Topic("vitals/1".into()),
            bytes: n.to_string().into_bytes().into(),
            ..Frame::new("home", "", reading.taken.received)
        },
        undated: false,
        outcome: Ok(vec![reading]),
    };
    let count = readings.len();
    let arrivals = readings.into_iter().enumerate().map(arrival).collect();
    journal.commit(Arc::new(Group { arrivals, events: vec![] })).await.unwrap();
    let mut changed = journal.changed();
    changed.borrow_and_update();
    clock.set(Stamp { wall_ms: NOW + 60 * SECOND, mono_us: 85_000_000, boot: 1, trusted: true });
    changed.changed().await.unwrap();
    let mut times = HashMap::new();
    for lane in [Lane::Fresh, Lane::Backlog] {
        for item in journal.lease("centre", lane, 1_000).await.unwrap() {
            let Payload::Reading(reading) = &item.what else { panic!("an alert in a lane of readings") };
            times.insert(reading.key, reading.taken);
        }
    }
    journal.close().await;
    assert_eq!(times.len(), count, "each is owed");
    times
}

/// A clock that was believed and is set anew by two hours, with the values before it and after it.
pub(super) fn set_anew() -> String {
    let head = HEAD.replace("device's clock", "case");
    let mut page = format!("\n### Our clock is set anew while it is believed, at 2026-11-22T10:00:00Z\n\n{head}");
    for (off, case) in [(2 * HOUR, "ours was 2 h ahead"), (-2 * HOUR, "ours was 2 h behind")] {
        for (clock, came, name) in [
            (Clock::Right, Came::Live, "its clock is right"),
            (Clock::None, Came::Live, "it tells no time"),
            (Clock::Right, Came::NotifiedAsked, "its clock is right"),
        ] {
            let mut bench = Bench::new(came, Ours::Right);
            for (at, when) in [(NOW - 10 * MINUTE, "before"), (NOW + 10 * MINUTE, "after")] {
                let off = if at < NOW { off } else { 0 };
                // Only the wall clock is wrong.
                let received = Stamp { wall_ms: at + off, ..Stamp::at_ms(at) };
                let truth = at - came.age();
                let asked = clock.shows(at - 5 * SECOND, at).filter(|_| came.is_asked());
                let pair = |device| ClockPair {
                    device: Bench::civil(device),
                    box_ms: received.wall_ms - 5 * SECOND,
                    trusted: true,
                };
                let clocks = asked.map(|shown| Clocks { now: pair(shown), before: None });
                let time = clock.shows(truth, at).map(|shown| bench.time(shown));
                let reading = bench.take_at(received, time, false, clocks, false);
                page += &line(&format!("{case}, {name}"), &format!("{}, {when}", came.name()), &reading);
                if when == "after" {
                    let found = reading.taken.at_ms.unwrap();
                    assert!((found - truth).abs() <= MINUTE, "{case}, {name}: {:?}", reading.taken);
                    assert!(pages(&reading), "{case}, {name}: what is now does not page");
                    assert!(!doubtful(&reading), "{case}, {name}: what was wrong was ours");
                }
            }
        }
    }
    page
}
