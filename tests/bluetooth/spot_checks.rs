//! An oximeter that keeps its spot checks (2A5E) and sends all of them when its control point is asked (decision 0044).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wardline::lab::device::{COMMON, Mishap, Tool};
use wardline::lab::peripheral::KEEPING_OXIMETER;

use crate::bluez::{Manners, Peripheral};
use crate::rig::{Rig, measured};

fn asked(oximeter: &Peripheral) -> Vec<Vec<u8>> {
    let written = oximeter.written.lock().unwrap();
    written.iter().filter(|(uuid, _)| uuid == "2A52").map(|(_, octets)| octets.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_oximeter_keeps_is_fetched_and_each_is_there_once_however_often_it_is_told() {
    let (all, readings) = measured(Tool::Oximeter, 1, 20, Mishap::None);
    let gatt = KEEPING_OXIMETER.into_iter().chain(COMMON).collect();
    let manners = Manners { hangs_up_after: Some(7), ..Manners::default() };
    let oximeter: Arc<Peripheral> =
        Peripheral::with("C0:26:DF:77:03:01", "Lab KeepingOximeter", gatt, true, all, manners);
    let Some(mut rig) = Rig::start(vec![oximeter.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    // What it measured since comes with the next connection, and with it all that is known already.
    let (all, more) = measured(Tool::Oximeter, 1, 26, Mishap::None);
    let connects = oximeter.connects.load(Ordering::SeqCst);
    *oximeter.values.lock().unwrap() = all;
    rig.bluez.as_ref().unwrap().hang_up(&oximeter).await;
    rig.until("the next connection", |_| oximeter.connects.load(Ordering::SeqCst) > connects).await;
    rig.holds(more).await;
    let asked = asked(&oximeter);
    assert!(asked.iter().all(|request| *request == [4, 1] || *request == [1, 1]), "{asked:?}");
    assert!(asked.iter().filter(|request| request[0] == 1).count() >= 3, "{asked:?}");
    assert_eq!(rig.device(&oximeter)["gaps"], serde_json::json!([]));
    rig.stop();
}
