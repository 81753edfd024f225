//! The local web page: present values, trends, alerts to take, and what waits for whom. Loopback only, off by default.
//!
//! It shows what the control plane's handlers know and acknowledges through them; it has no power of its own. A technician with
//! a key serves devices at `/devices`, through the same handlers.
//! Must never: listen beyond loopback, answer another site's requests, run code that is not its own, or log a name.

mod board;
mod devices;
mod guard;
mod render;
mod scene;
mod spark;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::PatientSettings;
use crate::control::witness::Caller;
use crate::control::{self, Desk};
use crate::fault::Explain;
use crate::limits::PAGE_FOLLOW_EVERY;
use board::Board;
use devices::Devices;
use guard::Hosts;

const CSS: &str = include_str!("assets/wardline.css");
const JS: &str = include_str!("assets/wardline.js");
const DEVICES_JS: &str = include_str!("assets/devices.js");
const ICON: &str = include_str!("assets/icon.svg");

/// Why the page is not served.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Choose a loopback address.
    #[error("the page may listen on loopback only, not at {0}")]
    NotLoopback(SocketAddr),
    /// Choose another port.
    #[error("the page cannot listen at {at}: {source}")]
    Bind {
        /// Where.
        at: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl Explain for PageError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotLoopback(_) => "WL-O030",
            Self::Bind { .. } => "WL-O031",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::NotLoopback(_) => "Set `[page] listen` to an address like 127.0.0.1:8737.",
            Self::Bind { .. } => "Stop what uses the port, or set `[page] listen` to another one.",
        }
    }
}

/// A page that is bound and not yet served: binding fails early, before anything else starts.
pub struct Page {
    listener: TcpListener,
    address: SocketAddr,
}

impl Page {
    /// Takes the port.
    pub async fn bind(at: SocketAddr) -> Result<Self, PageError> {
        if !at.ip().is_loopback() {
            return Err(PageError::NotLoopback(at));
        }
        let bound = async {
            let listener = TcpListener::bind(at).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bound.await.map_err(|source| PageError::Bind { at, source })
    }

    /// Where people find it.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Serves until `stop`. `patients` gives the names the household chose, `zone` the clock on the wall.
    pub async fn serve(
        self,
        desk: Arc<Desk>,
        patients: &[PatientSettings],
        zone: jiff::tz::TimeZone,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let board = Arc::new(Mutex::new(Board::new(desk.clone(), patients, zone)));
        let devices = Arc::new(Devices::new(desk.clone(), patients));
        let app = router(desk, board.clone(), devices, Hosts::of(self.address));
        // A browser keeps its connection open: waiting for it would hold up the shutdown.
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            served = axum::serve(self.listener, app) => served,
            () = follow(board) => Ok(()),
        }
    }
}

type Shared = Arc<Mutex<Board>>;

/// Keeps the board up to date while nobody looks.
async fn follow(board: Shared) {
    loop {
        tokio::time::sleep(PAGE_FOLLOW_EVERY).await;
        let board = board.clone();
        // What cannot be read now is said to whoever looks.
        let _ = tokio::task::spawn_blocking(move || lock(&board).follow()).await;
    }
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(desk: Arc<Desk>, board: Shared, technician: Arc<Devices>, hosts: Hosts) -> Router {
    let technician = Router::new()
        .route("/devices", get(devices::page))
        .route("/devices/live", get(devices::live))
        .route(
            "/devices.js",
            get(|| async { ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], DEVICES_JS) }),
        )
        .with_state(technician);
    let api = control::router(desk.clone()).layer(middleware::from_fn_with_state(desk, guard::who));
    Router::new()
        .route("/", get(whole))
        .route("/live", get(live))
        .route("/wardline.css", get(|| async { ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], CSS) }))
        .route("/wardline.js", get(|| async { ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], JS) }))
        .route("/icon.svg", get(|| async { ([(header::CONTENT_TYPE, "image/svg+xml")], ICON) }))
        .with_state(board)
        .merge(technician)
        .nest("/api", api)
        .layer(middleware::from_fn_with_state(Arc::new(hosts), guard::guard))
}

async fn whole(State(board): State<Shared>) -> Response {
    match look(board).await {
        Some(scene) => Html(render::whole(&scene)).into_response(),
        None => control::Fault::Busy.into_response(),
    }
}

/// The parts of the page by their id, as HTML; the script replaces those that changed.
async fn live(State(board): State<Shared>) -> Response {
    match look(board).await {
        Some(scene) => Json(render::parts(&scene)).into_response(),
        None => control::Fault::Busy.into_response(),
    }
}

/// Reads the journal on a thread where waiting for the disk hurts nobody.
async fn look(board: Shared) -> Option<scene::Scene> {
    let desk = lock(&board).wants_stuck();
    if let Some(desk) = desk
        && let Ok(groups) = desk.inbox.groups(false).await
    {
        lock(&board).take_stuck(groups);
    }
    let seen = tokio::task::spawn_blocking(move || {
        let mut board = lock(&board);
        (board.look(), board.whose(), board.desk())
    });
    let (scene, whose, desk) = seen.await.ok()?;
    desk.witness.saw(&Caller(guard::ANYBODY.into()), whose).await;
    Some(scene)
}

#[cfg(test)]
mod tests;
