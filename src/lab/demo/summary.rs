//! The reckoning: what the devices were told is safe, against what the endpoint holds.

use std::process::ExitCode;

use serde::Serialize;

use super::watch::{AlertLog, Drain};
use super::{Phase, Scene};
use crate::control::view;

/// What came of a demonstration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Readings, and packets to be rejected, that the gateway acknowledged.
    pub committed: u64,
    /// Observations found at the endpoint.
    pub delivered: u64,
    /// Broken packets kept with their reason, and readings that the endpoint refused for good.
    pub rejected: u64,
    /// Observations at the endpoint that share an identifier, or that nobody measured.
    pub duplicates: u64,
    /// committed − delivered − rejected − waiting, patient by patient and code by code.
    pub lost: u64,
    /// Alerts signalled on the box.
    pub alerts_raised: u64,
    /// Alerts found at the endpoint.
    pub alerts_delivered: u64,
    /// Frame received → signalled on the box.
    pub alert_latency_ms_p99: Option<f64>,
    /// The same, of half the alerts.
    pub alert_latency_ms_p50: Option<f64>,
    /// Observations stored per second while the outage's backlog went.
    pub drain_per_s: f64,
    /// From the end of the outage to the first Observation.
    pub first_after_outage_ms: Option<u64>,
    /// The largest backlog.
    pub backlog_max: u64,
    /// What the gateway has receipts for: readings and alert events.
    pub settled: u64,
    /// What still waited when time was up.
    pub waiting: u64,
    /// Groups of patient and code whose values differ from what was measured.
    pub altered: u64,
    /// Observations sent again under a known identifier with another content.
    pub conflicts: u64,
    /// Answers that the endpoint lost after it had stored what was sent.
    pub lost_answers: u64,
    /// Frames that the devices sent.
    pub frames: u64,
    /// For how long, seconds.
    pub seconds: u64,
    /// The run can be had again with this.
    pub seed: u64,
}

impl Summary {
    /// Whether nothing was lost, doubled, altered or left waiting.
    pub fn is_good(&self) -> bool {
        self.lost == 0 && self.duplicates == 0 && self.waiting == 0 && self.altered == 0 && self.conflicts == 0
    }

    /// 0 only for a good run.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Counts, once nothing moves any more.
pub(super) fn count(scene: &Scene<'_>, outbox: Option<&view::Outbox>, alerts: &AlertLog, drain: &Drain) -> Summary {
    let sent = scene.chart.counts();
    let held = scene.endpoint.counts();
    let difference = sent.acknowledged.compare(&scene.endpoint.tally());
    let (refused, settled) = outbox.map_or((0, 0), |o| (o.rejected, o.delivered));
    // A gateway that does not say what waits has all that is missing still to deliver.
    let owed = outbox.map_or(difference.missing, |o| o.waiting);
    Summary {
        committed: sent.acknowledged.total() + sent.broken,
        delivered: held.observations,
        rejected: sent.broken + refused,
        duplicates: held.duplicates.max(difference.surplus),
        lost: difference.missing.saturating_sub(refused + owed),
        alerts_raised: alerts.raised(),
        alerts_delivered: held.held.get("DetectedIssue").copied().unwrap_or(0),
        alert_latency_ms_p99: alerts.latency_ms(99),
        alert_latency_ms_p50: alerts.latency_ms(50),
        drain_per_s: drain.per_s(),
        first_after_outage_ms: drain.first_ms(),
        backlog_max: drain.most,
        settled,
        waiting: owed + sent.outstanding,
        altered: difference.altered,
        conflicts: held.conflicts,
        lost_answers: held.lost_answers,
        frames: sent.frames,
        seconds: scene.settings.length.as_secs(),
        seed: scene.settings.seed,
    }
}

impl Phase {
    /// What a person reads.
    pub fn words(self) -> &'static str {
        match self {
            Self::Before => "the centre loses answers",
            Self::Outage => "OUTAGE: the centre is gone",
            Self::After => "the centre is back",
            Self::Settling => "everything was sent",
        }
    }
}
