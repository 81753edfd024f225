//! Rule files: TOML in, [`Rules`] or every reason against them out.
//!
//! Promises: a limit without a unit, with an unknown one, or with one that measures something else is refused;
//! unknown keys are errors; each problem names file, key, reason and remedy. Must never: guess.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::rules::{Limit, Rule, Side, Sustained};
use crate::alarm::Priority;
use crate::config::PatientSettings;
use crate::decimal::DecimalText;
use crate::fault::Explain;
use crate::limits::{ALERT_RULES_MAX, SUSTAINED_READINGS_MAX};
use crate::reading::PatientId;
use crate::unit::Unit;
use crate::vital::{Role, VITALS, Vital};

/// The rules of a box with the limits that single patients have of their own.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// In the order of their files.
    pub all: Vec<Rule>,
    /// Per patient: index of the rule, the patient's limit.
    pub(super) own: HashMap<PatientId, Vec<(usize, Limit)>>,
}

/// Why rules are refused: file, key, reason.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {key}: {why}")]
pub struct RuleError {
    /// Which file.
    pub file: PathBuf,
    /// Which rule and key in it.
    pub key: String,
    /// Reason.
    pub why: Refusal,
}

/// The reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Make the file readable.
    #[error("cannot be read ({0})")]
    Unreadable(std::io::ErrorKind),
    /// Correct the form.
    #[error("{0}")]
    Form(String),
    /// State a unit.
    #[error("a limit without a unit")]
    UnitMissing,
    /// State a known UCUM code.
    #[error("`{0}` is not a UCUM unit this gateway knows")]
    UnitUnknown(String),
    /// State a unit that measures the vital.
    #[error("`{unit}` does not measure {vital}")]
    UnitOther {
        /// The unit.
        unit: String,
        /// The vital.
        vital: &'static str,
    },
    /// Name a vital and its number.
    #[error("{0}")]
    Vital(String),
    /// State one limit, and a clear condition inside it.
    #[error("{0}")]
    Limit(&'static str),
    /// State n ≤ m.
    #[error("1 ≤ n ≤ m ≤ {SUSTAINED_READINGS_MAX} does not hold, or the time is 0")]
    Sustained,
    /// Rename or remove one.
    #[error("another rule has this id")]
    Twice,
    /// Name an existing rule.
    #[error("there is no rule `{0}`")]
    NoRule(String),
    /// Remove some.
    #[error("more than {ALERT_RULES_MAX} rules")]
    TooMany,
}

impl Explain for RuleError {
    fn code(&self) -> &'static str {
        match self.why {
            Refusal::Unreadable(_) => "WL-A001",
            Refusal::Form(_) | Refusal::TooMany => "WL-A002",
            Refusal::UnitMissing => "WL-A003",
            Refusal::UnitUnknown(_) => "WL-A004",
            Refusal::UnitOther { .. } => "WL-A005",
            Refusal::Vital(_) => "WL-A006",
            Refusal::Limit(_) => "WL-A007",
            Refusal::Sustained => "WL-A008",
            Refusal::Twice => "WL-A009",
            Refusal::NoRule(_) => "WL-A010",
        }
    }
    fn remedy(&self) -> &'static str {
        match self.why {
            Refusal::Unreadable(_) => "Give the path of a file that the gateway's user can read.",
            Refusal::Form(_) => "Correct the file where it says and run `wardline check`.",
            Refusal::UnitMissing => "Add `unit` with the UCUM code of the limit, e.g. \"mm[Hg]\".",
            Refusal::UnitUnknown(_) => "Use the exact UCUM code, e.g. \"mm[Hg]\", \"/min\", \"Cel\", \"mg/dL\".",
            Refusal::UnitOther { .. } => "Use a unit in which this vital sign is measured.",
            Refusal::Vital(_) => "Name `vital` or `vitals` by their ids, and `role` where a vital has several numbers.",
            Refusal::Limit(_) => {
                "Give exactly one of above, at_or_above, below, at_or_below; clear_below belongs to an upper limit, clear_above to a lower one, both inside it."
            }
            Refusal::Sustained => "Give n and m with 1 ≤ n ≤ m, and within_s above 0 or not at all.",
            Refusal::Twice => "Give each rule an id of its own.",
            Refusal::NoRule(_) => "Use the id of a rule in the configured files.",
            Refusal::TooMany => "Remove rules, or join those that differ in the vital only with `vitals`.",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    title: String,
    vital: Option<String>,
    #[serde(default)]
    vitals: Vec<String>,
    role: Option<Role>,
    above: Option<DecimalText>,
    at_or_above: Option<DecimalText>,
    below: Option<DecimalText>,
    at_or_below: Option<DecimalText>,
    unit: Option<String>,
    clear_below: Option<DecimalText>,
    clear_above: Option<DecimalText>,
    priority: Priority,
    sustained: Option<RawSustained>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSustained {
    n: usize,
    m: usize,
    within_s: Option<u64>,
}

/// The shipped set, compiled in: a box without rule files has it.
const DEFAULT_NAME: &str = "config/alerts/default.toml";
const DEFAULT: &str = include_str!("../../config/alerts/default.toml");

impl Rules {
    /// Reads the files (none: the shipped set) and the patients' own limits; gives every problem found.
    pub fn load(files: &[PathBuf], patients: &[PatientSettings]) -> Result<Self, Vec<RuleError>> {
        if files.is_empty() {
            return Self::parse(&[(Path::new(DEFAULT_NAME), DEFAULT)], patients);
        }
        let mut errors = Vec::new();
        let mut texts = Vec::new();
        for file in files {
            match std::fs::read_to_string(file) {
                Ok(text) => texts.push((file.clone(), text)),
                Err(e) => errors.push(RuleError {
                    file: file.clone(),
                    key: "file".into(),
                    why: Refusal::Unreadable(e.kind()),
                }),
            }
        }
        let texts: Vec<_> = texts.iter().map(|(f, t)| (f.as_path(), t.as_str())).collect();
        match Self::parse(&texts, patients) {
            Ok(rules) if errors.is_empty() => Ok(rules),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }

    /// The same from texts; the paths are named in errors.
    pub fn parse(texts: &[(&Path, &str)], patients: &[PatientSettings]) -> Result<Self, Vec<RuleError>> {
        let (mut rules, mut errors) = (Self::default(), Vec::new());
        for (file, text) in texts {
            let mut refuse = |key: String, why| errors.push(RuleError { file: file.into(), key, why });
            let raw: RawFile = match toml::from_str(text) {
                Ok(raw) => raw,
                Err(e) => {
                    refuse("form".into(), Refusal::Form(e.to_string()));
                    continue;
                }
            };
            if raw.rule.is_empty() {
                refuse("rule".into(), Refusal::Form("the file holds no rule".into()));
            }
            for raw in raw.rule {
                let id = raw.id.clone();
                match rules.admit(raw) {
                    Ok(rule) => rules.all.push(rule),
                    Err((key, why)) => refuse(format!("rule `{id}`: {key}"), why),
                }
            }
        }
        if errors.is_empty() {
            rules.override_limits(patients, &mut errors);
        }
        if errors.is_empty() { Ok(rules) } else { Err(errors) }
    }

    fn admit(&self, raw: RawRule) -> Result<Rule, (&'static str, Refusal)> {
        if raw.id.is_empty() || raw.id.len() > 64 || !raw.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(("id", Refusal::Form("an id has 1 to 64 letters, digits and hyphens".into())));
        }
        if self.all.iter().any(|r| *r.id == *raw.id) {
            return Err(("id", Refusal::Twice));
        }
        if self.all.len() >= ALERT_RULES_MAX {
            return Err(("id", Refusal::TooMany));
        }
        let (vitals, role) = vitals(&raw).map_err(|why| ("vitals", Refusal::Vital(why)))?;
        let unit = unit(raw.unit.as_deref(), &vitals).map_err(|why| ("unit", why))?;
        let limit = limit(&raw, unit).map_err(|(key, why)| (key, Refusal::Limit(why)))?;
        let sustained = sustained(raw.sustained.as_ref()).ok_or(("sustained", Refusal::Sustained))?;
        let (id, title) = (Arc::from(raw.id), Arc::from(raw.title));
        Ok(Rule { id, title, vitals, role, limit, priority: raw.priority, sustained })
    }

    /// Limits of single patients. A patient is named by position: a reference is not for logs.
    fn override_limits(&mut self, patients: &[PatientSettings], errors: &mut Vec<RuleError>) {
        for (number, patient) in patients.iter().enumerate() {
            for own in &patient.limits {
                match self.own_limit(own) {
                    Ok(limit) => self.own.entry(patient.reference.clone()).or_default().push(limit),
                    Err((key, why)) => errors.push(RuleError {
                        file: "configuration".into(),
                        key: format!("patient {}: limits of `{}`: {key}", number + 1, own.rule),
                        why,
                    }),
                }
            }
        }
    }

    fn own_limit(&self, own: &crate::config::LimitOverride) -> Result<(usize, Limit), (&'static str, Refusal)> {
        let index = self.all.iter().position(|r| *r.id == *own.rule);
        let found = index.and_then(|i| Some((i, self.all.get(i)?)));
        let (index, rule) = found.ok_or_else(|| ("rule", Refusal::NoRule(own.rule.clone())))?;
        let unit = unit(Some(&own.unit), &rule.vitals).map_err(|why| ("unit", why))?;
        let value = own.limit.0;
        let limit = match own.clear {
            Some(clear) => Limit { value, unit, clear: Some(clear.0), ..rule.limit },
            None if unit == rule.limit.unit || rule.limit.clear.is_none() => {
                let moved = Limit { unit, ..rule.limit }.moved_to(value);
                moved.ok_or(("limit", Refusal::Limit("too many digits")))?
            }
            None => {
                return Err(("clear", Refusal::Limit("a limit in another unit than the rule's needs a `clear` too")));
            }
        };
        if !limit.clears_inside() {
            return Err(("clear", Refusal::Limit("the clear condition lies beyond the limit")));
        }
        Ok((index, limit))
    }
}

/// The vitals of a rule (`glucose-*` names all that begin so) and their common number.
fn vitals(raw: &RawRule) -> Result<(Vec<Vital>, Role), String> {
    let mut found: Vec<Vital> = Vec::new();
    for name in raw.vital.iter().chain(&raw.vitals) {
        let fits = |id: &str| name.strip_suffix('*').map_or(id == name, |start| id.starts_with(start));
        let before = found.len();
        found.extend(VITALS.iter().filter(|v| fits(v.id)).filter_map(|v| Vital::parse(v.id)));
        if found.len() == before {
            return Err(format!("there is no vital sign `{name}`"));
        }
    }
    if found.is_empty() {
        return Err("no vital sign is named".into());
    }
    let role = raw.role.unwrap_or(Role::Value);
    match found.iter().find(|v| v.component(role).is_none()) {
        Some(v) => Err(format!("`{}` has no number in the role {role:?}", v.id)),
        None => Ok((found, role)),
    }
}

fn unit(code: Option<&str>, vitals: &[Vital]) -> Result<Unit, Refusal> {
    let code = code.filter(|c| !c.is_empty()).ok_or(Refusal::UnitMissing)?;
    let unit = Unit::parse(code).ok_or_else(|| Refusal::UnitUnknown(code.into()))?;
    match vitals.iter().find(|v| v.unit(code).is_none()) {
        Some(v) => Err(Refusal::UnitOther { unit: code.into(), vital: v.id }),
        None => Ok(unit),
    }
}

fn limit(raw: &RawRule, unit: Unit) -> Result<Limit, (&'static str, &'static str)> {
    let stated = [
        (raw.above, Side::Upper, false),
        (raw.at_or_above, Side::Upper, true),
        (raw.below, Side::Lower, false),
        (raw.at_or_below, Side::Lower, true),
    ];
    let mut stated = stated.into_iter().filter_map(|(value, side, inclusive)| Some((value?.0, side, inclusive)));
    let (value, side, inclusive) = stated.next().ok_or(("above", "no limit is stated"))?;
    if stated.next().is_some() {
        return Err(("above", "more than one limit is stated"));
    }
    let (clear, other) = match side {
        Side::Upper => (raw.clear_below, raw.clear_above),
        Side::Lower => (raw.clear_above, raw.clear_below),
    };
    if other.is_some() {
        return Err(("clear", "the clear condition is on the wrong side of the limit"));
    }
    let limit = Limit { side, inclusive, value, unit, clear: clear.map(|c| c.0) };
    if limit.clears_inside() { Ok(limit) } else { Err(("clear", "the clear condition lies beyond the limit")) }
}

fn sustained(raw: Option<&RawSustained>) -> Option<Sustained> {
    let Some(&RawSustained { n, m, within_s }) = raw else { return Some(Sustained::ONCE) };
    let valid = 1 <= n && n <= m && m <= SUSTAINED_READINGS_MAX && within_s != Some(0);
    valid.then_some(Sustained { n, m, within: within_s.map(Duration::from_secs) })
}
