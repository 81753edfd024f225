//! The engine with the rules of the reference, and its events in common words.

use std::path::Path;
use std::time::Duration;

use wardline::alarm::{AlertEvent, AlertId, Condition, Happened};
use wardline::alert::{Engine, Input, ruleset::Rules};
use wardline::clock::Stamp;
use wardline::config::{Config, PatientSettings};

use super::history::{Act, Event, Whose};
use super::reference::{RULES, Rule};

pub fn under_test() -> Engine {
    let text: String = RULES.iter().map(toml).collect();
    let rules = Rules::parse(&[(Path::new("model.toml"), &text)], &patients()).unwrap_or_else(|e| panic!("{e:?}"));
    Engine::new(rules, Duration::from_secs(900))
}

fn number(hundredths: i64) -> String {
    format!("'{}.{:02}'", hundredths / 100, hundredths % 100)
}

fn toml(rule: &Rule) -> String {
    let clear = rule.clear.map_or(String::new(), |c| {
        let side = if rule.kind.ends_with("above") { "clear_below" } else { "clear_above" };
        format!("{side} = {}\n", number(c))
    });
    let within = rule.within_s.map_or(String::new(), |s| format!(", within_s = {s}"));
    let role = format!("{:?}", rule.role).to_lowercase();
    format!(
        "[[rule]]\nid = '{}'\ntitle = 't'\nvitals = {:?}\nrole = '{role}'\n{} = {}\nunit = '{}'\npriority = 'high'\n{clear}sustained = {{ n = {}, m = {}{within} }}\n",
        rule.id,
        rule.vitals,
        rule.kind,
        number(rule.limit),
        rule.unit,
        rule.n,
        rule.m
    )
}

fn patients() -> Vec<PatientSettings> {
    let mut text = String::from("[gateway]\nid = 'g'\nstate = '/s'\n");
    for rule in RULES {
        if let Some((patient, limit, clear)) = rule.own {
            let clear = clear.map_or(String::new(), |c| format!(", clear = {}", number(c)));
            text += &format!(
                "[[patient]]\nreference = 'Patient/{patient}'\nlimits = [{{ rule = '{}', limit = {}, unit = '{}'{clear} }}]\n",
                rule.id,
                number(limit),
                rule.unit
            );
        }
    }
    Config::parse(&text, Path::new("model.toml")).unwrap().patients
}

/// One act; what happened in common words.
pub fn apply(engine: &mut Engine, act: &Act) -> Vec<Event> {
    raw(engine, act).iter().map(event).collect()
}

pub fn raw(engine: &mut Engine, act: &Act) -> Vec<AlertEvent> {
    match act {
        Act::Take(fact) => engine.step(fact.received(), Input::Reading(&fact.reading())),
        Act::Acknowledge { id, at_ms, .. } => {
            let by = format!("person {at_ms}");
            engine.acknowledge(Stamp::at_ms(*at_ms), &AlertId(id.as_str().into()), &by).unwrap()
        }
    }
}

fn event(e: &AlertEvent) -> Event {
    let number = |text: &str| text.rsplit(['/', ':']).next().unwrap().parse().unwrap();
    let whose = match (&e.alert.patient, &e.alert.device) {
        (Some(p), _) => Whose::Patient(number(p.reveal())),
        (None, Some(d)) => Whose::Device(number(&d.0)),
        (None, None) => panic!("an alert about nobody: {e:?}"),
    };
    assert_ne!(e.alert.condition, Condition::Technical);
    let raised = e.happened == Happened::Raised;
    let keys = e.alert.evidence.iter().map(|k| u64::from_be_bytes(k.0[..8].try_into().unwrap()));
    Event {
        rule: e.alert.rule.to_string(),
        whose,
        happened: format!("{:?}", e.happened),
        condition: format!("{:?}", e.alert.condition),
        evidence: keys.filter(|_| raised).collect(),
    }
}
