//! Consents in the running gateway: what people record, and what waits for one.
//!
//! Promises: a consent names a category, a patient and a destination that exist. Must never: count what waits so often
//! that the journal feels it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::clock::{Clock, Stamp};
use crate::config::Config;
use crate::consent::{ALL, Consent, GENERAL, GENERALS, Rule, Said};
use crate::control::Fault;
use crate::control::consents::{Consents, Listed, Order, Recorded};
use crate::control::view;
use crate::journal::{self, Act, Journal, ReadError, Reader, Withheld};
use crate::limits;
use crate::reading::PatientId;
use crate::roster::Roster;

/// Counts what waits for consents, for all who ask.
pub(super) struct Waiting {
    reader: Reader,
    journal: Journal,
    clock: Clock,
    last: Mutex<Option<Counted>>,
}

/// What was counted.
struct Counted {
    at: Stamp,
    took: Duration,
    /// By these consents.
    by: Arc<journal::Consents>,
    found: Vec<Withheld>,
}

impl Waiting {
    pub(super) fn new(journal: &Journal, clock: &Clock) -> Arc<Self> {
        let (reader, journal) = (journal.reader(), journal.clone());
        Arc::new(Self { reader, journal, clock: clock.clone(), last: Mutex::new(None) })
    }

    /// What waits. Blocking. Where counting takes long, what was counted a moment ago.
    pub(super) fn found(&self) -> Result<Vec<Withheld>, ReadError> {
        let (by, now) = (self.journal.consents(), self.clock.now());
        if by.gates().next().is_none() {
            return Ok(Vec::new());
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |c: &&Counted| {
            Arc::ptr_eq(&c.by, &by) && now.since(c.at) < c.took.saturating_mul(limits::CONSENT_COUNT_SHARE)
        };
        if let Some(counted) = last.as_ref().filter(is_new) {
            return Ok(counted.found.clone());
        }
        let found = self.reader.withheld(&by, now)?;
        let took = self.clock.now().since(now);
        *last = Some(Counted { at: now, took, by, found: found.clone() });
        Ok(found)
    }

    /// What waits for one destination.
    pub(super) fn at(&self, destination: &str) -> Result<Vec<view::Withheld>, ReadError> {
        let all = self.found()?.into_iter().filter(|w| *w.destination == *destination);
        Ok(all.map(shown).collect())
    }
}

fn shown(withheld: Withheld) -> view::Withheld {
    let Withheld { patient, category, readings, alerts, oldest_ms, .. } = withheld;
    view::Withheld { patient, category, readings, alerts, oldest_ms }
}

/// The consents of this box, as the control plane's handlers see them.
pub(super) struct Registry {
    reader: Reader,
    journal: Journal,
    clock: Clock,
    config: Config,
    roster: Roster,
    waiting: Arc<Waiting>,
}

impl Registry {
    pub(super) fn new(
        config: &Config,
        clock: &Clock,
        journal: &Journal,
        (waiting, roster): (Arc<Waiting>, &Roster),
    ) -> Arc<Self> {
        let (reader, journal) = (journal.reader(), journal.clone());
        let (clock, config, roster) = (clock.clone(), config.clone(), roster.clone());
        Arc::new(Self { reader, journal, clock, config, roster, waiting })
    }

    fn listed(&self) -> Result<Vec<Listed>, ReadError> {
        let now = self.clock.now();
        let sensitive = self.config.sensitive();
        let mut all: BTreeMap<(PatientId, Arc<str>), Listed> = BTreeMap::new();
        let blank = |patient: &PatientId, destination: &Arc<str>, rule| Listed {
            patient: patient.clone(),
            destination: destination.clone(),
            rule,
            in_force: Vec::new(),
            lacking: Vec::new(),
            withheld: Vec::new(),
            history: Default::default(),
        };
        for destination in &self.config.destinations {
            let (name, rule): (Arc<str>, _) = (destination.name().into(), self.config.terms(destination).rule);
            for (patient, _) in self.roster.all() {
                all.insert((patient.clone(), name.clone()), blank(&patient, &name, Some(rule)));
            }
        }
        for Consent { patient, destination, history } in self.reader.recorded()? {
            let key = (patient.clone(), destination.clone());
            all.entry(key).or_insert_with(|| blank(&patient, &destination, None)).history = history;
        }
        let withheld = self.waiting.found()?;
        for ((patient, destination), listed) in &mut all {
            let Some(rule) = listed.rule else { continue };
            let mut categories: Vec<(&str, bool)> = GENERALS.iter().map(|c| (*c, rule == Rule::Enrolment)).collect();
            categories.extend(sensitive.names().map(|name| (name, false)));
            for (category, covered) in categories {
                let may = covered || listed.history.permits(category, now);
                let place = if may { &mut listed.in_force } else { &mut listed.lacking };
                place.push(category.to_owned());
            }
            let theirs = |w: &&Withheld| w.destination == *destination && w.patient.as_ref() == Some(patient);
            listed.withheld = withheld.iter().filter(theirs).cloned().map(shown).collect();
        }
        Ok(all.into_values().collect())
    }

    /// What can be recorded: everything else would be a consent to nothing.
    fn check(&self, order: &Order) -> Result<(), String> {
        let words = self.reader.recorded().map_err(|e| e.to_string())?;
        let before = words.iter().find(|c| c.patient == order.patient && *c.destination == *order.destination);
        let is_known = self.config.destinations.iter().any(|d| d.name() == order.destination);
        if !is_known && (order.given || before.is_none()) {
            return Err(format!("there is no destination `{}` in the configuration", order.destination));
        }
        if !order.given && before.is_none() && !self.roster.contains(&order.patient) {
            return Err("this patient is not one of this box".into());
        }
        let sensitive = self.config.sensitive();
        let of_before =
            |c: &str| before.is_some_and(|b| b.history.0.iter().any(|s| s.categories.iter().any(|k| k == c)));
        let is_category = |c: &String| match c.as_str() {
            ALL => !order.given,
            GENERAL => true,
            c => GENERALS.contains(&c) || sensitive.names().any(|n| n == c) || (!order.given && of_before(c)),
        };
        if order.categories.is_empty() || order.categories.len() > limits::CONSENT_CATEGORIES_MAX {
            return Err("name the categories".into());
        }
        if let Some(unknown) = order.categories.iter().find(|c| !is_category(c)) {
            let names: Vec<&str> = [GENERAL].into_iter().chain(GENERALS).chain(sensitive.names()).collect();
            return Err(format!("`{unknown}` is no category to consent to: {}", names.join(", ")));
        }
        if !order.given && (order.from_ms.is_some() || order.until_ms.is_some()) {
            return Err("a withdrawal is in force at once and for good".into());
        }
        if order.from_ms.zip(order.until_ms).is_some_and(|(from, until)| until <= from) {
            return Err("it would end before it begins".into());
        }
        // Withdrawals have room to spare.
        let most = limits::CONSENT_WORDS_MAX * if order.given { 1 } else { 2 };
        if before.is_some_and(|b| b.history.0.len() >= most) {
            return Err("too much was said of this patient and destination".into());
        }
        Ok(())
    }

    async fn keep(self: &Arc<Self>, order: Order) -> Result<Recorded, Fault> {
        let (registry, asked) = (self.clone(), order.clone());
        let checked = tokio::task::spawn_blocking(move || registry.check(&asked)).await.map_err(|_| Fault::Busy)?;
        checked.map_err(Fault::Refused)?;
        let Order { patient, destination, given, categories, from_ms, until_ms, reference, by } = order;
        let said = Said { given, categories, from_ms, until_ms, by, at_ms: self.clock.now().wall_ms, reference };
        let act = Act::Consent { patient, destination: destination.clone(), said };
        let on_the_way = self.journal.redress(act).await.map_err(|e| super::inbox::not_now(&e))?;
        tracing::info!(destination, given, "A consent was recorded.");
        Ok(Recorded { on_the_way: if given { 0 } else { on_the_way } })
    }
}

/// The registry behind the control plane's counter.
pub(super) struct Counter(pub(super) Arc<Registry>);

impl Consents for Counter {
    fn listed(&self) -> BoxFuture<'_, Result<Vec<Listed>, Fault>> {
        let registry = self.0.clone();
        async move {
            let listed = tokio::task::spawn_blocking(move || registry.listed()).await.map_err(|_| Fault::Busy)?;
            listed.map_err(|e| Fault::Unreadable(e.into()))
        }
        .boxed()
    }
    fn record(&self, order: Order) -> BoxFuture<'_, Result<Recorded, Fault>> {
        let registry = self.0.clone();
        async move { registry.keep(order).await }.boxed()
    }
}
