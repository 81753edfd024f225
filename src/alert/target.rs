//! From a centre's target to the limit of a rule, or the reason why it makes none.
//!
//! Promises: what is ordered moves the least urgent rule on its side; the most urgent limits of high priority are a floor,
//! which an order may tighten and never loosen. Must never: round a limit, or choose a rule of another unit's kind.

use std::cmp::Ordering;

use super::rules::{Limit, Rule, Side};
use super::ruleset::Rules;
use crate::alarm::Priority;
use crate::careplan::{Aim, Edge, Target};
use crate::decimal::Decimal;
use crate::fault::Explain;
use crate::reading::PatientId;
use crate::unit::Unit;
use crate::vital::{Role, VITALS, Vital, measured_as};

/// Why an order is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The centre must name another measure.
    #[error("`{0}` is no LOINC code of a number that this gateway measures")]
    Measure(String),
    /// The centre must state another unit.
    #[error("`{0}` is not a UCUM unit in which this is measured")]
    Unit(String),
    /// The centre must correct the number.
    #[error("the limit lies outside what this vital sign can be")]
    Implausible,
    /// A rule is needed.
    #[error("no alert rule has a limit of this vital sign on this side, in such a unit")]
    NoRule,
    /// The centre must tighten it, or the box's own rules are to be changed.
    #[error("it would loosen `{0}`, which is a limit of high priority")]
    Floor(String),
    /// The centre must correct one of the two.
    #[error("upper and lower limit would cross: there would be no value without an alert")]
    Crossed,
    /// The centre must write it otherwise.
    #[error("it is not understood: {0}")]
    Unclear(&'static str),
    /// The centre must look whose it is.
    #[error("it is not this patient's")]
    NotTheirs,
}

impl Explain for TargetError {
    fn code(&self) -> &'static str {
        match self {
            Self::Measure(_) => "WL-G001",
            Self::Unit(_) => "WL-G002",
            Self::Implausible => "WL-G003",
            Self::NoRule => "WL-G004",
            Self::Floor(_) => "WL-G005",
            Self::Crossed => "WL-G006",
            Self::Unclear(_) => "WL-G007",
            Self::NotTheirs => "WL-G008",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Measure(_) => {
                "Ask the centre for a LOINC code of docs/care-plan.md; the limit before stays in force."
            }
            Self::Unit(_) => "Ask the centre for a UCUM unit of docs/care-plan.md; the limit before stays in force.",
            Self::Implausible | Self::Crossed | Self::Unclear(_) => {
                "Ask the centre to correct it; the limit before stays in force."
            }
            Self::NoRule => "Add a rule for this vital sign and side to the alert rules, or ask the centre.",
            Self::Floor(_) => "If it is really meant, change the box's own rules or `[[patient]] limits`.",
            Self::NotTheirs => "Ask the centre whose it is: it was shown for another patient.",
        }
    }
}

impl Rules {
    /// What a target orders for a patient.
    pub fn aim(&self, patient: &PatientId, target: &Target) -> Result<Aim, TargetError> {
        let measured = measured_as(&target.loinc);
        let first = measured.first().ok_or_else(|| TargetError::Measure(target.loinc.clone()))?;
        let unit = measured.iter().find_map(|(vital, _)| vital.unit(&target.unit));
        let unit = unit.ok_or_else(|| TargetError::Unit(target.unit.clone()))?;
        let side = side(target.edge);
        let fits = |rule: &Rule| {
            let names = |(vital, role): &(Vital, Role)| rule.role == *role && rule.vitals.contains(vital);
            rule.limit.unit.dimension() == unit.dimension() && measured.iter().any(names)
        };
        let on_side = |(_, rule): &(usize, &Rule)| fits(rule) && rule.limit.side == side;
        // Of several as urgent the last one.
        let all = || self.all.iter().enumerate();
        let chosen = all().filter(on_side).min_by_key(|(at, rule)| (rule.priority, std::cmp::Reverse(*at)));
        let (_, rule) = chosen.ok_or(TargetError::NoRule)?;
        let named = |(vital, role): &&(Vital, Role)| rule.role == *role && rule.vitals.contains(vital);
        let (vital, role) = *measured.iter().find(named).unwrap_or(first);
        let (value, inclusive) = (target.value, target.inclusive);
        if !vital.plausible(role, value, unit) || value <= Decimal::ZERO {
            return Err(TargetError::Implausible);
        }
        for (at, other) in all().filter(on_side).filter(|(_, other)| other.priority == Priority::High) {
            let floor = self.own_of(patient, at).unwrap_or(other.limit);
            let beyond = outward(side, value, unit, &floor);
            // The bound itself, which was beyond, would be inside.
            let looser = beyond.is_none_or(Ordering::is_gt)
                || (beyond == Some(Ordering::Equal) && floor.inclusive && !inclusive);
            if looser {
                return Err(TargetError::Floor(other.id.to_string()));
            }
        }
        for (at, other) in all().filter(|(_, rule)| fits(rule) && rule.limit.side != side) {
            let opposite = self.own_of(patient, at).unwrap_or(other.limit);
            if outward(side, value, unit, &opposite).is_none_or(Ordering::is_le) {
                return Err(TargetError::Crossed);
            }
        }
        let aim = Aim::Limit { rule: rule.id.to_string(), vital, role, edge: target.edge, inclusive, value, unit };
        limit(rule, &aim).map(|_| aim).ok_or(TargetError::Implausible)
    }

    /// The vital sign whose measurements are expected.
    pub fn expected(loinc: &str) -> Result<Vital, TargetError> {
        let panel =
            VITALS.iter().find(|row| row.loinc.iter().any(|l| l.0 == loinc)).and_then(|row| Vital::parse(row.id));
        let number = || measured_as(loinc).first().map(|(vital, _)| *vital);
        panel.or_else(number).ok_or_else(|| TargetError::Measure(loinc.to_owned()))
    }

    /// Whether an order that was taken before still makes sense under these rules.
    pub fn still(&self, patient: &PatientId, aim: &Aim) -> Result<(), TargetError> {
        let Aim::Limit { rule, vital, role, edge, inclusive, value, unit } = aim else { return Ok(()) };
        let component = vital.component(*role).and_then(|c| c.loinc.first());
        let loinc = component.or(vital.loinc.first()).map_or("", |l| l.0).to_owned();
        let unit = unit.ucum().to_owned();
        let target = Target { loinc, edge: *edge, inclusive: *inclusive, value: *value, unit };
        match self.aim(patient, &target)? {
            Aim::Limit { rule: now, .. } if now == *rule => Ok(()),
            _ => Err(TargetError::NoRule),
        }
    }

    fn own_of(&self, patient: &PatientId, at: usize) -> Option<Limit> {
        self.own.get(patient)?.iter().find(|(index, _)| *index == at).map(|(_, limit)| *limit)
    }
}

fn side(edge: Edge) -> Side {
    match edge {
        Edge::High => Side::Upper,
        Edge::Low => Side::Lower,
    }
}

/// How far out a value lies beside another limit, seen from this side. `None`: it cannot be compared.
fn outward(side: Side, value: Decimal, unit: Unit, other: &Limit) -> Option<Ordering> {
    let order = Unit::compare(value, unit, other.value, other.unit)?;
    Some(if side == Side::Upper { order } else { order.reverse() })
}

/// The limit that an order puts in the place of a rule's; the clear condition keeps its distance, which need not be exact.
pub(super) fn limit(rule: &Rule, aim: &Aim) -> Option<Limit> {
    let Aim::Limit { inclusive, value, unit, .. } = aim else { return None };
    let Limit { unit: from, clear, value: before, side, .. } = rule.limit;
    let clear = match clear {
        None => None,
        Some(clear) => {
            let apart = from.convert(before, *unit, 2)?.minus(from.convert(clear, *unit, 2)?)?;
            Some(value.minus(apart)?)
        }
    };
    let limit = Limit { side, inclusive: *inclusive, value: *value, unit: *unit, clear };
    limit.clears_inside().then_some(limit)
}
