//! A radio that fails again and again: found within a minute, said by one alert that stays until something proves that it
//! works, and used again then. Through the gateway's own watch, as a person sees it in `wardline alerts`.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wardline::lab::device::Tool;

use crate::bluez::{Bluez, Leak, Manners, Peripheral};
use crate::rig::{Rig, peripheral};

/// Each failure is found within this (docs/reliability.md).
const FOUND: Duration = Duration::from_secs(60);
/// What is down for so long is an alert; and the gateway takes a breath.
const ALERTED: Duration = Duration::from_secs(60 + 5);

fn cuff() -> (Arc<Peripheral>, usize) {
    peripheral(Tool::Cuff, 1, 2, Manners { hangs_up: false, ..Manners::default() })
}

/// It stays so for that long.
async fn stays(rig: &Rig, seconds: u64, what: &str, mut so: impl FnMut(&Rig) -> bool) {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(seconds) {
        assert!(so(rig), "{what}: not after {:?}\n{}", since.elapsed(), rig.gateway.json(&["status"]));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A scan that is accepted and never runs: each life of the radio begins well and ends half a minute later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_never_runs_is_one_alert_until_it_does() {
    let Some(mut rig) = Rig::start(Vec::new(), &[], "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.until("the scan", |_| state.discovering.load(Ordering::SeqCst)).await;
    state.scanless.store(true, Ordering::SeqCst);
    rig.bluez.as_ref().unwrap().end_scan().await;
    let since = Instant::now();
    rig.until("the news", |rig| rig.trouble() == "WL-S055").await;
    assert!(since.elapsed() <= FOUND, "found after {:?}", since.elapsed());
    let since = Instant::now();
    rig.until("the alert", |rig| rig.alerts("scan for devices does not run") == 1).await;
    assert!(since.elapsed() <= ALERTED, "alerted after {:?}", since.elapsed());
    stays(&rig, 35, "one alert", |rig| rig.trouble() == "WL-S055" && rig.alerts("scan for devices does not run") == 1)
        .await;
    state.scanless.store(false, Ordering::SeqCst);
    rig.until("all well", |rig| rig.trouble().is_empty() && rig.alerts("scan for devices") == 0).await;
    rig.stop();
}

/// X16: a connection that leaks and stays, whatever is tried: a person is told, once, until it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_nothing_ends_is_one_alert_until_it_is_gone() {
    let manners = Manners { hangs_up: false, leak: Leak::Forever, ..Manners::default() };
    let (leaky, first) = peripheral(Tool::Cuff, 1, 2, manners);
    let (other, more) = peripheral(Tool::Thermometer, 1, 2, Manners::default());
    other.awake.store(false, Ordering::SeqCst);
    let Some(mut rig) = Rig::start(vec![leaky.clone(), other.clone()], &[], "max_connected = 1").await else { return };
    rig.holds(first).await;
    // The other one waits, so that the leaky one is let go.
    other.awake.store(true, Ordering::SeqCst);
    rig.holds(first + more).await;
    let since = Instant::now();
    rig.until("the news", |rig| rig.why(&leaky) == "WL-S073").await;
    assert!(since.elapsed() <= FOUND, "found after {:?}", since.elapsed());
    rig.until("the alert", |rig| rig.alerts("holds a connection") == 1).await;
    assert!(since.elapsed() <= FOUND + ALERTED, "alerted after {:?}", since.elapsed());
    stays(&rig, 20, "one alert", |rig| rig.alerts("holds a connection") == 1).await;
    leaky.manners.lock().unwrap().leak = Leak::None;
    rig.bluez.as_ref().unwrap().hang_up(&leaky).await;
    rig.until("all well", |rig| rig.alerts("holds a connection") == 0 && rig.trouble().is_empty()).await;
    rig.stop();
}

/// Nothing is heard any more, although all answers: said when the settings say so, and steadily.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_that_nothing_heals_is_one_alert_until_something_is_heard() {
    let (stranger, _) = cuff();
    let address = stranger.address.clone();
    let Some(mut rig) = Rig::start(vec![stranger], &[&address], "silence_alert_min = 1").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.until("a voice", |rig| !rig.gateway.json(&["status"])["radio"]["heard_ms"].is_null()).await;
    state.deaf.store(true, Ordering::SeqCst);
    rig.until("the rebuild", |rig| rig.gateway.json(&["status"])["radio"]["rebuilds"] == 1).await;
    rig.until("the news", |rig| rig.trouble() == "WL-S056").await;
    rig.until("the alert", |rig| rig.alerts("nothing was heard") == 1).await;
    stays(&rig, 15, "one alert", |rig| rig.alerts("nothing was heard") == 1).await;
    state.deaf.store(false, Ordering::SeqCst);
    rig.until("a voice", |rig| rig.trouble().is_empty() && rig.alerts("nothing was heard") == 0).await;
    rig.stop();
}

/// A mute adapter, from the start of a box that never heard anything: what may help is tried once, said, and is no alert.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_is_mute_from_the_start_is_restarted_once_and_said() {
    let (asleep, _) = cuff();
    asleep.awake.store(false, Ordering::SeqCst);
    let Some(mut rig) = Rig::start(vec![asleep], &[], "silence_alert_min = 1").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    let since = Instant::now();
    rig.until("the scan's turn", |_| state.scans.load(Ordering::SeqCst) > 1).await;
    rig.until("the adapter's turn", |_| state.switched_off.load(Ordering::SeqCst) == 1).await;
    assert!(since.elapsed() <= FOUND, "found after {:?}", since.elapsed());
    rig.until("the news", |rig| rig.gateway.log().contains("WL-S056")).await;
    stays(&rig, 30, "no alert", |rig| rig.alerts("heard") == 0 && rig.trouble().is_empty()).await;
    assert_eq!(state.switched_off.load(Ordering::SeqCst), 1);
    rig.stop();
}

/// A device that stays connected does not hide that nothing else is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_scan_is_started_anew_beside_a_connection() {
    let (cuff, readings) = cuff();
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.holds(readings).await;
    let scans = state.scans.load(Ordering::SeqCst);
    rig.until("a new scan, or the end of the connection", |_| {
        state.scans.load(Ordering::SeqCst) > scans || state.connected.load(Ordering::SeqCst) == 0
    })
    .await;
    assert!(rig.bluez.as_ref().unwrap().is_connected(&cuff).await, "not beside it");
    assert_eq!(state.switched_off.load(Ordering::SeqCst), 0, "a connection was cut");
    rig.stop();
}

/// bluetoothd takes calls and answers none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_hangs_is_said_and_used_again_when_it_answers() {
    let (cuff, readings) = cuff();
    let Some(mut rig) = Rig::start(vec![cuff], &[], "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.holds(readings).await;
    state.hung.store(true, Ordering::SeqCst);
    let since = Instant::now();
    rig.until("the news", |rig| rig.trouble() == "WL-S052").await;
    assert!(since.elapsed() <= FOUND, "found after {:?}", since.elapsed());
    stays(&rig, 15, "no false hope", |rig| rig.trouble() == "WL-S052").await;
    state.hung.store(false, Ordering::SeqCst);
    rig.until("all well", |rig| rig.trouble().is_empty()).await;
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_comes_back_is_used_again() {
    let (cuff, readings) = cuff();
    let Some(mut rig) = Rig::start(vec![cuff], &[], "").await else { return };
    rig.holds(readings).await;
    rig.bus.kill();
    let since = Instant::now();
    rig.until("the news", |rig| rig.trouble() == "WL-S050").await;
    assert!(since.elapsed() <= FOUND, "found after {:?}", since.elapsed());
    rig.bus.revive();
    rig.bluez = Some(Bluez::start(&rig.bus, &rig.peripherals).await);
    rig.until("all well", |rig| rig.trouble().is_empty()).await;
    rig.stop();
}

/// The bus is another one before anybody noticed, and what reports first is not its end: the scan's own connection is dead
/// then, and everything else works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_changes_unnoticed_leaves_no_dead_scan_behind() {
    let (cuff, readings) = cuff();
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.holds(readings).await;
    state.hung.store(true, Ordering::SeqCst);
    rig.until("a question that waits", |_| state.hanging.load(Ordering::SeqCst) > 0).await;
    let pid = rig.gateway.pid().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    signal("-STOP");
    rig.bus.kill();
    rig.bus.revive();
    rig.bluez = Some(Bluez::start(&rig.bus, &rig.peripherals).await);
    signal("-CONT");
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.until("the scan", |_| state.discovering.load(Ordering::SeqCst)).await;
    rig.until("all well", |rig| rig.trouble().is_empty()).await;
    rig.stop();
}

/// How a device's radio is stands in the metrics, under a name that says nothing of the device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_device_has_its_gauges_and_no_address_in_them() {
    let (cuff, readings) = cuff();
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    let shown = rig.gateway.cli(&["devices", "show", &format!("ble:{}", cuff.address)]).0;
    let label = shown.lines().find_map(|line| line.trim().strip_prefix("metrics")).unwrap().trim().to_owned();
    let metrics =
        |rig: &Rig| crate::support::gateway::http_over_unix(&rig.gateway.path("status.sock"), "/metrics").unwrap();
    let names = ["rssi_dbm", "seen_seconds", "battery_percent", "failures"];
    // What people see is a second old at most.
    rig.until("the gauges", |rig| {
        let all = metrics(rig);
        names.iter().all(|name| all.contains(&format!("wardline_bluetooth_device_{name}{{{label}}}")))
    })
    .await;
    assert!(!metrics(&rig).contains(&cuff.address), "{}", metrics(&rig));
    rig.stop();
}
