//! SMART Backend Services against a token server and a FHIR server that misbehave on purpose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use support::certificates::{self, ALWAYS, Identity, authority};
use support::readings::heart_rates;
use support::scripted::{Reply, Request, Scripted};
use wardline::clock::{Clock, Stamp};
use wardline::config::{AuthSettings, FhirSettings};
use wardline::custody::{Outcome, Why};
use wardline::sink::Destination;
use wardline::sink::fhir::FhirSink;
use wardline::sink::smart::file;
use wardline::sink::smart::key::Alg;

const NOW_MS: i64 = 1_795_342_271_000;

fn settings(url: &str, folder: &Path, more: &str) -> FhirSettings {
    let key = folder.join("key.pem");
    if !key.exists() {
        file::make(&key, Alg::Es384).unwrap();
    }
    let text = format!(
        "name='centre'\nurl='{url}'\nidempotency='update'\ngzip=false\ntimeout_s=2\n[auth]\nkind='smart'\nclient_id='box-1'\n\
         key_file='{}'\nscopes=['system/Observation.cu']\n{more}",
        key.display()
    );
    toml::from_str(&text).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Stamp::at_ms(NOW_MS))
}

fn sink(settings: &FhirSettings, clock: &Clock) -> FhirSink {
    FhirSink::timed(settings, &"box-1".into(), clock).unwrap()
}

fn token(name: &str, seconds: u64) -> Reply {
    let body =
        json!({"access_token": name, "token_type": "Bearer", "expires_in": seconds, "scope": "system/Observation.cu"});
    Reply::Answer(200, vec![("content-type", "application/json".into())], body.to_string())
}

fn taken() -> Reply {
    Reply::json(200, &json!({"resourceType": "Bundle", "entry": [{"response": {"status": "201"}}]}))
}

/// Both servers in one: what is asked for below `/fhir/auth` is the token server's.
async fn both(
    tokens: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    fhir: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> Scripted {
    let asked = AtomicUsize::new(0);
    Scripted::start(move |request| match request.path.as_str() {
        "/fhir/auth" => tokens(asked.fetch_add(1, Ordering::SeqCst), request),
        _ => fhir(request.header("authorization")),
    })
    .await
}

fn at(server: &Scripted) -> String {
    format!("token_url='{}/auth'\n", server.url)
}

fn asked(server: &Scripted, path: &str) -> usize {
    server.requests().iter().filter(|r| r.path == path).count()
}

async fn one(sink: &FhirSink) -> Outcome {
    support::within("an outcome", sink.deliver(&heart_rates(0..1), &[])).await.remove(0)
}

#[track_caller]
fn waits(outcome: &Outcome) -> &Why {
    let Outcome::Retry { why, destination: true, .. } = outcome else { panic!("{outcome:?}") };
    why
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_used_until_shortly_before_its_end() {
    let server = both(|n, _| token(&format!("token-{n}"), 300), |_| taken()).await;
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let sink = sink(&settings(&server.url, folder.path(), &at(&server)), &clock);
    for _ in 0..3 {
        assert!(matches!(one(&sink).await, Outcome::Delivered(_)));
    }
    assert_eq!(asked(&server, "/fhir/auth"), 1);
    clock.set(Stamp::at_ms(NOW_MS + 269_000));
    one(&sink).await;
    assert_eq!(asked(&server, "/fhir/auth"), 1);
    clock.set(Stamp::at_ms(NOW_MS + 271_000));
    one(&sink).await;
    assert_eq!(asked(&server, "/fhir/auth"), 2);
    let last = server.requests().pop().unwrap();
    assert_eq!(last.header("authorization"), "Bearer token-1");
    let ask = server.requests().remove(0);
    assert_eq!(ask.header("content-type"), "application/x-www-form-urlencoded");
    let text = String::from_utf8(ask.body.clone()).unwrap();
    assert!(text.starts_with("grant_type=client_credentials&scope=system%2FObservation.cu&"), "{text}");
    assert!(ask.header("authorization").is_empty());
}

#[tokio::test]
async fn many_who_need_a_token_ask_for_one() {
    let server = both(|_, _| token("t", 300), |_| taken()).await;
    let folder = tempfile::tempdir().unwrap();
    let sink = Arc::new(sink(&settings(&server.url, folder.path(), &at(&server)), &clock()));
    let all = (0..8).map(|_| one(&sink));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|o| matches!(o, Outcome::Delivered(_))), "{all:?}");
    assert_eq!(asked(&server, "/fhir/auth"), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_then_it_is_the_destinations_trouble() {
    // Ended early at the FHIR server: the first token is refused, the next is good.
    let early = |bearer: &str| if bearer == "Bearer t-0" { Reply::status(401) } else { taken() };
    let server = both(|n, _| token(&format!("t-{n}"), 300), early).await;
    let folder = tempfile::tempdir().unwrap();
    let first = sink(&settings(&server.url, folder.path(), &at(&server)), &clock());
    assert!(matches!(one(&first).await, Outcome::Delivered(_)));
    assert_eq!((asked(&server, "/fhir/auth"), server.requests().len()), (2, 4));

    let server = both(|n, _| token(&format!("t-{n}"), 300), |_| Reply::status(401)).await;
    let refused = sink(&settings(&server.url, folder.path(), &at(&server)), &clock());
    assert_eq!(waits(&one(&refused).await).code, "WL-A109");
    assert_eq!((asked(&server, "/fhir/auth"), server.requests().len()), (2, 4), "once, not for ever");
}

#[tokio::test]
async fn what_the_token_server_does_wrong_is_said_and_no_reading_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let invalid = |body: &str, headers: Vec<(&'static str, String)>| Reply::Answer(401, headers, body.to_owned());
    let client = r#"{"error":"invalid_client","error_description":"secret words"}"#;
    let hour_ago = "Sun, 22 Nov 2026 09:31:11 GMT".to_owned();
    let narrow = r#"{"access_token":"hush","token_type":"bearer","scope":"system/Observation.rs"}"#;
    let nothing = r#"{"access_token":"hush","token_type":"bearer","scope":""}"#;
    let ok = |body: &str| Reply::Answer(200, vec![], body.to_owned());
    for (reply, code, words) in [
        (Reply::Close, "WL-A104", "token server"),
        (Reply::Hang, "WL-A104", "too long"),
        (Reply::Trickle, "WL-A104", "too long"),
        (Reply::Half("{\"access_token\":\"hush\"}".into()), "WL-A104", "broke"),
        (Reply::status(503), "WL-A104", "HTTP 503"),
        (Reply::status(429), "WL-A104", "HTTP 429"),
        (Reply::status(404), "WL-A103", "HTTP 404"),
        (Reply::Answer(302, vec![("location", "http://127.0.0.1:1/".into())], String::new()), "WL-A103", "HTTP 302"),
        (Reply::Endless, "WL-A108", "does not end"),
        (Reply::Answer(200, vec![("content-type", "text/html".into())], "<html>".into()), "WL-A108", "not a token"),
        (ok(r#"{"access_token":"hush","token_type":"DPoP"}"#), "WL-A108", "bearer"),
        (ok(narrow), "WL-A107", "granted nothing, missing system/Observation.cu"),
        (ok(nothing), "WL-A107", "granted nothing"),
        (invalid(client, vec![]), "WL-A105", "invalid_client"),
        (invalid(client, vec![("date", hour_ago)]), "WL-A111", "ahead"),
        (Reply::Answer(400, vec![], r#"{"error":"invalid_scope"}"#.into()), "WL-A106", "invalid_scope"),
        (Reply::Answer(403, vec![], "<html>a proxy</html>".into()), "WL-A108", "without an error"),
    ] {
        let server = both(move |_, _| reply.clone(), |_| taken()).await;
        let sink = sink(&settings(&server.url, folder.path(), &at(&server)), &clock());
        let outcome = one(&sink).await;
        let why = waits(&outcome);
        assert!(why.code == code && why.text.contains(words), "{code}, {words}: {why:?}");
        assert!(!why.text.contains("hush") && !why.text.contains("secret") && !why.text.contains("eyJ"), "{why:?}");
        // And again at once: it is not asked again.
        assert_eq!(waits(&one(&sink).await).code, code);
        assert_eq!((asked(&server, "/fhir/auth"), server.requests().len()), (1, 1), "{code}, {words}");
    }
}

#[tokio::test]
async fn a_token_server_that_comes_back_is_asked_again() {
    let server = both(|n, _| if n == 0 { Reply::Close } else { token("t", 300) }, |_| taken()).await;
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let sink = sink(&settings(&server.url, folder.path(), &at(&server)), &clock);
    assert_eq!(waits(&one(&sink).await).code, "WL-A104");
    clock.set(Stamp::at_ms(NOW_MS + 3_000));
    assert!(matches!(one(&sink).await, Outcome::Delivered(_)));
}

#[tokio::test]
async fn without_the_time_nothing_is_signed() {
    let server = both(|_, _| token("t", 300), |_| taken()).await;
    let folder = tempfile::tempdir().unwrap();
    let unset = Clock::manual(Stamp { trusted: false, ..Stamp::at_ms(5_000) });
    let sink = sink(&settings(&server.url, folder.path(), &at(&server)), &unset);
    assert_eq!(waits(&one(&sink).await).code, "WL-A102");
    assert!(server.requests().is_empty());
    unset.set(Stamp { mono_us: 10_000_000, ..Stamp::at_ms(NOW_MS) });
    assert!(matches!(one(&sink).await, Outcome::Delivered(_)));
}

#[tokio::test]
async fn the_token_server_is_found_by_the_fhir_servers_own_word_if_that_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = Scripted::start(|_| token("t", 300)).await;
    let there = format!("{}/token", tokens.url);
    let document = json!({"token_endpoint": there, "token_endpoint_auth_signing_alg_values_supported": ["ES384"]});
    let fhir = Scripted::start(move |request| match request.path.as_str() {
        "/fhir/.well-known/smart-configuration" => Reply::json(200, &document),
        _ => taken(),
    })
    .await;
    let found = sink(&settings(&fhir.url, folder.path(), ""), &clock());
    assert!(matches!(one(&found).await, Outcome::Delivered(_)));
    assert_eq!(tokens.requests().len(), 1);
    for (document, words) in [
        (Reply::json(200, &json!({"token_endpoint": "http://auth.example/token"})), "no https address"),
        (Reply::json(200, &json!({})), "no token_endpoint"),
        (Reply::status(404), "HTTP 404"),
        (Reply::Answer(200, vec![], "<html>".into()), "is not one"),
    ] {
        let fhir = Scripted::start(move |_| document.clone()).await;
        let sink = sink(&settings(&fhir.url, folder.path(), ""), &clock());
        let outcome = one(&sink).await;
        assert!(waits(&outcome).code == "WL-A103" && waits(&outcome).text.contains(words), "{words}: {outcome:?}");
        assert!(fhir.requests().iter().all(|r| r.method == "GET" && r.header("authorization").is_empty()));
    }
}

#[tokio::test]
async fn a_403_is_explained_for_a_whole_request_and_for_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    let server = both(|_, _| token("t", 300), |_| Reply::status(403)).await;
    let whole = sink(&settings(&server.url, folder.path(), &at(&server)), &clock());
    let outcome = one(&whole).await;
    assert_eq!(waits(&outcome).code, "WL-A110");
    let unsaid =
        |_: usize, _: &Request| Reply::Answer(200, vec![], r#"{"access_token":"t","token_type":"bearer"}"#.into());
    let entry = json!({"resourceType": "Bundle", "entry": [{"response": {"status": "403"}}]});
    let server = both(unsaid, move |_| Reply::json(200, &entry)).await;
    let sink = sink(&settings(&server.url, folder.path(), &at(&server)), &clock());
    let outcome = one(&sink).await;
    let Outcome::Retry { why, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(why.code == "WL-A110" && why.text.contains("did not say"), "{why:?}");
}

#[tokio::test]
async fn a_key_that_is_gone_or_open_is_said() {
    let server = both(|_, _| token("t", 1), |_| taken()).await;
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let settings = settings(&server.url, folder.path(), &at(&server));
    let sink = sink(&settings, &clock);
    std::fs::remove_file(folder.path().join("key.pem")).unwrap();
    assert_eq!(waits(&one(&sink).await).code, "WL-A101");
    assert!(FhirSink::timed(&settings, &"box-1".into(), &clock).is_err());
    file::make(&folder.path().join("key.pem"), Alg::Rs384).unwrap();
    clock.set(Stamp::at_ms(NOW_MS + Duration::from_secs(3).as_millis() as i64));
    assert!(matches!(one(&sink).await, Outcome::Delivered(_)), "put back, it works without a restart");
}

/// What is logged meanwhile, by this thread.
struct Log(Arc<std::sync::Mutex<Vec<u8>>>, #[allow(dead_code)] tracing::subscriber::DefaultGuard);

impl Log {
    fn kept() -> Self {
        let lines: Arc<std::sync::Mutex<Vec<u8>>> = Arc::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Line(writer.clone())).finish();
        Self(lines, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Line(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn fewer_scopes_than_asked_for_are_said_once_and_readings_go() {
    let log = Log::kept();
    // The third token has another scope again.
    let scopes = ["system/Observation.cu", "system/Observation.cu", "system/Observation.cu system/Device.cu"];
    let given = move |n: usize, _: &Request| {
        let scope = scopes.get(n).copied().unwrap_or("system/Observation.cu");
        let body =
            json!({"access_token": format!("hush-{n}"), "token_type": "bearer", "expires_in": 300, "scope": scope});
        Reply::Answer(200, vec![], body.to_string())
    };
    let server = both(given, |_| taken()).await;
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let mut wanted = settings(&server.url, folder.path(), &at(&server));
    let Some(AuthSettings::Smart(smart)) = &mut wanted.auth else { panic!() };
    smart.scopes.extend(["system/Device.cu".into(), "system/Patient.rs".into()]);
    let sink = sink(&wanted, &clock);
    let said = |log: &Log| log.text().matches("WL-A112").count();
    for n in 0..3 {
        clock.set(Stamp::at_ms(NOW_MS + n * 400_000));
        assert!(matches!(one(&sink).await, Outcome::Delivered(_)));
        assert_eq!(said(&log), if n < 2 { 1 } else { 2 }, "once for each change: {}", log.text());
    }
    assert_eq!(asked(&server, "/fhir/auth"), 3);
    let text = log.text();
    let first = text.lines().find(|l| l.contains("WL-A112")).unwrap();
    for words in [
        "WARN",
        "destination=centre",
        "granted system/Observation.cu, missing system/Device.cu system/Patient.rs",
        "Have the centre allow the scopes",
    ] {
        assert!(first.contains(words), "{words}: {first}");
    }
    assert!(!text.contains("hush") && !text.contains("eyJ"), "{text}");
}

/// The token server's certificate is held to the same files as the destination's: no assertion leaves before it is verified.
#[tokio::test]
async fn a_token_server_whose_tls_is_wrong_gets_no_assertion_and_no_reading_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (authority("Ours"), authority("Theirs"));
    let ca_file = folder.path().join("ca.pem");
    let served = |identity: Identity| identity.server();
    let good = || Identity::new(Some(&ours), &["127.0.0.1"], ALWAYS);
    let revoked = good();
    let crl_file = folder.path().join("crl.pem");
    std::fs::write(&crl_file, certificates::revoked(&ours, &[&revoked])).unwrap();
    for (config, reason) in [
        (served(Identity::new(Some(&theirs), &["127.0.0.1"], ALWAYS)), "UnknownIssuer"),
        (served(Identity::new(None, &["127.0.0.1"], ALWAYS)), "UnknownIssuer"),
        (served(Identity::new(Some(&ours), &["127.0.0.2"], ALWAYS)), "not valid for"),
        (served(Identity::new(Some(&ours), &["127.0.0.1"], (2020, 2024))), "expired"),
        (served(Identity::new(Some(&ours), &["127.0.0.1"], (2098, 2099))), "not valid yet"),
        (served(revoked), "evoked"),
    ] {
        std::fs::write(&ca_file, ours.pem()).unwrap();
        let tokens = Scripted::serve(Some((config, "127.0.0.1")), |_| token("hush", 300)).await;
        let fhir = Scripted::start(|_| taken()).await;
        let mut settings = settings(&fhir.url, folder.path(), &format!("token_url='{}'\n", tokens.url));
        (settings.ca_file, settings.crl_file) = (Some(ca_file.clone()), Some(crl_file.clone()));
        let outcome = one(&sink(&settings, &clock())).await;
        let why = waits(&outcome);
        assert!(why.code == "WL-A104" && why.text.contains(reason), "{reason}: {why:?}");
        assert_eq!((tokens.received(), fhir.received()), (0, 0), "{reason}");
    }
    // Put right in the file, it works without a restart; the assertion goes over TLS only.
    std::fs::write(&ca_file, theirs.pem()).unwrap();
    let tokens = Scripted::serve(Some((good().server(), "127.0.0.1")), |_| token("hush", 300)).await;
    let fhir = Scripted::start(|_| taken()).await;
    let mut settings = settings(&fhir.url, folder.path(), &format!("token_url='{}'\n", tokens.url));
    settings.ca_file = Some(ca_file.clone());
    let clock = clock();
    let sink = sink(&settings, &clock);
    assert_eq!(waits(&one(&sink).await).code, "WL-A104");
    std::fs::write(&ca_file, ours.pem()).unwrap();
    clock.set(Stamp::at_ms(NOW_MS + 600_000));
    let outcome = one(&sink).await;
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    assert_eq!((tokens.requests().len(), fhir.requests().len()), (1, 1));
    assert_eq!(fhir.requests()[0].header("authorization"), "Bearer hush");
}
