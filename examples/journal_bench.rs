//! What the journal costs: CPU per reading (all threads), memory, bytes on disk.
//!
//! `cargo run --release --example journal_bench -- [READINGS] [GROUP] [DESTINATIONS] [FOLDER]`

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use wardline::clock::{Clock, Stamp};
use wardline::config::JournalSettings;
use wardline::custody::{Creditor, Lane, Outcome, Receipt};
use wardline::journal::{Group, Journal, Key, Vault};
use wardline::reading::{
    Arrival, DeviceId, DeviceTime, Frame, Part, Path, PatientId, Reading, ReadingKey, Redelivery, Taken, TimeMethod,
    Value,
};
use wardline::unit::Unit;
use wardline::vital::{Role, Vital};

const DEVICES: u64 = 50;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u64| args.next().map_or(default, |a| a.parse().unwrap());
    let (readings, group, destinations) = (number(30_000), number(100), number(1));
    let folder = args.next().map_or_else(std::env::temp_dir, Into::into).join("wardline-journal-bench");
    for key in [None, Key::generate().ok()] {
        println!("--- {}", if key.is_some() { "encrypted" } else { "not encrypted" });
        let _ = std::fs::remove_dir_all(&folder);
        bench(&Vault::new(&folder, key), &folder, readings, group, destinations);
    }
}

fn bench(vault: &Vault, folder: &std::path::Path, readings: u64, group: u64, destinations: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let settings = JournalSettings::default();
        let creditors: Vec<Creditor> = (0..destinations)
            .map(|n| Creditor {
                name: format!("centre-{n}").into(),
                readings: true,
                alerts: true,
                evidence: true,
                terms: wardline::consent::Terms::open(),
            })
            .collect();
        let (journal, _) = Journal::open(vault, &settings, &creditors, Clock::system()).unwrap();
        let patient = PatientId::new("Patient/8f2c41d0");
        println!("{readings} readings, groups of {group}, {destinations} destination(s)");

        // Straight through: groups come as fast as they are taken, deliveries go on beside them.
        let mut meter = Meter::default();
        for first in (0..readings).step_by(10_000).filter(|_| std::env::var_os("BENCH_COMMIT_ONLY").is_none()) {
            let count = 10_000.min(readings - first);
            let groups: Vec<_> =
                (0..count.div_ceil(group)).map(|n| arrivals(first + n * group, group, &patient)).collect();
            meter
                .run(async { tokio::join!(keep(&journal, groups), pay_all(&journal, &creditors, Lane::Fresh, count)) })
                .await;
        }
        meter.report("straight through", readings);

        // Kept first, as in an outage; drained after a restart.
        let mut meter = Meter::default();
        for first in (readings..2 * readings).step_by(usize::try_from(group).unwrap()) {
            let group = arrivals(first, group, &patient);
            meter.run(journal.commit(group)).await.unwrap();
        }
        meter.report("commit alone", readings);
        journal.close().await;
        let mut meter = Meter::default();
        let (journal, _) =
            meter.run(async { Journal::open(vault, &settings, &creditors, Clock::system()) }).await.unwrap();
        println!("opening: {:.1} ms CPU", meter.0 as f64 / 1e6);
        let mut meter = Meter::default();
        meter.run(pay_all(&journal, &creditors, Lane::Backlog, readings)).await;
        meter.report("drain after a restart", readings);
        journal.close().await;
    });
    let size = |file: &str| std::fs::metadata(folder.join(file)).map_or(0, |m| m.len());
    println!("file: {:.0} bytes a reading", size("journal.sqlite3") as f64 / (2 * readings) as f64);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS")) {
        println!("{line}");
    }
}

/// Four groups in flight, as the pipeline does.
async fn keep(journal: &Journal, groups: Vec<Arc<Group>>) {
    use futures_util::StreamExt;
    let commits = groups.into_iter().map(|group| journal.commit(group));
    futures_util::stream::iter(commits).buffered(4).for_each(|kept| async { drop(kept.unwrap()) }).await;
}

async fn pay_all(journal: &Journal, creditors: &[Creditor], lane: Lane, readings: u64) {
    for creditor in creditors {
        let mut left = usize::try_from(readings).unwrap();
        let mut changed = journal.changed();
        while left > 0 {
            changed.mark_unchanged();
            let items = journal.lease(&creditor.name, lane, 100).await.unwrap();
            if items.is_empty() {
                changed.changed().await.unwrap();
                continue;
            }
            left -= items.len();
            let outcomes = items.iter().map(|i| (i.id, delivered())).collect();
            journal.settle(&creditor.name, outcomes).await.unwrap();
        }
    }
}

fn delivered() -> Outcome {
    Outcome::Delivered(Receipt { location: "Observation/2f1c9d3a-77aa-4f6e/_history/1".into(), known: false })
}

fn arrivals(first: u64, count: u64, patient: &PatientId) -> Arc<Group> {
    Arc::new(Group { arrivals: (first..first + count).map(|n| arrival(n, patient)).collect(), events: vec![] })
}

fn arrival(n: u64, patient: &PatientId) -> Arrival {
    let received = Stamp { mono_us: n, ..Stamp::at_ms(1_795_341_600_000 + i64::try_from(n / 20).unwrap()) };
    let device = format!("cuff-{}", n % DEVICES);
    let bytes = format!(
        "{{\"device\":\"{device}\",\"time\":\"2026-11-22T16:00:00.{n:06}Z\",\"type\":\"heart-rate\",\"value\":72.5,\"unit\":\"/min\",\"battery\":81,\"id\":{n},\"pad\":\"{:0150}\"}}",
        n
    );
    let mut key = [0; 16];
    for (i, chunk) in key.chunks_mut(8).enumerate() {
        let mut x = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(i as u64);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        chunk.copy_from_slice(&(x ^ (x >> 31)).to_be_bytes());
    }
    let reading = Reading {
        key: ReadingKey(key),
        device: DeviceId(format!("mqtt:{device}").into()),
        profile: "generic-json".into(),
        slot: None,
        patient: Some(patient.clone()),
        vital: Vital::parse("heart-rate").unwrap(),
        parts: vec![Part {
            role: Role::Value,
            value: Value::Number("72.5".parse().unwrap()),
            unit: Unit::parse("/min").unwrap(),
        }],
        sequence: Some(n),
        taken: Taken {
            device: Some(DeviceTime::Instant(received.timestamp())),
            received,
            at_ms: Some(received.wall_ms),
            uncertainty_ms: 1_000,
            method: TimeMethod::DeviceInstant,
        },
        quality: vec![],
        site: None,
        stored: false,
        unassigned: None,
        amendment: None,
        clocks: None,
    };
    let frame = Frame {
        path: Path::Topic(format!("vitals/{device}/heart-rate").into()),
        redelivery: Some(Redelivery { dup: false, packet_id: (n % 65_535) as u16 + 1, connection: 1, count: n }),
        ..Frame::new("home", bytes, received)
    };
    Arrival { frame, undated: false, outcome: Ok(vec![reading]) }
}

/// CPU time of all threads of this process, nanoseconds.
#[derive(Clone, Copy, Default)]
struct Meter(u64);

impl Meter {
    async fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        let before = cpu_ns();
        let result = work.await;
        self.0 += cpu_ns() - before;
        result
    }

    fn report(self, what: &str, readings: u64) {
        println!("{what}: {:.2} µs CPU a reading", self.0 as f64 / 1e3 / readings as f64);
    }
}

fn cpu_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(t.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap()
}
