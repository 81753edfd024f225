//! `wardline relay`: brings what a fleet's gateways put into a stream to a FHIR server, beside any number of its kind.
//!
//! Promises: a message is acknowledged to the stream only after the destination's own word about it; what is refused for
//! good is in the stream of the refused before it is let go; a correction never overtakes what it corrects.
//! Must never: keep anything on a disk. The stream is the queue, and whoever holds nothing can be killed at any moment.

mod hand;
mod outbox;
mod status;
mod tap;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::RelayConfig;
use crate::fault::Explain;
use crate::nats::link::ReachError;
use crate::nats::message::Kind;
use crate::sink::fhir::FhirSink;
use crate::sink::{DestinationStatus, Dice, SinkError, deliver, nats};
use crate::socket::{self, Unbound};
use crate::{limits, telemetry};

use outbox::{Taps, Underway};
use status::{Board, Seen};
use tap::Tap;

/// What the process gives the relay beside its configuration.
pub struct Options {
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: PrometheusHandle,
    /// Cancelled: the relay ends in order.
    pub stop: CancellationToken,
}

/// Why a relay does not start, or ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Correct the destination.
    #[error("destination `{0}`: {1}")]
    Sink(String, SinkError),
    /// Correct the bus.
    #[error("bus: {0}")]
    Reach(#[from] ReachError),
    /// Stop the other relay, or give this one its own socket.
    #[error("another relay answers at {}", .0.display())]
    Taken(PathBuf),
    /// Free the socket.
    #[error("cannot listen at {}: {source}", at.display())]
    Socket {
        /// Path.
        at: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Look at the log: a part ended that must not.
    #[error("{0} ended")]
    Part(String),
}

impl Explain for RelayError {
    fn code(&self) -> &'static str {
        match self {
            Self::Sink(_, e) => e.code(),
            Self::Reach(e) => e.code(),
            Self::Taken(_) => "WL-O006",
            Self::Socket { .. } => "WL-O007",
            Self::Part(_) => "WL-O016",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Sink(_, e) => e.remedy(),
            Self::Reach(e) => e.remedy(),
            Self::Taken(_) => "Stop the other relay, or give this one a `status_socket` of its own.",
            Self::Socket { .. } => "Create the folder, make it writable for the relay's user, or choose another path.",
            Self::Part(_) => "Look at the log; the service manager starts it again.",
        }
    }
}

/// Runs until it is told to stop.
///
/// # Errors
/// When it cannot start, or a part of it ends by itself.
pub async fn run(config: RelayConfig, options: Options) -> Result<(), RelayError> {
    let Options { clock, metrics, stop } = options;
    let name: Arc<str> = config.destination.name.as_str().into();
    let underway = Underway::default();
    let known = underway.clone();
    let sink = FhirSink::new(&config.destination, &config.relay.name.as_str().into())
        .map_err(|e| RelayError::Sink(name.to_string(), e))?
        .on_behalf_of(Arc::new(move |id| known.gateway(id)));
    let reach = Arc::new(nats::reach(&config.bus, &config.relay.name)?);
    let at = config.relay.status_socket.clone();
    let listener = socket::bind(&at, 0o666).await.map_err(|e| match e {
        Unbound::Taken => RelayError::Taken(at.clone()),
        Unbound::Io(source) => RelayError::Socket { at: at.clone(), source },
    })?;
    let config = Arc::new(config);

    // The taps end after the deliveries, whose last outcomes they take to the stream.
    let taps_stop = CancellationToken::new();
    let (mut taps, mut parts) = (JoinSet::new(), JoinSet::new());
    let (news, changed) = watch::channel(0);
    let mut ways = HashMap::new();
    let mut seen = Vec::new();
    for kind in Kind::ALL {
        let (orders, arriving) = mpsc::channel(limits::RELAY_ORDERS_MAX);
        let (shown, state) = watch::channel(Seen::default());
        let tap = Tap::new(kind, config.clone(), reach.clone(), news.clone(), shown);
        taps.spawn(tap.run(arriving, taps_stop.clone()));
        ways.insert(kind, orders);
        seen.push((kind, state));
    }
    let outbox = Taps::new(ways, changed, underway);
    let (status, delivered) = watch::channel(DestinationStatus::default());
    let board =
        Board { started: clock.now(), clock: clock.clone(), name: name.clone(), taps: seen, delivered, metrics };
    parts.spawn(deliver::run(name, sink, outbox, clock, stop.clone(), status, Dice::default()));
    let serving = stop.clone();
    parts.spawn(async move {
        if let Err(e) = status::serve(listener, Arc::new(board), serving).await {
            tracing::error!(error = %e, "The status socket is not served any more.");
        }
    });
    telemetry::ready("Relaying.");
    tracing::info!(relay = config.relay.name, stream = config.bus.stream, durable = config.relay.durable, "relaying");

    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        _ = parts.join_next() => Err(RelayError::Part("a part of the relay".into())),
        _ = taps.join_next() => Err(RelayError::Part("the way to the bus".into())),
    };
    telemetry::stopping();
    stop.cancel();
    let ending = tokio::time::timeout(limits::SHUTDOWN_MAX, async {
        while parts.join_next().await.is_some() {}
        taps_stop.cancel();
        while taps.join_next().await.is_some() {}
    });
    if ending.await.is_err() {
        tracing::warn!("Shutdown took too long; what was under way comes again to another relay.");
    }
    let _ = std::fs::remove_file(&at);
    ended
}
