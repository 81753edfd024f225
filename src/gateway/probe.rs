//! What is known of the FHIR destinations: kept in the journal, obeyed by their sinks, refreshed each night.
//!
//! Promises: a contradiction between configuration and destination is a technical alert until it is resolved; each night
//! a destination is only read from. Must never: write without consent, or change how doubles are shut out by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::pipeline::Technical;
use super::taken_back::Looks;
use crate::alarm::Priority;
use crate::clock::Clock;
use crate::config::{
    BundleKind, CarePlanSettings, Config, DestinationSettings, FhirSettings, FollowTasksSettings, Idempotency,
};
use crate::control::Fault;
use crate::control::probe::{Conflict, Probes, Reconciled, Shown};
use crate::custody::Why;
use crate::journal::{Act, Journal, Reader};
use crate::limits;
use crate::minimum::Fields;
use crate::probed::{Finding, Known};
use crate::reading::Reading;
use crate::sink::Sink;
use crate::sink::fhir::Habits;
use crate::sink::probe::{Opinion, Prober};

/// In this hour of the household's night the statements are read.
const NIGHT_HOUR: i8 = 3;
/// How often it is looked whether it is night.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// A statement that is younger is not asked for again.
const FRESH_MS: i64 = 20 * 3_600 * 1_000;

/// One FHIR destination.
pub(super) struct Survey {
    settings: FhirSettings,
    /// What it gets of a reading: its identifiers are made of that.
    pub(super) fields: Fields,
    prober: Prober,
    habits: Arc<Habits>,
    known: Mutex<Known>,
}

/// All FHIR destinations.
pub(super) struct Surveys {
    all: HashMap<Arc<str>, Survey>,
    pub(super) journal: Journal,
    pub(super) reader: Arc<Reader>,
    pub(super) clock: Clock,
    zone: TimeZone,
    pub(super) told: mpsc::Sender<Technical>,
}

impl Surveys {
    /// What earlier probes found is in force when this returns.
    pub(super) fn new(
        config: &Config,
        sinks: &[(Arc<str>, Sink)],
        clock: &Clock,
        journal: &Journal,
        told: mpsc::Sender<Technical>,
    ) -> Arc<Self> {
        let (reader, gateway) = (journal.reader(), Arc::from(config.gateway.id.as_str()));
        let mut all = HashMap::new();
        for settings in &config.destinations {
            let DestinationSettings::Fhir(settings) = settings else { continue };
            let sink = sinks.iter().find(|(name, _)| **name == *settings.name);
            let fields = Fields::from(settings.fields.as_deref());
            let prober = Prober::new(settings, &fields.gateway(&gateway), clock);
            let (Some((name, Sink::Fhir(sink))), Ok(prober)) = (sink, prober) else { continue };
            let (known, prober) = (remembered(&reader, name), prober.sharing(sink));
            let habits = sink.habits();
            habits.obey(known.bundle_max(), known.batch_works());
            let (settings, known) = (settings.clone(), Mutex::new(known));
            all.insert(name.clone(), Survey { settings, fields, prober, habits, known });
        }
        let zone = TimeZone::get(&config.gateway.time_zone).unwrap_or(TimeZone::UTC);
        Arc::new(Self { all, journal: journal.clone(), reader: Arc::new(reader), clock: clock.clone(), zone, told })
    }

    /// A destination by its name.
    pub(super) fn one(&self, name: &str) -> Option<(&Arc<str>, &Survey)> {
        self.all.get_key_value(name)
    }

    /// What a destination thinks of a reading, where it can be asked.
    pub(super) async fn opinion(&self, destination: &str, reading: &Reading) -> Option<Opinion> {
        let survey = self.all.get(destination).filter(|s| s.known().validates())?;
        let (consents, now) = (self.journal.consents(), self.clock.now());
        if consents.gate(destination).is_none_or(|gate| !gate.is_open() && !gate.permits(reading, now)) {
            return Some(Opinion::Silent(": not at all, as the patient's consent is lacking".into()));
        }
        Some(survey.prober.opinion(&survey.fields.cut(reading)).await)
    }

    /// Whether a destination can be asked.
    pub(super) fn validates(&self, destination: &str) -> bool {
        self.all.get(destination).is_some_and(|s| s.known().validates())
    }

    /// Says what is contradictory, then reads the statements each night, until nobody listens.
    pub(super) async fn run(self: Arc<Self>) {
        for (name, survey) in &self.all {
            self.warn(name, survey, false).await;
            self.remind(name).await;
        }
        self.tell_of_people(false).await;
        let mut looks = Looks::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.told.closed() => return,
            }
            tokio::select! {
                () = self.look_back_everywhere(&mut looks) => {}
                () = self.told.closed() => return,
            }
            let now = self.clock.now();
            if !now.trusted || now.timestamp().to_zoned(self.zone.clone()).hour() != NIGHT_HOUR {
                continue;
            }
            // A night's questions take long: they end when nobody listens any more.
            tokio::select! {
                () = self.night(now.wall_ms - FRESH_MS) => {}
                () = self.told.closed() => return,
            }
        }
    }

    async fn look_back_everywhere(&self, looks: &mut Looks) {
        for (name, survey) in &self.all {
            let _ = tokio::time::timeout(LOOK_EVERY, self.look_back(name, survey, looks)).await;
        }
    }

    /// Asks each destination what was not asked since then. One that is away is the delivery's trouble; it is asked again
    /// at the next look, or the next night.
    async fn night(&self, before_ms: i64) {
        let _ = tokio::time::timeout(limits::RECONCILIATION_MAX, self.look_after(before_ms)).await;
        for (name, survey) in &self.all {
            if survey.known().stated.is_none_or(|(at_ms, _)| at_ms < before_ms) {
                let _ = self.ask(name, survey, None).await;
            }
            if self.reconciled_before(name, before_ms).await {
                let _ = tokio::time::timeout(limits::RECONCILIATION_MAX, self.reconcile(name, survey, None)).await;
            }
        }
    }

    async fn ask(&self, name: &Arc<str>, survey: &Survey, consent: Option<String>) -> Result<(), Fault> {
        let unwell =
            |why: Why| Fault::Refused(format!("the destination cannot be probed: {} ({})", why.text, why.code));
        let now_ms = self.clock.now().wall_ms;
        // A person who probes sees what is wrong with the token; the statement may be open to all.
        if survey.prober.admission().await.and_then(|c| c.trouble).is_some() && consent.is_none() {
            return Ok(());
        }
        match consent {
            None => {
                let stated = survey.prober.state().await.map_err(|t| unwell(t.why()))?;
                self.keep(name, false, &stated).await?;
                survey.learn(|known| known.stated = Some((now_ms, stated)));
            }
            Some(who) => {
                let written = tokio::time::timeout(limits::PROBE_MAX, survey.prober.write(&who)).await;
                let written = written.map_err(|_| Fault::Busy)?.map_err(|t| unwell(t.why()))?;
                self.keep(name, true, &written).await?;
                survey.learn(|known| known.written = Some((now_ms, written)));
            }
        }
        let known = survey.known();
        survey.habits.obey(known.bundle_max(), known.batch_works());
        self.warn(name, survey, true).await;
        Ok(())
    }

    async fn keep(&self, name: &Arc<str>, wrote: bool, found: &impl serde::Serialize) -> Result<(), Fault> {
        let body = serde_json::to_string(found).map_err(|_| Fault::Busy)?;
        let act = Act::Probed { destination: name.to_string(), wrote, body };
        self.journal.redress(act).await.map(drop).map_err(|e| Fault::Refused(e.to_string()))
    }

    /// `ended`: also that it is resolved.
    async fn warn(&self, name: &Arc<str>, survey: &Survey, ended: bool) {
        let conflicts = conflicts(&survey.settings, &survey.known());
        let first = conflicts.first();
        if let Some(c) = first {
            tracing::warn!(destination = %name, code = c.code, why = c.text, "destination and configuration contradict each other");
        }
        if first.is_some() || ended {
            let text = first.map_or("resolved".into(), |c| format!("{name}: {}. {}", c.text, c.remedy));
            let (name, active) = (format!("destination-unsafe:{name}").into(), first.is_some());
            let _ = self.told.send(Technical { name, active, priority: Priority::Medium, text }).await;
        }
    }

    fn shown(&self, name: &Arc<str>, survey: &Survey) -> Shown {
        let known = survey.known();
        let idempotency = match survey.settings.idempotency {
            Idempotency::ConditionalCreate => "conditional-create",
            Idempotency::Update => "update",
        };
        let bundle = match survey.settings.bundle {
            BundleKind::Auto => "auto",
            BundleKind::Batch => "batch",
            BundleKind::Transaction => "transaction",
            BundleKind::Collection => "collection",
        };
        let (bundle_max, transaction) = survey.habits.now();
        Shown {
            name: name.clone(),
            url: survey.settings.url.clone(),
            idempotency: idempotency.into(),
            bundle: bundle.into(),
            conflicts: conflicts(&survey.settings, &known),
            credential: survey.prober.credential(),
            known,
            bundle_max,
            travels: match (bundle, transaction) {
                ("collection", _) => "collection",
                (_, true) => "transaction",
                (_, false) => "batch",
            }
            .into(),
        }
    }
}

impl Surveys {
    /// Destinations whose orders are followed.
    pub(super) fn followed(&self) -> impl Iterator<Item = (&Arc<str>, &CarePlanSettings)> {
        self.all.iter().filter_map(|(name, survey)| Some((name, survey.care_plan()?)))
    }

    /// Destinations that are told what people do here.
    pub(super) fn audited(&self) -> impl Iterator<Item = (&Arc<str>, &Survey)> {
        self.all.iter().filter(|(_, survey)| survey.settings.audit)
    }

    /// Destinations whose Tasks are followed.
    pub(super) fn worked(&self) -> impl Iterator<Item = (&Arc<str>, &Survey, &FollowTasksSettings)> {
        self.all.iter().filter_map(|(name, survey)| Some((name, survey, survey.follow_tasks()?)))
    }
}

impl Survey {
    /// How its Tasks are followed.
    pub(super) fn follow_tasks(&self) -> Option<&FollowTasksSettings> {
        self.settings.follow_tasks.as_ref()
    }

    /// How its orders are followed.
    pub(super) fn care_plan(&self) -> Option<&CarePlanSettings> {
        self.settings.care_plan.as_ref()
    }

    pub(super) fn prober(&self) -> &Prober {
        &self.prober
    }

    pub(super) fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn remembered(reader: &Reader, name: &str) -> Known {
    let mut known = Known::default();
    for (wrote, at_ms, body) in reader.probes(name).unwrap_or_default() {
        if wrote {
            known.written = serde_json::from_str(&body).ok().map(|w| (at_ms, w));
        } else {
            known.stated = serde_json::from_str(&body).ok().map(|s| (at_ms, s));
        }
    }
    known
}

/// Where the configuration asks for what the destination was found not to do.
fn conflicts(settings: &FhirSettings, known: &Known) -> Vec<Conflict> {
    let mut found = Vec::new();
    let mut add = |code: &str, text: String, remedy: &str| {
        found.push(Conflict { code: code.into(), text, remedy: remedy.into() });
    };
    let written = known.written.as_ref().map(|(_, w)| w);
    let stated = known.stated.as_ref().map(|(_, s)| s);
    let fails = |f: Option<&Finding>| match f {
        Some(Finding::Fails(why)) => Some(why.clone()),
        _ => None,
    };
    match settings.idempotency {
        Idempotency::ConditionalCreate => {
            if let Some(why) = fails(written.and_then(|w| w.conditional_create.as_ref())) {
                add("WL-F016", format!("conditional create does not shut out doubles there: {why}"), UPDATE);
            } else if let Some(n) = written.and_then(|w| w.parallel_creates).filter(|n| *n > 1) {
                let text = format!("eight conditional creates of one reading at once left {n} resources");
                add("WL-F016", text, UPDATE);
            } else if written.is_none() && stated.is_some_and(|s| s.conditional_create == Some(false)) {
                add("WL-F016", "it states that it has no conditional create".into(), UPDATE);
            }
        }
        Idempotency::Update => {
            if let Some(why) = fails(written.and_then(|w| w.put_create.as_ref())) {
                add("WL-F016", format!("an update does not create there under our ids: {why}"), CREATE);
            } else if written.is_none() && stated.is_some_and(|s| s.update_create == Some(false)) {
                add("WL-F016", "it states that an update does not create".into(), CREATE);
            }
        }
    }
    let kind = match settings.bundle {
        BundleKind::Auto | BundleKind::Collection => None,
        BundleKind::Batch => written.and_then(|w| w.batch.as_ref()),
        BundleKind::Transaction => written.and_then(|w| w.transaction.as_ref()),
    };
    if let Some(why) = fails(kind) {
        let remedy = "Set `bundle = \"auto\"`, or the other kind.";
        add("WL-F017", format!("it does not take the kind of Bundle that is configured: {why}"), remedy);
    }
    found
}

const UPDATE: &str = "Set `idempotency = \"update\"` if an update works there, else ask its owner.";
const CREATE: &str = "Set `idempotency = \"conditional-create\"` if that works there, else ask its owner.";

/// The surveys, as the control plane's handlers see them.
pub(super) struct Desk(pub(super) Arc<Surveys>);

impl Probes for Desk {
    fn show(&self, name: String) -> BoxFuture<'_, Result<Shown, Fault>> {
        async move {
            let found = self.0.one(&name);
            found.map(|(name, survey)| self.0.shown(name, survey)).ok_or(Fault::Missing("FHIR destination"))
        }
        .boxed()
    }

    fn reconcile(&self, name: String, days: u32) -> BoxFuture<'_, Result<Reconciled, Fault>> {
        async move {
            let (name, survey) = self.0.one(&name).ok_or(Fault::Missing("FHIR destination"))?;
            self.0.reconcile(name, survey, Some(days)).await
        }
        .boxed()
    }

    fn probe(&self, name: String, consent: Option<String>) -> BoxFuture<'_, Result<Shown, Fault>> {
        async move {
            let (name, survey) = self.0.one(&name).ok_or(Fault::Missing("FHIR destination"))?;
            self.0.ask(name, survey, None).await?;
            if consent.is_some() {
                self.0.ask(name, survey, consent).await?;
            }
            Ok(self.0.shown(name, survey))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probed::{Stated, Written};

    fn settings(more: &str) -> FhirSettings {
        toml::from_str(&format!("name='centre'\nurl='https://x/fhir'\n{more}")).unwrap()
    }

    fn codes(more: &str, written: Option<Written>, stated: Stated) -> Vec<String> {
        let known = Known { stated: Some((1, stated)), written: written.map(|w| (1, w)) };
        conflicts(&settings(more), &known).into_iter().map(|c| c.code).collect()
    }

    #[test]
    fn what_was_tried_counts_more_than_what_is_stated() {
        let create = "idempotency='conditional-create'";
        let says_no = || Stated { conditional_create: Some(false), ..Stated::default() };
        assert_eq!(codes(create, None, says_no()), ["WL-F016"]);
        let works =
            Written { conditional_create: Some(Finding::Works), parallel_creates: Some(1), ..Written::default() };
        assert!(codes(create, Some(works.clone()), says_no()).is_empty());
        let races = Written { parallel_creates: Some(3), ..works };
        assert_eq!(codes(create, Some(races.clone()), Stated::default()), ["WL-F016"]);
        assert!(codes("idempotency='update'", Some(races), Stated::default()).is_empty());
        let no_batch = Written { batch: Some(Finding::Fails("refused whole".into())), ..Written::default() };
        assert_eq!(
            codes("idempotency='update'\nbundle='batch'", Some(no_batch.clone()), Stated::default()),
            ["WL-F017"]
        );
        assert!(codes("idempotency='update'", Some(no_batch), Stated::default()).is_empty(), "auto obeys");
    }
}
