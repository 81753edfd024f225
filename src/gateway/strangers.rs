//! Looks for strangers at a destination: Observations that bear this gateway's mark and that its journal does not know.
//!
//! Promises: judged by the whole identity; whatever the journal holds is known, in whichever state; a destination whose
//! answer cannot be trusted counts as not asked. Must never: guess, change anything there, log whose they are, or name anybody
//! to a destination that may not have their readings.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::probe::{Survey, Surveys};
use crate::clock::DAY_MS;
use crate::fhir::{Clue, Identity};
use crate::journal::{Horizon, ReadError, Reader, Sought};
use crate::limits;
use crate::minimum::{Field, Fields};
use crate::reading::{PatientId, Reading};
use crate::sink::probe::shelf::{Bearer, Find, Purse, Reason, Ways};

/// The destination's clock may be behind ours, and still what it stored since then is to be found.
const SLACK_MS: i64 = 3_600 * 1_000;
/// Pause between requests, beside the destination's stated rate.
const PAUSE: Duration = Duration::from_millis(50);
/// Identities of test readings begin so: a probe wrote them, with its owner's consent.
const PROBES: &str = "probe:";

/// Readings of one patient that the destination was just seen to hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    all: u64,
    /// Of these, measured in the period.
    recent: u64,
}

/// Of each patient.
pub(super) type AllHeld = HashMap<PatientId, Held>;

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) sought: Sought,
    /// Observations that were looked at.
    pub(super) seen: u64,
    /// Where the first of the strangers are.
    pub(super) places: Vec<String>,
}

pub(super) fn note(held: &mut AllHeld, reading: &Reading, since_ms: i64) {
    if let Some(patient) = &reading.patient {
        let held = held.entry(patient.clone()).or_default();
        held.all += 1;
        held.recent += u64::from(reading.taken.at_ms.is_some_and(|at_ms| at_ms >= since_ms));
    }
}

impl Surveys {
    /// What was stored there since then, within this time. An error: it counts as not asked.
    pub(super) async fn strangers(
        &self,
        name: &str,
        survey: &Survey,
        since_ms: i64,
        held: &AllHeld,
        most: Duration,
    ) -> Result<Found, Reason> {
        let found = tokio::time::timeout(most, self.seek(name, survey, since_ms, held)).await;
        found.map_err(|_| Reason::from("it was cut short: it took too long"))?
    }

    /// The question names whom it is about: nobody of whom nothing may go there.
    fn who_may_be_named(&self, destination: &str, mut people: Vec<PatientId>) -> Vec<PatientId> {
        let (consents, now) = (self.journal.consents(), self.clock.now());
        people.retain(|patient| consents.gate(destination).is_some_and(|gate| gate.may_ask(patient, now)));
        people
    }

    async fn seek(&self, name: &str, survey: &Survey, since_ms: i64, held: &AllHeld) -> Result<Found, Reason> {
        if !survey.fields.has(Field::Gateway) {
            return Err("it does not get the gateway's name, by which its own are told".into());
        }
        let known = survey.known();
        let ways = Ways::of(known.stated.as_ref().map(|(_, stated)| stated))?;
        let span = (since_ms, i64::MAX);
        let people = self.read(move |reader| reader.people(span)).await?;
        let people = self.who_may_be_named(name, people);
        let horizon = self.read(Reader::horizon).await?;
        let mut judge = Judge::new(horizon);
        let mut purse = Purse::default();
        let mut shown = Vec::with_capacity(people.len());
        for patient in people {
            let mut shelf = survey.prober().shelf(&patient, since_ms - SLACK_MS, ways)?;
            let place = shown.len();
            let mut mine = Shown { known: 0, counted: false };
            while let Some(finds) = shelf.page(&mut purse).await? {
                let fields = survey.fields.clone();
                let judged = self.read(move |reader| look_up(reader, finds, &fields)).await?;
                mine.known += judge.take(judged, place);
                tokio::time::sleep(PAUSE).await;
            }
            mine.counted = shelf.is_counted();
            shown.push(mine);
            let held = held.get(&patient).copied().unwrap_or_default();
            judge.expected.push(if ways.by_date() { held.recent } else { held.all });
        }
        let open: HashSet<_> = judge.open.iter().map(|(half, ..)| *half).collect();
        let anywhere = match open.is_empty() {
            true => HashMap::new(),
            false => self.read(move |reader| reader.alike_anywhere(&open)).await?,
        };
        judge.close(&anywhere, &mut shown, &survey.fields);
        judge.trust(&shown)?;
        Ok(judge.verdict(since_ms))
    }

    /// Asks the journal off the runtime's thread.
    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Reason> {
        let reader = self.reader.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&reader)).await;
        answer.ok().and_then(Result::ok).ok_or_else(|| "the journal could not be read".into())
    }
}

/// A find, and what the journal said at once.
enum Judged {
    Known(Find),
    Unknown(Find, Option<Clue>),
}

fn look_up(reader: &Reader, finds: Vec<Find>, fields: &Fields) -> Result<Vec<Judged>, ReadError> {
    let clues: Vec<Option<Clue>> = finds.iter().map(|find| Clue::of(&find.value)).collect();
    let wanted: Vec<_> = clues.iter().flatten().map(|clue| (clue.at_ms, clue.half)).collect();
    let mut alike = reader.alike(&wanted)?.into_iter();
    let judge = |(find, clue): (Find, Option<Clue>)| {
        let readings = clue.and_then(|_| alike.next()).unwrap_or_default();
        if is_among(&find, &readings, fields) { Judged::Known(find) } else { Judged::Unknown(find, clue) }
    };
    Ok(finds.into_iter().zip(clues).map(judge).collect())
}

/// The whole identity decides. Of a damaged row nobody can say: it counts.
fn is_among(find: &Find, readings: &[Option<Reading>], fields: &Fields) -> bool {
    readings.iter().any(|reading| match reading {
        Some(reading) => Identity::of(&fields.cut(reading)).is_ok_and(|identity| identity.value() == find.value),
        None => true,
    })
}

/// What a destination showed of one patient.
struct Shown {
    known: u64,
    /// It said how many there are, and that is how many there were.
    counted: bool,
}

/// Decides find by find.
struct Judge {
    horizon: Option<Horizon>,
    /// Readings of each patient that must be shown.
    expected: Vec<u64>,
    /// Not found by their time: it may not be what the journal orders them by. With the patient's place.
    open: Vec<([u8; 8], Find, Clue, usize)>,
    seen: u64,
    /// Known ones that name no gateway, which we always do.
    unmarked: u64,
    strangers: u64,
    unjudged: u64,
    places: Vec<String>,
}

impl Judge {
    fn new(horizon: Option<Horizon>) -> Self {
        Self {
            horizon,
            expected: Vec::new(),
            open: Vec::new(),
            seen: 0,
            unmarked: 0,
            strangers: 0,
            unjudged: 0,
            places: Vec::new(),
        }
    }

    /// Answers how many are known.
    fn take(&mut self, page: Vec<Judged>, place: usize) -> u64 {
        let mut known = 0;
        for one in page {
            self.seen += 1;
            match one {
                Judged::Known(find) => known += self.known(&find),
                // Without a time of the device's own the journal may order it by the number of the message.
                Judged::Unknown(find, Some(clue)) if !clue.dated => self.open.push((clue.half, find, clue, place)),
                Judged::Unknown(find, clue) => self.unknown(find, clue),
            }
        }
        known
    }

    fn known(&mut self, find: &Find) -> u64 {
        self.unmarked += u64::from(find.bearer == Bearer::Nobody);
        1
    }

    fn close(&mut self, anywhere: &HashMap<[u8; 8], Vec<Option<Reading>>>, shown: &mut [Shown], fields: &Fields) {
        for (half, find, clue, place) in std::mem::take(&mut self.open) {
            if anywhere.get(&half).is_some_and(|readings| is_among(&find, readings, fields)) {
                let known = self.known(&find);
                shown.iter_mut().skip(place).take(1).for_each(|shown| shown.known += known);
            } else {
                self.unknown(find, Some(clue));
            }
        }
    }

    fn unknown(&mut self, find: Find, clue: Option<Clue>) {
        if find.bearer != Bearer::Ours || find.void || find.value.starts_with(PROBES) {
            return;
        }
        if !self.can_judge(&find, clue) {
            self.unjudged += 1;
            return;
        }
        self.strangers += 1;
        if self.places.len() < limits::STRANGERS_SHOWN_MAX {
            self.places.push(find.place);
        }
    }

    /// Whether the journal would know it if it had ever been ours: it is younger than all that was removed, by each of its times.
    fn can_judge(&self, find: &Find, clue: Option<Clue>) -> bool {
        let (Some(Horizon { complete_ms, removed }), Some(updated_ms)) = (self.horizon, find.updated_ms) else {
            return false;
        };
        // A device's local time may be a day off, either way.
        let taken = clue.is_some_and(|clue| clue.at_ms - DAY_MS >= complete_ms);
        updated_ms >= complete_ms && (!removed || taken)
    }

    /// Whether what was shown can be all that is there.
    fn trust(&self, shown: &[Shown]) -> Result<(), Reason> {
        if self.unmarked > 0 {
            return Err("it does not show the extension that names the gateway, which is always sent".into());
        }
        for (shown, expected) in shown.iter().zip(&self.expected) {
            if shown.known == 0 && *expected > 0 {
                return Err("by patient it shows none of the readings that it holds".into());
            }
            if !shown.counted && shown.known < *expected {
                return Err(
                    "by patient it shows fewer readings than it holds, and does not say how many there are".into()
                );
            }
        }
        Ok(())
    }

    fn verdict(self, since_ms: i64) -> Found {
        let sought = Sought { since_ms, strangers: self.strangers, unjudged: self.unjudged };
        Found { sought, seen: self.seen, places: self.places }
    }
}

#[cfg(test)]
mod tests;
