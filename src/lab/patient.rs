//! Virtual patients: a body as a pure function of time, from a seed.
//!
//! Circadian rhythm, meals, and now and then an episode: hypertensive crisis, desaturation, fever, hypoglycaemia.
//! Promises: `at(t)` gives the same body for the same seed and moment, whatever was asked before.
//! Must never: be mistaken for a model of disease; it is shaped to look and move like vitals do.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::lab::rng::{Rng, mix};

/// One hour of a patient's life.
pub const HOUR: Duration = Duration::from_secs(3_600);
/// One day of a patient's life. Lives start at midnight.
pub const DAY: Duration = Duration::from_secs(86_400);

const NAMES: [&str; 16] = [
    "Ada", "Bruno", "Clara", "David", "Elif", "Frank", "Greta", "Hassan", "Ines", "Jonas", "Karin", "Luca", "Mira",
    "Nils", "Olga", "Paul",
];

/// A patient: what is usual for them, and what happens to them.
#[derive(Clone, Debug)]
pub struct Patient {
    /// From 0.
    pub number: u32,
    usual: Usual,
    meals: [f64; 3],
    scripted: Vec<Episode>,
    rng: Rng,
}

#[derive(Clone, Debug)]
struct Usual {
    heart_rate: f64,
    systolic: f64,
    diastolic: f64,
    spo2: f64,
    temperature: f64,
    weight: f64,
    fat: f64,
    glucose: f64,
}

/// What a device could measure at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Physiology {
    /// Beats per minute.
    pub heart_rate: f64,
    /// mmHg.
    pub systolic: f64,
    /// mmHg.
    pub diastolic: f64,
    /// Percent.
    pub spo2: f64,
    /// Pulse strength at the finger, percent.
    pub perfusion: f64,
    /// °C.
    pub temperature: f64,
    /// kg.
    pub weight: f64,
    /// Percent.
    pub fat: f64,
    /// mg/dL.
    pub glucose: f64,
}

/// Something that happens to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Systolic above 180.
    HypertensiveCrisis,
    /// Oxygen saturation below 88.
    Desaturation,
    /// Above 38.5 °C.
    Fever,
    /// Glucose below 54.
    Hypoglycaemia,
}

const KINDS: [Kind; 4] = [Kind::HypertensiveCrisis, Kind::Desaturation, Kind::Fever, Kind::Hypoglycaemia];

/// An episode in a life: comes over its first fifth, stays, and goes over its last fifth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Episode {
    /// What.
    pub kind: Kind,
    /// From when.
    pub start: Duration,
    /// For how long.
    pub length: Duration,
}

impl Episode {
    /// 0 outside, 1 at its height.
    fn force(&self, t: Duration) -> f64 {
        let Some(since) = t.checked_sub(self.start) else { return 0.0 };
        let x = since.as_secs_f64() / self.length.as_secs_f64().max(1.0);
        if x >= 1.0 { 0.0 } else { (x.min(1.0 - x) * 5.0).min(1.0) }
    }
}

impl Patient {
    /// Patient `number` of the ward with this seed.
    pub fn new(seed: u64, number: u32) -> Self {
        let rng = Rng::new(seed).fork(u64::from(number));
        let mut r = rng.fork(1);
        let systolic = r.between(108.0, 142.0);
        let usual = Usual {
            heart_rate: r.between(58.0, 80.0),
            systolic,
            diastolic: systolic * r.between(0.58, 0.66),
            spo2: r.between(95.5, 98.5),
            temperature: r.between(36.4, 36.8),
            weight: r.between(52.0, 108.0),
            fat: r.between(18.0, 36.0),
            glucose: r.between(88.0, 118.0),
        };
        let meals = [r.between(7.0, 8.5), r.between(12.0, 13.5), r.between(18.0, 19.5)];
        Self { number, usual, meals, scripted: Vec::new(), rng }
    }

    /// The same patient, to whom this happens too.
    pub fn with(mut self, episode: Episode) -> Self {
        self.scripted.push(episode);
        self
    }

    /// What the household calls them.
    pub fn name(&self) -> String {
        let again = self.number as usize / NAMES.len();
        let name = NAMES.get(self.number as usize % NAMES.len()).copied().unwrap_or("Zoe");
        if again == 0 { name.to_owned() } else { format!("{name} {}", again + 1) }
    }

    /// Hours after midnight at which this patient eats.
    pub fn meals(&self) -> [f64; 3] {
        self.meals
    }

    /// A stream of this patient's own for one purpose.
    pub fn rng(&self, purpose: u64) -> Rng {
        self.rng.fork(mix(purpose))
    }

    /// The episode, if any, that begins on this day of this patient's life.
    pub fn episode(&self, day: u64) -> Option<Episode> {
        let mut r = self.rng.fork(0x0E91_50DE ^ day);
        let kind = *KINDS.get(usize::try_from(r.below(4)).unwrap_or(0))?;
        let start = DAY * u32::try_from(day).ok()? + HOUR.mul_f64(r.between(7.0, 21.0));
        // One day in ten.
        r.chance(0.1).then(|| Episode { kind, start, length: HOUR.mul_f64(r.between(0.5, 4.0)) })
    }

    /// All that begins on this day: by chance, and by script.
    pub fn episodes(&self, day: u64) -> impl Iterator<Item = Episode> {
        let scripted = self.scripted.iter().copied().filter(move |e| e.start.as_secs() / DAY.as_secs() == day);
        self.episode(day).into_iter().chain(scripted)
    }

    /// The body at this moment of its life.
    pub fn at(&self, t: Duration) -> Physiology {
        let hour = t.as_secs_f64() / 3_600.0 % 24.0;
        // Highest in the afternoon, lowest before dawn.
        let rhythm = |peak: f64| (TAU * (hour - peak) / 24.0).cos();
        let u = &self.usual;
        let mut body = Physiology {
            heart_rate: u.heart_rate
                + 8.0 * rhythm(15.0)
                + 4.0 * self.noise(1, t, 600.0)
                + 2.0 * self.noise(2, t, 60.0),
            systolic: u.systolic * (1.0 + 0.06 * rhythm(14.0)) + 5.0 * self.noise(3, t, 1_800.0),
            diastolic: u.diastolic * (1.0 + 0.05 * rhythm(14.0)) + 3.0 * self.noise(4, t, 1_800.0),
            spo2: u.spo2 + 0.5 * rhythm(14.0) + 0.7 * self.noise(5, t, 300.0),
            perfusion: 4.0 + 1.5 * self.noise(6, t, 900.0),
            temperature: u.temperature + 0.35 * rhythm(17.0) + 0.08 * self.noise(7, t, 1_200.0),
            weight: u.weight + 0.5 * rhythm(19.0) + 0.4 * self.noise(8, t, 3.0 * 86_400.0),
            fat: u.fat + 0.4 * self.noise(9, t, 86_400.0),
            glucose: u.glucose + self.digestion(hour) + 5.0 * self.noise(10, t, 1_200.0),
        };
        let today = t.as_secs() / DAY.as_secs();
        let yesterday = today.checked_sub(1).and_then(|d| self.episode(d));
        for episode in yesterday.into_iter().chain(self.episode(today)).chain(self.scripted.iter().copied()) {
            body.suffer(episode.kind, episode.force(t));
        }
        body.spo2 = body.spo2.clamp(70.0, 100.0);
        body
    }

    /// What today's meals still add to the glucose, mg/dL: up within 45 minutes, gone after three hours.
    fn digestion(&self, hour: f64) -> f64 {
        self.meals.iter().map(|meal| (hour - meal).max(0.0) / 0.75).map(|x| 45.0 * x * (1.0 - x).exp()).sum()
    }

    /// Smooth noise in `-1..1` that changes about every `period` seconds.
    fn noise(&self, channel: u64, t: Duration, period: f64) -> f64 {
        let x = t.as_secs_f64() / period;
        let knot = |i: f64| self.rng.fork(channel << 40 ^ i as u64).between(-1.0, 1.0);
        let (low, part) = (x.floor(), x.fract());
        let ease = part * part * (3.0 - 2.0 * part);
        knot(low) * (1.0 - ease) + knot(low + 1.0) * ease
    }
}

impl Physiology {
    fn suffer(&mut self, kind: Kind, force: f64) {
        let towards = |value: &mut f64, goal: f64| *value += (goal - *value) * force;
        match kind {
            Kind::HypertensiveCrisis => {
                towards(&mut self.systolic, 196.0);
                towards(&mut self.diastolic, 118.0);
                self.heart_rate += 18.0 * force;
            }
            Kind::Desaturation => {
                towards(&mut self.spo2, 84.0);
                self.heart_rate += 22.0 * force;
            }
            Kind::Fever => {
                towards(&mut self.temperature, 39.2);
                self.heart_rate += 20.0 * force;
            }
            Kind::Hypoglycaemia => {
                towards(&mut self.glucose, 46.0);
                self.heart_rate += 14.0 * force;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_function_of_seed_and_time() {
        let t = HOUR.mul_f64(31.7);
        let once = Patient::new(3, 4).at(t);
        let p = Patient::new(3, 4);
        let _ = p.at(DAY * 9);
        assert_eq!(p.at(t), once);
        assert_ne!(Patient::new(4, 4).at(t), once);
        assert_ne!(Patient::new(3, 5).at(t), once);
    }

    #[test]
    fn ordinary_days_are_ordinary() {
        for number in 0..40 {
            let p = Patient::new(1, number);
            for day in 0..10u64 {
                let near = [day, day.saturating_sub(1)];
                if near.iter().any(|d| p.episode(*d).is_some()) {
                    continue;
                }
                for quarter in 0..96 {
                    let b = p.at(DAY * day as u32 + HOUR / 4 * quarter);
                    assert!((40.0..110.0).contains(&b.heart_rate), "{b:?}");
                    assert!((90.0..165.0).contains(&b.systolic) && b.diastolic < b.systolic - 15.0, "{b:?}");
                    assert!((93.0..=100.0).contains(&b.spo2), "{b:?}");
                    assert!((35.7..37.6).contains(&b.temperature), "{b:?}");
                    assert!((70.0..200.0).contains(&b.glucose), "{b:?}");
                    assert!((0.5..8.0).contains(&b.perfusion) && b.weight > 45.0, "{b:?}");
                }
            }
        }
    }

    #[test]
    fn a_night_is_lower_than_a_day() {
        let p = Patient::new(1, 0);
        let mean = |from: u32| (0..60).map(|m| p.at(HOUR * from + HOUR / 30 * m).heart_rate).sum::<f64>() / 60.0;
        assert!(mean(2) + 5.0 < mean(14));
    }

    #[test]
    fn an_episode_reaches_its_limit_and_passes() {
        let worst = |kind| {
            let start = HOUR * 10;
            Patient::new(1, 2).with(Episode { kind, start, length: HOUR }).at(start + HOUR / 2)
        };
        assert!(worst(Kind::HypertensiveCrisis).systolic >= 180.0);
        assert!(worst(Kind::Desaturation).spo2 < 88.0);
        assert!(worst(Kind::Fever).temperature >= 38.5);
        assert!(worst(Kind::Hypoglycaemia).glucose < 54.0);
        let episode = Episode { kind: Kind::Fever, start: HOUR * 10, length: HOUR };
        let ill = Patient::new(1, 2).with(episode);
        assert_eq!(ill.at(HOUR * 12), Patient::new(1, 2).at(HOUR * 12));
    }

    #[test]
    fn about_one_day_in_ten_has_an_episode() {
        let days = (0..100).flat_map(|n| (0..20).map(move |d| Patient::new(9, n).episode(d)));
        let n = days.flatten().count();
        assert!((120..290).contains(&n), "{n}");
    }
}
