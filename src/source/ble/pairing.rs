//! The pairing window: a person opens it for one device, is asked what BlueZ asks, and it closes by itself.
//!
//! Promises: one device at a time, two minutes at most; outside of it, and for any other device, every question of BlueZ is
//! answered with no. The lock is held for moments only: agent, source and handlers look in from their own tasks.
//! Must never: pair what nobody named, or put a passkey into a log.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::limits::BLE_PAIRING_WINDOW;
use crate::reading::DeviceId;

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The device is waited for: it must be awake, in its pairing mode.
    Waiting,
    /// BlueZ and the device talk.
    Talking,
    /// The device shows six digits: type them here.
    Enter,
    /// Type these six digits into the device.
    Show(u32),
    /// Does the device show the same digits?
    Compare(u32),
    /// Done: bonded.
    Paired,
    /// It did not work, and why: the name of BlueZ's error, or `timeout`.
    Failed(String),
}

impl Stage {
    /// Nothing more will happen.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Paired | Self::Failed(_))
    }
}

/// What a person answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The digits that the device shows.
    Passkey(u32),
    /// The digits are the same, or not.
    Same(bool),
}

/// Why an order is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// Another device is being paired.
    Busy,
    /// Nothing of this kind is asked now.
    NotAsked,
}

struct Open {
    device: DeviceId,
    until: Instant,
    stage: Stage,
    answer: Option<oneshot::Sender<Reply>>,
}

/// The window. Closed, until a person opens it.
#[derive(Default)]
pub struct Window(Mutex<Option<Open>>);

impl Window {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.as_mut().filter(|o| !o.stage.is_over() && o.until <= Instant::now()) {
            open.stage = Stage::Failed("timeout".into());
            open.answer = None;
        }
        open
    }

    /// Opens it for this device.
    pub fn open(&self, device: DeviceId) -> Result<(), NotNow> {
        let mut open = self.lock();
        if open.as_ref().is_some_and(|o| !o.stage.is_over()) {
            return Err(NotNow::Busy);
        }
        let until = Instant::now() + BLE_PAIRING_WINDOW;
        *open = Some(Open { device, until, stage: Stage::Waiting, answer: None });
        Ok(())
    }

    /// Closes it before its time.
    pub fn close(&self) {
        self.over(Err("cancelled"));
    }

    /// The device of the last window, and how far it is.
    pub fn state(&self) -> Option<(DeviceId, Stage)> {
        self.lock().as_ref().map(|o| (o.device.clone(), o.stage.clone()))
    }

    /// A person answers what is asked.
    pub fn reply(&self, reply: Reply) -> Result<(), NotNow> {
        let mut open = self.lock();
        let Some(open) = open.as_mut() else { return Err(NotNow::NotAsked) };
        let fits = matches!(
            (&open.stage, reply),
            (Stage::Enter, Reply::Passkey(0..=999_999)) | (Stage::Compare(_), Reply::Same(_))
        );
        let answer = open.answer.take_if(|_| fits).ok_or(NotNow::NotAsked)?;
        open.stage = Stage::Talking;
        let _ = answer.send(reply);
        Ok(())
    }

    /// The device that waits to be paired.
    pub(super) fn waiting(&self) -> Option<DeviceId> {
        self.state().filter(|(_, stage)| *stage == Stage::Waiting).map(|(device, _)| device)
    }

    /// It was found: BlueZ is asked to pair it.
    pub(super) fn talking(&self) {
        if let Some(open) = self.lock().as_mut().filter(|o| o.stage == Stage::Waiting) {
            open.stage = Stage::Talking;
        }
    }

    /// BlueZ is done with it.
    pub(super) fn over(&self, result: Result<(), &str>) {
        if let Some(open) = self.lock().as_mut().filter(|o| !o.stage.is_over()) {
            open.stage = result.map_or_else(|why| Stage::Failed(why.into()), |()| Stage::Paired);
            open.answer = None;
        }
    }

    /// The window is open for this device: its address, as BlueZ writes it in paths.
    pub(super) fn is_for(&self, path: &str) -> bool {
        let open = self.lock();
        let device =
            open.as_ref().filter(|o| !o.stage.is_over()).map(|o| super::peers::address(&o.device).replace(':', "_"));
        device.is_some_and(|address| path.rsplit("/dev_").next() == Some(&*address))
    }

    /// Shows something to the person.
    pub(super) fn show(&self, path: &str, passkey: u32) -> bool {
        let ours = self.is_for(path);
        if let Some(open) = self.lock().as_mut().filter(|_| ours) {
            open.stage = Stage::Show(passkey);
        }
        ours
    }

    /// Asks the person, and waits for the answer; `None`: there is none.
    pub(super) async fn ask(&self, path: &str, stage: Stage) -> Option<Reply> {
        if !self.is_for(path) {
            return None;
        }
        let (answer, wait) = oneshot::channel();
        let until = {
            let mut open = self.lock();
            let open = open.as_mut()?;
            open.stage = stage;
            open.answer = Some(answer);
            open.until
        };
        tokio::time::timeout_at(until, wait).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/org/bluez/hci0/dev_C0_26_DF_00_11_22";

    fn device() -> DeviceId {
        DeviceId("ble:C0:26:DF:00:11:22".into())
    }

    #[tokio::test(start_paused = true)]
    async fn outside_of_the_window_every_answer_is_no() {
        let window = Window::default();
        assert_eq!(window.ask(PATH, Stage::Enter).await, None);
        window.open(device()).unwrap();
        assert_eq!(window.open(device()), Err(NotNow::Busy));
        assert_eq!(window.ask("/org/bluez/hci0/dev_C0_26_DF_00_11_23", Stage::Enter).await, None);
        assert!(!window.show("/org/bluez/hci0/dev_C0_26_DF_00_11_23", 1) && window.show(PATH, 1));
        tokio::time::sleep(BLE_PAIRING_WINDOW).await;
        assert_eq!(window.ask(PATH, Stage::Enter).await, None);
        assert_eq!(window.state().unwrap().1, Stage::Failed("timeout".into()));
        assert_eq!(window.open(device()), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_is_asked_and_only_a_fitting_answer_counts() {
        let window = Window::default();
        window.open(device()).unwrap();
        window.talking();
        let person = async {
            tokio::task::yield_now().await;
            assert_eq!(window.reply(Reply::Same(true)), Err(NotNow::NotAsked));
            assert_eq!(window.reply(Reply::Passkey(1_000_000)), Err(NotNow::NotAsked));
            assert_eq!(window.reply(Reply::Passkey(123_456)), Ok(()));
            assert_eq!(window.reply(Reply::Passkey(123_456)), Err(NotNow::NotAsked));
        };
        let (reply, ()) = tokio::join!(window.ask(PATH, Stage::Enter), person);
        assert_eq!(reply, Some(Reply::Passkey(123_456)));
        window.over(Ok(()));
        window.close();
        assert_eq!(window.state().unwrap().1, Stage::Paired);
    }
}
