//! Figures, not bars: how long an advertisement takes to the disk, also beside a flood; what 500 a second cost; what a known
//! device takes in memory. `./dev long radio-figures` runs them with the release build; docs/performance.md has the last ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wardline::lab::device::Tool;

use crate::bluez::{Manners, Peripheral};
use crate::rig::{Rig, peripheral};

/// Scales that only broadcast a weight.
fn scales(n: usize) -> Vec<Arc<Peripheral>> {
    let scale = |i: usize| {
        let address = format!("C0:26:DF:66:{:02X}:{:02X}", i / 256, i % 256);
        let p = Peripheral::with(&address, "Scale", Vec::new(), false, Vec::new(), Manners::default());
        weighs(&p, 5_000 + u16::try_from(i).unwrap());
        p
    };
    (0..n).map(scale).collect()
}

/// Hundredths of a kilogram.
fn weighs(p: &Peripheral, kg_100: u16) {
    *p.broadcast.lock().unwrap() = Some(("FCD2".into(), [&[0x40, 0x06][..], &kg_100.to_le_bytes()].concat()));
}

/// Each scale weighs something new twice a second.
async fn weigh(scales: &[Arc<Peripheral>], seconds: u64, from: u16) {
    let since = Instant::now();
    for step in 0..2 * seconds {
        for (i, p) in scales.iter().enumerate() {
            weighs(p, from + u16::try_from(step).unwrap() * 25 + u16::try_from(i).unwrap());
        }
        tokio::time::sleep((since + Duration::from_millis(500 * (step + 1))).duration_since(Instant::now())).await;
    }
}

/// Milliseconds from an advertisement to the commit of its reading, of all told since `began_ms`, sorted.
fn latencies(rig: &Rig, scales: &[Arc<Peripheral>], began_ms: i64) -> Vec<i64> {
    let mut all = Vec::new();
    for p in scales {
        let id = format!("ble:{}", p.address);
        let rows = rig.gateway.json(&["readings", "--limit", "1000", "--device", &id]);
        let of = |row: &serde_json::Value| row["committed_ms"].as_i64().unwrap();
        let mut committed: Vec<i64> = rows.as_array().unwrap().iter().map(of).collect();
        committed.sort_unstable();
        let told = p.told.lock().unwrap().clone();
        assert_eq!(told.len(), committed.len(), "each weight is a reading: {id}");
        let since = told.iter().zip(committed).filter(|((_, at), _)| *at >= began_ms);
        all.extend(since.map(|((_, at), committed)| committed - at));
    }
    all.sort_unstable();
    all
}

fn said(what: &str, sorted: &[i64]) {
    let of = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    let (half, ten, hundred) = (of(50), of(90), of(99));
    println!("BLE {what}: p50 {half} ms, p90 {ten} ms, p99 {hundred} ms, most {} ms of {}", of(100), sorted.len());
    if std::env::var_os("RADIO_TELL").is_some() {
        println!("{sorted:?}");
    }
}

/// Waits until every weight that was told is a reading.
async fn all_read(rig: &Rig, scales: &[Arc<Peripheral>]) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told: usize = scales.iter().map(|p| p.told.lock().unwrap().len()).sum();
    rig.until("all weights", |rig| {
        rig.gateway.json(&["readings", "--limit", "1000"]).as_array().unwrap().len() >= told.min(1_000)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// First in calm, then beside straps that flood, four at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: ./dev long radio-figures"]
async fn advertisement_to_commit_in_calm_and_beside_a_flood() {
    let scales = scales(20);
    let flood = Manners { floods: Some(1_000), ..Manners::default() };
    let straps: Vec<_> = (0..12).map(|i| peripheral(Tool::HeartStrap, 50 + i, 1, flood.clone()).0).collect();
    straps.iter().for_each(|p| p.awake.store(false, Ordering::SeqCst));
    let all = scales.iter().chain(&straps).cloned().collect();
    let Some(mut rig) = Rig::start(all, &[], "").await else { return };
    all_read(&rig, &scales).await;
    let began = now_ms();
    weigh(&scales, 10, 6_000).await;
    all_read(&rig, &scales).await;
    said("advertisement -> commit, calm", &latencies(&rig, &scales, began));
    let began = now_ms();
    let waves = async {
        for wave in straps.chunks(2) {
            wave.iter().for_each(|p| p.awake.store(true, Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(1_600)).await;
        }
    };
    tokio::join!(weigh(&scales, 10, 9_000), waves);
    all_read(&rig, &scales).await;
    said("advertisement -> commit, beside a flood", &latencies(&rig, &scales, began));
    let values: u64 = straps.iter().map(|p| rig.device(p)["values"].as_u64().unwrap_or(0)).sum();
    let away = straps.iter().filter(|p| rig.why(p) == "WL-S068").count();
    println!("BLE flood: {values} values of {} straps were taken, {away} are left alone", straps.len());
    assert!(values > 1_000, "nothing was flooded");
    rig.stop();
}

/// Twenty known devices and thirty strangers, ten times a second each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: ./dev long radio-figures"]
async fn what_500_advertisements_a_second_cost() {
    let scales = scales(50);
    let strangers: Vec<String> = scales[20..].iter().map(|p| p.address.clone()).collect();
    let strangers: Vec<&str> = strangers.iter().map(String::as_str).collect();
    let Some(mut rig) = Rig::start(scales.clone(), &strangers, "").await else { return };
    let state = rig.bluez.as_ref().unwrap().state.clone();
    rig.until("a voice", |rig| !rig.gateway.json(&["status"])["radio"]["heard_ms"].is_null()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let heard = || state.heard.load(Ordering::SeqCst);
    for (what, deaf) in [("quiet", true), ("advertisements", false)] {
        state.deaf.store(deaf, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (cpu, since, before) = (rig.gateway.cpu(), Instant::now(), heard());
        // Below the silence that is healed.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (spent, wall) = (rig.gateway.cpu() - cpu, since.elapsed().as_secs_f64());
        let rate = (heard() - before) as f64 / wall;
        println!("BLE {what}: {rate:.0}/s, {:.2} % of one core", 100.0 * spent.as_secs_f64() / wall);
    }
    rig.stop();
}

/// Each is heard once a second for half a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: ./dev long radio-figures"]
async fn what_a_known_device_takes_in_memory() {
    let mut resident = BTreeMap::new();
    for n in [0, 20, 200] {
        let Some(mut rig) = Rig::start(scales(n), &[], "").await else { return };
        rig.bluez.as_ref().unwrap().state.every_ms.store(1_000, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(20)).await;
        let heard = rig.gateway.json(&["status"])["radio"]["devices"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| !d["seen_ms"].is_null())
            .count();
        assert_eq!(heard, n, "each is heard");
        resident.insert(n, rig.gateway.resident());
        rig.stop();
    }
    let each = (resident[&200] as f64 - resident[&0] as f64) / 200.0;
    println!(
        "BLE resident: {} KiB with 0, {} KiB with 20, {} KiB with 200 known: {each:.1} KiB each",
        resident[&0], resident[&20], resident[&200]
    );
}
