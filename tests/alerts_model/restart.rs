//! A restart at any step gives the same alerts as none: same events, same ids, same words.

use std::collections::BTreeMap;

use wardline::alarm::{Alert, AlertEvent, AlertId};
use wardline::reading::Reading;

use super::engine;
use super::history::{Act, History};

/// What the journal gives per patient, or device without one, and vital.
const RECENT: usize = 20;
const LENGTH: usize = 60;

#[test]
fn a_restart_at_any_step_changes_nothing() {
    let rounds = super::setting("WARDLINE_RESTART_SEEDS", 20);
    for seed in 1_000..1_000 + rounds {
        let mut engine = engine::under_test();
        let mut history = History::new(seed);
        let whole: Vec<Vec<AlertEvent>> = (0..LENGTH)
            .map(|_| {
                let act = history.next(&engine);
                engine::raw(&mut engine, &act)
            })
            .collect();
        for at in 0..LENGTH {
            let mut restarted = engine::under_test();
            let now = wardline::clock::Stamp::at_ms(history.time_of(at));
            let ended = restarted.restore(now, open_after(&whole[..at]), &recent(&history.acts[..at]));
            assert!(ended.is_empty(), "seed {seed}, restart at {at}");
            for step in at..LENGTH {
                let got = engine::raw(&mut restarted, &history.acts[step]);
                assert_eq!(got, whole[step], "seed {seed}, restart at {at}, step {step}: {:?}", history.acts[step]);
            }
        }
    }
}

/// As the journal has them: the latest state of each alert that is not resolved.
fn open_after(steps: &[Vec<AlertEvent>]) -> Vec<Alert> {
    let mut last: BTreeMap<AlertId, Alert> = BTreeMap::new();
    steps.iter().flatten().for_each(|e| drop(last.insert(e.alert.id.clone(), e.alert.clone())));
    // Through JSON, as a restart would.
    let open = last.into_values().filter(|a| a.resolved.is_none());
    open.map(|a| serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap()).collect()
}

/// The newest readings, each once, oldest first.
fn recent(acts: &[Act]) -> Vec<Reading> {
    let mut kept: Vec<Reading> = Vec::new();
    for act in acts {
        if let Act::Take(fact) = act
            && !kept.iter().any(|r| r.key == fact.reading().key)
        {
            kept.push(fact.reading());
        }
    }
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let mut newest: Vec<Reading> = kept
        .into_iter()
        .rev()
        .filter(|r| {
            let whose = r.patient.as_ref().map_or(&*r.device.0, |p| p.reveal()).to_owned();
            let count = counts.entry((whose, r.vital.id)).or_default();
            *count += 1;
            *count <= RECENT
        })
        .collect();
    newest.reverse();
    newest.iter().map(|r| serde_json::from_str(&serde_json::to_string(r).unwrap()).unwrap()).collect()
}
