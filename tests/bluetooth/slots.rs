//! X16: a connection that leaks in bluetoothd would keep its device, and a place, until a reboot. It is found and recovered.

use std::sync::atomic::Ordering;

use wardline::lab::device::{Mishap, Tool};

use crate::bluez::{Leak, Manners};
use crate::rig::{Rig, measured, peripheral};

/// It stays connected after we let it go: others are read meanwhile, and it is read again without anybody's doing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_stays_connected_is_recovered_and_others_are_served_meanwhile() {
    let manners = Manners { hangs_up: false, leak: Leak::Link, ..Manners::default() };
    let (leaky, first) = peripheral(Tool::Cuff, 1, 2, manners);
    let (other, more) = peripheral(Tool::Thermometer, 1, 2, Manners::default());
    other.awake.store(false, Ordering::SeqCst);
    let all = vec![leaky.clone(), other.clone()];
    let Some(mut rig) = Rig::start(all, &[], "max_connected = 1").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    state.places.store(2, Ordering::SeqCst);
    rig.holds(first).await;
    // The other one waits, so that the leaky one is let go.
    other.awake.store(true, Ordering::SeqCst);
    rig.holds(first + more).await;
    assert!(rig.bluez.as_ref().unwrap().is_connected(&leaky).await, "nothing leaked");
    assert_eq!(state.switched_off.load(Ordering::SeqCst), 0, "the other one waited for the adapter");
    rig.until("the news", |rig| rig.why(&leaky) == "WL-S073").await;
    let (values, readings) = measured(Tool::Cuff, 1, 4, Mishap::None);
    *leaky.values.lock().unwrap() = values;
    rig.holds(readings + more).await;
    assert_eq!(state.switched_off.load(Ordering::SeqCst), 1, "one restart of the adapter is enough");
    rig.until("all well", |rig| rig.trouble().is_empty() && rig.why(&leaky).is_empty()).await;
    rig.stop();
}

/// `Connect` never answers and its attempt never ends, in the only place but one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_leaks_its_place_is_recovered_and_others_are_served_meanwhile() {
    let (leaky, first) = peripheral(Tool::Cuff, 1, 2, Manners { leak: Leak::Connect, ..Manners::default() });
    let (other, more) = peripheral(Tool::Thermometer, 1, 2, Manners::default());
    other.awake.store(false, Ordering::SeqCst);
    let Some(mut rig) = Rig::start(vec![leaky.clone(), other.clone()], &[], "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    state.places.store(2, Ordering::SeqCst);
    rig.until("the leak", |_| leaky.connects.load(Ordering::SeqCst) > 0).await;
    other.awake.store(true, Ordering::SeqCst);
    rig.holds(more).await;
    assert_eq!(state.switched_off.load(Ordering::SeqCst), 0, "the other one waited for the adapter");
    rig.until("the news", |rig| rig.why(&leaky) == "WL-S073").await;
    rig.holds(first + more).await;
    rig.until("all well", |rig| rig.trouble().is_empty() && rig.why(&leaky).is_empty()).await;
    rig.stop();
}
