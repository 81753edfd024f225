//! X18: a telephone's app took the records first. What this box never saw is noticed and said, once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wardline::lab::device::{Mishap, Tool};

use crate::bluez::{Manners, Peripheral, number};
use crate::rig::{Rig, measured, peripheral};

/// The meter has measured `n` times, and of its records only those from this number on are left.
fn has(meter: &Arc<Peripheral>, n: u32, from: u16) {
    let (mut values, _) = measured(Tool::Glucometer, 1, n, Mishap::None);
    values.retain(|(uuid, bytes)| number(uuid, bytes) >= from);
    *meter.values.lock().unwrap() = values;
}

fn gaps(rig: &Rig, meter: &Peripheral) -> Vec<String> {
    let device = rig.device(meter);
    let gaps = device["gaps"].as_array().cloned().unwrap_or_default();
    gaps.iter().map(|g| format!("{} {}", g["code"].as_str().unwrap(), g["text"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_a_telephone_took_first_are_said_once() {
    let (meter, readings) = peripheral(Tool::Glucometer, 1, 20, Manners { bonded: true, ..Manners::default() });
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    assert_eq!(gaps(&rig, &meter), [""; 0]);
    // A telephone fetches everything and clears the memory, again and again; then three more are measured.
    has(&meter, 28, 26);
    rig.holds(readings + 3).await;
    let first = "WL-S072 5 of its records between 21 and 25 were never seen here".to_owned();
    rig.until("the gap", |rig| gaps(rig, &meter) == [first.clone()]).await;
    rig.until("the alert", |rig| rig.alerts("between 21 and 25") == 1).await;
    // It takes these as well: there were some, and nobody here deleted them.
    has(&meter, 28, 29);
    let second = "WL-S072 its memory was emptied after record 28, not by this box: what followed was never seen here";
    rig.until("the emptied memory", |rig| gaps(rig, &meter) == [first.clone(), second.to_owned()]).await;
    let connects = meter.connects.load(Ordering::SeqCst);
    rig.until("more connections", |_| meter.connects.load(Ordering::SeqCst) >= connects + 2).await;
    // Also after a restart each is said once.
    rig.stop();
    rig.gateway.start();
    has(&meter, 30, 29);
    rig.holds(readings + 5).await;
    assert_eq!(gaps(&rig, &meter), [first, second.to_owned()]);
    rig.until("the alerts", |rig| rig.alerts("WL-S072") == 2).await;
    let (text, ..) = rig.gateway.cli(&["status"]);
    assert!(text.contains("WL-S072"), "{text}");
    rig.stop();
}

/// A record is lost between device and box: it is asked for once more, and nothing is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_lost_on_its_way_is_fetched_and_is_no_gap() {
    let manners = Manners { bonded: true, loses: Some(9), ..Manners::default() };
    let (meter, readings) = peripheral(Tool::Glucometer, 1, 20, manners);
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    let remembered = || std::fs::read_to_string(rig.gateway.path("state/bluetooth.json")).unwrap_or_default();
    rig.until("its place", |_| remembered().contains("\"sequence\":20")).await;
    assert_eq!(gaps(&rig, &meter), [""; 0]);
    assert_eq!(meter.connects.load(Ordering::SeqCst), 1, "it was fetched in the same connection");
    rig.stop();
}
