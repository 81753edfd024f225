//! The identity of an Observation at every destination: the conditional-create recipe of the HL7 Personal Health Device
//! guide, in the frozen grammar of `docs/decisions/0020-observation-identifier.md`.
//!
//! Promises: depends on the stored reading only, so a retry, a restart and a re-sent history collapse at the server.
//! Must never change: a new grammar would double every reading that is sent again.

use std::fmt::Write;

use jiff::civil::DateTime;
use ring::digest::{SHA256, digest};

use super::Unmappable;
use super::types::system;
use crate::alarm::AlertId;
use crate::reading::{DeviceTime, Reading};

/// 2000-01-01T00:00:00Z in milliseconds since 1970: the guide's epoch.
const EPOCH_MS: i64 = 946_684_800_000;

/// `<device>-<patient>-<type>-<time>-<key>`.
pub struct Identity(String);

impl Identity {
    /// The identity of an attributed reading.
    pub fn of(reading: &Reading) -> Result<Self, Unmappable> {
        let patient = reading.patient.as_ref().ok_or(Unmappable::Unassigned)?.reveal();
        let patient = patient.rsplit('/').next().unwrap_or(patient);
        let mut out = String::with_capacity(96);
        device(&mut out, &reading.device.0);
        out.push('-');
        field(&mut out, patient, true);
        // Writing to a String cannot fail.
        let _ = match reading.vital.mdc {
            Some(mdc) => write!(out, "-{}-", mdc.0),
            None => {
                out.push('-');
                field(&mut out, reading.vital.id, false);
                out.write_char('-')
            }
        };
        time(&mut out, reading);
        let (half, _) = reading.known_as().0.split_at(8);
        let half = half.iter().fold(0u64, |half, octet| half << 8 | u64::from(*octet));
        let _ = write!(out, "-{half:016x}");
        Ok(Self(out))
    }

    /// The identifier's value; nothing in it needs escaping in a URL.
    pub fn value(&self) -> &str {
        &self.0
    }

    /// The identifier's system.
    pub fn system() -> &'static str {
        system::PHD_OBSERVATION
    }

    /// A logical id for `PUT`: at most 64 of `A–Z a–z 0–9 - .`.
    pub fn resource_id(&self) -> String {
        hashed_id("wl-", &self.0)
    }
}

/// What an identifier's value tells of its reading: enough to look for it, never enough to take another for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clue {
    /// First half of the reading's key.
    pub half: [u8; 8],
    /// What the device's own clock said, its local time taken for UTC; without one, when we got it. Milliseconds since 1970.
    pub at_ms: i64,
    /// The time is the device's own.
    pub dated: bool,
}

impl Clue {
    /// `None`: the value is not in our grammar.
    pub fn of(value: &str) -> Option<Self> {
        let mut fields = value.rsplitn(3, '-');
        let (key, time, _) = (fields.next()?, fields.next()?, fields.next()?);
        let hex = key.len() == 16 && key.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let half = u64::from_str_radix(key, 16).ok().filter(|_| hex)?.to_be_bytes();
        let (dated, digits) = match (time.strip_prefix(['L', 'Z']), time.strip_prefix('R')) {
            (Some(digits), _) => (true, digits),
            (None, digits) => (false, digits?),
        };
        let (sign, digits) = digits.strip_prefix('n').map_or((1, digits), |digits| (-1, digits));
        let (seconds, thousandths) = digits.split_once('.').unwrap_or((digits, "000"));
        if thousandths.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        let ms = seconds.parse::<i64>().ok()?.checked_mul(1_000)?.checked_add(thousandths.parse().ok()?)?;
        Some(Self { half, at_ms: (sign * ms).checked_add(EPOCH_MS)?, dated })
    }
}

/// The logical id of an alert's DetectedIssue or Task, for `PUT`.
pub fn alert_id(alert: &AlertId) -> String {
    hashed_id("wl-alert-", &alert.0)
}

/// A logical id made of a text.
pub(super) fn hashed_id(prefix: &str, text: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + 32);
    id.push_str(prefix);
    let _ = digest(&SHA256, text.as_bytes()).as_ref().iter().take(16).try_for_each(|b| write!(id, "{b:02x}"));
    id
}

/// A value within a search: percent-encoded where a URL or the search itself would read it.
pub(super) fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for b in value.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':') {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// A Bluetooth address as hexadecimal capitals; any other device by its name.
fn device(out: &mut String, id: &str) {
    match id.strip_prefix("ble:") {
        Some(address) => field(out, &address.replace(':', ""), false),
        None => field(out, id, false),
    }
}

/// A field with `~XX` for what would need escaping in a URL, or would end the field.
fn field(out: &mut String, text: &str, dash: bool) {
    let stays = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':') || (dash && b == b'-');
    if text.bytes().all(stays) {
        return out.push_str(text);
    }
    for b in text.bytes() {
        if stays(b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "~{b:02X}");
        }
    }
}

/// What the device's own clock said, uncorrected, in seconds since 2000: `L` local time, `Z` instant.
/// Without it, when we got it: `R`, in milliseconds.
fn time(out: &mut String, reading: &Reading) {
    let (mark, ms) = match reading.taken.device {
        Some(DeviceTime::Civil(t)) => ('L', civil_ms(t)),
        Some(DeviceTime::Instant(t)) => ('Z', t.as_millisecond() - EPOCH_MS),
        None => ('R', reading.taken.received.wall_ms - EPOCH_MS),
    };
    let sign = if ms < 0 { "n" } else { "" };
    let ms = ms.unsigned_abs();
    let _ = write!(out, "{mark}{sign}{}", ms / 1_000);
    if ms % 1_000 != 0 {
        let _ = write!(out, ".{:03}", ms % 1_000);
    }
}

fn civil_ms(t: DateTime) -> i64 {
    jiff::tz::Offset::UTC.to_timestamp(t).map_or(0, |t| t.as_millisecond() - EPOCH_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::fixtures::reading;
    use crate::reading::{DeviceId, PatientId};

    #[test]
    fn the_grammar_is_frozen() {
        let mut r = reading("blood-pressure");
        r.device = DeviceId("ble:C0:26:DF:00:11:22".into());
        r.taken.device = Some(DeviceTime::Civil("2026-11-22T10:11:12".parse().unwrap()));
        let id = Identity::of(&r).unwrap();
        assert_eq!(id.value(), "C026DF001122-8f2c-150020-L848657472-0707070707070707");
        assert_eq!(id.resource_id(), "wl-33a1d6fd85de3bcfd79d411d79153b6a");

        r.taken.device = Some(DeviceTime::Instant("2026-11-22T10:11:12.5Z".parse().unwrap()));
        assert_eq!(Identity::of(&r).unwrap().value(), "C026DF001122-8f2c-150020-Z848657472.500-0707070707070707");

        r.device = DeviceId("mqtt:cuff-17|é".into());
        r.patient = Some(PatientId::new("https://centre.example/fhir/Patient/a-1"));
        r.taken.device = None;
        assert_eq!(
            Identity::of(&r).unwrap().value(),
            "mqtt:cuff~2D17~7C~C3~A9-a-1-150020-R848657471.250-0707070707070707"
        );
    }

    #[test]
    fn a_clue_leads_back_to_the_reading() {
        let mut r = reading("blood-pressure");
        r.key = crate::reading::ReadingKey([0, 1, 2, 3, 4, 5, 6, 255, 8, 8, 8, 8, 8, 8, 8, 8]);
        let half = [0, 1, 2, 3, 4, 5, 6, 255];
        for (time, at_ms, dated) in [
            (Some(DeviceTime::Civil("2026-11-22T10:11:12".parse().unwrap())), 1_795_342_272_000, true),
            (Some(DeviceTime::Instant("1999-12-31T23:59:59.75Z".parse().unwrap())), EPOCH_MS - 250, true),
            (Some(DeviceTime::Instant("1970-01-01T00:00:00Z".parse().unwrap())), 0, true),
            (None, crate::fhir::fixtures::RECEIVED_MS, false),
        ] {
            r.taken.device = time;
            let identity = Identity::of(&r).unwrap();
            assert_eq!(Clue::of(identity.value()), Some(Clue { half, at_ms, dated }), "{}", identity.value());
        }
        for strange in [
            "",
            "-",
            "--",
            "a-b-c",
            "d-p-1-Z1-070707070707070",
            "d-p-1-Z1-07070707070707070",
            "d-p-1-X1-0707070707070707",
            "d-p-1-Z-0707070707070707",
            "d-p-1-Z1.5-0707070707070707",
            "d-p-1-Z+1-0707070707070707",
            "d-p-1-Z1-+707070707070707",
            "d-p-1-Z9223372036854775807-0707070707070707",
            "d-p-1-R1.0.00-0707070707070707",
        ] {
            assert_eq!(Clue::of(strange), None, "{strange}");
        }
    }

    #[test]
    fn nobodys_reading_has_no_identity() {
        let mut r = reading("spo2");
        r.patient = None;
        assert_eq!(Identity::of(&r).err(), Some(Unmappable::Unassigned));
    }
}
