//! The right chart, through the built binary: who holds a device, readings that are nobody's, corrections downstream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use wardline::lab::endpoint::{Endpoint, Settings};

mod support;

use support::PATIENCE;
use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::Gateway;

fn settings(broker: &Broker, destinations: &str) -> String {
    format!(
        "[journal]\nreserve_mib = 1\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n{destinations}\
         [[patient]]\nreference = \"Patient/p0\"\n[[patient]]\nreference = \"Patient/p1\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n",
        broker.port
    )
}

fn fhir(name: &str, url: &str, idempotency: &str) -> String {
    format!("[[destination]]\nkind = \"fhir\"\nname = \"{name}\"\nurl = \"{url}\"\nidempotency = \"{idempotency}\"\n")
}

async fn publish(device: &Device, name: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let payload = format!("{{\"id\":{n},\"time\":\"2026-11-22T10:00:{n:02}Z\",\"heart_rate\":{}}}", 60 + n);
        device.publish(&format!("vitals/{name}"), [payload]).await;
    }
}

async fn until<T>(what: &str, gateway: &Gateway, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "{what} did not happen\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many Observations there are of each patient, status and value.
fn charts(endpoint: &Endpoint) -> BTreeMap<(String, String), Vec<i64>> {
    let mut charts: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for body in endpoint.bodies("Observation") {
        let o: Value = serde_json::from_str(&body).unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let key = (text(&o["subject"]["reference"]), text(&o["status"]));
        charts.entry(key).or_default().push(o["valueQuantity"]["value"].as_i64().unwrap());
    }
    charts.values_mut().for_each(|values| values.sort_unstable());
    charts
}

fn chart(patient: &str, status: &str, values: std::ops::Range<i64>) -> ((String, String), Vec<i64>) {
    ((patient.into(), status.into()), values.collect())
}

fn settled(gateway: &Gateway) -> bool {
    gateway.json(&["outbox"]).as_array().unwrap().iter().all(|o| o["waiting"] == 0)
}

/// X11: half of the readings were of somebody else. They leave the chart at every destination, and enter the other's, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_in_the_wrong_chart_are_taken_back_everywhere_and_sent_for_the_right_patient() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let kept = || Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let (created, updated, late) = (kept(), kept(), kept());
    let destinations = fhir("created", &created.url(), "conditional-create")
        + &fhir("updated", &updated.url(), "update")
        + &fhir("late", &format!("http://127.0.0.1:{}/fhir", support::free_port()), "update");
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    let files = gateway.path("files");
    gateway.reword(|text| {
        let files = files.display();
        text.replacen(
            "[[patient]]",
            &format!("[[destination]]\nkind = \"ndjson\"\nname = \"files\"\nfolder = \"{files}\"\n[[patient]]"),
            1,
        )
    });
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", 0..10).await;
    until("delivery", &gateway, || (created.counts().observations + updated.counts().observations == 20).then_some(()))
        .await;

    let since = ["--since", "2026-11-22T10:00:05Z", "--by", "Ada", "--reason", "the other watch"];
    let correct = [&["correct", "--device", "mqtt:watch-0", "--to", "Patient/p1"][..], &since].concat();
    let tried = gateway.json(&[&correct[..], &["--dry-run"]].concat());
    assert_eq!(tried["corrected"].as_array().unwrap().len(), 5, "{tried}");
    assert_eq!(gateway.json(&["outbox"])[0]["waiting"], 0, "a dry run changes nothing");
    let done = gateway.json(&correct);
    assert_eq!((done["corrected"].as_array().unwrap().len(), &done["left"]), (5, &Value::from(0)), "{done}");
    let right = BTreeMap::from([
        chart("Patient/p0", "entered-in-error", 65..70),
        chart("Patient/p0", "final", 60..65),
        chart("Patient/p1", "final", 65..70),
    ]);
    for endpoint in [&created, &updated] {
        until("the correction", &gateway, || (charts(endpoint) == right).then_some(())).await;
        assert_eq!(endpoint.counts().duplicates, 0);
    }
    // Said again: nothing is left to correct. The device sends its memory again: it is known.
    let (_, _, code) = gateway.cli(&correct);
    assert_eq!(code, Some(1));
    gateway.kill();
    // What never reached a destination need not be taken back there: it gets the right ones only.
    gateway.reword(|text| {
        let nobody = text.lines().filter(|l| l.starts_with("url = \"http")).next_back().unwrap().to_owned();
        text.replace(&nobody, &format!("url = \"{}\"", late.url()))
    });
    gateway.start();
    publish(&device, "watch-0", 0..11).await;
    let mut more = right.clone();
    more.get_mut(&("Patient/p0".into(), "final".into())).unwrap().push(70);
    for endpoint in [&created, &updated] {
        until("what came after", &gateway, || (charts(endpoint) == more).then_some(())).await;
        assert_eq!(endpoint.counts().duplicates, 0);
    }
    until("the end", &gateway, || settled(&gateway).then_some(())).await;
    more.remove(&("Patient/p0".into(), "entered-in-error".into()));
    assert_eq!(charts(&late), more, "{}", gateway.log());
    // The files hold each state as a line of its own.
    let text = std::fs::read_to_string(files.join("Observation-000001.ndjson")).unwrap();
    let status = |s: &str| text.lines().filter(|l| l.contains(&format!("\"status\":\"{s}\""))).count();
    assert_eq!((status("final"), status("entered-in-error")), (16, 5));
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
