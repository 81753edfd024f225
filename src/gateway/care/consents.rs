//! Consents of a centre: asked for, and recorded as the consents of this box, with a reference to where they came from.
//!
//! Promises: a withdrawal is recorded before anything else is done with what was heard; a destination that cannot be asked
//! changes nothing. Must never: take back what a person recorded here without a reference to that Consent.

use std::sync::Arc;

use super::book::{Book, Changes, Codes, Round};
use super::{Care, CareError, Unasked};
use crate::careplan::{Aim, Order};
use crate::config::{Apply, CarePlanSettings};
use crate::consent::{ALL, GENERAL, GENERALS, History, Said};
use crate::control::Fault;
use crate::fhir::inbound::Heard;
use crate::journal::Act;
use crate::limits;
use crate::reading::PatientId;
use crate::sink::Trouble;
use crate::sink::probe::Prober;

const KIND: &str = "Consent";

/// Whose consents, and for what.
struct Desk<'a> {
    destination: &'a str,
    patient: &'a PatientId,
    at_ms: i64,
}

impl Care {
    /// Asks for all Consents of a patient: they are few, and one that is missing must be noticed.
    pub(super) async fn consents(
        &self,
        name: &Arc<str>,
        prober: &Prober,
        (settings, apply): (&CarePlanSettings, Apply),
        patient: &PatientId,
    ) -> Result<(), Unasked> {
        let away = |t: Trouble| Unasked { why: Fault::told(&CareError::away(&t)), lasts: t.lasts() };
        let heard = prober.ordered(KIND, patient, None).await.map_err(away)?;
        let heard = heard.ok_or_else(|| away(Trouble::Unclear("it does not search for Consents")))?;
        let sensitive = self.surveys.journal.consents().gate(name).map(|gate| gate.terms().sensitive.clone());
        let sensitive = sensitive.unwrap_or_default().names().map(str::to_owned).collect();
        let now = self.surveys.clock.now();
        let (now_ms, trusted) = (now.wall_ms, now.trusted);
        let codes = Codes { own: settings.consent_codes.clone(), sensitive, trusted };
        let round = Round { destination: name, patient, apply, now_ms };
        let desk = Desk { destination: name, patient, at_ms: now_ms };
        let history = self.recorded(&desk);
        let given = |c: &str| history.last(c).is_some_and(|said| said.given);
        // Looked at each time: a person may speak while the centre is asked.
        let hear = |book: &mut Book, heard: &[Heard]| {
            let history = self.recorded(&desk);
            Ok(book.hear_consents(&round, &codes, heard, |c| kept_back(&history, c)))
        };
        // What cannot be recorded for one patient keeps no other from being asked about.
        let alone = |why| Unasked { why, lasts: false };
        self.share(&round, |book| Ok(book.unsettle(&round, given))).await.map_err(alone)?;
        self.share(&round, |book| hear(book, &heard)).await.map_err(alone)?;
        let live = self.book.lock().await.live(name, patient);
        let mut done = Ok(());
        for resource in live.iter().filter(|r| r.starts_with("Consent/")) {
            if heard.iter().any(|h| h.resource == *resource) {
                continue;
            }
            let asked = match prober.order(resource).await {
                Ok(None) => self.share(&round, |book| Ok(book.lose_consent(&round, resource))).await.map_err(alone),
                Ok(Some(one)) => {
                    let one = std::slice::from_ref(&one);
                    self.share(&round, |book| hear(book, one)).await.map_err(alone)
                }
                Err(trouble) => Err(away(trouble)),
            };
            // What became of one cannot be told: the others may have ended.
            done = done.and(asked);
        }
        done
    }

    async fn share(
        &self,
        round: &Round<'_>,
        step: impl FnOnce(&mut Book) -> Result<Changes, Fault>,
    ) -> Result<(), Fault> {
        self.change_for(Some((round.destination, round.patient)), step).await
    }

    /// Records what changes, before it is in the book: if the box goes down in between, it is heard again, and is the same.
    pub(super) async fn record(&self, whose: Option<(&str, &PatientId)>, changes: &Changes) -> Result<(), Fault> {
        let shares = changes.obeyed.iter().map(|(order, _)| order).find(|o| matches!(o.aim, Some(Aim::Share { .. })));
        let Some((destination, patient)) = whose.or(shares.map(|o| (&*o.destination, &o.patient))) else {
            return Ok(());
        };
        let desk = Desk { destination, patient, at_ms: self.surveys.clock.now().wall_ms };
        let mut done = Ok(());
        for deed in deeds(changes) {
            let said = match word(&self.recorded(&desk), &deed, desk.at_ms) {
                Ok(Some(said)) => self.say(&desk, said).await,
                Ok(None) => Ok(()),
                Err(why) => Err(why),
            };
            // What one has no room for keeps no other from being taken back.
            done = done.and(said);
        }
        done
    }

    async fn say(&self, desk: &Desk<'_>, said: Said) -> Result<(), Fault> {
        tracing::info!(
            destination = desk.destination,
            given = said.given,
            by = said.by,
            "A Consent of the centre was recorded."
        );
        let act = Act::Consent { patient: desk.patient.clone(), destination: desk.destination.to_owned(), said };
        let done = self.surveys.journal.redress(act).await;
        done.map(drop).map_err(|e| Fault::Refused(e.to_string()))
    }

    fn recorded(&self, desk: &Desk<'_>) -> History {
        let consents = self.surveys.journal.consents();
        let history = consents.gate(desk.destination).and_then(|gate| gate.history(desk.patient));
        history.cloned().unwrap_or_default()
    }
}

/// One thing to be recorded.
pub(super) enum Deed<'a> {
    /// Nothing counts any more that refers to it.
    Over { resource: &'a str, version: Option<&'a str>, by: &'a str },
    /// It counts: what it permits, or refuses.
    Counts(&'a Order),
}

/// What is recorded of what changed, in that order: all that takes back or refuses before anything that gives, as there may be
/// no room for that.
pub(super) fn deeds(changes: &Changes) -> Vec<Deed<'_>> {
    let gone = changes.over.iter();
    let gone = gone.map(|(resource, version)| Deed::Over { resource, version: version.as_deref(), by: "centre" });
    let obeyed = changes.obeyed.iter().filter_map(|(order, on)| match (&order.aim, on) {
        (Some(Aim::Share { .. }), true) => Some(Deed::Counts(order)),
        (Some(Aim::Share { permitted: true, .. }), false) => {
            Some(Deed::Over { resource: &order.resource, version: order.version.as_deref(), by: &order.by })
        }
        _ => None,
    });
    let mut deeds: Vec<_> = gone.chain(obeyed).chain(changes.again.iter().map(Deed::Counts)).collect();
    deeds.sort_by_key(
        |deed| matches!(deed, Deed::Counts(order) if matches!(order.aim, Some(Aim::Share { permitted: true, .. }))),
    );
    deeds
}

/// The word of the history that says so. None: it says so already.
pub(super) fn word(history: &History, deed: &Deed<'_>, at_ms: i64) -> Result<Option<Said>, Fault> {
    let given = |c: &str| history.last(c).is_some_and(|said| said.given);
    let known = || history.0.iter().flat_map(|s| s.categories.iter().map(String::as_str)).chain(GENERALS);
    match deed {
        Deed::Over { resource, version, by } => {
            let reference = version.map_or_else(|| (*resource).to_owned(), |v| format!("{resource}/_history/{v}"));
            let categories = referring(history, resource, known());
            let said = Said {
                given: false,
                categories,
                from_ms: None,
                until_ms: None,
                by: (*by).to_owned(),
                at_ms,
                reference: Some(reference),
            };
            Ok(Some(said).filter(|said| !said.categories.is_empty()))
        }
        Deed::Counts(order) => {
            let Some(Aim::Share { permitted, categories, from_ms, until_ms }) = &order.aim else { return Ok(None) };
            if *permitted && history.0.len() >= limits::CONSENT_WORDS_MAX {
                return Err(Fault::Refused("too much was said of this patient and destination".into()));
            }
            // `all` is every category that was ever named.
            let covered =
                |c: &str| categories.iter().any(|s| s == c || s == ALL || (s == GENERAL && GENERALS.contains(&c)));
            if !permitted && !known().any(|c| covered(c) && given(c)) {
                return Ok(None);
            }
            Ok(Some(Said {
                given: *permitted,
                categories: categories.clone(),
                from_ms: *from_ms,
                until_ms: *until_ms,
                by: order.by.clone(),
                at_ms,
                reference: Some(order.reference()),
            }))
        }
    }
}

/// A person took it back here, or this box did when records were damaged: only a person gives it again.
pub(super) fn kept_back(history: &History, category: &str) -> bool {
    history.last(category).is_some_and(|said| !said.given && !matches!(&*said.by, "centre" | "policy"))
}

/// Categories that are given by this Consent, and only by it.
fn referring<'a>(history: &History, resource: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let theirs = |said: &Said| said.given && said.reference.as_deref().map(base) == Some(resource);
    let mut categories: Vec<&str> = known.filter(|c| *c != ALL && history.last(c).is_some_and(theirs)).collect();
    categories.sort_unstable();
    categories.dedup();
    categories.into_iter().map(str::to_owned).collect()
}

/// Whether an order is a consent.
pub(super) fn is_consent(order: &Order) -> bool {
    matches!(order.aim, Some(Aim::Share { .. })) || order.resource.starts_with("Consent/")
}

/// `Consent/17` of `Consent/17/_history/3`.
fn base(reference: &str) -> &str {
    reference.split("/_history/").next().unwrap_or(reference)
}
