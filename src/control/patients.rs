//! Patients of this box, and matching new ones at the centre, over HTTP/JSON.
//!
//! Promises: identifier and birth date live as long as the question; only administrators ask it, by name. Must never: say
//! more of a person than the pseudonymous reference and the name that the household chose.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::inbox::name;
use super::{Desk, Fault, Role};
use crate::limits;
use crate::reading::PatientId;
use crate::roster::{Member, Standing};

/// A question for the one patient who is meant. Redacts itself.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// At this FHIR destination.
    pub destination: String,
    /// System of the identifier; may be empty.
    #[serde(default)]
    pub system: String,
    /// Its value.
    pub value: String,
    /// `1950-03-07`.
    pub birth_date: String,
    /// What the household calls them.
    #[serde(default)]
    pub display: Option<String>,
    /// Who asks.
    pub by: String,
}

impl std::fmt::Debug for Match {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Match(…)")
    }
}

/// A patient of this box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Pseudonymous reference.
    pub reference: PatientId,
    /// What the household calls them.
    pub display: Option<String>,
    /// The match, where there was one; `None`: from the configuration alone.
    pub matched: Option<Member>,
    /// Code and sentence of what is wrong at the centre.
    pub trouble: Option<(String, String)>,
}

impl Person {
    /// As the box knows them.
    pub fn new(reference: PatientId, display: Option<String>, matched: Option<Member>) -> Self {
        let trouble = matched.as_ref().and_then(|m| m.standing.trouble());
        Self { reference, display, matched, trouble: trouble.map(|(code, text)| (code.into(), text.into())) }
    }

    /// The reference to ask the centre about.
    pub fn merged_into(&self) -> Option<&PatientId> {
        match &self.matched.as_ref()?.standing {
            Standing::Merged { into } => into.as_ref(),
            _ => None,
        }
    }
}

/// The patients, for the running gateway.
pub trait People: Send + Sync {
    /// All of them.
    fn all(&self) -> BoxFuture<'_, Result<Vec<Person>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// Looks for one at the centre; who is found joins.
    fn find(&self, _wanted: Match) -> BoxFuture<'_, Result<Person, Fault>> {
        Box::pin(async { Err(Fault::Missing("FHIR destination")) })
    }
    /// Asks the centres how those who were matched stand there now.
    fn check(&self) -> BoxFuture<'_, Result<Vec<Person>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Nobody, and no centre to ask.
pub struct Nobody;

impl People for Nobody {}

/// The routes of patients.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/v1/patients", get(all).post(find)).route("/v1/patients/check", post(check))
}

async fn all(State(desk): State<Arc<Desk>>, _role: Extension<Role>) -> Result<Json<Vec<Person>>, Fault> {
    desk.people.all().await.map(Json)
}

async fn check(State(desk): State<Arc<Desk>>, Extension(role): Extension<Role>) -> Result<Json<Vec<Person>>, Fault> {
    if !role.administers() {
        return Err(Fault::Forbidden);
    }
    tokio::time::timeout(limits::PROBE_MAX, desk.people.check()).await.map_err(|_| Fault::Busy)?.map(Json)
}

async fn find(
    State(desk): State<Arc<Desk>>,
    Extension(role): Extension<Role>,
    body: Result<Json<Match>, JsonRejection>,
) -> Result<Json<Person>, Fault> {
    if !role.administers() {
        return Err(Fault::Forbidden);
    }
    // What serde says of a body may repeat it.
    let Json(wanted) = body.map_err(|_| Fault::Malformed("destination, system, value, birth_date, by".into()))?;
    let fits = |text: &str| text.chars().count() <= limits::TEXT_CHARS_MAX && !text.chars().any(char::is_control);
    if !fits(&wanted.system) || !fits(&wanted.value) || wanted.value.trim().is_empty() {
        let most = limits::TEXT_CHARS_MAX;
        return Err(Fault::Refused(format!("an identifier has a value, and at most {most} printable characters")));
    }
    let whole = wanted.birth_date.len() == 10 && wanted.birth_date.parse::<jiff::civil::Date>().is_ok();
    if !whole {
        return Err(Fault::Refused("a birth date is year, month and day, as in 1950-03-07".into()));
    }
    let display = wanted.display.as_deref().map(str::trim).filter(|d| !d.is_empty());
    if display.is_some_and(|d| !fits(d)) {
        return Err(Fault::Refused(format!("a name has at most {} printable characters", limits::TEXT_CHARS_MAX)));
    }
    let wanted = Match { display: display.map(str::to_owned), by: name(&wanted.by)?, ..wanted.clone() };
    let found = tokio::time::timeout(limits::MATCH_MAX, desk.people.find(wanted)).await;
    found.map_err(|_| Fault::Busy)?.map(Json)
}
