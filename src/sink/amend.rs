//! Takes a reading back at a FHIR server that has no conditional update: looks for it, and updates what is found.
//!
//! Promises: where nothing is found, the entry that says "entered in error" takes the identifier, so that a late arrival
//! of the old reading finds it there. Must never: take a reading for withdrawn because a search did not work.

use serde::Deserialize;

use super::answer::{Whole, whole};
use super::fhir::{FhirSink, Unwell};
use super::why::Trouble;
use crate::custody::Outcome;
use crate::fhir::{Identity, Scope, Write, single_at, single_new};
use crate::reading::Reading;

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
    pub(super) async fn take_back(&self, reading: &Reading, scope: &Scope, refused: Outcome) -> Outcome {
        if self.write != Write::ConditionalCreate || !reading.is_withdrawal() || self.sends_documents() {
            return refused;
        }
        match self.found_and_updated(reading, scope).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => refused,
            Err((trouble, after)) => trouble.destination(after),
        }
    }

    async fn found_and_updated(&self, reading: &Reading, scope: &Scope) -> Result<Option<Outcome>, Unwell> {
        let Ok(identity) = Identity::of(reading) else { return Ok(None) };
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
            let Ok(update) = single_at(reading, scope, &resource.id) else { return Ok(None) };
            self.turn().await;
            let outcome = self.one(update).await?;
            let done = matches!(outcome, Outcome::Delivered(_));
            last = Some(outcome);
            if !done {
                return Ok(last);
            }
        }
        if last.is_none()
            && let Ok(new) = single_new(reading, scope)
        {
            self.turn().await;
            last = Some(self.one(new).await?);
        }
        Ok(last)
    }
}
