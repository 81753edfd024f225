//! Profiles of one name that are told apart by firmware (decision 0043), over the bus: the revision is read before the plan is made.
//!
//! Two halves of one scale, whose weight stands elsewhere since revision 2: read by the wrong half it has another weight.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wardline::lab::device::Use;

use crate::bluez::{Manners, Peripheral};
use crate::rig::Rig;

/// A profile for revisions in this range, with the weight at this place of the frame.
fn half(id: &str, range: &str, at: u8) -> String {
    format!(
        r#"id = "{id}"
title = "Scale"
manufacturer = "Maker"
confidence = "C"
sources = ["none"]
link = "ble"
match = {{ names = ["Twin*"], firmware = "{range}" }}
session = {{ steps = [{{ do = "subscribe", characteristic = "FFF1", kind = "notify" }}], confirm = "nothing" }}
[[decode]]
characteristic = "FFF1"
format = "binary"
length = 4
[[decode.vital]]
vital = "body-weight"
value = {{ at = {at}, type = "u16", unit = "kg", scale = "0.01" }}
[[example]]
name = "one"
origin = "constructed"
frame = {{ characteristic = "FFF1", hex = "10 27 10 27" }}
readings = [{{ vital = "body-weight", value = "100.00", unit = "kg" }}]
[[example]]
name = "another"
origin = "constructed"
frame = {{ characteristic = "FFF1", hex = "10 27 10 27" }}
readings = [{{ vital = "body-weight", value = "100.00", unit = "kg" }}]
"#
    )
}

/// A scale of this revision that has one frame: 70.00 for the older half, 80.00 for the newer.
fn scale(number: u8, firmware: Option<&str>) -> Arc<Peripheral> {
    let mut gatt = vec![("FFF0", "FFF1", Use::Notify)];
    if firmware.is_some() {
        gatt.push(("180A", "2A26", Use::Read));
    }
    let values = vec![("FFF1".into(), vec![0x58, 0x1b, 0x40, 0x1f])];
    let p =
        Peripheral::with(&format!("C0:26:DF:77:02:{number:02X}"), "Twin 7", gatt, false, values, Manners::default());
    if let Some(firmware) = firmware {
        p.reads.lock().unwrap().insert("2A26", firmware.as_bytes().to_vec());
    }
    p
}

/// The weights of a device that the gateway holds.
fn weights(rig: &Rig, p: &Peripheral) -> Vec<String> {
    let id = format!("ble:{}", p.address);
    let rows = rig.gateway.json(&["readings", "--limit", "100"]);
    let of_it = rows.as_array().unwrap().iter().map(ToString::to_string).filter(|row| row.contains(&id));
    of_it.flat_map(|row| ["70.0", "80.0"].into_iter().filter(move |w| row.contains(w)).map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_firmware_that_a_scale_tells_chooses_its_profile_and_one_that_fits_none_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    // Between 2.5 and 3 there is no profile.
    for (id, range, at) in [("twin-old", "<2", 0), ("twin-new", ">=2, <2.5", 2), ("twin-newest", ">=3", 2)] {
        std::fs::write(folder.path().join(format!("{id}.toml")), half(id, range, at)).unwrap();
    }
    let (old, new, newest) = (scale(1, Some("1.9")), scale(2, Some("V2.0.1")), scale(3, Some("10.1")));
    let (between, silent) = (scale(4, Some("2.7")), scale(5, None));
    let all = [&old, &new, &newest, &between, &silent].map(Clone::clone);
    all.iter().for_each(|p| p.awake.store(false, Ordering::SeqCst));
    let Some(mut rig) = Rig::start(all.to_vec(), &[], "").await else { return };
    rig.stop();
    let profiles = format!("[gateway]\nprofiles = \"{}\"\n", folder.path().display());
    rig.gateway.reword(|text| text.replacen("[gateway]\n", &profiles, 1));
    rig.gateway.start();
    all.iter().for_each(|p| p.awake.store(true, Ordering::SeqCst));
    rig.holds(3).await;
    assert_eq!(weights(&rig, &old), ["70.0"], "{}", rig.gateway.json(&["readings", "--limit", "100"]));
    assert_eq!(weights(&rig, &new), ["80.0"]);
    assert_eq!(weights(&rig, &newest), ["80.0"]);
    for p in [&between, &silent] {
        rig.until("a refusal", |rig| rig.why(p) == "WL-S069").await;
        assert!(!p.done.lock().unwrap().iter().any(|what| what.contains("FFF1")), "{:?}", p.done.lock().unwrap());
    }
    // It was asked for its revision, and before anything was subscribed to.
    let done = new.done.lock().unwrap().clone();
    let place = |what: &str| done.iter().position(|d| d == what);
    assert!(place("read 2A26") < place("subscribe FFF1") && place("read 2A26").is_some(), "{done:?}");
    assert_eq!(rig.endpoint.counts().observations, 3);
    rig.stop();
}
