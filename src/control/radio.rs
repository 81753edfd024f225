//! The Bluetooth radio as people see it: adapter, known devices, strangers around; pairing, which a person begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use serde::{Deserialize, Serialize};

use super::routes::Done;
use super::users::{Slot, Users};
use super::{Desk, Fault, Role};
use crate::config::{DeviceSettings, check_device};
use crate::custody::Why;
use crate::limits::{CAPTURE_LONGEST, METRIC_DEVICES_MAX};
use crate::reading::DeviceId;
use crate::user_code::UserCode;

/// Asks the source; answers at once from what is known.
pub trait Radio: Send + Sync {
    /// How it is.
    fn state(&self) -> RadioState;
    /// Who else is around, the loudest first.
    fn strangers(&self) -> Vec<Stranger>;
    /// Opens the pairing window for this device.
    fn pair(&self, device: DeviceId) -> Result<(), Fault>;
    /// The pairing window that is open, or was last.
    fn pairing(&self) -> Option<Pairing>;
    /// A person answers what is asked while pairing.
    fn reply(&self, reply: Reply) -> Result<(), Fault>;
    /// Closes the window.
    fn cancel(&self);
    /// Takes a device's bond away.
    fn forget(&self, device: DeviceId) -> BoxFuture<'_, Result<(), Fault>>;
    /// How it stands with the users of a device and their codes.
    fn users(&self, _device: &DeviceId) -> Users {
        Users::default()
    }
    /// A person gives a user's code.
    fn give_code(&self, _slot: Slot, _code: UserCode, _by: String) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Err(Fault::Missing("device")) })
    }
    /// A person takes it away.
    fn forget_code(&self, _slot: Slot, _by: String) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Err(Fault::Missing("device")) })
    }
    /// Records what a known device sends, for so long: the lines of a capture as they come. Dropped: it ends.
    fn record(&self, device: DeviceId, length: Duration) -> Result<BoxStream<'static, String>, Fault>;
}

/// `GET /v1/bluetooth/pairing`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pairing {
    /// Which device.
    pub device: DeviceId,
    /// `waiting` for the device, `talking`, `enter` (the digits that it shows), `show` (type `passkey` into it), `compare`
    /// (does it show `passkey`?), `paired`, `failed`.
    pub stage: String,
    /// Six digits to show.
    pub passkey: Option<String>,
    /// Why it failed: BlueZ's name for it, or `timeout`.
    pub why: Option<String>,
    /// What its profile says a person has to do, step by step.
    #[serde(default)]
    pub steps: Vec<String>,
}

/// `POST /v1/bluetooth/pairing/reply`: one of the two.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The digits that the device shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<u32>,
    /// It shows the same digits, or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same: Option<bool>,
}

/// `POST /v1/bluetooth/pairing` and `/v1/bluetooth/forget`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// `ble:C0:26:DF:00:11:22`.
    pub device: DeviceId,
}

/// `POST /v1/bluetooth/record`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// `ble:C0:26:DF:00:11:22`.
    pub device: DeviceId,
    /// How long at most, seconds.
    pub seconds: u64,
}

type Shared = State<Arc<Desk>>;
type Answer<T> = Result<Json<T>, Fault>;

/// The routes.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/v1/bluetooth/strangers", get(strangers))
        .route("/v1/bluetooth/pairing", get(pairing).post(pair))
        .route("/v1/bluetooth/pairing/reply", post(reply))
        .route("/v1/bluetooth/pairing/cancel", post(cancel))
        .route("/v1/bluetooth/forget", post(forget))
        .route("/v1/bluetooth/record", post(record))
}

pub(super) fn radio(desk: &Arc<Desk>) -> Result<Arc<dyn Radio>, Fault> {
    desk.radio.clone().ok_or(Fault::Missing("Bluetooth source: add [[source]] with kind = \"bluetooth\""))
}

/// Pairing decides who may send readings.
pub(super) fn allowed(role: Role) -> Result<(), Fault> {
    if role.serves_devices() { Ok(()) } else { Err(Fault::Forbidden) }
}

fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Fault> {
    body.map(|Json(body)| body).map_err(|e| Fault::Malformed(e.body_text()))
}

/// A device's id that is one of Bluetooth.
fn named(which: Which) -> Result<DeviceId, Fault> {
    let device =
        DeviceSettings { id: which.device, patient: None, slots: BTreeMap::new(), since: None, time_zone: None };
    match check_device(&device).into_iter().next() {
        Some(finding) => Err(Fault::Refused(finding.to_string())),
        None if !device.id.0.starts_with("ble:") => Err(Fault::Refused("this is no Bluetooth device".into())),
        None => Ok(device.id),
    }
}

async fn strangers(State(desk): Shared, _role: Extension<Role>) -> Answer<Vec<Stranger>> {
    Ok(Json(radio(&desk)?.strangers()))
}

async fn pairing(State(desk): Shared, Extension(role): Extension<Role>) -> Answer<Option<Pairing>> {
    allowed(role)?;
    Ok(Json(radio(&desk)?.pairing()))
}

async fn pair(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    which: Result<Json<Which>, JsonRejection>,
) -> Answer<Done> {
    allowed(role)?;
    radio(&desk)?.pair(named(body(which)?)?)?;
    Ok(Json(Done { done: true }))
}

async fn reply(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    reply: Result<Json<Reply>, JsonRejection>,
) -> Answer<Done> {
    allowed(role)?;
    radio(&desk)?.reply(body(reply)?)?;
    Ok(Json(Done { done: true }))
}

async fn cancel(State(desk): Shared, Extension(role): Extension<Role>) -> Answer<Done> {
    allowed(role)?;
    radio(&desk)?.cancel();
    Ok(Json(Done { done: true }))
}

async fn forget(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    which: Result<Json<Which>, JsonRejection>,
) -> Answer<Done> {
    allowed(role)?;
    let device = named(body(which)?)?;
    super::routes::in_time(radio(&desk)?.forget(device)).await
}

/// A capture as it comes: what the device measures, so it is for those who administer.
async fn record(
    State(desk): Shared,
    Extension(role): Extension<Role>,
    order: Result<Json<Record>, JsonRejection>,
) -> Result<Response, Fault> {
    if !role.administers() {
        return Err(Fault::Forbidden);
    }
    let Record { device, seconds } = body(order)?;
    let length = Duration::from_secs(seconds.clamp(1, CAPTURE_LONGEST.as_secs()));
    let lines = radio(&desk)?.record(named(Which { device })?, length)?;
    let head = [("content-type", "application/x-ndjson")];
    Ok((head, Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>))).into_response())
}

/// The radio and its known devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RadioState {
    /// `hci0`; `None`: there is none now.
    pub adapter: Option<String>,
    /// When any device was heard last.
    pub heard_ms: Option<i64>,
    /// Restarts since the start, because nothing was heard or something hung: of the scan.
    pub scan_restarts: u64,
    /// Of the adapter.
    pub adapter_restarts: u64,
    /// Of our whole part.
    pub rebuilds: u64,
    /// Known devices.
    pub devices: Vec<Peripheral>,
}

/// One known device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peripheral {
    /// `ble:C0:26:DF:00:11:22`.
    pub id: DeviceId,
    /// `away`, `near`, `connecting`, `connected`, `settling`.
    pub state: String,
    /// Strength of its last advertisement, dBm.
    pub rssi: Option<i16>,
    /// That against the last hours: `better`, `steady`, `worse`; absent as long as nobody can know.
    #[serde(default)]
    pub trend: Option<String>,
    /// Between two advertisements while it is awake, as it was learnt.
    #[serde(default)]
    pub heard_every_ms: Option<u64>,
    /// Between two times that it wakes, as it was learnt.
    #[serde(default)]
    pub comes_every_s: Option<u64>,
    /// When it was heard last.
    pub seen_ms: Option<i64>,
    /// When it answered or sent a value last.
    pub answered_ms: Option<i64>,
    /// Connections since the start.
    pub connections: u64,
    /// Failures since the start.
    pub failures: u64,
    /// Values since the start.
    pub values: u64,
    /// Per cent.
    pub battery: Option<u8>,
    /// Who made it, as it says.
    #[serde(default)]
    pub maker: Option<String>,
    /// As it says.
    pub model: Option<String>,
    /// As it says.
    pub firmware: Option<String>,
    /// As it says.
    #[serde(default)]
    pub hardware: Option<String>,
    /// As it says.
    #[serde(default)]
    pub software: Option<String>,
    /// Profiles that it is read with.
    pub profiles: Vec<Arc<str>>,
    /// It is bonded with this box.
    pub paired: bool,
    /// How far its clock is ahead of the box's, seconds, when it was last asked.
    pub clock_ahead_s: Option<i64>,
    /// What went wrong last.
    pub why: Option<Why>,
    /// Records of its memory that were never seen here.
    #[serde(default)]
    pub gaps: Vec<Why>,
    /// What a person must see to about its users' codes.
    #[serde(default)]
    pub users: Vec<Why>,
}

/// A device in metrics: who knows its address can tell, others cannot. An address is no patient's name, but it is a thing of
/// one person, and metrics travel.
pub fn label(id: &DeviceId) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, id.0.to_ascii_uppercase().as_bytes());
    hash.as_ref().iter().take(4).map(|octet| format!("{octet:02x}")).collect()
}

/// Each device's gauges, as far as something is known; those of the first [`METRIC_DEVICES_MAX`] devices.
pub(super) fn gauges(state: &RadioState, now_ms: i64) {
    let number = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    for d in state.devices.iter().take(METRIC_DEVICES_MAX) {
        let set = |name: &'static str, value: f64| metrics::gauge!(name, "device" => label(&d.id)).set(value);
        set("wardline_bluetooth_device_failures", number(d.failures));
        if let Some(seen) = d.seen_ms {
            let ago = u64::try_from(now_ms.saturating_sub(seen) / 1_000).unwrap_or(0);
            set("wardline_bluetooth_device_seen_seconds", number(ago));
        }
        d.rssi.into_iter().for_each(|rssi| set("wardline_bluetooth_device_rssi_dbm", f64::from(rssi)));
        d.comes_every_s.into_iter().for_each(|s| set("wardline_bluetooth_device_comes_every_seconds", number(s)));
        d.battery.into_iter().for_each(|level| set("wardline_bluetooth_device_battery_percent", f64::from(level)));
    }
}

/// A device that is not known and never connected to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stranger {
    /// The id under which it would be added.
    pub id: DeviceId,
    /// Its name, as it says.
    pub name: Option<String>,
    /// Strength, dBm.
    pub rssi: Option<i16>,
    /// When it was heard last.
    pub seen_ms: i64,
    /// Profiles that it could be read with; none: this gateway cannot read it.
    pub profiles: Vec<Arc<str>>,
}
