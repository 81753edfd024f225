//! BTHome v2 advertisements, service data FCD2 (dossier §4).
//!
//! An object of unknown id has an unknown length, so the whole advertisement is rejected.
//! Must never: take the temperature of a room for that of a body.

use super::draft::Shared;
use super::reader::read;
use super::record::{Field, Record};
use super::{Reader, reject};
use crate::decimal::Decimal;
use crate::reading::{Draft, Reject};

/// FCD2.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let info = r.u8("device information")?;
        if info >> 5 != 2 {
            return Err(reject::illegal("version"));
        }
        if info & 1 != 0 {
            return Err(reject::ENCRYPTED);
        }
        while r.left() > 0 {
            let (name, value) = object(r)?;
            if record.get(name).is_some() {
                return Err(reject::illegal("repeated object"));
            }
            record.put(name, value);
        }
        record.reserved(info & 0x1A != 0);
        Ok(())
    })
}

fn object(r: &mut Reader<'_>) -> Result<(&'static str, Field), Reject> {
    let hundredths = |raw: i64| Field::from(Decimal::new(raw, -2));
    Ok(match r.u8("object id")? {
        0x00 => ("packet_id", r.u8("packet id")?.into()),
        0x01 => ("battery_pct", r.u8("battery")?.into()),
        0x02 => ("temperature_c", hundredths(r.i16("temperature")?.into())),
        0x03 => ("humidity_pct", hundredths(r.u16("humidity")?.into())),
        0x04 => ("pressure_hpa", hundredths(r.u24("pressure")?.into())),
        0x06 => ("mass_kg", hundredths(r.u16("mass")?.into())),
        0x07 => ("mass_lb", hundredths(r.u16("mass")?.into())),
        0x2E => ("humidity_pct", r.u8("humidity")?.into()),
        0x45 => ("temperature_c", Decimal::new(r.i16("temperature")?.into(), -1).into()),
        _ => return Err(reject::illegal("object id")),
    })
}

/// A scale's weight. The packet id only tells repetitions of one broadcast; it wraps too soon to be a sequence.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    let shared = Shared::default();
    let kilograms = shared.one("body-weight", record.value("mass_kg"), "kg");
    kilograms.or_else(|| shared.one("body-weight", record.value("mass_lb"), "[lb_av]")).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use crate::codec::tests::*;

    #[test]
    fn a_scale_s_mass_is_a_weight_and_a_room_s_temperature_is_nothing() {
        assert_eq!(lines(&drafted("ADV:FCD2", "4000090161065e1f")), ["body-weight 80.30 kg"]);
        assert_eq!(lines(&drafted("ADV:FCD2", "44073e1d")), ["body-weight 74.86 [lb_av]"]);
        assert!(drafted("ADV:FCD2", "40451101").is_empty());
        assert_eq!(json("ADV:FCD2", "4002f6ff"), r#"{"temperature_c":-0.10}"#);
    }

    #[test]
    fn what_cannot_be_read_is_rejected_whole() {
        assert_eq!(rejected("ADV:FCD2", "41a47266c95f73"), "WL-D007");
        assert_eq!(rejected("ADV:FCD2", "20065e1f"), "WL-D003");
        assert_eq!(rejected("ADV:FCD2", "40065e1fee01"), "WL-D003");
        assert_eq!(rejected("ADV:FCD2", "40065e1f065e1f"), "WL-D003");
    }
}
