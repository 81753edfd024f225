//! The probe of a destination: what it finds at the lab's endpoint with all its manners, and at two real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use serde_json::{Value, json};
use wardline::clock::Clock;
use wardline::config::{BundleKind, FhirSettings, Idempotency};
use wardline::lab::endpoint::{Endpoint, Manners, Settings};
use wardline::probed::{Finding, Stated, Written};
use wardline::sink::probe::{Opinion, Prober};

mod support;

use support::fhir_server::{FhirServer, Kind};
use support::gateway::Gateway;
use support::readings::heart_rate;
use support::scripted::{Reply, Request, Scripted};
use support::within;

fn prober(url: &str, idempotency: Idempotency) -> Prober {
    let settings = FhirSettings {
        consent: None,
        fields: None,
        name: "centre".into(),
        url: url.into(),
        idempotency,
        bundle: BundleKind::Auto,
        bundle_max: 100,
        requests_per_min: 0,
        gzip: true,
        linger_ms: 0,
        timeout_s: 20,
        ca_file: None,
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
    };
    Prober::new(&settings, &"box-1".into(), &Clock::system()).unwrap()
}

async fn probe(url: &str, idempotency: Idempotency) -> (Stated, Written) {
    let prober = prober(url, idempotency);
    let stated = within("the statement", prober.state()).await.unwrap();
    (stated, within("the probe", prober.write("Dr Grace Hopper")).await.unwrap())
}

fn works(f: &Option<Finding>) -> bool {
    f.as_ref().is_some_and(Finding::works)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_server_is_found_good_and_its_test_patient_is_marked() {
    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let (stated, w) = probe(&endpoint.url(), Idempotency::ConditionalCreate).await;
    assert_eq!((stated.batch, stated.conditional_create, stated.validate), (Some(true), Some(true), Some(true)));
    for finding in [&w.put_create, &w.conditional_create, &w.parallel_updates, &w.batch, &w.transaction, &w.validate] {
        assert!(works(finding), "{w:?}");
    }
    assert_eq!((w.parallel_creates, w.bundle_max), (Some(1), Some(100)));
    // The lab's endpoint takes any date.
    assert_eq!(w.per_entry, None);
    assert!(w.units.iter().all(|(.., f)| f.works()), "{w:?}");
    let resources: Vec<Value> = ["Observation", "Patient"]
        .iter()
        .flat_map(|kind| endpoint.bodies(kind))
        .map(|body| serde_json::from_str(&body).unwrap())
        .collect();
    assert_eq!(resources.len(), w.left);
    for resource in resources {
        assert_eq!(resource["meta"]["security"][0]["code"], "HTEST", "{resource}");
        if resource["resourceType"] == "Observation" {
            assert_eq!(resource["subject"]["reference"], w.patient.as_str());
        }
    }
    assert_eq!(endpoint.counts().duplicates, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_manners_are_found() {
    let blind = Manners { unconditional_rate: 1.0, bundle_max: 30, ..Manners::default() };
    let endpoint = Endpoint::start(Settings { manners: blind, ..Settings::default() }).unwrap();
    let (_, w) = probe(&endpoint.url(), Idempotency::Update).await;
    assert_eq!(w.conditional_create, Some(Finding::Fails("the same was created again".into())));
    assert_eq!((w.parallel_creates, w.bundle_max), (Some(8), Some(25)));
    assert!(works(&w.put_create));
}

/// A server that refuses every third reading for reasons of its own is not one that takes no Bundle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_choosy_server_is_not_taken_for_one_without_bundles() {
    let choosy = Manners { refuse_rate: 0.3, ..Manners::default() };
    let endpoint = Endpoint::start(Settings { manners: choosy, ..Settings::default() }).unwrap();
    // Its test patient is refused or not, by chance of its name, and always the same.
    let (_, w) = probe(&endpoint.url(), Idempotency::Update).await;
    assert!(works(&w.batch) && works(&w.validate), "{w:?}");
    assert_eq!(w.bundle_max, Some(100));
}

#[tokio::test]
async fn without_consent_only_the_statement_is_read() {
    let server = Scripted::start(|_| Reply::json(200, &json!({"resourceType": "CapabilityStatement"}))).await;
    let stated = within("the statement", prober(&server.url, Idempotency::Update).state()).await.unwrap();
    assert_eq!(stated, Stated { ..Stated::default() });
    let asked: Vec<_> = server.requests().into_iter().map(|r| (r.method, r.path)).collect();
    assert_eq!(asked, [("GET".to_owned(), "/fhir/metadata".to_owned())]);
    for reply in [Reply::status(401), Reply::Answer(200, vec![], "<html>".into()), Reply::Endless, Reply::Close] {
        let server = Scripted::start(move |_| reply.clone()).await;
        assert!(within("the refusal", prober(&server.url, Idempotency::Update).state()).await.is_err());
    }
}

#[tokio::test]
async fn what_a_validator_says_is_understood() {
    let outcome = |severity: &str| {
        let issue = json!([{"severity": severity, "code": "invalid", "expression": ["Observation.subject"]}]);
        json!({"resourceType": "OperationOutcome", "issue": issue})
    };
    for (reply, fine, wrong) in [
        (Reply::json(200, &outcome("information")), true, false),
        (Reply::json(200, &outcome("error")), false, true),
        (Reply::json(422, &outcome("fatal")), false, true),
        (Reply::json(404, &outcome("error")), false, false),
        (Reply::status(200), false, false),
        (Reply::status(501), false, false),
        (Reply::Close, false, false),
    ] {
        let server = Scripted::start(move |_: &Request| reply.clone()).await;
        let opinion = within("an opinion", prober(&server.url, Idempotency::Update).opinion(&heart_rate(1))).await;
        assert_eq!((opinion == Opinion::Fine, matches!(opinion, Opinion::Wrong(_))), (fine, wrong), "{opinion:?}");
    }
}

/// What is found at real servers is what the sink's tests found there by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_servers_are_found_as_they_are() {
    for kind in [Kind::Helios, Kind::Sekmet] {
        let Some(server) = FhirServer::start(kind).await else { continue };
        let (stated, w) = probe(&server.url, Idempotency::Update).await;
        eprintln!("{kind:?} states {stated:?}\n  and was found {w:?}");
        assert!(works(&w.put_create) && works(&w.conditional_create) && works(&w.parallel_updates), "{kind:?} {w:?}");
        assert!(works(&w.batch) && works(&w.per_entry), "{kind:?} {w:?}");
        assert_eq!(w.bundle_max, Some(100), "{kind:?}");
        assert!(stated.fhir_version.is_some_and(|v| v.starts_with('4')), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_is_kept_shown_and_obeyed() {
    let rude = Manners { unconditional_rate: 1.0, bundle_max: 30, ..Manners::default() };
    let endpoint = Endpoint::start(Settings { manners: rude, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&format!(
        "[journal]\nreserve_mib = 1\n[[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{}\"\n\
         idempotency = \"conditional-create\"\n",
        endpoint.url()
    ));
    gateway.start();
    let (text, _, code) = gateway.cli(&["destination", "show", "centre"]);
    assert!(code == Some(0) && text.contains("Not asked yet"), "{text}");
    let (_, said, code) = gateway.cli(&["destination", "probe", "centre", "--write"]);
    assert!(code != Some(0) && said.contains("--consent"), "{said}");
    assert_eq!(gateway.json(&["destination", "probe", "centre"])["known"]["written"], Value::Null);
    assert_eq!(endpoint.counts().requests, 0, "nothing was written");

    let (text, _, code) = gateway.cli(&["destination", "probe", "centre", "--write", "--consent", "Grace Hopper"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("WL-F016") && text.contains("idempotency = \"update\""), "{text}");
    assert!(text.contains("consented by Grace Hopper") && text.contains("at most 25 entries"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    // After a restart too, and said as an alert.
    gateway.kill();
    gateway.start();
    let shown = gateway.json_of(&["destination", "show", "centre"], 1);
    assert_eq!((&shown["bundle_max"], &shown["conflicts"][0]["code"]), (&json!(25), &json!("WL-F016")));
    let since = std::time::Instant::now();
    while !gateway.json(&["alerts"]).to_string().contains("destination-unsafe:centre") {
        assert!(since.elapsed() < support::PATIENCE, "no alert\n{}", gateway.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
