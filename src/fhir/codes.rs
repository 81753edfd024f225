//! The codes of an Observation: category, what was measured, which profiles it keeps.
//!
//! Rendered once for all readings of a kind: half of each Observation's octets. Must never: give a code of mass to an
//! amount by moles.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::Unmappable;
use super::quality::Labels;
use super::scope::{Scope, UsCore};
use super::types::{Coding, Concept, One, one, system};
use crate::mapping::Mapping;
use crate::reading::Reading;
use crate::unit::Dimension;
use crate::vital::{Category, Component as Row, Mdc, Role, Site, Vital};

#[derive(Serialize)]
struct Meta<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profile: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<[Coding<'static>; 1]>,
    tag: [Coding<'a>; 2],
}

/// LOINC first: it is what a reader of the first coding looks for.
pub(super) type Codings<'a> = Vec<Coding<'a>>;

/// What readings of one kind have in common.
pub(super) struct Common {
    pub meta: Box<RawValue>,
    pub category: Box<RawValue>,
    pub code: Box<RawValue>,
}

/// Rows of small tables, so there are few.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    vital: Vital,
    site: Option<Site>,
    moles: bool,
    test: bool,
    us_core: UsCore,
    phd: bool,
    mapping: u64,
}

impl Common {
    pub fn of(reading: &Reading, scope: &Scope, labels: &Labels) -> Result<Arc<Self>, Unmappable> {
        static KNOWN: LazyLock<Mutex<HashMap<Kind, Arc<Common>>>> = LazyLock::new(Mutex::default);
        let kind = Kind {
            vital: reading.vital,
            site: reading.site,
            moles: reading.is_by_moles(),
            test: labels.test,
            us_core: scope.us_core,
            phd: scope.phd && scope.reaches(reading) && keeps_phd(reading, labels),
            mapping: scope.mapping().id(),
        };
        if !scope.uncoded && !is_coded(kind, scope.mapping()) {
            return Err(Unmappable::Uncoded);
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(common) = known.get(&kind) {
            return Ok(common.clone());
        }
        // Nothing in these types fails to serialise.
        let common = Arc::new(Self::render(kind, scope.mapping()).map_err(|_| Unmappable::Unit)?);
        known.insert(kind, common.clone());
        Ok(common)
    }

    fn render(kind: Kind, mapping: &Mapping) -> serde_json::Result<Self> {
        let meta = Meta {
            profile: profiles(kind, mapping),
            security: kind.test.then_some([Coding::new(system::ACT_REASON, "HTEST")]),
            tag: [Coding::new(system::US_CORE_TAGS, "patient-supplied"), Coding::new(system::MAPPING, mapping.stamp())],
        };
        Ok(Self {
            meta: to_raw_value(&meta)?,
            category: to_raw_value(&category(kind.vital.category))?,
            code: to_raw_value(&code(kind, mapping))?,
        })
    }
}

/// What the guide asks of an Observation and some of ours do not have: an MDC code of each number, and labels that are
/// all of its own list (ours for off-scale values is HL7's).
fn keeps_phd(reading: &Reading, labels: &Labels) -> bool {
    let vital = reading.vital;
    let components = vital.components.len() == 1 || vital.components.iter().all(|c| c.mdc.is_some());
    // A status bit has a code of its own system among the components, and none of MDC; a context is no number of the panel.
    let bits = reading.statuses().next().is_some() || reading.parts.iter().any(|p| p.role.is_context());
    vital.mdc.is_some() && components && labels.comparator.is_none() && !bits
}

/// Canonicals without a version, so that they hold for each one that the server knows.
fn profiles(kind: Kind, mapping: &Mapping) -> Vec<String> {
    let (vital, mut profiles) = (kind.vital, Vec::with_capacity(3));
    // A table that takes the place of the codes which the profile fixes leaves no claim.
    let rows = vital.components.iter().map(|c| (Some(c.role), c.loinc)).chain([(None, vital.loinc_for(kind.moles))]);
    let replaced = rows
        .filter_map(|(role, codes)| Some((mapping.of(vital, role, kind.moles)?, codes)))
        .any(|(own, codes)| own.replace && !codes.iter().all(|l| own.coding.iter().any(|c| c.code == l.0)));
    if let (Some(profile), false) = (kind.us_core.profile(&vital), replaced) {
        profiles.push(format!("http://hl7.org/fhir/us/core/StructureDefinition/{profile}"));
    }
    if kind.phd {
        let compound = if vital.components.len() == 1 { "" } else { "Compound" };
        profiles.push(format!("http://hl7.org/fhir/uv/phd/StructureDefinition/Phd{compound}NumericObservation"));
    }
    profiles
}

fn is_coded(kind: Kind, mapping: &Mapping) -> bool {
    code(kind, mapping).coding.is_some()
}

fn category(category: Category) -> [One<'static>; 2] {
    [one(system::OBSERVATION_CATEGORY, category.word()), one(system::PHD_CATEGORY, "phd")]
}

/// A site that has codes of its own.
fn site_of(vital: Vital, site: Option<Site>) -> Option<Site> {
    let temperature = vital.first_unit().is_some_and(|u| u.dimension() == Dimension::Temperature);
    site.filter(|_| temperature)
}

/// The MDC code of what was measured there.
pub(super) fn mdc(vital: Vital, site: Option<Site>) -> Option<Mdc> {
    site_of(vital, site).and_then(|s| s.temperature_mdc).or(vital.mdc)
}

/// The vital's codes: by moles where the unit counts moles, with the site's own where a temperature has one.
fn code(kind: Kind, mapping: &Mapping) -> Concept<'_, Codings<'_>> {
    let Kind { vital, moles, .. } = kind;
    let site = site_of(vital, kind.site);
    let own = mapping.of(vital, None, moles);
    let mut coding: Codings<'_> = own.map_or(&[][..], |own| &own.coding).iter().map(Coding::of).collect();
    if own.is_none_or(|own| !own.replace) {
        coding.extend(vital.loinc_for(moles).iter().copied().map(Coding::loinc));
        coding.extend(site.and_then(|s| s.temperature_loinc).map(Coding::loinc));
    }
    coding.extend(mdc(vital, kind.site).map(Coding::mdc));
    let text = own.and_then(|own| own.text.as_deref()).unwrap_or(vital.name);
    Concept { coding: (!coding.is_empty()).then_some(coding), text: Some(text) }
}

/// Codes of one number of a panel.
pub(super) fn component_code<'a>(vital: Vital, row: &Row, mapping: &'a Mapping) -> Concept<'a, Codings<'a>> {
    let own = mapping.of(vital, Some(row.role), false);
    let mut coding: Codings<'_> = own.map_or(&[][..], |own| &own.coding).iter().map(Coding::of).collect();
    if own.is_none_or(|own| !own.replace) {
        coding.extend(row.loinc.iter().copied().map(Coding::loinc));
    }
    coding.extend(row.mdc.map(Coding::mdc));
    Concept { coding: Some(coding), text: own.and_then(|own| own.text.as_deref()) }
}

/// The name of a statistic over a period.
pub(super) const fn statistic(role: Role) -> Option<&'static str> {
    match role {
        Role::Minimum => Some("minimum"),
        Role::Maximum => Some("maximum"),
        Role::Count => Some("count"),
        _ => None,
    }
}
