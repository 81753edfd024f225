//! Codes that HL7 messages have beside those of the vital signs: what the device is for, and names of units.
//!
//! ISO/IEEE 11073-10101, as the standards dossier §6 and §7.3 have them.

use super::envelope::Order;
use super::write::components;
use crate::unit::{Dimension, Unit};
use crate::vital::{Loinc, Mdc, Vital};

const UNITS: &[(u32, &str)] = &[
    (262_656, "MDC_DIM_DIMLESS"),
    (262_688, "MDC_DIM_PERCENT"),
    (263_441, "MDC_DIM_CENTI_M"),
    (263_520, "MDC_DIM_INCH"),
    (263_744, "MDC_DIM_X_L"),
    (263_875, "MDC_DIM_KILO_G"),
    (263_904, "MDC_DIM_LB"),
    (264_096, "MDC_DIM_KG_PER_M_SQ"),
    (264_274, "MDC_DIM_MILLI_G_PER_DL"),
    (264_338, "MDC_DIM_MILLI_SEC"),
    (264_864, "MDC_DIM_BEAT_PER_MIN"),
    (264_928, "MDC_DIM_RESP_PER_MIN"),
    (265_216, "MDC_DIM_L_PER_MIN"),
    (265_987, "MDC_DIM_KILO_PASCAL"),
    (266_016, "MDC_DIM_MMHG"),
    (266_432, "MDC_DIM_X_OHM"),
    (266_560, "MDC_DIM_FAHR"),
    (266_866, "MDC_DIM_MILLI_MOLE_PER_L"),
    (268_192, "MDC_DIM_DEGC"),
    (268_752, "MDC_DIM_INR"),
    (268_800, "MDC_DIM_STEP"),
];

/// What a device that measures this is for (`OBR-4`), where one kind of device comes into question.
pub(super) fn specialisation(vital: Vital) -> Option<(u32, &'static str)> {
    Some(match vital.id {
        "blood-pressure" => (528_391, "MDC_DEV_SPEC_PROFILE_BP"),
        "spo2" | "oximeter-pulse-rate" | "perfusion-index" => (528_388, "MDC_DEV_SPEC_PROFILE_PULS_OXIM"),
        "body-temperature" => (528_392, "MDC_DEV_SPEC_PROFILE_TEMP"),
        "respiratory-rate" => (528_397, "MDC_DEV_SPEC_PROFILE_RESP_RATE"),
        "body-weight" | "body-height" | "body-mass-index" => (528_399, "MDC_DEV_SPEC_PROFILE_SCALE"),
        "body-fat" | "fat-free-mass" | "soft-lean-mass" | "body-water-mass" => (528_404, "MDC_DEV_SPEC_PROFILE_BCA"),
        "glucose-interstitial" => (528_409, "MDC_DEV_SPEC_PROFILE_CGM"),
        id if id.starts_with("glucose-") => (528_401, "MDC_DEV_SPEC_PROFILE_GLUCOSE"),
        _ => return None,
    })
}

/// `150021^MDC_…^MDC^8480-6^…^LN`, or the other way round. `None`: neither code is there.
pub(super) fn code(mdc: Option<Mdc>, loinc: Option<Loinc>, first: Order) -> Option<String> {
    let number = mdc.map(|m| m.0.to_string());
    let mdc = mdc.zip(number.as_deref()).map(|(m, number)| [number, m.1, "MDC"]);
    both(mdc, loinc.map(|l| [l.0, l.1, "LN"]), first)
}

/// `266016^MDC_DIM_MMHG^MDC^mm[Hg]^mm[Hg]^UCUM`, or the other way round.
pub(super) fn unit(vital: Vital, unit: Unit, first: Order) -> String {
    let mdc = match unit.dimension() {
        // Breaths are counted by another unit than heart beats, under one UCUM code.
        Dimension::Rate if vital.id == "respiratory-rate" => Some(264_928),
        _ => unit.mdc(),
    };
    let known = mdc.and_then(|mdc| UNITS.iter().find(|(code, _)| *code == mdc));
    let number = known.map(|(code, _)| code.to_string());
    let mdc = known.zip(number.as_deref()).map(|((_, name), number)| [number, name, "MDC"]);
    // What people read may hold `°`, and a message that can be ASCII should be.
    both(mdc, Some([unit.ucum(), unit.ucum(), "UCUM"]), first).unwrap_or_default()
}

fn both(mdc: Option<[&str; 3]>, other: Option<[&str; 3]>, first: Order) -> Option<String> {
    let (first, second) = if first == Order::Mdc { (mdc, other) } else { (other, mdc) };
    let parts: Vec<&str> = first.into_iter().chain(second).flatten().collect();
    (!parts.is_empty()).then(|| components(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_with_a_code_has_its_name() {
        for row in crate::unit::UNITS {
            let named = row.mdc.is_none_or(|mdc| UNITS.iter().any(|(code, _)| *code == mdc));
            assert!(named, "{}", row.ucum);
        }
    }
}
