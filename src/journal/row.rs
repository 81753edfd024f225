//! A reading as a row, and back.
//!
//! Promises: what was stored is read back equal, to the last decimal. Rows say what they mean without this code.

use jiff::tz::TimeZone;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement, params};

use super::seal::Seal;
use crate::association::Unassigned;
use crate::clock::Stamp;
use crate::reading::{DeviceId, DeviceTime, PatientId, Reading, ReadingKey, Taken, TimeMethod};
use crate::vital::{Site, Vital};

/// What [`read`] expects, from `reading LEFT JOIN device ON device.id = reading.device`: a lost device is seen by the seal.
pub(super) const COLUMNS: &str = "key, device.name, patient, profile, vital, parts, slot, sequence, taken_ms,
    taken_uncertainty_ms, taken_method, device_time, quality, site, from_memory,
    received_ms, received_trusted, received_mono_us, received_boot,
    reading.id, reading.seal, reading.seal IS NULL AND reading.id <= (SELECT unsealed_through FROM totals),
    unassigned, amendment, clocks";

/// So many they are.
pub(super) const NUMBER_OF_COLUMNS: usize = 25;

/// So many of the columns are sealed, with the row's number.
const SEALED: usize = 19;

/// Stores what [`write`] gives it.
pub(super) const INSERT: &str = "INSERT INTO reading VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
    ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30)
    ON CONFLICT (key_order, key) DO NOTHING";

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
    let Reading {
        key,
        device: name,
        patient,
        profile,
        slot,
        vital,
        parts,
        sequence,
        taken,
        quality,
        site,
        stored,
        unassigned,
        amendment,
        clocks,
    } = reading;
    let Taken { received, device, at_ms, uncertainty_ms, method } = *taken;
    let quality = if quality.is_empty() { None } else { Some(json(quality)?) };
    let (parts, patient, sequence) =
        (json(parts)?, patient.as_ref().map(PatientId::reveal), sequence.map(u64::cast_signed));
    let device = device.map(|t| match t {
        DeviceTime::Instant(t) => t.to_string(),
        DeviceTime::Civil(t) => t.to_string(),
    });
    let sealed: [ValueRef<'_>; SEALED] = [
        ValueRef::Blob(&key.0),
        text(Some(&name.0)),
        text(patient),
        text(Some(profile)),
        text(Some(vital.id)),
        text(Some(&parts)),
        number(slot.map(i64::from)),
        number(sequence),
        number(at_ms),
        number(Some(i64::from(uncertainty_ms))),
        text(Some(word(method))),
        text(device.as_deref()),
        text(quality.as_deref()),
        text(site.map(|s| s.id)),
        number(Some(i64::from(*stored))),
        number(Some(received.wall_ms)),
        number(Some(i64::from(received.trusted))),
        number(Some(received.mono_us.cast_signed())),
        number(Some(received.boot.cast_signed())),
    ];
    let unassigned = unassigned.map(Unassigned::word);
    let amendment = amendment.as_deref().map(json).transpose()?;
    let clocks = clocks.as_deref().map(json).transpose()?;
    let later = [text(unassigned), text(amendment.as_deref()), text(clocks.as_deref())];
    let seal = sealed.into_iter().chain(later.into_iter().filter(is_set)).fold(Seal::new(place.id), Seal::and).number();
    let new = insert.execute(params![
        place.id,
        &key.0[..],
        key_order(reading),
        place.device,
        patient,
        place.channel,
        place.holder,
        &**profile,
        vital.id,
        parts,
        slot,
        sequence,
        at_ms,
        uncertainty_ms,
        word(method),
        device,
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
        seal,
        unassigned,
        amendment,
        clocks,
    ])?;
    Ok(new > 0)
}

/// Columns that came later are sealed where they hold something, so that older rows keep their seals.
fn is_set(value: &ValueRef<'_>) -> bool {
    *value != ValueRef::Null
}

fn text(text: Option<&str>) -> ValueRef<'_> {
    text.map_or(ValueRef::Null, |t| ValueRef::Text(t.as_bytes()))
}

fn number(number: Option<i64>) -> ValueRef<'static> {
    number.map_or(ValueRef::Null, ValueRef::Integer)
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

/// The seal of the row's values as they are.
fn seal(row: &Row<'_>, at: usize) -> rusqlite::Result<i64> {
    let number = Seal::new(row.get(at + SEALED)?);
    let sealed = (at..at + SEALED).try_fold(number, |seal, i| Ok::<_, rusqlite::Error>(seal.and(row.get_ref(i)?)))?;
    let later = [row.get_ref(at + SEALED + 3)?, row.get_ref(at + SEALED + 4)?, row.get_ref(at + SEALED + 5)?];
    Ok(later.into_iter().filter(is_set).fold(sealed, Seal::and).number())
}

/// Whether the row in [`COLUMNS`] is as it was written.
pub(super) fn is_intact(row: &Row<'_>, at: usize) -> bool {
    let stored: rusqlite::Result<Option<i64>> = row.get(at + SEALED + 1);
    match stored {
        Ok(Some(stored)) => seal(row, at).is_ok_and(|seal| seal == stored),
        Ok(None) => row.get(at + SEALED + 2).unwrap_or(false),
        Err(_) => false,
    }
}

/// Changes rows one by one and seals them anew. Damaged ones stay as they are, and would not be believed otherwise.
/// Answers which were changed.
pub(super) fn change(
    conn: &Connection,
    ids: &[i64],
    mut update: impl FnMut(i64) -> rusqlite::Result<usize>,
) -> rusqlite::Result<Vec<i64>> {
    let sql =
        format!("SELECT {COLUMNS} FROM reading LEFT JOIN device ON device.id = reading.device WHERE reading.id = ?1");
    let mut look = conn.prepare(&sql)?;
    let mut put = conn.prepare("UPDATE reading SET seal = ?2 WHERE id = ?1")?;
    let mut changed = Vec::new();
    for &id in ids {
        let intact = look.query([id])?.next()?.is_some_and(|row| is_intact(row, 0));
        if intact && update(id)? > 0 {
            put.execute([id, look.query_row([id], |row| seal(row, 0))?])?;
            changed.push(id);
        }
    }
    Ok(changed)
}

/// Whose the reading in [`COLUMNS`] is and of which vital sign, unchecked. `None`: nobody's, or it takes another one back.
pub(super) fn whose(row: &Row<'_>, at: usize) -> Option<(PatientId, Option<Vital>)> {
    let text = |i: usize| row.get_ref(at + i).ok()?.as_str().ok();
    let takes_back = text(23).is_some_and(|amendment| amendment.contains(r#""kind":"withdrawal""#));
    if takes_back { None } else { Some((PatientId::new(text(2)?), text(4).and_then(Vital::parse))) }
}

/// The reading in [`COLUMNS`], which begin at `at`. `None`: the row is damaged, or holds no reading that we understand.
pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Reading>> {
    if !is_intact(row, at) {
        return Ok(None);
    }
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
    let Ok(unassigned) = text_or_null(22)?.map(|w| Unassigned::parse(w).ok_or(())).transpose() else { return Ok(None) };
    let Ok(amendment) = text_or_null(23)?.map(serde_json::from_str).transpose() else { return Ok(None) };
    let Ok(clocks) = text_or_null(24)?.map(serde_json::from_str).transpose() else { return Ok(None) };
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
        unassigned,
        amendment,
        clocks,
    }))
}

fn device_time(text: &str) -> Result<DeviceTime, jiff::Error> {
    if text.ends_with('Z') { text.parse().map(DeviceTime::Instant) } else { text.parse().map(DeviceTime::Civil) }
}

pub(super) fn word(method: TimeMethod) -> &'static str {
    match method {
        TimeMethod::DeviceInstant => "device-instant",
        TimeMethod::DeviceCivil => "device-civil",
        TimeMethod::DeviceCorrected => "device-corrected",
        TimeMethod::Received => "received",
        TimeMethod::Pending => "pending",
        TimeMethod::Unchecked => "unchecked",
        TimeMethod::Unresolved => "unresolved",
    }
}

fn method(word: &str) -> Option<TimeMethod> {
    Some(match word {
        "device-instant" => TimeMethod::DeviceInstant,
        "device-civil" => TimeMethod::DeviceCivil,
        "device-corrected" => TimeMethod::DeviceCorrected,
        "received" => TimeMethod::Received,
        "pending" => TimeMethod::Pending,
        "unchecked" => TimeMethod::Unchecked,
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
