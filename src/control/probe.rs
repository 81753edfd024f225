//! What is known of a destination, and finding out more, over HTTP/JSON.
//!
//! Must never: let anybody write to a destination without its owner's consent, stated by name.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::inbox::name;
use super::{Desk, Fault, Role};
use crate::limits;
use crate::probed::{Credential, Known};

/// `GET /v1/destinations/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Base URL.
    pub url: String,
    /// As configured: `conditional-create`, `update`.
    pub idempotency: String,
    /// As configured: `auto`, `batch`, `transaction`.
    pub bundle: String,
    /// What was found out.
    pub known: Known,
    /// Entries in a Bundle at most, as it is obeyed now.
    pub bundle_max: usize,
    /// What travels now: `batch` or `transaction`.
    pub travels: String,
    /// Where the configuration and what was found contradict each other.
    pub conflicts: Vec<Conflict>,
    /// How the gateway is let in, where it gets a token.
    #[serde(default)]
    pub credential: Option<Credential>,
}

/// The configuration asks for what the destination cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

/// Destinations as they were found.
pub trait Probes: Send + Sync {
    /// What is known.
    fn show(&self, _name: String) -> BoxFuture<'_, Result<Shown, Fault>> {
        Box::pin(async { Err(Fault::Missing("FHIR destination")) })
    }
    /// Asks it whether it holds what it took in these days; sends again what is missing.
    fn reconcile(&self, _name: String, _days: u32) -> BoxFuture<'_, Result<Reconciled, Fault>> {
        Box::pin(async { Err(Fault::Missing("FHIR destination")) })
    }
    /// Asks it; with consent, writes test resources.
    fn probe(&self, _name: String, _consent: Option<String>) -> BoxFuture<'_, Result<Shown, Fault>> {
        Box::pin(async { Err(Fault::Missing("FHIR destination")) })
    }
}

/// What a destination was found to hold of what it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// When it was asked.
    pub at_ms: i64,
    /// Readings that were asked for.
    pub checked: u64,
    /// Of these not there: they are sent again.
    pub missing: u64,
    /// Of the missing: taken back there, and standing again. They are taken back again.
    #[serde(default)]
    pub stood: u64,
    /// Of the missing: sent again before, and still not there.
    pub stays: u64,
    /// There more than once.
    pub doubled: u64,
    /// What is there and not in the journal. `None`: not asked.
    pub strangers: Option<Strangers>,
    /// Why not.
    pub not_asked: Option<String>,
}

/// Of a search for Observations that bear the gateway's mark and that its journal does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strangers {
    /// So many.
    pub found: u64,
    /// Might be, and are older than what the journal keeps.
    pub unjudged: u64,
    /// What was stored there since then.
    pub since_ms: i64,
    /// Observations that were looked at.
    pub seen: u64,
    /// Where the first of them are, below the destination's base.
    pub places: Vec<String>,
}

/// Nothing is known, and nothing can be asked.
pub struct Unknown;

impl Probes for Unknown {}

/// The routes of probes.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/v1/destinations/{name}", get(show))
        .route("/v1/destinations/{name}/probe", post(probe))
        .route("/v1/destinations/{name}/reconcile", post(reconcile))
}

async fn show(
    State(desk): State<Arc<Desk>>,
    _role: Extension<Role>,
    Path(destination): Path<String>,
) -> Result<Json<Shown>, Fault> {
    desk.probes.show(destination).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    days: u32,
}

async fn reconcile(
    State(desk): State<Arc<Desk>>,
    _role: Extension<Role>,
    Path(destination): Path<String>,
    body: Result<Json<Span>, JsonRejection>,
) -> Result<Json<Reconciled>, Fault> {
    let Json(Span { days }) = body.map_err(|e| Fault::Malformed(e.body_text()))?;
    let days = days.clamp(1, limits::CUSTODY_DAYS_MAX);
    let found = tokio::time::timeout(limits::PROBE_MAX, desk.probes.reconcile(destination, days)).await;
    found.map_err(|_| Fault::Busy)?.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    /// Write test resources.
    #[serde(default)]
    write: bool,
    /// Who of the destination's owners consented.
    #[serde(default)]
    consent: Option<String>,
}

async fn probe(
    State(desk): State<Arc<Desk>>,
    Extension(role): Extension<Role>,
    Path(destination): Path<String>,
    body: Result<Json<Probe>, JsonRejection>,
) -> Result<Json<Shown>, Fault> {
    let Json(Probe { write, consent }) = body.map_err(|e| Fault::Malformed(e.body_text()))?;
    if write && !role.administers() {
        return Err(Fault::Forbidden);
    }
    let consent = match (write, consent) {
        (true, Some(who)) => Some(name(&who)?),
        (false, None) => None,
        _ => {
            let why = "writing needs the consent of the destination's owner, by name; reading needs none";
            return Err(Fault::Refused(why.into()));
        }
    };
    let most = limits::PROBE_MAX + Duration::from_secs(5);
    let found = tokio::time::timeout(most, desk.probes.probe(destination, consent)).await;
    found.map_err(|_| Fault::Busy)?.map(Json)
}
