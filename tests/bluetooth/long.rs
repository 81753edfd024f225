//! D12 for the radio: a thousand connections and more, with faults between them, in real time against the fake; 1,440 stand for
//! 72 hours of a house with 20 devices that connect once an hour each. File descriptors and memory must not creep.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wardline::lab::device::{Mishap, Tool};

use crate::bluez::{Bluez, Leak, Manners, Peripheral};
use crate::rig::{Rig, measured, peripheral};

const DEVICES: u32 = 20;
const KINDS: [Tool; 5] = [Tool::Cuff, Tool::Thermometer, Tool::Oximeter, Tool::Scale, Tool::Glucometer];

fn kind(i: u32) -> Tool {
    KINDS[i as usize % KINDS.len()]
}

/// What goes wrong in this minute; all of it is healed by the gateway alone.
async fn fault(rig: &mut Rig, minute: u64) {
    let state = rig.bluez.as_ref().unwrap().state.clone();
    let p = rig.peripherals[minute as usize % rig.peripherals.len()].clone();
    match minute % 6 {
        0 => rig.bluez.as_ref().unwrap().end_scan().await,
        1 => {
            rig.bluez.take().unwrap().kill().await;
            rig.bluez = Some(Bluez::start(&rig.bus, &rig.peripherals).await);
        }
        2 => p.manners.lock().unwrap().leak = Leak::Link,
        3 => {
            rig.bluez.as_ref().unwrap().unplug().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            rig.bluez.as_ref().unwrap().plug().await;
        }
        4 => p.manners.lock().unwrap().leak = Leak::Connect,
        _ => {
            state.powered.store(false, Ordering::SeqCst);
            rig.bluez.as_ref().unwrap().end_scan().await;
        }
    }
}

fn connects(rig: &Rig) -> usize {
    rig.peripherals.iter().map(|p| p.connects.load(Ordering::SeqCst)).sum()
}

/// Everybody has measured `n` times by now; answers with how many readings that makes.
fn measure(all: &[Arc<Peripheral>], n: u32) -> usize {
    (0..DEVICES)
        .zip(all)
        .map(|(i, p)| {
            let (values, readings) = measured(kind(i), 10 + i, n, Mishap::None);
            *p.values.lock().unwrap() = values;
            readings
        })
        .sum()
}

/// `RADIO_SECONDS=900`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: ./dev long radio"]
async fn hours_of_connections_and_faults_lose_nothing_and_nothing_creeps() {
    let seconds = std::env::var("RADIO_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(900);
    let manners = |i: u32| Manners {
        bonded: kind(i) == Tool::Glucometer,
        hangs_up_after: i.is_multiple_of(3).then_some(3),
        ..Manners::default()
    };
    let all: Vec<_> = (0..DEVICES).map(|i| peripheral(kind(i), 10 + i, 1, manners(i)).0).collect();
    let Some(mut rig) = Rig::start(all, &[], "").await else { return };
    let (since, mut samples, mut next, mut n) = (Instant::now(), Vec::new(), 0, 1);
    let mut owed = 0;
    while since.elapsed().as_secs() < seconds {
        let minute = since.elapsed().as_secs() / 30;
        if minute >= next {
            fault(&mut rig, next).await;
            (next, n) = (minute + 1, n + 1);
            owed = measure(&rig.peripherals, n);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        // The first third fills what is kept of devices.
        if since.elapsed().as_secs() * 3 > seconds {
            samples.push((rig.gateway.resident(), rig.gateway.descriptors()));
        }
    }
    rig.until("the rest", |rig| rig.endpoint.counts().observations == owed as u64).await;
    let counts = rig.endpoint.counts();
    let quarter = samples.len() / 4;
    let most =
        |part: &[(u64, usize)]| (part.iter().map(|s| s.0).max().unwrap(), part.iter().map(|s| s.1).max().unwrap());
    let (first, last) = (most(&samples[..quarter]), most(&samples[samples.len() - quarter..]));
    let growth = 100.0 * (last.0 as f64 / first.0 as f64 - 1.0);
    println!(
        "BLE {seconds} s: {} connections, {next} faults, {owed} readings owed, {} doubles; resident {} -> {} KiB ({growth:+.1} %), \
         file descriptors {} -> {}",
        connects(&rig),
        counts.duplicates,
        first.0,
        last.0,
        first.1,
        last.1
    );
    assert_eq!(counts.duplicates, 0);
    assert!(growth < 10.0 && last.1 <= first.1 + 8, "it creeps");
    rig.stop();
}
