//! The inbox over HTTP/JSON. Members of the group read, take and send again; what gives readings an owner or gives them
//! up is for administrators.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;

use super::{Change, Details, DryRun, Group, Settled};
use crate::control::routes::Done;
use crate::control::{Desk, Fault, Role};
use crate::limits;
use crate::printable::is_unseen;

/// A dry run asks the destination about some items: longer than other answers.
const DRY_RUN_MAX: Duration = Duration::from_secs(60);
/// Large groups take many transactions; corrections wait for what is on its way.
pub(in crate::control) const DECISION_MAX: Duration = Duration::from_secs(120);

type Shared = State<Arc<Desk>>;
type Answer<T> = Result<Json<T>, Fault>;

/// The routes of the inbox.
pub(in crate::control) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/v1/inbox", get(groups))
        .route("/v1/inbox/{id}", get(group).post(change))
        .route("/v1/inbox/{id}/dry-run", post(dry_run))
        .route("/v1/inbox/{id}/replay", post(replay))
        .route("/v1/inbox/{id}/discard", post(discard))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    all: bool,
}

async fn groups(
    State(desk): Shared,
    _role: Extension<Role>,
    query: Result<Query<Which>, QueryRejection>,
) -> Answer<Vec<Group>> {
    let Query(which) = query.map_err(|e| Fault::Malformed(e.body_text()))?;
    desk.inbox.groups(which.all).await.map(Json)
}

async fn group(State(desk): Shared, _role: Extension<Role>, Path(id): Path<String>) -> Answer<Details> {
    desk.inbox.group(id).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    #[serde(default)]
    after: i64,
}

async fn dry_run(
    State(desk): Shared,
    _role: Extension<Role>,
    Path(id): Path<String>,
    body: Result<Json<From>, JsonRejection>,
) -> Answer<DryRun> {
    let Json(From { after }) = body.map_err(|e| Fault::Malformed(e.body_text()))?;
    within(DRY_RUN_MAX, desk.inbox.dry_run(id, after)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    by: String,
    #[serde(default)]
    anyway: bool,
}

async fn replay(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    Path(id): Path<String>,
    body: Result<Json<Replay>, JsonRejection>,
) -> Answer<Settled> {
    let Json(Replay { by, anyway }) = body.map_err(|e| Fault::Malformed(e.body_text()))?;
    let by = name(&by)?;
    // Sending again what was refused is safe; giving readings an owner is not for everybody.
    let safe = matches!(&*desk.inbox.group(id.clone()).await?.group.kind, "refused" | "alert" | "notice");
    if !(safe || role.administers()) {
        return Err(Fault::Forbidden);
    }
    within(DECISION_MAX, desk.inbox.replay(id, by, anyway)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Discard {
    by: String,
    reason: String,
}

async fn discard(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    Path(id): Path<String>,
    body: Result<Json<Discard>, JsonRejection>,
) -> Answer<Settled> {
    if !role.administers() {
        return Err(Fault::Forbidden);
    }
    let Json(Discard { by, reason }) = body.map_err(|e| Fault::Malformed(e.body_text()))?;
    let (by, reason) = (name(&by)?, text("a reason", &reason)?);
    within(DECISION_MAX, desk.inbox.discard(id, by, reason)).await
}

async fn change(
    State(desk): Shared,
    _role: Extension<Role>,
    Path(id): Path<String>,
    body: Result<Json<Change>, JsonRejection>,
) -> Answer<Done> {
    let Json(change) = body.map_err(|e| Fault::Malformed(e.body_text()))?;
    let change = Change {
        by: name(&change.by)?,
        assignee: change.assignee.as_deref().map(name).transpose()?,
        note: change.note.as_deref().map(|n| text("a note", n)).transpose()?,
        ..change
    };
    if change.state == Some(super::State::Cleared) {
        return Err(Fault::Refused("a group is cleared when nothing is stuck any more: replay or discard it".into()));
    }
    within(DECISION_MAX, desk.inbox.change(id, change)).await.map(|Json(())| Json(Done { done: true }))
}

/// Waits for a decision's answer so long at most.
pub(in crate::control) async fn within<T>(most: Duration, order: impl Future<Output = Result<T, Fault>>) -> Answer<T> {
    tokio::time::timeout(most, order).await.map_err(|_| Fault::Busy)?.map(Json)
}

/// A person's name: kept in the record.
pub(in crate::control) fn name(given: &str) -> Result<String, Fault> {
    let given = given.trim();
    if given.is_empty() || given.chars().count() > limits::TEXT_CHARS_MAX || given.chars().any(is_unseen) {
        return Err(Fault::Refused("a name has 1 to 128 printable characters".into()));
    }
    Ok(given.to_owned())
}

/// What a person wrote: kept in the record.
pub(in crate::control) fn text(what: &str, given: &str) -> Result<String, Fault> {
    let given = given.trim();
    let bad = given.chars().any(|c| is_unseen(c) && c != '\n');
    if given.is_empty() || given.chars().count() > limits::INBOX_TEXT_CHARS_MAX || bad {
        let most = limits::INBOX_TEXT_CHARS_MAX;
        return Err(Fault::Refused(format!("{what} has 1 to {most} printable characters")));
    }
    Ok(given.to_owned())
}
