//! Users of shared scales over HTTP/JSON: whose code is kept, what the scale said of it; who serves devices gives a code, or
//! takes it away.
//!
//! Promises: a code goes in only. Must never: show, repeat or log one.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::inbox::name;
use super::routes::{Done, in_time, read};
use super::{Desk, Fault, Role};
use crate::config::DeviceSettings;
use crate::custody::Why;
use crate::reading::{DeviceId, PatientId};
use crate::user_code::{SLOT_MAX, UserCode};

/// `GET /v1/devices/{id}/users`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Whose code is kept, and whose slot has a patient without one; by number.
    pub users: Vec<User>,
    /// What a person must see to.
    pub faults: Vec<Why>,
}

/// One user of a scale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Number on the scale.
    pub slot: u8,
    /// How it stands with the code.
    pub state: Standing,
    /// When the scale was asked, or said it, milliseconds since 1970.
    pub asked_ms: Option<i64>,
    /// Who gave the code.
    pub by: Option<String>,
    /// When, milliseconds since 1970.
    pub given_ms: Option<i64>,
}

/// How it stands with a user's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The slot has a patient, and no code is kept.
    NoCode,
    /// The scale was not asked yet.
    NotTried,
    /// The scale takes it.
    Accepted,
    /// The scale does not take it: it is not tried again.
    Refused,
    /// The scale was asked last without a clear answer: it is tried again.
    Unclear,
}

impl Standing {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoCode => "no code",
            Self::NotTried => "not tried yet",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unclear => "no clear answer",
        }
    }
}

/// `POST /v1/devices/{id}/users`. The code redacts itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Giving {
    /// Number on the scale.
    pub slot: u8,
    /// One to four digits.
    pub code: UserCode,
    /// Who says so.
    pub by: String,
}

/// `POST /v1/devices/{id}/users/forget`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgetting {
    /// Number on the scale.
    pub slot: u8,
    /// Who says so.
    pub by: String,
}

/// A slot of a device, and whose it is as far as the box knows.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The scale.
    pub device: DeviceId,
    /// Number on it.
    pub slot: u8,
    /// Whose.
    pub patient: Option<PatientId>,
}

type Shared = State<Arc<Desk>>;

/// The routes.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/v1/devices/{id}/users", get(users).post(give))
        .route("/v1/devices/{id}/users/forget", post(forget))
}

/// What is known of a device of this id.
async fn settings(desk: &Arc<Desk>, id: &str) -> Result<DeviceSettings, Fault> {
    let known = read(desk, |records| records.devices()).await?;
    let found = known.into_iter().find(|d| d.id.0.eq_ignore_ascii_case(id));
    let found = found.filter(|d| d.id.0.starts_with("ble:"));
    found.ok_or(Fault::Missing("Bluetooth device here: `wardline devices add` makes it known"))
}

fn slot(settings: DeviceSettings, slot: u8) -> Result<Slot, Fault> {
    if slot > SLOT_MAX {
        return Err(Fault::Refused(format!("a user's number on a scale is 0 to {SLOT_MAX}")));
    }
    let patient = settings.slots.get(&slot.to_string()).cloned().or(settings.patient);
    Ok(Slot { device: settings.id, slot, patient })
}

async fn users(State(desk): Shared, _role: Extension<Role>, Path(id): Path<String>) -> Result<Json<Users>, Fault> {
    let settings = settings(&desk, &id).await?;
    let mut all = super::radio::radio(&desk)?.users(&settings.id);
    let bare = settings.slots.keys().filter_map(|slot| slot.parse().ok());
    for slot in bare.filter(|slot| !all.users.iter().any(|user| user.slot == *slot)).collect::<Vec<u8>>() {
        all.users.push(User { slot, state: Standing::NoCode, asked_ms: None, by: None, given_ms: None });
    }
    all.users.sort_by_key(|user| user.slot);
    Ok(Json(all))
}

async fn give(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    Path(id): Path<String>,
    body: Result<Json<Giving>, JsonRejection>,
) -> Result<Json<Done>, Fault> {
    super::radio::allowed(role)?;
    // What serde says of a body may repeat it.
    let malformed = |_| Fault::Malformed("slot (a number), code (one to four digits, as a text), by".into());
    let Json(Giving { slot: number, code, by }) = body.map_err(malformed)?;
    let (by, radio) = (name(&by)?, super::radio::radio(&desk)?);
    let slot = slot(settings(&desk, &id).await?, number)?;
    in_time(radio.give_code(slot, code, by)).await
}

async fn forget(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    Path(id): Path<String>,
    body: Result<Json<Forgetting>, JsonRejection>,
) -> Result<Json<Done>, Fault> {
    super::radio::allowed(role)?;
    let Json(Forgetting { slot: number, by }) = body.map_err(|e| Fault::Malformed(e.body_text()))?;
    let (by, radio) = (name(&by)?, super::radio::radio(&desk)?);
    let slot = slot(settings(&desk, &id).await?, number)?;
    in_time(radio.forget_code(slot, by)).await
}
