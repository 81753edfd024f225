//! Weight scale: 2A9D measurement, 2A9E feature (dossier §2.7).
//!
//! 0xFFFF is a weighing that failed. Must never: emit it as 327.675 kg.

use super::date_time;
use super::draft::Shared;
use super::ieee11073::Real;
use super::reader::read;
use super::record::Record;
use super::reject;
use super::scale::{self, System};
use crate::decimal::Decimal;
use crate::reading::{Draft, Reject, Value};

/// 2A9D.
pub(super) fn measurement(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        let system = System::of(flags & 1 != 0);
        record.put("unit", system.mass());
        let raw = r.u16("weight")?;
        record.put("weight", scale::measured(raw, system.read_mass(raw)));
        if flags & 2 != 0 {
            record.put("timestamp", date_time::optional(r, "timestamp")?);
        }
        if flags & 4 != 0 {
            record.put("user_id", r.u8("user id")?);
        }
        if flags & 8 != 0 {
            record.put("bmi", scale::fixed(r.u16("BMI")?, (1, -1)));
            record.put("height", system.read_length(r.u16("height")?));
            record.put("height_unit", system.length());
        }
        record.reserved(flags & 0xF0 != 0);
        Ok(())
    })
}

/// 2A9E. The resolutions inform; the encoding stays fixed.
pub(super) fn feature(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let raw = r.u32("features")?;
        record.put("timestamp", raw & 1 != 0);
        record.put("multiple_users", raw & 2 != 0);
        record.put("bmi", raw & 4 != 0);
        record.put("weight_resolution", raw >> 3 & 0x0F);
        record.put("height_resolution", raw >> 7 & 0x07);
        record.reserved(raw >> 10 != 0);
        Ok(())
    })
}

/// Weight, and BMI and height where the scale has them. 0 stands for a height that nobody entered.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let shared = Shared::of(record);
    let weight = record.value("weight");
    let weighed = matches!(weight, Some(Value::Number(_)));
    let entered = |name: &str| record.value(name).filter(|v| weighed && *v != Value::Number(Decimal::ZERO));
    shared.each([
        ("body-weight", weight, scale::ucum(record.text("unit"))),
        ("body-mass-index", entered("bmi"), "kg/m2"),
        ("body-height", entered("height"), scale::ucum(record.text("height_unit"))),
    ])
}

/// What a 2A9D says.
#[derive(Clone)]
pub struct Measurement {
    /// Units.
    pub system: System,
    /// Weight; a special value is sent as "unsuccessful".
    pub weight: Real,
    /// The scale's clock.
    pub time: Option<jiff::civil::DateTime>,
    /// Slot of the user.
    pub user: Option<u8>,
    /// BMI and height.
    pub bmi_height: Option<(Decimal, Decimal)>,
}

/// The octets of a 2A9D. Rejected: a number that its field does not hold.
pub fn encode(m: &Measurement) -> Result<Vec<u8>, Reject> {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let present = bit(m.time.is_some(), 2) | bit(m.user.is_some(), 4) | bit(m.bmi_height.is_some(), 8);
    let mut bytes = vec![present | bit(m.system == System::Imperial, 1)];
    let weight = match m.weight {
        Real::Number(n) => m.system.write_mass(n).ok_or_else(|| reject::illegal("weight"))?,
        Real::Special(_) => u16::MAX,
    };
    bytes.extend(weight.to_le_bytes());
    bytes.extend(m.time.into_iter().flat_map(date_time::encode));
    bytes.extend(m.user);
    if let Some((bmi, height)) = m.bmi_height {
        bytes.extend(scale::steps(bmi, (1, -1)).ok_or_else(|| reject::illegal("BMI"))?.to_le_bytes());
        bytes.extend(m.system.write_length(height).ok_or_else(|| reject::illegal("height"))?.to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;
    use crate::codec::vectors::octets;

    #[test]
    fn decimals_are_those_of_the_resolution() {
        assert_eq!(lines(&drafted("2A9D", "00b036")), ["body-weight 70.000 kg"]);
        let all = drafted("2A9D", "0f543de7070c190e1e2d03f500a802");
        assert_eq!(
            lines(&all),
            ["body-weight 157.00 [lb_av]", "body-mass-index 24.5 kg/m2", "body-height 68.0 [in_i]"]
        );
        assert!(all.iter().all(|d| d.slot == Some(3) && d.device_time.is_some()));
    }

    #[test]
    fn an_unsuccessful_weighing_is_an_absence_and_carries_nothing_else() {
        assert_eq!(lines(&drafted("2A9D", "00ffff")), ["body-weight Error kg"]);
        assert_eq!(drafted("2A9D", "08fffff500a802").len(), 1);
    }

    #[test]
    fn a_height_that_nobody_entered_is_no_reading() {
        assert_eq!(lines(&drafted("2A9D", "08b03600000000")), ["body-weight 70.000 kg"]);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let d = |t: &str| t.parse::<Decimal>().unwrap();
        let m = Measurement {
            system: System::Imperial,
            weight: Real::Number(d("157")),
            time: Some(jiff::civil::date(2023, 12, 25).at(14, 30, 45, 0)),
            user: Some(3),
            bmi_height: Some((d("24.5"), d("68"))),
        };
        assert_eq!(encode(&m).unwrap(), octets("0f543de7070c190e1e2d03f500a802").unwrap());
        let heavy = Measurement { system: System::Metric, weight: Real::Number(d("327.675")), ..m };
        assert_eq!(encode(&heavy).unwrap_err().code, "WL-D003");
    }
}
