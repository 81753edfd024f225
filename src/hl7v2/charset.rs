//! Character sets that a receiver may want: the name in MSH-18, the octets, and what becomes of the rest.
//!
//! Promises: what the set has is in it; what it lacks is a hexadecimal escape (2.7), a character each, that can be read
//! back. Must never: put `?` or nothing in the place of a character, or let one end a field, a segment or a frame.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A character set, by its name in HL7 table 0211.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// `UNICODE UTF-8`.
    Utf8,
    /// `8859/1`, which western Europe's older systems have.
    Latin1,
    /// `ASCII`.
    Ascii,
}

impl Charset {
    /// MSH-18 of this text: UTF-8 is named where something is beyond ASCII, another set always.
    pub(super) fn name(self, is_ascii: bool) -> &'static str {
        match self {
            Self::Utf8 if is_ascii => "",
            Self::Utf8 => "UNICODE UTF-8",
            Self::Latin1 => "8859/1",
            Self::Ascii => "ASCII",
        }
    }

    fn has(self, c: char) -> bool {
        match self {
            Self::Utf8 => true,
            Self::Latin1 => u32::from(c) <= 0xFF,
            Self::Ascii => c.is_ascii(),
        }
    }

    /// The text with an escape for each character that the set lacks: `\XFC\` for what is below U+0100, else the
    /// character's UTF-8 octets, `\XE4BA94\`. Receivers that undo it make a character of each two digits.
    pub(super) fn fit(self, text: String) -> String {
        if text.chars().all(|c| self.has(c)) {
            return text;
        }
        let mut out = String::with_capacity(text.len().saturating_mul(2));
        for c in text.chars() {
            match u8::try_from(c) {
                _ if self.has(c) => out.push(c),
                // Writing to a String cannot fail.
                Ok(octet) => {
                    let _ = write!(out, "\\X{octet:02X}\\");
                }
                Err(_) => {
                    out.push_str("\\X");
                    for octet in c.encode_utf8(&mut [0; 4]).bytes() {
                        let _ = write!(out, "{octet:02X}");
                    }
                    out.push('\\');
                }
            }
        }
        out
    }

    /// The octets of a text that was fitted.
    pub fn octets(self, text: &str) -> Cow<'_, [u8]> {
        match self {
            Self::Latin1 if !text.is_ascii() => Cow::Owned(text.chars().filter_map(|c| u8::try_from(c).ok()).collect()),
            _ => Cow::Borrowed(text.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a receiver makes of the octets that knows the rule.
    fn read(set: Charset, octets: &[u8]) -> String {
        let text = match set {
            Charset::Utf8 => String::from_utf8(octets.to_vec()).unwrap(),
            _ => octets.iter().map(|b| char::from(*b)).collect(),
        };
        let mut out = String::new();
        for (n, part) in text.split('\\').enumerate() {
            let Some(digits) = part.strip_prefix('X').filter(|_| n % 2 == 1) else {
                out.push_str(part);
                continue;
            };
            let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let octets: Vec<u8> = (0..digits.len()).step_by(2).map(octet).collect();
            match octets[..] {
                [one] => out.push(char::from(one)),
                _ => out.push_str(&String::from_utf8(octets).unwrap()),
            }
        }
        out
    }

    #[test]
    fn what_a_set_lacks_is_escaped_and_nothing_else() {
        let text = || String::from("Zoë Müller 五 😀");
        let fit = |set: Charset| set.fit(text());
        assert_eq!(fit(Charset::Utf8), text());
        assert_eq!(fit(Charset::Latin1), "Zoë Müller \\XE4BA94\\ \\XF09F9880\\");
        assert_eq!(fit(Charset::Ascii), "Zo\\XEB\\ M\\XFC\\ller \\XE4BA94\\ \\XF09F9880\\");
        assert_eq!(&*Charset::Latin1.octets("Zoë"), b"Zo\xEB");
        assert_eq!(&*Charset::Utf8.octets("Zoë"), "Zoë".as_bytes());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_whole(text in "[^\\\\\\p{Cc}]{0,200}") {
            for set in [Charset::Utf8, Charset::Latin1, Charset::Ascii] {
                let fitted = set.fit(text.clone());
                let octets = set.octets(&fitted);
                prop_assert!(set != Charset::Ascii || octets.is_ascii());
                prop_assert_eq!(read(set, &octets), text.as_str());
            }
        }
    }
}
