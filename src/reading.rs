//! What travels through the gateway: [`Frame`] (bytes as they came), [`Draft`] (what they mean),
//! [`Reading`] (whose it is and when), [`Reject`] (why bytes became nothing).
//!
//! Must never: print patient data. Ids of patients and measured values redact themselves in `Debug`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::amendment::Amendment;
use crate::association::Unassigned;
use crate::clock::Stamp;
use crate::decimal::Decimal;
use crate::unit::{Dimension, Unit};
use crate::vital::{Role, Site, Status, Vital};

/// The device as the gateway knows it: `link:address`, e.g. `ble:C0:26:DF:00:11:22`, `mqtt:cuff-17`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub Arc<str>);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Pseudonymous reference to the patient at the centre, e.g. `Patient/8f2c`. Redacts itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PatientId(Arc<str>);

impl PatientId {
    /// From configuration or the journal.
    pub fn new(reference: &str) -> Self {
        Self(reference.into())
    }
    /// The reference itself: for destinations and the journal, never for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PatientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("patient:…")
    }
}

/// Bytes from the world with what the link said about them.
#[derive(Clone)]
pub struct Frame {
    /// Name of the source in the configuration.
    pub source: Arc<str>,
    /// Which device and what kind of bytes, as far as the link tells.
    pub path: Path,
    /// The bytes, at most `limits::PAYLOAD_BYTES_MAX`.
    pub bytes: Bytes,
    /// When we got them.
    pub received: Stamp,
    /// How the source knows this frame again when it is told that the frame is kept. Sent again under the same ticket, a
    /// frame keeps the time of its first receipt: an undated reading is known again by both.
    pub ticket: u64,
    /// The source's in-flight window is full: commit at once.
    pub pressing: bool,
    /// For MQTT: what tells a redelivery from a new message.
    pub redelivery: Option<Redelivery>,
    /// How the bytes came: live, late, or not whole.
    pub delivery: Delivery,
    /// The device's clock against ours, where the source asked for it.
    pub clocks: Option<Arc<Clocks>>,
}

/// What a device's clock said, and what ours said then: the coincident pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPair {
    /// The device's, local.
    pub device: jiff::civil::DateTime,
    /// Ours, milliseconds since 1970.
    pub box_ms: i64,
    /// Ours was right.
    pub trusted: bool,
}

/// A pair of clocks that a reading was dated by: what the device's showed, in the zone in which it tells the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coincident {
    /// The device's, local.
    pub device: jiff::civil::DateTime,
    /// So many minutes that local time was ahead of UTC.
    pub offset_min: i16,
    /// Ours, which was right: milliseconds since 1970.
    pub box_ms: i64,
}

/// A device's clock, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// In this connection, before it was set.
    pub now: ClockPair,
    /// In an earlier one.
    pub before: Option<ClockPair>,
}

/// How bytes came to us, as far as the link tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// When they were sent, up to seconds.
    #[default]
    Live,
    /// They waited at the broker (retained, or queued while we were away): the time of receipt says nothing about them.
    Waited,
    /// Longer than `limits::PAYLOAD_BYTES_MAX`: `Frame::bytes` holds only their beginning, so they are a reject.
    Cut {
        /// How many octets came, at least.
        length: usize,
    },
}

impl Frame {
    /// A frame with neither marks nor path details: the starting point of sources and tests.
    pub fn new(source: &str, bytes: impl Into<Bytes>, received: Stamp) -> Self {
        let path = Path::Topic("".into());
        Self {
            source: source.into(),
            path,
            bytes: bytes.into(),
            received,
            ticket: 0,
            pressing: false,
            redelivery: None,
            delivery: Delivery::Live,
            clocks: None,
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}, {:?}, {} bytes)", self.source, self.path, self.bytes.len())
    }
}

/// Where bytes came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// A GATT value: 16-bit UUID in capitals (`2A35`), or a 128-bit one.
    Characteristic {
        /// The peripheral.
        device: DeviceId,
        /// UUID.
        uuid: Arc<str>,
        /// Advertised local name and model, where known: profiles match on it.
        name: Option<Arc<str>>,
    },
    /// Service data of an advertisement: `FCD2`.
    Advertisement {
        /// The broadcaster.
        device: DeviceId,
        /// Service UUID.
        service: Arc<str>,
    },
    /// An MQTT topic; the device's id is in it or in the payload.
    Topic(Arc<str>),
}

impl Path {
    /// The last part: UUID or topic.
    pub fn channel(&self) -> &str {
        match self {
            Self::Characteristic { uuid, .. } => uuid,
            Self::Advertisement { service, .. } => service,
            Self::Topic(topic) => topic,
        }
    }
}

/// MQTT's own marks. Packet ids are reused, so a redelivery needs DUP, the id, the connection and the content together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redelivery {
    /// The DUP flag.
    pub dup: bool,
    /// Packet identifier.
    pub packet_id: u16,
    /// Counts connections within this run of the process, from 1.
    pub connection: u32,
    /// Counts frames within this connection, from 1.
    pub count: u64,
}

/// Why bytes, or one of their fields, became nothing. Kept beside the bytes; holds none of their content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Reject {
    /// Stable code, `WL-D…`.
    pub code: &'static str,
    /// One sentence.
    pub reason: std::borrow::Cow<'static, str>,
}

impl Reject {
    /// A reject with a fixed reason.
    pub const fn new(code: &'static str, reason: &'static str) -> Self {
        Self { code, reason: std::borrow::Cow::Borrowed(reason) }
    }
}

/// One number of a reading.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which component.
    pub role: Role,
    /// The number, or why there is none.
    pub value: Value,
    /// Its unit, as the device said.
    pub unit: Unit,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({:?}, …)", self.role)
    }
}

/// Whether these numbers can be true: each in its plausible range, the systolic pressure above the diastolic.
pub fn is_plausible(vital: Vital, parts: &[Part]) -> bool {
    let number = |role: Role| parts.iter().find(|p| p.role == role).and_then(Part::number);
    let upright = match (number(Role::Systolic), number(Role::Diastolic)) {
        (Some((high, a)), Some((low, b))) => Unit::compare(high, a, low, b).is_none_or(std::cmp::Ordering::is_gt),
        _ => true,
    };
    upright && parts.iter().all(|p| p.number().is_none_or(|(n, unit)| vital.plausible(p.role, n, unit)))
}

impl Part {
    /// The number, if there is one, with its unit.
    pub fn number(&self) -> Option<(Decimal, Unit)> {
        match self.value {
            Value::Number(n) => Some((n, self.unit)),
            Value::Absent(_) => None,
        }
    }
}

/// A measured number, or the reason for its absence.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// With the device's own decimals.
    Number(Decimal),
    /// No number.
    Absent(Absence),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(…)")
    }
}

/// Why there is no number. Maps to FHIR `dataAbsentReason` (dossier §1.1, §7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// NaN.
    NotANumber,
    /// +INF.
    PositiveInfinity,
    /// −INF.
    NegativeInfinity,
    /// NRes, reserved codes, "measurement unsuccessful", a device's error frame.
    Error,
    /// The device did not measure it.
    NotPerformed,
    /// The device gave none and no reason.
    Unknown,
}

/// A label on a reading: doubt is said, never guessed away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "a label of a reading")]
pub enum Quality {
    /// The device says questionable (position, movement, contact, poor signal).
    Questionable,
    /// The device says invalid: never a plain vital.
    Invalid,
    /// Early estimate: preliminary.
    Early,
    /// Calibration going on.
    Calibrating,
    /// Demo, test or control solution: never a patient's result.
    Test,
    /// Outside the plausible range of `vital.rs`.
    Implausible,
    /// The device reports beyond its upper range ("too high", result > device range): counts as beyond any upper limit.
    AboveRange,
    /// The device reports beyond its lower range.
    BelowRange,
    /// The device doubts its own clock, or we do.
    TimeDoubtful,
    /// A device's quirk was tolerated while decoding.
    Quirk,
    /// A status bit of the device, as `irregular-pulse`: no doubt by itself; one that is has its label beside it.
    #[serde(untagged)]
    Status(Status),
}

impl Quality {
    /// A status bit, where it is one.
    pub const fn status(self) -> Option<Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }
}

/// What a frame says, before anyone asks whose it is: one per Observation to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Which vital sign.
    pub vital: Vital,
    /// Its numbers.
    pub parts: Vec<Part>,
    /// User slot of a shared device.
    pub slot: Option<u8>,
    /// The device's record number or the message's id.
    pub sequence: Option<u64>,
    /// What the device's clock said.
    pub device_time: Option<DeviceTime>,
    /// Labels.
    pub quality: Vec<Quality>,
    /// Where on the body.
    pub site: Option<Site>,
    /// From the device's memory rather than measured just now.
    pub stored: bool,
}

/// A device's clock reading, in the form it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceTime {
    /// Local time without a zone (2A08). Resolved in the site's zone.
    Civil(jiff::civil::DateTime),
    /// An instant: epoch, or ISO 8601 with an offset.
    Instant(jiff::Timestamp),
}

/// What arrived, by content: no patient in it (that may be unknown yet, or change). 16 octets of SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadingKey(pub [u8; 16]);

impl fmt::Display for ReadingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::str::FromStr for ReadingKey {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        if s.len() != 32 || !s.is_ascii() {
            return Err(());
        }
        let mut key = [0; 16];
        for (i, octet) in key.iter_mut().enumerate() {
            *octet = u8::from_str_radix(s.get(2 * i..2 * i + 2).ok_or(())?, 16).map_err(|_| ())?;
        }
        Ok(Self(key))
    }
}

impl Serialize for ReadingKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for ReadingKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        text.parse().map_err(|()| serde::de::Error::custom("a reading id has 32 hex digits"))
    }
}

/// When a reading was taken: three kinds of time, and how the instant was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// What the device said.
    pub device: Option<DeviceTime>,
    /// When we got it.
    pub received: Stamp,
    /// The resolved instant, milliseconds since 1970. `None`: no clock could be trusted yet. See also [`Taken::known_ms`].
    pub at_ms: Option<i64>,
    /// ± this many milliseconds.
    pub uncertainty_ms: u32,
    /// How.
    pub method: TimeMethod,
}

impl Taken {
    /// The instant is the device's own statement, corrected or not.
    pub fn is_dated_by_device(&self) -> bool {
        use TimeMethod::{DeviceCivil, DeviceCorrected, DeviceInstant, Unchecked};
        matches!(self.method, DeviceInstant | DeviceCivil | DeviceCorrected | Unchecked)
    }

    /// Whether it waits for our clock: it is not delivered before.
    pub fn waits(&self) -> bool {
        matches!(self.method, TimeMethod::Pending | TimeMethod::Unchecked)
    }

    /// The instant, where it is known for good: what leaves the box has this one.
    pub fn known_ms(&self) -> Option<i64> {
        self.at_ms.filter(|_| !self.waits())
    }
}

/// How the resolved instant was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeMethod {
    /// The device stated an instant.
    DeviceInstant,
    /// The device's local time in the site's zone.
    DeviceCivil,
    /// The device's time by a clock that was wrong, moved by as much as the clock was off when it was asked.
    DeviceCorrected,
    /// A live value without a device time, or with one that cannot be: the time of receipt.
    Received,
    /// To be dated by its receipt, as soon as our clock is known in this boot. Not delivered before.
    Pending,
    /// As the device said, which could not be checked against a clock of ours yet: it is, as soon as ours is known in this boot.
    Unchecked,
    /// No clock can be trusted, and none will.
    Unresolved,
}

/// A reading: one Observation to be. What is committed, evaluated, delivered and settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Identity in the journal.
    pub key: ReadingKey,
    /// Which device.
    pub device: DeviceId,
    /// The device's type: the id of its profile.
    pub profile: Arc<str>,
    /// User slot of a shared device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
    /// Whose. `None`: unassigned, kept and never sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<PatientId>,
    /// Which vital sign.
    pub vital: Vital,
    /// Its numbers.
    pub parts: Vec<Part>,
    /// The device's record number or the message's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// When.
    pub taken: Taken,
    /// Labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quality: Vec<Quality>,
    /// Where on the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// From the device's memory: may be old, never pages as "now".
    #[serde(default)]
    pub stored: bool,
    /// Why it is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unassigned: Option<Unassigned>,
    /// What it corrects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amendment: Option<Arc<Amendment>>,
    /// What the device's clock said when it was asked, if its time lies on that setting of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Arc<Coincident>>,
}

impl Reading {
    /// How long the period was that it stands for, milliseconds. `None`: it stands for a moment.
    pub fn lasted_ms(&self) -> Option<i64> {
        let (seconds, _) = self.number(Role::Duration)?;
        let ms = seconds.scale10(3).round(0)?;
        i64::try_from(10_i128.checked_pow(u32::try_from(ms.exponent()).ok()?)?.checked_mul(i128::from(ms.mantissa()))?)
            .ok()
    }

    /// Whether it was measured by moles.
    pub fn is_by_moles(&self) -> bool {
        self.parts.iter().any(|p| p.unit.dimension() == Dimension::AmountConcentration)
    }

    /// Its labels, with the one that it got when our clock was known: that the device's word could not be true.
    pub fn labels(&self) -> Cow<'_, [Quality]> {
        let Taken { device, method, uncertainty_ms, .. } = self.taken;
        // A receipt by itself is good for a second.
        let overruled = method == TimeMethod::Received && device.is_some() && uncertainty_ms > 1_000;
        match overruled && !self.quality.contains(&Quality::TimeDoubtful) {
            true => Cow::Owned(self.quality.iter().copied().chain([Quality::TimeDoubtful]).collect()),
            false => Cow::Borrowed(&self.quality),
        }
    }

    /// Status bits that the device set.
    pub fn statuses(&self) -> impl Iterator<Item = Status> {
        self.quality.iter().filter_map(|label| label.status())
    }

    /// The number in this role, with its unit.
    pub fn number(&self, role: Role) -> Option<(Decimal, Unit)> {
        self.parts.iter().find(|p| p.role == role).and_then(Part::number)
    }
}

/// A frame with what became of it: the unit of commitment.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The bytes.
    pub frame: Frame,
    /// The readings' keys came from the arrival itself: only `frame.redelivery` tells a redelivery from a new reading.
    pub undated: bool,
    /// Readings, or the reason why there are none. An empty list: decoded, nothing to keep but the bytes (device information).
    pub outcome: Result<Vec<Reading>, Reject>,
}
