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
         [[patient]]\nreference = \"Patient/p0\"\n[[patient]]\nreference = \"Patient/p1\"\n[[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n",
        broker.port,
        centre.url()
    ));
    std::fs::write(gateway.path("rules.toml"), RULE).unwrap();
    let set = gateway.path("synchronised");
    let at = set.display();
    gateway.reword(|t| t.replace("clock = \"always\"", &format!("clock = \"synchronised\"\nclock_file = \"{at}\"")));
    gateway.start();
    assert!(gateway.cli(&["status"]).0.contains("The clock is not set"), "{}", gateway.log());
    // Whose it is from now on, nobody could say later.
    let (_, refused, code) = gateway.cli(&["assign", "mqtt:watch-0", "Patient/p1", "--by", "Ada"]);
    assert!(code != Some(0) && refused.contains("say since when"), "{refused}");
    let device = Device::connect(broker.device_port);
    let before = Timestamp::now();
    device.publish("vitals/watch-0", ["{\"id\":1,\"heart_rate\":171}"]).await;
    let after = Timestamp::now();
    until("the alert", &gateway, || (gateway.json(&["alerts"]).as_array().unwrap().len() == 1).then_some(())).await;
    // What a device says of the time cannot be checked yet, and waits as well.
    let own = format!("{{\"id\":2,\"heart_rate\":62,\"time\":\"{}T10:00:00Z\"}}", support::day());
    let off = format!("{{\"id\":3,\"heart_rate\":63,\"time\":\"{}\"}}", before + jiff::SignedDuration::from_hours(26));
    device.publish("vitals/watch-0", [own, off]).await;
    until("the alert at the centre", &gateway, || (bodies(&centre, "DetectedIssue").len() == 1).then_some(())).await;
    let (issue, task) = (&bodies(&centre, "DetectedIssue")[0], &bodies(&centre, "Task")[0]);
    assert_eq!((&issue["identifiedDateTime"], &task["authoredOn"]), (&Value::Null, &Value::Null), "{issue}");
    until("the readings", &gateway, || (gateway.json(&["readings"]).as_array().unwrap().len() == 3).then_some(()))
        .await;
    // The same box, started again before it was set.
    gateway.kill();
    gateway.start();
    assert_eq!(bodies(&centre, "Observation"), [] as [Value; 0]);
    std::fs::write(&set, "").unwrap();
    until("their times", &gateway, || (centre.counts().observations == 3).then_some(())).await;
    let of = |value: i64| {
        let all = bodies(&centre, "Observation");
        let found = all.into_iter().find(|o| o["valueQuantity"]["value"] == value).unwrap();
        (found["effectiveDateTime"].as_str().unwrap().parse::<Timestamp>().unwrap(), found["note"].to_string())
    };
    let now = |at: Timestamp| {
        let slack = jiff::SignedDuration::from_secs(3);
        assert!(at >= before - slack && at <= after + slack, "{before} {at} {after}");
    };
    let (late, own, off) = (of(171), of(62), of(63));
    now(late.0);
    assert_eq!(own.0.to_string(), format!("{}T10:00:00Z", support::day()));
    // It said tomorrow: its receipt, with the doubt.
    now(off.0);
    let doubt = "The device's clock was in doubt";
    assert!(off.1.contains(doubt) && !own.1.contains(doubt) && !late.1.contains(doubt), "{off:?} {own:?}");
    assert!(!gateway.cli(&["status"]).0.contains("The clock is not set"));
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
