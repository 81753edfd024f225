//! Looks at each withdrawal once more, some minutes after its destination took it.
//!
//! A request that its sender gave up may still be worked on there, and end after the withdrawal that followed it: where the
//! reading has an id of ours, it then stands again in a chart that it was taken out of. Promises: such a reading is taken back
//! again, long before the night in which all is looked at. Must never: ask about the same withdrawal again and again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::probe::{Survey, Surveys};
use super::reconcile::{ASKED_AT_ONCE, PAUSE};
use crate::clock::DAY_MS;
use crate::journal::Recount;

/// After a restart as well: who was away for days may come back to what it was sent before.
const BACK_MS: i64 = 7 * DAY_MS;
/// Withdrawals of one destination that are followed, the latest.
const FOLLOWED_MAX: usize = 2_000;

/// Withdrawals that each destination took, by their rows; and whether they were looked at since.
#[derive(Default)]
pub(super) struct Looks(HashMap<Arc<str>, BTreeMap<i64, bool>>);

impl Surveys {
    /// Asks for what was there already at the last look, and was not asked for. Answers of how many, and how many stood again.
    pub(super) async fn look_back(&self, name: &Arc<str>, survey: &Survey, looks: &mut Looks) -> (u64, u64) {
        let (reader, name_of, since_ms) = (self.reader.clone(), name.clone(), self.clock.now().wall_ms - BACK_MS);
        let taken = tokio::task::spawn_blocking(move || reader.withdrawals(&name_of, since_ms, FOLLOWED_MAX)).await;
        let Some(taken) = taken.ok().and_then(Result::ok) else { return (0, 0) };
        let before = looks.0.remove(name).unwrap_or_default();
        let known = |row: &i64| before.get(row).copied();
        let mut now: BTreeMap<i64, bool> = taken.iter().map(|(row, _)| (*row, known(row) == Some(true))).collect();
        let due: Vec<_> = taken.into_iter().filter(|(row, _)| known(row) == Some(false)).collect();
        let mut found = Recount::default();
        for part in due.chunks(ASKED_AT_ONCE) {
            // One that cannot be asked is asked at the next look.
            let Ok(counts) = self.ask_for(name, survey, part, &mut found).await else { break };
            for ((row, _), n) in part.iter().zip(counts) {
                match n {
                    // It goes out again, and is followed anew.
                    0 => drop(now.remove(row)),
                    _ => drop(now.insert(*row, true)),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        looks.0.insert(name.clone(), now);
        if found.missing > 0 {
            tracing::warn!(destination = %name, stood = found.missing, "Readings that were taken back stood there again: they are taken back again.");
        }
        (found.checked, found.missing)
    }
}

#[cfg(test)]
impl Surveys {
    pub(super) async fn look_back_by_name(&self, name: &str, looks: &mut Looks) -> (u64, u64) {
        let (name, survey) = self.one(name).unwrap();
        self.look_back(name, survey, looks).await
    }
}
