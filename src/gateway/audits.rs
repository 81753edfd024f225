//! Tells destinations that want to know what people did at this box: one AuditEvent for each deed in the chain of custody.
//!
//! Promises: in order, each once, also after an outage and a restart, as far as the server's ids allow; a patient is named
//! only where something of theirs may go. Must never: stand in the way of a reading or an alert, or give up in silence.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::pipeline::Technical;
use super::probe::{Survey, Surveys};
use crate::alarm::Priority;
use crate::custody::Why;
use crate::fhir::Audit;
use crate::journal::{Act, Deeds, Told};
use crate::sink::audits::Heard;

/// Deeds read at once.
const AT_ONCE: usize = 10;
/// After so many refusals in a row the server is taken to want none.
const REFUSED_MAX: usize = 3;
/// Pause between two of them, beside the destination's stated rate.
const PAUSE: Duration = Duration::from_millis(250);
/// How often the chain is looked at while it grows.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries without a deed before it is kept that they were looked at.
const LOOKED_AT: i64 = 500;
/// After a failure: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A server that takes none is asked so often.
const REFUSED_AGAIN: Duration = Duration::from_secs(3_600);

/// What a round of telling came to.
enum Round {
    /// All of it is there.
    Told,
    /// The server does not take them.
    Refused(Why),
    /// It is away, or unwell.
    Later(Option<Duration>),
}

/// Who tells.
pub(super) struct Audits(Arc<Surveys>);

impl Audits {
    pub(super) fn new(surveys: &Arc<Surveys>) -> Self {
        Self(surveys.clone())
    }

    /// Tells each destination, until nobody listens. None waits for another.
    pub(super) async fn run(self) {
        let all = self.0.audited().map(|(name, survey)| self.follow(name, survey));
        tokio::select! {
            _ = join_all(all) => {}
            () = self.0.told.closed() => {}
        }
    }

    async fn follow(&self, name: &Arc<str>, survey: &Survey) {
        let mut changed = self.0.journal.changed();
        let Some(mut kept) = self.told(name).await else { return };
        // An alert of before a restart may be open.
        let (mut at, mut failed, mut refused) = (kept, 0_u32, true);
        loop {
            changed.mark_unchanged();
            let found = self.deeds(at).await;
            if found.damaged > 0 {
                let entries = found.damaged;
                tracing::warn!(code = "WL-F022", destination = %name, entries, "Entries of the chain of custody are not as they were sealed, and are told to nobody.");
            }
            let (round, through) = self.round(name, survey, &found, (at, &mut kept)).await;
            at = through;
            if at - kept >= LOOKED_AT {
                self.keep(name, at, &mut kept).await;
            }
            if let Round::Refused(why) = &round {
                self.say(name, Some(why)).await;
                refused = true;
            } else if refused && matches!(round, Round::Told) && !found.deeds.is_empty() {
                self.say(name, None).await;
                refused = false;
            }
            failed = if matches!(round, Round::Later(_)) { failed.saturating_add(1) } else { 0 };
            match round {
                Round::Told if found.deeds.len() as u64 + found.damaged >= AT_ONCE as u64 => {}
                Round::Told => {
                    if changed.changed().await.is_err() {
                        return;
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Round::Refused(_) => tokio::time::sleep(REFUSED_AGAIN).await,
                Round::Later(after) => {
                    let pause = AGAIN.0.saturating_mul(1 << failed.min(10)).min(AGAIN.1);
                    tokio::time::sleep(after.unwrap_or_default().min(REFUSED_AGAIN).max(pause)).await;
                }
            }
        }
    }

    /// Answers up to which entry nothing is left to tell; what is told is kept at once.
    async fn round(
        &self,
        name: &Arc<str>,
        survey: &Survey,
        found: &Deeds,
        (at, kept): (i64, &mut i64),
    ) -> (Round, i64) {
        let (mut through, mut refused): (i64, Vec<(i64, Why)>) = (at, Vec::new());
        for told in &found.deeds {
            if !told.is_for_others() {
                continue;
            }
            match self.tell(name, survey, told).await {
                Heard::Told => {
                    // It takes others: what is wrong is these.
                    for (entry, why) in refused.drain(..) {
                        tracing::warn!(code = "WL-F022", destination = %name, entry, why = why.text, "What somebody did was not told: it was refused, and others were taken.");
                    }
                    through = told.entry;
                    self.keep(name, through, kept).await;
                }
                Heard::Refused(why) => refused.push((told.entry, why)),
                Heard::Later(why, after) => {
                    tracing::debug!(destination = %name, why = why.text, "What people did is told later.");
                    return (Round::Later(after), through);
                }
            }
            if refused.len() >= REFUSED_MAX {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        match refused.pop() {
            Some((_, why)) => (Round::Refused(why), through),
            None => (Round::Told, found.through),
        }
    }

    async fn tell(&self, name: &Arc<str>, survey: &Survey, told: &Told) -> Heard {
        let Told { at_ms, seal, deed, .. } = told;
        let (consents, now) = (self.0.journal.consents(), self.0.clock.now());
        let gate = consents.gate(name);
        let may_be_named = |p: &&_| gate.is_some_and(|gate| gate.may_ask(p, now));
        let patients: Vec<&str> = deed.patients.iter().filter(may_be_named).map(|p| p.reveal()).collect();
        let audit = Audit {
            did: deed.did,
            person: deed.by.as_deref(),
            patients: &patients,
            failed: deed.failed,
            at_ms: *at_ms,
            seal,
        };
        survey.prober().tell(&audit).await
    }

    async fn told(&self, name: &Arc<str>) -> Option<i64> {
        let (reader, name) = (self.0.reader.clone(), name.clone());
        tokio::task::spawn_blocking(move || reader.told(&name)).await.ok()?.ok()?
    }

    /// What cannot be read now is read with the next change.
    async fn deeds(&self, after: i64) -> Deeds {
        let reader = self.0.reader.clone();
        let read = tokio::task::spawn_blocking(move || reader.deeds(after, AT_ONCE)).await;
        read.ok().and_then(Result::ok).unwrap_or(Deeds { through: after, ..Deeds::default() })
    }

    /// What is not kept now, with the next one: a journal that ends ends the process.
    async fn keep(&self, name: &Arc<str>, through: i64, kept: &mut i64) {
        let act = Act::Told { destination: name.to_string(), through };
        if self.0.journal.redress(act).await.is_ok() {
            *kept = through;
        }
    }

    /// `None`: it takes them.
    async fn say(&self, destination: &Arc<str>, why: Option<&Why>) {
        if let Some(why) = why {
            tracing::warn!(code = "WL-F021", destination = %destination, why = why.text, "The destination does not take what people did here.");
        }
        let text = why.map_or_else(String::new, |why| {
            format!("{destination} does not take what people did here (AuditEvent): {} (WL-F021). It is kept", why.text)
        });
        let name = format!("audit-refused:{destination}").into();
        let _ = self.0.told.send(Technical { name, active: why.is_some(), priority: Priority::Low, text }).await;
    }
}
