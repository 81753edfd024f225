//! Xiaomi scales by advertisement: 181D (Mi Scale 1) and 181B (Mi Scale 2), dossier §4.
//!
//! A weight counts when it is stabilised and the person still stands on the scale; `stabilized` means both.
//! Must never: make a reading of a weight that is still moving, or of an empty scale.

use super::date_time;
use super::draft::Shared;
use super::reader::read;
use super::record::Record;
use super::{Reader, scale};
use crate::reading::{Draft, Reject, Value};

/// The scale's own clock; vectors do not name it.
pub(super) const CLOCK: &str = "device_clock";
/// Step of kilograms and catties: the scale counts half a catty as a kilogram does.
const KILOGRAMS: (i64, i16) = (5, -3);
const POUNDS: (i64, i16) = (1, -2);

/// 181D.
pub(super) fn scale1(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let control = r.u8("control")?;
        weight(r, record, control & 1 != 0)?;
        record.put(CLOCK, date_time::optional(r, "clock")?);
        state(record, control);
        Ok(())
    })
}

/// 181B.
pub(super) fn scale2(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let unit = r.u8("unit")?;
        let control = r.u8("control")?;
        let clock = date_time::optional(r, "clock")?;
        let impedance = r.u16("impedance")?;
        weight(r, record, unit & 1 != 0)?;
        record.put("impedance_ohm", impedance);
        record.put(CLOCK, clock);
        state(record, control);
        Ok(())
    })
}

fn weight(r: &mut Reader<'_>, record: &mut Record, pounds: bool) -> Result<(), Reject> {
    let (name, step) = if pounds { ("weight_lb", POUNDS) } else { ("weight_kg", KILOGRAMS) };
    record.put(name, scale::fixed(r.u16("weight")?, step));
    Ok(())
}

fn state(record: &mut Record, control: u8) {
    let removed = control & 0x80 != 0;
    record.put("stabilized", control & 0x20 != 0 && !removed);
    record.put("removed", removed);
}

/// One weight, once it is stable.
pub(super) fn drafts(record: &Record) -> Vec<Draft> {
    if !record.flag("stabilized") {
        return Vec::new();
    }
    let mut shared = Shared::default();
    shared.time(date_time::of(record, CLOCK));
    // 0 and the largest numbers stand for "not measured".
    let measured = |v: &Value| matches!(v, Value::Number(n) if (1..0xFFFE).contains(&n.mantissa()));
    shared.each([
        ("body-weight", record.value("weight_kg"), "kg"),
        ("body-weight", record.value("weight_lb"), "[lb_av]"),
        ("impedance", record.value("impedance_ohm").filter(measured), "Ohm"),
    ])
}

#[cfg(test)]
mod tests {
    use crate::codec::tests::*;

    #[test]
    fn only_a_stable_weight_with_the_person_on_it_counts() {
        assert!(drafted("ADV:181D", "a22044b20701010a1a15").is_empty(), "removed");
        assert!(drafted("ADV:181D", "022044b20701010a1a15").is_empty(), "moving");
        let stable = drafted("ADV:181D", "222044e807060f11111b");
        assert_eq!(lines(&stable), ["body-weight 87.200 kg"]);
        assert!(stable[0].device_time.is_some());
        assert_eq!(lines(&drafted("ADV:181D", "23543de807060f11111b")), ["body-weight 157.00 [lb_av]"]);
        assert_eq!(lines(&drafted("ADV:181D", "32b036e807060f11111b")), ["body-weight 70.000 kg"], "catty");
    }

    #[test]
    fn scale_two_has_an_impedance_unless_it_has_none() {
        assert_eq!(
            lines(&drafted("ADV:181B", "0226e807060f11111bf401b036")),
            ["body-weight 70.000 kg", "impedance 500 Ohm"]
        );
        for none in ["0000", "feff", "ffff"] {
            assert_eq!(drafted("ADV:181B", &format!("0224e807060f11111b{none}b036")).len(), 1);
        }
        assert!(drafted("ADV:181B", "02a6e807060f11111bf401b036").is_empty());
    }
}
