//! What a device says of a measurement beside its numbers: status bits, as "an irregular pulse", and the coded fields of a
//! glucose's context, as "before a meal".
//!
//! One line of the table for each: the word that journal, profiles and exports know it by, and its code: of a bit in HL7's
//! ASN1ToHL7 (the MDC code of the field and the bit), of a context in MDC. A bit that is also a doubt has its label beside it.
//! Must never: change a word, or the number of a bit: rows of the journal have the words, servers the numbers.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Mdc;

/// 2A35.
pub const BLOOD_PRESSURE: Mdc = Mdc(8_410_608, "MDC_BLOOD_PRESSURE_MEASUREMENT_STATUS");
/// 2A5E, 2A5F. The bits of the characteristic are those of the nomenclature, in the other direction: 15 is 0.
pub const OXIMETER: Mdc = Mdc(150_604, "MDC_PULS_OXIM_DEV_STATUS");
/// 2A18.
pub const GLUCOSE_METER: Mdc = Mdc(8_417_752, "MDC_GLU_METER_DEV_STATUS");
/// 2A34, the fields of a context.
pub const EXERCISE: Mdc = Mdc(8_417_760, "MDC_CTXT_GLU_EXERCISE");
/// What was eaten.
pub const CARBOHYDRATE: Mdc = Mdc(8_417_764, "MDC_CTXT_GLU_CARB");
/// What was taken.
pub const MEDICATION: Mdc = Mdc(8_417_796, "MDC_CTXT_MEDICATION");
/// How the person was.
pub const HEALTH: Mdc = Mdc(8_417_820, "MDC_CTXT_GLU_HEALTH");
/// Before or after a meal.
pub const MEAL: Mdc = Mdc(8_417_864, "MDC_CTXT_GLU_MEAL");
/// Who measured.
pub const TESTER: Mdc = Mdc(8_417_884, "MDC_CTXT_GLU_TESTER");

/// One bit, or one value of a coded field.
#[derive(Debug)]
pub struct StatusRow {
    /// Stable word in the journal, in profiles and in exports.
    pub id: &'static str,
    /// What a decoded record calls it.
    pub field: &'static str,
    /// Which status it is a bit of, or which field it is a value of.
    pub of: Mdc,
    /// Code in ASN1ToHL7; of a value in MDC.
    pub code: &'static str,
    /// Display of that code.
    pub display: &'static str,
}

/// A status bit that is set: a row of [`STATUSES`].
#[derive(Clone, Copy)]
pub struct Status(&'static StatusRow);

const fn row(of: Mdc, code: &'static str, display: &'static str, id: &'static str, field: &'static str) -> StatusRow {
    StatusRow { id, field, of, code, display }
}

use self::{BLOOD_PRESSURE as BP, CARBOHYDRATE as CARB, GLUCOSE_METER as GLU, MEDICATION as MED, OXIMETER as OX};

/// All that have a code. A meter's "time fault" has none: it is the label `time-doubtful`.
#[rustfmt::skip]
pub static STATUSES: &[StatusRow] = &[
    row(BP, "8410608.0", "body-movement", "body-movement", "body_movement"),
    row(BP, "8410608.1", "cuff-too-loose", "cuff-too-loose", "cuff_too_loose"),
    row(BP, "8410608.2", "irregular-pulse", "irregular-pulse", "irregular_pulse"),
    row(BP, "8410608.3", "pulse-over-range-limit", "pulse-above-range", "exceeds_upper"),
    row(BP, "8410608.4", "pulse-under-range-limit", "pulse-below-range", "below_lower"),
    row(BP, "8410608.5", "improper-body-position", "improper-position", "improper_position"),
    row(OX, "150604.0", "sensor-disconnected", "oximeter-sensor-disconnected", "sensor_disconnected"),
    row(OX, "150604.1", "sensor-malfunction", "oximeter-sensor-malfunction", "sensor_malfunctioning"),
    row(OX, "150604.2", "sensor-displaced", "oximeter-sensor-displaced", "sensor_displaced"),
    row(OX, "150604.3", "sensor-unsupported", "oximeter-sensor-unknown", "unknown_sensor"),
    row(OX, "150604.4", "sensor-off", "oximeter-sensor-off", "sensor_unconnected_to_user"),
    row(OX, "150604.5", "sensor-interference", "sensor-interference", "sensor_interference"),
    row(OX, "150604.6", "signal-searching", "signal-searching", "signal_analysis_ongoing"),
    row(OX, "150604.7", "signal-pulse-questionable", "questionable-pulse", "questionable_pulse"),
    row(OX, "150604.8", "signal-non-pulsatile", "non-pulsatile-signal", "nonpulsatile_signal"),
    row(OX, "150604.9", "signal-erratic", "erratic-signal", "erratic_signal"),
    row(OX, "150604.10", "signal-low-perfusion", "low-perfusion", "low_perfusion"),
    row(OX, "150604.11", "signal-poor", "poor-signal", "poor_signal"),
    row(OX, "150604.12", "signal-inadequate", "inadequate-signal", "inadequate_signal"),
    row(OX, "150604.13", "signal-processing-irregularity", "signal-irregularity", "signal_processing_irregularity"),
    row(OX, "150604.14", "device-equipment-malfunction", "oximeter-malfunction", "equipment_malfunction"),
    row(OX, "150604.15", "device-extended-update", "extended-display-update", "extended_display_update"),
    row(GLU, "8417752.0", "device-battery-low", "meter-battery-low", "device_battery_low"),
    row(GLU, "8417752.1", "sensor-malfunction", "meter-sensor-malfunction", "sensor_malfunction"),
    row(GLU, "8417752.2", "sensor-sample-size-insufficient", "sample-insufficient", "sample_size_insufficient"),
    row(GLU, "8417752.3", "sensor-strip-insertion", "strip-insertion-error", "strip_insertion_error"),
    row(GLU, "8417752.4", "sensor-strip-type-incorrect", "strip-type-incorrect", "strip_type_incorrect"),
    row(GLU, "8417752.5", "sensor-result-too-high", "result-too-high", "result_too_high"),
    row(GLU, "8417752.6", "sensor-result-too-low", "result-too-low", "result_too_low"),
    row(GLU, "8417752.7", "sensor-temp-too-high", "meter-too-hot", "temperature_too_high"),
    row(GLU, "8417752.8", "sensor-temp-too-low", "meter-too-cold", "temperature_too_low"),
    row(GLU, "8417752.9", "sensor-read-interrupt", "read-interrupted", "read_interrupted"),
    row(GLU, "8417752.10", "device-gen-fault", "meter-fault", "general_fault"),
    row(CARB, "8417768", "MDC_CTXT_GLU_CARB_BREAKFAST", "breakfast", "breakfast"),
    row(CARB, "8417772", "MDC_CTXT_GLU_CARB_LUNCH", "lunch", "lunch"),
    row(CARB, "8417776", "MDC_CTXT_GLU_CARB_DINNER", "dinner", "dinner"),
    row(CARB, "8417780", "MDC_CTXT_GLU_CARB_SNACK", "snack", "snack"),
    row(CARB, "8417784", "MDC_CTXT_GLU_CARB_DRINK", "drink", "drink"),
    row(CARB, "8417788", "MDC_CTXT_GLU_CARB_SUPPER", "supper", "supper"),
    row(CARB, "8417792", "MDC_CTXT_GLU_CARB_BRUNCH", "brunch", "brunch"),
    row(MED, "8417800", "MDC_CTXT_MEDICATION_RAPIDACTING", "rapid-acting-insulin", "rapid_acting_insulin"),
    row(MED, "8417804", "MDC_CTXT_MEDICATION_SHORTACTING", "short-acting-insulin", "short_acting_insulin"),
    row(MED, "8417808", "MDC_CTXT_MEDICATION_INTERMEDIATEACTING", "intermediate-acting-insulin", "intermediate_acting_insulin"),
    row(MED, "8417812", "MDC_CTXT_MEDICATION_LONGACTING", "long-acting-insulin", "long_acting_insulin"),
    row(MED, "8417816", "MDC_CTXT_MEDICATION_PREMIX", "premixed-insulin", "premixed_insulin"),
    row(HEALTH, "8417824", "MDC_CTXT_GLU_HEALTH_MINOR", "minor-health-issues", "minor_issues"),
    row(HEALTH, "8417828", "MDC_CTXT_GLU_HEALTH_MAJOR", "major-health-issues", "major_issues"),
    row(HEALTH, "8417832", "MDC_CTXT_GLU_HEALTH_MENSES", "during-menses", "during_menses"),
    row(HEALTH, "8417836", "MDC_CTXT_GLU_HEALTH_STRESS", "under-stress", "under_stress"),
    row(HEALTH, "8417840", "MDC_CTXT_GLU_HEALTH_NONE", "no-health-issues", "no_issues"),
    row(MEAL, "8417868", "MDC_CTXT_GLU_MEAL_PREPRANDIAL", "before-meal", "preprandial"),
    row(MEAL, "8417872", "MDC_CTXT_GLU_MEAL_POSTPRANDIAL", "after-meal", "postprandial"),
    row(MEAL, "8417876", "MDC_CTXT_GLU_MEAL_FASTING", "fasting", "fasting"),
    row(MEAL, "8417880", "MDC_CTXT_GLU_MEAL_CASUAL", "casual", "casual"),
    row(MEAL, "8417908", "MDC_CTXT_GLU_MEAL_BEDTIME", "bedtime", "bedtime"),
    row(TESTER, "8417888", "MDC_CTXT_GLU_TESTER_SELF", "tested-by-self", "self"),
    row(TESTER, "8417892", "MDC_CTXT_GLU_TESTER_HCP", "tested-by-professional", "health_care_professional"),
    row(TESTER, "8417896", "MDC_CTXT_GLU_TESTER_LAB", "tested-by-lab", "lab_test"),
];

impl Status {
    /// Whether it is a bit that is set; else it is the value of a coded field.
    pub fn is_bit(self) -> bool {
        self.0.code.contains('.')
    }

    /// The bit with this word.
    pub fn parse(id: &str) -> Option<Self> {
        STATUSES.iter().find(|row| row.id == id).map(Self)
    }

    /// The bit that a decoded record calls so, of this status.
    pub fn named(of: Mdc, field: &str) -> Option<Self> {
        STATUSES.iter().find(|row| row.of == of && row.field == field).map(Self)
    }
}

impl std::ops::Deref for Status {
    type Target = StatusRow;
    fn deref(&self) -> &StatusRow {
        self.0
    }
}

impl PartialEq for Status {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}
impl Eq for Status {}

impl std::hash::Hash for Status {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.id)
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0.id)
    }
}
impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let id = std::borrow::Cow::<str>::deserialize(d)?;
        Self::parse(&id).ok_or_else(|| serde::de::Error::custom("no label of a reading has this word"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_has_one_word_one_field_and_one_code_of_its_own_status() {
        for (n, row) in STATUSES.iter().enumerate() {
            assert_eq!(Status::parse(row.id).unwrap().code, row.code, "{}", row.id);
            assert_eq!(Status::named(row.of, row.field).unwrap().code, row.code, "{}", row.field);
            match row.code.split_once('.') {
                Some((of, bit)) => {
                    assert!(of == row.of.0.to_string() && bit.parse::<u8>().unwrap() < 16, "{}", row.code);
                }
                // The values of a field stand behind it in the nomenclature.
                None => assert!(row.code.parse::<u32>().unwrap() - row.of.0 < 48, "{}", row.code),
            }
            assert!(
                STATUSES
                    .iter()
                    .skip(n + 1)
                    .all(|other| other.code != row.code && other.display != row.display || other.of != row.of)
            );
        }
    }

    /// A journal has labels as words in one list; words of before are read as they were.
    #[test]
    fn labels_are_words_with_and_without_status_bits() {
        use crate::reading::Quality;
        let labels =
            vec![Quality::Questionable, Quality::Status(Status::parse("irregular-pulse").unwrap()), Quality::Quirk];
        let text = r#"["questionable","irregular-pulse","quirk"]"#;
        assert_eq!(serde_json::to_string(&labels).unwrap(), text);
        assert_eq!(serde_json::from_str::<Vec<Quality>>(text).unwrap(), labels);
        for wrong in [r#""nonsense""#, "3", r#"{"status":"irregular-pulse"}"#] {
            assert!(serde_json::from_str::<Quality>(wrong).is_err(), "{wrong}");
        }
        for row in STATUSES {
            let word = format!("\"{}\"", row.id);
            assert!(
                matches!(serde_json::from_str(&word).unwrap(), Quality::Status(status) if status.id == row.id),
                "{word}: a label has this word"
            );
        }
    }
}
