//! What every message has: its header, its patient, who sends it, and the id that its acknowledgement names.
//!
//! Promises: the control id depends on what is sent only, so a resend is known by it. Must never: put more about the
//! patient into a message than the pseudonym that the centre gave, and the match fields that its site opted into.

use ring::digest::{Context, SHA256};

use super::write::{Segment, components, composite, date_time, text};
use super::{Charset, Message, Unmappable};
use crate::alarm::{AlertEvent, Happened};
use crate::demographics::Demographics;
use crate::reading::{DeviceId, PatientId, Reading};

/// Which of two codings stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// ISO/IEEE 11073 first, LOINC or UCUM as the alternative.
    Mdc,
    /// LOINC or UCUM first.
    Other,
}

/// Who sends to whom, and how that site wants it.
#[derive(Clone, Debug)]
pub struct Sender {
    /// This gateway's name.
    pub gateway: String,
    /// Its EUI-64, 16 hexadecimal digits.
    pub eui64: String,
    /// MSH-4.
    pub facility: String,
    /// MSH-5.
    pub to_application: String,
    /// MSH-6.
    pub to_facility: String,
    /// MSH-11.
    pub processing: String,
    /// MSH-21 of readings.
    pub profile: String,
    /// MSH-21 of alerts.
    pub alert_profile: String,
    /// PID-3.4: who gave the patient's pseudonym.
    pub authority: String,
    /// PID-3.5.
    pub identifier_type: String,
    /// PID-3.4 of the identifier among the match fields.
    pub match_authority: String,
    /// PID-3.5 of it.
    pub match_identifier_type: String,
    /// Which code stands first in OBX-3.
    pub codes: Order,
    /// Which unit stands first in OBX-6.
    pub units: Order,
    /// OBX-11 of a value that nobody has verified: `R` or `F`.
    pub status: &'static str,
    /// MSH-18.
    pub characters: Charset,
}

impl Sender {
    /// An EUI-64 for a gateway that was given none: of its name, and marked as locally administered.
    pub fn local_eui64(gateway: &str) -> String {
        let digest = ring::digest::digest(&SHA256, gateway.as_bytes());
        let mut octets = digest.as_ref().iter().take(8).copied();
        let first = octets.next().unwrap_or(0) & 0xFC | 0x02;
        std::iter::once(first).chain(octets).map(|b| format!("{b:02X}")).collect()
    }

    /// An entity identifier in this gateway's name space.
    pub(super) fn entity(&self, id: &str) -> String {
        components(&[id, &self.gateway, &self.eui64, "EUI-64"])
    }

    /// A device: by its EUI-64 where it has an address, by its name here in any case.
    pub(super) fn device(&self, device: &DeviceId) -> String {
        match eui64(&device.0) {
            Some(eui64) => components(&[&device.0, &self.gateway, &eui64, "EUI-64"]),
            None => components(&[&device.0, &self.gateway]),
        }
    }

    /// `MSH` and, where there is a patient, `PID`; then `body`.
    pub(super) fn message(
        &self,
        kind: &Kind,
        control_id: String,
        now_ms: i64,
        subject: Option<Subject<'_>>,
        body: &str,
    ) -> Message {
        let pid = subject.map(|s| self.patient(s)).unwrap_or_default();
        let profile = if kind.alert { &self.alert_profile } else { &self.profile };
        let header = |characters: &str| {
            let mut out = String::with_capacity(body.len() + 512);
            Segment::new("MSH")
                .set(2, "^~\\&")
                .set(3, components(&[&self.gateway, &self.eui64, "EUI-64"]))
                .set(4, composite(&self.facility))
                .set(5, composite(&self.to_application))
                .set(6, composite(&self.to_facility))
                .set(7, date_time(now_ms, true))
                .set(9, composite(kind.name))
                .set(10, control_id.as_str())
                .set(11, text(&self.processing))
                .set(12, "2.6")
                .set(15, "NE")
                .set(16, "AL")
                .set(18, characters)
                .set(21, composite(profile))
                .end(&mut out);
            out
        };
        let mut out = header(self.characters.name(true));
        if !out.is_ascii() || !pid.is_ascii() || !body.is_ascii() {
            out = header(self.characters.name(false));
        }
        out.push_str(&pid);
        out.push_str(body);
        Message { control_id, text: self.characters.fit(out) }
    }

    fn patient(&self, Subject { patient, person }: Subject<'_>) -> String {
        let reference = patient.reveal();
        let pseudonym = reference.rsplit('/').next().unwrap_or(reference);
        let own = person.and_then(|p| p.identifier.as_deref());
        // Receivers that look at one identifier look at the first.
        let identifiers = own
            .map(|id| identifier(id, &self.match_authority, &self.match_identifier_type))
            .into_iter()
            .chain([identifier(pseudonym, &self.authority, &self.identifier_type)]);
        let name = person.and_then(|p| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            let family = p.family.as_deref()?;
            Some(components(&[family, &part(&p.given), &part(&p.further), "", "", "", "L"]))
        });
        let born = person.and_then(|p| p.birth_date).map(|d| d.strftime("%Y%m%d").to_string());
        let mut out = String::new();
        Segment::new("PID")
            .set(3, identifiers.collect::<Vec<_>>().join("~"))
            // No name: a pseudonym (table 0200).
            .set(5, name.unwrap_or_else(|| "^^^^^^S".into()))
            .set(7, born.unwrap_or_default())
            .set(8, person.and_then(|p| p.sex.as_deref()).map(text).unwrap_or_default())
            .end(&mut out);
        out
    }
}

/// Whom a message is about.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub patient: &'a PatientId,
    /// Match fields, where the receiver asks for them.
    pub person: Option<&'a Demographics>,
}

/// A CX: a name of several parts stands within one component there.
fn identifier(id: &str, authority: &str, kind: &str) -> String {
    let authority = composite(authority).replace('^', "&");
    [text(id).as_str(), "", "", &authority, &text(kind)].join("^")
}

/// MSH-9, and which profile it is of.
pub(super) struct Kind {
    pub name: &'static str,
    pub alert: bool,
}

/// `C0:26:DF:00:11:22` → `C026DFFFFE001122`.
fn eui64(device: &str) -> Option<String> {
    let address: String = device.strip_prefix("ble:")?.split(':').collect();
    let (vendor, rest) = address.split_at_checked(6)?;
    let fits = address.len() == 12 && address.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| format!("{vendor}FFFE{rest}").to_ascii_uppercase())
}

/// MSH-10 of readings that travel together: 20 characters, as any version of the standard takes.
pub fn control_id(readings: &[&Reading]) -> Result<String, Unmappable> {
    let mut context = Context::new(&SHA256);
    context.update(b"oru");
    for reading in readings {
        let patient = reading.patient.as_ref().ok_or(Unmappable::Unassigned)?;
        context.update(&reading.key.0);
        field(&mut context, patient.reveal());
    }
    Ok(base32(context.finish().as_ref()))
}

/// MSH-10 of an alert event.
pub fn alert_control_id(event: &AlertEvent) -> String {
    let mut context = Context::new(&SHA256);
    context.update(b"alert");
    field(&mut context, &event.alert.id.0);
    field(
        &mut context,
        match event.happened {
            Happened::Raised => "raised",
            Happened::Acknowledged => "acknowledged",
            Happened::Resolved => "resolved",
            Happened::TakenBack => "taken-back",
        },
    );
    base32(context.finish().as_ref())
}

/// An id of several texts, for one purpose.
pub(super) fn hashed<'a>(purpose: &[u8], texts: impl Iterator<Item = &'a str>) -> String {
    let mut context = Context::new(&SHA256);
    context.update(purpose);
    texts.for_each(|text| field(&mut context, text));
    base32(context.finish().as_ref())
}

fn field(context: &mut Context, text: &str) {
    context.update(text.as_bytes());
    context.update(&[0]);
}

/// 20 of `A-Z 2-7`: 100 bits.
fn base32(octets: &[u8]) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = octets.iter().take(13).fold(0u128, |bits, octet| bits << 8 | u128::from(*octet)) >> 4;
    let digit = |n: u32| {
        let index = usize::try_from(bits >> (5 * (19 - n)) & 31).unwrap_or(0);
        char::from(digits.get(index).copied().unwrap_or(b'A'))
    };
    (0..20).map(digit).collect()
}
