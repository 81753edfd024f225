//! Where on the body a reading was taken.
//!
//! Must never: give a SNOMED CT code that the standards dossier does not have as verified.

use super::{Loinc, Mdc};

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
pub struct Site(pub(super) &'static SiteRow);

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
