//! A small world gone through completely: three rules, every sequence of a few inputs, a restart after each.
//! A high priority never goes from the open alerts without its `Resolved`, and never resolves on doubt.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use wardline::alarm::{Alert, AlertId, Condition, Happened};
use wardline::alert::{Engine, Input, ruleset::Rules};
use wardline::clock::Stamp;
use wardline::reading::{Quality, Reading};
use wardline::vital::Role;

use super::history::{Fact, Number};

const RULES: &str = "
[[rule]]
id = 'once'
title = 't'
vital = 'heart-rate'
above = 150
unit = '/min'
clear_below = 140
priority = 'high'
[[rule]]
id = 'twice'
title = 't'
vital = 'heart-rate'
above = 110
unit = '/min'
priority = 'high'
sustained = { n = 2, m = 3 }
[[rule]]
id = 'low'
title = 't'
vital = 'heart-rate'
below = 40
unit = '/min'
priority = 'high'
";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Value(i64),
    Doubtful(i64),
    Ownerless(i64),
    Stored(i64),
    Again,
    Nothing,
    Acknowledge,
    Restart,
}

const INPUTS: &[Act] = &[
    Act::Value(160),
    Act::Value(145),
    Act::Value(80),
    Act::Value(30),
    Act::Doubtful(160),
    Act::Doubtful(80),
    Act::Ownerless(160),
    Act::Ownerless(80),
    Act::Stored(160),
    Act::Again,
    Act::Nothing,
    Act::Acknowledge,
    Act::Restart,
];

/// A path through the world, replayed from its start.
struct World {
    engine: Engine,
    taken: Vec<Reading>,
    /// What the events say is open.
    told: BTreeMap<AlertId, Alert>,
    steps: i64,
}

fn engine() -> Engine {
    Engine::new(Rules::parse(&[(Path::new("r"), RULES)], &[]).unwrap(), Duration::from_secs(900))
}

impl World {
    fn new() -> Self {
        Self { engine: engine(), taken: Vec::new(), told: BTreeMap::new(), steps: 0 }
    }

    fn reading(&self, value: Option<i64>, change: impl Fn(&mut Fact)) -> Reading {
        let number = value.map_or(Number::Nothing, |v| Number::Of(v * 100));
        let mut fact = Fact {
            key: self.steps as u64,
            patient: Some(0),
            device: 0,
            vital: "heart-rate",
            numbers: vec![(Role::Value, number)],
            unit: "/min",
            labels: vec![],
            stored: false,
            dated_ms: None,
            uncertainty_ms: 0,
            trusted: true,
            received_ms: 1_795_341_600_000 + self.steps * 1_000,
        };
        change(&mut fact);
        fact.reading()
    }

    fn step(&mut self, input: Act) {
        self.steps += 1;
        let now = Stamp::at_ms(1_795_341_600_000 + self.steps * 1_000);
        let reading = match input {
            Act::Value(v) => self.reading(Some(v), |_| ()),
            Act::Doubtful(v) => self.reading(Some(v), |f| f.labels.push(Quality::Questionable)),
            Act::Ownerless(v) => self.reading(Some(v), |f| f.patient = None),
            Act::Stored(v) => self.reading(Some(v), |f| f.stored = true),
            Act::Nothing => self.reading(None, |_| ()),
            Act::Again => match self.taken.first() {
                Some(first) => first.clone(),
                None => return,
            },
            Act::Acknowledge => {
                let first = self.engine.open().next().map(|a| a.id.clone());
                let events = first.map_or(vec![], |id| self.engine.acknowledge(now, &id, "Ada").unwrap());
                return self.check(input, events);
            }
            Act::Restart => {
                let mut again = engine();
                let events = again.restore(now, self.engine.open().cloned().collect(), &self.taken);
                self.engine = again;
                return self.check(input, events);
            }
        };
        let events = self.engine.step(now, Input::Reading(&reading));
        self.taken.push(reading);
        self.check(input, events);
    }

    fn check(&mut self, input: Act, events: Vec<wardline::alarm::AlertEvent>) {
        for event in events {
            match event.happened {
                Happened::Raised => {
                    let before = self.told.insert(event.alert.id.clone(), event.alert);
                    assert!(before.is_none(), "raised twice by {input:?}");
                }
                Happened::Acknowledged => drop(self.told.insert(event.alert.id.clone(), event.alert)),
                Happened::TakenBack => panic!("nobody took anything back"),
                Happened::Resolved => {
                    let before = self.told.remove(&event.alert.id).expect("only what is open is resolved");
                    let superseded = before.condition == Condition::Unconfirmed
                        && self.told.values().any(|a| a.rule == before.rule && a.condition == Condition::Limit);
                    let by_a_person = before.acknowledged.is_some()
                        && (before.patient.is_none() || before.condition == Condition::Retrospective);
                    let cleared = before.patient.is_some()
                        && before.condition != Condition::Retrospective
                        && matches!(input, Act::Value(v) if !is_beyond(&before.rule, v));
                    assert!(superseded || by_a_person || cleared, "{input:?} resolved {before:?}");
                }
            }
        }
        let open: BTreeMap<_, _> = self.engine.open().map(|a| (a.id.clone(), a.clone())).collect();
        assert_eq!(open, self.told, "{input:?}: what is open is what was told");
        let about: Vec<_> = open
            .values()
            .map(|a| (a.rule.clone(), a.patient.clone(), a.condition == Condition::Retrospective))
            .collect();
        assert!(about.iter().all(|a| about.iter().filter(|b| *b == a).count() == 1), "two alerts about one thing");
        // Whatever came before, an extreme is open after it.
        let extreme = match input {
            Act::Value(160) => Some((true, false)),
            Act::Doubtful(160) => Some((true, false)),
            Act::Ownerless(160) => Some((false, false)),
            Act::Stored(160) => Some((true, true)),
            _ => None,
        };
        if let Some((owned, past)) = extreme {
            let here = |a: &Alert| {
                *a.rule == *"once"
                    && a.patient.is_some() == owned
                    && (a.condition == Condition::Retrospective) == past
                    && (input != Act::Value(160) || a.condition == Condition::Limit)
            };
            assert!(open.values().any(here), "{input:?} is silent");
        }
    }
}

fn is_beyond(rule: &str, value: i64) -> bool {
    match rule {
        "once" => value >= 140,
        "twice" => value > 110,
        _ => value < 40,
    }
}

/// Every sequence of this length.
fn explore(inputs: &[Act], depth: usize, path: &mut Vec<Act>, count: &mut u64) {
    if path.len() == depth {
        let mut world = World::new();
        path.iter().for_each(|i| world.step(*i));
        *count += 1;
        return;
    }
    for input in inputs {
        path.push(*input);
        explore(inputs, depth, path, count);
        path.pop();
    }
}

/// All inputs to depth 4, those that matter most to depth 6; `WARDLINE_ALERT_DEPTH` more of both.
#[test]
fn no_path_through_a_small_world_is_silent() {
    const CORE: &[Act] = &[Act::Value(160), Act::Value(80), Act::Doubtful(160), Act::Acknowledge, Act::Restart];
    let more = super::setting("WARDLINE_ALERT_DEPTH", 0) as usize;
    for (inputs, depth) in [(INPUTS, 4 + more), (CORE, 6 + more)] {
        let mut count = 0;
        explore(inputs, depth, &mut Vec::new(), &mut count);
        assert_eq!(count, (inputs.len() as u64).pow(depth as u32));
    }
}
