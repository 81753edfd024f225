//! Takes a reading back at a FHIR server that has no conditional update: looks for it, and updates what is found.
//!
//! Promises: where nothing is found, the entry that says "entered in error" takes the identifier, so that a late arrival
//! of the old reading finds it there. Must never: take a reading for withdrawn because a search did not work.

use serde::Deserialize;

use super::answer::{Whole, whole};
use super::fhir::{FhirSink, Unwell};
use super::gate::reading_of;
use super::why::Trouble;
use crate::custody::{Item, Outcome};
use crate::fhir::{Identity, Write, single_at, single_new};

/// More than one cannot be ours, and each of them is wrong.
const FOUND_MAX: usize = 10;

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "resourceType")]
    kind: String,
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    resource: Resource,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "resourceType")]
    kind: String,
    id: String,
}

impl FhirSink {
    /// What became of it, where the usual way was refused; that refusal, where this way is none either.
    pub(super) async fn take_back(&self, item: &Item, refused: Outcome) -> Outcome {
        let is_one = reading_of(item).is_some_and(|r| r.is_withdrawal());
        if self.write != Write::ConditionalCreate || !is_one || self.sends_documents() {
            return refused;
        }
        match self.found_and_updated(item).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => refused,
            Err((trouble, after)) => trouble.destination(after),
        }
    }

    async fn found_and_updated(&self, item: &Item) -> Result<Option<Outcome>, Unwell> {
        let scope = &self.scope_of(item);
        let Some(Ok(identity)) = reading_of(item).map(|r| Identity::of(r)) else { return Ok(None) };
        // Nothing in an identity needs escaping.
        let of = format!("{}%7C{}", Identity::system(), identity.value());
        self.turn().await;
        let path = format!("Observation?identifier={of}&_count={FOUND_MAX}");
        let answer = self.look(&path).await.map_err(|t| (t, None))?;
        match whole(&answer) {
            Whole::Taken => {}
            Whole::Destination(trouble) => return Err((trouble, answer.retry_after)),
            _ => return Ok(None),
        }
        let unclear = || (Trouble::Unclear("it is not a searchset"), None);
        let found: Found = serde_json::from_slice(&answer.body).map_err(|_| unclear())?;
        if found.kind != "Bundle" {
            return Err(unclear());
        }
        let mut last = None;
        for Entry { resource } in found.entry.into_iter().filter(|e| e.resource.kind == "Observation").take(FOUND_MAX) {
            self.turn().await;
            // Without consent by now it shows no value.
            let Some(item) = self.gate.admit(item) else { return Ok(Some(Outcome::Withheld)) };
            let Some(Ok(update)) = reading_of(&item).map(|r| single_at(r, scope, &resource.id)) else {
                return Ok(None);
            };
            let outcome = self.one(update).await?;
            let done = matches!(outcome, Outcome::Delivered(_));
            last = Some(outcome);
            if !done {
                return Ok(last);
            }
        }
        if last.is_none() {
            self.turn().await;
            let Some(item) = self.gate.admit(item) else { return Ok(Some(Outcome::Withheld)) };
            if let Some(Ok(new)) = reading_of(&item).map(|r| single_new(r, scope)) {
                last = Some(self.one(new).await?);
            }
        }
        Ok(last)
    }
}
