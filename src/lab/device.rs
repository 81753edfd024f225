//! Virtual devices: a body in, the octets out that a device of its kind would send, and what they say.
//!
//! Promises: what [`Sent::says`] states is what the device measured, written down before it was encoded, so that the far
//! end of the gateway can be compared with it. Now and then a device has a bad day: [`Mishap`].

use bytes::Bytes;
use jiff::civil::DateTime;

use crate::codec::heart_rate::Contact;
use crate::codec::ieee11073::Real;
use crate::codec::scale::System;
use crate::codec::{
    Special, blood_pressure, body_composition, glucose, heart_rate, pulse_oximeter, temperature, weight,
};
use crate::decimal::Decimal;
use crate::lab::patient::Physiology;
use crate::reading::{DeviceId, Path, Reject};

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tool {
    /// Chest strap: heart rate, 2A37.
    HeartStrap,
    /// Upper arm cuff: blood pressure and pulse, 2A35.
    Cuff,
    /// Finger clip: oxygen saturation, pulse and perfusion, 2A5E.
    Oximeter,
    /// Ear thermometer: 2A1C.
    Thermometer,
    /// Scale: weight, 2A9D, and body composition, 2A9C.
    Scale,
    /// Meter with a memory: 2A18.
    Glucometer,
}

/// All kinds.
pub const TOOLS: [Tool; 6] =
    [Tool::HeartStrap, Tool::Cuff, Tool::Oximeter, Tool::Thermometer, Tool::Scale, Tool::Glucometer];

/// How a characteristic is used over the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Pushed unconfirmed.
    Notify,
    /// Pushed and confirmed by the link.
    Indicate,
    /// Read.
    Read,
    /// Read and written.
    ReadWrite,
    /// Written, and answered by indications: a control point.
    Control,
}

/// A characteristic of a device: service, UUID, use. Virtual peripherals are built from these.
pub type Gatt = (&'static str, &'static str, Use);

impl Tool {
    /// What a device of this kind offers beside battery and device information, its measurements first.
    pub fn gatt(self) -> &'static [Gatt] {
        match self {
            Self::HeartStrap => &[("180D", "2A37", Use::Notify)],
            Self::Cuff => {
                &[("1810", "2A35", Use::Indicate), ("1810", "2A49", Use::Read), ("1805", "2A2B", Use::ReadWrite)]
            }
            Self::Oximeter => &[("1822", "2A5E", Use::Indicate), ("1822", "2A60", Use::Read)],
            Self::Thermometer => &[("1809", "2A1C", Use::Indicate)],
            Self::Scale => &[("181D", "2A9D", Use::Indicate), ("181B", "2A9C", Use::Indicate)],
            Self::Glucometer => &[
                ("1808", "2A18", Use::Notify),
                ("1808", "2A34", Use::Notify),
                ("1808", "2A51", Use::Read),
                ("1808", "2A52", Use::Control),
            ],
        }
    }

    /// It keeps its records, and sends them when it is asked.
    pub fn has_memory(self) -> bool {
        self == Self::Glucometer
    }
}

/// What a characteristic that is read says; `None`: its use says more, or nobody reads it.
pub fn read_value(uuid: &str) -> Option<&'static [u8]> {
    Some(match uuid {
        "2A49" | "2A51" => &[0, 0],
        // Continuous glucose: no features, interstitial fluid under the skin, no checksum; the session of `SESSION`.
        "2AA8" => &[0, 0, 0, 0x59, 0xff, 0xff],
        "2AAA" => &[0xea, 7, 11, 20, 6, 0, 0, 0, 0],
        "2A60" => &[0x08, 0],
        "2A19" => &[87],
        "2A24" => b"Lab",
        "2A26" => b"1.0",
        _ => return None,
    })
}

/// What every device offers.
pub const COMMON: [Gatt; 3] = [("180F", "2A19", Use::Read), ("180A", "2A24", Use::Read), ("180A", "2A26", Use::Read)];

/// Something that goes wrong with one measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mishap {
    /// Nothing does.
    #[default]
    None,
    /// The device measured and has no number: NaN.
    NoNumber,
    /// The packet is cut short: it must be rejected whole.
    Short,
    /// The device sends the record a second time.
    Again,
}

/// Octets on their way, and what they say.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Which device, which characteristic.
    pub path: Path,
    /// The octets.
    pub bytes: Bytes,
    /// The readings in them. Empty: cut short, or sent before.
    pub says: Vec<Measured>,
    /// They must be rejected.
    pub broken: bool,
}

/// A reading as the device knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Id of the vital sign.
    pub vital: &'static str,
    /// Its numbers in order; `None`: measured without a number.
    pub numbers: Vec<Option<Decimal>>,
    /// UCUM.
    pub unit: &'static str,
}

/// One device of one patient.
#[derive(Clone, Debug)]
pub struct Device {
    /// What it is.
    pub tool: Tool,
    /// Its address.
    pub id: DeviceId,
    records: u16,
}

impl Device {
    /// The device of this kind that this patient holds.
    pub fn new(tool: Tool, patient: u32) -> Self {
        let [_, _, high, low] = patient.to_be_bytes();
        let id = DeviceId(format!("ble:C0:26:DF:{:02X}:{high:02X}:{low:02X}", tool as u8 + 1).into());
        Self { tool, id, records: 0 }
    }

    /// Measures this body at this time of the device's clock.
    pub fn measure(&mut self, body: &Physiology, time: DateTime, mishap: Mishap) -> Result<Vec<Sent>, Reject> {
        self.records = self.records.wrapping_add(1);
        let lost = mishap == Mishap::NoNumber;
        let mut sent = match self.tool {
            Tool::HeartStrap => vec![self.strap(body)?],
            Tool::Cuff => vec![self.cuff(body, time, lost)?],
            Tool::Oximeter => vec![self.oximeter(body, time, lost)?],
            Tool::Thermometer => vec![self.thermometer(body, time, lost)?],
            Tool::Scale => vec![self.scale(body, time)?, self.composition(body, time)?],
            Tool::Glucometer => vec![self.glucometer(body, time)?],
        };
        match mishap {
            // Cut before the whole: the person measures again, so the whole one follows.
            Mishap::Short => {
                if let Some(first) = sent.first().cloned() {
                    let half = first.bytes.len() / 2;
                    sent.insert(0, Sent { bytes: first.bytes.slice(..half), says: Vec::new(), broken: true, ..first });
                }
            }
            Mishap::Again => {
                let again: Vec<Sent> = sent.iter().map(|s| Sent { says: Vec::new(), ..s.clone() }).collect();
                sent.extend(again);
            }
            Mishap::None | Mishap::NoNumber => {}
        }
        Ok(sent)
    }

    fn sent(&self, uuid: &str, bytes: Vec<u8>, says: Vec<Measured>) -> Sent {
        let path = Path::Characteristic { device: self.id.clone(), uuid: uuid.into(), name: None };
        Sent { path, bytes: bytes.into(), says, broken: false }
    }

    fn strap(&self, body: &Physiology) -> Result<Sent, Reject> {
        let rate = decimal(body.heart_rate, 0);
        let rr = u16::try_from((60.0 / body.heart_rate.max(1.0) * 1024.0).round() as i64).unwrap_or(u16::MAX);
        let bytes = heart_rate::encode(&heart_rate::Measurement {
            rate: u16::try_from(rate.mantissa()).unwrap_or(0),
            contact: Contact::Detected,
            energy_kj: None,
            rr_1024: vec![rr],
        })?;
        Ok(self.sent("2A37", bytes, vec![one("heart-rate", Some(rate), "/min")]))
    }

    fn cuff(&self, body: &Physiology, time: DateTime, lost: bool) -> Result<Sent, Reject> {
        let (systolic, diastolic) = (decimal(body.systolic, 0), decimal(body.diastolic, 0));
        let mean = decimal(body.diastolic + (body.systolic - body.diastolic) / 3.0, 0);
        let pulse = decimal(body.heart_rate, 0);
        // A cuff that loses the lower pressure still has the upper one.
        let diastolic = (!lost).then_some(diastolic);
        let bytes = blood_pressure::encode(&blood_pressure::Measurement {
            kpa: false,
            systolic: systolic.into(),
            diastolic: real(diastolic),
            mean: mean.into(),
            time: Some(time),
            pulse: Some(pulse.into()),
            user: None,
            status: Some(0),
        })?;
        let numbers = vec![Some(systolic), diastolic, Some(mean)];
        let panel = Measured { vital: "blood-pressure", numbers, unit: "mm[Hg]" };
        Ok(self.sent("2A35", bytes, vec![panel, one("pulse-rate", Some(pulse), "/min")]))
    }

    fn oximeter(&self, body: &Physiology, time: DateTime, lost: bool) -> Result<Sent, Reject> {
        let number = |value, decimals| (!lost).then(|| decimal(value, decimals));
        let (spo2, pulse, amplitude) = (number(body.spo2, 0), number(body.heart_rate, 0), number(body.perfusion, 1));
        let bytes = pulse_oximeter::encode(&pulse_oximeter::SpotCheck {
            spo2: real(spo2),
            pulse: real(pulse),
            time: Some(time),
            status: None,
            sensor: None,
            amplitude: amplitude.map(Real::from),
            clock_not_set: false,
        })?;
        let mut says = vec![one("spo2", spo2, "%"), one("oximeter-pulse-rate", pulse, "/min")];
        says.extend(amplitude.map(|a| one("perfusion-index", Some(a), "%")));
        Ok(self.sent("2A5E", bytes, says))
    }

    fn thermometer(&self, body: &Physiology, time: DateTime, lost: bool) -> Result<Sent, Reject> {
        let value = (!lost).then(|| decimal(body.temperature, 1));
        let tympanum = Some(9);
        let m =
            temperature::Measurement { fahrenheit: false, temperature: real(value), time: Some(time), kind: tympanum };
        Ok(self.sent("2A1C", temperature::encode(&m)?, vec![one("body-temperature", value, "Cel")]))
    }

    fn scale(&self, body: &Physiology, time: DateTime) -> Result<Sent, Reject> {
        let kg = mass(body.weight);
        let m = weight::Measurement {
            system: System::Metric,
            weight: kg.into(),
            time: Some(time),
            user: None,
            bmi_height: None,
        };
        Ok(self.sent("2A9D", weight::encode(&m)?, vec![one("body-weight", Some(kg), "kg")]))
    }

    fn composition(&self, body: &Physiology, time: DateTime) -> Result<Sent, Reject> {
        let fat = decimal(body.fat, 1);
        let lean = mass(body.weight * (1.0 - body.fat / 100.0));
        let bytes = body_composition::encode(&body_composition::Measurement {
            system: System::Metric,
            fat: fat.into(),
            time: Some(time),
            user: None,
            basal_kj: None,
            muscle: None,
            masses: [None, Some(lean), None, None],
            impedance: None,
            weight: None,
            height: None,
            multiple_packet: false,
        })?;
        Ok(self.sent("2A9C", bytes, vec![one("body-fat", Some(fat), "%"), one("fat-free-mass", Some(lean), "kg")]))
    }

    fn glucometer(&self, body: &Physiology, time: DateTime) -> Result<Sent, Reject> {
        let result = decimal(body.glucose, 0);
        let bytes = glucose::encode(&glucose::Measurement {
            sequence: self.records,
            time,
            offset_min: Some(0),
            mmol_l: false,
            result: Some(result.into()),
            sample: 1,
            location: 1,
            status: None,
        })?;
        Ok(self.sent("2A18", bytes, vec![one("glucose-capillary-whole-blood", Some(result), "mg/dL")]))
    }
}

fn one(vital: &'static str, number: Option<Decimal>, unit: &'static str) -> Measured {
    Measured { vital, numbers: vec![number], unit }
}

fn real(number: Option<Decimal>) -> Real {
    number.map_or(Real::Special(Special::NaN), Real::from)
}

fn decimal(value: f64, decimals: i16) -> Decimal {
    Decimal::new((value * 10f64.powi(i32::from(decimals))).round() as i64, -decimals)
}

/// Scales count in steps of 5 g.
fn mass(kg: f64) -> Decimal {
    Decimal::new((kg * 200.0).round() as i64 * 5, -3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Quirk, find};
    use crate::lab::patient::{HOUR, Patient};
    use crate::reading::Value;

    fn time() -> DateTime {
        "2026-11-22T10:00:00".parse().unwrap()
    }

    /// What the codec reads from these octets.
    fn decoded(sent: &Sent) -> Result<Vec<Measured>, Reject> {
        let codec = find(sent.path.channel()).expect("a codec");
        let record = codec.decode(&sent.bytes, Quirk::None)?;
        let drafts = codec.drafts(&record).into_iter();
        Ok(drafts
            .map(|d| Measured {
                vital: crate::vital::VITALS.iter().find(|v| v.id == d.vital.id).map(|v| v.id).unwrap(),
                unit: d.parts[0].unit.ucum(),
                numbers: d
                    .parts
                    .iter()
                    .map(|p| match p.value {
                        Value::Number(n) => Some(n),
                        Value::Absent(_) => None,
                    })
                    .collect(),
            })
            .collect())
    }

    #[test]
    fn what_a_device_says_is_what_is_read() {
        for number in 0..20 {
            let patient = Patient::new(1, number);
            for tool in TOOLS {
                for mishap in [Mishap::None, Mishap::NoNumber, Mishap::Again] {
                    let body = patient.at(HOUR * number);
                    let sent = Device::new(tool, number).measure(&body, time(), mishap).unwrap();
                    for s in sent.iter().filter(|s| !s.says.is_empty()) {
                        assert_eq!(decoded(s).unwrap(), s.says, "{tool:?} {mishap:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_device_sends_it_offers() {
        for tool in TOOLS {
            let sent = Device::new(tool, 0).measure(&Patient::new(1, 0).at(HOUR), time(), Mishap::None).unwrap();
            for s in sent {
                let pushed = |g: &&Gatt| g.1 == s.path.channel() && matches!(g.2, Use::Notify | Use::Indicate);
                assert!(tool.gatt().iter().any(|g| pushed(&g)), "{tool:?}");
            }
        }
    }

    #[test]
    fn a_short_packet_is_rejected_and_a_whole_one_follows() {
        for tool in TOOLS {
            let sent = Device::new(tool, 0).measure(&Patient::new(1, 0).at(HOUR), time(), Mishap::Short).unwrap();
            assert!(sent[0].broken && sent[0].says.is_empty());
            assert!(decoded(&sent[0]).is_err(), "{tool:?}");
            assert!(!sent[1].broken && decoded(&sent[1]).is_ok());
        }
    }

    #[test]
    fn a_record_sent_again_is_the_same_record() {
        let sent =
            Device::new(Tool::Glucometer, 3).measure(&Patient::new(1, 3).at(HOUR), time(), Mishap::Again).unwrap();
        assert_eq!((sent.len(), &sent[0].bytes), (2, &sent[1].bytes));
        assert!(sent[1].says.is_empty());
    }
}
