//! What a profile says about connecting: names, pairing, session plan. Checked here, run by the Bluetooth source.

use super::schema::{Confirm, Link, PairingMethod, ProfileFile, Step};

/// Key and reason.
type Wrong = (String, String);

fn wrong<T>(key: &str, reason: &str) -> Result<T, Wrong> {
    Err((key.into(), reason.into()))
}

/// Checks that matching, pairing and plan fit the link.
pub(super) fn check(file: &ProfileFile) -> Result<(), Wrong> {
    let connects = file.link == Link::Ble;
    let matching = &file.matching;
    let matches = !matching.names.is_empty() || !matching.services.is_empty() || matching.manufacturer.is_some();
    if file.link == Link::Mqtt && (matches || matching.firmware.is_some()) {
        return wrong("match", "an MQTT profile matches by its topics");
    }
    if !connects && (file.session.is_some() || file.pairing.method != PairingMethod::None) {
        return wrong("session", "only a connection has pairing and a session");
    }
    if matching.firmware.is_some() && (matching.names.is_empty() || !connects) {
        return wrong("match.firmware", "it is asked of a device that is connected to and known by its name");
    }
    if matching.names.iter().any(|n| n.trim_matches('*').is_empty()) {
        return wrong("match.names", "a name of wildcards only matches every device");
    }
    for service in &matching.services {
        uuid("match.services", service)?;
    }
    if file.pairing.method != PairingMethod::None && file.pairing.steps.is_empty() {
        return wrong("pairing.steps", "the patient needs to be told what to do");
    }
    let Some(session) = &file.session else { return Ok(()) };
    for (i, step) in session.steps.iter().enumerate() {
        step_check(step).map_err(|(key, reason)| (format!("session.steps[{i}].{key}"), reason))?;
    }
    let has_history = session.steps.iter().any(|s| matches!(s, Step::History { .. }));
    if session.confirm == Confirm::AfterCommit && !has_history {
        return wrong("session.confirm", "without stored records there is nothing to confirm after the commit");
    }
    Ok(())
}

fn step_check(step: &Step) -> Result<(), Wrong> {
    match step {
        Step::Bond {} | Step::AwaitDisconnect {} => Ok(()),
        Step::Read { characteristic }
        | Step::Subscribe { characteristic, .. }
        | Step::UserConsent { characteristic }
        | Step::History { characteristic, .. } => uuid("characteristic", characteristic).map(drop),
        Step::WriteClock { characteristic, service, prefix, .. } => {
            uuid("characteristic", characteristic)?;
            if is_record_control(characteristic) {
                return wrong("characteristic", "is no clock");
            }
            octets("prefix", prefix)?;
            service.as_ref().map_or(Ok(()), |s| uuid("service", s).map(drop))
        }
        Step::Ask { every_s: Some(0), .. } => wrong("every_s", "is zero"),
        Step::Ask { characteristic, hex, .. } => {
            uuid("characteristic", characteristic)?;
            written(characteristic, hex)
        }
        Step::Write { characteristic, hex } => {
            uuid("characteristic", characteristic)?;
            written(characteristic, hex)
        }
    }
}

/// The control point of stored records, in either spelling.
fn is_record_control(characteristic: &str) -> bool {
    is(characteristic, "2a52")
}

/// This 16-bit UUID, in either spelling.
fn is(characteristic: &str, short: &str) -> bool {
    let small = characteristic.to_ascii_lowercase();
    small == short || small == format!("0000{short}-0000-1000-8000-00805f9b34fb")
}

/// What is written is hex, and no order to delete stored records: that would be before they are committed. Nor is it a user's
/// code, for which the journal is the place and a file is not, nor an order that makes or deletes a user.
fn written(characteristic: &str, hex: &str) -> Result<(), Wrong> {
    let octets = octets("hex", hex)?;
    match octets.first() {
        Some(2) if is_record_control(characteristic) => wrong("hex", "records are never deleted from a device"),
        Some(1 | 2) if is(characteristic, "2a9f") => {
            wrong("hex", "a user's code does not stand in a file: use the step user-consent")
        }
        Some(3) if is(characteristic, "2a9f") => wrong("hex", "users are never deleted from a device"),
        _ => Ok(()),
    }
}

/// A 16-bit UUID in capitals, or a 128-bit one in small letters, as frames name them.
pub fn uuid(key: &str, text: &str) -> Result<String, Wrong> {
    let hex = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
    if text.len() == 4 && hex(text) {
        return Ok(text.to_ascii_uppercase());
    }
    let parts: Vec<usize> = text.split('-').map(|p| if hex(p) { p.len() } else { 0 }).collect();
    if parts == [8, 4, 4, 4, 12] {
        return Ok(text.to_ascii_lowercase());
    }
    wrong(key, "is neither a 16-bit UUID of four hex digits nor a 128-bit one")
}

/// Octets in hex; spaces are allowed.
pub fn octets(key: &str, hex: &str) -> Result<Vec<u8>, Wrong> {
    let digits: String = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let octet = |i: usize| digits.get(i..i + 2).and_then(|d| u8::from_str_radix(d, 16).ok());
    let all: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(octet).collect();
    match all {
        Some(octets) if digits.is_ascii() => Ok(octets),
        _ => wrong(key, "is not written as pairs of hex digits"),
    }
}

/// Whether a name fits a pattern in which `*` stands for any characters.
pub(super) fn name_fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(i) = left.find(part) else { return false };
        left = left.get(i + part.len()..).unwrap_or_default();
    }
    left.len() >= tail.len() && left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        assert!(name_fits("BLEsmart_*", "BLEsmart_00010203"));
        assert!(name_fits("A*B*C", "AxxBxBxC") && name_fits("*", "") && name_fits("Polar H10*", "Polar H10"));
        assert!(!name_fits("A*C", "A") && !name_fits("AB*BC", "ABC") && !name_fits("meter", "Meter"));
    }

    #[test]
    fn uuids_have_one_spelling() {
        assert_eq!(uuid("x", "2a35").unwrap(), "2A35");
        assert_eq!(uuid("x", "0AAD7EA0-0D60-11E2-8E3C-0002A5D5C51B").unwrap(), "0aad7ea0-0d60-11e2-8e3c-0002a5d5c51b");
        assert!(uuid("x", "2A3").is_err() && uuid("x", "2A3G").is_err() && uuid("x", "").is_err());
    }

    #[test]
    fn octets_are_pairs_of_digits() {
        assert_eq!(octets("x", "02 00 E1").unwrap(), [2, 0, 0xe1]);
        assert!(octets("x", "0").is_err() && octets("x", "0g").is_err() && octets("x", "é0").is_err());
    }

    #[test]
    fn no_profile_deletes_records_from_a_device() {
        let write = |uuid: &str, hex: &str| Step::Write { characteristic: uuid.into(), hex: hex.into() };
        let ask = |hex: &str| Step::Ask { characteristic: "2A52".into(), hex: hex.into(), every_s: None };
        let long = "00002A52-0000-1000-8000-00805F9B34FB";
        for step in [write("2A52", "02 01"), write("2a52", "02"), write(long, "0203"), ask("02 01")] {
            let (key, why) = step_check(&step).unwrap_err();
            assert_eq!((key.as_str(), why.as_str()), ("hex", "records are never deleted from a device"), "{step:?}");
        }
        for step in [write("2A52", "01 01"), ask("03 00"), write("2A9F", "04")] {
            assert!(step_check(&step).is_ok(), "{step:?}");
        }
    }

    #[test]
    fn no_profile_holds_a_users_code_or_deletes_a_user() {
        for (uuid, hex) in
            [("2A9F", "02 01 D2 04"), ("2a9f", "01 D204"), ("00002A9F-0000-1000-8000-00805F9B34FB", "03")]
        {
            for step in [
                Step::Write { characteristic: uuid.into(), hex: hex.into() },
                Step::Ask { characteristic: uuid.into(), hex: hex.into(), every_s: None },
            ] {
                assert_eq!(step_check(&step).unwrap_err().0, "hex", "{step:?}");
            }
        }
        assert!(step_check(&Step::UserConsent { characteristic: "2A9F".into() }).is_ok());
        assert!(step_check(&Step::UserConsent { characteristic: "2A9".into() }).is_err());
    }
}
