//! What one destination calls the vital signs: a small table over the base of `vital.rs` and `unit.rs`, with a version.
//!
//! Promises: a table that is loaded can be sent: its LOINC codes have the right check digit, its units are UCUM codes of
//! the table and exactly convertible, nothing is said twice. Must never: turn mass into moles, or give a vital sign of
//! FHIR a unit that FHIR forbids.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use crate::fault::Explain;
use crate::limits;
use crate::unit::{Dimension, Unit};
use crate::vital::{BASE_VERSION, Category, Role, Vital};

/// A code of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Code system: a URI.
    pub system: String,
    /// The code.
    pub code: String,
    /// What people read.
    pub display: Option<String>,
}

/// What differs from the base for one vital sign, or for one number of a panel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Which vital sign.
    pub vital: Vital,
    /// Which number of a panel; none: the vital sign itself.
    pub role: Option<Role>,
    /// Only where it was measured by moles, or only where it was not.
    pub moles: Option<bool>,
    /// Codes that go along, before those of the base.
    #[serde(default)]
    pub coding: Vec<Code>,
    /// They take the place of the base's LOINC codes. The MDC code stays.
    #[serde(default)]
    pub replace: bool,
    /// In place of the base's name.
    pub text: Option<String>,
    /// Delivered in this unit (UCUM).
    unit: Option<String>,
    /// What people read for it.
    pub unit_text: Option<String>,
    /// Decimals that a conversion keeps.
    pub decimals: Option<u16>,
}

impl Override {
    /// The unit that it is delivered in.
    pub fn unit(&self) -> Option<Unit> {
        self.unit.as_deref().and_then(Unit::parse)
    }

    fn speaks_of(&self, vital: Vital, role: Option<Role>, moles: bool) -> bool {
        self.vital == vital && self.role == role && self.moles.is_none_or(|m| m == moles)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    #[serde(default)]
    vital: Vec<Override>,
}

/// The base with a destination's table over it.
#[derive(Debug)]
pub struct Mapping {
    stamp: String,
    id: u64,
    rows: Vec<Override>,
}

/// Why a table is refused.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// Make the file readable.
    #[error("{file}: cannot be read: {source}")]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Correct the file.
    #[error("{file}: {reason}")]
    Malformed {
        /// Which file.
        file: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// Correct the row.
    #[error("{file}: vital \"{vital}\": {wrong}")]
    Row {
        /// Which file.
        file: PathBuf,
        /// Which vital sign.
        vital: &'static str,
        /// What is wrong.
        wrong: Wrong,
    },
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Correct the code.
    #[error("{0}")]
    Code(String),
    /// Correct the unit.
    #[error("{0}")]
    Unit(String),
    /// Say it once, and to what it applies.
    #[error("{0}")]
    Ambiguous(&'static str),
}

impl Explain for MappingError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "WL-T001",
            Self::Malformed { .. } => "WL-T002",
            Self::Row { wrong: Wrong::Code(_), .. } => "WL-T003",
            Self::Row { wrong: Wrong::Unit(_), .. } => "WL-T004",
            Self::Row { wrong: Wrong::Ambiguous(_), .. } => "WL-T005",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "Give a file that the gateway's user can read as `mapping_file`.",
            Self::Malformed { .. } => "Correct the file; docs/fhir.md shows its form.",
            Self::Row { wrong: Wrong::Code(_), .. } => "Copy the code again from the destination's own list.",
            Self::Row { wrong: Wrong::Unit(_), .. } => "Choose a unit that this vital sign is converted to exactly.",
            Self::Row { wrong: Wrong::Ambiguous(_), .. } => "Say each thing once, and which of the two it is for.",
        }
    }
}

impl Mapping {
    /// The base alone.
    pub fn base() -> &'static Self {
        static BASE: LazyLock<Mapping> =
            LazyLock::new(|| Mapping { stamp: BASE_VERSION.into(), id: 0, rows: Vec::new() });
        &BASE
    }

    /// A destination's table.
    pub fn load(file: &Path) -> Result<Self, MappingError> {
        let unreadable = |source| MappingError::Unreadable { file: file.into(), source };
        let length = std::fs::metadata(file).map_err(unreadable)?.len();
        if length > limits::MAPPING_BYTES_MAX {
            let reason = format!("{length} octets are more than {}", limits::MAPPING_BYTES_MAX);
            return Err(MappingError::Malformed { file: file.into(), reason });
        }
        Self::parse(&std::fs::read_to_string(file).map_err(unreadable)?, file)
    }

    /// The same from text; `file` is named in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, MappingError> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let malformed = |reason: String| MappingError::Malformed { file: file.into(), reason };
        let parsed: File = toml::from_str(text).map_err(|e| malformed(e.to_string().trim().replace('\n', " ")))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if parsed.version.is_empty() || parsed.version.len() > 32 || !parsed.version.chars().all(fits) {
            return Err(malformed("a `version` has 1 to 32 of A-Z a-z 0-9 - . _".into()));
        }
        for (n, row) in parsed.vital.iter().enumerate() {
            let before = parsed.vital.get(..n).unwrap_or_default();
            check(row, before).map_err(|wrong| MappingError::Row { file: file.into(), vital: row.vital.id, wrong })?;
        }
        let stamp = format!("{BASE_VERSION}+{}", parsed.version);
        Ok(Self { stamp, id: COUNT.fetch_add(1, Ordering::Relaxed), rows: parsed.vital })
    }

    /// What is stamped on each resource: the base's version, with the table's.
    pub fn stamp(&self) -> &str {
        &self.stamp
    }

    /// Tells it from every other one of this run.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What differs for this vital sign, or for one number of it.
    pub fn of(&self, vital: Vital, role: Option<Role>, moles: bool) -> Option<&Override> {
        self.rows.iter().find(|row| row.speaks_of(vital, role, moles))
    }
}

fn check(row: &Override, before: &[Override]) -> Result<(), Wrong> {
    let meets = |a: Option<bool>, b: Option<bool>| a.zip(b).is_none_or(|(a, b)| a == b);
    if before.iter().any(|b| b.vital == row.vital && b.role == row.role && meets(b.moles, row.moles)) {
        return Err(Wrong::Ambiguous("it stands in the table twice"));
    }
    if row.role.is_some_and(|role| row.vital.component(role).is_none() || row.vital.components.len() == 1) {
        return Err(Wrong::Ambiguous("it is no panel with such a number"));
    }
    row.coding.iter().try_for_each(check_code)?;
    let both = row.vital.dimensions().count() > 1;
    if both && row.moles.is_none() && !row.coding.is_empty() {
        return Err(Wrong::Ambiguous("a code says mass or moles: add `moles = true` or `moles = false`"));
    }
    if row.replace && row.coding.is_empty() {
        return Err(Wrong::Code("`replace` without a `coding` would leave it without a name".into()));
    }
    if row.decimals.is_some_and(|d| d > 6) {
        return Err(Wrong::Unit("more than 6 decimals say nothing".into()));
    }
    row.unit.as_deref().map_or(Ok(()), |ucum| check_unit(row, ucum, both))
}

fn check_code(Code { system, code, .. }: &Code) -> Result<(), Wrong> {
    let absolute = ["http://", "https://", "urn:"].iter().any(|start| system.starts_with(start));
    if !absolute || system.len() > 200 || system.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Wrong::Code("a code's `system` is a URI".into()));
    }
    if code.is_empty() || code.len() > 64 || code.trim() != code || code.chars().any(char::is_control) {
        return Err(Wrong::Code("a code has 1 to 64 visible characters".into()));
    }
    match system.as_str() {
        "http://loinc.org" if !is_loinc(code) => {
            Err(Wrong::Code(format!("{code} is no LOINC code: its check digit does not fit")))
        }
        "urn:iso:std:iso:11073:10101" if code.parse::<u32>().is_err() => {
            Err(Wrong::Code(format!("{code} is no MDC code: that is a number of 32 bits")))
        }
        _ => Ok(()),
    }
}

fn check_unit(row: &Override, ucum: &str, both: bool) -> Result<(), Wrong> {
    if row.role.is_some() {
        return Err(Wrong::Unit("the numbers of a panel share its unit: say it without `role`".into()));
    }
    let vital = row.vital;
    if vital.unit(ucum).is_none() {
        return Err(Wrong::Unit(format!("{ucum} is no UCUM code that it is converted to exactly")));
    }
    if both {
        return Err(Wrong::Unit("mass and moles are not converted: it goes out as it was measured".into()));
    }
    if vital.category == Category::VitalSigns && vital.us_core.is_some() && !vital.units.contains(&ucum) {
        return Err(Wrong::Unit(format!("FHIR's profile of it allows only {}", vital.units.join(", "))));
    }
    Ok(())
}

/// `8867-4`: digits and the check digit of modulus 10.
pub fn is_loinc(code: &str) -> bool {
    let Some((number, check)) = code.split_once('-') else { return false };
    let digits = |text: &str| !text.is_empty() && text.len() <= 7 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(number) || !digits(check) || check.len() != 1 {
        return false;
    }
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(n, b)| (u32::from(b - b'0'), n % 2 == 0))
        .map(|(d, doubled)| if doubled { 2 * d / 10 + 2 * d % 10 } else { d })
        .sum();
    check.parse() == Ok((10 - sum % 10) % 10)
}

impl Vital {
    /// What its units measure: one thing, or mass and moles.
    pub fn dimensions(self) -> impl Iterator<Item = Dimension> {
        let units = self.units.iter().filter_map(|u| Unit::parse(u)).map(Unit::dimension);
        let mut seen: Vec<Dimension> = Vec::with_capacity(2);
        units.for_each(|d| {
            if !seen.contains(&d) {
                seen.push(d)
            }
        });
        seen.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rows: &str) -> Result<Mapping, MappingError> {
        Mapping::parse(&format!("version = \"site-a-3\"\n{rows}"), Path::new("table.toml"))
    }

    #[test]
    fn a_table_says_what_differs_and_bears_its_version() {
        let table = parse(
            r#"
            [[vital]]
            vital = "body-weight"
            coding = [{ system = "http://loinc.org", code = "3141-9", display = "Body weight Measured" }]
            text = "Weight"
            unit = "[lb_av]"
            [[vital]]
            vital = "blood-pressure"
            role = "systolic"
            coding = [{ system = "urn:site-a", code = "SYS" }]
            [[vital]]
            vital = "glucose-plasma"
            moles = true
            coding = [{ system = "urn:site-a", code = "GLU-MOL" }]
            "#,
        )
        .unwrap();
        assert_eq!(table.stamp(), format!("{BASE_VERSION}+site-a-3"));
        let weight = table.of(Vital::parse("body-weight").unwrap(), None, false).unwrap();
        assert_eq!((weight.unit().unwrap().ucum(), weight.text.as_deref()), ("[lb_av]", Some("Weight")));
        let bp = Vital::parse("blood-pressure").unwrap();
        assert!(table.of(bp, None, false).is_none());
        assert_eq!(table.of(bp, Some(Role::Systolic), false).unwrap().coding[0].code, "SYS");
        let glucose = Vital::parse("glucose-plasma").unwrap();
        assert!(table.of(glucose, None, true).is_some() && table.of(glucose, None, false).is_none());
    }

    #[test]
    fn a_table_that_cannot_be_sent_is_refused() {
        #[track_caller]
        fn check(rows: &str, code: &str) {
            let error = parse(rows).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        }
        let row = |more: &str| format!("[[vital]]\nvital = \"body-weight\"\n{more}\n");
        let coded =
            |system: &str, code: &str| row(&format!("coding = [{{ system = \"{system}\", code = \"{code}\" }}]"));
        check("[[vital]]\nvital = \"mood\"", "WL-T002");
        check(&row("colour = 1"), "WL-T002");
        check(&coded("http://loinc.org", "3141-8"), "WL-T003");
        check(&coded("loinc", "3141-9"), "WL-T003");
        check(&coded("urn:iso:std:iso:11073:10101", "MDC_X"), "WL-T003");
        check(&coded("urn:x", ""), "WL-T003");
        check(&row("replace = true"), "WL-T003");
        check(&row("unit = \"stone\""), "WL-T004");
        check(&row("unit = \"cm\""), "WL-T004");
        check(&row("unit = \"kg\"\ndecimals = 7"), "WL-T004");
        check("[[vital]]\nvital = \"body-height\"\nunit = \"m\"", "WL-T004");
        check("[[vital]]\nvital = \"glucose-plasma\"\nunit = \"mmol/L\"", "WL-T004");
        check("[[vital]]\nvital = \"blood-pressure\"\nrole = \"systolic\"\nunit = \"mm[Hg]\"", "WL-T004");
        check(&[row(""), row("")].concat(), "WL-T005");
        check(&row("role = \"systolic\""), "WL-T005");
        let glucose = "[[vital]]\nvital = \"glucose-plasma\"\ncoding = [{ system = \"urn:x\", code = \"a\" }]";
        check(glucose, "WL-T005");
        for version in ["", "a b", &"x".repeat(33)] {
            let text = format!("version = \"{version}\"");
            assert_eq!(Mapping::parse(&text, Path::new("t")).unwrap_err().code(), "WL-T002", "{version}");
        }
        assert_eq!(Mapping::load(Path::new("nowhere.toml")).unwrap_err().code(), "WL-T001");
    }

    #[test]
    fn loinc_codes_have_a_check_digit() {
        let all = crate::vital::VITALS.iter().flat_map(|row| {
            let components = row.components.iter().flat_map(|c| c.loinc);
            row.loinc.iter().chain(row.loinc_moles).chain(components).map(|l| l.0)
        });
        for code in all {
            assert!(is_loinc(code), "{code}");
        }
        for wrong in ["8867-5", "8876-4", "8867", "-4", "8867-", "8867-44", "88a7-4", "88674"] {
            assert!(!is_loinc(wrong), "{wrong}");
        }
    }
}
