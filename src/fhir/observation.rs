//! Reading to Observation: R4 vital signs, US Core, and the Personal Health Device guide's codes.
//!
//! Rules: `docs/decisions/0021-observation-mapping.md`. Promises: decimals as the device gave them; mandatory conversions
//! only (kPa to mm[Hg], m to cm); a doubt is in `status`, `interpretation`, `dataAbsentReason`, `meta.security` or `note`.
//! Must never: give a value that the device called invalid, or leave a doubtful value without its label.

use serde::Serialize;
use serde_json::value::RawValue;

use super::Unmappable;
use super::codes::{Codings, Common, component_code, statistic};
use super::coincident::REFERENCE_EXTENSION;
use super::device::{Device, GATEWAY_EXTENSION, gateway};
use super::device_resource::contained;
use super::identity::Identity;
use super::provenance;
use super::quality::Labels;
use super::scope::{Devices, Scope};
use super::types::{
    Annotation, Code, Coding, Concept, Identifier, One, Quantity, Reference, ReferenceExtension, date_time, one, system,
};
use crate::decimal::Decimal;
use crate::mapping::Mapping;
use crate::reading::{Absence, Part, Reading, TimeMethod, Value};
use crate::unit::Unit;
use crate::vital::status::{CARBOHYDRATE, EXERCISE, MEDICATION};
use crate::vital::{Category, Mdc, Role, Status};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Observation<'a> {
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    meta: &'a RawValue,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contained: Vec<serde_json::Value>,
    extension: Vec<ReferenceExtension<'a>>,
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
    value_quantity: Option<Quantity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_absent_reason: Option<One<'static>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interpretation: Vec<One<'static>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    note: Vec<Annotation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_site: Option<One<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<One<'static>>,
    device: Reference<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    component: Vec<Component<'a>>,
}

#[derive(Serialize)]
struct Period {
    start: String,
    end: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    code: Concept<'a, Codings<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_quantity: Option<Quantity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_boolean: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_codeable_concept: Option<Concept<'a, [Coding<'a>; 1]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_absent_reason: Option<One<'static>>,
}

impl<'a> Component<'a> {
    const fn of(code: Concept<'a, Codings<'a>>, Measured(quantity, absent): Measured<'a>) -> Self {
        let (value_boolean, value_codeable_concept) = (None, None);
        Self { code, value_quantity: quantity, value_boolean, value_codeable_concept, data_absent_reason: absent }
    }

    /// As the Personal Health Device guide has it: a status bit that is set (bits enumeration), a value of a coded field (coded
    /// enumeration).
    fn status(status: Status) -> Self {
        if !status.is_bit() {
            let value = Coding { system: system::MDC, code: Code::Text(status.code), display: Some(status.display) };
            return Self {
                value_codeable_concept: Some(Concept { coding: Some([value]), text: None }),
                ..Self::of(Concept { coding: Some(vec![Coding::mdc(status.of)]), text: None }, Measured(None, None))
            };
        }
        let coding =
            Coding { system: system::ASN1_TO_HL7, code: Code::Text(status.code), display: Some(status.display) };
        Self {
            value_boolean: Some(true),
            ..Self::of(Concept { coding: Some(vec![coding]), text: None }, Measured(None, None))
        }
    }
}

/// A number to give, or the reason why there is none: never both, never neither (vs-2, vs-3).
struct Measured<'a>(Option<Quantity<'a>>, Option<One<'static>>);

/// Appends the Observation's JSON. `id`: the logical id, for `PUT`. On an error nothing was appended.
pub fn write(
    reading: &Reading,
    scope: &Scope,
    identity: &Identity,
    id: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), Unmappable> {
    let patient = reading.patient.as_ref().ok_or(Unmappable::Unassigned)?.reveal();
    let labels = Labels::of(&reading.labels());
    let device = Device::new(&reading.device.0);
    let mapping = scope.mapping();
    let single = match reading.vital.components {
        [only] => Some(measured(reading, reading.parts.iter().find(|p| p.role == only.role), &labels, mapping)?),
        _ => None,
    };
    let mut component =
        if single.is_some() { statistics(reading, mapping)? } else { panel(reading, &labels, mapping)? };
    component.extend(reading.statuses().map(Component::status));
    component.extend(in_context(reading));
    let Measured(value_quantity, data_absent_reason) = single.unwrap_or(Measured(None, None));
    let common = Common::of(reading, scope, &labels)?;
    let time = Effective::of(reading, scope)?;
    let mut note = labels.notes();
    note.extend(time.note.as_deref().map(|text| Annotation { author: None, time: None, text }));
    let mut within = Vec::new();
    if matches!(scope.devices, Devices::Contained) {
        within.extend(contained(reading, scope));
    }
    let mut extension = vec![ReferenceExtension { url: GATEWAY_EXTENSION, value: gateway(scope) }];
    let clock = scope.clock(reading).map(Reference::to);
    extension.extend(clock.map(|value| ReferenceExtension { url: REFERENCE_EXTENSION, value }));
    within.extend(reading.amendment.as_deref().map(|amendment| provenance::within(reading, amendment, scope)));
    let observation = Observation {
        resource_type: "Observation",
        id,
        meta: &common.meta,
        contained: within,
        extension,
        identifier: [Identifier { system: Identity::system(), value: identity.value() }],
        status: match labels.preliminary {
            _ if reading.is_withdrawal() => "entered-in-error",
            true => "preliminary",
            false => "final",
        },
        category: &common.category,
        code: &common.code,
        subject: Reference::to(patient),
        effective_date_time: time.moment,
        effective_period: time.period,
        performer: [Reference::to(patient)],
        value_quantity,
        data_absent_reason,
        interpretation: labels.interpretation(),
        note,
        body_site: reading.site.and_then(|s| s.snomed).map(|(code, display)| {
            let coding = Coding { system: system::SNOMED, code: Code::Text(code), display: Some(display) };
            Concept { coding: Some([coding]), text: None }
        }),
        method: reading.lasted_ms().map(|_| one(system::STATISTICS, "average")),
        device: device.reference(scope),
        component,
    };
    // Nothing in these types fails to serialise, and a Vec takes every octet.
    serde_json::to_writer(out, &observation).map_err(|_| Unmappable::Unit)
}

/// A moment; or the period of a stream's mean: as such, or its end and a note where no period is allowed.
struct Effective {
    moment: Option<String>,
    period: Option<Period>,
    note: Option<String>,
}

impl Effective {
    fn of(reading: &Reading, scope: &Scope) -> Result<Self, Unmappable> {
        let Some(period) = period(reading) else {
            return Ok(Self { moment: Some(effective(reading).ok_or(Unmappable::Undated)?), period: None, note: None });
        };
        if scope.us_core.allows_periods() || reading.vital.category != Category::VitalSigns {
            return Ok(Self { moment: None, period: Some(period), note: None });
        }
        let note = format!("Mean of the period {}/{}.", period.start, period.end);
        Ok(Self { moment: Some(period.end), period: None, note: Some(note) })
    }
}

/// Milliseconds only where the device stated them: the time of receipt is not known that well.
fn effective(reading: &Reading) -> Option<String> {
    let taken = &reading.taken;
    let at = taken.known_ms()?;
    let stated = taken.method == TimeMethod::DeviceInstant && at % 1_000 != 0;
    Some(date_time(at, stated || taken.uncertainty_ms < 1_000))
}

/// Of the mean of a stream, which begins with its first value; of what is counted over a time that its code names, which
/// ends when it is read.
fn period(reading: &Reading) -> Option<Period> {
    let at = reading.taken.known_ms()?;
    if let Some(lasted) = reading.lasted_ms() {
        return Some(Period { start: date_time(at, true), end: date_time(at.checked_add(lasted)?, true) });
    }
    let start = at.checked_sub(reading.vital.lasts_ms()?)?;
    Some(Period { start: date_time(start, false), end: date_time(at, false) })
}

/// Minimum, maximum and number of the values of a period.
fn statistics<'a>(reading: &Reading, mapping: &'a Mapping) -> Result<Vec<Component<'a>>, Unmappable> {
    let mut components = Vec::new();
    for role in [Role::Minimum, Role::Maximum, Role::Count] {
        let (Some((n, unit)), Some(name)) = (reading.number(role), statistic(role)) else { continue };
        let quantity = match role {
            Role::Count => whole(n, unit),
            _ => quantity(reading, n, unit, mapping)?,
        };
        let code = Concept { coding: Some(vec![Coding::new(system::STATISTICS, name)]), text: None };
        components.push(Component::of(code, Measured(Some(quantity), None)));
    }
    Ok(components)
}

/// Numbers that a person typed in beside the measurement. An amount has the code of what it is of, if that was said.
fn in_context<'a>(reading: &Reading) -> impl Iterator<Item = Component<'a>> {
    reading.parts.iter().filter_map(|part| {
        let (n, unit) = part.number()?;
        let said = |of: Mdc| {
            let kind = reading.statuses().find(|status| status.of == of);
            kind.map_or(Coding::mdc(of), |s| Coding {
                system: system::MDC,
                code: Code::Text(s.code),
                display: Some(s.display),
            })
        };
        let code = match part.role {
            Role::Carbohydrate => Concept { coding: Some(vec![said(CARBOHYDRATE)]), text: None },
            Role::Medication => Concept { coding: Some(vec![said(MEDICATION)]), text: None },
            Role::Exercise => Concept { coding: Some(vec![Coding::mdc(EXERCISE)]), text: None },
            // The nomenclature has an attribute for it, and no code.
            Role::Exercised => Concept { coding: None, text: Some("Duration of exercise") },
            _ => return None,
        };
        Some(Component::of(code, Measured(Some(whole(n, unit)), None)))
    })
}

/// A panel's components: those that FHIR asks for even when they are missing, the others when they have a number.
fn panel<'a>(reading: &Reading, labels: &Labels, mapping: &'a Mapping) -> Result<Vec<Component<'a>>, Unmappable> {
    let mut components = Vec::with_capacity(reading.vital.components.len());
    for row in reading.vital.components {
        let part = reading.parts.iter().find(|p| p.role == row.role);
        if row.required || reading.number(row.role).is_some() {
            let measured = measured(reading, part, labels, mapping)?;
            components.push(Component::of(component_code(reading.vital, row, mapping), measured));
        }
    }
    Ok(components)
}

fn measured<'a>(
    reading: &Reading,
    part: Option<&Part>,
    labels: &Labels,
    mapping: &'a Mapping,
) -> Result<Measured<'a>, Unmappable> {
    let absent = |why| Ok(Measured(None, Some(one(system::DATA_ABSENT_REASON, why))));
    match part.map(|p| (p.value, p.unit)) {
        _ if labels.invalid => absent("error"),
        Some((Value::Number(n), unit)) => {
            let comparator = labels.comparator;
            Ok(Measured(Some(Quantity { comparator, ..quantity(reading, n, unit, mapping)? }), None))
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

/// A number as the destination takes it.
fn quantity<'a>(
    reading: &Reading,
    value: Decimal,
    unit: Unit,
    mapping: &'a Mapping,
) -> Result<Quantity<'a>, Unmappable> {
    let own = mapping.of(reading.vital, None, reading.is_by_moles());
    let wanted = own.and_then(|own| own.unit()).filter(|to| to.dimension() == unit.dimension());
    let decimals = own.and_then(|own| own.decimals).unwrap_or(reading.vital.decimals);
    let (value, unit) = match wanted {
        Some(to) => (converted(value, unit, to, decimals).ok_or(Unmappable::Unit)?, to),
        None => reading.vital.deliverable(value, unit).ok_or(Unmappable::Unit)?,
    };
    let text = own.filter(|own| own.unit().is_none_or(|to| to == unit)).and_then(|own| own.unit_text.as_deref());
    Ok(Quantity { unit: text.unwrap_or(unit.display()), ..whole(value, unit) })
}

/// The unit in which the destination gets a number. `None`: there is none, or it cannot be sent.
pub(super) fn delivered_unit(reading: &Reading, role: Role, mapping: &Mapping) -> Option<Unit> {
    let (value, unit) = reading.number(role)?;
    Unit::parse(quantity(reading, value, unit, mapping).ok()?.code)
}

/// As it is.
fn whole<'a>(value: Decimal, unit: Unit) -> Quantity<'a> {
    Quantity { value, comparator: None, unit: unit.display(), system: system::UCUM, code: unit.ucum() }
}

fn converted(value: Decimal, unit: Unit, to: Unit, decimals: u16) -> Option<Decimal> {
    match unit.power_of_ten(to) {
        Some(power) => Some(value.scale10(power)),
        None => unit.convert(value, to, decimals),
    }
}
