//! Reading to Observation: R4 vital signs, US Core, and the Personal Health Device guide's codes.
//!
//! Rules: `docs/decisions/0021-observation-mapping.md`. Promises: decimals as the device gave them; mandatory conversions
//! only (kPa to mm[Hg], m to cm); a doubt is in `status`, `interpretation`, `dataAbsentReason`, `meta.security` or `note`.
//! Must never: give a value that the device called invalid, or leave a doubtful value without its label.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::Unmappable;
use super::device::{Device, GATEWAY_EXTENSION, gateway};
use super::identity::Identity;
use super::quality::Labels;
use super::types::{
    Annotation, Code, Coding, Concept, Identifier, One, Quantity, Reference, ReferenceExtension, date_time, one, system,
};
use crate::decimal::Decimal;
use crate::reading::{Absence, Part, Reading, TimeMethod, Value};
use crate::unit::{Dimension, Unit};
use crate::vital::{Category, Component as Row, Role, Site, Vital};

/// What the resources of one destination have in common.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The gateway's name at the centre.
    pub gateway: Arc<str>,
    /// Claim US Core profiles in `meta.profile`.
    pub us_core: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Observation<'a> {
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    meta: &'a RawValue,
    extension: [ReferenceExtension<'a>; 1],
    identifier: [Identifier<'a>; 1],
    status: &'static str,
    category: &'a RawValue,
    code: &'a RawValue,
    subject: Reference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_date_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_period: Option<Period>,
    performer: [Reference<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    value_quantity: Option<Quantity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_absent_reason: Option<One<'static>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interpretation: Vec<One<'static>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    note: Vec<Annotation<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_site: Option<One<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<One<'static>>,
    device: Reference<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    component: Vec<Component>,
}

#[derive(Serialize)]
struct Period {
    start: String,
    end: String,
}

#[derive(Serialize)]
struct Meta {
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<[Profile; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<[Coding<'static>; 1]>,
    tag: [Coding<'static>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    code: Concept<'static, Codings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_quantity: Option<Quantity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_absent_reason: Option<One<'static>>,
}

/// LOINC first: it is what a reader of the first coding looks for.
type Codings = Vec<Coding<'static>>;

/// Last part of a US Core canonical, unversioned so that it holds for every version that the server knows.
struct Profile(&'static str);

impl Serialize for Profile {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("http://hl7.org/fhir/us/core/StructureDefinition/{}", self.0))
    }
}

/// A number to give, or the reason why there is none: never both, never neither (vs-2, vs-3).
struct Measured(Option<Quantity>, Option<One<'static>>);

/// What readings of one kind have in common, rendered once: half of each Observation's octets.
struct Common {
    meta: Box<RawValue>,
    category: Box<RawValue>,
    code: Box<RawValue>,
}

/// Vital, site, by moles, test, with US Core: rows of small tables, so there are few.
type Kind = (Vital, Option<Site>, bool, bool, bool);

impl Common {
    fn of(reading: &Reading, scope: &Scope, labels: &Labels) -> Result<Arc<Self>, Unmappable> {
        static KNOWN: LazyLock<Mutex<HashMap<Kind, Arc<Common>>>> = LazyLock::new(Mutex::default);
        let moles = reading.parts.iter().any(|p| p.unit.dimension() == Dimension::AmountConcentration);
        let kind = (reading.vital, reading.site, moles, labels.test, scope.us_core);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(common) = known.get(&kind) {
            return Ok(common.clone());
        }
        // As below: nothing in these types fails to serialise.
        let common = Arc::new(Self::render(kind).map_err(|_| Unmappable::Unit)?);
        known.insert(kind, common.clone());
        Ok(common)
    }

    fn render((vital, site, moles, test, us_core): Kind) -> serde_json::Result<Self> {
        let meta = Meta {
            profile: vital.us_core.filter(|_| us_core).map(|p| [Profile(p)]),
            security: test.then_some([Coding::new(system::ACT_REASON, "HTEST")]),
            tag: [Coding::new(system::US_CORE_TAGS, "patient-supplied")],
        };
        Ok(Self {
            meta: to_raw_value(&meta)?,
            category: to_raw_value(&category(vital.category))?,
            code: to_raw_value(&code(vital, moles, site))?,
        })
    }
}

/// Appends the Observation's JSON. `id`: the logical id, for `PUT`. On an error nothing was appended.
pub fn write(
    reading: &Reading,
    scope: &Scope,
    identity: &Identity,
    id: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), Unmappable> {
    let patient = reading.patient.as_ref().ok_or(Unmappable::Unassigned)?.reveal();
    let vital = reading.vital;
    let labels = Labels::of(&reading.quality);
    let device = Device::new(&reading.device.0);
    let single = match vital.components {
        [only] => Some(measured(vital, reading.parts.iter().find(|p| p.role == only.role), &labels)?),
        _ => None,
    };
    let period = period(reading);
    let component = if single.is_some() { statistics(reading)? } else { panel(reading, &labels)? };
    let Measured(value_quantity, data_absent_reason) = single.unwrap_or(Measured(None, None));
    let common = Common::of(reading, scope, &labels)?;
    let observation = Observation {
        resource_type: "Observation",
        id,
        meta: &common.meta,
        extension: [ReferenceExtension { url: GATEWAY_EXTENSION, value: gateway(&scope.gateway) }],
        identifier: [Identifier { system: Identity::system(), value: identity.value() }],
        status: match labels.preliminary {
            _ if reading.is_withdrawal() => "entered-in-error",
            true => "preliminary",
            false => "final",
        },
        category: &common.category,
        code: &common.code,
        subject: Reference::to(patient),
        effective_date_time: if period.is_some() { None } else { Some(effective(reading).ok_or(Unmappable::Undated)?) },
        method: period.is_some().then(|| one(system::STATISTICS, "average")),
        effective_period: period,
        performer: [Reference::to(patient)],
        value_quantity,
        data_absent_reason,
        interpretation: labels.interpretation(),
        note: labels.notes(),
        body_site: reading.site.and_then(|s| s.snomed).map(|(code, display)| {
            let coding = Coding { system: system::SNOMED, code: Code::Text(code), display: Some(display) };
            Concept { coding: Some([coding]), text: None }
        }),
        device: device.reference(),
        component,
    };
    // Nothing in these types fails to serialise, and a Vec takes every octet.
    serde_json::to_writer(out, &observation).map_err(|_| Unmappable::Unit)
}

/// Milliseconds only where the device stated them: the time of receipt is not known that well.
fn effective(reading: &Reading) -> Option<String> {
    let taken = &reading.taken;
    let at = taken.at_ms?;
    let stated = taken.method == TimeMethod::DeviceInstant && at % 1_000 != 0;
    Some(date_time(at, stated || taken.uncertainty_ms < 1_000))
}

/// Of the mean of a stream.
fn period(reading: &Reading) -> Option<Period> {
    let (start, lasted) = (reading.taken.at_ms?, reading.lasted_ms()?);
    Some(Period { start: date_time(start, true), end: date_time(start.checked_add(lasted)?, true) })
}

/// Minimum, maximum and number of the values of a period.
fn statistics(reading: &Reading) -> Result<Vec<Component>, Unmappable> {
    let rows = [(Role::Minimum, "minimum"), (Role::Maximum, "maximum"), (Role::Count, "count")];
    let mut components = Vec::new();
    for (role, code) in rows {
        let Some((n, unit)) = reading.number(role) else { continue };
        let as_is = role == Role::Count;
        let (value, unit) =
            if as_is { (n, unit) } else { deliverable(reading.vital, n, unit).ok_or(Unmappable::Unit)? };
        let quantity =
            Quantity { value, comparator: None, unit: unit.display(), system: system::UCUM, code: unit.ucum() };
        let code = Concept { coding: Some(vec![Coding::new(system::STATISTICS, code)]), text: None };
        components.push(Component { code, value_quantity: Some(quantity), data_absent_reason: None });
    }
    Ok(components)
}

fn category(category: Category) -> [One<'static>; 2] {
    let code = match category {
        Category::VitalSigns => "vital-signs",
        Category::Laboratory => "laboratory",
        Category::Activity => "activity",
    };
    [one(system::OBSERVATION_CATEGORY, code), one(system::PHD_CATEGORY, "phd")]
}

/// The vital's codes: by moles where the unit counts moles, with the site's own where a temperature has one.
fn code(vital: Vital, moles: bool, site: Option<Site>) -> Concept<'static, Codings> {
    let loinc = if moles && vital.category == Category::Laboratory { vital.loinc_moles } else { vital.loinc };
    let temperature = vital.first_unit().is_some_and(|u| u.dimension() == Dimension::Temperature);
    let site = site.filter(|_| temperature);
    let mdc = site.and_then(|s| s.temperature_mdc).or(vital.mdc);
    let mut coding = Vec::with_capacity(loinc.len() + 2);
    coding.extend(loinc.iter().copied().map(Coding::loinc));
    coding.extend(site.and_then(|s| s.temperature_loinc).map(Coding::loinc));
    coding.extend(mdc.map(Coding::mdc));
    Concept { coding: (!coding.is_empty()).then_some(coding), text: Some(vital.name) }
}

/// A panel's components: those that FHIR asks for even when they are missing, the others when they have a number.
fn panel(reading: &Reading, labels: &Labels) -> Result<Vec<Component>, Unmappable> {
    let mut components = Vec::with_capacity(reading.vital.components.len());
    for row in reading.vital.components {
        let part = reading.parts.iter().find(|p| p.role == row.role);
        if row.required || reading.number(row.role).is_some() {
            let Measured(value_quantity, data_absent_reason) = measured(reading.vital, part, labels)?;
            components.push(Component { code: component_code(row), value_quantity, data_absent_reason });
        }
    }
    Ok(components)
}

fn component_code(row: &Row) -> Concept<'static, Codings> {
    let codes = row.loinc.iter().copied().map(Coding::loinc).chain(row.mdc.map(Coding::mdc));
    Concept { coding: Some(codes.collect()), text: None }
}

fn measured(vital: Vital, part: Option<&Part>, labels: &Labels) -> Result<Measured, Unmappable> {
    let absent = |why| Ok(Measured(None, Some(one(system::DATA_ABSENT_REASON, why))));
    match part.map(|p| (p.value, p.unit)) {
        _ if labels.invalid => absent("error"),
        Some((Value::Number(n), unit)) => {
            let (value, unit) = deliverable(vital, n, unit).ok_or(Unmappable::Unit)?;
            let (comparator, code) = (labels.comparator, unit.ucum());
            let quantity = Quantity { value, comparator, unit: unit.display(), system: system::UCUM, code };
            Ok(Measured(Some(quantity), None))
        }
        Some((Value::Absent(why), _)) => absent(match why {
            Absence::NotANumber => "not-a-number",
            Absence::PositiveInfinity => "positive-infinity",
            Absence::NegativeInfinity => "negative-infinity",
            Absence::Error => "error",
            Absence::NotPerformed => "not-performed",
            Absence::Unknown => "unknown",
        }),
        None => absent("unknown"),
    }
}

/// The value in a unit that the vital may be delivered in.
fn deliverable(vital: Vital, value: Decimal, unit: Unit) -> Option<(Decimal, Unit)> {
    vital.deliverable(value, unit)
}
