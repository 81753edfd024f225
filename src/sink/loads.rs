//! Readings on their way to a FHIR server: Bundles, each divided as long as it is refused whole.
//!
//! Promises: after whatever has to be waited for, and right before the request, what may no longer go is left out; one
//! that may be there already is not taken for never sent. Must never: leave a reading of a load without an outcome.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::answer::{self, Misread, Whole, whole};
use super::fhir::{FhirSink, Numbered, Unwell, is_delivered, set};
use super::gate::reading_of;
use super::searched::{Offered, may_be_the_search};
use super::why::Trouble;
use crate::custody::{Item, Outcome};
use crate::fhir::{Bundle, Kind, Scope};
use crate::limits;

/// What sending a batch came to.
enum Sent {
    /// Every item of it has its outcome.
    Done,
    /// Refused whole: in halves, then. `doubtful`: some of it may be stored all the same.
    Divide { doubtful: bool },
    /// The destination's trouble, not theirs.
    Unwell(Trouble, Option<Duration>),
}

/// Readings that travel together.
struct Load<'a> {
    of: Vec<Numbered<'a>>,
    /// They were sent before, and may be there.
    doubtful: bool,
}

impl<'a> Load<'a> {
    fn new(of: Vec<Numbered<'a>>) -> Self {
        Self { of, doubtful: false }
    }

    /// What becomes of one that may not go any more. What may be there is not taken for never sent: it may have to be corrected.
    fn left_out(&self) -> Outcome {
        match self.doubtful {
            true => Trouble::Unclear("and its consent ended before it was asked again").item(limits::ITEM_RETRY.0),
            false => Outcome::Withheld,
        }
    }
}

impl FhirSink {
    /// Waits until one request more is allowed and there is a token for it.
    async fn ready(&self) -> Result<(), Unwell> {
        self.turn().await;
        self.token().await
    }

    /// What of a load may go at this moment. The rest has its outcome.
    fn going(&self, load: &Load<'_>, outcomes: &mut [Option<Outcome>]) -> Vec<(usize, Item)> {
        let mut may = Vec::with_capacity(load.of.len());
        for (n, item, _) in &load.of {
            match self.gate.admit(item) {
                Some(item) => may.push((*n, item)),
                None => set(outcomes, *n, load.left_out()),
            }
        }
        may
    }

    /// Batches to send, each divided as long as it is refused whole. Suspects travel alone, after the others.
    pub(super) async fn readings(&self, readings: Vec<Numbered<'_>>, outcomes: &mut [Option<Outcome>]) {
        if let Err((trouble, after)) = self.place(&readings).await {
            return fill(outcomes, &[Load::new(readings)], &trouble, after);
        }
        let (suspects, others): (Vec<_>, Vec<_>) =
            readings.into_iter().partition(|(_, item, _)| item.attempts >= limits::SUSPECT_ATTEMPTS);
        let mut waiting: Vec<Load<'_>> = suspects.into_iter().rev().map(|one| Load::new(vec![one])).collect();
        waiting.push(Load::new(others));
        while let Some(mut load) = waiting.pop() {
            // Before it waits for its turn as well: what may not go takes none.
            let left_out = load.left_out();
            load.of.retain(|(n, item, _)| {
                let may = self.gate.admit(item).is_some();
                if !may {
                    set(outcomes, *n, left_out.clone());
                }
                may
            });
            let sent = match load.of.as_slice() {
                [] => continue,
                [one] if one.1.attempts >= limits::SUSPECT_ATTEMPTS => self.alone(&load, outcomes).await,
                _ => self.batch(&load, outcomes).await,
            };
            match sent {
                Sent::Done => {}
                Sent::Divide { doubtful } => {
                    load.doubtful |= doubtful;
                    match load.of.len() {
                        1 => {
                            if let Sent::Unwell(trouble, after) = self.alone(&load, outcomes).await {
                                waiting.push(load);
                                return fill(outcomes, &waiting, &trouble, after);
                            }
                        }
                        many => {
                            let right = Load { of: load.of.split_off(many / 2), ..load };
                            waiting.extend([right, load]);
                        }
                    }
                }
                Sent::Unwell(trouble, after) => {
                    waiting.push(load);
                    return fill(outcomes, &waiting, &trouble, after);
                }
            }
        }
    }

    /// Sends a Bundle. A transaction that is refused while it looks for Devices goes once more without: that may be why.
    async fn batch(&self, load: &Load<'_>, outcomes: &mut [Option<Outcome>]) -> Sent {
        let offered = match self.habits.kind() {
            Kind::Transaction => {
                self.searches.offer(load.of.iter().map(|(_, item, r)| (self.scope_of(item), Some(*r))))
            }
            Kind::Batch | Kind::Collection => Offered::default(),
        };
        let looking = self.bundle(load, &offered, outcomes).await;
        let doubtful = match &looking {
            Sent::Divide { doubtful } if !offered.is_empty() => *doubtful,
            Sent::Unwell(trouble, _) if !offered.is_empty() && may_be_the_search(trouble) => true,
            Sent::Done => {
                let first = load.of.first().and_then(|(n, ..)| outcomes.get(*n)?.as_ref());
                self.found(&offered, first).await;
                return looking;
            }
            Sent::Divide { .. } | Sent::Unwell(..) => return looking,
        };
        let again = Load { of: load.of.clone(), doubtful: load.doubtful || doubtful };
        match self.bundle(&again, &Offered::default(), outcomes).await {
            Sent::Done => {
                self.searches.missed(&offered);
                Sent::Done
            }
            Sent::Divide { doubtful: more } => Sent::Divide { doubtful: doubtful || more },
            unwell @ Sent::Unwell(..) => unwell,
        }
    }

    async fn bundle(&self, load: &Load<'_>, searched: &Offered, outcomes: &mut [Option<Outcome>]) -> Sent {
        if let Err((trouble, after)) = self.ready().await {
            return Sent::Unwell(trouble, after);
        }
        let kind = self.habits.kind();
        let batch = self.going(load, outcomes);
        let mut bundle = Bundle::new(kind, batch.len());
        let mut sent = Vec::with_capacity(batch.len());
        for (n, item) in &batch {
            let Some(reading) = reading_of(item) else { continue };
            let scope = Scope { searched: searched.clone(), ..self.scope_of(item) };
            match bundle.reading(reading, &scope, self.write) {
                Ok(url) => sent.push((*n, url)),
                Err(e) => set(outcomes, *n, Trouble::unmappable(e)),
            }
        }
        if bundle.is_empty() {
            return Sent::Done;
        }
        let answer = match self.send("POST", self.peer.url.as_str(), None, bundle.finish()).await {
            Ok(answer) => answer,
            Err(trouble) => return Sent::Unwell(trouble, None),
        };
        match whole(&answer) {
            Whole::Taken if kind == Kind::Collection => match answer::document(&answer) {
                Ok(receipt) => {
                    sent.into_iter().for_each(|(n, _)| set(outcomes, n, Outcome::Delivered(receipt.clone())));
                    Sent::Done
                }
                Err(Misread::Divide) => Sent::Divide { doubtful: true },
                Err(Misread::Unclear(trouble)) => Sent::Unwell(trouble, None),
            },
            Whole::Taken => match answer::receipts(&answer.body, sent.iter().map(|(_, url)| url.as_str())) {
                // All or none, and yet not all: nobody knows what was stored. One at a time is certain.
                Ok(answers) if kind == Kind::Transaction && !answers.iter().all(is_delivered) => {
                    Sent::Divide { doubtful: true }
                }
                Ok(answers) => {
                    sent.into_iter().zip(answers).for_each(|((n, _), answer)| set(outcomes, n, answer));
                    Sent::Done
                }
                Err(Misread::Divide) => Sent::Divide { doubtful: true },
                Err(Misread::Unclear(trouble)) => Sent::Unwell(trouble, None),
            },
            Whole::Refused => Sent::Divide { doubtful: false },
            Whole::TooLarge => {
                self.habits.bundle_max.fetch_min((batch.len() / 2).max(1), Ordering::Relaxed);
                Sent::Divide { doubtful: false }
            }
            Whole::MediaType => Sent::Unwell(Trouble::NotHere(415), answer.retry_after),
            Whole::Destination(trouble) => Sent::Unwell(trouble, answer.retry_after),
        }
    }

    /// Sends the one reading of a load as a resource of its own: the answer is about it alone.
    async fn alone(&self, load: &Load<'_>, outcomes: &mut [Option<Outcome>]) -> Sent {
        if let Err((trouble, after)) = self.ready().await {
            return Sent::Unwell(trouble, after);
        }
        let Some((n, item)) = self.going(load, outcomes).pop() else { return Sent::Done };
        let Some(reading) = reading_of(&item) else { return Sent::Done };
        let resource = match self.parcel(&item, reading) {
            Ok(resource) => resource,
            Err(e) => {
                set(outcomes, n, Trouble::unmappable(e));
                return Sent::Done;
            }
        };
        match self.one(resource).await {
            Ok(outcome) => set(outcomes, n, outcome),
            // What fails on this one and takes others is not unwell.
            Err((trouble @ (Trouble::ServerError(_) | Trouble::Refused { .. }), _))
                if outcomes.iter().flatten().any(is_delivered) =>
            {
                set(outcomes, n, trouble.item(limits::ITEM_RETRY.0));
            }
            Err((trouble, after)) => return Sent::Unwell(trouble, after),
        }
        Sent::Done
    }
}

/// All that was not sent waits for the destination.
fn fill(outcomes: &mut [Option<Outcome>], waiting: &[Load<'_>], trouble: &Trouble, after: Option<Duration>) {
    for (n, ..) in waiting.iter().flat_map(|load| &load.of) {
        if let Some(slot) = outcomes.get_mut(*n) {
            slot.get_or_insert_with(|| trouble.destination(after));
        }
    }
}
