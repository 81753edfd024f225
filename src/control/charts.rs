//! Whose chart a reading belongs to: who held a device when, readings that are nobody's, corrections of what was sent.
//!
//! What gives a reading an owner, or takes it from one, is for administrators and needs a name. Must never: bind anything
//! itself.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::inbox::{DECISION_MAX, Settled, name, text, within};
use super::routes::admitted;
use super::witness::Caller;
use super::{Desk, Fault, Role};
use crate::association::{History, Unassigned};
use crate::reading::{DeviceId, PatientId, Reading, ReadingKey};

/// A reading that is nobody's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nobody {
    /// The reading.
    pub reading: Reading,
    /// Why it was nobody's when it came.
    pub why: Unassigned,
    /// Whose it would be, as things stand now: `wardline inbox replay` binds it.
    pub now: Option<PatientId>,
    /// Whom its value fits; a person decides.
    pub suggestion: Option<PatientId>,
}

/// Which readings were wrong, and what is right.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// These; none: all of the device that match the rest.
    #[serde(default)]
    pub keys: Vec<ReadingKey>,
    /// Of this device.
    #[serde(default)]
    pub device: Option<DeviceId>,
    /// Of this user slot.
    #[serde(default)]
    pub slot: Option<u8>,
    /// Now in the chart of this patient.
    #[serde(default)]
    pub from: Option<PatientId>,
    /// Taken since then, milliseconds since 1970.
    #[serde(default)]
    pub since_ms: Option<i64>,
    /// Taken before then.
    #[serde(default)]
    pub until_ms: Option<i64>,
    /// What is right.
    pub to: Right,
    /// Who says so.
    pub by: String,
    /// Why. No patient data.
    pub reason: String,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What is right about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// They are this patient's.
    Patient(PatientId),
    /// It is not known whose they are: they are taken back, and wait for a person.
    Nobody,
    /// They are no readings of a patient of this box: they are taken back.
    Void,
    /// The device's profile was wrong: the stored bytes are read again, with the profiles that are in force.
    Reread,
    /// What was sent of them was wrong (codes, units of a destination): they are sent anew.
    Resent,
}

/// What a correction did, or would do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Corrected {
    /// Readings that were corrected.
    pub corrected: Vec<ReadingKey>,
    /// Readings that were not: corrected before, unchanged, or being sent at this moment.
    pub left: u64,
    /// Why those were not.
    pub why: Option<String>,
}

/// Whose chart it is, for the running gateway.
pub trait Charts: Send + Sync {
    /// Who held a device when.
    fn held(&self, _device: DeviceId) -> BoxFuture<'_, Result<History, Fault>> {
        Box::pin(async { Ok(History::default()) })
    }
    /// Readings that are nobody's, oldest first.
    fn nobodys(&self) -> BoxFuture<'_, Result<Vec<Nobody>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// A person says whose these are.
    fn confirm(
        &self,
        _keys: Vec<ReadingKey>,
        _patient: PatientId,
        _by: String,
    ) -> BoxFuture<'_, Result<Settled, Fault>> {
        Box::pin(async { Err(Fault::Missing("reading")) })
    }
    /// A person says what was wrong.
    fn correct(&self, _correction: Correction) -> BoxFuture<'_, Result<Corrected, Fault>> {
        Box::pin(async { Err(Fault::Missing("reading")) })
    }
}

/// Charts without a gateway: nobody's reading is ever there.
pub struct Empty;

impl Charts for Empty {}

type Shared = State<Arc<Desk>>;
type Answer<T> = Result<Json<T>, Fault>;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/v1/devices/{id}/holders", get(held))
        .route("/v1/unassigned", get(nobodys).post(confirm))
        .route("/v1/corrections", post(correct))
}

async fn held(State(desk): Shared, _role: Extension<Role>, Path(id): Path<String>) -> Answer<History> {
    desk.charts.held(DeviceId(id.into())).await.map(Json)
}

async fn nobodys(State(desk): Shared, Extension(caller): Extension<Caller>) -> Answer<Vec<Nobody>> {
    let all = desk.charts.nobodys().await?;
    desk.witness.saw(&caller, all.first().map(|_| None)).await;
    Ok(Json(all))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirm {
    keys: Vec<ReadingKey>,
    patient: PatientId,
    by: String,
}

async fn confirm(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    body: Result<Json<Confirm>, JsonRejection>,
) -> Answer<Settled> {
    let Json(Confirm { keys, patient, by }) = admitted(role, body)?;
    known(&desk, &patient)?;
    within(DECISION_MAX, desk.charts.confirm(keys, patient, name(&by)?)).await
}

async fn correct(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    body: Result<Json<Correction>, JsonRejection>,
) -> Answer<Corrected> {
    let Json(order) = admitted(role, body)?;
    if order.keys.is_empty() && order.device.is_none() {
        return Err(Fault::Refused("name the readings, or their device".into()));
    }
    if let Right::Patient(patient) = &order.to {
        known(&desk, patient)?;
    }
    let order = Correction { by: name(&order.by)?, reason: text("a reason", &order.reason)?, ..order };
    within(DECISION_MAX, desk.charts.correct(order)).await
}

fn known(desk: &Desk, patient: &PatientId) -> Result<(), Fault> {
    match desk.patients.contains(patient) {
        true => Ok(()),
        false => Err(Fault::Refused("this patient is not one of this box".into())),
    }
}
