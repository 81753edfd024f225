//! Virtual peripherals as a table: what each kind of device offers over the air, and what it has measured.
//!
//! The one source of both levels of the Bluetooth tests: the fake bluetoothd, and the simulated radio under the real one,
//! which reads it as JSON. Must never: say anything that a device of its kind does not.

use jiff::civil::{DateTime, date};
use serde::Serialize;

use crate::codec::ieee11073;
use crate::decimal::Decimal;
use crate::lab::device::{COMMON, Device, Gatt, Mishap, TOOLS, Tool, Use, read_value};
use crate::lab::patient::{HOUR, Patient};
use crate::reading::Reject;

/// 2026-01-01T00:00:00, as 2A2B.
pub const CLOCK: [u8; 10] = [0xea, 7, 1, 1, 0, 0, 0, 4, 0, 0];

/// When the first measurement is made, and a glucose sensor's session begins.
const SESSION: DateTime = date(2026, 11, 20).at(6, 0, 0, 0);

/// A sensor of continuous glucose. It is no [`Tool`]: what it says can be read only with what it said before.
pub const SENSOR: [Gatt; 4] = [
    ("181F", "2AA7", Use::Notify),
    ("181F", "2AA8", Use::Read),
    ("181F", "2AAA", Use::Read),
    ("181F", "2A52", Use::Control),
];

/// An oximeter that keeps its spot checks and sends all of them when it is asked.
pub const KEEPING_OXIMETER: [Gatt; 3] =
    [("1822", "2A5E", Use::Indicate), ("1822", "2A60", Use::Read), ("1822", "2A52", Use::Control)];

/// One device.
#[derive(Clone, Debug, Serialize)]
pub struct Peripheral {
    /// What it is.
    pub kind: String,
    /// Its local name.
    pub name: String,
    /// Its random static address.
    pub address: String,
    /// It keeps its records, and sends them when it is asked.
    pub memory: bool,
    /// What it offers: service, characteristic, use.
    pub gatt: Vec<(&'static str, &'static str, &'static str)>,
    /// What a read gives, hexadecimal, by characteristic.
    pub reads: std::collections::BTreeMap<&'static str, String>,
    /// What it has measured, oldest first.
    pub values: Vec<Value>,
}

/// A value on the air.
#[derive(Clone, Debug, Serialize)]
pub struct Value {
    /// Of which characteristic.
    pub uuid: String,
    /// Its octets, hexadecimal.
    pub hex: String,
    /// How many readings are in it.
    pub readings: usize,
}

/// Every kind of device, with so many hours of measurements in it.
pub fn table(hours: u32) -> Result<Vec<Peripheral>, Reject> {
    let tools = TOOLS.into_iter().map(|tool| {
        let gatt: Vec<Gatt> = tool.gatt().iter().chain(&COMMON).copied().collect();
        let address = Device::new(tool, 1).id.0.trim_start_matches("ble:").to_owned();
        let values = measured(tool, 1, hours, Mishap::None)?;
        Ok(Peripheral::new(&format!("{tool:?}"), address, tool.has_memory(), &gatt, values))
    });
    let gatt: Vec<Gatt> = SENSOR.iter().chain(&COMMON).copied().collect();
    let sensor = Peripheral::new("Sensor", "C0:26:DF:07:00:01".into(), true, &gatt, sensed(1, hours));
    let gatt: Vec<Gatt> = KEEPING_OXIMETER.iter().chain(&COMMON).copied().collect();
    let values = measured(Tool::Oximeter, 1, hours, Mishap::None)?;
    let keeping = Peripheral::new("KeepingOximeter", "C0:26:DF:08:00:01".into(), true, &gatt, values);
    tools.chain([Ok(sensor), Ok(keeping)]).collect()
}

/// What a glucose sensor has in its memory: one record an hour, by its minutes since the session began.
pub fn sensed(number: u32, hours: u32) -> Vec<(String, Vec<u8>, usize)> {
    let patient = Patient::new(1, number);
    let value = |hour: u32| {
        let glucose = Decimal::new(patient.at(HOUR * hour).glucose.round() as i64, 0);
        let [low, high] = ieee11073::encode_sfloat(glucose.into()).unwrap_or_default();
        let [first, second] = u16::try_from(hour * 60).unwrap_or(u16::MAX).to_le_bytes();
        ("2AA7".to_owned(), vec![6, 0, low, high, first, second], 1)
    };
    (0..hours).map(value).collect()
}

/// What a device of this kind and number measures in its first hours: characteristic, octets, readings in them.
pub fn measured(tool: Tool, number: u32, hours: u32, mishap: Mishap) -> Result<Vec<(String, Vec<u8>, usize)>, Reject> {
    let (patient, mut device) = (Patient::new(1, number), Device::new(tool, number));
    let mut values = Vec::new();
    for hour in 0..hours {
        let time: DateTime = SESSION.saturating_add(jiff::Span::new().hours(i64::from(hour)));
        for sent in device.measure(&patient.at(HOUR * hour), time, mishap)? {
            let (uuid, mut octets) = (sent.path.channel().to_owned(), sent.bytes.to_vec());
            let context = (tool == Tool::Glucometer && hour % 3 == 1).then(|| context(&mut octets)).flatten();
            values.push((uuid, octets, sent.says.len()));
            values.extend(context);
        }
    }
    Ok(values)
}

/// What the person typed in beside a glucose, announced in it: after a meal, tested by themselves.
fn context(measurement: &mut [u8]) -> Option<(String, Vec<u8>, usize)> {
    let [flags, low, high, ..] = measurement else { return None };
    *flags |= 0x10;
    Some(("2A34".into(), vec![0x06, *low, *high, 2, 0x51], 0))
}

impl Peripheral {
    fn new(kind: &str, address: String, memory: bool, gatt: &[Gatt], values: Vec<(String, Vec<u8>, usize)>) -> Self {
        let reads = gatt.iter().filter_map(|(_, uuid, how)| match how {
            Use::Read => Some((*uuid, hex(read_value(uuid)?))),
            Use::ReadWrite => Some((*uuid, hex(&CLOCK))),
            _ => None,
        });
        let value = |(uuid, octets, readings): (String, Vec<u8>, usize)| Value { uuid, hex: hex(&octets), readings };
        Self {
            kind: kind.to_owned(),
            name: format!("Lab {kind}"),
            address,
            memory,
            reads: reads.collect(),
            gatt: gatt.iter().map(|(service, uuid, how)| (*service, *uuid, word(*how))).collect(),
            values: values.into_iter().map(value).collect(),
        }
    }
}

fn word(how: Use) -> &'static str {
    match how {
        Use::Notify => "notify",
        Use::Indicate => "indicate",
        Use::Read => "read",
        Use::ReadWrite => "read-write",
        Use::Control => "control",
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_values_and_whatever_is_read_has_an_answer() {
        for p in table(3).unwrap() {
            assert!(
                p.values.len() >= 3
                    && p.values.iter().all(|v| (v.readings > 0 || v.uuid == "2A34") && !v.hex.is_empty()),
                "{}",
                p.kind
            );
            for (_, uuid, how) in &p.gatt {
                assert!(!how.starts_with("read") || p.reads.contains_key(uuid), "{} {uuid}", p.kind);
            }
        }
    }
}
