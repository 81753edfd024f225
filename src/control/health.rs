//! `/healthz`, `/readyz`, `/metrics`: for whoever watches the box. No patient data, and nothing can be changed here.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::{Desk, Fault, routes, view::LinkState};

/// The routes of the status socket.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .fallback(|| async { Fault::Missing("address") })
        .with_state(desk)
}

/// 200 while every part makes progress: what a supervisor restarts on.
async fn healthz(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    let stalled = desk.watchdog.stalled();
    let status = if stalled.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ok": stalled.is_empty(), "stalled": stalled })))
}

/// 200 once readings are taken: healthy, and every source has been reached. Destinations may be down: that is what the journal is for.
async fn readyz(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    let down: Vec<_> = desk.sources.iter().map(|probe| probe()).filter(|l| l.state != LinkState::Up).collect();
    let ok = down.is_empty() && desk.watchdog.stalled().is_empty();
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let down: Vec<_> = down.into_iter().map(|l| json!({ "source": l.name, "why": l.why })).collect();
    (status, Json(json!({ "ok": ok, "down": down })))
}

async fn render(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    let now = desk.clock.now();
    metrics::gauge!("wardline_uptime_seconds").set(now.since(desk.started).as_secs_f64());
    metrics::gauge!("wardline_clock_trusted").set(f64::from(u8::from(now.trusted)));
    let open = routes::count(&desk.alerts.borrow());
    for (priority, n) in [("high", open.high), ("medium", open.medium), ("low", open.low)] {
        metrics::gauge!("wardline_alerts_open", "priority" => priority)
            .set(f64::from(u32::try_from(n).unwrap_or(u32::MAX)));
    }
    for (part, probes) in [("source", &desk.sources), ("destination", &desk.destinations)] {
        for link in probes.iter().map(|probe| probe()) {
            let up = f64::from(u8::from(link.state == LinkState::Up));
            metrics::gauge!("wardline_link_up", "part" => part, "name" => link.name.to_string()).set(up);
        }
    }
    if let Some(radio) = &desk.radio {
        super::radio::gauges(&radio.state(), now.wall_ms);
    }
    desk.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], desk.metrics.render())
}
