//! What the endpoint reads of a resource, and the least it asks of one.
//!
//! The checks are those of FHIR R4's vital-signs profile that any server makes; profiles in full are another tool's work.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::decimal::Decimal;

/// A batch or a transaction.
#[derive(Deserialize)]
pub(super) struct Bundle<'a> {
    #[serde(rename = "resourceType", borrow)]
    pub resource_type: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(rename = "fullUrl", borrow, default)]
    pub full_url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub resource: &'a RawValue,
    #[serde(borrow)]
    pub request: Request<'a>,
}

#[derive(Deserialize)]
pub(super) struct Request<'a> {
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    #[serde(borrow)]
    pub url: Cow<'a, str>,
    #[serde(rename = "ifNoneExist", borrow, default)]
    pub if_none_exist: Option<Cow<'a, str>>,
}

/// Any resource, as far as it is looked at.
#[derive(Deserialize)]
pub(super) struct Resource<'a> {
    #[serde(rename = "resourceType", borrow)]
    pub resource_type: Cow<'a, str>,
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub identifier: Vec<Identifier<'a>>,
}

/// A token of an identifier search.
#[derive(Deserialize)]
pub(super) struct Identifier<'a> {
    #[serde(borrow, default)]
    pub system: Cow<'a, str>,
    #[serde(borrow, default)]
    pub value: Cow<'a, str>,
}

/// An Observation, as far as it is checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observation<'a> {
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    code: Codes<'a>,
    #[serde(borrow, default)]
    subject: Reference<'a>,
    #[serde(borrow, default)]
    pub effective_date_time: Option<Cow<'a, str>>,
    #[serde(default)]
    effective_period: Option<IgnoredAny>,
    #[serde(default)]
    effective_instant: Option<IgnoredAny>,
    /// An extension in place of the date: why there is none.
    #[serde(rename = "_effectiveDateTime", default)]
    effective_absent: Option<IgnoredAny>,
    #[serde(borrow, default)]
    value_quantity: Option<Quantity<'a>>,
    #[serde(default, alias = "valueString", alias = "valueBoolean", alias = "valueInteger", alias = "valueDateTime")]
    value_codeable_concept: Option<IgnoredAny>,
    #[serde(default)]
    data_absent_reason: Option<IgnoredAny>,
    #[serde(borrow, default)]
    component: Vec<Component<'a>>,
    #[serde(default)]
    has_member: Vec<IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct Codes<'a> {
    #[serde(borrow, default)]
    coding: Vec<Coding<'a>>,
}

#[derive(Deserialize)]
struct Coding<'a> {
    #[serde(borrow, default)]
    system: Cow<'a, str>,
    #[serde(borrow, default)]
    code: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
struct Reference<'a> {
    #[serde(borrow, default)]
    reference: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Quantity<'a> {
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    #[serde(borrow, default)]
    code: Codes<'a>,
    #[serde(borrow, default)]
    value_quantity: Option<Quantity<'a>>,
    #[serde(default, alias = "valueString", alias = "valueBoolean", alias = "valueInteger", alias = "valueDateTime")]
    value_codeable_concept: Option<IgnoredAny>,
    #[serde(default)]
    data_absent_reason: Option<IgnoredAny>,
}

/// Why a resource is not stored: an OperationOutcome's issue code, and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub text: &'static str,
}

const fn invalid(text: &'static str) -> Refusal {
    Refusal { status: 422, code: "invalid", text }
}

const LOINC: &str = "http://loinc.org";
const STATUS: [&str; 8] =
    ["registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"];

impl Observation<'_> {
    /// What any server asks of a vital sign.
    pub fn check(&self) -> Result<(), Refusal> {
        if !STATUS.contains(&&*self.status) {
            return Err(invalid("Observation.status is absent or not in its value set"));
        }
        self.code.check("Observation.code has no coding with system and code")?;
        if self.subject.reference.is_empty() {
            return Err(invalid("Observation.subject is absent"));
        }
        let dated = self.effective_date_time.as_deref().is_some_and(|d| d.len() >= 10);
        let reasoned = self.effective_absent.is_some();
        if !dated && !reasoned && self.effective_period.is_none() && self.effective_instant.is_none() {
            return Err(invalid("Observation.effective[x] is absent, with no reason (vs-1: at least to the day)"));
        }
        let valued = quantity(self.value_quantity.as_ref())? || self.value_codeable_concept.is_some();
        if valued && self.data_absent_reason.is_some() {
            return Err(invalid("obs-6: dataAbsentReason only where there is no value"));
        }
        if !valued && self.data_absent_reason.is_none() && self.component.is_empty() && self.has_member.is_empty() {
            return Err(invalid("vs-2: neither value, component, member nor dataAbsentReason"));
        }
        self.component.iter().try_for_each(Component::check)
    }

    /// Whose, and what: the reference of the subject and the first LOINC code.
    pub fn group(&self) -> (&str, &str) {
        let codes = &self.code.coding;
        let code = codes.iter().find(|c| c.system == LOINC).or(codes.first());
        (&self.subject.reference, code.map_or("", |c| &c.code))
    }

    /// The numbers with their units, in order; `None` where one is absent.
    pub fn numbers(&self) -> impl Iterator<Item = Option<(Decimal, &str)>> {
        let own = self.component.is_empty().then_some(self.value_quantity.as_ref());
        let parts = self.component.iter().map(|c| c.value_quantity.as_ref());
        own.into_iter().chain(parts).map(|q| {
            let q = q?;
            Some((q.value?.get().parse().ok()?, &*q.code))
        })
    }
}

impl Component<'_> {
    fn check(&self) -> Result<(), Refusal> {
        self.code.check("Observation.component.code has no coding with system and code")?;
        let valued = quantity(self.value_quantity.as_ref())? || self.value_codeable_concept.is_some();
        if valued || self.data_absent_reason.is_some() {
            Ok(())
        } else {
            Err(invalid("vs-3: a component has neither value nor dataAbsentReason"))
        }
    }
}

impl Codes<'_> {
    fn check(&self, text: &'static str) -> Result<(), Refusal> {
        let coded = self.coding.iter().any(|c| !c.system.is_empty() && !c.code.is_empty());
        if coded { Ok(()) } else { Err(invalid(text)) }
    }
}

/// Whether there is a quantity; refused when it is not a number with a unit code.
fn quantity(quantity: Option<&Quantity<'_>>) -> Result<bool, Refusal> {
    let Some(q) = quantity else { return Ok(false) };
    let number = q.value.is_some_and(|v| v.get().parse::<Decimal>().is_ok());
    if number && !q.code.is_empty() { Ok(true) } else { Err(invalid("valueQuantity needs a number and a unit code")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"urn:x","code":"1"},
        {"system":"http://loinc.org","code":"8867-4"}]},"subject":{"reference":"Patient/a"},
        "effectiveDateTime":"2026-11-22T10:00:00Z","valueQuantity":{"value":61.0,"code":"/min"}}"#;

    fn check(text: &str) -> Result<(), &'static str> {
        serde_json::from_str::<Observation>(text).map_err(|_| "malformed")?.check().map_err(|r| r.text)
    }

    #[test]
    fn a_good_one_passes() {
        assert_eq!(check(GOOD), Ok(()));
        let o: Observation = serde_json::from_str(GOOD).unwrap();
        assert_eq!(o.group(), ("Patient/a", "8867-4"));
        assert_eq!(o.numbers().collect::<Vec<_>>(), [Some(("61.0".parse().unwrap(), "/min"))]);
    }

    #[test]
    fn each_omission_is_refused() {
        for (from, to) in [
            ("\"final\"", "\"bogus\""),
            ("\"subject\"", "\"object\""),
            ("2026-11-22T10:00:00Z", "2026"),
            ("\"effectiveDateTime\"", "\"when\""),
            ("61.0", "\"61\""),
            ("\"/min\"", "\"\""),
            ("\"valueQuantity\"", "\"much\""),
            ("\"code\":{\"coding\"", "\"code\":{\"codings\""),
        ] {
            assert!(GOOD.contains(from), "{from}");
            assert!(check(&GOOD.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn absence_with_a_reason_passes() {
        let reason = r#""dataAbsentReason":{"coding":[{"code":"not-a-number"}]}"#;
        let quantity = r#""valueQuantity":{"value":61.0,"code":"/min"}"#;
        assert_eq!(check(&GOOD.replace(quantity, reason)), Ok(()));
        assert!(check(&GOOD.replace(quantity, &format!("{quantity},{reason}"))).is_err());
        let code = r#""code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]}"#;
        let panel = |parts: &str| GOOD.replace(quantity, &format!(r#""component":[{parts}]"#));
        assert_eq!(check(&panel(&format!("{{{code},{quantity}}},{{{code},{reason}}}"))), Ok(()));
        assert!(check(&panel(&format!("{{{code},{quantity}}},{{{code}}}"))).is_err());
    }
}
