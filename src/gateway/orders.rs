//! What people order, from the control plane's handlers to the pipeline, and the answer back.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::alarm::{Alert, AlertId};
use crate::alert::AlertError;
use crate::alert::ordered::Ordered;
use crate::config::DeviceSettings;
use crate::control::{Fault, Orders};
use crate::journal::JournalError;
use crate::journal::inbox::Cause;
use crate::profile::Decoder;
use crate::reading::{Frame, Reading};

/// Longer than this a person does not wait; the order may still be carried out.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// One order with the place for its answer.
pub(super) enum Order {
    /// A person takes an alert. `hand_over`: also one that somebody else has.
    Acknowledge { id: AlertId, by: String, hand_over: bool, answer: oneshot::Sender<Result<(), AlertError>> },
    /// A device joins, or gets another holder.
    AddDevice { device: DeviceSettings, by: String, answer: oneshot::Sender<Result<(), JournalError>> },
    /// A person said whose readings are: what they tell of people is known from now on.
    Learn { of: Vec<Reading> },
    /// A person corrected readings.
    Correct(Box<Corrected>),
    /// What the centre ordered, and what readings tell of it.
    Obey { ordered: Vec<Ordered>, recent: Vec<Reading> },
    /// Frames of the inbox, to be decoded by this decoder: how many became readings.
    Redo {
        cause: Cause,
        by: String,
        frames: Vec<(i64, Frame)>,
        decoder: Box<Decoder>,
        answer: oneshot::Sender<Result<u64, JournalError>>,
    },
}

/// What was corrected, and what follows for those who judge readings.
#[derive(Default)]
pub(super) struct Corrected {
    /// What was not true.
    pub(super) wrong: Vec<Reading>,
    /// What is.
    pub(super) right: Vec<Reading>,
    /// Those of the right ones that say something else than the wrong ones.
    pub(super) changed: Vec<Reading>,
    /// Alerts that rest on nothing any more, and who took it back.
    pub(super) baseless: Vec<(Alert, String)>,
    /// The newest readings that stand.
    pub(super) recent: Vec<Reading>,
}

/// Hands orders to the pipeline.
pub(super) struct Window(pub(super) mpsc::Sender<Order>);

impl Window {
    async fn ask<E>(
        &self,
        order: Order,
        answer: oneshot::Receiver<Result<(), E>>,
        refuse: fn(&E) -> Fault,
    ) -> Result<(), Fault> {
        self.0.try_send(order).map_err(|_| Fault::Busy)?;
        match tokio::time::timeout(ANSWER_MAX, answer).await {
            Ok(Ok(answer)) => answer.map_err(|e| refuse(&e)),
            Ok(Err(_)) | Err(_) => Err(Fault::Busy),
        }
    }
}

impl Orders for Window {
    fn acknowledge(&self, id: AlertId, by: String) -> BoxFuture<'_, Result<(), Fault>> {
        let (answer, wait) = oneshot::channel();
        let refuse = |e: &AlertError| match e {
            AlertError::NotOpen => Fault::Missing("open alert"),
            AlertError::Name => Fault::Refused(e.to_string()),
        };
        self.ask(Order::Acknowledge { id, by, hand_over: true, answer }, wait, refuse).boxed()
    }

    fn add_device(&self, device: DeviceSettings, by: String) -> BoxFuture<'_, Result<(), Fault>> {
        let (answer, wait) = oneshot::channel();
        self.ask(Order::AddDevice { device, by, answer }, wait, |e| Fault::Refused(e.to_string())).boxed()
    }
}
