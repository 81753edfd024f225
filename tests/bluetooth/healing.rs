//! What can go wrong with bluetoothd, the bus, the adapter and the scan: seen, said, and healed without a person.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wardline::lab::device::Tool;

use crate::bluez::{Bluez, Manners, Peripheral};
use crate::rig::{Rig, measured, peripheral};

fn cuff() -> (Arc<Peripheral>, usize) {
    peripheral(Tool::Cuff, 1, 2, Manners { hangs_up: false, ..Manners::default() })
}

/// It measures once more; answers with how many readings there are by then.
fn measures_again(p: &Peripheral, n: u32) -> usize {
    let (values, readings) = measured(Tool::Cuff, 1, n, wardline::lab::device::Mishap::None);
    *p.values.lock().unwrap() = values;
    readings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bluetoothd_restarts_and_readings_go_on() {
    let (cuff, readings) = cuff();
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    // While the cuff is connected.
    rig.bluez.take().unwrap().kill().await;
    rig.until("the news", |rig| rig.trouble() == "WL-S051").await;
    let readings = measures_again(&cuff, 4);
    rig.bluez = Some(Bluez::start(&rig.bus, &rig.peripherals).await);
    rig.holds(readings).await;
    rig.until("all well", |rig| rig.trouble().is_empty()).await;
    // Nothing of it stays behind, however often.
    let files = rig.files();
    for _ in 0..4 {
        rig.bluez.take().unwrap().kill().await;
        rig.until("the news", |rig| rig.trouble() == "WL-S051").await;
        rig.bluez = Some(Bluez::start(&rig.bus, &rig.peripherals).await);
        rig.until("all well", |rig| rig.trouble().is_empty()).await;
    }
    assert!(rig.files() <= files + 4, "{} open files, {files} before", rig.files());
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_dies_is_said_and_the_gateway_ends_in_order() {
    let (cuff, readings) = cuff();
    let Some(mut rig) = Rig::start(vec![cuff], &[], "").await else { return };
    rig.holds(readings).await;
    rig.bus.kill();
    rig.until("the news", |rig| rig.trouble() == "WL-S050").await;
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_is_pulled_out_is_said_and_used_again_when_it_is_back() {
    let (cuff, readings) = cuff();
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    rig.bluez.as_ref().unwrap().unplug().await;
    rig.until("the news", |rig| rig.trouble() == "WL-S053").await;
    rig.bluez.as_ref().unwrap().plug().await;
    let readings = measures_again(&cuff, 3);
    rig.until("all well", |rig| rig.trouble().is_empty()).await;
    cuff.awake.store(true, Ordering::SeqCst);
    rig.holds(readings).await;
    rig.stop();
}

/// The scan ends by itself; the adapter is switched off by somebody: both run again within seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_ended_and_an_adapter_that_is_off_are_started_again() {
    let Some(mut rig) = Rig::start(Vec::new(), &[], "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.until("the scan", |_| state.discovering.load(Ordering::SeqCst)).await;
    rig.bluez.as_ref().unwrap().end_scan().await;
    rig.until("a new scan", |_| state.discovering.load(Ordering::SeqCst)).await;
    state.powered.store(false, Ordering::SeqCst);
    rig.bluez.as_ref().unwrap().end_scan().await;
    rig.until("power", |_| state.powered.load(Ordering::SeqCst) && state.discovering.load(Ordering::SeqCst)).await;
    rig.stop();
}

/// A scan that is started and does not run: tried, then the adapter, then everything anew, and said; healed, all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_does_not_run_is_escalated_and_said() {
    let Some(mut rig) = Rig::start(Vec::new(), &[], "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.until("the scan", |_| state.discovering.load(Ordering::SeqCst)).await;
    state.scanless.store(true, Ordering::SeqCst);
    rig.bluez.as_ref().unwrap().end_scan().await;
    rig.until("the adapter's turn", |_| state.switched_off.load(Ordering::SeqCst) > 0).await;
    rig.until("the rebuild", |rig| rig.gateway.log().contains("WL-S055")).await;
    state.scanless.store(false, Ordering::SeqCst);
    rig.until("all well", |rig| state.discovering.load(Ordering::SeqCst) && rig.trouble().is_empty()).await;
    rig.stop();
}

/// Everything answers and nothing is heard: the scan is started anew, then the adapter is switched off and on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_restarts_scan_and_adapter() {
    let (stranger, _) = cuff();
    let address = stranger.address.clone();
    let Some(mut rig) = Rig::start(vec![stranger], &[&address], "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.until("a voice", |rig| !rig.gateway.json(&["status"])["radio"]["heard_ms"].is_null()).await;
    state.deaf.store(true, Ordering::SeqCst);
    let scans = state.scans.load(Ordering::SeqCst);
    rig.until("a new scan", |_| state.scans.load(Ordering::SeqCst) > scans).await;
    rig.until("the adapter's turn", |_| state.switched_off.load(Ordering::SeqCst) > 0).await;
    state.deaf.store(false, Ordering::SeqCst);
    rig.until("a voice", |rig| rig.trouble().is_empty()).await;
    rig.stop();
}

/// `Connect` never answers: given up within half a minute, and nobody else waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_hangs_is_given_up_and_others_follow() {
    let (stuck, _) = peripheral(Tool::Thermometer, 1, 1, Manners { stuck: true, ..Manners::default() });
    let (cuff, readings) = cuff();
    let Some(mut rig) = Rig::start(vec![stuck.clone(), cuff], &[], "").await else { return };
    rig.until("giving up", |rig| rig.why(&stuck) == "WL-S060").await;
    rig.holds(readings).await;
    rig.stop();
}
