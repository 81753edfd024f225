//! An alert and the readings' own way at the same moment: no server, atomic or not, gets one Observation twice at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::*;
use support::readings::item;

/// What is at the server at the same moment, and which came twice at once.
#[derive(Default)]
struct Desk {
    open: Vec<String>,
    twice: Vec<String>,
}

fn observations(body: &Value) -> Vec<String> {
    let alone = std::slice::from_ref(body);
    let entries = body["entry"].as_array().map(|all| all.iter().map(|e| e["resource"].clone()).collect::<Vec<_>>());
    let all = entries.as_deref().unwrap_or(alone).iter().filter(|r| r["resourceType"] == "Observation");
    all.map(|r| r["identifier"][0]["value"].as_str().unwrap().to_owned()).collect()
}

/// A server that takes its time, with these answers for whole Bundles of alerts.
async fn slow(desk: &Arc<Mutex<Desk>>, transactions: u16) -> Scripted {
    let desk = desk.clone();
    Scripted::start(move |request| {
        let body = request.json();
        let ours = observations(&body);
        {
            let mut desk = desk.lock().unwrap();
            let (twice, new): (Vec<_>, Vec<_>) = ours.iter().cloned().partition(|o| desk.open.contains(o));
            desk.twice.extend(twice);
            desk.open.extend(new);
        }
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(300)));
        desk.lock().unwrap().open.retain(|o| !ours.contains(o));
        match body["type"] == "transaction" && transactions != 200 {
            true => Reply::json(transactions, &operation_outcome()),
            false => good(request),
        }
    })
    .await
}

/// Both ways at once; the second begins a little later.
async fn play(transactions: u16, alert_first: bool) -> (Vec<Request>, Vec<String>) {
    let desk = Arc::new(Mutex::new(Desk::default()));
    let server = slow(&desk, transactions).await;
    let sink = sink(&server.url);
    let readings = [heart_rate(1), heart_rate(2)].map(Arc::new);
    let (two, alert) =
        (readings.clone().map(|r| item((*r).clone())), [alert_item(alert("a1", "raised", &[&readings[1]]), 0)]);
    let late = || tokio::time::sleep(Duration::from_millis(100));
    let readings_way = async {
        if alert_first {
            late().await;
        }
        sink.deliver(&two, &[]).await
    };
    let alerts_way = async {
        if !alert_first {
            late().await;
        }
        sink.deliver(&alert, &readings[1..]).await
    };
    let (readings, alerts) = support::within("outcomes", async { tokio::join!(readings_way, alerts_way) }).await;
    let words: Vec<_> = readings.iter().chain(&alerts).map(word).collect();
    assert_eq!(words, ["delivered"; 3]);
    let twice = desk.lock().unwrap().twice.clone();
    (server.requests(), twice)
}

/// The readings are on their way: the alert does not wait, and names its evidence by identifier.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_alert_points_to_evidence_that_is_on_its_way() {
    for transactions in [200, 422] {
        let (requests, twice) = play(transactions, false).await;
        assert_eq!(twice, Vec::<String>::new());
        let carried: usize = requests.iter().map(|r| observations(&r.json()).len()).sum();
        assert_eq!(carried, 2, "each once");
        let mut all = requests.iter().flat_map(|r| {
            let body = r.json();
            body["entry"]
                .as_array()
                .map_or_else(|| vec![body.clone()], |all| all.iter().map(|e| e["resource"].clone()).collect())
        });
        let issue = all.rfind(|r| r["resourceType"] == "DetectedIssue").unwrap();
        let known = &issue["implicated"][0];
        assert_eq!(known["type"], "Observation", "{issue}");
        assert_eq!(known["identifier"]["value"].as_str(), Some(&*observations(&requests[0].json())[1]));
    }
}

/// The alert carries it: the readings wait for the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readings_wait_for_an_alert_that_carries_one_of_them() {
    for transactions in [200, 422] {
        let (requests, twice) = play(transactions, true).await;
        assert_eq!(twice, Vec::<String>::new());
        assert_eq!(requests[0].json()["type"], "transaction");
        assert_eq!(observations(&requests[0].json()).len(), 1, "an alert that is alone brings its evidence");
    }
}
