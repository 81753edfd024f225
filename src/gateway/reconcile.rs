//! Asks destinations whether they hold what they said they took: each night, and when a person asks.
//!
//! Promises: what is missing goes out again with its identity; a difference that stays is a technical alert. Must never:
//! press a destination, or call something missing that was not answered for.

use std::sync::Arc;
use std::time::Duration;

use super::pipeline::Technical;
use super::probe::{Survey, Surveys};
use crate::alarm::Priority;
use crate::clock::DAY_MS;
use crate::control::Fault;
use crate::control::probe::Reconciled;
use crate::custody::Why;
use crate::journal::{Act, JournalError, Recount};
use crate::reading::Reading;

/// Each night looks back over two days, so that what one night could not ask the next one does.
const BACK_MS: i64 = 2 * DAY_MS;
/// What was taken in just now may still be on its way into the destination's index.
const SETTLING_MS: i64 = 60 * 1_000;
/// Readings asked for with one request: their identifiers must fit into a URL.
const ASKED_AT_ONCE: usize = 20;
/// Readings read from the journal at once.
const READ_AT_ONCE: usize = 500;
/// Pause between requests, beside the destination's stated rate.
const PAUSE: Duration = Duration::from_millis(50);

impl Surveys {
    /// Asks one destination; `days` back, or as each night.
    pub(super) async fn reconcile(
        &self,
        name: &Arc<str>,
        survey: &Survey,
        days: Option<u32>,
    ) -> Result<Reconciled, Fault> {
        let now_ms = self.clock.now().wall_ms;
        let back_ms = days.map_or(BACK_MS, |days| i64::from(days) * DAY_MS);
        let span = (now_ms - back_ms, now_ms - if days.is_some() { 0 } else { SETTLING_MS });
        let mut found = Recount::default();
        let mut above = 0;
        loop {
            let (reader, name_of) = (self.reader.clone(), name.clone());
            let taken = tokio::task::spawn_blocking(move || reader.taken(&name_of, span, above, READ_AT_ONCE)).await;
            let taken = taken.map_err(|_| Fault::Busy)?.map_err(|e| unwell(&e.to_string()))?;
            let Some((last, _)) = taken.last() else { break };
            above = *last;
            for part in taken.chunks(ASKED_AT_ONCE) {
                self.ask_for(name, survey, part, &mut found).await?;
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.journal.redress(Act::Recounted { destination: name.to_string(), found }).await.map_err(kept)?;
        self.tell_of(name, &found).await;
        let Recount { checked, missing, stays, doubled } = found;
        tracing::info!(destination = %name, checked, missing, stays, doubled, "The destination was asked what it holds.");
        Ok(Reconciled { at_ms: now_ms, checked, missing, stays, doubled })
    }

    async fn ask_for(
        &self,
        name: &Arc<str>,
        survey: &Survey,
        part: &[(i64, Reading)],
        found: &mut Recount,
    ) -> Result<(), Fault> {
        let (rows, readings): (Vec<i64>, Vec<Reading>) = part.iter().cloned().unzip();
        let counts = survey.prober().holds(&readings).await.map_err(|t| said(&t.why()))?;
        found.checked += rows.len() as u64;
        found.doubled += counts.iter().filter(|n| **n > 1).count() as u64;
        let missing: Vec<i64> = rows.iter().zip(&counts).filter(|(_, n)| **n == 0).map(|(row, _)| *row).collect();
        if !missing.is_empty() {
            found.missing += missing.len() as u64;
            let act = Act::Missing { destination: name.to_string(), rows: missing };
            found.stays += self.journal.redress(act).await.map_err(kept)?;
        }
        Ok(())
    }

    async fn tell_of(&self, destination: &Arc<str>, found: &Recount) {
        let Recount { stays, doubled, .. } = *found;
        let text = match (stays, doubled) {
            (0, 0) => "it holds what it took".to_owned(),
            (0, n) => format!("{destination} holds {n} readings more than once (WL-F019)"),
            (n, _) => format!(
                "{destination} does not hold {n} readings that it took, also after they were sent again (WL-F018)"
            ),
        };
        let (name, active) = (format!("destination-differs:{destination}").into(), stays + doubled > 0);
        let _ = self.told.send(Technical { name, active, priority: Priority::Medium, text }).await;
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
