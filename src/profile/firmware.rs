//! Firmware revisions that a profile is for, written `">=1.2, <2"`, against what a device says of itself (2A26).
//!
//! Promises: numbers are compared one by one, so 1.10 is newer than 1.9, and `V1.2-b3` counts as 1.2. A device that tells no
//! revision fits no range. Must never: guess a revision.

use std::sync::Arc;

use serde::Deserialize;

use super::schema::Matching;
use super::session::name_fits;

/// Between name and revision in what profiles match on; no name holds it, as what is printed of one has no line breaks.
const BETWEEN: char = '\n';

/// A range of revisions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Firmware {
    from: Revision,
    before: Option<Revision>,
}

/// The first numbers with dots between them, without zeros at their end.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Revision(Vec<u32>);

impl Revision {
    fn read(text: &str) -> Option<Self> {
        let begin = text.find(|c: char| c.is_ascii_digit())?;
        let numbers = text.get(begin..)?.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let numbers = numbers.trim_end_matches('.').split('.').map(str::parse);
        let mut numbers: Vec<u32> = numbers.collect::<Result<_, _>>().ok()?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Self(numbers))
    }
}

impl TryFrom<String> for Firmware {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const FORM: &str = "a range of firmware revisions is written \">=1.2\", \"<2\" or \">=1.2, <2\"";
        let (mut from, mut before) = (None, None);
        for bound in text.split(',').map(str::trim) {
            let (place, number) = match (bound.strip_prefix(">="), bound.strip_prefix('<')) {
                (Some(number), _) => (&mut from, number),
                (None, Some(number)) => (&mut before, number),
                (None, None) => return Err(FORM),
            };
            let number = number.trim();
            let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            let revision = Revision::read(number).filter(|_| plain).ok_or(FORM)?;
            if place.replace(revision).is_some() {
                return Err(FORM);
            }
        }
        let from = from.unwrap_or_default();
        if before.as_ref().is_some_and(|before| *before <= from) {
            return Err("the range of firmware revisions is empty");
        }
        Ok(Self { from, before })
    }
}

impl Firmware {
    fn holds(&self, told: &str) -> bool {
        Revision::read(told).is_some_and(|r| self.from <= r && self.before.as_ref().is_none_or(|before| r < *before))
    }

    /// Some revision is in both.
    fn meets(&self, other: &Self) -> bool {
        let below = |a: &Self, b: &Self| b.before.as_ref().is_none_or(|before| a.from < *before);
        below(self, other) && below(other, self)
    }

    /// One that is in it, for examples.
    fn first(&self) -> String {
        let numbers: Vec<String> = self.from.0.iter().map(u32::to_string).collect();
        if numbers.is_empty() { "0".into() } else { numbers.join(".") }
    }
}

/// What profiles match on: the name, and the revision where one of them asks for it.
pub fn told(name: &str, firmware: &str) -> Arc<str> {
    format!("{name}{BETWEEN}{}", firmware.replace(BETWEEN, " ")).into()
}

impl Matching {
    /// How closely a device fits by what it told: letters of a pattern, then whether its revision counted. `None`: it does not.
    pub(super) fn fit(&self, told: Option<&str>) -> Option<(usize, bool)> {
        let told = told?;
        let (name, firmware) = told.split_once(BETWEEN).map_or((told, None), |(name, firmware)| (name, Some(firmware)));
        let letters = |pattern: &String| pattern.bytes().filter(|b| *b != b'*').count();
        let letters = self.names.iter().filter(|n| name_fits(n, name)).map(letters).max()?;
        match &self.firmware {
            None => Some((letters, false)),
            Some(range) => range.holds(firmware?).then_some((letters, true)),
        }
    }

    /// Its revision decides whether this profile is for a device of this name.
    pub(super) fn asks_firmware(&self, name: &str) -> bool {
        self.firmware.is_some() && self.names.iter().any(|n| name_fits(n, name))
    }

    /// Some device could fit both equally well.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let named =
            self.names.is_empty() && other.names.is_empty() || self.names.iter().any(|n| other.names.contains(n));
        named
            && match (&self.firmware, &other.firmware) {
                (Some(a), Some(b)) => a.meets(b),
                (None, None) => true,
                // The one with a range is the closer one.
                _ => false,
            }
    }

    /// What a device that fits would tell: for examples, which may state a name.
    pub(super) fn sample(&self, name: Option<&str>) -> Option<Arc<str>> {
        let name = name.map(str::to_owned).or_else(|| self.names.first().map(|n| n.replace('*', "")))?;
        Some(match &self.firmware {
            Some(range) => told(&name, &range.first()),
            None => name.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::profile::{Catalogue, Profile, ProfileError, reject};
    use crate::reading::{DeviceId, Path};

    fn range(text: &str) -> Result<Firmware, &'static str> {
        Firmware::try_from(text.to_owned())
    }

    #[test]
    fn revisions_are_compared_number_by_number() {
        let between = range(">=1.2, <2").unwrap();
        for inside in ["1.2", "1.2.0", "1.10", "V1.9.9", "FW 1.2-b3", "Rev. 1.99", "1.2."] {
            assert!(between.holds(inside), "{inside}");
        }
        for outside in ["1.1.9", "2", "2.0.0", "V10.2", "", "beta", "99999999999.1", "1..3"] {
            assert!(!between.holds(outside), "{outside}");
        }
        assert!(range("<2").unwrap().holds("0.1") && range(" >= 3 ").unwrap().holds("3.0"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for wrong in ["", "1.2", ">1", "<=2", ">=", ">=1.x", ">=1, >=2", "<1,", ">=2, <2.0", ">=3, <2"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    /// A scale whose octets changed with a firmware: a profile for each half.
    fn half(id: &str, range: &str, at: u8) -> String {
        format!(
            r#"id = "{id}"
title = "Scale"
manufacturer = "Maker"
confidence = "C"
sources = ["none"]
link = "ble"
match = {{ names = ["Scale*"]{range} }}
session = {{ steps = [{{ do = "subscribe", characteristic = "FFF1", kind = "notify" }}], confirm = "nothing" }}
[[decode]]
characteristic = "FFF1"
format = "binary"
length = 4
[[decode.vital]]
vital = "body-weight"
value = {{ at = {at}, type = "u16", unit = "kg", scale = "0.01" }}
[[example]]
name = "one"
origin = "constructed"
frame = {{ characteristic = "FFF1", hex = "10 27 10 27" }}
readings = [{{ vital = "body-weight", value = "100.00", unit = "kg" }}]
[[example]]
name = "another"
origin = "constructed"
frame = {{ characteristic = "FFF1", hex = "10 27 10 27" }}
readings = [{{ vital = "body-weight", value = "100.00", unit = "kg" }}]
"#
        )
    }

    fn folder(files: &[(&str, &str, u8)]) -> Result<Catalogue, ProfileError> {
        let folder = tempfile::tempdir().unwrap();
        for (id, range, at) in files {
            std::fs::write(folder.path().join(format!("{id}.toml")), half(id, range, *at)).unwrap();
        }
        Catalogue::with_folder(folder.path())
    }

    #[test]
    fn the_firmware_decides_plan_and_meaning_and_nothing_is_guessed_without_it() {
        let old = ("scale-old", r#", firmware = "<2""#, 0);
        let new = ("scale-new", r#", firmware = ">=2""#, 2);
        let all = folder(&[old, new]).unwrap();
        let services = BTreeSet::from(["FFF0".to_owned()]);
        let which = |told: &str| all.plan(Some(told), &services).map(|p| p.profiles[0].to_string());
        let rule = |told: &str| {
            let path =
                Path::Characteristic { device: DeviceId("ble:x".into()), uuid: "FFF1".into(), name: Some(told.into()) };
            all.rule_for(&path)
        };
        for (firmware, id) in [("V1.9", "scale-old"), ("2.0", "scale-new"), ("10.1", "scale-new")] {
            assert_eq!(which(&told("Scale 7", firmware)).unwrap(), id);
            assert!(rule(&told("Scale 7", firmware)).unwrap().starts_with(&format!("profile {id}:")));
        }
        assert!(all.asks_firmware("Scale 7") && !all.asks_firmware("Polar H10"));
        for nothing in ["Scale 7", &told("Scale 7", "unknown")] {
            assert_eq!(which(nothing).unwrap_err(), reject::NO_PROFILE);
            assert_eq!(rule(nothing).unwrap_err(), reject::NO_PROFILE);
        }
        // One without a range takes the rest.
        let all = folder(&[old, ("scale-rest", "", 2)]).unwrap();
        let which = |told: &str| all.plan(Some(told), &services).unwrap().profiles[0].to_string();
        assert_eq!(
            [which(&told("Scale 7", "1.0")), which(&told("Scale 7", "3")), which("Scale 7")],
            ["scale-old", "scale-rest", "scale-rest"]
        );
        assert!(folder(&[old, ("scale-more", r#", firmware = ">=1.5""#, 2)]).is_err(), "ranges that meet");
        assert!(Profile::parse(&half("a", ", firmware = \"2\"", 0), "a.toml".as_ref()).is_err());
    }
}
