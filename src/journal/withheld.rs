//! What waits for a consent, counted for people: whose, of which category, and for which destination.
//!
//! Promises: counted from what is owed at this moment. Must never: be asked for each lease; it reads all that is owed.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::consent::{Consents, Gate};
use super::outbox;
use super::reader::{ReadError, Reader};
use super::seal;
use crate::alarm::AlertEvent;
use crate::clock::Stamp;
use crate::reading::PatientId;

/// What one patient's missing consent keeps from one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Where it does not go.
    pub destination: Arc<str>,
    /// Whose consent. `None`: an alert of a device that is nobody's.
    pub patient: Option<PatientId>,
    /// The category that it must cover.
    pub category: String,
    /// Readings.
    pub readings: u64,
    /// Alert events.
    pub alerts: u64,
    /// When the oldest of them was taken in.
    pub oldest_ms: i64,
}

/// By destination, patient and category.
type Heaps = BTreeMap<(Arc<str>, Option<PatientId>, String), (u64, u64, i64)>;

impl Reader {
    /// What waits for consents.
    pub fn withheld(&self, consents: &Consents, now: Stamp) -> Result<Vec<Withheld>, ReadError> {
        let heaps = self.with(|conn| {
            let moment = conn.unchecked_transaction()?;
            let mut heaps = Heaps::new();
            for (name, gate) in consents.gates() {
                let row = "SELECT id, readings_waiting > 0, alerts_waiting > 0, coalesce(absent_from_reading, ?2)
                           FROM destination WHERE name = ?1";
                let row = moment.query_row(row, params![&**name, i64::MAX], |r| {
                    Ok((r.get::<_, i64>(0)?, r.get::<_, bool>(1)?, r.get::<_, bool>(2)?, r.get::<_, i64>(3)?))
                });
                let Some((id, readings, alerts, end)) = row.optional()? else { continue };
                if readings {
                    of_readings(&moment, (name, gate), (id, end), now, &mut heaps)?;
                }
                if alerts {
                    of_alerts(&moment, (name, gate), id, now, &mut heaps)?;
                }
            }
            Ok(heaps)
        })?;
        let withheld = |((destination, patient, category), (readings, alerts, oldest_ms))| Withheld {
            destination,
            patient,
            category,
            readings,
            alerts,
            oldest_ms,
        };
        Ok(heaps.into_iter().map(withheld).collect())
    }
}

fn of_readings(
    conn: &Connection,
    (name, gate): (&Arc<str>, &Gate),
    (id, end): (i64, i64),
    now: Stamp,
    heaps: &mut Heaps,
) -> rusqlite::Result<()> {
    let settled = outbox::load(conn, id)?;
    let sql = "SELECT patient, vital, count(*), min(committed_ms), amendment ->> 'kind' IS 'withdrawal' FROM reading
               WHERE id > ?1 AND id < ?2 AND patient IS NOT NULL GROUP BY 1, 2, 5";
    let mut owed = conn.prepare(sql)?;
    let mut at = -1;
    while at < end - 1 {
        let (above, below) = settled.gap(at);
        let mut rows = owed.query([above, below.min(end)])?;
        while let Some(row) = rows.next()? {
            let (patient, vital) = (PatientId::new(row.get_ref(0)?.as_str()?), row.get_ref(1)?.as_str()?);
            // What takes a reading back needs no consent.
            let takes_back: bool = row.get(4)?;
            let lacks = if takes_back { gate.lacks_person(&patient) } else { gate.lacks(&patient, Some(vital), now) };
            if let Some(category) = lacks {
                let heap = heap(heaps, name, Some(patient), category);
                heap.0 += row.get::<_, i64>(2)?.unsigned_abs();
                heap.2 = heap.2.min(row.get(3)?);
            }
        }
        at = below;
    }
    Ok(())
}

fn of_alerts(
    conn: &Connection,
    (name, gate): (&Arc<str>, &Gate),
    id: i64,
    now: Stamp,
    heaps: &mut Heaps,
) -> rusqlite::Result<()> {
    let sql =
        "SELECT e.id, e.body, e.seal, e.at_ms FROM alert_delivery AS d JOIN alert_event AS e ON e.id = d.alert_event
               WHERE d.destination = ?1 AND d.state NOT IN ('delivered', 'rejected', 'superseded', 'discarded')";
    let mut owed = conn.prepare(sql)?;
    let mut rows = owed.query([id])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(1)?.as_bytes()?;
        let intact = row.get::<_, Option<i64>>(2)? == Some(seal::of_event(row.get(0)?, body));
        let Some(event) = serde_json::from_slice::<AlertEvent>(body).ok().filter(|_| intact) else { continue };
        if let Some(category) = gate.lacks_alert(&event, now) {
            let heap = heap(heaps, name, event.alert.patient.clone(), category);
            heap.1 += 1;
            heap.2 = heap.2.min(row.get(3)?);
        }
    }
    Ok(())
}

fn heap<'h>(
    heaps: &'h mut Heaps,
    name: &Arc<str>,
    patient: Option<PatientId>,
    category: &str,
) -> &'h mut (u64, u64, i64) {
    heaps.entry((name.clone(), patient, category.to_owned())).or_insert((0, 0, i64::MAX))
}
