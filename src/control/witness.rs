//! Who looked at patients' data here, or took it out: in the chain of custody before it is shown.
//!
//! Promises: one entry for each stay, however often it looks again; an export that cannot be recorded is not begun, and one
//! that broke off says so. Must never: keep a person from an alert because a record could not be written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Fault;
use crate::clock::{Clock, Stamp};
use crate::deed::{Deed, Did};
use crate::reading::PatientId;

/// Who looks again within this time has not left.
const STAY_GAP: Duration = Duration::from_secs(3_600);
/// A stay is recorded anew after this time, however often it looks.
const STAY_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Nobody waits longer for the record of a look: a disk that stalls must not hide an alert.
const KEPT_WITHIN: Duration = Duration::from_secs(2);
/// Stays that are remembered: somebody for somebody.
const STAYS_MAX: usize = 1_000;

/// The other end of a connection, in words: by the kernel's word, or the local page.
#[derive(Clone, Debug)]
pub struct Caller(pub Arc<str>);

/// Where deeds are kept.
pub trait Deeds: Send + Sync {
    /// Answers its entry in the chain of custody, after the sync.
    fn keep(&self, _deed: Deed) -> BoxFuture<'_, Result<i64, Fault>> {
        async { Ok(0) }.boxed()
    }
    /// For whoever cannot wait.
    fn keep_later(&self, _deed: Deed) {}
}

/// Keeps nothing.
pub struct Unrecorded;

impl Deeds for Unrecorded {}

/// Somebody, who looks at somebody's data; or at what is nobody's.
type Look = (Arc<str>, Option<PatientId>);

/// Records what is looked at and taken out.
pub struct Witness {
    deeds: Arc<dyn Deeds>,
    clock: Clock,
    /// When each began, and when it last looked.
    stays: Mutex<BTreeMap<Look, (Stamp, Stamp)>>,
}

impl Witness {
    /// Keeps it there.
    pub fn new(deeds: Arc<dyn Deeds>, clock: Clock) -> Self {
        Self { deeds, clock, stays: Mutex::default() }
    }

    fn stays(&self) -> MutexGuard<'_, BTreeMap<Look, (Stamp, Stamp)>> {
        self.stays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody is about to see data of these; `None`: of nobody.
    pub async fn saw(&self, Caller(who): &Caller, patients: impl IntoIterator<Item = Option<PatientId>>) {
        let looks: Vec<Look> = patients.into_iter().map(|patient| (who.clone(), patient)).collect();
        let (new, now) = (self.begun(&looks), self.clock.now());
        if new.is_empty() {
            return;
        }
        let deed = Did::Read.by(Some(who)).about(new.iter().filter_map(|(_, patient)| patient.as_ref()));
        let why = match tokio::time::timeout(KEPT_WITHIN, self.deeds.keep(deed)).await {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some(why),
            // It may be kept all the same; said twice is better than not at all.
            Err(_) => Some(Fault::Busy),
        };
        if let Some(why) = why {
            tracing::warn!(%why, "That somebody looked at readings could not be recorded: they were shown.");
            // The next look is recorded instead.
            self.stays().retain(|look, (began, _)| !(new.contains(look) && began.mono_us >= now.mono_us));
        }
    }

    /// Which of them begin a stay with this look.
    fn begun(&self, looks: &[Look]) -> Vec<Look> {
        let now = self.clock.now();
        let mut stays = self.stays();
        let mut new: Vec<Look> = Vec::new();
        for look in looks {
            match stays.get_mut(look) {
                Some((began, last)) if now.since(*last) <= STAY_GAP && now.since(*began) < STAY_MAX => *last = now,
                _ => {
                    stays.insert(look.clone(), (now, now));
                    new.push(look.clone());
                }
            }
        }
        while stays.len() > STAYS_MAX {
            let oldest = stays.iter().min_by_key(|(_, (_, last))| last.mono_us).map(|(look, _)| look.clone());
            oldest.map(|look| stays.remove(&look));
        }
        new
    }

    /// Readings are about to leave in bulk: of one patient, or of all of whom they are.
    pub async fn exports(&self, who: &str, patient: Option<&PatientId>) -> Result<Taken, Fault> {
        let begun = self.deeds.keep(Did::Exporting.by(Some(who)).about(patient)).await?;
        let deed = Deed { failed: true, begun: Some(begun), ..Did::Exported.by(Some(who)).about(patient) };
        Ok(Taken { deeds: self.deeds.clone(), deed: Some(deed) })
    }

    /// Somebody wanted to export who may not.
    pub async fn refused(&self, Caller(who): &Caller) {
        // Recorded like a look of its own kind, so that asking again and again does not flood.
        let look = (Arc::from(format!("{who}: refused")), None);
        if !self.begun(&[look]).is_empty() {
            let _ = self.deeds.keep(Deed { failed: true, ..Did::Exported.by(Some(who)) }).await;
        }
    }
}

/// An export under way: whoever drops it without a word has broken it off.
pub struct Taken {
    deeds: Arc<dyn Deeds>,
    deed: Option<Deed>,
}

impl Taken {
    /// Something of this patient's is in it.
    pub fn holds(&mut self, patient: &PatientId) {
        self.deed = self.deed.take().map(|deed| deed.about([patient]));
    }

    /// All of it was handed out.
    pub fn whole(mut self) {
        if let Some(deed) = self.deed.take() {
            self.deeds.keep_later(Deed { failed: false, ..deed });
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(deed) = self.deed.take() {
            self.deeds.keep_later(deed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps them, unless it is full.
    #[derive(Default)]
    struct Shelf(Mutex<Vec<Deed>>, std::sync::atomic::AtomicBool);

    impl Deeds for Shelf {
        fn keep(&self, deed: Deed) -> BoxFuture<'_, Result<i64, Fault>> {
            let full = self.1.load(std::sync::atomic::Ordering::SeqCst);
            if !full {
                self.0.lock().unwrap().push(deed);
            }
            async move { if full { Err(Fault::Busy) } else { Ok(7) } }.boxed()
        }
        fn keep_later(&self, deed: Deed) {
            self.0.lock().unwrap().push(deed);
        }
    }

    fn at(hours: u64, minutes: u64) -> Stamp {
        let ms = (hours * 60 + minutes) * 60_000;
        Stamp { mono_us: ms * 1_000, ..Stamp::at_ms(i64::try_from(ms).unwrap()) }
    }

    fn whose(name: &str) -> Option<PatientId> {
        Some(PatientId::new(name))
    }

    #[tokio::test]
    async fn a_stay_is_one_entry_however_often_it_looks() {
        let (shelf, clock) = (Arc::new(Shelf::default()), Clock::manual(at(0, 0)));
        let witness = Witness::new(shelf.clone(), clock.clone());
        let (ada, page) = (Caller("ada".into()), Caller("page".into()));
        let count = || shelf.0.lock().unwrap().len();
        // A page that polls all day.
        for minute in 0..23 * 60 {
            clock.set(at(0, minute));
            witness.saw(&page, [whose("Patient/a"), whose("Patient/b"), None]).await;
        }
        assert_eq!(count(), 1);
        assert_eq!(shelf.0.lock().unwrap()[0].patients.len(), 2);
        witness.saw(&page, [whose("Patient/c")]).await;
        witness.saw(&ada, [whose("Patient/a")]).await;
        witness.saw(&ada, []).await;
        assert_eq!(count(), 3, "another patient, and another person");
        clock.set(at(23, 30));
        witness.saw(&page, [whose("Patient/a"), whose("Patient/c")]).await;
        clock.set(at(24, 0));
        witness.saw(&page, [whose("Patient/a"), whose("Patient/c")]).await;
        assert_eq!((count(), shelf.0.lock().unwrap()[3].patients.len()), (4, 1), "each day anew");
        clock.set(at(25, 1));
        witness.saw(&ada, [whose("Patient/a")]).await;
        assert_eq!(count(), 5, "she had left");
    }

    #[tokio::test]
    async fn what_could_not_be_recorded_is_recorded_with_the_next_look() {
        let (shelf, clock) = (Arc::new(Shelf::default()), Clock::manual(at(0, 0)));
        let witness = Witness::new(shelf.clone(), clock);
        let ada = Caller("ada".into());
        shelf.1.store(true, std::sync::atomic::Ordering::SeqCst);
        witness.saw(&ada, [whose("Patient/a")]).await;
        assert!(witness.exports("ada", None).await.is_err(), "it is not begun");
        shelf.1.store(false, std::sync::atomic::Ordering::SeqCst);
        witness.saw(&ada, [whose("Patient/a")]).await;
        assert_eq!(shelf.0.lock().unwrap().len(), 1);
    }

    /// A disk that does not answer.
    struct Stalled;

    impl Deeds for Stalled {
        fn keep(&self, _: Deed) -> BoxFuture<'_, Result<i64, Fault>> {
            std::future::pending().boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_stalls_hides_nothing() {
        let witness = Witness::new(Arc::new(Stalled), Clock::manual(at(0, 0)));
        let ada = Caller("ada".into());
        let looked = witness.saw(&ada, [whose("Patient/a")]);
        assert!(tokio::time::timeout(2 * KEPT_WITHIN, looked).await.is_ok());
        assert!(witness.stays().is_empty(), "it is recorded with the next look");
    }

    #[tokio::test]
    async fn an_export_that_breaks_off_says_so() {
        let (shelf, clock) = (Arc::new(Shelf::default()), Clock::manual(at(0, 0)));
        let witness = Witness::new(shelf.clone(), clock);
        let mut taken = witness.exports("ada", None).await.unwrap();
        taken.holds(&PatientId::new("Patient/a"));
        taken.holds(&PatientId::new("Patient/a"));
        drop(taken);
        witness.exports("ada", None).await.unwrap().whole();
        for _ in 0..3 {
            witness.refused(&Caller("eve".into())).await;
        }
        let said = shelf.0.lock().unwrap();
        let said: Vec<_> = said.iter().map(|d| (d.did, d.failed, d.begun, d.patients.len())).collect();
        let begun = (Did::Exporting, false, None, 0);
        let ends = [(Did::Exported, true, Some(7), 1), (Did::Exported, false, Some(7), 0)];
        assert_eq!(said, [begun, ends[0], begun, ends[1], (Did::Exported, true, None, 0)]);
    }
}
