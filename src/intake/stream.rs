//! Values of a stream, gathered to one reading for each vital and period: their mean, with minimum, maximum and number.
//! Pure.
//!
//! Promises: what is gathered is bounded; doubtful values count only where there are no others, and are labelled then;
//! the bytes of each value are kept with the reading. Must never: gather what a device would send again, or decide about
//! alerts: these saw each value before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::identity;
use crate::clock::Stamp;
use crate::decimal::Decimal;
use crate::limits;
use crate::reading::{Arrival, DeviceId, Frame, Part, PatientId, Quality, Reading, Value};
use crate::unit::Unit;
use crate::vital::Role;

/// What a period is of.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Of {
    device: DeviceId,
    slot: Option<u8>,
    patient: Option<PatientId>,
}

/// The open periods of all devices.
pub struct Streams {
    /// By source; none or zero: nothing is gathered.
    every: HashMap<Arc<str>, Duration>,
    open: HashMap<Of, Period>,
    /// Ended before their time, as there was no room.
    ended: Vec<Period>,
}

struct Period {
    /// The first one; its bytes are those of all.
    frame: Frame,
    bytes: Vec<u8>,
    last: Stamp,
    vitals: Vec<Gathered>,
}

/// Values of one vital.
struct Gathered {
    first: Reading,
    all: u32,
    good: Values,
    doubtful: Values,
    /// Of the doubtful ones.
    labels: Vec<Quality>,
    /// Status bits of the others.
    statuses: Vec<Quality>,
}

#[derive(Default)]
struct Values {
    number: u32,
    sum: Option<(Decimal, Unit)>,
    min: Option<Decimal>,
    max: Option<Decimal>,
}

impl Streams {
    /// For how long what each source brings is gathered.
    pub fn new(every: HashMap<Arc<str>, Duration>) -> Self {
        Self { every, open: HashMap::new(), ended: Vec::new() }
    }

    /// Takes the values of a frame in. Answers `false` if they are no values of a stream: then they go their own way.
    pub fn gather(&mut self, frame: &Frame, readings: &[Reading]) -> bool {
        let Some(first) = readings.first() else { return false };
        let simple = |r: &Reading| matches!(&*r.parts, [Part { role: Role::Value, .. }]) && !r.stored;
        let every = self.every.get(&frame.source).copied().unwrap_or_default();
        if every.is_zero() || !readings.iter().all(simple) {
            return false;
        }
        let of = Of { device: first.device.clone(), slot: first.slot, patient: first.patient.clone() };
        let full = self.open.get(&of).is_some_and(|p| {
            frame.received.since(p.frame.received) >= every
                || p.bytes.len() + frame.bytes.len() > limits::STREAM_BYTES_MAX
        });
        if full {
            self.ended.extend(self.open.remove(&of));
        }
        if !self.open.contains_key(&of) && self.open.len() >= limits::STREAMS_MAX {
            return false;
        }
        let period = self.open.entry(of).or_insert_with(|| Period::begin(frame));
        readings.iter().all(|reading| period.fits(reading)) && {
            period.take(frame, readings);
            true
        }
    }

    /// The readings of periods that are over by now: their time is up, or nothing more comes.
    pub fn ended(&mut self, now: Stamp) -> Vec<Arrival> {
        let over = |p: &Period| now.since(p.last) >= limits::STREAM_QUIET;
        self.ended.extend(self.open.extract_if(|_, p| over(p)).map(|(_, p)| p));
        self.ended.drain(..).map(Period::end).collect()
    }

    /// The readings of all periods: the process ends.
    pub fn end(&mut self) -> Vec<Arrival> {
        self.ended.extend(self.open.drain().map(|(_, p)| p));
        self.ended.drain(..).map(Period::end).collect()
    }
}

impl Period {
    fn begin(frame: &Frame) -> Self {
        Self { frame: frame.clone(), bytes: Vec::new(), last: frame.received, vitals: Vec::new() }
    }

    /// The same unit as before: sums of different ones mean nothing.
    fn fits(&self, reading: &Reading) -> bool {
        let known = self.vitals.iter().find(|g| g.first.vital == reading.vital && g.first.site == reading.site);
        let unit = |r: &Reading| r.parts.first().map(|p| p.unit);
        known.is_none_or(|g| unit(&g.first) == unit(reading))
    }

    fn take(&mut self, frame: &Frame, readings: &[Reading]) {
        self.last = frame.received;
        // Milliseconds since the first one, the length, the bytes.
        let offset = u32::try_from(frame.received.since(self.frame.received).as_millis()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&offset.to_be_bytes());
        self.bytes.extend_from_slice(&u16::try_from(frame.bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.bytes.extend_from_slice(&frame.bytes);
        for reading in readings {
            let at = self.vitals.iter().position(|g| g.first.vital == reading.vital && g.first.site == reading.site);
            let at = at.unwrap_or_else(|| {
                let (good, doubtful) = Default::default();
                self.vitals.push(Gathered {
                    first: reading.clone(),
                    all: 0,
                    good,
                    doubtful,
                    labels: Vec::new(),
                    statuses: Vec::new(),
                });
                self.vitals.len() - 1
            });
            if let Some(gathered) = self.vitals.get_mut(at) {
                gathered.take(reading);
            }
        }
    }

    fn end(self) -> Arrival {
        let Self { frame, bytes, last, vitals } = self;
        let seconds = last.since(frame.received).as_millis();
        let lasted = Decimal::new(i64::try_from(seconds).unwrap_or(i64::MAX), -3);
        let readings = vitals.into_iter().map(|g| g.reading(lasted)).collect();
        // Its source was told of each value when it came, and knows no such ticket.
        Arrival {
            frame: Frame { bytes: bytes.into(), ticket: u64::MAX, ..frame },
            undated: true,
            outcome: Ok(readings),
        }
    }
}

impl Gathered {
    fn take(&mut self, reading: &Reading) {
        self.all = self.all.saturating_add(1);
        let doubtful = reading.quality.iter().any(|label| label.status().is_none());
        let into = if doubtful { &mut self.doubtful } else { &mut self.good };
        if let Some((number, unit)) = reading.number(Role::Value) {
            into.take(number, unit);
        }
        let labels = if doubtful { &mut self.labels } else { &mut self.statuses };
        for label in &reading.quality {
            if !labels.contains(label) {
                labels.push(*label);
            }
        }
    }

    /// The mean of the good values; of the doubtful ones, labelled, if there are no others; else the absence of the first.
    /// One alone is no period: it is what it was, under its own key.
    fn reading(self, lasted: Decimal) -> Reading {
        let Self { first, all, good, doubtful, labels, statuses } = self;
        if all == 1 {
            return first;
        }
        let decided =
            good.mean().map(|m| (m, statuses.clone())).or_else(|| doubtful.mean().map(|m| (m, labels.clone())));
        let (mut parts, quality) = decided.unwrap_or_else(|| (first.parts.clone(), [labels, statuses].concat()));
        if let Some(second) = Unit::parse("s") {
            parts.push(Part { role: Role::Duration, value: Value::Number(lasted), unit: second });
        }
        Reading { key: identity::of_period(&first.key), parts, quality, ..first }
    }
}

impl Values {
    fn take(&mut self, number: Decimal, unit: Unit) {
        // What does not fit into the sum any more is left out of all.
        let sum = self.sum.map_or(Some(number), |(sum, _)| sum.plus(number));
        if let (Some(sum), Some(n)) = (sum, self.number.checked_add(1)) {
            (self.sum, self.number) = (Some((sum, unit)), n);
            self.min = Some(self.min.map_or(number, |min| if number < min { number } else { min }));
            self.max = Some(self.max.map_or(number, |max| if number > max { number } else { max }));
        }
    }

    /// Mean with one decimal more than the values, minimum, maximum, number.
    fn mean(&self) -> Option<Vec<Part>> {
        let ((sum, unit), min, max) = (self.sum?, self.min?, self.max?);
        let mean = sum.over(Decimal::from(i64::from(self.number)), sum.decimals().saturating_add(1))?;
        let part = |role, value, unit| Part { role, value: Value::Number(value), unit };
        Some(vec![
            part(Role::Value, mean, unit),
            part(Role::Minimum, min, unit),
            part(Role::Maximum, max, unit),
            part(Role::Count, Decimal::from(i64::from(self.number)), Unit::parse("1")?),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::fixtures;
    use crate::reading::Absence;

    fn for_each(seconds: u64) -> Streams {
        Streams::new([("radio".into(), Duration::from_secs(seconds))].into())
    }

    fn frame(second: i64) -> Frame {
        Frame::new("radio", vec![0, 70], Stamp::at_ms(fixtures::RECEIVED_MS + second * 1_000))
    }

    fn reading(text: &str, quality: &[Quality]) -> Reading {
        let mut reading = fixtures::reading("heart-rate");
        reading.parts[0].value = text.parse().map_or(Value::Absent(Absence::NotANumber), Value::Number);
        Reading { quality: quality.to_vec(), ..reading }
    }

    fn of(arrivals: Vec<Arrival>) -> Vec<Reading> {
        arrivals.into_iter().flat_map(|a| a.outcome.unwrap()).collect()
    }

    fn number(reading: &Reading, role: Role) -> String {
        reading.number(role).unwrap().0.to_string()
    }

    #[test]
    fn a_minute_of_a_belt_is_one_reading_with_its_bytes() {
        let mut streams = for_each(60);
        for second in 0..70 {
            assert!(streams.gather(&frame(second), &[reading(&(60 + second % 3).to_string(), &[])]));
        }
        let mut found = streams.ended(frame(70).received);
        let arrival = found.pop().unwrap();
        assert!(found.is_empty() && arrival.frame.bytes.len() == 60 * 8 && arrival.undated);
        let [mean] = &*arrival.outcome.unwrap() else { panic!() };
        let told = [Role::Value, Role::Minimum, Role::Maximum, Role::Count, Role::Duration].map(|r| number(mean, r));
        assert_eq!(told, ["61.0", "60", "62", "60", "59.000"]);
        assert_eq!((mean.taken.at_ms, mean.lasted_ms()), (Some(fixtures::RECEIVED_MS), Some(59_000)));
        assert_ne!(mean.key, reading("60", &[]).key);
        // The belt is taken off: the rest comes when nothing more does.
        assert!(streams.ended(frame(72).received).is_empty());
        let rest = of(streams.ended(frame(75).received));
        assert_eq!((rest.len(), number(&rest[0], Role::Count)), (1, "10".into()));
    }

    #[test]
    fn doubtful_values_count_only_where_there_are_no_others() {
        let mut streams = for_each(60);
        for (n, (text, quality)) in
            [("60", &[][..]), ("200", &[Quality::Questionable]), ("NaN", &[]), ("62", &[])].into_iter().enumerate()
        {
            assert!(streams.gather(&frame(n as i64), &[reading(text, quality)]));
        }
        let [mean] = &*of(streams.end()) else { panic!() };
        assert_eq!(
            (number(mean, Role::Value), number(mean, Role::Maximum), &*mean.quality),
            ("61.0".into(), "62".into(), &[][..])
        );
        for n in 0..2 {
            streams.gather(&frame(n), &[reading("200", &[Quality::Questionable])]);
        }
        let [mean] = &*of(streams.end()) else { panic!() };
        assert_eq!((number(mean, Role::Value), &*mean.quality), ("200.0".into(), &[Quality::Questionable][..]));
        for n in 0..2 {
            streams.gather(&frame(n), &[reading("NaN", &[])]);
        }
        let [none] = &*of(streams.end()) else { panic!() };
        assert_eq!((none.parts[0].value, none.lasted_ms()), (Value::Absent(Absence::NotANumber), Some(1_000)));
    }

    #[test]
    fn one_alone_is_itself_and_what_is_no_stream_goes_its_own_way() {
        let mut streams = for_each(60);
        let alone = reading("61", &[]);
        assert!(streams.gather(&frame(0), std::slice::from_ref(&alone)));
        assert_eq!(of(streams.end()), std::slice::from_ref(&alone));
        let stored = Reading { stored: true, ..alone.clone() };
        for other in [stored, fixtures::reading("blood-pressure")] {
            assert!(!streams.gather(&frame(1), &[other]));
        }
        assert!(!streams.gather(&frame(1), &[]) && !for_each(0).gather(&frame(1), &[alone]));
        assert!(streams.end().is_empty());
    }

    #[test]
    fn people_are_kept_apart_and_the_room_is_bounded() {
        let mut streams = for_each(60);
        for n in 0..limits::STREAMS_MAX + 50 {
            let patient = Some(PatientId::new(&format!("Patient/{n}")));
            let taken = streams.gather(&frame(0), &[Reading { patient, ..reading("61", &[]) }]);
            assert_eq!(taken, n < limits::STREAMS_MAX);
        }
        assert_eq!(streams.end().len(), limits::STREAMS_MAX);
        let large = Frame { bytes: vec![0; 30_000].into(), ..frame(0) };
        (0..9).for_each(|_| assert!(streams.gather(&large, &[reading("61", &[])])));
        assert!(streams.end().iter().all(|a| a.frame.bytes.len() <= limits::STREAM_BYTES_MAX + 6));
    }
}
