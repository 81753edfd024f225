//! When a reading was taken: the device's clock where it states one that can be believed, else the time of receipt
//! of a live value. A stored value without a believable time stays unresolved: it is never "now".

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::reading::{Delivery, DeviceTime, Draft, Frame, Quality, Taken, TimeMethod};

/// 2000-01-01T00:00:00Z: no device of this kind measured before (dossier §9).
const EARLIEST_MS: i64 = 946_684_800_000;
/// A device's clock may be this much ahead of ours.
const AHEAD_MS: i64 = 5 * 60 * 1_000;
/// A device's clock shows whole seconds and drifts: what its instant is good for.
const DEVICE_UNCERTAINTY_MS: u32 = 1_000;
/// What the time of receipt is good for.
const RECEIPT_UNCERTAINTY_MS: u32 = 1_000;
/// A local time that occurs twice.
const FOLD_UNCERTAINTY_MS: u32 = 3_600_000;

/// The resolved time, and whether the device's own time had to be doubted.
///
/// An undated value that waited at the broker is dated by its receipt with no bound on the error: it is labelled, and
/// counts as stored, so that it never pages as "now".
pub(super) fn resolve(draft: &Draft, frame: &Frame, zone: &TimeZone) -> (Taken, bool) {
    let received = frame.received;
    let waited = frame.delivery == Delivery::Waited;
    let said = draft.device_time.map(|t| instant(t, zone));
    let doubted = draft.quality.contains(&Quality::TimeDoubtful);
    let believable = said.filter(|(ms, ..)| {
        !doubted && *ms >= EARLIEST_MS && (!received.trusted || *ms <= received.wall_ms.saturating_add(AHEAD_MS))
    });
    let (at_ms, uncertainty_ms, method) = match believable {
        Some((ms, uncertainty, method)) => (Some(ms), uncertainty, method),
        None if !draft.stored => {
            let uncertainty = if waited { u32::MAX } else { RECEIPT_UNCERTAINTY_MS };
            match received.trusted {
                true => (Some(received.wall_ms), uncertainty, TimeMethod::Received),
                false => (None, uncertainty, TimeMethod::Pending),
            }
        }
        None => (None, u32::MAX, TimeMethod::Unresolved),
    };
    let doubt = believable.is_none() && (draft.device_time.is_some() || waited);
    (Taken { device: draft.device_time, received, at_ms, uncertainty_ms, method }, doubt)
}

fn instant(time: DeviceTime, zone: &TimeZone) -> (i64, u32, TimeMethod) {
    match time {
        DeviceTime::Instant(t) => (t.as_millisecond(), DEVICE_UNCERTAINTY_MS, TimeMethod::DeviceInstant),
        DeviceTime::Civil(civil) => {
            let (t, uncertainty) = civil_instant(civil, zone);
            (t.map_or(i64::MIN, Timestamp::as_millisecond), uncertainty, TimeMethod::DeviceCivil)
        }
    }
}

/// A local time in a zone. One that occurs twice, or not at all, is known to the hour only.
fn civil_instant(civil: DateTime, zone: &TimeZone) -> (Option<Timestamp>, u32) {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let uncertainty = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => DEVICE_UNCERTAINTY_MS,
        AmbiguousOffset::Gap { .. } | AmbiguousOffset::Fold { .. } => FOLD_UNCERTAINTY_MS,
    };
    (ambiguous.compatible().ok(), uncertainty)
}
