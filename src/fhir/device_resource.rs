//! Device resources: the sensor (PhdDevice) and the gateway (PhgDevice) of the Personal Health Device guide.
//!
//! Pure: what is known goes in, the resource comes out. Promises: the guide's profile is claimed only where all that it
//! asks for is there. Must never: invent a system id, a maker or a certificate.

use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::bundle::{Single, Target, Write};
use super::device::Device;
use super::identity::{escaped, hashed_id};
use super::inbound::is_id;
use super::scope::Scope;
use super::types::system;
use crate::nameplate::{Nameplate, Udi};
use crate::reading::Reading;
use crate::vital::Vital;

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What it says of itself.
    pub plate: Nameplate,
    /// What it measures, as far as it was seen.
    pub vitals: Vec<Vital>,
    /// How its clock is kept right: false by nobody, true by this gateway. `None`: it has none, or it is not known.
    pub clock_is_set: Option<bool>,
}

/// What an Observation holds of its devices: the sensor as far as the reading tells, and this gateway.
pub(super) fn contained(reading: &Reading, scope: &Scope) -> [Value; 2] {
    let facts = Facts { vitals: vec![reading.vital], ..Facts::default() };
    [sensor_device(&reading.device.0, &facts, Some("sensor")), gateway_device(scope, Some("gateway"))]
}

/// The sensor. `device`: its id here.
pub fn sensor_device(device: &str, facts: &Facts, id: Option<&str>) -> Value {
    let (known, plate) = (Device::new(device), &facts.plate);
    let address = known.identifier();
    let mut identifiers = Vec::with_capacity(2);
    if let Some(eui) = &plate.system_id {
        identifiers.push(identifier(Some("SYSID"), system::SYSTEM_ID, eui));
    }
    let kind = (address.system == system::BLUETOOTH_ADDRESS).then_some("BTMAC");
    identifiers.push(identifier(kind, address.system, address.value));
    let specialization = specializations(&facts.vitals);
    let mut out = resource(id, keeps_phd(facts).then_some("PhdDevice"));
    out.insert("identifier".into(), identifiers.into());
    put(&mut out, "manufacturer", plate.manufacturer.as_ref());
    put(&mut out, "modelNumber", plate.model.as_ref());
    put(&mut out, "serialNumber", plate.serial.as_ref());
    if let Some(udi) = &plate.udi {
        out.insert("udiCarrier".into(), carrier(udi));
    }
    out.insert("type".into(), mdc(65_573, "MDC_MOC_VMS_MDS_SIMP"));
    if !specialization.is_empty() {
        out.insert("specialization".into(), specialization.into());
    }
    let versions = versions(plate);
    if !versions.is_empty() {
        out.insert("version".into(), versions.into());
    }
    let properties = properties(facts);
    if !properties.is_empty() {
        out.insert("property".into(), properties.into());
    }
    Value::Object(out)
}

/// System id, maker, model and specialization: all of them, or no claim.
pub(super) fn keeps_phd(facts: &Facts) -> bool {
    let plate = &facts.plate;
    let named = plate.system_id.is_some() && plate.manufacturer.is_some() && plate.model.is_some();
    named && !specializations(&facts.vitals).is_empty()
}

/// This gateway. Its name at the centre takes the place of an EUI-64, so the guide's profile is not claimed.
pub fn gateway_device(scope: &Scope, id: Option<&str>) -> Value {
    let mut out = resource(id, None);
    out.insert("identifier".into(), json!([identifier(None, system::GATEWAY, &scope.gateway)]));
    out.insert("manufacturer".into(), json!("Wardline"));
    out.insert("deviceName".into(), json!([{"name": "Wardline", "type": "manufacturer-name"}]));
    out.insert("type".into(), mdc(531_981, "MDC_MOC_VMS_MDS_AHD"));
    out.insert("version".into(), json!([version(531_975, "MDC_ID_PROD_SPEC_SW", env!("CARGO_PKG_VERSION"))]));
    Value::Object(out)
}

/// The sensor, to be written where a server keeps its Devices: updated under an id of ours, or created once.
pub fn sensor(device: &str, facts: &Facts, write: Write) -> Single {
    let known = Device::new(device);
    let named = known.identifier();
    let (id, target) = target(write, named.system, named.value);
    Single { target, body: sensor_device(device, facts, id.as_deref()).to_string().into_bytes() }
}

/// This gateway, likewise.
pub fn gateway(scope: &Scope, write: Write) -> Single {
    let (id, target) = target(write, system::GATEWAY, &scope.gateway);
    Single { target, body: gateway_device(scope, id.as_deref()).to_string().into_bytes() }
}

/// A Device, or what else of it a server holds, with what is known by now put in and all else left as it is, to be written in its place.
/// `None`: it says all of it already, or it is another kind of resource.
pub fn renewed(found: &[u8], ours: &Single) -> Option<Single> {
    // As it is written there: a number that passed through a parser might lose a digit.
    let mut found: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(found).ok()?;
    let ours: Map<String, Value> = serde_json::from_slice(&ours.body).ok()?;
    let said = |found: &BTreeMap<String, Box<RawValue>>, key: &str| -> Option<Value> {
        serde_json::from_str(found.get(key)?.get()).ok()
    };
    let id = said(&found, "id").filter(|_| said(&found, "resourceType").as_ref() == ours.get("resourceType"))?;
    let kind = ours.get("resourceType")?.as_str()?;
    let target = Target::put(format!("{kind}/{}", id.as_str().filter(|id| is_id(id))?));
    let mut changed = false;
    for (key, value) in ours {
        let before = said(&found, &key);
        let after = match key.as_str() {
            "resourceType" | "id" => continue,
            "identifier" => with(before.clone(), value),
            "meta" => {
                let mut meta = before.clone().unwrap_or_else(|| json!({}));
                let (Some(parts), Some(profile)) = (meta.as_object_mut(), value.get("profile").cloned()) else {
                    continue;
                };
                let profiles = with(parts.remove("profile"), profile);
                parts.insert("profile".into(), profiles);
                meta
            }
            _ => value,
        };
        if before.as_ref() != Some(&after) {
            found.insert(key, to_raw_value(&after).ok()?);
            changed = true;
        }
    }
    let body = changed.then(|| serde_json::to_vec(&found).ok()).flatten()?;
    Some(Single { target, body })
}

/// The id of the one resource of this kind in a searchset. `None`: there is none, or it is not the only one.
pub fn only(searchset: &[u8], kind: &str) -> Option<String> {
    let found: Value = serde_json::from_slice(searchset).ok()?;
    let resources = found.get("entry")?.as_array()?.iter().filter_map(|entry| entry.get("resource"));
    let mut ids = resources.filter(|r| r.get("resourceType").is_some_and(|k| k == kind)).map(|r| r.get("id"));
    let (first, second) = (ids.next()??, ids.next());
    first.as_str().filter(|id| second.is_none() && is_id(id)).map(str::to_owned)
}

/// The list with what is not in it yet; of identifiers, system and value decide.
fn with(list: Option<Value>, more: Value) -> Value {
    let mut list = list.unwrap_or_else(|| json!([]));
    let (Some(all), Value::Array(more)) = (list.as_array_mut(), more) else { return list };
    let same = |a: &Value, b: &Value| {
        a == b || a.is_object() && ["system", "value"].into_iter().all(|key| a.get(key) == b.get(key))
    };
    for one in more {
        if !all.iter().any(|there| same(there, &one)) {
            all.push(one);
        }
    }
    list
}

fn target(write: Write, system: &str, value: &str) -> (Option<String>, Target) {
    match write {
        Write::Update => {
            let id = hashed_id("wl-device-", &format!("{system}|{value}"));
            (Some(id.clone()), Target::put(format!("Device/{id}")))
        }
        Write::ConditionalCreate => (None, Target::create("Device", system, &escaped(value))),
    }
}

fn resource(id: Option<&str>, profile: Option<&str>) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("resourceType".into(), "Device".into());
    put(&mut out, "id", id);
    if let Some(profile) = profile {
        let profile = format!("http://hl7.org/fhir/uv/phd/StructureDefinition/{profile}");
        out.insert("meta".into(), json!({ "profile": [profile] }));
    }
    out
}

fn put(out: &mut Map<String, Value>, key: &str, text: Option<impl AsRef<str>>) {
    if let Some(text) = text.as_ref().map(AsRef::as_ref).filter(|t: &&str| !t.is_empty()) {
        out.insert(key.into(), text.into());
    }
}

fn identifier(kind: Option<&str>, system: &str, value: &str) -> Value {
    match kind {
        Some(code) => json!({
            "type": {"coding": [{"system": system::DEVICE_IDENTIFIERS, "code": code}]},
            "system": system,
            "value": value,
        }),
        None => json!({"system": system, "value": value}),
    }
}

fn mdc(code: u32, display: &str) -> Value {
    json!({"coding": [{"system": system::MDC, "code": code.to_string(), "display": display}]})
}

fn version(code: u32, display: &str, value: &str) -> Value {
    json!({"type": mdc(code, display), "value": value})
}

fn clock(code: u32, display: &str) -> Value {
    json!({"type": mdc(68_220, "MDC_TIME_SYNC_PROTOCOL"), "valueCode": [mdc(code, display)]})
}

fn versions(plate: &Nameplate) -> Vec<Value> {
    let said = [
        (&plate.hardware, 531_974, "MDC_ID_PROD_SPEC_HW"),
        (&plate.software, 531_975, "MDC_ID_PROD_SPEC_SW"),
        (&plate.firmware, 531_976, "MDC_ID_PROD_SPEC_FW"),
    ];
    let said = said.into_iter().filter_map(|(text, code, name)| Some((text.as_deref()?, code, name)));
    let mut out: Vec<_> = said.filter(|(t, ..)| !t.is_empty()).map(|(t, code, name)| version(code, name, t)).collect();
    if let Some((major, minor)) = plate.certification.as_ref().and_then(|c| c.version) {
        out.push(version(532_352, "MDC_REG_CERT_DATA_CONTINUA_VERSION", &format!("{major}.{minor}")));
    }
    out
}

fn properties(facts: &Facts) -> Vec<Value> {
    let mut out = Vec::new();
    match facts.clock_is_set {
        // What sets it is the gateway over the link, for which the nomenclature has no protocol that is verified here.
        Some(true) | None => {}
        Some(false) => out.push(clock(532_224, "MDC_TIME_SYNC_NONE")),
    }
    let Some(certification) = &facts.plate.certification else { return out };
    if !certification.interfaces.is_empty() {
        let codes = certification.interfaces.iter();
        let codes: Vec<_> =
            codes.map(|n| json!({"coding": [{"system": system::PHD_INTERFACES, "code": n.to_string()}]})).collect();
        out.push(json!({"type": mdc(532_353, "MDC_REG_CERT_DATA_CONTINUA_CERT_DEV_LIST"), "valueCode": codes}));
    }
    if let Some(regulated) = certification.regulated {
        let code = if regulated { "N" } else { "Y" };
        out.push(json!({
            "type": {"coding": [{"system": system::ASN1_TO_HL7, "code": "532354.0"}], "text": "regulation-status"},
            "valueCode": [{"coding": [{"system": system::YES_NO, "code": code}]}],
        }));
    }
    out
}

fn carrier(udi: &Udi) -> Value {
    let mut out = Map::new();
    put(&mut out, "deviceIdentifier", udi.di.as_ref());
    put(&mut out, "issuer", udi.issuer.as_ref());
    put(&mut out, "jurisdiction", udi.authority.as_ref());
    put(&mut out, "carrierHRF", udi.label.as_ref());
    json!([out])
}

/// Which specialization of IEEE 11073 a vital sign belongs to.
const fn specialization(id: &str) -> Option<(u32, &'static str)> {
    Some(match id.as_bytes() {
        b"blood-pressure" | b"pulse-rate" | b"average-blood-pressure" => (528_391, "Blood pressure monitor"),
        b"spo2" | b"oximeter-pulse-rate" | b"perfusion-index" => (528_388, "Pulse oximeter"),
        b"heart-rate" | b"rr-interval" | b"pr-interval" | b"qtc-interval" => (528_390, "Basic ECG"),
        b"body-temperature" => (528_392, "Thermometer"),
        b"respiratory-rate" => (528_397, "Respiration rate monitor"),
        b"body-weight" | b"body-height" | b"body-mass-index" => (528_399, "Weighing scale"),
        b"inr" => (528_402, "Coagulation meter"),
        b"body-fat" | b"fat-free-mass" | b"soft-lean-mass" | b"body-water-mass" | b"impedance" | b"muscle-mass" => {
            (528_404, "Body composition analyser")
        }
        b"peak-expiratory-flow" | b"fev1" | b"fev6" | b"fvc" => (528_405, "Peak flow monitor"),
        b"glucose-interstitial" => (528_409, "Continuous glucose monitor"),
        b"steps" | b"steps-24h" => (528_484, "Step counter"),
        [b'g', b'l', b'u', b'c', b'o', b's', b'e', ..] => (528_401, "Glucose meter"),
        _ => return None,
    })
}

fn specializations(vitals: &[Vital]) -> Vec<Value> {
    let mut found: Vec<(u32, &str)> = vitals.iter().filter_map(|v| specialization(v.id)).collect();
    found.sort_unstable();
    found.dedup();
    let one = |(code, text): (u32, &str)| {
        json!({
            "systemType": {"coding": [{"system": system::MDC, "code": code.to_string()}], "text": text},
            "version": "1",
        })
    };
    found.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_into_a_device_stays_to_the_letter() {
        let ours = Single {
            target: Target::put("Device/d".into()),
            body: br#"{"resourceType":"Device","identifier":[{"system":"s","value":"1"}],"manufacturer":"A&D"}"#
                .to_vec(),
        };
        let theirs = r#"{"resourceType":"Device","id":"d","identifier":[{"system":"x","value":"9"}],
            "property":[{"valueQuantity":[{"value":1.10}]}],"unknownToUs":{"a":1e400}}"#;
        let new = renewed(theirs.as_bytes(), &ours).unwrap();
        let text = String::from_utf8(new.body.clone()).unwrap();
        for kept in ["\"value\":1.10", "1e400", "\"value\":\"9\"", "\"value\":\"1\"", "A&D"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert_eq!(new.target.url, "Device/d");
        assert!(renewed(&new.body, &ours).is_none(), "it says all of it already");
        for broken in ["{", r#"{"resourceType":"Patient","id":"d"}"#, r#"{"resourceType":"Device","id":"../d"}"#] {
            assert!(renewed(broken.as_bytes(), &ours).is_none(), "{broken}");
        }
    }
}
