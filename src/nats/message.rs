//! What travels on the bus: one reading, or one event of an alert with the readings that it points to, as JSON with a
//! version (decision 0056).
//!
//! Promises: what a relay reads is what the gateway had, to the last decimal; a message of a newer gateway with anything
//! in it that this program does not know is held, never passed on in part. Must never: be sent under a patient's subject.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::alarm::{AlertEvent, Happened};
use crate::custody::Payload;
use crate::reading::Reading;

/// Changes when a field changes its meaning; a new field alone does not need it.
pub const VERSION: u32 = 1;

/// The ways on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Readings.
    Readings,
    /// Readings that withdraw or replace others: one at a time, and never before what they correct.
    Corrections,
    /// Alerts that were raised.
    Alerts,
    /// What happened to alerts since: one at a time, and never before the alert was raised.
    Followups,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Readings, Self::Corrections, Self::Alerts, Self::Followups];

    /// The last word of its subjects, and of its consumer.
    pub fn word(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Corrections => "corrections",
            Self::Alerts => "alerts",
            Self::Followups => "followups",
        }
    }

    /// What must be delivered as far as it is in the stream before one of this kind may go.
    pub fn after(self) -> &'static [Self] {
        match self {
            Self::Readings | Self::Alerts => &[],
            // An alert brings readings along.
            Self::Corrections => &[Self::Readings, Self::Alerts, Self::Followups],
            Self::Followups => &[Self::Alerts],
        }
    }

    /// On which way an item travels.
    pub fn of(what: &Payload) -> Self {
        match what {
            Payload::Reading(reading) if reading.amendment.is_some() => Self::Corrections,
            Payload::Reading(_) => Self::Readings,
            Payload::Alert(event) if event.happened == Happened::Raised => Self::Alerts,
            Payload::Alert(_) => Self::Followups,
        }
    }

    /// `wardline.box-1.readings`; a gateway `*` stands for all.
    pub fn subject(self, prefix: &str, gateway: &str) -> String {
        format!("{prefix}.{}.{}", gateway.replace('.', "_"), self.word())
    }
}

#[derive(Serialize)]
struct Written<'a> {
    wardline: u32,
    gateway: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reading: Option<&'a Reading>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<&'a AlertEvent>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<&'a Reading>,
}

#[derive(Deserialize)]
struct Version {
    wardline: u32,
}

#[derive(Deserialize)]
struct Found {
    gateway: String,
    #[serde(default)]
    reading: Option<Reading>,
    #[serde(default)]
    alert: Option<AlertEvent>,
    #[serde(default)]
    evidence: Vec<Reading>,
}

/// A message as it was read.
#[derive(Debug)]
pub struct Letter {
    /// Which gateway wrote it.
    pub gateway: Arc<str>,
    /// What it carries.
    pub what: Payload,
    /// Readings that the alert points to.
    pub evidence: Vec<Arc<Reading>>,
}

/// Why a message is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A newer gateway wrote it: a newer relay can read it.
    Newer,
    /// No gateway wrote it.
    Foreign(&'static str),
}

/// Writes a message. `None`: it cannot be written, which no reading has been seen to do.
pub fn write(gateway: &str, what: &Payload, evidence: &[Arc<Reading>]) -> Option<Vec<u8>> {
    let silent;
    let (reading, alert) = match what {
        Payload::Reading(reading) if reading.amendment.is_some() => {
            silent = without_reason(reading);
            (Some(&silent), None)
        }
        Payload::Reading(reading) => (Some(&**reading), None),
        Payload::Alert(event) => (None, Some(&**event)),
    };
    let evidence = match alert {
        Some(event) => evidence.iter().filter(|r| event.alert.evidence.contains(&r.key)).map(|r| &**r).collect(),
        None => Vec::new(),
    };
    serde_json::to_vec(&Written { wardline: VERSION, gateway, reading, alert, evidence }).ok()
}

/// Why something was wrong is a person's own words: they stay on the box.
fn without_reason(reading: &Reading) -> Reading {
    let mut reading = reading.clone();
    if let Some(amendment) = reading.amendment.as_mut() {
        Arc::make_mut(amendment).reason.clear();
    }
    reading
}

/// Reads one.
///
/// # Errors
/// When it is not whole, or says more than this program knows.
pub fn read(bytes: &[u8]) -> Result<Letter, Unreadable> {
    let foreign = Unreadable::Foreign("it is not a message of a gateway");
    let raw: Value = serde_json::from_slice(bytes).map_err(|_| foreign)?;
    if !raw.is_object() {
        return Err(foreign);
    }
    let version: Version = serde_json::from_slice(bytes).map_err(|_| foreign)?;
    if version.wardline > VERSION {
        return Err(Unreadable::Newer);
    }
    // A newer gateway may know a vital sign, a unit or a label that we do not.
    let Ok(found) = serde_json::from_slice::<Found>(bytes) else { return Err(Unreadable::Newer) };
    let known = serde_json::to_value(Written {
        wardline: version.wardline,
        gateway: &found.gateway,
        reading: found.reading.as_ref(),
        alert: found.alert.as_ref(),
        evidence: found.evidence.iter().collect(),
    });
    if !known.is_ok_and(|known| holds(&known, &raw)) {
        return Err(Unreadable::Newer);
    }
    let what = match (found.reading, found.alert) {
        (Some(reading), None) => Payload::Reading(Arc::new(reading)),
        (None, Some(alert)) => Payload::Alert(Arc::new(alert)),
        _ => return Err(Unreadable::Foreign("it holds neither one reading nor one alert")),
    };
    let evidence = found.evidence.into_iter().map(Arc::new).collect();
    Ok(Letter { gateway: found.gateway.into(), what, evidence })
}

/// Whether we know everything that is in `raw`.
fn holds(known: &Value, raw: &Value) -> bool {
    match (known, raw) {
        (Value::Object(known), Value::Object(raw)) => {
            // What is empty may be left out by us.
            let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            raw.iter().all(|(key, value)| empty(value) || known.get(key).is_some_and(|k| holds(k, value)))
        }
        (Value::Array(known), Value::Array(raw)) => {
            known.len() == raw.len() && known.iter().zip(raw).all(|(k, r)| holds(k, r))
        }
        _ => known == raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amendment::{self, Order};
    use crate::fhir::fixtures;

    fn round(what: &Payload, evidence: &[Arc<Reading>]) -> Letter {
        read(&write("box-1", what, evidence).unwrap()).unwrap()
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        for vital in ["blood-pressure", "heart-rate", "spo2", "body-weight", "body-temperature"] {
            let reading = Arc::new(fixtures::reading(vital));
            let letter = round(&Payload::Reading(reading.clone()), &[]);
            let Payload::Reading(back) = &letter.what else { panic!() };
            assert_eq!((back, &*letter.gateway), (&reading, "box-1"));
        }
        let reading = fixtures::reading("spo2");
        let (event, other) = (fixtures::alert(&[&reading]), Arc::new(fixtures::nth("heart-rate", 5)));
        let letter = round(&Payload::Alert(Arc::new(event.clone())), &[Arc::new(reading.clone()), other]);
        let Payload::Alert(back) = &letter.what else { panic!() };
        assert_eq!((&**back, letter.evidence.len()), (&event, 1), "its own evidence goes along, and no other");
        assert_eq!(*letter.evidence[0], reading);
    }

    #[test]
    fn what_a_newer_gateway_says_is_held_and_what_is_foreign_is_refused() {
        let reading = Payload::Reading(Arc::new(fixtures::reading("blood-pressure")));
        let good = String::from_utf8(write("box-1", &reading, &[]).unwrap()).unwrap();
        let newer = [
            good.replacen("\"wardline\":1", "\"wardline\":2", 1),
            good.replacen("\"reading\":{", "\"reading\":{\"withdrawn\":true,", 1),
            good.replacen("\"gateway\"", "\"consent\":\"none\",\"gateway\"", 1),
            good.replacen("\"parts\":[{", "\"parts\":[{\"scale\":10,", 1),
            good.replacen("blood-pressure", "blood-viscosity", 1),
        ];
        for text in newer {
            assert_ne!(text, good);
            assert_eq!(read(text.as_bytes()).err(), Some(Unreadable::Newer), "{text}");
        }
        for text in ["", "{}", "hello", "[1]", "{\"wardline\":1,\"gateway\":\"b\"}"] {
            assert!(matches!(read(text.as_bytes()), Err(Unreadable::Foreign(_))), "{text}");
        }
    }

    #[test]
    fn a_correction_has_a_way_of_its_own_and_its_reason_stays_on_the_box() {
        let order = Order { by: "N. Nurse".into(), at_ms: 1_000, reason: "grandson's arm".into() };
        let withdrawal = amendment::withdrawal(&fixtures::reading("spo2"), &order);
        let what = Payload::Reading(Arc::new(withdrawal.clone()));
        assert_eq!(
            (Kind::of(&what), Kind::of(&what).after()),
            (Kind::Corrections, &[Kind::Readings, Kind::Alerts, Kind::Followups][..])
        );
        let text = String::from_utf8(write("box-1", &what, &[]).unwrap()).unwrap();
        assert!(!text.contains("grandson"), "{text}");
        let Payload::Reading(back) = read(text.as_bytes()).unwrap().what else { panic!() };
        assert!(back.is_withdrawal() && back.known_as() == withdrawal.known_as());
    }

    #[test]
    fn subjects_name_the_gateway_and_nobody_else() {
        assert_eq!(Kind::Readings.subject("wardline", "ward.7"), "wardline.ward_7.readings");
        assert_eq!(Kind::Followups.subject("w", "*"), "w.*.followups");
    }
}
