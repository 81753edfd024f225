//! The page's memory: the newest value and a short trend of each patient and vital, read from the journal bit by bit.
//!
//! It follows the journal from the start, so that this morning's weight is there when somebody looks in the evening; a
//! journal without news costs one look at its newest row. Bounded: so many people, vitals and points, and no more.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::scene::{Person, Place, Scene, Shown, Tile};
use crate::alarm::Alert;
use crate::clock::Stamp;
use crate::config::PatientSettings;
use crate::control::inbox::Group;
use crate::control::{Desk, Unreadable, view};
use crate::limits::{
    INBOX_LOOK_EVERY, PAGE_PEOPLE_MAX, PAGE_POINTS_MAX, PAGE_REFRESH_MIN, PAGE_WINDOW, READINGS_LISTED_MAX,
};
use crate::reading::{PatientId, Quality, Reading, ReadingKey, Value};
use crate::vital::{Role, Vital};

/// Shown in this order, the rest after them; with the smallest range of values worth showing.
const ORDER: [(&str, f64); 9] = [
    ("heart-rate", 20.0),
    ("spo2", 6.0),
    ("blood-pressure", 40.0),
    ("body-temperature", 1.5),
    ("glucose-capillary-whole-blood", 60.0),
    ("body-weight", 2.0),
    ("body-fat", 4.0),
    ("respiratory-rate", 8.0),
    ("perfusion-index", 12.0),
];
/// By-products of another measurement: shown only where the patient has no heart rate of its own.
const PULSES: [&str; 2] = ["pulse-rate", "oximeter-pulse-rate"];

/// What the page knows.
pub(super) struct Board {
    desk: Arc<Desk>,
    names: HashMap<PatientId, String>,
    zone: jiff::tz::TimeZone,
    people: BTreeMap<PatientId, BTreeMap<usize, Series>>,
    unassigned: HashSet<Arc<str>>,
    /// The newest rows of the last time.
    seen: HashSet<ReadingKey>,
    outbox: Vec<view::Outbox>,
    waited: HashMap<Arc<str>, VecDeque<(i64, f64)>>,
    stuck: Vec<Group>,
    stuck_looked: Option<Stamp>,
    looked: Option<Stamp>,
    trouble: Option<String>,
}

struct Series {
    latest: Reading,
    lines: [VecDeque<(i64, f64)>; 2],
}

impl Board {
    pub(super) fn new(desk: Arc<Desk>, patients: &[PatientSettings], zone: jiff::tz::TimeZone) -> Self {
        let names = patients.iter().filter_map(|p| Some((p.reference.clone(), p.display.clone()?)));
        Self {
            desk,
            names: names.collect(),
            zone,
            people: BTreeMap::new(),
            unassigned: HashSet::new(),
            seen: HashSet::new(),
            outbox: Vec::new(),
            waited: HashMap::new(),
            stuck: Vec::new(),
            stuck_looked: None,
            looked: None,
            trouble: None,
        }
    }

    /// The present moment. Blocking: reads the journal, unless it was read a moment ago.
    pub(super) fn look(&mut self) -> Scene {
        let now = self.desk.clock.now();
        if self.looked.is_none_or(|then| now.since(then) >= PAGE_REFRESH_MIN) {
            self.looked = Some(now);
            self.trouble = self.refresh(now.wall_ms).err().map(|e| e.to_string());
        }
        self.scene(now)
    }

    /// Whose data the page shows; `None`: what is nobody's.
    pub(super) fn whose(&self) -> Vec<Option<PatientId>> {
        let alerts = self.desk.alerts.borrow();
        let alerts = alerts.iter().filter(|a| a.vital.is_some()).map(|a| a.patient.clone());
        self.people.keys().cloned().map(Some).chain(alerts).collect()
    }

    pub(super) fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Whose inbox to read, if that was not done a moment ago.
    pub(super) fn wants_stuck(&mut self) -> Option<Arc<Desk>> {
        let now = self.desk.clock.now();
        let due = self.stuck_looked.is_none_or(|then| now.since(then) >= INBOX_LOOK_EVERY);
        due.then(|| {
            self.stuck_looked = Some(now);
            self.desk.clone()
        })
    }

    /// What is stuck now.
    pub(super) fn take_stuck(&mut self, groups: Vec<Group>) {
        self.stuck = groups;
    }

    /// Takes what is new in the journal. Blocking.
    pub(super) fn follow(&mut self) -> Result<(), Unreadable> {
        let newest = |limit| self.desk.records.readings(&view::Filter { limit, ..view::Filter::default() });
        if newest(1)?.iter().all(|row| self.seen.contains(&row.reading.key)) {
            return Ok(());
        }
        // The journal has no order but that of arrival: a window that holds no known row has a gap before it.
        let mut rows = newest(PAGE_WINDOW)?;
        if !rows.iter().any(|row| self.seen.contains(&row.reading.key)) {
            rows = newest(READINGS_LISTED_MAX)?;
        }
        let before = std::mem::replace(&mut self.seen, rows.iter().map(|row| row.reading.key).collect());
        // Newest first; trends grow from the oldest.
        for row in rows.into_iter().rev().filter(|row| !before.contains(&row.reading.key)) {
            self.take(row.reading);
        }
        Ok(())
    }

    fn refresh(&mut self, now_ms: i64) -> Result<(), Unreadable> {
        self.follow()?;
        self.outbox = self.desk.records.outbox(None)?;
        for outbox in &self.outbox {
            let waited = self.waited.entry(outbox.destination.clone()).or_default();
            push(waited, (now_ms, outbox.waiting as f64));
        }
        Ok(())
    }

    fn take(&mut self, reading: Reading) {
        let at = reading.taken.received.wall_ms;
        let Some(patient) = reading.patient.clone() else {
            if self.unassigned.len() < PAGE_PEOPLE_MAX {
                self.unassigned.insert(reading.device.0.clone());
            }
            return;
        };
        if self.people.len() >= PAGE_PEOPLE_MAX && !self.people.contains_key(&patient) {
            return;
        }
        let numbers = shown(reading.vital).map(|role| reading.number(role).map(|(n, _)| n.to_f64()));
        let vitals = self.people.entry(patient).or_default();
        let series = vitals
            .entry(place(reading.vital))
            .or_insert_with(|| Series { latest: reading.clone(), lines: [VecDeque::new(), VecDeque::new()] });
        let when = reading.taken.at_ms.unwrap_or(at);
        for (line, number) in series.lines.iter_mut().zip(numbers) {
            // A value from a device's memory does not draw the line backwards.
            if let Some(n) = number.filter(|_| line.back().is_none_or(|(t, _)| *t <= when)) {
                push(line, (when, n));
            }
        }
        if !reading.stored || series.latest.taken.at_ms <= reading.taken.at_ms {
            series.latest = reading;
        }
    }

    fn scene(&self, now: Stamp) -> Scene {
        let alerts: Vec<Alert> = self.desk.alerts.borrow().to_vec();
        let people = self.people.iter().map(|(id, vitals)| Person {
            name: self.name(Some(id)),
            alarm: alerts.iter().filter(|a| a.patient.as_ref() == Some(id)).map(|a| a.priority).max(),
            tiles: tiles(vitals),
        });
        let people = people.collect();
        let places = self.desk.destinations.iter().map(|probe| probe()).map(|link| Place {
            outbox: self.outbox.iter().find(|o| o.destination == link.name).cloned(),
            waited: self.waited.get(&link.name).into_iter().flatten().copied().collect(),
            link,
        });
        let mut shown: Vec<_> =
            alerts.into_iter().map(|a| Shown { who: self.name(a.patient.as_ref()), alert: a }).collect();
        // Not yet taken before taken, urgent before less urgent, new before old.
        shown.sort_by_key(|s| {
            let a = &s.alert;
            (a.acknowledged.is_some(), std::cmp::Reverse((a.priority, a.raised.wall_ms)))
        });
        Scene {
            gateway: self.desk.gateway.clone(),
            now_ms: now.wall_ms,
            zone: self.zone.clone(),
            clock_trusted: now.trusted,
            stalled: self.desk.watchdog.stalled().into_iter().map(String::from).collect(),
            trouble: self.trouble.clone(),
            sources: self.desk.sources.iter().map(|probe| probe()).collect(),
            places: places.collect(),
            alerts: shown,
            people,
            unassigned: self.unassigned.len(),
            stuck: self.stuck.clone(),
        }
    }

    /// The name the household chose, or the last part of the reference.
    fn name(&self, patient: Option<&PatientId>) -> String {
        let Some(patient) = patient else { return String::new() };
        let last = || patient.reveal().rsplit('/').next().unwrap_or_default().to_owned();
        self.desk.patients.display(patient).or_else(|| self.names.get(patient).cloned()).unwrap_or_else(last)
    }
}

fn push(line: &mut VecDeque<(i64, f64)>, point: (i64, f64)) {
    if line.len() >= PAGE_POINTS_MAX {
        line.pop_front();
    }
    line.push_back(point);
}

/// The roles of the numbers that are shown.
fn shown(vital: Vital) -> [Role; 2] {
    if vital.component(Role::Systolic).is_some() {
        [Role::Systolic, Role::Diastolic]
    } else {
        [Role::Value, Role::Mean]
    }
}

/// Where a vital stands among the others.
fn place(vital: Vital) -> usize {
    let known = ORDER.iter().position(|(id, _)| *id == vital.id);
    known
        .or_else(|| crate::vital::VITALS.iter().position(|v| v.id == vital.id).map(|n| n + ORDER.len()))
        .unwrap_or(usize::MAX)
}

fn tiles(vitals: &BTreeMap<usize, Series>) -> Vec<Tile> {
    let has_heart_rate = vitals.contains_key(&0);
    let wanted = vitals.values().filter(|s| !(has_heart_rate && PULSES.contains(&s.latest.vital.id)));
    wanted.map(tile).collect()
}

fn tile(series: &Series) -> Tile {
    let reading = &series.latest;
    let numbers = shown(reading.vital).map(|role| reading.parts.iter().find(|p| p.role == role));
    let texts: Vec<String> = numbers
        .iter()
        .flatten()
        .map(|p| match p.value {
            Value::Number(n) => n.to_string(),
            Value::Absent(_) => "–".to_owned(),
        })
        .collect();
    let any = numbers.iter().flatten().any(|p| matches!(p.value, Value::Number(_)));
    let least = ORDER.iter().find(|(id, _)| *id == reading.vital.id).map_or(1.0, |(_, least)| *least);
    Tile {
        // "(capillary blood)" is for the record; a home has one kind of glucose.
        name: reading.vital.name.split(" (").next().unwrap_or_default(),
        value: any.then(|| texts.join("/")),
        unit: reading.parts.first().map_or("", |p| p.unit.display()),
        at_ms: reading.taken.at_ms,
        doubt: doubt(reading),
        lines: series.lines.iter().filter(|l| l.len() > 1).map(|l| l.iter().copied().collect()).collect(),
        least,
    }
}

fn doubt(reading: &Reading) -> Option<&'static str> {
    reading.quality.iter().find_map(|q| {
        Some(match q {
            Quality::Questionable => "doubtful",
            Quality::Invalid => "invalid",
            Quality::Implausible => "hard to believe",
            Quality::Test => "test",
            Quality::AboveRange => "above the device’s range",
            Quality::BelowRange => "below the device’s range",
            Quality::TimeDoubtful => "time uncertain",
            Quality::Early | Quality::Calibrating => "preliminary",
            // What clinicians ask for first; the others are for the record.
            Quality::Status(status) if status.id == "irregular-pulse" => "irregular pulse",
            Quality::Status(_) | Quality::Quirk => return None,
        })
    })
}
