//! What a Bluetooth device says of itself is in the Device at the centre: once, and as it is by now.

use std::collections::BTreeMap;

use serde_json::Value;
use wardline::lab::device::{COMMON, Tool, Use};

use crate::bluez::{Manners, Peripheral};
use crate::rig::{Rig, address, measured};
use crate::support::fhir_server::{FhirServer, Kind};

/// A cuff that says all of itself, some of it with ill intent.
fn cuff(n: u32) -> std::sync::Arc<Peripheral> {
    let (values, _) = measured(Tool::Cuff, 1, n, wardline::lab::device::Mishap::None);
    let about = ["2A29", "2A27", "2A28", "2A25", "2A23"].map(|uuid| ("180A", uuid, Use::Read));
    let gatt = Tool::Cuff.gatt().iter().chain(&COMMON).chain(&about).copied().collect();
    let p = Peripheral::with(&address(Tool::Cuff, 1), "Lab Cuff", gatt, false, values, Manners::default());
    let says: [(&'static str, &[u8]); 6] = [
        ("2A29", "Lab\u{202e} Makers\x1b\0".as_bytes()),
        ("2A26", b"1.0"),
        ("2A27", b"H2"),
        ("2A28", b"S3"),
        ("2A25", b"SN-17"),
        ("2A23", &[0xb0, 0x49, 0x5f, 0xff, 0xfe, 0, 0x10, 0x71]),
    ];
    *p.reads.lock().unwrap() =
        says.into_iter().map(|(uuid, octets)| (uuid, octets.to_vec())).collect::<BTreeMap<_, _>>();
    p
}

fn version(device: &Value, code: &str) -> String {
    let all = device["version"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|v| v["type"]["coding"][0]["code"] == code);
    found.map(|v| v["value"].as_str().unwrap().to_owned()).unwrap_or_default()
}

async fn sensors(server: &FhirServer) -> Vec<Value> {
    let all = server.search("Device?_count=50").await;
    all.into_iter().filter(|d| d["type"]["coding"][0]["code"] == "65573").collect()
}

/// Waits until the one Device there has this firmware.
async fn until_firmware(rig: &Rig, server: &FhirServer, firmware: &str) -> Value {
    let since = std::time::Instant::now();
    loop {
        let found = sensors(server).await;
        assert!(found.len() <= 1, "{found:#?}");
        match found.into_iter().next() {
            Some(device) if version(&device, "531976") == firmware => return device,
            other => assert!(since.elapsed() < crate::support::PATIENCE, "{other:#?}\n{}", rig.gateway.log()),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// A destination that keeps Devices, written to in this way; each start of the gateway reads the device anew.
async fn play(idempotency: &str) {
    let Some(server) = FhirServer::start(Kind::Helios).await else { return };
    server.put(&serde_json::json!({"resourceType": "Patient", "id": "p1", "active": true})).await;
    let destination = format!(
        "[[destination]]\nkind = \"fhir\"\nname = \"shelf\"\nurl = \"{}\"\nidempotency = \"{idempotency}\"\n\
         devices = \"resource\"\ndevice_metrics = true\n",
        server.url
    );
    let Some(mut rig) = Rig::start(vec![cuff(2)], &[], &destination).await else { return };
    let p = rig.peripherals[0].clone();
    rig.until("its maker", |rig| rig.device(&p)["maker"] == "Lab Makers").await;
    let (text, ..) = rig.gateway.cli(&["devices", "show", &format!("ble:{}", p.address)]);
    assert!(text.contains("Lab Makers") && text.contains("H2") && text.contains("S3"), "{text}");
    // What it said is known after a restart before it says anything; its firmware is another one by then.
    p.reads.lock().unwrap().insert("2A26", b"2.0".to_vec());
    for (n, firmware) in [(3, "2.0"), (4, "2.0"), (5, "3.0"), (6, "3.0")] {
        rig.stop();
        p.reads.lock().unwrap().insert("2A26", firmware.as_bytes().to_vec());
        *p.values.lock().unwrap() = measured(Tool::Cuff, 1, n, wardline::lab::device::Mishap::None).0;
        rig.gateway.start();
        rig.until("its firmware", |rig| rig.device(&p)["firmware"] == firmware).await;
    }
    let device = until_firmware(&rig, &server, "3.0").await;
    assert_eq!((&device["manufacturer"], &device["modelNumber"]), (&"Lab Makers".into(), &"Lab".into()), "{device:#}");
    assert_eq!(device["serialNumber"], "SN-17", "{device:#}");
    assert_eq!((version(&device, "531974"), version(&device, "531975")), ("H2".into(), "S3".into()), "{device:#}");
    assert_eq!(device["meta"]["profile"][0], "http://hl7.org/fhir/uv/phd/StructureDefinition/PhdDevice", "{device:#}");
    // What it measures leads to it, and claims the guide's profile as it does.
    let metrics = server.search("DeviceMetric?_count=50").await;
    let of = |code: &str| metrics.iter().filter(|m| m["type"]["coding"][0]["code"] == code).count();
    assert_eq!(of("150020"), 1, "{metrics:#?}");
    for metric in &metrics {
        assert_eq!(metric["source"]["reference"], format!("Device/{}", device["id"].as_str().unwrap()), "{metric:#}");
        let profile = "http://hl7.org/fhir/uv/phd/StructureDefinition/PhdDeviceMetric";
        assert_eq!(metric["meta"]["profile"][0], profile, "{metric:#}");
    }
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_says_of_itself_is_in_its_one_device_at_the_centre() {
    play("update").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_there_before_is_brought_up_to_date_where_it_is() {
    play("conditional-create").await;
}
