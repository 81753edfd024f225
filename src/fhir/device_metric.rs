//! DeviceMetric: one thing that a sensor measures, by its MDC code, with the unit that it comes in.
//!
//! Pure: a reading goes in, the metrics of its sensor come out. Promises: the same device and code give the same name. Must
//! never: guess how a sensor works at this moment (`operationalStatus`, `calibration`, `measurementPeriod`), or what it is part of.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::bundle::{Single, Target, Write};
use super::codes;
use super::device::Device;
use super::device_resource::{Facts, keeps_phd};
use super::identity::hashed_id;
use super::observation::delivered_unit;
use super::scope::Scope;
use super::types::system;
use crate::reading::Reading;
use crate::unit::{Dimension, Unit};
use crate::vital::{Mdc, Role, Vital};

/// Vital signs that are by their definition worked out from others.
const WORKED_OUT: [&str; 3] = ["average-blood-pressure", "body-mass-index", "fev1-fvc"];

/// One thing that a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric<'a> {
    /// The sensor, by its id here.
    pub device: &'a str,
    /// The vital sign.
    pub vital: Vital,
    code: Mdc,
    unit: Option<Unit>,
    /// Worked out from what was measured: the mean of a stream, a ratio.
    worked_out: bool,
}

impl<'a> Metric<'a> {
    /// What a reading shows of its sensor: its vital sign; of a panel without a code of its own, each number that has one.
    /// Empty: nothing that has an MDC code came with a number.
    pub fn of(reading: &'a Reading, scope: &Scope) -> Vec<Self> {
        let (vital, device) = (reading.vital, &*reading.device.0);
        let worked_out = reading.lasted_ms().is_some() || WORKED_OUT.contains(&vital.id);
        let unit = |role| delivered_unit(reading, role, scope.mapping());
        let numbers = vital.components.iter().filter(|c| reading.number(c.role).is_some());
        let one = |code, unit| Self { device, vital, code, unit, worked_out };
        match codes::mdc(vital, reading.site) {
            Some(code) => {
                let roles: Vec<Role> = numbers.map(|c| c.role).collect();
                let units: BTreeSet<&str> = roles.iter().filter_map(|role| unit(*role)).map(Unit::ucum).collect();
                // Of a panel with several there is none to name.
                let only = units.first().filter(|_| units.len() == 1).and_then(|ucum| Unit::parse(ucum));
                if roles.is_empty() { Vec::new() } else { vec![one(code, only)] }
            }
            None => numbers.filter_map(|c| Some(one(c.mdc?, unit(c.role)))).collect(),
        }
    }

    fn category(&self) -> &'static str {
        if self.worked_out { "calculation" } else { "measurement" }
    }

    /// What it is known by, and its id where the id is ours: of the device, the code and the category.
    pub fn name(&self) -> String {
        let known = Device::new(self.device);
        let device = known.identifier();
        let text = format!("{}|{}|{}|{}", device.system, device.value, self.code.0, self.category());
        hashed_id("wl-metric-", &text)
    }

    /// To be written where a server keeps Devices: updated under an id of ours, or created once.
    pub fn single(&self, scope: &Scope, facts: &Facts, write: Write) -> Single {
        let (name, mut metric) = (self.name(), device_metric(self, scope, facts));
        let target = match write {
            Write::ConditionalCreate => Target::create("DeviceMetric", system::METRIC, &name),
            Write::Update => {
                metric.insert("id".into(), name.as_str().into());
                Target::put(format!("DeviceMetric/{name}"))
            }
        };
        Single { target, body: Value::Object(metric).to_string().into_bytes() }
    }
}

/// The resource. `facts`: what is known of the sensor; the guide's profile is claimed where its Device claims one.
pub fn device_metric(metric: &Metric<'_>, scope: &Scope, facts: &Facts) -> Map<String, Value> {
    let (device, Mdc(code, name)) = (Device::new(metric.device), metric.code);
    let mut out = Map::new();
    out.insert("resourceType".into(), "DeviceMetric".into());
    let mut meta = json!({"tag": [{"system": system::MAPPING, "code": scope.mapping().stamp()}]});
    if let Some(meta) = meta.as_object_mut().filter(|_| keeps_phd(facts) && scope.place(metric.device).is_some()) {
        let profile = "http://hl7.org/fhir/uv/phd/StructureDefinition/PhdDeviceMetric";
        meta.insert("profile".into(), json!([profile]));
    }
    out.insert("meta".into(), meta);
    out.insert("identifier".into(), json!([{"system": system::METRIC, "value": metric.name()}]));
    let coding = json!([{"system": system::MDC, "code": code.to_string(), "display": name}]);
    out.insert("type".into(), json!({"coding": coding, "text": name}));
    if let Some(unit) = metric.unit {
        out.insert("unit".into(), unit_of(metric.vital, unit));
    }
    out.insert("source".into(), json!(device.outside(scope)));
    out.insert("category".into(), metric.category().into());
    out
}

/// UCUM, as the guide asks for it, and the MDC code that its example has.
fn unit_of(vital: Vital, unit: Unit) -> Value {
    let mut coding = vec![json!({"system": system::UCUM, "code": unit.ucum()})];
    let mdc = match unit.dimension() {
        // Breaths are counted by another unit than heart beats, under one UCUM code.
        Dimension::Rate if vital.id == "respiratory-rate" => Some(264_928),
        _ => unit.mdc(),
    };
    coding.extend(mdc.map(|code| json!({"system": system::MDC, "code": code.to_string()})));
    match unit.display() {
        "" => json!({"coding": coding}),
        text => json!({"coding": coding, "text": text}),
    }
}
