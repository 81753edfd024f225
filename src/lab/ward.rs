//! A ward: patients, the devices they hold, when they use them, and what all that must amount to in the end.
//!
//! Promises: the same seed gives the same measurements in the same order. What is expected is counted when the source
//! was told that a frame is kept, never from what the gateway says.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Stamp;
use crate::config::{DeviceSettings, PatientSettings};
use crate::lab::device::{Device, Measured, Mishap, Sent, TOOLS, Tool};
use crate::lab::patient::{DAY, Episode, HOUR, Kind, Patient};
use crate::lab::tally::Tally;
use crate::reading::PatientId;
use crate::source::sim::{Emission, Feed};
use crate::vital::Vital;

/// Patients with their devices.
#[derive(Clone, Debug)]
pub struct Ward {
    seed: u64,
    /// In order of their numbers.
    pub patients: Vec<Patient>,
}

/// How time passes: a stretch of the patients' lives, played in some real time.
#[derive(Clone, Debug)]
pub struct Tempo {
    /// Which part of their lives.
    pub life: Range<Duration>,
    /// In how much real time.
    pub real: Duration,
    /// How often a chest strap reports, in their time.
    pub strap: Duration,
    /// How often a worn oximeter reports, in their time.
    pub oximeter: Duration,
}

/// One use of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    at: Duration,
    patient: usize,
    tool: Tool,
}

impl Ward {
    /// So many patients.
    pub fn new(seed: u64, patients: u32) -> Self {
        Self { seed, patients: (0..patients).map(|n| Patient::new(seed, n)).collect() }
    }

    /// The same ward, where this happens to one of them. A number beyond the last wraps around.
    pub fn with(mut self, patient: usize, episode: Episode) -> Self {
        let n = patient.checked_rem(self.patients.len()).unwrap_or(0);
        if let Some(patient) = self.patients.get_mut(n) {
            *patient = patient.clone().with(episode);
        }
        self
    }

    /// The patients as a gateway is told of them.
    pub fn patient_settings(&self) -> Vec<PatientSettings> {
        let settings =
            |p: &Patient| PatientSettings { reference: reference(p), display: Some(p.name()), limits: Vec::new() };
        self.patients.iter().map(settings).collect()
    }

    /// Their devices as a gateway is told of them.
    pub fn device_settings(&self) -> Vec<DeviceSettings> {
        let devices = self.patients.iter().flat_map(|p| TOOLS.map(|tool| (p, Device::new(tool, p.number))));
        let settings = devices.map(|(p, device)| DeviceSettings {
            id: device.id,
            patient: Some(reference(p)),
            slots: Default::default(),
            since: None,
            time_zone: None,
        });
        settings.collect()
    }

    /// All uses of devices in this stretch of their lives, in order.
    fn uses(&self, tempo: &Tempo) -> Vec<Use> {
        let mut uses = Vec::new();
        for (n, patient) in self.patients.iter().enumerate() {
            let mut each = |tool, at: Duration| {
                if tempo.life.contains(&at) {
                    uses.push(Use { at, patient: n, tool });
                }
            };
            // Not all at the same moment.
            let offset = patient.rng(0x0FF5).unit();
            for (tool, every) in [(Tool::HeartStrap, tempo.strap), (Tool::Oximeter, tempo.oximeter)] {
                let mut at = tempo.life.start + every.mul_f64(offset);
                while !every.is_zero() && at < tempo.life.end {
                    each(tool, at);
                    at += every;
                }
            }
            let days = tempo.life.start.as_secs() / DAY.as_secs()..=tempo.life.end.as_secs() / DAY.as_secs();
            for day in days {
                habits(patient, day, &mut each);
            }
        }
        uses.sort_unstable();
        uses
    }

    /// The ward as a feed for the simulated source, starting now.
    pub fn play(&self, tempo: Tempo, start: Stamp) -> (Play, Arc<Chart>) {
        let devices =
            (0u32..).zip(&self.patients).flat_map(|(n, _)| TOOLS.map(|t| ((n as usize, t), Device::new(t, n))));
        let chart = Arc::new(Chart::default());
        let play = Play {
            uses: self.uses(&tempo).into(),
            ward: self.clone(),
            devices: devices.collect(),
            measured: HashMap::new(),
            tempo,
            start,
            ready: VecDeque::new(),
            sent: 0,
            chart: chart.clone(),
        };
        (play, chart)
    }
}

/// The reference of a patient at the centre.
pub fn reference(patient: &Patient) -> PatientId {
    PatientId::new(&format!("Patient/lab-{:03}", patient.number + 1))
}

/// What a patient measures on one day: weight and pressure in the morning, glucose around meals, more when unwell.
fn habits(patient: &Patient, day: u64, each: &mut impl FnMut(Tool, Duration)) {
    let Ok(n) = u32::try_from(day) else { return };
    let mut r = patient.rng(day);
    let mut at = |hour: f64| DAY * n + HOUR.mul_f64(hour + r.between(0.0, 0.3));
    let morning = patient.meals()[0] - 0.6;
    each(Tool::Scale, at(morning));
    each(Tool::Cuff, at(morning + 0.1));
    each(Tool::Thermometer, at(morning + 0.2));
    each(Tool::Cuff, at(20.0));
    each(Tool::Thermometer, at(19.0));
    for meal in patient.meals() {
        each(Tool::Glucometer, at(meal - 0.3));
        each(Tool::Glucometer, at(meal + 1.5));
    }
    for episode in patient.episodes(day) {
        let tool = match episode.kind {
            Kind::HypertensiveCrisis => Tool::Cuff,
            Kind::Desaturation => Tool::Oximeter,
            Kind::Fever => Tool::Thermometer,
            Kind::Hypoglycaemia => Tool::Glucometer,
        };
        // Who feels unwell measures, and measures again.
        (1..6).for_each(|sixth| each(tool, episode.start + episode.length * sixth / 6));
    }
}

/// What was sent, and what was kept.
#[derive(Debug, Default)]
pub struct Chart(Mutex<Counts>);

/// Numbers of a chart.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Readings that the gateway says are safe, by patient and code.
    pub acknowledged: Tally,
    /// Broken frames that the gateway says are safe: they must be among its rejects.
    pub broken: u64,
    /// Frames sent so far.
    pub frames: u64,
    /// Frames that the gateway has not acknowledged yet.
    pub outstanding: u64,
    /// All have been sent.
    pub done: bool,
    pending: HashMap<u64, Note>,
}

#[derive(Clone, Debug)]
struct Note {
    subject: String,
    says: Vec<Measured>,
    broken: bool,
}

impl Chart {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers now.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// Readings acknowledged, broken frames acknowledged, frames outstanding, and whether all were sent.
    pub fn totals(&self) -> (u64, u64, u64, bool) {
        let c = self.lock();
        (c.acknowledged.total(), c.broken, c.outstanding, c.done)
    }
}

/// A ward being played.
pub struct Play {
    uses: VecDeque<Use>,
    ward: Ward,
    devices: HashMap<(usize, Tool), Device>,
    /// The second of each device's last measurement.
    measured: HashMap<(usize, Tool), i64>,
    tempo: Tempo,
    start: Stamp,
    ready: VecDeque<(Use, Duration, Sent)>,
    sent: u64,
    chart: Arc<Chart>,
}

impl Play {
    /// How long after the start a moment of their lives comes.
    fn after(&self, at: Duration) -> Duration {
        let life = (self.tempo.life.end.saturating_sub(self.tempo.life.start)).as_secs_f64();
        let share = at.saturating_sub(self.tempo.life.start).as_secs_f64() / life.max(f64::MIN_POSITIVE);
        self.tempo.real.mul_f64(share)
    }

    /// The next use becomes frames.
    fn prepare(&mut self) -> Option<()> {
        let one = self.uses.pop_front()?;
        let after = self.after(one.at);
        let body = self.ward.patients.get(one.patient)?.at(one.at);
        let device = self.devices.get_mut(&(one.patient, one.tool))?;
        // Devices show whole seconds, and none of those that show any measures twice in one.
        let second = Stamp { wall_ms: self.start.wall_ms.div_euclid(1_000) * 1_000, ..self.start }.plus(after);
        let second = second.wall_ms.div_euclid(1_000);
        if one.tool != Tool::HeartStrap && self.measured.insert((one.patient, one.tool), second) == Some(second) {
            return Some(());
        }
        let clock = jiff::Timestamp::from_second(second).ok()?.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let moment = u64::try_from(one.at.as_millis()).unwrap_or(0);
        let mishap = mishap(one.tool, self.ward.patients.get(one.patient)?.rng(self.ward.seed ^ moment).unit());
        // A body beyond what the encoding holds would send nothing; the lab's bodies are not.
        for sent in device.measure(&body, clock, mishap).unwrap_or_default() {
            self.ready.push_back((one, after, sent));
        }
        Some(())
    }
}

/// Which device has which kind of bad day, and how often.
fn mishap(tool: Tool, dice: f64) -> Mishap {
    let (rate, what) = match tool {
        Tool::Oximeter => (0.02, Mishap::NoNumber),
        Tool::Cuff => (0.15, Mishap::Short),
        Tool::Glucometer => (0.2, Mishap::Again),
        Tool::Thermometer => (0.05, Mishap::NoNumber),
        Tool::HeartStrap | Tool::Scale => (0.0, Mishap::None),
    };
    if dice < rate { what } else { Mishap::None }
}

/// One frame of a play.
pub struct Step<'a> {
    /// How long after the start.
    pub after: Duration,
    /// Whose.
    pub patient: &'a Patient,
    /// Which of their devices.
    pub tool: Tool,
    /// What it sends.
    pub sent: Sent,
}

impl Play {
    /// The next frame. `None`: that was all.
    pub fn advance(&mut self) -> Option<Step<'_>> {
        while self.ready.is_empty() && !self.uses.is_empty() {
            let _ = self.prepare();
        }
        let (one, after, sent) = self.ready.pop_front()?;
        Some(Step { after, patient: self.ward.patients.get(one.patient)?, tool: one.tool, sent })
    }
}

impl Feed for Play {
    fn next(&mut self) -> Option<Emission> {
        let chart = self.chart.clone();
        let Some(Step { after, patient, sent, .. }) = self.advance() else {
            chart.lock().done = true;
            return None;
        };
        let note = Note { subject: reference(patient).reveal().to_owned(), says: sent.says, broken: sent.broken };
        self.sent += 1;
        let mut chart = chart.lock();
        chart.frames += 1;
        chart.outstanding += 1;
        chart.pending.insert(self.sent, note);
        Some(Emission { after, path: sent.path, bytes: sent.bytes })
    }

    fn kept(&mut self, ticket: u64) {
        let mut chart = self.chart.lock();
        let Some(note) = chart.pending.remove(&ticket) else { return };
        chart.outstanding = chart.outstanding.saturating_sub(1);
        chart.broken += u64::from(note.broken);
        for measured in &note.says {
            let numbers = measured.numbers.iter().map(|n| n.map(|n| (n, measured.unit)));
            let mark = chart.acknowledged.mark(&note.subject, code(measured.vital), numbers);
            chart.acknowledged.add(mark);
        }
    }
}

/// The code under which a server finds this vital.
fn code(vital: &str) -> &'static str {
    Vital::parse(vital).and_then(|v| v.loinc.first().map(|l| l.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tempo(real: u64) -> Tempo {
        Tempo { life: HOUR * 6..HOUR * 22, real: Duration::from_secs(real), strap: HOUR / 6, oximeter: HOUR / 2 }
    }

    fn all(seed: u64, real: u64) -> Vec<Emission> {
        let (mut play, _) = Ward::new(seed, 5).play(tempo(real), Stamp::at_ms(1_795_341_600_000));
        std::iter::from_fn(|| play.next()).collect()
    }

    #[test]
    fn a_seed_is_a_day() {
        let (a, b) = (all(1, 30), all(1, 30));
        assert!(a.len() > 600, "{}", a.len());
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(&b).all(|(a, b)| a.bytes == b.bytes && a.path == b.path && a.after == b.after));
        assert!(a.windows(2).all(|w| w[0].after <= w[1].after));
        assert!(a.iter().all(|e| e.after < Duration::from_secs(30)));
        assert_ne!(all(2, 30).len(), a.len());
    }

    #[test]
    fn every_kind_of_device_and_mishap_takes_part() {
        let (mut play, chart) = Ward::new(1, 12).play(tempo(30), Stamp::at_ms(1_795_341_600_000));
        let frames: Vec<_> = std::iter::from_fn(|| play.next()).collect();
        for uuid in ["2A37", "2A35", "2A5E", "2A1C", "2A9D", "2A9C", "2A18"] {
            assert!(frames.iter().any(|f| f.path.channel() == uuid), "{uuid}");
        }
        (1..=frames.len() as u64).for_each(|ticket| play.kept(ticket));
        let c = chart.counts();
        assert!(c.broken >= 1 && c.outstanding == 0 && c.done);
        assert_eq!(c.frames, frames.len() as u64);
        assert!(c.acknowledged.total() > frames.len() as u64, "an oximeter's frame has three readings");
    }

    #[test]
    fn the_fraction_of_the_second_of_the_start_changes_nothing() {
        let count = |ms: i64| {
            let (mut play, _) = Ward::new(1, 5).play(tempo(8), Stamp::at_ms(1_795_341_600_000 + ms));
            std::iter::from_fn(|| play.next()).count()
        };
        assert!((1..10).all(|n| count(n * 111) == count(0)));
    }

    #[test]
    fn no_dated_record_comes_twice_in_one_second() {
        let (mut play, _) = Ward::new(1, 5).play(tempo(4), Stamp::at_ms(1_795_341_600_500));
        let mut seen = std::collections::HashSet::new();
        while let Some(step) = play.advance() {
            let key = (step.patient.number, step.tool, step.after.as_secs(), step.sent.path.channel().to_owned());
            assert!(step.tool == Tool::HeartStrap || step.sent.says.is_empty() || seen.insert(key));
        }
    }

    #[test]
    fn only_what_was_kept_is_expected_and_once() {
        let (mut play, chart) = Ward::new(1, 2).play(tempo(30), Stamp::at_ms(1_795_341_600_000));
        let _ = play.next();
        assert_eq!(chart.totals().0, 0);
        play.kept(1);
        play.kept(1);
        play.kept(99);
        assert_eq!(chart.totals().0, 1, "a chest strap reports first, one reading a frame");
    }

    #[test]
    fn who_is_unwell_measures_more() {
        let cuffs = |ward: &Ward| ward.uses(&tempo(30)).iter().filter(|u| u.tool == Tool::Cuff).count();
        let well = Ward::new(1, 3);
        let start = HOUR * 12;
        let ill = well.clone().with(4, Episode { kind: Kind::HypertensiveCrisis, start, length: HOUR * 2 });
        assert_eq!(cuffs(&ill), cuffs(&well) + 5);
    }
}
