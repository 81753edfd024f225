//! What raises, what clears, and what doubt does.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::alarm::Happened;
use crate::decimal::Decimal;
use crate::reading::{Absence, DeviceId, Part, ReadingKey, Taken, TimeMethod, Value};
use crate::unit::Unit;
use crate::vital::Role;

mod corrected;
mod doubt;
mod life;
mod limits;
mod ordered;
mod rulefiles;
mod technical;

/// 2026-11-22T10:00:00Z.
pub(super) const NOW_MS: i64 = 1_795_341_600_000;
const OLD_AFTER: Duration = Duration::from_secs(15 * 60);

/// One rule on systolic pressure above 180, clear below 170.
const SYSTOLIC: &str = "[[rule]]\nid='sys'\ntitle='t'\nvital='blood-pressure'\nrole='systolic'\nabove=180\nunit='mm[Hg]'\nclear_below=170\npriority='high'\n";

fn rules(text: &str) -> Rules {
    Rules::parse(&[(Path::new("test.toml"), text)], &[]).unwrap()
}

/// An engine with a hand on the clock: each reading is a new one, a second later.
struct Bench {
    engine: Engine,
    now: Stamp,
    key: u8,
}

impl Bench {
    fn new(text: &str) -> Self {
        Self::with(rules(text))
    }

    fn with(rules: Rules) -> Self {
        Self { engine: Engine::new(rules, OLD_AFTER), now: Stamp::at_ms(NOW_MS), key: 0 }
    }

    /// A live reading of a known patient that nobody doubts.
    fn reading(&mut self, vital: &str, parts: &[(Role, &str, &str)]) -> Reading {
        self.now = self.now.plus(Duration::from_secs(1));
        self.key += 1;
        let number = |text: &str| match text {
            "+INF" => Value::Absent(Absence::PositiveInfinity),
            "-INF" => Value::Absent(Absence::NegativeInfinity),
            "NaN" => Value::Absent(Absence::NotANumber),
            "error" => Value::Absent(Absence::Error),
            text => Value::Number(text.parse::<Decimal>().unwrap()),
        };
        let part = |&(role, value, unit): &_| Part { role, value: number(value), unit: Unit::parse(unit).unwrap() };
        Reading {
            key: ReadingKey([self.key; 16]),
            device: DeviceId("ble:cuff".into()),
            profile: "cuff".into(),
            slot: None,
            patient: Some(PatientId::new("Patient/a")),
            vital: Vital::parse(vital).unwrap(),
            parts: parts.iter().map(part).collect(),
            sequence: None,
            taken: Taken {
                device: None,
                received: self.now,
                at_ms: Some(self.now.wall_ms),
                uncertainty_ms: 1_000,
                method: TimeMethod::Received,
            },
            quality: vec![],
            site: None,
            stored: false,
            unassigned: None,
            amendment: None,
            clocks: None,
        }
    }

    fn systolic(&mut self, value: &str) -> Reading {
        self.reading("blood-pressure", &[(Role::Systolic, value, "mm[Hg]"), (Role::Diastolic, "80", "mm[Hg]")])
    }

    fn step(&mut self, reading: &Reading) -> Vec<AlertEvent> {
        self.engine.step(self.now, Input::Reading(reading))
    }

    /// What happened, in short: `["raised limit"]`.
    fn short(&mut self, reading: &Reading) -> Vec<String> {
        short(&self.step(reading))
    }

    /// Steps a plain systolic reading.
    fn sys(&mut self, value: &str) -> Vec<String> {
        let reading = self.systolic(value);
        self.short(&reading)
    }

    fn open(&self) -> Vec<Condition> {
        self.engine.open().map(|a| a.condition).collect()
    }
}

fn short(events: &[AlertEvent]) -> Vec<String> {
    events
        .iter()
        .map(|e| {
            let done = match e.happened {
                Happened::Raised => "raised",
                Happened::Acknowledged => "acknowledged",
                Happened::Resolved => "resolved",
                Happened::TakenBack => "taken-back",
            };
            format!("{done} {:?}", e.alert.condition).to_lowercase()
        })
        .collect()
}
