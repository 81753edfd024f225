//! The figures of docs/performance.md: the built binary between a real mosquitto and an HTTPS endpoint that counts.
//!
//! `cargo bench --bench gateway [-- SCENARIO…]`; `WARDLINE_REFERENCE=PROGRAM[:PROGRAM…]` measures those in the same run
//! (`benches/peers` has one).
//! CPU is user + system time of the process, from /proc; the machine's load is printed beside each figure.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures by itself")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Broker as Address, MqttOptions, PublishOptions, QoS};
use wardline::lab::endpoint::{Endpoint, Manners, Outage, Settings};

#[path = "../tests/support/mod.rs"]
mod support;

use support::broker::{Broker, Door};
use support::gateway::{Gateway, http_over_unix};

const DEVICES: u64 = 50;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wants = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_wardline")).unwrap().len();
    say("binary", &[("mib", binary as f64 / 1_048_576.0)]);
    for (name, scenario) in [
        ("idle", idle as fn(&mut Bench)),
        ("start", start),
        ("burst", burst),
        ("trickle", trickle),
        ("latency", latency),
        ("outage", outage),
    ] {
        if wants(name) {
            let mut bench = Bench::new(&runtime, name);
            scenario(&mut bench);
        }
    }
    if wants("million") && !chosen.is_empty() {
        million(&mut Bench::new(&runtime, "million"));
    }
    if wants("overhead") && !chosen.is_empty() {
        overhead(&runtime);
    }
    for program in std::env::var("WARDLINE_REFERENCE").iter().flat_map(|all| all.split(':')) {
        reference(&mut Bench::new(&runtime, "reference"), program);
    }
}

/// A broker, an endpoint, and a gateway between them.
struct Bench<'a> {
    runtime: &'a tokio::runtime::Runtime,
    broker: Broker,
    endpoint: Endpoint,
    gateway: Gateway,
    sent: u64,
}

impl<'a> Bench<'a> {
    fn new(runtime: &'a tokio::runtime::Runtime, name: &str) -> Self {
        Self::with(runtime, name, "")
    }

    fn with(runtime: &'a tokio::runtime::Runtime, name: &str, more: &str) -> Self {
        let extra = "max_queued_messages 0\nmax_inflight_messages 200\nmax_queued_bytes 0";
        let broker = Broker::start(&Door::Open, extra).expect("mosquitto is needed");
        let folder = std::env::temp_dir().join(format!("wardline-bench-{}-{name}.pem", std::process::id()));
        let settings = Settings { tls: true, ca_file: Some(folder.clone()), ..Settings::default() };
        let endpoint = Endpoint::start(settings).unwrap();
        let gateway = Gateway::new(&configuration(&broker, &endpoint.url(), &folder, more));
        Self { runtime, broker, endpoint, gateway, sent: 0 }
    }

    fn held(&self) -> u64 {
        self.endpoint.counts().observations
    }

    /// Publishes `n` readings, `rate` a second (0: as fast as the broker takes them), and waits for the last PUBACK.
    fn publish(&mut self, n: u64, rate: f64) {
        let first = self.sent;
        self.sent += n;
        self.runtime.block_on(publish(self.broker.device_port, first, n, rate));
    }

    fn until_held(&self, n: u64) {
        let since = Instant::now();
        while self.held() < n {
            assert!(since.elapsed() < Duration::from_secs(600), "{} of {n} arrived", self.held());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn cpu(&self) -> f64 {
        cpu_s(self.gateway.pid())
    }
}

fn configuration(broker: &Broker, url: &str, ca_file: &Path, more: &str) -> String {
    let mut text = format!(
        "{more}[[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\nidempotency = \"conditional-create\"\nconsent = \"enrolment\"\n\
         ca_file = \"{}\"\n",
        broker.port,
        ca_file.display()
    );
    for d in 0..DEVICES {
        text += &format!("[[patient]]\nreference = \"Patient/p-{d:04}\"\n");
        text += &format!("[[device]]\nid = \"mqtt:dev-{d:04}\"\npatient = \"Patient/p-{d:04}\"\n");
    }
    text
}

/// About 280 octets, one heart rate; each 1,000th is beyond a limit.
fn payload(n: u64) -> String {
    let now = jiff::Timestamp::now();
    let rate = if n % 1_000 == 999 { 185 } else { 60 + n % 40 };
    format!(
        "{{\"device\":\"dev-{:04}\",\"seq\":{n},\"sent_us\":{},\"patient\":\"Patient/p-{:04}\",\"code\":\"8867-4\",\
         \"display\":\"Heart rate\",\"value\":{rate}.{},\"unit\":\"beats/minute\",\"ucum\":\"/min\",\"ts\":\"{now:.3}\",\
         \"battery\":{},\"rssi\":-{},\"fw\":\"1.4.2\",\"status\":\"final\",\"posture\":\"sitting\"}}",
        n % DEVICES,
        now.as_microsecond(),
        n % DEVICES,
        n % 10,
        20 + n % 80,
        40 + n % 50
    )
}

async fn publish(port: u16, first: u64, n: u64, rate: f64) {
    let mut options = MqttOptions::new(format!("load-{first}"), Address::tcp("127.0.0.1", port));
    options.set_max_request_batch(64);
    let (client, mut events) = AsyncClient::builder(options).capacity(1_000).build();
    let driver = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let started = Instant::now();
    let mut notices = Vec::new();
    for i in 0..n {
        if rate > 0.0 {
            tokio::time::sleep_until((started + Duration::from_secs_f64(i as f64 / rate)).into()).await;
        }
        let (topic, body) = (format!("devices/dev-{:04}/vitals", (first + i) % DEVICES), payload(first + i));
        let sent = client.publish_tracked(topic, body, PublishOptions::new(QoS::AtLeastOnce)).await.unwrap();
        notices.push(sent);
        if notices.len() >= 1_000 {
            for notice in notices.drain(..) {
                notice.wait_completion_async().await.unwrap();
            }
        }
    }
    for notice in notices {
        notice.wait_completion_async().await.unwrap();
    }
    driver.abort();
}

fn idle(b: &mut Bench) {
    b.gateway.start();
    std::thread::sleep(Duration::from_secs(3));
    let (cpu, since) = (b.cpu(), Instant::now());
    std::thread::sleep(Duration::from_secs(20));
    let share = (b.cpu() - cpu) / since.elapsed().as_secs_f64() * 100.0;
    say("idle", &[("rss_mib", rss_mib(b.gateway.pid(), "VmRSS")), ("cpu_percent", share)]);
}

/// From the start of the process to a reading, that waited at the broker, at the endpoint.
fn start(b: &mut Bench) {
    b.gateway.start();
    b.publish(1, 0.0);
    b.until_held(1);
    for _ in 0..3 {
        b.gateway.stop();
        b.publish(1, 0.0);
        let since = Instant::now();
        b.gateway.spawn();
        b.until_held(b.sent);
        say("start", &[("to_first_delivery_s", since.elapsed().as_secs_f64())]);
    }
}

fn burst(b: &mut Bench) {
    const N: u64 = 30_000;
    b.gateway.start();
    b.publish(1_000, 0.0);
    b.until_held(1_000);
    for _ in 0..3 {
        let (cpu, since) = (b.cpu(), Instant::now());
        let (broker, own) = (cpu_s(b.broker.pid()), cpu_s(std::process::id()));
        b.publish(N, 0.0);
        b.until_held(b.sent);
        let (wall, cpu) = (since.elapsed().as_secs_f64(), b.cpu() - cpu);
        let figures = [
            ("cpu_us_per_reading", cpu * 1e6 / N as f64),
            ("readings_per_s", N as f64 / wall),
            ("broker_us_per_reading", (cpu_s(b.broker.pid()) - broker) * 1e6 / N as f64),
            ("load_and_endpoint_us_per_reading", (cpu_s(std::process::id()) - own) * 1e6 / N as f64),
            ("peak_rss_mib", rss_mib(b.gateway.pid(), "VmHWM")),
        ];
        say("burst", &figures);
    }
    alerts(b);
    assert_eq!(b.endpoint.counts().duplicates, 0);
}

/// What encryption costs, and with `WARDLINE_BEFORE=PROGRAM` what everything costs that came since that one: bursts and
/// a trickle of each in turn.
fn overhead(runtime: &tokio::runtime::Runtime) {
    const N: u64 = 30_000;
    let before = std::env::var_os("WARDLINE_BEFORE");
    let kinds = [("encrypted", true), ("plain", true), ("before", before.is_some())];
    for round in 0..3 {
        for (kind, _) in kinds.iter().filter(|(_, wanted)| *wanted) {
            let mut b = Bench::new(runtime, &format!("overhead-{kind}-{round}"));
            if *kind != "encrypted" {
                let key = format!("key_file = \"{}\"", b.gateway.path("journal-key").display());
                b.gateway.reword(|text| text.replace(&key, "unencrypted = true"));
            }
            if *kind == "before" {
                b.gateway.binary = before.clone().unwrap().into();
                b.gateway.reword(|text| text.replace("[journal]\nunencrypted = true\n", ""));
            }
            b.gateway.start();
            b.publish(1_000, 0.0);
            b.until_held(1_000);
            let (cpu, since) = (b.cpu(), Instant::now());
            b.publish(N, 0.0);
            b.until_held(b.sent);
            let (wall, burst) = (since.elapsed().as_secs_f64(), (b.cpu() - cpu) * 1e6 / N as f64);
            let cpu = b.cpu();
            b.publish(500, 100.0);
            b.until_held(b.sent);
            let trickle = (b.cpu() - cpu) * 1e6 / 500.0;
            let figures = [
                ("burst_cpu_us_per_reading", burst),
                ("readings_per_s", N as f64 / wall),
                ("trickle_cpu_us_per_reading", trickle),
                ("peak_rss_mib", rss_mib(b.gateway.pid(), "VmHWM")),
            ];
            say(&format!("overhead, {kind}"), &figures);
        }
    }
}

/// Alert latency as the gateway's own histogram has it.
fn alerts(b: &Bench) {
    let metrics = http_over_unix(&b.gateway.path("status.sock"), "/metrics").unwrap_or_default();
    let line = |quantile: &str| {
        let start = format!("wardline_alert_latency_seconds{{quantile=\"{quantile}\"}}");
        let value = metrics.lines().find_map(|l| l.strip_prefix(&start));
        value.and_then(|v| v.trim().parse::<f64>().ok()).unwrap_or(f64::NAN) * 1_000.0
    };
    say("alerts", &[("p50_ms", line("0.5")), ("p99_ms", line("0.99"))]);
}

fn trickle(b: &mut Bench) {
    const N: u64 = 2_000;
    b.gateway.start();
    b.publish(200, 100.0);
    b.until_held(200);
    b.endpoint.take_ages();
    let cpu = b.cpu();
    b.publish(N, 100.0);
    b.until_held(b.sent);
    let cpu = b.cpu() - cpu;
    let mut ages = b.endpoint.take_ages();
    let (p50, p99) = percentiles(&mut ages);
    say("trickle 100/s", &[("cpu_us_per_reading", cpu * 1e6 / N as f64), ("p50_ms", p50), ("p99_ms", p99)]);
}

/// Without any linger.
fn latency(b: &mut Bench) {
    *b = Bench::with(b.runtime, "latency-off", "[journal]\ncommit_linger_ms = 0\n");
    b.gateway.reword(|text| text.replace("ca_file", "linger_ms = 0\nca_file"));
    b.gateway.start();
    b.publish(100, 50.0);
    b.until_held(100);
    b.endpoint.take_ages();
    b.publish(1_000, 50.0);
    b.until_held(b.sent);
    let (p50, p99) = percentiles(&mut b.endpoint.take_ages());
    say("latency 50/s, no linger", &[("p50_ms", p50), ("p99_ms", p99)]);
}

fn outage(b: &mut Bench) {
    const N: u64 = 100_000;
    b.gateway.start();
    b.publish(1_000, 0.0);
    b.until_held(1_000);
    b.endpoint.behave(Manners { outage: Outage::Refuse, ..b.endpoint.manners() });
    b.publish(N, 0.0);
    std::thread::sleep(Duration::from_secs(5));
    let cpu = b.cpu();
    b.endpoint.behave(Manners { outage: Outage::None, ..b.endpoint.manners() });
    let since = Instant::now();
    b.until_held(1_001);
    let first = since.elapsed().as_secs_f64();
    b.until_held(b.sent);
    let figures = [
        ("first_after_s", first),
        ("drain_per_s", N as f64 / since.elapsed().as_secs_f64()),
        ("drain_cpu_us_per_reading", (b.cpu() - cpu) * 1e6 / N as f64),
        ("peak_rss_mib", rss_mib(b.gateway.pid(), "VmHWM")),
    ];
    say("outage", &figures);
    assert_eq!(b.endpoint.counts().duplicates, 0);
}

fn million(b: &mut Bench) {
    b.gateway.start();
    b.endpoint.behave(Manners { outage: Outage::Refuse, ..b.endpoint.manners() });
    b.publish(1_000_000, 0.0);
    b.endpoint.behave(Manners { outage: Outage::None, ..b.endpoint.manners() });
    let since = Instant::now();
    b.until_held(1_000_000);
    let drain = 1e6 / since.elapsed().as_secs_f64();
    say("million", &[("drain_per_s", drain), ("peak_rss_mib", rss_mib(b.gateway.pid(), "VmHWM"))]);
}

/// The least work that the job allows, by another program, in the same run: burst and trickle.
fn reference(b: &mut Bench, program: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Reference(
        Command::new(program)
            .args(["--db", &folder.path().join("q.db").display().to_string(), "--port", &b.broker.port.to_string()])
            .args(["--gzip", "1", "--url", &format!("{}/", b.endpoint.url())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // Not all of them say when they are ready: from the first reading that arrives on, none is lost.
    while b.held() == 0 {
        b.publish(1, 0.0);
        std::thread::sleep(Duration::from_millis(500));
    }
    b.sent = b.held();
    let name_of = Path::new(program).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for (name, n, rate) in [("burst", 30_000, 0.0), ("burst", 30_000, 0.0), ("trickle 100/s", 1_000, 100.0)] {
        let (cpu, since) = (cpu_s(child.0.id()), Instant::now());
        b.publish(n, rate);
        b.until_held(b.sent);
        let wall = since.elapsed().as_secs_f64();
        let cpu = (cpu_s(child.0.id()) - cpu) * 1e6 / n as f64;
        say(&format!("{name_of} {name}"), &[("cpu_us_per_reading", cpu), ("readings_per_s", n as f64 / wall)]);
    }
    let _ = child.0.kill();
}

/// Ends with its handle.
struct Reference(Child);

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn percentiles(ages_ms: &mut [u32]) -> (f64, f64) {
    ages_ms.sort_unstable();
    let at =
        |p: f64| ages_ms.get(((ages_ms.len() as f64 - 1.0) * p).round() as usize).map_or(f64::NAN, |v| f64::from(*v));
    (at(0.5), at(0.99))
}

/// User and system time of a process, seconds.
fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Ticks of 10 ms.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn rss_mib(pid: u32, key: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
}

fn say(scenario: &str, figures: &[(&str, f64)]) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let figures: Vec<String> = figures.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
    println!("{scenario}: {} (load {})", figures.join(", "), load.split(' ').next().unwrap_or("?"));
}
