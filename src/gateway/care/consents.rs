//! Consents of a centre: asked for, and recorded as the consents of this box, with a reference to where they came from.
//!
//! Promises: a withdrawal is recorded before anything else is done with what was heard; a destination that cannot be asked
//! changes nothing. Must never: take back what a person recorded here without a reference to that Consent.

use std::sync::Arc;

use super::book::{Changes, Codes, Round};
use super::{Care, CareError, Unasked};
use crate::careplan::{Aim, Order};
use crate::config::{Apply, CarePlanSettings};
use crate::consent::{ALL, GENERAL, GENERALS, History, Said};
use crate::control::Fault;
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
        let history = self.recorded(&Desk { destination: name, patient, at_ms: now_ms });
        let given = |c: &str| history.last(c).is_some_and(|said| said.given);
        // What cannot be recorded for one patient keeps no other from being asked about.
        let alone = |why| Unasked { why, lasts: false };
        self.share(&round, |book| Ok(book.unsettle(&round, given))).await.map_err(alone)?;
        self.share(&round, |book| Ok(book.hear_consents(&round, &codes, &heard))).await.map_err(alone)?;
        let live = self.book.lock().await.live(name, patient);
        for resource in live.iter().filter(|r| r.starts_with("Consent/")) {
            if heard.iter().any(|h| h.resource == *resource) {
                continue;
            }
            match prober.order(resource).await.map_err(away)? {
                None => self.share(&round, |book| Ok(book.lose_consent(&round, resource))).await.map_err(alone)?,
                Some(one) => {
                    let one = std::slice::from_ref(&one);
                    self.share(&round, |book| Ok(book.hear_consents(&round, &codes, one))).await.map_err(alone)?;
                }
            }
        }
        Ok(())
    }

    async fn share(
        &self,
        round: &Round<'_>,
        step: impl FnOnce(&mut super::Book) -> Result<Changes, Fault>,
    ) -> Result<(), Fault> {
        self.change_for(Some((round.destination, round.patient)), step).await
    }

    /// Records what changes, before it is in the book: if the box goes down in between, it is heard again, and is the same.
    pub(super) async fn record(&self, whose: Option<(&str, &PatientId)>, changes: &Changes) -> Result<(), Fault> {
        let at_ms = self.surveys.clock.now().wall_ms;
        if let Some((destination, patient)) = whose {
            let desk = Desk { destination, patient, at_ms };
            for (resource, version) in &changes.over {
                self.over(&desk, resource, version.as_deref(), "centre").await?;
            }
        }
        let ended = changes.obeyed.iter().map(|(order, on)| (order, *on));
        for (order, on) in ended.chain(changes.again.iter().map(|order| (order, true))) {
            let Some(Aim::Share { permitted, categories, from_ms, until_ms }) = &order.aim else { continue };
            let desk = Desk { destination: &order.destination, patient: &order.patient, at_ms };
            match (permitted, on) {
                (true, false) => self.over(&desk, &order.resource, order.version.as_deref(), &order.by).await?,
                (false, false) => {}
                (_, true) => {
                    let said = Said {
                        given: *permitted,
                        categories: categories.clone(),
                        from_ms: *from_ms,
                        until_ms: *until_ms,
                        by: order.by.clone(),
                        at_ms,
                        reference: Some(order.reference()),
                    };
                    self.say(&desk, said).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes back what is in force by this Consent, and only that.
    async fn over(&self, desk: &Desk<'_>, resource: &str, version: Option<&str>, by: &str) -> Result<(), Fault> {
        let history = self.recorded(desk);
        let named = history.0.iter().flat_map(|said| said.categories.iter().map(String::as_str));
        let mut categories: Vec<&str> = named.chain(GENERALS).filter(|c| *c != ALL).collect();
        categories.sort_unstable();
        categories.dedup();
        let theirs = |said: &Said| said.given && said.reference.as_deref().map(base) == Some(resource);
        categories.retain(|c| history.last(c).is_some_and(theirs));
        if categories.is_empty() {
            return Ok(());
        }
        let reference = match version {
            Some(version) => format!("{resource}/_history/{version}"),
            None => resource.to_owned(),
        };
        let said = Said {
            given: false,
            categories: categories.into_iter().map(str::to_owned).collect(),
            from_ms: None,
            until_ms: None,
            by: by.into(),
            at_ms: desk.at_ms,
            reference: Some(reference),
        };
        self.say(desk, said).await
    }

    async fn say(&self, desk: &Desk<'_>, said: Said) -> Result<(), Fault> {
        let history = self.recorded(desk);
        let given = |c: &str| history.last(c).is_some_and(|said| said.given);
        if !said.given {
            let known = history.0.iter().flat_map(|s| s.categories.iter().map(String::as_str)).chain(GENERALS);
            // `all` is every category that was ever named.
            let covered =
                |c: &str| said.categories.iter().any(|s| s == c || s == ALL || (s == GENERAL && GENERALS.contains(&c)));
            if !known.into_iter().any(|c| covered(c) && given(c)) {
                return Ok(());
            }
        } else if history.0.len() >= limits::CONSENT_WORDS_MAX {
            return Err(Fault::Refused("too much was said of this patient and destination".into()));
        }
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

/// Whether an order is a consent.
pub(super) fn is_consent(order: &Order) -> bool {
    matches!(order.aim, Some(Aim::Share { .. })) || order.resource.starts_with("Consent/")
}

/// `Consent/17` of `Consent/17/_history/3`.
fn base(reference: &str) -> &str {
    reference.split("/_history/").next().unwrap_or(reference)
}
