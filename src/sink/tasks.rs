//! An alert in parts, each on its own; and its Task as the centre holds it: read before it is written, and written only over
//! what was read (`If-Match`).
//!
//! Promises: the centre's status and owner stay; what the centre holds and does not show, or what is not understood, is left
//! alone; a creation waits for nothing but one question. Must never: let an alert wait for its Task.

use super::answer::{self, Whole, whole};
use super::fhir::{FhirSink, Unwell, versionless};
use super::http::Answer;
use super::probe::patient::is_outcome;
use super::why::Trouble;
use crate::alarm::{AlertEvent, Happened};
use crate::custody::{Item, Outcome, Receipt};
use crate::fault::Explain;
use crate::fhir::task_returned::{self as task, Task};
use crate::fhir::{AlertResources, Identity, Pointer, Single, Target, Write, alert_id, single, updated_task};
use crate::limits;

/// What the centre showed of an alert's Task.
enum Seen {
    /// This one, as it is written there.
    One(Task, Vec<u8>),
    /// It knows none.
    None,
    /// It does not show whether there is one: why.
    Hidden(&'static str),
    /// There is or was one, and it is not to be written: why.
    Closed(&'static str),
}

/// What became of it.
enum Wrote {
    /// It was sent.
    New(Outcome),
    /// It says so already.
    Same(Outcome),
    /// It is not ours to write.
    Left,
}

impl FhirSink {
    /// Delivered if the Task or the DetectedIssue is there; evidence goes along as far as it is taken.
    pub(super) async fn parts(&self, item: &Item, resources: &AlertResources<'_>) -> Outcome {
        match self.try_parts(item, resources).await {
            Ok((issue, task)) => either_of(issue, task),
            Err((trouble, after)) => trouble.destination(after),
        }
    }

    /// What became of the DetectedIssue and of the Task.
    async fn try_parts(&self, item: &Item, resources: &AlertResources<'_>) -> Result<(Outcome, Outcome), Unwell> {
        let issue = self.issue(item, resources).await?;
        let focus = focus(&issue);
        let task = self.either(item, resources, |r| r.task(focus.as_deref())).await?;
        Ok((issue, task))
    }

    /// The evidence, and what became of the DetectedIssue.
    async fn issue(&self, item: &Item, resources: &AlertResources<'_>) -> Result<Outcome, Unwell> {
        let mut implicated = Vec::new();
        for reading in resources.evidence() {
            if resources.is_elsewhere(reading) {
                implicated.extend(Identity::of(reading).ok().map(Pointer::Observation));
                continue;
            }
            if self.gate.admit(item).is_none() || !self.gate.permits(reading) {
                continue;
            }
            let Ok(resource) = single(reading, resources.scope, resources.write) else { continue };
            let Outcome::Delivered(receipt) = self.one(resource).await? else { continue };
            // A server that does not say where it is still knows its identifier.
            implicated.extend(match versionless(&receipt) {
                Some(url) => Some(Pointer::Url(url)),
                None => Identity::of(reading).ok().map(Pointer::Observation),
            });
        }
        self.either(item, resources, |r| r.detected_issue(&implicated)).await
    }

    /// In the configured way; where the server has no search for that, in the other. Nothing, where it may not go any more.
    async fn either(
        &self,
        item: &Item,
        resources: &AlertResources<'_>,
        part: impl Fn(&AlertResources<'_>) -> Single,
    ) -> Result<Outcome, Unwell> {
        if self.gate.admit(item).is_none() {
            return Ok(Outcome::Withheld);
        }
        match self.one(part(resources)).await? {
            Outcome::Reject(_) if resources.write == Write::ConditionalCreate => {
                self.one(part(&AlertResources { write: Write::Update, ..*resources })).await
            }
            outcome => Ok(outcome),
        }
    }

    /// The event of an alert whose Task somebody at the centre may have in hand.
    pub(super) async fn followed(&self, item: &Item, resources: &AlertResources<'_>) -> Outcome {
        let raised = resources.event.happened == Happened::Raised;
        if raised && resources.write == Write::ConditionalCreate {
            // It overwrites nothing, and says so itself.
            return self.sent(item, resources).await;
        }
        let seen = match self.seen(item, resources.event).await {
            Ok(seen) => seen,
            Err((trouble, after)) => return trouble.destination(after),
        };
        match seen {
            // Nobody else gives such an id.
            Seen::None if resources.write == Write::Update => self.sent(item, resources).await,
            // An alert matters more than what was done with it.
            Seen::Hidden(_) if raised => self.sent(item, resources).await,
            seen => match self.beside(item, resources, seen).await {
                Ok((issue, Wrote::New(task))) => either_of(issue, task),
                // The DetectedIssue has to say it.
                Ok((issue @ Outcome::Reject(_), Wrote::Same(task))) => either_of(issue, task),
                Ok((Outcome::Retry { why, after, .. }, _)) => Outcome::Retry { why, after, destination: true },
                Ok((issue, _)) => issue,
                Err((trouble, after)) => trouble.destination(after),
            },
        }
    }

    /// The DetectedIssue is ours alone; the Task is not.
    async fn beside(
        &self,
        item: &Item,
        resources: &AlertResources<'_>,
        seen: Seen,
    ) -> Result<(Outcome, Wrote), Unwell> {
        let issue = self.issue(item, resources).await?;
        let task = match seen {
            Seen::One(task, body) => self.write_over(item, resources.event, task, body).await?,
            Seen::Hidden(why) | Seen::Closed(why) => left(resources.event, why),
            // A search may be behind: created only if there is none.
            Seen::None => {
                let focus = focus(&issue);
                let new = |r: &AlertResources<'_>| {
                    let mut new = r.task(focus.as_deref());
                    if r.write == Write::ConditionalCreate {
                        new.target = Target::of_alert("Task", &r.event.alert.id);
                    }
                    new
                };
                Wrote::New(match self.either(item, resources, new).await? {
                    Outcome::Delivered(receipt) if receipt.known && item.attempts < limits::SUSPECT_ATTEMPTS => {
                        Trouble::Conflict.destination(None)
                    }
                    outcome => outcome,
                })
            }
        };
        Ok((issue, task))
    }

    /// Writes what there is to say over the version that was read; read again if somebody else wrote meanwhile.
    async fn write_over(
        &self,
        item: &Item,
        event: &AlertEvent,
        mut task: Task,
        mut body: Vec<u8>,
    ) -> Result<Wrote, Unwell> {
        for _ in 0..limits::TASK_TRIES {
            let new = match updated_task(&body, event) {
                Ok(Some(new)) => new,
                Ok(None) => return Ok(Wrote::Same(known(&task.id))),
                Err(why) => return Ok(left(event, why)),
            };
            let url = format!("Task/{}", task.id);
            if self.gate.admit(item).is_none() {
                return Ok(Wrote::New(Outcome::Withheld));
            }
            self.count();
            let mut answer = self.put_over(&url, task.version.as_deref(), &new).await.map_err(|t| (t, None))?;
            if !matches!(answer.status, 409 | 412) {
                answer.location = answer.location.or_else(|| Some(url.clone()));
                return match whole(&answer) {
                    Whole::Destination(trouble) => Err((trouble, answer.retry_after)),
                    Whole::MediaType => Err((Trouble::NotHere(415), None)),
                    Whole::TooLarge => Ok(Wrote::New(Trouble::TooLarge.reject())),
                    Whole::Taken | Whole::Refused => {
                        let outcome = answer::single(&answer).map_err(|trouble| (trouble, None))?;
                        Ok(Wrote::New(answer::shown(answer::ours(outcome, &url), &answer.body, &url)))
                    }
                };
            }
            self.count();
            let answer = self.look(&url).await.map_err(|t| (t, None))?;
            match one_of(&answer, &answer.body, event) {
                Some(Ok(found)) => (task, body) = (found, answer.body),
                Some(Err(why)) => return Ok(left(event, why)),
                None => break,
            }
        }
        Ok(Wrote::New(Trouble::Conflict.destination(None)))
    }

    async fn put_over(&self, url: &str, version: Option<&str>, body: &[u8]) -> Result<Answer, Trouble> {
        let url = self.peer.below(url);
        self.admitted(|| {
            let request = self.request("PUT", &url, None, body.to_vec().into(), false);
            match version {
                Some(version) => request.header("if-match", format!("W/\"{version}\"")),
                None => request,
            }
        })
        .await
    }

    async fn seen(&self, item: &Item, event: &AlertEvent) -> Result<Seen, Unwell> {
        let by_id = self.write == Write::Update;
        let path = match by_id {
            true => format!("Task/{}", alert_id(&event.alert.id)),
            false => task::whole_of(&event.alert.id),
        };
        self.count();
        let answer = match self.look(&path).await {
            Ok(answer) => answer,
            // It may still let us write; if not, that says why.
            Err(Trouble::Auth(_)) => return Ok(Seen::Hidden("reading Tasks is not allowed")),
            Err(trouble) => return Err((trouble, None)),
        };
        match (answer.status, whole(&answer)) {
            (404, _) if by_id && is_outcome(&answer.body) => Ok(Seen::None),
            (410, _) if is_outcome(&answer.body) => Ok(Seen::Closed("the centre deleted it")),
            (403, _) => Ok(Seen::Hidden("reading Tasks is not allowed")),
            (_, Whole::Taken) => Ok(if by_id { by_its_id(&answer, event) } else { found(&answer, event) }),
            (_, Whole::Destination(Trouble::ServerError(_))) if item.attempts > 0 => {
                Ok(Seen::Hidden("the centre fails when it is asked for it"))
            }
            (_, Whole::Destination(trouble)) => Err((trouble, answer.retry_after)),
            _ => Ok(Seen::Hidden("the centre does not show it")),
        }
    }
}

fn by_its_id(answer: &Answer, event: &AlertEvent) -> Seen {
    match one_of(answer, &answer.body, event) {
        Some(Ok(task)) => Seen::One(task, answer.body.clone()),
        Some(Err(why)) => Seen::Closed(why),
        None => Seen::Hidden("the centre does not show it"),
    }
}

fn found(answer: &Answer, event: &AlertEvent) -> Seen {
    let Ok(bodies) = task::bodies(&answer.body) else { return Seen::Hidden("its answer is not a searchset") };
    match bodies.as_slice() {
        [] => Seen::None,
        [one] => match one_of(answer, one, event) {
            Some(Ok(task)) => Seen::One(task, one.to_vec()),
            Some(Err(why)) => Seen::Closed(why),
            None => Seen::Hidden("the centre does not show it"),
        },
        _ => Seen::Closed("the centre has more than one for this alert"),
    }
}

/// `None`: the answer does not show one.
fn one_of(answer: &Answer, body: &[u8], event: &AlertEvent) -> Option<Result<Task, &'static str>> {
    if !matches!(whole(answer), Whole::Taken) {
        return None;
    }
    Some(task::task(body).and_then(|task| match task.alert == event.alert.id && task.is_about(&event.alert) {
        true => Ok(task),
        false => Err("a Task is another alert's, or another patient's"),
    }))
}

fn focus(issue: &Outcome) -> Option<String> {
    match issue {
        Outcome::Delivered(receipt) => versionless(receipt),
        _ => None,
    }
}

fn known(id: &str) -> Outcome {
    Outcome::Delivered(Receipt { location: format!("Task/{id}").into(), known: true })
}

/// The DetectedIssue alone has to do.
fn left(event: &AlertEvent, why: &'static str) -> Wrote {
    let alert = &event.alert.id;
    tracing::warn!(%alert, why, "The Task of an alert is left as it is at the centre (WL-G013).");
    Wrote::Left
}

fn either_of(issue: Outcome, task: Outcome) -> Outcome {
    match (issue, task) {
        // Somebody else writes the Task at this moment: it is tried again, whatever became of the rest.
        (_, Outcome::Retry { why, after, .. }) if *why.code == *Trouble::Conflict.code() => {
            Outcome::Retry { why, after, destination: true }
        }
        // The rest was not sent: what became of the DetectedIssue counts.
        (issue, Outcome::Withheld) => issue,
        (_, done @ Outcome::Delivered(_)) | (done @ Outcome::Delivered(_), _) => done,
        // No alert waits as long as a reading that fails alone.
        (_, Outcome::Retry { why, after, .. }) => Outcome::Retry { why, after, destination: true },
        (_, task) => task,
    }
}
