//! Patients of this box in the running gateway: matched at the centre, kept, known to everyone at once, checked each night.
//!
//! Promises: who is matched is kept before anybody is told; who is gone or merged at the centre is a technical condition
//! without a name. Must never: keep or log what a person was searched by.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::pipeline::Technical;
use super::probe::Surveys;
use crate::alarm::Priority;
use crate::config::Config;
use crate::control::Fault;
use crate::control::patients::{Match, People, Person};
use crate::fault::Explain;
use crate::journal::{Act, Journal};
use crate::limits;
use crate::roster::{Member, Roster, Standing};
use crate::sink::Trouble;
use crate::sink::probe::patient::{Criteria, Mismatch};

/// Those of the configuration, and those who were matched before: what people said at run time stands before it.
pub(super) fn roster(config: &Config, journal: &Journal) -> Roster {
    let roster = Roster::default();
    config.patients.iter().for_each(|p| roster.join(&p.reference, p.display.as_deref()));
    match journal.reader().members() {
        // Damaged ones are told of by an alert of the start.
        Ok((members, _)) => members.iter().for_each(|m| roster.join(&m.reference, m.display.as_deref())),
        Err(e) => tracing::error!(code = e.code(), %e, "patients who were matched are not known: match them again."),
    }
    roster
}

/// Who asks the centre about patients.
pub(super) struct Reception {
    pub(super) surveys: Arc<Surveys>,
    pub(super) roster: Roster,
}

impl Reception {
    async fn members(&self) -> Result<Vec<Member>, Fault> {
        self.surveys.members().await
    }

    async fn list(&self) -> Result<Vec<Person>, Fault> {
        let mut members = self.members().await?;
        let all = self.roster.all().into_iter().map(|(reference, display)| {
            let at = members.iter().position(|m| m.reference == reference);
            Person::new(reference, display, at.map(|at| members.swap_remove(at)))
        });
        Ok(all.collect())
    }

    async fn admit(&self, wanted: Match) -> Result<Person, Fault> {
        let Match { destination, system, value, birth_date, display, by } = wanted;
        let (_, survey) = self.surveys.one(&destination).ok_or(Fault::Missing("FHIR destination"))?;
        let criteria = Criteria { system, value, birth_date };
        let reference = survey.prober().patient_of(&criteria).await.map_err(|e| refused(&e, &destination))?;
        let now_ms = self.surveys.clock.now().wall_ms;
        let before = self.members().await?.into_iter().find(|m| m.reference == reference);
        let all = self.roster.all();
        if all.len() >= limits::PATIENTS_MAX && !self.roster.contains(&reference) {
            return Err(Fault::Refused(format!(
                "this box has {} patients, and no room for more",
                limits::PATIENTS_MAX
            )));
        }
        let member = Member {
            display: display.or_else(|| self.roster.display(&reference)),
            reference,
            by,
            since_ms: before.filter(|b| b.destination == destination).map_or(now_ms, |b| b.since_ms),
            destination,
            standing: Standing::Active,
            checked_ms: now_ms,
        };
        let act = Act::Join { members: vec![member.clone()], by: Some(member.by.clone()) };
        self.surveys.journal.redress(act).await.map_err(|e| Fault::Refused(e.to_string()))?;
        self.roster.join(&member.reference, member.display.as_deref());
        tracing::info!(destination = %member.destination, "A patient was matched.");
        self.surveys.tell_of_people(true).await;
        Ok(Person::new(member.reference.clone(), member.display.clone(), Some(member)))
    }
}

/// The reference of a merged record is for the person who asks, never for a log.
fn refused(e: &Mismatch, destination: &str) -> Fault {
    tracing::info!(destination, code = e.code(), "No patient was matched.");
    match (Fault::told(e), e.about()) {
        (Fault::Told { code, cause, remedy }, Some(other)) => {
            Fault::Told { code, cause: format!("{cause}: ask about {}", other.reveal()), remedy }
        }
        (fault, _) => fault,
    }
}

impl Surveys {
    pub(super) async fn members(&self) -> Result<Vec<Member>, Fault> {
        let reader = self.reader.clone();
        let read = tokio::task::spawn_blocking(move || reader.members()).await.map_err(|_| Fault::Busy)?;
        read.map(|(members, _)| members).map_err(|e| Fault::Refused(format!("the journal could not be read: {e}")))
    }

    /// Asks how those who were matched stand by now; those who were asked since then are left out. A destination that
    /// cannot be asked says nothing about anybody; answers why one could not, if so.
    pub(super) async fn look_after(&self, before_ms: i64) -> Result<Option<Trouble>, Fault> {
        let now_ms = self.clock.now().wall_ms;
        let (mut asked, mut away, mut unasked) = (Vec::new(), HashSet::<Arc<str>>::new(), None);
        for member in self.members().await?.into_iter().filter(|m| m.checked_ms < before_ms) {
            let Some((name, survey)) = self.one(&member.destination) else { continue };
            if away.contains(name) {
                continue;
            }
            match survey.prober().standing(&member.reference).await {
                Ok(standing) => asked.push(Member { standing, checked_ms: now_ms, ..member }),
                Err(trouble) => {
                    tracing::info!(destination = %member.destination, code = trouble.code(), "A patient could not be asked for.");
                    // The night has other destinations.
                    if trouble.lasts() {
                        away.insert(name.clone());
                    }
                    unasked.get_or_insert(trouble);
                }
            }
        }
        if !asked.is_empty() {
            let act = Act::Join { members: asked, by: None };
            self.journal.redress(act).await.map_err(|e| Fault::Refused(e.to_string()))?;
        }
        self.tell_of_people(true).await;
        Ok(unasked)
    }

    /// Says whether all who were matched still stand there. `ended`: also that they do.
    pub(super) async fn tell_of_people(&self, ended: bool) {
        let Ok(members) = self.members().await else { return };
        let wrong: Vec<_> = members.iter().filter_map(|m| m.standing.trouble()).collect();
        let active = !wrong.is_empty();
        if !active && !ended {
            return;
        }
        let text = match &*wrong {
            [] => "all patients stand at the centre as they were matched".to_owned(),
            [(code, sentence)] => format!("{sentence} ({code}). `wardline patient list` says who it is"),
            [(code, _), ..] => format!(
                "{} patients do not stand at the centre as they were matched ({code}). `wardline patient list` says who, and why",
                wrong.len()
            ),
        };
        let told = Technical { name: "patients-changed".into(), active, priority: Priority::Medium, text };
        let _ = self.told.send(told).await;
    }
}

impl People for Reception {
    fn all(&self) -> BoxFuture<'_, Result<Vec<Person>, Fault>> {
        self.list().boxed()
    }
    fn find(&self, wanted: Match) -> BoxFuture<'_, Result<Person, Fault>> {
        self.admit(wanted).boxed()
    }
    fn check(&self) -> BoxFuture<'_, Result<Vec<Person>, Fault>> {
        async {
            match self.surveys.look_after(i64::MAX).await? {
                Some(trouble) => Err(Fault::Refused(format!(
                    "not everybody could be asked for: {trouble} ({}). `wardline patient list` shows who was asked when",
                    trouble.code()
                ))),
                None => self.list().await,
            }
        }
        .boxed()
    }
}
