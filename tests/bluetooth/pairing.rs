//! Pairing: only what a person named, in the way the device wants; a lost bond is found and said.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wardline::lab::device::{Mishap, Tool};

use crate::bluez::{Manners, Method, Peripheral};
use crate::rig::{Rig, measured, peripheral};

fn meter(number: u32, method: Method) -> (Arc<Peripheral>, usize) {
    peripheral(Tool::Glucometer, number, 5, Manners { pairing: Some(method), ..Manners::default() })
}

fn id(p: &Peripheral) -> String {
    format!("ble:{}", p.address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meter_is_paired_in_each_way_and_then_read() {
    let ways = [Method::JustWorks, Method::Shows(123_456), Method::Types(654_321), Method::Compares(42)];
    let meters: Vec<_> = (1..).zip(ways).map(|(n, way)| meter(n, way)).collect();
    let readings: usize = meters.iter().map(|(_, n)| n).sum();
    let Some(mut rig) = Rig::start(meters.iter().map(|(p, _)| p.clone()).collect(), &[], "").await else { return };
    for (p, _) in &meters {
        rig.until("the refusal", |rig| rig.why(p) == "WL-S063").await;
        assert_eq!(p.connects.load(Ordering::SeqCst), 0, "what needs a bond is not tried without one");
    }
    for (p, _) in &meters {
        let (id, gateway) = (id(p), &rig.gateway);
        let (out, err, code) = gateway.cli(&["devices", "pair", &id, "--passkey", "123456", "--same"]);
        assert_eq!(code, Some(0), "{out}{err}{}", gateway.log());
        let told = match p.manners().pairing.unwrap() {
            Method::Types(_) => out.contains("Type 654321 into the device"),
            Method::Compares(_) => out.contains("Does the device show 000042?"),
            _ => true,
        };
        assert!(told && out.contains("Paired."), "{out}");
    }
    rig.holds(readings).await;
    // A passkey is nobody else's business.
    assert!(!rig.gateway.log().contains("654321") && !rig.gateway.log().contains("123456"));
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_passkey_pairs_nothing_and_the_next_try_may_be_right() {
    let (meter, readings) = meter(1, Method::Shows(111_111));
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    let (out, _, code) = rig.gateway.cli(&["devices", "pair", &id(&meter), "--passkey", "222222"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("Not paired") && !meter.bonded.load(Ordering::SeqCst), "{out}");
    let (out, err, code) = rig.gateway.cli(&["devices", "pair", &id(&meter), "--passkey", "111111"]);
    assert_eq!(code, Some(0), "{out}{err}");
    rig.holds(readings).await;
    rig.stop();
}

/// BlueZ asks the agent for a device that no person named: the answer is no, each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_pairs_by_itself() {
    let ways = [Method::Shows(1), Method::Types(2), Method::Compares(3), Method::JustWorks];
    let all: Vec<_> = (1..).zip(ways).map(|(n, way)| meter(n, way).0).collect();
    let (stranger, _) = meter(9, Method::Compares(4));
    let mut peripherals = all.clone();
    peripherals.push(stranger.clone());
    let Some(mut rig) = Rig::start(peripherals, &[&stranger.address], "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.until("the agent", |_| state.agent.lock().unwrap().is_some()).await;
    rig.until("the stranger", |rig| rig.gateway.cli(&["devices", "scan"]).0.contains(&stranger.address)).await;
    for p in all.iter().chain([&stranger]) {
        let paired = rig.bluez.as_ref().unwrap().pair(p).await;
        assert!(!paired && !p.bonded.load(Ordering::SeqCst), "{}", p.address);
    }
    // Nor while the window is open for another one.
    let (gateway, waiting) = (&rig.gateway, "ble:C0:26:DF:99:99:99");
    let opened = std::thread::scope(|scope| {
        let cli = scope.spawn(|| gateway.cli(&["devices", "pair", waiting]));
        std::thread::sleep(Duration::from_millis(500));
        let busy = gateway.cli(&["devices", "pair", &id(&all[0])]);
        assert_eq!(busy.2, Some(1), "{busy:?}");
        let paired = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(rig.bluez.as_ref().unwrap().pair(&stranger))
        });
        assert!(!paired);
        gateway.post("/v1/bluetooth/pairing/cancel");
        cli.join().unwrap()
    });
    assert_eq!(opened.2, Some(1), "{opened:?}");
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_bond_is_said_and_paired_again() {
    let (meter, readings) = meter(1, Method::JustWorks);
    meter.bonded.store(true, Ordering::SeqCst);
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    rig.bluez.as_ref().unwrap().lose_bond(&meter).await;
    rig.until("the loss", |rig| rig.why(&meter) == "WL-S064").await;
    rig.until("the alert", |rig| rig.gateway.cli(&["alerts"]).0.contains("has forgotten this box")).await;
    let (out, err, code) = rig.gateway.cli(&["devices", "forget", &id(&meter)]);
    assert_eq!(code, Some(0), "{out}{err}");
    rig.until("no bond", |rig| rig.why(&meter) == "WL-S063").await;
    let (out, err, code) = rig.gateway.cli(&["devices", "pair", &id(&meter)]);
    assert_eq!(code, Some(0), "{out}{err}");
    rig.until("all well", |rig| rig.device(&meter)["paired"] == true && rig.why(&meter).is_empty()).await;
    rig.until("the end of it", |rig| !rig.gateway.cli(&["alerts"]).0.contains("has forgotten this box")).await;
    rig.stop();
}

/// What it advertises was told before anybody knew it, and is not told again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meter_that_was_a_stranger_is_not_tried_without_its_bond_either() {
    let (meter, readings) = meter(1, Method::Shows(123_456));
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[&meter.address], "").await else { return };
    rig.until("the stranger", |rig| rig.gateway.cli(&["devices", "scan"]).0.contains("standard-glucose")).await;
    let (out, err, code) =
        rig.gateway.cli(&["devices", "add", &id(&meter), "--patient", "Patient/p1", "--since", "ever"]);
    assert_eq!(code, Some(0), "{out}{err}");
    rig.until("the refusal", |rig| rig.why(&meter) == "WL-S063").await;
    assert_eq!(meter.connects.load(Ordering::SeqCst), 0, "what needs a bond is not tried without one");
    let (out, err, code) = rig.gateway.cli(&["devices", "pair", &id(&meter), "--passkey", "123456"]);
    assert_eq!(code, Some(0), "{out}{err}");
    rig.holds(readings).await;
    rig.stop();
}

/// As the real bluetoothd shows a device that was reset: the bond stands, and each link ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bond_that_only_the_device_has_lost_is_said_as_well() {
    let (meter, readings) = meter(1, Method::JustWorks);
    meter.bonded.store(true, Ordering::SeqCst);
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    meter.manners.lock().unwrap().forgetful = true;
    rig.until("the loss", |rig| rig.why(&meter) == "WL-S064").await;
    assert!(meter.bonded.load(Ordering::SeqCst), "BlueZ knows nothing of it");
    let (out, err, code) = rig.gateway.cli(&["devices", "forget", &id(&meter)]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (out, err, code) = rig.gateway.cli(&["devices", "pair", &id(&meter)]);
    assert_eq!(code, Some(0), "{out}{err}");
    rig.until("all well", |rig| rig.device(&meter)["paired"] == true && rig.why(&meter).is_empty()).await;
    rig.holds(readings).await;
    rig.stop();
}

/// X17: only the device has forgotten the bond; bluetoothd goes on believing in it, and would for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bond_that_only_the_device_forgot_is_said_not_hammered_at_and_paired_again() {
    let (meter, readings) = meter(1, Method::Shows(123_456));
    meter.bonded.store(true, Ordering::SeqCst);
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    meter.wiped.store(true, Ordering::SeqCst);
    // Taking the bond away takes longer than it takes until pairing is tried.
    meter.manners.lock().unwrap().lingers = Duration::from_secs(3);
    rig.until("the loss", |rig| rig.why(&meter) == "WL-S064").await;
    rig.until("the alert", |rig| rig.alerts("has forgotten this box") == 1).await;
    assert_eq!(rig.device(&meter)["paired"], true, "bluetoothd does not know");
    let before = meter.connects.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let tries = meter.connects.load(Ordering::SeqCst) - before;
    assert!(tries <= 5, "{tries} tries in 20 s");
    let (values, readings) = measured(Tool::Glucometer, 1, 9, Mishap::None);
    *meter.values.lock().unwrap() = values;
    // One order is enough: bluetoothd's half is taken away before.
    let (out, err, code) = rig.gateway.cli(&["devices", "pair", &id(&meter), "--passkey", "123456"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(!meter.wiped.load(Ordering::SeqCst), "it was said to be paired and is not: {out}");
    rig.holds(readings).await;
    rig.until("the end of it", |rig| rig.alerts("has forgotten this box") == 0 && rig.why(&meter).is_empty()).await;
    rig.stop();
}

/// The bond that bluetoothd holds says nothing of the device's half: nobody reads `Paired.` when nothing was bonded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bond_of_before_is_not_said_to_be_made_now() {
    let (meter, readings) = meter(1, Method::JustWorks);
    meter.bonded.store(true, Ordering::SeqCst);
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    let (out, err, code) = rig.gateway.cli(&["devices", "pair", &id(&meter)]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(!out.contains("Paired.") && out.contains("wardline devices forget"), "{out}");
    // What it says helps, and costs nothing that is good if it is not done.
    assert_eq!(rig.device(&meter)["paired"], true);
    let (out, err, code) = rig.gateway.cli(&["devices", "forget", &id(&meter)]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (out, err, code) = rig.gateway.cli(&["devices", "pair", &id(&meter)]);
    assert_eq!(code, Some(0), "{out}{err}");
    rig.stop();
}
