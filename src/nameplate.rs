//! What a device says of itself (service 180A): maker, model, numbers, versions, identification, certificates.
//!
//! Promises: every text is short and printable, whatever the device sent; what is not in its form is left out.
//! Must never: invent a value, or hold more than the characteristics of one device.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::limits::{NAMEPLATE_DEVICES_MAX, NAMEPLATE_TEXT_MAX};
use crate::printable::is_unseen;
use crate::reading::DeviceId;

/// The characteristics that tell it, in the order of asking.
pub const CHARACTERISTICS: [&str; 9] = ["2A24", "2A26", "2A29", "2A27", "2A28", "2A25", "2A23", "2A2A", "2BFF"];

/// Of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nameplate {
    /// 2A23: EUI-64 with dashes.
    pub system_id: Option<String>,
    /// 2A29.
    pub manufacturer: Option<String>,
    /// 2A24.
    pub model: Option<String>,
    /// 2A25.
    pub serial: Option<String>,
    /// 2A27.
    pub hardware: Option<String>,
    /// 2A28.
    pub software: Option<String>,
    /// 2A26.
    pub firmware: Option<String>,
    /// 2BFF.
    pub udi: Option<Udi>,
    /// 2A2A.
    pub certification: Option<Certification>,
}

/// Unique device identification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Udi {
    /// As on the label.
    pub label: Option<String>,
    /// Device identifier.
    pub di: Option<String>,
    /// Who issued it: a URI.
    pub issuer: Option<String>,
    /// Which authority's system it belongs to: a URI.
    pub authority: Option<String>,
}

/// The list of 2A2A, as IEEE 11073-20601 and Continua wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certification {
    /// Version of the Continua guidelines.
    pub version: Option<(u8, u8)>,
    /// Certified interfaces: transport × 8192 + specialization.
    pub interfaces: Vec<u16>,
    /// Whether an authority regulates it.
    pub regulated: Option<bool>,
}

impl Nameplate {
    /// Takes in what a characteristic said. What cannot be read leaves what was known before.
    pub fn learn(&mut self, characteristic: &str, octets: &[u8]) {
        let place = match characteristic {
            "2A29" => &mut self.manufacturer,
            "2A24" => &mut self.model,
            "2A25" => &mut self.serial,
            "2A27" => &mut self.hardware,
            "2A28" => &mut self.software,
            "2A26" => &mut self.firmware,
            "2A23" => {
                self.system_id = system_id(octets).or(self.system_id.take());
                return;
            }
            "2A2A" => {
                self.certification = Certification::parse(octets).or(self.certification.take());
                return;
            }
            "2BFF" => {
                self.udi = Udi::parse(octets).or(self.udi.take());
                return;
            }
            _ => return,
        };
        *place = text(octets).or(place.take());
    }
}

impl Udi {
    /// From the octets of 2BFF: up to four texts, each ended by a zero. `None`: not in that form, or nothing in it.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (flags, mut rest) = octets.split_first()?;
        let mut found = Self::default();
        let places = [&mut found.label, &mut found.di, &mut found.issuer, &mut found.authority];
        for (place, bit) in places.into_iter().zip([1, 2, 4, 8]) {
            if flags & bit != 0 {
                let (said, after) = rest.split_at(rest.iter().position(|b| *b == 0)?);
                *place = text(said);
                rest = after.get(1..)?;
            }
        }
        // These two are URIs, or nothing that a reader could use.
        for uri in [&mut found.issuer, &mut found.authority] {
            *uri = uri.take().filter(|uri| uri.contains(':') && !uri.contains(char::is_whitespace));
        }
        (found != Self::default()).then_some(found)
    }
}

impl Certification {
    /// From the octets of 2A2A, big-endian. `None`: not in that form.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let mut found = Self::default();
        let (count, mut rest) = list(octets)?;
        for _ in 0..count.min(16) {
            let (&[body, kind, high, low], after) = rest.split_first_chunk()?;
            let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
            match (body, kind) {
                // Continua: its version and what it certified.
                (2, 1) => {
                    let (&[major, minor], list_of) = entry.split_first_chunk()?;
                    found.version = Some((major, minor));
                    let (_, codes) = list(list_of)?;
                    let codes = codes.chunks_exact(2).take(64);
                    found.interfaces = codes.map(|c| c.iter().fold(0, |n, b| n << 8 | u16::from(*b))).collect();
                }
                // Regulation: the first bit set says that nobody regulates it.
                (2, 2) => found.regulated = Some(entry.first()? & 0x80 == 0),
                _ => {}
            }
            rest = after;
        }
        Some(found)
    }
}

/// Count and length in front of a list of IEEE 11073.
fn list(octets: &[u8]) -> Option<(u16, &[u8])> {
    let (&[a, b, c, d], rest) = octets.split_first_chunk()?;
    let rest = rest.get(..usize::from(u16::from_be_bytes([c, d])))?;
    Some((u16::from_be_bytes([a, b]), rest))
}

/// The wire has the least significant octet first, people read the most significant one first. All zero: not set.
fn system_id(octets: &[u8]) -> Option<String> {
    let octets: &[u8; 8] = octets.try_into().ok()?;
    let text: Vec<_> = octets.iter().rev().map(|b| format!("{b:02X}")).collect();
    octets.iter().any(|b| *b != 0).then(|| text.join("-"))
}

/// A text of a device's: short, of what is seen, without what turns or hides other text.
pub fn text(octets: &[u8]) -> Option<String> {
    let told = String::from_utf8_lossy(octets);
    let seen = told.chars().filter(|c| !is_unseen(*c)).take(NAMEPLATE_TEXT_MAX);
    Some(seen.collect::<String>().trim().to_owned()).filter(|text| !text.is_empty())
}

/// Of all devices, for those who write of them: the source tells it, destinations look.
#[derive(Clone, Debug, Default)]
pub struct Nameplates(Arc<RwLock<HashMap<Arc<str>, Nameplate>>>);

impl Nameplates {
    /// What a device says of itself; nothing, as long as it said nothing.
    pub fn of(&self, device: &str) -> Nameplate {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(device).cloned().unwrap_or_default()
    }

    /// What it says by now.
    pub fn tell(&self, device: &DeviceId, plate: &Nameplate) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() < NAMEPLATE_DEVICES_MAX || all.contains_key(&device.0) {
            all.insert(device.0.clone(), plate.clone());
        }
    }

    /// Of a device that is not known any more nothing is kept.
    pub fn retain(&self, known: impl Fn(&DeviceId) -> bool) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|device, _| known(&DeviceId(device.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_become_short_and_plain_or_nothing() {
        assert_eq!(text(b"A&D\0\0"), Some("A&D".into()));
        assert_eq!(text("a\u{202e}b\u{200b}\x1b[2J\n".as_bytes()), Some("ab[2J".into()));
        assert_eq!(text(&[b'1', 0xff, b'2']), Some("12".into()));
        assert_eq!(text(b" \0\t"), None);
        assert_eq!(text(&[b'x'; 512]).unwrap().len(), NAMEPLATE_TEXT_MAX);
    }

    #[test]
    fn each_characteristic_has_its_place_and_what_is_broken_changes_nothing() {
        let mut plate = Nameplate::default();
        plate.learn("2A29", b"A&D");
        plate.learn("2A23", &[0xb0, 0x49, 0x5f, 0xff, 0xfe, 0, 0x10, 0x71]);
        plate.learn("2BFF", b"\x02DI\0");
        plate.learn("2A2A", &[0, 0, 0, 0]);
        assert_eq!(plate.system_id.as_deref(), Some("71-10-00-FE-FF-5F-49-B0"));
        assert_eq!(plate.udi.as_ref().and_then(|udi| udi.di.as_deref()), Some("DI"));
        let before = plate.clone();
        let broken: [(&str, &[u8]); 6] =
            [("2A29", b"\0"), ("2A23", &[0; 8]), ("2A23", &[1]), ("2BFF", b"\x02DI"), ("2A2A", &[9]), ("2A19", b"a")];
        for (of, octets) in broken {
            plate.learn(of, octets);
            assert_eq!(plate, before, "{of}");
        }
    }
}
