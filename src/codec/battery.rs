//! Battery: 2A19 level, 2BED level status (dossier §2.8).
//!
//! Must never: pass a level above 100 %.

use super::reader::read;
use super::record::Record;
use super::{Reader, reject};
use crate::reading::Reject;

/// 2A19.
pub(super) fn level(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, percent)
}

/// 2BED.
pub(super) fn status(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        let state = r.u16("power state")?;
        let field = |shift: u32, bits: u32| state >> shift & ((1 << bits) - 1);
        record.put("battery_present", field(0, 1) == 1);
        for (name, shift, bits) in [
            ("wired", 1, 2),
            ("wireless", 3, 2),
            ("charge_state", 5, 2),
            ("charge_level", 7, 2),
            ("charging_type", 9, 3),
            ("fault", 12, 3),
        ] {
            record.put(name, field(shift, bits));
        }
        if flags & 1 != 0 {
            record.put("identifier", r.u16("identifier")?);
        }
        if flags & 2 != 0 {
            percent(r, record)?;
        }
        if flags & 4 != 0 {
            record.put("additional_status", r.u8("additional status")?);
        }
        record.reserved(flags & 0xF8 != 0 || state & 0x8000 != 0);
        Ok(())
    })
}

fn percent(r: &mut Reader<'_>, record: &mut Record) -> Result<(), Reject> {
    let level = r.u8("battery level")?;
    if level > 100 {
        return Err(reject::illegal("battery level"));
    }
    record.put("level_pct", level);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::codec::tests::*;

    #[test]
    fn more_than_all_is_illegal() {
        assert_eq!(json("2A19", "64"), r#"{"level_pct":100}"#);
        assert_eq!(rejected("2A19", "65"), "WL-D003");
        assert_eq!(rejected("2BED", "02010065"), "WL-D003");
    }

    #[test]
    fn each_field_of_the_power_state_is_its_own() {
        let expected = r#"{"battery_present":true,"wired":2,"wireless":1,"charge_state":3,"charge_level":2,"charging_type":4,"fault":5,"identifier":1,"level_pct":100,"additional_status":4}"#;
        assert_eq!(json("2BED", "076d5901006404"), expected);
    }
}
