//! The sockets: nobody but root, our user and its group can ever connect to the control socket, not even for an instant.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::access::{Owner, Peer};
use super::witness::Caller;
use super::{Desk, Fault, health, routes};
use crate::config::ControlSettings;
use crate::fault::Explain;
use crate::socket::{self, Unbound};

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Stop the other process, or give this one its own sockets.
    #[error("another gateway answers at {0}")]
    Taken(PathBuf),
    /// Make the folder writable for the gateway's user, or free the address.
    #[error("cannot listen at {at}: {source}")]
    Bind {
        /// Path or address.
        at: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Explain for ServeError {
    fn code(&self) -> &'static str {
        match self {
            Self::Taken(_) => "WL-O006",
            Self::Bind { .. } => "WL-O007",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Taken(_) => "Stop the other gateway, or give this one its own `[control]` sockets.",
            Self::Bind { .. } => {
                "Create the folder, make it writable for the gateway's user, or choose another path or port."
            }
        }
    }
}

/// Listeners that are bound and not yet served: binding fails early, before anything else starts.
pub struct Sockets {
    control: (UnixListener, PathBuf),
    status: (UnixListener, PathBuf),
    tcp: Option<TcpListener>,
}

impl Sockets {
    /// Binds what the settings name.
    pub async fn bind(settings: &ControlSettings) -> Result<Self, ServeError> {
        let control = bind_unix(&settings.socket, 0o660).await?;
        let status = bind_unix(&settings.status_socket, 0o666).await?;
        let tcp = match settings.status_tcp {
            Some(at) => {
                Some(TcpListener::bind(at).await.map_err(|source| ServeError::Bind { at: at.to_string(), source })?)
            }
            None => None,
        };
        Ok(Self { control: (control, settings.socket.clone()), status: (status, settings.status_socket.clone()), tcp })
    }

    /// Serves until `stop`; the sockets' files are gone afterwards.
    pub async fn serve(self, desk: Arc<Desk>, stop: CancellationToken) -> std::io::Result<()> {
        let (control, path) = self.control;
        let owner = Owner::of(&path)?;
        let guarded = routes::router(desk.clone())
            .layer(middleware::from_fn(move |peer, request, next| admit(owner, peer, request, next)));
        let health = health::router(desk);
        let tcp = async {
            match self.tcp {
                Some(listener) => serve_one(listener, health.clone(), &stop).await,
                None => Ok(()),
            }
        };
        let (status, status_path) = self.status;
        let commands = guarded.into_make_service_with_connect_info::<Peer>();
        let served = tokio::try_join!(
            async { axum::serve(control, commands).with_graceful_shutdown(stop.clone().cancelled_owned()).await },
            serve_one(status, health.clone(), &stop),
            tcp,
        );
        for path in [path, status_path] {
            let _ = std::fs::remove_file(path);
        }
        served.map(|_| ())
    }
}

async fn serve_one<L: axum::serve::Listener>(
    listener: L,
    router: Router,
    stop: &CancellationToken,
) -> std::io::Result<()>
where
    L::Addr: std::fmt::Debug,
{
    axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned()).await
}

async fn admit(owner: Owner, ConnectInfo(peer): ConnectInfo<Peer>, mut request: Request, next: Next) -> Response {
    let Some(role) = owner.admit(peer) else {
        return Fault::Forbidden.into_response();
    };
    if request.method() != axum::http::Method::GET {
        // The path of an acknowledgement or an assignment holds no patient data; its body is not logged.
        tracing::info!(uid = peer.0, path = request.uri().path(), "Command received.");
    }
    let words = if role.administers() { "administrator" } else { "operator" };
    let caller = Caller(format!("{words} (uid {})", peer.0.unwrap_or_default()).into());
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(role);
    next.run(request).await
}

async fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, ServeError> {
    socket::bind(path, mode).await.map_err(|e| match e {
        Unbound::Taken => ServeError::Taken(path.into()),
        Unbound::Io(source) => ServeError::Bind { at: path.display().to_string(), source },
    })
}
