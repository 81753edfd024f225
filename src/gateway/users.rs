//! Codes of the users of shared scales in the running gateway: given, taken away, judged by their scale; the source has them
//! as they change.
//!
//! Promises: what a scale said is in the journal soon after, and tried again until it is; both see the same order of things.
//! Must never: log a code, or keep one in a journal that is not encrypted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::clock::Clock;
use crate::control::Fault;
use crate::control::users::{self, Slot, Standing};
use crate::custody::Why;
use crate::fault::Explain;
use crate::journal::{Act, Journal, JournalError, UserCodeChange as Change};
use crate::reading::DeviceId;
use crate::source::ble::{DeviceHealth, RadioView, Said};
use crate::user_code::{Codes, Given, UserCode, Verdict};

/// What the journal does not take now is offered again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// That a scale still takes a code is written down this often.
const STILL: i64 = 3_600_000;

/// All codes, and where they are kept.
pub(super) struct Users {
    journal: Journal,
    encrypted: bool,
    clock: Clock,
    codes: watch::Sender<Arc<Codes>>,
    /// One change after the other, in the journal and here.
    turn: Mutex<()>,
}

impl Users {
    /// As the journal has them.
    pub(super) fn new(journal: &Journal, encrypted: bool, clock: &Clock) -> Arc<Self> {
        let kept = journal.reader().user_codes().unwrap_or_else(|e| {
            tracing::warn!(code = e.code(), "Codes of scales' users cannot be read: {e}.");
            Codes::new()
        });
        let (journal, clock) = (journal.clone(), clock.clone());
        Arc::new(Self { journal, encrypted, clock, codes: watch::Sender::new(Arc::new(kept)), turn: Mutex::default() })
    }

    /// As they change.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Codes>> {
        self.codes.subscribe()
    }

    fn kept(&self, device: &DeviceId, slot: u8) -> Option<Given> {
        self.codes.borrow().get(device).and_then(|codes| codes.get(&slot)).cloned()
    }

    /// In the journal, then for the source.
    async fn change(
        &self,
        change: Change,
        device: &DeviceId,
        here: impl FnOnce(&mut BTreeMap<u8, Given>),
    ) -> Result<(), JournalError> {
        self.journal.redress(Act::UserCode(Box::new(change))).await?;
        self.codes.send_modify(|all| here(Arc::make_mut(all).entry(device.clone()).or_default()));
        Ok(())
    }

    /// A person gives a user's code.
    pub(super) async fn give(&self, slot: Slot, code: UserCode, by: String) -> Result<(), Fault> {
        if !self.encrypted {
            let cause = "codes of users are kept in an encrypted journal only".into();
            return Err(Fault::Told { code: "WL-O053", cause, remedy: "Give the journal a key (`wardline key new`)." });
        }
        let Slot { device, slot, patient } = slot;
        let _turn = self.turn.lock().await;
        // Of two that were given one after the other each has its own moment, whatever the clock does.
        let after = self.kept(&device, slot).map_or(i64::MIN, |before| before.at_ms.saturating_add(1));
        let given = Given { code, by, at_ms: self.clock.now().wall_ms.max(after), said: None };
        let change = Change::Give { device: device.clone(), slot, given: given.clone(), patient };
        let kept = self.change(change, &device, |codes| drop(codes.insert(slot, given))).await;
        kept.map_err(|e| super::inbox::not_now(&e))?;
        tracing::info!(%device, slot, "The code of a user was given.");
        Ok(())
    }

    /// A person takes a user's code away.
    pub(super) async fn forget(&self, slot: Slot, by: String) -> Result<(), Fault> {
        let Slot { device, slot, patient } = slot;
        let _turn = self.turn.lock().await;
        if self.kept(&device, slot).is_none() {
            return Err(Fault::Missing("user of this device whose code is kept"));
        }
        let change = Change::Forget { device: device.clone(), slot, by, patient };
        let gone = self.change(change, &device, |codes| drop(codes.remove(&slot))).await;
        gone.map_err(|e| super::inbox::not_now(&e))?;
        tracing::info!(%device, slot, "The code of a user was taken away.");
        Ok(())
    }

    /// What a scale said of a code, as far as it is not written down.
    fn unwritten(&self, view: &RadioView) -> Vec<(DeviceId, u8, i64, (Verdict, i64))> {
        let codes = self.codes.borrow();
        let mut due = Vec::new();
        for device in &view.devices {
            for (slot, asked) in device.users.asked.iter().filter(|(_, asked)| asked.unclear == 0) {
                let given = codes.get(&device.id).and_then(|codes| codes.get(slot));
                let Some(given) = given.filter(|given| given.at_ms == asked.given_ms) else { continue };
                let at_ms = asked.at.wall_ms;
                let verdict = match asked.said {
                    Said::Nothing => continue,
                    Said::Accepted => Verdict::Accepted,
                    Said::Refused => Verdict::Refused,
                };
                let known =
                    given.said.is_some_and(|(said, then)| said == verdict && at_ms.abs_diff(then) < STILL as u64);
                if !known {
                    due.push((device.id.clone(), *slot, asked.given_ms, (verdict, at_ms)));
                }
            }
        }
        due
    }

    /// Writes down what scales say, as long as there is a source.
    pub(super) async fn follow(self: Arc<Self>, mut seen: watch::Receiver<Arc<RadioView>>) {
        loop {
            let view = seen.borrow_and_update().clone();
            let mut all = true;
            for (device, slot, given_ms, said) in self.unwritten(&view) {
                let _turn = self.turn.lock().await;
                let change = Change::Said { device: device.clone(), slot, given_ms, said };
                let judged = self.change(change, &device, |codes| {
                    let given = codes.get_mut(&slot).filter(|given| given.at_ms == given_ms);
                    given.into_iter().for_each(|given| given.said = Some(said));
                });
                all &= judged.await.is_ok();
            }
            if all {
                if seen.changed().await.is_err() {
                    return;
                }
            } else {
                tokio::time::sleep(AGAIN).await;
                if seen.has_changed().is_err() {
                    return;
                }
            }
        }
    }

    /// How it stands with the users of a device.
    pub(super) fn of(&self, device: &DeviceId, health: Option<&DeviceHealth>) -> users::Users {
        let codes = self.codes.borrow();
        let user = |(slot, given): (&u8, &Given)| {
            let asked = health.and_then(|h| h.users.asked.get(slot)).filter(|asked| asked.given_ms == given.at_ms);
            let kept = match given.said {
                None => (Standing::NotTried, None),
                Some((Verdict::Accepted, at_ms)) => (Standing::Accepted, Some(at_ms)),
                Some((Verdict::Refused, at_ms)) => (Standing::Refused, Some(at_ms)),
            };
            let (state, asked_ms) = asked.map_or(kept, |asked| {
                let state = match asked.said {
                    Said::Refused => Standing::Refused,
                    Said::Accepted if asked.unclear == 0 => Standing::Accepted,
                    Said::Accepted | Said::Nothing => Standing::Unclear,
                };
                (state, Some(asked.at.wall_ms))
            });
            users::User { slot: *slot, state, asked_ms, by: Some(given.by.clone()), given_ms: Some(given.at_ms) }
        };
        users::Users {
            users: codes.get(device).into_iter().flatten().map(user).collect(),
            faults: health.map(faults).unwrap_or_default(),
        }
    }
}

/// What a person must see to.
pub(super) fn faults(health: &DeviceHealth) -> Vec<Why> {
    let said = |fault: &crate::source::ble::UserFault| Why::new(fault.code(), format!("{fault}. {}", fault.remedy()));
    health.users.faults.iter().map(said).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::Stamp;
    use crate::config::JournalSettings;
    use crate::journal::{Key, Vault};
    use crate::source::ble::Asked;

    fn journal(folder: &Path, clock: &Clock) -> Journal {
        let vault = Vault::new(folder, Key::parse([b'7'; 64].as_slice()));
        let settings = JournalSettings { reserve_mib: 1, ..JournalSettings::default() };
        Journal::open(vault, &settings, &[], clock.clone()).unwrap().0
    }

    fn slot(slot: u8) -> Slot {
        Slot { device: DeviceId("ble:C0:26:DF:00:11:22".into()), slot, patient: None }
    }

    fn code() -> UserCode {
        UserCode::parse("1234").unwrap()
    }

    /// What the source shows after the scale said this of the code that was given then.
    fn view(asked: &[(u8, i64, Said)]) -> Arc<RadioView> {
        let mut health = DeviceHealth::new(slot(0).device);
        for (slot, given_ms, said) in asked {
            let asked = Asked { given_ms: *given_ms, said: *said, at: Stamp::at_ms(9_000), unclear: 0 };
            health.users.asked.insert(*slot, asked);
        }
        Arc::new(RadioView { devices: vec![health], ..RadioView::default() })
    }

    #[tokio::test]
    async fn a_journal_that_is_not_encrypted_takes_no_code() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(Stamp::at_ms(1_000)));
        let journal = journal(folder.path(), &clock);
        let users = Users::new(&journal, false, &clock);
        let refused = users.give(slot(1), code(), "Ada".into()).await.unwrap_err();
        assert_eq!(refused.code(), "WL-O053");
        assert_eq!(journal.reader().user_codes().unwrap(), Codes::new());
        journal.close().await;
    }

    #[tokio::test]
    async fn what_a_scale_says_is_written_down_for_the_code_that_it_was_about() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(Stamp::at_ms(1_000)));
        let journal = journal(folder.path(), &clock);
        let users = Users::new(&journal, true, &clock);
        for n in [1, 2, 2] {
            users.give(slot(n), code(), "Ada".into()).await.unwrap();
        }
        let seen = watch::Sender::new(view(&[(1, 1_000, Said::Refused), (2, 1_000, Said::Refused)]));
        let follow = users.clone().follow(seen.subscribe());
        // It is in the journal by then.
        let said = |slot: u8| users.kept(&self::slot(0).device, slot).unwrap().said;
        let look = async {
            while said(1).is_none() {
                tokio::task::yield_now().await;
            }
            assert_eq!(said(1), Some((Verdict::Refused, 9_000)));
            assert_eq!(
                said(2),
                None,
                "the one that was refused was given before, in the same millisecond of a clock that stands"
            );
            seen.send_replace(view(&[(1, 1_000, Said::Refused), (2, 1_001, Said::Accepted)]));
            while said(2).is_none() {
                tokio::task::yield_now().await;
            }
            assert_eq!(said(2), Some((Verdict::Accepted, 9_000)));
            assert_eq!(*users.watch().borrow().clone(), journal.reader().user_codes().unwrap());
            // The source ends, and it with it.
            drop(seen);
        };
        tokio::join!(follow, look);
        users.forget(slot(1), "Ada".into()).await.unwrap();
        assert_eq!(users.forget(slot(1), "Ada".into()).await.unwrap_err().code(), "WL-O004");
        journal.close().await;
    }
}
