//! Match fields over HTTP/JSON: which destinations ask for them and of whom they are given; an administrator gives them, or
//! takes them back.
//!
//! Promises: what is given goes in only; every answer has fields' names at most. Must never: show, repeat or log a value.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::inbox::name;
use super::{Desk, Fault, Role};
use crate::demographics::Demographics;
use crate::minimum::Field;
use crate::reading::PatientId;

/// A patient and a destination that asks for match fields, or has some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Whom.
    pub patient: PatientId,
    /// Where.
    pub destination: Arc<str>,
    /// What it asks for.
    pub asks: Vec<Field>,
    /// What is given.
    pub given: Vec<Field>,
    /// Who gave it.
    pub by: Option<String>,
    /// When, milliseconds since 1970.
    pub at_ms: Option<i64>,
}

/// What a person gives. Redacts the patient's part itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduction {
    /// Whom.
    pub patient: PatientId,
    /// Where.
    pub destination: String,
    /// As what.
    pub person: Demographics,
    /// Who says so.
    pub by: String,
}

/// What a person takes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgetting {
    /// Of whom.
    pub patient: PatientId,
    /// Where.
    pub destination: String,
    /// Who says so.
    pub by: String,
}

/// It was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Of a taking back: readings of this patient that were in the sender's hands at that moment.
    pub on_the_way: u64,
}

/// Match fields of the running gateway.
pub trait Register: Send + Sync {
    /// Who is named where.
    fn named(&self) -> BoxFuture<'_, Result<Vec<Named>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// Keeps what a person gives.
    fn introduce(&self, _what: Introduction) -> BoxFuture<'_, Result<Registered, Fault>> {
        Box::pin(async { Err(Fault::Missing("destination")) })
    }
    /// Takes it back.
    fn forget(&self, _what: Forgetting) -> BoxFuture<'_, Result<Registered, Fault>> {
        Box::pin(async { Err(Fault::Missing("destination")) })
    }
}

/// A gateway that names nobody.
pub struct Nameless;

impl Register for Nameless {}

type Shared = State<Arc<Desk>>;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/v1/match-fields", get(named).post(introduce)).route("/v1/match-fields/forget", post(forget))
}

async fn named(State(desk): Shared, _role: Extension<Role>) -> Result<Json<Vec<Named>>, Fault> {
    desk.register.named().await.map(Json)
}

async fn introduce(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    body: Result<Json<Introduction>, JsonRejection>,
) -> Result<Json<Registered>, Fault> {
    if !role.administers() {
        return Err(Fault::Forbidden);
    }
    // What serde says of a body may repeat it.
    let malformed = || Fault::Malformed("patient, destination, person, by; a birth date is as in 1950-03-07".into());
    let Json(what) = body.map_err(|_| malformed())?;
    let what = Introduction { by: name(&what.by)?, ..what };
    desk.register.introduce(what).await.map(Json)
}

async fn forget(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    body: Result<Json<Forgetting>, JsonRejection>,
) -> Result<Json<Registered>, Fault> {
    let Json(what) = super::routes::admitted(role, body)?;
    let what = Forgetting { by: name(&what.by)?, ..what };
    desk.register.forget(what).await.map(Json)
}
