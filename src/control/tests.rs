//! The control plane over real sockets, with a journal of two readings and a pipeline that answers at once.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::{Client, ClientError};
use super::serve::{ServeError, Sockets};
use super::{Desk, Fault, Orders, Records, Unreadable, view};
use crate::alarm::{Alert, AlertId, Condition, Priority};
use crate::clock::{Clock, Stamp};
use crate::config::{ControlSettings, DeviceSettings};
use crate::reading::{DeviceId, PatientId, ReadingKey};
use crate::telemetry::{Watchdog, idle_metrics};

struct Shelf;

impl Records for Shelf {
    fn readings(&self, _filter: &view::Filter) -> Result<Vec<view::Row>, Unreadable> {
        Err(Unreadable("the disk is gone".into()))
    }
    fn explain(&self, _key: ReadingKey) -> Result<Option<view::Explained>, Unreadable> {
        Ok(None)
    }
    fn alerts(&self, _limit: usize) -> Result<Vec<Alert>, Unreadable> {
        Ok(vec![])
    }
    fn outbox(&self, destination: Option<&str>) -> Result<Vec<view::Outbox>, Unreadable> {
        let row = view::Outbox {
            destination: "centre".into(),
            waiting: 3,
            oldest_ms: Some(1),
            rejected: 0,
            delivered: 7,
            failures: vec![],
            withheld: vec![],
        };
        Ok(if destination.is_none_or(|d| d == "centre") { vec![row] } else { vec![] })
    }
    fn custody(&self, _: i64) -> Result<Vec<view::Day>, Unreadable> {
        Ok(vec![])
    }
    fn seal(&self) -> Result<Option<String>, Unreadable> {
        Ok(None)
    }
    fn verify(&self) -> Result<view::Verified, Unreadable> {
        Err(Unreadable("no file".into()))
    }
    fn storage(&self, _: i64) -> Result<view::Storage, Unreadable> {
        Err(Unreadable("no file".into()))
    }
    fn copy(&self) -> Result<(view::Copy, std::path::PathBuf), Unreadable> {
        Err(Unreadable("no file".into()))
    }
    fn export(&self, _: view::ExportFilter, _: super::witness::Taken) -> Result<super::Pieces, Unreadable> {
        Err(Unreadable("no file".into()))
    }
    fn devices(&self) -> Result<Vec<DeviceSettings>, Unreadable> {
        Ok(vec![])
    }
}

/// Knows alert `a1`; refuses devices called `mqtt:bad`.
struct Crew;

impl Orders for Crew {
    fn acknowledge(&self, id: AlertId, _by: String) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { if &*id.0 == "a1" { Ok(()) } else { Err(Fault::Missing("open alert")) } })
    }
    fn add_device(&self, device: DeviceSettings, _by: String) -> BoxFuture<'_, Result<(), Fault>> {
        let bad = &*device.id.0 == "mqtt:bad";
        Box::pin(async move { if bad { Err(Fault::Refused("no such patient".into())) } else { Ok(()) } })
    }
}

fn alert(id: &str) -> Alert {
    Alert {
        id: AlertId(id.into()),
        rule: "spo2-low".into(),
        condition: Condition::Limit,
        priority: Priority::High,
        patient: None,
        device: Some(DeviceId("mqtt:oximeter-3".into())),
        vital: None,
        text: "canary-81".into(),
        evidence: vec![],
        raised: Stamp::at_ms(5),
        received: Stamp::at_ms(4),
        acknowledged: None,
        resolved: None,
        taken_back: None,
    }
}

fn desk(clock: Clock) -> Arc<Desk> {
    let (_, alerts) = watch::channel(Arc::from([alert("a1")]));
    let link = |name: &str, state| {
        let link = view::Link { name: name.into(), kind: "mqtt".into(), state, since_ms: None, why: None };
        Box::new(move || link.clone()) as super::Probe
    };
    Arc::new(Desk {
        gateway: "box-1".into(),
        started: clock.now(),
        radio: None,
        witness: super::witness::Witness::new(Arc::new(super::witness::Unrecorded), clock.clone()),
        technicians: super::technician::Technicians::default(),
        watchdog: Watchdog::new(clock.clone()),
        clock,
        patients: [PatientId::new("Patient/p1")].into(),
        records: Arc::new(Shelf),
        alerts,
        orders: Arc::new(Crew),
        inbox: Arc::new(super::inbox::Empty),
        charts: Arc::new(super::charts::Empty),
        people: Arc::new(super::patients::Nobody),
        thresholds: Arc::new(super::thresholds::Unordered),
        consents: Arc::new(super::consents::Empty),
        register: Arc::new(super::demographics::Nameless),
        probes: Arc::new(super::probe::Unknown),
        sources: vec![link("ward", view::LinkState::Up)],
        destinations: vec![link("centre", view::LinkState::Down)],
        metrics: idle_metrics(),
    })
}

fn settings(folder: &Path) -> ControlSettings {
    ControlSettings { socket: folder.join("control.sock"), status_socket: folder.join("status.sock"), status_tcp: None }
}

/// Runs `body` beside a served control plane.
async fn with_gateway(clock: Clock, body: impl AsyncFnOnce(&ControlSettings, &Desk)) {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let desk = desk(clock);
    let sockets = Sockets::bind(&settings).await.unwrap();
    tokio::select! {
        () = async { body(&settings, &desk).await; } => {}
        served = sockets.serve(desk.clone(), CancellationToken::new()) => panic!("served: {served:?}"),
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    answer.unwrap_err().sentence().split(':').next().unwrap().to_owned()
}

async fn status_get(settings: &ControlSettings, path: &str) -> (u16, String) {
    let http = reqwest::Client::builder().unix_socket(&*settings.status_socket).tls_certs_only([]).build().unwrap();
    let answer = http.get(format!("http://wardline{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn system() -> Clock {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Clock::system()
}

#[tokio::test]
async fn questions_commands_and_refusals() {
    with_gateway(system(), async |settings, _| {
        let client = Client::new(&settings.socket).unwrap();
        let status: view::Status = client.get("/v1/status", &[]).await.unwrap();
        assert_eq!((status.alerts.high, status.outbox[0].waiting), (1, 3));
        let open: Vec<Alert> = client.get("/v1/alerts", &[]).await.unwrap();
        assert_eq!(open.len(), 1);

        let by = serde_json::json!({ "by": "Nurse Ada" });
        client.post::<serde_json::Value>("/v1/alerts/a1/acknowledge", &by).await.unwrap();
        assert_eq!(code(client.post::<serde_json::Value>("/v1/alerts/a9/acknowledge", &by).await), "WL-O004");
        let nameless = serde_json::json!({ "by": "  " });
        assert_eq!(code(client.post::<serde_json::Value>("/v1/alerts/a1/acknowledge", &nameless).await), "WL-O010");
        let unknown = serde_json::json!({ "by": "Ada", "at": 3 });
        assert_eq!(code(client.post::<serde_json::Value>("/v1/alerts/a1/acknowledge", &unknown).await), "WL-O003");

        type Rows = Vec<view::Row>;
        assert_eq!(code(client.get::<Rows>("/v1/readings", &[]).await), "WL-O008");
        assert_eq!(code(client.get::<Rows>("/v1/readings", &[("since", "yesterday".into())]).await), "WL-O003");
        assert_eq!(code(client.get::<view::Explained>("/v1/readings/zz", &[]).await), "WL-O003");
        let id = "0".repeat(32);
        assert_eq!(code(client.get::<view::Explained>(&format!("/v1/readings/{id}"), &[]).await), "WL-O004");
        type Boxes = Vec<view::Outbox>;
        assert_eq!(code(client.get::<Boxes>("/v1/outbox", &[("destination", "x".into())]).await), "WL-O004");
        assert_eq!(code(client.get::<Rows>("/v2", &[]).await), "WL-O004");

        let device = |id: &str| serde_json::json!({ "id": id });
        client.post::<serde_json::Value>("/v1/devices", &device("mqtt:new")).await.unwrap();
        assert_eq!(code(client.post::<serde_json::Value>("/v1/devices", &device("mqtt:bad")).await), "WL-O010");
        let malformed = device("two words");
        assert_eq!(code(client.post::<serde_json::Value>("/v1/devices", &malformed).await), "WL-O010");
        let held = |by: &str| serde_json::json!({ "id": "mqtt:new", "patient": by });
        client.post::<serde_json::Value>("/v1/devices", &held("Patient/p1")).await.unwrap();
        assert_eq!(code(client.post::<serde_json::Value>("/v1/devices", &held("Patient/p2")).await), "WL-O010");
        let huge = serde_json::json!({ "by": "x".repeat(crate::limits::CONTROL_BODY_BYTES_MAX) });
        assert_eq!(code(client.post::<serde_json::Value>("/v1/alerts/a1/acknowledge", &huge).await), "WL-O003");
    })
    .await;
}

#[tokio::test]
async fn the_status_socket_shows_health_and_no_patient_data() {
    let clock = Clock::manual(Stamp::at_ms(1_800_000_000_000));
    let _ = system();
    with_gateway(clock.clone(), async |settings, desk| {
        let pulse = desk.watchdog.pulse("journal", std::time::Duration::from_secs(5));
        assert_eq!(status_get(settings, "/healthz").await.0, 200);
        assert_eq!(status_get(settings, "/readyz").await.0, 200);
        clock.advance(std::time::Duration::from_secs(6));
        let (status, body) = status_get(settings, "/healthz").await;
        assert_eq!(status, 503);
        assert!(body.contains("journal"));
        pulse.beat();
        assert_eq!(status_get(settings, "/healthz").await.0, 200);
        assert_eq!(status_get(settings, "/v1/status").await.0, 404);
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert!(!status_get(settings, path).await.1.contains("canary"));
        }
    })
    .await;
}

#[tokio::test]
async fn sockets_have_their_modes_and_a_living_gateway_keeps_its_own() {
    use std::os::unix::fs::PermissionsExt;
    with_gateway(system(), async |settings, _| {
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&settings.socket), mode(&settings.status_socket)), (0o660, 0o666));
        assert!(matches!(Sockets::bind(settings).await, Err(ServeError::Taken(_))));
    })
    .await;
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_replaced_and_no_gateway_is_said_so() {
    let _ = system();
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let client = Client::new(&settings.socket).unwrap();
    assert_eq!(code(client.get::<view::Status>("/v1/status", &[]).await), "WL-O001");
    drop(std::os::unix::net::UnixListener::bind(&settings.socket).unwrap());
    assert_eq!(code(client.get::<view::Status>("/v1/status", &[]).await), "WL-O001");
    Sockets::bind(&settings).await.unwrap();
}
