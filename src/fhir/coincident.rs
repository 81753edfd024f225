//! What a device's clock said at a moment of ours: the coincident time stamp of the Personal Health Device guide.
//!
//! With it a reader can see how far a device's own times were off. Pure. Must never: name a patient, whose it is not.

use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::bundle::{Single, Target, Write};
use super::device::{Device, author};
use super::identity::hashed_id;
use super::scope::Scope;
use super::types::{date_time, system};
use crate::reading::{Coincident, Reading};

/// Where an Observation names the pair of clocks that it was dated by.
pub(super) const REFERENCE_EXTENSION: &str =
    "http://hl7.org/fhir/uv/phd/StructureDefinition/CoincidentTimeStampReference";

/// No zone is further from UTC.
const OFFSET_MAX_MIN: i16 = 14 * 60;

/// Two clocks, read at the same moment.
#[derive(Clone, Debug)]
pub struct Clocks<'a> {
    /// The device, by its id here.
    pub device: &'a str,
    /// The device's, and by how many minutes its zone was ahead of UTC; `None`: it says itself that it has lost the time.
    pub theirs: Option<(DateTime, i16)>,
    /// Ours, milliseconds since 1970.
    pub ours_ms: i64,
}

impl<'a> Clocks<'a> {
    /// Those that a reading was dated by.
    pub fn of(reading: &'a Reading) -> Option<Self> {
        let Coincident { device, offset_min, box_ms } = reading.clocks.as_deref()?;
        Some(Self { device: &reading.device.0, theirs: Some((*device, *offset_min)), ours_ms: *box_ms })
    }

    /// What it is known by at a destination: of the gateway, the device and both times, so that it is the same each time.
    pub fn name(&self, scope: &Scope) -> String {
        let theirs = self.theirs.map_or_else(|| "lost".into(), |(face, minutes)| format!("{face}|{minutes}"));
        hashed_id("wl-clock-", &format!("{}|{}|{}|{theirs}", scope.gateway, self.device, self.ours_ms))
    }

    /// To be written where a server keeps Devices. `None`: it cannot be told in FHIR.
    pub fn single(&self, scope: &Scope, write: Write) -> Option<Single> {
        let (name, mut observation) = (self.name(scope), coincident(self, scope)?);
        let target = match write {
            Write::ConditionalCreate => Target::create("Observation", system::CLOCK, &name),
            Write::Update => {
                observation.as_object_mut()?.insert("id".into(), name.as_str().into());
                Target::put(format!("Observation/{name}"))
            }
        };
        Some(Single { target, body: observation.to_string().into_bytes() })
    }
}

/// The Observation; its subject is the device. `None`: FHIR has no such time.
pub fn coincident(clocks: &Clocks<'_>, scope: &Scope) -> Option<Value> {
    let device = Device::new(clocks.device);
    let mut out = json!({
        "resourceType": "Observation",
        "meta": {"tag": [{"system": system::MAPPING, "code": scope.mapping().stamp()}]},
        "identifier": [{"system": system::CLOCK, "value": clocks.name(scope)}],
        "status": "final",
        "code": {"coding": [{"system": system::MDC, "code": "67975", "display": "MDC_ATTR_TIME_ABS"}]},
        "subject": device.outside(scope),
        "effectiveDateTime": date_time(clocks.ours_ms, true),
        "device": author(scope),
    });
    let map = out.as_object_mut()?;
    match clocks.theirs {
        Some((face, offset_min)) => {
            map.insert("valueDateTime".into(), text(face, offset_min)?.into());
        }
        None => {
            let coding = json!([{"system": system::DATA_ABSENT_REASON, "code": "unknown"}]);
            map.insert("dataAbsentReason".into(), json!({"coding": coding, "text": "Sensor Time Fault"}));
        }
    }
    // The guide asks for literal references to both devices.
    if scope.place(clocks.device).is_some() && scope.place(&scope.gateway).is_some() {
        let profile = "http://hl7.org/fhir/uv/phd/StructureDefinition/PhdCoincidentTimeStampObservation";
        map.get_mut("meta")?.as_object_mut()?.insert("profile".into(), json!([profile]));
    }
    Some(out)
}

/// As the device showed it, with the offset of its zone.
fn text(face: DateTime, offset_min: i16) -> Option<String> {
    let (year, minutes) = (u16::try_from(face.year()).ok().filter(|year| *year > 0)?, offset_min.unsigned_abs());
    let sign = if offset_min < 0 { '-' } else { '+' };
    let known = (-OFFSET_MAX_MIN..=OFFSET_MAX_MIN).contains(&offset_min);
    known.then(|| format!("{year:04}{}{sign}{:02}:{:02}", face.strftime("-%m-%dT%H:%M:%S"), minutes / 60, minutes % 60))
}
