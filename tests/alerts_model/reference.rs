//! What must happen, worked out the slow way: for each rule and person the whole history is gone through on its own,
//! in whole numbers. Shares no code with the engine.

use std::collections::{BTreeMap, BTreeSet};

use wardline::reading::Quality;
use wardline::vital::Role;

use super::history::{Act, DEVICES, Event, Fact, Number, PATIENTS, Whose};

/// A rule; numbers in hundredths of its unit.
pub struct Rule {
    pub id: &'static str,
    pub vitals: &'static [&'static str],
    pub role: Role,
    pub kind: &'static str,
    pub limit: i64,
    pub clear: Option<i64>,
    pub unit: &'static str,
    pub n: usize,
    pub m: usize,
    pub within_s: Option<i64>,
    /// Patient, limit and clear condition of their own; without the latter it keeps its distance.
    pub own: Option<(u64, i64, Option<i64>)>,
}

const BP: &[&str] = &["blood-pressure"];
const RATE: &[&str] = &["heart-rate", "pulse-rate", "oximeter-pulse-rate"];
const GLUCOSE: &[&str] = &["glucose-capillary-plasma", "glucose-interstitial"];

#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    Rule { id: "sys", vitals: BP, role: Role::Systolic, kind: "above", limit: 18_000, clear: Some(17_000), unit: "mm[Hg]", n: 1, m: 1, within_s: None, own: Some((1, 16_000, Some(15_000))) },
    Rule { id: "sys-kpa", vitals: BP, role: Role::Systolic, kind: "at_or_above", limit: 2_280, clear: None, unit: "kPa", n: 2, m: 3, within_s: Some(7_200), own: None },
    Rule { id: "dia", vitals: BP, role: Role::Diastolic, kind: "below", limit: 5_000, clear: Some(5_500), unit: "mm[Hg]", n: 3, m: 4, within_s: None, own: None },
    Rule { id: "rate-high", vitals: RATE, role: Role::Value, kind: "above", limit: 11_000, clear: Some(10_500), unit: "/min", n: 3, m: 5, within_s: Some(36_000), own: None },
    Rule { id: "rate-low", vitals: RATE, role: Role::Value, kind: "below", limit: 4_000, clear: None, unit: "/min", n: 1, m: 1, within_s: None, own: None },
    Rule { id: "spo2", vitals: &["spo2"], role: Role::Value, kind: "at_or_below", limit: 9_200, clear: Some(9_300), unit: "%", n: 1, m: 1, within_s: None, own: Some((2, 9_000, None)) },
    Rule { id: "fever", vitals: &["body-temperature"], role: Role::Value, kind: "at_or_above", limit: 3_800, clear: Some(3_780), unit: "Cel", n: 1, m: 1, within_s: None, own: None },
    Rule { id: "fever-f", vitals: &["body-temperature"], role: Role::Value, kind: "above", limit: 10_040, clear: None, unit: "[degF]", n: 2, m: 2, within_s: None, own: None },
    Rule { id: "sugar-high", vitals: GLUCOSE, role: Role::Value, kind: "above", limit: 40_000, clear: Some(35_000), unit: "mg/dL", n: 1, m: 1, within_s: None, own: None },
    Rule { id: "sugar-high-moles", vitals: GLUCOSE, role: Role::Value, kind: "above", limit: 2_220, clear: None, unit: "mmol/L", n: 1, m: 2, within_s: None, own: None },
    Rule { id: "sugar-low", vitals: GLUCOSE, role: Role::Value, kind: "below", limit: 5_400, clear: Some(7_000), unit: "mg/dL", n: 1, m: 1, within_s: None, own: None },
    Rule { id: "sugar-low-moles", vitals: GLUCOSE, role: Role::Value, kind: "below", limit: 300, clear: Some(390), unit: "mmol/L", n: 2, m: 3, within_s: None, own: None },
];

/// What happens at each act.
pub fn events(acts: &[Act]) -> Vec<Vec<Event>> {
    let mut steps = vec![Vec::new(); acts.len()];
    let facts = judged_once(acts);
    for rule in RULES {
        for whose in (0..PATIENTS).map(Whose::Patient).chain((0..DEVICES).map(Whose::Device)) {
            for past in [false, true] {
                for (step, event) in timeline(rule, whose, past, acts, &facts) {
                    steps[step].push(event);
                }
            }
        }
    }
    steps
}

/// The facts that count at all: no tests, each key the first time.
fn judged_once(acts: &[Act]) -> BTreeMap<usize, &Fact> {
    let mut keys = BTreeSet::new();
    let facts = acts.iter().enumerate().filter_map(|(step, act)| match act {
        Act::Take(fact) if !fact.labels.contains(&Quality::Test) => Some((step, fact)),
        _ => None,
    });
    facts.filter(|(_, fact)| keys.insert(fact.key)).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Beyond,
    Between,
    Clear,
}

fn timeline(
    rule: &Rule,
    whose: Whose,
    past: bool,
    acts: &[Act],
    facts: &BTreeMap<usize, &Fact>,
) -> Vec<(usize, Event)> {
    let mine: Vec<(usize, &Fact, Place)> = facts
        .iter()
        .filter(|(_, f)| whose == f.patient.map_or(Whose::Device(f.device), Whose::Patient) && is_old(f) == past)
        .filter_map(|(step, f)| Some((*step, *f, place(rule, f)?)))
        .collect();
    let counted = counted(&mine);
    let mut open: Option<&str> = None;
    let mut happened = Vec::new();
    for (step, act) in acts.iter().enumerate() {
        let mut add = |what: &str, condition: &str, evidence: &[u64]| {
            let (happened_, condition) = (what.to_owned(), condition.to_owned());
            let evidence = evidence.to_vec();
            happened.push((step, Event { rule: rule.id.into(), whose, happened: happened_, condition, evidence }));
        };
        if let Act::Acknowledge { rule: r, whose: w, past: p, .. } = act {
            if let (true, Some(condition)) = (*r == rule.id && *w == whose && *p == past, open) {
                add("Acknowledged", condition, &[]);
                if past || matches!(whose, Whose::Device(_)) {
                    add("Resolved", condition, &[]);
                    open = None;
                }
            }
            continue;
        }
        let Ok((_, fact, place)) = mine.binary_search_by_key(&step, |(s, ..)| *s).map(|at| &mine[at]) else { continue };
        let sure = !is_doubtful(fact);
        let (enough, enough_sure, evidence) = match whose {
            Whose::Device(_) => (*place == Place::Beyond, false, vec![fact.key]),
            Whose::Patient(_) => look_back(rule, past, &counted, step),
        };
        let enough_sure = enough_sure && sure;
        if *place == Place::Beyond && enough {
            match (past, enough_sure, open) {
                (true, _, None) => (add("Raised", "Retrospective", &evidence), open = Some("Retrospective")).1,
                (false, true, None) => (add("Raised", "Limit", &evidence), open = Some("Limit")).1,
                (false, false, None) => (add("Raised", "Unconfirmed", &evidence), open = Some("Unconfirmed")).1,
                (false, true, Some("Unconfirmed")) => {
                    add("Raised", "Limit", &evidence);
                    add("Resolved", "Unconfirmed", &[]);
                    open = Some("Limit");
                }
                _ => {}
            }
        }
        let says_clear = *place == Place::Clear && sure && counted.binary_search_by_key(&step, |(s, ..)| *s).is_ok();
        if let (true, false, Some(condition)) = (says_clear, past, open) {
            add("Resolved", condition, &[]);
            open = None;
        }
    }
    happened
}

/// What a window may hold: everything beyond, and what is inside beyond doubt and not late.
fn counted<'a>(mine: &[(usize, &'a Fact, Place)]) -> Vec<(usize, &'a Fact, Place)> {
    let mut counted: Vec<(usize, &Fact, Place)> = Vec::new();
    let mut newest: Option<(u64, i64)> = None;
    for &(step, fact, place) in mine {
        let late = match (newest, fact.dated_ms) {
            (Some((device, ms)), Some(at)) => device == fact.device && at < ms && ms - at <= 900_000,
            _ => false,
        };
        if place == Place::Beyond || !(late || is_doubtful(fact)) {
            counted.push((step, fact, place));
            if let (Some(at), false) = (fact.dated_ms, late) {
                newest = Some((fact.device, at));
            }
        }
    }
    counted
}

/// Whether n of the last m up to this step are beyond, with and without the doubtful ones, and which.
fn look_back(rule: &Rule, past: bool, counted: &[(usize, &Fact, Place)], step: usize) -> (bool, bool, Vec<u64>) {
    let Ok(at) = counted.binary_search_by_key(&step, |(s, ..)| *s) else { return (false, false, vec![]) };
    let last = counted[at].1;
    let near = |f: &Fact| match (rule.within_s, past) {
        (None, _) => true,
        (Some(s), false) => last.received_ms - f.received_ms <= s * 1_000,
        (Some(s), true) => match (last.at_ms(), f.at_ms()) {
            (Some(a), Some(b)) => (a - b).abs() <= s * 1_000,
            _ => true,
        },
    };
    let window = &counted[(at + 1).saturating_sub(rule.m)..=at];
    let beyond: Vec<_> = window.iter().filter(|(_, f, p)| *p == Place::Beyond && near(f)).map(|(_, f, _)| *f).collect();
    let sure = beyond.iter().filter(|f| !is_doubtful(f)).count();
    (beyond.len() >= rule.n, sure >= rule.n, beyond.iter().map(|f| f.key).collect())
}

fn is_old(f: &Fact) -> bool {
    let age = |at: i64| f.received_ms - at - i64::from(f.uncertainty_ms);
    f.stored
        || (f.trusted && !f.labels.contains(&Quality::TimeDoubtful) && f.dated_ms.is_some_and(|at| age(at) > 900_000))
}

fn is_doubtful(f: &Fact) -> bool {
    use Quality::{Calibrating, Early, Implausible, Invalid, Questionable};
    f.patient.is_none()
        || f.labels.iter().any(|l| [Questionable, Invalid, Early, Calibrating, Implausible].contains(l))
        || f.numbers.iter().any(|(role, n)| matches!(n, Number::Of(h) if !is_plausible(f, *role, *h)))
        || matches!(f.numbers[..], [(_, Number::Of(systolic)), (_, Number::Of(diastolic))] if systolic <= diastolic)
}

/// Dossier §9.
fn is_plausible(f: &Fact, role: Role, hundredths: i64) -> bool {
    let (lo, hi, unit) = match (f.vital, role) {
        ("blood-pressure", Role::Systolic) => (40, 300, "mm[Hg]"),
        ("blood-pressure", _) => (20, 200, "mm[Hg]"),
        ("spo2", _) => (50, 100, "%"),
        ("body-temperature", _) => (25, 45, "Cel"),
        (v, _) if v.starts_with("glucose") && f.unit == "mmol/L" => return (50..=5_550).contains(&hundredths),
        (v, _) if v.starts_with("glucose") => (10, 1_000, "mg/dL"),
        _ => (20, 300, "/min"),
    };
    let value = exact(hundredths, f.unit);
    exact(lo * 100, unit) <= value && value <= exact(hi * 100, unit)
}

fn place(rule: &Rule, f: &Fact) -> Option<Place> {
    if !rule.vitals.contains(&f.vital) {
        return None;
    }
    let (limit, clear) = match (rule.own, f.patient) {
        (Some((patient, limit, clear)), Some(p)) if p == patient => {
            (limit, clear.or(rule.clear.map(|c| c + limit - rule.limit)))
        }
        _ => (rule.limit, rule.clear),
    };
    let upper = rule.kind.ends_with("above");
    if f.labels.contains(if upper { &Quality::AboveRange } else { &Quality::BelowRange }) {
        return Some(Place::Beyond);
    }
    let number = &f.numbers.iter().find(|(role, _)| *role == rule.role)?.1;
    let hundredths = match number {
        Number::Of(h) => *h,
        Number::Above if upper => return Some(Place::Beyond),
        Number::Below if !upper => return Some(Place::Beyond),
        _ => return None,
    };
    if (f.unit == "mmol/L") != (rule.unit == "mmol/L") {
        return None;
    }
    // Outward is positive.
    let out = |bound: i64| (exact(hundredths, f.unit) - exact(bound, rule.unit)) * if upper { 1 } else { -1 };
    let beyond = if rule.kind.starts_with("at_or") { out(limit) >= 0 } else { out(limit) > 0 };
    Some(match clear {
        _ if beyond => Place::Beyond,
        Some(c) if out(c) >= 0 => Place::Between,
        _ => Place::Clear,
    })
}

/// Whole numbers that compare within a dimension: 10⁻⁸ kPa, 1/900 °C, hundredths of the rest.
fn exact(hundredths: i64, unit: &str) -> i128 {
    let h = i128::from(hundredths);
    match unit {
        "mm[Hg]" => h * 133_322,
        "kPa" => h * 1_000_000,
        "Cel" => h * 9,
        "[degF]" => (h - 3_200) * 5,
        _ => h,
    }
}
