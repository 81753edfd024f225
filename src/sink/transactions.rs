//! An alert with its evidence, in one transaction.
//!
//! Promises: refused for what it looks for at the server, it goes again at once without; refused for anything else, or failing
//! again, its parts go, each on its own. Must never: be held by a part, or by a Device that is not found.

use std::iter;
use std::time::Duration;

use super::answer::{self, Whole, whole};
use super::fhir::{FhirSink, is_delivered};
use super::gate;
use super::searched::may_be_the_search;
use super::why::Trouble;
use crate::custody::{Item, Outcome};
use crate::fhir::{AlertResources, Scope};
use crate::limits;

/// What came of one attempt.
enum Attempt {
    /// This, for the alert.
    Done(Outcome),
    /// Refused, or not understood.
    Refused,
    /// The destination's trouble.
    Unwell(Trouble, Option<Duration>),
}

impl FhirSink {
    /// The transaction; or, when it is refused or fails again, its parts, each on its own.
    pub(super) async fn sent(&self, item: &Item, resources: &AlertResources<'_>) -> Outcome {
        let scope = resources.scope;
        let all = resources.evidence().map(Some).chain(iter::once(None));
        let offered = self.searches.offer(all.map(|reading| (scope.clone(), reading)));
        let (mut attempt, mut doubtful) = (None, false);
        if !offered.is_empty() {
            let looking = Scope { searched: offered.clone(), ..scope.clone() };
            match self.transaction(item, &AlertResources { scope: &looking, ..*resources }).await {
                Attempt::Refused => {}
                Attempt::Unwell(trouble, _) if may_be_the_search(&trouble) => {
                    doubtful = matches!(trouble, Trouble::ServerError(_));
                }
                done => attempt = Some(done),
            }
        }
        let looked = attempt.is_some();
        let attempt = match attempt {
            Some(attempt) => attempt,
            None => match self.transaction(item, resources).await {
                // It may be there all the same: a correction must know.
                Attempt::Done(Outcome::Withheld) if doubtful => {
                    let left_out = Trouble::Unclear("and its consent ended before it was sent again");
                    Attempt::Done(left_out.item(limits::ITEM_RETRY.0))
                }
                attempt => attempt,
            },
        };
        match attempt {
            Attempt::Done(outcome) => {
                match (looked, is_delivered(&outcome)) {
                    (_, false) => {}
                    (true, true) => self.found(&offered, Some(&outcome)).await,
                    (false, true) if offered.is_empty() => {}
                    (false, true) => self.searches.missed(&offered),
                }
                outcome
            }
            Attempt::Refused => self.parts(item, resources).await,
            Attempt::Unwell(t @ Trouble::ServerError(_), after) if item.attempts == 0 => t.destination(after),
            Attempt::Unwell(t @ Trouble::NotHere(415), after) => t.destination(after),
            Attempt::Unwell(Trouble::ServerError(_) | Trouble::NotHere(_), _) => self.parts(item, resources).await,
            Attempt::Unwell(trouble, after) => trouble.destination(after),
        }
    }

    async fn transaction(&self, item: &Item, resources: &AlertResources<'_>) -> Attempt {
        if let Err((trouble, after)) = self.token().await {
            return Attempt::Unwell(trouble, after);
        }
        if self.gate.admit(item).is_none() {
            return Attempt::Done(Outcome::Withheld);
        }
        let evidence = gate::evidence(&*self.gate, resources.readings);
        let resources = &AlertResources { readings: &evidence, ..*resources };
        let Ok((body, entries)) = resources.transaction() else { return Attempt::Refused };
        let answer = match self.send("POST", self.peer.url.as_str(), None, body).await {
            Ok(answer) => answer,
            Err(trouble) => return Attempt::Unwell(trouble, None),
        };
        match whole(&answer) {
            Whole::Taken => match answer::entries(&answer.body, entries) {
                // The last entry is the Task, the one before it the DetectedIssue.
                Ok(answers) if answers.iter().rev().take(2).all(is_delivered) => {
                    let task = answers.into_iter().next_back();
                    Attempt::Done(task.unwrap_or_else(|| Trouble::Unclear("it is empty").destination(None)))
                }
                _ => Attempt::Refused,
            },
            Whole::Refused | Whole::TooLarge => Attempt::Refused,
            Whole::MediaType => Attempt::Unwell(Trouble::NotHere(415), None),
            Whole::Destination(trouble) => Attempt::Unwell(trouble, answer.retry_after),
        }
    }
}
