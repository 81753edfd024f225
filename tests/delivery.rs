//! Journal, loop and FHIR destination together, against servers that lose answers, poison items, and many senders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wardline::clock::{Clock, Stamp};
use wardline::config::{BundleKind, FhirSettings, Idempotency, JournalSettings};
use wardline::custody::{Creditor, Item, ItemId, Lane, Outcome};
use wardline::journal::reader::Reader;
use wardline::journal::{Group, Journal, JournalError};
use wardline::lab::endpoint::{Endpoint, Manners, Settings};
use wardline::reading::{Arrival, DeviceId, Frame, Reading, ReadingKey};
use wardline::sink::fhir::FhirSink;
use wardline::sink::{Destination, DestinationStatus, Dice, Outbox, OutboxError, deliver};

mod support;

use support::fhir_server::{FhirServer, Kind};
use support::readings::{heart_rate, item};
use support::scripted::{Reply, Request, Scripted};
use support::within;

const WAYS: [Idempotency; 2] = [Idempotency::ConditionalCreate, Idempotency::Update];

fn sink(url: &str, idempotency: Idempotency) -> FhirSink {
    let settings = FhirSettings {
        consent: None,
        fields: None,
        name: "centre".into(),
        url: url.into(),
        idempotency,
        bundle: BundleKind::Auto,
        bundle_max: 100,
        requests_per_min: 0,
        gzip: true,
        linger_ms: 0,
        timeout_s: 5,
        ca_file: None,
        crl_file: None,
        client_certificate_file: None,
        client_key_file: None,
        token_file: None,
        auth: None,
        profile: None,
        us_core: Default::default(),
        phd: false,
        devices: Default::default(),
        uncoded: Default::default(),
        mapping_file: None,
        alert_owner: None,
        care_plan: None,
        follow_tasks: None,
        audit: false,
        device_metrics: false,
        references: Default::default(),
    };
    FhirSink::new(&settings, &"box-1".into()).unwrap()
}

fn journal(folder: &Path) -> Journal {
    let settings = JournalSettings { reserve_mib: 1, ..JournalSettings::default() };
    let creditor = Creditor {
        name: "centre".into(),
        readings: true,
        alerts: false,
        evidence: false,
        terms: wardline::consent::Terms::open(),
    };
    Journal::open(folder, &settings, &[creditor], Clock::system()).unwrap().0
}

fn arrival(reading: Reading) -> Arrival {
    let frame = Frame::new("home", format!("{}", reading.key), Stamp::at_ms(1_795_342_271_000));
    Arrival { frame, undated: false, outcome: Ok(vec![reading]) }
}

fn group(readings: impl Iterator<Item = Reading>) -> Arc<Group> {
    Arc::new(Group { arrivals: readings.map(arrival).collect(), ..Group::default() })
}

/// What is owed, as the loop sees it.
struct Debts(Journal);

fn later(e: JournalError) -> OutboxError {
    if matches!(e, JournalError::Full) { OutboxError::Later } else { OutboxError::Closed }
}

impl Outbox for Debts {
    async fn lease(&self, lane: Lane, max: usize) -> Result<Vec<Item>, OutboxError> {
        self.0.lease("centre", lane, max).await.map_err(later)
    }
    async fn settle(&self, outcomes: Vec<(ItemId, Outcome)>) -> Result<(), OutboxError> {
        self.0.settle("centre", outcomes).await.map_err(later)
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed()
    }
    async fn evidence(&self, _keys: Vec<ReadingKey>) -> Vec<Arc<Reading>> {
        Vec::new()
    }
}

/// Delivers all that is owed, at once again whatever failed: the pauses of the loop are no part of this.
async fn drain(journal: &Journal, sink: &FhirSink, at_once: usize) {
    loop {
        let mut items = Vec::new();
        for lane in [Lane::Fresh, Lane::Backlog] {
            items.extend(journal.lease("centre", lane, at_once).await.unwrap());
        }
        if items.is_empty() {
            return;
        }
        let outcomes = within("an answer", sink.deliver(&items, &[])).await;
        let outcomes = items.iter().zip(outcomes).map(|(item, outcome)| match outcome {
            Outcome::Retry { why, .. } => (item.id, Outcome::Retry { after: None, why, destination: false }),
            settled => (item.id, settled),
        });
        journal.settle("centre", outcomes.collect()).await.unwrap();
    }
}

/// D5, X8: a thousand answers are lost after the server had stored, and devices send their whole history ten times.
#[tokio::test]
async fn a_thousand_lost_answers_and_ten_histories_leave_one_of_each() {
    const READINGS: u64 = 1_000;
    for way in WAYS {
        let folder = tempfile::tempdir().unwrap();
        let rude = Manners { lost_rate: 0.55, ..Manners::default() };
        let endpoint = Endpoint::start(Settings { manners: rude, ..Settings::default() }).unwrap();
        let (journal, sink) = (journal(folder.path()), sink(&endpoint.url(), way));
        for history in 0..10 {
            let kept = journal.commit(group((0..READINGS).map(heart_rate))).await.unwrap();
            let new: u32 = kept.iter().map(|k| k.new).sum();
            assert_eq!(u64::from(new), if history == 0 { READINGS } else { 0 });
            drain(&journal, &sink, 1).await;
        }
        // And past the journal: the same ten times, as after a lost disk.
        for _ in 0..10 {
            for n in 0..READINGS / 100 {
                let items: Vec<Item> = (n * 100..(n + 1) * 100).map(heart_rate).map(item).collect();
                let _ = within("an answer", sink.deliver(&items, &[])).await;
            }
        }
        let counts = endpoint.counts();
        assert!(counts.lost_answers >= 1_000, "{counts:?}");
        assert_eq!((counts.observations, counts.duplicates, counts.conflicts), (READINGS, 0, 0), "{way:?} {counts:?}");
        let custody = Reader::new(folder.path()).custody().unwrap();
        assert_eq!((custody.waiting, custody.settled), (0, READINGS));
        journal.close().await;
    }
}

/// X9: eight gateways, or eight retries, send the same readings at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_parallel_senders_leave_one_of_each() {
    for way in WAYS {
        let endpoint = Endpoint::start(Settings::default()).unwrap();
        race(&endpoint.url(), way).await;
        let counts = endpoint.counts();
        assert_eq!((counts.observations, counts.duplicates), (50, 0), "{way:?}");
    }
    // The test of the test: where the condition is not looked at, doubles are seen.
    let blind = Manners { unconditional_rate: 1.0, ..Manners::default() };
    let endpoint = Endpoint::start(Settings { manners: blind, ..Settings::default() }).unwrap();
    race(&endpoint.url(), Idempotency::ConditionalCreate).await;
    assert!(endpoint.counts().duplicates > 0);
    race(&endpoint.url(), Idempotency::Update).await;
}

/// What real servers make of it: an update holds everywhere; a conditional create is said to race on some.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_parallel_senders_at_real_servers_leave_one_of_each_by_update() {
    for kind in [Kind::Helios, Kind::Sekmet] {
        let Some(server) = FhirServer::start(kind).await else { continue };
        server.put(&json!({"resourceType": "Patient", "id": "p1", "active": true})).await;
        race(&server.url, Idempotency::Update).await;
        let found = server.search("Observation?code=http://loinc.org|8867-4&_count=200").await;
        assert_eq!(found.len(), 50, "{kind:?}");
    }
}

async fn race(url: &str, way: Idempotency) {
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let sink = sink(url, way);
        senders.spawn(async move {
            let items: Vec<Item> = (0..50).map(heart_rate).map(item).collect();
            // Some are told of a conflict: they ask again, as the loop would.
            for _ in 0..20 {
                let outcomes = within("an answer", sink.deliver(&items, &[])).await;
                if outcomes.iter().all(|o| matches!(o, Outcome::Delivered(_))) {
                    return;
                }
            }
            panic!("a sender never came through");
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
}

fn number(resource: &Value) -> usize {
    // Its time of receipt, as its identifier has it.
    let value = resource["identifier"][0]["value"].as_str().unwrap();
    let at = value.split("-R").nth(1).unwrap().split('-').next().unwrap();
    at.parse::<usize>().unwrap() - 848_657_471
}

/// X10, N1: each of ten devices has a poison reading first. Everything else goes out in the meantime.
#[tokio::test]
async fn a_poison_reading_of_each_device_holds_up_nobody() {
    const DEVICES: usize = 10;
    let answer = |r: &Request| {
        let body = r.json();
        let poison = |resource: &Value| number(resource) < DEVICES;
        let Some(entries) = body["entry"].as_array() else {
            let location = ("location", "Observation/1".to_owned());
            return if poison(&body) { Reply::status(500) } else { Reply::Answer(201, vec![location], String::new()) };
        };
        let one = |e: &Value| match poison(&e["resource"]) {
            true => json!({"response": {"status": "500"}}),
            false => json!({"response": {"status": "201", "location": "Observation/1"}}),
        };
        let entries: Vec<Value> = entries.iter().map(one).collect();
        Reply::json(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": entries}))
    };
    let server = Scripted::start(answer).await;
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let of_device = |n: usize| Reading {
        device: DeviceId(format!("mqtt:d{}", n % DEVICES).as_str().into()),
        ..heart_rate(n as u64)
    };
    journal.commit(group((0..20 * DEVICES).map(of_device))).await.unwrap();
    let stop = CancellationToken::new();
    let status = watch::channel(DestinationStatus::default()).0;
    let sink = sink(&server.url, Idempotency::ConditionalCreate);
    let work = deliver::run(
        "centre".into(),
        sink,
        Debts(journal.clone()),
        Clock::system(),
        stop.clone(),
        status,
        Dice::default(),
    );
    let reader = Reader::new(folder.path());
    let look = async {
        loop {
            let waiting = reader.custody().unwrap().waiting;
            if waiting <= DEVICES as u64 {
                assert_eq!(waiting, DEVICES as u64, "the poison is not given up so soon");
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
    };
    within("delivery of the others", async { tokio::join!(work, look) }).await;
    journal.close().await;
}
