//! The table of vital signs: what each is called, coded, measured in, and where it is plausible.
//!
//! One row each, in `vital/table.rs`; adding a vital is adding a row. Codes: LOINC, ISO/IEEE 11073-10101 (MDC), UCUM,
//! with the confidence marks of the standards dossier §6; rows without a verified LOINC carry MDC and text only.
//! Plausible ranges (dossier §9) label a value, they never drop it.

mod site;
pub mod status;
mod table;

use std::cmp::Ordering;

use crate::decimal::Decimal;
use crate::unit::{Dimension, Unit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use site::{SITES, Site, SiteRow};
pub use status::Status;
pub use table::{BASE_VERSION, VITALS};

/// FHIR `Observation.category`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// `vital-signs`.
    VitalSigns,
    /// `laboratory`: glucose and other results of a sample.
    Laboratory,
    /// `activity`: steps.
    Activity,
    /// `procedure`: what a manoeuvre yields, as spirometry.
    Procedure,
}

impl Category {
    /// As FHIR names it (observation-category).
    pub const fn word(self) -> &'static str {
        match self {
            Self::VitalSigns => "vital-signs",
            Self::Laboratory => "laboratory",
            Self::Activity => "activity",
            Self::Procedure => "procedure",
        }
    }
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
    /// What was eaten with a glucose, grams; of its context, as the three below.
    Carbohydrate,
    /// What was taken, milligrams or millilitres.
    Medication,
    /// How hard the exercise was, percent.
    Exercise,
    /// How long it was, seconds.
    Exercised,
}

impl Role {
    /// What a person typed into a meter beside the measurement: it tells nothing of which measurement it is.
    pub const fn is_context(self) -> bool {
        matches!(self, Self::Carbohydrate | Self::Medication | Self::Exercise | Self::Exercised)
    }
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
    /// The time over which it is counted, where its code names one. Milliseconds.
    pub fn lasts_ms(self) -> Option<i64> {
        (self.id == "steps-24h").then_some(86_400_000)
    }

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

    /// Its LOINC codes: those for amounts by moles, where a laboratory's result was measured so.
    pub fn loinc_for(self, by_moles: bool) -> &'static [Loinc] {
        if by_moles && self.category == Category::Laboratory { self.0.loinc_moles } else { self.0.loinc }
    }

    /// The value in a unit that it may be delivered in. A power of ten moves the point and keeps the digits.
    pub fn deliverable(self, value: Decimal, unit: Unit) -> Option<(Decimal, Unit)> {
        if self.units.contains(&unit.ucum()) {
            return Some((value, unit));
        }
        let to = self.first_unit()?;
        let converted = match unit.power_of_ten(to) {
            Some(power) => value.scale10(power),
            None => unit.convert(value, to, self.decimals)?,
        };
        Some((converted, to))
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
