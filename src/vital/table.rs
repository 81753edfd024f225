//! The rows. What each code rests on is in `tests/terminology.csv`, which a test holds against them.
//!
//! Must never: change the MDC code or the id of a row that was released: the identity of what was sent is made of them.

use super::{Category, Component, Loinc, Mdc, Role, VitalRow};

/// Of the rows below and of the units: raised with every change that a destination can see, and stamped on what is sent.
pub const BASE_VERSION: &str = "base-3";

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
        us_core: Some("us-core-observation-lab"),
        components: GLUCOSE,
        decimals: 1,
    }
}

const DISTANCE: Mdc = Mdc(8_454_247, "MDC_HF_DISTANCE");
const VOLUME: &[Component] = &[Component { plausible: Some(((1, -1), (9, 0))), ..ANY }];

const fn laboratory(
    id: &'static str,
    name: &'static str,
    loinc: &'static [Loinc],
    mdc: Mdc,
    units: &'static [&'static str],
) -> VitalRow {
    let us_core = Some("us-core-observation-lab");
    VitalRow { category: Category::Laboratory, ..simple(id, name, loinc, Some(mdc), units, us_core, FREE) }
}

const fn activity(
    id: &'static str,
    name: &'static str,
    loinc: &'static [Loinc],
    mdc: Mdc,
    units: &'static [&'static str],
) -> VitalRow {
    VitalRow { category: Category::Activity, decimals: 0, ..simple(id, name, loinc, Some(mdc), units, None, FREE) }
}

/// Where LOINC has a code, the claim of US Core's clinical results: `procedure` is among the categories that it asks for.
const fn spirometry(
    id: &'static str,
    name: &'static str,
    loinc: &'static [Loinc],
    mdc: Mdc,
    units: &'static [&'static str],
    components: &'static [Component],
) -> VitalRow {
    VitalRow {
        category: Category::Procedure,
        decimals: 2,
        us_core: if loinc.is_empty() { None } else { Some("us-core-observation-clinical-result") },
        ..simple(id, name, loinc, Some(mdc), units, None, components)
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
    VitalRow {
        id: "average-blood-pressure",
        name: "Average blood pressure",
        category: Category::VitalSigns,
        loinc: &[Loinc("96607-7", "Blood pressure panel mean systolic and mean diastolic")],
        loinc_moles: &[],
        mdc: None,
        units: &["mm[Hg]"],
        us_core: Some("us-core-average-blood-pressure"),
        decimals: 0,
        components: &[
            Component {
                role: Role::Systolic,
                loinc: &[Loinc("96608-5", "Systolic blood pressure mean")],
                required: true,
                ..one(40, 300)
            },
            Component {
                role: Role::Diastolic,
                loinc: &[Loinc("96609-3", "Diastolic blood pressure mean")],
                required: true,
                ..one(20, 200)
            },
        ],
    },
    simple(
        "resting-heart-rate",
        "Resting heart rate",
        &[HEART_RATE, Loinc("40443-4", "Heart rate --resting")],
        None,
        &["/min"],
        Some("us-core-heart-rate"),
        RATE,
    ),
    simple(
        "rr-interval",
        "RR interval",
        &[],
        Some(Mdc(147_240, "MDC_ECG_TIME_PD_RR_GL")),
        &["ms"],
        None,
        &[one(200, 3_000)],
    ),
    simple("pr-interval", "PR interval", &[Loinc("8625-6", "P-R Interval")], None, &["ms"], None, &[one(40, 600)]),
    simple(
        "qtc-interval",
        "QTc interval",
        &[],
        Some(Mdc(147_236, "MDC_ECG_TIME_PD_QTc")),
        &["ms"],
        None,
        &[one(200, 800)],
    ),
    simple(
        "sdnn",
        "Heart rate variability (SDNN)",
        &[Loinc("80404-7", "R-R interval.standard deviation (Heart rate variability)")],
        None,
        &["ms"],
        None,
        &[one(0, 500)],
    ),
    activity(
        "steps",
        "Steps",
        &[Loinc("55423-8", "Number of steps in unspecified time Pedometer")],
        DISTANCE,
        &["{steps}"],
    ),
    activity(
        "steps-24h",
        "Steps in 24 hours",
        &[Loinc("41950-7", "Number of steps in 24 hour Measured")],
        DISTANCE,
        &["{steps}/(24.h)"],
    ),
    activity(
        "energy-expended",
        "Energy expended",
        &[Loinc("41981-2", "Calories burned")],
        Mdc(8_454_263, "MDC_HF_ENERGY"),
        &["kcal", "kJ"],
    ),
    spirometry(
        "peak-expiratory-flow",
        "Peak expiratory flow",
        &[Loinc("19935-6", "Maximum expiratory gas flow Respiratory system airway by Peak flow meter")],
        Mdc(152_584, "MDC_FLOW_AWAY_EXP_FORCED_PEAK"),
        &["L/min", "L/s"],
        &[one(20, 1_000)],
    ),
    spirometry(
        "peak-expiratory-flow-best",
        "Peak expiratory flow (personal best)",
        &[],
        Mdc(152_585, "MDC_FLOW_AWAY_EXP_FORCED_PEAK_PB"),
        &["L/min", "L/s"],
        &[one(20, 1_000)],
    ),
    spirometry(
        "fev1",
        "FEV1",
        &[Loinc("20150-9", "FEV1")],
        Mdc(152_586, "MDC_VOL_AWAY_EXP_FORCED_1S"),
        &["L", "mL"],
        VOLUME,
    ),
    spirometry("fev6", "FEV6", &[], Mdc(152_587, "MDC_VOL_AWAY_EXP_FORCED_EXP_6S"), &["L", "mL"], VOLUME),
    spirometry(
        "fvc",
        "Forced vital capacity",
        &[Loinc("19868-9", "Forced vital capacity [Volume] Respiratory system by Spirometry")],
        Mdc(188_928, "MDC_VOL_AWAY_EXP_FORCED_CAPACITY"),
        &["L", "mL"],
        VOLUME,
    ),
    spirometry(
        "fev1-fvc",
        "FEV1/FVC",
        &[Loinc("19926-5", "FEV1/FVC")],
        Mdc(188_948, "MDC_RATIO_AWAY_EXP_FORCED_FEV1_FVC"),
        &["%"],
        &[one(10, 100)],
    ),
    VitalRow {
        components: &[Component { plausible: Some(((5, -1), (15, 0))), ..ANY }],
        ..laboratory(
            "inr",
            "INR",
            &[Loinc("34714-6", "INR in Blood by Coagulation assay")],
            Mdc(160_260, "MDC_RATIO_INR_COAG"),
            &["{INR}"],
        )
    },
    VitalRow {
        components: &[one(3, 20)],
        ..laboratory(
            "hba1c",
            "HbA1c",
            &[Loinc("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood")],
            Mdc(160_220, "MDC_CONC_HBA1C"),
            &["%"],
        )
    },
];
