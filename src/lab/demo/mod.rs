//! The demonstration: a ward's day in half a minute, through the real gateway, to an endpoint that goes away in the middle.
//!
//! Nothing is installed and nothing leaves the machine. The lab counts, not the gateway: what the devices were told is
//! safe, against what the endpoint holds. Must never: leave its folder behind, or call a run good that lost a reading.

mod stage;
mod summary;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::clock::{Clock, Stamp};
use crate::control::{Desk, view};
use crate::gateway::{self, Extra, Failed, Options, StartError};
use crate::lab::endpoint::{Endpoint, EndpointError, Manners, Outage};
use crate::lab::ward::Chart;
use crate::source::sim;
use crate::telemetry;
use stage::Stage;
pub use summary::Summary;
use watch::{AlertLog, Drain};

/// How the demonstration runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long the devices send.
    pub length: Duration,
    /// Seed of the ward and of the endpoint's misfortunes.
    pub seed: u64,
    /// Port of the page; 0: any free one.
    pub port: u16,
    /// How many patients.
    pub patients: u32,
    /// The endpoint forgets one Observation that it has answered for: the counting must find it.
    pub drop_one: bool,
}

/// Where the demonstration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The endpoint is there, with bad manners.
    Before,
    /// The endpoint is gone.
    Outage,
    /// The endpoint is there again.
    After,
    /// All is sent; what waits is delivered.
    Settling,
}

/// One look at a running demonstration.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// Where it is.
    pub phase: Phase,
    /// Readings that the gateway acknowledged.
    pub committed: u64,
    /// Observations at the endpoint.
    pub delivered: u64,
    /// Acknowledged and not there yet.
    pub waiting: u64,
    /// Open alerts.
    pub alerts: usize,
}

/// Why a demonstration could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No folder, port or clock to work with.
    #[error("the stage cannot be set: {0}")]
    Stage(#[from] std::io::Error),
    /// The endpoint does not start.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The gateway refuses the demonstration's configuration.
    #[error("the gateway does not start: {0}")]
    Start(Box<StartError>),
    /// The gateway ended by itself.
    #[error("the gateway ended: {0}")]
    Ended(#[from] Failed),
    /// The counters cannot be started.
    #[error("the counters cannot be started: {0}")]
    Metrics(String),
}

/// After the last reading was sent: how long what waits may take to be delivered before it counts as waiting.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// How often the lab looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A demonstration in progress.
pub struct Demo {
    stage: Stage,
    endpoint: Endpoint,
    chart: Arc<Chart>,
    clock: Clock,
    started: Stamp,
    settings: Settings,
    desk: Arc<Desk>,
    running: gateway::Running,
}

impl Demo {
    /// Sets the stage and starts everything.
    pub async fn start(settings: Settings) -> Result<Self, DemoError> {
        let clock = Clock::system();
        let started = clock.now();
        // Lost answers from the first moment on: what the gateway sends again must not be there twice.
        let rude = Manners {
            latency_ms: 2,
            jitter_ms: 8,
            lost_rate: 0.04,
            forget: settings.drop_one.into(),
            ..Manners::default()
        };
        let endpoint = Endpoint::start(crate::lab::endpoint::Settings {
            seed: settings.seed,
            manners: rude,
            ..crate::lab::endpoint::Settings::default()
        })?;
        let stage = Stage::set(&settings, &endpoint.url())?;
        let (play, chart) = stage.ward.play(stage::tempo(settings.length), started);
        let name: Arc<str> = "ward".into();
        let devices = Extra { name: name.clone(), run: Box::new(|port| Box::pin(sim::run(port, name, play))) };
        let options = Options {
            clock: clock.clone(),
            metrics: telemetry::start_metrics().map_err(|e| DemoError::Metrics(e.to_string()))?,
            configuration: None,
            stop: tokio_util::sync::CancellationToken::new(),
        };
        let running = gateway::start(stage.config.clone(), options, vec![devices]).await;
        let running = running.map_err(|e| DemoError::Start(Box::new(e)))?;
        let desk = running.desk.clone();
        Ok(Self { stage, endpoint, chart, clock, started, settings, desk, running })
    }

    /// Where the page is.
    pub fn page(&self) -> String {
        self.stage.page()
    }

    /// Plays it to the end and counts. `tell` is called about ten times a second.
    /// `stay`: what to wait for before the gateway is stopped.
    pub async fn play(
        self,
        mut tell: impl FnMut(Progress),
        stay: impl AsyncFnOnce(&Summary),
    ) -> Result<Summary, DemoError> {
        let Self { stage, endpoint, chart, clock, started, settings, desk, running } = self;
        let stop = running.stop.clone();
        let scene =
            Scene { endpoint: &endpoint, chart: &chart, clock: &clock, started, settings: &settings, desk: &desk };
        let mut ended = Box::pin(running.wait());
        let summary = tokio::select! {
            ended = &mut ended => Err(ended.err().map_or_else(|| std::io::Error::other("stopped").into(), DemoError::from)),
            summary = async {
                let summary = scene.play(&mut tell).await;
                stay(&summary).await;
                summary
            } => Ok(summary),
        };
        if summary.is_ok() {
            stop.cancel();
            ended.await?;
        }
        drop(stage);
        summary
    }
}

struct Scene<'a> {
    endpoint: &'a Endpoint,
    chart: &'a Chart,
    clock: &'a Clock,
    started: Stamp,
    settings: &'a Settings,
    desk: &'a Desk,
}

impl Scene<'_> {
    async fn play(&self, tell: &mut impl FnMut(Progress)) -> Summary {
        let mut alerts = AlertLog::new(self.desk.alerts.clone());
        let mut drain = Drain::default();
        let mut phase = Phase::Before;
        let mut told = 0;
        let mut all_sent: Option<Duration> = None;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = alerts.next(self.clock) => continue,
                _ = looks.tick() => {}
            }
            let elapsed = self.clock.now().since(self.started);
            phase = self.advance(phase, elapsed);
            let progress = self.progress(elapsed, phase, alerts.open());
            drain.see(&progress);
            // Ten times a second is enough for an eye.
            if elapsed.as_millis() / 100 != told {
                told = elapsed.as_millis() / 100;
                tell(progress);
            }
            if phase == Phase::Settling {
                let since = *all_sent.get_or_insert(elapsed);
                let over = elapsed.saturating_sub(since) > SETTLE_MAX;
                // The endpoint may lack what it forgot: the gateway says when nothing waits.
                let outbox = self.outbox().await;
                let waits = outbox.as_ref().map_or(progress.waiting, |o| o.waiting) > 0;
                if over || !(waits || self.chart.totals().2 > 0) {
                    alerts.drain(self.clock);
                    return summary::count(self, outbox.as_ref(), &alerts, &drain);
                }
            }
        }
    }

    /// The endpoint's comings and goings, by the script.
    fn advance(&self, phase: Phase, elapsed: Duration) -> Phase {
        let third = self.settings.length / 3;
        let manners = self.endpoint.manners();
        match phase {
            Phase::Before if elapsed >= third => {
                self.endpoint.behave(Manners { outage: Outage::Refuse, lost_rate: 0.0, ..manners });
                Phase::Outage
            }
            Phase::Outage if elapsed >= third * 2 => {
                self.endpoint.behave(Manners { outage: Outage::None, ..manners });
                Phase::After
            }
            Phase::After if self.chart.totals().3 => Phase::Settling,
            same => same,
        }
    }

    fn progress(&self, elapsed: Duration, phase: Phase, alerts: usize) -> Progress {
        let (committed, ..) = self.chart.totals();
        let delivered = self.endpoint.counts().observations;
        Progress { elapsed, phase, committed, delivered, waiting: committed.saturating_sub(delivered), alerts }
    }

    /// What the gateway says still waits at the one destination, and what it was refused. `None`: it does not say.
    async fn outbox(&self) -> Option<view::Outbox> {
        let records = self.desk.records.clone();
        let rows = tokio::task::spawn_blocking(move || records.outbox(Some(stage::CENTRE))).await;
        rows.ok()?.ok()?.into_iter().next()
    }
}
