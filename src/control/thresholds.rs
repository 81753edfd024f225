//! What the centres ordered, and what people decide about it, over HTTP/JSON.
//!
//! Must never: let anybody decide without a name, or decide anything itself.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::inbox::{name, text};
use super::routes::admitted;
use super::{Desk, Fault, Role};
use crate::careplan::{Event, Order};
use crate::limits;

/// What came of asking a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its name.
    pub destination: String,
    /// Patients who were asked about.
    pub patients: usize,
    /// Why not all of them.
    pub why: Option<String>,
}

/// The orders, for the running gateway.
pub trait Thresholds: Send + Sync {
    /// Those in force, waiting or refused; or all that are known.
    fn orders(&self, _all: bool) -> BoxFuture<'_, Result<Vec<Order>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// What happened to them, newest first.
    fn history(&self) -> BoxFuture<'_, Result<Vec<Event>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// A person brings one into force.
    fn accept(&self, _id: String, _by: String) -> BoxFuture<'_, Result<Order, Fault>> {
        Box::pin(async { Err(Fault::Missing("order")) })
    }
    /// A person does not want one.
    fn refuse(&self, _id: String, _by: String, _why: String) -> BoxFuture<'_, Result<Order, Fault>> {
        Box::pin(async { Err(Fault::Missing("order")) })
    }
    /// Asks the centres now.
    fn ask(&self) -> BoxFuture<'_, Result<Vec<Asked>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// No orders, and nobody to ask.
pub struct Unordered;

impl Thresholds for Unordered {}

type Answer<T> = Result<Json<T>, Fault>;

/// The routes of orders.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/v1/thresholds", get(orders))
        .route("/v1/thresholds/history", get(history))
        .route("/v1/thresholds/ask", post(ask))
        .route("/v1/thresholds/{id}/accept", post(accept))
        .route("/v1/thresholds/{id}/refuse", post(refuse))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    all: bool,
}

async fn orders(
    State(desk): State<Arc<Desk>>,
    _role: Extension<Role>,
    query: Result<Query<Which>, QueryRejection>,
) -> Answer<Vec<Order>> {
    let Query(Which { all }) = query.map_err(|e| Fault::Malformed(e.body_text()))?;
    desk.thresholds.orders(all).await.map(Json)
}

async fn history(State(desk): State<Arc<Desk>>, _role: Extension<Role>) -> Answer<Vec<Event>> {
    desk.thresholds.history().await.map(Json)
}

async fn ask(State(desk): State<Arc<Desk>>, Extension(role): Extension<Role>) -> Answer<Vec<Asked>> {
    if !role.administers() {
        return Err(Fault::Forbidden);
    }
    tokio::time::timeout(limits::PROBE_MAX, desk.thresholds.ask()).await.map_err(|_| Fault::Busy)?.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    by: String,
    reason: Option<String>,
}

async fn accept(
    State(desk): State<Arc<Desk>>,
    Extension(role): Extension<Role>,
    Path(id): Path<String>,
    body: Result<Json<Decision>, JsonRejection>,
) -> Answer<Order> {
    let Json(Decision { by, .. }) = admitted(role, body)?;
    desk.thresholds.accept(id, name(&by)?).await.map(Json)
}

async fn refuse(
    State(desk): State<Arc<Desk>>,
    Extension(role): Extension<Role>,
    Path(id): Path<String>,
    body: Result<Json<Decision>, JsonRejection>,
) -> Answer<Order> {
    let Json(Decision { by, reason }) = admitted(role, body)?;
    let why = text("a reason", reason.as_deref().unwrap_or_default())?;
    desk.thresholds.refuse(id, name(&by)?, why).await.map(Json)
}
