//! Asks destinations whether they hold what they said they took, and what nobody sent: each night, and when a person asks.
//!
//! Promises: what is missing, or was taken back and stands again, goes out again with its identity; a difference that stays
//! is a technical alert, also after a restart. Must never: press a destination, or call something missing that was not answered for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pipeline::Technical;
use super::probe::{Survey, Surveys};
use super::strangers::{self, AllHeld};
use crate::alarm::Priority;
use crate::clock::DAY_MS;
use crate::control::Fault;
use crate::control::probe::{Reconciled, Strangers};
use crate::custody::Why;
use crate::journal::{Act, JournalError, Recount, Sought};
use crate::limits;
use crate::reading::Reading;

/// Each night looks back over two days, so that what one night could not ask the next one does.
const BACK_MS: i64 = 2 * DAY_MS;
/// What was taken in just now may still be on its way into the destination's index.
const SETTLING_MS: i64 = 60 * 1_000;
/// Readings asked for with one request: their identifiers must fit into a URL.
pub(super) const ASKED_AT_ONCE: usize = 20;
/// Readings read from the journal at once.
const READ_AT_ONCE: usize = 500;
/// Pause between requests, beside the destination's stated rate.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// After the search for strangers: to keep what was found, and answer.
const AFTERWARDS: Duration = Duration::from_secs(5);

impl Surveys {
    /// Asks one destination; `days` back, or as each night.
    pub(super) async fn reconcile(
        &self,
        name: &Arc<str>,
        survey: &Survey,
        days: Option<u32>,
    ) -> Result<Reconciled, Fault> {
        let (now_ms, began) = (self.clock.now().wall_ms, Instant::now());
        let back_ms = days.map_or(BACK_MS, |days| i64::from(days) * DAY_MS);
        let span = (now_ms - back_ms, now_ms - if days.is_some() { 0 } else { SETTLING_MS });
        let mut found = Recount::default();
        let mut held = AllHeld::new();
        let (mut above, mut stood) = (0, 0);
        loop {
            let (reader, name_of) = (self.reader.clone(), name.clone());
            let taken = tokio::task::spawn_blocking(move || reader.taken(&name_of, span, above, READ_AT_ONCE)).await;
            let taken = taken.map_err(|_| Fault::Busy)?.map_err(|e| unwell(&e.to_string()))?;
            let Some((last, _)) = taken.last() else { break };
            above = *last;
            for part in taken.chunks(ASKED_AT_ONCE) {
                let counts = self.ask_for(name, survey, part, &mut found).await?;
                for ((_, reading), n) in part.iter().zip(counts) {
                    match (reading.is_withdrawal(), n) {
                        (true, 0) => stood += 1,
                        // It may be nowhere, as well.
                        (true, _) | (false, 0) => {}
                        (false, _) => strangers::note(&mut held, reading, span.0),
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        let (within, most) = match days {
            Some(_) => (limits::PROBE_MAX, limits::STRANGERS_ASKED_MAX),
            None => (limits::RECONCILIATION_MAX, limits::STRANGERS_MAX),
        };
        let left = within.saturating_sub(began.elapsed() + AFTERWARDS);
        let (seen, places) = self.look_around(name, survey, span.0, &held, most.min(left), &mut found).await;
        let act = Act::Recounted { destination: name.to_string(), found: found.clone() };
        self.journal.redress(act).await.map_err(kept)?;
        self.tell_of(name, &found, true).await;
        let Recount { checked, missing, stays, doubled, sought, not_asked } = found;
        let strangers = sought.map(|s| s.strangers);
        tracing::info!(destination = %name, checked, missing, stood, stays, doubled, strangers, not_asked, "The destination was asked what it holds.");
        let strangers =
            sought.map(|s| Strangers { found: s.strangers, unjudged: s.unjudged, since_ms: s.since_ms, seen, places });
        Ok(Reconciled { at_ms: now_ms, checked, missing, stood, stays, doubled, strangers, not_asked })
    }

    /// Looks for strangers. Those that were found before are looked for as far back as then: what nobody removed stays said.
    async fn look_around(
        &self,
        name: &Arc<str>,
        survey: &Survey,
        since_ms: i64,
        held: &AllHeld,
        most: Duration,
        found: &mut Recount,
    ) -> (u64, Vec<String>) {
        let open = self.sought(name).await.filter(|sought| sought.strangers > 0);
        let since_ms = open.map_or(since_ms, |sought| sought.since_ms.min(since_ms));
        match self.strangers(name, survey, since_ms, held, most).await {
            Ok(strangers::Found { sought, seen, places }) => {
                found.sought = Some(sought);
                (seen, places)
            }
            Err(why) => {
                found.not_asked = Some(why.into_owned());
                (0, Vec::new())
            }
        }
    }

    async fn sought(&self, name: &Arc<str>) -> Option<Sought> {
        let (reader, name) = (self.reader.clone(), name.clone());
        let last = tokio::task::spawn_blocking(move || reader.sought(&name)).await;
        last.ok().and_then(Result::ok).flatten().map(|(_, sought)| sought)
    }

    pub(super) async fn ask_for(
        &self,
        name: &Arc<str>,
        survey: &Survey,
        part: &[(i64, Reading)],
        found: &mut Recount,
    ) -> Result<Vec<u64>, Fault> {
        let (rows, readings): (Vec<i64>, Vec<Reading>) =
            part.iter().map(|(row, reading)| (*row, survey.fields.cut(reading))).unzip();
        let counts = survey.prober().holds(&readings).await.map_err(|t| said(&t.why()))?;
        found.checked += rows.len() as u64;
        found.doubled += counts.iter().filter(|n| **n > 1).count() as u64;
        let missing: Vec<i64> = rows.iter().zip(&counts).filter(|(_, n)| **n == 0).map(|(row, _)| *row).collect();
        if !missing.is_empty() {
            found.missing += missing.len() as u64;
            let act = Act::Missing { destination: name.to_string(), rows: missing };
            found.stays += self.journal.redress(act).await.map_err(kept)?;
        }
        Ok(counts)
    }

    /// Says again what the last question found: a restart must not end it.
    pub(super) async fn remind(&self, name: &Arc<str>) {
        let (reader, name_of) = (self.reader.clone(), name.clone());
        let last = tokio::task::spawn_blocking(move || reader.recounted(&name_of)).await;
        if let Some((_, found)) = last.ok().and_then(Result::ok).flatten() {
            self.tell_of(name, &found, false).await;
        }
    }

    /// `ended`: also that there is no difference. Where strangers were not asked for, those found before still count.
    async fn tell_of(&self, destination: &Arc<str>, found: &Recount, ended: bool) {
        let Recount { stays, doubled, .. } = *found;
        let sought = match found.sought {
            None => self.sought(destination).await,
            now => now,
        };
        let strangers = sought.map_or(0, |sought| sought.strangers);
        let since = if found.sought.is_none() { ", when it was last asked" } else { "" };
        let sentences = [
            (
                stays,
                format!("does not hold {stays} readings as it took them, also after they were sent again (WL-F018)"),
            ),
            (doubled, format!("holds {doubled} readings more than once (WL-F019)")),
            (
                strangers,
                format!(
                    "holds {strangers} Observations with the mark of this gateway that its journal does not know{since} (WL-F020)"
                ),
            ),
        ];
        let said = sentences.into_iter().filter(|(n, _)| *n > 0).map(|(_, said)| said).collect::<Vec<_>>().join(", ");
        let active = !said.is_empty();
        if active || ended {
            let text = if active { format!("{destination} {said}") } else { "it holds what it took".to_owned() };
            let name = format!("destination-differs:{destination}").into();
            let _ = self.told.send(Technical { name, active, priority: Priority::Medium, text }).await;
        }
    }

    /// Whether this night's is still to be done.
    pub(super) async fn reconciled_before(&self, name: &Arc<str>, ms: i64) -> bool {
        let (reader, name) = (self.reader.clone(), name.clone());
        let last = tokio::task::spawn_blocking(move || reader.recounted(&name)).await;
        last.ok().and_then(Result::ok).flatten().is_none_or(|(at_ms, _)| at_ms < ms)
    }
}

fn unwell(why: &str) -> Fault {
    Fault::Refused(format!("the journal could not be read: {why}"))
}

fn said(why: &Why) -> Fault {
    Fault::Refused(format!("the destination cannot be asked: {} ({})", why.text, why.code))
}

fn kept(e: JournalError) -> Fault {
    Fault::Refused(e.to_string())
}

#[cfg(test)]
impl Surveys {
    /// As each night.
    pub(super) async fn reconcile_by_name(&self, name: &str) -> Reconciled {
        let (name, survey) = self.one(name).unwrap();
        self.reconcile(name, survey, None).await.unwrap()
    }
}
