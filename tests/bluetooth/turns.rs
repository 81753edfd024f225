//! Whose turn it is when devices sleep, are many, or are not what they seem.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wardline::lab::device::{Mishap, Tool};

use crate::bluez::Manners;
use crate::rig::{Rig, measured, peripheral};

/// The thermometer was heard once, at the edge of range, and does not answer; then a cuff is awake for ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_wakes_for_seconds_is_served_while_another_one_does_not_answer() {
    let (absent, _) = peripheral(Tool::Thermometer, 1, 1, Manners { stuck: true, ..Manners::default() });
    let (cuff, readings) = peripheral(Tool::Cuff, 1, 2, Manners { sleeps: true, ..Manners::default() });
    cuff.awake.store(false, Ordering::SeqCst);
    let Some(mut rig) = Rig::start(vec![absent.clone(), cuff.clone()], &[], "").await else { return };
    rig.until("its turn", |_| absent.connects.load(Ordering::SeqCst) > 0).await;
    absent.awake.store(false, Ordering::SeqCst);
    cuff.awake.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    cuff.awake.store(false, Ordering::SeqCst);
    rig.holds(readings).await;
    assert_eq!(rig.why(&absent), "WL-S060");
    rig.stop();
}

/// As many as cheap controllers carry, without a setting: all of them at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_devices_are_connected_at_once() {
    let kinds = [Tool::Cuff, Tool::Thermometer, Tool::Oximeter, Tool::Scale];
    let stays = || Manners { hangs_up: false, ..Manners::default() };
    let all: Vec<_> = (0..7).map(|i| peripheral(kinds[i as usize % 4], 10 + i, 2, stays())).collect();
    let readings = all.iter().map(|(_, n)| n).sum();
    let Some(mut rig) = Rig::start(all.into_iter().map(|(p, _)| p).collect(), &[], "").await else { return };
    rig.holds(readings).await;
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.until("all of them", |_| state.connected_most.load(Ordering::SeqCst) == 7).await;
    rig.stop();
}

/// Data of a scale's broadcast from the address of a cuff: it is no weight of its patient, and the cuff is read as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_broadcast_is_nobodys_weight_and_stops_no_cuff() {
    let (cuff, _) = peripheral(Tool::Cuff, 1, 2, Manners::default());
    let forged = |kg_100: u16| Some(("FCD2".to_owned(), [&[0x40, 0x06][..], &kg_100.to_le_bytes()].concat()));
    *cuff.broadcast.lock().unwrap() = forged(9_000);
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], "").await else { return };
    let (values, readings) = measured(Tool::Cuff, 1, 4, Mishap::None);
    rig.until("a connection", |_| cuff.links.load(Ordering::SeqCst) > 0).await;
    *cuff.broadcast.lock().unwrap() = forged(9_100);
    *cuff.values.lock().unwrap() = values;
    rig.holds(readings).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.holds(readings).await;
    rig.stop();
}

/// One that lets nobody read what it can do, or its clock, is read all the same; its bond is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_no_of_a_bonded_device_is_no_lost_bond() {
    let manners = Manners { bonded: true, denies: vec!["2A51", "2A2B"], ..Manners::default() };
    let (meter, readings) = peripheral(Tool::Glucometer, 1, 5, manners);
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    assert_eq!((rig.why(&meter).as_str(), rig.alerts("has forgotten this box")), ("", 0));
    rig.stop();
}

/// Its address has changed, as a replaced battery can do: it is a stranger until a person adds it, and nobody else notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_address_changed_is_a_stranger_and_others_go_on() {
    let (before, a) = peripheral(Tool::Cuff, 1, 2, Manners::default());
    let (after, _) = peripheral(Tool::Cuff, 77, 3, Manners::default());
    let (other, b) = peripheral(Tool::Thermometer, 1, 2, Manners::default());
    after.awake.store(false, Ordering::SeqCst);
    let all = vec![before.clone(), after.clone(), other.clone()];
    let Some(mut rig) = Rig::start(all, &[&after.address], "").await else { return };
    rig.holds(a + b).await;
    before.awake.store(false, Ordering::SeqCst);
    after.awake.store(true, Ordering::SeqCst);
    rig.until("the stranger", |rig| rig.gateway.cli(&["devices", "scan"]).0.contains(&after.address)).await;
    let (values, more) = measured(Tool::Thermometer, 1, 4, Mishap::None);
    *other.values.lock().unwrap() = values;
    rig.holds(a + more).await;
    assert_eq!(after.connects.load(Ordering::SeqCst), 0, "nobody named it");
    rig.stop();
}

/// What is said late of an earlier link is no end of this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_late_news_of_an_earlier_link_ends_no_connection() {
    let (cuff, readings) = peripheral(Tool::Cuff, 1, 3, Manners { belated_end: true, ..Manners::default() });
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    let device = rig.device(&cuff);
    assert_eq!(device["failures"], 0, "{device}");
    rig.stop();
}

/// The same indication again, in this connection and in the next: one reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_that_is_replayed_is_no_second_reading() {
    let (cuff, readings) = peripheral(Tool::Cuff, 1, 3, Manners::default());
    let values = cuff.values.lock().unwrap().clone();
    let twice: Vec<_> = values.iter().flat_map(|v| [v.clone(), v.clone()]).chain(values.clone()).collect();
    let sent = twice.len();
    *cuff.values.lock().unwrap() = twice;
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], "").await else { return };
    let told = || cuff.sent.load(Ordering::SeqCst);
    rig.until("all of them", |_| told() == sent).await;
    // Connected anew, it tells everything once more.
    cuff.sent.store(0, Ordering::SeqCst);
    rig.until("once more", |_| told() == sent).await;
    rig.until("their commit", |rig| rig.device(&cuff)["values"].as_u64() >= Some(2 * sent as u64)).await;
    rig.holds(readings).await;
    // What was learnt of it meanwhile is shown.
    assert!(rig.device(&cuff)["heard_every_ms"].is_u64());
    let (shown, ..) = rig.gateway.cli(&["devices", "show", &format!("ble:{}", cuff.address)]);
    assert!(shown.contains("while awake"), "{shown}");
    let verified = rig.gateway.json(&["custody", "verify"]);
    assert_eq!(verified["readings"], readings, "{verified}");
    rig.stop();
}

/// A cuff counts a value as told when the link has confirmed it. The process is killed while it tells one after the other:
/// what was on its way is lost and nothing else, and that is the window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_confirmation_and_commit_loses_what_was_on_its_way_only() {
    const VALUES: u32 = 60;
    let (cuff, readings) = peripheral(Tool::Cuff, 1, VALUES, Manners::default());
    let of_each = readings / VALUES as usize;
    let sent = || cuff.sent.load(Ordering::SeqCst);
    let Some(mut rig) = Rig::start(vec![cuff.clone()], &[], "").await else { return };
    let (mut kills, mut told_to_nobody) = (0, 0);
    for at in [15, 30, 45] {
        rig.until("some values", |_| sent() >= at).await;
        let before = sent();
        rig.gateway.kill();
        kills += 1;
        rig.bluez.as_ref().unwrap().hang_up(&cuff).await;
        // bluetoothd confirms also what it has nobody to tell to.
        told_to_nobody += sent() - before;
        rig.gateway.start();
    }
    rig.until("the rest", |_| sent() == VALUES as usize).await;
    let held = |rig: &Rig| rig.gateway.json(&["custody", "verify"])["readings"].as_u64().unwrap_or(0) as usize;
    rig.until("its end", |rig| rig.device(&cuff)["state"] != "connected").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let lost = VALUES as usize - held(&rig) / of_each;
    println!(
        "{kills} kills, a value each 10 ms: {lost} of {VALUES} lost, {told_to_nobody} of them after the process was gone"
    );
    assert!(lost < VALUES as usize / 2, "{lost} values lost in {kills} kills");
    rig.holds((VALUES as usize - lost) * of_each).await;
    rig.stop();
}
