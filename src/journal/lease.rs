//! Leasing: a walk along what waits, in order, until enough is found.
//!
//! Promises: an index walk in slices, never a sort; an item that cannot be read is rejected with a reason and blocks
//! nothing.

use std::sync::Arc;

use super::queue::{Verdict, Walk};
use super::writer::Writer;
use crate::custody::{Item, ItemId, Lane, Outcome, Payload, Why};

impl Writer<'_> {
    /// Leases up to `max` items of a lane.
    pub(super) fn lease(&mut self, desk: usize, lane: Lane, max: usize) -> rusqlite::Result<Vec<Item>> {
        match lane {
            Lane::Alert => self.lease_alerts(desk, max),
            Lane::Fresh | Lane::Backlog => self.lease_readings(desk, lane, max),
        }
    }

    fn lease_readings(&mut self, place: usize, lane: Lane, max: usize) -> rusqlite::Result<Vec<Item>> {
        let Some(desk) = self.desks.get_mut(place) else { return Ok(Vec::new()) };
        let (newest, now) = (self.setup.tally.newest_reading(), self.setup.clock.now());
        let Some(gate) = self.consents.gate(&desk.name) else { return Ok(Vec::new()) };
        let judge = (!gate.is_open()).then_some((gate, now));
        let found = self.shelf.lease(&mut desk.readings, &self.recent, (lane, max), newest, judge)?;
        self.reject_unreadable(place, found.unreadable.into_iter().map(ItemId::Reading).collect());
        // Stopped before it had enough: there may be more behind what it passed.
        if found.more && found.items.len() < max {
            self.tell_changed();
        }
        Ok(found.items)
    }

    fn lease_alerts(&mut self, place: usize, max: usize) -> rusqlite::Result<Vec<Item>> {
        let Some(desk) = self.desks.get_mut(place) else { return Ok(Vec::new()) };
        let (after, _) = desk.alerts.window(Lane::Alert, i64::MAX);
        let now = self.setup.clock.now();
        let Some(gate) = self.consents.gate(&desk.name) else { return Ok(Vec::new()) };
        let (mut walk, mut more) = (Walk::default(), false);
        self.ledger.walk(desk.id, after, |debt| {
            more = desk.alerts.look(Lane::Alert, debt, &mut walk, max) == Verdict::Stop;
            !more
        })?;
        desk.alerts.take(&walk);
        let (mut items, mut unreadable) = (Vec::with_capacity(walk.taken.len()), Vec::new());
        for debt in walk.taken {
            let id = ItemId::Alert(debt.id);
            match self.ledger.event(debt.id)? {
                Some(event) if gate.lacks_alert(&event, now).is_some() => {
                    desk.alerts.settled(debt.id, false);
                    desk.withheld.insert(debt.id);
                }
                Some(event) => {
                    items.push(Item { id, what: Payload::Alert(Arc::new(event)), attempts: debt.attempts });
                }
                None => unreadable.push(id),
            }
        }
        self.reject_unreadable(place, unreadable);
        if more && items.len() < max {
            self.tell_changed();
        }
        Ok(items)
    }

    fn reject_unreadable(&mut self, desk: usize, ids: Vec<ItemId>) {
        if !ids.is_empty() {
            let why = || Outcome::Reject(Why::new("WL-J030", "the stored record cannot be read"));
            self.settle_here(desk, ids.into_iter().map(|id| (id, why())).collect());
        }
    }
}
