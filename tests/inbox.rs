//! The inbox through the built binary: what is stuck is said once, tried, sent again with its identity, or given up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use serde_json::{Value, json};
use wardline::lab::endpoint::{Endpoint, Manners, Settings};

mod support;

use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::{Gateway, until};

fn settings(broker: &Broker, url: &str) -> String {
    format!(
        "[journal]\nreserve_mib = 1\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{url}\"\nidempotency = \"conditional-create\"\n\
         [[patient]]\nreference = \"Patient/p0\"\n[[patient]]\nreference = \"Patient/p1\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n",
        broker.port
    )
}

fn refusing() -> Manners {
    Manners { refuse_rate: 1.0, ..Manners::default() }
}

async fn publish(device: &Device, name: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let payload = format!("{{\"id\":{n},\"time\":\"2026-11-22T10:00:{n:02}Z\",\"heart_rate\":70}}")
            .replace("2026-11-22", support::day());
        device.publish(&format!("vitals/{name}"), [payload]).await;
    }
}

/// The open group of this kind with so many items.
fn group(gateway: &Gateway, kind: &str, items: u64) -> Option<Value> {
    let groups = gateway.json(&["inbox"]);
    let mut groups = groups.as_array().unwrap().iter();
    groups.find(|g| g["kind"] == kind && g["items"] == items).cloned()
}

/// Notices about the inbox: those that are open, and all there ever were.
fn notices(gateway: &Gateway) -> (usize, usize) {
    let about = |alerts: Value| {
        let of = |a: &&Value| a["rule"].as_str().unwrap().starts_with("inbox:");
        alerts.as_array().unwrap().iter().filter(of).count()
    };
    (about(gateway.json(&["alerts"])), about(gateway.json(&["alerts", "--all"])))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_readings_are_said_once_and_sent_again_with_their_identity() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings { manners: refusing(), ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", 0..12).await;
    let refused = until("the group", &gateway, || group(&gateway, "refused", 12)).await;
    let id = refused["id"].as_str().unwrap();
    assert_eq!((&refused["why"]["code"], &refused["owner"]), (&json!("WL-F011"), &json!("integration-engineer")));
    assert_eq!(refused["state"], "open");
    until("the notice", &gateway, || (notices(&gateway).0 > 0).then_some(())).await;

    // Somebody takes it, and sees what would help.
    assert_eq!(gateway.json(&["inbox", "assign", id, "--to", "Ada"])["done"], true);
    assert_eq!(gateway.json(&["inbox", "state", id, "waiting", "--by", "Ada"])["done"], true);
    let (text, _, _) = gateway.cli(&["inbox", "show", &id[..4]]);
    assert!(text.contains("12 readings refused by centre") && text.contains("waiting for a fix, Ada"), "{text}");
    assert!(text.contains(&format!("wardline inbox dry-run {id}")), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    let tried = gateway.json(&["inbox", "dry-run", id]);
    assert_eq!(tried["items"].as_array().unwrap().len(), 12);
    assert_eq!(tried["total"]["unknown"], 12);
    // Once the destination was seen to have `$validate`, it is asked.
    assert_eq!(gateway.json(&["destination", "probe", "centre"])["known"]["stated"][1]["validate"], true);
    let tried = gateway.json_of(&["inbox", "dry-run", id], 1);
    assert_eq!(tried["total"]["fails"], 12, "{tried}");
    assert_eq!(endpoint.counts().observations, 0, "nothing was stored");

    // A replay that is refused again is the same group, and no second notice.
    assert_eq!(gateway.json(&["inbox", "replay", id, "--by", "Ada"])["items"], 12);
    until("the second refusal", &gateway, || group(&gateway, "refused", 12).filter(|g| g["sending"] == 0)).await;
    endpoint.behave(Manners::default());
    // The box is stopped in between: what was decided is not forgotten.
    gateway.kill();
    gateway.start();
    assert_eq!(gateway.json(&["inbox", "dry-run", id])["total"]["passes"], 12);
    assert_eq!(gateway.json(&["inbox", "replay", id, "--by", "Ada"])["items"], 12);
    until("delivery", &gateway, || (endpoint.counts().observations == 12).then_some(())).await;
    until("the end", &gateway, || {
        // The destination had refused the notices, too.
        for group in gateway.json(&["inbox"]).as_array().unwrap().iter().filter(|g| g["kind"] == "notice") {
            if group["items"] != 0 {
                gateway.json(&["inbox", "replay", group["id"].as_str().unwrap(), "--by", "Ada"]);
            }
        }
        gateway.json(&["inbox"]).as_array().unwrap().is_empty().then_some(())
    })
    .await;
    until("the end of the notices", &gateway, || (notices(&gateway).0 == 0).then_some(())).await;
    let every = gateway.json(&["alerts", "--all"]);
    let rule = format!("inbox:{id}");
    assert_eq!(every.as_array().unwrap().iter().filter(|a| a["rule"] == rule.as_str()).count(), 1, "{every}");
    assert_eq!(endpoint.counts().duplicates, 0);
    let shown = gateway.json(&["inbox", "show", id]);
    let said: Vec<_> = shown["history"].as_array().unwrap().iter().map(|h| h["what"].as_str().unwrap()).collect();
    assert_eq!(said, ["cleared", "replayed", "replayed", "changed", "changed", "opened"], "{shown}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_of_nobody_get_their_patient_and_then_go_out() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings::default()).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "stranger", 0..3).await;
    publish(&device, "watch-0", 3..4).await;
    until("delivery of the other", &gateway, || (endpoint.counts().observations == 1).then_some(())).await;
    let nobodys = until("the group", &gateway, || group(&gateway, "unassigned", 3)).await;
    let id = nobodys["id"].as_str().unwrap();
    assert_eq!(nobodys["owner"], "care-manager");
    let (text, _, code) = gateway.cli(&["inbox", "dry-run", id]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the device has no patient"), "{text}");
    let (_, said, code) = gateway.cli(&["inbox", "replay", id, "--by", "Ada"]);
    assert!(code == Some(1) && said.contains("none of 3 would pass"), "{said}");

    let command = nobodys["fix"]["commands"][0].as_str().unwrap().replace("Patient/…", "Patient/p1");
    // Handed out today: what was taken days ago is not taken for this patient's.
    let hand = |since: &str| {
        let command = command.replace("WHEN", since).replace("NAME", "Ada");
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        assert_eq!(gateway.json(&words)["done"], true);
    };
    hand("now");
    assert_eq!(gateway.json_of(&["inbox", "dry-run", id], 1)["total"]["fails"], 3);
    hand(&format!("{}T10:00:00Z", support::day()));
    assert_eq!(gateway.json_of(&["inbox", "dry-run", id], 1)["total"]["fails"], 1, "the first could be from before");
    hand("ever");
    assert_eq!(gateway.json(&["inbox", "dry-run", id])["total"]["passes"], 3);
    assert_eq!(gateway.json(&["inbox", "replay", id, "--by", "Ada"])["items"], 3);
    until("delivery", &gateway, || (endpoint.counts().observations == 4).then_some(())).await;
    publish(&device, "stranger", 0..5).await;
    until("delivery of what came after", &gateway, || (endpoint.counts().observations == 6).then_some(())).await;
    assert_eq!(endpoint.counts().duplicates, 0);
    until("the account", &gateway, || {
        let outbox = &gateway.json(&["outbox"])[0];
        (outbox["waiting"] == 0 && outbox["delivered"] == 6).then_some(())
    })
    .await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_stays_in_the_record_with_name_and_reason() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings { manners: refusing(), ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    device.publish("vitals/watch-0", ["{", "\u{0}", "[1,"]).await;
    publish(&device, "watch-0", 0..2).await;
    let broken = until("the messages", &gateway, || group(&gateway, "undecodable", 3)).await;
    let refused = until("the refused", &gateway, || group(&gateway, "refused", 2)).await;
    let tried = gateway.json_of(&["inbox", "dry-run", broken["id"].as_str().unwrap()], 1);
    assert_eq!(tried["total"]["fails"], 3);
    for group in [&broken, &refused] {
        let id = group["id"].as_str().unwrap();
        let (_, said, code) = gateway.cli(&["inbox", "discard", id, "--by", "Ada", "--reason", " "]);
        assert!(code == Some(1) && said.contains("a reason has"), "{said}");
        let given = gateway.json(&["inbox", "discard", id, "--by", "Ada", "--reason", "test messages"]);
        assert_eq!(given["items"], group["items"]);
    }
    until("the end", &gateway, || gateway.json(&["inbox"]).as_array().unwrap().is_empty().then_some(())).await;
    gateway.kill();
    gateway.start();
    let shown = gateway.json(&["inbox", "show", refused["id"].as_str().unwrap()]);
    let given = shown["history"].as_array().unwrap().iter().find(|h| h["what"] == "discarded").unwrap();
    assert_eq!((&given["by"], &given["text"], &given["items"]), (&json!("Ada"), &json!("test messages"), &json!(2)));
    let key = gateway.json(&["readings"])[0]["reading"]["key"].as_str().unwrap().to_owned();
    let explained = gateway.json(&["explain", &key]);
    assert!(explained.to_string().contains("given up by Ada: test messages"), "{explained}");
    endpoint.behave(Manners::default());
    publish(&device, "watch-0", 2..3).await;
    until("delivery of a new one", &gateway, || (endpoint.counts().observations == 1).then_some(())).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// Long texts, other scripts, and characters that nobody sees: taken whole, or refused by a code. Nothing is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_write_is_kept_whole_or_refused() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings { manners: refusing(), ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &endpoint.url()));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", 0..2).await;
    let found = until("the refused", &gateway, || group(&gateway, "refused", 2)).await;
    let id = found["id"].as_str().unwrap();
    let words = |n: usize| "Rückfrage – שיחה עם 护士 🩺 ".chars().cycle().take(n - 1).chain(['.']).collect::<String>();
    let (long, whole, name) = (words(4_000), words(1_000), "د. فاطمة الزهراء");
    let orders: [&[&str]; 3] = [
        &["inbox", "note", id],
        &["inbox", "discard", id, "--reason"],
        &["correct", "--device", "mqtt:watch-0", "--void", "--reason"],
    ];
    let before = (gateway.json(&["inbox"]), gateway.json(&["readings"]));
    for order in orders {
        for (text, by) in
            [(&*long, "Ada"), ("a\u{7}b", "Ada"), ("fine", "A\u{202e}da"), ("fi\u{202e}ne", "Ada"), ("fine", "A\nda")]
        {
            let (out, said, code) = gateway.cli(&[order, &[text, "--by", by]].concat());
            assert_eq!(code, Some(1), "{order:?} {:?} {by:?}: {out}", text.chars().take(9).collect::<String>());
            assert!(said.contains("WL-O010") && said.contains("printable characters"), "{said}");
        }
    }
    assert_eq!((gateway.json(&["inbox"]), gateway.json(&["readings"])), before, "nothing was changed");
    for order in orders {
        let (_, said, code) = gateway.cli(&[order, &[&whole, "--by", name]].concat());
        assert_eq!(code, Some(0), "{order:?}: {said}");
    }
    gateway.kill();
    gateway.start();
    let shown = gateway.json(&["inbox", "show", id]);
    let noted = format!("note: {whole}");
    let has = |text: &str| {
        shown["history"].as_array().unwrap().iter().any(|h| h["text"].as_str() == Some(text) && h["by"] == name)
    };
    assert!(has(&whole) && has(&noted) && shown["group"]["note"] == whole, "{shown}");
    let read = gateway.json(&["readings"]).to_string();
    assert!(read.contains(&serde_json::to_string(&whole).unwrap()) && read.contains(name), "{read}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// X5: devices, destination and way of writing are changed while readings wait. What waits keeps its owner, and goes out once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_configuration_loses_nothing_that_waits() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let nobody = format!("http://127.0.0.1:{}/fhir", support::free_port());
    let mut gateway = Gateway::new(&settings(&broker, &nobody));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", 0..10).await;
    until("the journal", &gateway, || (gateway.json(&["outbox"])[0]["waiting"] == 10).then_some(())).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());

    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let config = std::fs::read_to_string(gateway.path("wardline.toml")).unwrap();
    let config = config.replace(&nobody, &endpoint.url()).replace("conditional-create", "update").replace(
        "patient = \"Patient/p0\"",
        &format!("patient = \"Patient/p1\"\nsince = \"{}T10:00:11Z\"", support::day()),
    );
    std::fs::write(gateway.path("wardline.toml"), config).unwrap();
    gateway.start();
    publish(&device, "watch-0", 10..15).await;
    // One within a second of the hand-over could be of either: it waits for a person.
    until("the doubt", &gateway, || group(&gateway, "unassigned", 2)).await;
    until("delivery", &gateway, || (endpoint.counts().observations == 13).then_some(())).await;
    let owner = |body: &std::sync::Arc<str>| {
        let observation: Value = serde_json::from_str(body).unwrap();
        observation["subject"]["reference"].as_str().unwrap().to_owned()
    };
    let owners: Vec<String> = endpoint.bodies("Observation").iter().map(owner).collect();
    let of = |patient: &str| owners.iter().filter(|o| *o == patient).count();
    assert_eq!((of("Patient/p0"), of("Patient/p1"), endpoint.counts().duplicates), (10, 3, 0), "{owners:?}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
