//! The FHIR destination against servers with bad manners: each is classified, nothing is believed that was not said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod evidence;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
mod withheld;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::readings::{alert, alert_item, heart_rate, heart_rates};
use support::scripted::{Reply, Request, Scripted};
use wardline::config::{FhirSettings, Idempotency};
use wardline::custody::{Item, Outcome};
use wardline::sink::Destination;
use wardline::sink::fhir::FhirSink;

fn settings(url: &str) -> FhirSettings {
    FhirSettings {
        consent: None,
        fields: None,
        name: "centre".into(),
        url: url.into(),
        idempotency: Idempotency::ConditionalCreate,
        bundle: wardline::config::BundleKind::Auto,
        bundle_max: 100,
        requests_per_min: 0,
        gzip: false,
        linger_ms: 0,
        timeout_s: 2,
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
        care_plan: None,
        follow_tasks: None,
        audit: false,
        device_metrics: false,
        references: Default::default(),
        alert_owner: Some("Group/care".into()),
    }
}

fn sink(url: &str) -> FhirSink {
    FhirSink::new(&settings(url), &"box-1".into()).unwrap()
}

fn packing(url: &str) -> FhirSink {
    FhirSink::new(&FhirSettings { gzip: true, ..settings(url) }, &"box-1".into()).unwrap()
}

/// `delivered`, `known`, `reject`, or the code with `!` for the whole destination.
fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered(r) if r.known => "known".into(),
        Outcome::Delivered(_) => "delivered".into(),
        Outcome::Retry { why, destination: true, .. } => format!("{}!", why.code),
        Outcome::Retry { why, .. } => why.code.to_string(),
        Outcome::Reject(_) => "reject".into(),
        Outcome::Withheld => "withheld".into(),
    }
}

async fn deliver(sink: &FhirSink, items: &[Item]) -> Vec<String> {
    let outcomes = support::within("an outcome", sink.deliver(items, &[])).await;
    assert_eq!(outcomes.len(), items.len());
    outcomes.iter().map(word).collect()
}

fn operation_outcome() -> Value {
    json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]})
}

/// What a good server answers to a Bundle or a resource.
fn good(request: &Request) -> Reply {
    let body = request.json();
    if body["resourceType"] != "Bundle" {
        let kind = body["resourceType"].as_str().unwrap_or("").to_owned();
        let location = format!("http://anywhere/fhir/{kind}/1/_history/1");
        return Reply::Answer(201, vec![("location", location)], String::new());
    }
    let entry = |e: &Value| {
        let kind = e["resource"]["resourceType"].as_str().unwrap();
        json!({"response": {"status": "201 Created", "location": format!("{kind}/1/_history/1")}})
    };
    let entries: Vec<Value> = body["entry"].as_array().unwrap().iter().map(entry).collect();
    let kind = format!("{}-response", body["type"].as_str().unwrap());
    Reply::json(200, &json!({"resourceType": "Bundle", "type": kind, "entry": entries}))
}

fn size(request: &Request) -> usize {
    request.json()["entry"].as_array().map_or(0, Vec::len)
}

/// Whether reading number `n` is in it.
fn has(request: &Request, n: u64) -> bool {
    // Its time of receipt, as its identifier has it.
    String::from_utf8_lossy(&request.body).contains(&format!("-R{}-", 848_657_471 + n))
}

#[tokio::test]
async fn a_batch_is_one_compressed_request() {
    let server = Scripted::start(good).await;
    assert_eq!(deliver(&packing(&server.url), &heart_rates(0..100)).await, vec!["delivered"; 100]);
    let requests = server.requests();
    assert_eq!((requests.len(), size(&requests[0])), (1, 100));
    assert_eq!(requests[0].path, "/fhir");
    assert_eq!(requests[0].header("content-encoding"), "gzip");
    assert_eq!(requests[0].header("content-type"), "application/fhir+json");
    let per_reading = server.received() / 100;
    assert!(per_reading < 200, "{per_reading} octets a reading");
}

#[tokio::test]
async fn each_status_of_the_whole_is_the_destinations_and_rejects_nothing() {
    for (status, code) in [
        (301, "WL-F008!"),
        (307, "WL-F008!"),
        (401, "WL-F007!"),
        (403, "WL-F007!"),
        (404, "WL-F008!"),
        (405, "WL-F008!"),
        (408, "WL-F006!"),
        (410, "WL-F008!"),
        (425, "WL-F006!"),
        (429, "WL-F006!"),
        (500, "WL-F005!"),
        (502, "WL-F004!"),
        (503, "WL-F004!"),
        (504, "WL-F004!"),
    ] {
        let other = Scripted::start(good).await;
        let elsewhere = other.url.clone();
        let server = Scripted::start(move |_| {
            Reply::Answer(status, vec![("location", elsewhere.clone())], operation_outcome().to_string())
        })
        .await;
        assert_eq!(deliver(&sink(&server.url), &heart_rates(0..3)).await, vec![code; 3], "{status}");
        assert!(server.requests().len() == 1 && other.received() == 0, "{status}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_never_a_delivery() {
    let half = json!({"resourceType": "Bundle", "entry": [{"response": {"status": "201"}}]}).to_string();
    for (reply, code) in [
        (Reply::Close, "WL-F002!"),
        (Reply::Half(half), "WL-F002!"),
        (Reply::Endless, "WL-F010!"),
        (Reply::Trickle, "WL-F002!"),
        (Reply::Hang, "WL-F002!"),
        (Reply::status(200), "WL-F010!"),
        (Reply::Answer(200, vec![], "<html>Log in to our network</html>".into()), "WL-F010!"),
        (Reply::json(200, &json!({"ok": true})), "WL-F010!"),
        (Reply::json(200, &json!([])), "WL-F010!"),
    ] {
        let server = Scripted::start(move |_| reply.clone()).await;
        let outcomes = deliver(&sink(&server.url), &heart_rates(0..2)).await;
        assert_eq!(outcomes, vec![code; 2]);
    }
    let nobody = format!("http://127.0.0.1:{}/fhir", support::free_port());
    assert_eq!(deliver(&sink(&nobody), &heart_rates(0..2)).await, vec!["WL-F001!"; 2]);
    let nowhere = "http://name.invalid/fhir";
    assert_eq!(deliver(&sink(nowhere), &heart_rates(0..1)).await, vec!["WL-F001!"]);
}

#[tokio::test]
async fn retry_after_is_read_as_seconds_and_as_a_date_of_the_destinations_clock() {
    for (headers, seconds) in [
        (vec![("retry-after", "7".to_owned())], Some(7)),
        (vec![("retry-after", "999999999".to_owned())], Some(600)),
        (
            vec![
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
                ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT".to_owned()),
            ],
            Some(30),
        ),
        (vec![("retry-after", "soon".to_owned())], None),
        (vec![("retry-after", "-3".to_owned())], None),
    ] {
        let server = Scripted::start(move |_| Reply::Answer(429, headers.clone(), String::new())).await;
        let outcomes = sink(&server.url).deliver(&heart_rates(0..1), &[]).await;
        let Outcome::Retry { after, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!(*after, seconds.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn one_that_the_server_refuses_is_found_and_the_others_pass() {
    // Refuses a Bundle whole for one entry, as some servers do.
    let server = Scripted::start(|r| if has(r, 42) { Reply::json(400, &operation_outcome()) } else { good(r) }).await;
    let outcomes = deliver(&sink(&server.url), &heart_rates(0..100)).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome, if n == 42 { "reject" } else { "delivered" });
    }
    let requests = server.requests();
    assert!(requests.len() <= 16, "{} requests", requests.len());
    assert!(
        requests
            .iter()
            .any(|r| r.path == "/fhir/Observation" && r.header("if-none-exist").contains("|C026DF001122-p1-147842-"))
    );
}

#[tokio::test]
async fn outcomes_are_those_of_their_entries() {
    let server = Scripted::start(|_| {
        let entry = |status: &str| json!({"response": {"status": status, "location": "Observation/1"}});
        let statuses = ["201 Created", "200 OK", "422 Unprocessable", "503", "412 Precondition Failed", "403"];
        let entries: Vec<Value> = statuses.iter().map(|s| entry(s)).collect();
        Reply::json(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": entries}))
    })
    .await;
    let outcomes = deliver(&sink(&server.url), &heart_rates(0..6)).await;
    assert_eq!(outcomes, ["delivered", "known", "reject", "WL-F004", "reject", "WL-F007"]);
}

#[tokio::test]
async fn a_server_that_loses_count_is_asked_one_by_one() {
    let server = Scripted::start(|r| {
        let fewer = json!({"resourceType": "Bundle", "entry": [{"response": {"status": "201"}}]});
        if size(r) > 1 { Reply::json(200, &fewer) } else { good(r) }
    })
    .await;
    assert_eq!(deliver(&sink(&server.url), &heart_rates(0..5)).await, vec!["delivered"; 5]);
    let server = Scripted::start(|r| if size(r) > 0 { Reply::json(200, &operation_outcome()) } else { good(r) }).await;
    assert_eq!(deliver(&sink(&server.url), &heart_rates(0..3)).await, vec!["delivered"; 3]);
}

#[tokio::test]
async fn too_large_is_halved_and_remembered() {
    let server = Scripted::start(|r| if size(r) > 30 { Reply::status(413) } else { good(r) }).await;
    let sink = sink(&server.url);
    assert_eq!(deliver(&sink, &heart_rates(0..100)).await, vec!["delivered"; 100]);
    assert_eq!(sink.batch_max(), 25);
}

#[tokio::test]
async fn compression_that_is_not_understood_is_given_up() {
    for status in [415, 400, 500] {
        let server =
            Scripted::start(
                move |r| {
                    if r.header("content-encoding") == "gzip" { Reply::status(status) } else { good(r) }
                },
            )
            .await;
        let sink = packing(&server.url);
        for expected in [2, 3] {
            assert_eq!(deliver(&sink, &heart_rates(0..2)).await, vec!["delivered"; 2]);
            assert_eq!(server.requests().len(), expected, "{status}");
        }
    }
}

#[tokio::test]
async fn a_suspect_travels_alone_and_after_the_others() {
    let server = Scripted::start(|r| if has(r, 0) { Reply::status(500) } else { good(r) }).await;
    let mut items = heart_rates(0..5);
    items[0].attempts = 3;
    let outcomes = deliver(&sink(&server.url), &items).await;
    assert_eq!(outcomes, ["WL-F005", "delivered", "delivered", "delivered", "delivered"]);
    items[0].attempts = 8;
    assert_eq!(deliver(&sink(&server.url), &items).await[0], "reject");
    // With no other that passes, it is the server that fails, however often.
    assert_eq!(deliver(&sink(&server.url), &items[..1]).await, ["WL-F005!"]);
}

#[tokio::test]
async fn a_proxys_refusal_is_not_the_servers() {
    let blocked = || Reply::Answer(400, vec![], "<html>blocked by policy</html>".into());
    let server = Scripted::start(move |_| blocked()).await;
    let mut items = heart_rates(0..3);
    items.iter_mut().for_each(|item| item.attempts = 100);
    assert_eq!(deliver(&sink(&server.url), &items).await, vec!["WL-F011!"; 3]);
    let server = Scripted::start(move |r| if has(r, 1) { blocked() } else { good(r) }).await;
    assert_eq!(deliver(&sink(&server.url), &heart_rates(0..3)).await, ["delivered", "WL-F011", "delivered"]);
}

#[tokio::test]
async fn when_every_entry_fails_it_is_the_destination_and_nothing_is_ever_rejected() {
    for (status, code) in
        [("500", "WL-F005!"), ("503", "WL-F004!"), ("403", "WL-F007!"), ("429", "WL-F006!"), ("", "WL-F010!")]
    {
        let server = Scripted::start(move |r| {
            let entries = vec![json!({"response": {"status": status}}); size(r)];
            if size(r) == 0 {
                Reply::status(status.parse().unwrap_or(200))
            } else {
                Reply::json(200, &json!({"resourceType": "Bundle", "entry": entries}))
            }
        })
        .await;
        for attempts in [0, 1_000] {
            let mut items = heart_rates(0..3);
            items.iter_mut().for_each(|item| item.attempts = attempts);
            assert_eq!(deliver(&sink(&server.url), &items).await, vec![code; 3], "{status} {attempts}");
        }
    }
}

#[tokio::test]
async fn the_token_is_sent_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    support::certificates::put(folder.path(), "token", "s3cret-t0ken\n");
    let server =
        Scripted::start(
            |r| {
                if r.header("authorization") == "Bearer s3cret-t0ken" { good(r) } else { Reply::status(401) }
            },
        )
        .await;
    assert_eq!(deliver(&sink(&server.url), &heart_rates(0..1)).await, ["WL-F007!"]);
    let with = FhirSettings { token_file: Some(folder.path().join("token")), ..settings(&server.url) };
    let sink = FhirSink::new(&with, &"box-1".into()).unwrap();
    assert_eq!(deliver(&sink, &heart_rates(0..1)).await, ["delivered"]);

    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.path().join("token"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = FhirSink::new(&with, &"box-1".into()).err().unwrap();
    assert!(error.to_string().contains("others can read"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[tokio::test]
async fn an_alert_goes_as_a_transaction_with_its_evidence() {
    let server = Scripted::start(good).await;
    let evidence = [Arc::new(heart_rate(1))];
    let event = alert("0123456789abcdef0123456789abcdef", "raised", &[&evidence[0]]);
    let outcomes = sink(&server.url).deliver(&[alert_item(event, 0)], &evidence).await;
    assert!(matches!(&outcomes[0], Outcome::Delivered(r) if &*r.location == "Task/1/_history/1"), "{outcomes:?}");
    assert_eq!((server.requests().len(), size(&server.requests()[0])), (1, 3));
}

#[tokio::test]
async fn an_alert_is_not_held_by_a_refused_part() {
    // No transactions at all; then a server that knows no Task; then one that refuses the evidence.
    let refuses: [fn(&Request) -> bool; 3] = [
        |r| size(r) > 0,
        |r| size(r) > 0 || r.path.contains("Task"),
        |r| size(r) > 0 || r.path.contains("Observation"),
    ];
    for refuses in refuses {
        let server =
            Scripted::start(move |r| if refuses(r) { Reply::json(422, &operation_outcome()) } else { good(r) }).await;
        let evidence = [Arc::new(heart_rate(1))];
        let event = alert("0123456789abcdef0123456789abcdef", "raised", &[&evidence[0]]);
        let outcomes = sink(&server.url).deliver(&[alert_item(event, 0)], &evidence).await;
        assert_eq!(word(&outcomes[0]), "delivered", "{outcomes:?}");
        let mut paths: Vec<String> = server.requests().into_iter().map(|r| r.path).collect();
        // What is refused is tried in the other way, too.
        paths.retain(|p| !p.contains("wl-alert"));
        assert_eq!(paths, ["/fhir", "/fhir/Observation", "/fhir/DetectedIssue", "/fhir/Task"]);
    }
    let server = Scripted::start(|_| Reply::json(422, &operation_outcome())).await;
    let event = alert("0123456789abcdef0123456789abcdef", "acknowledged", &[]);
    let outcomes = sink(&server.url).deliver(&[alert_item(event, 0)], &[]).await;
    assert_eq!(word(&outcomes[0]), "reject");
    let update = "/fhir/Task?identifier=urn:wardline:alert%7C0123456789abcdef0123456789abcdef";
    assert!(server.requests().iter().any(|r| r.method == "PUT" && r.path == update));
}

#[tokio::test]
async fn an_alert_that_makes_a_server_fail_goes_in_parts_the_second_time() {
    let server = Scripted::start(|r| if size(r) > 0 { Reply::status(500) } else { good(r) }).await;
    let event = || alert("0123456789abcdef0123456789abcdef", "raised", &[]);
    let sink = sink(&server.url);
    assert_eq!(word(&sink.deliver(&[alert_item(event(), 0)], &[]).await[0]), "WL-F005!");
    assert_eq!(word(&sink.deliver(&[alert_item(event(), 1)], &[]).await[0]), "delivered");
}

#[tokio::test]
async fn connections_are_kept() {
    let connections = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let server = Scripted::start(good).await;
    let url = format!("http://{}/fhir", listener.local_addr().unwrap());
    let (count, target) = (connections.clone(), server.url.clone());
    #[allow(clippy::disallowed_methods, reason = "the test's own task")]
    tokio::spawn(async move {
        let target = target.trim_start_matches("http://").trim_end_matches("/fhir").to_owned();
        while let Ok((mut from, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut to = tokio::net::TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let sink = sink(&url);
    for n in 0..10 {
        assert_eq!(deliver(&sink, &heart_rates(n..n + 1)).await, ["delivered"]);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// What a row of docs/destinations.md looks like on the wire; `url` names another server.
fn answer_of(row: &str, elsewhere: &str) -> Reply {
    let error = operation_outcome().to_string();
    let half = json!({"resourceType": "Bundle", "entry": [{"response": {"status": "201"}}]}).to_string();
    match row {
        "400 without" => Reply::Answer(400, vec![], "<html>blocked</html>".into()),
        "429 with Retry-After in seconds" => Reply::Answer(429, vec![("retry-after", "7".into())], error),
        "429 with Retry-After as a date" => Reply::Answer(
            429,
            vec![
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT".into()),
                ("retry-after", "Sun, 06 Nov 1994 08:49:44 GMT".into()),
            ],
            error,
        ),
        "a body that trickles" => Reply::Trickle,
        "a body that breaks off" => Reply::Half(half),
        "a body without an end" => Reply::Endless,
        "200 and no JSON" => Reply::Answer(200, vec![], "OK".into()),
        "200 and HTML" => Reply::Answer(200, vec![], "<html>Log in</html>".into()),
        "200 and nothing" => Reply::status(200),
        "307 to another host" => Reply::Answer(307, vec![("location", elsewhere.into())], String::new()),
        "200 with an OperationOutcome of an error" => Reply::Answer(200, vec![], error),
        status => Reply::Answer(status[..3].parse().unwrap(), vec![], error),
    }
}

/// The answer to a Bundle, in which one entry is answered like the row.
fn with_one_entry(row: &str, request: &Request, url: &str) -> Reply {
    let status = row.split(' ').next().unwrap();
    let all = (0..size(request)).map(|n| match (n, row) {
        (1, "the receipt of another resource") => json!({"response": {"status": "201", "location": "Patient/7"}}),
        (1, "200 and nothing") => json!({"response": {}}),
        (1, "307 to another host") => json!({"response": {"status": "", "location": url}}),
        (1, _) => json!({"response": {"status": status, "outcome": operation_outcome()}}),
        _ => json!({"response": {"status": "201 Created", "location": "Observation/1"}}),
    });
    let all: Vec<Value> = all.collect();
    Reply::json(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": all}))
}

/// N1: whole, alone, and one entry of three, for each row of the page.
#[tokio::test]
async fn every_answer_is_understood_as_this_page_says() {
    let page = include_str!("../../docs/destinations.md");
    let rows = page.lines().skip_while(|l| !l.starts_with("| answer |")).skip(2).take_while(|l| l.starts_with('|'));
    let other = Scripted::start(good).await;
    let mut played = 0;
    for row in rows {
        let cells: Vec<String> = row.split('|').map(|c| c.trim().to_owned()).collect();
        let [_, name, whole, alone, entry, _] = &cells[..] else { panic!("{row}") };
        let foreign = name == "the receipt of another resource";
        let elsewhere = other.url.clone();
        let script = {
            let (name, elsewhere) = (name.clone(), elsewhere.clone());
            move |r: &Request| match (size(r), foreign) {
                (0, true) => Reply::Answer(201, vec![("location", "http://x/fhir/Patient/7".into())], String::new()),
                (n, true) => {
                    let one = json!({"response": {"status": "201", "location": "Patient/7/_history/1"}});
                    Reply::json(200, &json!({"resourceType": "Bundle", "entry": vec![one; n]}))
                }
                _ => answer_of(&name, &elsewhere),
            }
        };
        let patient =
            |url: &str| FhirSink::new(&FhirSettings { timeout_s: 1, ..settings(url) }, &"box-1".into()).unwrap();
        let server = Scripted::start(script).await;
        let outcomes = deliver(&patient(&server.url), &heart_rates(0..3)).await;
        let divided = server.requests().iter().filter(|r| size(r) > 0).count() > 1;
        match whole.as_str() {
            "divided" => assert!(divided, "{name}: {outcomes:?}"),
            code => assert!(!divided && outcomes.iter().all(|o| o == code), "{name}: {outcomes:?}"),
        }
        // Alone: a suspect.
        let mut one = heart_rates(0..1);
        one[0].attempts = 3;
        let outcomes = deliver(&patient(&server.url), &one).await;
        assert_eq!(outcomes, [alone.as_str()], "{name}, alone");
        if entry != "-" {
            let (name, elsewhere) = (name.clone(), elsewhere);
            let server = Scripted::start(move |r| with_one_entry(&name, r, &elsewhere)).await;
            let outcomes = deliver(&patient(&server.url), &heart_rates(0..3)).await;
            assert_eq!(outcomes, ["delivered", entry.as_str(), "delivered"], "{}, an entry", cells[1]);
        }
        played += 1;
    }
    assert!(played >= 30, "{played} rows");
    assert_eq!(other.received(), 0, "a redirect was followed");
}

#[tokio::test]
async fn a_transaction_is_divided_to_the_one_that_is_refused() {
    let server = Scripted::start(|r| if has(r, 42) { Reply::json(422, &operation_outcome()) } else { good(r) }).await;
    let settings = FhirSettings { bundle: wardline::config::BundleKind::Transaction, ..settings(&server.url) };
    let sink = FhirSink::new(&settings, &"box-1".into()).unwrap();
    let outcomes = deliver(&sink, &heart_rates(0..100)).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome, if n == 42 { "reject" } else { "delivered" });
    }
    let requests = server.requests();
    assert!(requests.len() <= 16, "{} requests", requests.len());
    assert!(requests.iter().filter(|r| size(r) > 0).all(|r| r.json()["type"] == "transaction"));
}

#[tokio::test]
async fn a_transaction_that_is_half_done_is_asked_one_by_one() {
    let server = Scripted::start(|r| {
        let fine = json!({"response": {"status": "201", "location": "Observation/1"}});
        let mut entries = vec![fine; size(r)];
        match entries.len() {
            0 => return good(r),
            n => entries[n - 1] = json!({"response": {"status": "500"}}),
        }
        Reply::json(200, &json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries}))
    })
    .await;
    let settings = FhirSettings { bundle: wardline::config::BundleKind::Transaction, ..settings(&server.url) };
    let sink = FhirSink::new(&settings, &"box-1".into()).unwrap();
    assert_eq!(deliver(&sink, &heart_rates(0..4)).await, vec!["delivered"; 4]);
}

#[tokio::test]
async fn an_update_counts_only_under_our_own_id() {
    let server = Scripted::start(|r| {
        let entries: Vec<Value> = r.json()["entry"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(n, e)| {
                let url = e["request"]["url"].as_str().unwrap();
                let location = if n == 1 {
                    "Observation/wl-00000000000000000000000000000000".to_owned()
                } else {
                    format!("{url}/_history/2")
                };
                json!({"response": {"status": "200", "location": location}})
            })
            .collect();
        Reply::json(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": entries}))
    })
    .await;
    let settings = FhirSettings { idempotency: Idempotency::Update, ..settings(&server.url) };
    let sink = FhirSink::new(&settings, &"box-1".into()).unwrap();
    assert_eq!(deliver(&sink, &heart_rates(0..3)).await, ["known", "WL-F010", "known"]);
}

/// A cache, or another gateway's proxy, that answers with what it has.
#[tokio::test]
async fn an_answer_that_shows_another_resource_is_no_receipt() {
    let theirs = "wl-00000000000000000000000000000000";
    for (way, shown, expected) in [
        (Idempotency::Update, json!({"resourceType": "Observation", "id": theirs}), "WL-F010!"),
        (Idempotency::Update, json!({"resourceType": "Patient"}), "WL-F010!"),
        (Idempotency::ConditionalCreate, json!({"resourceType": "Patient", "id": "p1"}), "WL-F010!"),
        (Idempotency::ConditionalCreate, json!({"resourceType": "Observation", "id": "7"}), "known"),
    ] {
        let body = shown.clone();
        let server = Scripted::start(move |_| Reply::json(200, &body)).await;
        let settings = FhirSettings { idempotency: way, ..settings(&server.url) };
        let sink = FhirSink::new(&settings, &"box-1".into()).unwrap();
        let mut one = heart_rates(0..1);
        one[0].attempts = 3;
        assert_eq!(deliver(&sink, &one).await, [expected], "{shown}");
    }
}

#[tokio::test]
async fn a_stated_rate_is_kept_and_alerts_do_not_wait_for_it() {
    let server = Scripted::start(good).await;
    let settings = FhirSettings { bundle_max: 1, requests_per_min: 600, ..settings(&server.url) };
    let sink = FhirSink::new(&settings, &"box-1".into()).unwrap();
    // A burst of ten seconds' worth, and five more at ten a second.
    let since = tokio::time::Instant::now();
    for n in 0..105 {
        assert_eq!(deliver(&sink, &heart_rates(n..n + 1)).await, ["delivered"]);
    }
    assert!(since.elapsed() >= Duration::from_millis(300), "{:?}", since.elapsed());
    let event = alert("0123456789abcdef0123456789abcdef", "raised", &[]);
    assert_eq!(word(&sink.deliver(&[alert_item(event, 0)], &[]).await[0]), "delivered");
}
