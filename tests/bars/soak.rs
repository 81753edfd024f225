//! D12: hours at a low rate with a fault every few seconds. What is owed arrives once, and nothing creeps: memory, file
//! descriptors, the WAL, the time that a reading takes. Ignored in normal runs; `./dev long soak SECONDS`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use wardline::lab::endpoint::{Endpoint, Manners, Outage, Settings};
use wardline::lab::tally::Difference;

use super::support::broker::{Broker, Door};
use super::support::device::Device;
use super::support::gateway::Gateway;
use super::support::obligations::Book;
use super::support::toxic::{Luck, Toxic};
use super::{PATIENCE, asked, port_of, settings, until_within};

/// Fills every cache of the gateway, so that what grows afterwards is a leak.
const WARM_UP: u64 = 25_000;
const PER_SECOND: u64 = 10;
/// Each minute the same: half of it calm, then one fault after another.
const ROUND: u64 = 60;
const CALM: std::ops::Range<u64> = 12..30;
/// The most that the WAL may have, octets.
const WAL_MAX: u64 = 16 * 1_024 * 1_024;

/// Everything between devices and Observations.
struct Stage {
    broker: Broker,
    endpoint: Endpoint,
    to_broker: Toxic,
    to_centre: Toxic,
    gateway: Gateway,
    device: Device,
    book: Book,
    next: u64,
}

/// One look at the gateway.
struct Sample {
    second: u64,
    resident: u64,
    descriptors: usize,
    wal: u64,
    /// How long readings took, milliseconds, the 99th of a hundred.
    p99: Option<u32>,
}

impl Stage {
    async fn start() -> Option<Self> {
        let broker = Broker::start(&Door::Open, "max_queued_messages 0\nmax_inflight_messages 100")?;
        let endpoint = Endpoint::start(Settings::default()).unwrap();
        let (to_broker, to_centre) = (Toxic::start(broker.port).await, Toxic::start(port_of(&endpoint.url())).await);
        let book = Book::new(20);
        let beat =
            "[[patient]]\nreference = \"Patient/beat\"\n[[device]]\nid = \"mqtt:beat\"\npatient = \"Patient/beat\"\n";
        let url = format!("http://127.0.0.1:{}/fhir", to_centre.port);
        let mut gateway = Gateway::new(&format!("{}{beat}", settings(&book, to_broker.port, &url, "timeout_s = 3")));
        gateway.start();
        let device = Device::connect(broker.device_port);
        Some(Self { broker, endpoint, to_broker, to_centre, gateway, device, book, next: 0 })
    }

    /// Hands out so many readings; what a broker that goes down does not acknowledge is handed out again.
    async fn publish(&mut self, n: u64) {
        let numbers = self.next..self.next + n;
        while !self.book.publish(&self.device, numbers.clone()).await {
            self.device = Device::connect(self.broker.device_port);
        }
        self.next += n;
    }

    /// What happens at this second of a round.
    fn fault(&mut self, second: u64) {
        let manners = |m: Manners| self.endpoint.behave(m);
        match second {
            30 => {
                self.to_centre.order(Luck::Lossy(0.9));
                self.to_centre.cut();
            }
            34 => self.to_centre.order(Luck::Silent),
            39 => self.to_centre.order(Luck::Good),
            40 => manners(Manners { fail_rate: 0.5, lost_rate: 0.3, truncate_rate: 0.1, ..Manners::default() }),
            44 => manners(Manners { outage: Outage::Refuse, ..Manners::default() }),
            48 => manners(Manners::default()),
            49 => self.to_broker.cut(),
            51 => {
                self.broker.stop();
                self.broker.restart();
            }
            53 => self.to_broker.order(Luck::Trickle(100)),
            56 => self.to_broker.order(Luck::Good),
            _ => {}
        }
    }

    fn look(&self, second: u64) -> Sample {
        let wal = std::fs::metadata(self.gateway.path("state/journal.sqlite3-wal")).map_or(0, |m| m.len());
        // Readings of the book are weeks old; those of the beat are of now.
        let mut ages: Vec<u32> = self.endpoint.take_ages().into_iter().filter(|ms| *ms < 3_600_000).collect();
        ages.sort_unstable();
        let p99 = ages.get(ages.len().saturating_sub(1) * 99 / 100).copied();
        let (resident, descriptors) = (self.gateway.resident(), self.gateway.descriptors());
        Sample { second, resident, descriptors, wal, p99 }
    }
}

fn median<T: Ord + Copy>(samples: &[Sample], of: impl Fn(&Sample) -> Option<T>) -> T {
    let mut values: Vec<T> = samples.iter().filter_map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// `SOAK_SECONDS=28800` for eight hours; samples go to `SOAK_FILE`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: ./dev long soak"]
async fn hours_of_faults_lose_nothing_and_nothing_creeps() {
    let Some(mut stage) = Stage::start().await else { return };
    let seconds = asked("SOAK_SECONDS", 600);
    assert!(seconds >= 4 * ROUND, "some rounds are needed to see anything");
    stage.publish(WARM_UP).await;
    until_within(3 * PATIENCE, "the warm-up", || stage.endpoint.counts().observations >= WARM_UP).await;
    let _ = stage.endpoint.take_ages();
    let (since, mut calm, mut table) = (Instant::now(), vec![], String::from("second,rss_kib,fds,wal,p99_ms\n"));
    let mut wal = 0;
    for second in 0..seconds {
        stage.fault(second % ROUND);
        stage.publish(PER_SECOND).await;
        let beat = format!("{{\"id\":{second},\"time\":\"{}\",\"heart_rate\":70}}", jiff::Timestamp::now());
        stage.device.offer(vec![("vitals/beat".into(), beat)]).await;
        if second % ROUND == CALM.start {
            let _ = stage.endpoint.take_ages();
        }
        let quiet = second % ROUND == CALM.end - 1;
        if quiet || second % 10 == 0 {
            let sample = stage.look(second);
            wal = wal.max(sample.wal);
            let (s, p99) = (&sample, sample.p99.filter(|_| quiet).map_or(String::new(), |ms| ms.to_string()));
            writeln!(table, "{},{},{},{},{p99}", s.second, s.resident, s.descriptors, s.wal).unwrap();
            if quiet {
                calm.push(sample);
            }
            if let Some(file) = std::env::var_os("SOAK_FILE") {
                std::fs::write(file, &table).unwrap();
            }
        }
        tokio::time::sleep((since + Duration::from_secs(second + 1)).saturating_duration_since(Instant::now())).await;
    }
    // Whatever was bad ends.
    for end_of_fault in [39, 48, 56] {
        stage.fault(end_of_fault);
    }
    judge(&stage, &calm, wal, seconds).await;
    assert_eq!(stage.gateway.stop(), Some(0), "{}", stage.gateway.log());
}

async fn judge(stage: &Stage, calm: &[Sample], wal: u64, seconds: u64) {
    let (book, endpoint) = (&stage.book, &stage.endpoint);
    let missing = || book.tally().compare(&endpoint.tally()).missing;
    until_within(3 * PATIENCE, "delivery of what is owed", || missing() == 0).await;
    let found = book.tally().compare(&endpoint.tally());
    let beats = endpoint.tally().count("Patient/beat", "8867-4");
    assert_eq!(found, Difference { surplus: beats, ..Difference::default() }, "the beat is not in the book");
    assert_eq!(endpoint.counts().duplicates, 0);
    let (said, creeping) = creeps(calm, wal, seconds);
    println!("D12 {seconds} s with faults: {} readings owed, {said}", book.owed());
    assert_eq!(creeping, [""; 0], "{said}");
}

/// Compares the first quarter of the calm samples with the last: the figures, and what creeps.
fn creeps(calm: &[Sample], wal: u64, seconds: u64) -> (String, Vec<&'static str>) {
    let quarter = calm.len().div_ceil(4);
    let (first, last) = (&calm[..quarter], &calm[calm.len() - quarter..]);
    let resident = [first, last].map(|s| median(s, |s| Some(s.resident)));
    let descriptors = [first, last].map(|s| median(s, |s| Some(s.descriptors)));
    let p99 = [first, last].map(|s| median(s, |s| s.p99));
    let growth = 100.0 * (resident[1] as f64 / resident[0] as f64 - 1.0);
    let said = format!(
        "resident {} -> {} KiB ({growth:+.1} %), file descriptors {} -> {}, WAL at most {:.1} MiB, p99 in calm {} -> {} ms",
        resident[0],
        resident[1],
        descriptors[0],
        descriptors[1],
        wal as f64 / 1_048_576.0,
        p99[0],
        p99[1],
    );
    // The bar is for hours; minutes tell a leak from nothing else.
    let allowed = if seconds >= 3_600 { 2.0 } else { 10.0 };
    let found = [
        ("memory", growth > allowed),
        ("file descriptors", descriptors[1] > descriptors[0] + 1),
        ("WAL", wal > WAL_MAX),
        ("time", p99[1] > 2 * p99[0] + 100),
    ];
    (said, found.into_iter().filter(|(_, creeps)| *creeps).map(|(what, _)| what).collect())
}

/// The test of the test.
#[test]
fn what_creeps_is_seen() {
    let calm = |grows: fn(u64, &mut Sample)| -> Vec<Sample> {
        let sample = |n| {
            let mut s = Sample { second: n, resident: 30_000, descriptors: 20, wal: 0, p99: Some(100) };
            grows(n, &mut s);
            s
        };
        (0..60).map(sample).collect()
    };
    let found = |grows, wal| creeps(&calm(grows), wal, 3_600).1;
    assert_eq!(found(|_, _| {}, WAL_MAX), [""; 0]);
    // 20 KiB a minute.
    assert_eq!(found(|n, s| s.resident += n * 20, 0), ["memory"]);
    assert_eq!(found(|n, s| s.descriptors += n as usize / 10, 0), ["file descriptors"]);
    assert_eq!(found(|n, s| s.p99 = Some(100 + n as u32 * 20), 0), ["time"]);
    assert_eq!(found(|_, _| {}, WAL_MAX + 1), ["WAL"]);
}
