//! Alert to what the centre acts on: DetectedIssue and Task with their evidence, in one transaction or each alone.
//!
//! Promises: the same alert gives the same identifiers, so that a resend collapses and an acknowledgement updates.
//! Must never: attach the reading of another patient, or of nobody.

use std::sync::Arc;

use super::bundle::{Bundle, Kind, Single, Target, Write, put_observation, single, urn};
use super::scope::Scope;
use super::types::{Reference, system};
use super::{Identity, Unmappable, alert_id, detected_issue, task};
use crate::alarm::{AlertEvent, Happened};
use crate::reading::{Reading, ReadingKey};

/// Where a piece of evidence is.
pub enum Pointer {
    /// A URL, or a name within the Bundle.
    Url(String),
    /// An Observation whose URL the server did not tell.
    Observation(Identity),
}

impl Pointer {
    pub(super) fn reference(&self) -> Reference<'_> {
        match self {
            Self::Url(url) => Reference::to(url),
            Self::Observation(identity) => Reference::known_as("Observation", Identity::system(), identity.value()),
        }
    }
}

/// An alert event with what it takes to make its resources.
pub struct AlertResources<'a> {
    /// What happened.
    pub event: &'a AlertEvent,
    /// What the resources of the destination have in common.
    pub scope: &'a Scope,
    /// Who owns the Task.
    pub owner: Option<&'a str>,
    /// How doubles are shut out.
    pub write: Write,
    /// Readings at hand, the alert's among them.
    pub readings: &'a [Arc<Reading>],
    /// What is on its way to the server without this alert: it is pointed to, and not brought along.
    pub elsewhere: &'a [ReadingKey],
}

impl<'a> AlertResources<'a> {
    /// Evidence, DetectedIssue and Task in one transaction, and how many entries it has.
    pub fn transaction(&self) -> Result<(Vec<u8>, usize), Unmappable> {
        let mut bundle = Bundle::new(Kind::Transaction, 4);
        let mut implicated = Vec::new();
        for reading in self.evidence() {
            if self.is_elsewhere(reading) {
                implicated.push(Pointer::Observation(Identity::of(reading)?));
                continue;
            }
            let full_url = urn(&reading.key.to_string());
            bundle.entry(Some(&full_url), |body| put_observation(body, reading, self.scope, self.write))?;
            implicated.push(match self.write {
                Write::ConditionalCreate => Pointer::Url(full_url),
                Write::Update => Pointer::Url(format!("Observation/{}", Identity::of(reading)?.resource_id())),
            });
        }
        let full_url = urn(&alert_id(&self.event.alert.id));
        let focus = match self.put_id() {
            None => full_url.clone(),
            Some(id) => format!("DetectedIssue/{id}"),
        };
        for (resource, full_url) in
            [(self.detected_issue(&implicated), Some(&*full_url)), (self.task(Some(&focus)), None)]
        {
            bundle.entry(full_url, |body| {
                body.extend_from_slice(&resource.body);
                Ok(resource.target)
            })?;
        }
        let entries = bundle.len();
        Ok((bundle.finish(), entries))
    }

    /// Its evidence: readings of the alert's own patient that can be sent.
    pub fn evidence(&self) -> impl Iterator<Item = &'a Reading> + use<'a> {
        let alert = &self.event.alert;
        let ours = |key: &ReadingKey| self.readings.iter().find(move |r| r.key == *key).map(|r| &**r);
        let found: Vec<&Reading> = alert.evidence.iter().filter_map(ours).collect();
        let (scope, write) = (self.scope, self.write);
        found
            .into_iter()
            .filter(|r| r.patient.is_some() && r.patient == alert.patient)
            .filter(move |r| single(r, scope, write).is_ok())
    }

    /// Whether it is brought along by itself, where a second one at the same moment could be stored as another.
    pub fn is_elsewhere(&self, reading: &Reading) -> bool {
        self.write == Write::ConditionalCreate && self.elsewhere.contains(&reading.key)
    }

    /// The DetectedIssue alone or in a Bundle.
    pub fn detected_issue(&self, implicated: &[Pointer]) -> Single {
        let alert = &self.event.alert;
        let id = self.put_id();
        let body = detected_issue::json(alert, self.scope, id.as_deref(), implicated);
        Single { target: self.target("DetectedIssue", id), body }
    }

    /// The Task alone or in a Bundle.
    pub fn task(&self, focus: Option<&str>) -> Single {
        let id = self.put_id();
        let body = task::json(self.event, self.scope, self.owner, id.as_deref(), focus);
        Single { target: self.target("Task", id), body }
    }

    fn put_id(&self) -> Option<String> {
        (self.write == Write::Update).then(|| alert_id(&self.event.alert.id))
    }

    /// What was raised is created; what happened since updates it. A late creation never overwrites an update.
    fn target(&self, kind: &str, id: Option<String>) -> Target {
        let value = &self.event.alert.id.0;
        match (id, self.event.happened) {
            (Some(id), _) => Target::put(format!("{kind}/{id}")),
            (None, Happened::Raised) => Target::create(kind, system::ALERT, value),
            (None, _) => Target::put(format!("{kind}?identifier={}|{value}", system::ALERT)),
        }
    }
}
