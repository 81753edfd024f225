//! The Task of an alert, which somebody at the centre may have in hand: read before it is written.

use serde_json::json;
use wardline::config::{FhirSettings, FollowTasksSettings, Idempotency};
use wardline::sink::fhir::FhirSink;

use crate::support::readings::{alert, alert_item, heart_rate};
use crate::support::scripted::{Reply, Request, Scripted};
use crate::{deliver, good, operation_outcome, settings};

/// What became of an alert's event at a server that answers the question for its Task like this, and how often the Task was
/// written, alone or in the transaction.
async fn followed(way: Idempotency, happened: &str, task: Reply) -> (Vec<String>, usize) {
    let server = Scripted::start(move |request| match request.method.as_str() {
        "GET" => task.clone(),
        "PUT" => {
            let place = request.path.replacen("/fhir/", "", 1).replacen('?', "/1?", 1);
            let place = place.split('?').next().unwrap().to_owned();
            Reply::Answer(201, vec![("location", place)], request.json().to_string())
        }
        _ => good(request),
    })
    .await;
    let follow_tasks = Some(FollowTasksSettings { every_s: 60 });
    let settings = FhirSettings { follow_tasks, idempotency: way, ..settings(&server.url) };
    let sink = FhirSink::new(&settings, &"box-1".into()).unwrap();
    let reading = heart_rate(1);
    let event = alert("00ff", happened, &[&reading]);
    let words = deliver(&sink, &[alert_item(event, 0)]).await;
    let wrote =
        |r: &&Request| r.method != "GET" && String::from_utf8_lossy(&r.body).contains("\"resourceType\":\"Task\"");
    (words, server.requests().iter().filter(wrote).count())
}

#[tokio::test]
async fn a_task_that_cannot_be_read_is_left_and_its_alert_goes_out() {
    let outcome = |status| Reply::json(status, &operation_outcome());
    let other = json!({"resourceType": "Task", "id": "wl-alert-x", "status": "accepted", "for": {"reference": "Patient/p2"},
        "identifier": [{"system": "urn:wardline:alert", "value": "00ff"}]});
    let (update, create) = (Idempotency::Update, Idempotency::ConditionalCreate);
    let delivered = |n: usize| (vec!["delivered".to_owned()], n);
    // It may not be read: what is raised goes out, and what happened since says the DetectedIssue.
    assert_eq!(followed(update, "raised", outcome(403)).await, delivered(1));
    assert_eq!(followed(update, "acknowledged", outcome(403)).await, delivered(0));
    assert_eq!(followed(create, "acknowledged", outcome(400)).await, delivered(0));
    // It is not there: created. It was deleted, is another patient's, or nobody knows what it says: left.
    assert_eq!(followed(update, "resolved", outcome(404)).await, delivered(1));
    assert_eq!(followed(update, "raised", outcome(410)).await, delivered(0));
    assert_eq!(followed(update, "acknowledged", Reply::json(200, &other)).await, delivered(0));
    assert_eq!(
        followed(update, "acknowledged", Reply::json(200, &json!({"resourceType": "Task"}))).await,
        delivered(0)
    );
    let twice = json!({"resourceType": "Bundle", "entry": [{"resource": other}, {"resource": other}]});
    assert_eq!(followed(create, "acknowledged", Reply::json(200, &twice)).await, delivered(0));
    let none = json!({"resourceType": "Bundle", "type": "searchset"});
    assert_eq!(followed(create, "acknowledged", Reply::json(200, &none)).await, delivered(1));
    // It is away: so is the destination.
    assert_eq!(followed(update, "acknowledged", Reply::status(503)).await.0, ["WL-F004!"]);
    assert_eq!(followed(update, "acknowledged", Reply::Hang).await.0, ["WL-F002!"]);
}

#[tokio::test]
async fn a_task_that_others_keep_writing_is_tried_again_later() {
    let task = json!({"resourceType": "Task", "id": "t", "status": "requested", "for": {"reference": "Patient/p1"},
        "identifier": [{"system": "urn:wardline:alert", "value": "00ff"}], "meta": {"versionId": "1"}});
    let server = Scripted::start(move |request| match (request.method.as_str(), request.path.contains("/Task")) {
        ("GET", _) => Reply::json(200, &task),
        ("PUT", true) => Reply::json(412, &operation_outcome()),
        _ => good(request),
    })
    .await;
    let follow_tasks = Some(FollowTasksSettings { every_s: 60 });
    let settings = FhirSettings { follow_tasks, idempotency: Idempotency::Update, ..settings(&server.url) };
    let sink = FhirSink::new(&settings, &"box-1".into()).unwrap();
    let event = alert("00ff", "acknowledged", &[]);
    assert_eq!(deliver(&sink, &[alert_item(event, 0)]).await, ["WL-F013!"]);
    let over: Vec<_> =
        server.requests().iter().filter(|r| r.path.contains("/Task") && r.method == "PUT").cloned().collect();
    assert!(over.len() == 3 && over.iter().all(|r| r.header("if-match") == "W/\"1\""), "{}", over.len());
}
