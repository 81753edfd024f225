//! SMART Backend Services with a real token server (oidc-provider) and a real FHIR server behind it (helios-hfs).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::PATIENCE;
use support::broker::{Broker, Door};
use support::device::Device;
use support::fhir_server::{FhirServer, Kind};
use support::gateway::Gateway;
use support::readings::heart_rates;
use support::scripted::{Reply, Scripted};
use support::token_server::{AUDIENCE, TokenServer};
use wardline::config::{AuthSettings, FhirSettings};
use wardline::custody::{Outcome, Why};
use wardline::sink::Destination;
use wardline::sink::fhir::FhirSink;
use wardline::sink::smart::file::{self, Keys};
use wardline::sink::smart::key::{Alg, Key, encoded, nonce};

/// Both servers, or `None` where they are not installed.
async fn servers(ttl: u64) -> Option<(TokenServer, FhirServer)> {
    let mut tokens = TokenServer::start(ttl).await?;
    let environment = [
        ("HFS_AUTH_ENABLED", "true".to_owned()),
        ("HFS_AUTH_ISSUER", tokens.issuer.clone()),
        ("HFS_AUTH_JWKS_URL", format!("{}/jwks", tokens.issuer)),
        ("HFS_AUTH_AUDIENCE", AUDIENCE.to_owned()),
        ("HFS_SMART_TOKEN_ENDPOINT", tokens.url.clone()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let mut fhir = FhirServer::start_with(Kind::Helios, environment).await?;
    let admin = Key::from_pem(&Key::make(Alg::Es384).unwrap()).unwrap();
    tokens.register("admin", &json!({"keys": [admin.jwk()]}).to_string(), "system/*.cruds");
    let (status, body) = question(&tokens.url, &assertion(&admin, "admin", &tokens.url)).await;
    assert_eq!(status, 200, "{body} {}", tokens.log());
    fhir.bearer = Some(body["access_token"].as_str().unwrap().to_owned());
    for n in 0..2 {
        fhir.put(&json!({"resourceType": "Patient", "id": format!("p{n}"), "active": true})).await;
    }
    Some((tokens, fhir))
}

/// Made by hand, beside the product's own.
fn assertion(key: &Key, client: &str, url: &str) -> String {
    let exp = jiff::Timestamp::now().as_second() + 120;
    let header = json!({"alg": key.alg().name(), "kid": key.kid()});
    let claims = json!({"iss": client, "sub": client, "aud": url, "exp": exp, "jti": nonce().unwrap()});
    let text = format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
    let signature = key.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", encoded(&signature))
}

async fn question(url: &str, assertion: &str) -> (u16, Value) {
    let body = format!(
        "grant_type=client_credentials&scope=system%2F*.cruds&client_assertion={assertion}&client_assertion_type=\
         urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    );
    let client = wardline::sink::http::Peer::new(url, wardline::tls::Files::default(), PATIENCE).unwrap().client;
    let request = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// Settings of a client with a key of its own; `more` comes before `[auth]`.
fn settings(fhir: &FhirServer, folder: &Path, client: &str, scopes: &str) -> FhirSettings {
    let text = format!(
        "name='centre'\nurl='{}'\nidempotency='update'\ntimeout_s=60\n[auth]\nkind='smart'\nclient_id='{client}'\n\
         key_file='{}'\nscopes=[{scopes}]\nnew_key_after_min=0\n",
        fhir.url,
        folder.join(client).display()
    );
    toml::from_str(&text).unwrap()
}

fn public(file: &Path) -> String {
    Keys::read(file).unwrap().public()
}

fn sink(settings: &FhirSettings) -> FhirSink {
    FhirSink::new(settings, &"box-1".into()).unwrap()
}

async fn deliver(sink: &FhirSink, from: u64) -> Vec<Outcome> {
    support::within("outcomes", sink.deliver(&heart_rates(from..from + 5), &[])).await
}

fn all_delivered(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|o| matches!(o, Outcome::Delivered(_)))
}

#[track_caller]
fn waits(outcomes: &[Outcome]) -> &Why {
    let Outcome::Retry { why, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    why
}

#[tokio::test]
async fn a_real_token_server_and_the_fhir_server_behind_it() {
    let Some((mut tokens, fhir)) = servers(300).await else { return };
    let folder = tempfile::tempdir().unwrap();
    without_a_token_nothing_is_taken(&fhir, folder.path()).await;
    both_ways_of_signing_are_taken(&mut tokens, &fhir, folder.path()).await;
    a_narrow_token_is_explained(&mut tokens, &fhir, folder.path()).await;
    a_key_that_the_centre_does_not_know(&mut tokens, &fhir, folder.path()).await;
    a_new_key_is_used_when_the_centre_knows_it(&mut tokens, &fhir, folder.path()).await;
    keys_are_fetched_from_where_the_file_is_served(&mut tokens, &fhir, folder.path()).await;
    an_assertion_is_good_once(&mut tokens).await;
    readings_wait_for_the_token_server(&mut tokens, &fhir, folder.path()).await;
    let found = fhir.search("Observation?_count=100").await;
    assert_eq!(found.len(), 30, "each of the six times five that were delivered, once");
}

async fn without_a_token_nothing_is_taken(fhir: &FhirServer, folder: &Path) {
    file::make(&folder.join("bare"), Alg::Es384).unwrap();
    let bare = FhirSettings { auth: None, ..settings(fhir, folder, "bare", "") };
    let outcomes = deliver(&sink(&bare), 0).await;
    assert!(waits(&outcomes).code == "WL-F007" && waits(&outcomes).text.contains("401"), "{outcomes:?}");
}

async fn both_ways_of_signing_are_taken(tokens: &mut TokenServer, fhir: &FhirServer, folder: &Path) {
    for (client, alg, first) in [("es", Alg::Es384, 0), ("rs", Alg::Rs384, 100)] {
        let key = file::make(&folder.join(client), alg).unwrap();
        tokens.register(client, &json!({"keys": [key.jwk()]}).to_string(), "system/Observation.cu");
        let sink = sink(&settings(fhir, folder, client, "'system/Observation.cu'"));
        for _ in 0..2 {
            let outcomes = deliver(&sink, first).await;
            assert!(all_delivered(&outcomes), "{client}: {outcomes:?} {}", tokens.log());
        }
        let shown = sink.smart().unwrap().shown();
        assert_eq!((&*shown.alg, shown.granted.len(), shown.trouble), (alg.name(), 1, None));
    }
}

async fn a_narrow_token_is_explained(tokens: &mut TokenServer, fhir: &FhirServer, folder: &Path) {
    let key = file::make(&folder.join("narrow"), Alg::Es384).unwrap();
    tokens.register("narrow", &json!({"keys": [key.jwk()]}).to_string(), "system/Observation.rs");
    // What is not allowed is dropped, and if nothing is left, not even that is said: only the FHIR server tells.
    let silent = deliver(&sink(&settings(fhir, folder, "narrow", "'system/Observation.cu'")), 900).await;
    let why = waits(&silent);
    assert!(matches!(&*why.code, "WL-A110" | "WL-A109"), "{silent:?}");
    assert!(why.code != "WL-A110" || why.text.contains("did not say what of it is granted"), "{silent:?}");
    let both = "'system/Observation.cu', 'system/Observation.rs'";
    let told = deliver(&sink(&settings(fhir, folder, "narrow", both)), 900).await;
    assert!(waits(&told).code == "WL-A107" && waits(&told).text.contains("missing system/Observation.cu"), "{told:?}");
}

async fn a_key_that_the_centre_does_not_know(tokens: &mut TokenServer, fhir: &FhirServer, folder: &Path) {
    file::make(&folder.join("stranger"), Alg::Es384).unwrap();
    let other = Key::from_pem(&Key::make(Alg::Es384).unwrap()).unwrap();
    tokens.register("stranger", &json!({"keys": [other.jwk()]}).to_string(), "system/Observation.cu");
    let settings = settings(fhir, folder, "stranger", "'system/Observation.cu'");
    let outcomes = deliver(&sink(&settings), 200).await;
    assert!(waits(&outcomes).code == "WL-A105" && waits(&outcomes).text.contains("invalid_client"), "{outcomes:?}");
    tokens.register("stranger", &public(&folder.join("stranger")), "system/Observation.cu");
    assert!(all_delivered(&deliver(&sink(&settings), 200).await));
}

async fn a_new_key_is_used_when_the_centre_knows_it(tokens: &mut TokenServer, fhir: &FhirServer, folder: &Path) {
    let file = folder.join("turn");
    let old = file::make(&file, Alg::Rs384).unwrap();
    tokens.register("turn", &public(&file), "system/Observation.cu");
    let settings = settings(fhir, folder, "turn", "'system/Observation.cu'");
    let new = file::make(&file::beside(&file), Alg::Es384).unwrap();
    // Published here, not fetched there.
    let outcomes = deliver(&sink(&settings), 300).await;
    assert!(all_delivered(&outcomes), "the old one works on: {outcomes:?}");
    assert_eq!(Keys::read(&file).unwrap().current.kid(), old.kid());
    assert!(public(&file).contains(new.kid()) && public(&file).contains(old.kid()));
    tokens.register("turn", &public(&file), "system/Observation.cu");
    assert!(all_delivered(&deliver(&sink(&settings), 300).await));
    let keys = Keys::read(&file).unwrap();
    assert_eq!((keys.current.kid(), keys.new.is_none()), (new.kid(), true));
    // The centre forgets the old one.
    tokens.register("turn", &public(&file), "system/Observation.cu");
    assert!(all_delivered(&deliver(&sink(&settings), 300).await));
}

/// The centre has an address, not the keys: what the gateway publishes is served there, also while one key follows another.
async fn keys_are_fetched_from_where_the_file_is_served(tokens: &mut TokenServer, fhir: &FhirServer, folder: &Path) {
    let (file, published) = (folder.join("served"), folder.join("served.jwks"));
    let served = published.clone();
    let web = Scripted::start(move |_| match std::fs::read_to_string(&served) {
        Ok(keys) => Reply::Answer(200, vec![("content-type", "application/jwk-set+json".into())], keys),
        Err(_) => Reply::status(404),
    })
    .await;
    let old = file::make(&file, Alg::Es384).unwrap();
    tokens.register_at("served", &format!("{}/jwks.json", web.url), "system/Observation.cu");
    let mut settings = settings(fhir, folder, "served", "'system/Observation.cu'");
    if let Some(AuthSettings::Smart(auth)) = &mut settings.auth {
        auth.jwks_file = Some(published.clone());
    }
    let outcomes = deliver(&sink(&settings), 500).await;
    assert!(all_delivered(&outcomes), "{outcomes:?} {}", tokens.log());
    assert_eq!(web.requests().len(), 1, "fetched once, and kept a minute");
    let new = file::make(&file::beside(&file), Alg::Rs384).unwrap();
    let outcomes = deliver(&sink(&settings), 500).await;
    assert!(all_delivered(&outcomes), "the centre still has the old set: {outcomes:?} {}", tokens.log());
    assert_eq!(Keys::read(&file).unwrap().current.kid(), old.kid());
    let both = std::fs::read_to_string(&published).unwrap();
    assert!(both.contains(old.kid()) && both.contains(new.kid()), "{both}");
    // It looks again.
    tokens.kill();
    tokens.revive().await;
    let outcomes = deliver(&sink(&settings), 500).await;
    assert!(all_delivered(&outcomes), "{outcomes:?} {}", tokens.log());
    let keys = Keys::read(&file).unwrap();
    assert_eq!((keys.current.kid(), keys.new.is_none(), web.requests().len()), (new.kid(), true, 2));
}

async fn an_assertion_is_good_once(tokens: &mut TokenServer) {
    let key = Key::from_pem(&Key::make(Alg::Rs384).unwrap()).unwrap();
    tokens.register("twice", &json!({"keys": [key.jwk()]}).to_string(), "system/*.cruds");
    let text = assertion(&key, "twice", &tokens.url);
    assert_eq!(question(&tokens.url, &text).await.0, 200);
    let (status, body) = question(&tokens.url, &text).await;
    assert_eq!((status, &body["error"]), (401, &json!("invalid_client")));
    // That ours are each used once is what every other scene here lives by.
    assert_eq!(question(&tokens.url, &assertion(&key, "twice", &tokens.url)).await.0, 200);
}

async fn readings_wait_for_the_token_server(tokens: &mut TokenServer, fhir: &FhirServer, folder: &Path) {
    let key = file::make(&folder.join("late"), Alg::Es384).unwrap();
    tokens.register("late", &json!({"keys": [key.jwk()]}).to_string(), "system/Observation.cu");
    let sink = sink(&settings(fhir, folder, "late", "'system/Observation.cu'"));
    tokens.kill();
    let outcomes = deliver(&sink, 400).await;
    assert!(waits(&outcomes).code == "WL-A104" && waits(&outcomes).text.contains("refused"), "{outcomes:?}");
    tokens.revive().await;
    tokio::time::sleep(wardline::limits::TOKEN_ASK_AGAIN).await;
    let outcomes = deliver(&sink, 400).await;
    assert!(all_delivered(&outcomes), "{outcomes:?} {}", tokens.log());
}

async fn until(what: &str, log: impl Fn() -> String, mut done: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !done().await {
        assert!(since.elapsed() < 2 * PATIENCE, "{what} did not happen: {}", log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The technician's way, with the built binary: a key, the centre's registration, readings, an outage of the token server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_are_there_once_by_a_token_of_the_gateways_own() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    // So short a life that each delivery of the second half needs a new one.
    let Some((mut tokens, fhir)) = servers(4).await else { return };
    let mut gateway = Gateway::new("");
    let key = gateway.path("centre.pem");
    gateway.reword(|text| {
        format!(
            "{text}\n[[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
             [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{}\"\nidempotency = \"update\"\n\
             [destination.auth]\nkind = \"smart\"\nclient_id = \"box-7\"\nkey_file = \"{}\"\n\
             scopes = [\"system/Observation.cu\"]\njwks_file = \"{}\"\n\
             [[patient]]\nreference = \"Patient/p0\"\n[[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n",
            broker.port,
            fhir.url,
            key.display(),
            gateway.path("jwks.json").display(),
        )
    });
    let made = wardline(&["key", "smart", "new", key.to_str().unwrap()]);
    let again = wardline(&["key", "smart", "jwks", key.to_str().unwrap()]);
    assert!(made.contains("P-384") && made == again && !made.contains("\"d\""), "{made}");
    tokens.register("box-7", &made, "system/Observation.cu");
    tokens.kill();
    gateway.start();
    assert_eq!(std::fs::read_to_string(gateway.path("jwks.json")).unwrap(), made);
    let device = Device::connect(broker.device_port);
    publish(&device, 0..10).await;
    let there = async || fhir.search("Observation?code=http://loinc.org|8867-4&_count=50").await.len();
    let told = || gateway.log().contains("WL-A104");
    until("the outage being said", || gateway.log(), async || told()).await;
    let (shown, _, code) = gateway.cli(&["destination", "probe", "centre"]);
    assert!(shown.contains("WL-A104") && shown.contains("ES384") && code == Some(1), "{shown}");
    assert_eq!(there().await, 0);
    tokens.revive().await;
    until("delivery", || gateway.log(), async || there().await == 10).await;
    // The token has ended.
    tokio::time::sleep(Duration::from_secs(5)).await;
    publish(&device, 0..20).await;
    until("delivery with another token", || gateway.log(), async || there().await == 20).await;
    let (shown, _, code) = gateway.cli(&["destination", "probe", "centre"]);
    assert!(shown.contains("granted") && shown.contains("system/Observation.cu") && code == Some(0), "{shown}");
    assert_eq!(gateway.log().matches("destination is down").count(), 1, "said once: {}", gateway.log());
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    assert_eq!(there().await, 20);
    let log = gateway.log();
    assert!(!log.contains("eyJ") && !log.contains("Bearer") && !log.contains("PRIVATE"), "{log}");
}

async fn publish(device: &Device, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let (day, rate) = (support::day(), 60 + n);
        let payload = format!("{{\"id\":{n},\"time\":\"{day}T10:00:{n:02}Z\",\"heart_rate\":{rate}}}");
        device.publish("vitals/watch-0", [payload]).await;
    }
}

fn wardline(arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_wardline")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
