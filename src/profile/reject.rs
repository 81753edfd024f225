//! Why a frame becomes no reading: stable codes with their remedies. Codecs have theirs in `codec/`.
//!
//! Reasons name paths of the profile. Must never: hold a value of the message.

use crate::reading::Reject;

/// `WL-P001`: no profile is for this topic, characteristic or advertisement.
pub const NO_PROFILE: Reject = Reject::new("WL-P001", "no profile matches");
/// `WL-P002`: several profiles match equally well.
pub const SEVERAL_PROFILES: Reject = Reject::new("WL-P002", "several profiles match equally well");

/// `WL-D101`: not the format of the profile.
pub(super) const MALFORMED: Reject = Reject::new("WL-D101", "the message is not of the format that its profile states");
/// `WL-D102`: nested deeper than the gateway follows.
pub(super) const TOO_DEEP: Reject = Reject::new("WL-D102", "the message is nested too deeply");
/// `WL-D103`: more readings than one frame may hold.
pub(super) const TOO_MANY: Reject = Reject::new("WL-D103", "the message holds too many readings");
/// `WL-D104`: nothing that the profile knows.
pub(super) const NOTHING_KNOWN: Reject = Reject::new("WL-D104", "the message holds nothing that its profile knows");
/// `WL-D105`: larger than the gateway decodes.
pub(super) const TOO_LARGE: Reject = Reject::new("WL-D105", "the message is larger than the gateway decodes");
/// `WL-D106`: no usable device id.
pub(super) const NO_DEVICE: Reject = Reject::new("WL-D106", "neither topic nor message names the device");

fn at(code: &'static str, path: &str, what: &str) -> Reject {
    Reject { code, reason: format!("\"{path}\" {what}").into() }
}

/// `WL-D111`: a field twice: which one counts cannot be known.
pub(super) fn twice(path: &str) -> Reject {
    at("WL-D111", path, "is there twice")
}
/// `WL-D112`: something else than the number that the profile states.
pub(super) fn not_a_number(path: &str) -> Reject {
    at("WL-D112", path, "is not a number of the stated kind")
}
/// `WL-D113`: a unit that the profile does not know, or none.
pub(super) fn unknown_unit(path: &str) -> Reject {
    at("WL-D113", path, "is no unit that the profile knows")
}
/// `WL-D114`: not a time of the stated form.
pub(super) fn not_a_time(path: &str) -> Reject {
    at("WL-D114", path, "is not a time of the stated form")
}
/// `WL-D115`: a field that must be there is not.
pub(super) fn missing(path: &str) -> Reject {
    at("WL-D115", path, "is missing")
}
/// `WL-D116`: an error code that the profile does not know.
pub(super) fn unknown_error(path: &str) -> Reject {
    at("WL-D116", path, "is no error code that the profile knows")
}
/// `WL-D117`: a field whose meaning the profile does not understand.
pub(super) fn refused(path: &str) -> Reject {
    at("WL-D117", path, "changes the meaning of the message in a way that the profile does not follow")
}
/// `WL-D118`: neither a number nor a text that can be an id or a slot.
pub(super) fn not_an_id(path: &str) -> Reject {
    at("WL-D118", path, "is not a usable id")
}
/// `WL-D121`: not the length, or not the first octets, of the frames of this characteristic.
pub(super) const OTHER_FRAME: Reject = Reject::new("WL-D121", "the octets are not a frame of this kind");

/// What to do about a code of this module.
pub fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "WL-P001" => "Add a profile for it to the folder of profiles, or narrow the topics of the source.",
        "WL-P002" => {
            "Make the topic pattern or the name of one of them more specific; `wardline profile list` shows all."
        }
        "WL-D101" | "WL-D121" => "Compare the bytes with an example of the profile: `wardline profile show`.",
        "WL-D102" | "WL-D103" | "WL-D105" => "Let the sender split the message.",
        "WL-D104" => "Name the field in the profile, or send this message to another topic.",
        "WL-D106" => "Put the device's id, at most 128 printable characters, where the profile expects it.",
        "WL-D111" | "WL-D112" | "WL-D114" | "WL-D115" | "WL-D118" => {
            "Correct the sender, or the profile if it states the field wrongly."
        }
        "WL-D113" => "Add the unit to the profile's map, once you know what it means.",
        "WL-D116" => "Add the error code to the profile's table, once you know what it means.",
        "WL-D117" => "Let the sender leave the field out.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_remedy() {
        let fixed = [
            NO_PROFILE,
            SEVERAL_PROFILES,
            MALFORMED,
            TOO_DEEP,
            TOO_MANY,
            NOTHING_KNOWN,
            TOO_LARGE,
            NO_DEVICE,
            OTHER_FRAME,
        ];
        let about: [fn(&str) -> Reject; 8] =
            [twice, not_a_number, unknown_unit, not_a_time, missing, unknown_error, refused, not_an_id];
        for reject in fixed.into_iter().chain(about.iter().map(|f| f("x"))) {
            assert!(remedy(reject.code).is_some(), "{}", reject.code);
        }
    }
}
