//! The wiring: who is started, how they are joined, and in which order they end. The only room that knows everyone.
//!
//! Promises: nothing is acknowledged before the journal is open; a part that fails or panics ends the process in order;
//! shutdown goes sources → pipeline → deliveries → journal within `limits::SHUTDOWN_MAX`.

mod audits;
#[doc(hidden)]
pub mod bare;
mod care;
mod charts;
mod clock;
mod consents;
mod core;
mod deeds;
mod export;
mod inbox;
mod orders;
mod outbox;
mod people;
mod pipeline;
mod probe;
mod quota;
mod radio;
mod reconcile;
mod records;
mod recover;
mod registry;
pub mod replay;
mod start;
mod strangers;
mod taken_back;
mod users;
mod watch;
mod worklist;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alert::notify::Signal;
use crate::config::Config;
use crate::control::Desk;
use crate::journal::Journal;
use crate::source::Port;
use crate::{limits, telemetry};

pub use start::{Options, StartError};

/// A source that lives in this process beside the configured ones: the lab's devices, a replay.
pub struct Extra {
    /// Its name.
    pub name: Arc<str>,
    /// Runs it.
    pub run: Box<dyn FnOnce(Port) -> BoxFuture<'static, ()> + Send>,
}

/// Why the gateway ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {why}")]
pub struct Failed {
    /// Which part.
    pub part: Arc<str>,
    /// Why.
    pub why: String,
}

type Tasks = JoinSet<Result<(), Failed>>;

/// A running gateway.
pub struct Running {
    /// What the control plane sees of it.
    pub desk: Arc<Desk>,
    /// The local signal, with the latency of alerts.
    pub signal: Signal,
    /// Cancel it to end the gateway in order.
    pub stop: CancellationToken,
    work: Work,
}

/// What runs, and how it ends.
#[doc(hidden)]
pub struct Work {
    stop: CancellationToken,
    inflow: Tasks,
    outflow: Tasks,
    outflow_stop: CancellationToken,
    journal: Journal,
}

/// Starts every part; ready when this returns.
pub async fn start(config: Config, options: Options, extras: Vec<Extra>) -> Result<Running, StartError> {
    let stop = options.stop.clone();
    let outflow_stop = CancellationToken::new();
    let parts = start::Parts::build(config, options).await?;
    let (mut inflow, mut outflow) = (Tasks::new(), Tasks::new());
    let (journal, desk, signal) = parts.spawn(extras, (&mut inflow, &stop), (&mut outflow, &outflow_stop));
    telemetry::ready("Receiving.");
    let work = Work { stop: stop.clone(), inflow, outflow, outflow_stop, journal };
    Ok(Running { desk, signal, stop, work })
}

impl Running {
    /// Runs until it is told to stop, or a part fails; ends everything in order.
    pub async fn wait(self) -> Result<(), Failed> {
        self.work.wait().await
    }
}

impl Work {
    /// Runs until it is told to stop, or a part fails; ends everything in order.
    pub async fn wait(mut self) -> Result<(), Failed> {
        let first = tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            failed = first_failure(&mut self.inflow) => Err(failed),
            failed = first_failure(&mut self.outflow) => Err(failed),
        };
        telemetry::stopping();
        self.stop.cancel();
        let ended = tokio::time::timeout(limits::SHUTDOWN_MAX, async {
            let inflow = drain(&mut self.inflow).await;
            self.outflow_stop.cancel();
            let outflow = drain(&mut self.outflow).await;
            self.journal.close().await;
            inflow.and(outflow)
        });
        let ended = ended.await.unwrap_or_else(|_| {
            tracing::warn!("Shutdown took too long; what was not done is done after the restart.");
            Ok(())
        });
        first.and(ended)
    }
}

/// The first part that fails; a part that ends well is none.
async fn first_failure(tasks: &mut Tasks) -> Failed {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(failed))) => return failed,
            Some(Err(e)) => return Failed { part: "a task".into(), why: e.to_string() },
            None => std::future::pending().await,
        }
    }
}

async fn drain(tasks: &mut Tasks) -> Result<(), Failed> {
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.unwrap_or_else(|e| Err(Failed { part: "a task".into(), why: e.to_string() }));
        result = result.and(ended);
    }
    result
}
