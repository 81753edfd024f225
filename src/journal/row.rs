//! A reading as a row, and back.
//!
//! Promises: what was stored is read back equal, to the last decimal. Rows say what they mean without this code.

use jiff::tz::TimeZone;
use rusqlite::{Row, Statement, params};

use crate::clock::Stamp;
use crate::reading::{DeviceId, DeviceTime, PatientId, Reading, ReadingKey, Taken, TimeMethod};
use crate::vital::{Site, Vital};

/// What [`read`] expects, from `reading CROSS JOIN device ON device.id = reading.device`.
pub(super) const COLUMNS: &str = "key, device.name, patient, profile, vital, parts, slot, sequence, taken_ms,
    taken_uncertainty_ms, taken_method, device_time, quality, site, from_memory,
    received_ms, received_trusted, received_mono_us, received_boot";

/// Stores what [`write`] gives it.
pub(super) const INSERT: &str = "INSERT INTO reading VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
    ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26) ON CONFLICT (key_order, key) DO NOTHING";

/// Where a reading goes.
pub(super) struct Place {
    pub(super) id: i64,
    pub(super) device: i64,
    pub(super) channel: i64,
    /// The reading that holds the bytes of its frame, if not itself.
    pub(super) holder: Option<i64>,
    pub(super) committed: Stamp,
}

/// Answers whether it was new.
pub(super) fn write(
    insert: &mut Statement<'_>,
    place: &Place,
    reading: &Reading,
    bytes: &[u8],
) -> rusqlite::Result<bool> {
    // Without `..`, so that a new field cannot be forgotten here.
    let Reading { key, device: _, patient, profile, slot, vital, parts, sequence, taken, quality, site, stored } =
        reading;
    let Taken { received, device, at_ms, uncertainty_ms, method } = *taken;
    let quality = if quality.is_empty() { None } else { Some(json(quality)?) };
    let new = insert.execute(params![
        place.id,
        &key.0[..],
        key_order(reading),
        place.device,
        patient.as_ref().map(PatientId::reveal),
        place.channel,
        place.holder,
        &**profile,
        vital.id,
        json(parts)?,
        slot,
        sequence.map(u64::cast_signed),
        at_ms,
        uncertainty_ms,
        word(method),
        device.map(|t| match t {
            DeviceTime::Instant(t) => t.to_string(),
            DeviceTime::Civil(t) => t.to_string(),
        }),
        quality,
        site.map(|s| s.id),
        stored,
        place.committed.wall_ms,
        place.committed.trusted,
        received.wall_ms,
        received.trusted,
        received.mono_us.cast_signed(),
        received.boot.cast_signed(),
        place.holder.is_none().then_some(bytes),
    ])?;
    Ok(new > 0)
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

/// The reading in [`COLUMNS`], which begin at `at`. `None`: the row does not hold a reading that we understand.
pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Reading>> {
    let text = |i: usize| Ok::<_, rusqlite::Error>(row.get_ref(at + i)?.as_str()?);
    let text_or_null = |i: usize| Ok::<_, rusqlite::Error>(row.get_ref(at + i)?.as_str_or_null()?);
    let received = Stamp {
        wall_ms: row.get(at + 15)?,
        trusted: row.get(at + 16)?,
        mono_us: row.get::<_, i64>(at + 17)?.cast_unsigned(),
        boot: row.get::<_, i64>(at + 18)?.cast_unsigned(),
    };
    let Some(vital) = Vital::parse(text(4)?) else { return Ok(None) };
    let Ok(parts) = serde_json::from_str(text(5)?) else { return Ok(None) };
    let Some(method) = method(text(10)?) else { return Ok(None) };
    let Ok(device) = text_or_null(11)?.map(device_time).transpose() else { return Ok(None) };
    let Ok(quality) = serde_json::from_str(text_or_null(12)?.unwrap_or("[]")) else { return Ok(None) };
    let Ok(site) = text_or_null(13)?.map(|id| Site::parse(id).ok_or(())).transpose() else { return Ok(None) };
    Ok(Some(Reading {
        key: ReadingKey(row.get(at)?),
        device: DeviceId(text(1)?.into()),
        patient: text_or_null(2)?.map(PatientId::new),
        profile: text(3)?.into(),
        slot: row.get(at + 6)?,
        vital,
        parts,
        sequence: row.get::<_, Option<i64>>(at + 7)?.map(i64::cast_unsigned),
        taken: Taken { device, received, at_ms: row.get(at + 8)?, uncertainty_ms: row.get(at + 9)?, method },
        quality,
        site,
        stored: row.get(at + 14)?,
    }))
}

fn device_time(text: &str) -> Result<DeviceTime, jiff::Error> {
    if text.ends_with('Z') { text.parse().map(DeviceTime::Instant) } else { text.parse().map(DeviceTime::Civil) }
}

fn word(method: TimeMethod) -> &'static str {
    match method {
        TimeMethod::DeviceInstant => "device-instant",
        TimeMethod::DeviceCivil => "device-civil",
        TimeMethod::Received => "received",
        TimeMethod::Pending => "pending",
        TimeMethod::Unresolved => "unresolved",
    }
}

fn method(word: &str) -> Option<TimeMethod> {
    Some(match word {
        "device-instant" => TimeMethod::DeviceInstant,
        "device-civil" => TimeMethod::DeviceCivil,
        "received" => TimeMethod::Received,
        "pending" => TimeMethod::Pending,
        "unresolved" => TimeMethod::Unresolved,
        _ => return None,
    })
}

/// Content that the key holds too, so equal keys have equal orders; readings that come together are close together.
fn key_order(reading: &Reading) -> i64 {
    match (reading.taken.device, reading.sequence) {
        (Some(DeviceTime::Instant(t)), _) => t.as_millisecond(),
        (Some(DeviceTime::Civil(t)), _) => TimeZone::UTC.to_timestamp(t).map_or(0, |t| t.as_millisecond()),
        (None, Some(number)) => number.cast_signed(),
        // Undated: the key is new with each arrival.
        (None, None) => reading.taken.received.wall_ms,
    }
}
