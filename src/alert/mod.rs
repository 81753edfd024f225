//! Alerts: pure, `step(now, input)`. Evaluated before disk and network.
//!
//! Promises: the same inputs give the same alerts; doubt about value or owner never silences, doubt about time makes an
//! alert retrospective; per patient and rule one alert is open about now and one about the past; what is open stays open
//! until the condition cleared beyond doubt, or, where no reading can tell that, until a person took it.
//! Must never: read a clock, wait, or log a value.

pub mod corrected;
mod judge;
mod lifecycle;
pub mod notify;
pub mod ordered;
mod raise;
pub mod rules;
pub mod ruleset;
mod seen;
pub mod target;
mod technical;
#[cfg(test)]
mod tests;
mod track;

use std::collections::HashMap;
use std::time::Duration;

use crate::alarm::{Alert, AlertEvent, AlertId, Condition, Priority};
use crate::clock::Stamp;
use crate::fault::Explain;
use crate::limits::{ALERT_KEYS_KEPT, TEXT_CHARS_MAX};
use crate::printable::is_unseen;
use crate::reading::{PatientId, Quality, Reading};
use crate::vital::Vital;

use judge::{Doubt, Finding};
use lifecycle::{About, Change, Register};
use ordered::Expectations;
use raise::Cause;
use rules::{Limit, Place, Rule};
use ruleset::Rules;
use seen::Keys;
use technical::Conditions;
use track::{Sight, Verdict, Window};

/// The engine with the state of all rules.
pub struct Engine {
    rules: Vec<Rule>,
    by_vital: HashMap<Vital, Vec<usize>>,
    /// A reading taken longer before its receipt is retrospective.
    old_after: Duration,
    /// Patients of this box only, as intake assigns readings to no others.
    patients: HashMap<PatientId, Patient>,
    conditions: Conditions,
    register: Register,
    seen: Keys,
    expected: Expectations,
}

/// What the engine keeps of one patient: own limits and windows, by the rule's index.
#[derive(Default)]
struct Patient {
    own: Vec<(usize, Limit)>,
    /// What the centre ordered stands before the configuration.
    ordered: Vec<(usize, Limit)>,
    now: Vec<(usize, Window)>,
    past: Vec<(usize, Window)>,
}

impl Patient {
    /// Their own limit of a rule.
    fn limit(&self, rule_at: usize) -> Option<Limit> {
        at_index(&self.ordered, rule_at).or_else(|| at_index(&self.own, rule_at)).copied()
    }
}

/// What the engine reacts to.
pub enum Input<'a> {
    /// A reading, assigned or not.
    Reading(&'a Reading),
    /// A condition of the gateway or of a device holds, or has ended.
    Technical {
        /// Stable name: `disk-full`, `destination-down:centre`.
        name: &'a str,
        /// Whether it holds now.
        active: bool,
        /// How soon a person must act.
        priority: Priority,
        /// What a person reads; no patient data.
        text: &'a str,
    },
    /// Time passes.
    Tick,
}

/// Why an alert cannot be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// Look at the open alerts again.
    #[error("no alert with this id is open: it is unknown, or resolved already")]
    NotOpen,
    /// Give a name.
    #[error("a name has 1 to {TEXT_CHARS_MAX} printable characters")]
    Name,
}

impl Explain for AlertError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotOpen => "WL-A020",
            Self::Name => "WL-A021",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::NotOpen => "List the open alerts with `wardline alerts`, resolved ones with `wardline alerts --all`.",
            Self::Name => "Say who takes the alert: `--by NAME`.",
        }
    }
}

impl Engine {
    /// With these rules and no history. `old_after`: a reading taken longer before its receipt is retrospective.
    pub fn new(rules: Rules, old_after: Duration) -> Self {
        let mut by_vital: HashMap<Vital, Vec<usize>> = HashMap::new();
        for (index, rule) in rules.all.iter().enumerate() {
            rule.vitals.iter().for_each(|v| by_vital.entry(*v).or_default().push(index));
        }
        let own = rules.own.into_iter();
        Self {
            rules: rules.all,
            by_vital,
            old_after,
            patients: own.map(|(id, own)| (id, Patient { own, ..Patient::default() })).collect(),
            conditions: Conditions::default(),
            register: Register::default(),
            seen: Keys::new(ALERT_KEYS_KEPT),
            expected: Expectations::default(),
        }
    }

    /// One step: what happened because of this input.
    pub fn step(&mut self, now: Stamp, input: Input<'_>) -> Vec<AlertEvent> {
        let mut happened = Change { now, events: Vec::new() };
        match input {
            Input::Reading(reading) => {
                self.judge(reading, |found, register, conditions| match found {
                    Found::Verdict(verdict, cause) => react(verdict, cause, register, &mut happened),
                    Found::Unwatched(name) => conditions.unwatched(&name, register, &mut happened),
                });
                for name in self.expected.note(reading) {
                    self.conditions.report(&name, None, &mut self.register, &mut happened);
                }
            }
            Input::Technical { name, active, priority, text } => {
                let held = active.then_some((priority, text));
                self.conditions.report(name, held, &mut self.register, &mut happened);
            }
            Input::Tick => {
                for (patient, vital, name, text) in self.expected.overdue(now) {
                    self.conditions.missing((&patient, vital), &name, &text, &mut self.register, &mut happened);
                }
                self.conditions.tick(&mut self.register, &mut happened);
            }
        }
        if self.register.overflowed {
            self.conditions.overflow(&mut self.register, &mut happened);
        }
        happened.events
    }

    /// A person takes an alert. Where no reading can tell that its condition is over (patient unknown, retrospective, rule
    /// gone), that resolves it.
    pub fn acknowledge(&mut self, now: Stamp, id: &AlertId, by: &str) -> Result<Vec<AlertEvent>, AlertError> {
        if by.trim().is_empty() || by.chars().count() > TEXT_CHARS_MAX || by.chars().any(is_unseen) {
            return Err(AlertError::Name);
        }
        let mut happened = Change { now, events: Vec::new() };
        let alert = self.register.acknowledge(id, by, &mut happened).ok_or(AlertError::NotOpen)?;
        if is_for_a_person(alert, &self.rules) {
            self.register.resolve(id, &mut happened);
        }
        Ok(happened.events)
    }

    /// Whether somebody has an open alert.
    pub fn is_taken(&self, id: &AlertId) -> bool {
        self.register.is_taken(id)
    }

    /// Alerts that are not resolved.
    pub fn open(&self) -> impl ExactSizeIterator<Item = &Alert> {
        self.register.all()
    }

    /// Takes over what was before a restart: open alerts stay open without being raised again, and the newest readings,
    /// oldest first, fill the windows of sustained rules. Gives what ends: acknowledged alerts of rules that are gone.
    pub fn restore(&mut self, now: Stamp, open: Vec<Alert>, recent: &[Reading]) -> Vec<AlertEvent> {
        for reading in recent {
            self.judge(reading, |_, _, _| ());
            let _ = self.expected.note(reading);
        }
        let mut happened = Change { now, events: Vec::new() };
        for alert in open {
            let (id, over) = (alert.id.clone(), alert.acknowledged.is_some() && is_for_a_person(&alert, &self.rules));
            self.conditions.adopt(now, &alert);
            self.register.adopt(alert);
            if over {
                self.register.resolve(&id, &mut happened);
            }
        }
        happened.events
    }

    /// Looks at a reading by each rule of its vital, once.
    fn judge(&mut self, reading: &Reading, mut found: impl FnMut(Found<'_>, &mut Register, &mut Conditions)) {
        let Some(matching) = self.by_vital.get(&reading.vital) else { return };
        if reading.quality.contains(&Quality::Test) || !self.seen.insert(reading.key) {
            return;
        }
        let doubt = Doubt::of(reading);
        let retrospective = judge::is_retrospective(reading, self.old_after);
        let rules = &self.rules;
        let mut patient = reading.patient.as_ref().map(|id| self.patients.entry(id.clone()).or_default());
        for rule_at in matching.iter().copied() {
            let Some(rule) = rules.get(rule_at) else { continue };
            let own = |at: usize| patient.as_ref().and_then(|p| p.limit(at));
            let limit = own(rule_at).unwrap_or(rule.limit);
            let place = match judge::find(&limit, rule.role, reading) {
                Finding::At(place) => place,
                Finding::Nothing => continue,
                Finding::Incomparable(unit) => {
                    let watched = matching.iter().filter_map(|i| Some((own(*i), rules.get(*i)?))).any(|(own, r)| {
                        let l = own.unwrap_or(r.limit);
                        r.role == rule.role && l.side == limit.side && l.unit.dimension() == unit.dimension()
                    });
                    if !watched {
                        let name = technical::unwatched_name(reading.vital, unit);
                        found(Found::Unwatched(name), &mut self.register, &mut self.conditions);
                    }
                    continue;
                }
            };
            let mut cause = Cause { rule, limit, reading, doubt, retrospective, evidence: vec![reading.key], of: 1 };
            let sight = Sight { reading, place, doubtful: doubt.is_some(), retrospective };
            let windows = patient.as_deref_mut().map(|p| if retrospective { &mut p.past } else { &mut p.now });
            let verdict = match windows.and_then(|w| window(w, rule_at, sight, rule)) {
                Some(window) => {
                    let verdict = window.take(sight, rule.sustained, self.old_after);
                    if matches!(verdict, Verdict::Sure | Verdict::Doubtful) {
                        (cause.evidence, cause.of) = window.evidence(sight, rule.sustained);
                    }
                    verdict
                }
                // No look back: readings without a known patient are not known to be of one person.
                None => Verdict::at_once(place, doubt.is_some()),
            };
            if verdict != Verdict::Quiet {
                found(Found::Verdict(verdict, cause), &mut self.register, &mut self.conditions);
            }
        }
    }
}

/// What a look at a reading found.
enum Found<'a> {
    Verdict(Verdict, Cause<'a>),
    Unwatched(String),
}

/// What follows from a verdict: at most one alert about now and one about the past.
fn react(verdict: Verdict, cause: Cause<'_>, register: &mut Register, happened: &mut Change) {
    let about = About::of(&cause.rule.id, cause.reading, cause.retrospective);
    let open = register.about(&about).map(|a| (a.id.clone(), a.condition));
    let condition = match (verdict, cause.retrospective) {
        (Verdict::Quiet, _) | (Verdict::Clear, true) => return,
        (Verdict::Clear, false) => {
            if let Some((id, _)) = open {
                register.resolve(&id, happened);
            }
            return;
        }
        (_, true) => Condition::Retrospective,
        (Verdict::Sure, false) => Condition::Limit,
        (Verdict::Doubtful, false) => Condition::Unconfirmed,
    };
    match open {
        None => register.raise(raise::alert(happened.now, condition, cause), happened),
        // Now it is certain: the confirmed alert first, so that there is no moment without one.
        Some((doubtful, Condition::Unconfirmed)) if condition == Condition::Limit => {
            register.raise(raise::alert(happened.now, condition, cause), happened);
            register.resolve(&doubtful, happened);
        }
        Some(_) => {}
    }
}

/// No reading can tell that the condition is over.
fn is_for_a_person(alert: &Alert, rules: &[Rule]) -> bool {
    match alert.condition {
        Condition::Technical => false,
        Condition::Retrospective => true,
        Condition::Limit | Condition::Unconfirmed => {
            alert.patient.is_none() || !rules.iter().any(|r| r.id == alert.rule)
        }
    }
}

/// The patient's window of a rule; none where nothing needs to be remembered.
fn window<'a>(
    windows: &'a mut Vec<(usize, Window)>,
    rule_at: usize,
    sight: Sight<'_>,
    rule: &Rule,
) -> Option<&'a mut Window> {
    let found = windows.iter().position(|(at, _)| *at == rule_at);
    let position = match found {
        Some(position) => position,
        None if rule.sustained.m == 1 && sight.place != Place::Beyond => return None,
        None => {
            windows.push((rule_at, Window::default()));
            windows.len() - 1
        }
    };
    windows.get_mut(position).map(|(_, w)| w)
}

fn at_index<T>(list: &[(usize, T)], index: usize) -> Option<&T> {
    list.iter().find(|(at, _)| *at == index).map(|(_, value)| value)
}
