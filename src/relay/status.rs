//! `/healthz`, `/readyz`, `/status`, `/metrics` of a relay on a Unix socket. No patient data, and nothing can be changed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Stamp};
use crate::custody::Why;
use crate::nats::message::Kind;
use crate::sink::{DestinationStatus, State as Health};

/// How one way to the stream is.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Seen {
    /// Connected, with stream and consumer as they must be.
    pub(super) up: bool,
    /// Why not.
    pub(super) why: Option<Why>,
    /// In the stream, handed out to no relay.
    pub(super) pending: u64,
    /// Handed out to some relay, and not settled.
    pub(super) unacknowledged: u64,
    /// Held by this relay.
    pub(super) held: usize,
    /// Of those, not under way.
    pub(super) ready: usize,
    /// Put aside since the start.
    pub(super) rejected: u64,
    /// Of newer gateways, since the start.
    pub(super) newer: u64,
}

/// What is shown.
pub(super) struct Board {
    pub(super) started: Stamp,
    pub(super) clock: Clock,
    pub(super) name: Arc<str>,
    pub(super) taps: Vec<(Kind, watch::Receiver<Seen>)>,
    pub(super) delivered: watch::Receiver<DestinationStatus>,
    pub(super) metrics: PrometheusHandle,
}

impl Board {
    fn is_up(&self) -> bool {
        self.taps.iter().all(|(_, seen)| seen.borrow().up)
    }

    fn status(&self) -> Value {
        let taps: serde_json::Map<String, Value> =
            self.taps.iter().map(|(kind, seen)| (kind.word().to_owned(), json!(*seen.borrow()))).collect();
        json!({ "version": env!("CARGO_PKG_VERSION"), "bus": taps, "destination": *self.delivered.borrow(), "name": self.name })
    }
}

/// Serves until `stop`.
pub(super) async fn serve(listener: UnixListener, board: Arc<Board>, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { Json(json!({ "ok": true })) }))
        .route("/readyz", get(readyz))
        .route("/status", get(|State(board): State<Arc<Board>>| async move { Json(board.status()) }))
        .route("/metrics", get(render))
        .with_state(board);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// 200 while the stream is reached on every way. The destination may be down: that is what the stream is for.
async fn readyz(State(board): State<Arc<Board>>) -> impl IntoResponse {
    let status = if board.is_up() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(board.status()))
}

async fn render(State(board): State<Arc<Board>>) -> impl IntoResponse {
    let number = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    metrics::gauge!("wardline_uptime_seconds").set(board.clock.now().since(board.started).as_secs_f64());
    for (kind, seen) in &board.taps {
        let (kind, seen) = (kind.word(), seen.borrow().clone());
        metrics::gauge!("wardline_link_up", "part" => "bus", "name" => kind).set(f64::from(u8::from(seen.up)));
        metrics::gauge!("wardline_relay_pending", "kind" => kind).set(number(seen.pending));
        metrics::gauge!("wardline_relay_unacknowledged", "kind" => kind).set(number(seen.unacknowledged));
    }
    let up = f64::from(u8::from(board.delivered.borrow().state == Health::Up));
    metrics::gauge!("wardline_link_up", "part" => "destination", "name" => board.name.to_string()).set(up);
    board.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], board.metrics.render())
}
