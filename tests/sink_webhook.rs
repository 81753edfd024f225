//! Alerts to a webhook: what the receiver gets, that it can trust it, and what its answers mean.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::os::unix::fs::PermissionsExt;

use ring::hmac;
use support::readings::{alert, alert_item, heart_rates};
use support::scripted::{Reply, Scripted};
use wardline::clock::{Clock, Stamp};
use wardline::config::{DestinationSettings, WebhookSettings};
use wardline::custody::Outcome;
use wardline::sink::{Destination, Sink, SinkError};

const ID: &str = "0123456789abcdef0123456789abcdef";

fn settings(url: &str, folder: &std::path::Path) -> DestinationSettings {
    support::certificates::put(folder, "secret", "hush hush\n");
    DestinationSettings::Webhook(WebhookSettings {
        consent: None,
        fields: None,
        name: "pager".into(),
        url: url.into(),
        secret_file: folder.join("secret"),
        ca_file: None,
        crl_file: None,
        timeout_s: 2,
    })
}

fn sink(url: &str) -> Sink {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Stamp::at_ms(1_795_342_271_999));
    Sink::build(&settings(url, folder.path()), &"box-1".into(), &clock).unwrap()
}

async fn send(url: &str, happened: &str) -> Outcome {
    sink(url).deliver(&[alert_item(alert(ID, happened, &[]), 0)], &[]).await.remove(0)
}

#[tokio::test]
async fn the_receiver_gets_one_signed_event() {
    let server = Scripted::start(|_| Reply::status(204)).await;
    let outcome = send(&server.url, "acknowledged").await;
    assert!(matches!(&outcome, Outcome::Delivered(r) if *r.location == format!("{ID}-acknowledged")), "{outcome:?}");
    let request = server.requests().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/fhir"));

    let (t, v1) = request.header("wardline-signature").split_once(",v1=").unwrap();
    assert_eq!(t, "t=1795342271");
    let signed = [b"1795342271.", request.body.as_slice()].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"hush hush");
    let tag: Vec<u8> = (0..v1.len()).step_by(2).map(|i| u8::from_str_radix(&v1[i..i + 2], 16).unwrap()).collect();
    hmac::verify(&key, &signed, &tag).unwrap();

    let body = request.json();
    assert_eq!((body["event"].as_str(), body["gateway"].as_str()), (Some("acknowledged"), Some("box-1")));
    assert_eq!(body["delivery"], request.header("wardline-delivery"));
    assert_eq!(body["alert"]["acknowledged"]["by"], "N. Nurse");
    assert_eq!(body["alert"]["patient"], "Patient/p1");
    assert!(body["alert"].get("evidence").is_none(), "no readings");
}

#[tokio::test]
async fn answers_have_their_classes() {
    for (status, expected) in [
        (200, "delivered"),
        (202, "delivered"),
        (302, "WL-F008"),
        (400, "reject"),
        (401, "WL-F007"),
        (404, "WL-F008"),
        (410, "WL-F008"),
        (422, "reject"),
        (429, "WL-F006"),
        (500, "WL-F005"),
        (503, "WL-F004"),
    ] {
        let server = Scripted::start(move |_| Reply::status(status)).await;
        let got = match send(&server.url, "raised").await {
            Outcome::Delivered(_) => "delivered".to_owned(),
            Outcome::Reject(_) => "reject".to_owned(),
            Outcome::Withheld => "withheld".to_owned(),
            Outcome::Retry { why, destination, .. } => {
                assert!(destination, "{status}");
                why.code.to_string()
            }
        };
        assert_eq!(got, expected, "{status}");
    }
}

#[tokio::test]
async fn readings_never_go_there() {
    let server = Scripted::start(|_| Reply::status(204)).await;
    let sink = sink(&server.url);
    assert!(sink.takes_alerts() && !sink.takes_readings());
    let outcomes = sink.deliver(&heart_rates(0..1), &[]).await;
    assert!(matches!(outcomes[0], Outcome::Reject(_)) && server.requests().is_empty());
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings("http://127.0.0.1:1", folder.path());
    let file = folder.path().join("secret");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let built = Sink::build(&settings, &"box-1".into(), &Clock::system());
    assert!(matches!(built.err(), Some(SinkError::Secret(_))));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(Sink::build(&settings, &"box-1".into(), &Clock::system()).err(), Some(SinkError::Secret(_))));
}
