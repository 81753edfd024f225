//! Match fields: what a receiver finds a person by, where its site opted into it. Identifier, name, birth date, sex.
//!
//! Promises: they redact themselves wherever they are shown; each fits into its HL7 field; a refusal names the field and
//! never what was given. Must never: hold a field that its destination does not ask for.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::minimum::Field;

/// The word for what is lacking, where a category of consent would stand.
pub const LACKING: &str = "match-fields";

/// Sexes of HL7's table 0001.
const SEXES: [&str; 6] = ["F", "M", "O", "U", "A", "N"];

/// Of one person, for one destination. Redacts itself.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Demographics {
    /// As the receiver's own authority gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Family name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Given name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// Further given names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub further: Option<String>,
    /// Whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Date>,
    /// Of HL7's table 0001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sex: Option<String>,
}

impl fmt::Debug for Demographics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Demographics(…)")
    }
}

impl Demographics {
    /// Whether this field is given.
    pub fn has(&self, field: Field) -> bool {
        match field {
            Field::PatientIdentifier => self.identifier.is_some(),
            Field::PatientName => self.family.is_some(),
            Field::BirthDate => self.birth_date.is_some(),
            Field::Sex => self.sex.is_some(),
            _ => false,
        }
    }

    /// Only what is asked for.
    pub fn cut(self, asked: &[Field]) -> Self {
        let Self { identifier, family, given, further, birth_date, sex } = self;
        let is = |field| asked.contains(&field);
        let name = is(Field::PatientName);
        Self {
            identifier: identifier.filter(|_| is(Field::PatientIdentifier)),
            family: family.filter(|_| name),
            given: given.filter(|_| name),
            further: further.filter(|_| name),
            birth_date: birth_date.filter(|_| is(Field::BirthDate)),
            sex: sex.filter(|_| is(Field::Sex)),
        }
    }

    /// As it may be kept for a destination that asks for these fields: all of them, and nothing else. `Err` says what is wrong,
    /// and nothing of what was given.
    pub fn checked(self, asked: &[Field]) -> Result<Self, String> {
        let trimmed = |text: Option<String>| text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        let given = Self {
            identifier: trimmed(self.identifier),
            family: trimmed(self.family),
            given: trimmed(self.given),
            further: trimmed(self.further),
            sex: trimmed(self.sex).map(|s| s.to_ascii_uppercase()),
            birth_date: self.birth_date,
        };
        if given.clone().cut(asked) != given {
            return Err("the destination does not ask for all of this: see `fields` in its configuration".into());
        }
        if let Some(field) = asked.iter().find(|field| !given.has(**field)) {
            return Err(format!("the destination asks for `{}`, and it is not given", field.word()));
        }
        let texts = [
            ("the identifier", &given.identifier, limits::MATCH_IDENTIFIER_CHARS_MAX),
            ("the family name", &given.family, limits::MATCH_FAMILY_CHARS_MAX),
            ("the given name", &given.given, limits::MATCH_GIVEN_CHARS_MAX),
            ("further given names", &given.further, limits::MATCH_GIVEN_CHARS_MAX),
        ];
        for (what, text, most) in texts {
            let Some(text) = text else { continue };
            if text.chars().count() > most || text.chars().any(char::is_control) {
                return Err(format!("{what}: at most {most} printable characters fit into the field"));
            }
        }
        if given.sex.as_deref().is_some_and(|sex| !SEXES.contains(&sex)) {
            return Err(format!("the sex is one of {}", SEXES.join(", ")));
        }
        // 1850: nobody who is measured was born before it.
        if given.birth_date.is_some_and(|date| date.year() < 1850) {
            return Err("the birth date is year, month and day, as in 1950-03-07".into());
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Field; 4] = Field::OF_A_PERSON;

    fn whole() -> Demographics {
        Demographics {
            identifier: Some(" 4711 ".into()),
            family: Some("Müller-Łoś".into()),
            given: Some("Zoë".into()),
            further: Some("  ".into()),
            birth_date: Some("1950-03-07".parse().unwrap()),
            sex: Some("f".into()),
        }
    }

    #[test]
    fn what_is_kept_is_what_was_asked_for_and_fits() {
        let kept = whole().checked(&ALL).unwrap();
        assert_eq!((kept.identifier.as_deref(), kept.further.as_deref()), (Some("4711"), None));
        assert_eq!(kept.sex.as_deref(), Some("F"));
        assert_eq!(kept.clone().cut(&[Field::Sex]), Demographics { sex: Some("F".into()), ..Demographics::default() });
        assert_eq!(kept.clone().cut(&[]), Demographics::default());
        // More or less than is asked for is refused.
        assert!(kept.clone().checked(&[Field::Sex]).unwrap_err().contains("does not ask"));
        assert!(kept.clone().cut(&ALL[1..]).checked(&ALL).unwrap_err().contains("patient-identifier"));
        // Without its own authority's field a device's field asks for nothing of a person.
        assert!(kept.checked(&[Field::Device]).is_err());
    }

    #[test]
    fn a_refusal_says_nothing_of_the_person() {
        let wrong: [fn(&mut Demographics); 6] = [
            |d| d.identifier = Some("canary".repeat(20)),
            |d| d.family = Some(format!("canary{}", "x".repeat(50))),
            |d| d.given = Some("canary\ncanary".into()),
            |d| d.further = Some("canary".repeat(6)),
            |d| d.sex = Some("canary".into()),
            |d| d.birth_date = Some("0019-11-23".parse().unwrap()),
        ];
        for change in wrong {
            let mut person = whole();
            change(&mut person);
            let shown = format!("{person:?}");
            let refused = person.checked(&ALL).unwrap_err();
            assert!(!refused.contains("canary") && !refused.contains("19-11"), "{refused}");
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}
