//! Whose chart a reading belongs to, in the running gateway: what people say becomes bindings and corrections.
//!
//! Promises: a correction is made of what is stored, once, and reaches every destination that may have the old reading.
//! Must never: bind on likeness, or correct what is being sent at this moment.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use tokio::sync::mpsc;

use super::orders::{self, Order};
use crate::amendment::{self, Order as Saying};
use crate::association::{History, Unassigned};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Fault;
use crate::control::charts::{Charts, Corrected, Correction, Nobody, Right};
use crate::control::inbox::Settled;
use crate::intake::Intake;
use crate::intake::likeness::Likeness;
use crate::journal::inbox::Cause;
use crate::journal::reader::Entry;
use crate::journal::{self, Act, Journal, ReadError, Reader};
use crate::limits;
use crate::profile::{Catalogue, Decoder};
use crate::reading::{DeviceId, PatientId, Quality, Reading, ReadingKey, Taken};
use crate::vital::Category;

/// What is on its way is asked for again after so long.
const AGAIN: Duration = Duration::from_millis(100);
/// A request lasts no longer than its time-out, and what asks an absent destination for its return is held so long before it is
/// let go: longer than either, or a reading could not be corrected in an outage.
const ON_ITS_WAY_MAX: Duration = limits::PROBE_HELD_MAX.saturating_add(Duration::from_secs(30));

/// The charts of this box.
pub(super) struct Cabinet {
    reader: Reader,
    journal: Journal,
    clock: Clock,
    config: Config,
    catalogue: Arc<Catalogue>,
    orders: mpsc::Sender<Order>,
}

impl Cabinet {
    /// For the gateway of this configuration.
    pub(super) fn new(
        config: &Config,
        clock: &Clock,
        journal: &Journal,
        catalogue: Arc<Catalogue>,
        orders: mpsc::Sender<Order>,
    ) -> Arc<Self> {
        let (reader, journal) = (journal.reader(), journal.clone());
        Arc::new(Self { reader, journal, clock: clock.clone(), config: config.clone(), catalogue, orders })
    }

    /// Off the runtime's thread.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Self) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Fault> {
        let cabinet = self.clone();
        let answer = tokio::task::spawn_blocking(move || question(&cabinet)).await.map_err(|_| Fault::Busy)?;
        answer.map_err(|e| Fault::Unreadable(e.into()))
    }

    fn nobodys(&self) -> Result<Vec<Nobody>, ReadError> {
        let mut likeness = Likeness::default();
        self.reader.last_of_each("body-weight")?.iter().for_each(|r| likeness.note(r));
        let histories: HashMap<_, _> = self.reader.held()?.into_iter().map(|h| (h.device, h.history)).collect();
        let mut all = Vec::new();
        for Entry { reading, .. } in self.reader.nobodys(limits::READINGS_LISTED_MAX)? {
            let why = reading.unassigned.unwrap_or(Unassigned::NoHolder);
            let now = histories.get(&reading.device).and_then(|h| super::inbox::owner(h, &reading));
            all.push(Nobody { suggestion: likeness.suggest(&reading), reading, why, now });
        }
        Ok(all)
    }

    async fn bind(self: &Arc<Self>, keys: Vec<ReadingKey>, patient: PatientId, by: String) -> Result<Settled, Fault> {
        let asked = keys.len() as u64;
        let entries = self.read(move |cabinet| cabinet.named(&keys)).await?;
        let mut groups: HashMap<Cause, Vec<i64>> = HashMap::new();
        for entry in entries.iter().filter(|e| e.reading.patient.is_none()) {
            groups.entry(Cause::of_nobodys(&entry.reading)).or_default().push(entry.id);
        }
        let whose = entries.into_iter().map(|e| Reading { patient: Some(patient.clone()), ..e.reading }).collect();
        let mut items = 0;
        for (cause, rows) in groups {
            let act = Act::Assign { cause, by: by.clone(), patient: patient.clone(), rows };
            items += self.journal.redress(act).await.map_err(|e| super::inbox::not_now(&e))?;
        }
        match items {
            0 => Err(Fault::Refused("none of these readings is nobody's: `wardline correct` changes an owner".into())),
            items => {
                let _ = self.orders.send(Order::Learn { of: whose }).await;
                Ok(Settled { items, left: asked.saturating_sub(items) })
            }
        }
    }

    fn named(&self, keys: &[ReadingKey]) -> Result<Vec<Entry>, ReadError> {
        keys.iter().filter_map(|key| self.reader.find(*key).transpose()).collect()
    }

    /// What a person means.
    fn meant(&self, order: &Correction) -> Result<Vec<Entry>, ReadError> {
        let all = match (&order.keys[..], &order.device) {
            ([], Some(device)) => {
                let span = (order.since_ms, order.until_ms);
                self.reader.attributed(device, span, limits::CORRECTED_AT_ONCE_MAX + 1)?
            }
            (keys, _) => self.named(keys)?,
        };
        let is_meant = |r: &Reading| {
            let at = r.taken.at_ms;
            r.patient.is_some()
                && !r.is_withdrawal()
                && order.device.as_ref().is_none_or(|d| *d == r.device)
                && order.slot.is_none_or(|slot| r.slot == Some(slot))
                && order.from.as_ref().is_none_or(|from| r.patient.as_ref() == Some(from))
                && order.since_ms.is_none_or(|since| at.is_some_and(|at| since <= at))
                && order.until_ms.is_none_or(|until| at.is_some_and(|at| at < until))
        };
        Ok(all.into_iter().filter(|e| is_meant(&e.reading)).collect())
    }

    /// What is to be stored for each. Readings of which nothing would change are left out.
    fn prepare(
        &self,
        order: &Correction,
        meant: Vec<Entry>,
        at_ms: i64,
    ) -> Result<Vec<journal::Correction>, ReadError> {
        let say = Saying { by: order.by.clone(), at_ms, reason: order.reason.clone() };
        let mut anew = Anew::new(self)?;
        let mut corrections = Vec::new();
        for Entry { id, reading: old, .. } in meant {
            let replacement = match &order.to {
                Right::Patient(patient) if old.patient.as_ref() == Some(patient) => continue,
                Right::Patient(patient) => Some(amendment::replacement(&old, patient.clone(), &say)),
                Right::Nobody => Some(amendment::unowned(&old, &say)),
                Right::Void => None,
                Right::Resent => old.patient.clone().map(|patient| amendment::replacement(&old, patient, &say)),
                Right::Reread => match anew.read(id, &old)? {
                    Some(new) => Some(amendment::reread(&old, new, &say)),
                    None => continue,
                },
            };
            corrections.push(journal::Correction {
                row: id,
                withdrawal: amendment::withdrawal(&old, &say),
                replacement,
            });
        }
        Ok(corrections)
    }

    /// What follows from corrections that were made.
    fn follows(&self, done: Vec<journal::Correction>) -> Result<orders::Corrected, ReadError> {
        let keys = done.iter().map(|c| *c.withdrawal.known_as()).collect();
        let (baseless, recent) = (self.reader.baseless(Some(&keys))?, self.reader.recent()?);
        let is_news = |c: &&journal::Correction| {
            c.replacement.as_ref().is_some_and(|new| !journal::says_the_same(&c.withdrawal, new))
        };
        let changed = done.iter().filter(is_news).filter_map(|c| c.replacement.clone()).collect();
        let (wrong, right): (Vec<_>, Vec<_>) = done.into_iter().map(|c| (c.withdrawal, c.replacement)).unzip();
        let right = right.into_iter().flatten().collect();
        Ok(orders::Corrected { wrong, right, changed, baseless, recent })
    }

    /// The same for alerts that a stop left open in the middle of a correction.
    pub(super) async fn catch_up(self: Arc<Self>) {
        let left = self.read(|cabinet| {
            let baseless = cabinet.reader.baseless(None)?;
            let recent = if baseless.is_empty() { Vec::new() } else { cabinet.reader.recent()? };
            Ok(orders::Corrected { baseless, recent, ..orders::Corrected::default() })
        });
        match left.await {
            Ok(left) if !left.baseless.is_empty() => drop(self.orders.send(Order::Correct(Box::new(left))).await),
            Ok(_) => {}
            Err(_) => tracing::warn!("whether open alerts rest on readings that were taken back could not be read"),
        }
    }

    async fn carry_out(self: &Arc<Self>, order: Correction) -> Result<Corrected, Fault> {
        let (by, dry_run, at_ms) = (order.by.clone(), order.dry_run, self.clock.now().wall_ms);
        let (meant, all) = self
            .read(move |cabinet| {
                let meant = cabinet.meant(&order)?;
                let count = meant.len();
                let few = count <= limits::CORRECTED_AT_ONCE_MAX;
                Ok((count as u64, if few { cabinet.prepare(&order, meant, at_ms)? } else { Vec::new() }))
            })
            .await?;
        if meant > limits::CORRECTED_AT_ONCE_MAX as u64 {
            let most = limits::CORRECTED_AT_ONCE_MAX;
            return Err(Fault::Refused(format!(
                "more than {most} readings are meant: give a shorter time (--since, --until)"
            )));
        }
        let keys: Vec<ReadingKey> = all.iter().map(|c| *c.withdrawal.known_as()).collect();
        let unchanged = meant.saturating_sub(keys.len() as u64);
        if dry_run || all.is_empty() {
            let why = (unchanged > 0).then(|| "nothing would change for these".to_owned());
            return Ok(Corrected { corrected: keys, left: unchanged, why });
        }
        let mut waiting = all.clone();
        let until = self.clock.now().plus(ON_ITS_WAY_MAX);
        loop {
            for part in waiting.chunks(limits::INBOX_STEP_ITEMS) {
                let act = Act::Correct { by: by.clone(), corrections: part.to_vec() };
                self.journal.redress(act).await.map_err(|e| super::inbox::not_now(&e))?;
            }
            let done = self.read(|cabinet| cabinet.reader.corrected()).await?;
            waiting.retain(|c| !done.contains(&c.row));
            if waiting.is_empty() || until.since(self.clock.now()).is_zero() {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
        let late: BTreeSet<ReadingKey> = waiting.iter().map(|c| *c.withdrawal.known_as()).collect();
        let done = all.into_iter().filter(|c| !late.contains(c.withdrawal.known_as())).collect();
        let follows = self.read(|cabinet| cabinet.follows(done)).await?;
        let _ = self.orders.send(Order::Correct(Box::new(follows))).await;
        let why = match (late.is_empty(), unchanged) {
            (true, 0) => None,
            (true, _) => Some("nothing would change for these".to_owned()),
            (false, _) => Some("they were being sent all the time: say it again in a minute".to_owned()),
        };
        let left = unchanged + late.len() as u64;
        Ok(Corrected { corrected: keys.into_iter().filter(|k| !late.contains(k)).collect(), left, why })
    }
}

/// Stored bytes, read with the profiles that are in force.
struct Anew<'c> {
    reader: &'c Reader,
    decoder: Decoder,
    intake: Intake,
    histories: HashMap<DeviceId, History>,
}

impl<'c> Anew<'c> {
    fn new(cabinet: &'c Cabinet) -> Result<Self, ReadError> {
        let (decoder, mut intake) = (Decoder::new(cabinet.catalogue.clone()), Intake::new(&cabinet.config, 0));
        // For the zones of their clocks.
        for device in cabinet.reader.devices()? {
            intake.hand(&device, i64::MIN, "");
        }
        let histories = cabinet.reader.held()?.into_iter().map(|h| (h.device, h.history)).collect();
        Ok(Self { reader: &cabinet.reader, decoder, intake, histories })
    }

    /// `None`: it says what it said before, or cannot be read any more.
    fn read(&mut self, row: i64, old: &Reading) -> Result<Option<Reading>, ReadError> {
        let Some((frame, place, of)) = self.reader.frame(row)? else { return Ok(None) };
        let Ok(decoded) = self.decoder.decode(&frame) else { return Ok(None) };
        let mut readings = self.intake.take(&frame, decoded).readings;
        // Another number of readings: nobody can say which of them this one was.
        if readings.len() != of || place >= of {
            return Ok(None);
        }
        let mut new = readings.swap_remove(place);
        if new.taken.device == old.taken.device {
            // How it came, and what the device's clock was known to be, is not in the bytes: what was found then stands.
            (new.taken, new.stored, new.clocks) = (old.taken, old.stored, old.clocks.clone());
            new.quality.retain(|q| *q != Quality::TimeDoubtful);
            new.quality.extend(old.quality.iter().filter(|q| **q == Quality::TimeDoubtful));
        } else if !new.taken.is_dated_by_device() {
            (new.taken, new.clocks) = (Taken { device: new.taken.device, ..old.taken }, old.clocks.clone());
        }
        // Status bits are not counted: readings from before they were kept have none, and are not wrong for that.
        let labels = |r: &Reading| r.quality.iter().copied().filter(|q| q.status().is_none()).collect::<HashSet<_>>();
        // Whose it is follows from who had the device, and which part of it, at that time: what a person said of it was said
        // of another slot, or of another time.
        new.patient = match (new.slot, new.taken.device) == (old.slot, old.taken.device) {
            true => old.patient.clone(),
            false => self.histories.get(&new.device).and_then(|h| super::inbox::owner(h, &new)),
        };
        // Nor where a sample was taken, for the same reason.
        let site = |r: &Reading| r.site.filter(|_| r.vital.category != Category::Laboratory);
        let same = (new.vital, &new.parts, site(&new), new.taken.device, new.slot)
            == (old.vital, &old.parts, site(old), old.taken.device, old.slot);
        Ok((!same || labels(&new) != labels(old)).then_some(new))
    }
}

/// The cabinet, as the control plane's handlers see it.
pub(super) struct Counter(pub(super) Arc<Cabinet>);

impl Charts for Counter {
    fn held(&self, device: DeviceId) -> BoxFuture<'_, Result<History, Fault>> {
        self.0
            .read(move |cabinet| {
                let held = cabinet.reader.held()?.into_iter().find(|h| h.device == device);
                Ok(held.map(|h| h.history).unwrap_or_default())
            })
            .boxed()
    }
    fn nobodys(&self) -> BoxFuture<'_, Result<Vec<Nobody>, Fault>> {
        self.0.read(Cabinet::nobodys).boxed()
    }
    fn confirm(&self, keys: Vec<ReadingKey>, patient: PatientId, by: String) -> BoxFuture<'_, Result<Settled, Fault>> {
        self.0.bind(keys, patient, by).boxed()
    }
    fn correct(&self, correction: Correction) -> BoxFuture<'_, Result<Corrected, Fault>> {
        self.0.carry_out(correction).boxed()
    }
}
