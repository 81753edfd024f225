//! What devices measured is at the endpoint exactly once, whatever the link did.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wardline::lab::device::{COMMON, Mishap, Tool, Use};
use wardline::lab::peripheral::{SENSOR, sensed};

use crate::bluez::{Manners, Peripheral};
use crate::rig::{Rig, address, measured, peripheral};

fn bonded() -> Manners {
    Manners { bonded: true, ..Manners::default() }
}

/// A sensor of continuous glucose with so many records.
fn sensor(records: u32) -> (Arc<Peripheral>, usize) {
    let gatt = SENSOR.iter().chain(&COMMON).copied().collect();
    let values: Vec<_> = sensed(1, records).into_iter().map(|(uuid, octets, _)| (uuid, octets)).collect();
    let readings = values.len();
    (Peripheral::with("C0:26:DF:07:00:01", "Lab Sensor", gatt, true, values, bonded()), readings)
}

/// For which records the control point was asked.
fn requests(p: &Peripheral) -> Vec<Vec<u8>> {
    p.written.lock().unwrap().iter().filter(|(uuid, b)| uuid == "2A52" && b[0] == 1).map(|(_, b)| b.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_device_is_read_once() {
    let kinds = [Tool::Cuff, Tool::Thermometer, Tool::Oximeter, Tool::Scale, Tool::HeartStrap];
    let mut all: Vec<_> = kinds.iter().map(|tool| peripheral(*tool, 1, 3, Manners::default())).collect();
    all.push(peripheral(Tool::Glucometer, 1, 40, bonded()));
    all.push(sensor(30));
    let readings = all.iter().map(|(_, n)| n).sum();
    let Some(mut rig) = Rig::start(all.into_iter().map(|(p, _)| p).collect(), &[], "").await else { return };
    rig.holds(readings).await;
    let cuff = &rig.peripherals[0];
    rig.until("its battery", |rig| rig.device(cuff)["battery"] == 87).await;
    let device = rig.device(cuff);
    assert_eq!((&device["model"], &device["rssi"]), (&"Lab".into(), &(-60).into()), "{device}");
    let (text, ..) = rig.gateway.cli(&["status"]);
    assert!(text.contains("Bluetooth: hci0, last heard") && text.contains("87 %"), "{text}");
    // Its clock was asked before it was set, and set because it was wrong.
    let done = cuff.done.lock().unwrap().clone();
    let at = |what: &str| done.iter().position(|d| d == what).unwrap_or_else(|| panic!("{what}: {done:?}"));
    assert!(at("read 2A2B") < at("write 2A2B"), "{done:?}");
    assert!(device["clock_ahead_s"].as_i64().unwrap() < -1_000_000, "{device}");
    rig.stop();
}

/// Its clock says the first midnight of 2026, and its value is of an hour before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_wrong_clock_dated_is_dated_by_both_clocks() {
    let (cuff, readings) = crate::clocks::of_the_last_year("2025-12-31T23:00:00");
    let Some(mut rig) = Rig::start(vec![cuff], &[], "").await else { return };
    rig.holds(readings).await;
    let now = jiff::Timestamp::now().as_millisecond();
    for row in rig.gateway.json(&["readings"]).as_array().unwrap() {
        let taken = &row["reading"]["taken"];
        assert_eq!(taken["method"], "device-corrected", "{row}");
        let ago = now - taken["at_ms"].as_i64().unwrap();
        assert!((3_590_000..3_720_000).contains(&ago), "an hour, and what the test took: {ago} {row}");
        assert_eq!(
            (&row["reading"]["clocks"]["device"], &row["reading"]["clocks"]["offset_min"]),
            (&"2026-01-01T00:00:00".into(), &0.into())
        );
        // It is the first visit: it could be of a setting that nobody saw.
        assert!(row["reading"]["quality"].as_array().unwrap().contains(&"time-doubtful".into()), "{row}");
    }
    rig.stop();
}

/// bluetoothd has confirmed to the device what we have not seen yet: the first value comes before the answer to the
/// subscription, the last of a link behind the news that it is gone. Such a device says nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_beside_the_beginning_and_the_end_of_a_link_is_kept() {
    let manners = || Manners { hasty: true, hangs_up_after: Some(3), ..Manners::default() };
    let (thermometer, a) = peripheral(Tool::Thermometer, 1, 9, manners());
    let (cuff, b) = peripheral(Tool::Cuff, 1, 9, manners());
    let all = vec![thermometer.clone(), cuff.clone()];
    let Some(mut rig) = Rig::start(all, &[], "").await else { return };
    rig.holds(a + b).await;
    let belated = |p: &Peripheral| p.belated.load(Ordering::SeqCst);
    assert_eq!((belated(&thermometer), belated(&cuff)), (3, 3));
    rig.stop();
}

/// The link breaks after every 17th record; then the process is killed in mid-history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_is_interrupted_is_there_once_and_goes_on_where_it_stood() {
    let (meter, readings) = peripheral(Tool::Glucometer, 1, 120, Manners { hangs_up_after: Some(17), ..bonded() });
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.until("a break", |_| meter.connects.load(Ordering::SeqCst) >= 2).await;
    meter.manners.lock().unwrap().hangs_up_after = Some(33);
    rig.until("another break", |_| meter.connects.load(Ordering::SeqCst) >= 3).await;
    rig.gateway.kill();
    rig.gateway.start();
    rig.holds(readings).await;
    let asked = requests(&meter);
    assert_eq!(asked[0], [1, 1]);
    assert!(asked[1..].iter().any(|r| r.len() == 5 && r[3] > 1), "from where it stood: {asked:?}");
    // What is new afterwards comes with the record under the cursor, which is known.
    let (more, readings) = measured(Tool::Glucometer, 1, 125, Mishap::None);
    *meter.values.lock().unwrap() = more;
    rig.holds(readings).await;
    let verified = rig.gateway.json(&["custody", "verify"]);
    assert_eq!(verified["readings"], readings, "{verified}");
    rig.stop();
}

/// The process is killed while a device tells its memory, and BlueZ keeps the link: what is still on its way, and the end of it,
/// are not taken for the answer to what the next process asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_that_a_killed_process_asked_for_is_not_mistaken_for_ours() {
    let slowly = Manners { pace: Duration::from_millis(25), ..bonded() };
    let (meter, readings) = peripheral(Tool::Glucometer, 1, 160, slowly);
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.until("a request", |_| !requests(&meter).is_empty()).await;
    // More than half, so that the rest of it ends before ours has come to what is missing.
    tokio::time::sleep(Duration::from_millis(2_600)).await;
    rig.gateway.kill();
    // Some are told to nobody, and where it stood was not written yet.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let _ = std::fs::remove_file(rig.gateway.path("state/bluetooth.json"));
    rig.gateway.start();
    rig.holds(readings).await;
    rig.stop();
}

/// The journal is begun anew, and what is remembered of the devices stays: it is not believed, and everything is fetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_journal_gets_the_whole_memory_again() {
    let (meter, readings) = peripheral(Tool::Glucometer, 1, 20, bonded());
    let Some(mut rig) = Rig::start(vec![meter.clone()], &[], "").await else { return };
    rig.holds(readings).await;
    let remembered = || std::fs::read_to_string(rig.gateway.path("state/bluetooth.json")).unwrap_or_default();
    rig.until("its place", |_| remembered().contains("\"sequence\":20")).await;
    // With the old journal it goes on where it stood.
    let before = requests(&meter).len();
    rig.stop();
    rig.gateway.start();
    rig.until("a request", |_| requests(&meter).len() > before).await;
    assert_eq!(requests(&meter)[before], [1, 3, 1, 20, 0]);
    rig.stop();
    for file in std::fs::read_dir(rig.gateway.path("state")).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() && file.file_name().unwrap() != "bluetooth.json" {
            std::fs::remove_file(file).unwrap();
        }
    }
    let before = requests(&meter).len();
    rig.gateway.start();
    rig.until("the whole of it", |rig| rig.gateway.json(&["custody", "verify"])["readings"] == readings).await;
    assert_eq!(requests(&meter)[before], [1, 1]);
    rig.holds(readings).await;
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_short_is_kept_as_a_reject_and_the_whole_one_follows() {
    let kinds = [Tool::Cuff, Tool::Thermometer, Tool::Oximeter];
    let (mut all, mut readings) = (Vec::new(), 0);
    for tool in kinds {
        let (mut values, n) = measured(tool, 1, 2, Mishap::Short);
        // Nothing, and more than ATT can carry.
        values.insert(0, (values[0].0.clone(), Vec::new()));
        values.insert(1, (values[0].0.clone(), vec![0xff; 600]));
        readings += n;
        all.push(Peripheral::new(tool, &address(tool, 1), values, Manners::default()));
    }
    let Some(mut rig) = Rig::start(all, &[], "").await else { return };
    rig.holds(readings).await;
    rig.until("the rejects", |rig| rig.gateway.cli(&["inbox"]).0.contains("WL-D")).await;
    rig.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_without_what_its_profile_needs_is_said_and_holds_up_nobody() {
    let gatt = vec![("1810", "2A49", Use::Read), COMMON[0]];
    let odd = Peripheral::with("C0:26:DF:77:00:01", "Odd cuff", gatt, false, Vec::new(), Manners::default());
    let bare = peripheral(Tool::Thermometer, 7, 1, Manners { bare: true, ..Manners::default() }).0;
    let foreign = Peripheral::with("C0:26:DF:77:00:02", "Lamp", vec![COMMON[0]], false, Vec::new(), Manners::default());
    let (cuff, readings) = peripheral(Tool::Cuff, 1, 2, Manners::default());
    let all = vec![odd.clone(), bare.clone(), foreign.clone(), cuff];
    let Some(mut rig) = Rig::start(all, &[], "").await else { return };
    rig.holds(readings).await;
    rig.until("what is missing", |rig| rig.why(&odd) == "WL-S062").await;
    rig.until("no service", |rig| rig.why(&bare) == "WL-S060").await;
    rig.until("no profile", |rig| rig.why(&foreign) == "WL-S069").await;
    rig.stop();
}

/// Twenty devices and three places; one device in the street is nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_devices_take_turns_and_a_stranger_is_never_connected_to() {
    let kinds = [Tool::Cuff, Tool::Thermometer, Tool::Oximeter, Tool::Scale];
    let (mut all, mut readings) = (Vec::new(), 0);
    for i in 0..20 {
        let manners = Manners { hangs_up: i % 2 == 0, ..Manners::default() };
        let (p, n) = peripheral(kinds[i as usize % 4], 10 + i, 2, manners);
        all.push(p);
        readings += n;
    }
    let (stranger, _) = peripheral(Tool::Cuff, 99, 2, Manners::default());
    all.push(stranger.clone());
    let Some(mut rig) = Rig::start(all, &[&stranger.address], "max_connected = 3").await else { return };
    rig.holds(readings).await;
    assert_eq!(stranger.connects.load(Ordering::SeqCst), 0);
    assert!(rig.files() < 60, "{} open files after {} connections", rig.files(), rig.peripherals.len());
    let most = rig.bluez.as_ref().unwrap().state.connected_most.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} connected at once");
    rig.stop();
}

/// Resident memory of a process, KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_floods_is_left_alone_and_others_do_not_notice() {
    let (hostile, _) = peripheral(Tool::HeartStrap, 50, 1, Manners { floods: Some(1_000), ..Manners::default() });
    let (meter, a) = peripheral(Tool::Glucometer, 1, 30, bonded());
    let (cuff, b) = peripheral(Tool::Cuff, 1, 3, Manners::default());
    let late = [meter.clone(), cuff.clone()];
    late.iter().for_each(|p| p.awake.store(false, Ordering::SeqCst));
    let Some(mut rig) = Rig::start(vec![hostile.clone(), meter, cuff], &[], "").await else { return };
    rig.until("the flood", |_| hostile.connects.load(Ordering::SeqCst) > 0).await;
    let before = resident(rig.gateway.pid());
    late.iter().for_each(|p| p.awake.store(true, Ordering::SeqCst));
    rig.until("the quarantine", |rig| rig.why(&hostile) == "WL-S068").await;
    let of = |rig: &Rig, p: &Peripheral| rig.device(p)["values"].as_u64().unwrap_or(0);
    rig.until("the others", |rig| of(rig, &late[0]) >= a as u64 && of(rig, &late[1]) >= b as u64 / 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(hostile.connects.load(Ordering::SeqCst), 1, "it is not connected to again");
    let values = of(&rig, &hostile);
    assert!(values <= 1_600, "{values} values were taken from it");
    let grown = resident(rig.gateway.pid()).saturating_sub(before);
    assert!(grown < 24 * 1_024, "memory grew by {grown} KiB");
    rig.until("every delivery", |rig| rig.gateway.json(&["outbox"])[0]["waiting"] == 0).await;
    assert_eq!(rig.endpoint.counts().duplicates, 0);
    rig.stop();
}

/// Scales that only broadcast, ten times a second: read without a connection, each weighing once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_are_read_without_connecting() {
    let none = || Manners::default();
    let bthome = Peripheral::with("C0:26:DF:77:00:03", "Scale", Vec::new(), false, Vec::new(), none());
    let mi = Peripheral::with("C0:26:DF:77:00:04", "MI_SCALE", Vec::new(), false, Vec::new(), none());
    let stranger = Peripheral::with("C0:26:DF:77:00:05", "Scale", Vec::new(), false, Vec::new(), none());
    let mass = |kg_100: u16| Some(("FCD2".to_owned(), [&[0x40, 0x06][..], &kg_100.to_le_bytes()].concat()));
    *bthome.broadcast.lock().unwrap() = mass(8_690);
    *stranger.broadcast.lock().unwrap() = mass(9_000);
    let stable = vec![0x22, 0x20, 0x44, 0xea, 0x07, 0x0b, 0x16, 0x0a, 0, 0];
    *mi.broadcast.lock().unwrap() = Some(("181D".to_owned(), stable));
    let all = vec![bthome.clone(), mi.clone(), stranger.clone()];
    let Some(mut rig) = Rig::start(all, &[&stranger.address], "").await else { return };
    rig.holds(2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.holds(2).await;
    *bthome.broadcast.lock().unwrap() = mass(8_700);
    rig.holds(3).await;
    for p in [bthome, mi, stranger] {
        assert_eq!(p.connects.load(Ordering::SeqCst), 0, "{}", p.name);
    }
    rig.stop();
}

/// A strap of 24 values: alert rules see each, the centre gets means with their period, and the end of the process ends one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_delivered_as_means_and_no_value_is_missing_in_them() {
    let (strap, values) = peripheral(Tool::HeartStrap, 1, 24, Manners::default());
    let Some(mut rig) = Rig::start(vec![strap.clone()], &[], "stream_period_s = 60").await else { return };
    rig.until("all its values", |rig| rig.device(&strap)["values"].as_u64().unwrap_or(0) >= values as u64).await;
    rig.until("the mean", |rig| rig.endpoint.counts().observations >= 1).await;
    rig.stop();
    rig.gateway.start();
    rig.until("every delivery", |rig| rig.gateway.json(&["outbox"])[0]["waiting"] == 0).await;
    let (mut counted, mut means) = (0, 0);
    for body in rig.endpoint.bodies("Observation") {
        let o: serde_json::Value = serde_json::from_str(&body).unwrap();
        let component = |code: &str| {
            let all = o["component"].as_array().into_iter().flatten();
            all.clone()
                .find(|c| c["code"]["coding"][0]["code"] == code)
                .map(|c| c["valueQuantity"]["value"].as_f64().unwrap())
        };
        counted += component("count").map_or(1, |n| n as usize);
        let Some((least, most)) = component("minimum").zip(component("maximum")) else { continue };
        let mean = o["valueQuantity"]["value"].as_f64().unwrap();
        assert!(least <= mean && mean <= most && o["effectivePeriod"]["start"].is_string(), "{o}");
        means += 1;
    }
    assert!(counted >= values && means >= 1 && means < values / 2, "{counted} of {values} in {means} means");
    rig.stop();
}
