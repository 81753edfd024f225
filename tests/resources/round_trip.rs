//! Decode, map, parse back: from a resource alone one gets the value, the unit, the decimals and the time that the device
//! sent, for each built-in profile's examples, the dossier's vectors, and any number.

use std::collections::BTreeSet;
use std::path::{Path as File, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use wardline::clock::Stamp;
use wardline::config::Config;
use wardline::decimal::Decimal;
use wardline::fhir::{Scope, UsCore, Write, single};
use wardline::intake::Intake;
use wardline::profile::{Catalogue, Decoder, frames, octets};
use wardline::reading::{DeviceId, Frame, Part, Path, PatientId, Quality, Reading, TimeMethod, Value};
use wardline::unit::Unit;
use wardline::vital::status::{CARBOHYDRATE, EXERCISE, MEDICATION, STATUSES, Status};
use wardline::vital::{Mdc, Role, SITES, VITALS, Vital};

use super::forms;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    code: Concept,
    effective_date_time: Option<String>,
    effective_period: Option<Period>,
    value_quantity: Option<Quantity>,
    data_absent_reason: Option<Concept>,
    #[serde(default)]
    component: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    code: Concept,
    value_quantity: Option<Quantity>,
    value_boolean: Option<bool>,
    value_codeable_concept: Option<Concept>,
    data_absent_reason: Option<Concept>,
}

#[derive(Deserialize)]
struct Concept {
    #[serde(default)]
    coding: Vec<Coding>,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Coding {
    system: String,
    code: String,
}

#[derive(Deserialize)]
struct Quantity {
    value: Box<RawValue>,
    code: String,
}

#[derive(Deserialize)]
struct Period {
    start: String,
    end: String,
}

impl Concept {
    fn of(&self, system: &str) -> Option<&str> {
        self.coding.iter().find(|c| c.system == system).map(|c| c.code.as_str())
    }

    /// Which vital sign this is: by its MDC code and the unit's kind, else by its name.
    fn vital(&self) -> Vital {
        let mdc: Option<u32> = self.of("urn:iso:std:iso:11073:10101").map(|code| code.parse().unwrap());
        let found = VITALS.iter().find(|row| {
            let sited = row.id == "body-temperature"
                && SITES.iter().any(|s| s.temperature_mdc.is_some_and(|m| Some(m.0) == mdc));
            let coded = mdc.is_some() && (row.mdc.is_some_and(|m| Some(m.0) == mdc) || sited);
            (coded || mdc.is_none()) && self.text.as_deref() == Some(row.name)
        });
        Vital::parse(found.unwrap_or_else(|| panic!("{:?}", self.text)).id).unwrap()
    }

    fn role(&self, vital: Vital) -> Role {
        if let Some(name) = self.of("http://terminology.hl7.org/CodeSystem/observation-statistics") {
            return serde_json::from_value(name.into()).unwrap();
        }
        if self.coding.is_empty() {
            assert_eq!(self.text.as_deref(), Some("Duration of exercise"));
            return Role::Exercised;
        }
        let mdc = self.of("urn:iso:std:iso:11073:10101").map(|code| code.parse::<u32>().unwrap());
        // An amount has the code of what it is of.
        let of = |field: Mdc| {
            let kinds = STATUSES.iter().filter(|row| row.of == field && !row.code.contains('.'));
            mdc == Some(field.0) || kinds.map(|row| row.code.parse().ok()).any(|code| code == mdc)
        };
        for (field, role) in
            [(CARBOHYDRATE, Role::Carbohydrate), (MEDICATION, Role::Medication), (EXERCISE, Role::Exercise)]
        {
            if of(field) {
                return role;
            }
        }
        let loinc = self.of("http://loinc.org");
        let fits = |c: &&wardline::vital::Component| c.mdc.map(|m| m.0) == mdc && c.loinc.first().map(|l| l.0) == loinc;
        vital.components.iter().find(fits).unwrap().role
    }
}

/// What the resource says: role, number with its unit, or nothing.
fn parsed(resource: &Resource) -> Vec<(Role, Option<(Decimal, Unit)>)> {
    let vital = resource.code.vital();
    let number =
        |q: &Option<Quantity>| q.as_ref().map(|q| (q.value.get().parse().unwrap(), Unit::parse(&q.code).unwrap()));
    let mut out = Vec::new();
    if resource.value_quantity.is_some() || resource.data_absent_reason.is_some() {
        out.push((Role::Value, number(&resource.value_quantity)));
    }
    let numbers = resource.component.iter().filter(|c| c.value_boolean.is_none() && c.value_codeable_concept.is_none());
    for c in numbers {
        assert!(c.value_quantity.is_some() != c.data_absent_reason.is_some());
        out.push((c.code.role(vital), number(&c.value_quantity)));
    }
    out
}

/// Codes of the status bits that it has, and of the values of coded fields.
fn bits(resource: &Resource) -> Vec<&str> {
    let said = resource.component.iter().filter_map(|c| match (&c.value_codeable_concept, c.value_boolean) {
        (Some(value), _) => value.of("urn:iso:std:iso:11073:10101"),
        (None, Some(true)) => c.code.of("http://terminology.hl7.org/CodeSystem/ASN1ToHL7"),
        (None, _) => None,
    });
    said.collect()
}

/// Whether `back` is what was measured: the same decimals in the same unit, or in the one that the vital must have.
fn same(sent: (Decimal, Unit), back: (Decimal, Unit)) -> bool {
    let ((was, from), (is, to)) = (sent, back);
    match from.power_of_ten(to) {
        _ if from == to => was.to_string() == is.to_string(),
        Some(power) => was.scale10(power).to_string() == is.to_string(),
        // kPa: to whole millimetres of mercury.
        None => from.convert(was, to, 0).is_some_and(|n| n.to_string() == is.to_string()),
    }
}

/// Nothing is lost between the reading and who reads the resource.
fn check(reading: &Reading, scope: &Scope) {
    let body = single(reading, scope, Write::Update).unwrap_or_else(|e| panic!("{reading:?}: {e}")).body;
    let resource: Resource = serde_json::from_slice(&body).unwrap();
    assert_eq!(resource.code.vital(), reading.vital);
    let back = parsed(&resource);
    assert_eq!(bits(&resource), reading.statuses().map(|status| status.code).collect::<Vec<_>>());
    let invalid = reading.quality.contains(&Quality::Invalid);
    for part in &reading.parts {
        if matches!(part.role, Role::Duration) {
            continue;
        }
        let found = back.iter().find(|(role, _)| *role == part.role).map(|(_, number)| *number);
        match (part.value, found) {
            (Value::Number(n), Some(Some(number))) => {
                assert!(
                    same((n, part.unit), number),
                    "{:?}: {n} {} became {}",
                    reading.vital,
                    part.unit.ucum(),
                    number.0
                )
            }
            (Value::Number(_), Some(None)) => assert!(invalid, "{:?}: a number is gone", reading.vital),
            (Value::Absent(_), found) => assert!(found.flatten().is_none()),
            (Value::Number(_), None) => panic!("{:?}: {:?} is missing", reading.vital, part.role),
        }
    }
    // A count of 24 hours ends when it is read; the mean of a stream begins with its first value.
    let ends = reading.vital.lasts_ms().is_some() && reading.lasted_ms().is_none();
    let period = resource.effective_period.map(|p| if ends { p.end } else { p.start });
    let said = period.or(resource.effective_date_time).unwrap();
    let at: jiff::Timestamp = said.parse().unwrap();
    let ms = reading.taken.at_ms.unwrap();
    let whole = reading.lasted_ms().is_none()
        && !(reading.taken.method == TimeMethod::DeviceInstant && ms % 1_000 != 0
            || reading.taken.uncertainty_ms < 1_000);
    assert_eq!(at.as_millisecond(), if whole { ms.div_euclid(1_000) * 1_000 } else { ms }, "{said}");
}

fn intake() -> Intake {
    let text =
        "[gateway]\nid = \"box-1\"\nstate = \"s\"\ntime_zone = \"Europe/Vienna\"\n[journal]\nunencrypted = true\n";
    Intake::new(&Config::parse(text, File::new("w.toml")).unwrap(), 1)
}

/// The readings of these frames, as a patient's.
fn readings(frames: Vec<Frame>) -> Vec<Reading> {
    let (mut intake, mut decoder) = (intake(), Decoder::new(Arc::new(Catalogue::built_in())));
    let mut all = Vec::new();
    for frame in frames {
        let frame = Frame { received: Stamp::at_ms(1_795_342_271_250), ..frame };
        let Ok(decoded) = decoder.decode(&frame) else { continue };
        all.extend(intake.take(&frame, decoded).readings);
    }
    all.retain(|r| r.taken.at_ms.is_some());
    all.iter_mut().for_each(|r| r.patient = Some(PatientId::new("Patient/8f2c")));
    all
}

#[test]
fn what_every_profile_decodes_can_be_read_back_from_its_resource() {
    let catalogue = Catalogue::built_in();
    let all: Vec<_> = catalogue.profiles().into_iter().flat_map(|p| readings(frames(p))).collect();
    assert!(all.len() > 60, "{}", all.len());
    all.iter().for_each(|r| check(r, &forms::scope(UsCore::Any)));
}

#[test]
fn what_every_vector_decodes_can_be_read_back_from_its_resource() {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("WARDLINE_SHARED").map_or_else(beside, PathBuf::from);
    let Ok(text) = std::fs::read_to_string(shared.join("standards/gatt-vectors-dev.json")) else {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: the vectors are not there; set WARDLINE_SHARED\n"),
        )
        .unwrap();
        return;
    };
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let frames = file["vectors"].as_array().unwrap().iter().filter_map(|v| {
        let uuid = v["characteristic"].as_str()?;
        let device = DeviceId("ble:C0:26:DF:00:11:22".into());
        let path = Path::Characteristic { device, uuid: uuid.into(), name: None };
        Some(Frame { path, ..Frame::new("vectors", octets("hex", v["hex"].as_str()?).ok()?, Stamp::at_ms(0)) })
    });
    let all = readings(frames.collect());
    assert!(all.len() > 40, "{}", all.len());
    // The vectors set these bits, and no others that have a code.
    let said: BTreeSet<&str> = all.iter().flat_map(Reading::statuses).map(|status| status.id).collect();
    assert!(said.contains("irregular-pulse") && said.len() > 5, "{said:?}");
    all.iter().for_each(|r| check(r, &forms::scope(UsCore::Any)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Any vital sign, any number, any unit that it may be measured in, any moment that a clock can say.
    #[test]
    fn any_reading_can_be_read_back(row in 0..VITALS.len(), unit in 0..64_usize, m in -99_999_999i64..99_999_999, e in -4i16..1, at in 0i64..4_000_000_000_000, bits: u64) {
        let vital = Vital::parse(VITALS[row].id).unwrap();
        let units: Vec<Unit> = wardline::unit::UNITS.iter().filter_map(|u| vital.unit(u.ucum)).collect();
        let unit = units[unit % units.len()];
        let mut reading = forms::plain(vital.id);
        let number = |n: i64| Value::Number(Decimal::new(n, e));
        reading.parts = vital.components.iter().enumerate().map(|(n, c)| Part { role: c.role, value: number(m + n as i64), unit }).collect();
        reading.taken.at_ms = Some(at);
        let set = STATUSES.iter().enumerate().filter(|(n, _)| bits & 1 << n != 0);
        reading.quality = set.filter_map(|(_, row)| Status::parse(row.id)).map(Quality::Status).collect();
        // A conversion that needs rounding keeps fewer decimals: `same` says how many for pressure only.
        let deliverable = vital.units.contains(&unit.ucum()) || vital.first_unit().is_some_and(|to| unit.power_of_ten(to).is_some());
        if deliverable || vital.id == "blood-pressure" {
            check(&reading, &forms::scope(UsCore::Any));
        }
    }
}
