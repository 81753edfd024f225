//! Conditional references and DeviceMetrics through the built binary, against two real servers: an alert with its evidence
//! finds the Devices that are there, and one that is not there holds nothing up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use serde_json::{Value, json};

mod support;

use support::broker::{Broker, Door};
use support::device::Device;
use support::fhir_server::{FhirServer, Kind};
use support::gateway::Gateway;

const RULES: &str = "[[rule]]\nid = \"heart-rate-high\"\ntitle = \"high\"\nvital = \"heart-rate\"\nabove = 110\nunit = \"/min\"\n\
    priority = \"high\"\n";

fn gateway(broker: &Broker, url: &str, more: &str) -> Gateway {
    let gateway = Gateway::new(&format!(
        "[journal]\nreserve_mib = 1\n[alerts]\nrules = [\"rules.toml\"]\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\nidempotency = \"update\"\n{more}\n\
         [[patient]]\nreference = \"Patient/p0\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n\
         [[device]]\nid = \"mqtt:watch-1\"\npatient = \"Patient/p0\"\n",
        broker.port
    ));
    std::fs::write(gateway.path("rules.toml"), RULES).unwrap();
    gateway
}

fn device(id: &str, system: &str, value: &str) -> Value {
    json!({"resourceType": "Device", "id": id, "identifier": [{"system": system, "value": value}]})
}

/// All of a kind, once there are so many.
async fn all(server: &FhirServer, gateway: &Gateway, search: &str, n: usize) -> Vec<Value> {
    let since = std::time::Instant::now();
    loop {
        let found = server.search(search).await;
        if found.len() >= n {
            return found;
        }
        assert!(since.elapsed() < support::PATIENCE, "{search}: {} of {n}\n{}", found.len(), gateway.log());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

async fn play(kind: Kind) {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let Some(server) = FhirServer::start(kind).await else { return };
    server.put(&json!({"resourceType": "Patient", "id": "p0", "active": true})).await;
    server.put(&device("box", "urn:wardline:gateway", "test-box")).await;
    server.put(&device("watch", "urn:wardline:device", "mqtt:watch-0")).await;
    let more = "references = \"conditional\"\nbundle = \"transaction\"";
    let mut gateway = gateway(&broker, &server.url, more);
    gateway.start();
    let watch = Device::connect(broker.device_port);
    // The first is known there; of the second nobody made a Device.
    watch.publish("vitals/watch-0", ["{\"id\":1,\"heart_rate\":150}".to_owned()]).await;
    let tasks = all(&server, &gateway, "Task?_count=50", 1).await;
    assert!(tasks[0]["requester"]["reference"].as_str().unwrap().ends_with("Device/box"), "{kind:?}: {:#}", tasks[0]);
    let found = all(&server, &gateway, "Observation?_count=50", 1).await;
    assert!(found[0]["device"]["reference"].as_str().unwrap().ends_with("Device/watch"), "{kind:?}: {:#}", found[0]);
    watch.publish("vitals/watch-1", ["{\"id\":1,\"heart_rate\":160}".to_owned()]).await;
    let found = all(&server, &gateway, "Observation?_count=50", 2).await;
    let unknown = found.iter().find(|o| o["device"]["identifier"]["value"] == "mqtt:watch-1").expect("the other's");
    assert!(unknown["device"].get("reference").is_none(), "{kind:?}: {unknown:#}");
    let counted = gateway.json(&["outbox", "centre"]);
    assert!(counted.to_string().contains("centre"), "{counted}");
    let inbox = gateway.json(&["inbox"]);
    assert_eq!(inbox.as_array().map(Vec::len), Some(0), "{kind:?}: {inbox}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());

    // The same box with Devices and what they measure.
    gateway.reword(|text| text.replace(more, "devices = \"resource\"\ndevice_metrics = true"));
    gateway.start();
    watch.publish("vitals/watch-0", ["{\"id\":2,\"heart_rate\":80}".to_owned()]).await;
    watch.publish("vitals/watch-1", ["{\"id\":2,\"heart_rate\":81}".to_owned()]).await;
    all(&server, &gateway, "Observation?_count=50", 4).await;
    let metrics = server.search("DeviceMetric?_count=50").await;
    let sources: std::collections::BTreeSet<_> = metrics.iter().map(|m| m["source"]["reference"].to_string()).collect();
    assert_eq!((metrics.len(), sources.len()), (2, 2), "{kind:?}: {metrics:#?}");
    assert!(metrics.iter().all(|m| m["type"]["coding"][0]["code"] == "147842"), "{kind:?}: {metrics:#?}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helios_is_told_of_devices_by_a_search_and_of_what_they_measure() {
    play(Kind::Helios).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sekmet_is_told_of_devices_by_a_search_and_of_what_they_measure() {
    play(Kind::Sekmet).await;
}
