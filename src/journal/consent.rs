//! Consents: in their table, in the writer's memory, and for whoever is about to send. Beside them the match fields, without
//! which a destination that asks for them gets nothing.
//!
//! Promises: one row holds all that was said of one patient and destination, so that a withdrawal cannot be lost without
//! the consent before it. Must never: believe a damaged history, or permit what nobody recorded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::demographics::{self, People};
use super::seal;
use super::writer::Writer;
use crate::alarm::{AlertEvent, Condition};
use crate::clock::Stamp;
use crate::consent::{Consent, History, Said, Terms};
use crate::custody::{Creditor, Item, Payload};
use crate::demographics::{Demographics, LACKING};
use crate::limits;
use crate::reading::{Absence, PatientId, Reading, Value};
use crate::vital::Role;

/// What each destination may get, as it was last committed. By the destination's name.
#[derive(Clone, Debug, Default)]
pub struct Consents(HashMap<Arc<str>, Gate>);

/// One destination's.
#[derive(Clone, Debug)]
pub struct Gate {
    terms: Terms,
    histories: HashMap<PatientId, History>,
    people: People,
}

impl Gate {
    fn new(terms: &Terms) -> Self {
        Self { terms: terms.clone(), histories: HashMap::new(), people: People::new() }
    }

    /// Whether nothing is ever held back.
    pub fn is_open(&self) -> bool {
        self.terms.is_open()
    }

    /// What the destination needs.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// All that was recorded of a patient.
    pub fn history(&self, patient: &PatientId) -> Option<&History> {
        self.histories.get(patient)
    }

    /// Whether a destination may be asked about a patient.
    pub fn may_ask(&self, patient: &PatientId, now: Stamp) -> bool {
        self.terms.may_ask(self.histories.get(patient), now)
    }

    /// The category whose consent a reading of this vital sign lacks, or that match fields are lacking. `None`: it may go.
    pub fn lacks(&self, patient: &PatientId, vital: Option<&str>, now: Stamp) -> Option<&str> {
        self.lacks_consent(patient, vital, now).or_else(|| self.lacks_person(patient))
    }

    /// That the destination would have to guess whose it is.
    pub(super) fn lacks_person(&self, patient: &PatientId) -> Option<&'static str> {
        let asked = &self.terms.person;
        let named = asked.is_empty() || self.people.get(patient).is_some_and(|p| asked.iter().all(|f| p.has(*f)));
        (!named).then_some(LACKING)
    }

    /// What the destination finds this patient by, where it asks for that.
    pub fn person(&self, patient: &PatientId) -> Option<Arc<Demographics>> {
        self.people.get(patient).filter(|_| self.lacks_person(patient).is_none()).cloned()
    }

    fn lacks_consent(&self, patient: &PatientId, vital: Option<&str>, now: Stamp) -> Option<&str> {
        let category = self.terms.needs(vital)?;
        let permits = self.histories.get(patient).is_some_and(|history| history.permits(category, now));
        (!permits).then_some(category)
    }

    /// Whether the patient consents to it: one that is nobody's may not go.
    pub fn permits(&self, reading: &Reading, now: Stamp) -> bool {
        reading.patient.as_ref().is_some_and(|p| self.lacks_consent(p, Some(reading.vital.id), now).is_none())
    }

    /// The item as it may go. `None`: it may not. What takes a reading back may always go, and without consent shows no value:
    /// an error must not stay uncorrected where it is. Without match fields it waits: in another chart it would do harm.
    pub fn admit(&self, item: Item, now: Stamp) -> Option<Item> {
        if self.is_open() {
            return Some(item);
        }
        match &item.what {
            Payload::Reading(reading) if reading.patient.as_ref().is_none_or(|p| self.lacks_person(p).is_some()) => {
                None
            }
            Payload::Reading(reading) if self.permits(reading, now) => Some(item),
            Payload::Reading(reading) if reading.is_withdrawal() => {
                Some(Item { what: Payload::Reading(Arc::new(bare(reading))), ..item })
            }
            Payload::Reading(_) => None,
            Payload::Alert(event) => self.lacks_alert(event, now).is_none().then_some(item),
        }
    }

    /// An alert about a person shows a value, or that a measurement of theirs is expected. One of a device that is nobody's has
    /// nobody who could consent, and names nobody.
    pub(super) fn lacks_alert(&self, event: &AlertEvent, now: Stamp) -> Option<&str> {
        let alert = &event.alert;
        let vital = alert.vital.map(|v| v.id);
        match &alert.patient {
            Some(patient) => self.lacks(patient, vital, now),
            None if alert.condition == Condition::Technical => None,
            None => self.terms.needs(vital),
        }
    }

    /// Whether there was any consent for such a reading at or after that moment.
    pub(super) fn permitted_since(&self, patient: &PatientId, vital: &str, since_ms: i64) -> bool {
        match self.terms.needs(Some(vital)) {
            None => true,
            Some(category) => self.histories.get(patient).is_some_and(|h| h.permitted_since(category, since_ms)),
        }
    }
}

/// Which reading it is, and nothing of what was measured.
fn bare(reading: &Reading) -> Reading {
    let mut bare = reading.clone();
    for part in bare.parts.iter_mut().filter(|p| p.role != Role::Duration) {
        part.value = Value::Absent(Absence::Unknown);
    }
    bare
}

impl Consents {
    /// What is in the table, for these destinations.
    pub(super) fn load(conn: &Connection, creditors: &[Creditor]) -> rusqlite::Result<Self> {
        let gate = |c: &Creditor| (c.name.clone(), Gate::new(&c.terms));
        let mut all = Self(creditors.iter().map(gate).collect());
        all.read(conn)?;
        Ok(all)
    }

    /// The same destinations, with what is in the table now.
    pub(super) fn again(&self, conn: &Connection) -> rusqlite::Result<Self> {
        let mut all = self.without();
        all.read(conn)?;
        Ok(all)
    }

    /// The same destinations, with no consent and nobody's name.
    pub(super) fn without(&self) -> Self {
        let gate = |(name, gate): (&Arc<str>, &Gate)| (name.clone(), Gate::new(&gate.terms));
        Self(self.0.iter().map(gate).collect())
    }

    fn read(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        for Consent { patient, destination, history } in recorded(conn)? {
            if let Some(gate) = self.0.get_mut(&destination) {
                gate.histories.insert(patient, history);
            }
        }
        for (patient, destination, kept) in demographics::all(conn)? {
            if let Some(gate) = self.0.get_mut(&destination) {
                gate.people.insert(patient, Arc::new(kept.person.cut(&gate.terms.person)));
            }
        }
        Ok(())
    }

    /// A destination's. `None`: there is no such destination, and nothing may go there.
    pub fn gate(&self, destination: &str) -> Option<&Gate> {
        self.0.get(destination)
    }

    /// Destinations that may hold something back.
    pub fn gates(&self) -> impl Iterator<Item = (&Arc<str>, &Gate)> {
        self.0.iter().filter(|(_, gate)| !gate.is_open())
    }

    /// The first moment after `now_ms` at which a consent begins.
    pub(super) fn next_begin(&self, now_ms: i64) -> Option<i64> {
        self.0.values().flat_map(|gate| gate.histories.values()).filter_map(|h| h.next_begin(now_ms)).min()
    }
}

impl Writer<'_> {
    /// Takes over what was committed, tells whoever is about to send, and looks again at what lacked a consent.
    pub(super) fn consents_changed(&mut self) {
        let now = self.consents.again(self.conn);
        self.consents = Arc::new(match now {
            Ok(now) => now,
            Err(e) => {
                self.break_down(&e);
                self.consents.without()
            }
        });
        self.setup.consents.send_replace(self.consents.clone());
        self.look_at_withheld();
    }

    /// A consent may begin, or the clock may be right at last.
    pub(super) fn consider(&mut self) {
        let (now, before) = (self.setup.clock.now(), self.considered);
        let begun = self.consents.next_begin(before.wall_ms).is_some_and(|at| at <= now.wall_ms);
        self.considered = now;
        if begun || now.trusted != before.trusted {
            self.look_at_withheld();
        }
    }

    /// How long until a consent begins. The wall clock may jump.
    pub(super) fn next_consent(&self) -> Option<Duration> {
        let now_ms = self.setup.clock.now().wall_ms;
        let at_ms = self.consents.next_begin(now_ms)?;
        Some(Duration::from_millis(at_ms.abs_diff(now_ms)).min(limits::CONSENT_LOOK_EVERY))
    }

    fn look_at_withheld(&mut self) {
        let mut any = false;
        for desk in &mut self.desks {
            any |= desk.readings.withholds() || !desk.withheld.is_empty();
            desk.readings.consider_again();
            if let Some(first) = std::mem::take(&mut desk.withheld).pop_first() {
                desk.alerts.owed_again(first);
            }
        }
        if any {
            self.tell_changed();
        }
    }

    /// Readings of a patient that were leased for a destination: some of them may be on the wire at this moment.
    pub(super) fn on_the_way(&self, destination: &str, patient: &PatientId) -> rusqlite::Result<u64> {
        let Some(desk) = self.desks.iter().find(|d| *d.name == *destination) else { return Ok(0) };
        let mut is_theirs = self.conn.prepare("SELECT count(*) FROM reading WHERE id = ?1 AND patient = ?2")?;
        let each = desk
            .readings
            .queue
            .in_flight()
            .map(|id| is_theirs.query_row(params![id, patient.reveal()], |r| r.get::<_, u32>(0)));
        each.collect::<rusqlite::Result<Vec<_>>>().map(|all| all.into_iter().map(u64::from).sum())
    }
}

/// All that was recorded. A history that is damaged is left out, and told of: there is no consent.
pub(super) fn recorded(conn: &Connection) -> rusqlite::Result<Vec<Consent>> {
    let mut all = conn.prepare("SELECT patient, destination, history, seal FROM consent ORDER BY 1, 2")?;
    let mut rows = all.query([])?;
    let mut found = Vec::new();
    let mut damaged = 0_u32;
    while let Some(row) = rows.next()? {
        let read = || {
            let text = |i: usize| row.get_ref(i).ok()?.as_str().ok();
            let (patient, destination, json) = (text(0)?, text(1)?, text(2)?);
            let intact = row.get::<_, i64>(3).ok()? == seal::of_consent(patient, destination, json);
            let history = intact.then(|| serde_json::from_str::<History>(json).ok()).flatten()?;
            Some(Consent { patient: PatientId::new(patient), destination: destination.into(), history })
        };
        match read() {
            Some(consent) => found.push(consent),
            None => damaged += 1,
        }
    }
    if damaged > 0 {
        tracing::error!(
            code = "WL-J060",
            histories = damaged,
            "Recorded consents are damaged and count as none: record them again."
        );
    }
    Ok(found)
}

/// Adds what was said to a history; to a damaged one as to an empty one.
pub(super) fn record(conn: &Connection, patient: &PatientId, destination: &str, said: &Said) -> rusqlite::Result<()> {
    let look = "SELECT history, seal FROM consent WHERE patient = ?1 AND destination = ?2";
    let before = conn.query_row(look, params![patient.reveal(), destination], |r| {
        Ok((r.get::<_, String>(0).unwrap_or_default(), r.get::<_, i64>(1).unwrap_or_default()))
    });
    let intact = |(json, sealed): &(String, i64)| *sealed == seal::of_consent(patient.reveal(), destination, json);
    let before = before.optional()?.filter(intact).and_then(|(json, _)| serde_json::from_str(&json).ok());
    let History(mut all) = before.unwrap_or_default();
    all.push(said.clone());
    put(conn, &Consent { patient: patient.clone(), destination: destination.into(), history: History(all) })
}

fn put(conn: &Connection, consent: &Consent) -> rusqlite::Result<()> {
    let Consent { patient, destination, history } = consent;
    let json = serde_json::to_string(history).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let sealed = seal::of_consent(patient.reveal(), destination, &json);
    let put = "INSERT OR REPLACE INTO consent VALUES (?1, ?2, ?3, ?4)";
    conn.execute(put, params![patient.reveal(), &**destination, json, sealed]).map(drop)
}

/// Withdraws all of them, in the gateway's own name: newer words may have been lost.
pub(super) fn suspend(conn: &Connection, at_ms: i64, by: &str) -> rusqlite::Result<()> {
    for mut consent in recorded(conn)? {
        let all = vec![crate::consent::ALL.to_owned()];
        let said = Said {
            given: false,
            categories: all,
            from_ms: None,
            until_ms: None,
            by: by.into(),
            at_ms,
            reference: None,
        };
        consent.history.0.push(said);
        put(conn, &consent)?;
    }
    Ok(())
}
