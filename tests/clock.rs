//! A box without a battery-backed clock, through the built binary: what it hears before the time is known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use jiff::Timestamp;
use serde_json::Value;
use wardline::lab::endpoint::{Endpoint, Settings};

mod support;

use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::{Gateway, until};

const RULE: &str = "[[rule]]\nid = \"fast\"\ntitle = \"Fast heart\"\nvital = \"heart-rate\"\nabove = 150\n\
                    unit = \"{beats}/min\"\nclear_below = 140\npriority = \"high\"\n";

fn bodies(endpoint: &Endpoint, kind: &str) -> Vec<Value> {
    endpoint.bodies(kind).iter().map(|body| serde_json::from_str(body).unwrap()).collect()
}

/// After a power cut the wall clock is where a file says that it was, hours ago: it dates nothing, and silences nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_the_clock_was_set_pages_at_once_and_waits_for_its_time() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&format!(
        "[journal]\nreserve_mib = 1\n[alerts]\nrules = [\"rules.toml\"]\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{}\"\nidempotency = \"update\"\n\
         [[patient]]\nreference = \"Patient/p0\"\n[[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n",
        broker.port,
        centre.url()
    ));
    std::fs::write(gateway.path("rules.toml"), RULE).unwrap();
    let set = gateway.path("synchronised");
    let at = set.display();
    gateway.reword(|t| t.replace("clock = \"always\"", &format!("clock = \"synchronised\"\nclock_file = \"{at}\"")));
    gateway.start();
    assert!(gateway.cli(&["status"]).0.contains("The clock is not set"), "{}", gateway.log());
    let device = Device::connect(broker.device_port);
    let before = Timestamp::now();
    device.publish("vitals/watch-0", ["{\"id\":1,\"heart_rate\":171}"]).await;
    let after = Timestamp::now();
    until("the alert", &gateway, || (gateway.json(&["alerts"]).as_array().unwrap().len() == 1).then_some(())).await;
    // A device that tells the time is believed, as far as a box without a clock can.
    let own = format!("{{\"id\":2,\"heart_rate\":62,\"time\":\"{}T10:00:00Z\"}}", support::day());
    device.publish("vitals/watch-0", [own]).await;
    until("what has its own time", &gateway, || (centre.counts().observations == 1).then_some(())).await;
    until("the alert at the centre", &gateway, || (bodies(&centre, "DetectedIssue").len() == 1).then_some(())).await;
    let (issue, task) = (&bodies(&centre, "DetectedIssue")[0], &bodies(&centre, "Task")[0]);
    assert_eq!((&issue["identifiedDateTime"], &task["authoredOn"]), (&Value::Null, &Value::Null), "{issue}");
    // The same box, started again before it was set.
    gateway.kill();
    gateway.start();
    assert_eq!(bodies(&centre, "Observation")[0]["valueQuantity"]["value"], 62);
    std::fs::write(&set, "").unwrap();
    until("its time", &gateway, || (centre.counts().observations == 2).then_some(())).await;
    let late = bodies(&centre, "Observation").into_iter().find(|o| o["valueQuantity"]["value"] == 171).unwrap();
    let found: Timestamp = late["effectiveDateTime"].as_str().unwrap().parse().unwrap();
    let slack = jiff::SignedDuration::from_secs(2);
    assert!(found >= before - slack && found <= after + slack, "{before} {found} {after}");
    assert!(!gateway.cli(&["status"]).0.contains("The clock is not set"));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
