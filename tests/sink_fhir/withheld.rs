//! A consent that ends in the middle of a batch, or of an alert in parts: what was not sent yet is left out of each request.

use std::sync::Mutex;

use super::*;
use support::readings::item;
use wardline::reading::Reading;
use wardline::sink::Gate;

/// Permits what is not in this list of patients by now.
#[derive(Default)]
struct Ended(Mutex<Vec<String>>);

impl Gate for Ended {
    fn admit(&self, item: &Item) -> Option<Item> {
        let patient = match &item.what {
            wardline::custody::Payload::Reading(reading) => reading.patient.as_ref(),
            wardline::custody::Payload::Alert(event) => event.alert.patient.as_ref(),
        };
        let ended = self.0.lock().unwrap();
        (!ended.iter().any(|p| p == patient.unwrap().reveal())).then(|| item.clone())
    }

    fn permits(&self, reading: &Reading) -> bool {
        self.admit(&item(reading.clone())).is_some()
    }
}

/// Readings of two patients by turns.
fn both(n: u64) -> Vec<Item> {
    let of = |n: u64| {
        let mut reading = heart_rate(n);
        if n % 2 == 1 {
            reading.patient = Some(wardline::reading::PatientId::new("Patient/p2"));
        }
        item(reading)
    };
    (0..n).map(of).collect()
}

/// A server that refuses whole Bundles; after so many requests the first patient's consent is over.
async fn scene(after: usize, whole: fn(&Request) -> Reply) -> (FhirSink, Scripted) {
    let ended = Arc::new(Ended::default());
    let (ends, asked) = (ended.clone(), AtomicUsize::new(0));
    let server = Scripted::start(move |request| {
        if asked.fetch_add(1, Ordering::SeqCst) + 1 == after {
            ends.0.lock().unwrap().push("Patient/p1".into());
        }
        let parts = ["/fhir/Observation", "/fhir/DetectedIssue", "/fhir/Task"].contains(&&*request.path);
        if parts { good(request) } else { whole(request) }
    })
    .await;
    let mut sink = sink(&server.url);
    sink.gated(ended);
    (sink, server)
}

fn told_of(requests: &[Request], from: usize) -> usize {
    let of_p1 = |r: &&Request| String::from_utf8_lossy(&r.body).contains("Patient/p1");
    requests.iter().skip(from).filter(of_p1).count()
}

#[tokio::test]
async fn what_may_not_go_any_more_is_left_out_of_the_next_request() {
    // The whole, its left half, and the first quarter were refused.
    let (sink, server) = scene(3, |_| Reply::json(422, &operation_outcome())).await;
    let outcomes = deliver(&sink, &both(8)).await;
    assert_eq!(outcomes, ["withheld", "delivered"].repeat(4));
    assert!(told_of(&server.requests(), 0) == 3 && told_of(&server.requests(), 3) == 0);
    // Nothing more is asked when nothing is left.
    let before = server.requests().len();
    assert_eq!(deliver(&sink, &heart_rates(0..5)).await, ["withheld"; 5]);
    assert_eq!(server.requests().len(), before);
}

/// A server that says "taken" and is not understood may have stored it: that is not "never sent".
#[tokio::test]
async fn what_may_be_there_is_not_taken_for_never_sent() {
    let (sink, server) = scene(1, |_| {
        let entry = json!({"response": {"status": "201 Created", "location": "Observation/1"}});
        Reply::json(200, &json!({"resourceType": "Bundle", "type": "batch-response", "entry": [entry]}))
    })
    .await;
    let outcomes = deliver(&sink, &both(4)).await;
    assert_eq!(outcomes, ["WL-F010", "delivered"].repeat(2));
    assert_eq!(told_of(&server.requests(), 1), 0);
}

#[tokio::test]
async fn an_alert_whose_consent_ends_between_its_parts_stops_there() {
    for (after, expected, issues) in [(1, "withheld", 0), (2, "withheld", 0), (3, "delivered", 1)] {
        let (sink, server) = scene(after, |_| Reply::json(422, &operation_outcome())).await;
        let evidence = [Arc::new(heart_rate(1))];
        let alert = [alert_item(alert("a1", "raised", &[&evidence[0]]), 0)];
        let outcomes = support::within("an outcome", sink.deliver(&alert, &evidence)).await;
        let of = |path: &str| server.requests().iter().filter(|r| r.path == path).count();
        assert_eq!((word(&outcomes[0]).as_str(), of("/fhir/DetectedIssue"), of("/fhir/Task")), (expected, issues, 0));
        assert_eq!(told_of(&server.requests(), after), 0, "after {after}");
    }
}
