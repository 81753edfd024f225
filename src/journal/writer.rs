//! The writer's thread: merges what waits into one transaction, answers after the sync.
//!
//! Promises: an answer `Ok` means synced; after a failed sync nothing is answered `Ok` again; a full disk keeps nothing
//! of the group and leaves the journal usable. Must never: retry a failed sync, or wait for anything but the disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Statement};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::chain::Chain;
use super::consent::Consents;
use super::ledger::Ledger;
use super::open::is_damage;
use super::outbox::{Outbox, Recent, Shelf};
use super::pending::Pending;
use super::queue::Queue;
use super::redress::Act;
use super::retention::Retention;
use super::store::{New, Store};
use super::tally::{Book, Tally};
use super::{Group, JournalError, Kept};
use crate::clock::{Clock, Stamp};
use crate::config::{DeviceSettings, JournalSettings};
use crate::custody::{Item, ItemId, Lane, Outcome};
use crate::limits;

type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the handle asks for. Destinations are places in the list of creditors.
pub(super) enum Command {
    Commit(Arc<Group>, Reply<Vec<Kept>>),
    Settle(usize, Vec<(ItemId, Outcome)>, Reply<()>),
    SettleInCompany(usize, Vec<(ItemId, Outcome)>, Reply<()>),
    SaveDevice(Box<DeviceSettings>, Reply<()>),
    Redress(Box<Act>, Reply<u64>),
    Lease(usize, Lane, usize, Reply<Vec<Item>>),
    GiveBack(usize, Vec<ItemId>, Reply<()>),
    Close(oneshot::Sender<()>),
}

/// A command with its place in the queue.
pub(super) type Envelope = (Command, OwnedSemaphorePermit);

/// One destination: its row, and what it is owed.
pub(super) struct Desk {
    pub(super) id: i64,
    pub(super) name: Arc<str>,
    pub(super) readings: Outbox,
    pub(super) alerts: Queue,
    /// An alert brings the readings along that it rests on.
    pub(super) evidence: bool,
    /// Alert events that lack a consent.
    pub(super) withheld: BTreeSet<i64>,
}

/// What the thread needs to begin.
pub(super) struct Setup {
    pub(super) tally: Tally,
    pub(super) start: u32,
    /// Rows of the destinations that want alerts.
    pub(super) alerts_to: Vec<i64>,
    /// Rows of those to which an alert brings the readings along that it rests on.
    pub(super) evidence_to: Vec<i64>,
    pub(super) clock: Clock,
    pub(super) settings: JournalSettings,
    pub(super) space: super::space::Space,
    pub(super) changed: watch::Sender<u64>,
    /// What each destination may get, for whoever is about to send.
    pub(super) consents: watch::Sender<Arc<Consents>>,
    /// Names of the destinations, in order.
    pub(super) names: Vec<Arc<str>>,
    pub(super) wal_pages: Arc<AtomicU32>,
}

/// The thread's state.
pub(super) struct Writer<'c> {
    pub(super) conn: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    pub(super) store: Store<'c>,
    pub(super) ledger: Ledger<'c>,
    pub(super) shelf: Shelf<'c>,
    book: Book<'c>,
    pub(super) chain: Chain<'c>,
    pub(super) desks: Vec<Desk>,
    pub(super) recent: Recent,
    pub(super) room: Retention,
    pub(super) pending: Pending,
    pub(super) consents: Arc<Consents>,
    /// When consents were last held against the clock.
    pub(super) considered: Stamp,
    pub(super) setup: Setup,
    broken: Option<Arc<str>>,
    checkpoint_at: u32,
    /// Settlements that wait for the next transaction, and until when.
    waiting: Vec<Write>,
    wait_until: Option<Stamp>,
}

/// A command that changes the tables, with the place of its answer.
enum Write {
    Commit(Arc<Group>, Reply<Vec<Kept>>),
    Settle(usize, Vec<(ItemId, Outcome)>, Reply<()>),
    SaveDevice(Box<DeviceSettings>, Reply<()>),
    Redress(Box<Act>, Reply<u64>),
}

impl<'c> Writer<'c> {
    pub(super) fn prepare(conn: &'c Connection, setup: Setup) -> rusqlite::Result<Self> {
        let (newest, consents) = (setup.tally.newest_reading(), setup.consents.borrow().clone());
        let shelf = Shelf::prepare(conn)?;
        let mut desks = Vec::with_capacity(setup.tally.accounts.len());
        for (account, name) in setup.tally.accounts.iter().zip(&setup.names) {
            // Where the alerts stand is looked up anew: a wrong number would hide what is owed.
            let (readings, alerts) = (shelf.open(account.id, newest)?, Queue::new(0, 0));
            let (evidence, withheld) = (setup.evidence_to.contains(&account.id), BTreeSet::new());
            desks.push(Desk { id: account.id, name: name.clone(), readings, alerts, evidence, withheld });
        }
        Ok(Self {
            begin: conn.prepare("BEGIN IMMEDIATE")?,
            commit: conn.prepare("COMMIT")?,
            store: Store::prepare(conn, setup.start)?,
            ledger: Ledger::prepare(conn)?,
            shelf,
            book: Book::prepare(conn)?,
            chain: Chain::prepare(conn)?,
            desks,
            recent: Recent::default(),
            room: Retention::new(conn, &setup.settings, setup.clock.now())?,
            pending: Pending::take_over(conn, setup.clock.now())?,
            consents,
            considered: setup.clock.now(),
            conn,
            setup,
            broken: None,
            checkpoint_at: limits::JOURNAL_WAL_PAGES,
            waiting: Vec::new(),
            wait_until: None,
        })
    }

    /// Serves until it is told to close, or every handle is gone. Answers who waits for the end.
    pub(super) fn run(mut self, commands: &Receiver<Envelope>) -> Option<oneshot::Sender<()>> {
        loop {
            let first = match commands.recv_timeout(self.idle()) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    self.end();
                    return None;
                }
            };
            if let Some(close) = self.turn(first, commands) {
                return Some(close);
            }
        }
    }

    /// One turn: what waits in the queue behind `first`, in one transaction; then what is due. Answers who waits for the end.
    pub(super) fn turn(
        &mut self,
        first: Option<Envelope>,
        commands: &Receiver<Envelope>,
    ) -> Option<oneshot::Sender<()>> {
        let (mut writes, mut leases, mut close) = (Vec::new(), Vec::new(), None);
        let (mut next, mut merged) = (first, 0);
        while let Some((command, place)) = next {
            drop(place);
            match command {
                Command::Commit(group, reply) => {
                    merged += group.arrivals.len();
                    writes.push(Write::Commit(group, reply));
                }
                Command::Settle(desk, outcomes, reply) => writes.push(Write::Settle(desk, outcomes, reply)),
                Command::SettleInCompany(desk, outcomes, reply) => {
                    self.waiting.push(Write::Settle(desk, outcomes, reply));
                    self.wait_until.get_or_insert(self.setup.clock.now().plus(limits::SETTLE_LINGER));
                }
                Command::SaveDevice(device, reply) => writes.push(Write::SaveDevice(device, reply)),
                Command::Redress(act, reply) => writes.push(Write::Redress(act, reply)),
                Command::GiveBack(desk, items, reply) => {
                    self.owed_again(desk, items.into_iter());
                    let _ = reply.send(Ok(()));
                }
                Command::Lease(desk, lane, max, reply) => leases.push((desk, lane, max, reply)),
                Command::Close(reply) => close = Some(reply),
            }
            let more = close.is_none() && merged < limits::JOURNAL_MERGED_MAX;
            next = more.then(|| commands.try_recv().ok()).flatten();
        }
        self.wake_retries();
        if !writes.is_empty() || close.is_some() || self.settle_wait().is_some_and(|wait| wait.is_zero()) {
            self.wait_until = None;
            writes.append(&mut self.waiting);
        }
        self.write(writes);
        self.date_pending();
        self.consider();
        for (desk, lane, max, reply) in leases {
            self.answer_lease(desk, lane, max, reply);
        }
        if close.is_some() {
            self.end();
            return close;
        }
        self.checkpoint_when_due();
        self.make_room();
        None
    }

    fn make_room(&mut self) {
        if self.broken.is_none()
            && let Err(e) = self.make_room_when_due(self.setup.clock.now())
        {
            // On a full disk it is tried again later; the deletions need room in the WAL themselves.
            self.failed(&e);
        }
    }

    /// How long there is nothing to do without a command.
    pub(super) fn idle(&self) -> Duration {
        // A writer that is broken makes no room any more: it must not spin until somebody ends it.
        let broken = self.broken.is_some().then_some(limits::JOURNAL_PATIENCE);
        let room = broken.unwrap_or_else(|| self.room.due.since(self.setup.clock.now()));
        let look = self.pending.any().then_some(limits::CLOCK_LOOK_EVERY);
        [self.next_due(), self.settle_wait(), look, self.next_consent()].into_iter().flatten().fold(room, Duration::min)
    }

    /// How long settlements still wait for company.
    fn settle_wait(&self) -> Option<Duration> {
        self.wait_until.map(|until| until.since(self.setup.clock.now()))
    }

    fn next_due(&self) -> Option<Duration> {
        let due = self.desks.iter().flat_map(|d| [d.readings.queue.next_due(), d.alerts.next_due()]).flatten().min()?;
        Some(Duration::from_micros(due.saturating_sub(self.setup.clock.now().mono_us)))
    }

    fn wake_retries(&mut self) {
        if self.next_due().is_some_and(|wait| wait.is_zero()) {
            let now = self.setup.clock.now().mono_us;
            self.desks.iter_mut().for_each(|d| {
                d.readings.queue.wake(now);
                d.alerts.wake(now);
            });
            self.tell_changed();
        }
    }

    pub(super) fn tell_changed(&self) {
        self.setup.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// One transaction for all; without the arrivals when the disk has no room for them.
    fn write(&mut self, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let holds_arrivals = |w: &Write| matches!(w, Write::Commit(group, _) if !group.arrivals.is_empty());
        let now = self.setup.clock.now();
        let (mut writes, mut refused) = (writes, Vec::new());
        if writes.iter().any(holds_arrivals) && self.setup.space.is_low(now) {
            (refused, writes) = writes.into_iter().partition(holds_arrivals);
        }
        let mut result = self.transact(&writes, now);
        if matches!(result, Err(JournalError::Full)) && writes.iter().any(holds_arrivals) {
            let (more, rest) = writes.into_iter().partition(holds_arrivals);
            refused.extend::<Vec<_>>(more);
            writes = rest;
            result = self.transact(&writes, now);
        }
        refused.into_iter().for_each(|w| self.refuse(w, &JournalError::Full));
        match result {
            Ok(kept) => self.confirm(writes, kept, now),
            Err(e) => writes.into_iter().for_each(|w| self.refuse(w, &e)),
        }
    }

    /// Applies and syncs all, or nothing. Answers what was kept, for each commit.
    fn transact(&mut self, writes: &[Write], now: Stamp) -> Result<Vec<Vec<Kept>>, JournalError> {
        if let Some(why) = &self.broken {
            return Err(JournalError::Fatal(why.clone()));
        }
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let mut tally = self.setup.tally.clone();
        let mut news = Vec::new();
        let result = self.apply(writes, now, &mut tally, &mut news);
        let result = result.and_then(|kept| self.commit.execute([]).map(|_| kept));
        match result {
            Ok(kept) => {
                self.setup.tally = tally;
                self.room.touched = true;
                for new in &news {
                    self.pending.note(new.id, new.reading);
                    self.recent.push(new.id, new.device, new.reading);
                }
                Ok(kept)
            }
            Err(e) => Err(self.failed(&e)),
        }
    }

    fn apply<'a>(
        &mut self,
        writes: &'a [Write],
        now: Stamp,
        tally: &mut Tally,
        news: &mut Vec<New<'a>>,
    ) -> rusqlite::Result<Vec<Vec<Kept>>> {
        self.begin.execute([])?;
        let mut kept = Vec::new();
        let first = tally.next_reading;
        for write in writes {
            match write {
                Write::Commit(group, _) => kept.push(self.store_group(group, now, tally, news)?),
                Write::Settle(desk, outcomes, _) => self.store_outcomes(*desk, outcomes, now, tally)?,
                Write::SaveDevice(device, _) => self.store.settings(device, now)?,
                Write::Redress(act, _) => {
                    let items = self.redress(act, now, tally, news)?;
                    self.note(act, items, now, tally)?;
                    kept.push(vec![Kept { new: u32::try_from(items).unwrap_or(u32::MAX), ..Kept::default() }]);
                }
            }
        }
        self.chain.committed(&mut tally.head, now, first, news.iter().map(|n| n.reading))?;
        self.store.marks.write()?;
        for desk in &self.desks {
            if let Some(account) = tally.account(desk.id) {
                // What memory says before these outcomes take effect in it: never too high.
                let withheld = desk.withheld.first().map_or(i64::MAX, |id| id - 1);
                account.alerts_settled_through = desk.alerts.settled_through().min(withheld);
            }
        }
        self.book.write(&self.setup.tally, tally)?;
        Ok(kept)
    }

    fn store_group<'a>(
        &mut self,
        group: &'a Group,
        now: Stamp,
        tally: &mut Tally,
        news: &mut Vec<New<'a>>,
    ) -> rusqlite::Result<Vec<Kept>> {
        let mut kept = Vec::with_capacity(group.arrivals.len());
        for arrival in &group.arrivals {
            kept.push(self.store.arrival(arrival, now, tally, news)?);
        }
        for event in &group.events {
            self.store.event(event, &self.setup.alerts_to, &mut self.ledger, tally)?;
        }
        Ok(kept)
    }

    fn store_outcomes(
        &mut self,
        desk: usize,
        outcomes: &[(ItemId, Outcome)],
        now: Stamp,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        let Some(desk) = self.desks.get_mut(desk) else { return Ok(()) };
        let Tally { accounts, head, .. } = tally;
        let Some(account) = accounts.iter_mut().find(|a| a.id == desk.id) else { return Ok(()) };
        let at_ms = now.wall_ms;
        let entries = self.shelf.pay(&mut desk.readings, outcomes, at_ms, &mut account.readings)?;
        for entry in &entries {
            self.chain.append(head, now, entry)?;
        }
        for (item, outcome) in outcomes {
            if let Outcome::Retry { why, destination: true, .. } = outcome {
                account.failed = Some((at_ms, why.code.to_string(), why.text.clone()));
            }
            let ItemId::Alert(id) = *item else { continue };
            let Some(attempts) = desk.alerts.attempts_in_flight(id) else { continue };
            match outcome {
                Outcome::Delivered(receipt) => {
                    self.ledger.delivered(desk.id, id, at_ms, receipt)?;
                    account.alerts.delivered();
                }
                Outcome::Reject(why) => {
                    self.ledger.rejected(desk.id, id, at_ms, why, attempts + 1)?;
                    account.alerts.rejected();
                }
                Outcome::Retry { why, .. } => self.ledger.retried(desk.id, id, at_ms, why, attempts + 1)?,
                Outcome::Withheld => {}
            }
        }
        Ok(())
    }

    /// Ends a failed transaction: full, or fatal for good.
    pub(super) fn failed(&mut self, e: &rusqlite::Error) -> JournalError {
        let rolled_back = self.conn.is_autocommit() || self.conn.execute_batch("ROLLBACK").is_ok();
        let restored = self.restore();
        match restored {
            Ok(()) if rolled_back && e.sqlite_error_code() == Some(ErrorCode::DiskFull) => JournalError::Full,
            _ => self.break_down(e),
        }
    }

    /// After a rollback: memory is what the tables say.
    fn restore(&mut self) -> rusqlite::Result<()> {
        self.store.forget()?;
        self.desks.iter_mut().try_for_each(|desk| self.shelf.restore(&mut desk.readings))
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(super) fn break_down(&mut self, e: &rusqlite::Error) -> JournalError {
        if self.broken.is_none() && is_damage(e) {
            self.setup.space.note_damage();
        }
        let why: Arc<str> = self.broken.get_or_insert_with(|| e.to_string().into()).clone();
        tracing::error!(code = "WL-J010", reason = &*why, "The journal failed; nothing is acknowledged any more.");
        JournalError::Fatal(why)
    }

    /// Answers what was synced.
    fn confirm(&mut self, writes: Vec<Write>, kept: Vec<Vec<Kept>>, now: Stamp) {
        let mut kept = kept.into_iter();
        let mut news = false;
        for write in writes {
            match write {
                Write::Commit(_, reply) => {
                    news = true;
                    let _ = reply.send(Ok(kept.next().unwrap_or_default()));
                }
                Write::Settle(desk, outcomes, reply) => {
                    news |= self.settle_queues(desk, &outcomes, now);
                    let _ = reply.send(Ok(()));
                }
                Write::SaveDevice(_, reply) => drop(reply.send(Ok(()))),
                Write::Redress(act, reply) => {
                    news = true;
                    if matches!(*act, Act::Consent { .. } | Act::Introduce { .. } | Act::Forget { .. }) {
                        // Before the answer: from it on nothing goes that may not.
                        self.consents_changed();
                    }
                    let takes_away = matches!(&*act, Act::UserCode(change) if change.takes_away());
                    if takes_away || matches!(*act, Act::Forget { .. }) {
                        // Also out of the WAL, where the page still stands as it was.
                        self.checkpoint_anew("TRUNCATE");
                    }
                    let items = kept.next().unwrap_or_default().iter().map(|k| u64::from(k.new)).sum();
                    let _ = reply.send(Ok(items));
                }
            }
        }
        if news {
            self.tell_changed();
        }
    }

    /// Takes outcomes into memory. Answers whether something may be due now.
    fn settle_queues(&mut self, desk: usize, outcomes: &[(ItemId, Outcome)], now: Stamp) -> bool {
        let newest = self.setup.tally.newest_reading();
        let Some(desk) = self.desks.get_mut(desk) else { return false };
        let mut due = desk.readings.confirm(outcomes, now, newest);
        for (item, outcome) in outcomes {
            let ItemId::Alert(id) = *item else { continue };
            match outcome {
                Outcome::Retry { after, .. } => due |= desk.alerts.retry(id, *after, true, now),
                Outcome::Withheld => due |= desk.alerts.retry(id, None, true, now),
                Outcome::Delivered(_) | Outcome::Reject(_) => desk.alerts.settled(id, false),
            }
        }
        due
    }

    /// Answers what was not kept. Outcomes that were not kept are owed again.
    fn refuse(&mut self, write: Write, e: &JournalError) {
        match write {
            Write::Commit(_, reply) => drop(reply.send(Err(e.clone()))),
            Write::SaveDevice(_, reply) => drop(reply.send(Err(e.clone()))),
            Write::Redress(_, reply) => drop(reply.send(Err(e.clone()))),
            Write::Settle(desk, outcomes, reply) => {
                self.owed_again(desk, outcomes.iter().map(|(item, _)| *item));
                let _ = reply.send(Err(e.clone()));
            }
        }
    }

    /// Outcomes of the journal's own finding.
    pub(super) fn settle_here(&mut self, desk: usize, outcomes: Vec<(ItemId, Outcome)>) {
        self.write(vec![Write::Settle(desk, outcomes, oneshot::channel().0)]);
    }

    fn answer_lease(&mut self, desk: usize, lane: Lane, max: usize, reply: Reply<Vec<Item>>) {
        let items = match &self.broken {
            Some(why) => Err(JournalError::Fatal(why.clone())),
            None => self.lease(desk, lane, max).map_err(|e| self.break_down(&e)),
        };
        let ids: Vec<ItemId> = items.iter().flatten().map(|i| i.id).collect();
        // Nobody there to deliver them any more: owed again.
        if reply.send(items).is_err() {
            self.owed_again(desk, ids.into_iter());
        }
    }

    fn owed_again(&mut self, desk: usize, items: impl Iterator<Item = ItemId>) {
        let Some(desk) = self.desks.get_mut(desk) else { return };
        for item in items {
            match item {
                ItemId::Reading(id) => desk.readings.queue.settled(id, true),
                ItemId::Alert(id) => desk.alerts.settled(id, true),
            }
        }
    }

    /// Writes the WAL back when it is long: after the answers, so that nobody waits for it.
    fn checkpoint_when_due(&mut self) {
        let pages = self.setup.wal_pages.load(Ordering::Relaxed);
        if self.broken.is_some() || pages < self.checkpoint_at {
            return;
        }
        if pages < limits::JOURNAL_WAL_PAGES_LONG {
            return self.checkpoint("PASSIVE");
        }
        self.checkpoint_anew("RESTART");
    }

    /// Readers that follow each other closely never leave the moment in which the WAL can begin anew: waits for the one
    /// that is there; those after it read what is written back.
    fn checkpoint_anew(&mut self, how: &str) {
        let waits = self.conn.busy_timeout(limits::JOURNAL_RESTART_WAIT);
        self.checkpoint(how);
        if let Err(e) = waits.and_then(|()| self.conn.busy_timeout(limits::JOURNAL_BUSY_MAX)) {
            self.break_down(&e);
        }
    }

    /// A failed sync of the file is as fatal as one of the WAL; a full disk is not, the WAL still has it all.
    fn checkpoint(&mut self, how: &str) {
        let row = |r: &rusqlite::Row<'_>| Ok((r.get::<_, u32>(1)?, r.get::<_, u32>(2)?));
        let pages = self.setup.wal_pages.swap(0, Ordering::Relaxed);
        self.checkpoint_at = match self.conn.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], row) {
            Ok((log, done)) if log == done => limits::JOURNAL_WAL_PAGES,
            // A reader is in the way: it starts again from the front only when that one is done.
            Ok(_) => pages.saturating_add(limits::JOURNAL_WAL_PAGES),
            Err(e) if matches!(e.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy)) => {
                pages.saturating_add(limits::JOURNAL_WAL_PAGES)
            }
            Err(e) => {
                self.break_down(&e);
                u32::MAX
            }
        };
    }

    /// The orderly end.
    fn end(&mut self) {
        if self.broken.is_some() {
            return;
        }
        let mark = "UPDATE start SET closed_in_order = 1 WHERE id = ?1";
        match self.conn.execute(mark, [self.setup.start]) {
            Ok(_) => self.checkpoint("TRUNCATE"),
            Err(e) => drop(self.failed(&e)),
        }
    }
}
