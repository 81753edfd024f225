//! The journal key: what arrived, by content. No patient, no time of receipt in it.
//!
//! A record that carries the device's own number or time has the same key each time it is sent, in whatever
//! framing. A record with neither is a new reading each time; the journal tells a redelivery by MQTT's marks.

use ring::digest::{Context, SHA256};

use crate::reading::{Absence, DeviceId, DeviceTime, Draft, Frame, Part, Path, ReadingKey, Value};

/// What tells one arrival of an undated record from another.
pub(super) struct Arrival<'a> {
    pub(super) run: u64,
    pub(super) frame: &'a Frame,
    pub(super) index: usize,
}

/// Neither time nor number: nothing in the content tells a second measurement from a second sending.
pub(super) fn is_undated(draft: &Draft) -> bool {
    draft.sequence.is_none() && draft.device_time.is_none()
}

/// SHA-256 over the length-prefixed fields, its first 16 octets.
pub(super) fn key(device: &DeviceId, draft: &Draft, arrival: &Arrival<'_>) -> ReadingKey {
    let mut hash = Fields::default();
    hash.text("wardline-reading-1");
    hash.text(&device.0);
    hash.text(draft.vital.id);
    hash.number(draft.slot.map_or(-1, i64::from));
    // A context that comes with the second sending only makes no second reading.
    draft.parts.iter().filter(|p| !p.role.is_context()).for_each(|p| part(&mut hash, p));
    if is_undated(draft) {
        undated(&mut hash, arrival);
    } else {
        hash.text("dated");
        hash.number(draft.sequence.map_or(-1, |s| i64::from_ne_bytes(s.to_ne_bytes())));
        match draft.device_time {
            Some(DeviceTime::Civil(t)) => hash.text(&t.to_string()),
            Some(DeviceTime::Instant(t)) => hash.number(t.as_microsecond()),
            None => hash.text("no time"),
        }
    }
    hash.finish()
}

/// The key of a period that begins with this reading.
pub(super) fn of_period(first: &ReadingKey) -> ReadingKey {
    let mut hash = Fields::default();
    hash.text("wardline-period-1");
    hash.text(&first.to_string());
    hash.finish()
}

fn undated(hash: &mut Fields, arrival: &Arrival<'_>) {
    let Arrival { run, frame, index } = arrival;
    hash.text("undated");
    hash.text(&frame.source);
    hash.number(run.cast_signed());
    match (frame.redelivery, &frame.path) {
        (Some(r), Path::Topic(_)) => {
            hash.number(i64::from(r.connection));
            hash.number(i64::from_ne_bytes(r.count.to_ne_bytes()));
        }
        _ => hash.number(i64::from_ne_bytes(frame.ticket.to_ne_bytes())),
    }
    hash.number(i64::try_from(*index).unwrap_or(i64::MAX));
}

/// The raw record as decoded: digits with their exponent, so that `36.0` and `36` differ as their bytes did.
fn part(hash: &mut Fields, part: &Part) {
    hash.number(part.role as i64);
    hash.text(part.unit.ucum());
    match part.value {
        Value::Number(n) => {
            hash.number(n.mantissa());
            hash.number(i64::from(n.exponent()));
        }
        Value::Absent(why) => hash.text(match why {
            Absence::NotANumber => "NaN",
            Absence::PositiveInfinity => "+INF",
            Absence::NegativeInfinity => "-INF",
            Absence::Error => "error",
            Absence::NotPerformed => "not performed",
            Absence::Unknown => "unknown",
        }),
    }
}

/// Collects fields with their lengths, so that no two lists of fields give the same octets.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, n: i64) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    fn finish(self) -> ReadingKey {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        let mut key = [0; 16];
        key.iter_mut().zip(context.finish().as_ref()).for_each(|(k, d)| *k = *d);
        ReadingKey(key)
    }
}
