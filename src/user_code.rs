//! The code of a user of a shared scale, and what the scale said of it. Who knows the code is given that user's measurements.
//!
//! Promises: a code is shown by nothing but the octets that are written to its scale, and the row in which it is kept.
//! Must never: have a `Display`, or show itself in `Debug`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reading::DeviceId;

/// The highest number of a user of a scale; 255 stands for nobody known (Bluetooth SIG, User Data Service).
pub const SLOT_MAX: u8 = 254;

/// Four decimal digits, as scales have them: 0000 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserCode(u16);

impl UserCode {
    /// What a person reads off the scale: four digits, or fewer without the zeros before them.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok().map(Self)).flatten()
    }

    /// The request for this user's consent, as it is written to 2A9F.
    pub fn request(self, slot: u8) -> Request {
        let [low, high] = self.0.to_le_bytes();
        Request([2, slot, low, high])
    }
}

impl TryFrom<String> for UserCode {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a code has one to four digits")
    }
}

impl From<UserCode> for String {
    fn from(code: UserCode) -> Self {
        format!("{:04}", code.0)
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(…)")
    }
}

/// A request for a user's consent. Redacts itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Request([u8; 4]);

impl Request {
    /// The octets, for the one who writes them.
    pub fn reveal(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request(…)")
    }
}

/// What a scale says of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is right.
    Accepted,
    /// It is not: it is not tried again, as scales count.
    Refused,
}

/// A code that a person gave.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The code.
    pub code: UserCode,
    /// Who gave it.
    pub by: String,
    /// When, milliseconds since 1970. What a scale says of one that was given before does not concern this one.
    pub at_ms: i64,
    /// What the scale said of it, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<(Verdict, i64)>,
}

impl Given {
    /// The scale refused it.
    pub fn is_refused(&self) -> bool {
        matches!(self.said, Some((Verdict::Refused, _)))
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("at_ms", &self.at_ms).field("said", &self.said).finish_non_exhaustive()
    }
}

/// All codes that are kept: by device and user slot.
pub type Codes = BTreeMap<DeviceId, BTreeMap<u8, Given>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_four_digits_and_shows_none_of_them() {
        let code = UserCode::parse("1234").unwrap();
        assert_eq!(code.request(2).reveal(), [2, 2, 0xd2, 0x04]);
        assert_eq!(UserCode::parse("9999").unwrap().request(1).reveal(), [2, 1, 0x0f, 0x27]);
        assert_eq!(UserCode::parse("7"), UserCode::parse("0007"));
        for wrong in ["", "12345", "-1", "+1", " 1", "1a", "١٢"] {
            assert_eq!(UserCode::parse(wrong), None, "{wrong}");
        }
        let given = Given { code, by: "Ada".into(), at_ms: 7, said: Some((Verdict::Accepted, 8)) };
        let shown = format!("{code:?} {:?} {given:?}", code.request(1));
        assert!(!shown.contains("1234") && !shown.contains("210") && !shown.contains("Ada"), "{shown}");
        let json = serde_json::to_string(&given).unwrap();
        assert_eq!(serde_json::from_str::<Given>(&json).unwrap(), given);
        assert!(
            serde_json::from_str::<UserCode>("1234").is_err() && serde_json::from_str::<UserCode>("\"x\"").is_err()
        );
    }
}
