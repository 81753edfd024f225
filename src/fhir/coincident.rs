//! What a device's clock said at a moment of ours: the coincident time stamp of the Personal Health Device guide.
//!
//! With it a reader can see how far a device's own times were off. Pure. Must never: name a patient, whose it is not.

use serde_json::{Value, json};

use super::device::{Device, author};
use super::scope::Scope;
use super::types::{date_time, system};
use crate::reading::DeviceTime;

/// Two clocks, read at the same moment.
#[derive(Clone, Debug)]
pub struct Clocks<'a> {
    /// The device, by its id here.
    pub device: &'a str,
    /// The device's; `None`: it says itself that it has lost the time.
    pub theirs: Option<DeviceTime>,
    /// The zone in which a device without one tells the time.
    pub zone: &'a jiff::tz::TimeZone,
    /// Ours, milliseconds since 1970.
    pub ours_ms: i64,
}

/// The Observation; its subject is the device. `None`: the device's local time does not exist in its zone.
pub fn coincident(clocks: &Clocks<'_>, scope: &Scope) -> Option<Value> {
    let device = Device::new(clocks.device);
    let mut out = json!({
        "resourceType": "Observation",
        "meta": {"tag": [{"system": system::MAPPING, "code": scope.mapping().stamp()}]},
        "status": "final",
        "code": {"coding": [{"system": system::MDC, "code": "67975", "display": "MDC_ATTR_TIME_ABS"}]},
        "subject": device.outside(scope),
        "effectiveDateTime": date_time(clocks.ours_ms, true),
        "device": author(scope),
    });
    let map = out.as_object_mut()?;
    match clocks.theirs {
        Some(time) => {
            map.insert("valueDateTime".into(), text(time, clocks.zone)?.into());
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

/// As the device said it: with the offset of its zone, or in UTC where it stated an instant.
fn text(time: DeviceTime, zone: &jiff::tz::TimeZone) -> Option<String> {
    match time {
        DeviceTime::Instant(at) => Some(date_time(at.as_millisecond(), at.subsec_millisecond() != 0)),
        DeviceTime::Civil(civil) => {
            let zoned = zone.to_ambiguous_zoned(civil).compatible().ok()?;
            Some(zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
        }
    }
}
