//! The pair of clocks that dates a device's readings is at the centre, once, and they refer to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use wardline::lab::device::{Device, Mishap, Tool};

use crate::bluez::{Manners, Peripheral};
use crate::rig::{Rig, address};
use crate::support::fhir_server::{FhirServer, Kind};
use crate::support::scripted::{Reply, Request, Scripted};

const REFERENCE: &str = "http://hl7.org/fhir/uv/phd/StructureDefinition/CoincidentTimeStampReference";

/// What a cuff measured at this time by its own clock, with the number of readings in it.
fn values(at: &str) -> (Vec<(String, Vec<u8>)>, usize) {
    let mut device = Device::new(Tool::Cuff, 1);
    let body = wardline::lab::patient::Patient::new(1, 1).at(Duration::ZERO);
    let sent = device.measure(&body, at.parse().unwrap(), Mishap::None).unwrap();
    let readings = sent.iter().map(|s| s.says.len()).sum();
    (sent.iter().map(|s| (s.path.channel().to_owned(), s.bytes.to_vec())).collect(), readings)
}

/// A cuff whose clock says the first midnight of 2026, with a value of this time by it.
pub fn of_the_last_year(at: &str) -> (Arc<Peripheral>, usize) {
    let (values, readings) = values(at);
    (Peripheral::new(Tool::Cuff, &address(Tool::Cuff, 1), values, Manners::default()), readings)
}

/// A little FHIR server: it keeps what it is given, under ids of its own or the sender's, once for each identifier.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<String, Value>>>);

impl Shelf {
    fn keep(&self, mut resource: Value, method: &str, path: &str) -> (u16, String) {
        let mut all = self.0.lock().unwrap();
        let kind = resource["resourceType"].as_str().unwrap().to_owned();
        let same = |there: &Value| {
            let one = |r: &Value| r["identifier"].as_array().and_then(|all| all.last()).cloned();
            there["resourceType"] == *kind && one(there) == one(&resource)
        };
        let found = all.iter().find(|(_, there)| same(there)).map(|(place, _)| place.clone());
        let place = match (method, found) {
            ("PUT", Some(place)) if path.contains('?') => place,
            ("PUT", _) if !path.contains('?') => path.to_owned(),
            ("POST", Some(place)) => return (200, place),
            _ => format!("{kind}/n{}", all.len()),
        };
        resource["id"] = place.rsplit('/').next().unwrap().into();
        let status = if all.insert(place.clone(), resource).is_some() { 200 } else { 201 };
        (status, place)
    }

    fn answer(&self, request: &Request) -> Reply {
        let path = request.path.trim_start_matches("/fhir").trim_start_matches('/');
        let body = request.json();
        if request.method == "GET" {
            return self.0.lock().unwrap().get(path).map_or(Reply::status(404), |there| Reply::json(200, there));
        }
        if body["resourceType"] != "Bundle" {
            let (status, place) = self.keep(body, &request.method, path);
            return Reply::Answer(status, vec![("location", format!("{place}/_history/1"))], String::new());
        }
        let one = |e: &Value| {
            let request = &e["request"];
            let (method, path) = (request["method"].as_str().unwrap(), request["url"].as_str().unwrap());
            let (status, place) = self.keep(e["resource"].clone(), method, path);
            json!({"response": {"status": status.to_string(), "location": format!("{place}/_history/1")}})
        };
        let entry: Vec<Value> = body["entry"].as_array().unwrap().iter().map(one).collect();
        Reply::json(
            200,
            &json!({"resourceType": "Bundle", "type": format!("{}-response", body["type"].as_str().unwrap()), "entry": entry}),
        )
    }
}

/// A centre of either kind.
enum Centre {
    Scripted(Scripted, Shelf),
    Helios(FhirServer),
}

impl Centre {
    fn url(&self) -> &str {
        match self {
            Self::Scripted(server, _) => &server.url,
            Self::Helios(server) => &server.url,
        }
    }

    async fn all(&self, kind: &str) -> Vec<Value> {
        match self {
            Self::Scripted(_, shelf) => {
                shelf.0.lock().unwrap().values().filter(|r| r["resourceType"] == kind).cloned().collect()
            }
            Self::Helios(server) => server.search(&format!("{kind}?_count=100")).await,
        }
    }

    /// Pairs and readings.
    async fn observations(&self) -> (Vec<Value>, Vec<Value>) {
        let all = self.all("Observation").await;
        all.into_iter().partition(|o| o["code"]["coding"][0]["code"] == "67975")
    }

    /// Waits until so many readings are there in this status.
    async fn holds(&self, rig: &Rig, status: &str, readings: usize) -> (Vec<Value>, Vec<Value>) {
        let since = std::time::Instant::now();
        loop {
            let (pairs, all) = self.observations().await;
            if all.iter().filter(|o| o["status"] == status).count() == readings {
                return (pairs, all);
            }
            assert!(since.elapsed() < crate::support::PATIENCE, "{all:#?}\n{}", rig.gateway.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Where a reading says that its pair is.
fn refers(reading: &Value) -> Option<String> {
    let extensions = reading["extension"].as_array().unwrap();
    let found = extensions.iter().find(|e| e["url"] == REFERENCE)?;
    Some(found["valueReference"]["reference"].as_str().unwrap().to_owned())
}

async fn play(centre: Centre, idempotency: &str) {
    let destination = format!(
        "[[destination]]\nkind = \"fhir\"\nname = \"shelf\"\nurl = \"{}\"\nidempotency = \"{idempotency}\"\n\
         devices = \"resource\"\nphd = true\n[[patient]]\nreference = \"Patient/other\"\n",
        centre.url()
    );
    let (cuff, readings) = of_the_last_year("2025-12-31T23:00:00");
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], &destination).await else { return };
    let (pairs, all) = centre.holds(&rig, "final", readings).await;
    assert_eq!((pairs.len(), all.len()), (1, readings), "{pairs:#?}");
    let (pair, now) = (&pairs[0], jiff::Timestamp::now());
    let places: Vec<_> = all.iter().map(refers).collect();
    let place = Some(format!("Observation/{}", pair["id"].as_str().unwrap()));
    assert!(places.iter().all(|p| *p == place), "{places:?}");
    // What its clock said, and what ours said then: as far apart as the readings' time was moved.
    let theirs: jiff::Timestamp = pair["valueDateTime"].as_str().unwrap().parse().unwrap();
    let ours: jiff::Timestamp = pair["effectiveDateTime"].as_str().unwrap().parse().unwrap();
    assert_eq!(theirs.to_string(), "2026-01-01T00:00:00Z", "{pair:#}");
    assert!((now.as_second() - ours.as_second()).abs() < 120, "{pair:#}");
    let taken: jiff::Timestamp = all[0]["effectiveDateTime"].as_str().unwrap().parse().unwrap();
    assert!((ours.as_second() - taken.as_second() - 3_600).abs() <= 1, "an hour before it was asked: {taken} {ours}");
    // It is the device's, of this gateway, and nobody's.
    let devices = centre.all("Device").await;
    let of = |reference: &Value| {
        devices.iter().find(|d| *reference == format!("Device/{}", d["id"].as_str().unwrap())).unwrap()
    };
    assert_eq!(of(&pair["subject"]["reference"])["type"]["coding"][0]["code"], "65573");
    assert_eq!(of(&pair["device"]["reference"])["type"]["coding"][0]["code"], "531981");
    assert!(!pair.to_string().contains("Patient"), "{pair:#}");

    // Read back from the disk after a restart, a correction takes it along.
    rig.stop();
    rig.gateway.start();
    let device = format!("ble:{}", cuff.address);
    let correct = ["correct", "--device", &device, "--to", "Patient/other", "--by", "Ada", "--reason", "his twin's"];
    assert_eq!(rig.gateway.json(&correct)["corrected"].as_array().unwrap().len(), readings);
    centre.holds(&rig, "entered-in-error", readings).await;
    let since = std::time::Instant::now();
    let all = loop {
        let (pairs, all) = centre.observations().await;
        assert_eq!(pairs.len(), 1, "it is not doubled: {pairs:#?}");
        if all.len() == 2 * readings {
            break all;
        }
        assert!(since.elapsed() < crate::support::PATIENCE, "{all:#?}\n{}", rig.gateway.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(all.iter().all(|o| refers(o) == place), "{all:#?}");
    let verified = rig.gateway.json(&["custody", "verify"]);
    assert_eq!(verified["faults"].as_array().map(Vec::len), Some(0), "{verified}");
    rig.stop();
}

async fn shelf() -> Centre {
    let shelf = Shelf::default();
    let kept = shelf.clone();
    Centre::Scripted(Scripted::start(move |request| kept.answer(request)).await, shelf)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_clocks_are_at_a_centre_that_is_updated() {
    play(shelf().await, "update").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_clocks_are_at_a_centre_that_creates_what_it_has_not() {
    play(shelf().await, "conditional-create").await;
}

/// The same with a server of the world.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_clocks_are_at_helios() {
    for idempotency in ["update", "conditional-create"] {
        let Some(server) = FhirServer::start(Kind::Helios).await else { return };
        for id in ["p1", "other"] {
            server.put(&json!({"resourceType": "Patient", "id": id, "active": true})).await;
        }
        play(Centre::Helios(server), idempotency).await;
    }
}
