//! A continuous glucose sensor (181F): its session's start, its stored records by time offset, each with its time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wardline::lab::device::{COMMON, Use};

use crate::bluez::{Manners, Method, Peripheral};
use crate::rig::Rig;

/// 2026-11-20T06:00:00Z.
const START_MS: i64 = 1_795_154_400_000;
const EVERY_MIN: u16 = 5;

/// A record: size, flags, an SFLOAT in mg/dL, minutes since the start.
fn record(minutes: u16) -> (String, Vec<u8>) {
    let ([low, high], glucose) = (minutes.to_le_bytes(), 90 + u8::try_from(minutes % 97).unwrap());
    ("2AA7".into(), vec![6, 0, glucose, 0, low, high])
}

fn records(n: u16) -> Vec<(String, Vec<u8>)> {
    (1..=n).map(|i| record(i * EVERY_MIN)).collect()
}

fn sensor(n: u16, manners: Manners) -> Arc<Peripheral> {
    let gatt = [("181F", "2AA7", Use::Notify), ("181F", "2AA8", Use::Read), ("181F", "2AAA", Use::Read)];
    let gatt = gatt.into_iter().chain([("181F", "2A52", Use::Control)]).chain(COMMON).collect();
    let sensor = Peripheral::with("C0:26:DF:77:00:10", "Lab sensor", gatt, true, records(n), manners);
    let mut reads = sensor.reads.lock().unwrap();
    // Interstitial fluid, subcutaneous, no checksum; UTC, no daylight saving time.
    reads.insert("2AA8", vec![0, 0, 0, 0x59, 0xff, 0xff]);
    reads.insert("2AAA", vec![0xea, 7, 11, 20, 6, 0, 0, 0, 0]);
    drop(reads);
    sensor
}

/// For which records it was asked.
fn requests(sensor: &Peripheral) -> Vec<Vec<u8>> {
    let written = sensor.written.lock().unwrap();
    written.iter().filter(|(uuid, b)| uuid == "2A52" && b[0] == 1).map(|(_, b)| b.clone()).collect()
}

/// Minutes after the start of each reading that the gateway holds.
fn minutes(rig: &Rig) -> BTreeSet<i64> {
    let rows = rig.gateway.json(&["readings", "--limit", "1000"]);
    let at = |row: &serde_json::Value| row["reading"]["taken"]["at_ms"].as_i64().unwrap();
    rows.as_array().unwrap().iter().map(|row| (at(row) - START_MS) / 60_000).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensors_history_is_fetched_by_time_offset_with_its_times_whatever_breaks() {
    let manners =
        Manners { pairing: Some(Method::Shows(1)), bonded: true, hangs_up_after: Some(17), ..Manners::default() };
    let sensor = sensor(60, manners);
    let Some(mut rig) = Rig::start(vec![sensor.clone()], &[], "").await else { return };
    rig.until("a break", |_| sensor.connects.load(Ordering::SeqCst) >= 2).await;
    sensor.manners.lock().unwrap().hangs_up_after = Some(23);
    rig.until("another break", |_| sensor.connects.load(Ordering::SeqCst) >= 3).await;
    rig.gateway.kill();
    rig.gateway.start();
    rig.holds(60).await;
    assert_eq!(minutes(&rig), (1..=60).map(|i| i * i64::from(EVERY_MIN)).collect());
    let asked = requests(&sensor);
    assert_eq!(asked[0], [1, 1]);
    assert!(asked[1..].iter().any(|r| r.len() == 5 && r[..3] == [1, 3, 1] && r[3] > 1), "by time offset: {asked:?}");
    // What the sensor measured since comes after the next connection.
    let (before, connects) = (asked.len(), sensor.connects.load(Ordering::SeqCst));
    *sensor.values.lock().unwrap() = records(66);
    rig.bluez.as_ref().unwrap().hang_up(&sensor).await;
    rig.until("the next connection", |_| sensor.connects.load(Ordering::SeqCst) > connects).await;
    rig.holds(66).await;
    assert_eq!(minutes(&rig).last(), Some(&330));
    assert_eq!(requests(&sensor)[before], [1, 3, 1, 0x2c, 1], "from minute 300 on");
    // Minutes are no count: nothing is missing between them.
    assert_eq!(rig.device(&sensor)["gaps"], serde_json::json!([]));
    rig.stop();
}

/// Minutes are no count: only what the sensor says of its memory tells that a record was lost on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensors_record_that_is_lost_on_its_way_is_missed_by_their_number_and_fetched() {
    let manners = Manners { pairing: Some(Method::Shows(1)), bonded: true, loses: Some(45), ..Manners::default() };
    let lossy = sensor(30, manners);
    let Some(mut rig) = Rig::start(vec![lossy.clone()], &[], "").await else { return };
    rig.holds(30).await;
    assert_eq!(requests(&lossy)[..2], [vec![1, 1], vec![1, 3, 1, 0, 0]]);
    assert_eq!(lossy.connects.load(Ordering::SeqCst), 1, "it was fetched in the same connection");
    assert_eq!(rig.device(&lossy)["gaps"], serde_json::json!([]));
    rig.stop();
}

/// It says that it has one more than it sends: that is said, and nothing is made of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensor_that_sends_fewer_than_it_says_is_said() {
    let manners = Manners { pairing: Some(Method::Shows(1)), bonded: true, withholds: 1, ..Manners::default() };
    let sensor = sensor(12, manners);
    let Some(mut rig) = Rig::start(vec![sensor.clone()], &[], "").await else { return };
    rig.holds(12).await;
    rig.until("the gap", |rig| rig.device(&sensor)["gaps"][0]["code"] == "WL-S072").await;
    let text = rig.device(&sensor)["gaps"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("it said that it has 13 records and sent 12"), "{text}");
    rig.stop();
}
