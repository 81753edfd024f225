//! Transtek scales, sold as Medisana: 8A21 weight, 8A22 body composition, 8A82 user.
//!
//! Weights are IEEE 11073 FLOATs, percentages SFLOATs. Times are seconds since 2010, on some models since 1970; a number
//! tells which. Sources: the openScale wiki on the BS444 (captured octets, units), github.com/keptenkurk/BS440 (users,
//! models, epochs). Must never: take stones for kilograms, or what a user entered (8A82) for a reading.

use super::draft::Shared;
use super::reader::read;
use super::record::Record;
use super::{Reader, reject};
use crate::reading::{DeviceTime, Draft, Reject};

/// 2010-01-01T00:00:00Z, in seconds since 1970. A smaller number counts from there: it would be before it otherwise.
const YEAR_2010: i64 = 1_262_304_000;
/// Which fields a weight has; bits 5 and 6 are its unit.
const WEIGHT: u8 = 0x1D;
const BODY: u8 = 0x6F;
const USER: u8 = 0x84;
/// The user's number where nobody was recognised.
const NOBODY: u8 = 0xFF;

/// 8A21.
pub(super) fn weight(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let unit = match r.u8("flags")? {
            WEIGHT => "kg",
            flags if flags == WEIGHT | 0x20 => "lb",
            _ => return Err(reject::illegal("flags")),
        };
        record.put("unit", unit);
        record.put("weight", r.float("weight")?);
        time(r, record)?;
        // A FLOAT whose meaning nobody has published.
        r.take(4, "unknown")?;
        user(r, record)?;
        r.take(5, "unknown")?;
        Ok(())
    })
}

/// 8A22.
pub(super) fn body(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        if r.u8("flags")? != BODY {
            return Err(reject::illegal("flags"));
        }
        time(r, record)?;
        user(r, record)?;
        record.put("energy_kcal", r.u16("energy")?);
        record.put("body_fat", r.sfloat("body fat")?);
        record.put("water", r.sfloat("water")?);
        record.put("muscle", r.sfloat("muscle")?);
        record.put("bone_kg", r.sfloat("bone")?);
        r.take(3, "unknown")?;
        Ok(())
    })
}

/// 8A82: a person's age and size, which are not read.
pub(super) fn user_record(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, _| {
        if r.u8("flags")? != USER {
            return Err(reject::illegal("flags"));
        }
        r.rest();
        Ok(())
    })
}

fn time(r: &mut Reader<'_>, record: &mut Record) -> Result<(), Reject> {
    record.put("time_s", r.u32("time")?);
    Ok(())
}

fn user(r: &mut Reader<'_>, record: &mut Record) -> Result<(), Reject> {
    let user = r.u8("user")?;
    record.put("user_id", (user != NOBODY).then_some(user));
    Ok(())
}

/// Slot and time: a clock that was never set has none.
fn shared(record: &Record) -> Shared {
    let mut shared = Shared::of(record);
    let raw = record.whole("time_s").and_then(|s| i64::try_from(s).ok()).filter(|s| *s != 0);
    let seconds = raw.map(|s| if s < YEAR_2010 { s.saturating_add(YEAR_2010) } else { s });
    let time = seconds.and_then(|s| jiff::Timestamp::from_second(s).ok()).map(DeviceTime::Instant);
    shared.time(Some(time.ok_or(())));
    shared.stored = true;
    shared
}

/// One weight.
pub(super) fn weight_drafts(record: &Record) -> Vec<Draft> {
    let unit = if record.text("unit") == Some("lb") { "[lb_av]" } else { "kg" };
    shared(record).one("body-weight", record.value("weight"), unit).into_iter().collect()
}

/// Fat and muscle. Water and bone have no vital of their own; energy is not said to be the basal one.
pub(super) fn body_drafts(record: &Record) -> Vec<Draft> {
    let shared = shared(record);
    shared.each([("body-fat", record.value("body_fat"), "%"), ("muscle-percentage", record.value("muscle"), "%")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;

    #[test]
    fn a_weight_that_was_recorded_is_read() {
        let weight = drafted("TRANSTEK:8A21", "1d802500fe800ff40d6a1700ff010900000000");
        assert_eq!((lines(&weight), weight[0].slot), (vec!["body-weight 96.00 kg".into()], Some(1)));
        assert_eq!(format!("{:?}", weight[0].device_time), "Some(Instant(2017-06-02T11:22:40Z))");
        let nobody = drafted("TRANSTEK:8A21", "1d802500fe800ff40d6a1700ffff0900000000");
        assert_eq!(nobody[0].slot, None);
    }

    #[test]
    fn body_composition_that_was_recorded_is_read() {
        let body = drafted("TRANSTEK:8A22", "6f800ff40d01210c57f1e3f15bf123f0000000");
        assert_eq!(lines(&body), ["body-fat 34.3 %", "muscle-percentage 34.7 %"]);
        assert!(body.iter().all(|d| d.slot == Some(1) && d.device_time.is_some()));
    }

    #[test]
    fn the_epoch_is_told_by_the_number_and_zero_is_no_time() {
        let of = |time: &str| drafted("TRANSTEK:8A21", &format!("1d802500fe{time}6a1700ff010900000000"));
        let instant = |drafts: &[Draft]| format!("{:?}", drafts[0].device_time);
        assert_eq!(instant(&of("804a3159")), "Some(Instant(2017-06-02T11:22:40Z))");
        assert_eq!(instant(&of("800ff40d")), "Some(Instant(2017-06-02T11:22:40Z))");
        let unset = of("00000000");
        assert_eq!((unset[0].device_time, &unset[0].quality[..]), (None, &[crate::reading::Quality::TimeDoubtful][..]));
    }

    #[test]
    fn pounds_are_pounds_and_stones_are_refused() {
        let pounds = drafted("TRANSTEK:8A21", "3d802500fe800ff40d6a1700ff010900000000");
        assert_eq!(lines(&pounds), ["body-weight 96.00 [lb_av]"]);
        for flags in ["5d", "7d", "1c", "00"] {
            let hex = format!("{flags}802500fe800ff40d6a1700ff010900000000");
            assert_eq!(rejected("TRANSTEK:8A21", &hex), "WL-D003");
        }
    }

    #[test]
    fn what_a_user_entered_is_no_reading_and_not_kept() {
        assert_eq!(json("TRANSTEK:8A82", "840001000125aa0003"), "{}");
        assert_eq!(rejected("TRANSTEK:8A82", "85"), "WL-D003");
    }
}
