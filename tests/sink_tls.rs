//! A destination whose certificate is not right gets nothing, not one octet of payload; and what is right works without
//! the machine's own CA certificates.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use support::certificates::{ALWAYS, Authority, Identity, authority};
use support::readings::heart_rates;
use support::scripted::{Reply, Scripted};
use wardline::config::{FhirSettings, Idempotency};
use wardline::custody::Outcome;
use wardline::fault::Explain;
use wardline::sink::Destination;
use wardline::sink::fhir::FhirSink;
use wardline::sink::http::{HttpError, Peer};
use wardline::tls::{Files, TlsError};

/// A server's configuration for this name, valid from and to the first days of these years.
fn server(ca: &Authority, name: &str, years: (i32, i32)) -> Arc<rustls::ServerConfig> {
    Identity::new(Some(ca), &[name], years).server()
}

fn write(folder: &Path, ca: &Authority) -> PathBuf {
    let file = folder.join("ca.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    file
}

fn settings(url: &str, ca_file: PathBuf) -> FhirSettings {
    FhirSettings {
        consent: None,
        fields: None,
        name: "centre".into(),
        url: url.into(),
        idempotency: Idempotency::Update,
        bundle: wardline::config::BundleKind::Auto,
        bundle_max: 100,
        requests_per_min: 0,
        gzip: true,
        linger_ms: 0,
        timeout_s: 10,
        ca_file: Some(ca_file),
        crl_file: None,
        client_certificate_file: None,
        client_key_file: None,
        token_file: None,
        auth: None,
        profile: None,
        us_core: Default::default(),
        phd: false,
        devices: Default::default(),
        uncoded: Default::default(),
        mapping_file: None,
        alert_owner: None,
        care_plan: None,
        follow_tasks: None,
        audit: false,
        device_metrics: false,
        references: Default::default(),
    }
}

/// What a destination with this certificate gets and what is said of it.
async fn meet(config: Arc<rustls::ServerConfig>, host: &str, ca_file: PathBuf) -> (usize, Outcome) {
    let body = r#"{"resourceType":"Bundle","entry":[{"response":{"status":"201"}}]}"#;
    let script = |_: &_| Reply::Answer(200, vec![], body.into());
    let server = Scripted::serve(Some((config, host)), script).await;
    let sink = FhirSink::new(&settings(&server.url, ca_file), &"box-1".into()).unwrap();
    let outcome = support::within("an outcome", sink.deliver(&heart_rates(0..1), &[])).await.remove(0);
    (server.received(), outcome)
}

#[tokio::test]
async fn a_wrong_certificate_gets_no_payload_and_the_reason_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (authority("Ours"), authority("Theirs"));
    let ca_file = write(folder.path(), &ours);
    for (config, reason) in [
        (server(&theirs, "127.0.0.1", (2020, 2099)), "UnknownIssuer"),
        (server(&ours, "127.0.0.2", (2020, 2099)), "not valid for"),
        (server(&ours, "127.0.0.1", (2020, 2024)), "expired"),
        (server(&ours, "127.0.0.1", (2098, 2099)), "not valid yet"),
    ] {
        let (received, outcome) = meet(config, "127.0.0.1", ca_file.clone()).await;
        let Outcome::Retry { why, destination: true, .. } = &outcome else { panic!("{outcome:?}") };
        assert_eq!((received, &*why.code), (0, "WL-F003"), "{reason}");
        assert!(why.text.contains(reason), "{reason}: {}", why.text);
    }
    let (received, outcome) = meet(server(&ours, "127.0.0.1", (2020, 2099)), "127.0.0.1", ca_file).await;
    assert!(received > 0 && matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
}

#[tokio::test]
async fn what_does_not_speak_tls_gets_no_payload() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = write(folder.path(), &authority("Ours"));
    let server = Scripted::start(|_| Reply::status(200)).await;
    let url = server.url.replace("http:", "https:");
    let sink = FhirSink::new(&settings(&url, ca_file), &"box-1".into()).unwrap();
    let outcome = support::within("an outcome", sink.deliver(&heart_rates(0..1), &[])).await.remove(0);
    assert!(matches!(&outcome, Outcome::Retry { why, destination: true, .. } if why.code == "WL-F001"), "{outcome:?}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_ca_file_that_is_not_one_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("empty.pem", ""), ("text.pem", "not a certificate"), ("half.pem", "-----BEGIN CERTIFICATE-----\nAAAA")]
    {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let error = Peer::new("https://127.0.0.1", trusting(&file), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.code(), "WL-F102");
        assert!(error.to_string().contains(name), "{error}");
    }
    let missing = Peer::new("https://127.0.0.1", trusting(Path::new("/nonexistent/ca.pem")), Duration::from_secs(1));
    assert_eq!(missing.unwrap_err().code(), "WL-F102");
    for url in ["ftp://x", "x", "https://", "http//x", ""] {
        assert_eq!(Peer::new(url, Files::default(), Duration::from_secs(1)).unwrap_err().code(), "WL-F101", "{url}");
    }
}

fn trusting(file: &Path) -> Files {
    Files { authorities: Some(file.into()), ..Files::default() }
}

/// Runs itself again as on such a machine.
#[test]
fn a_machine_without_ca_certificates_works_with_configured_ones() {
    if std::env::var_os("SSL_CERT_FILE").is_none_or(|f| f != "/nonexistent") {
        let name = "a_machine_without_ca_certificates_works_with_configured_ones";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", name]).env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
        let done = again.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        return;
    }
    let second = Duration::from_secs(1);
    assert!(matches!(
        Peer::new("https://127.0.0.1", Files::default(), second),
        Err(HttpError::Tls(TlsError::NoAuthorities))
    ));
    assert!(Peer::new("http://127.0.0.1", Files::default(), second).is_ok(), "plain HTTP needs none");
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("Ours");
    let ca_file = write(folder.path(), &ca);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_, outcome) = runtime.block_on(meet(server(&ca, "127.0.0.1", (2020, 2099)), "127.0.0.1", ca_file));
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
}

/// Our certificate is asked for; it is renewed, and its authority changed, without a new sink.
#[tokio::test]
async fn a_destination_that_asks_for_our_certificate_gets_it_and_a_renewed_one_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (authority("Ours"), authority("Others"));
    let ca_file = write(folder.path(), &ours);
    let server = Identity::new(Some(&ours), &["127.0.0.1"], ALWAYS).server_for(&ours);
    let server = Scripted::serve(Some((server, "127.0.0.1")), |_| Reply::status(500)).await;
    let [certificate, key] = ["client.pem", "client.key"].map(|name| Some(folder.path().join(name)));
    Identity::new(Some(&others), &[], ALWAYS).put(folder.path(), "client");
    let mut settings = settings(&server.url, ca_file);
    let nobody = FhirSink::new(&settings, &"box-1".into()).unwrap();
    (settings.client_certificate_file, settings.client_key_file) = (certificate, key);
    let sink = FhirSink::new(&settings, &"box-1".into()).unwrap();
    for sink in [&nobody, &sink] {
        support::within("an outcome", sink.deliver(&heart_rates(0..1), &[])).await;
        assert!(server.requests().is_empty(), "let in without a certificate of its authority");
    }
    // Half written: what was read before counts, and is still the wrong one.
    std::fs::write(folder.path().join("client.pem"), "-----BEGIN CERT").unwrap();
    support::within("an outcome", sink.deliver(&heart_rates(0..1), &[])).await;
    assert!(server.requests().is_empty());
    Identity::new(Some(&ours), &[], ALWAYS).put(folder.path(), "client");
    // A connection that the server has just given up may be taken for a good one once.
    let renewed = async {
        while server.requests().is_empty() {
            sink.deliver(&heart_rates(0..1), &[]).await;
        }
    };
    support::within("a request with the renewed certificate", renewed).await;
}

#[test]
fn a_client_certificate_with_the_key_of_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = write(folder.path(), &authority("Ours"));
    let [one, two] = ["one", "two"].map(|name| {
        Identity::new(None, &[], ALWAYS).put(folder.path(), name);
        folder.path().join(name)
    });
    let identity = Some((one.with_extension("pem"), two.with_extension("key")));
    let files = Files { identity, ..trusting(&ca_file) };
    let error = Peer::new("https://127.0.0.1", files, Duration::from_secs(1)).unwrap_err();
    assert!(error.code() == "WL-F102" && error.to_string().contains("two.key"), "{error}");
}
