//! Consents: what was recorded, what is in force, what waits; a person records more.
//!
//! What gives or withdraws one is for administrators and needs a name. Must never: record anything itself.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::inbox::{name, text};
use super::routes::admitted;
use super::view::Withheld;
use super::{Desk, Fault, Role};
use crate::consent::{History, Rule};
use crate::reading::PatientId;

/// What is known of one patient and destination.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Whose.
    pub patient: PatientId,
    /// Where to.
    pub destination: Arc<str>,
    /// What the destination needs. `None`: it is not in the configuration.
    pub rule: Option<Rule>,
    /// Categories that may go there now.
    pub in_force: Vec<String>,
    /// Categories that may not.
    pub lacking: Vec<String>,
    /// What waits for it.
    pub withheld: Vec<Withheld>,
    /// All that was recorded, oldest first.
    pub history: History,
}

/// What is to be recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Whose.
    pub patient: PatientId,
    /// Where to.
    pub destination: String,
    /// Given, or withdrawn.
    pub given: bool,
    /// Which categories.
    pub categories: Vec<String>,
    /// In force from then on, milliseconds since 1970.
    #[serde(default)]
    pub from_ms: Option<i64>,
    /// Up to then.
    #[serde(default)]
    pub until_ms: Option<i64>,
    /// The record at the centre.
    #[serde(default)]
    pub reference: Option<String>,
    /// Who records it.
    pub by: String,
}

/// It was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Of a withdrawal: readings of this patient that were leased for the destination. What of them was not in a request
    /// at that moment does not go.
    pub on_the_way: u64,
}

/// Consents of the running gateway.
pub trait Consents: Send + Sync {
    /// What is known, for each patient and destination that needs one or has one.
    fn listed(&self) -> BoxFuture<'_, Result<Vec<Listed>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// A person records one.
    fn record(&self, _order: Order) -> BoxFuture<'_, Result<Recorded, Fault>> {
        Box::pin(async { Err(Fault::Missing("destination")) })
    }
}

/// Consents without a gateway: there are none.
pub struct Empty;

impl Consents for Empty {}

type Shared = State<Arc<Desk>>;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/v1/consents", get(listed).post(record))
}

async fn listed(State(desk): Shared, _role: Extension<Role>) -> Result<Json<Vec<Listed>>, Fault> {
    desk.consents.listed().await.map(Json)
}

async fn record(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    body: Result<Json<Order>, JsonRejection>,
) -> Result<Json<Recorded>, Fault> {
    let Json(order) = admitted(role, body)?;
    if order.given && !desk.patients.contains(&order.patient) {
        return Err(Fault::Refused("this patient is not one of this box".into()));
    }
    let reference = order.reference.as_deref().map(|r| text("a reference", r)).transpose()?;
    let order = Order { by: name(&order.by)?, reference, ..order };
    desk.consents.record(order).await.map(Json)
}
