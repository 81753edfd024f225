//! Commands and questions over HTTP/JSON. A caller without a [`Role`] is refused.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::client::COPY;
use super::witness::{Caller, Taken};
use super::{Desk, Fault, Records, Role, Unreadable, view};
use crate::alarm::{Alert, AlertId, Priority};
use crate::clock::DAY_MS;
use crate::config::{DeviceSettings, check_device};
use crate::limits;
use crate::reading::PatientId;

/// A device is handed out so much later than now at most: clocks of people and boxes differ.
const HAND_OUT_AHEAD_MAX: Duration = Duration::from_secs(300);
/// A hand-out that is nearer to now is "now": nobody types faster.
const HAND_OUT_BY_HAND_MS: u64 = 60_000;

/// A person waits for the answer: longer than a slow commit, shorter than patience.
const ANSWER_MAX: Duration = Duration::from_secs(5);

type Shared = State<Arc<Desk>>;
type Answer<T> = Result<Json<T>, Fault>;

/// The routes; mounted on the control socket and by the local page, which each add the caller's [`Role`].
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/readings", get(readings))
        .route("/v1/readings/{key}", get(explain))
        .route("/v1/alerts", get(alerts))
        .route("/v1/alerts/{id}/acknowledge", post(acknowledge))
        .route("/v1/outbox", get(outbox))
        .route("/v1/custody", get(custody))
        .route("/v1/custody/verify", get(verify))
        .route("/v1/storage", get(storage))
        .route("/v1/backup", get(backup))
        .route("/v1/export", get(export))
        .route("/v1/devices", get(devices).post(add_device))
        .merge(super::charts::routes())
        .merge(super::consents::routes())
        .merge(super::inbox::routes())
        .merge(super::patients::routes())
        .merge(super::demographics::routes())
        .merge(super::probe::routes())
        .merge(super::radio::routes())
        .merge(super::thresholds::routes())
        .merge(super::technician::routes())
        .merge(super::users::routes())
        .fallback(|| async { Fault::Missing("address") })
        .layer(DefaultBodyLimit::max(limits::CONTROL_BODY_BYTES_MAX))
        .with_state(desk)
}

async fn status(State(desk): Shared, _role: Extension<Role>) -> Answer<view::Status> {
    let outbox = read(&desk, |records| records.outbox(None)).await?;
    let now = desk.clock.now();
    Ok(Json(view::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        gateway: desk.gateway.clone(),
        started_ms: desk.started.wall_ms,
        uptime_s: now.since(desk.started).as_secs(),
        clock_trusted: now.trusted,
        stalled: desk.watchdog.stalled().into_iter().map(String::from).collect(),
        sources: desk.sources.iter().map(|probe| probe()).collect(),
        destinations: desk.destinations.iter().map(|probe| probe()).collect(),
        outbox,
        inbox: desk.inbox.groups(false).await?.len(),
        radio: desk.radio.as_ref().map(|radio| radio.state()),
        alerts: count(&desk.alerts.borrow()),
    }))
}

/// Open alerts by priority.
pub(super) fn count(open: &[Alert]) -> view::AlertCounts {
    let mut counts = view::AlertCounts::default();
    for alert in open {
        match alert.priority {
            Priority::High => counts.high += 1,
            Priority::Medium => counts.medium += 1,
            Priority::Low => counts.low += 1,
        }
        counts.unacknowledged += usize::from(alert.acknowledged.is_none());
    }
    counts
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadingsQuery {
    device: Option<String>,
    since: Option<jiff::Timestamp>,
    limit: Option<usize>,
}

async fn readings(
    State(desk): Shared,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ReadingsQuery>, QueryRejection>,
) -> Answer<Vec<view::Row>> {
    let Query(query) = query.map_err(|e| Fault::Malformed(e.body_text()))?;
    let filter = view::Filter {
        device: query.device,
        since_ms: query.since.map(jiff::Timestamp::as_millisecond),
        limit: query.limit.unwrap_or(50).min(limits::READINGS_LISTED_MAX),
    };
    let rows = read(&desk, move |records| records.readings(&filter)).await?;
    desk.witness.saw(&caller, rows.iter().map(|row| row.reading.patient.clone())).await;
    Ok(Json(rows))
}

async fn explain(
    State(desk): Shared,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
) -> Answer<view::Explained> {
    let key = key.parse().map_err(|()| Fault::Malformed("a reading id has 32 hex digits".into()))?;
    let explained = read(&desk, move |records| records.explain(key)).await?.ok_or(Fault::Missing("reading"))?;
    desk.witness.saw(&caller, [explained.reading.patient.clone()]).await;
    Ok(Json(explained))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertsQuery {
    #[serde(default)]
    all: bool,
}

async fn alerts(
    State(desk): Shared,
    Extension(caller): Extension<Caller>,
    query: Result<Query<AlertsQuery>, QueryRejection>,
) -> Answer<Vec<Alert>> {
    let Query(query) = query.map_err(|e| Fault::Malformed(e.body_text()))?;
    let all = match query.all {
        true => read(&desk, |records| records.alerts(limits::READINGS_LISTED_MAX)).await?,
        false => desk.alerts.borrow().to_vec(),
    };
    // One about the box itself shows nobody's data.
    desk.witness.saw(&caller, all.iter().filter(|a| a.vital.is_some()).map(|a| a.patient.clone())).await;
    Ok(Json(all))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    by: String,
}

async fn acknowledge(
    State(desk): Shared,
    _role: Extension<Role>,
    Path(id): Path<String>,
    body: Result<Json<Acknowledge>, JsonRejection>,
) -> Answer<Done> {
    let Json(Acknowledge { by }) = body.map_err(|e| Fault::Malformed(e.body_text()))?;
    let by = super::inbox::name(&by)?;
    in_time(desk.orders.acknowledge(AlertId(id.into()), by)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutboxQuery {
    destination: Option<String>,
}

async fn outbox(
    State(desk): Shared,
    _role: Extension<Role>,
    query: Result<Query<OutboxQuery>, QueryRejection>,
) -> Answer<Vec<view::Outbox>> {
    let Query(OutboxQuery { destination }) = query.map_err(|e| Fault::Malformed(e.body_text()))?;
    let asked = destination.is_some();
    let rows = read(&desk, move |records| records.outbox(destination.as_deref())).await?;
    if asked && rows.is_empty() { Err(Fault::Missing("destination")) } else { Ok(Json(rows)) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CustodyQuery {
    days: Option<u32>,
}

/// Today and the days before, UTC.
async fn custody(
    State(desk): Shared,
    _role: Extension<Role>,
    query: Result<Query<CustodyQuery>, QueryRejection>,
) -> Answer<Vec<view::Day>> {
    let Query(CustodyQuery { days }) = query.map_err(|e| Fault::Malformed(e.body_text()))?;
    let days = days.unwrap_or(7).clamp(1, limits::CUSTODY_DAYS_MAX);
    let now_ms = desk.clock.now().wall_ms;
    let since_ms = now_ms - now_ms.rem_euclid(DAY_MS) - i64::from(days - 1) * DAY_MS;
    read(&desk, move |records| records.custody(since_ms)).await.map(Json)
}

async fn verify(State(desk): Shared, _role: Extension<Role>) -> Answer<view::Verified> {
    read(&desk, |records| records.verify()).await.map(Json)
}

async fn storage(State(desk): Shared, _role: Extension<Role>) -> Answer<view::Storage> {
    let now_ms = desk.clock.now().wall_ms;
    read(&desk, move |records| records.storage(now_ms)).await.map(Json)
}

/// The copy itself; what it holds is in the header [`COPY`], as JSON.
async fn backup(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Fault> {
    if !role.administers() {
        desk.witness.refused(&caller).await;
        return Err(Fault::Forbidden);
    }
    let taken = desk.witness.exports(&caller.0, None).await?;
    let (copy, path) = read(&desk, |records| records.copy()).await?;
    let open = tokio::fs::File::open(&path).await;
    // It lives as long as it is open.
    let _ = tokio::fs::remove_file(&path).await;
    let file = open.map_err(|e| Unreadable(e.to_string()))?;
    let what = serde_json::to_string(&copy).map_err(|e| Unreadable(e.to_string()))?;
    let left = copy.bytes;
    let pieces = futures_util::stream::try_unfold((file, left, Some(taken)), async |(mut file, left, mut taken)| {
        let mut piece = vec![0; 64 * 1_024];
        let n = file.read(&mut piece).await?;
        piece.truncate(n);
        let left = left.saturating_sub(n as u64);
        // Whoever has the length does not ask for more.
        taken.take_if(|_| left == 0).into_iter().for_each(Taken::whole);
        Ok::<_, std::io::Error>((n > 0).then_some((piece, (file, left, taken))))
    });
    let head = [(COPY, what), ("content-length", copy.bytes.to_string())];
    Ok((head, Body::from_stream(pieces)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    since: jiff::Timestamp,
    until: Option<jiff::Timestamp>,
    device: Option<String>,
    patient: Option<PatientId>,
    #[serde(default)]
    format: view::ExportFormat,
    by: Option<String>,
}

/// Lines, as the journal is read. An answer that breaks off is not whole.
async fn export(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    if !role.administers() {
        desk.witness.refused(&caller).await;
        return Err(Fault::Forbidden);
    }
    let Query(ExportQuery { since, until, device, patient, format, by }) =
        query.map_err(|e| Fault::Malformed(e.body_text()))?;
    let until_ms = until.map_or(i64::MAX, jiff::Timestamp::as_millisecond);
    let by = by.map_or_else(|| Ok(caller.0.to_string()), |by| super::inbox::name(&by))?;
    let taken = desk.witness.exports(&by, patient.as_ref()).await?;
    let filter = view::ExportFilter { since_ms: since.as_millisecond(), until_ms, device, patient, format };
    let pieces = read(&desk, move |records| records.export(filter, taken)).await?;
    let lines = futures_util::stream::try_unfold(pieces, async |mut pieces| {
        let next = tokio::task::spawn_blocking(move || (pieces.next(), pieces)).await;
        let (next, pieces) = next.map_err(std::io::Error::other)?;
        next.transpose().map(|piece| piece.map(|piece| (piece, pieces))).map_err(std::io::Error::other)
    });
    let kind = match format {
        view::ExportFormat::Csv => "text/csv; charset=utf-8",
        view::ExportFormat::Ndjson => "application/x-ndjson",
    };
    Ok(([("content-type", kind)], Body::from_stream(lines)).into_response())
}

async fn devices(State(desk): Shared, _role: Extension<Role>) -> Answer<Vec<DeviceSettings>> {
    read(&desk, |records| records.devices()).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct By {
    by: Option<String>,
}

async fn add_device(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    query: Result<Query<By>, QueryRejection>,
    body: Result<Json<DeviceSettings>, JsonRejection>,
) -> Answer<Done> {
    if !role.serves_devices() {
        return Err(Fault::Forbidden);
    }
    let Query(By { by }) = query.map_err(|e| Fault::Malformed(e.body_text()))?;
    let by = by.map_or_else(
        || Ok(if role.administers() { "administrator" } else { "technician" }.to_owned()),
        |by| super::inbox::name(&by),
    )?;
    let Json(device) = body.map_err(|e| Fault::Malformed(e.body_text()))?;
    if let Some(finding) = check_device(&device).into_iter().next() {
        return Err(Fault::Refused(finding.to_string()));
    }
    if device.patient.iter().chain(device.slots.values()).any(|p| !desk.patients.contains(p)) {
        return Err(Fault::Refused("its patient is not one of this box".into()));
    }
    let latest = desk.clock.now().plus(HAND_OUT_AHEAD_MAX).timestamp();
    if desk.clock.now().trusted && device.since.is_some_and(|since| since > latest) {
        let why = "it is handed out later than now: what it measures until then would have no holder. Say it when it has happened";
        return Err(Fault::Refused(why.into()));
    }
    if hands_over_by_an_unset_clock(&desk, &device).await? {
        let why =
            "somebody else has it, and the box does not know what time it is (WL-O015): say since when, with `--since`";
        return Err(Fault::Refused(why.into()));
    }
    in_time(desk.orders.add_device(device, by)).await
}

/// Whether the end of somebody's window would be the time of a clock that nobody set: what they measured after it would be the
/// next one's.
async fn hands_over_by_an_unset_clock(desk: &Desk, device: &DeviceSettings) -> Result<bool, Fault> {
    let now = desk.clock.now();
    let by_our_clock = |since: jiff::Timestamp| since.as_millisecond().abs_diff(now.wall_ms) < HAND_OUT_BY_HAND_MS;
    if now.trusted || !device.since.is_none_or(by_our_clock) {
        return Ok(false);
    }
    let stays = |patient| device.patient.iter().chain(device.slots.values()).any(|wanted| wanted == patient);
    let held = desk.charts.held(device.id.clone()).await?;
    Ok(held.0.iter().any(|window| window.until_ms.is_none() && !stays(&window.patient)))
}

/// The body of an order that is for administrators.
pub(super) fn admitted<T>(role: Role, body: Result<Json<T>, JsonRejection>) -> Result<Json<T>, Fault> {
    if !role.administers() {
        return Err(Fault::Forbidden);
    }
    body.map_err(|e| Fault::Malformed(e.body_text()))
}

/// An order was carried out.
#[derive(serde::Serialize)]
pub(super) struct Done {
    pub(super) done: bool,
}

/// Waits for an order's answer as long as a person would.
pub(super) async fn in_time(order: impl Future<Output = Result<(), Fault>>) -> Answer<Done> {
    tokio::time::timeout(ANSWER_MAX, order).await.map_err(|_| Fault::Busy)??;
    Ok(Json(Done { done: true }))
}

/// Reads the journal on a thread where waiting for the disk hurts nobody.
pub(super) async fn read<T: Send + 'static>(
    desk: &Arc<Desk>,
    question: impl FnOnce(&dyn Records) -> Result<T, Unreadable> + Send + 'static,
) -> Result<T, Fault> {
    let records = desk.records.clone();
    tokio::task::spawn_blocking(move || question(&*records)).await.map_err(|_| Fault::Busy)?.map_err(Fault::from)
}
