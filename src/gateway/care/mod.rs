//! Orders of the centres in the running gateway: asked for, kept, and then obeyed by the alert engine.
//!
//! Promises: what changes is in the journal before it is obeyed; what cannot be asked changes nothing; what a person must
//! decide is a technical condition until it is decided. Must never: take an order for a patient who is not of this box.

mod book;
mod consents;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};

use super::orders::Order as Command;
use super::pipeline::Technical;
use super::probe::Surveys;
use crate::alarm::Priority;
use crate::alert::Engine;
use crate::alert::ordered::Ordered;
use crate::alert::ruleset::Rules;
use crate::careplan::{Event, Order, State};
use crate::clock::{Clock, Stamp, WALL_FLOOR_MS};
use crate::config::{CarePlanSettings, Config, DestinationSettings};
use crate::control::Fault;
use crate::control::thresholds::{Asked, Thresholds};
use crate::fault::Explain;
use crate::journal::{Act, Journal};
use crate::limits;
use crate::reading::{PatientId, Reading};
use crate::roster::Roster;
use crate::sink::Trouble;
use crate::sink::probe::care::KINDS;
use book::{Book, Changes, Deny, Hand, Round};

/// What has changed is asked for with this overlap: clocks of a cluster differ.
const OVERLAP_MS: i64 = 5 * 60 * 1_000;
/// All is asked for at a start, and as often as this: what was deleted is only missed there.
const ALL_EVERY: Duration = Duration::from_secs(12 * 3_600);
/// After a start: first things first.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// The orders, and who asks for them.
pub(super) struct Care {
    pub(super) surveys: Arc<Surveys>,
    pub(super) roster: Roster,
    pub(super) rules: Arc<Rules>,
    pub(super) commands: mpsc::Sender<Command>,
    /// One at a time speaks.
    book: Mutex<Book>,
    asked: Mutex<HashMap<(Arc<str>, PatientId), Heard>>,
    /// Of each destination, the patient who was asked about last.
    last: Mutex<HashMap<Arc<str>, PatientId>>,
}

/// When a patient was asked about, and up to when the centre's word is known.
#[derive(Clone, Copy)]
struct Heard {
    all: Stamp,
    newest_ms: Option<i64>,
}

/// A patient was not asked about.
struct Unasked {
    why: Fault,
    /// The others' questions may meet it too.
    lasts: bool,
}

impl From<Fault> for Unasked {
    fn from(why: Fault) -> Self {
        Self { why, lasts: true }
    }
}

/// What was in force before a start is obeyed before the first reading. What makes no sense any more is refused; what nobody
/// would ask for any more, and so never hear the end of, is over.
pub(super) async fn resume(
    engine: &mut Engine,
    journal: &Journal,
    (rules, config): (&Rules, &Config),
    clock: &Clock,
) -> Result<(), crate::journal::JournalError> {
    let mut book = remembered(journal);
    let now = clock.now();
    let follows = |o: &Order, d: &DestinationSettings| match d {
        DestinationSettings::Fhir(fhir) if fhir.name == o.destination => match &fhir.care_plan {
            Some(care) => care.consents.is_some() || !consents::is_consent(o),
            None => false,
        },
        _ => false,
    };
    // Who was matched is not known for certain where that is damaged: then nobody has left.
    let whole = journal.reader().members().is_ok_and(|(_, damaged)| damaged == 0);
    let roster = super::people::roster(config, journal);
    let followed = |o: &Order| config.destinations.iter().any(|d| follows(o, d));
    let asked = |o: &Order| followed(o) && (!whole || roster.contains(&o.patient));
    let changes = book.review(rules, asked, now.wall_ms);
    if !changes.is_empty() {
        let Changes { orders, events, gone, .. } = changes;
        tracing::warn!(
            orders = orders.len(),
            "orders of the centre are not in force any more: they make no sense under the alert rules (WL-G004), or nobody asks \
             for them: `wardline thresholds --all`."
        );
        journal.redress(Act::Care { orders, events, gone }).await?;
    }
    for order in book.orders.values().filter(|o| o.state == State::InForce) {
        let Some(ordered) = ordered(order, true, now) else { continue };
        // There is nothing that could end yet.
        drop(engine.obey(now, &ordered, &[]));
    }
    Ok(())
}

fn remembered(journal: &Journal) -> Book {
    // Damaged ones are told of by an alert of the start.
    let (orders, _) = journal.reader().orders().unwrap_or_else(|e| {
        tracing::error!(code = e.code(), %e, "orders of the centre are not in force until it is asked again.");
        Default::default()
    });
    Book { orders: orders.into_iter().map(|o| (o.id.clone(), o)).collect() }
}

/// As the engine takes it. A measurement is waited for from when the order came into force.
fn ordered(order: &Order, in_force: bool, now: Stamp) -> Option<Ordered> {
    let id = in_force.then(|| order.id.clone());
    Some(Ordered { patient: order.patient.clone(), aim: order.aim.clone()?, order: id, since: then(order.at_ms, now) })
}

/// The moment at which the wall clock said so. Before this boot, or while our clock is not right, only wall clocks tell how
/// long ago that is: it is of another boot. What was said while no clock was right counts from now.
fn then(wall_ms: i64, now: Stamp) -> Stamp {
    if wall_ms < WALL_FLOOR_MS {
        return now;
    }
    let age_us = u64::try_from(now.wall_ms.saturating_sub(wall_ms)).unwrap_or(0).saturating_mul(1_000);
    match now.mono_us.checked_sub(age_us).filter(|_| now.trusted) {
        Some(mono_us) => Stamp { wall_ms, mono_us, ..now },
        None => Stamp { wall_ms, mono_us: 0, boot: !now.boot, trusted: true },
    }
}

impl Care {
    pub(super) fn new(
        surveys: Arc<Surveys>,
        roster: Roster,
        rules: Arc<Rules>,
        commands: mpsc::Sender<Command>,
    ) -> Arc<Self> {
        let book = Mutex::new(remembered(&surveys.journal));
        Arc::new(Self { surveys, roster, rules, commands, book, asked: Mutex::default(), last: Mutex::default() })
    }

    /// Asks each destination as often as it is configured, until nobody listens.
    pub(super) async fn run(self: Arc<Self>) {
        let told = self.surveys.told.clone();
        self.remind(false).await;
        let mut due: Vec<(Arc<str>, Duration, tokio::time::Instant)> = self
            .surveys
            .followed()
            .map(|(name, s)| {
                (name.clone(), Duration::from_secs(60 * s.every_min), tokio::time::Instant::now() + FIRST_AFTER)
            })
            .collect();
        loop {
            let next = due.iter().map(|(.., at)| *at).min();
            let Some(next) = next else { return };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = told.closed() => return,
            }
            for (name, every, at) in &mut due {
                if *at <= tokio::time::Instant::now() {
                    *at = tokio::time::Instant::now() + *every;
                    tokio::select! {
                        _ = self.ask(name, false) => {}
                        () = told.closed() => return,
                    }
                }
            }
        }
    }

    /// Asks one destination about all patients.
    async fn ask(&self, name: &Arc<str>, all: bool) -> Asked {
        let mut said = Asked { destination: name.to_string(), patients: 0, why: None };
        let Some((survey, settings)) = self.surveys.one(name).and_then(|(_, s)| Some((s, s.care_plan()?))) else {
            return said;
        };
        let until = tokio::time::Instant::now() + limits::CARE_ROUND_MAX;
        let mut troubled = false;
        for patient in self.turns(name).await {
            if tokio::time::Instant::now() > until {
                said.why = Some("there was no time to ask about every patient".into());
                break;
            }
            // The question itself names the patient.
            let may = || {
                let consents = self.surveys.journal.consents();
                consents.gate(name).is_none_or(|gate| gate.may_ask(&patient, self.surveys.clock.now()))
            };
            // Whether there is a consent can only be asked before there is one.
            let shared = match settings.consents {
                Some(apply) => self.consents(name, survey.prober(), (settings, apply), &patient).await,
                None if !may() => continue,
                None => Ok(()),
            };
            // What it orders is asked for even where it shows no Consents.
            let asked = match shared {
                Err(unasked @ Unasked { lasts: true, .. }) => Err(unasked),
                shared if may() => {
                    let orders = self.round(name, survey.prober(), settings, &patient, all).await;
                    shared.and(orders)
                }
                shared => shared,
            };
            self.last.lock().await.insert(name.clone(), patient);
            // One patient's may be a matter of that patient: a right that is lacking, a record that is slow.
            let again = std::mem::replace(&mut troubled, matches!(asked, Err(Unasked { lasts: true, .. })));
            match asked {
                Ok(()) => said.patients += 1,
                Err(Unasked { why, lasts }) => {
                    if said.why.is_none() {
                        tracing::info!(destination = %name, why = %why, "The centre could not be asked what it orders.");
                    }
                    said.why = Some(why.to_string());
                    if lasts && again {
                        break;
                    }
                }
            }
        }
        self.trouble(name, said.why.as_deref()).await;
        self.remind(true).await;
        said
    }

    /// All patients, beginning after the one who was asked about last: whoever is behind a round that ended early is first next time.
    async fn turns(&self, name: &Arc<str>) -> Vec<PatientId> {
        let mut patients: Vec<PatientId> = self.roster.all().into_iter().map(|(patient, _)| patient).collect();
        if let Some(last) = self.last.lock().await.get(name) {
            let done = patients.partition_point(|patient| patient <= last);
            patients.rotate_left(done);
        }
        patients
    }

    async fn round(
        &self,
        name: &Arc<str>,
        prober: &crate::sink::probe::Prober,
        settings: &CarePlanSettings,
        patient: &PatientId,
        all: bool,
    ) -> Result<(), Unasked> {
        let key = (name.clone(), patient.clone());
        let now = self.surveys.clock.now();
        let before = self.asked.lock().await.get(&key).copied();
        let before = before.filter(|heard| !all && now.since(heard.all) < ALL_EVERY);
        let since_ms = before.and_then(|heard| heard.newest_ms).map(|ms| ms - OVERLAP_MS);
        let away = |t: Trouble| Unasked { why: Fault::told(&CareError::away(&t)), lasts: t.lasts() };
        let (mut heard, mut complete) = (Vec::new(), Vec::new());
        for kind in KINDS {
            if let Some(found) = prober.ordered(kind, patient, since_ms).await.map_err(away)? {
                heard.extend(found);
                complete.push(kind);
            }
        }
        if complete.is_empty() {
            // A wrong base says the same of everything.
            return Err(away(Trouble::Unclear("it does not search for any kind of order")));
        }
        let newest_ms = heard.iter().filter_map(|h| h.updated_ms).max();
        let round = Round { destination: name, patient, apply: settings.apply, now_ms: now.wall_ms };
        self.change(|book| Ok(book.hear(&round, &self.rules, &heard))).await?;
        if since_ms.is_none() {
            // What is missing from all that there is: asked for by itself, as a search may be behind.
            // Not in the loop's head: the lock would be held through it, and is needed in it.
            let live = self.book.lock().await.live(name, patient);
            for resource in live {
                let shown = heard.iter().any(|h| h.resource == resource);
                if shown || !complete.iter().any(|kind| resource.starts_with(&format!("{kind}/"))) {
                    continue;
                }
                match prober.order(&resource).await.map_err(away)? {
                    None => self.change(|book| Ok(book.lose(&round, &resource))).await?,
                    Some(one) => {
                        self.change(|book| Ok(book.hear(&round, &self.rules, std::slice::from_ref(&one)))).await?
                    }
                }
            }
        }
        let all = before.map_or(now, |heard| heard.all);
        let newest_ms = newest_ms.max(before.and_then(|heard| heard.newest_ms));
        self.asked.lock().await.insert(key, Heard { all, newest_ms });
        Ok(())
    }

    /// Tries it on a copy, keeps it, and then obeys it. Whoever waits for it may go away: after it is kept nothing is waited
    /// for, so that what is in force is what is obeyed.
    async fn change(&self, step: impl FnOnce(&mut Book) -> Result<Changes, Fault>) -> Result<(), Fault> {
        self.change_for(None, step).await
    }

    /// The same, of the consents of one patient for one destination.
    async fn change_for(
        &self,
        whose: Option<(&str, &PatientId)>,
        step: impl FnOnce(&mut Book) -> Result<Changes, Fault>,
    ) -> Result<(), Fault> {
        let mut book = self.book.lock().await;
        let mut new = book.clone();
        let changes = step(&mut new)?;
        self.record(whose, &changes).await?;
        if changes.is_empty() {
            return Ok(());
        }
        let Changes { orders, events, gone, mut obeyed, .. } = changes;
        obeyed.retain(|(order, _)| !consents::is_consent(order));
        let room = match obeyed.is_empty() {
            true => None,
            false => Some((self.recent().await?, self.commands.reserve().await.map_err(|_| Fault::Busy)?)),
        };
        for event in &events {
            tracing::info!(order = event.order, what = event.what, "An order of the centre stands otherwise.");
        }
        let act = Act::Care { orders, events, gone };
        self.surveys.journal.redress(act).await.map_err(|e| Fault::Refused(e.to_string()))?;
        *book = new;
        if let Some((recent, room)) = room {
            let now = self.surveys.clock.now();
            let ordered = obeyed.iter().filter_map(|(order, on)| ordered(order, *on, now)).collect();
            room.send(Command::Obey { ordered, recent });
        }
        Ok(())
    }

    /// Readings of before, for the windows of limits.
    async fn recent(&self) -> Result<Vec<Reading>, Fault> {
        let reader = self.surveys.reader.clone();
        let recent = tokio::task::spawn_blocking(move || reader.recent()).await.map_err(|_| Fault::Busy)?;
        recent.map_err(|e| Fault::Refused(e.to_string()))
    }

    /// Says what waits for a person. `ended`: also that nothing does.
    async fn remind(&self, ended: bool) {
        let book = self.book.lock().await;
        let count = |f: fn(&State) -> bool| book.orders.values().filter(|o| f(&o.state)).count();
        let waiting = count(|s| *s == State::Proposed);
        // What is simply not measured here needs nobody's decision.
        let refused = count(|s| matches!(s, State::Refused { code, .. } if code != "WL-G001"));
        drop(book);
        let active = waiting + refused > 0;
        if active || ended {
            let text = format!(
                "orders of the centre: {waiting} wait for a decision, {refused} were refused and what was before stays. \
                 See `wardline thresholds`"
            );
            self.tell("care-orders", active, Priority::Low, text).await;
        }
    }

    async fn trouble(&self, destination: &str, why: Option<&str>) {
        let text = why
            .map_or_else(String::new, |why| format!("{destination} cannot be asked what it orders: {why} (WL-G010)"));
        self.tell(&format!("care-unasked:{destination}"), why.is_some(), Priority::Low, text).await;
    }

    async fn tell(&self, name: &str, active: bool, priority: Priority, text: String) {
        let _ = self.surveys.told.send(Technical { name: name.into(), active, priority, text }).await;
    }

    async fn list(&self, all: bool) -> Vec<Order> {
        let book = self.book.lock().await;
        let shown = |o: &&Order| all || o.state.is_live() || matches!(o.state, State::Refused { .. });
        let mut orders: Vec<Order> = book.orders.values().filter(shown).cloned().collect();
        orders.sort_by_key(|o| std::cmp::Reverse(o.at_ms));
        orders
    }

    async fn decided(&self, id: &str) -> Result<Order, Fault> {
        self.remind(true).await;
        self.book.lock().await.orders.get(id).cloned().ok_or(Fault::Missing("order"))
    }
}

/// Why a centre could not be asked, or a decision not be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum CareError {
    /// Try again when it can be asked.
    #[error("{0} ({1})")]
    Away(String, &'static str),
    /// Look at the list.
    #[error("this order does not wait for a decision: it is in force, superseded or withdrawn")]
    NotWaiting,
}

impl CareError {
    fn away(trouble: &Trouble) -> Self {
        Self::Away(trouble.to_string(), trouble.code())
    }
}

impl Explain for CareError {
    fn code(&self) -> &'static str {
        match self {
            Self::Away(..) => "WL-G010",
            Self::NotWaiting => "WL-G011",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Away(..) => "What was in force stays; it is asked again by itself. See `wardline status`.",
            Self::NotWaiting => "See `wardline thresholds --all`.",
        }
    }
}

fn denied(deny: Deny) -> Fault {
    match deny {
        Deny::Unknown => Fault::Missing("order"),
        Deny::NotWaiting => Fault::told(&CareError::NotWaiting),
        Deny::Wrong(e) => Fault::told(&e),
    }
}

/// The orders, as the control plane's handlers see them.
pub(super) struct Counter(pub(super) Arc<Care>);

impl Thresholds for Counter {
    fn orders(&self, all: bool) -> BoxFuture<'_, Result<Vec<Order>, Fault>> {
        async move { Ok(self.0.list(all).await) }.boxed()
    }

    fn history(&self) -> BoxFuture<'_, Result<Vec<Event>, Fault>> {
        let reader = self.0.surveys.reader.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || reader.order_events()).await.map_err(|_| Fault::Busy)?;
            read.map(|(events, _)| events).map_err(|e| Fault::Refused(e.to_string()))
        }
        .boxed()
    }

    fn accept(&self, id: String, by: String) -> BoxFuture<'_, Result<Order, Fault>> {
        async move {
            let hand = Hand { by: &by, at_ms: self.0.surveys.clock.now().wall_ms };
            self.0.change(|book| book.accept(&self.0.rules, &id, hand).map_err(denied)).await?;
            self.0.decided(&id).await
        }
        .boxed()
    }

    fn refuse(&self, id: String, by: String, why: String) -> BoxFuture<'_, Result<Order, Fault>> {
        async move {
            let hand = Hand { by: &by, at_ms: self.0.surveys.clock.now().wall_ms };
            self.0.change(|book| book.decline(&id, &why, hand).map_err(denied)).await?;
            self.0.decided(&id).await
        }
        .boxed()
    }

    fn ask(&self) -> BoxFuture<'_, Result<Vec<Asked>, Fault>> {
        async move {
            let names: Vec<Arc<str>> = self.0.surveys.followed().map(|(name, _)| name.clone()).collect();
            if names.is_empty() {
                return Err(Fault::Refused("no destination has `care_plan`".into()));
            }
            let mut asked = Vec::new();
            for name in names {
                asked.push(self.0.ask(&name, true).await);
            }
            Ok(asked)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_does_not_begin_the_time_between_two_measurements_anew() {
        const T: i64 = 1_795_341_600_000;
        let hour = Duration::from_secs(3_600);
        let up = |hours: u32, wall_ms: i64| Stamp {
            wall_ms,
            mono_us: u64::try_from((hour * hours).as_micros()).unwrap(),
            boot: 7,
            trusted: wall_ms >= T,
        };
        let later = |hours: i64| T + 3_600_000 * hours;
        // By the monotonic clock, whatever the wall clock does meanwhile.
        let since = then(T, up(9, later(4)));
        assert_eq!((up(9, later(4)).since(since), up(10, later(70)).since(since)), (hour * 4, hour * 5));
        // From before this boot.
        let since = then(T, up(1, later(72)));
        assert_eq!((up(1, later(72)).since(since), up(3, later(74)).since(since)), (hour * 72, hour * 74));
        // Our clock is set later.
        let since = then(T, up(0, 25_000));
        assert_eq!((up(0, 25_000).since(since), up(1, later(72)).since(since)), (Duration::ZERO, hour * 72));
        assert_eq!(up(1, later(72)).since(then(25_000, up(1, later(72)))), Duration::ZERO, "said by no clock");
        // It was ahead then: from now on.
        assert_eq!(up(9, later(1)).since(then(later(4), up(9, later(1)))), Duration::ZERO);
    }
}
