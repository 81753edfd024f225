//! The inbox of the running gateway: what the journal says is stuck, what a fix would do to it, and people's decisions.
//!
//! Promises: a dry run changes nothing; a replay keeps identities, so that nothing is doubled; nothing leaves the inbox
//! without a name. Must never: send what our own checks refuse, unless a person insists.

mod cause;
pub(super) mod notice;
mod trial;

pub(super) use trial::owner;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::orders::Order;
use super::probe::Surveys;
use crate::association::Unassigned;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Fault;
use crate::control::inbox::{
    Change, Details, DryRun, Group, Happened, Inbox, Settled, State, StuckItem, Trial, Verdict,
};
use crate::custody::Why;
use crate::fhir::Scope;
use crate::journal::inbox::{Case, Cause, Extent, Kind, Stuck, What};
use crate::journal::{Act, Journal, JournalError, ReadError, Reader};
use crate::limits;
use crate::profile::{Catalogue, Decoder};
use crate::reading::Frame;
use crate::roster::Roster;

/// Everything that decides about stuck items.
pub(super) struct Office {
    pub(super) reader: Reader,
    pub(super) journal: Journal,
    pub(super) clock: Clock,
    pub(super) patients: Roster,
    pub(super) scope: Scope,
    /// Folder of the profiles as they are on the disk now.
    pub(super) profiles: Option<PathBuf>,
    /// Profiles as they are in force.
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) orders: mpsc::Sender<Order>,
    /// The destinations, where they can be asked.
    pub(super) surveys: Arc<Surveys>,
}

/// What is stuck or was, by the id of its group.
type Heaps = BTreeMap<String, (Cause, Option<Extent>, Option<Case>)>;

impl Office {
    /// For the gateway of this configuration.
    pub(super) fn new(
        config: &Config,
        clock: &Clock,
        journal: &Journal,
        catalogue: Arc<Catalogue>,
        orders: mpsc::Sender<Order>,
        (surveys, patients): (Arc<Surveys>, &Roster),
    ) -> Arc<Self> {
        Arc::new(Self {
            reader: journal.reader(),
            journal: journal.clone(),
            clock: clock.clone(),
            patients: patients.clone(),
            scope: super::records::scope(config),
            profiles: config.gateway.profiles.clone(),
            catalogue,
            orders,
            surveys,
        })
    }

    /// Blocking.
    fn heaps(&self) -> Result<Heaps, ReadError> {
        let mut heaps = Heaps::new();
        for case in self.reader.cases()? {
            heaps.insert(case.cause.id(), (case.cause.clone(), None, Some(case)));
        }
        for (cause, extent) in self.reader.stuck()? {
            heaps.entry(cause.id()).or_insert((cause, None, None)).1 = Some(extent);
        }
        Ok(heaps)
    }

    fn group(&self, cause: &Cause, extent: Option<Extent>, case: Option<&Case>, example: Option<&str>) -> Group {
        let now_ms = self.clock.now().wall_ms;
        let begun = extent.map_or(now_ms, |e| e.first_ms);
        let opened_ms = case.map_or(begun, |c| c.opened_ms);
        let due_ms = case.map_or_else(|| opened_ms.saturating_add(ms(cause::due(cause))), |c| c.due_ms);
        let (items, sending) = (extent.map_or(0, |e| e.items), case.map_or(0, |c| c.sending));
        let said = case.and_then(|c| State::parse(&c.state));
        let state = match (items + sending, said) {
            (0, _) => State::Cleared,
            // It has just come back.
            (_, None | Some(State::Cleared)) => State::Open,
            (_, Some(said)) => said,
        };
        Group {
            id: cause.id(),
            kind: cause.kind.word().into(),
            place: cause.place.clone(),
            why: Why { code: cause.code.clone().into(), text: reason(cause) },
            title: cause::title(cause, items.max(sending)),
            items,
            sending,
            first_ms: begun,
            last_ms: extent.map_or(opened_ms, |e| e.last_ms),
            priority: cause::priority(cause),
            state,
            owner: cause::owner(cause),
            assignee: case.and_then(|c| c.assignee.clone()),
            opened_ms,
            due_ms,
            overdue: state != State::Cleared && due_ms < now_ms,
            cleared_ms: case.and_then(|c| c.cleared_ms).filter(|_| state == State::Cleared),
            note: case.and_then(|c| c.note.clone()),
            fix: cause::fix(cause, example),
        }
    }

    /// Blocking. `all`: cleared ones too.
    fn list(&self, all: bool) -> Result<Vec<Group>, ReadError> {
        let heaps = self.heaps()?;
        let groups = heaps.values().map(|(cause, extent, case)| self.group(cause, *extent, case.as_ref(), None));
        let mut groups: Vec<_> = groups.filter(|g| all || g.state != State::Cleared).collect();
        groups.sort_by_key(|g| {
            (g.state == State::Cleared, !g.overdue, std::cmp::Reverse(g.priority), g.due_ms, g.id.clone())
        });
        Ok(groups)
    }

    /// The cause whose id begins so. Blocking.
    fn find(&self, id: &str) -> Result<(Cause, Option<Extent>, Option<Case>), Fault> {
        let mut meant = self.heaps().map_err(unreadable)?.into_iter().filter(|(known, _)| known.starts_with(id));
        match (meant.next(), meant.next()) {
            (Some((_, heap)), None) if !id.is_empty() => Ok(heap),
            (Some(_), Some(_)) => Err(Fault::Refused(format!("several groups begin with `{id}`: give more of the id"))),
            _ => Err(Fault::Missing("group in the inbox")),
        }
    }

    fn details(&self, id: &str) -> Result<Details, Fault> {
        let (cause, extent, case) = self.find(id)?;
        let items = self.reader.items(&cause, -1, limits::INBOX_ITEMS_SHOWN_MAX).map_err(unreadable)?;
        let past = self.reader.past(&cause.id()).map_err(unreadable)?;
        let items: Vec<_> = items.iter().map(shown).collect();
        let example = items.first().map(|i| i.id.as_str());
        Ok(Details {
            group: self.group(&cause, extent, case.as_ref(), example),
            history: past
                .into_iter()
                .map(|p| Happened { at_ms: p.at_ms, what: p.what, by: p.by, items: p.items, text: p.text })
                .collect(),
            items,
        })
    }

    /// Off the runtime's thread.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Self) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let office = self.clone();
        tokio::task::spawn_blocking(move || question(&office)).await.map_err(|_| Fault::Busy)?
    }

    /// The group's cause; it is in the journal's table afterwards.
    async fn opened(self: &Arc<Self>, id: String) -> Result<Cause, Fault> {
        let (cause, extent, case) = self.read(move |office| office.find(&id)).await?;
        if case.is_none_or(|c| c.state == State::Cleared.word() && extent.is_some()) {
            let due = self.clock.now().wall_ms.saturating_add(ms(cause::due(&cause)));
            self.act(Act::Open(vec![(cause.clone(), due)])).await?;
        }
        Ok(cause)
    }

    async fn act(&self, act: Act) -> Result<u64, Fault> {
        self.journal.redress(act).await.map_err(|e| not_now(&e))
    }

    async fn try_all(self: &Arc<Self>, id: String, after: i64) -> Result<DryRun, Fault> {
        let (cause, items, trials, most) = self
            .read(move |office| {
                let (cause, ..) = office.find(&id)?;
                let asks = cause.kind == Kind::Refused && office.surveys.validates(&cause.place);
                let most = if asks { limits::INBOX_VALIDATED_MAX } else { limits::INBOX_CHECKED_MAX };
                let items = office.reader.items(&cause, after, most).map_err(unreadable)?;
                let trials = trial::trials(office, &cause, &items);
                Ok((cause, items, trials, most))
            })
            .await?;
        let next = items.last().filter(|_| items.len() >= most).map(|i| i.row);
        let asked = trial::asked(&cause, self.surveys.validates(&cause.place));
        let mut done = Vec::with_capacity(items.len());
        for (item, trial) in items.iter().zip(trials) {
            let (verdict, why) = trial::with_opinion(&self.surveys, &cause, item, trial).await;
            done.push(Trial { id: shown(item).id, verdict, why });
        }
        Ok(DryRun { items: done, next, asked })
    }

    async fn replay_all(self: &Arc<Self>, id: String, by: String, anyway: bool) -> Result<Settled, Fault> {
        let cause = self.opened(id).await?;
        let (mut settled, mut after, mut why_not) = (Settled { items: 0, left: 0 }, -1, None);
        loop {
            let about = cause.clone();
            let part = self.read(move |office| {
                let items = office.reader.items(&about, after, limits::INBOX_STEP_ITEMS).map_err(unreadable)?;
                let trials = trial::trials(office, &about, &items);
                Ok(items.into_iter().zip(trials).collect::<Vec<_>>())
            });
            let part = part.await?;
            let Some((last, _)) = part.last() else { break };
            after = last.row;
            let (mut wanted, mut left) = (Vec::new(), 0);
            for (item, (verdict, why)) in part {
                // What cannot be decoded or is nobody's cannot be sent, however much somebody insists.
                let can = verdict != Verdict::Fails || (anyway && trial::can_be_forced(&cause, &item));
                if can {
                    wanted.push(item);
                } else {
                    left += 1;
                    why_not.get_or_insert(why);
                }
            }
            let asked = wanted.len() as u64;
            let done = self.send_again(&cause, &by, wanted).await?;
            settled.items += done;
            settled.left += left + asked.saturating_sub(done);
        }
        match why_not {
            Some(why) if settled.items == 0 => {
                let left = settled.left;
                Err(Fault::Refused(format!("none of {left} would pass: {why}. `wardline inbox dry-run` shows each")))
            }
            _ => Ok(settled),
        }
    }

    async fn send_again(self: &Arc<Self>, cause: &Cause, by: &str, items: Vec<Stuck>) -> Result<u64, Fault> {
        if items.is_empty() {
            return Ok(0);
        }
        let (cause, by, rows) = (cause.clone(), by.to_owned(), items.iter().map(|i| i.row).collect());
        match cause.kind {
            Kind::Refused | Kind::Alert | Kind::Notice => self.act(Act::Replay { cause, by, rows }).await,
            Kind::Unassigned => {
                let owners = self.read(move |office| Ok(trial::owners(office, &items))).await?;
                let mut done = 0;
                for (patient, rows) in owners {
                    let (cause, by) = (cause.clone(), by.clone());
                    done += self.act(Act::Assign { cause, by, patient, rows }).await?;
                }
                Ok(done)
            }
            Kind::Undecodable => {
                let frames: Vec<(i64, Frame)> = items
                    .into_iter()
                    .filter_map(|item| match item.what {
                        What::Frame(frame) => Some((item.row, *frame)),
                        _ => None,
                    })
                    .collect();
                let (answer, wait) = oneshot::channel();
                let decoder = Box::new(Decoder::new(self.catalogue.clone()));
                let order = Order::Redo { cause, by, frames, decoder, answer };
                self.orders.send(order).await.map_err(|_| Fault::Busy)?;
                wait.await.map_err(|_| Fault::Busy)?.map_err(|e| not_now(&e))
            }
        }
    }

    async fn discard_all(self: &Arc<Self>, id: String, by: String, reason: String) -> Result<Settled, Fault> {
        let cause = self.opened(id).await?;
        let (mut settled, mut after) = (Settled { items: 0, left: 0 }, -1);
        loop {
            let about = cause.clone();
            let part = self
                .read(move |office| office.reader.items(&about, after, limits::INBOX_STEP_ITEMS).map_err(unreadable))
                .await?;
            let Some(last) = part.last() else { return Ok(settled) };
            after = last.row;
            let items: Vec<_> = part.iter().map(|item| (item.row, shown(item).id)).collect();
            let act = Act::Discard { cause: cause.clone(), by: by.clone(), reason: reason.clone(), items };
            settled.items += self.act(act).await?;
        }
    }

    async fn change_one(self: &Arc<Self>, id: String, change: Change) -> Result<(), Fault> {
        let cause = self.opened(id).await?;
        let Change { by, state, assignee, due_ms, note } = change;
        // Who takes it, works on it.
        let state = state.or(assignee.as_ref().map(|_| State::InWork)).map(State::word);
        let done = self.act(Act::Change { id: cause.id(), by, state, assignee, due_ms, note }).await?;
        if done == 0 { Err(Fault::Missing("group in the inbox")) } else { Ok(()) }
    }
}

/// The office, as the control plane's handlers see it.
pub(super) struct Counter(pub(super) Arc<Office>);

impl Inbox for Counter {
    fn groups(&self, all: bool) -> BoxFuture<'_, Result<Vec<Group>, Fault>> {
        self.0.read(move |office| office.list(all).map_err(unreadable)).boxed()
    }
    fn group(&self, id: String) -> BoxFuture<'_, Result<Details, Fault>> {
        self.0.read(move |office| office.details(&id)).boxed()
    }
    fn dry_run(&self, id: String, after: i64) -> BoxFuture<'_, Result<DryRun, Fault>> {
        // The first row of a table is 1.
        self.0.try_all(id, after).boxed()
    }
    fn replay(&self, id: String, by: String, anyway: bool) -> BoxFuture<'_, Result<Settled, Fault>> {
        self.0.replay_all(id, by, anyway).boxed()
    }
    fn discard(&self, id: String, by: String, reason: String) -> BoxFuture<'_, Result<Settled, Fault>> {
        self.0.discard_all(id, by, reason).boxed()
    }
    fn change(&self, id: String, change: Change) -> BoxFuture<'_, Result<(), Fault>> {
        self.0.change_one(id, change).boxed()
    }
}

/// One item for people.
fn shown(item: &Stuck) -> StuckItem {
    let (id, what) = match &item.what {
        What::Reading(entry) => {
            let r = &entry.reading;
            (r.key.to_string(), format!("{} of {}", r.vital.name, r.device))
        }
        What::Alert(event) => {
            let happened = serde_json::to_value(event.happened).ok();
            let happened = happened.as_ref().and_then(|v| v.as_str()).unwrap_or_default();
            (format!("{} {happened}", event.alert.id), format!("alert of the rule {}", event.alert.rule))
        }
        What::Frame(frame) => {
            (format!("message {}", item.row), format!("on {}: {}", frame.path.channel(), preview(&frame.bytes)))
        }
        What::Unreadable => (format!("row {}", item.row), "a record that cannot be read".into()),
    };
    StuckItem { id, at_ms: item.at_ms, what, why: item.why.clone() }
}

/// The beginning of a message: text as text, anything else as hex digits.
fn preview(bytes: &[u8]) -> String {
    let head = bytes.get(..PREVIEW_OCTETS).unwrap_or(bytes);
    let text = std::str::from_utf8(head).ok().filter(|t| !t.is_empty() && !t.chars().any(char::is_control));
    let shown = text.map_or_else(|| head.iter().map(|b| format!("{b:02x}")).collect(), str::to_owned);
    if bytes.is_empty() {
        return "empty".into();
    }
    if head.len() < bytes.len() { format!("{shown}… ({} octets)", bytes.len()) } else { shown }
}

/// Octets of a message that are shown.
const PREVIEW_OCTETS: usize = 48;

fn reason(cause: &Cause) -> String {
    match (cause.kind, cause.slot()) {
        (Kind::Unassigned, slot) => {
            let why = cause.unassigned().unwrap_or(Unassigned::NoHolder).phrase();
            slot.map_or_else(|| why.to_owned(), |slot| format!("{why} (user slot {slot})"))
        }
        _ => cause.reason.clone(),
    }
}

fn ms(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn unreadable(e: ReadError) -> Fault {
    Fault::Unreadable(e.into())
}

pub(super) fn not_now(e: &JournalError) -> Fault {
    match e {
        JournalError::Full => Fault::Refused(e.to_string()),
        JournalError::Fatal(_) | JournalError::Closed => Fault::Busy,
    }
}
