//! A FHIR endpoint with bad manners, on loopback, that counts what it holds.
//!
//! It runs on a thread of its own, so that it neither slows nor saves the gateway under test. What it says of
//! duplicates and losses comes from what it stored, never from what a gateway told.
//! Must never: listen beyond loopback.

mod control;
mod manners;
mod record;
mod resource;
mod routes;
mod search;
mod store;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use control::router as control;
pub use manners::{Fate, Manners, Outage};
pub use store::Counts;

use crate::clock::Clock;
use crate::lab::rng::Rng;
use crate::lab::tally::Tally;
use routes::{Shared, lock, router};
use wire::{Listener, Scissors};

/// How an endpoint is set up.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Port; 0: any free one.
    pub port: u16,
    /// HTTPS with a certificate made for this run.
    pub tls: bool,
    /// Where the certificate of its authority is written.
    pub ca_file: Option<PathBuf>,
    /// Seed of the dice.
    pub seed: u64,
    /// How it behaves at first.
    pub manners: Manners,
    /// Keep bodies, to be searched.
    pub keep: bool,
    /// Ask for this bearer token.
    pub token: Option<String>,
}

/// A running endpoint; ends when dropped.
pub struct Endpoint {
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    refusing: watch::Sender<bool>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Why the endpoint does not start.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The port is taken, a file cannot be written, or a thread not started.
    #[error("the lab endpoint cannot start: {0}")]
    Io(#[from] std::io::Error),
    /// No certificate could be made.
    #[error("the lab endpoint has no certificate: {0}")]
    Certificate(String),
}

impl Endpoint {
    /// Starts it; it answers when this returns.
    pub fn start(settings: Settings) -> Result<Self, EndpointError> {
        let tls = settings.tls.then(|| certificate(settings.ca_file.as_deref())).transpose()?;
        let (refusing, outage) = watch::channel(settings.manners.outage == Outage::Refuse);
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            manners: Mutex::new(settings.manners),
            dice: Mutex::new(Rng::new(settings.seed)),
            token: settings.token,
            scheme: if settings.tls { "https" } else { "http" },
            clock: Clock::system(),
        });
        lock(&shared.store).record = record::Record::asked()?;
        if settings.keep {
            lock(&shared.store).keep_bodies();
        }
        let stop = CancellationToken::new();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let work = serve(settings.port, tls, outage, shared.clone(), stop.clone(), ready);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("lab-endpoint".into()).spawn(move || runtime.block_on(work))?;
        let address = started.recv().map_err(|_| std::io::Error::other("its thread ended"))??;
        Ok(Self { address, tls: settings.tls, shared, refusing, stop, thread: Some(thread) })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/fhir", self.address)
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        lock(&self.shared.store).counts.clone()
    }

    /// Ages of the Observations when they were stored, by their `effectiveDateTime`, milliseconds; then it starts anew.
    pub fn take_ages(&self) -> Vec<u32> {
        lock(&self.shared.store).take_ages()
    }

    /// The Observations it holds, by patient and code.
    pub fn tally(&self) -> Tally {
        lock(&self.shared.store).tally.clone()
    }

    /// How it behaves now.
    pub fn manners(&self) -> Manners {
        *lock(&self.shared.manners)
    }

    /// Changes how it behaves.
    pub fn behave(&self, manners: Manners) {
        *lock(&self.shared.manners) = manners;
        self.refusing.send_replace(manners.outage == Outage::Refuse);
    }

    /// The kept bodies of a type.
    pub fn bodies(&self, kind: &str) -> Vec<Arc<str>> {
        lock(&self.shared.store).bodies(kind)
    }

    /// A future that ends when the endpoint is told to stop.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Ready = std::sync::mpsc::SyncSender<std::io::Result<SocketAddr>>;

async fn serve(
    port: u16,
    tls: Option<Arc<rustls::ServerConfig>>,
    outage: watch::Receiver<bool>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    ready: Ready,
) {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = bound.and_then(|socket| Ok((socket.local_addr()?, Listener::new(socket, tls, outage)?)));
    let listener = match listener {
        Ok((address, listener)) => {
            let _ = ready.send(Ok(address));
            listener
        }
        Err(e) => return drop(ready.send(Err(e))),
    };
    let service = router(shared).into_make_service_with_connect_info::<Scissors>();
    // Not gracefully: a client that keeps its connection open must not keep us.
    tokio::select! {
        () = stop.cancelled() => {}
        _ = axum::serve(listener, service) => {}
    }
}

/// A certificate for `localhost` and 127.0.0.1 under an authority made for this run.
fn certificate(ca_file: Option<&Path>) -> Result<Arc<rustls::ServerConfig>, EndpointError> {
    let failed = |e: rcgen::Error| EndpointError::Certificate(e.to_string());
    let mut ca = rcgen::CertificateParams::new(Vec::new()).map_err(failed)?;
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "Wardline lab, this run only");
    let ca_key = rcgen::KeyPair::generate().map_err(failed)?;
    let ca = rcgen::CertifiedIssuer::self_signed(ca, ca_key).map_err(failed)?;
    let names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let params = rcgen::CertificateParams::new(names).map_err(failed)?;
    let certificate = params.signed_by(&key, &ca).map_err(failed)?;
    if let Some(file) = ca_file {
        std::fs::write(file, ca.pem())?;
    }
    let failed = |e: rustls::Error| EndpointError::Certificate(e.to_string());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .map_err(failed)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
