//! N5: a device that floods, with good readings, broken ones, large ones, repeated ones and ones in another's name. The
//! others' readings arrive as before, memory stays bounded, and what is not taken of the flood is counted and said.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wardline::lab::endpoint::{Endpoint, Settings};

use super::support::broker::{Broker, Door};
use super::support::device::Device;
use super::support::gateway::{Gateway, http_over_unix};
use super::support::obligations::{Book, Verdict};
use super::support::{day, within};
use super::{PATIENCE, asked, settings, until_within};

/// The heart rates of Observations at an endpoint, of one patient.
fn of(endpoint: &Endpoint, patient: &str) -> u64 {
    endpoint.tally().count(patient, "8867-4")
}

/// Publishes readings one by one; how long each took to the endpoint, in order of length.
async fn times(book: &mut Book, device: &Device, endpoint: &Endpoint, numbers: std::ops::Range<u64>) -> Vec<Duration> {
    let mut times = vec![];
    for n in numbers {
        let patient = format!("Patient/p{}", n % 4);
        let (before, since) = (of(endpoint, &patient), Instant::now());
        assert!(book.publish(device, n..n + 1).await);
        let arrival = async {
            while of(endpoint, &patient) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within("another's reading", arrival).await;
        times.push(since.elapsed());
    }
    times.sort();
    times
}

/// Frame `n` of the flood.
fn hostile(n: u64, replayed: &(String, String)) -> (String, String) {
    let loud = || "vitals/loud".to_owned();
    let midnight: jiff::Timestamp = format!("{}T00:00:00Z", day()).parse().unwrap();
    let time = midnight + jiff::SignedDuration::from_secs(i64::try_from(n).unwrap());
    match n % 8 {
        0 => (loud(), "{".repeat(usize::try_from(n % 3_000).unwrap())),
        1 => (loud(), format!("{{\"id\":{n},\"time\":\"{time}\",\"heart_rate\":\"NaN\"}}")),
        2 => replayed.clone(),
        3 => (loud(), format!("{{\"id\":{n},\"device\":\"watch-0\",\"time\":\"{time}\",\"heart_rate\":61}}")),
        4 => (format!("vitals/ghost-{n}"), format!("{{\"id\":{n},\"time\":\"{time}\",\"heart_rate\":62}}")),
        5 => (format!("vitals/watch-0/{n}"), format!("{{\"id\":{n},\"time\":\"{time}\",\"heart_rate\":63}}")),
        _ => (loud(), format!("{{\"id\":{n},\"time\":\"{time}\",\"heart_rate\":{}}}", 60 + n % 40)),
    }
}

/// A thousand frames a second for a while; then large ones until the quota is used up, and beyond.
async fn flood(device: Device, replayed: (String, String), seconds: u64) -> (u64, Duration) {
    let since = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for tenth in 0..seconds * 10 {
        pace.tick().await;
        let frames = (tenth * 100..(tenth + 1) * 100).map(|n| hostile(n, &replayed)).collect();
        assert!(device.offer(frames).await.iter().all(|taken| *taken));
    }
    let took = since.elapsed();
    for n in 0..150_usize {
        let large = |m: usize| ("vitals/loud".to_owned(), "x".repeat(65_000 + m + n));
        assert!(device.offer((0..20).map(large).collect()).await.iter().all(|taken| *taken));
    }
    // And what is beyond any limit.
    device.offer((0..5).map(|_| ("vitals/loud".to_owned(), "y".repeat(2_000_000))).collect()).await;
    (seconds * 1_000, took)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_device_costs_itself_and_nobody_else() {
    let Some(broker) = Broker::start(&Door::Open, "max_queued_messages 0\nmax_inflight_messages 100") else { return };
    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut book = Book::new(4);
    let loud =
        "[[patient]]\nreference = \"Patient/loud\"\n[[device]]\nid = \"mqtt:loud\"\npatient = \"Patient/loud\"\n";
    let mut gateway =
        Gateway::new(&format!("{}{loud}", settings(&book, broker.port, &endpoint.url(), "linger_ms = 0")));
    gateway.start();
    let others = Device::connect(broker.device_port);
    let before = times(&mut book, &others, &endpoint, 0..100).await;
    let resident = gateway.resident();

    let attacker = Device::with(broker.device_port, |o| {
        o.set_client_id("attacker".into());
    });
    let flooding = tokio::spawn(flood(attacker, book.message(0), asked("HOSTILE_SECONDS", 5)));
    let (mut during, mut most, mut next) = (vec![], resident, 100);
    while !flooding.is_finished() {
        during.extend(times(&mut book, &others, &endpoint, next..next + 5).await);
        next += 5;
        most = most.max(gateway.resident());
    }
    let (frames, took) = flooding.await.unwrap();
    during.sort();

    let flooded = |a: &serde_json::Value| a["rule"] == "device-floods";
    let alerts = || gateway.json(&["alerts"]).as_array().unwrap().iter().filter(|a| flooded(a)).count();
    until_within(PATIENCE, "the alert", || alerts() == 1).await;
    let metrics = http_over_unix(&gateway.path("status.sock"), "/metrics").unwrap();
    let refused = metrics.lines().find(|l| l.contains("frames_rejected_total") && l.contains("WL-D901")).unwrap();
    let refused: u64 = refused.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(refused > 200, "{metrics}");
    let inbox = gateway.json(&["inbox"]).to_string();
    assert!(inbox.contains("WL-D901") && inbox.contains("WL-D900"), "{inbox}");

    // All its own good readings went out; of the others' each is there once, and nothing was foisted on them.
    until_within(2 * PATIENCE, "the loud one's good readings", || of(&endpoint, "Patient/loud") >= frames / 4).await;
    let theirs = |body: &Arc<str>| !body.contains("Patient/loud");
    let found: Vec<_> = endpoint.bodies("Observation").into_iter().filter(theirs).collect();
    assert_eq!(book.judge(&found), Verdict::default());
    let at = |all: &[Duration], share: usize| all[(all.len() - 1) * share / 100].as_millis();
    println!(
        "N5: {frames} frames in {:.1} s, then 3,005 large ones: {refused} refused; others' p50 {} -> {} ms, p99 {} -> {} ms \
         ({} readings); resident {resident} -> at most {most} KiB",
        took.as_secs_f64(),
        at(&before, 50),
        at(&during, 50),
        at(&before, 99),
        at(&during, 99),
        during.len(),
    );
    assert!(most < resident + 64 * 1_024, "{resident} KiB before, {most} KiB during the flood");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
