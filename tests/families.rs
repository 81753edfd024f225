//! Simulated households with shared and handed-on devices: whose chart each reading enters, against who it was.
//!
//! `cargo test --test families -- --nocapture` prints the figures of `docs/attribution.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

use std::sync::Arc;

use wardline::clock::Stamp;
use wardline::config::{Config, DeviceSettings};
use wardline::intake::Intake;
use wardline::lab::rng::Rng;
use wardline::profile::Decoded;
use wardline::reading::{ClockPair, Clocks, DeviceId, DeviceTime, Draft, Frame, Part, PatientId, Reading, Value};
use wardline::unit::Unit;
use wardline::vital::{Role, Vital};

/// 2026-01-05T00:00:00Z.
const START_MS: i64 = 1_767_571_200_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 1_440 * MINUTE;
const DAYS: i64 = 180;
const HOUSEHOLDS: u64 = 300;

/// What became of the readings of one kind of household.
#[derive(Default)]
struct Figures {
    readings: u32,
    right: u32,
    wrong: u32,
    left: u32,
    suggested: u32,
    suggested_wrong: u32,
}

impl Figures {
    fn count(&mut self, truth: Option<&str>, reading: &Reading, suggestion: Option<PatientId>) {
        self.readings += 1;
        match (&reading.patient, truth) {
            (Some(patient), Some(truth)) if patient.reveal() == truth => self.right += 1,
            (Some(_), _) => self.wrong += 1,
            (None, _) => {
                self.left += 1;
                if let Some(suggestion) = suggestion {
                    self.suggested += 1;
                    self.suggested_wrong += u32::from(truth != Some(suggestion.reveal()));
                }
            }
        }
    }

    fn line(&self, name: &str) {
        let share = |n: u32| 100.0 * f64::from(n) / f64::from(self.readings.max(1));
        println!(
            "| {name} | {} | {:.2} % | **{}** | {:.2} % | {} of {} |",
            self.readings,
            share(self.right),
            self.wrong,
            share(self.left),
            self.suggested - self.suggested_wrong,
            self.suggested
        );
    }
}

/// A person with a weight that wanders.
struct Person {
    id: String,
    kg: f64,
}

impl Person {
    fn some(n: u64, rng: &mut Rng) -> Vec<Self> {
        (0..n).map(|i| Self { id: format!("Patient/{i}"), kg: rng.between(48.0, 118.0) }).collect()
    }

    fn weighs(&mut self, rng: &mut Rng) -> f64 {
        self.kg *= 1.0 + rng.between(-0.004, 0.004);
        self.kg * (1.0 + rng.between(-0.008, 0.008))
    }
}

/// A device in a household: what it sends, and the gateway's intake.
struct Home {
    intake: Intake,
    known: wardline::intake::likeness::Likeness,
    ticket: u64,
    /// How far the device's clock is behind, where the source asks it; and what it said at the last visit.
    asked: Option<i64>,
    before: Option<ClockPair>,
}

impl Home {
    fn new() -> Self {
        let config: Config = toml::from_str("[gateway]\nid='box'\nstate='/nowhere'").unwrap();
        Self { intake: Intake::new(&config, 1), known: Default::default(), ticket: 0, asked: None, before: None }
    }

    fn hand(&mut self, alone: Option<&str>, slots: &[(u8, &str)], since_ms: Option<i64>, now_ms: i64) {
        let settings = DeviceSettings {
            id: DeviceId("mqtt:shared".into()),
            patient: alone.map(PatientId::new),
            slots: slots.iter().map(|(slot, p)| (slot.to_string(), PatientId::new(p))).collect(),
            since: since_ms.map(|ms| jiff::Timestamp::from_millisecond(ms).unwrap()),
            time_zone: None,
        };
        self.intake.hand(&settings, now_ms, "technician");
    }

    fn sends(
        &mut self,
        vital: &str,
        values: &[(Role, f64, &str)],
        slot: Option<u8>,
        said_ms: Option<i64>,
        at_ms: i64,
        stored: bool,
    ) -> Reading {
        self.ticket += 1;
        let part = |(role, value, unit): &(Role, f64, &str)| Part {
            role: *role,
            value: Value::Number(format!("{value:.1}").parse().unwrap()),
            unit: Unit::parse(unit).unwrap(),
        };
        let draft = Draft {
            vital: Vital::parse(vital).unwrap(),
            parts: values.iter().map(part).collect(),
            slot,
            sequence: Some(self.ticket),
            device_time: said_ms.map(|ms| DeviceTime::Civil(civil(ms))),
            quality: vec![],
            site: None,
            stored,
        };
        let face = |behind| ClockPair { device: civil(at_ms - behind), box_ms: at_ms, trusted: true };
        let clocks = self.asked.map(|behind| Arc::new(Clocks { now: face(behind), before: self.before.clone() }));
        let frame = Frame { ticket: self.ticket, clocks, ..Frame::new("home", "x", Stamp::at_ms(at_ms)) };
        let device = DeviceId("mqtt:shared".into());
        let decoded = Decoded { device, profile: Arc::from("p"), drafts: vec![draft], stream: false };
        self.intake.take(&frame, decoded).readings.remove(0)
    }

    fn weighed(&mut self, kg: f64, slot: Option<u8>, at_ms: i64) -> Reading {
        self.sends("body-weight", &[(Role::Value, kg, "kg")], slot, Some(at_ms), at_ms, false)
    }

    /// A person answers who it was: it is known from then on.
    fn confirmed(&mut self, reading: Reading, truth: &str) {
        let said = Reading { patient: Some(PatientId::new(truth)), ..reading };
        self.intake.learn(&said);
        self.known.note(&said);
    }
}

fn civil(ms: i64) -> jiff::civil::DateTime {
    jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_millisecond(ms).unwrap())
}

/// A scale in a household; `presses` gives the slot that the person presses.
fn scale(
    people: u64,
    alone: bool,
    seed: u64,
    mut presses: impl FnMut(&mut Rng, usize) -> Option<u8>,
    guests: f64,
) -> Figures {
    let mut figures = Figures::default();
    for n in 0..HOUSEHOLDS {
        let mut rng = Rng::new(seed).fork(n);
        let mut all = Person::some(people, &mut rng);
        let mut home = Home::new();
        let slots: Vec<(u8, String)> =
            all.iter().enumerate().map(|(i, p)| (u8::try_from(i).unwrap() + 1, p.id.clone())).collect();
        let slots: Vec<(u8, &str)> = slots.iter().map(|(slot, p)| (*slot, p.as_str())).collect();
        if alone {
            home.hand(Some("Patient/0"), &[], None, START_MS);
        } else {
            home.hand(None, &slots, None, START_MS);
        }
        for day in 0..DAYS {
            for (i, person) in all.iter_mut().enumerate() {
                let at_ms = START_MS + day * DAY + i64::try_from(rng.below(900)).unwrap() * MINUTE;
                let guest = rng.chance(guests);
                let kg = if guest { rng.between(20.0, 120.0) } else { person.weighs(&mut rng) };
                let slot = presses(&mut rng, i);
                let reading = home.weighed(kg, slot, at_ms);
                let truth = (!guest).then(|| person.id.clone());
                let suggestion = home.known.suggest(&reading);
                figures.count(truth.as_deref(), &reading, suggestion);
                match (&reading.patient, truth) {
                    (Some(_), _) => home.known.note(&reading),
                    // Most are answered, some never.
                    (None, Some(truth)) if rng.chance(0.8) => home.confirmed(reading, &truth),
                    (None, _) => {}
                }
            }
        }
    }
    figures
}

fn own(i: usize) -> Option<u8> {
    Some(u8::try_from(i).unwrap() + 1)
}

/// A monitor with two users, each with a button.
fn monitor() -> Figures {
    let mut figures = Figures::default();
    for n in 0..HOUSEHOLDS {
        let mut rng = Rng::new(3).fork(n);
        let mut home = Home::new();
        home.hand(None, &[(1, "Patient/0"), (2, "Patient/1")], None, START_MS);
        for day in 0..DAYS {
            for i in 0..2 {
                let at_ms = START_MS + day * DAY + i64::try_from(rng.below(900)).unwrap() * MINUTE;
                // A visitor uses the third button, or the device lost its users with its batteries.
                let (slot, truth) = match rng.below(50) {
                    0 => (Some(3), None),
                    1 => (None, Some(format!("Patient/{i}"))),
                    _ => (own(i), Some(format!("Patient/{i}"))),
                };
                let values = [
                    (Role::Systolic, rng.between(105.0, 165.0), "mm[Hg]"),
                    (Role::Diastolic, rng.between(60.0, 95.0), "mm[Hg]"),
                ];
                let reading = home.sends("blood-pressure", &values, slot, Some(at_ms), at_ms, false);
                figures.count(truth.as_deref(), &reading, None);
            }
        }
    }
    figures
}

/// Where a clock begins anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Anew {
    /// In the year of its firmware, or it tells no time.
    Years,
    /// On a day on which the device was lent already.
    WhileLent,
    /// The same; the source asks the clock at each visit.
    WhileLentAsked,
}

/// A monitor that is lent to one patient after the other, sends its memory late, and loses its clock at times.
///
/// Answers also how many would be wrong if each reading were simply of who has the device when it comes.
fn loan(anew: Anew) -> (Figures, u32) {
    let (mut figures, mut naive) = (Figures::default(), 0);
    for n in 0..HOUSEHOLDS {
        let mut rng = Rng::new(4).fork(n);
        let mut home = Home::new();
        let mut waiting: Vec<(Option<i64>, String)> = Vec::new();
        let mut reset: Option<i64> = None;
        let (mut holder, mut from) = (0, START_MS);
        home.hand(Some("Patient/0"), &[], None, START_MS);
        for day in 0..DAYS {
            let noon = START_MS + day * DAY + 720 * MINUTE;
            if day > from / DAY - START_MS / DAY + 20 && rng.chance(0.04) {
                holder += 1;
                from = noon;
                home.hand(Some(&format!("Patient/{holder}")), &[], Some(noon), noon);
                // Its memory is not always cleared, its clock not always set.
                if rng.chance(0.5) {
                    waiting.clear();
                }
            }
            if rng.chance(0.03) {
                // The batteries were changed.
                reset = match (anew, rng.below(3)) {
                    (_, 0) => None,
                    (Anew::Years, 1) => Some(noon - 946_684_800_000 + 60_000),
                    (Anew::Years, _) => Some(noon - 1_420_070_400_000),
                    (_, _) => Some(i64::try_from(rng.below(u64::try_from(day).unwrap() + 1)).unwrap() * DAY),
                };
            }
            let measured = noon + i64::try_from(rng.below(600)).unwrap() * MINUTE;
            let says = match reset {
                Some(behind) if anew == Anew::WhileLentAsked || rng.chance(0.9) => Some(measured - behind),
                _ if rng.chance(0.02) => None,
                _ => {
                    reset = None;
                    Some(measured + i64::try_from(rng.below(1_000)).unwrap() - 500)
                }
            };
            waiting.push((says, format!("Patient/{holder}")));
            if rng.chance(0.3) {
                home.asked = (anew == Anew::WhileLentAsked).then(|| reset.unwrap_or(0));
                for (says, truth) in waiting.drain(..) {
                    let values = [(Role::Systolic, 130.0, "mm[Hg]"), (Role::Diastolic, 80.0, "mm[Hg]")];
                    let reading = home.sends("blood-pressure", &values, None, says, measured + MINUTE, true);
                    figures.count(Some(&truth), &reading, None);
                    naive += u32::from(truth != format!("Patient/{holder}"));
                }
                let face = |behind| ClockPair {
                    device: civil(measured + MINUTE - behind),
                    box_ms: measured + MINUTE,
                    trusted: true,
                };
                home.before = home.asked.map(face);
                if home.asked.is_some() {
                    // It is set as well.
                    reset = None;
                }
            }
        }
    }
    (figures, naive)
}

#[test]
fn no_reading_of_a_couple_or_a_family_enters_another_persons_chart() {
    println!("| household | readings | right chart | wrong chart | left to a person | suggestions right |");
    println!("|---|---|---|---|---|---|");
    let mut wrong = 0;
    let mut tell = |name: &str, figures: Figures| {
        figures.line(name);
        wrong += figures.wrong;
    };
    let forgets = |rng: &mut Rng, i: usize| if rng.chance(0.03) { None } else { own(i) };
    tell("couple, scale with user slots, 3 % without", scale(2, false, 1, forgets, 0.0));
    tell("family of four, scale with user slots, 3 % without", scale(4, false, 5, forgets, 0.0));
    tell("family of four, scale that tells no user", scale(4, false, 2, |_, _| None, 0.0));
    tell("couple, monitor with two users, visitors on a third", monitor());
    let (lent, naive) = loan(Anew::Years);
    tell("one device lent to one patient after the other, late memory, lost clocks", lent);
    let (asked, _) = loan(Anew::WhileLentAsked);
    tell("the same, clocks that begin anew on a day of the loan, asked at each visit", asked);
    println!("\nBy who has the lent device when a reading comes, {naive} would be in the wrong chart.");
    assert!(naive > 1_000, "the simulation does not tell right from wrong: {naive}");
    assert_eq!(wrong, 0, "wrong charts");
    // What no gateway can know for certain: the device's own word about its user is wrong.
    println!("\nThe device's word is wrong (measured, not promised):\n");
    let (dated, _) = loan(Anew::WhileLent);
    dated.line("lent device, clock begins anew on a day of the loan, cannot be asked");
    // Only where it begins anew after the last visit before a hand-over: nothing tells that from a late memory.
    assert!(dated.wrong * 500 < dated.readings, "{} of {}", dated.wrong, dated.readings);
    let careless = |rng: &mut Rng, i: usize| if rng.chance(0.02) { own((i + 1) % 2) } else { own(i) };
    let swapped = scale(2, false, 6, careless, 0.0);
    swapped.line("couple, scale, 2 % under the other's slot");
    let guests = scale(1, true, 7, |_, _| None, 0.02);
    guests.line("one person's scale, 2 % guests");
    // Likeness finds most of them.
    assert!(swapped.wrong * 3 < swapped.readings / 50, "{} of {}", swapped.wrong, swapped.readings);
}
