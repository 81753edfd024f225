//! The table of vital signs: what each is called, coded, measured in, and where it is plausible.
//!
//! One row each; adding a vital is adding a row. Codes: LOINC, ISO/IEEE 11073-10101 (MDC), UCUM,
//! with the confidence marks of the standards dossier §6; rows without a verified LOINC carry MDC and text only.
//! Plausible ranges (dossier §9) label a value, they never drop it.

use std::cmp::Ordering;

use crate::decimal::Decimal;
use crate::unit::{Dimension, Unit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// FHIR `Observation.category`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// `vital-signs`.
    VitalSigns,
    /// `laboratory`: glucose and other results of a sample.
    Laboratory,
    /// `activity`: steps.
    Activity,
}

/// A LOINC code with its display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loinc(pub &'static str, pub &'static str);

/// An MDC code (32 bit) with its reference id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mdc(pub u32, pub &'static str);

/// Which number of a vital: the only one, or a component of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The vital's one value.
    Value,
    /// Systolic pressure.
    Systolic,
    /// Diastolic pressure.
    Diastolic,
    /// Mean arterial pressure.
    Mean,
    /// The lowest value of a period, whose mean is the value.
    Minimum,
    /// The highest of it.
    Maximum,
    /// How many there were.
    Count,
    /// How long it was, seconds.
    Duration,
}

/// Mantissa and exponent of the lowest and of the highest value.
type Bounds = ((i64, i16), (i64, i16));

/// One number of a vital: how it is coded and where it is plausible.
#[derive(Debug)]
pub struct Component {
    /// Which one.
    pub role: Role,
    /// LOINC of a component; empty where the vital's own code says it.
    pub loinc: &'static [Loinc],
    /// MDC of a component.
    pub mdc: Option<Mdc>,
    /// Plausible range, in the vital's first unit; beyond it the value is labelled implausible.
    plausible: Option<Bounds>,
    /// The same in mmol/L, for what is measured by mass or by moles.
    plausible_moles: Option<Bounds>,
    /// Whether FHIR asks for it even when the device gave none (`dataAbsentReason`).
    pub required: bool,
}

/// One row of the table.
#[derive(Debug)]
pub struct VitalRow {
    /// Stable name in profiles, rules and the journal.
    pub id: &'static str,
    /// What people read.
    pub name: &'static str,
    /// FHIR category.
    pub category: Category,
    /// LOINC codings; for a result that is reported by mass or by moles, the mass ones.
    pub loinc: &'static [Loinc],
    /// LOINC codings where the unit counts moles.
    pub loinc_moles: &'static [Loinc],
    /// MDC code.
    pub mdc: Option<Mdc>,
    /// UCUM codes a destination gets; others of the same dimension are converted to the first.
    pub units: &'static [&'static str],
    /// US Core profile, the last part of its canonical.
    pub us_core: Option<&'static str>,
    /// Its numbers: one, or a panel's components.
    pub components: &'static [Component],
    /// The lowest whole number of decimals a conversion keeps.
    pub decimals: u16,
}

/// A vital sign: a row of [`VITALS`].
#[derive(Clone, Copy)]
pub struct Vital(&'static VitalRow);

const fn one(lo: i64, hi: i64) -> Component {
    Component { plausible: Some(((lo, 0), (hi, 0))), ..ANY }
}
const ANY: Component =
    Component { role: Role::Value, loinc: &[], mdc: None, plausible: None, plausible_moles: None, required: false };
const FREE: &[Component] = &[ANY];
const RATE: &[Component] = &[one(20, 300)];
const GLUCOSE: &[Component] = &[Component { plausible_moles: Some(((5, -1), (555, -1))), ..one(10, 1_000) }];
const MASS: &[Component] = &[one(1, 400)];

const fn simple(
    id: &'static str,
    name: &'static str,
    loinc: &'static [Loinc],
    mdc: Option<Mdc>,
    units: &'static [&'static str],
    us_core: Option<&'static str>,
    components: &'static [Component],
) -> VitalRow {
    VitalRow {
        id,
        name,
        category: Category::VitalSigns,
        loinc,
        loinc_moles: &[],
        mdc,
        units,
        us_core,
        components,
        decimals: 1,
    }
}

const fn glucose(
    id: &'static str,
    name: &'static str,
    loinc: &'static [Loinc],
    loinc_moles: &'static [Loinc],
    mdc: Mdc,
) -> VitalRow {
    VitalRow {
        id,
        name,
        category: Category::Laboratory,
        loinc,
        loinc_moles,
        mdc: Some(mdc),
        units: &["mg/dL", "mmol/L"],
        us_core: None,
        components: GLUCOSE,
        decimals: 1,
    }
}

const HEART_RATE: Loinc = Loinc("8867-4", "Heart rate");
const GLUCOMETER: &[Loinc] = &[Loinc("41653-7", "Glucose [Mass/volume] in Capillary blood by Glucometer")];
const GLUCOMETER_MOLES: &[Loinc] = &[Loinc("14743-9", "Glucose [Moles/volume] in Capillary blood by Glucometer")];
const BLOOD: &[Loinc] = &[Loinc("2339-0", "Glucose [Mass/volume] in Blood")];
const BLOOD_MOLES: &[Loinc] = &[Loinc("15074-8", "Glucose [Moles/volume] in Blood")];
const PLASMA: &[Loinc] = &[Loinc("2345-7", "Glucose [Mass/volume] in Serum or Plasma")];
// 14749-6 is marked C in the dossier: by moles in plasma a glucose goes out with its MDC code and text only.
const UNVERIFIED: &[Loinc] = &[];

/// All vitals.
pub static VITALS: &[VitalRow] = &[
    VitalRow {
        id: "blood-pressure",
        name: "Blood pressure",
        category: Category::VitalSigns,
        loinc: &[Loinc("85354-9", "Blood pressure panel with all children optional")],
        loinc_moles: &[],
        mdc: Some(Mdc(150_020, "MDC_PRESS_BLD_NONINV")),
        units: &["mm[Hg]"],
        us_core: Some("us-core-blood-pressure"),
        decimals: 0,
        components: &[
            Component {
                role: Role::Systolic,
                loinc: &[Loinc("8480-6", "Systolic blood pressure")],
                mdc: Some(Mdc(150_021, "MDC_PRESS_BLD_NONINV_SYS")),
                required: true,
                ..one(40, 300)
            },
            Component {
                role: Role::Diastolic,
                loinc: &[Loinc("8462-4", "Diastolic blood pressure")],
                mdc: Some(Mdc(150_022, "MDC_PRESS_BLD_NONINV_DIA")),
                required: true,
                ..one(20, 200)
            },
            Component {
                role: Role::Mean,
                loinc: &[Loinc("8478-0", "Mean blood pressure")],
                mdc: Some(Mdc(150_023, "MDC_PRESS_BLD_NONINV_MEAN")),
                ..one(20, 250)
            },
        ],
    },
    simple(
        "heart-rate",
        "Heart rate",
        &[HEART_RATE],
        Some(Mdc(147_842, "MDC_ECG_HEART_RATE")),
        &["/min"],
        Some("us-core-heart-rate"),
        RATE,
    ),
    simple(
        "pulse-rate",
        "Pulse rate",
        &[HEART_RATE],
        Some(Mdc(149_546, "MDC_PULS_RATE_NON_INV")),
        &["/min"],
        Some("us-core-heart-rate"),
        RATE,
    ),
    simple(
        "oximeter-pulse-rate",
        "Pulse rate (oximeter)",
        &[HEART_RATE, Loinc("8889-8", "Heart rate by Pulse oximetry")],
        Some(Mdc(149_530, "MDC_PULS_OXIM_PULS_RATE")),
        &["/min"],
        Some("us-core-heart-rate"),
        RATE,
    ),
    simple(
        "spo2",
        "Oxygen saturation",
        &[
            Loinc("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
            Loinc("2708-6", "Oxygen saturation in Arterial blood"),
        ],
        Some(Mdc(150_456, "MDC_PULS_OXIM_SAT_O2")),
        &["%"],
        Some("us-core-pulse-oximetry"),
        &[one(50, 100)],
    ),
    simple(
        "perfusion-index",
        "Perfusion index",
        &[Loinc("61006-3", "Perfusion index Tissue by Pulse oximetry")],
        Some(Mdc(150_448, "MDC_PULS_OXIM_PERF_REL")),
        &["%"],
        None,
        &[one(0, 20)],
    ),
    simple(
        "body-temperature",
        "Body temperature",
        &[Loinc("8310-5", "Body temperature")],
        Some(Mdc(150_364, "MDC_TEMP_BODY")),
        &["Cel", "[degF]"],
        Some("us-core-body-temperature"),
        &[one(25, 45)],
    ),
    VitalRow {
        decimals: 2,
        ..simple(
            "body-weight",
            "Body weight",
            &[Loinc("29463-7", "Body weight")],
            Some(Mdc(188_736, "MDC_MASS_BODY_ACTUAL")),
            &["kg", "[lb_av]", "g"],
            Some("us-core-body-weight"),
            MASS,
        )
    },
    simple(
        "body-height",
        "Body height",
        &[Loinc("8302-2", "Body height")],
        Some(Mdc(188_740, "MDC_LEN_BODY_ACTUAL")),
        &["cm", "[in_i]"],
        Some("us-core-body-height"),
        &[one(30, 250)],
    ),
    simple(
        "body-mass-index",
        "Body mass index",
        &[Loinc("39156-5", "Body mass index (BMI) [Ratio]")],
        Some(Mdc(188_752, "MDC_RATIO_MASS_BODY_LEN_SQ")),
        &["kg/m2"],
        Some("us-core-bmi"),
        &[one(8, 100)],
    ),
    simple(
        "body-fat",
        "Body fat",
        &[Loinc("41982-0", "Percentage of body fat Measured")],
        Some(Mdc(188_748, "MDC_BODY_FAT")),
        &["%"],
        None,
        &[one(1, 75)],
    ),
    simple(
        "fat-free-mass",
        "Fat-free mass",
        &[Loinc("91557-9", "Lean body weight")],
        Some(Mdc(188_756, "MDC_MASS_BODY_FAT_FREE")),
        &["kg", "[lb_av]"],
        None,
        MASS,
    ),
    simple(
        "soft-lean-mass",
        "Soft lean mass",
        &[],
        Some(Mdc(188_760, "MDC_MASS_BODY_SOFT_LEAN")),
        &["kg", "[lb_av]"],
        None,
        MASS,
    ),
    simple(
        "body-water-mass",
        "Body water mass",
        &[],
        Some(Mdc(188_764, "MDC_BODY_WATER")),
        &["kg", "[lb_av]"],
        None,
        MASS,
    ),
    simple("basal-metabolism", "Basal metabolism", &[], None, &["kJ"], None, FREE),
    simple("muscle-percentage", "Muscle percentage", &[], None, &["%"], None, FREE),
    simple("muscle-mass", "Muscle mass", &[], None, &["kg", "[lb_av]"], None, MASS),
    simple("impedance", "Impedance", &[], None, &["Ohm"], None, FREE),
    simple(
        "respiratory-rate",
        "Respiratory rate",
        &[Loinc("9279-1", "Respiratory rate")],
        Some(Mdc(151_562, "MDC_RESP_RATE")),
        &["/min"],
        Some("us-core-respiratory-rate"),
        &[one(2, 80)],
    ),
    glucose(
        "glucose-capillary-whole-blood",
        "Glucose (capillary blood)",
        GLUCOMETER,
        GLUCOMETER_MOLES,
        Mdc(160_184, "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD"),
    ),
    glucose(
        "glucose-capillary-plasma",
        "Glucose (capillary plasma)",
        GLUCOMETER,
        GLUCOMETER_MOLES,
        Mdc(160_188, "MDC_CONC_GLU_CAPILLARY_PLASMA"),
    ),
    glucose(
        "glucose-venous-whole-blood",
        "Glucose (venous blood)",
        BLOOD,
        BLOOD_MOLES,
        Mdc(160_192, "MDC_CONC_GLU_VENOUS_WHOLEBLOOD"),
    ),
    glucose(
        "glucose-venous-plasma",
        "Glucose (venous plasma)",
        PLASMA,
        UNVERIFIED,
        Mdc(160_196, "MDC_CONC_GLU_VENOUS_PLASMA"),
    ),
    glucose(
        "glucose-arterial-whole-blood",
        "Glucose (arterial blood)",
        BLOOD,
        BLOOD_MOLES,
        Mdc(160_200, "MDC_CONC_GLU_ARTERIAL_WHOLEBLOOD"),
    ),
    glucose(
        "glucose-arterial-plasma",
        "Glucose (arterial plasma)",
        PLASMA,
        UNVERIFIED,
        Mdc(160_204, "MDC_CONC_GLU_ARTERIAL_PLASMA"),
    ),
    glucose(
        "glucose-whole-blood",
        "Glucose (blood)",
        BLOOD,
        BLOOD_MOLES,
        Mdc(160_364, "MDC_CONC_GLU_UNDETERMINED_WHOLEBLOOD"),
    ),
    glucose("glucose-plasma", "Glucose (plasma)", PLASMA, UNVERIFIED, Mdc(160_368, "MDC_CONC_GLU_UNDETERMINED_PLASMA")),
    glucose(
        "glucose-interstitial",
        "Glucose (interstitial)",
        &[Loinc("99504-3", "Glucose [Mass/volume] in Interstitial fluid")],
        &[Loinc("105272-9", "Glucose [Moles/volume] in Interstitial fluid")],
        Mdc(160_212, "MDC_CONC_GLU_ISF"),
    ),
];

/// Where on the body: name in profiles, SNOMED CT, and what it adds to a temperature's codes.
#[derive(Debug)]
pub struct SiteRow {
    /// Stable name.
    pub id: &'static str,
    /// SNOMED CT code and display. `None`: not verified.
    pub snomed: Option<(&'static str, &'static str)>,
    /// More specific LOINC of a temperature taken here.
    pub temperature_loinc: Option<Loinc>,
    /// MDC of a temperature taken here, in place of MDC_TEMP_BODY.
    pub temperature_mdc: Option<Mdc>,
}

/// A body site: a row of [`SITES`].
#[derive(Clone, Copy)]
pub struct Site(&'static SiteRow);

const fn site(
    id: &'static str,
    snomed: Option<(&'static str, &'static str)>,
    temperature_loinc: Option<Loinc>,
    temperature_mdc: Option<Mdc>,
) -> SiteRow {
    SiteRow { id, snomed, temperature_loinc, temperature_mdc }
}

/// All sites that a characteristic can name (2A1C type, 2A38, 2A18 location).
pub static SITES: &[SiteRow] = &[
    site(
        "armpit",
        Some(("422543003", "Axillary fossa structure")),
        Some(Loinc("8328-7", "Axillary temperature")),
        Some(Mdc(188_452, "MDC_TEMP_AXILLA")),
    ),
    site("ear-lobe", Some(("48800003", "Ear lobule structure")), None, Some(Mdc(188_428, "MDC_TEMP_EAR"))),
    site("finger", Some(("7569003", "Finger structure")), None, Some(Mdc(188_432, "MDC_TEMP_FINGER"))),
    site("gastro-intestinal-tract", None, None, Some(Mdc(188_456, "MDC_TEMP_GIT"))),
    site(
        "mouth",
        Some(("74262004", "Oral cavity structure")),
        Some(Loinc("8331-1", "Oral temperature")),
        Some(Mdc(188_424, "MDC_TEMP_ORAL")),
    ),
    site(
        "rectum",
        Some(("34402009", "Rectum structure")),
        Some(Loinc("8332-9", "Rectal temperature")),
        Some(Mdc(188_420, "MDC_TEMP_RECT")),
    ),
    site("toe", Some(("29707007", "Toe structure")), None, Some(Mdc(188_448, "MDC_TEMP_TOE"))),
    site(
        "tympanum",
        Some(("42859004", "Tympanic membrane structure")),
        Some(Loinc("8333-7", "Tympanic membrane temperature")),
        Some(Mdc(150_392, "MDC_TEMP_TYMP")),
    ),
    site("forehead", Some(("52795006", "Forehead structure")), None, None),
    site("wrist", Some(("8205005", "Wrist region structure")), None, None),
    site("hand", Some(("85562004", "Hand structure")), None, None),
    site("foot", Some(("56459004", "Foot structure")), None, None),
    site("chest", Some(("51185008", "Thoracic structure")), None, None),
];

/// The numbers that a LOINC code names: of a result, or of a component of a panel. In the order of the table. The code of
/// a panel names none.
pub fn measured_as(loinc: &str) -> Vec<(Vital, Role)> {
    let names = |codes: &[Loinc]| codes.iter().any(|l| l.0 == loinc);
    let number = |row: &'static VitalRow| {
        let whole = names(row.loinc) || names(row.loinc_moles);
        let component = row.components.iter().find(|c| names(c.loinc) || (whole && c.role == Role::Value))?;
        Some((Vital(row), component.role))
    };
    VITALS.iter().filter_map(number).collect()
}

impl Vital {
    /// The vital with this id.
    pub fn parse(id: &str) -> Option<Self> {
        VITALS.iter().find(|v| v.id == id).map(Self)
    }

    /// The unit of this code, if the vital can be measured in it (converted or not).
    pub fn unit(self, ucum: &str) -> Option<Unit> {
        let unit = Unit::parse(ucum)?;
        self.units.iter().filter_map(|u| Unit::parse(u)).any(|u| u.dimension() == unit.dimension()).then_some(unit)
    }

    /// The unit its values are delivered and limited in by default.
    pub fn first_unit(self) -> Option<Unit> {
        self.units.first().and_then(|u| Unit::parse(u))
    }

    /// The component in this role.
    pub fn component(self, role: Role) -> Option<&'static Component> {
        self.0.components.iter().find(|c| c.role == role)
    }

    /// Whether a value of this role lies in its plausible range. True where no range is stated.
    pub fn plausible(self, role: Role, value: Decimal, unit: Unit) -> bool {
        let Some(component) = self.component(role) else { return true };
        let (bounds, in_unit) = match unit.dimension() {
            Dimension::AmountConcentration => (component.plausible_moles, Unit::parse("mmol/L")),
            _ => (component.plausible, self.first_unit()),
        };
        let (Some((lo, hi)), Some(in_unit)) = (bounds, in_unit) else { return true };
        let order = |bound: (i64, i16)| Unit::compare(value, unit, Decimal::new(bound.0, bound.1), in_unit);
        order(lo).is_none_or(Ordering::is_ge) && order(hi).is_none_or(Ordering::is_le)
    }
}

impl Site {
    /// The site with this id.
    pub fn parse(id: &str) -> Option<Self> {
        SITES.iter().find(|s| s.id == id).map(Self)
    }
}

macro_rules! row_handle {
    ($handle:ident, $row:ident, $what:literal) => {
        impl std::ops::Deref for $handle {
            type Target = $row;
            fn deref(&self) -> &'static $row {
                self.0
            }
        }
        impl PartialEq for $handle {
            fn eq(&self, other: &Self) -> bool {
                std::ptr::eq(self.0, other.0)
            }
        }
        impl Eq for $handle {}
        impl std::hash::Hash for $handle {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.0.id.hash(state)
            }
        }
        impl std::fmt::Debug for $handle {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0.id)
            }
        }
        impl Serialize for $handle {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.0.id)
            }
        }
        impl<'de> Deserialize<'de> for $handle {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let id = std::borrow::Cow::<str>::deserialize(d)?;
                Self::parse(&id).ok_or_else(|| serde::de::Error::custom(concat!("unknown ", $what)))
            }
        }
    };
}
row_handle!(Vital, VitalRow, "vital sign");
row_handle!(Site, SiteRow, "body site");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_whole() {
        for row in VITALS {
            let v = Vital::parse(row.id).unwrap();
            assert!(std::ptr::eq(&*v, row), "{} is not unique", row.id);
            assert!(!row.units.is_empty() && !row.components.is_empty(), "{}", row.id);
            for u in row.units {
                assert!(Unit::parse(u).is_some(), "{}: {u}", row.id)
            }
            let dimensions: Vec<_> = row.units.iter().filter_map(|u| Unit::parse(u)).map(Unit::dimension).collect();
            for component in row.components.iter().filter(|c| c.plausible.is_some()) {
                let moles = dimensions.contains(&Dimension::AmountConcentration);
                assert_eq!(component.plausible_moles.is_some(), moles, "{}: a range for each dimension", row.id);
                for ((lo, e), (hi, f)) in component.plausible.into_iter().chain(component.plausible_moles) {
                    assert!(Decimal::new(lo, e) < Decimal::new(hi, f), "{}", row.id);
                }
            }
            if row.us_core.is_some() {
                assert!(!row.loinc.is_empty(), "{}", row.id)
            }
        }
        for row in SITES {
            assert!(std::ptr::eq(&*Site::parse(row.id).unwrap(), row))
        }
    }

    #[test]
    fn plausibility_is_judged_in_any_unit() {
        let t = Vital::parse("body-temperature").unwrap();
        assert!(t.plausible(Role::Value, "98.6".parse().unwrap(), Unit::parse("[degF]").unwrap()));
        assert!(!t.plausible(Role::Value, "98.6".parse().unwrap(), Unit::parse("Cel").unwrap()));
        let bp = Vital::parse("blood-pressure").unwrap();
        assert!(bp.plausible(Role::Systolic, "17.6".parse().unwrap(), Unit::parse("kPa").unwrap()));
        assert!(!bp.plausible(Role::Systolic, "1e127".parse().unwrap(), Unit::parse("kPa").unwrap()));
        let glucose = Vital::parse("glucose-interstitial").unwrap();
        for (value, unit, expected) in
            [("5.5", "mmol/L", true), ("0.4", "mmol/L", false), ("56", "mmol/L", false), ("5.5", "mg/dL", false)]
        {
            assert_eq!(glucose.plausible(Role::Value, value.parse().unwrap(), Unit::parse(unit).unwrap()), expected);
        }
    }
}
