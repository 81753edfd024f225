//! Random lives of three patients, their devices, and a person who acknowledges. Facts are plain: the reference judges
//! them by itself, the engine gets them as readings.

use wardline::alert::Engine;
use wardline::clock::Stamp;
use wardline::reading::{Absence, DeviceId, Part, PatientId, Quality, Reading, ReadingKey, Taken, TimeMethod, Value};
use wardline::unit::Unit;
use wardline::vital::{Role, Vital};

/// Acts of one history.
pub const STEPS: usize = 4_000;
/// 2026-11-22T10:00:00Z.
const START_MS: i64 = 1_795_341_600_000;
pub const PATIENTS: u64 = 3;
pub const DEVICES: u64 = 3;

/// One number as a device states it, in hundredths of its unit.
#[derive(Clone, Debug)]
pub enum Number {
    Of(i64),
    Above,
    Below,
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Fact {
    pub key: u64,
    pub patient: Option<u64>,
    pub device: u64,
    pub vital: &'static str,
    pub numbers: Vec<(Role, Number)>,
    pub unit: &'static str,
    pub labels: Vec<Quality>,
    pub stored: bool,
    /// The device's own time.
    pub dated_ms: Option<i64>,
    pub uncertainty_ms: u32,
    pub trusted: bool,
    pub received_ms: i64,
}

/// Whose alert: a patient's, or of a device whose holder is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    Patient(u64),
    Device(u64),
}

#[derive(Clone, Debug)]
pub enum Act {
    Take(Fact),
    /// A person takes the open alert of this rule.
    Acknowledge {
        id: String,
        rule: String,
        whose: Whose,
        past: bool,
        at_ms: i64,
    },
}

/// What must happen, in the words of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub rule: String,
    pub whose: Whose,
    pub happened: String,
    pub condition: String,
    pub evidence: Vec<u64>,
}

impl Fact {
    pub fn at_ms(&self) -> Option<i64> {
        self.dated_ms.or((!self.stored && self.trusted).then_some(self.received_ms))
    }

    pub fn received(&self) -> Stamp {
        let real = Stamp::at_ms(self.received_ms);
        if self.trusted { real } else { Stamp { wall_ms: 5, trusted: false, ..real } }
    }

    pub fn reading(&self) -> Reading {
        let unit = Unit::parse(self.unit).unwrap();
        let value = |n: &Number| match n {
            Number::Of(hundredths) => Value::Number(format!("{hundredths}e-2").parse().unwrap()),
            Number::Above => Value::Absent(Absence::PositiveInfinity),
            Number::Below => Value::Absent(Absence::NegativeInfinity),
            Number::Nothing => Value::Absent(Absence::NotANumber),
        };
        let method = match (self.dated_ms, self.at_ms()) {
            (Some(_), _) => TimeMethod::DeviceInstant,
            (None, Some(_)) => TimeMethod::Received,
            (None, None) => TimeMethod::Unresolved,
        };
        Reading {
            key: key(self.key),
            device: DeviceId(format!("ble:{}", self.device).into()),
            profile: "p".into(),
            slot: None,
            patient: self.patient.map(|p| PatientId::new(&format!("Patient/{p}"))),
            vital: Vital::parse(self.vital).unwrap(),
            parts: self.numbers.iter().map(|(role, n)| Part { role: *role, value: value(n), unit }).collect(),
            sequence: None,
            taken: Taken {
                device: None,
                received: self.received(),
                at_ms: self.at_ms(),
                uncertainty_ms: self.uncertainty_ms,
                method,
            },
            quality: self.labels.clone(),
            site: None,
            stored: self.stored,
            unassigned: None,
            amendment: None,
            clocks: None,
        }
    }
}

pub fn key(n: u64) -> ReadingKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.to_be_bytes());
    ReadingKey(key)
}

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn within(&mut self, from: i64, to: i64) -> i64 {
        from + self.below((to - from + 1) as u64) as i64
    }
    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// A history while it is lived; what is acknowledged depends on what is open.
pub struct History {
    random: Random,
    now_ms: i64,
    pub acts: Vec<Act>,
}

impl History {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), now_ms: START_MS, acts: Vec::new() }
    }

    pub fn patient_hours(&self) -> u64 {
        (self.now_ms - START_MS) as u64 / 3_600_000 * PATIENTS
    }

    /// When an act happens.
    pub fn time_of(&self, step: usize) -> i64 {
        match &self.acts[step] {
            Act::Take(fact) => fact.received_ms,
            Act::Acknowledge { at_ms, .. } => *at_ms,
        }
    }

    /// The next act, kept in `acts`.
    pub fn next(&mut self, engine: &Engine) -> Act {
        // Bursts within minutes, and quiet hours.
        let pause = if self.random.one_in(3) { 7_200_000 } else { 300_000 };
        self.now_ms += self.random.within(1, pause);
        // Round times, so that distances meet the limits of rules exactly.
        if self.random.one_in(2) {
            self.now_ms = (self.now_ms / 600_000 + 1) * 600_000;
        }
        let act = match self.random.below(20) {
            0 => self.acknowledge(engine),
            1 => self.sent_again(),
            _ => None,
        };
        let act = act.unwrap_or_else(|| Act::Take(self.fact()));
        self.acts.push(act.clone());
        act
    }

    fn acknowledge(&mut self, engine: &Engine) -> Option<Act> {
        let n = engine.open().len();
        let alert = engine.open().nth(self.random.below(n.max(1) as u64) as usize)?;
        let number = |text: &str| text.rsplit(['/', ':']).next().unwrap().parse().unwrap();
        let whose = match &alert.patient {
            Some(p) => Whose::Patient(number(p.reveal())),
            None => Whose::Device(number(&alert.device.as_ref().unwrap().0)),
        };
        let past = alert.condition == wardline::alarm::Condition::Retrospective;
        Some(Act::Acknowledge {
            id: alert.id.to_string(),
            rule: alert.rule.to_string(),
            whose,
            past,
            at_ms: self.now_ms,
        })
    }

    /// One of the last readings comes again: the broker repeats itself, the device sends its history.
    fn sent_again(&mut self) -> Option<Act> {
        let back = self.random.below(12) as usize;
        match self.acts.iter().rev().nth(back)? {
            Act::Take(fact) => Some(Act::Take(Fact { received_ms: self.now_ms, ..fact.clone() })),
            Act::Acknowledge { .. } => None,
        }
    }

    fn fact(&mut self) -> Fact {
        let r = &mut self.random;
        let (vital, unit, numbers) = numbers(r);
        let mut labels = Vec::new();
        let doubts =
            [Quality::Questionable, Quality::Invalid, Quality::Early, Quality::Calibrating, Quality::Implausible];
        if r.one_in(8) {
            labels.push(r.of(&doubts));
        }
        for (odds, label) in [
            (40, Quality::Test),
            (40, Quality::AboveRange),
            (40, Quality::BelowRange),
            (40, Quality::TimeDoubtful),
            (40, Quality::Quirk),
        ] {
            if r.one_in(odds) {
                labels.push(label);
            }
        }
        let ages = [0, 1_000, 60_000, 899_000, 900_000, 901_000, 3_600_000, -60_000, 86_400_000];
        let dated_ms = r.one_in(2).then(|| self.now_ms - r.of(&ages) - r.within(0, 2));
        Fact {
            key: self.acts.len() as u64,
            patient: (!r.one_in(10)).then(|| r.below(PATIENTS)),
            device: r.below(DEVICES),
            vital,
            numbers,
            unit,
            labels,
            stored: r.one_in(10),
            dated_ms,
            uncertainty_ms: r.of(&[0, 1, 1_000]),
            trusted: !r.one_in(10),
            received_ms: self.now_ms,
        }
    }
}

/// Numbers around the limits of `reference::RULES`, in hundredths.
fn numbers(r: &mut Random) -> (&'static str, &'static str, Vec<(Role, Number)>) {
    let odd = |r: &mut Random, usual: i64| match r.below(60) {
        0 => Number::Above,
        1 => Number::Below,
        2 => Number::Nothing,
        3 => Number::Of(10_000_000),
        4 => Number::Of(0),
        _ => Number::Of(usual),
    };
    match r.below(8) {
        0 | 1 => {
            let kpa = r.one_in(3);
            let (systolic, diastolic) = if kpa {
                (r.within(2_000, 2_500), r.within(550, 800))
            } else {
                (r.within(150, 190) * 100, r.within(45, 60) * 100)
            };
            let numbers = vec![(Role::Systolic, odd(r, systolic)), (Role::Diastolic, odd(r, diastolic))];
            ("blood-pressure", if kpa { "kPa" } else { "mm[Hg]" }, numbers)
        }
        2 | 3 => {
            let vital = r.of(&["heart-rate", "pulse-rate", "oximeter-pulse-rate"]);
            let usual = if r.one_in(2) { r.within(100, 115) } else { r.within(36, 48) } * 100;
            (vital, "/min", vec![(Role::Value, odd(r, usual))])
        }
        4 => {
            let usual = r.within(90, 95) * 100;
            ("spo2", "%", vec![(Role::Value, odd(r, usual))])
        }
        5 => {
            let celsius = r.one_in(2);
            let usual = if celsius { r.within(370, 385) * 10 } else { r.within(992, 1_009) * 10 };
            ("body-temperature", if celsius { "Cel" } else { "[degF]" }, vec![(Role::Value, odd(r, usual))])
        }
        _ => {
            let vital = r.of(&["glucose-capillary-plasma", "glucose-interstitial"]);
            let moles = r.one_in(2);
            let usual = match (moles, r.one_in(2)) {
                (true, true) => r.within(25, 45) * 10,
                (true, false) => r.within(190, 230) * 10,
                (false, true) => r.within(45, 80) * 100,
                (false, false) => r.within(340, 420) * 100,
            };
            (vital, if moles { "mmol/L" } else { "mg/dL" }, vec![(Role::Value, odd(r, usual))])
        }
    }
}
