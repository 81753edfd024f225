//! Match fields in the running gateway: kept for a patient of this box and a destination that asks for them, taken back at a
//! word.
//!
//! Promises: from the answer on what was taken back is in no message. Must never: keep what nobody opted into, or log whose
//! it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::Fault;
use crate::control::demographics::{Forgetting, Introduction, Named, Register, Registered};
use crate::journal::{Act, Introduced, Journal};
use crate::minimum::Field;
use crate::reading::PatientId;
use crate::roster::Roster;
use crate::sink::mllp::Who;

/// Who asks for match fields at this destination.
pub(super) fn who(journal: &Journal, destination: &Arc<str>) -> Who {
    let (journal, destination) = (journal.clone(), destination.clone());
    Arc::new(move |patient| journal.consents().gate(&destination)?.person(patient))
}

/// The register behind the control plane's counter.
pub(super) struct Registrar {
    journal: Journal,
    clock: Clock,
    config: Config,
    roster: Roster,
}

impl Registrar {
    pub(super) fn new(config: &Config, clock: &Clock, journal: &Journal, roster: &Roster) -> Self {
        let (journal, clock) = (journal.clone(), clock.clone());
        Self { journal, clock, config: config.clone(), roster: roster.clone() }
    }

    /// What a destination asks for. `None`: there is no such destination.
    fn asked(&self, destination: &str) -> Option<Arc<[Field]>> {
        self.config.destinations.iter().find(|d| d.name() == destination).map(|d| d.fields().of_a_person())
    }

    async fn kept(&self) -> Result<Vec<(PatientId, Arc<str>, Introduced)>, Fault> {
        let reader = self.journal.reader();
        let read = tokio::task::spawn_blocking(move || reader.introduced()).await.map_err(|_| Fault::Busy)?;
        read.map_err(|e| Fault::Unreadable(e.into()))
    }

    async fn all(&self) -> Result<Vec<Named>, Fault> {
        let blank = |patient: &PatientId, destination: &Arc<str>, asks: &[Field]| Named {
            patient: patient.clone(),
            destination: destination.clone(),
            asks: asks.to_vec(),
            given: Vec::new(),
            by: None,
            at_ms: None,
        };
        let mut all: BTreeMap<(PatientId, Arc<str>), Named> = BTreeMap::new();
        for destination in &self.config.destinations {
            let (name, asks): (Arc<str>, _) = (destination.name().into(), destination.fields().of_a_person());
            for (patient, _) in self.roster.all().into_iter().filter(|_| !asks.is_empty()) {
                all.insert((patient.clone(), name.clone()), blank(&patient, &name, &asks));
            }
        }
        for (patient, destination, kept) in self.kept().await? {
            let key = (patient.clone(), destination.clone());
            let named = all.entry(key).or_insert_with(|| blank(&patient, &destination, &[]));
            named.given = Field::OF_A_PERSON.into_iter().filter(|field| kept.person.has(*field)).collect();
            (named.by, named.at_ms) = (Some(kept.by), Some(kept.at_ms));
        }
        Ok(all.into_values().collect())
    }

    async fn keep(&self, what: Introduction) -> Result<Registered, Fault> {
        let Introduction { patient, destination, person, by } = what;
        let asked = self.asked(&destination).ok_or(Fault::Missing("destination"))?;
        if asked.is_empty() {
            let cause = format!("{destination} asks for no field of a person");
            let remedy = "Leave it so where the receiver knows the pseudonym; else name the fields in `fields` of the \
                          destination (docs/hl7.md).";
            return Err(Fault::Told { code: "WL-O051", cause, remedy });
        }
        if self.config.journal.unencrypted {
            let cause = "fields of a person are kept in an encrypted journal only".into();
            return Err(Fault::Told { code: "WL-C033", cause, remedy: "Give the journal a key (`wardline key new`)." });
        }
        if !self.roster.contains(&patient) {
            return Err(Fault::Refused("this patient is not one of this box".into()));
        }
        let now = self.clock.now();
        let person = person.checked(&asked).map_err(Fault::Refused)?;
        // A day's grace: the household may be ahead of UTC.
        let tomorrow = jiff::Timestamp::from_millisecond(now.wall_ms.saturating_add(86_400_000)).ok();
        let tomorrow = tomorrow.map(|at| jiff::tz::Offset::UTC.to_datetime(at).date());
        if now.trusted && person.birth_date.zip(tomorrow).is_some_and(|(born, tomorrow)| born > tomorrow) {
            return Err(Fault::Refused("the birth date is in the future".into()));
        }
        let is = Box::new(Introduced { person, by, at_ms: now.wall_ms });
        let act = Act::Introduce { patient, destination: destination.clone(), is };
        self.journal.redress(act).await.map_err(|e| super::inbox::not_now(&e))?;
        tracing::info!(destination, "Match fields of a patient were given.");
        Ok(Registered { on_the_way: 0 })
    }

    async fn drop(&self, what: Forgetting) -> Result<Registered, Fault> {
        let Forgetting { patient, destination, by } = what;
        let theirs = |(p, d, _): &(PatientId, Arc<str>, Introduced)| *p == patient && **d == *destination;
        if !self.kept().await?.iter().any(theirs) {
            return Err(Fault::Missing("patient with match fields at this destination"));
        }
        let act = Act::Forget { patient, destination: destination.clone(), by };
        let on_the_way = self.journal.redress(act).await.map_err(|e| super::inbox::not_now(&e))?;
        tracing::info!(destination, "Match fields of a patient were taken back.");
        Ok(Registered { on_the_way })
    }
}

impl Register for Registrar {
    fn named(&self) -> BoxFuture<'_, Result<Vec<Named>, Fault>> {
        self.all().boxed()
    }
    fn introduce(&self, what: Introduction) -> BoxFuture<'_, Result<Registered, Fault>> {
        self.keep(what).boxed()
    }
    fn forget(&self, what: Forgetting) -> BoxFuture<'_, Result<Registered, Fault>> {
        self.drop(what).boxed()
    }
}
