//! Leasing: a walk along what waits, in order, until enough is found.
//!
//! Promises: an index walk in slices, never a sort; an item that cannot be read is rejected with a reason and blocks
//! nothing.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Statement};
use serde::de::DeserializeOwned;

use super::ledger::Kind;
use super::queue::{Debt, Verdict, Walk};
use super::writer::Writer;
use crate::custody::{Item, ItemId, Lane, Outcome, Payload, Why};
use crate::reading::Reading;

impl Writer<'_> {
    /// Leases up to `max` items of a lane.
    pub(super) fn lease(&mut self, place: usize, lane: Lane, max: usize) -> rusqlite::Result<Vec<Item>> {
        let Some(desk) = self.desks.get_mut(place) else { return Ok(Vec::new()) };
        let (kind, ledger) = match lane {
            Lane::Alert => (Kind::Alerts, &mut self.alerts),
            Lane::Fresh | Lane::Backlog => (Kind::Readings, &mut self.readings),
        };
        let destination = desk.id;
        let queue = desk.queue(kind);
        let mut walk = Walk::default();
        let window = queue.window(lane);
        let at_end =
            ledger.walk(destination, window, |debt| queue.look(lane, debt, &mut walk, max) != Verdict::Stop)?;
        if at_end && lane == Lane::Backlog {
            queue.backlog_ends();
        }
        queue.take(&walk);
        let mut items = Vec::with_capacity(walk.taken.len());
        let mut unreadable = Vec::new();
        for debt in walk.taken {
            match self.item(kind, debt)? {
                Ok(item) => items.push(item),
                Err(id) => unreadable.push((id, Outcome::Reject(unreadable_why()))),
            }
        }
        if !unreadable.is_empty() {
            self.settle_here(place, unreadable);
        }
        // Stopped before it had enough: there may be more behind what it passed.
        if !at_end && items.len() < max {
            self.tell_changed();
        }
        Ok(items)
    }

    /// The item of a debt; its id alone if it cannot be read.
    fn item(&mut self, kind: Kind, debt: Debt) -> rusqlite::Result<Result<Item, ItemId>> {
        let (id, what) = match kind {
            Kind::Readings => {
                let what = match self.recent(debt.id) {
                    Some(reading) => Some(reading),
                    None => parse(&mut self.body, debt.id)?.map(Arc::new),
                };
                (ItemId::Reading(debt.id), what.map(Payload::Reading))
            }
            Kind::Alerts => {
                let what = parse(&mut self.event, debt.id)?.map(Arc::new);
                (ItemId::Alert(debt.id), what.map(Payload::Alert))
            }
        };
        Ok(what.map(|what| Item { id, what, attempts: debt.attempts }).ok_or(id))
    }

    fn recent(&self, id: i64) -> Option<Arc<Reading>> {
        let at = self.recent.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.recent.get(at).map(|(_, reading)| reading.clone())
    }
}

fn parse<T: DeserializeOwned>(body: &mut Statement<'_>, id: i64) -> rusqlite::Result<Option<T>> {
    let parsed = body.query_row([id], |r| Ok(serde_json::from_str(r.get_ref(0)?.as_str()?).ok())).optional()?;
    Ok(parsed.flatten())
}

fn unreadable_why() -> Why {
    Why::new("WL-J030", "the stored record cannot be read")
}
