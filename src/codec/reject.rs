//! Why bytes are rejected: stable codes with their remedies.
//!
//! Must never: put a value from the bytes into a reason.

use crate::reading::Reject;

/// `WL-D001`: fewer octets than the flags promise.
pub fn short(field: &'static str) -> Reject {
    Reject { code: "WL-D001", reason: format!("the bytes end before or within the field \"{field}\"").into() }
}
/// `WL-D002`: octets after the last field.
pub const TRAILING: Reject = Reject::new("WL-D002", "there are octets after the last field");
/// `WL-D003`: a field holds what its definition forbids.
pub fn illegal(field: &'static str) -> Reject {
    Reject { code: "WL-D003", reason: format!("the field \"{field}\" holds an illegal value").into() }
}
/// `WL-D004`: the record does not match its own checksum.
pub const BROKEN_CRC: Reject = Reject::new("WL-D004", "the record does not match its checksum");
/// `WL-D005`: no codec of this name.
pub const UNKNOWN_CODEC: Reject = Reject::new("WL-D005", "no such characteristic is known");
/// `WL-D006`: the text is not hexadecimal.
pub const BAD_HEX: Reject = Reject::new("WL-D006", "the bytes are not written as pairs of hexadecimal digits");
/// `WL-D007`: the broadcast is encrypted.
pub const ENCRYPTED: Reject = Reject::new("WL-D007", "the advertisement is encrypted");
/// `WL-D008`: no quirk of this name, or not for this codec.
pub const UNKNOWN_QUIRK: Reject = Reject::new("WL-D008", "this quirk is unknown, or is not one of this characteristic");
/// `WL-D009`: more octets than a characteristic can have.
pub const TOO_LONG: Reject = Reject::new("WL-D009", "more octets than a characteristic can have");
/// `WL-D010`: parts of one record that do not fit together.
pub const PARTS_DIFFER: Reject = Reject::new("WL-D010", "the parts do not belong to one record");

/// What to do about a code of this module.
pub fn remedy(code: &str) -> &'static str {
    match code {
        "WL-D001" | "WL-D002" | "WL-D003" => {
            "Compare the bytes with the specification of the characteristic; if the device always sends this, its profile needs a quirk."
        }
        "WL-D004" => "Read the record again from the device's memory; if it stays broken, replace the device.",
        "WL-D005" => {
            "Name a characteristic by its 16-bit UUID in capitals, such as 2A35, or see the list in docs/supported-devices.md."
        }
        "WL-D006" => "Write each octet as two digits of 0-9 and a-f.",
        "WL-D007" => "Turn encryption off in the device, or use a device that connects.",
        "WL-D008" => "Leave the quirk out, or use one that the device's profile names.",
        "WL-D009" => "Send one value at a time, of at most 512 octets.",
        "WL-D010" => "Ask the device to send the record again.",
        _ => "See docs/runbooks for this code.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_remedy() {
        let all = [
            short("x"),
            TRAILING,
            illegal("x"),
            BROKEN_CRC,
            UNKNOWN_CODEC,
            BAD_HEX,
            ENCRYPTED,
            UNKNOWN_QUIRK,
            TOO_LONG,
            PARTS_DIFFER,
        ];
        for r in all {
            assert!(!remedy(r.code).starts_with("See docs"), "{}", r.code);
            assert!(r.reason.is_ascii() && !r.reason.ends_with('.'), "{}", r.code);
        }
    }
}
