//! What tells one device from another of its model, and people from each other, is taken out before anything is written.
//!
//! Promises: the address (in either order of octets, or as text) and the serial part of the name stand in no line; values
//! of the serial number, the system id and the user data are withheld. Must never: let a value through that it should mask
//! because the device is not known; a vendor's own way of writing a serial number in its frames it cannot know.

use super::Octets;
use crate::limits::CHARACTERISTIC_BYTES_MAX;

/// The service in which a device keeps what it knows of its users.
const USER_DATA: &str = "181C";
/// Name, system id (made of the address), serial number, and the control point that takes a user's code.
const WITHHELD: &[&str] = &["2A00", "2A23", "2A25", "2A9F", "2BFF"];
/// In place of a character.
const MARK: char = '#';
/// A shorter text may be anything.
const SHORTEST: usize = 4;

/// Of one device.
#[derive(Clone, Debug)]
pub struct Mask {
    /// Hex digits of the address, in capitals.
    digits: String,
    /// What is replaced in values, with what each of its octets becomes.
    needles: Vec<(Vec<u8>, u8)>,
}

impl Mask {
    /// Of the device with this address: `C0:26:DF:00:11:22`.
    pub fn new(address: &str) -> Self {
        let digits: String = address.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_ascii_uppercase();
        let mut needles = Vec::new();
        if let Some(octets) = super::read::octets(&digits).filter(|octets| octets.len() == 6) {
            needles.push((octets.iter().rev().copied().collect(), 0));
            needles.push((octets, 0));
        }
        let colons = address.to_ascii_uppercase();
        for text in [digits.clone(), digits.to_ascii_lowercase(), colons.clone(), colons.to_ascii_lowercase()] {
            needles.push((text.into_bytes(), MARK as u8));
        }
        needles.retain(|(needle, _)| needle.len() >= SHORTEST);
        Self { digits, needles }
    }

    /// The name without its serial number. So many of its octets are of the model, as a profile knows it; `None`: no
    /// profile does. What is masked here is masked in values as well.
    pub fn name(&mut self, name: &str, model: Option<usize>) -> String {
        let mut masked = String::new();
        match model.and_then(|n| name.split_at_checked(n)) {
            Some((model, rest)) => {
                masked.push_str(model);
                masked.extend(rest.chars().map(|c| if c.is_alphanumeric() { MARK } else { c }));
            }
            None => {
                let mut rest = name;
                while let Some(c) = rest.chars().next() {
                    let run = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
                    let (word, after) = rest.split_at(if run == 0 { c.len_utf8() } else { run });
                    let hidden = run > 0 && self.is_serial(word);
                    masked.extend(word.chars().map(|c| if hidden { MARK } else { c }));
                    rest = after;
                }
            }
        }
        for word in words(name, &masked).into_iter().filter(|word| word.len() >= SHORTEST) {
            let needle = (word.as_bytes().to_vec(), MARK as u8);
            if !self.needles.contains(&needle) {
                self.needles.push(needle);
            }
        }
        masked
    }

    /// Whether a run of hex digits tells a device from its sisters: a number of four digits, six hex digits, a part of
    /// the address.
    fn is_serial(&self, word: &str) -> bool {
        let numbers = word.chars().filter(char::is_ascii_digit).count();
        let number = word.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() >= SHORTEST);
        let of_address = word.len() >= SHORTEST && self.digits.contains(&word.to_ascii_uppercase());
        number || of_address || (word.len() >= 6 && numbers > 0)
    }

    /// A value as it may be written down; `None`: it is withheld.
    pub fn value(&self, service: &str, characteristic: &str, bytes: &[u8]) -> Option<Octets> {
        if service == USER_DATA || WITHHELD.contains(&characteristic) {
            return None;
        }
        Some(self.octets(bytes))
    }

    /// Octets without the address and the serial part of the name.
    pub fn octets(&self, bytes: &[u8]) -> Octets {
        let mut bytes = bytes.get(..CHARACTERISTIC_BYTES_MAX + 1).unwrap_or(bytes).to_vec();
        for (needle, with) in &self.needles {
            let mut at = 0;
            while let Some(place) = bytes.get_mut(at..at + needle.len()) {
                if *place == needle[..] {
                    place.fill(*with);
                }
                at += 1;
            }
        }
        Octets(bytes)
    }
}

/// The parts of a name that were masked.
fn words(name: &str, masked: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for (a, b) in name.chars().zip(masked.chars()) {
        match (a == b, all.last_mut()) {
            (false, Some(word)) => word.push(a),
            (true, Some(word)) if !word.is_empty() => all.push(String::new()),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_model_and_nothing_else() {
        let masked = |name: &str, model| Mask::new("C0:26:DF:00:A1:B2").name(name, model);
        assert_eq!(masked("A&D_UA-651BLE_1A2B3C", Some(13)), "A&D_UA-651BLE_######");
        assert_eq!(masked("BM85", Some(4)), "BM85");
        assert_eq!(masked("A&D_UA-651BLE_1A2B3C", None), "A&D_UA-651BLE_######");
        assert_eq!(masked("meter+02784521", None), "meter+########");
        assert_eq!(masked("Scale-A1B2", None), "Scale-####");
        assert_eq!(masked("Beurer BM85", None), "Beurer BM85");
        assert_eq!(masked("Größe 12345", None), "Größe #####");
        assert_eq!(masked("x", Some(9)), "x");
    }

    #[test]
    fn values_hold_neither_address_nor_serial_number() {
        let mut mask = Mask::new("C0:26:DF:00:11:22");
        mask.name("Meter 1A2B3C", None);
        let masked = |bytes: &[u8]| mask.octets(bytes).0;
        assert_eq!(masked(&[9, 0xc0, 0x26, 0xdf, 0, 0x11, 0x22, 9]), [9, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(masked(&[0x22, 0x11, 0, 0xdf, 0x26, 0xc0]), [0; 6]);
        assert_eq!(masked(b"id C026DF001122."), *b"id ############.");
        assert_eq!(masked(b"c0:26:df:00:11:22"), [b'#'; 17]);
        assert_eq!(masked(b"SN1A2B3C"), *b"SN######");
        assert_eq!(masked(&[0x16, 120, 0]), [0x16, 120, 0]);
        assert_eq!(mask.value("180A", "2A25", b"123"), None);
        assert_eq!(mask.value("181C", "2A8A", b"Maria"), None);
        assert!(mask.value("1810", "2A35", b"123").is_some());
    }
}
