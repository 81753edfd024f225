//! Two real servers take every golden resource, with devices in each of the three forms.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use wardline::custody::{Item, ItemId, Outcome, Payload};
use wardline::fhir::Clocks;
use wardline::reading::ReadingKey;
use wardline::sink::Destination;

use super::{delivery, forms, golden};
use crate::support::fhir_server::{FhirServer, Kind};

/// Every golden reading, each with a key of its own.
fn items(first: u8) -> Vec<Item> {
    let numbered = forms::all().into_iter().enumerate().map(|(n, (_, mut reading, _))| {
        let n = n as u8;
        if reading.amendment.is_none() {
            reading.key = ReadingKey([first, n, n, n, n, n, n, n, 0, 0, 0, 0, 0, 0, first, n]);
        }
        Item { id: ItemId::Reading(i64::from(n)), what: Payload::Reading(Arc::new(reading)), attempts: 0 }
    });
    numbered.collect()
}

async fn play(kind: Kind) {
    let Some(server) = FhirServer::start(kind).await else { return };
    for id in ["8f2c", "91d0"] {
        server.put(&json!({"resourceType": "Patient", "id": id, "active": true})).await;
    }
    for (n, more) in [
        "idempotency = \"update\"\nus_core = \"6.1.0\"",
        "idempotency = \"update\"\ndevices = \"contained\"\nphd = true\nus_core = \"8.0.0\"",
        "idempotency = \"update\"\ndevices = \"resource\"\nphd = true",
        "idempotency = \"conditional-create\"\ndevices = \"resource\"\nphd = true",
        "profile = \"hapi\"\nrequests_per_min = 0",
    ]
    .into_iter()
    .enumerate()
    {
        let sink = delivery::sink(&server.url, &format!("{more}\ntimeout_s = 60"));
        let outcomes = sink.deliver(&items(n as u8 + 1), &[]).await;
        let names = forms::all();
        let refused: Vec<_> = outcomes
            .iter()
            .zip(&names)
            .filter(|(o, _)| !matches!(o, Outcome::Delivered(_)))
            .map(|(o, (name, ..))| format!("{name}: {o:?}"))
            .collect();
        assert!(refused.is_empty(), "{kind:?} {more}: {refused:#?}");
    }
    let devices = server.search("Device?_count=50").await;
    assert!(devices.len() >= 2, "{kind:?}: {}", devices.len());
    // One pair, whatever way and however often it was written.
    let name = Clocks::of(&forms::clocked("blood-pressure")).unwrap().name(&forms::placed());
    let pairs = server.search(&format!("Observation?identifier=urn:wardline:clock%7C{name}")).await;
    assert_eq!(pairs.len(), 1, "{kind:?}: {pairs:#?}");
    assert_eq!(super::phd::broken_pair(&pairs[0]), Vec::<&str>::new());
    let place = format!("Observation/{}", pairs[0]["id"].as_str().unwrap());
    let all = server.search("Observation?_count=200").await;
    let referring = all.iter().filter(|o| o["extension"][1]["valueReference"]["reference"] == *place).count();
    assert!(referring >= 2, "{kind:?}: {referring}");
    for (name, mut json) in golden::others() {
        // helios-hfs takes no AuditEvent: it writes its own.
        let own = kind == Kind::Helios && json["resourceType"] == "AuditEvent";
        if json["resourceType"] != "Bundle" && !own {
            json["id"] = Json::String(name.replace('.', "-"));
            server.put(&json).await;
        }
    }
}

#[tokio::test]
async fn helios_takes_every_resource() {
    play(Kind::Helios).await;
}

#[tokio::test]
async fn sekmet_takes_every_resource() {
    play(Kind::Sekmet).await;
}
